"""The ledger of runs: which windows are owed, who works on one, and what became of it.

A row is the job itself, so no window can be lost between "scheduled" and "done". Every clock of a claim is the
database's: replicas whose clocks disagree still agree on who owns what. It is read at each statement
(`clock_timestamp`), because `now()` stands still within a transaction. The argument `now` decides only which windows
are due, so a replay may live in the past.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from monitor.encoding import clean_text
from monitor.tables import run as runs
from monitor.window import Window

#: Attempts after which a run is given up; it stays in the ledger as dead and can be planned again by a person.
MAX_ATTEMPTS = 5
#: Pause before a run is tried again whose rows could not be read: that is the fault of no window.
PAUSE = timedelta(minutes=1)
RESCUED = "the process that ran it stopped renewing its lease"
OUT_OF_MEMORY = "the process that ran it had no memory left"
#: How much earlier a model counts as due for a process that knows its training profile: to learn it takes longer than
#: several windows, so replicas keep to models; and one whose process is gone waits so long for another at most.
HEAD_START = timedelta(minutes=2)
PATIENCE = 2  # attempts at reading a window at once, where each may have ended for want of memory

#: What `finish` may be told.
FACTS = frozenset(
    {
        *("rows_read", "rows_duplicate", "rows_late", "rows_clock_skewed", "labels_joined", "reread_rows"),
        *("rows_transferred", "rows_repeated", "rows_beyond_horizon"),
        *("seconds", "read_seconds", "reference_id", "config_hash", "code_version", "model_version", "reason"),
    }
)
#: Who does not run any more holds nothing.
FREED: dict[str, Any] = {"token": None, "lease_until": None}

MATERIALISE = sa.text("""
    INSERT INTO monitor.run (
        model, role, part, window_start, window_end, due_at, kind, state, reason, finished_at
    )
    SELECT
        :model, :role, :part, owed.starts, owed.ends, owed.due, :kind, :state, :reason,
        CASE WHEN :state = 'skipped' THEN clock_timestamp() END
    FROM unnest(
        CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]), CAST(:dues AS timestamptz[])
    ) AS owed (starts, ends, due)
    ON CONFLICT DO NOTHING
""")

REVISE = sa.text("""
    INSERT INTO monitor.run (model, role, part, window_start, window_end, revision, kind, due_at, reason)
    SELECT :model, :role, :part, :start, :end, last.revision + 1, :kind, :due_at, :reason
    FROM (
        SELECT coalesce(max(revision), 0) AS revision, coalesce(bool_or(state = 'planned'), false) AS planned
        FROM monitor.run
        WHERE model = :model AND role = :role AND part = :part AND window_start = :start AND window_end = :end
    ) AS last
    WHERE NOT last.planned
    ON CONFLICT DO NOTHING
""")

LAST = sa.text("""
    SELECT wanted.model, wanted.part, newest.window_start, newest.window_end
    FROM unnest(CAST(:models AS text[]), CAST(:parts AS text[])) AS wanted (model, part)
    CROSS JOIN LATERAL (
        SELECT r.window_start, r.window_end
        FROM monitor.run AS r
        WHERE r.model = wanted.model AND r.role = :role AND r.part = wanted.part AND r.kind = 'scheduled'
        ORDER BY r.window_start DESC, r.window_end DESC
        LIMIT 1
    ) AS newest
""")

SKIP = sa.text("""
    UPDATE monitor.run AS r
    SET state = 'skipped', reason = :reason, finished_at = clock_timestamp()
    FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[])) AS left_out (starts, ends)
    WHERE r.model = :model AND r.role = :role AND r.part = :part AND r.state = 'planned'
        AND r.window_start = left_out.starts AND r.window_end = left_out.ends
