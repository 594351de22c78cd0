"""A second model runs aside: its answers are logged, and nothing of it reaches the service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from monitor.embedded import Database
from monitor_client import PredictionLogger
from monitor_client.context import Request, enter, leave
from tests.client.conftest import PATIENCE


@pytest.fixture
def logger(database: Database) -> Iterator[PredictionLogger]:
    with PredictionLogger(database.dsn, model="late", version="7", heartbeat_every=None, shadow_queue=3) as made:
        yield made


def rows(database: Database, logger: PredictionLogger) -> list[dict[str, Any]]:
    assert logger.flush(PATIENCE)
    with psycopg.connect(database.dsn, row_factory=dict_row) as conn:
        return conn.execute("SELECT * FROM monitor.prediction_log ORDER BY request_id, role").fetchall()


def test_a_shadow_has_the_request_id_of_the_champion(database: Database, logger: PredictionLogger) -> None:
    token = enter(Request("r-1", "t-1"))
    logger.log({"x": 1.0}, score=0.5)
    assert logger.shadow(lambda features: features["x"] / 4, {"x": 1.0}, version="8")
    leave(token)
    logger.shadow(lambda _: {"score": 0.75, "prediction": True}, {"x": 2.0}, version="9", request_id="r-2")
    champion, shadow, other = rows(database, logger)
    assert (champion["role"], champion["model_version"], champion["score"]) == ("champion", "7", 0.5)
    assert (shadow["request_id"], shadow["trace_id"]) == ("r-1", "t-1")
    assert (shadow["role"], shadow["model_version"], shadow["score"]) == ("shadow", "8", 0.25)
    assert shadow["features"] == {"x": 1.0}
    assert shadow["latency_ms"] >= 0
    assert (other["request_id"], other["prediction"], other["score"]) == ("r-2", "true", 0.75)


def test_what_finds_no_place_is_skipped_at_once_and_counted(database: Database, logger: PredictionLogger) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def slow(_: Any) -> float:
        begun.set()
        go_on.wait(PATIENCE)
        return 0.5

    assert logger.shadow(slow, {}, version="8", request_id=0)
    assert begun.wait(PATIENCE)
    taken = [logger.shadow(slow, {}, version="8", request_id=i) for i in range(1, 10)]
    assert taken == [True] * 3 + [False] * 6
    assert logger.troubles == {"shadow skipped": 6}
    go_on.set()
    assert len(rows(database, logger)) == 4
    assert logger.dropped == 0


def test_a_shadow_that_fails_is_counted_and_the_next_one_runs(
    database: Database, logger: PredictionLogger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.shadow(lambda _: 1 / 0, {}, version="8", request_id="r-1")
    logger.shadow(lambda _: 0.5, {}, version="8", request_id="r-2")
    assert [row["request_id"] for row in rows(database, logger)] == ["r-2"]
    assert logger.troubles == {"shadow failed": 1}
    assert "the shadow model failed: ZeroDivisionError: division by zero" in caplog.text


def test_a_shadow_without_a_request_is_not_run_because_nothing_could_be_compared(logger: PredictionLogger) -> None:
    assert not logger.shadow(lambda _: 0.5, {}, version="8")
    assert logger.troubles == {"shadow": 1}
