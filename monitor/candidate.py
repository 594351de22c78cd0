"""Candidates: one beside the champion on the same requests, or on others, and whether it may take over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from monitor.check import Costs
from monitor.stats.sequence import Mean, difference, mean_of, rows_needed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST = 200  # labelled rows before anything is said
MARGIN = 0.05  # of the champion's mean loss that a candidate may be worse
ALPHA = 0.05
CLIP = 1e-6  # of probabilities in the log loss, which is bounded so
BANDS = 10  # of the champion's score, in which differences are looked for
USUAL_SLOW = 0.05  # share of the champion's answers that are called slow
SLOW = 0.10  # share of a candidate's answers that may be slower than those
MEMORY = 1.5  # times the champion's memory that a candidate's processes may take


class Loss(StrEnum):
    """What one answer costs once its label is known."""

    COST = "cost"
    ERROR = "error"
    BRIER = "brier"
    LOG_LOSS = "log_loss"
    ABSOLUTE = "absolute"
    SQUARED = "squared"


class ReleaseVerdict(StrEnum):
    """What is to be done with a candidate."""

    PROMOTE = "promote"
    HOLD = "hold"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one version answered to N requests: score or number, decision, label (NaN: unknown), window.

    All are (N,), decisions and labels 0 or 1. Of many classes the score is (N, classes), one probability each, and
    decisions and labels are the places of classes.
    """

    score: Floats
    decision: Floats
    label: Floats
    window: Ints

    def of(self, rows: NDArray[np.bool_]) -> Answers:
        """Return some of the rows."""
        return Answers(
            score=self.score[rows], decision=self.decision[rows], label=self.label[rows], window=self.window[rows]
        )


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How alike two versions answer the same requests; NaN where it is not defined.

    Of many classes the distance is that of the whole distributions, ½ Σ |p − q|, and the rank correlation that of the
    probability of the champion's class. ``bands`` are (lowest champion score, highest, mean absolute difference, rows),
    the most different first.
    """

    rows: int
    agreement: float
    rank_correlation: float
    score_distance: float
    bands: Sequence[tuple[float, float, float, int]] = ()

    @property
    def text(self) -> str:
        """For people: what is defined."""
        figures = {
            "agreement": f"{self.agreement:.1%}",
            "rank correlation": f"{self.rank_correlation:.3f}",
            "mean distance of scores": f"{self.score_distance:.4f}",
        }
        return ", ".join(f"{name} {figure}" for name, figure in figures.items() if not figure.startswith("nan"))


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The verdict on a candidate, with the figures behind it; ``difference`` is candidate minus champion."""

    verdict: ReleaseVerdict
    why: str
    loss: Loss
    champion: float = math.nan
    candidate: float = math.nan
    difference: Mean | None = None
    margin: float = math.nan
    rows_needed: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What a candidate must not harm beside its losses: ``hold`` here keeps it from being promoted.

    ``champion`` and ``candidate`` are the figures that are compared, ``interval`` that of the candidate's.
    """

    name: str
    verdict: ReleaseVerdict
    why: str
    champion: float
    candidate: float
    limit: float
    interval: Mean | None = None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the processes of one version take: median resident bytes, and seconds of CPU for each of its answers."""

    memory: float
    cpu: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A candidate beside the champion in the logs: what was judged of it, and the time that its answers span.

    ``share`` is the canary's share of the requests while these answers were given, ``next_share`` what a promotion
    makes of it; None: it takes over.
    """

    version: str
    role: str
    start: datetime
    end: datetime
    judged: Sequence[Judged]
    guards: Sequence[Guard] = ()
    likeness: Likeness | None = None
    labelled: int = 0
    share: float | None = None
    next_share: float | None = None

    @property
    def name(self) -> str:
        """Role and version, for people."""
        return f"{self.role} {self.version}".strip()

    @property
    def verdict(self) -> ReleaseVerdict:
        """Roll back if any loss or guard says so, promote only if none holds."""
        verdicts = {one.verdict for one in self.judged} | {one.verdict for one in self.guards}
        if ReleaseVerdict.ROLL_BACK in verdicts:
            return ReleaseVerdict.ROLL_BACK
        return ReleaseVerdict.PROMOTE if self.judged and verdicts == {ReleaseVerdict.PROMOTE} else ReleaseVerdict.HOLD

    @property
    def still(self) -> str:
        """How many labels, and how much time at the pace until now, are still needed; empty once it is decided."""
        waiting = [one for one in self.judged if one.verdict is ReleaseVerdict.HOLD]
        if self.verdict is not ReleaseVerdict.HOLD or not waiting:
            return ""
        needed = max(one.rows_needed for one in waiting)
        if not math.isfinite(needed):
            return "No number of labels will decide it while the difference lies on the margin."
        more = max(needed - self.labelled, 0)
        pace = self.labelled / max((self.end - self.start) / timedelta(days=1), 1 / 24)
        when = f", about {more / pace:,.1f} days at {pace:,.0f} labels a day" if pace else ", and none comes yet"
        return f"{self.labelled:,} labels so far; about {more:,.0f} more are needed{when}, if nothing changes."


def guard_latency(
    champion: Floats, candidate: Floats, *, clusters: Ints | None = None, limit: float = SLOW
) -> Guard | None:
    """Return whether a candidate answers in time, from milliseconds per answer (NaN: unknown); None without any.

    An answer is slow when it took longer than 95 % of the champion's. The share of the candidate's that are slow has
    a confidence sequence: above ``limit`` as a whole it rolls back, and it must lie below it for a promotion. It is
    bounded, so a single answer that took a minute decides nothing. The champion's quantile is taken as known.

    >>> quick, slow = np.linspace(1, 2, 5000), np.linspace(1.5, 2.5, 5000)
    >>> guard_latency(quick, quick).verdict.value, guard_latency(quick, slow).verdict.value
    ('promote', 'roll back')
    """
    mine, known = champion[np.isfinite(champion)], np.isfinite(candidate)
    other = candidate[known]
    if len(mine) < FEWEST or not len(other):
        return None
    slow = float(np.quantile(mine, 1 - USUAL_SLOW))
    mean = mean_of(other > slow, largest=1.0, clusters=None if clusters is None else clusters[known], alpha=ALPHA)
    figures = (
        f"latency {np.median(mine):.3g} → {np.median(other):.3g} ms (median), {mean.value:.1%} of {mean.rows:,} "
        f"answers slower than {slow:.3g} ms, which {USUAL_SLOW:.0%} of the champion's are"
    )
    if mean.rows < FEWEST:
        verdict, end = ReleaseVerdict.HOLD, f"{mean.rows} of {FEWEST} answers to begin with"
    elif mean.low > limit:
        verdict, end = ReleaseVerdict.ROLL_BACK, f"more than {limit:.0%} for certain"
    elif mean.high < limit:
        verdict, end = ReleaseVerdict.PROMOTE, f"less than {limit:.0%} for certain"
    else:
        verdict, end = ReleaseVerdict.HOLD, f"still around {limit:.0%}"
    return Guard(
        name="latency",
        verdict=verdict,
        why=f"{figures}: {end}",
        champion=USUAL_SLOW,
        candidate=mean.value,
        limit=limit,
        interval=mean,
    )


def guard_memory(champion: Usage | None, candidate: Usage | None, *, limit: float = MEMORY) -> Guard | None:
    """Return whether a candidate's processes fit where the champion's are; more memory holds, a person decides.

    >>> guard_memory(Usage(memory=1e9), Usage(memory=2e9)).why
    'memory 1,000 → 2,000 MB for each process (median), 2.0 times the champion, more than 1.5'
    """
    if champion is None or candidate is None or not champion.memory > 0 or not candidate.memory > 0:
        return None
    ratio = candidate.memory / champion.memory
    cpu = ""
    if champion.cpu > 0 and candidate.cpu > 0:
        cpu = f"; CPU {1e3 * champion.cpu:.3g} → {1e3 * candidate.cpu:.3g} ms for each answer"
    end = "more" if ratio > limit else "not more"
    return Guard(
        name="memory",
        verdict=ReleaseVerdict.HOLD if ratio > limit else ReleaseVerdict.PROMOTE,
        why=f"memory {champion.memory / 1e6:,.0f} → {candidate.memory / 1e6:,.0f} MB for each process (median), "
        f"{ratio:.1f} times the champion, {end} than {limit:g}{cpu}",
        champion=champion.memory,
        candidate=candidate.memory,
        limit=limit * champion.memory,
    )


def next_step(share: float | None, steps: Sequence[float]) -> float | None:
    """Return the share of requests that a canary answers next, None where it takes over.

    >>> next_step(0.01, [0.01, 0.1, 0.5]), next_step(0.5, [0.01, 0.1, 0.5]), next_step(None, [])
    (0.1, None, None)
    """
    return next((step for step in sorted(steps) if step > (share or 0.0)), None)


def likeness(champion: Answers, candidate: Answers) -> Likeness:
    """Return how alike the answers to the same requests are, row by row.

    >>> decided = {"decision": np.array([0.0, 1.0]), "label": np.zeros(2), "window": np.zeros(2, int)}
    >>> like = likeness(Answers(score=np.array([0.1, 0.9]), **decided), Answers(score=np.array([0.2, 0.8]), **decided))
    >>> like.agreement, round(like.score_distance, 3), round(like.rank_correlation, 3)
    (1.0, 0.1, 1.0)
    """
    known = _scored(champion) & _scored(candidate)
    a, b = champion.score[known], candidate.score[known]
    apart = np.abs(a - b)
    if a.ndim > 1:
        rows, own = np.arange(len(a)), a.argmax(axis=1)
        apart, a, b = apart.sum(axis=1) / 2, a[rows, own], b[rows, own]
    both = np.isfinite(champion.decision) & np.isfinite(candidate.decision)
    vary = len(a) > 1 and a.min() < a.max() and b.min() < b.max()
    return Likeness(
        rows=len(champion.score),
        agreement=float((champion.decision == candidate.decision)[both].mean()) if both.any() else math.nan,
        rank_correlation=float(stats.spearmanr(a, b).statistic) if vary else math.nan,
        score_distance=float(apart.mean()) if len(a) else math.nan,
        bands=_bands(a, apart),
    )


def _bands(score: Floats, apart: Floats) -> list[tuple[float, float, float, int]]:
    if not len(score):
        return []
    edges = np.unique(np.quantile(score, np.linspace(0, 1, BANDS + 1)))
    place = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, max(len(edges) - 2, 0))
    found = [
        (float(score[rows].min()), float(score[rows].max()), float(apart[rows].mean()), int(rows.sum()))
        for band in np.unique(place)
        if (rows := place == band).any()
    ]
    return sorted(found, key=lambda band: -band[2])


def losses(answers: Answers, loss: Loss, costs: Costs | None = None) -> Floats:
    """Return what each labelled answer costs; raises ValueError where costs are needed and not configured.

    Of many classes the Brier score is ½ Σ (p − 1 for the true class)², with two classes the usual one.

    >>> answers = Answers(score=np.array([0.9, 0.2]), decision=np.array([1.0, 0.0]), label=np.array([0.0, 0.0]),
    ...     window=np.zeros(2, int))
    >>> losses(answers, Loss.ERROR).tolist(), losses(answers, Loss.BRIER).round(2).tolist()
    ([1.0, 0.0], [0.81, 0.04])
    """
    y, p, said = answers.label, answers.score, answers.decision
    if p.ndim > 1:
        return _losses_of_classes(answers, loss)
    match loss:
        case Loss.ERROR:
            return np.asarray(said != y, np.float64)
        case Loss.BRIER | Loss.SQUARED:
            return np.square(p - y)
        case Loss.ABSOLUTE:
            return np.abs(p - y)
        case Loss.LOG_LOSS:
            clipped = np.clip(p, CLIP, 1 - CLIP)
            return np.asarray(-np.where(y == 1, np.log(clipped), np.log1p(-clipped)), np.float64)
        case Loss.COST:
            if costs is None or (costs.false_positive is None) == (costs.under is None):
                raise ValueError("business.costs are not configured, so no answer has a cost; choose another loss")
            if costs.under is not None:
                return np.where(p < y, (y - p) * costs.under, (p - y) * (costs.over or 0.0))
            wrong = np.where(y == 1, costs.false_negative or 0.0, costs.false_positive or 0.0)
            return np.asarray(np.where(said != y, wrong, 0.0), np.float64)


def _losses_of_classes(answers: Answers, loss: Loss) -> Floats:
    rows, true = np.arange(len(answers.label)), answers.label.astype(np.int64)
    match loss:
        case Loss.ERROR:
            return np.asarray(answers.decision != answers.label, np.float64)
        case Loss.LOG_LOSS:
            return np.asarray(-np.log(np.clip(answers.score[rows, true], CLIP, 1)), np.float64)
        case Loss.BRIER:
            actual = np.eye(answers.score.shape[1])[true]
            return np.asarray(np.square(answers.score - actual).sum(axis=1) / 2, np.float64)
        case _:
            raise ValueError(f"many classes have no {loss.value}; choose error, log_loss or brier")


def largest_loss(found: Floats, loss: Loss, costs: Costs | None = None) -> float:
    """Return the largest loss of one answer: what it can be, or what it was where there is no limit."""
    match loss:
        case Loss.ERROR | Loss.BRIER:
            return 1.0
        case Loss.COST if costs is not None and costs.under is None:
            return max(costs.false_positive or 0.0, costs.false_negative or 0.0)
        case _:
            return float(found.max()) if len(found) else 1.0


def judge_pairs(
    champion: Answers,
    candidate: Answers,
    *,
    loss: Loss,
    costs: Costs | None = None,
    margin: float = MARGIN,
    alpha: float = ALPHA,
) -> Judged:
    """Return whether a shadow is as good as the champion on the same requests, row by row, by those with a label.

    Non-inferiority: the confidence sequence of the mean difference of losses lies below ``margin`` times the champion's
    mean loss (promote), above it (roll back) or holds it (hold). It may be looked at after every row: a candidate that
    is worse by the margin or more is promoted with probability at most 5 %, however often one looks.
    """
    usable = np.isfinite(champion.label) & _answered(champion, loss, costs) & _answered(candidate, loss, costs)
    a, b = (losses(answers.of(usable), loss, costs) for answers in (champion, candidate))
    largest = largest_loss(np.concatenate([a, b]), loss, costs)
    mean = mean_of(b - a, largest=largest, clusters=champion.window[usable], alpha=alpha)
    return _judged(mean, a, b, loss, margin)


def judge_apart(
    champion: Answers, candidate: Answers, *, loss: Loss, costs: Costs | None = None, margin: float = MARGIN
) -> Judged:
    """Return whether a canary is as good as the champion on other requests that were chosen at random.

    As ``judge_pairs``, from two confidence sequences of half the error rate each, so it needs many more rows.
    """
    means, found = [], []
    for answers in (candidate, champion):
        rows = answers.of(np.isfinite(answers.label) & _answered(answers, loss, costs))
        values = losses(rows, loss, costs)
        found.append(values)
        largest = largest_loss(values, loss, costs)
        means.append(mean_of(values, largest=largest, clusters=rows.window, alpha=ALPHA / 2))
    return _judged(difference(*means), found[1], found[0], loss, margin)


def _answered(answers: Answers, loss: Loss, costs: Costs | None) -> NDArray[np.bool_]:
    """Return where an answer has what a loss needs: a decision, or a score; the cost of a number comes of itself."""
    decides = loss is Loss.ERROR or (loss is Loss.COST and (costs is None or costs.under is None))
    return np.isfinite(answers.decision) if decides else _scored(answers)


def _scored(answers: Answers) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = np.isfinite(answers.score)
    return known if known.ndim == 1 else np.asarray(known.all(axis=1), np.bool_)


def _judged(mean: Mean, a: Floats, b: Floats, loss: Loss, margin: float) -> Judged:
    if mean.rows < FEWEST:
        why = f"{mean.rows} of {FEWEST} labelled requests to begin with"
        return Judged(verdict=ReleaseVerdict.HOLD, why=why, loss=loss, rows_needed=FEWEST)
    worst = margin * float(a.mean())
    needed = rows_needed(mean, worst)
    interval = f"{mean.low:+.4g} to {mean.high:+.4g}"
    figures = f"{loss.value} {a.mean():.4g} → {b.mean():.4g}, difference {mean.value:+.4g} ({interval})"
    if mean.high < worst:
        verdict, why = ReleaseVerdict.PROMOTE, f"{figures}: not worse by {worst:.4g}, which is {margin:.0%}"
    elif mean.low > worst:
        verdict, why = ReleaseVerdict.ROLL_BACK, f"{figures}: worse by more than {worst:.4g}, which is {margin:.0%}"
    else:
        verdict, why = ReleaseVerdict.HOLD, f"{figures}: still around {worst:+.4g}, which is {margin:.0%}"
    return Judged(
        verdict=verdict,
        why=why,
        loss=loss,
        champion=float(a.mean()),
        candidate=float(b.mean()),
        difference=mean,
        margin=worst,
        rows_needed=needed,
    )
