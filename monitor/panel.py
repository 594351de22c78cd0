"""The panel: all columns' test statistics side by side, judged together in one window or in many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.column import NumericColumn
from monitor.profile import Profile
from monitor.source import Bools, Floats, Ints
from monitor.statistic import LASTING, NullModel, Statistic, StatisticKind
from monitor.stats.calibration import Calibration
from monitor.stats.multiplicity import adjusted, smallest_p
from monitor.stats.neyman import shifted

MATERIALITY = 0.05  # training standard deviations
SHARE_MATERIALITY = 0.02  # of rows
FEWEST_OUTSIDE = 3  # rows; one stray row is no window outside the range


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
    bent: Ints
    """Positions of components after the first, ``first`` those of their column's first, ``order`` which they are."""
    first: Ints
    order: Ints

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
        order = np.array([one.order for one in statistics], np.int64)
        bent = np.flatnonzero(order > 1)
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
            bent=bent,
            first=bent - order[bent] + 1,
            order=order[bent],
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
        everything = self._unbent(calibration, theta, slot)
        full = everything / calibration.scale(n)
        z, deviation = full[self.places], everything[self.places]
        combined, chosen = self._combined(calibration.p_of(full, n)[self.places], deviation)
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

    def smallest(self, calibration: Calibration, theta: Floats, n: Floats, slots: Ints) -> Floats:
        """Return the smallest adjusted p-value of the fast path in each of W windows (W,), 1 where nothing is judged.

        ``theta`` and ``n`` (W, C) are those of the whole null model.
        """
        deviation = self._unbent(calibration, theta, slots)
        p = calibration.p_of(deviation / calibration.scale(n), n)
        pairs = zip(p[:, self.places], deviation[:, self.places], strict=True)
        return np.array([np.nanmin(adjusted(self._combined(*one)[0]), initial=1.0) for one in pairs], np.float64)

    def _combined(self, p: Floats, deviation: Floats) -> tuple[Floats, Ints]:
        """Return each column's p-value and the statistic that it is from, given those of one window's statistics."""
        gate = np.abs(np.nan_to_num(deviation)) >= self.materiality
        return smallest_p(p, self.owner, len(self.names), gate=gate)

    def _unbent(self, calibration: Calibration, theta: Floats, slot: int | Ints) -> Floats:
        """Return all deviations (..., C), those of spread and shape without what their column's shift explains."""
        deviation = calibration.deviation(theta, slot)
        first = self.places[self.first]
        usual = calibration.mean[slot][..., first]
        moved = shifted(usual + deviation[..., first]) - shifted(usual)
        explained = moved[..., np.arange(len(self.bent)), self.order - 2]
        own = deviation[..., self.places[self.bent]]
        same = np.where(own * explained > 0, np.minimum(np.abs(own), np.abs(explained)), 0.0)
        deviation[..., self.places[self.bent]] = own - np.sign(own) * same
        return deviation


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


def outside_range(profiles: Sequence[Profile], names: Sequence[str], lows: Floats, highs: Floats) -> Bools:
    """Return for which numeric columns all usable rows (three at least) lie below ``lows`` or above ``highs``.

    ``lows`` and ``highs`` (columns of the layout,) are a training's extremes. The result is (profiles, columns).
    """
    if not profiles:
        return np.zeros((0, len(names)), np.bool_)
    layout = profiles[0].layout
    at = np.array([layout.index[name] for name in names], np.int64)
    low, high = np.array([one.lows[at] for one in profiles]), np.array([one.highs[at] for one in profiles])
    numeric = [isinstance(layout.columns[i], NumericColumn) for i in at.tolist()]
    found = ((low > highs[at]) | (high < lows[at])) & numeric & np.isfinite(lows[at])
    for row, column in np.argwhere(found).tolist():
        found[row, column] = profiles[row].columns[names[column]].count >= FEWEST_OUTSIDE
    return np.asarray(found, np.bool_)
