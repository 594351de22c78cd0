"""Memos: what is computed from a reference once and kept for the references used last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from typing import Any, TypeVar, TypeVarTuple

from monitor.reference import Reference

T = TypeVar("T")
Rest = TypeVarTuple("Rest")
KEPT = 32  # references; each memo is small against the reference itself


@dataclass(frozen=True)
class _Keyed:
    """A reference that is hashed by its id: an equal one, read again from the store, finds the same memo."""

    id: str
    reference: Reference = field(compare=False)


def per_reference(function: Callable[[Reference, *Rest], T]) -> Callable[[Reference, *Rest], T]:
    """Return the function with its results kept by the id of the reference and all else; they must not be changed."""

    @lru_cache(maxsize=KEPT)
    def kept(keyed: _Keyed, *args: Any) -> T:
        return function(keyed.reference, *args)

    @wraps(function)
    def remembering(reference: Reference, *args: *Rest) -> T:
        return kept(_Keyed(id=reference.id, reference=reference), *args)

    return remembering
