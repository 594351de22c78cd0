"""Rows received by COPY are those that a cursor fetches, whatever their types and NULLs; nothing is left open."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from monitor.embedded import Database
from monitor.source import SlowReadError, SourceError
from monitor.sources import stream
from monitor.sources.session import Session, Sessions

TYPES = {
    "b": "bool",
    "i2": "int2",
    "i4": "int4",
    "i8": "int8",
    "f4": "float4",
    "f8": "float8",
    "day": "date",
    "naive": "timestamp",
    "aware": "timestamptz",
    "word": "text",
    "chars": "varchar(500)",
    "number": "numeric",
    "list": "float8[]",
    "id": "uuid",
}
WORDS = ["", "a", "ab", "12345678", "123456789", "ünïcödé", "x" * 32, "y" * 33, "z" * 400, "x" * 31 + "y"]


@pytest.fixture
def sessions(empty_database: Database) -> Iterator[Sessions]:
    owner = Sessions(url=empty_database.url, statement_timeout=timedelta(seconds=60))
    yield owner
    owner.close()


@pytest.fixture
def session(sessions: Sessions) -> Iterator[Session]:
    found = sessions.begin()
    yield found
    found.end()


def some_rows(rng: np.random.Generator, number: int, nulls: float) -> list[tuple[Any, ...]]:
    def row() -> tuple[Any, ...]:
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(rng.integers(-(10**16), 10**16)))
        values = (
            bool(rng.integers(2)),
            int(rng.integers(-(2**15), 2**15)),
            int(rng.integers(-(2**31), 2**31)),
            int(rng.integers(-(2**63), 2**63 - 1)),
            float(np.float32(rng.normal())),
            float(rng.choice([rng.normal(), math.inf, -math.inf, 0.0, 1e-308])),
            date(2026, 1, 1) + timedelta(days=int(rng.integers(-9000, 9000))),
            moment.replace(tzinfo=None),
            moment,
            WORDS[rng.integers(len(WORDS))],
            WORDS[rng.integers(4)],
            float(round(rng.normal() * 1000, 3)),
            rng.normal(size=rng.integers(4)).tolist(),
            f"00000000-0000-0000-0000-{rng.integers(10**11):012d}",
        )
        return tuple(None if rng.random() < nulls else value for value in values)

    return [row() for _ in range(number)]


def store(database: Database, rows: list[tuple[Any, ...]]) -> None:
    with psycopg.connect(database.dsn) as conn:
        definitions = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
        conn.execute(sql.SQL("CREATE TABLE log (n int, {})").format(sql.SQL(definitions)))
        with conn.cursor().copy("COPY log FROM STDIN") as copy:
            for number, row in enumerate(rows):
                copy.write_row((number, *row))


def received(session: Session, most: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for batch in session.batches(sql.SQL("SELECT * FROM log ORDER BY n"), most):
        assert 0 < batch.num_rows <= most
        found += batch.to_pylist()
    return found


@pytest.mark.parametrize("nulls", [0.0, 0.02, 0.5, 1.0])
def test_values_are_those_that_a_cursor_fetches(empty_database: Database, session: Session, nulls: float) -> None:
    rows = some_rows(np.random.default_rng(5), 500, nulls)
    store(empty_database, rows)
    found = received(session, 150)
    assert len(found) == len(rows)
    for number, (one, row) in enumerate(zip(found, rows, strict=True)):
        assert one == {"n": number, **dict(zip(TYPES, row, strict=True))}


def test_no_row_gives_no_batch(empty_database: Database, session: Session) -> None:
    store(empty_database, [])
    assert received(session, 10) == []


def test_rows_larger_than_a_chunk_are_received(
    empty_database: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHUNK", 300)
    rows = some_rows(np.random.default_rng(6), 40, 0.1)
    store(empty_database, rows)
    assert [one["word"] for one in received(session, 1000)] == [row[9] for row in rows]


def test_texts_with_the_same_key_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    from monitor.sources import binary

    monkeypatch.setattr(binary, "_MIX", np.uint64(0))  # every text of two words now has the key of its last word
    data = np.frombuffer(b"firstword.same....secondwd.same...." + bytes(binary.PADDING), np.uint8)
    begin, size = np.array([0, 17]), np.array([16, 16])
    assert binary.texts(data, begin, size, np.zeros(2, np.bool_)).to_pylist() == [
        "firstword.same..",
        ".secondwd.same..",
    ]


def test_a_read_that_is_given_up_ends_thread_and_connection(empty_database: Database, sessions: Sessions) -> None:
    store(empty_database, some_rows(np.random.default_rng(7), 2000, 0.0))
    session = sessions.begin()
    statement = sql.SQL("SELECT a.* FROM log a, generate_series(1, 200)")
    batches = session.batches(statement, 100)
    next(batches)
    batches.close()
    session.end()
    assert not [thread for thread in threading.enumerate() if thread.name == "copy"]
    assert session.conn.closed
    other = sessions.begin()
    assert other.rows(sql.SQL("SELECT 1")) == [(1,)]
    other.end()


def test_an_error_among_the_rows_is_said_in_one_sentence(session: Session) -> None:
    with pytest.raises(SourceError, match="division by zero"):
        list(session.batches(sql.SQL("SELECT 1 / (5000 - i) AS x FROM generate_series(1, 9000) AS i"), 100))
    assert session.conn.closed


def test_a_statement_over_its_limit_is_slow(empty_database: Database) -> None:
    with closing(Sessions(url=empty_database.url, statement_timeout=timedelta(milliseconds=300))) as sessions:
        session = sessions.begin()
        with pytest.raises(SlowReadError, match="statement_timeout"):
            list(
                session.batches(
                    sql.SQL("SELECT i AS x, pg_sleep(0.01)::text AS y FROM generate_series(1, 900) AS i"), 9
                )
            )
