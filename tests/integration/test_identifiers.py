"""Names from a configuration, as hostile as they come: the right column is read, or a sentence says there is none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from psycopg import sql
from pydantic import ValidationError

from monitor.embedded import Database
from monitor.logtable import SourceSection
from monitor.source import NumericValues, SourceError, concatenate
from monitor.sources.catalog import quote
from monitor.sources.postgres import PostgresSource
from monitor.window import CalendarUnit, Window, WindowSpec

DAY = Window(start=datetime(2024, 5, 6, tzinfo=UTC), end=datetime(2024, 5, 7, tzinfo=UTC))
TILES = WindowSpec(calendar=CalendarUnit.DAY).tiles(DAY)
NOW = datetime(2024, 5, 10, tzinfo=UTC)

HOSTILE = [
    'x"; drop table witness--',
    "x'; drop table witness--",
    "x) from witness; drop table witness; select (1",
    "%s",
    "%(x)s",
    "%",
    "%%",
    ":bind",
    "{}",
    "{x}",
    "$1",
    "a\nb",
    "a\tb",
    "\\",
    'a""b',
    '"',
    "Mixed Case",
    "UPPER",
    "раssword",  # the first two letters are Cyrillic
    "ｆｕｌｌ",
    "e\u0301",
    "\u202egnp",
    "x" * 63,
    "x" * 64,
    "é" * 32,
    "select",
    "p",
    "monitor tile",
    "pg_sleep(10)",
    "a.b",
    "schema.table.column",
    "a..b",
    ".a",
    "xmin",
    "ctid",
    "tableoid",
    "*",
    "--",
    "/* x */",
    ";",
    " ",
    "x\x00y",
    "\ud83d",
]
# Characters that break quoting, parameters, formats and case, beside whatever else there is.
NAMES = st.text(
    st.sampled_from(list("\"'%:{}$;.\\-/* \n\tabXé_")) | st.characters(codec="utf-8"), min_size=1, max_size=40
)


@pytest.fixture
def conn(empty_database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(empty_database.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE witness (x int)")
        connection.execute("INSERT INTO witness VALUES (1)")
        yield connection


def fits(name: str) -> bool:
    """Whether Postgres can have a column of this name."""
    system = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
    return fits_text(name) and 0 < len(name.encode()) <= 63 and name not in system


def fits_text(text: str) -> bool:
    """Whether Postgres can have a text."""
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)


def state(conn: psycopg.Connection[Any]) -> list[Any]:
    """What there is: nothing but our reads may have happened."""
    found = conn.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    ).fetchall()
    return [*found, conn.execute("SELECT x FROM witness").fetchall()]


def source(database: Database, **options: Any) -> PostgresSource:
    given = {"table": "log", "time": "at", "id": "id", "prediction": {"score": "score"}} | options
    return PostgresSource(url=database.url, section=SourceSection.model_validate(given), model="m")


def values(found: PostgresSource, name: str) -> list[float]:
    batch = concatenate(list(found.read_inputs(DAY, TILES, None, now=NOW)))
    column = batch.columns[name]
    assert isinstance(column, NumericValues)
    return [float(x) for x in column.values]


def log(conn: psycopg.Connection[Any], table: str, column: str) -> None:
    """Make a table with a feature of that name, which holds 42."""
    conn.execute(
        sql.SQL("CREATE TABLE {} (id text, at timestamptz, score float8, {} float8)").format(
            sql.Identifier(table), sql.Identifier(column)
        )
    )
    statement = sql.SQL("INSERT INTO {} VALUES ('1', {}, 0.5, 42)").format(
        sql.Identifier(table), DAY.start + timedelta(hours=12)
    )
    conn.execute(statement)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
@example(name='x"; drop table witness--')
def test_a_column_of_any_name_is_read_or_refused_and_nothing_else_runs(
    conn: psycopg.Connection[Any], empty_database: Database, name: str
) -> None:
    assume(name not in ("id", "at", "score"))
    check_column(conn, empty_database, name)


def test_a_column_with_a_hostile_name_is_read_or_refused(
    conn: psycopg.Connection[Any], empty_database: Database
) -> None:
    for name in HOSTILE:
        check_column(conn, empty_database, name)


def check_column(conn: psycopg.Connection[Any], database: Database, name: str) -> None:
    conn.execute("DROP TABLE IF EXISTS log")
    column = name if fits(name) and name.strip() else "other"
    log(conn, "log", column)
    before = state(conn)
    try:
        found = source(database, features={"f": {"column": name, "type": "numeric"}})
    except ValidationError:
        assert not name.strip() or not fits_text(name)
        return
    try:
        read = found.read_inputs(DAY, TILES, None, now=NOW)
        batch = concatenate(list(read))
        if column == name:
            assert values(found, "f") == [42.0]
        else:
            assert not batch.columns, "there is no such column, so nothing stands for it"
            (fault,) = read.reading.faults
            assert fault.problem == "vanished"
            assert "\n" not in fault.message.replace(name, "")
    finally:
        found.close()
    assert state(conn) == before


@pytest.mark.parametrize("key", ["time", "id", "version", "table"])
def test_a_hostile_name_for_another_purpose_is_found_or_one_sentence(
    conn: psycopg.Connection[Any], empty_database: Database, key: str
) -> None:
    log(conn, "log", "f")
    for name in HOSTILE:
        check_purpose(conn, empty_database, key, name)


def check_purpose(conn: psycopg.Connection[Any], empty_database: Database, key: str, name: str) -> None:
    before = state(conn)
    try:
        found = source(empty_database, **{key: name})
    except ValidationError:
        assert not name.strip() or not fits_text(name)
        return
    with pytest.raises(SourceError) as told:
        list(found.read_inputs(DAY, TILES, None, now=NOW))
    found.close()
    assert str(told.value).startswith(f"source.{key}")
    assert state(conn) == before


def test_a_table_of_any_name_is_read_when_it_is_written_as_sql_writes_it(
    conn: psycopg.Connection[Any], empty_database: Database
) -> None:
    for name in filter(fits, HOSTILE):
        check_table(conn, empty_database, name)


def check_table(conn: psycopg.Connection[Any], empty_database: Database, name: str) -> None:
    log(conn, name, "f")
    before = state(conn)
    found = source(empty_database, table=quote(name))
    assert values(found, "f") == [42.0]
    assert found.check() is not None
    found.close()
    assert state(conn) == before


def test_a_hostile_json_key_reads_its_value_or_is_missing(
    conn: psycopg.Connection[Any], empty_database: Database
) -> None:
    for key in HOSTILE:
        check_key(conn, empty_database, key)


def check_key(conn: psycopg.Connection[Any], empty_database: Database, key: str) -> None:
    conn.execute("DROP TABLE IF EXISTS log")
    conn.execute("CREATE TABLE log (id text, at timestamptz, score float8, features jsonb)")
    if fits_text(key):
        insert = "INSERT INTO log VALUES ('1', %s, 0.5, jsonb_build_object(%s::text, 42))"
        conn.execute(insert, [DAY.start + timedelta(hours=1), key])
    before = state(conn)
    try:
        found = source(empty_database, features={"f": {"json": f"features.{key}", "type": "numeric"}})
    except ValidationError:
        assert not all(key.split(".")) or not key.strip() or not fits_text(key)
        return
    (read,) = values(found, "f")
    assert read == 42 or "." in key, "a dot leads into an object that is not there"
    found.close()
    assert state(conn) == before


def test_a_name_that_postgres_would_cut_is_not_taken_for_the_one_it_is_cut_to(
    conn: psycopg.Connection[Any], empty_database: Database
) -> None:
    log(conn, "log", "x" * 63)
    found = source(empty_database, features={"f": {"column": "x" * 64, "type": "numeric"}})
    read = found.read_inputs(DAY, TILES, None, now=NOW)
    assert not concatenate(list(read)).columns
    assert [fault.problem for fault in read.reading.faults] == ["vanished"]
    found.close()


def test_a_name_that_only_looks_alike_is_another(conn: psycopg.Connection[Any], empty_database: Database) -> None:
    log(conn, "log", "password")
    found = source(empty_database, features={"f": {"column": "раssword", "type": "numeric"}})
    read = found.read_inputs(DAY, TILES, None, now=NOW)
    assert not concatenate(list(read)).columns
    found.close()
