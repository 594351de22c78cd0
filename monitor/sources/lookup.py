"""One request in the log tables of a model: every row that was logged under its id, and its label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from monitor.logtable import SourceSection
from monitor.sources.catalog import TableDescription, describe_table
from monitor.sources.logged import CHAMPION
from monitor.sources.selection import Place, find

MOST_ROWS = 100
"""A constant in the column of ids would otherwise bring the whole table."""
TRACE = "trace_id"
"""Column of the trace, by the name that the built-in log and OpenTelemetry have for it."""


@dataclass(frozen=True, kw_only=True)
class LoggedRequest:
    """One logged row; ``answer`` is score, label, value and so on as the configuration names them."""

    role: str
    version: str | None
    trace_id: str | None
    occurred_at: datetime | None
    logged_at: datetime | None
    features: Mapping[str, Any] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LoggedOutcome:
    """A label or value that was logged for the request, and when it was known."""

    outcome: Any
    at: datetime | None


def find_request(
    conn: psycopg.Connection[Any], source: SourceSection, request_id: str, *, model: str
) -> list[LoggedRequest]:
    """Return the rows of a request, the oldest first, at most 100; none where its id cannot be in this table.

    `conn` is in autocommit.
    """
    table = describe_table(conn, source.table)
    also = sql.SQL("AND p.model = {}").format(sql.Literal(model)) if source.builtin else sql.SQL("")
    time = _named(table, source.time)
    rows = _rows(conn, table, source.id, request_id, also, [time, source.logged_at])
    return [_request(table, source, document, times) for document, times in rows]


def find_outcomes(
    conn: psycopg.Connection[Any], source: SourceSection, request_id: str, *, model: str
) -> list[LoggedOutcome]:
    """Return what is known of a request's truth, the newest first: more than one where labels were corrected."""
    outcome = source.outcome
    if outcome is None:
        return []
    table = describe_table(conn, outcome.table or source.table)
    also = sql.SQL("AND p.model = {}").format(sql.Literal(model)) if source.builtin else sql.SQL("")
    rows = _rows(conn, table, outcome.id or source.id, request_id, also, [outcome.time])
    found = [
        LoggedOutcome(outcome=_value(find(table, outcome.label or outcome.value or ""), document), at=times[0])
        for document, times in rows
    ]
    known = [each for each in found if each.outcome is not None]
    return known[::-1]


def _rows(
    conn: psycopg.Connection[Any],
    table: TableDescription,
    key: str,
    wanted: str,
    also: sql.Composable,
    times: list[str | None],
) -> Iterator[tuple[dict[str, Any], list[datetime | None]]]:
    columns = [None if name is None else find(table, name) for name in times]
    moments = [
        sql.SQL("NULL::timestamptz") if place is None else sql.SQL("p.{}::timestamptz").format(_column(place))
        for place in columns
    ]
    # A literal without a type takes the column's own, so that an index on it serves.
    query = sql.SQL("SELECT to_jsonb(p.*), {} FROM {} AS p WHERE p.{} = {} {} ORDER BY 2 LIMIT {}").format(
        sql.SQL(", ").join(moments),
        table.identifier,
        sql.Identifier(_named(table, key)),
        sql.Literal(wanted),
        also,
        sql.Literal(MOST_ROWS),
    )
    try:
        with conn.transaction():
            conn.execute("SET TRANSACTION READ ONLY")
            conn.execute("SET LOCAL TimeZone = 'UTC'")
            rows = conn.execute(query).fetchall()
    except psycopg.DataError:  # no uuid, no number: such an id is not in this table
        return
    for document, *found in rows:
        yield document, found


def _request(
    table: TableDescription, source: SourceSection, document: dict[str, Any], times: list[datetime | None]
) -> LoggedRequest:
    def of(name: str | None) -> Any:
        return None if name is None else _value(find(table, name), document)

    answer = {role: of(column) for role, column in source.prediction.columns().items()}
    if source.builtin:
        answer |= {name: document[name] for name in ("score", "scores", "prediction", "value") if document[name]}
    version = of(source.version)
    trace = of(TRACE)
    return LoggedRequest(
        role=of(source.role) or CHAMPION,
        version=None if version is None else str(version),
        trace_id=None if trace is None else str(trace),
        occurred_at=times[0],
        logged_at=times[1],
        features=_features(table, source, document),
        answer={name: value for name, value in answer.items() if value is not None},
    )


def _features(table: TableDescription, source: SourceSection, document: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(source.features, str):
        return {name: _value(find(table, feature.place), document) for name, feature in source.features.items()}
    if source.builtin:
        return dict(document["features"] or {})
    taken = {source.time, source.logged_at, source.id, source.version, source.role, TRACE}
    taken |= {column.split(".")[0] for column in source.prediction.columns().values()}
    if source.outcome is not None and source.outcome.table in (None, source.table):
        taken |= {source.outcome.label, source.outcome.value, source.outcome.time}
    return {name: value for name, value in document.items() if name not in taken}


def _named(table: TableDescription, written: str) -> str:
    place = find(table, written)
    return written if place is None else place.column.name


def _column(place: Place) -> sql.Identifier:
    return sql.Identifier(place.column.name)


def _value(place: Place | None, document: Mapping[str, Any]) -> Any:
    if place is None:
        return None
    value = document.get(place.column.name)
    for key in place.path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
