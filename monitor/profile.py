"""Profiles: what is kept of rows. A profile is a commutative monoid: counts on frozen edges, sums, extremes.

A profile of any batch of rows can be merged with any other of the same layout, in any order: counts are exact, sums
hold to 1e-12. It is one flat vector per kind of quantity, so a window is a sum of tiles and costs an addition.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from monitor.column import CategoricalColumn, Column, Layout, NumericColumn
from monitor.sketch import (
    REGISTERS,
    Buckets,
    Novelties,
    bucket_keys,
    hash_floats,
    hash_texts,
    merge_buckets,
    merge_novelties,
    register_values,
)
from monitor.source import Batch, CategoryValues, Floats, Ints, NumericValues

FORMAT = 1  # raise it when the bytes change; from_bytes reads every version ever written
MAGIC = b"DMPF"


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """Counts, sums and extremes of some rows on a layout's frozen edges; ``+`` merges two of them.

    ``counts`` and ``sums`` add, ``lows`` takes the minimum, ``highs`` and ``registers`` the maximum; ``buckets``
    (logarithmic buckets per numeric column) and ``novelties`` (values never seen in training) add by key.
    """

    layout: Layout
    counts: Ints
    sums: Floats
    lows: Floats
    highs: Floats
    registers: NDArray[np.uint8]
    buckets: Mapping[str, Buckets] = field(default_factory=dict)
    novelties: Mapping[str, Novelties] = field(default_factory=dict)

    @classmethod
    def empty(cls, layout: Layout) -> Profile:
        """Return the profile of no rows: the identity of ``+``."""
        return cls(
            layout=layout,
            counts=np.zeros(layout.counts, np.int64),
            sums=np.zeros(layout.sums),
            lows=np.full(len(layout.columns), np.inf),
            highs=np.full(len(layout.columns), -np.inf),
            registers=np.zeros((len(layout.columns), REGISTERS), np.uint8),
        )

    @classmethod
    def of(cls, layout: Layout, batch: Batch) -> Profile:
        """Return the profile of one batch."""
        return profiles_of(layout, batch, np.zeros(batch.rows, np.int64), 1)[0]

    @classmethod
    def total(cls, layout: Layout, parts: Iterable[Profile]) -> Profile:
        """Return the merge of many profiles."""
        parts = list(parts)
        if not parts:
            return cls.empty(layout)
        for part in parts:
            _same_layout(layout, part.layout)
        names = [column.name for column in layout.columns]
        buckets = {n: merge_buckets([p.buckets[n] for p in parts if n in p.buckets]) for n in names}
        novelties = {n: merge_novelties([p.novelties[n] for p in parts if n in p.novelties]) for n in names}
        return cls(
            layout=layout,
            counts=np.sum([p.counts for p in parts], axis=0, dtype=np.int64),
            sums=np.array([math.fsum(c) for c in zip(*(p.sums.tolist() for p in parts), strict=True)])
            if all(np.isfinite(p.sums).all() for p in parts)
            else np.sum([p.sums for p in parts], axis=0),
            lows=np.min([p.lows for p in parts], axis=0),
            highs=np.max([p.highs for p in parts], axis=0),
            registers=np.max([p.registers for p in parts], axis=0),
            buckets={n: b for n, b in buckets.items() if len(b.keys)},
            novelties={n: v for n, v in novelties.items() if v},
        )

    def __add__(self, other: Profile) -> Profile:
        return Profile.total(self.layout, [self, other])

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.counts[0])

    def column(self, name: str) -> ColumnProfile:
        """Return the view of one column; raises KeyError for a column the layout does not have."""
        return ColumnProfile(self, self.layout.index[name])

    @cached_property
    def columns(self) -> dict[str, ColumnProfile]:
        """Views of all columns by name."""
        return {c.name: ColumnProfile(self, i) for i, c in enumerate(self.layout.columns)}

    def to_bytes(self) -> bytes:
        """Return versioned bytes; zeros cost next to nothing."""
        where = np.flatnonzero(self.counts)
        slots = np.flatnonzero(self.registers.ravel())
        sparse = {
            "buckets": {n: [b.keys.tolist(), b.counts.tolist()] for n, b in self.buckets.items()},
            "novelties": {n: [list(v), list(v.values())] for n, v in self.novelties.items()},
        }
        parts = [
            np.diff(where, prepend=0).astype("<u4").tobytes(),
            self.counts[where].astype("<i8").tobytes(),
            self.sums.astype("<f8").tobytes(),
            self.lows.astype("<f8").tobytes(),
            self.highs.astype("<f8").tobytes(),
            np.diff(slots, prepend=0).astype("<u4").tobytes(),
            self.registers.ravel()[slots].tobytes(),
            json.dumps(sparse, separators=(",", ":")).encode(),
        ]
        sizes = struct.pack(f"<{len(parts)}I", *(len(part) for part in parts))
        body = zlib.compress(sizes + b"".join(parts), 6)
        return MAGIC + struct.pack("<H", FORMAT) + self.layout.digest[:8] + body

    @classmethod
    def from_bytes(cls, layout: Layout, data: bytes) -> Profile:
        """Return the profile in ``data``; raises ValueError when it is none, or belongs to another layout."""
        if data[:4] != MAGIC:
            raise ValueError("these bytes are no profile; the stored tile is damaged and must be rebuilt")
        (version,) = struct.unpack_from("<H", data, 4)
        if version != FORMAT:
            raise ValueError(f"profile format {version} is newer than {FORMAT}; run the newer program")
        if data[6:14] != layout.digest[:8]:
            raise ValueError("this profile was built on another training profile; load that one's layout")
        raw = zlib.decompress(data[14:])
        sizes = struct.unpack_from("<8I", raw)
        pieces, at = [], 32
        for size in sizes:
            pieces.append(raw[at : at + size])
            at += size
        empty = cls.empty(layout)
        empty.counts[np.cumsum(np.frombuffer(pieces[0], "<u4"), dtype=np.int64)] = np.frombuffer(pieces[1], "<i8")
        slots = np.cumsum(np.frombuffer(pieces[5], "<u4"), dtype=np.int64)
        empty.registers.ravel()[slots] = np.frombuffer(pieces[6], np.uint8)
        sparse = json.loads(pieces[7])
        return cls(
            layout=layout,
            counts=empty.counts,
            sums=np.frombuffer(pieces[2], "<f8").copy(),
            lows=np.frombuffer(pieces[3], "<f8").copy(),
            highs=np.frombuffer(pieces[4], "<f8").copy(),
            registers=empty.registers,
            buckets={
                n: Buckets(keys=np.array(k, np.int64), counts=np.array(c, np.int64))
                for n, (k, c) in sparse["buckets"].items()
            },
            novelties={n: dict(zip(k, c, strict=True)) for n, (k, c) in sparse["novelties"].items()},
        )


@dataclass(frozen=True)
class ColumnProfile:
    """What a profile knows of one column."""

    profile: Profile
    position: int

    @property
    def column(self) -> Column:
        """The column's frozen definition."""
        return self.profile.layout.columns[self.position]

    def _extra(self, name: str) -> int:
        layout = self.profile.layout
        return int(self.profile.counts[layout.extra(self.position, name)])

    @property
    def bins(self) -> Ints:
        """Counts per bin; numeric: first is under, last is over the training range; categorical: one per top value."""
        return self.profile.counts[self.profile.layout.bins(self.position)]

    @property
    def missing(self) -> int:
        """Rows whose value is NULL."""
        return self._extra("missing")

    @property
    def count(self) -> int:
        """Rows with a usable value."""
        if isinstance(self.column, CategoricalColumn):
            return int(self.bins.sum()) + self.other + self.new
        return int(self.bins.sum())

    @property
    def rows(self) -> int:
        """All rows."""
        return self.profile.rows

    @property
    def non_finite(self) -> int:
        """Rows with NaN or an infinity."""
        return self._extra("nan") + self._extra("infinite")

    @property
    def unparseable(self) -> int:
        """Rows whose text is no number."""
        return self._extra("unparseable")

    @property
    def unseen(self) -> int:
        """Rows with a value that never occurred in training (numeric: only for columns of few distinct values)."""
        return self._extra("unseen")

    @property
    def zeros(self) -> int:
        """Rows that are exactly zero."""
        return self._extra("zeros")

    @property
    def other(self) -> int:
        """Categorical: rows with a training value outside the top values."""
        return self._extra("other")

    @property
    def new(self) -> int:
        """Categorical: rows with a value unseen in training."""
        return self._extra("unseen")

    @property
    def off_clock(self) -> int:
        """Rows of a time function whose value is not the one of its clock slot."""
        return self._extra("off_clock")

    @property
    def clock_known(self) -> int:
        """Rows of a time function whose clock slot was seen in training."""
        return self._extra("clock_known")

    def _sum(self, index: int) -> float:
        return float(self.profile.sums[self.profile.layout.sum_at(self.position) + index])

    @property
    def mean(self) -> float:
        """Mean of finite values, NaN without any."""
        assert isinstance(self.column, NumericColumn)
        return self.column.center + self._sum(0) / self.count if self.count else math.nan

    @property
    def variance(self) -> float:
        """Variance of finite values (divisor n), NaN without any."""
        if not self.count:
            return math.nan
        return max(0.0, self._sum(1) / self.count - (self._sum(0) / self.count) ** 2)

    @property
    def location(self) -> float:
        """Mean of ``clip((x - center) / scale, ±8)`` (of the values off the atom where the IQR is 0)."""
        n = self.location_count
        return self._sum(2) / n if n else math.nan

    @property
    def location_count(self) -> int:
        """Rows behind ``location``."""
        column = self.column
        assert isinstance(column, NumericColumn)
        if column.atom_bin is None or not column.off_atom:
            return self.count
        return self.count - int(self.bins[column.atom_bin])

    @property
    def minimum(self) -> float:
        """Smallest finite value, infinity without any."""
        return float(self.profile.lows[self.position])

    @property
    def maximum(self) -> float:
        """Largest finite value, minus infinity without any."""
        return float(self.profile.highs[self.position])

    def quantile(self, q: float) -> float:
        """Return a quantile from the logarithmic buckets, right to 2 % also far outside the training range."""
        buckets = self.profile.buckets.get(self.column.name)
        if buckets is None or not self.count:
            return math.nan
        return float(min(max(buckets.quantile(q), self.minimum), self.maximum))

    @property
    def distinct(self) -> int:
        """Estimate of the number of distinct values (HyperLogLog, about 9 % standard error)."""
        from monitor.sketch import distinct

        estimate = distinct(self.profile.registers[self.position])
        if isinstance(self.column, CategoricalColumn):
            return int((self.bins > 0).sum()) + estimate
        return estimate

    @property
    def novelties(self) -> Novelties:
        """Values unseen in training with their counts (a sample of 256 of them by hash when there are more)."""
        return self.profile.novelties.get(self.column.name, {})

    @property
    def frequencies(self) -> dict[str, int]:
        """Categorical: counts by value, new values included, most frequent first."""
        column = self.column
        assert isinstance(column, CategoricalColumn)
        counts = dict(zip(column.values, self.bins.tolist(), strict=True)) | {
            str(k): v for k, v in self.novelties.items()
        }
        return {k: v for k, v in sorted(counts.items(), key=lambda item: -item[1]) if v}


