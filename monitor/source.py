"""Where logged rows come from: the shape of a batch and what a source must give."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from monitor.window import Window

if TYPE_CHECKING:
    from monitor.column import Layout

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
T = TypeVar("T")


class Kind(StrEnum):
    """What a column is to the statistics."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


@dataclass(frozen=True, kw_only=True)
class NumericValues:
    """A numeric column of a batch.

    ``values`` is NaN where the value is missing, unparseable or NaN; ``missing`` and ``unparseable`` tell which.
    """

    values: Floats
    missing: Bools
    unparseable: Bools | None = None
    words: tuple[int, ...] | None = None
    """Hashes of the words that a share of unknown words was counted with."""


@dataclass(frozen=True, kw_only=True)
class CategoryValues:
    """A categorical column of a batch: ``codes`` index ``categories``; -1 is missing."""

    codes: NDArray[np.int32]
    categories: Sequence[str]


Values = NumericValues | CategoryValues


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A bounded number of rows, by column; all arrays have ``rows`` entries.

    ``time`` is microseconds since the epoch, UTC. Outcome fields are None for inputs.
    """

    rows: int
    time: Ints
    columns: Mapping[str, Values]
    score: Floats | None = None
    """Predicted probability or value; NaN where missing."""
    scores: Floats | None = None
    """Multiclass: rows × classes."""
    decision: Bools | None = None
    """Logged positive decision of a classifier, if it is logged."""
    label: Floats | None = None
    """The outcome: 0/1, a number, or the class index; NaN where there is none (yet)."""
    label_delay: Floats | None = None
    """Seconds from prediction to label; NaN where unknown."""
    ids: Sequence[str] | None = None
    version: CategoryValues | None = None
    """Version of the model that answered; None where the log has no such column."""
    attributes: Mapping[str, CategoryValues] = field(default_factory=dict)
    """What rows are watched apart by, be it a feature or not."""
    vectors: Mapping[str, Floats] = field(default_factory=dict)
    """Embeddings: rows × dimensions; NaN where a row has none of that length."""


def plain_values(values: Values) -> NDArray[Any]:
    """Return a column as floats (missing: NaN) or as texts (missing: None)."""
    if isinstance(values, NumericValues):
        return np.where(values.missing, np.nan, values.values)
    return np.array([*values.categories, None], object)[values.codes]  # code -1 is the None at the end


def take(batch: Batch, rows: Ints) -> Batch:
    """Return some rows of a batch by their positions, in the given order."""

    def some(values: Values) -> Values:
        if isinstance(values, CategoryValues):
            return replace(values, codes=values.codes[rows])
        broken = None if values.unparseable is None else values.unparseable[rows]
        return replace(values, values=values.values[rows], missing=values.missing[rows], unparseable=broken)

    return Batch(
        rows=len(rows),
        time=batch.time[rows],
        columns={name: some(values) for name, values in batch.columns.items()},
        score=None if batch.score is None else batch.score[rows],
        scores=None if batch.scores is None else batch.scores[rows],
        decision=None if batch.decision is None else batch.decision[rows],
        label=None if batch.label is None else batch.label[rows],
        label_delay=None if batch.label_delay is None else batch.label_delay[rows],
        ids=None if batch.ids is None else [batch.ids[row] for row in rows.tolist()],
        version=None if batch.version is None else replace(batch.version, codes=batch.version.codes[rows]),
        attributes={name: replace(value, codes=value.codes[rows]) for name, value in batch.attributes.items()},
        vectors={name: vectors[rows] for name, vectors in batch.vectors.items()},
    )


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Return the rows of all batches, which have the same columns, as one; categories are brought together.

    Scores, labels and delays are NaN where a batch has none; what has no NaN is left out unless all batches have it.
    """
    if len(batches) == 1:
        return batches[0]

    def filled(get: Callable[[Batch], Floats | None]) -> Floats | None:
        parts = [get(batch) for batch in batches]
        if all(part is None for part in parts):
            return None
        blank = [np.full(batch.rows, np.nan) for batch in batches]
        return np.concatenate([none if part is None else part for part, none in zip(parts, blank, strict=True)])

    def all_or_none(get: Callable[[Batch], Any]) -> Any:
        parts = [get(batch) for batch in batches]
        return np.concatenate(parts) if parts and all(part is not None for part in parts) else None

    names = batches[0].columns if batches else ()
    versions = [batch.version for batch in batches if batch.version is not None]
    ids = [batch.ids for batch in batches if batch.ids is not None]
    return Batch(
        rows=sum(batch.rows for batch in batches),
        time=np.concatenate([np.zeros(0, np.int64), *(batch.time for batch in batches)]),
        columns={name: _joined([batch.columns[name] for batch in batches]) for name in names},
        score=filled(lambda batch: batch.score),
        scores=all_or_none(lambda batch: batch.scores),
        decision=all_or_none(lambda batch: batch.decision),
        label=filled(lambda batch: batch.label),
        label_delay=filled(lambda batch: batch.label_delay),
        ids=[text for part in ids for text in part] if ids else None,
        version=_joined_categories(versions) if versions else None,
        attributes={
            name: _joined_categories([batch.attributes[name] for batch in batches])
            for name in (batches[0].attributes if batches else ())
        },
        vectors={
            name: np.concatenate([batch.vectors[name] for batch in batches])
            for name, first in (batches[0].vectors if batches else {}).items()
            if all(name in one.vectors and one.vectors[name].shape[1] == first.shape[1] for one in batches)
        },
    )


