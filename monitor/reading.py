"""The rows of a window: from the logs those of tiles that changed, from the store what the others came to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from monitor import ledger, store
from monitor.check import Stage
from monitor.failpoint import Failpoint, reach
from monitor.installation import Installation, Monitored
from monitor.ledger import Run
from monitor.outcome import OutcomeProfile
from monitor.profile import Profile
from monitor.reference import Reference
from monitor.source import Fingerprint, Read, Reading
from monitor.store import StoredTile
from monitor.tile import (
    Tile,
    TileKey,
    TilePart,
    build_inputs,
    build_outcomes,
    emptied,
    fitted,
    known_tiles,
    merge_inputs,
    merge_outcomes,
    next_check,
)
from monitor.window import Window, WindowSpec

CHUNK = 256  # tiles whose profiles are in memory at once while a long window is merged
ASKED = frozenset({"manual", "backfill"})
"""Kinds of runs that a person asked for: they look at every row again, also at what is settled."""

LATE = "late"
"""Kind of a run that changed rows have caused: alerts follow it, unlike what somebody asks for."""
log = logging.getLogger(__name__)

P = TypeVar("P", Profile, OutcomeProfile)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What one window's rows came to. ``tiles`` are to be stored, ``reading`` counts the whole window."""

    reading: Reading
    tiles: Sequence[Tile] = ()
    current: Profile | None = None
    outcome: OutcomeProfile | None = None
    transferred: int = 0
    """Rows that came from the logs for this."""
    again: int = 0
    """Those of them whose tile was stored before."""


def read_rows(
    installation: Installation,
    watched: Monitored,
    reference: Reference | None,
    run: Run,
    stage: Stage,
    *,
    now: datetime,
    everywhere: bool = False,
) -> Rows:
    """Return the profile of a window and the tiles that were built for it.

    In one snapshot the logs say what all tiles look like that are not settled (or all of them, where a person asked for
    it or ``everywhere`` does); rows are transferred of those alone that are not stored like that. Raises SourceError
    when the logs cannot be read.
    """
    source, window = installation.source(watched.name), run.window
    pieces, counted = watched.spec.tiles(window), counting(watched.spec, window)
    if reference is None:
        # There is nothing to build on; rows are counted all the same.
        with (
            source.read_inputs(counted, pieces, None, now=now)
            if stage is Stage.INPUTS
            else source.read_outcomes(counted, pieces, now=now)
        ) as read:
            return Rows(reading=read.reading, transferred=0)
    key = tile_key(watched, reference, stage)
    before = load(installation, key, window, bodies=False)
    pieces = fitted(pieces, (tile.window for tile in before))
    known = known_tiles(before, anew=everywhere or run.kind in ASKED)
    due = wait_of(watched, stage)
    if stage is Stage.INPUTS:
        layout = reference.layout
        with source.read_inputs(counted, pieces, layout, now=now, known=known) as read:
            built, current = build_inputs(read, layout, key)
        moved = current.rows
        current = _with_stored(
            installation, key, read, before, current, lambda whole, tiles: whole + merge_inputs(layout, tiles)
        )
        rows = Rows(reading=read.reading, current=current)
    else:
        outcomes = reference.outcome_layout
        if outcomes is None:
            with source.read_outcomes(counted, pieces, now=now) as read:
                return Rows(reading=read.reading)
        with source.read_outcomes(counted, pieces, now=now, known=known) as read:
            built, outcome = build_outcomes(read, outcomes, key)
        moved = outcome.rows
        outcome = _with_stored(
            installation, key, read, before, outcome, lambda whole, tiles: whole + merge_outcomes(outcomes, tiles)
        )
        rows = Rows(reading=replace(read.reading, labels=outcome.labelled), outcome=outcome)
    unchanged = set(read.unchanged)
    kept = [tile for tile in before if tile.window in unchanged]
    fresh = [
        replace(
            tile,
            recipe=read.recipe,
            next_check_at=next_check(tile.window.end + due, watched.section.lateness, now),
        )
        for tile in [*built, *emptied(key, read.tiles, before, built)]
    ]
    if run.kind in ASKED:  # of long ago: what holds several windows is not given up for one of them
        wide = wider(installation, key, window)
        fresh = [tile for tile in fresh if not any(tile.start in one for one in wide)]
    return replace(
        rows,
        reading=_whole(rows.reading, kept),
        tiles=sorted(fresh, key=lambda tile: (tile.window, tile.version)),
        transferred=moved,
        again=min(moved, round(read.reading.share * sum(tile.rows for tile in built if tile.window in known))),
    )


def read_in_parts(
    installation: Installation,
    watched: Monitored,
    reference: Reference | None,
    run: Run,
    stage: Stage,
    *,
    now: datetime,
) -> Rows:
    """Return what `read_rows` does, with the rows of one tile in memory at a time instead of a whole window's.

    Each tile is stored as soon as it is built, so that an attempt which dies leaves less to the next. At the end the
    whole is compared with the logs in one snapshot as ever, and what changed meanwhile is read again: the result is
    that of one read. Raises SourceError, and LeaseLost when another process took the run over.
    """
    assert reference is not None
    assert run.token is not None
    log.warning(
        "a window is read in parts, because it may be too large for the memory",
        extra={"model": run.model, "part": run.part, "window": run.window.start.isoformat()},
    )
    before = load(installation, tile_key(watched, reference, stage), run.window, bodies=False)
    transferred = again = 0
    for piece in fitted(watched.spec.tiles(run.window), (tile.window for tile in before)):
        part = read_rows(installation, watched, reference, replace(run, window=piece), stage, now=now)
        with installation.engine.begin() as conn:
            ledger.ensure_owner(conn, run.run_id, run.token)
            store.save_tiles(conn, [stored(tile) for tile in part.tiles])
        reach(Failpoint.TILE_STORED)
        transferred, again = transferred + part.transferred, again + part.again
    # Whoever asked for every row to be looked at again has got that by now. When the last row was and which rows have
    # no id is said by a look at all tiles, and those of long ago are settled as soon as they are built.
    rows = read_rows(installation, watched, reference, replace(run, kind=LATE), stage, now=now, everywhere=True)
    return replace(rows, transferred=rows.transferred + transferred, again=rows.again + again)


