"""Tiles: stored pieces of a model's time. A window is the merge of its tiles, in any order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

import numpy as np

from monitor.column import Layout
from monitor.outcome import OutcomeLayout, OutcomeProfile, outcomes_of
from monitor.profile import Profile, profiles_of
from monitor.reference import with_score
from monitor.source import Batch, Fingerprint, Ints, KnownTile, Read, TileFacts
from monitor.window import Window

#: How long after a tile was due its rows are looked at again; the last time is when late rows need not be waited for.
CHECKS = (
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=12),
    timedelta(hours=48),
)
HELD = 8  # profiles of one piece of time before they are merged: what a read holds does not grow with its rows

P = TypeVar("P", Profile, OutcomeProfile)


class TilePart(StrEnum):
    """What a tile profiles: the inputs with the score, or the predictions with their labels."""

    INPUTS = "inputs"
    OUTCOMES = "outcomes"


@dataclass(frozen=True, kw_only=True)
class TileKey:
    """Whose tiles they are: everything of a tile's key but version and time."""

    model: str
    part: TilePart
    reference_id: str
    role: str = "champion"
    slice: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """The stored profile of one piece of time of one model version, with what it looked like when it was read.

    One without rows has an empty body: it says that nothing was there.
    """

    key: TileKey
    window: Window
    version: str = ""
    recipe: str = ""
    body: bytes = field(repr=False)
    fingerprint: Fingerprint
    rows: int = 0
    duplicates: int = 0
    late: int = 0
    clock_skewed: int = 0
    next_check_at: datetime | None = None
    """When its rows are looked at again; None once it is settled."""

    @property
    def start(self) -> datetime:
        """Start of the piece of time."""
        return self.window.start


def build_inputs(read: Read, layout: Layout, key: TileKey) -> tuple[list[Tile], Profile]:
    """Return the tiles of a read and their merge; a tile without rows is left out, its absence says the same."""
    empty = Profile.empty(layout)
    tiles, total = _build(
        read, key, lambda batch, at, number: profiles_of(layout, with_score(batch), at, number), empty
    )
    return tiles, Profile.total(layout, total)


def build_outcomes(read: Read, layout: OutcomeLayout, key: TileKey) -> tuple[list[Tile], OutcomeProfile]:
    """Return the outcome tiles of a read and their merge."""
    empty = OutcomeProfile.empty(layout)
    tiles, total = _build(read, key, lambda batch, at, number: outcomes_of(layout, batch, at, number), empty)
    return tiles, OutcomeProfile.total(layout, total)


def merge_inputs(layout: Layout, tiles: Iterable[Tile]) -> Profile:
    """Return the profile of all tiles; raises ValueError for tiles of another training profile."""
    return Profile.total(layout, [Profile.from_bytes(layout, tile.body) for tile in tiles])


def merge_outcomes(layout: OutcomeLayout, tiles: Iterable[Tile]) -> OutcomeProfile:
    """Return the outcome profile of all tiles; raises ValueError for tiles of another training profile."""
    return OutcomeProfile.total(layout, [OutcomeProfile.from_bytes(layout, tile.body) for tile in tiles])


def next_check(due: datetime, lateness: timedelta, now: datetime) -> datetime | None:
    """Return when a tile that was due at a time is looked at again after ``now``; None once it is settled.

    >>> start = datetime(2024, 5, 6)
    >>> next_check(start, timedelta(hours=1), start + timedelta(minutes=6)) - start
    datetime.timedelta(seconds=1800)
    """
    moments = [due + after for after in CHECKS if after < lateness] + [due + lateness]
    return next((moment for moment in moments if moment > now), None)


def known_tiles(tiles: Iterable[Tile], *, anew: bool = False) -> dict[Window, KnownTile]:
    """Return what is known of each piece of time from its tiles of all versions; with ``anew`` nothing is settled."""
    pieces: dict[Window, list[Tile]] = {}
    for tile in tiles:
        pieces.setdefault(tile.window, []).append(tile)
    return {
        window: KnownTile(
            recipe=versions[0].recipe,
            fingerprints={tile.version: tile.fingerprint for tile in versions if tile.fingerprint.count},
            settled=not anew and all(tile.next_check_at is None for tile in versions),
        )
        for window, versions in pieces.items()
        if len({tile.recipe for tile in versions}) == 1
    }


def fitted(pieces: Sequence[Window], stored: Iterable[Window]) -> list[Window]:
    """Return pieces of time, those that one wider stored piece covers from edge to edge replaced by it."""
    starts, ends, given = {piece.start for piece in pieces}, {piece.end for piece in pieces}, set(pieces)
    wide = sorted(one for one in set(stored) - given if one.start in starts and one.end in ends)
    found, reached = [*wide], iter(wide)
    cover = next(reached, None)
    for piece in pieces:
        while cover is not None and cover.end <= piece.start:
            cover = next(reached, None)
        if cover is None or piece.start < cover.start:
            found.append(piece)
    return sorted(found)


def merged_tiles(
    tiles: Iterable[Tile], spans: Sequence[Window], merge: Callable[[Sequence[Tile]], bytes]
) -> list[Tile]:
    """Return a tile for every span and version whose tiles are all there, narrower, settled and made alike.

    ``tiles`` are of one key; ``merge`` gives the body of tiles with rows. Sums of hashes add up as rows do, so that the
    fingerprint of a span is that of its rows.
    """
    starts = [span.start for span in spans]
    parts: dict[Window, list[Tile]] = {}
    for tile in tiles:
        place = bisect_right(starts, tile.start) - 1
        if place >= 0 and tile.start in spans[place]:
            parts.setdefault(spans[place], []).append(tile)
    return [
        one
        for span, some in sorted(parts.items())
        if _is_mergeable(span, some)
        for one in _merged_span(span, some, merge)
    ]