""")

OVER = sa.text("""
    SELECT r.window_start, r.window_end
    FROM monitor.run AS r
    WHERE r.model = :model AND r.role = :role AND r.part = :part
        AND r.window_end > :since AND r.window_start < :until
        AND EXISTS (
            SELECT FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[])) AS piece (starts, ends)
            WHERE r.window_start < piece.ends AND r.window_end > piece.starts
        )
    GROUP BY r.window_start, r.window_end
    HAVING bool_or(r.state = 'running' OR r.state = 'done' AND r.reference_id = :reference_id)
        AND (array_agg(r.state ORDER BY r.revision DESC))[1] IN ('done', 'running', 'planned')
    ORDER BY r.window_start, r.window_end
""")

CLAIM = sa.text("""
    UPDATE monitor.run
    SET state = 'running', attempts = attempts + 1, owner = :owner, token = gen_random_uuid(),
        lease_until = clock_timestamp() + :lease, progress_at = clock_timestamp(),
        started_at = clock_timestamp(), finished_at = NULL
    WHERE run_id = (
        SELECT r.run_id
        FROM monitor.run AS r
        CROSS JOIN LATERAL (
            SELECT r.kind IN ('late', 'backfill') OR EXISTS (
                SELECT FROM monitor.run AS newer
                WHERE newer.model = r.model AND newer.role = r.role AND newer.state = 'planned'
                    AND newer.due_at > r.due_at AND newer.due_at <= :now
            ) AS is_backlog
        ) AS place
        WHERE r.state = 'planned' AND r.due_at <= :now
            AND NOT (:current_only AND place.is_backlog)
            AND (r.retry_at IS NULL OR r.retry_at <= clock_timestamp())
            AND (CAST(:models AS text[]) IS NULL OR r.model = ANY(CAST(:models AS text[])))
            AND NOT EXISTS (
                SELECT FROM monitor.run AS other
                WHERE other.model = r.model AND other.role = r.role AND other.part = r.part
                    AND other.state IN ('planned', 'running')
                    AND (
                        other.state = 'running'
                        OR (other.window_start, other.window_end, other.revision)
                        < (r.window_start, r.window_end, r.revision)
                    )
            )
        ORDER BY
            place.is_backlog,
            r.due_at - CASE WHEN r.model = ANY(CAST(:familiar AS text[])) THEN CAST(:start AS interval) ELSE '0' END,
            r.window_start,
            r.part
        LIMIT 1
        FOR UPDATE OF r SKIP LOCKED
    )
    RETURNING *
""")


class LeaseLost(Exception):  # noqa: N818  # named after what happened, as its callers say it
    """Somebody else owns the run by now; whatever this process computed must not be written."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One claimed or finished row of the ledger."""

    run_id: UUID
    model: str
    role: str
    part: str
    window: Window
    revision: int
    kind: str
    state: str
    attempts: int
    due_at: datetime
    model_version: str | None = None
    token: UUID | None = None
    owner: str | None = None
    lease_until: datetime | None = None
    reason: str | None = None
    reference_id: str | None = None
    config_hash: str | None = None
    code_version: str | None = None
    finished_at: datetime | None = None

    @property
    def is_too_large(self) -> bool:
        """Whether it failed twice and last as it does where memory runs out; who is killed for that says nothing."""
        return self.attempts > PATIENCE and self.reason in {RESCUED, OUT_OF_MEMORY}


def materialise(
    conn: sa.Connection,
    model: str,
    role: str,
    part: str,
    windows: Iterable[Window],
    *,
    wait: timedelta = timedelta(0),
    kind: str = "scheduled",
    state: str = "planned",
    reason: str | None = None,
) -> int:
    """Write down that these windows are owed, each due ``wait`` after its end; returns how many were new.

    Any replica may do this at any time: the ledger has each window once. With ``state="skipped"`` they are written
    down as not to be evaluated, with the reason, so that a window that was left out on purpose is not absent.
    """
    values = [(window.start, window.end, window.end + wait) for window in windows]
    if not values:
        return 0
    result = conn.execute(
        MATERIALISE,
        {
            "model": model,
            "role": role,
            "part": part,
            "kind": kind,
            "state": state,
            "reason": reason,
            "starts": [start for start, _, _ in values],
            "ends": [end for _, end, _ in values],
            "dues": [due for _, _, due in values],
        },
    )
    return result.rowcount