def counting(spec: WindowSpec, window: Window) -> Window:
    """Return the time for which a window counts rows that belong to none: its last step, so that each counts once."""
    if spec.step is None:
        return window
    return Window(start=max(window.start, window.end - spec.step), end=window.end)


def wait_of(watched: Monitored, stage: Stage) -> timedelta:
    """Return how long after its end a window is due."""
    outcome = watched.section.source.outcome
    mature = outcome.matures_after if stage is Stage.OUTCOMES and outcome is not None else timedelta(0)
    return watched.section.lag + mature


def tile_key(watched: Monitored, reference: Reference, stage: Stage) -> TileKey:
    """Return whose tiles a run builds."""
    return TileKey(model=watched.name, part=TilePart(stage.value), reference_id=reference.id)


def load(installation: Installation, key: TileKey, window: Window, *, bodies: bool = True) -> list[Tile]:
    """Return the stored tiles of a time, in order; without ``bodies`` only what is known of them."""
    with installation.engine.begin() as conn:
        found = store.load_tiles(
            conn,
            model=key.model,
            role=key.role,
            part=key.part.value,
            reference_id=key.reference_id,
            start=window.start,
            end=window.end,
            bodies=bodies,
        )
    return [tile_of(one) for one in found]


def wider(installation: Installation, key: TileKey, window: Window) -> list[Window]:
    """Return the stored pieces of time that a window holds in part only."""
    with installation.engine.begin() as conn:
        return store.wider_tiles(
            conn,
            model=key.model,
            role=key.role,
            part=key.part.value,
            reference_id=key.reference_id,
            window=window,
        )


def _whole(reading: Reading, kept: Iterable[Tile]) -> Reading:
    """Return the counts of a window from those of the rows that were transferred and of the tiles that were stored."""
    stored = list(kept)
    ends = [tile.window.end for tile in stored if tile.rows]
    return replace(
        reading,
        rows=reading.rows + sum(tile.rows for tile in stored),
        duplicates=reading.duplicates + sum(tile.duplicates for tile in stored),
        late=reading.late + sum(tile.late for tile in stored),
        clock_skewed=reading.clock_skewed + sum(tile.clock_skewed for tile in stored),
        # Of settled tiles nobody asks when their last row was: the latest it can have been.
        last_row_at=reading.last_row_at or max(ends, default=None),
    )


def _with_stored(
    installation: Installation,
    key: TileKey,
    read: Read,
    before: Sequence[Tile],
    fresh: P,
    add: Callable[[P, Sequence[Tile]], P],
) -> P:
    """Return the profile of the window: what was transferred with the stored tiles that did not change."""
    unchanged = set(read.unchanged)
    wanted = {(tile.window, tile.version): tile.fingerprint for tile in before if tile.window in unchanged}
    whole = fresh
    for stretch in _stretches(sorted({window for window, _ in wanted})):
        tiles = [tile for tile in load(installation, key, stretch) if (tile.window, tile.version) in wanted]
        _check_same(tiles, {at: value for at, value in wanted.items() if at[0].start in stretch})
        whole = add(whole, [tile for tile in tiles if tile.rows])
    return whole


def _stretches(windows: Sequence[Window]) -> Iterator[Window]:
    for first in range(0, len(windows), CHUNK):
        some = windows[first : first + CHUNK]
        yield Window(start=some[0].start, end=some[-1].end)


def _check_same(tiles: Iterable[Tile], wanted: dict[tuple[Window, str], Fingerprint]) -> None:
    """Raise RuntimeError where tiles are not those any more that the logs were compared with."""
    if {(tile.window, tile.version): tile.fingerprint for tile in tiles} != wanted:
        raise RuntimeError("Stored tiles were changed while this run read them; it is tried again.")


def tile_of(kept: StoredTile) -> Tile:
    """Return a stored tile as the noun."""
    return Tile(
        key=TileKey(
            model=kept.model,
            part=TilePart(kept.part),
            reference_id=kept.reference_id,
            role=kept.role,
            slice=kept.slice,
        ),
        window=Window(start=kept.start, end=kept.end),
        version=kept.model_version,
        recipe=kept.recipe,
        body=kept.body,
        fingerprint=Fingerprint(count=kept.fingerprint_count, total=kept.fingerprint_sum),
        rows=kept.rows,
        duplicates=kept.rows_duplicate,
        late=kept.rows_late,
        clock_skewed=kept.rows_clock_skewed,
        next_check_at=kept.next_check_at,
    )


def stored(tile: Tile) -> StoredTile:
    """Return a tile as it is stored."""
    return StoredTile(
        model=tile.key.model,
        model_version=tile.version,
        role=tile.key.role,
        slice=tile.key.slice,
        part=tile.key.part.value,
        reference_id=tile.key.reference_id,
        start=tile.window.start,
        end=tile.window.end,
        body=tile.body,
        rows=tile.rows,
        rows_duplicate=tile.duplicates,
        rows_late=tile.late,
        rows_clock_skewed=tile.clock_skewed,
        fingerprint_count=tile.fingerprint.count,
        fingerprint_sum=tile.fingerprint.total,
        recipe=tile.recipe,
        next_check_at=tile.next_check_at,
    )
