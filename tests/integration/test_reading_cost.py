"""What reading a window costs, in counts that no busy machine can move."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import psycopg
import pytest

from benchmarks.throughput.reading import KEY, NOW, layout_of
from benchmarks.throughput.table import LogTable
from monitor.embedded import Database
from monitor.source import Batch
from monitor.sources import postgres as postgres_module
from monitor.sources import session as session_module
from monitor.sources.postgres import PostgresSource
from monitor.sources.rows import batch_of
from monitor.sources.stream import Chunk, copy_rows
from monitor.tile import build_inputs

TABLE = LogTable(rows=150_000, columns=8)
BESIDE_ROWS = 40  # bytes per row for what is no feature: time, score, and the lengths of fields


@pytest.fixture
def log(empty_database: Database) -> Database:
    with psycopg.connect(empty_database.dsn, autocommit=True) as conn:
        TABLE.make(conn)
    return empty_database


class Costs:
    """Counts of one read."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: list[str] = []
        self.bytes = self.batches = 0
        with PostgresSource(url=database.dsn, section=TABLE.section) as source:
            layout = layout_of(source, TABLE)
            self._count(monkeypatch)
            with source.read_inputs(TABLE.window, TABLE.tiles, layout, now=NOW) as read:
                tiles, profile = build_inputs(read, layout, KEY)
        assert (len(tiles), profile.rows) == (4, TABLE.rows)

    def _count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        execute = psycopg.Connection.execute

        def counted(conn: Any, query: Any, *arguments: Any, **options: Any) -> Any:
            self.statements.append(query.decode() if isinstance(query, bytes) else str(query))
            return execute(conn, query, *arguments, **options)

        def received(conn: Any, statement: bytes, most: int, decode: Callable[[Chunk], Any]) -> Generator[Any]:
            def weighed(chunk: Chunk) -> Any:
                self.bytes += len(chunk.data)
                return decode(chunk)

            self.statements.append(statement.decode())
            return copy_rows(conn, statement, most, weighed)

        def made(*arguments: Any) -> Batch:
            self.batches += 1
            return batch_of(*arguments)

        monkeypatch.setattr(psycopg.Connection, "execute", counted)
        monkeypatch.setattr(session_module, "copy_rows", received)
        monkeypatch.setattr(postgres_module, "batch_of", made)


def test_rows_are_asked_for_once_and_counted_once(log: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = Costs(log, monkeypatch)
    of_rows = [one for one in costs.statements if TABLE.name in one and "LIMIT" not in one]
    assert len(of_rows) == 3, "facts, rows as they are described, rows as they are sent"


def test_a_read_asks_few_questions(log: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(Costs(log, monkeypatch).statements) <= 14  # half of them begin the snapshot


def test_no_byte_is_sent_that_is_not_profiled(log: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ", ".join(TABLE.features())
    with (
        psycopg.connect(log.dsn) as conn,
        conn.cursor().copy(f"COPY (SELECT {names} FROM {TABLE.name}) TO STDOUT (FORMAT BINARY)") as rows,
    ):
        features = sum(map(len, rows))
    assert features < Costs(log, monkeypatch).bytes <= features + BESIDE_ROWS * TABLE.rows


def test_rows_come_in_as_few_batches_as_memory_allows(log: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Costs(log, monkeypatch).batches == 3  # of 65,536 rows at most
