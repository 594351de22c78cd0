"""Errors of means over windows that resemble their neighbours, and bounds by drawing windows again."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def lag_correlation(values: ArrayLike) -> float:
    """Return the correlation of neighbours (Pearson, lag 1); 0 for fewer than six finite values or none that vary."""
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    if len(x) < 6 or x[:-1].std() < 1e-12 or x[1:].std() < 1e-12:
        return 0.0
    return float(np.corrcoef(x[:-1], x[1:])[0, 1])


def inflation(rho: float, most: float = 0.9) -> float:
    """Return (1 + ρ) / (1 − ρ), by how much the variance of a mean exceeds that of independent values; at least 1.

    >>> round(inflation(0.5), 6)
    3.0
    """
    positive = max(rho, 0.0)
    return (1 + positive) / (1 - min(positive, most))


def mean_with_error(values: ArrayLike) -> tuple[float, float]:
    """Return the mean of values in order of time and its standard error with the correlation of neighbours."""
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    if len(x) < 2:
        return (float(x[0]) if len(x) else math.nan), math.inf
    rho = lag_correlation(x) if len(x) > 4 else 0.0
    return float(x.mean()), float(x.std(ddof=1) / math.sqrt(len(x)) * math.sqrt(inflation(rho)))


def mean_shift(current: ArrayLike, reference: ArrayLike) -> float:
    """Return z of the difference of two means of windows, with the reference's variance and autocorrelation.

    NaN with fewer than five current or three reference values.
    """
    x, r = (np.asarray(v, np.float64) for v in (current, reference))
    x, r = x[np.isfinite(x)], r[np.isfinite(r)]
    if len(x) < 5 or len(r) < 3:
        return math.nan
    variance = r.var(ddof=1) * inflation(lag_correlation(r)) * (1 / len(x) + 1 / len(r))
    return float((x.mean() - r.mean()) / math.sqrt(max(variance, 1e-300)))


def skill(losses: ArrayLike, baselines: ArrayLike) -> float:
    """Return 1 − Σ losses / Σ baseline losses: 0 is no better than the baseline, 1 is perfect."""
    total = float(np.sum(np.asarray(baselines, np.float64)))
    return 1 - float(np.sum(np.asarray(losses, np.float64))) / max(total, 1e-9)


def skill_bound(
    losses: ArrayLike, baselines: ArrayLike, level: float, rng: np.random.Generator, draws: int = 200
) -> float:
    """Return the ``level`` quantile of the skill over draws of windows with replacement.

    ``losses`` and ``baselines`` are sums per window; whole windows are drawn because rows of one window are alike.
    """
    a, b = np.asarray(losses, np.float64), np.asarray(baselines, np.float64)
    if not len(a):
        return math.nan
    drawn = rng.integers(0, len(a), (draws, len(a)))
    values = 1 - a[drawn].sum(axis=1) / np.maximum(b[drawn].sum(axis=1), 1e-9)
    return float(np.quantile(values, level))
