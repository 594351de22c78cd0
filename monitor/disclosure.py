"""Which values of a category may be shown to people: those that are listed, and those that many rows share.

A rare value may be a name, a number or an address of somebody. It is shown as a short hash, the same wherever it
occurs, so that people can tell values apart and look one up that they know. Messages, page, SQL and reports ask here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from monitor.column import CategoricalColumn
from monitor.reference import Reference

ENOUGH = 20
"""Rows, of training or of the window itself, from which a value is nobody's own."""

Listed = Mapping[str, Collection[str] | None]
"""Feature to values that may be shown however rare they are; None is all of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Disclosure:
    """What may be shown of a model's categories, by what its training profile had and its configuration lists."""

    reference: Reference | None = None
    listed: Listed = field(default_factory=dict)

    def value(self, name: str, value: str, rows: int = 0) -> str:
        """Return a value of a column that ``rows`` rows of a window have, or the hash that stands for it."""
        return value if self._may(name, value, rows) else pseudonym(name, value)

    def counts(self, name: str, counts: Mapping[str, int]) -> dict[str, int]:
        """Return counts by value as they may be shown; values of one hash are added up."""
        shown: dict[str, int] = {}
        for value, rows in counts.items():
            word = self.value(name, value, rows)
            shown[word] = shown.get(word, 0) + rows
        return shown

    def open(self, name: str, values: Iterable[tuple[str, int]] = ()) -> set[str] | None:
        """Return all values of a column that may be shown, ``values`` being a window's with their rows; None is all."""
        listed = self.listed.get(name, ())
        if listed is None:
            return None
        column = self._column(name)
        training = () if column is None else column.values
        return {
            *listed,
            *(v for v in training if self._may(name, v, 0)),
            *(v for v, n in values if self._may(name, v, n)),
        }

    def _may(self, name: str, value: str, rows: int) -> bool:
        if rows >= ENOUGH:
            return True
        listed = self.listed.get(name, ())
        if listed is None or value in listed:
            return True
        column = self._column(name)
        if column is None or self.reference is None:
            return False
        place = int(column.places([value])[0])
        return place >= 0 and int(self.reference.total.columns[name].bins[place]) >= ENOUGH

    def _column(self, name: str) -> CategoricalColumn | None:
        layout = None if self.reference is None else self.reference.layout
        if layout is None or name not in layout.index:
            return None
        column = layout.columns[layout.index[name]]
        return column if isinstance(column, CategoricalColumn) else None


def pseudonym(name: str, value: str) -> str:
    """Return the short hash that stands for a value of a column.

    Sixteen bits tell values of one chart apart, and are too few to prove which value it was.

    >>> pseudonym("city", "Smallville")
    'cat#7aec'
    """
    return "cat#" + hashlib.sha256(f"{name}\0{value}".encode("utf-8", "surrogatepass")).hexdigest()[:4]
