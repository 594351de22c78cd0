"""Columns as training froze them: edges, top values, scales; a layout places them in a profile's vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from monitor.embedding import Embedding, total_moments
from monitor.relation import MOMENTS, Relation
from monitor.source import CategoryValues, Floats, Ints, Kind, NumericValues, Values

BINS = 256
TOP_VALUES = 256
LATTICE = 1024  # a numeric column of at most so many distinct training values is a lattice: unseen values are a sign
CLIP = 8.0  # in robust standard deviations
IQR_TO_SD = 1.349  # interquartile range of a normal distribution in standard deviations
EXTRAS = ("missing", "nan", "infinite", "unparseable", "unseen", "zeros", "other", "off_clock", "clock_known")
SUMS = 4  # Σ(x-center), its squares, Σ clipped, its squares
FARTHEST = 1e150  # from the center: squares of what is farther would not be finite


class Clock(StrEnum):
    """Clocks a feature can be a function of."""

    WEEKDAY = "weekday"
    HOUR = "hour"
    HALF_HOUR = "half hour"
    MONTH = "month"


def clock_slots(clock: Clock, time: Ints, timezone: str) -> Ints:
    """Return the slot of each time (microseconds, UTC) on a clock in a time zone."""
    local = time // 1_000_000 + _offsets(time, timezone)
    days, seconds = local // 86_400, local % 86_400
    match clock:
        case Clock.WEEKDAY:
            return np.asarray((days + 3) % 7, np.int64)  # 1 January 1970 was a Thursday
        case Clock.HOUR:
            return np.asarray(seconds // 3600, np.int64)
        case Clock.HALF_HOUR:
            return np.asarray(seconds // 1800, np.int64)
        case Clock.MONTH:
            return np.asarray(days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12, np.int64)


def _offsets(time: Ints, timezone: str) -> Ints:
    """UTC offsets in seconds; looked up once per quarter hour that occurs, since zones change only there."""
    if timezone == "UTC" or not len(time):
        return np.zeros(len(time), np.int64)
    zone = ZoneInfo(timezone)
    quarters, inverse = np.unique(time // 900_000_000, return_inverse=True)
    offsets = [
        int((datetime.fromtimestamp(q * 900, UTC).astimezone(zone).utcoffset() or _ZERO).total_seconds())
        for q in quarters.tolist()
    ]
    return np.array(offsets, np.int64)[inverse]


_ZERO = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class TimeFunction:
    """A feature that follows the clock: its usual value (numeric) or place (categorical) per slot."""

    clock: Clock
    timezone: str
    usual: Mapping[int, float]
    agreement: float
    """Share of training rows at the usual value of their slot."""

    def expected(self, time: Ints) -> Floats:
        """Return the usual value at each time, NaN where training never saw the slot."""
        return self.usual_at(clock_slots(self.clock, time, self.timezone))

    def usual_at(self, slots: Ints) -> Floats:
        """Return the usual value in each slot, NaN where training never saw the slot."""
        return self._table[slots]

    @cached_property
    def _table(self) -> Floats:
        table = np.full(max([48, *(slot + 1 for slot in self.usual)]), np.nan)
        for slot, value in self.usual.items():
            table[slot] = value
        return table


@dataclass(frozen=True, kw_only=True, eq=False)
class NumericColumn:
    """A numeric column on frozen training edges.

    ``edges`` ascend; bin 0 is below the training minimum, the last bin above the maximum, a value of more than 1/256
    of the mass has a bin of its own. ``center`` and ``scale`` are median and IQR / 1.349; where the IQR is 0 they are
    taken from the values off the ``atom`` and ``off_atom`` is true.
    """

    name: str
    edges: Floats
    center: float
    scale: float
    atom: float | None = None
    atom_share: float = 0.0
    off_atom: bool = False
    lattice: Floats | None = None
    clock: TimeFunction | None = None
    part: str = "input"
    words: tuple[int, ...] | None = None
    """Hashes of the words that training knew, of a share of unknown ones."""

    kind: ClassVar[Kind] = Kind.NUMERIC

    @property
    def bins(self) -> int:
        """Number of bins, under and over included."""
        return len(self.edges) + 1

    @property
    def constant(self) -> bool:
        """Whether training saw a single value."""
        return self.lattice is not None and len(self.lattice) == 1

    @cached_property
    def atom_bin(self) -> int | None:
        """The bin of the most frequent value, when it has one of its own."""
        return None if self.atom is None else int(np.searchsorted(self.edges, self.atom, side="right"))

    def bin(self, x: Floats) -> Ints:
        """Return the bin of each finite value."""
        return np.asarray(np.searchsorted(self.edges, x, side="right"), np.int64)

    def clipped(self, x: Floats) -> Floats:
        """Return clip((x - center) / scale, ±8); 0 on the atom where it is excluded, and where there is no scale."""
        if self.scale <= 0:
            return np.zeros(len(x))
        z = np.clip((x - self.center) / self.scale, -CLIP, CLIP)
        return np.where(x == self.atom, 0.0, z) if self.off_atom else z

    def sums(self, x: Floats) -> Floats:
        """Return the sums of ascending finite values: Σ(x-center), of its squares, Σ ``clipped``, of its squares."""
        with np.errstate(over="ignore"):
            gap = x - self.center
        if gap[-1] > FARTHEST or gap[0] < -FARTHEST:
            np.clip(gap, -FARTHEST, FARTHEST, out=gap)
        squares = gap * gap
        whole = float(gap.sum()), float(squares.sum())
        if self.scale <= 0:
            return np.array([*whole, 0.0, 0.0])
        # What is clipped lies at both ends; the atom, where it does not count, lies together.
        reach = CLIP * self.scale
        low, high = gap.searchsorted([-reach, reach]).tolist()
        below, above, parts = low, len(x) - high, [(low, high)]
        if self.off_atom and self.atom is not None:
            first, last = x.searchsorted(self.atom), x.searchsorted(self.atom, "right")
            below -= max(min(last, low) - first, 0)
            above -= max(last - max(first, high), 0)
            parts = [(low, min(first, high)), (max(last, low), high)]
        within = sum(float(gap[a:b].sum()) for a, b in parts if a < b)
        within2 = sum(float(squares[a:b].sum()) for a, b in parts if a < b)
        clipped = within / self.scale + CLIP * (above - below)
        return np.array([*whole, clipped, within2 / self.scale**2 + CLIP**2 * (above + below)])

    def unseen(self, x: Floats) -> NDArray[np.bool_] | None:
        """Return which values never occurred in training, or None when training had too many values to say."""
        if self.lattice is None:
            return None
        key = lattice_keys(x)
        place = np.minimum(np.searchsorted(self.lattice, key), len(self.lattice) - 1)
        return np.asarray(self.lattice[place] != key)


@dataclass(frozen=True, kw_only=True, eq=False)
class CategoricalColumn:
    """A categorical column: its most frequent training values, and the hashes of the rarer ones."""

    name: str
    values: tuple[str, ...]
    rare: frozenset[str] = field(default_factory=frozenset)
    clock: TimeFunction | None = None
    part: str = "input"

    kind: ClassVar[Kind] = Kind.CATEGORICAL
    OTHER: ClassVar[int] = -1
    NEW: ClassVar[int] = -2

    @property
    def bins(self) -> int:
        """Number of values with a count of their own."""
        return len(self.values)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {value: i for i, value in enumerate(self.values)} | dict.fromkeys(self.rare, self.OTHER)

    def places(self, categories: Sequence[str]) -> Ints:
        """Return each category's place: its index, -1 for a rarer training value, -2 for a value never seen."""
        known = self._places.get("last")
        if known is not None and known[0] is categories:
            return known[1]
        found = np.array([self._index.get(category, self.NEW) for category in categories], np.int64)
        self._places["last"] = (categories, found)
        return found

    @cached_property
    def _places(self) -> dict[str, tuple[Sequence[str], Ints]]:
        """The last categories with their places: the batches of a read share theirs."""
        return {}


