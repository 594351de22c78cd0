"""Embeddings: columns of equally long vectors, and the moments of each dimension that show whether they moved.

The moments are sums over rows, so they merge like everything else in a profile: three numbers for each dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.source import Floats, Ints

MOST = 2048  # dimensions
FARTHEST = 8.0  # standard deviations of a dimension: one wild vector is no shift
COMMON = 0.9  # share of vectors that have the same length, from which on they are an embedding
FEWEST_ROWS = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """A column of vectors as training froze it: centre and standard deviation of each dimension, (D,).

    ``square`` and ``value`` (D, 2) are skewness and excess kurtosis of one row's standard score z and of its square.
    """

    name: str
    center: Floats
    scale: Floats
    value: Floats
    square: Floats

    @property
    def dimensions(self) -> int:
        """D."""
        return len(self.center)

    @property
    def moments(self) -> int:
        """Length of its sums: rows, then Σ z and Σ z² of each dimension."""
        return 1 + 2 * self.dimensions

    def scores(self, vectors: Floats) -> Floats:
        """Return z of each element, within ±8, (rows, D); rows that are no such vectors are left out."""
        usable = np.isfinite(vectors).all(axis=1)
        return np.clip((vectors[usable] - self.center) / self.scale, -FARTHEST, FARTHEST)

    def sums(self, vectors: Floats, pieces: Ints, number: int) -> Floats:
        """Return the moments of the rows of each piece, (number, moments)."""
        found = np.zeros((number, self.moments))
        usable = np.isfinite(vectors).all(axis=1)
        z, at = self.scores(vectors), pieces[usable]
        found[:, 0] = np.bincount(at, minlength=number)
        if number == 1:
            found[0, 1:] = np.concatenate([z.sum(axis=0), (z * z).sum(axis=0)])
        elif len(z):
            order = np.argsort(at, kind="stable")
            starts = np.searchsorted(at[order], np.arange(number))
            filled = np.flatnonzero(found[:, 0] > 0)
            both = np.hstack([z, z * z])[order]
            found[filled, 1:] = np.add.reduceat(both, starts[filled], axis=0)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "name": self.name,
            **{key: getattr(self, key).tolist() for key in ("center", "scale", "value", "square")},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Embedding:
        """Return what ``to_json`` wrote."""
        return cls(name=data["name"], **{k: np.array(data[k]) for k in ("center", "scale", "value", "square")})


def freeze(name: str, vectors: Floats) -> Embedding | None:
    """Return the frozen embedding of training vectors (rows, D); None of fewer than a hundred.

    A dimension that does not vary has the scale of its own size, so that it is seen when it begins to.
    """
    usable = vectors[np.isfinite(vectors).all(axis=1)]
    if len(usable) < FEWEST_ROWS:
        return None
    center, scale = usable.mean(axis=0), usable.std(axis=0)
    scale = np.where(scale > 1e-9 * np.maximum(np.abs(center), 1.0), scale, np.maximum(np.abs(center), 1.0))
    z = np.clip((usable - center) / scale, -FARTHEST, FARTHEST)
    return Embedding(name=name, center=center, scale=scale, value=_shape(z), square=_shape(z * z))


def _shape(x: Floats) -> Floats:
    """Return skewness and excess kurtosis of each column, 0 without a spread."""
    off = x - x.mean(axis=0)
    variance = np.maximum((off**2).mean(axis=0), 1e-12)
    return np.column_stack([(off**3).mean(axis=0) / variance**1.5, (off**4).mean(axis=0) / variance**2 - 3])


def stack(lengths: Ints, elements: Floats, dimensions: int | None = None) -> Floats | None:
    """Return vectors (rows, D) from rows' lengths and all elements in order; rows of another length are NaN.

    Without ``dimensions`` they are the length that nine vectors of ten have; None where there is no such length from 2
    to 2,048. Rows without a vector have the length 0.
    """
    if dimensions is None:
        given = lengths[lengths > 0]
        if not len(given):
            return None
        dimensions = int(np.bincount(given).argmax())
        if not 2 <= dimensions <= MOST or (given == dimensions).mean() < COMMON:
            return None
    found = np.full((len(lengths), dimensions), np.nan)
    fits = lengths == dimensions
    starts = np.cumsum(lengths) - lengths
    if fits.any():
        found[fits] = elements[starts[fits][:, None] + np.arange(dimensions)]
    return found


def total_moments(embeddings: Sequence[Embedding]) -> int:
    """Return the length of the moments of all embeddings."""
    return sum(embedding.moments for embedding in embeddings)
