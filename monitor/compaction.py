"""What is stored becomes smaller with age: tiles wider, judgements that were ok fewer, months without empty room.

Quarters of an hour that are looked at no more are merged to hours, hours to days and days to weeks of the model's own
calendar, each once no window that is still to be judged begins or ends within. Nothing is lost but where within a day
rows were: counts and sums of a span are those of its pieces, and so is the fingerprint, so that a later look still
tells whether the rows are what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from monitor import ledger, retention, store
from monitor.check import Stage
from monitor.evaluation import CHAMPION, remembered
from monitor.installation import Installation, Monitored
from monitor.reading import stored, tile_of, wait_of
from monitor.reference import Reference
from monitor.tile import Tile, TileKey, TilePart, merge_inputs, merge_outcomes, merged_tiles
from monitor.window import DAY, CalendarUnit, Window

#: Spans of one transaction: some two hundred narrow tiles at most.
AT_ONCE = {CalendarUnit.HOUR: 24, CalendarUnit.DAY: 2, CalendarUnit.WEEK: 4}
RECENT = 35 * DAY
"""How long hours are kept at least where windows begin or end within days."""
LOOKED_BACK = 100
"""Steps that advice looks back at most, and some: 60 to fit on before 28 that it judges."""
WEEKS_AFTER = 180 * DAY
THINNED_AT_ONCE = 200  # runs


def compact(installation: Installation, watched: Monitored, *, now: datetime) -> int:
    """Merge the settled tiles of a model to as wide ones as nobody minds; returns how many tiles were made.

    Any number of processes may do this at once. A run that has read the narrow tiles meanwhile is tried again.
    """
    return sum(
        _compact(installation, watched, part, unit, before=None if after is None else now - after)
        for unit, after in widths(watched)
        for part in TilePart
    )


def widths(watched: Monitored) -> list[tuple[CalendarUnit, timedelta | None]]:
    """Return the spans that a model's tiles are merged to, each with the age; None is as soon as they are settled."""
    spec, section = watched.spec, watched.section
    found: list[tuple[CalendarUnit, timedelta | None]] = []
    if spec.settled_width > spec.tile_width:
        found.append((CalendarUnit.HOUR, None))
    late = wait_of(watched, Stage.OUTCOMES) + section.lateness + section.max_catch_up
    back = max(RECENT, late + max(LOOKED_BACK * spec.pace, spec.width or spec.pace))
    found.append((CalendarUnit.DAY, None if spec.is_of(CalendarUnit.DAY) else back))
    found.append((CalendarUnit.WEEK, None if spec.is_of(CalendarUnit.WEEK) else max(WEEKS_AFTER, back)))
    return found


def _compact(
    installation: Installation, watched: Monitored, part: TilePart, unit: CalendarUnit, *, before: datetime | None
) -> int:
    zone = "UTC" if unit is CalendarUnit.HOUR else watched.spec.timezone
    key = TileKey(model=watched.name, part=part, reference_id="")
    with installation.engine.begin() as conn:
        found = store.settled_spans(
            conn, model=key.model, role=key.role, part=part.value, unit=unit.value, zone=zone, before=before
        )
    made = 0
    for reference_id, spans in found.items():
        whose = TileKey(model=watched.name, part=part, reference_id=reference_id)
        for first in range(0, len(spans), AT_ONCE[unit]):
            made += _merge(installation, whose, spans[first : first + AT_ONCE[unit]])
    return made


def _merge(installation: Installation, key: TileKey, spans: Sequence[Window]) -> int:
    reference = installation.reference(key.reference_id)
    with installation.engine.begin() as conn:
        kept = store.load_tiles(
            conn,
            model=key.model,
            role=key.role,
            part=key.part.value,
            reference_id=key.reference_id,
            start=spans[0].start,
            end=spans[-1].end,
            lock=True,
        )
        merged = merged_tiles(map(tile_of, kept), spans, lambda tiles: _body(reference, key.part, tiles))
        store.save_tiles(conn, [stored(tile) for tile in merged])
    return len(merged)


def _body(reference: Reference, part: TilePart, tiles: Sequence[Tile]) -> bytes:
    if part is TilePart.INPUTS:
        return merge_inputs(reference.layout, tiles).to_bytes()
    assert reference.outcome_layout is not None, "outcomes were profiled on it"
    return merge_outcomes(reference.outcome_layout, tiles).to_bytes()


def thin(installation: Installation, watched: Monitored, *, keep: timedelta) -> int:
    """Remove judgements that were ok of windows long before a model's newest; returns how many.

    Long is ``keep``, and twice as many windows as are remembered: those may still be judged again. What belongs to an
    alert or a recommendation stays.
    """
    with installation.engine.begin() as conn:
        newest = max(
            (
                last.end
                for stage in Stage
                if (last := ledger.last_window(conn, watched.name, CHAMPION, stage.value, states=["done"])) is not None
            ),
            default=None,
        )
    if newest is None:
        return 0
    before = newest - max(keep, 2 * remembered(watched) * watched.spec.pace)
    gone = 0
    while True:
        with installation.engine.begin() as conn:
            runs, findings = retention.thin(conn, watched.name, before=before, most=THINNED_AT_ONCE)
        gone += findings
        if runs < THINNED_AT_ONCE:
            return gone


def pack(installation: Installation, *, now: datetime) -> list[str]:
    """Write the months anew that are old enough, each in a transaction of its own; returns the partitions' names."""
    packed: list[str] = []
    for table, age, packing in retention.packings():
        while True:
            with installation.engine.begin() as conn:
                name = retention.pack(conn, table, before=now - age, packing=packing)
            if name is None:
                break
            packed.append(name)
    return packed
