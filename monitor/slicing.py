"""Slicing: by which attributes rows are watched apart, and which groups of them, frozen by training like all edges.

Groups that training had too seldom, or never, are folded into one, so the number of groups is bounded, profiles of
groups merge like any others, and a group is never so small that it names somebody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from monitor.source import CategoryValues, Ints

MISSING, OTHER = "(missing)", "(other)"
MOST_GROUPS = 20  # of one slicing; the most frequent ones of training
FEWEST_ROWS = 50  # of training, for a group of its own

Attributes = Mapping[str, CategoryValues]


@dataclass(frozen=True)
class Slicing:
    """One or two attributes and the groups of rows that are watched apart, the most frequent ones first.

    ``folded`` is how many groups of training were too rare for that. A group's place is its position in ``groups``;
    the one after the last is all others together.
    """

    attributes: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    folded: int = 0

    @property
    def name(self) -> str:
        """The attributes in words."""
        return " × ".join(self.attributes)

    @property
    def other(self) -> int:
        """Place of the rows of no group of their own."""
        return len(self.groups)

    @cached_property
    def _index(self) -> Mapping[tuple[str, ...], int]:
        return {group: place for place, group in enumerate(self.groups)}

    def slice_of(self, place: int) -> dict[str, str]:
        """Return attribute to value of the group at a place."""
        values = self.groups[place] if place < self.other else (OTHER,) * len(self.attributes)
        return dict(zip(self.attributes, values, strict=True))

    def place_of(self, slice_: Mapping[str, str]) -> int | None:
        """Return the place of a group by its values, those of ``slice_of``; None where there is no such group."""
        values = tuple(slice_.get(name, "") for name in self.attributes)
        return self._index.get(values, self.other if set(values) == {OTHER} else None)

    def places(self, attributes: Attributes, rows: int) -> Ints:
        """Return the group of each row; an attribute that is not there is missing in every row."""
        combinations, at = _combined([_of(attributes, name, rows) for name in self.attributes], rows)
        table = np.array([self._index.get(values, self.other) for values in combinations], np.int64)
        return np.asarray(table[at], np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"attributes": list(self.attributes), "groups": [list(g) for g in self.groups], "folded": self.folded}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Slicing:
        """Return the slicing written by ``to_json``."""
        return cls(tuple(data["attributes"]), tuple(tuple(group) for group in data["groups"]), int(data["folded"]))


def freeze_slicing(names: Sequence[str], attributes: Attributes, rows: int) -> Slicing:
    """Return the slicing of training rows by some attributes: their most frequent groups.

    >>> values = CategoryValues(codes=np.repeat(np.array([0, 1, 2], np.int32), [60, 90, 3]), categories=("a", "b", "c"))
    >>> freeze_slicing(["x"], {"x": values}, 153)
    Slicing(attributes=('x',), groups=(('b',), ('a',)), folded=1)
    """
    combinations, at = _combined([_of(attributes, name, rows) for name in names], rows)
    counts = np.bincount(at, minlength=len(combinations))
    order = sorted(range(len(combinations)), key=lambda i: (-int(counts[i]), combinations[i]))
    kept = [combinations[i] for i in order if counts[i] >= FEWEST_ROWS][:MOST_GROUPS]
    return Slicing(tuple(names), tuple(kept), len(combinations) - len(kept))


def name_slice(slice_: Mapping[str, str]) -> str:
    """Return a slice in words.

    >>> name_slice({"race": "Asian", "sex": "Female"})
    'race = Asian, sex = Female'
    """
    return ", ".join(f"{name} = {value}" for name, value in slice_.items())


def _of(attributes: Attributes, name: str, rows: int) -> CategoryValues:
    values = attributes.get(name)
    return CategoryValues(codes=np.full(rows, -1, np.int32), categories=()) if values is None else values


def _combined(parts: Sequence[CategoryValues], rows: int) -> tuple[list[tuple[str, ...]], Ints]:
    """Return the combinations of values that occur, and the combination of each row."""
    code = np.zeros(rows, np.int64)
    for part in parts:
        code = code * (len(part.categories) + 1) + part.codes + 1
    used, at = np.unique(code, return_inverse=True)
    combinations: list[tuple[str, ...]] = []
    for number in used.tolist():
        values: list[str] = []
        for part in reversed(parts):
            number, place = divmod(number, len(part.categories) + 1)
            values.append(MISSING if not place else part.categories[place - 1])
        combinations.append(tuple(reversed(values)))
    return combinations, np.asarray(at, np.int64).reshape(-1)