def revise(
    conn: sa.Connection,
    model: str,
    role: str,
    part: str,
    windows: Iterable[Window],
    *,
    due_at: datetime,
    reason: str,
    kind: str = "late",
) -> int:
    """Plan the next revision of windows that were finished before; returns how many were planned.

    A window that is planned already is not planned twice: the run to come will see whatever changed. A dead or
    skipped window gets a new revision too, which is how a person has it tried again.
    """
    planned = 0
    for window in windows:
        planned += conn.execute(
            REVISE,
            {
                "model": model,
                "role": role,
                "part": part,
                "start": window.start,
                "end": window.end,
                "kind": kind,
                "due_at": due_at,
                "reason": clean_text(reason),
            },
        ).rowcount
    return planned


def windows_over(
    conn: sa.Connection, model: str, role: str, part: str, pieces: Sequence[Window], *, reference_id: str
) -> list[Window]:
    """The windows, in order, that were judged by a training profile and hold some of these pieces of time.

    One that is being read may have looked before they changed, so it is among them. One that was given up or skipped
    in the end is not.
    """
    rows = conn.execute(
        OVER,
        {
            "model": model,
            "role": role,
            "part": part,
            "reference_id": reference_id,
            "since": min(piece.start for piece in pieces),
            "until": max(piece.end for piece in pieces),
            "starts": [piece.start for piece in pieces],
            "ends": [piece.end for piece in pieces],
        },
    )
    return [Window(start=row.window_start, end=row.window_end) for row in rows]


def reading_seconds(conn: sa.Connection, model: str, part: str, *, since: datetime) -> float:
    """How long the windows of a model that end after a time took to read."""
    query = sa.select(sa.func.sum(runs.c.read_seconds)).where(
        runs.c.model == model, runs.c.part == part, runs.c.window_end > since
    )
    return float(conn.scalars(query).one() or 0.0)


def claim(
    conn: sa.Connection,
    owner: str,
    *,
    now: datetime,
    lease: timedelta,
    models: Sequence[str] | None = None,
    current_only: bool = False,
    familiar: Sequence[str] = (),
) -> Run | None:
    """Take the next run that is due, or None; commit before the work begins.

    The windows of one model, role and part are given out strictly in order and one at a time, so that detectors see
    time pass as it did. A model that is up to date comes before one that is behind, whose oldest window is its turn,
    and before what is judged again; with `current_only` these are not given out at all. `models` limits the choice to
    models this process is configured for; `familiar` are those whose training profile it has in memory, which have a
    head start of two minutes.
    """
    values = {"owner": owner, "lease": lease, "now": now, "current_only": current_only}
    values |= {"familiar": list(familiar), "start": HEAD_START}
    values["models"] = None if models is None else list(models)
    try:
        with conn.begin_nested():
            row = conn.execute(CLAIM, values).one_or_none()
    except sa.exc.IntegrityError:
        # Two claims of one model crossed; the index let one through. The other simply asks again.
        return None
    return None if row is None else run_of(row)


def heartbeat(conn: sa.Connection, run_id: UUID, token: UUID, lease: timedelta) -> None:
    """Renew the lease, on a connection of its own; raises LeaseLost when somebody else took over."""
    fenced(
        conn,
        run_id,
        token,
        {"lease_until": sa.func.clock_timestamp() + lease, "progress_at": sa.func.clock_timestamp()},
    )


def ensure_owner(conn: sa.Connection, run_id: UUID, token: UUID) -> None:
    """Raise LeaseLost when the run has been taken over; asked before results are written, so that none collides.

    Only `finish` settles it: the run may still be taken over in between.
    """
    query = sa.select(runs.c.run_id).where(runs.c.run_id == run_id, runs.c.token == token, runs.c.state == "running")
    if conn.execute(query).one_or_none() is None:
        raise LeaseLost(f"Run {run_id} belongs to another process by now; nothing of this attempt may be written.")


