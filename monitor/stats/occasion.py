"""Occasions: windows such as holidays, which are few and known to be unlike those around them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitor.stats.calibration import FEWEST, Calibration

Floats = NDArray[np.float64]


def occasional(usual: Calibration, theta: ArrayLike, n: ArrayLike, slots: ArrayLike) -> Calibration:
    """Return the null model of windows on an occasion, from the r of them in training.

    ``usual`` is that of all other windows, ``theta`` and ``n`` (r, C) are value and rows of those on the occasion,
    ``slots`` (r,) their season slots. Their deviations d from the season are taken with one more occasion that was like
    any other day: the mean is Σ d / (r + 1), the variance (Σ (d − mean)² + mean²) / r, and τ² at least the usual one.
    So few occasions move the mean less and leave more room. What they add to τ² has r degrees of freedom (Satterthwaite
    1946). A channel with fewer than three of them is all NaN: nobody can tell what is usual on the occasion.

    Not good for occasions of several kinds that differ: they become one that varies.

    >>> from monitor.stats.calibration import calibrate
    >>> days = calibrate(np.tile([[0.1], [-0.1]], (20, 1)), np.full((40, 1), 1e9), np.ones(1), np.zeros(40, int))
    >>> feast = occasional(days, [[0.9], [1.0], [1.1]], np.full((3, 1), 1e9), np.zeros(3, int))
    >>> days.z([1.0], [1e9]).round(1).item(), feast.z([1.0], [1e9]).round(1).item()
    (9.8, 0.4)
    """
    theta, n = np.asarray(theta, np.float64), np.asarray(n, np.float64)
    d = usual.deviation(theta, slots)
    seen = np.isfinite(d)
    d, r = np.where(seen, d, 0.0), seen.sum(axis=0)
    known = r >= FEWEST
    many = np.maximum(r, 1)
    mean = d.sum(axis=0) / (r + 1)
    variance = (np.where(seen, (d - mean) ** 2, 0.0).sum(axis=0) + mean**2) / many
    noise = usual.unit * np.where(seen, 1 / np.maximum(n, 1.0), 0.0).sum(axis=0) / many
    more = np.maximum(variance - noise - usual.natural, 0.0)
    natural = usual.natural + more
    with np.errstate(invalid="ignore", divide="ignore"):
        degrees = natural**2 / (usual.natural**2 / usual.degrees + more**2 / many)
    return replace(
        usual,
        mean=np.where(known, usual.mean + mean, np.nan),
        natural=natural,
        degrees=np.where(natural > 0, degrees, usual.degrees),
        error=usual.error + (natural + noise) / (r + 1),
    )
