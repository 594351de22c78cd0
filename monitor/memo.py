"""Memos: what is computed from a reference once and kept for the references used last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from typing import TypeVar

from monitor.reference import Reference

T = TypeVar("T")
KEPT = 32  # references; each memo is small against the reference itself


@dataclass(frozen=True)
class _Keyed:
    """A reference that is hashed by its id: an equal one, read again from the store, finds the same memo."""

    id: str
    reference: Reference = field(compare=False)


def per_reference(function: Callable[[Reference], T]) -> Callable[[Reference], T]:
    """Return the function with its results kept by the id of the reference; they must not be changed."""

    @lru_cache(maxsize=KEPT)
    def kept(keyed: _Keyed) -> T:
        return function(keyed.reference)

    @wraps(function)
    def remembering(reference: Reference) -> T:
        return kept(_Keyed(id=reference.id, reference=reference))

    return remembering
