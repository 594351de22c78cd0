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
LARGEST_P, SMALLEST_P = 0.3, 1e-6  # of the windows that tell how often p is small
BELIEF = 3.0  # windows
BELIEVED = 0.7  # the power with which p becomes rare, before any window is seen
HEAVIER = 10.0  # how much slower it becomes rare by 1 / ν: where tails are heavy, those beyond what is believed are too
LOWEST, HIGHEST = 0.01, 2.0  # of the nominal level: below, a monitor would see nothing; above, training is too short


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
    profiles = list(reference.profiles)
    lows, highs = np.array([one.lows for one in profiles]), np.array([one.highs for one in profiles])
    found = []
    for left_out in np.unique(np.linspace(0, blocks - 1, min(blocks, MOST_BLOCKS)).astype(np.int64)).tolist():
        inside = block != left_out
        fitted = calibrate(null.theta[inside], null.n[inside], unit, null.slots[inside], null.seasons, row)
        low, high = lows[inside].min(axis=0), highs[inside].max(axis=0)
        judged = np.flatnonzero(~inside & ~special)
        outside = outside_range([profiles[t] for t in judged.tolist()], names, low, high).any(axis=1)
        smallest = panel.smallest(fitted, null.theta[judged], null.n[judged], null.slots[judged])
        found.append(np.where(outside, 0.0, smallest))
    return np.concatenate(found)


def level_of(
    reference: Reference, q: float, *, materiality: float = MATERIALITY, holidays: frozenset[str] = frozenset()
) -> float:
    """Return the level at which the fast path is expected to flag a share q of windows like training's.

    Where natural variation is heavier than any tail that is believed, or training wanders from month to month, p-values
    are smaller than they should be; at q more windows would be flagged than the budget has. Where columns tell the
    same, or tails are believed that are not there, they are larger, and a monitor at q would be blind to some of what
    it may see. See ``level_at``; q itself where training is too short for a rehearsal.
    """
    p = rehearse(reference, materiality, holidays)
    return level_at(p, q, heaviness(reference, holidays)) if len(p) else q


def heaviness(reference: Reference, holidays: frozenset[str]) -> float:
    """Return the mean 1 / ν of the natural variation of first statistics (not of shapes); 0 is a bell's."""
    null = null_model(reference, holidays)
    first = null.season.tail[null.statistics.row.kin == 0]
    return float(first[np.isfinite(first)].mean()) if np.isfinite(first).any() else 0.0


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
    return rate_at(p, level_at(p, budget.q, heaviness(reference, holidays))) if len(p) else math.nan


def rate_at(p: Floats, q: float) -> float:
    """Return how often p is at most q, from a sample of p-values.

    Fewer than a hundred windows cannot count what happens once in a hundred, so the rate at q is drawn from those up to
    p = .3: their number, and the power with which smaller ones become rare (Hill 1975), both with three windows' worth
    of belief in a uniform p.

    >>> round(rate_at(np.linspace(0.001, 1, 1000), 0.01), 2)
    0.01
    """
    share, windows, total = _thinning(p)
    return float(share * (min(q, LARGEST_P) / LARGEST_P) ** ((windows + BELIEF) / (total + BELIEF)))


def level_at(p: Floats, q: float, heavy: float = 0.0) -> float:
    """Return the level that a new window's p is expected to reach with probability q; from a hundredth of q to twice q.

    Ten windows tell the power of ``rate_at`` only roughly, and the mean rate over all powers that fit is higher than
    the rate of the best: with a gamma prior it is (1 + ln(.3 / level) / Σ)^−windows, a power of the logarithm. That
    prior holds that small p are a little less rare than uniform ones, and less so the heavier (1 / ν) the tails are.

    >>> round(level_at(np.linspace(0.001, 1, 1000) ** 2, 0.01), 5)  # p is below .0001 in a hundredth of windows
    0.0001
    """
    share, windows, total = _thinning(p)
    believed = BELIEVED / (1 + HEAVIER * heavy)
    away = (total + BELIEF / believed) * ((max(share, q) / q) ** (1 / (windows + BELIEF)) - 1)
    return float(np.clip(LARGEST_P * math.exp(-away), LOWEST * q, HIGHEST * q))


def _thinning(p: Floats) -> tuple[float, int, float]:
    """Return the share of p-values up to ``LARGEST_P``, the windows that have one, the sum of their log distances."""
    small = np.maximum(p[p <= LARGEST_P], SMALLEST_P)
    share = (len(small) + BELIEF * LARGEST_P) / (len(p) + BELIEF)
    return share, len(small), float(np.log(LARGEST_P / small).sum())
