"""A service that logs is never held up and never fails by it, and loses no row that queue and disk could hold."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from monitor.embedded import Database
from monitor_client import Circuit, PredictionLogger
from monitor_client.heartbeat import memory_limit
from tests.client.conftest import PATIENCE, Outage, Service, eventually

NOWHERE = "postgresql://postgres@127.0.0.1:1/postgres?connect_timeout=1"


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(database.dsn, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def logger(database: Database) -> Iterator[PredictionLogger]:
    with PredictionLogger(database.dsn, model="late", version="7", heartbeat_every=None) as made:
        yield made


def ids(outage: Outage) -> list[int]:
    """Return the numbers that were logged as request ids, in the order in which they were written."""
    return [int(row[0]) for row in outage.ask("SELECT request_id FROM monitor.prediction_log ORDER BY id")]


# --- what is written --------------------------------------------------------------------------------------------------


def test_a_prediction_and_its_outcome_are_written_as_they_were_given(
    logger: PredictionLogger, conn: psycopg.Connection[dict[str, Any]]
) -> None:
    at = datetime(2013, 4, 1, 12, tzinfo=UTC)
    given = logger.log(
        {"temp": 39.5, "carrier": "UA"},
        score=0.25,
        prediction=False,
        request_id="r-1",
        trace_id="0af7",
        occurred_at=at,
        latency_ms=1.5,
    )
    assert given == "r-1"
    logger.log({}, scores={"a": 0.25, "b": 0.75}, prediction="b", request_id=2, role="canary", version="8")
    logger.log({}, value=3, request_id="r-3")
    logger.outcome("r-1", label=True, observed_at=at + timedelta(days=1))
    logger.outcome("r-3", value=2.5)
    assert logger.flush(PATIENCE)
    first, second, third = conn.execute("SELECT * FROM monitor.prediction_log ORDER BY id").fetchall()
    assert {**first, "id": 0, "logged_at": 0} == {
        "id": 0,
        "request_id": "r-1",
        "trace_id": "0af7",
        "model": "late",
        "model_version": "7",
        "role": "champion",
        "occurred_at": at,
        "logged_at": 0,
        "features": {"temp": 39.5, "carrier": "UA"},
        "score": 0.25,
        "scores": None,
        "prediction": "false",
        "value": None,
        "latency_ms": 1.5,
    }
    assert (second["request_id"], second["role"], second["model_version"]) == ("2", "canary", "8")
    assert (second["scores"], second["prediction"]) == ({"a": 0.25, "b": 0.75}, "b")
    assert third["value"] == 3.0
    outcomes = conn.execute("SELECT request_id, label, value FROM monitor.outcome_log ORDER BY request_id").fetchall()
    assert [tuple(row.values()) for row in outcomes] == [("r-1", "true", None), ("r-3", None, 2.5)]
    assert (logger.written, logger.queued, logger.dropped) == (5, 0, 0)


def test_a_prediction_without_an_id_gets_one(
    logger: PredictionLogger, conn: psycopg.Connection[dict[str, Any]]
) -> None:
    given = {logger.log({"a": i}) for i in range(100)}
    assert logger.flush(PATIENCE)
    rows = conn.execute("SELECT request_id FROM monitor.prediction_log").fetchall()
    assert {row["request_id"] for row in rows} == given
    assert len(given) == 100


def test_threads_and_tasks_share_a_logger(logger: PredictionLogger, conn: psycopg.Connection[dict[str, Any]]) -> None:
    def work(name: str) -> None:
        for number in range(500):
            logger.log({"x": number}, request_id=f"{name}-{number}")

    async def tasks() -> None:
        await asyncio.gather(*(asyncio.to_thread(work, f"task {i}") for i in range(3)))
        for number in range(500):
            logger.log({"x": number}, request_id=f"loop-{number}")

    threads = [threading.Thread(target=work, args=[f"thread {i}"]) for i in range(3)]
    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join()
    assert logger.flush(PATIENCE)
    (counted,) = conn.execute("SELECT count(*), count(DISTINCT request_id) AS ids FROM monitor.prediction_log")
    assert counted == {"count": 3500, "ids": 3500}


def test_a_heartbeat_says_how_the_process_is(database: Database, conn: psycopg.Connection[dict[str, Any]]) -> None:
    with PredictionLogger(database.dsn, model="late", version="7", heartbeat_every=0.2) as logger:
        logger.log({"x": object()})
        logger.log({"x": 1})
        query = "SELECT * FROM monitor.heartbeat_log ORDER BY at"
        first, second = eventually(lambda: (rows := conn.execute(query).fetchall())[1:] and rows[:2])
    assert first["process"] == f"{socket.gethostname()}/{os.getpid()}"
    assert (first["model"], first["model_version"], first["pid"]) == ("late", "7", os.getpid())
    assert first["dropped"] == 1
    me = psutil.Process().memory_info().rss
    assert me / 2 < first["rss_bytes"] < me * 2
    assert 0 < first["uss_bytes"] <= first["rss_bytes"]
    assert first["cpu_seconds"] > 0
    assert first["threads"] >= 2
    assert first["open_files"] > 0
    assert first["packages"]["psycopg"] == psycopg.__version__
    assert first["packages"]["python"].startswith("3.")
    assert second["packages"] is None


def test_a_memory_limit_is_the_smallest_of_the_groups_above(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (groups / "a" / "b").mkdir(parents=True)
    proc.mkdir()
    (proc / "cgroup").write_text("0::/a/b\n")
    (groups / "a" / "b" / "memory.max").write_text("max\n")
    assert memory_limit(proc, groups) is None
    (groups / "a" / "memory.max").write_text("1048576\n")
    assert memory_limit(proc, groups) == 1048576
    (proc / "cgroup").write_text("5:cpu,memory:/a\n")
    (groups / "memory" / "a").mkdir(parents=True)
    (groups / "memory" / "a" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory_limit(proc, groups) is None
    assert memory_limit(tmp_path / "none", groups) is None


# --- nothing is raised ------------------------------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(object),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.binary(), inner),
    max_leaves=5,
)
arguments = ["score", "scores", "value", "prediction", "request_id", "trace_id", "role", "version", "occurred_at"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(features=anything, more=st.dictionaries(st.sampled_from(arguments), anything))
def test_whatever_is_logged_nothing_is_raised(logger: PredictionLogger, features: Any, more: dict[str, Any]) -> None:
    assert isinstance(logger.log(features, **more), str)
    logger.outcome(more.get("request_id"), label=more.get("prediction"), value=more.get("score"))


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __bool__ = __len__ = __iter__ = keys = items = to_dict = item = tolist = __repr__


@pytest.mark.parametrize("name", ["features", *arguments, "latency_ms"])
def test_an_object_that_raises_at_every_touch_is_counted(logger: PredictionLogger, name: str) -> None:
    given: dict[str, Any] = {"features": {}, "request_id": "r", name: Hostile()}
    assert isinstance(logger.log(**given), str)
    assert logger.troubles == {"unwritable": 1}


def test_what_cannot_be_written_is_counted_and_said_once(
    logger: PredictionLogger, caplog: pytest.LogCaptureFixture, conn: psycopg.Connection[dict[str, Any]]
) -> None:
    for _ in range(1000):
        logger.log({"image": b"..."}, score=0.5)
    logger.log({"big": "x" * 300_000})
    logger.log({"many": [1.5] * 200_000})
    logger.log({}, role="boss")
    logger.log({}, score="high")  # type: ignore[arg-type]
    logger.outcome("r")
    assert logger.dropped == 1005
    (said,) = (record.getMessage() for record in caplog.records)
    assert said == (
        "predictions of late: a prediction cannot be written and is lost: a bytes has no JSON form; "
        "log numbers, texts, truth values or lists of them"
    )
    logger.log({"x": 1}, request_id="good")
    assert logger.flush(PATIENCE)
    assert [row["request_id"] for row in conn.execute("SELECT request_id FROM monitor.prediction_log")] == ["good"]


def test_a_row_that_the_database_refuses_takes_no_other_with_it(
    logger: PredictionLogger, conn: psycopg.Connection[dict[str, Any]]
) -> None:
    conn.execute("ALTER TABLE monitor.prediction_log ADD CHECK (request_id <> '137')")
    for number in range(300):
        logger.log({"x": number}, request_id=number)
    assert logger.flush(PATIENCE)
    rows = conn.execute("SELECT request_id FROM monitor.prediction_log ORDER BY id").fetchall()
    assert [int(row["request_id"]) for row in rows] == [number for number in range(300) if number != 137]
    assert (logger.dropped, logger.troubles) == (1, {"refused": 1})


def test_wrong_settings_are_refused_at_the_start_of_the_service() -> None:
    for wrong, sentence in (
        ({"model": " "}, "model is empty"),
        ({"spool_bytes": 10}, "spool_bytes is 10; give at least"),
        ({"max_row_bytes": 100, "queue_bytes": 10}, "max_row_bytes 100 is more than queue_bytes 10"),
    ):
        with pytest.raises(ValueError, match=sentence):
            PredictionLogger(NOWHERE, **{"model": "m", **wrong})  # type: ignore[arg-type]


def test_rows_after_close_are_counted(database: Database) -> None:
    logger = PredictionLogger(database.dsn, model="late")
    logger.close()
    logger.log({"x": 1})
    logger.close()
    assert logger.troubles == {"closed": 1}


# --- the database is away ---------------------------------------------------------------------------------------------


def test_a_restart_of_postgres_loses_no_row_and_keeps_their_order(outage: Outage, tmp_path: Path) -> None:
    with PredictionLogger(outage.dsn, model="late", spool_directory=tmp_path / "spool", heartbeat_every=None) as logger:
        for number in range(100):
            logger.log({"x": number}, request_id=number)
        assert logger.flush(PATIENCE)
        outage.stop()
        for number in range(100, 3000):
            logger.log({"x": number}, request_id=number)
        eventually(lambda: list((tmp_path / "spool").glob("*.spool")), "rows on disk")
        assert logger.is_database_away
        assert not logger.flush(0.2)
        for number in range(3000, 4000):
            logger.log({"x": number}, request_id=number)
        outage.start()
        for number in range(4000, 4100):
            logger.log({"x": number}, request_id=number)
        assert logger.flush(PATIENCE)
        assert (logger.written, logger.queued, logger.dropped) == (4100, 0, 0)
    assert ids(outage) == list(range(4100))
    assert list((tmp_path / "spool").iterdir()) == []


def test_without_a_directory_rows_wait_in_memory(outage: Outage) -> None:
    with PredictionLogger(outage.dsn, model="late", heartbeat_every=None) as logger:
        outage.stop()
        for number in range(2000):
            logger.log({"x": number}, request_id=number)
        eventually(lambda: logger.is_database_away)
        outage.start()
        assert logger.flush(PATIENCE)
    assert ids(outage) == list(range(2000))


def test_a_flush_asks_a_database_that_is_away_a_few_times_only() -> None:
    with PredictionLogger(NOWHERE, model="late", heartbeat_every=None) as logger:
        logger.log({"x": 1})
        assert not logger.flush(2.0)
        assert 2 <= logger.troubles["away"] <= 2.0 / 0.25 + 2


def test_a_full_queue_drops_and_counts_what_does_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    with PredictionLogger(NOWHERE, model="late", queue_bytes=20_000, max_row_bytes=1000, heartbeat_every=None) as made:
        for number in range(1000):
            made.log({"x": "y" * 100}, request_id=number)
        kept = made.queued
        assert 50 < kept < 200
        assert made.dropped == 1000 - kept
    assert made.dropped == 1000, "at exit what has no place on disk is lost, and counted"
    sentences = [record.getMessage() for record in caplog.records]
    assert any("the queue of 20000 bytes is full and rows are lost" in said for said in sentences)
    assert any(f"{kept} rows have no place on disk; give spool_directory" in said for said in sentences)


def test_a_server_that_says_nothing_costs_no_row(outage: Outage, tmp_path: Path) -> None:
    with PredictionLogger(outage.dsn, model="late", spool_directory=tmp_path / "spool", heartbeat_every=None) as logger:
        logger.log({"x": 0}, request_id=0)
        assert logger.flush(PATIENCE)
        outage.freeze()
        for number in range(1, 1000):
            logger.log({"x": number}, request_id=number)
        eventually(lambda: logger.is_database_away, "the deadline")
        eventually(lambda: list((tmp_path / "spool").glob("*.spool")), "rows on disk")
        outage.thaw()
        assert logger.flush(PATIENCE)
        assert logger.dropped == 0
    # What was under way when the server fell silent may have been written, so it may come twice.
    assert sorted(set(ids(outage))) == list(range(1000))


SERVE = """
import sys, time
from monitor_client import Circuit, PredictionLogger
logger = PredictionLogger(sys.argv[1], model="late", spool_directory=sys.argv[2], heartbeat_every=None)
for number in range(int(sys.argv[3]), int(sys.argv[4])):
    logger.log({"x": number}, request_id=number)
