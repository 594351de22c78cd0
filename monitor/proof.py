"""Proofs: whether another answer than the champion's would have been better on windows it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from monitor.check import Costs
from monitor.metric import has_costs, label_values, score_values
from monitor.outcome import OutcomeProfile, Task
from monitor.source import Floats
from monitor.stats.classification import Confusion, best_cutoff, cutoff_cost
from monitor.stats.recalibration import apply_logistic, fit_logistic, log_loss
from monitor.stats.regression import absolute_fit, weighted_median
from monitor.stats.resampling import mean_with_error
from monitor.window import Window

LEVEL = 1.28  # one-sided 90 %
SHARE = 0.02  # of the champion's loss: a smaller gain is not worth anybody's time


@dataclass(frozen=True, kw_only=True)
class Gain:
    """By how much an alternative's loss was below the champion's: mean over windows, its standard error.

    ``champion_loss`` is the champion's mean loss on the same rows, in the same units (log loss; regression: the
    absolute error, capped).
    """

    mean: float
    error: float
    champion_loss: float
    windows: int = 0
    rows: int = 0
    per_prediction: float | None = None
    """The same in money per prediction, where costs are known."""

    @property
    def lower(self) -> float:
        """Lower one-sided 90 % bound of the gain."""
        return self.mean - LEVEL * self.error

    @property
    def upper(self) -> float:
        """Upper one-sided 90 % bound of the gain."""
        return self.mean + LEVEL * self.error

    @property
    def proven(self) -> bool:
        """Whether the gain is above zero beyond doubt and large enough to matter."""
        return self.lower > 0 and self.mean >= SHARE * self.champion_loss


@dataclass(frozen=True, kw_only=True)
class ProofRequest:
    """What to try: refits on rows before ``fit_until``, judged on ``windows``.

    ``recent_since`` is where the refit on recent rows begins; the expanding one uses everything before, training rows
    included. Rows of ``excluded`` windows (broken data) are used by neither.
    """

    model: str
    model_version: str
    role: str
    slice: Mapping[str, object] = field(default_factory=dict)
    windows: tuple[Window, ...]
    fit_until: datetime
    recent_since: datetime
    excluded: tuple[Window, ...] = ()
    costs: Costs | None = None


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What the refits gained, by name ("recent", "expanding"); ``reason`` says in words why there is none."""

    gains: Mapping[str, Gain] = field(default_factory=dict)
    reason: str = ""


Prove = Callable[[ProofRequest], Proof]
History = Callable[[datetime, datetime], Sequence[tuple[Window, OutcomeProfile]]]
"""Matured outcome windows that start in [since, until), in order."""

FEWEST_ROWS = 50  # labelled rows to fit a recalibration on


@dataclass(frozen=True, kw_only=True)
class Adjustment:
    """A champion corrected after the fact: ``map`` takes its score to the better one, ``cutoff`` is the moved cut-off.

    ``recalibrated`` is the gain of the map in loss, ``moved`` that of the cut-off in money per prediction; None where
    it could not be tried.
    """

    map: tuple[float, float] | None = None
    cutoff: float | None = None
    recalibrated: Gain | None = None
    moved: Gain | None = None


