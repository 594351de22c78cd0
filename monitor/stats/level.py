"""Levels of one measured series against its own recent normal: usual level, sudden multiple, steady climb."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Climb:
    """A monotone trend: ``slope`` in units per second (Theil-Sen), ``z`` of Mann-Kendall, total ``rise`` in units."""

    slope: float
    z: float
    rise: float


def usual(levels: Floats) -> float:
    """Return the usual level: the median of block levels, NaN without any.

    >>> usual(np.array([10.0, 11.0, 10.0, 90.0]))
    10.5
    """
    return float(np.median(levels)) if len(levels) else math.nan


def climb(seconds: Floats, values: Floats) -> Climb:
    """Return the trend of ``values`` over time, robust against single spikes.

    Theil-Sen slope (median of pairwise slopes; Sen 1968) and the z of Mann-Kendall without ties correction. Needs few
    points (it compares all pairs); not good for series with a season shorter than their length.

    >>> found = climb(np.arange(10.0), 3.0 * np.arange(10.0))
    >>> found.slope, round(found.z, 2), found.rise
    (3.0, 3.94, 27.0)
    """
    n = len(values)
    if n < 3:
        return Climb(slope=0.0, z=0.0, rise=0.0)
    i, j = np.triu_indices(n, 1)
    gaps = seconds[j] - seconds[i]
    apart = gaps > 0
    changes = (values[j] - values[i])[apart]
    if not len(changes):
        return Climb(slope=0.0, z=0.0, rise=0.0)
    slope = float(np.median(changes / gaps[apart]))
    score = float(np.sign(changes).sum())
    z = (score - math.copysign(1, score)) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18) if score else 0.0
    return Climb(slope=slope, z=z, rise=slope * float(seconds[-1] - seconds[0]))