def finish(conn: sa.Connection, run_id: UUID, token: UUID, **facts: Any) -> None:
    """Mark the run done in the same transaction as its results; on LeaseLost that transaction must be rolled back.

    ``facts`` are columns of the ledger, those that ``FACTS`` names.
    """
    unknown = sorted(set(facts) - FACTS)
    if unknown:
        raise TypeError(f"finish() does not know {', '.join(unknown)}; the ledger keeps {', '.join(sorted(FACTS))}.")
    fenced(
        conn,
        run_id,
        token,
        {"reason": None, **facts, "state": "done", "finished_at": sa.func.clock_timestamp(), **FREED},
    )


def fail(
    conn: sa.Connection,
    run_id: UUID,
    token: UUID,
    error: str,
    *,
    backoff: timedelta = timedelta(seconds=5),
    max_attempts: int = MAX_ATTEMPTS,
    counts: bool = True,
) -> str:
    """Give the run back after an error; returns its new state.

    It is ``planned`` again after a pause that doubles with each attempt, or ``dead`` after the last one. Without
    ``counts`` the attempt was none, as while a database is away: it is planned again however long that lasts.
    """
    if not counts:
        again = {"state": "planned", "attempts": runs.c.attempts - 1, "reason": clean_text(error)}
        return fenced(conn, run_id, token, {**again, "retry_at": sa.func.clock_timestamp() + PAUSE, **FREED})
    spent = runs.c.attempts >= max_attempts
    pause = sa.func.make_interval(0, 0, 0, 0, 0, 0, backoff.total_seconds() * sa.func.power(2, runs.c.attempts - 1))
    return fenced(
        conn,
        run_id,
        token,
        {
            "state": sa.case((spent, "dead"), else_="planned"),
            "reason": clean_text(error),
            "retry_at": sa.case((spent, None), else_=sa.func.clock_timestamp() + pause),
            "finished_at": sa.case((spent, sa.func.clock_timestamp()), else_=None),
            **FREED,
        },
    )


def release(conn: sa.Connection, run_id: UUID, token: UUID) -> None:
    """Give the run back untouched, as on SIGTERM: the attempt does not count and anybody may take it at once."""
    fenced(conn, run_id, token, {"state": "planned", "attempts": runs.c.attempts - 1, "started_at": None, **FREED})


def skip(conn: sa.Connection, model: str, role: str, part: str, windows: Iterable[Window], *, reason: str) -> int:
    """Write windows down as not to be evaluated, whether they were planned or not yet known; returns how many."""
    chosen = list(windows)
    written = materialise(conn, model, role, part, chosen, state="skipped", reason=reason)
    values = {
        "model": model,
        "role": role,
        "part": part,
        "reason": reason,
        "starts": [window.start for window in chosen],
        "ends": [window.end for window in chosen],
    }
    return written + conn.execute(SKIP, values).rowcount


def retry_now(conn: sa.Connection, model: str) -> None:
    """End the pauses after failed attempts at a model's runs: a person asks for them now."""
    conn.execute(sa.update(runs).where(runs.c.model == model, runs.c.state == "planned").values(retry_at=None))


def unfinished(conn: sa.Connection, model: str, windows: Sequence[Window], *, now: datetime) -> list[Run]:
    """The newest revision of each run of these windows that is due and not done, the oldest window first."""
    newest = (
        sa.select(runs)
        .ext(postgresql.distinct_on(runs.c.part, runs.c.window_start, runs.c.window_end))
        .where(
            runs.c.model == model,
            runs.c.due_at <= now,
            sa.tuple_(runs.c.window_start, runs.c.window_end).in_([(one.start, one.end) for one in windows]),
        )
        .order_by(runs.c.part, runs.c.window_start, runs.c.window_end, runs.c.revision.desc())
    )
    return sorted(
        (run for run in map(run_of, conn.execute(newest)) if run.state not in ("done", "skipped")),
        key=lambda run: (run.window, run.part),
    )


