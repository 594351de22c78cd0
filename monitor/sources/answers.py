"""What several versions of a model answered and what came true, request by request, for comparing them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from monitor.logtable import SourceSection
from monitor.outcome import Task
from monitor.source import SourceError
from monitor.sources.catalog import ColumnDescription, TableDescription, UnknownTableError, describe_table
from monitor.sources.labels import meaning
from monitor.sources.logged import CHAMPION, Log
from monitor.sources.selection import Place, find, missing_column, text
from monitor.window import Window

MOST = 200_000
"""Requests of one role that are compared; the newest are taken."""
CANDIDATES = ("shadow", "canary")


@dataclass(frozen=True, kw_only=True)
class LoggedAnswer:
    """One answer: score or number, the decision that it led to (NaN: none), when, and by which version.

    Of many classes ``score`` has the probability of each, and the decision is the place of one.
    """

    at: datetime
    version: str
    score: float | tuple[float, ...]
    decision: float
    latency: float = math.nan
    """Milliseconds."""


def read_answers(
    conn: psycopg.Connection[Any],
    source: SourceSection,
    *,
    model: str,
    role: str,
    since: datetime | None,
    until: datetime | None,
    version: str | None = None,
    most: int = MOST,
) -> dict[str, LoggedAnswer]:
    """Return the newest answers of a role by request id; of an id that was logged twice, the first. Raises SourceError.

    `conn` is in autocommit; one statement, so one snapshot.
    """
    if source.role is None:
        raise SourceError("source.role is not configured, so champion and candidate cannot be told apart; name it.")
    log = _log(conn, source, model=model)
    table = log.table
    conditions = [*log.mine("p", role), sql.SQL("p.{} IS NOT NULL").format(sql.Identifier(log.id.name))]
    time = sql.Identifier("p", log.time.name)
    if since is not None:
        conditions.append(sql.SQL("{} >= {}").format(time, log.moment(since)))
    if until is not None:
        conditions.append(sql.SQL("{} < {}").format(time, log.moment(until)))
    if version is not None:
        conditions.append(sql.SQL("{} = {}").format(log.version_of("p"), sql.Literal(version)))
    prediction = source.prediction
    named = [*prediction.scores.values()] if prediction.scores else [prediction.score or prediction.value]
    scores = [_place(table, name, "source.prediction") for name in named]
    label = _place(table, prediction.label, "source.prediction.label")
    latency = _place(table, source.latency_column, "source.latency")
    statement = sql.SQL(
        "SELECT p.{}::text, {}::timestamptz, {}, {}, {}, ARRAY[{}]::text[] FROM {} AS p WHERE {}"
        " ORDER BY {} DESC LIMIT {}"
    ).format(
        sql.Identifier(log.id.name),
        log.moment_of("p"),
        log.version_of("p"),
        sql.SQL("NULL") if label is None else text(label, "p"),
        sql.SQL("NULL") if latency is None else text(latency, "p"),
        sql.SQL(", ").join(sql.SQL("NULL") if score is None else text(score, "p") for score in scores),
        table.identifier,
        sql.SQL(" AND ").join(conditions),
        time,
        sql.Literal(most),
    )
    found: dict[str, LoggedAnswer] = {}
    for key, at, of, word, took, numbers in _rows(conn, statement):
        values = tuple(_number(number) for number in numbers)
        score = values if prediction.scores else values[0]
        decision = _decision(source, values, word)
        found[key] = LoggedAnswer(at=at, version=of, score=score, decision=decision, latency=_number(took))
    return found


def read_raw(
    conn: psycopg.Connection[Any], source: SourceSection, window: Window, *, model: str, most: int
) -> dict[str, tuple[list[str | None], list[str | None]]]:
    """Return, by feature that ``source.raw`` names, raw values and features of the newest rows of a window as text.

    Raises SourceError where a column is missing.
    """
    log = _log(conn, source, model=model)
    named = {} if isinstance(source.features, str) else {name: one.place for name, one in source.features.items()}
    places = [
        (_place(log.table, written, f"source.raw.{name}"), _place(log.table, named.get(name, name), "source.raw"))
        for name, written in source.raw.items()
    ]
    columns = [text(place, "p") for pair in places for place in pair if place is not None]
    statement = sql.SQL("SELECT {} FROM {} AS p WHERE {} ORDER BY {} DESC LIMIT {}").format(
        sql.SQL(", ").join(columns),
        log.table.identifier,
        log.within("p", [window], window.end, CHAMPION),
        sql.Identifier("p", log.time.name),
        sql.Literal(most),
    )
    rows = _rows(conn, statement)
    return {
        name: ([row[2 * place] for row in rows], [row[2 * place + 1] for row in rows])
        for place, name in enumerate(source.raw)
    }


def candidates_within(
    conn: psycopg.Connection[Any], source: SourceSection, window: Window, *, model: str
) -> list[tuple[str, str]]:
    """Return (role, version) of everybody but the champion who answered within a window; raises SourceError."""
    if source.role is None:
        return []
    log = _log(conn, source, model=model)
    assert log.role is not None
    role = sql.Identifier("p", log.role.name)
    statement = sql.SQL(
        "SELECT DISTINCT {}::text, {} FROM {} AS p WHERE {} AND {}::text = ANY({}) ORDER BY 1, 2"
    ).format(
        role,
        log.version_of("p"),
        log.table.identifier,
        log.within("p", [window], window.end, None),
        role,
        sql.Literal(list(CANDIDATES)),
    )
    return [(found, version) for found, version in _rows(conn, statement)]


def read_usage(
    conn: psycopg.Connection[Any], *, model: str, since: datetime | None, until: datetime | None
) -> dict[str, tuple[float, float]]:
    """Return median resident bytes and seconds of CPU of the processes of each version, from their heartbeats."""
    statement = sql.SQL(
        "SELECT version, percentile_cont(.5) WITHIN GROUP (ORDER BY rss), sum(cpu) FROM ("
        "SELECT coalesce(model_version, '') AS version, percentile_cont(.5) WITHIN GROUP (ORDER BY rss_bytes) AS rss,"
        " max(cpu_seconds) - min(cpu_seconds) AS cpu FROM monitor.heartbeat_log WHERE model = {}"
        " AND at >= coalesce({}::timestamptz, '-infinity') AND at < coalesce({}::timestamptz, 'infinity')"
        " GROUP BY 1, process) AS each GROUP BY 1"
    ).format(sql.Literal(model), sql.Literal(since), sql.Literal(until))
    return {version: (_number(rss), _number(cpu)) for version, rss, cpu in _heartbeats(conn, statement)}


def read_packages(conn: psycopg.Connection[Any], *, model: str) -> dict[str, str]:
    """Return the versions of packages that a model's processes told of last, and of Python; empty where none did."""
    statement = sql.SQL(
        "SELECT packages FROM monitor.heartbeat_log WHERE model = {} AND packages IS NOT NULL ORDER BY at DESC LIMIT 1"
    ).format(sql.Literal(model))
    found = _heartbeats(conn, statement)
    return {str(name): str(version) for name, version in found[0][0].items()} if found else {}


