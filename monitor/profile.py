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
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from monitor.column import (
    FARTHEST,
    SUMS,
    CategoricalColumn,
    Clock,
    Column,
    Layout,
    NumericColumn,
    TimeFunction,
    clock_slots,
    lattice_keys,
    score_of,
)
from monitor.relation import MOMENTS
from monitor.sketch import (
    KEPT,
    REGISTERS,
    Buckets,
    Novelties,
    buckets_of,
    buckets_of_sorted,
    distinct,
    gaps,
    hash_floats,
    hash_texts,
    merge_buckets,
    merge_novelties,
    register_values,
    registers_of,
)
from monitor.source import Batch, CategoryValues, Floats, Ints, NumericValues, take

FORMAT = 1  # raise it when the bytes change; from_bytes reads every version ever written
MAGIC = b"DMPF"
PARTS = 11
NO_BUCKETS = Buckets(keys=np.zeros(0, np.int64), counts=np.zeros(0, np.int64))
LARGEST = 1 << 22  # counts that one pass may hold, 32 MB
FEW = 256  # rows per piece below which many pieces are counted at once
_ZERO = np.zeros(1, np.int64)


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
        names = [column.name for column in self.layout.columns]
        buckets = [self.buckets.get(name, NO_BUCKETS) for name in names]
        novelties = {n: [list(v), list(v.values())] for n in names if (v := self.novelties.get(n))}
        parts = [
            _pack(np.diff(where, prepend=0)),
            _pack(self.counts[where]),
            self.sums.astype("<f8").tobytes(),
            self.lows.astype("<f8").tobytes(),
            self.highs.astype("<f8").tobytes(),
            _pack(np.diff(slots, prepend=0)),
            self.registers.ravel()[slots].tobytes(),
            _pack(np.array([len(b.keys) for b in buckets], np.int64)),
            np.concatenate([NO_BUCKETS.keys, *(b.keys for b in buckets)]).astype("<i4").tobytes(),
            _pack(np.concatenate([NO_BUCKETS.counts, *(b.counts for b in buckets)])),
            json.dumps(novelties, separators=(",", ":")).encode(),
        ]
        sizes = struct.pack(f"<{PARTS}I", *(len(part) for part in parts))
        # The lowest level takes a fifth of the time of the usual one and a tenth more room.
        body = zlib.compress(sizes + b"".join(parts), 1)
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
        sizes = struct.unpack_from(f"<{PARTS}I", raw)
        pieces, at = [], 4 * PARTS
        for size in sizes:
            pieces.append(raw[at : at + size])
            at += size
        empty = cls.empty(layout)
        empty.counts[np.cumsum(_unpack(pieces[0]))] = _unpack(pieces[1])
        empty.registers.ravel()[np.cumsum(_unpack(pieces[5]))] = np.frombuffer(pieces[6], np.uint8)
        lengths, keys, counts = _unpack(pieces[7]), np.frombuffer(pieces[8], "<i4").astype(np.int64), _unpack(pieces[9])
        ends = np.cumsum(lengths).tolist()
        buckets = {
            column.name: Buckets(keys=keys[end - length : end], counts=counts[end - length : end])
            for column, length, end in zip(layout.columns, lengths.tolist(), ends, strict=True)
            if length
        }
        return cls(
            layout=layout,
            counts=empty.counts,
            sums=np.frombuffer(pieces[2], "<f8").astype(np.float64),
            lows=np.frombuffer(pieces[3], "<f8").astype(np.float64),
            highs=np.frombuffer(pieces[4], "<f8").astype(np.float64),
            registers=empty.registers,
            buckets=buckets,
            novelties={n: dict(zip(k, c, strict=True)) for n, (k, c) in json.loads(pieces[10]).items()},
        )


def _pack(numbers: Ints) -> bytes:
    """Return non-negative integers in as few bytes each as the largest needs."""
    largest = int(numbers.max()) if len(numbers) else 0
    width = next(width for width in (1, 2, 4, 8) if largest < 1 << (8 * width - (width == 8)))
    return bytes([width]) + numbers.astype(f"<u{width}").tobytes()


