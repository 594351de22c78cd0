"""The panel: all columns' test statistics side by side, judged together in one window or in many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.check import Budget
from monitor.reference import Reference
from monitor.source import Bools, Floats, Ints
from monitor.statistic import LASTING, NullModel, Statistic, StatisticKind, null_model
from monitor.stats.calibration import Calibration, calibrate
from monitor.stats.multiplicity import adjusted, smallest_p

MATERIALITY = 0.05  # training standard deviations
SHARE_MATERIALITY = 0.02  # of rows
REPEATS = 12  # of the cross-validation
CALIBRATING_PART = 0.62  # of the blocks
FEWEST_BLOCKS = 3


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

    def judge(self, calibration: Calibration, theta: Floats, n: Floats, slot: int, q: float) -> Verdicts:
        """Return the fast path's verdicts on one window: Bonferroni within a column, Benjamini–Hochberg across.

        ``theta`` and ``n`` are those of the whole null model. A statistic counts only from its materiality on; that
        gate comes after the p-value and takes nothing from other statistics.
        """
        full = calibration.z(theta, n, slot)
        z, deviation = full[self.places], calibration.deviation(theta, slot)[self.places]
        p = calibration.p_of(full)[self.places]
        gate = np.abs(np.nan_to_num(deviation)) >= self.materiality
        combined, chosen = smallest_p(p, self.owner, len(self.names), gate=gate)
        p_adjusted = adjusted(combined)
        flagged = np.nan_to_num(p_adjusted, nan=1.0) <= q
        tested = int(np.isfinite(combined).sum())
        alpha = (q / max(tested, 1) / np.maximum(self.sizes, 1))[self.owner]
        level = np.ones((2, calibration.channels))
        level[0, self.places] = alpha
        level[1, self.places] = np.minimum(alpha * max(int(flagged.sum()), 1), 1.0)
        limit = calibration.critical(level[1]) * calibration.scale(n)
        return Verdicts(
            z=z,
            deviation=deviation,
            p=combined,
            p_adjusted=p_adjusted,
            flagged=flagged,
            chosen=chosen,
            tested=tested,
            limit=np.maximum(limit[self.places], self.materiality),
            detectable=np.maximum(calibration.minimum_detectable(n, level[0])[self.places], self.materiality),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdicts:
    """The fast path's verdicts: per statistic ``z``, ``deviation``, ``limit`` and ``detectable``; the rest per column.

    ``chosen`` is the position of the statistic with the smallest p-value among the material ones, -1 without any.
    ``limit`` is the deviation from which a statistic would have been flagged in this window, ``detectable`` the shift
    found in four windows of five even if it were the only one.
    """

    z: Floats
    deviation: Floats
    p: Floats
    p_adjusted: Floats
    flagged: Bools
    chosen: Ints
    tested: int
    limit: Floats
    detectable: Floats


def achieved_rate(reference: Reference, budget: Budget, *, materiality: float = MATERIALITY) -> float:
    """Return the share of training windows that the fast path flags when calibrated on the others.

    Weeks of windows (or eighths of a training too short for weeks) are drawn, 62 % of them calibrate, the rest are
    judged; twelve times over with a fixed seed. Compare with the nominal ``budget.q``: natural variation with heavy
    tails, holidays or trends makes it larger. NaN where fewer than three blocks make it unmeasurable; below 28
    windows a 0 means as little.
    """
    null = null_model(reference)
    names = [column.name for column in reference.layout.columns if column.clock is None]
    panel = Panel.of(null, names, materiality)
    K = len(null.theta)
    length = 7 if null.seasons == 7 else max(1, math.ceil(K / 8))
    block = np.arange(K) // length
    blocks = int(block.max()) + 1 if K else 0
    if blocks < FEWEST_BLOCKS or not len(panel.places):
        return math.nan
    rng = np.random.default_rng(1)
    hits = judged = 0
    for _ in range(REPEATS):
        chosen = rng.permutation(blocks)[: max(2, round(blocks * CALIBRATING_PART))]
        inside = np.isin(block, chosen)
        fitted = calibrate(null.theta[inside], null.n[inside], null.statistics.unit, null.slots[inside], null.seasons)
        for t in np.flatnonzero(~inside).tolist():
            verdicts = panel.judge(fitted, null.theta[t], null.n[t], int(null.slots[t]), budget.q)
            hits += bool(verdicts.flagged.any())
            judged += 1
    return hits / judged if judged else math.nan