def _joined(parts: Sequence[Values]) -> Values:
    numeric = [part for part in parts if isinstance(part, NumericValues)]
    if len(numeric) < len(parts):
        return _joined_categories([part for part in parts if isinstance(part, CategoryValues)])
    broken = [np.zeros(len(p.values), np.bool_) if p.unparseable is None else p.unparseable for p in numeric]
    return NumericValues(
        values=np.concatenate([p.values for p in numeric]),
        missing=np.concatenate([p.missing for p in numeric]),
        unparseable=np.concatenate(broken),
        words=numeric[0].words if numeric else None,
    )


def _joined_categories(parts: Sequence[CategoryValues]) -> CategoryValues:
    place: dict[str, int] = {}
    codes = []
    for part in parts:
        table = np.array([*(place.setdefault(text, len(place)) for text in part.categories), -1], np.int32)
        codes.append(table[part.codes])
    return CategoryValues(codes=np.concatenate(codes), categories=tuple(place))


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What a piece of time looked like when it was read: count and sum of 64-bit hashes of id and row version."""

    count: int
    total: int


@dataclass(frozen=True, kw_only=True)
class ColumnFault:
    """A configured column that is not what it was: vanished, or of another type."""

    column: str
    problem: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one read of a window came to, beside the rows themselves."""

    rows: int = 0
    duplicates: int = 0
    late: int = 0
    clock_skewed: int = 0
    null_times: int = 0
    repeats: int = 0
    """Ids of the rows that were transferred that also occur in another tile: each is counted there as well."""
    beyond_horizon: int = 0
    """Rows logged in this window for a time whose tiles nobody looks at any more; they belong to no window."""
    labels: int = 0
    labels_without_prediction: int = 0
    seconds: float = 0.0
    last_row_at: datetime | None = None
    faults: Sequence[ColumnFault] = field(default_factory=tuple)
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """How much of the rows was drawn to be profiled, 1 for all; ``rows`` counts all."""
        return float(self.details.get(SHARE, 1.0))


SHARE = "share"  # among the details of a reading: how much of the rows was drawn, 1 for all


class SourceError(Exception):
    """The logs cannot be read at all; the message is one sentence: what, which, what to do."""


class SlowReadError(SourceError):
    """A statement took longer than its limit, which may be for the rows of one window alone."""


@dataclass(frozen=True, kw_only=True)
class TileFacts:
    """What the source counted about one tile and model version, in the snapshot of its rows.

    ``rows`` are the rows that are delivered: repeats of a key are taken off. ``fingerprint`` is of all rows, repeats
    included. ``late`` rows were written more than the allowed lateness after their time, ``clock_skewed`` ones more
    than five minutes before it.
    """

    window: Window
    version: str = ""
    rows: int = 0
    duplicates: int = 0
    late: int = 0
    clock_skewed: int = 0
    fingerprint: Fingerprint

    @classmethod
    def counted(
        cls, window: Window, version: str, *, count: int, duplicates: int, late: int, skewed: int, total: int
    ) -> TileFacts:
        """Return the facts of ``count`` rows whose hashes sum up to ``total``, repeats of a key among them."""
        return cls(
            window=window,
            version=version,
            rows=count - duplicates,
            duplicates=duplicates,
            late=late,
            clock_skewed=skewed,
            fingerprint=Fingerprint(count=count, total=total),
        )


@dataclass(frozen=True, kw_only=True)
class KnownTile:
    """What is stored of one piece of time: the recipe that made its profiles, and what its rows looked like.

    ``fingerprints`` are by model version, without those that have no row. ``settled`` says that its rows need not be
    looked at again.
    """

    recipe: str
    fingerprints: Mapping[str, Fingerprint]
    settled: bool = False


NOTHING_KNOWN: Mapping[Window, KnownTile] = MappingProxyType({})


def to_look_at(tiles: Sequence[Window], known: Mapping[Window, KnownTile], recipe: str) -> list[Window]:
    """Return the tiles whose rows a read has to look at: all but the settled ones of the same recipe."""

    def is_settled(tile: Window) -> bool:
        stored = known.get(tile)
        return stored is not None and stored.settled and stored.recipe == recipe

    return [tile for tile in tiles if not is_settled(tile)]