print("logged", flush=True)
for line in sys.stdin:
    if line.strip() == "count":
        print(logger.queued, len(list(__import__("pathlib").Path(sys.argv[2]).glob("*.spool"))), flush=True)
    else:
        print(logger.flush(10), flush=True)
"""


def test_what_a_killed_process_had_on_disk_is_written_by_the_next(
    outage: Outage, tmp_path: Path, service: Callable[..., Service]
) -> None:
    outage.stop()
    spool = tmp_path / "spool"
    first = service(SERVE, outage.dsn, spool, 0, 1500)
    assert first.line() == "logged"

    def on_disk() -> bool:
        first.say("count")
        return sum(file.stat().st_size for file in spool.glob("*.spool")) > 1500 * 40 and bool(first.line())

    eventually(lambda: spool.exists() and on_disk())
    first.kill()
    outage.start()
    second = service(SERVE, outage.dsn, spool, 1500, 1600)
    second.line()
    second.say("flush")
    assert second.line() == "True"
    eventually(lambda: not list(spool.iterdir()))
    assert ids(outage) == list(range(1600))
    assert second.end() == 0


def test_a_process_that_ends_while_the_database_is_away_leaves_its_rows_on_disk(
    outage: Outage, tmp_path: Path, service: Callable[..., Service]
) -> None:
    outage.stop()
    spool = tmp_path / "spool"
    first = service(SERVE, outage.dsn, spool, 0, 300)
    first.line()
    assert first.end() == 0
    outage.start()
    second = service(SERVE, outage.dsn, spool, 300, 300)
    second.line()
    second.say("flush")
    with PredictionLogger(outage.dsn, model="late", spool_directory=spool, heartbeat_every=None) as logger:
        logger.start()
        eventually(lambda: sorted(ids(outage)) == list(range(300)))


def test_a_process_that_ends_normally_has_written_everything(
    database: Database, conn: psycopg.Connection[dict[str, Any]], tmp_path: Path, service: Callable[..., Service]
) -> None:
    started = service(SERVE, database.dsn, tmp_path / "spool", 0, 500)
    started.line()
    assert started.end() == 0
    assert conn.execute("SELECT count(*) FROM monitor.prediction_log").fetchone() == {"count": 500}


def test_processes_of_a_service_share_a_directory(
    outage: Outage, tmp_path: Path, service: Callable[..., Service]
) -> None:
    outage.stop()
    spool = tmp_path / "spool"
    all_of_them = [service(SERVE, outage.dsn, spool, i * 400, (i + 1) * 400) for i in range(3)]
    for each in all_of_them:
        each.line()
    eventually(lambda: spool.exists() and len(list(spool.glob("*.spool"))) == 3)
    outage.start()
    for each in all_of_them:
        each.say("flush")
    assert [each.line() for each in all_of_them] == ["True"] * 3
    assert sorted(ids(outage)) == list(range(1200))


PREFORK = """
import os, sys
from monitor_client import Circuit, PredictionLogger
logger = PredictionLogger(sys.argv[1], model="late", spool_directory=sys.argv[2], heartbeat_every=None)
circuit = Circuit(sys.argv[1], model="late")
logger.log({"x": -1}, request_id="master")
logger.flush(10)
logger.log({"x": -1}, request_id="master, queued at the fork")
children = []
for worker in range(3):
    pid = os.fork()
    if pid == 0:
        for number in range(200):
            logger.log({"x": number}, request_id=f"{worker}-{number}")
        admitted = circuit.admits("r")
        circuit.close()
        sys.exit(0 if admitted else 1)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
