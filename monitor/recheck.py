"""Looking again at stored tiles while late rows may still come: their fingerprints alone, no row is transferred.

A tile is due again 5 minutes, 30 minutes, 2, 12 and 48 hours after its window was, and for the last time when the
configured lateness is over. Where its rows are not what they were, every window that holds it is judged again.
"""

from __future__ import annotations

import logging
import time as clock
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from monitor import ledger, schema, store
from monitor.check import Stage
from monitor.installation import Installation, Monitored
from monitor.reading import load, stored, wait_of
from monitor.source import SourceError, TileFacts
from monitor.tile import Tile, TileKey, TilePart, changed, next_check
from monitor.window import Window

log = logging.getLogger(__name__)

CLAIM = timedelta(minutes=10)  # a look that was begun and not ended is begun anew after this time
AGAIN = timedelta(minutes=5)  # a changed tile is looked at again until its windows were judged
MOST = 500  # tiles in one look,
MOST_ROWS = 2_000_000  # and rows in one of its statements
SHARE = 0.2  # of the time that reading took, and
ALLOWANCE = timedelta(minutes=1)  # more in two days: what looking again may take before only last looks are had,
GATHERED = timedelta(hours=6)  # and these together: many tiles at once cost a database less than one at a time
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Rechecked:
    """What looking again came to."""

    tiles: int = 0
    changed: int = 0
    put_off: int = 0
    revised: int = 0
    seconds: float = 0.0


def recheck(installation: Installation, watched: Monitored, part: TilePart, *, now: datetime) -> list[Rechecked]:
    """Look at the tiles of a model that are due again, and plan a new revision of the windows above changed ones.

    Any number of processes may do this at once. Raises SourceError when the logs cannot be read; the tiles are then
    due again after a while.
    """
    key = TileKey(model=watched.name, part=part, reference_id="")
    with installation.engine.begin() as conn:
        claimed = store.claim_tiles(
            conn, model=key.model, role=key.role, part=part.value, now=now, until=now + CLAIM, most=MOST
        )
        only_last = is_over_budget(conn, watched.name, part, now=now)
    return [
        _look(installation, watched, replace(key, reference_id=reference_id), pieces, now=now, only_last=only_last)
        for reference_id, pieces in claimed.items()
    ]


def is_over_budget(conn: sa.Connection, model: str, part: TilePart, *, now: datetime) -> bool:
    """Return whether looking again took more than its share of the time of reading, today and yesterday."""
    since = now - timedelta(days=1)
    spent = store.recheck_seconds(conn, model=model, part=part.value, since=since.date())
    if spent <= ALLOWANCE.total_seconds():
        return False
    return spent > SHARE * ledger.reading_seconds(conn, model, part.value, since=since) + ALLOWANCE.total_seconds()


def _look(
    installation: Installation,
    watched: Monitored,
    key: TileKey,
    pieces: list[Window],
    *,
    now: datetime,
    only_last: bool,
) -> Rechecked:
    due = wait_of(watched, Stage(key.part.value))

    def following(piece: Window) -> datetime | None:
        return next_check(piece.end + due, watched.section.lateness, now)

    put_off = {piece for piece in pieces if only_last and following(piece) is not None}
    last = {piece: gathered(piece.end + due + watched.section.lateness) for piece in pieces if only_last}
    waiting = {piece for piece, moment in last.items() if now < moment} - put_off
    looked = [piece for piece in pieces if piece not in put_off and piece not in waiting]
    asked, seen = set(pieces), set(looked)
    tiles = [
        tile
        for tile in load(installation, key, Window(start=pieces[0].start, end=pieces[-1].end), bodies=False)
        if tile.window in asked
    ]
    layout, labels = installation.reference(key.reference_id).layout, key.part is TilePart.OUTCOMES
    began = clock.perf_counter()
    facts: list[TileFacts] = []
    for some in portions(looked, tiles):
        facts += installation.source(watched.name).fingerprints(some, layout, now=now, labels=labels)
    seconds = clock.perf_counter() - began
    different = changed([tile for tile in tiles if tile.window in seen], facts)
    news = set(different)
    with installation.engine.begin() as conn:
        revised = windows = 0
        if different:
            over = ledger.windows_over(
                conn, key.model, key.role, key.part.value, different, reference_id=key.reference_id
            )
            reason = f"{len(different)} of its tiles changed after they were read"
            revised = ledger.revise(conn, key.model, key.role, key.part.value, over, due_at=now, reason=reason)
            windows = len(over)

        def scheduled(tile: Tile) -> datetime | None:
            if tile.window in waiting:
                return last[tile.window]
            again = now + AGAIN if windows and tile.window in news else None
            return following(tile.window) or again

        store.schedule_tiles(conn, [stored(replace(tile, next_check_at=scheduled(tile))) for tile in tiles])
        store.count_recheck(
            conn,
            model=key.model,
            role=key.role,
            part=key.part.value,
            day=now.date(),
            checks=1 if looked else 0,
            tiles=len(looked),
            tiles_changed=len(different),
            tiles_put_off=len(put_off),
            windows_revised=revised,
            seconds=seconds,
        )
    return Rechecked(tiles=len(looked), changed=len(different), put_off=len(put_off), revised=revised, seconds=seconds)


def gathered(moment: datetime) -> datetime:
    """Return the next quarter of a day: where looking again is dear, last looks wait for it and are had together.

    >>> gathered(datetime(2024, 5, 6, 7, tzinfo=UTC)).hour, gathered(datetime(2024, 5, 6, 12, tzinfo=UTC)).hour
    (12, 12)
    """
    return moment + (EPOCH - moment) % GATHERED


def portions(pieces: Sequence[Window], tiles: Sequence[Tile], most: int = MOST_ROWS) -> list[list[Window]]:
    """Return pieces of time in portions of at most so many rows, by what is stored of them; one piece is never cut."""
    rows: dict[Window, int] = {}
    for tile in tiles:
        rows[tile.window] = rows.get(tile.window, 0) + tile.fingerprint.count
    found: list[list[Window]] = []
    weight = 0
    for piece in pieces:
        weight += rows.get(piece, 0)
        if not found or weight > most:
            found.append([])
            weight = rows.get(piece, 0)
        found[-1].append(piece)
    return found


def recheck_all(installation: Installation, *, now: datetime) -> dict[str, list[Rechecked]]:
    """Look at everything that is due again, model by model; the logs of one that cannot be read hold up no other."""
    with installation.engine.begin() as conn:
        due = store.due_tiles(conn, now=now)
    done: dict[str, list[Rechecked]] = {}
    for model, _, part in due:
        watched = installation.models.get(model)
        if watched is None:
            continue  # not configured any more, or by another process
        extra = {"model": model, "part": part}
        try:
            done.setdefault(model, []).extend(recheck(installation, watched, TilePart(part), now=now))
        except SourceError as error:
            log.warning("tiles wait to be looked at again: %s", error, extra=extra)
        except Exception as error:
            if schema.is_outage(error):
                raise
            log.exception("tiles could not be looked at again", extra=extra)
    return done
