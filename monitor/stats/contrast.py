"""One figure in two groups of rows: difference and ratio with intervals, and whether it is more than allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, gammaln, ndtr, ndtri, xlog1py, xlogy

from monitor.stats.classification import Z95

Floats = NDArray[np.float64]

WIDEST = 20.0  # of the logarithm of a ratio; beyond it nothing is known
EXACT = 2000  # people in the smaller group up to which the chance of a difference of shares is added up
SPLITS = 60  # of the interval that holds a share, until it is known
FEWEST_PERIODS = 5  # that say how much more a difference varies than rows alone would make it


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure of one group with its standard error, and the number of rows that it is of.

    ``centre`` is what a ratio's interval is taken around: a share is pulled towards one half, so that 0 of 60 has an
    error too; NaN for a figure of which no ratio is taken.
    """

    value: float
    error: float
    n: int
    centre: float
    counted: float = math.nan
    """Of a share: how many it counts; NaN for what is no share of rows."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How far one group's figure is from another's, with 95 % intervals, NaN where there is nothing to compare.

    ``p_value`` is that of the difference being beyond what is allowed, in either direction.
    """

    difference: float
    low: float
    high: float
    error: float
    ratio: float
    ratio_low: float
    ratio_high: float
    p_value: float


def share(part: float, whole: float) -> Estimate:
    """Return a share with the error of one success and one failure more (Agresti, Caffo 2000).

    >>> round(share(0, 60).error, 4), share(0, 60).value
    (0.016, 0.0)
    """
    value, error = shares([part], [whole])
    centre = (part + 1) / (whole + 2) if whole > 0 else math.nan
    return Estimate(value=float(value[0]), error=float(error[0]), n=int(max(whole, 0)), centre=centre, counted=part)


def shares(part: ArrayLike, whole: ArrayLike) -> tuple[Floats, Floats]:
    """Return many shares and their errors as ``share`` does, NaN where the whole is nothing."""
    k, n = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    n = np.where(n > 0, n, np.nan)
    centre = (k + 1) / (n + 2)
    return k / n, np.sqrt(centre * (1 - centre) / (n + 2))


def compare(group: Estimate, other: Estimate, *, allowed: float = 0.0, inflation: float = 1.0) -> Comparison:
    """Return the comparison of a group with another one.

    ``allowed`` is the difference that nobody minds: the p-value is the chance of one as large as this or larger, in
    either direction, if the true one is just that. ``inflation`` multiplies the variance: rows of one period are no
    independent draws. Shares of at most 2,000 people are counted out instead of taken as normal, whose tails are too
    thin for few people or shares near 0 and 1 (Storer, Kim 1990). The ratio's interval is that of its logarithm (Katz
    1978). Both groups are taken as independent.

    >>> found = compare(share(805, 1795), share(349, 1488), allowed=0.1)
    >>> round(found.difference, 3), round(found.ratio, 2), found.p_value < 1e-9
    (0.214, 1.91, True)
    """
    difference = group.value - other.value
    error = math.sqrt((group.error**2 + other.error**2) * inflation)
    if math.isnan(difference) or math.isnan(error):
        nothing = math.nan
        return Comparison(
            difference=nothing,
            low=nothing,
            high=nothing,
            error=nothing,
            ratio=nothing,
            ratio_low=nothing,
            ratio_high=nothing,
            p_value=nothing,
        )
    sizes = np.array([abs(difference) - allowed, abs(difference) + allowed]) / max(error, 1e-300)
    p_value = min(1.0, float(ndtr(-sizes).sum()))
    small = 0 < min(group.n, other.n) <= EXACT
    if small and abs(difference) > allowed and math.isfinite(group.counted) and math.isfinite(other.counted):
        p_value = _beyond((group.counted, group.n), (other.counted, other.n), allowed, inflation)
    ratio, low, high = math.nan, math.nan, math.nan
    if group.centre > 0 and other.centre > 0 and other.value:
        spread = Z95 * math.sqrt(((group.error / group.centre) ** 2 + (other.error / other.centre) ** 2) * inflation)
        spread = min(spread, WIDEST)
        ratio, middle = group.value / other.value, group.centre / other.centre
        low, high = middle * math.exp(-spread), middle * math.exp(spread)
    return Comparison(
        difference=difference,
        low=difference - Z95 * error,
        high=difference + Z95 * error,
        error=error,
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        p_value=p_value,
    )