def _heartbeats(conn: psycopg.Connection[Any], statement: sql.Composed) -> list[tuple[Any, ...]]:
    """Return rows of heartbeats; none for a reader that was granted the predictions alone, which is enough to judge."""
    try:
        return _rows(conn, statement)
    except psycopg.errors.InsufficientPrivilege:
        return []


def _log(conn: psycopg.Connection[Any], source: SourceSection, *, model: str) -> Log:
    table = _table(conn, source.table)
    return Log(
        table=table,
        time=_column(table, source.time, "source.time"),
        id=_column(table, source.id, "source.id"),
        version=_column(table, source.version, "source.version") if source.version else None,
        role=_column(table, source.role, "source.role") if source.role else None,
        model=model if source.builtin else None,
    )


def read_outcomes(conn: psycopg.Connection[Any], source: SourceSection, *, model: str) -> dict[str, float]:
    """Return what came true by request id, the latest correction; empty where no outcome is configured."""
    outcome = source.outcome
    if outcome is None:
        return {}
    table = _table(conn, outcome.table or source.table)
    key = _column(table, outcome.id or source.id, "source.outcome.id")
    truth = _place(table, outcome.label or outcome.value, "source.outcome")
    assert truth is not None
    conditions = [sql.SQL("o.{} IS NOT NULL").format(sql.Identifier(key.name))]
    if source.builtin:
        conditions.append(sql.SQL("o.model = {}").format(sql.Literal(model)))
    time = find(table, outcome.time) if outcome.time else None
    statement = sql.SQL("SELECT o.{}::text, {} FROM {} AS o WHERE {} ORDER BY {}").format(
        sql.Identifier(key.name),
        text(truth, "o"),
        table.identifier,
        sql.SQL(" AND ").join(conditions),
        sql.SQL("1") if time is None else sql.Identifier("o", time.column.name),
    )
    return {key: value for key, word in _rows(conn, statement) if math.isfinite(value := _truth(source, word))}


def _rows(conn: psycopg.Connection[Any], statement: sql.Composed) -> list[tuple[Any, ...]]:
    with conn.transaction():
        conn.execute("SET TRANSACTION READ ONLY")
        conn.execute("SET LOCAL TimeZone = 'UTC'")
        return conn.execute(statement).fetchall()


def _table(conn: psycopg.Connection[Any], name: str) -> TableDescription:
    try:
        return describe_table(conn, name)
    except UnknownTableError as error:
        raise SourceError(f"source.table: {error}") from error


def _column(table: TableDescription, written: str, role: str) -> ColumnDescription:
    place = find(table, written)
    if place is None:
        raise SourceError(missing_column(table, written, role))
    return place.column


def _place(table: TableDescription, written: str | None, role: str) -> Place | None:
    if written is None:
        return None
    place = find(table, written)
    if place is None:
        raise SourceError(missing_column(table, written, role))
    return place


def _number(word: str | float | None) -> float:
    try:
        return float(word) if word is not None else math.nan
    except ValueError:
        return math.nan


def _decision(source: SourceSection, scores: tuple[float, ...], word: str | None) -> float:
    """Return the decision as it was logged, or else as the cut-off or the most probable class makes it."""
    prediction = source.prediction
    if prediction.label is not None:
        return math.nan if word is None else _meaning(source, word)
    if any(math.isnan(score) for score in scores):
        return math.nan
    if prediction.scores:
        return float(scores.index(max(scores)))
    return math.nan if prediction.threshold is None else float(scores[0] >= prediction.threshold)


def _truth(source: SourceSection, word: str | None) -> float:
    if word is None:
        return math.nan
    if source.prediction.task is Task.REGRESSION:
        return _number(word)
    return _meaning(source, word)


def _meaning(source: SourceSection, word: str) -> float:
    prediction = source.prediction
    return meaning(word, prediction.task, tuple(prediction.scores or ()), prediction.positive)


def versions_of(answers: Mapping[str, LoggedAnswer]) -> list[str]:
    """Return the versions among answers, the one that answered last first."""
    last: dict[str, datetime] = {}
    for answer in answers.values():
        last[answer.version] = max(answer.at, last.get(answer.version, answer.at))
    return sorted(last, key=lambda version: last[version], reverse=True)
