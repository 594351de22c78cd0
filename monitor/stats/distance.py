"""Distances between two distributions given as counts on the same cells: shown and stored, never alarms by themselves.

Every function takes the counts of the reference and of the current window. With few rows all of them are far from 0
although nothing has changed; only the bias-corrected PSI, KS and chi-square know about that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, kolmogorov

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SMOOTHING = 0.5  # rows added to each cell, on both sides alike
CELLS = 20
ROWS_PER_CELL = 10
SMALL_CELL = 5.0  # expected rows below which the chi-square approximation fails


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A statistic with its p-value."""

    statistic: float
    p_value: float


def shares(counts: ArrayLike) -> Floats:
    """Return counts as shares; NaN for no rows."""
    counts = np.asarray(counts, np.float64)
    total = counts.sum()
    return counts / total if total > 0 else np.full(len(counts), np.nan)


def cells_for(n: float, most: int = CELLS) -> int:
    """Return how many cells a window of n rows can fill: ten rows each, between 2 and 20.

    >>> cells_for(50), cells_for(120), cells_for(10_000)
    (5, 12, 20)
    """
    return int(np.clip(n // ROWS_PER_CELL, 2, most))


def merged(reference: ArrayLike, current: ArrayLike, cells: int) -> tuple[Floats, Floats]:
    """Return both counts on about ``cells`` neighbouring groups of bins of equal reference mass.

    A bin belongs to the group its middle rank falls in, so bins outside the training range join the outermost groups
    and an atom keeps a group for itself. For ordered bins only.

    >>> merged([0, 10, 10, 10, 10, 0], [3, 10, 10, 10, 10, 4], 2)
    (array([20., 20.]), array([23., 24.]))
    """
    reference, current = np.asarray(reference, np.float64), np.asarray(current, np.float64)
    p = shares(reference)
    place = np.clip(((np.cumsum(p) - p / 2) * cells).astype(np.int64), 0, cells - 1)
    old = np.bincount(place, weights=reference, minlength=cells).astype(np.float64)
    new = np.bincount(place, weights=current, minlength=cells).astype(np.float64)
    kept = (old > 0) | (new > 0)
    return old[kept], new[kept]


def lumped(reference: ArrayLike, current: ArrayLike, cells: int) -> tuple[Floats, Floats]:
    """Return both counts on the most frequent reference values and the rest of them, ``cells`` at most.

    The last entry (values that the reference does not have) stays by itself. For categories without order.

    >>> lumped([50, 30, 2, 1, 0], [40, 30, 5, 5, 9], 4)
    (array([50., 30.,  3.,  0.]), array([40., 30., 10.,  9.]))
    """
    reference, current = np.asarray(reference, np.float64), np.asarray(current, np.float64)
    known = len(reference) - 1
    keep = max(1, cells - 2)
    order = np.argsort(-reference[:known], kind="stable")
    old = np.array([*reference[order[:keep]], reference[order[keep:]].sum(), reference[known]])
    new = np.array([*current[order[:keep]], current[order[keep:]].sum(), current[known]])
    kept = (old > 0) | (new > 0)
    return old[kept], new[kept]


def psi(reference: ArrayLike, current: ArrayLike) -> float:
    """Return the population stability index Σ (q − p) ln(q / p), in nats, on shares smoothed by half a row per cell.

    Symmetric but for the sample sizes, ≥ 0, no upper end. Not good for small windows: without any change its mean is
    (B − 1)(1/n + 1/m) (Yurdakul 2018); compare ``psi_corrected``. Blind to what happens inside a cell.

    >>> round(psi([500, 500], [600, 400]), 4)
    0.0405
    """
    p, q = _smoothed(reference), _smoothed(current)
    return max(0.0, float(np.sum((q - p) * np.log(q / p))))


def psi_corrected(reference: ArrayLike, current: ArrayLike) -> float:
    """Return PSI less its mean when nothing has changed, max(0, PSI − (B − 1)(1/n + 1/m)), in nats.

    Comparable across sample sizes from ten rows per cell on; below that the correction is too small.

    >>> round(psi_corrected([500, 500], [600, 400]), 4)  # .0405 - .002
    0.0385
    """
    n, m = float(np.sum(current)), float(np.sum(reference))
    if not n or not m:
        return float("nan")
    return max(0.0, psi(reference, current) - (len(np.asarray(reference)) - 1) * (1 / n + 1 / m))


def jensen_shannon(reference: ArrayLike, current: ArrayLike) -> float:
    """Return the Jensen–Shannon distance: the square root of the divergence in nats, from 0 to √ln 2 = .8326.

    Symmetric, a metric (Endres, Schindelin 2003). Not good for small windows (about √((B − 1)(1/n + 1/m) / 8) without
    any change) and for columns of many values.

    >>> round(jensen_shannon([1, 0], [0, 1]), 4)
    0.8326
    """
    p, q = shares(reference), shares(current)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p > 0, p * np.log(p / middle), 0.0).sum()
        right = np.where(q > 0, q * np.log(q / middle), 0.0).sum()
    divergence = float(left + right) / 2
    if not np.isfinite(p).all() or not np.isfinite(q).all():
        return float("nan")
    return float(np.sqrt(max(0.0, divergence if divergence > 1e-15 else 0.0)))


def total_variation(reference: ArrayLike, current: ArrayLike) -> float:
    """Return half the sum of |q − p|: the share of rows that would have to change, from 0 to 1. Symmetric.

    Not good for order: a shift by one cell and one by ten cells are the same.

    >>> round(total_variation([50, 50], [60, 40]), 6)
    0.1
    """
    return float(np.abs(shares(current) - shares(reference)).sum() / 2)


def hellinger(reference: ArrayLike, current: ArrayLike) -> float:
    """Return √(½ Σ (√p − √q)²), from 0 to 1. Symmetric, a metric. Not good for order and for small windows.

    >>> hellinger([1, 0], [0, 1])
    1.0
    """
    gap = np.sqrt(shares(current)) - np.sqrt(shares(reference))
    return float(np.sqrt((gap**2).sum() / 2))


def l_infinity(reference: ArrayLike, current: ArrayLike) -> float:
    """Return the largest |q − p| of any one cell, from 0 to 1. Symmetric. Not good for changes spread over many cells.

    >>> round(l_infinity([50, 30, 20], [50, 20, 30]), 6)
    0.1
    """
    return float(np.abs(shares(current) - shares(reference)).max())


def kolmogorov_smirnov(reference: ArrayLike, current: ArrayLike) -> Tested:
    """Return the largest gap of the cumulative shares on ordered bins, and its asymptotic p-value.

    Within the largest reference bin's share of the value on raw rows (.002 with 256 quantile bins). The p-value is
    Kolmogorov's with Stephens' correction; it is too large where much mass is tied. Not good for large or clustered
    windows: every difference becomes significant.

    >>> kolmogorov_smirnov([50, 50], [60, 40]).statistic.__round__(6)
    0.1
    """
    p, q = shares(reference), shares(current)
    statistic = float(np.abs(np.cumsum(q) - np.cumsum(p)).max())
    n, m = float(np.sum(current)), float(np.sum(reference))
    if not n or not m:
        return Tested(statistic=float("nan"), p_value=float("nan"))
    root = np.sqrt(n * m / (n + m))
    return Tested(statistic=statistic, p_value=float(kolmogorov((root + 0.12 + 0.11 / root) * statistic)))


def wasserstein(points: ArrayLike, reference: ArrayLike, current: ArrayLike, scale: float) -> float:
    """Return ∫ |F − G| dx between ascending representatives of bins, in units of ``scale`` (IQR / 1.349 of training).

    A pure shift by one robust standard deviation gives 1. Symmetric. NaN without a positive scale. Not good where one
    value far out is an error: it pays for its whole distance.

    >>> wasserstein([0.0, 1.0, 2.0], [10, 0, 0], [0, 0, 10], 2.0)
    1.0
    """
    if not scale > 0:
        return float("nan")
    gap = np.abs(np.cumsum(shares(current)) - np.cumsum(shares(reference)))[:-1]
    return float((gap * np.diff(np.asarray(points, np.float64))).sum() / scale)


def chi_squared(reference: ArrayLike, current: ArrayLike) -> Tested:
    """Return Pearson's two-sample statistic on a 2 × B table and its p-value with B − 1 degrees of freedom.

    Cells whose expected rows are below 5 on either side are pooled, with the next smallest where that is not enough.
    Both sides are samples: a reference taken as exact would alarm five times too often. Not good for clustered rows.

    >>> test = chi_squared([50, 50], [60, 40])
    >>> round(test.statistic, 3), round(test.p_value, 3)
    (2.02, 0.155)
    """
    table = np.stack([np.asarray(reference, np.float64), np.asarray(current, np.float64)])
    sides, columns = table.sum(axis=1), table.sum(axis=0)
    if not sides.all():
        return Tested(statistic=float("nan"), p_value=float("nan"))
    order = np.argsort(columns, kind="stable")
    expected_rows = columns[order] * sides.min() / sides.sum()
    pooled = int((expected_rows < SMALL_CELL).sum())
    while 0 < pooled < len(order) and expected_rows[:pooled].sum() < SMALL_CELL:
        pooled += 1
    if pooled:
        pool = table[:, order[:pooled]].sum(axis=1, keepdims=True)
        table = np.concatenate([table[:, order[pooled:]], pool], axis=1)
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return Tested(statistic=0.0, p_value=1.0)
    expected = np.outer(sides, table.sum(axis=0)) / sides.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return Tested(statistic=statistic, p_value=float(chdtrc(table.shape[1] - 1, statistic)))


def _smoothed(counts: ArrayLike) -> Floats:
    counts = np.asarray(counts, np.float64)
    return np.asarray((counts + SMOOTHING) / (counts.sum() + SMOOTHING * len(counts)), np.float64)
