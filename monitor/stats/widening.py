"""Windows merged with those before them, until a shift of the size that matters would be seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitor.stats.calibration import POWER, Calibration

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WIDTHS = (1, 2, 4, 7, 14, 28)  # windows


@dataclass(frozen=True, kw_only=True, eq=False)
class Widened:
    """Per channel (C,): how many ``windows`` were merged, their rows, deviation and p, and the smallest visible shift.

    Of a channel without any rows ``windows`` is 0 and the others are NaN.
    """

    windows: Ints
    rows: Floats
    deviation: Floats
    p: Floats
    threshold: Floats
    minimum_detectable: Floats


def widen(
    calibration: Calibration, deviation: ArrayLike, n: ArrayLike, *, alpha: ArrayLike, tolerance: ArrayLike
) -> Widened:
    """Return the newest window merged with as few before it as show a shift of ``tolerance`` four times in five.

    ``deviation`` and ``n`` (W, C) are θ minus its season mean and the rows of the last windows, the newest at the end,
    NaN or 0 where there is none; ``alpha`` and ``tolerance`` are (C,) or numbers. Statistics are linear in counts, so
    merged deviations are means by rows, as if the profiles had been merged. Their variance is
    τ² Σᵢⱼ wᵢ wⱼ φ^|i−j| + unit / Σn + that of training's mean, which no merging removes. Where no width is enough the
    widest one is taken.

    Not good for shifts that lasted only a part of the windows, nor for an overall level: windows that are judged like
    this one after the other share rows.

    >>> from monitor.stats.calibration import calibrate
    >>> days = np.random.default_rng(1).normal(0, 0.1, (56, 1))
    >>> fitted = calibrate(days, np.full((56, 1), 100.0), np.ones(1), np.zeros(56, int))
    >>> week = np.full((7, 1), 0.2), np.full((7, 1), 100.0)
    >>> found = widen(fitted, *week, alpha=0.01, tolerance=0.2)
    >>> found.windows.tolist(), found.deviation.round(2).tolist(), bool(found.p[0] < 0.01)
    ([4], [0.2], True)
    """
    deviation, n = np.atleast_2d(np.asarray(deviation, np.float64)), np.atleast_2d(np.asarray(n, np.float64))
    n = np.where(np.isfinite(deviation) & (n > 0), n, 0.0)
    deviation = np.where(n > 0, deviation, 0.0)
    W, C = n.shape
    windows, found = np.zeros(C, np.int64), np.full((5, C), np.nan)
    tolerance = np.broadcast_to(np.asarray(tolerance, np.float64), (C,))
    lags = np.abs(np.subtract.outer(np.arange(W), np.arange(W)))
    for width in WIDTHS:
        wide = min(width, W)
        rows = n[-wide:].sum(axis=0)
        weight = n[-wide:] / np.maximum(rows, 1e-300)
        memory = calibration.autocorrelation ** lags[:wide, :wide, None]
        kept = np.einsum("ic,jc,ijc->c", weight, weight, memory)
        scale = np.sqrt(calibration.natural * kept + calibration.unit / np.maximum(rows, 1.0) + calibration.error)
        mean = (weight * deviation[-wide:]).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            p = calibration.p_of(mean / scale, rows)
        critical = calibration.critical(alpha, rows)
        visible = (critical + POWER) * scale
        wanted = (rows > 0) & np.isfinite(visible) & ((windows == 0) | ~(found[4] <= tolerance))
        windows[wanted] = (n[-wide:] > 0).sum(axis=0)[wanted]
        found[:, wanted] = np.stack([rows, mean, p, critical * scale, visible])[:, wanted]
        if width >= W:
            break
    return Widened(
        windows=windows,
        rows=found[0],
        deviation=found[1],
        p=found[2],
        threshold=found[3],
        minimum_detectable=found[4],
    )
