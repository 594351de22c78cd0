"""Memos: what is computed from a reference once and kept for the references used last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from typing import Any, TypeVar, TypeVarTuple

from monitor.reference import Reference

T = TypeVar("T")
Rest = TypeVarTuple("Rest")
KEPT = 1024  # references: as many models as a machine may watch, since making a memo costs as much as many windows


@dataclass(unsafe_hash=True)
class _Keyed:
    """A reference that is hashed by its id: an equal one, read again from the store, finds the same memo."""

    id: str
    reference: Reference | None = field(compare=False)

    def given_up(self) -> Reference:
        """Return the reference and forget it: a memo that is kept does not keep what it was computed from."""
        reference, self.reference = self.reference, None
        assert reference is not None, "a memo is computed once"
        return reference


def per_reference(function: Callable[[Reference, *Rest], T]) -> Callable[[Reference, *Rest], T]:
    """Return the function with its results kept by the id of the reference and all else; they must not be changed."""

    @lru_cache(maxsize=KEPT)
    def kept(keyed: _Keyed, *args: Any) -> T:
        return function(keyed.given_up(), *args)

    @wraps(function)
    def remembering(reference: Reference, *args: *Rest) -> T:
        return kept(_Keyed(id=reference.id, reference=reference), *args)

    return remembering
