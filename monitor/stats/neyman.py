"""Neyman's smooth components: shifts of location, scale and shape as means of a few polynomials of the rank."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

LARGEST_ORDER = 4
HALF = 0.5  # of all rows on an atom at zero or at the minimum: zero-inflated
FIFTH = 0.2  # of all rows on one atom


def order_for(atom_share: float, *, at_floor: bool, filled: int) -> int:
    """Return how many components a column can bear.

    A feature that is mostly its floor value keeps the first only, one with a fifth of its mass on one value the first
    two: higher ones are ruled by a handful of rows and their windows have heavier tails than any t distribution.
    ``filled`` is the number of bins with any mass.

    >>> order_for(0.9, at_floor=True, filled=40), order_for(0.3, at_floor=False, filled=40)
    (1, 2)
    """
    order = min(LARGEST_ORDER, filled - 1)
    if atom_share >= HALF and at_floor:
        return min(order, 1)
    return min(order, 2) if atom_share >= FIFTH else order


def components(p: ArrayLike, order: int) -> Floats:
    """Return the values of φ₁ … φ_order in each bin, shape (bins, order).

    They are polynomials of the mid-rank u = F(b−) + p/2, orthonormal under ``p`` (shares per bin, summing to 1), so
    under the reference the mean of each is 0 and its variance per row 1. φ₁ is close to Cohen's d for small shifts of
    a normal, φ₂ sees scale, φ₃ and φ₄ shape (Neyman 1937). A bin without mass takes the value of its nearest
    neighbour with mass. Not good for how far values have gone: |φ₁| never exceeds √3.

    >>> components([0.5, 0.5], 1).ravel().round(6).tolist()
    [-1.0, 1.0]
    """
    p = np.asarray(p, np.float64)
    filled = np.flatnonzero(p > 0)
    order = min(order, len(filled) - 1)
    if order < 1:
        return np.zeros((len(p), 0))
    share = p[filled] / p[filled].sum()
    u = np.cumsum(share) - share / 2
    powers = np.polynomial.legendre.legvander(2 * u - 1, order)  # Legendre: nearly orthogonal already, so QR is exact
    orthonormal, triangle = np.linalg.qr(np.sqrt(share)[:, None] * powers)
    values = (orthonormal / np.sqrt(share)[:, None])[:, 1:] * np.sign(np.diag(triangle))[1:]
    middle = (filled[1:] + filled[:-1]) / 2
    return np.asarray(values[np.searchsorted(middle, np.arange(len(p)))], np.float64)


def shifted(first: ArrayLike) -> Floats:
    """Return the means of φ₂, φ₃ and φ₄, shape (..., 3), where a shift alone has brought that of φ₁ to ``first``.

    A shift bends ranks: what moves by δ spreads by about δ² in φ₂ (.66 δ² for small ones). So a window far off its
    usual place says nothing of its shape until that is taken away. Of a bell, integrated; what is no bell bends
    likewise as long as its values move in order. Not good for shifts of more than four standard deviations, which are
    taken for four.

    >>> shifted([0.5, -0.5]).round(2).tolist()
    [[0.16, 0.13, 0.08], [0.16, -0.13, 0.08]]
    """
    at, bent = _shifts()
    first = np.asarray(first, np.float64)
    return np.stack([np.interp(first, at, bent[:, k]) for k in range(bent.shape[1])], axis=-1)


@cache
def _shifts() -> tuple[Floats, Floats]:
    """Return means of φ₁ (S,) and of φ₂ to φ₄ (S, 3) of a bell that is shifted by -4 to 4."""
    x = np.linspace(-8, 8, 1601)
    phi = np.polynomial.legendre.legvander(2 * ndtr(x) - 1, LARGEST_ORDER) * np.sqrt(
        2 * np.arange(LARGEST_ORDER + 1) + 1
    )
    weights = np.exp(-((x - np.linspace(-4, 4, 161)[:, None]) ** 2) / 2)
    means = weights @ phi / weights.sum(axis=1, keepdims=True)
    return means[:, 1], means[:, 2:]