def _unpack(data: bytes) -> Ints:
    return np.frombuffer(data, f"<u{data[0]}", offset=1).astype(np.int64)


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

    All pieces are built in one pass over each column: its values are sorted within the pieces. What has an order is
    then found by looking for edges among them, the rest is counted on runs of equal values.
    """
    if number > 1 and number * layout.counts > LARGEST:
        # Many small pieces of a wide table would need more room than their rows; half of them at a time do not.
        low = pieces < number // 2
        first, second = np.flatnonzero(low), np.flatnonzero(~low)
        return profiles_of(layout, take(batch, first), pieces[first], number // 2) + profiles_of(
            layout, take(batch, second), pieces[second] - number // 2, number - number // 2
        )
    shape = (number, len(layout.columns))
    sizes = np.bincount(pieces, minlength=number)
    tally = _Tally(
        layout=layout,
        number=number,
        pieces=pieces,
        order=None if bool((pieces[1:] >= pieces[:-1]).all()) else np.argsort(pieces, kind="stable"),
        edges=np.concatenate([_ZERO, np.cumsum(sizes)]),
        time=batch.time,
        counts=np.zeros((number, layout.counts), np.int64),
        sums=np.zeros((number, layout.sums)),
        lows=np.full(shape, np.inf),
        highs=np.full(shape, -np.inf),
        registers=np.zeros((number, len(layout.columns), REGISTERS), np.uint8),
        buckets=[{} for _ in range(number)],
        novelties=[{} for _ in range(number)],
    )
    tally.counts[:, 0] = sizes
    for position, column in enumerate(layout.columns):
        values = batch.columns.get(column.name)
        if values is None:  # a vanished column: its rows are missing, and reading says so as a finding
            tally.counts[:, layout.extra(position, "missing")] = tally.counts[:, 0]
        elif isinstance(column, NumericColumn) and isinstance(values, NumericValues):
            tally.numeric(position, column, values)
        elif isinstance(column, CategoricalColumn) and isinstance(values, CategoryValues):
            tally.categorical(position, column, values)
        else:
            raise TypeError(
                f"column {column.name} is {column.kind} in training but was read as {type(values).__name__}"
            )
    tally.relations(batch)
    tally.embeddings(batch)
    return [
        Profile(
            layout=layout,
            counts=tally.counts[i],
            sums=tally.sums[i],
            lows=tally.lows[i],
            highs=tally.highs[i],
            registers=tally.registers[i],
            buckets=tally.buckets[i],
            novelties=tally.novelties[i],
        )
        for i in range(number)
    ]


@dataclass(frozen=True, kw_only=True)
class _Tally:
    """What is counted of one batch: the profiles of all pieces, one row each."""

    layout: Layout
    number: int
    pieces: Ints
    order: Ints | None
    """Rows by piece; None where they are in this order already."""
    edges: Ints
    """Where each piece begins among the rows in this order, and where the last one ends."""
    time: Ints
    counts: Ints
    sums: Floats
    lows: Floats
    highs: Floats
    registers: NDArray[np.uint8]
    buckets: list[dict[str, Buckets]]
    novelties: list[dict[str, Novelties]]
    slots: dict[tuple[Clock, str], Ints] = field(default_factory=dict)

    def add(self, position: int, extra: str, at: Ints, weights: Floats | None = None) -> None:
        """Count rows (or ``weights``) by piece."""
        if len(at):
            found = np.bincount(at, weights=weights, minlength=self.number)
            self.counts[:, self.layout.extra(position, extra)] += found.astype(np.int64)

    def numeric(self, position: int, column: NumericColumn, values: NumericValues) -> None:
        """Count a numeric column."""
        raw = values.values
        usable = np.isfinite(raw)
        at, edges = self.pieces, self.edges
        if usable.all():
            self.clock(position, column, raw, usable)
            if self.order is not None:
                at = at[self.order]
            x = raw.copy() if self.order is None else raw[self.order]
        else:
            odd = ~usable & ~values.missing
            if values.unparseable is not None:
                self.add(position, "unparseable", at[values.unparseable & ~values.missing])
                odd &= ~values.unparseable
            self.add(position, "missing", at[values.missing])
            self.add(position, "nan", at[odd & np.isnan(raw)])
            self.add(position, "infinite", at[odd & np.isinf(raw)])
            self.clock(position, column, raw, usable)
            x = raw
            if self.order is not None:
                x, at, usable = x[self.order], at[self.order], usable[self.order]
            x, at = x[usable], at[usable]
            edges = np.searchsorted(at, np.arange(self.number + 1))
        if not len(x):
            return
        if len(x) >= FEW * self.number:
            for piece, (start, stop) in enumerate(pairwise(edges.tolist())):
                if start < stop:
                    x[start:stop].sort()
                    self.piece(position, column, x[start:stop], piece)
        else:
            self.small_pieces(position, column, x, at, edges)

    def piece(self, position: int, column: NumericColumn, x: Floats, piece: int) -> None:
        """Count ascending values of one piece: what has an order is counted by looking for edges among them."""
        n, counts = len(x), self.counts[piece]
        self.lows[piece, position], self.highs[piece, position] = x[0] + 0.0, x[-1] + 0.0  # -0 is 0
        counts[self.layout.bins(position)] = gaps(x.searchsorted(column.edges), n)
        left, right = int(x.searchsorted(0.0)), int(x.searchsorted(0.0, "right"))
        counts[self.layout.extra(position, "zeros")] = right - left
        self.buckets[piece][column.name] = buckets_of_sorted(x, left, right)
        first = self.layout.sum_at(position)
        self.sums[piece, first : first + SUMS] = column.sums(x)
        begins = np.flatnonzero(x[1:] != x[:-1])
        value, times = x, None
        if len(begins) < n - 1:
            times = gaps(begins + 1, n)
            value = x[np.concatenate([_ZERO, begins + 1])]
        self.registers[piece, position] = registers_of(hash_floats(value))
        fresh = column.unseen(value)
        if fresh is not None and fresh.any():
            times = np.ones(n, np.int64) if times is None else times
            counts[self.layout.extra(position, "unseen")] = times[fresh].sum()
            keys = lattice_keys(value[fresh])
            self.novel(column.name, keys, hash_floats(keys), np.full(len(keys), piece), times[fresh])

    def small_pieces(self, position: int, column: NumericColumn, x: Floats, at: Ints, edges: Ints) -> None:
        """Count values of many pieces at once, each of few."""
        for start, stop in pairwise(edges.tolist()):
            x[start:stop].sort()
        filled = edges[:-1] < edges[1:]
        self.lows[filled, position] = x[edges[:-1][filled]] + 0.0  # -0 is 0
        self.highs[filled, position] = x[edges[1:][filled] - 1] + 0.0
        width, where = column.bins, self.layout.bins(position)
        table = np.bincount(at * width + column.bin(x), minlength=self.number * width)
        self.counts[:, where] += table.reshape(self.number, width)
        differs = np.empty(len(x), np.bool_)
        differs[0] = True
        np.not_equal(x[1:], x[:-1], out=differs[1:])
        differs[edges[:-1][filled]] = True
        begins = np.flatnonzero(differs)
        if len(begins) < len(x):
            x, at = x[begins], at[begins]
        self.values(position, column, x, at, np.diff(begins, append=edges[-1]))

    def values(self, position: int, column: NumericColumn, value: Floats, at: Ints, times: Ints) -> None:
        """Count values that ascend within their piece, each with how often it occurred there."""
        often = times.astype(np.float64)
        once = bool((times == 1).all())
        zero = value == 0
        self.add(position, "zeros", at[zero], often[zero])
        self.register(position, hash_floats(value), at)
        first = self.layout.sum_at(position)
        starts = np.flatnonzero(np.diff(at, prepend=-1))
        with np.errstate(over="ignore"):
            gap = np.clip(value - column.center, -FARTHEST, FARTHEST)
            clipped = column.clipped(value)
            for i, term in enumerate((gap, gap * gap, clipped, clipped * clipped)):
                self.sums[at[starts], first + i] = np.add.reduceat(term if once else term * often, starts)
        for piece, found in buckets_of(value, at, times, self.number):
            self.buckets[piece][column.name] = found
        fresh = column.unseen(value)
        if fresh is not None and fresh.any():
            self.add(position, "unseen", at[fresh], often[fresh])
            keys = lattice_keys(value[fresh])
            self.novel(column.name, keys, hash_floats(keys), at[fresh], times[fresh])

    def categorical(self, position: int, column: CategoricalColumn, values: CategoryValues) -> None:
        """Count a categorical column."""
        present = values.codes >= 0
        codes, at = values.codes.astype(np.int64), self.pieces
        if not present.all():
            self.add(position, "missing", at[~present])
            codes, at = codes[present], at[present]
        if not len(codes):
            return
        size = len(values.categories)
        place = column.places(values.categories)
        self.clock_texts(position, column, values, place)
        if self.number * size <= 4 * len(codes) + 4096:
            table = np.bincount(at * size + codes, minlength=self.number * size)
            both = np.flatnonzero(table)
            times = table[both]
        else:  # so many values that a table of them would be mostly empty
            both, times = np.unique(at * size + codes, return_counts=True)
        at, codes = both // size, both % size
        often, found = times.astype(np.float64), place[codes]
        top = found >= 0
        start, width = self.layout.bins(position).start, self.layout.counts
        np.add.at(self.counts.reshape(-1), at[top] * width + start + found[top], times[top])
        if top.all():
            return
        other, new = found == column.OTHER, found == column.NEW
        self.add(position, "other", at[other], often[other])
        self.add(position, "unseen", at[new], often[new])
        hashes = np.zeros(size, np.uint64)
        rarer = np.flatnonzero(place < 0)
        hashes[rarer] = hash_texts([values.categories[code] for code in rarer.tolist()])
        self.register(position, hashes[codes[~top]], at[~top])
        if new.any():
            self.novel(column.name, codes[new], hashes[codes[new]], at[new], times[new], values.categories)

    def relations(self, batch: Batch) -> None:
        """Sum the moments of related columns over rows that have both values."""
        scores: dict[str, Floats | None] = {}
        for place, relation in enumerate(self.layout.relations):
            for name in (relation.on, relation.of):
                if name not in scores:
                    scores[name] = score_of(self.layout.columns[self.layout.index[name]], batch.columns.get(name))
            a, b = scores[relation.on], scores[relation.of]
            if a is None or b is None:
                continue
            r, at = relation.residual(a, b), self.pieces
            known = np.isfinite(r)
            if not known.all():
                r, a, at = r[known], a[known], at[known]
            first = self.layout.moments_at + MOMENTS * place
            if self.number == 1:
                self.sums[0, first : first + MOMENTS] = len(r), *(float(x.sum()) for x in (r, a, r * r, r * a))
                continue
            for i, weights in enumerate((None, r, a, r * r, r * a)):
                self.sums[:, first + i] = np.bincount(at, weights=weights, minlength=self.number)

    def embeddings(self, batch: Batch) -> None:
        """Sum the moments of each dimension over rows with a vector."""
        at = self.layout.embedded_at
        for embedding in self.layout.embeddings:
            vectors = batch.vectors.get(embedding.name)
            if vectors is not None:
                self.sums[:, at : at + embedding.moments] = embedding.sums(vectors, self.pieces, self.number)
            at += embedding.moments

    def register(self, position: int, hashes: NDArray[np.uint64], at: Ints) -> None:
        """Enter hashed values into the registers of distinct values."""
        slot, rank = register_values(hashes)
        flat = np.zeros(self.number * REGISTERS, np.uint8)
        np.maximum.at(flat, at * REGISTERS + slot, rank)
        self.registers[:, position] = flat.reshape(self.number, REGISTERS)

    def novel(
        self,
        name: str,
        values: Floats | Ints,
        hashes: NDArray[np.uint64],
        at: Ints,
        times: Ints,
        categories: Sequence[str] | None = None,
    ) -> None:
        """Keep values never seen in training, of too many those of smallest hash; ``values`` may index categories."""
        for piece in np.unique(at).tolist():
            mine = np.flatnonzero(at == piece)
            if len(mine) > KEPT:
                mine = mine[np.argpartition(hashes[mine], KEPT)[: KEPT + 1]]
            found: dict[float | str, int] = {}
            for value, count in zip(values[mine].tolist(), times[mine].tolist(), strict=True):
                key = value if categories is None else categories[value]
                found[key] = found.get(key, 0) + count
            self.novelties[piece][name] = merge_novelties([found])

    def clock(self, position: int, column: NumericColumn, x: Floats, usable: NDArray[np.bool_]) -> None:
        """Count the values of a time function that are not those of their slot."""
        if column.clock is None:
            return
        expected = column.clock.usual_at(self.slot(column.clock)[usable])
        at, known = self.pieces[usable], ~np.isnan(expected)
        self.add(position, "clock_known", at[known])
        self.add(position, "off_clock", at[known & (x[usable] != expected)])

    def clock_texts(self, position: int, column: CategoricalColumn, values: CategoryValues, place: Ints) -> None:
        """Count the categories of a time function that are not those of their slot."""
        if column.clock is None:
            return
        present = values.codes >= 0
        expected = column.clock.usual_at(self.slot(column.clock)[present])
        at, known = self.pieces[present], ~np.isnan(expected)
        self.add(position, "clock_known", at[known])
        self.add(position, "off_clock", at[known & (place[values.codes[present]] != expected)])

    def slot(self, function: TimeFunction) -> Ints:
        """Return each row's slot on a clock; columns that follow the same one share it."""
        key = (function.clock, function.timezone)
        if key not in self.slots:
            self.slots[key] = clock_slots(function.clock, self.time, function.timezone)
        return self.slots[key]


def _same_layout(one: Layout, other: Layout) -> None:
    if one is not other and one.digest != other.digest:
        raise ValueError("profiles on different training profiles cannot be merged; rebuild one on the other's edges")
