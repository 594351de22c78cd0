"""Confidence sequences: intervals of a mean that may be looked at after every row, and how much longer they need."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNSEEN = 4.0  # rows of the largest possible difference that are added to the variance: what is rare has not come yet
FAR = 1e12  # rows; what needs more is called never


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean with its interval; ``deviation`` is that of one row, with what clusters of rows add to it."""

    rows: int
    value: float
    low: float
    high: float
    deviation: float


def radius(rows: float, deviation: float, *, alpha: float = 0.05, planned: float = 2000.0) -> float:
    """Return half the width of a confidence sequence of a mean after so many rows.

    σ √(2 (n ρ² + 1) / (n² ρ²) · log(√(n ρ² + 1) / α)), asymptotic and two-sided: Waudby-Smith, Arbour, Sinha, Kennedy,
    Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", theorem 2.2. With probability
    1 − α the mean lies within it at *every* n, so it may be looked at always. ``planned`` rows are where it is
    narrowest (ρ² = (−2 log α + log(1 − 2 log α)) / planned).

    Not good for: the first rows (fewer than a few dozen), means that move.

    >>> round(radius(2000, 1.0), 4), round(1.96 / 2000**0.5, 4)  # beside one that may be looked at once
    (0.0679, 0.0438)
    """
    if rows < 1:
        return math.inf
    rho = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / planned
    grown = rows * rho + 1
    return deviation * math.sqrt(2 * grown / (rows**2 * rho) * math.log(math.sqrt(grown) / alpha))


def clustering(values: ArrayLike, clusters: ArrayLike) -> float:
    """Return by how much the variance of a mean exceeds that of independent rows, at least 1.

    Σ_w (n_w (m_w − m))² · W / (W − 1) / (N σ²), the variance of a ratio of sums over W clusters (Kish's design effect).
    1 where there are fewer than ten clusters: nothing is known of them then.

    >>> clustering(np.tile([0.0, 1.0], 50), np.repeat(np.arange(10), 10))
    1.0
    >>> clustering(np.repeat([0.0, 1.0] * 5, 10), np.repeat(np.arange(10), 10))  # ten rows that are one
    11.11111111111111
    """
    x = np.asarray(values, np.float64)
    _, owner = np.unique(np.asarray(clusters), return_inverse=True)
    count = int(owner.max()) + 1 if len(owner) else 0
    variance = float(x.var()) if len(x) else 0.0
    if count < 10 or not variance:
        return 1.0
    sums = np.bincount(owner, weights=x - x.mean(), minlength=count)
    return max(1.0, float((sums**2).sum()) * count / (count - 1) / (len(x) * variance))


def mean_of(
    values: ArrayLike,
    *,
    largest: float,
    clusters: ArrayLike | None = None,
    alpha: float = 0.05,
    planned: float = 2000.0,
) -> Mean:
    """Return the mean of rows with its confidence sequence; not finite values are refused with ValueError.

    ``largest`` is the largest absolute value that a row can have: four rows of it are added to the variance, because a
    difference that comes once in a thousand rows leaves the first hundred without any variance at all. ``clusters``
    names the window of each row.

    >>> mean = mean_of([0.0] * 1000, largest=1.0)
    >>> mean.value, round(mean.high, 4)
    (0.0, 0.0062)
    """
    x: NDArray[np.float64] = np.asarray(values, np.float64)
    if not np.isfinite(x).all():
        raise ValueError("a mean needs finite values")
    if not len(x):
        return Mean(rows=0, value=math.nan, low=-math.inf, high=math.inf, deviation=math.nan)
    effect = 1.0 if clusters is None else clustering(x, clusters)
    deviation = math.sqrt(effect * float(x.var()) + UNSEEN * largest**2 / len(x))
    half = radius(len(x), deviation, alpha=alpha, planned=planned)
    value = float(x.mean())
    return Mean(rows=len(x), value=value, low=value - half, high=value + half, deviation=deviation)


def difference(one: Mean, other: Mean) -> Mean:
    """Return the mean of ``one`` minus that of ``other``, of other rows: both intervals hold, so their ends do.

    The error rates add up: give each half of ``alpha``.
    """
    return Mean(
        rows=min(one.rows, other.rows),
        value=one.value - other.value,
        low=one.low - other.high,
        high=one.high - other.low,
        deviation=one.deviation + other.deviation,
    )


def rows_needed(mean: Mean, bound: float, *, alpha: float = 0.05, planned: float = 2000.0) -> float:
    """Return how many rows in all until the interval leaves out a bound, if the mean stays what it is; inf for never.

    >>> mean = mean_of(np.tile([1.0, -1.0], 50), largest=1.0)
    >>> needed = rows_needed(mean, 0.1)
    >>> radius(needed, mean.deviation) <= 0.1 < radius(needed - 1, mean.deviation)
    True
    """
    distance = abs(bound - mean.value)
    if not mean.rows or not distance > 0:
        return math.inf
    low, high = 1.0, 2.0
    while radius(high, mean.deviation, alpha=alpha, planned=planned) > distance:
        low, high = high, 2 * high
        if high > FAR:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        fits = radius(middle, mean.deviation, alpha=alpha, planned=planned) <= distance
        low, high = (low, middle) if fits else (middle, high)
    return max(high, float(mean.rows))