def rescue(conn: sa.Connection, *, max_attempts: int = MAX_ATTEMPTS) -> list[Run]:
    """Take back the runs whose owner went silent; any replica may. Returns them, planned again or dead."""
    lost = (
        sa.select(runs.c.run_id)
        .where(runs.c.state == "running", runs.c.lease_until < sa.func.clock_timestamp())
        .with_for_update(skip_locked=True)
    )
    spent = runs.c.attempts >= max_attempts
    rows = conn.execute(
        sa.update(runs)
        .where(runs.c.run_id.in_(lost))
        .values(
            state=sa.case((spent, "dead"), else_="planned"),
            reason=RESCUED,
            finished_at=sa.case((spent, sa.func.clock_timestamp()), else_=None),
            **FREED,
        )
        .returning(*runs.c)
    )
    return [run_of(row) for row in rows]


def last_window(conn: sa.Connection, model: str, role: str, part: str, *, states: Sequence[str] = ()) -> Window | None:
    """The newest window the ledger knows, of any state unless told otherwise; None when it knows none."""
    query = sa.select(runs.c.window_start, runs.c.window_end).where(
        runs.c.model == model, runs.c.role == role, runs.c.part == part
    )
    if states:
        query = query.where(runs.c.state.in_(states))
    row = conn.execute(query.order_by(runs.c.window_start.desc(), runs.c.window_end.desc()).limit(1)).one_or_none()
    return None if row is None else Window(start=row.window_start, end=row.window_end)


def last_scheduled(conn: sa.Connection, role: str, owed: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Window]:
    """The newest window that the clock planned, by model and part, in one statement for however many models.

    What a person asked for says nothing about the windows before it.
    """
    values = {"role": role, "models": [model for model, _ in owed], "parts": [part for _, part in owed]}
    return {
        (row.model, row.part): Window(start=row.window_start, end=row.window_end) for row in conn.execute(LAST, values)
    }


def load_run(conn: sa.Connection, run_id: UUID) -> Run | None:
    """One row of the ledger."""
    row = conn.execute(sa.select(runs).where(runs.c.run_id == run_id)).one_or_none()
    return None if row is None else run_of(row)


def time_of_store(conn: sa.Connection) -> datetime:
    """What time it is for the database."""
    return conn.scalars(sa.select(sa.func.clock_timestamp(type_=sa.TIMESTAMP(timezone=True)))).one()


def backlog(conn: sa.Connection, *, now: datetime) -> int:
    """How many runs are due and not begun."""
    return conn.scalars(
        sa.select(sa.func.count()).select_from(runs).where(runs.c.state == "planned", runs.c.due_at <= now)
    ).one()


def fenced(conn: sa.Connection, run_id: UUID, token: UUID, values: dict[str, Any]) -> str:
    """Change a running row only while `token` is the one that was given out with it; returns the new state."""
    state = conn.execute(
        sa.update(runs)
        .where(runs.c.run_id == run_id, runs.c.token == token, runs.c.state == "running")
        .values(values)
        .returning(runs.c.state)
    ).scalar_one_or_none()
    if state is None:
        raise LeaseLost(f"Run {run_id} belongs to another process by now; nothing of this attempt may be written.")
    return state


def run_of(row: sa.Row[*tuple[Any, ...]]) -> Run:
    """A row of the ledger as the program knows it."""
    return Run(
        run_id=row.run_id,
        model=row.model,
        role=row.role,
        part=row.part,
        window=Window(start=row.window_start, end=row.window_end),
        revision=row.revision,
        kind=row.kind,
        state=row.state,
        attempts=row.attempts,
        due_at=row.due_at,
        model_version=row.model_version,
        token=row.token,
        owner=row.owner,
        lease_until=row.lease_until,
        reason=row.reason,
        reference_id=row.reference_id,
        config_hash=row.config_hash,
        code_version=row.code_version,
        finished_at=row.finished_at,
    )
