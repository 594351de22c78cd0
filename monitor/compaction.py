"""Stored tiles become wider with age: quarters of an hour that are looked at no more are merged to hours.

A quarter of the bytes is left, and nothing is lost: counts and sums of an hour are those of its quarters, and so is the
fingerprint, so that a later look still tells whether the hour's rows are what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from monitor import store
from monitor.installation import Installation, Monitored
from monitor.reading import stored, tile_of
from monitor.recheck import reference_of
from monitor.reference import Reference
from monitor.tile import Tile, TileKey, TilePart, merge_inputs, merge_outcomes, merged_hours
from monitor.window import HOUR

HOURS = 24  # of one transaction


def compact(installation: Installation, watched: Monitored) -> int:
    """Merge the settled tiles of a model to hours where its windows are made of whole ones; returns how many tiles.

    Any number of processes may do this at once. A run that has read the narrow tiles meanwhile is tried again.
    """
    if watched.spec.settled_width <= watched.spec.tile_width:
        return 0
    made = 0
    for part in TilePart:
        key = TileKey(model=watched.name, part=part, reference_id="")
        with installation.engine.begin() as conn:
            found = store.settled_hours(conn, model=key.model, role=key.role, part=part.value)
        for reference_id, hours in found.items():
            whose = TileKey(model=watched.name, part=part, reference_id=reference_id)
            for first in range(0, len(hours), HOURS):
                made += _merge(installation, whose, hours[first : first + HOURS])
    return made


def _merge(installation: Installation, key: TileKey, hours: Sequence[datetime]) -> int:
    reference = reference_of(installation, key)
    with installation.engine.begin() as conn:
        kept = store.load_tiles(
            conn,
            model=key.model,
            role=key.role,
            part=key.part.value,
            reference_id=key.reference_id,
            start=hours[0],
            end=hours[-1] + HOUR,
            lock=True,
        )
        merged = merged_hours(map(tile_of, kept), lambda tiles: _body(reference, key.part, tiles))
        store.save_tiles(conn, [stored(tile) for tile in merged])
    return len(merged)


def _body(reference: Reference, part: TilePart, tiles: Sequence[Tile]) -> bytes:
    if part is TilePart.INPUTS:
        return merge_inputs(reference.layout, tiles).to_bytes()
    assert reference.outcome_layout is not None, "outcomes were profiled on it"
    return merge_outcomes(reference.outcome_layout, tiles).to_bytes()