def profiles_of(layout: Layout, batch: Batch, pieces: Ints, number: int) -> list[Profile]:
    """Return one profile for each of ``number`` pieces; ``pieces`` says to which piece a row belongs.

    All pieces are built in one pass over each column.
    """
    columns = layout.columns
    counts = np.zeros((number, layout.counts), np.int64)
    sums = np.zeros((number, layout.sums))
    lows = np.full((number, len(columns)), np.inf)
    highs = np.full((number, len(columns)), -np.inf)
    registers = np.zeros((number, len(columns), REGISTERS), np.uint8)
    buckets: list[dict[str, Buckets]] = [{} for _ in range(number)]
    novelties: list[dict[str, Novelties]] = [{} for _ in range(number)]
    counts[:, 0] = np.bincount(pieces, minlength=number)
    for position, column in enumerate(columns):
        values = batch.columns.get(column.name)
        if values is None:  # a vanished column: its rows are missing, and reading says so as a finding
            counts[:, layout.extra(position, "missing")] = counts[:, 0]
            continue
        tally = _Tally(layout, position, pieces, number, counts, registers)
        if isinstance(column, NumericColumn) and isinstance(values, NumericValues):
            x, at = tally.numeric(column, values, sums)
            with np.errstate(over="ignore"):
                np.minimum.at(lows[:, position], at, x)
                np.maximum.at(highs[:, position], at, x)
            for piece, found in bucket_keys(x, at, number):
                buckets[piece][column.name] = found
            fresh = column.unseen(x)
            if fresh is not None:
                tally.add("unseen", at[fresh])
                _collect(novelties, column.name, x[fresh].astype(np.float32).tolist(), at[fresh])
            tally.clock(column, x, at, batch, _usable(values))
        elif isinstance(column, CategoricalColumn) and isinstance(values, CategoryValues):
            new_texts, new_at = tally.categorical(column, values)
            _collect(novelties, column.name, new_texts, new_at)
            tally.clock_texts(column, values, batch)
        else:
            raise TypeError(f"column {column.name} is {column.kind} in training but was read as {type(values).__name__}")
    return [
        Profile(
            layout=layout,
            counts=counts[i],
            sums=sums[i],
            lows=lows[i],
            highs=highs[i],
            registers=registers[i],
            buckets=buckets[i],
            novelties={n: merge_novelties([v]) for n, v in novelties[i].items()},
        )
        for i in range(number)
    ]


