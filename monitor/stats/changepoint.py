"""When a lasting shift began: one change of the mean, with an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

SPREAD = 4.0  # prior variance of the shift, in squared standard deviations of a window: nothing but its scale matters


@dataclass(frozen=True, kw_only=True)
class ChangePoint:
    """Position of the first shifted window, and the first and last that it may be."""

    at: int
    first: int
    last: int


def change_point(z: ArrayLike, autocorrelation: float = 0.0, level: float = 0.9) -> ChangePoint | None:
    """Return where the mean of z-scores left 0, given that the last window is shifted; None without a finite one.

    ``z`` (T,) are normal scores of successive windows, NaN where there is none; ``autocorrelation`` is ρ of windows
    when nothing is wrong. Every position k is weighted by the marginal likelihood of a shift δ ~ N(0, 4) from k on,
    exp(S² / (2 (m + 1/4))) / √(1 + 4 m) with S the sum of the m innovations since k; the interval holds ``level`` of
    the weight, equal tails (Smith, Biometrika 1975, with the mean before known from training). A change before the
    series gives 0. Not good for ramps (the answer is where the ramp became visible) and for shifts that come and go.

    >>> change_point([0.1, -0.4, 0.2, 0.3, 3.1, 2.6, 3.4])
    ChangePoint(at=4, first=3, last=4)
    >>> change_point([0.1, -0.4, 0.2, 0.8, 1.1, 0.6, 1.4])
    ChangePoint(at=3, first=0, last=6)
    """
    known = np.asarray(z, np.float64)
    places = np.flatnonzero(np.isfinite(known))
    if not len(places):
        return None
    known = known[places]
    fresh = known.copy()
    fresh[1:] = (known[1:] - autocorrelation * known[:-1]) / np.sqrt(1 - autocorrelation**2)
    since = np.cumsum(fresh[::-1])[::-1]
    m = np.arange(len(fresh), 0, -1)
    weight = since**2 / (2 * (m + 1 / SPREAD)) - 0.5 * np.log1p(SPREAD * m)
    mass = np.exp(weight - weight.max())
    below = np.cumsum(mass / mass.sum())
    tail = (1 - level) / 2
    first, last = np.searchsorted(below, [tail, 1 - tail])
    at = int(mass.argmax())
    return ChangePoint(
        at=int(places[at]),
        first=int(places[min(int(first), at)]),
        last=int(places[min(max(int(last), at), len(places) - 1)]),
    )
