"""Each cause that the demo names is in its data, and the query that is printed beside it shows it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from monitor import embedded
from monitor.demo import flights, serving
from monitor.demo.causes import CAUSES, Cause, explanations
from tests.conftest import IN_A_HURRY


@pytest.fixture(scope="module")
def logged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection]:
    prepared = flights.load(Path(request.config.cache.mkdir("demo-flights")))
    with (
        embedded.start(tmp_path_factory.mktemp("causes"), settings=IN_A_HURRY) as server,
        psycopg.connect(server.dsn, autocommit=True) as conn,
    ):
        serving.create_tables(conn)
        with conn.transaction():
            serving.append(conn, serving.PREDICTIONS, prepared.production_rows())
            serving.append(conn, serving.OUTCOMES, prepared.outcome_rows())
        yield conn


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_the_query_of_a_cause_shows_it(logged: psycopg.Connection, cause: Cause) -> None:
    with logged.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        rows = cursor.execute(cause.query).fetchall()
    assert rows
    assert all(row["shown"] for row in rows), rows


def test_a_missing_value_arrives_as_null_and_not_as_an_empty_text(logged: psycopg.Connection) -> None:
    row = logged.execute("SELECT count(temp), count(*), count(*) FILTER (WHERE carrier = '') FROM serving.predictions")
    temperatures, rows, empty = row.fetchone() or (0, 0, 0)
    assert rows == 284_821
    assert temperatures < rows
    assert empty == 0


def test_causes_are_found_by_subject_and_day() -> None:
    assert [cause.name for cause in explanations("quality:weather", date(2013, 10, 14))] == ["A week in °C (injected)"]
    assert explanations("outcome", date(2013, 3, 1)) == []