Column = NumericColumn | CategoricalColumn


def lattice_keys(x: Floats) -> Floats:
    """Return values as single precision keeps them, so that ``real`` and ``double precision`` logs agree."""
    with np.errstate(over="ignore"):
        single = x.astype(np.float32).astype(np.float64)
    return np.where(np.isinf(single), x, single) + 0.0  # -0 is 0


def score_of(column: Column, values: Values | None) -> Floats | None:
    """Return the robust score of each row's value, NaN where it is none; None where the column has no values."""
    if not isinstance(column, NumericColumn) or not isinstance(values, NumericValues):
        return None
    raw = values.values
    usable = np.isfinite(raw)
    if usable.all():
        return column.clipped(raw)
    return np.where(usable, column.clipped(np.where(usable, raw, column.center)), np.nan)


@dataclass(frozen=True, eq=False)
class Layout:
    """Columns and where each lies in a profile's vectors: counts[0] is rows, then per column its bins and extras.

    The sums are those of the columns, then the moments of the ``relations``, then those of the ``embeddings``.
    """

    columns: tuple[Column, ...]
    relations: tuple[Relation, ...] = ()
    embeddings: tuple[Embedding, ...] = ()

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each column by name."""
        return {column.name: i for i, column in enumerate(self.columns)}

    @cached_property
    def _starts(self) -> list[int]:
        starts = [1]
        for column in self.columns:
            starts.append(starts[-1] + column.bins + len(EXTRAS))
        return starts

    @property
    def counts(self) -> int:
        """Length of the vector of counts."""
        return self._starts[-1]

    @property
    def sums(self) -> int:
        """Length of the vector of sums."""
        return self.embedded_at + total_moments(self.embeddings)

    @property
    def is_rich(self) -> bool:
        """Whether it has what layouts of older versions did not: embeddings, or words that training knew."""
        return bool(self.embeddings) or any(
            isinstance(column, NumericColumn) and column.words is not None for column in self.columns
        )

    @property
    def moments_at(self) -> int:
        """Return where the moments of relations begin among the sums."""
        return SUMS * len(self.columns)

    @property
    def embedded_at(self) -> int:
        """Return where the moments of embeddings begin among the sums."""
        return self.moments_at + MOMENTS * len(self.relations)

    def bins(self, position: int) -> slice:
        """Return where a column's bins lie among the counts."""
        return slice(self._starts[position], self._starts[position] + self.columns[position].bins)

    def extra(self, position: int, name: str) -> int:
        """Return where an extra count of a column lies."""
        return self._starts[position] + self.columns[position].bins + EXTRAS.index(name)

    def sum_at(self, position: int) -> int:
        """Return where a column's sums begin."""
        return SUMS * position

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the layout: profiles of equal digests can be merged."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True, separators=(",", ":")).encode()).digest()

    def to_json(self) -> list[dict[str, Any]]:
        """Return the layout as JSON values; floats survive exactly."""
        rest = {
            name: [one.to_json() for one in several]
            for name, several in (("relations", self.relations), ("embeddings", self.embeddings))
            if several
        }
        return [_column_to_json(column) for column in self.columns] + ([rest] if rest else [])

    @classmethod
    def from_json(cls, data: Iterable[Mapping[str, Any]]) -> Layout:
        """Return the layout written by ``to_json``."""
        items = list(data)
        rest = items.pop() if items and "name" not in items[-1] else {}
        return cls(
            tuple(map(_column_from_json, items)),
            tuple(map(Relation.from_json, rest.get("relations", ()))),
            tuple(map(Embedding.from_json, rest.get("embeddings", ()))),
        )