def _usable(values: NumericValues) -> NDArray[np.bool_]:
    return np.isfinite(values.values)


def _collect(target: list[dict[str, Novelties]], name: str, values: Sequence[float | str], at: Ints) -> None:
    for piece, value in zip(at.tolist(), values, strict=True):
        found = target[piece].setdefault(name, {})
        assert isinstance(found, dict)
        found[value] = found.get(value, 0) + 1


@dataclass(frozen=True)
class _Tally:
    """Counts one column of a batch into the rows of the count matrix."""

    layout: Layout
    position: int
    pieces: Ints
    number: int
    counts: Ints
    registers: NDArray[np.uint8]

    def add(self, extra: str, at: Ints) -> None:
        self.counts[:, self.layout.extra(self.position, extra)] += np.bincount(at, minlength=self.number)

    def _fill(self, bins: Ints, at: Ints, width: int) -> None:
        where = self.layout.bins(self.position)
        table = np.bincount(at * width + bins, minlength=self.number * width)
        self.counts[:, where] += table.reshape(self.number, width)

    def _register(self, hashes: NDArray[np.uint64], at: Ints) -> None:
        slot, value = register_values(hashes)
        np.maximum.at(self.registers[:, self.position], (at, slot), value)

    def numeric(self, column: NumericColumn, values: NumericValues, sums: Floats) -> tuple[Floats, Ints]:
        raw = values.values
        ok = _usable(values)
        self.add("missing", self.pieces[values.missing])
        if values.unparseable is not None:
            self.add("unparseable", self.pieces[values.unparseable])
        odd = ~ok & ~values.missing & ~(values.unparseable if values.unparseable is not None else False)
        self.add("nan", self.pieces[odd & np.isnan(raw)])
        self.add("infinite", self.pieces[odd & np.isinf(raw)])
        x, at = raw[ok], self.pieces[ok]
        self.add("zeros", at[x == 0])
        bins = column.bin(x)
        self._fill(bins, at, column.bins)
        self._register(hash_floats(x), at)
        first = self.layout.sum_at(self.position)
        with np.errstate(over="ignore"):
            gap = np.clip(x - column.center, -1e150, 1e150)  # squares stay finite
            clipped = column.clipped(x)
            for i, term in enumerate((gap, gap * gap, clipped, clipped * clipped)):
                sums[:, first + i] += np.bincount(at, weights=term, minlength=self.number)
        return x, at

    def categorical(self, column: CategoricalColumn, values: CategoryValues) -> tuple[list[str], Ints]:
        present = values.codes >= 0
        self.add("missing", self.pieces[~present])
        codes, at = values.codes[present], self.pieces[present]
        place = column.places(values.categories)[codes] if len(values.categories) else codes.astype(np.int64)
        top = place >= 0
        self._fill(place[top], at[top], column.bins)
        self.add("other", at[place == column.OTHER])
        new = place == column.NEW
        self.add("unseen", at[new])
        if not top.all():
            self._register(hash_texts(values.categories)[codes[~top]], at[~top])
        return [values.categories[code] for code in codes[new].tolist()], at[new]

    def clock(self, column: NumericColumn, x: Floats, at: Ints, batch: Batch, usable: NDArray[np.bool_]) -> None:
        if column.clock is None:
            return
        expected = column.clock.expected(batch.time[usable])
        known = ~np.isnan(expected)
        self.add("clock_known", at[known])
        self.add("off_clock", at[known & (x != expected)])

    def clock_texts(self, column: CategoricalColumn, values: CategoryValues, batch: Batch) -> None:
        if column.clock is None:
            return
        present = values.codes >= 0
        expected = column.clock.expected(batch.time[present])
        known = ~np.isnan(expected)
        place = column.places(values.categories)[values.codes[present]]
        at = self.pieces[present]
        self.add("clock_known", at[known])
        self.add("off_clock", at[known & (place != expected)])


def _same_layout(one: Layout, other: Layout) -> None:
    if one is not other and one.digest != other.digest:
        raise ValueError("profiles on different training profiles cannot be merged; rebuild one on the other's edges")
