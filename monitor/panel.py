"""The panel: all columns' test statistics side by side, judged together in one window or in many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.check import Budget
from monitor.column import NumericColumn
from monitor.profile import Profile
from monitor.reference import Reference
from monitor.source import Bools, Floats, Ints
from monitor.statistic import LASTING, NullModel, Statistic, StatisticKind, null_model
from monitor.stats.calibration import Calibration, calibrate
from monitor.stats.multiplicity import adjusted, smallest_p

MATERIALITY = 0.05  # training standard deviations
SHARE_MATERIALITY = 0.02  # of rows
FEWEST_BLOCKS = 3
FEWEST_OUTSIDE = 3  # rows; one stray row is no window outside the range
LARGEST_P, SMALLEST_P = 0.2, 1e-6  # of the windows that tell how often p is small
BELIEF = 3.0  # windows


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Statistics of several columns: ``places`` in the null model, ``owner`` the column of each, in order of columns.

    ``lasting`` are the positions within the panel that the slow path follows.
    """

    names: Sequence[str]
    statistics: Sequence[Statistic]
    places: Ints
    owner: Ints
    sizes: Ints
    materiality: Floats
    lasting: Ints

    @classmethod
    def of(cls, null: NullModel, names: Sequence[str], materiality: float = MATERIALITY) -> Panel:
        """Return the panel of the named columns; a column without statistics stays in it without any."""
        items = null.statistics.items
        found = [
            (place, j)
            for j, name in enumerate(names)
            for place in null.statistics.of(name).tolist()
            if items[place].kind is not StatisticKind.MEAN
        ]
        owner = np.array([j for _, j in found], np.int64)
        statistics = [items[place] for place, _ in found]
        return cls(
            names=names,
            statistics=statistics,
            places=np.array([place for place, _ in found], np.int64),
            owner=owner,
            sizes=np.bincount(owner, minlength=len(names)),
            materiality=np.array(
                [SHARE_MATERIALITY if s.kind is StatisticKind.SHARE else materiality for s in statistics], np.float64
            ),
            lasting=np.array([i for i, s in enumerate(statistics) if s.kind in LASTING], np.int64),
        )

    def positions(self, j: int) -> Ints:
        """Return where the statistics of a column lie in the panel."""
        first = int(np.searchsorted(self.owner, j))
        return np.arange(first, first + int(self.sizes[j]))

    def main(self, j: int) -> int:
        """Return the position of the statistic that speaks for a column (its location, else its first), or -1."""
        positions = self.positions(j).tolist()
        return next((i for i in positions if self.statistics[i].name == "location"), positions[0] if positions else -1)

    def judge(
        self,
        calibration: Calibration,
        theta: Floats,
        n: Floats,
        slot: int,
        q: float,
        outside: Bools | None = None,
    ) -> Verdicts:
        """Return the fast path's verdicts on one window: Bonferroni within a column, Benjamini–Hochberg across.

        ``theta`` and ``n`` are those of the whole null model. A statistic counts only from its materiality on; that
        gate comes after the p-value and takes nothing from other statistics. ``outside`` (columns,) says whose rows
        all lie beyond training's range: these are flagged, however much training varied.
        """
        full = calibration.z(theta, n, slot)
        z, deviation = full[self.places], calibration.deviation(theta, slot)[self.places]
        p = calibration.p_of(full, n)[self.places]
        gate = np.abs(np.nan_to_num(deviation)) >= self.materiality
        combined, chosen = smallest_p(p, self.owner, len(self.names), gate=gate)
        p_adjusted = adjusted(combined)
        flagged = np.nan_to_num(p_adjusted, nan=1.0) <= q
        if outside is not None:
            flagged |= outside
        tested = int(np.isfinite(combined).sum())
        alpha = (q / max(tested, 1) / np.maximum(self.sizes, 1))[self.owner]
        level = np.ones((2, calibration.channels))
        level[0, self.places] = alpha
        level[1, self.places] = np.minimum(alpha * max(int(flagged.sum()), 1), 1.0)
        limit = calibration.critical(level[1], n) * calibration.scale(n)
        return Verdicts(
            z=z,
            normal=calibration.normal(full, n)[self.places],
            deviation=deviation,
            p=combined,
            p_adjusted=p_adjusted,
            flagged=flagged,
            outside=np.zeros(len(self.names), np.bool_) if outside is None else outside,
            chosen=chosen,
            tested=tested,
            limit=np.maximum(limit[self.places], self.materiality),
            detectable=np.maximum(calibration.minimum_detectable(n, level[0])[self.places], self.materiality),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdicts:
    """The fast path's verdicts: per statistic ``z`` to ``deviation``, ``limit``, ``detectable``; else per column.

    ``normal`` is z as a normal score of the same p, ``outside`` whether all rows lie beyond training's range.
    ``chosen`` is the position of the statistic with the smallest p-value among the material ones, -1 without any.
    ``limit`` is the deviation from which a statistic would have been flagged in this window, ``detectable`` the shift
    found in four windows of five even if it were the only one.
    """

    z: Floats
    normal: Floats
    deviation: Floats
    p: Floats
    p_adjusted: Floats
    flagged: Bools
    outside: Bools
    chosen: Ints
    tested: int
    limit: Floats
    detectable: Floats


def outside_range(profile: Profile, names: Sequence[str], lows: Floats, highs: Floats) -> Bools:
    """Return for which numeric columns all usable rows (three at least) lie below ``lows`` or above ``highs``.

    ``lows`` and ``highs`` (columns of the layout,) are a training's extremes.
    """
    at = np.array([profile.layout.index[name] for name in names], np.int64)
    beyond = (profile.lows[at] > highs[at]) | (profile.highs[at] < lows[at])
    numeric = [isinstance(profile.layout.columns[i], NumericColumn) for i in at.tolist()]
    usable = [profile.columns[name].count >= FEWEST_OUTSIDE for name in names]
    return np.asarray(beyond & numeric & usable & np.isfinite(lows[at]), np.bool_)


def achieved_rate(reference: Reference, budget: Budget, *, materiality: float = MATERIALITY) -> float:
    """Return the share of training windows that the fast path would flag when calibrated on the others.

    One week of windows after the other (or an eighth, where training has no weeks) is left out and judged. Fewer than
    a hundred windows cannot count what happens once in a hundred, so the rate at q is drawn from those up to p = .2:
    their number, and how fast they thin out (Hill 1975), with the weight of three windows on a uniform p. Compare with
    the nominal ``budget.q``. NaN where fewer than three blocks make it unmeasurable; below 28 windows it says little.
    """
    null = null_model(reference)
    names = [column.name for column in reference.layout.columns if column.clock is None]
    panel = Panel.of(null, names, materiality)
    if materiality <= 0:
        panel = replace(panel, materiality=np.zeros(len(panel.materiality)))
    K = len(null.theta)
    length = 7 if null.seasons == 7 else max(1, math.ceil(K / 8))
    block = np.arange(K) // length
    blocks = int(block.max()) + 1 if K else 0
    if blocks < FEWEST_BLOCKS or not len(panel.places):
        return math.nan
    unit, row = null.statistics.unit, null.statistics.row
    lows = np.array([profile.lows for profile in reference.profiles])
    highs = np.array([profile.highs for profile in reference.profiles])
    p = np.ones(K)
    for left_out in range(blocks):
        inside = block != left_out
        fitted = calibrate(null.theta[inside], null.n[inside], unit, null.slots[inside], null.seasons, row)
        low, high = lows[inside].min(axis=0), highs[inside].max(axis=0)
        for t in np.flatnonzero(~inside).tolist():
            outside = outside_range(reference.profiles[t], names, low, high)
            verdicts = panel.judge(fitted, null.theta[t], null.n[t], int(null.slots[t]), budget.q)
            p[t] = 0.0 if outside.any() else np.nanmin(verdicts.p_adjusted, initial=1.0)
    return rate_at(p, budget.q)


def rate_at(p: Floats, q: float) -> float:
    """Return how often p would be at most q, from a sample of p-values; see ``achieved_rate``.

    >>> round(rate_at(np.linspace(0.001, 1, 1000), 0.01), 2)
    0.01
    """
    small = np.maximum(p[p <= LARGEST_P], SMALLEST_P)
    slope = (len(small) + BELIEF) / (np.log(LARGEST_P / small).sum() + BELIEF)
    return float(len(small) / len(p) * min(q / LARGEST_P, 1.0) ** slope)
