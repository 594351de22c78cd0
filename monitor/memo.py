"""Memos: what is computed from a reference once and kept for the references used last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from typing import Concatenate, ParamSpec, TypeVar

from monitor.reference import Reference

T = TypeVar("T")
P = ParamSpec("P")
KEPT = 32  # references; each memo is small against the reference itself


@dataclass(frozen=True)
class _Keyed:
    """A reference that is hashed by its id: an equal one, read again from the store, finds the same memo."""

    id: str
    reference: Reference = field(compare=False)


def per_reference(function: Callable[Concatenate[Reference, P], T]) -> Callable[Concatenate[Reference, P], T]:
    """Return the function with its results kept by the id of the reference and all else; they must not be changed."""

    @lru_cache(maxsize=KEPT)
    def kept(keyed: _Keyed, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(keyed.reference, *args, **kwargs)

    @wraps(function)
    def remembering(reference: Reference, *args: P.args, **kwargs: P.kwargs) -> T:
        return kept(_Keyed(id=reference.id, reference=reference), *args, **kwargs)

    return remembering
