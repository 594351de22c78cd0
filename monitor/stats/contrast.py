"""One figure in two groups of rows: difference and ratio with intervals, and whether it is more than allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from monitor.stats.classification import Z95

Floats = NDArray[np.float64]

WIDEST = 20.0  # of the logarithm of a ratio; beyond it nothing is known
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
    return Estimate(value=float(value[0]), error=float(error[0]), n=int(max(whole, 0)), centre=centre)


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
    independent draws. The ratio's interval is that of its logarithm (Katz 1978). Both groups are taken as independent.

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