def _column_to_json(column: Column) -> dict[str, Any]:
    clock = column.clock and {
        "clock": column.clock.clock.value,
        "timezone": column.clock.timezone,
        "usual": {str(k): v for k, v in column.clock.usual.items()},
        "agreement": column.clock.agreement,
    }
    head = {"name": column.name, "kind": column.kind.value, "part": column.part, "clock": clock}
    if isinstance(column, CategoricalColumn):
        return head | {"values": list(column.values), "rare": sorted(column.rare)}
    return head | {
        "edges": column.edges.tolist(),
        "center": column.center,
        "scale": column.scale,
        "atom": column.atom,
        "atom_share": column.atom_share,
        "off_atom": column.off_atom,
        "lattice": None if column.lattice is None else column.lattice.tolist(),
        **({} if column.words is None else {"words": list(column.words)}),
    }


def _column_from_json(item: Mapping[str, Any]) -> Column:
    raw = item["clock"]
    clock = raw and TimeFunction(
        clock=Clock(raw["clock"]),
        timezone=raw["timezone"],
        usual={int(k): v for k, v in raw["usual"].items()},
        agreement=raw["agreement"],
    )
    if item["kind"] == Kind.CATEGORICAL:
        return CategoricalColumn(
            name=item["name"],
            values=tuple(item["values"]),
            rare=frozenset(item["rare"]),
            clock=clock,
            part=item["part"],
        )
    return NumericColumn(
        name=item["name"],
        edges=np.array(item["edges"]),
        center=item["center"],
        scale=item["scale"],
        atom=item["atom"],
        atom_share=item["atom_share"],
        off_atom=item["off_atom"],
        lattice=None if item["lattice"] is None else np.array(item["lattice"]),
        clock=clock,
        part=item["part"],
        words=tuple(item["words"]) if "words" in item else None,
    )