def _is_mergeable(span: Window, parts: Sequence[Tile]) -> bool:
    pieces = {tile.window for tile in parts}
    inside = all(piece.end <= span.end for piece in pieces)
    whole = sum((piece.length for piece in pieces), timedelta(0)) == span.length and len(pieces) > 1
    settled = all(tile.next_check_at is None for tile in parts)
    return inside and whole and settled and len({tile.recipe for tile in parts}) == 1


def _merged_span(span: Window, parts: Sequence[Tile], merge: Callable[[Sequence[Tile]], bytes]) -> Iterator[Tile]:
    for version in sorted({tile.version for tile in parts if tile.fingerprint.count}) or [""]:
        some = [tile for tile in parts if tile.version == version]
        full = [tile for tile in some if tile.rows]
        yield replace(
            parts[0],
            window=span,
            version=version,
            body=merge(full) if full else b"",
            fingerprint=Fingerprint(
                count=sum(tile.fingerprint.count for tile in some), total=sum(tile.fingerprint.total for tile in some)
            ),
            rows=sum(tile.rows for tile in some),
            duplicates=sum(tile.duplicates for tile in some),
            late=sum(tile.late for tile in some),
            clock_skewed=sum(tile.clock_skewed for tile in some),
        )


def emptied(key: TileKey, pieces: Sequence[Window], before: Iterable[Tile], built: Iterable[Tile]) -> list[Tile]:
    """Return the tiles without rows of pieces of time that were read: where ``before`` there were some, or never any.

    They are stored so that the last row that goes and the first that comes are seen.
    """
    full = {(tile.window, tile.version) for tile in built}
    inside = set(pieces)
    gone = {(tile.window, tile.version) for tile in before if tile.window in inside} - full
    never = inside - {window for window, _ in full | gone}
    nothing = Fingerprint(count=0, total=0)
    return [
        Tile(key=key, window=window, version=version, body=b"", fingerprint=nothing)
        for window, version in sorted(gone | {(window, "") for window in never})
    ]


def changed(stored: Iterable[Tile], fresh: Iterable[TileFacts]) -> list[Window]:
    """Return the pieces of time, in order, whose rows are not what they were when the stored tiles were built.

    A piece that got its first rows, or lost its last, has changed too.
    """
    before = {(tile.window, tile.version): tile.fingerprint for tile in stored if tile.fingerprint.count}
    now = {(facts.window, facts.version): facts.fingerprint for facts in fresh if facts.fingerprint.count}
    return sorted({at[0] for at in before.keys() | now.keys() if before.get(at) != now.get(at)})


class Parts(Generic[P]):
    """Profiles by place that are merged as they come: what is held does not grow with the rows."""

    def __init__(self) -> None:
        self._held: dict[int, list[P]] = {}

    def add(self, found: Iterable[tuple[int, P]]) -> None:
        """Take in profiles, each with its place."""
        for place, built in found:
            held = self._held.setdefault(place, [])
            held.append(built)
            if len(held) == HELD:
                held[:] = [type(built).total(built.layout, held)]

    def merged(self) -> dict[int, P]:
        """Return the profile of each place."""
        return {
            place: held[0] if len(held) == 1 else type(held[0]).total(held[0].layout, held)
            for place, held in self._held.items()
        }


def _build(
    read: Read, key: TileKey, profile: Callable[[Batch, Ints, int], list[P]], empty: P
) -> tuple[list[Tile], list[P]]:
    """Profile every (tile, version) of a read in one pass over its batches; of one without drawn rows it is empty."""
    facts = [fact for fact in read.facts if fact.fingerprint.count]
    position = {(fact.window, fact.version): i for i, fact in enumerate(facts)}
    pieces = read.tiles

    def work(batch: Batch) -> list[tuple[int, P]]:
        at = _places(batch, pieces, position)
        used = np.unique(at)
        # Only the pieces that occur in a batch cost anything; the rest of a long window does not.
        found = profile(batch, np.searchsorted(used, at), len(used))
        return list(zip(used.tolist(), found, strict=True))

    parts = Parts[P]()
    with read:
        for found in read.mapped(work):
            parts.add(found)
    whole = parts.merged()
    nothing = empty if read.reading.share < 1 else None
    merged = [whole.get(i, nothing) for i in range(len(facts))]
    tiles = [
        Tile(
            key=key,
            window=fact.window,
            version=fact.version,
            recipe=read.recipe,
            body=built.to_bytes(),
            fingerprint=fact.fingerprint,
            rows=fact.rows,
            duplicates=fact.duplicates,
            late=fact.late,
            clock_skewed=fact.clock_skewed,
        )
        for fact, built in zip(facts, merged, strict=True)
        if built is not None
    ]
    return tiles, [built for built in merged if built is not None]


def _places(batch: Batch, tiles: Sequence[Window], position: Mapping[tuple[Window, str], int]) -> Ints:
    """Return to which (tile, version) each row belongs."""
    starts = np.array([round(tile.start.timestamp() * 1_000_000) for tile in tiles], np.int64)
    tile = np.searchsorted(starts, batch.time, side="right") - 1
    versions = ("",) if batch.version is None else tuple(batch.version.categories)
    table = np.array([[position.get((window, version), -1) for version in versions] for window in tiles], np.int64)
    code = np.zeros(batch.rows, np.int64) if batch.version is None else batch.version.codes
    return np.asarray(table[tile, code], np.int64)
