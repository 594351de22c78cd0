"""Circuits as rows: the newest row of a model is its state, the older ones are the history. Inserting one tells all."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from monitor.circuit import Circuit, CircuitState
from monitor.episode import storable
from monitor.tables import circuit_event as events

COLUMNS = ("model", "state", "share", "probe_share", "fallback", "reason", "actor", "until")


def hold_circuit(conn: sa.Connection, model: str) -> Circuit:
    """Return the circuit of a model, held until the transaction ends: nobody else changes it meanwhile."""
    key = sa.func.hashtextextended(f"circuit {model}", 0)
    conn.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
    return load_circuit(conn, model)


def load_circuit(conn: sa.Connection, model: str) -> Circuit:
    """Return the circuit of a model; closed where nobody ever changed it."""
    query = sa.select(events).where(events.c.model == model)
    row = conn.execute(query.order_by(events.c.at.desc(), events.c.event_id.desc()).limit(1)).mappings().one_or_none()
    if row is None:
        return Circuit(model=model)
    values: dict[str, Any] = {name: row[name] for name in (*COLUMNS, "at")}
    return Circuit(**{**values, "state": CircuitState(row["state"])})


def first_event(conn: sa.Connection, model: str) -> int | None:
    """Return the id of the change that ended the circuit's last being closed; None while it is closed."""
    closed = sa.select(sa.func.max(events.c.at)).where(events.c.model == model, events.c.state == CircuitState.CLOSED)
    since = sa.func.coalesce(closed.scalar_subquery(), sa.text("'-infinity'::timestamptz"))
    query = sa.select(events.c.event_id).where(events.c.model == model, events.c.at > since)
    return conn.scalar(query.order_by(events.c.at, events.c.event_id).limit(1))


def save_circuit(conn: sa.Connection, circuit: Circuit) -> None:
    """Append a change; serving processes hear of it with the commit. Its time is the database's."""
    values = storable({name: getattr(circuit, name) for name in COLUMNS})
    # Not now(), the begin of the transaction: a change that waited for another one came after it.
    conn.execute(sa.insert(events).values(**values, at=sa.func.clock_timestamp()))


def share_since(conn: sa.Connection, model: str) -> datetime | None:
    """Return when the canary got the share that it has; None where nobody ever gave it one."""
    before = sa.func.lag(events.c.share).over(order_by=(events.c.at, events.c.event_id))
    changes = sa.select(events.c.at, events.c.share, before.label("before")).where(events.c.model == model).subquery()
    query = sa.select(sa.func.max(changes.c.at)).where(changes.c.share.is_distinct_from(changes.c.before))
    found: datetime | None = conn.scalar(query)
    return found
