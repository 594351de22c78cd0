"""Levels of one measured series against its own recent normal: what is usual, and whether it climbs steadily."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Climb:
    """A monotone trend: ``slope`` in units per second (Theil-Sen), ``z`` of Mann-Kendall, total ``rise`` in units.

    ``steadiness`` is the slope of the later half divided by the slope of the whole: 1 for a straight line, near 0 for
    what has levelled off.
    """

    slope: float = 0.0
    z: float = 0.0
    rise: float = 0.0
    steadiness: float = 0.0


def usual(levels: Sequence[float], weights: Sequence[float]) -> float:
    """Return the usual level: the weighted median, halfway between two where both fit; NaN without any.

    >>> usual([10.0, 11.0, 10.0, 90.0], [1, 1, 1, 1]), usual([10.0, 90.0], [9, 1])
    (10.5, 10.0)
    """
    if not len(levels):
        return math.nan
    order = np.argsort(levels, kind="stable")
    ordered = np.asarray(levels, dtype=np.float64)[order]
    reached = np.cumsum(np.asarray(weights, dtype=np.float64)[order])
    half = reached[-1] / 2
    low = int(np.searchsorted(reached, half))
    high = int(np.searchsorted(reached, half, side="right"))
    return float((ordered[low] + ordered[min(high, len(ordered) - 1)]) / 2)


def climb(seconds: Floats, values: Floats) -> Climb:
    """Return the trend of ``values`` over time, robust against single spikes.

    Theil-Sen slope (median of pairwise slopes; Sen 1968) and the z of Mann-Kendall (1945) without ties correction.
    Needs few points (it compares all pairs); not good for series with a season longer than their length.

    >>> found = climb(np.arange(10.0), 3.0 * np.arange(10.0))
    >>> found.slope, round(found.z, 2), found.rise, found.steadiness
    (3.0, 3.94, 27.0, 1.0)
    """
    n = len(values)
    if n < 3:
        return Climb()
    slope = _slope(seconds, values)
    i, j = np.triu_indices(n, 1)
    score = float(np.sign(values[j] - values[i]).sum())
    z = (score - math.copysign(1, score)) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18) if score else 0.0
    late = _slope(seconds[n // 2 :], values[n // 2 :])
    return Climb(
        slope=slope,
        z=z,
        rise=slope * float(seconds[-1] - seconds[0]),
        steadiness=late / slope if slope else 0.0,
    )


def _slope(seconds: Floats, values: Floats) -> float:
    i, j = np.triu_indices(len(values), 1)
    gaps = seconds[j] - seconds[i]
    apart = gaps > 0
    return float(np.median((values[j] - values[i])[apart] / gaps[apart])) if apart.any() else 0.0


def thin(entries: list[list[float]], most: int) -> list[list[float]]:
    """Return at most ``most`` of ``[time, level, weight]``: neighbours that weigh least become one, at their mean.

    >>> thin([[0, 10, 1], [1, 20, 1], [2, 30, 2]], 2)
    [[0, 15.0, 2], [2, 30, 2]]
    """
    kept = list(entries)
    while len(kept) > most:
        at = min(range(len(kept) - 1), key=lambda i: kept[i][2] + kept[i + 1][2])
        (time, one, weight), (_, other, more) = kept[at], kept[at + 1]
        kept[at : at + 2] = [[time, (one * weight + other * more) / (weight + more), weight + more]]
    return kept