def to_transfer(
    tiles: Sequence[Window], known: Mapping[Window, KnownTile], recipe: str, facts: Iterable[TileFacts]
) -> list[Window]:
    """Return those of the tiles that are not stored as their rows are now, by what was counted of them."""
    fresh: dict[Window, dict[str, Fingerprint]] = {tile: {} for tile in tiles}
    for fact in facts:
        if fact.fingerprint.count:
            fresh[fact.window][fact.version] = fact.fingerprint

    def is_same(tile: Window) -> bool:
        stored = known.get(tile)
        return stored is not None and stored.recipe == recipe and stored.fingerprints == fresh[tile]

    return [tile for tile in tiles if not is_same(tile)]


class Read:
    """One read of a window in one snapshot: facts per tile at once, rows as batches while iterated.

    ``tiles`` are those whose rows are transferred, with their ``facts``; ``unchanged`` ones are stored as they are.
    ``recipe`` names how rows become values: a tile that another recipe made says nothing about this one.

    Iterate it to the end or close it (``with`` does): until then a transaction is open. ``reading`` is complete when
    all batches were taken. ``batches`` is called with a mapping for details that only the rows tell, ``elapsed`` gives
    the seconds since the read began.
    """

    def __init__(
        self,
        *,
        tiles: Sequence[Window],
        facts: Sequence[TileFacts],
        reading: Reading,
        batches: Callable[[dict[str, Any]], Iterator[Batch]],
        close: Callable[[], None] = lambda: None,
        elapsed: Callable[[], float] = lambda: 0.0,
        unchanged: Sequence[Window] = (),
        recipe: str = "",
    ) -> None:
        self.tiles = tuple(tiles)
        self.facts = tuple(facts)
        self.unchanged = tuple(unchanged)
        self.recipe = recipe
        self._elapsed = elapsed
        self._reading = reading
        self._details: dict[str, Any] = dict(reading.details)
        self._batches = batches(self._details)
        self._close = close

    @property
    def reading(self) -> Reading:
        """Counts of the read so far."""
        labels = int(self._details.get("labels", self._reading.labels))
        return replace(self._reading, labels=labels, details=dict(self._details))

    def __iter__(self) -> Iterator[Batch]:
        try:
            yield from self._batches
        finally:
            self.close()
            self._reading = replace(self._reading, seconds=self._elapsed())

    def mapped(self, work: Callable[[Batch], list[tuple[int, T]]]) -> Iterator[list[tuple[int, T]]]:
        """Yield what ``work`` makes of the rows, as pairs of a place and a profile.

        A source with machines of its own does the work there and merges what belongs to the same place.
        """
        for batch in self:
            yield work(batch)

    def close(self) -> None:
        """End the transaction; closing twice is harmless."""
        batches, self._batches = self._batches, iter(())
        if isinstance(batches, Generator):
            batches.close()
        close, self._close = self._close, lambda: None
        close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RowSource(Protocol):
    """Where a sample of one model's rows comes from."""

    def sample(
        self,
        windows: Sequence[Window],
        limit: int,
        with_labels: bool = False,
        *,
        now: datetime,
        layout: Layout | None = None,
    ) -> Batch:
        """Return at most ``limit`` rows, drawn uniformly by the hash of the request id: a repetition gives the same."""
        ...


class Source(RowSource, Protocol):
    """Where one model's rows come from."""

    def read_inputs(
        self,
        window: Window,
        tiles: Sequence[Window],
        layout: Layout | None,
        *,
        now: datetime,
        known: Mapping[Window, KnownTile] = NOTHING_KNOWN,
    ) -> Read:
        """Return the window's inputs and predictions; without a layout every column, typed by the source's own types.

        Rows are transferred only of tiles that are not ``known`` as they are now. ``window`` is the time for which
        rows are counted that belong to no window. Raises SourceError when nothing can be read; a single column that
        vanished is a fault in ``reading``.
        """
        ...

    def read_outcomes(
        self,
        window: Window,
        tiles: Sequence[Window],
        *,
        now: datetime,
        known: Mapping[Window, KnownTile] = NOTHING_KNOWN,
    ) -> Read:
        """Return the window's predictions with the labels known at ``now``; raises SourceError."""
        ...

    def fingerprints(
        self, tiles: Sequence[Window], layout: Layout | None, *, now: datetime, labels: bool = False
    ) -> Sequence[TileFacts]:
        """Return what the rows of tiles look like, without transferring one; with ``labels`` as outcomes are read.

        The fingerprints are those of a read at ``now``; the other facts are not looked for. Raises SourceError.
        """
        ...

    def check(self) -> list[str]:
        """Return one sentence for every problem of the source."""
        ...
