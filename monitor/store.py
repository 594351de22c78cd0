"""What the engine writes and reads again: models, training profiles, tiles, the memory of checks, process samples.

Every function takes a connection and leaves the transaction to its caller, so that a window's evidence, its alerts
and what people are told about them are committed together or not at all. The rows of a window's history are written
by ``record``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from monitor import tables
from monitor.copying import copy_rows
from monitor.ledger import Run
from monitor.record import EVERYTHING, Slice, stamp
from monitor.window import Window

#: Windows per check whose memory is kept unless told otherwise: enough to judge two days of quarter hours again.
MEMORIES = 200


# --- models and training profiles ---


def register_model(
    conn: sa.Connection,
    name: str,
    *,
    config: Mapping[str, Any],
    config_hash: str,
    code_version: str,
    currency: str | None = None,
    period: timedelta | None = None,
    lag: timedelta | None = None,
    active_from: datetime | None = None,
    active_until: datetime | None = None,
) -> None:
    """Write down a model with the configuration in force; again after each change of it."""
    values = {
        "config": config,
        "config_hash": config_hash,
        "code_version": code_version,
        "currency": currency,
        "period": period,
        "lag": lag,
        "active_from": active_from,
        "active_until": active_until,
        "updated_at": sa.func.now(),
        "removed_at": None,
    }
    insert = postgresql.insert(tables.model).values(name=name, **values)
    conn.execute(insert.on_conflict_do_update(index_elements=["name"], set_=values))


def remove_models(conn: sa.Connection, *, known: Sequence[str]) -> list[str]:
    """Mark models that are not configured any more as removed, and return their names; their history stays."""
    statement = (
        sa.update(tables.model)
        .where(tables.model.c.name.not_in(known), tables.model.c.removed_at.is_(None))
        .values(removed_at=sa.func.now())
        .returning(tables.model.c.name)
    )
    return sorted(conn.scalars(statement))


@dataclass(frozen=True, kw_only=True)
class StoredReference:
    """A training profile as it is stored; its rows and golden rows are loaded apart, because they are large."""

    reference_id: str
    model: str
    model_version: str | None
    created_at: datetime
    active_from: datetime
    active_until: datetime | None
    body: bytes


def save_reference(conn: sa.Connection, *, model: str, body: bytes, active_from: datetime, **facts: Any) -> str:
    """Store a training profile, put it in force from a time on and return its id, the SHA-256 of its bytes.

    ``facts`` are the other columns of ``monitor.reference``: model_version, created_at, rows, holdout_rows,
    time_from, time_to, windows_for_variance, calibrating, features, packages, python_version, importance, business,
    source, sample, golden. What was in force ends there. A profile that is stored already is put in force again; it
    never changes.
    """
    reference_id = hashlib.sha256(body).hexdigest()
    kept = tables.reference
    conn.execute(
        sa.update(kept)
        .where(kept.c.model == model, kept.c.active_until.is_(None), kept.c.reference_id != reference_id)
        .values(active_until=sa.func.greatest(kept.c.active_from, active_from))
    )
    values = {"reference_id": reference_id, "model": model, "body": body, "active_from": active_from, **facts}
    conn.execute(
        postgresql.insert(kept)
        .values(values)
        .on_conflict_do_update(index_elements=["reference_id"], set_={"active_until": None})
    )
    return reference_id


def load_reference(conn: sa.Connection, model: str, *, at: datetime) -> StoredReference | None:
    """The training profile in force at a time; before the first one came into force, the first one."""
    columns = [tables.reference.c[field.name] for field in dataclasses.fields(StoredReference)]
    row = conn.execute(_in_force(sa.select(*columns), model, at)).one_or_none()
    return None if row is None else StoredReference(**row._mapping)


def load_reference_body(conn: sa.Connection, reference_id: str) -> tuple[bytes, datetime]:
    """A training profile that was ever in force, and when it was made."""
    kept = tables.reference
    row = conn.execute(sa.select(kept.c.body, kept.c.created_at).where(kept.c.reference_id == reference_id)).one()
    return row.body, row.created_at


def reference_id_at(conn: sa.Connection, model: str, *, at: datetime) -> str | None:
    """The id of what ``load_reference`` gives, without its megabytes."""
    found: str | None = conn.scalars(_in_force(sa.select(tables.reference.c.reference_id), model, at)).one_or_none()
    return found


@dataclass(frozen=True, kw_only=True)
class Successor:
    """A version that came after another one, since when, and whether there is a training profile of it."""

    version: str
    since: datetime
    profiled: bool


def successor(conn: sa.Connection, model: str, *, after: datetime, than: str) -> Successor | None:
    """The first version other than one that answers since a time, by the logs, else by a training profile; or None."""
    kept, tiles = tables.reference, tables.tile
    profiles = sa.select(kept.c.model_version, kept.c.active_from).where(
        kept.c.model == model, kept.c.active_from > after, sa.func.coalesce(kept.c.model_version, "") != than
    )
    profile = conn.execute(profiles.order_by(kept.c.active_from).limit(1)).one_or_none()
    began = sa.func.min(tiles.c.start)
    logged = (
        sa.select(tiles.c.model_version, began.label("since"))
        .where(tiles.c.model == model, tiles.c.role == "champion", tiles.c.model_version.not_in(["", than]))
        .group_by(tiles.c.model_version)
        .having(sa.func.min(tiles.c["end"]) > after)
        .order_by(began)
        .limit(1)
    )
    version = conn.execute(logged).one_or_none()
    if version is not None:
        known = sa.select(kept.c.reference_id).where(
            kept.c.model == model, kept.c.model_version == version.model_version
        )
        found = conn.execute(known.limit(1)).one_or_none()
        return Successor(version=version.model_version, since=version.since, profiled=found is not None)
    if profile is None:
        return None
    return Successor(version=profile.model_version or "", since=profile.active_from, profiled=True)


def unprofiled_version(conn: sa.Connection, model: str, *, since: datetime) -> str | None:
    """The version that answered last, if it has answered since a time and has no training profile; else None."""
    kept, tiles = tables.reference, tables.tile
    newest = (
        sa.select(tiles.c.model_version)
        .where(tiles.c.model == model, tiles.c.role == "champion", tiles.c.model_version != "", tiles.c.start >= since)
        .group_by(tiles.c.model_version)
        .order_by(sa.func.max(tiles.c["end"]).desc(), sa.func.min(tiles.c.start).desc())
        .limit(1)
    )
    version: str | None = conn.scalars(newest).one_or_none()
    known = sa.select(kept.c.reference_id).where(kept.c.model == model, kept.c.model_version == version).limit(1)
    return None if version is None or conn.execute(known).one_or_none() is not None else version


def _in_force(query: sa.Select[*tuple[Any, ...]], model: str, at: datetime) -> sa.Select[*tuple[Any, ...]]:
    kept = tables.reference
    return (
        query.where(kept.c.model == model)
        .order_by(
            sa.and_(kept.c.active_from <= at, sa.or_(kept.c.active_until.is_(None), kept.c.active_until > at)).desc(),
            sa.case((kept.c.active_from <= at, kept.c.active_from)).desc().nulls_last(),
            kept.c.active_from,
        )
        .limit(1)
    )


def load_sample(conn: sa.Connection, reference_id: str) -> tuple[bytes | None, bytes | None]:
    """The sample of training rows and the golden rows of a training profile, as the bytes they were stored as."""
    kept = tables.reference
    row = conn.execute(sa.select(kept.c.sample, kept.c.golden).where(kept.c.reference_id == reference_id)).one()
    return row.sample, row.golden


# --- tiles ---


@dataclass(frozen=True, kw_only=True)
class StoredTile:
    """One stored piece of time: the bytes of its profile and what the rows behind it looked like."""

    model: str
    model_version: str = ""
    role: str = "champion"
    slice: Slice = dataclasses.field(default_factory=dict)
    part: str
    reference_id: str
    start: datetime
    end: datetime
    body: bytes
    rows: int = 0
    rows_duplicate: int = 0
    rows_late: int = 0
    rows_clock_skewed: int = 0
    fingerprint_count: int = 0
    fingerprint_sum: int = 0
    recipe: str = ""
    next_check_at: datetime | None = None
    revision: int = 1


def save_tiles(conn: sa.Connection, tiles: Sequence[StoredTile]) -> None:
    """Store tiles, replacing those of the same key; one whose fingerprint changed counts its revision up.

    Tiles of the same time that were cut differently are removed, so that no row is in two of them.
    """
    if not tiles:
        return
    kept = tables.tile
    for one in {(tile.model, tile.role, tile.part, tile.reference_id) for tile in tiles}:
        same = [tile for tile in tiles if (tile.model, tile.role, tile.part, tile.reference_id) == one]
        conn.execute(
            DROP_OTHER_CUTS,
            {
                **dict(zip(("model", "role", "part", "reference_id"), one, strict=True)),
                "starts": [tile.start for tile in same],
                "ends": [tile.end for tile in same],
                "since": min(tile.start for tile in same) - LONGEST_TILE,
                "until": max(tile.end for tile in same),
            },
        )
    insert = postgresql.insert(kept)
    new = insert.excluded
    changed = sa.or_(new.fingerprint_count != kept.c.fingerprint_count, new.fingerprint_sum != kept.c.fingerprint_sum)
    replaced = {name: new[name] for name in TILE_FACTS} | {
        "revision": kept.c.revision + sa.cast(changed, sa.Integer),
        "built_at": sa.func.now(),
        "checked_at": sa.func.now(),
    }
    fields = [field.name for field in dataclasses.fields(StoredTile) if field.name != "revision"]
    conn.execute(
        insert.on_conflict_do_update(index_elements=[column.name for column in kept.primary_key], set_=replaced),
        # in one order everywhere, so that two who write the same tiles wait for each other and do not stand still
        [
            {name: getattr(tile, name) for name in fields}
            for tile in sorted(tiles, key=lambda one: (one.start, one.model_version))
        ],
    )


DROP_OTHER_CUTS = sa.text("""
    DELETE FROM monitor.tile AS t
    USING unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[])) AS now (starts, ends)
    WHERE t.model = :model AND t.role = :role AND t.part = :part AND t.reference_id = :reference_id
        AND t.start > :since AND t.start < :until
        AND t.start < now.ends AND t."end" > now.starts AND (t.start, t."end") <> (now.starts, now.ends)