logger.log({"x": -1}, request_id="master, after the children")
print(codes, logger.flush(10), circuit.is_stale, flush=True)
circuit.close()
"""


def test_forked_workers_write_their_own_rows_and_leave_the_parent_its_connection(
    database: Database, conn: psycopg.Connection[dict[str, Any]], tmp_path: Path, service: Callable[..., Service]
) -> None:
    errors = tmp_path / "errors"
    master = service(PREFORK, database.dsn, tmp_path / "spool", errors=errors)
    assert master.line() == "[0, 0, 0] True False", errors.read_text()
    assert master.end() == 0
    rows = conn.execute("SELECT request_id FROM monitor.prediction_log").fetchall()
    expected = {f"{worker}-{number}" for worker in range(3) for number in range(200)}
    expected |= {"master", "master, queued at the fork", "master, after the children"}
    assert sorted(row["request_id"] for row in rows) == sorted(expected)
    assert errors.read_text() == ""


# --- the disk is in the way -------------------------------------------------------------------------------------------


def test_a_directory_that_cannot_be_used_is_said_and_costs_no_row(
    outage: Outage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    outage.stop()
    with PredictionLogger(
        outage.dsn, model="late", spool_directory=tmp_path / "file" / "spool", heartbeat_every=None
    ) as logger:
        for number in range(100):
            logger.log({"x": number}, request_id=number)
        eventually(lambda: logger.troubles.get("disk"))
        assert logger.dropped == 0
        outage.start()
        assert logger.flush(PATIENCE)
    assert ids(outage) == list(range(100))
    assert any("rows cannot be kept on disk in" in record.getMessage() for record in caplog.records)


DISK_FULL = """
import resource, sys
from monitor_client import Circuit, PredictionLogger
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
logger = PredictionLogger(sys.argv[1], model="late", spool_directory=sys.argv[2], queue_bytes=50_000,
    max_row_bytes=10_000, heartbeat_every=None)
