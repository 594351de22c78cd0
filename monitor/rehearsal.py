"""Rehearsal: the fast path on windows of training that its calibration did not see, and the level that follows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from monitor.check import Budget
from monitor.memo import per_reference
from monitor.panel import MATERIALITY, Panel, outside_range
from monitor.reference import Reference
from monitor.source import Floats
from monitor.statistic import null_model, on_holidays
from monitor.stats.calibration import calibrate

FEWEST_BLOCKS, MOST_BLOCKS = 3, 16
LARGEST_P, SMALLEST_P = 0.2, 1e-6  # of the windows that tell how often p is small
BELIEF = 3.0  # windows
LOWEST = 0.01  # of the nominal level: below it a monitor would see nothing


@per_reference
def rehearse(reference: Reference, materiality: float, holidays: frozenset[str]) -> Floats:
    """Return the smallest p-value of each window of training that is judged by the others, 0 outside their range.

    One week of windows after the other (or an eighth, where training has no weeks) is left out and judged; of long
    trainings sixteen of them, evenly spread. ``materiality`` is that of the panel, 0 turns it off for shares too. Empty
    where fewer than three blocks make it unmeasurable. Windows on ``holidays`` take no part.
    """
    null = null_model(reference, holidays)
    special = on_holidays(reference, holidays)
    names = [column.name for column in reference.layout.columns if column.clock is None]
    panel = Panel.of(null, names, materiality)
    if materiality <= 0:
        panel = replace(panel, materiality=np.zeros(len(panel.materiality)))
    K = len(null.theta)
    length = 7 if null.seasons == 7 else max(1, math.ceil(K / 8))
    block = np.arange(K) // length
    blocks = int(block.max()) + 1 if K else 0
    if blocks < FEWEST_BLOCKS or not len(panel.places):
        return np.zeros(0)
    unit, row = null.statistics.unit, null.statistics.row
    lows = np.array([profile.lows for profile in reference.profiles])
    highs = np.array([profile.highs for profile in reference.profiles])
    found = []
    for left_out in np.unique(np.linspace(0, blocks - 1, min(blocks, MOST_BLOCKS)).astype(np.int64)).tolist():
        inside = block != left_out
        fitted = calibrate(null.theta[inside], null.n[inside], unit, null.slots[inside], null.seasons, row)
        low, high = lows[inside].min(axis=0), highs[inside].max(axis=0)
        for t in np.flatnonzero(~inside & ~special).tolist():
            outside = outside_range(reference.profiles[t], names, low, high)
            p = panel.judge(fitted, null.theta[t], null.n[t], int(null.slots[t]), 1.0).p_adjusted
            found.append(0.0 if outside.any() else float(np.nanmin(p, initial=1.0)))
    return np.array(found)


def level_of(
    reference: Reference, q: float, *, materiality: float = MATERIALITY, holidays: frozenset[str] = frozenset()
) -> float:
    """Return the level at which the fast path flags a share q of training's windows, at most q itself.

    Where natural variation is heavier than any tail that is believed, or training wanders from month to month, p-values
    are smaller than they should be; at q more windows would be flagged than the budget has. See ``level_at``.
    """
    p = rehearse(reference, materiality, holidays)
    return level_at(p, q) if len(p) else q


def achieved_rate(
    reference: Reference,
    budget: Budget,
    *,
    materiality: float = MATERIALITY,
    holidays: frozenset[str] = frozenset(),
) -> float:
    """Return the share of training windows that the fast path would flag when calibrated on the others.

    It is judged at ``level_of``; compare with the nominal ``budget.q``. NaN where it is unmeasurable; below 28 windows
    it says little.
    """
    p = rehearse(reference, materiality, holidays)
    return rate_at(p, level_at(p, budget.q)) if len(p) else math.nan


def rate_at(p: Floats, q: float) -> float:
    """Return how often p would be at most q, from a sample of p-values.

    Fewer than a hundred windows cannot count what happens once in a hundred, so the rate at q is drawn from those up to
    p = .2: their number, and how fast they thin out (Hill 1975), with the weight of three windows on a uniform p.

    >>> round(rate_at(np.linspace(0.001, 1, 1000), 0.01), 2)
    0.01
    """
    share, slope = _thinning(p)
    return float(share * min(q / LARGEST_P, 1.0) ** slope)


def level_at(p: Floats, q: float) -> float:
    """Return the level whose rate is q (``rate_at``), at most q and at least a hundredth of it.

    >>> round(level_at(np.linspace(0.001, 1, 1000) ** 2, 0.01), 5)  # p is below .0001 in a hundredth of windows
    0.00011
    """
    share, slope = _thinning(p)
    if share * (q / LARGEST_P) ** slope <= q:
        return q
    return float(max(LARGEST_P * (q / share) ** (1 / slope), LOWEST * q))


def _thinning(p: Floats) -> tuple[float, float]:
    """Return the share of p-values up to ``LARGEST_P``, and the power with which smaller ones become rare."""
    small = np.maximum(p[p <= LARGEST_P], SMALLEST_P)
    return len(small) / len(p), (len(small) + BELIEF) / (np.log(LARGEST_P / small).sum() + BELIEF)