def freeze_numeric(
    name: str, values: NumericValues, *, clock: TimeFunction | None = None, part: str = "input"
) -> NumericColumn:
    """Return the frozen column of training values; a column without any finite value has no edges and no scale."""
    x = values.values[np.isfinite(values.values)]
    if not len(x):
        return NumericColumn(
            name=name, edges=np.zeros(0), center=0.0, scale=0.0, clock=clock, part=part, words=values.words
        )
    distinct, counts = np.unique(x, return_counts=True)
    atoms = distinct[counts > len(x) / BINS]
    quantiles = np.quantile(x, np.linspace(0, 1, BINS + 1))
    inner = np.unique(np.concatenate([quantiles, atoms, np.nextafter(atoms, np.inf)]))
    low, beyond = distinct[0], np.nextafter(distinct[-1], np.inf)
    edges = np.unique(np.concatenate([[low, beyond], inner[(inner > low) & (inner < beyond)]]))
    most = int(counts.argmax())
    has_atom = bool(counts[most] > len(x) / BINS)
    q1, center, q3 = np.quantile(x, [0.25, 0.5, 0.75])
    scale, off_atom = (q3 - q1) / IQR_TO_SD, False
    if scale <= 0:
        rest = x[x != distinct[most]]
        off_atom = True
        if len(rest) > 20:
            r1, center, r3 = np.quantile(rest, [0.25, 0.5, 0.75])
            scale = max((r3 - r1) / IQR_TO_SD, float(rest.std()) * 0.1, 1e-12)
    keys = np.unique(lattice_keys(distinct))
    return NumericColumn(
        name=name,
        edges=edges,
        center=float(center),
        scale=float(scale) if np.isfinite(scale) else 0.0,
        atom=float(distinct[most]) if has_atom else None,
        atom_share=float(counts[most] / len(x)) if has_atom else 0.0,
        off_atom=off_atom,
        lattice=keys if len(keys) <= LATTICE else None,
        clock=clock,
        part=part,
        words=values.words,
    )


def freeze_categorical(
    name: str, values: CategoryValues, *, clock: TimeFunction | None = None, part: str = "input"
) -> CategoricalColumn:
    """Return the frozen column of training values: top values by count (ties by name), the rest by name only."""
    counts = np.bincount(values.codes[values.codes >= 0], minlength=len(values.categories))
    seen = sorted((-int(n), text) for text, n in zip(values.categories, counts.tolist(), strict=True) if n)
    return CategoricalColumn(
        name=name,
        values=tuple(text for _, text in seen[:TOP_VALUES]),
        rare=frozenset(text for _, text in seen[TOP_VALUES : TOP_VALUES + 10_000]),
        clock=clock,
        part=part,
    )