def _beyond(one: tuple[float, int], other: tuple[float, int], allowed: float, inflation: float) -> float:
    """Return the chance of shares as far apart as these, or farther, if the true ones are ``allowed`` apart.

    Both numbers are binomial with the likeliest shares that are so far apart; all outcomes are added up.
    """
    (k, n), (j, m) = (one, other) if one[0] / one[1] > other[0] / other[1] else (other, one)
    apart = k / n - j / m
    lower = _likeliest(k, n, j, m, allowed)
    upper = min(lower + allowed, 1.0)
    tiny = 1e-9  # of a person: a tie counts as far as what was seen
    if n <= m:
        x = np.arange(n + 1)
        far = (
            _at_most(m * (x / n - apart) + tiny, m, lower)
            + 1
            - _at_most(np.ceil(m * (x / n + apart) - tiny) - 1, m, lower)
        )
        chance = _point(x, n, upper)
    else:
        x = np.arange(m + 1)
        far = (
            1
            - _at_most(np.ceil(n * (x / m + apart) - tiny) - 1, n, upper)
            + _at_most(n * (x / m - apart) + tiny, n, upper)
        )
        chance = _point(x, m, lower)
    p_value = float(np.clip((chance * far).sum(), 0.0, 1.0))
    if inflation == 1.0 or p_value <= 0.0:
        return p_value
    return float(2 * ndtr(ndtri(p_value / 2) / math.sqrt(inflation)))


def _likeliest(k: float, n: int, j: float, m: int, apart: float) -> float:
    """Return the likeliest lower share if the upper one is ``apart`` above it: the root of a falling derivative."""
    if not apart:
        return (k + j) / (n + m)
    low, high = 0.0, 1.0 - apart
    for _ in range(SPLITS):
        x = (low + high) / 2
        slope = k / (x + apart) - (n - k) / max(1 - x - apart, 1e-300) + j / max(x, 1e-300) - (m - j) / (1 - x)
        low, high = (x, high) if slope > 0 else (low, x)
    return (low + high) / 2


def _at_most(k: Floats, n: int, share: float) -> Floats:
    """Return P(binomial <= k), 0 below 0 and 1 from n on; k may have a fraction."""
    whole = np.floor(k)
    inside = bdtr(np.clip(whole, 0, n), n, share)
    return np.where(whole < 0, 0.0, np.where(whole >= n, 1.0, inside))


def _point(k: NDArray[np.int64], n: int, share: float) -> Floats:
    """Return P(binomial = k)."""
    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.asarray(np.exp(ways + xlogy(k, share) + xlog1py(n - k, -share)), np.float64)


def overdispersion(differences: ArrayLike, errors: ArrayLike) -> float:
    """Return by how much differences vary more from period to period than their errors say, as a variance; at least 1.

    Weighted squares around the weighted mean by degrees of freedom, as in meta-analysis (Birge 1932); 1 with fewer than
    five periods. Not good for: a difference that truly changes, which makes it large and the test careful.

    >>> overdispersion([0.1, -0.1, 0.1, -0.1, 0.1, -0.1], [0.05] * 6)
    4.8
    """
    d, e = np.asarray(differences, np.float64), np.asarray(errors, np.float64)
    known = np.isfinite(d) & np.isfinite(e) & (e > 0)
    d, e = d[known], e[known]
    if len(d) < FEWEST_PERIODS:
        return 1.0
    weight = 1 / e**2
    middle = float((weight * d).sum() / weight.sum())
    return max(1.0, round(float((weight * (d - middle) ** 2).sum() / (len(d) - 1)), 12))
