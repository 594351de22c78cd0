"""Figures of a regression from sums, and the quantiles of a histogram."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

STEPS = 100


def mean_and_error(n: float, total: float, squares: float) -> tuple[float, float]:
    """Return the mean of n values and its standard error from Σx and Σx²; NaN where it cannot be told.

    >>> mean_and_error(4, 10, 30)  # 1, 2, 3, 4
    (2.5, 0.6454972243679028)
    """
    if n <= 0:
        return math.nan, math.nan
    mean = total / n
    if n < 2:
        return mean, math.nan
    return mean, math.sqrt(max(squares / n - mean**2, 0.0) / (n - 1))


def r_squared(n: float, error2: float, label: float, label2: float) -> float:
    """Return 1 − Σ(y − p)² / Σ(y − ȳ)²; NaN when the labels do not vary."""
    if n < 2:
        return math.nan
    spread = label2 - label**2 / n
    return 1 - error2 / spread if spread > 1e-12 * max(label2, 1e-300) else math.nan


def absolute_fit(x: ArrayLike, y: ArrayLike, weights: ArrayLike) -> tuple[float, float]:
    """Return slope and intercept of the line of least absolute error of y on x (N,), each point with a weight (N,).

    Weighted least squares, repeated with 1 / |residual| (Schlossmacher 1973): a few labels that cannot be right do not
    turn the line, as they turn that of least squares. (1, median gap) if x does not vary; NaN without weight.

    >>> slope, intercept = absolute_fit([0, 1, 2, 3, 4], [1, 3, 5, 7, 900], np.ones(5))
    >>> round(slope, 1), round(intercept, 1)
    (2.0, 1.0)
    """
    x, y, w = (np.asarray(v, np.float64) for v in (x, y, weights))
    x, y, w = x[w > 0], y[w > 0], w[w > 0]
    if not len(x):
        return math.nan, math.nan
    centre = float(np.average(x, weights=w))
    away = x - centre
    order = np.argsort(y - x, kind="stable")
    flat = 1.0, weighted_median((y - x)[order], w[order])
    if float(np.average(away**2, weights=w)) <= 1e-12 * max(float(np.average(x**2, weights=w)), 1e-300):
        return flat
    slope, height = flat[0], flat[1] + centre
    floor = 1e-4 * max(float(np.average(np.abs(y - slope * away - height), weights=w)), 1e-12)
    for _ in range(STEPS):
        own = w / np.maximum(np.abs(y - slope * away - height), floor)
        total, first, second = own.sum(), own @ away, own @ away**2
        spread = second - first**2 / total
        if spread <= 1e-12 * second:
            break
        fresh = float((own @ (away * y) - first * (own @ y) / total) / spread)
        moved = float((own @ y - fresh * first) / total)
        still = abs(fresh - slope) <= 1e-9 * max(abs(slope), 1e-9) and abs(moved - height) <= 1e-9 * max(abs(height), 1)
        slope, height = fresh, moved
        if still:
            break
    return slope, height - slope * centre


def representatives(edges: ArrayLike, counts: ArrayLike, total: float) -> Floats:
    """Return one value per bin of a histogram: the middle, and for the two open ends what ``total`` leaves for them.

    ``counts`` has one entry more than ``edges``; ``total`` is the sum of all values. The rest of the sum goes to the
    fuller of the two ends; the other keeps its edge. The outermost closed bins reach to the most extreme training
    values, far from where their mass is, so they are represented close to their inner edge.
    """
    edges = np.asarray(edges, np.float64)
    counts = np.asarray(counts, np.float64)
    middle = (edges[1:] + edges[:-1]) / 2
    if len(edges) > 3:
        middle[0] = max(middle[0], edges[1] - (edges[2] - edges[1]))
        middle[-1] = min(middle[-1], edges[-2] + (edges[-2] - edges[-3]))
    values = np.concatenate([edges[:1], middle, edges[-1:]])
    end = len(values) - 1 if counts[-1] >= counts[0] else 0
    if counts[end]:
        rest = (total - float(counts @ values) + counts[end] * values[end]) / counts[end]
        values[end] = max(rest, edges[-1]) if end else min(rest, edges[0])
    return values


def weighted_median(values: ArrayLike, counts: ArrayLike) -> float:
    """Return the value at half the counts; NaN without any. ``values`` ascend."""
    held = np.cumsum(np.asarray(counts, np.float64))
    if not len(held) or not held[-1]:
        return math.nan
    return float(np.asarray(values, np.float64)[int(np.searchsorted(held, held[-1] / 2))])


def minimise(cost: Callable[[float], float], candidates: ArrayLike) -> tuple[float, float]:
    """Return the candidate of the lowest cost, and that cost."""
    options = np.asarray(candidates, np.float64)
    costs = [cost(float(option)) for option in options]
    place = int(np.argmin(costs))
    return float(options[place]), float(costs[place])