""")
#: No tile is wider; it bounds where one may begin that overlaps another.
LONGEST_TILE = timedelta(days=31)
TILE_FACTS = (
    *("end", "body", "recipe", "rows", "rows_duplicate", "rows_late", "rows_clock_skewed"),
    *("fingerprint_count", "fingerprint_sum", "next_check_at"),
)


def load_tiles(
    conn: sa.Connection,
    *,
    model: str,
    role: str,
    part: str,
    reference_id: str,
    start: datetime,
    end: datetime,
    slice_: Slice | None = EVERYTHING,
    bodies: bool = True,
    lock: bool = False,
) -> list[StoredTile]:
    """The tiles that begin in ``[start, end)``, in order of time, of all versions; of all slices if that is None.

    Without ``bodies`` they have none, which spares most of the bytes. With ``lock`` nobody changes them before the
    transaction ends.
    """
    kept = tables.tile
    nothing = sa.literal(b"", sa.LargeBinary()).label("body")
    names = [field.name for field in dataclasses.fields(StoredTile)]
    columns: list[sa.ColumnElement[Any]] = [
        nothing if name == "body" and not bodies else kept.c[name] for name in names
    ]
    query = sa.select(*columns).where(
        kept.c.model == model,
        kept.c.role == role,
        kept.c.part == part,
        kept.c.reference_id == reference_id,
        kept.c.start >= start,
        kept.c.start < end,
    )
    if slice_ is not None:
        query = query.where(kept.c.slice == slice_)
    query = query.order_by(kept.c.start, kept.c.model_version)
    rows = conn.execute(query.with_for_update() if lock else query)
    return [StoredTile(**{**row._mapping, "fingerprint_sum": int(row._mapping["fingerprint_sum"])}) for row in rows]


def due_tiles(conn: sa.Connection, *, now: datetime) -> list[tuple[str, str, str]]:
    """Model, role and part of the tiles whose rows are to be looked at again."""
    kept = tables.tile
    query = sa.select(kept.c.model, kept.c.role, kept.c.part).distinct().where(kept.c.next_check_at <= now)
    return sorted((row.model, row.role, row.part) for row in conn.execute(query))


CLAIM_TILES = sa.text("""
    UPDATE monitor.tile AS t SET next_check_at = :until
    FROM (
        SELECT model, model_version, role, slice, part, reference_id, start
        FROM monitor.tile
        WHERE model = :model AND role = :role AND part = :part AND next_check_at <= :now
        ORDER BY next_check_at, start, model_version
        LIMIT :most
        FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE t.model = due.model AND t.model_version = due.model_version AND t.role = due.role AND t.slice = due.slice
        AND t.part = due.part AND t.reference_id = due.reference_id AND t.start = due.start
    RETURNING t.reference_id, t.start, t."end"
""")


def claim_tiles(
    conn: sa.Connection, *, model: str, role: str, part: str, now: datetime, until: datetime, most: int
) -> dict[str, list[Window]]:
    """Take the pieces of time whose rows are to be looked at again, by training profile; commit before looking.

    Nobody else gets them until ``until``; then a claim whose owner died comes back by itself.
    """
    values = {"model": model, "role": role, "part": part, "now": now, "until": until, "most": most}
    found: dict[str, set[Window]] = {}
    for row in conn.execute(CLAIM_TILES, values):
        found.setdefault(row.reference_id, set()).add(Window(start=row.start, end=row.end))
    return {reference_id: sorted(pieces) for reference_id, pieces in sorted(found.items())}


def schedule_tiles(conn: sa.Connection, tiles: Sequence[StoredTile]) -> None:
    """Say when tiles are looked at next; one that was built anew in the meantime keeps what its builder said."""
    if not tiles:
        return
    kept = tables.tile
    same = [column.name for column in kept.primary_key] + ["fingerprint_count", "fingerprint_sum"]
    # One statement for all of them: it is compiled once and its answers are not awaited one by one.
    conn.execute(
        sa.update(kept)
        .where(*(kept.c[name] == sa.bindparam(f"told_{name}") for name in same))
        .values(next_check_at=sa.bindparam("told"), checked_at=sa.func.now()),
        [
            {f"told_{name}": getattr(tile, name) for name in same} | {"told": tile.next_check_at}
            for tile in sorted(tiles, key=lambda one: (one.start, one.model_version))
        ],
    )


SETTLED_SPANS = sa.text("""
    SELECT reference_id, span AT TIME ZONE :zone AS starts,
        (span + CAST('1 ' || :unit AS interval)) AT TIME ZONE :zone AS ends
    FROM (
        SELECT DISTINCT reference_id, start, "end", recipe, next_check_at IS NULL AS settled,
            date_trunc(:unit, start AT TIME ZONE :zone) AS span
        FROM monitor.tile
        WHERE model = :model AND role = :role AND part = :part AND slice = '{}'
            AND "end" <= coalesce(CAST(:before AS timestamptz), 'infinity')
    ) AS piece
    GROUP BY reference_id, span
    HAVING count(*) > 1 AND bool_and(settled) AND count(DISTINCT recipe) = 1 AND count(DISTINCT start) = count(*)
        AND min(start) = span AT TIME ZONE :zone
        AND max("end") = (span + CAST('1 ' || :unit AS interval)) AT TIME ZONE :zone
        AND sum("end" - start) = max("end") - min(start)
    ORDER BY reference_id, span
""")


def settled_spans(
    conn: sa.Connection, *, model: str, role: str, part: str, unit: str, zone: str, before: datetime | None = None
) -> dict[str, list[Window]]:
    """The hours, days or weeks of a time zone, by training profile, whose narrower tiles are all there and settled.

    Those that end after ``before`` are left out.
    """
    found: dict[str, list[Window]] = {}
    asked = {"model": model, "role": role, "part": part, "unit": unit, "zone": zone, "before": before}
    for row in conn.execute(SETTLED_SPANS, asked):
        found.setdefault(row.reference_id, []).append(Window(start=row.starts, end=row.ends))
    return found


WIDER_TILES = sa.text("""
    SELECT DISTINCT start, "end" FROM monitor.tile
    WHERE model = :model AND role = :role AND part = :part AND reference_id = :reference_id AND slice = '{}'
        AND start > :since AND start < :end AND "end" > :start AND (start < :start OR "end" > :end)
    ORDER BY start
""")


def wider_tiles(
    conn: sa.Connection, *, model: str, role: str, part: str, reference_id: str, window: Window
) -> list[Window]:
    """The stored pieces of time that reach beyond a window in which they are in part."""
    asked = {"model": model, "role": role, "part": part, "reference_id": reference_id}
    times = {"start": window.start, "end": window.end, "since": window.start - LONGEST_TILE}
    return [Window(start=row.start, end=row.end) for row in conn.execute(WIDER_TILES, asked | times)]


def count_recheck(conn: sa.Connection, *, model: str, role: str, part: str, day: date, **counts: float) -> None:
    """Add to what looking at tiles again came to on a day; counts are columns of ``monitor.recheck``."""
    kept = tables.recheck
    insert = postgresql.insert(kept).values(model=model, role=role, part=part, day=day, **counts)
    added = {name: kept.c[name] + insert.excluded[name] for name in counts}
    conn.execute(insert.on_conflict_do_update(index_elements=["model", "role", "part", "day"], set_=added))


def recheck_seconds(conn: sa.Connection, *, model: str, part: str, since: date) -> float:
    """How long looking at a model's tiles again took since a day."""
    kept = tables.recheck
    query = sa.select(sa.func.sum(kept.c.seconds)).where(
        kept.c.model == model, kept.c.part == part, kept.c.day >= since
    )
    return float(conn.scalars(query).one() or 0.0)


# --- what checks remember ---


def load_memories(
    conn: sa.Connection, *, model: str, role: str, part: str, before: datetime, slice_: Slice = EVERYTHING
) -> dict[str, Any]:
    """What each check remembered after its last window that began before a time, by check; JSON values."""
    kept = tables.detector_memory
    query = (
        sa.select(kept.c.check_name, kept.c.body)
        .ext(postgresql.distinct_on(kept.c.check_name))
        .where(
            kept.c.model == model,
            kept.c.role == role,
            kept.c.part == part,
            kept.c.slice == slice_,
            kept.c.window_start < before,
        )
        .order_by(kept.c.check_name, kept.c.window_start.desc(), kept.c.revision.desc())
    )
    return {row.check_name: json.loads(zlib.decompress(row.body)) for row in conn.execute(query)}


def save_memories(
    conn: sa.Connection,
    run: Run,
    memories: Mapping[str, Any],
    *,
    slice_: Slice = EVERYTHING,
    keep: int = MEMORIES,
) -> None:
    """Store what each check remembers after this window, and forget all but the newest windows up to it.

    Unlike in the history, NaN and infinities stay numbers here: a check gets back exactly what it returned.
    """
    kept = tables.detector_memory
    if not memories:
        return
    key = {name: value for name, value in stamp(run, slice_).items() if name in kept.c} | {"part": run.part}
    insert = postgresql.insert(kept)
    conn.execute(
        insert.on_conflict_do_update(
            index_elements=[column.name for column in kept.primary_key], set_={"body": insert.excluded.body}
        ),
        [{**key, "check_name": name, "body": _packed(memory)} for name, memory in memories.items()],
    )
    same = [kept.c[name] == key[name] for name in ("model", "role", "part", "slice")]
    oldest = (
        sa.select(kept.c.window_start)
        .distinct()
        .where(*same, kept.c.window_start <= run.window.start)
        .order_by(kept.c.window_start.desc())
        .offset(keep)
        .limit(1)
        .scalar_subquery()
    )
    conn.execute(sa.delete(kept).where(*same, kept.c.window_start <= oldest))


def correct_memories(conn: sa.Connection, run: Run, name: str, corrected: Mapping[datetime, Any]) -> None:
    """Replace what is remembered under a name after later windows of a run's model and part, by their start.

    Only what is remembered still is replaced, in every revision of the window.
    """
    kept = tables.detector_memory
    for start, memory in corrected.items():
        conn.execute(
            sa.update(kept)
            .where(
                kept.c.model == run.model,
                kept.c.role == run.role,
                kept.c.part == run.part,
                kept.c.slice == EVERYTHING,
                kept.c.check_name == name,
                kept.c.window_start == start,
            )
            .values(body=_packed(memory))
        )


def _packed(memory: Any) -> bytes:
    return zlib.compress(json.dumps(memory).encode(), level=1)


# --- what serving processes use ---


def save_resource_samples(conn: sa.Connection, samples: Sequence[Mapping[str, Any]]) -> int:
    """Append samples of serving processes; keys are columns of ``monitor.resource_sample``."""
    return copy_rows(conn, tables.resource_sample, samples)


def recent_resource_samples(
    conn: sa.Connection, model: str, *, since: datetime, process: str | None = None
) -> list[sa.RowMapping]:
    """Samples of a model's processes since a time, oldest first."""
    kept = tables.resource_sample
    query = sa.select(kept).where(kept.c.model == model, kept.c.sampled_at >= since)
    if process is not None:
        query = query.where(kept.c.process == process)
    return [row._mapping for row in conn.execute(query.order_by(kept.c.process, kept.c.sampled_at))]