number = 0
while not (logger.troubles.get("disk") and logger.troubles.get("queue full")):
    logger.log({"x": "y" * 100}, request_id=number)
    number += 1
print(number, logger.dropped, flush=True)
sys.stdin.readline()
print(logger.flush(10), logger.dropped, flush=True)
"""


def test_a_full_disk_is_counted_and_what_fitted_is_kept(
    outage: Outage, tmp_path: Path, service: Callable[..., Service]
) -> None:
    outage.stop()
    started = service(DISK_FULL, outage.dsn, tmp_path / "spool")
    logged, dropped = map(int, started.line().split())
    assert dropped > 0
    outage.start()
    started.say("go on")
    flushed, now_dropped = started.line().split()
    assert flushed == "True"
    written = ids(outage)
    assert len(written) == len(set(written)) == logged - int(now_dropped)


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_moves_only_the_times_of_the_rows(
    database: Database, conn: psycopg.Connection[dict[str, Any]]
) -> None:
    hours = iter([0.0, 48.0, -48.0])
    start = datetime(2013, 4, 1, tzinfo=UTC).timestamp()
    with PredictionLogger(
        database.dsn, model="late", heartbeat_every=None, clock=lambda: start + 3600 * next(hours)
    ) as logger:
        for number in range(3):
            logger.log({}, request_id=number)
            assert logger.flush(PATIENCE)
    rows = conn.execute("SELECT occurred_at FROM monitor.prediction_log ORDER BY id").fetchall()
    assert [row["occurred_at"].day for row in rows] == [1, 3, 30]


def test_the_log_of_the_client_names_no_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    address = "postgresql://app:hush-hush@127.0.0.1:1/postgres?connect_timeout=1"
    with PredictionLogger(address, model="late", heartbeat_every=None) as logger:
        logger.log({"x": 1})
        eventually(lambda: logger.is_database_away)
    assert "hush-hush" not in json.dumps([record.getMessage() for record in caplog.records])


def test_the_role_of_a_service_needs_only_the_rights_that_the_manual_names(
    database: Database, conn: psycopg.Connection[dict[str, Any]]
) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
    (statements,) = re.findall(r"```sql\n(CREATE ROLE.*?)```", manual, re.DOTALL)
    conn.execute(statements)
    try:
        address = f"{database.dsn}&user=serving"
        with (
            PredictionLogger(address, model="late", heartbeat_every=0.1) as logger,
            Circuit(address, model="late") as c,
        ):
            request_id = logger.log({"x": 1})
            logger.outcome(request_id, label=True)
            assert logger.flush(PATIENCE)
            assert c.is_known
        for table in ("prediction_log", "outcome_log", "heartbeat_log"):
            assert conn.execute(f"SELECT FROM monitor.{table}".encode()).fetchall(), table
    finally:
        conn.execute("DROP OWNED BY serving; DROP ROLE serving")
