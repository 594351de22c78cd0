"""An oracle that may look ahead: what refits and recalibration would really have gained in the next 28 windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from benchmarks.design.streams import Stream, reference_of
from monitor.advice import EVERY, FIT
from monitor.challenger import FEWEST_FIT_ROWS, fit_predict, losses, matrix_of, window_means
from monitor.outcome import Task
from monitor.proof import SHARE
from monitor.rationale import LEVEL, MOST_OF, WINDOWS
from monitor.recommendation import Action
from monitor.source import Bools, Floats
from monitor.stats.recalibration import apply_logistic, fit_logistic
from monitor.stats.regression import absolute_fit
from monitor.stats.resampling import mean_with_error

SURE = 2.0  # standard errors
FEWEST = 7  # windows of a last block that is cut short


@dataclass(frozen=True, kw_only=True)
class Gained:
    """By how much the loss was lower, as a mean of windows, and its standard error."""

    mean: float
    error: float

    def pays(self, champion: float) -> bool:
        """Whether the gain is sure (2 standard errors) and worth the trouble (2 % of the champion's loss)."""
        return self.mean > SURE * self.error and self.mean >= SHARE * champion


@dataclass(frozen=True, kw_only=True)
class Hindsight:
    """What was best to do after window ``number`` (from 0, the first after training), for the 28 windows that followed.

    ``before`` is the champion's loss in the 28 windows up to here, ``champion`` that in those that followed.
    """

    number: int
    at: datetime
    before: float
    champion: float
    worse: float
    """By how many standard errors the loss before was above that of training's honest predictions."""
    gains: Mapping[str, Gained]

    @property
    def real_loss(self) -> bool:
        """Whether something would pay and matured labels show that the champion has surely become worse."""
        return self.action is not None and self.worse > LEVEL

    @property
    def action(self) -> Action | None:
        """RETRAIN or RECALIBRATE, whichever the gains favour; None where neither pays.

        Recalibrating is the answer where it pays and brings two thirds of the best refit's gain.
        """
        cheap = self.gains["recalibrated"]
        refits = [gain.mean for name, gain in self.gains.items() if name != "recalibrated" and gain.pays(self.champion)]
        if cheap.pays(self.champion) and cheap.mean >= MOST_OF * max(refits, default=0.0):
            return Action.RECALIBRATE
        return Action.RETRAIN if refits else None

    def paid(self, action: Action) -> bool:
        """Whether this very action would have paid: any refit for RETRAIN."""
        names = ["recalibrated"] if action is Action.RECALIBRATE else [n for n in self.gains if n != "recalibrated"]
        return any(self.gains[name].pays(self.champion) for name in names if name in self.gains)


def hindsight(stream: Stream) -> Iterator[Hindsight]:
    """Yield what was best to do at every evaluation of the stream: after 28 windows, and every 7 from then on."""
    batch = stream.batch
    assert batch.label is not None
    assert batch.score is not None
    layout = reference_of(stream).outcome_layout
    assert layout is not None
    matrix, label, score = matrix_of([batch])[0], batch.label, batch.score
    known = np.isfinite(label)
    loss = losses(stream.task, label, score, layout.loss_cap)
    honest = known & np.isfinite(score) & (stream.place < stream.trained)
    usual, doubt = mean_with_error(window_means(loss[honest], stream.place[honest]))
    for end in range(stream.trained + WINDOWS, len(stream.windows) - FEWEST + 1, EVERY):
        past = known & (stream.place < end)
        recent = past & (stream.place >= end - max(stream.trained, WINDOWS))
        ahead = known & (stream.place >= end) & (stream.place < end + WINDOWS)
        near = past & (stream.place >= max(end - FIT, 0))
        answers = {"recalibrated": _recalibrated(stream.task, score, label, near, ahead)}
        for name, use in (("expanding", past), ("recent", recent)):
            if use.sum() >= FEWEST_FIT_ROWS:
                answers[name] = fit_predict(stream.task, matrix[use], label[use], matrix[ahead])
        gains: dict[str, Gained] = {}
        for name, answer in answers.items():
            gain = loss[ahead] - losses(stream.task, label[ahead], answer, layout.loss_cap)
            mean, error = mean_with_error(window_means(gain, stream.place[ahead]))
            gains[name] = Gained(mean=mean, error=error)
        last = known & (stream.place >= end - WINDOWS) & (stream.place < end)
        mean, error = mean_with_error(window_means(loss[last], stream.place[last]))
        yield Hindsight(
            number=end - stream.trained - 1,
            at=stream.windows[end - 1].start,
            before=float(loss[last].mean()),
            champion=float(loss[ahead].mean()),
            worse=(mean - usual) / np.hypot(error, doubt),
            gains=gains,
        )


def _recalibrated(task: Task, score: Floats, label: Floats, fit: Bools, wanted: Bools) -> Floats:
    if task is Task.REGRESSION:
        slope, intercept = absolute_fit(score[fit], label[fit], np.ones(int(fit.sum())))
        return slope * score[wanted] + intercept
    slope, intercept = fit_logistic(score[fit], 1 - label[fit], label[fit])
    return apply_logistic(score[wanted], slope, intercept)