def adjust(fit: OutcomeProfile, windows: Sequence[OutcomeProfile], costs: Costs | None) -> Adjustment:
    """Return what recalibrating or moving the cut-off, fitted on ``fit``, would have gained on ``windows``.

    Binary: logistic map on the logit; regression: the line of least absolute error, by which it is judged. Champion and
    alternative are compared on the same binned scores, so the error of binning cancels. Multiclass cannot be
    recalibrated from counts alone.
    """
    judged = [window for window in windows if window.labelled]
    if fit.labelled < FEWEST_ROWS or not judged or fit.layout.task is Task.MULTICLASS:
        return Adjustment()
    if fit.layout.task is Task.REGRESSION:
        return _adjust_regression(fit, judged)
    if not fit.joint.sum(axis=0).all():
        return Adjustment()
    scores = fit.layout.bin_scores
    slope, intercept = fit_logistic(scores, fit.joint[:, 0], fit.joint[:, 1])
    honest = apply_logistic(scores, slope, intercept)
    before = [log_loss(scores, w.joint[:, 0], w.joint[:, 1]) for w in judged]
    after = [log_loss(honest, w.joint[:, 0], w.joint[:, 1]) for w in judged]
    money: Floats | None = None
    moved: Gain | None = None
    cutoff: float | None = None
    if costs is not None and has_costs(costs, Task.BINARY):
        assert costs.false_positive is not None
        assert costs.false_negative is not None
        prices = (costs.false_positive, costs.false_negative)
        spent = np.array([Confusion.of(w.decisions).cost(*prices) for w in judged])
        place, _ = best_cutoff(fit.joint, *prices)
        edges = np.concatenate([[0.0], fit.layout.score_edges, [1.0]])
        cutoff = float(edges[place])
        moved = _gain(spent - np.array([cutoff_cost(w.joint, place, *prices) for w in judged]), spent, judged)
        first = (
            int(np.argmax(honest >= prices[0] / sum(prices)))
            if (honest >= prices[0] / sum(prices)).any()
            else len(honest)
        )
        money = spent - np.array([cutoff_cost(w.joint, first, *prices) for w in judged])
    gain = _gain(np.array(before) - np.array(after), np.array(before), judged, money)
    return Adjustment(map=(slope, intercept), cutoff=cutoff, recalibrated=gain, moved=moved)


def _adjust_regression(fit: OutcomeProfile, judged: Sequence[OutcomeProfile]) -> Adjustment:
    x, y = np.meshgrid(score_values(fit), label_values(fit), indexing="ij")
    slope, intercept = absolute_fit(x.ravel(), y.ravel(), fit.joint.ravel())
    before: list[float] = []
    after: list[float] = []
    for window in judged:
        scores, labels, cap = score_values(window), label_values(window), window.layout.loss_cap
        for values, collected in ((scores, before), (slope * scores + intercept, after)):
            losses = np.minimum(np.abs(labels[None, :] - values[:, None]), cap)
            collected.append(float((window.joint * losses).sum() / window.labelled))
    gain = _gain(np.array(before) - np.array(after), np.array(before), judged)
    return Adjustment(map=(slope, intercept), recalibrated=gain)


def _gain(gains: Floats, losses: Floats, judged: Sequence[OutcomeProfile], money: Floats | None = None) -> Gain:
    rows = np.array([window.labelled for window in judged], np.float64)
    mean, error = mean_with_error(gains)
    return Gain(
        mean=mean,
        error=error,
        champion_loss=float((losses * rows).sum() / rows.sum()),
        windows=len(judged),
        rows=int(rows.sum()),
        per_prediction=None if money is None else float(np.mean(money)),
    )


def skill_sums(windows: Sequence[OutcomeProfile]) -> tuple[Floats, Floats]:
    """Return per window the model's loss and that of the best constant answer for all windows together.

    Classifiers: Brier score against the base rate; regression: capped absolute error against the median.
    """
    windows = [window for window in windows if window.labelled]
    if not windows:
        return np.zeros(0), np.zeros(0)
    layout = windows[0].layout
    if layout.task is Task.REGRESSION:
        total = OutcomeProfile.total(layout, windows)
        values = label_values(total)
        losses = np.minimum(np.abs(values - weighted_median(values, total.joint.sum(axis=0))), layout.loss_cap)
        base = [float(window.joint.sum(axis=0) @ losses) for window in windows]
        return np.array([window.sum("loss") for window in windows]), np.array(base)
    counts = np.array([window.joint.sum(axis=0) for window in windows], np.float64)
    shares = counts.sum(axis=0) / counts.sum()
    n = counts.sum(axis=1)
    base_multi = n - 2 * counts @ shares + n * float((shares**2).sum())
    # two classes: the Brier score counts one of them, the sum over classes both
    constant = base_multi / 2 if layout.task is Task.BINARY else base_multi
    return np.array([window.sum("brier") for window in windows]), constant
