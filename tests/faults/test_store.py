"""What the daemon does when its database ends sessions, restarts, refuses connections or answers with errors."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from monitor import embedded, ledger, outbox, schema
from monitor.dispatcher import deliver
from monitor.embedded import Database, EmbeddedPostgres
from monitor.installation import Installation
from monitor.sending import Outcome
from monitor.worker import Worker
from tests.conftest import IN_A_HURRY
from tests.faults.running import Clock, eventually, hurry, page, running, threads
from tests.peers import HttpPeer, notification
from tests.watched import DAY, FIRST, OUTCOME, ask, installed, label_rows, log_rows, run, train, write_config

pytestmark = pytest.mark.short

DAYS = 20
LONG_AFTER = FIRST + (DAYS + 5) * DAY
REST = """
channels: {{ops: {{type: webhook, url: "{url}"}}}}
routes: [{{match: {{}}, to: [ops]}}]
security: {{allow_private_addresses: true}}
retention: {{tiles: 40y, findings: 40y, samples: 40y, logs: 40y}}
"""
DOUBLED = (
    "SELECT count(*) - count(DISTINCT (window_start, run_part, check_name, subject, statistic, extras->>'latched'))"
    " FROM monitor.finding"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def ops() -> Iterator[HttpPeer]:
    """Whoever gets the messages."""
    with HttpPeer() as peer:
        yield peer


@pytest.fixture
def installation(tmp_path: Path, database: Database, ops: HttpPeer) -> Iterator[Installation]:
    with watched(tmp_path, database, ops) as installation:
        yield installation


@contextmanager
def watched(folder: Path, database: Database, ops: HttpPeer, *, url: str = "") -> Iterator[Installation]:
    """Yield an installation that owes twenty days, inputs and outcomes; ``url`` leads to the database another way."""
    file = write_config(folder, database, outcome=OUTCOME, more="max_catch_up: 90d", rest=REST.format(url=ops.url))
    until = (FIRST + DAYS * DAY).date()
    text = file.read_text().replace("{from: 2013-04-01}", f"{{from: 2013-04-01, until: {until}}}")
    file.write_text(text.replace(database.url, url or database.url))
    with installed(file) as installation:
        log_rows(installation, days=DAYS)
        label_rows(installation)
        train(installation, labelled=True)
        yield installation


def done(installation: Installation) -> int:
    (count,) = ask(installation, "SELECT count(*) FROM monitor.run WHERE state = 'done'")
    return int(count)


def is_complete(installation: Installation) -> bool:
    return done(installation) == 2 * DAYS


def verdict(installation: Installation) -> dict[str, int]:
    """Return how many windows have no result, and how many results there are twice."""
    counted = "SELECT count(DISTINCT (part, window_start)) FROM monitor.run WHERE state = 'done' AND rows_read = 24"
    (found,), (doubled,) = ask(installation, counted), ask(installation, DOUBLED)
    return {"lost": 2 * DAYS - int(found), "duplicated": int(doubled)}


def terminate(server: EmbeddedPostgres, database: Database) -> int:
    """End every session of the database but none of others; returns how many there were."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        return len(conn.execute(query, [database.name]).fetchall())


def test_sessions_that_are_ended_again_and_again_lose_no_window(
    installation: Installation, server: EmbeddedPostgres, database: Database, measured: Callable[..., None]
) -> None:
    ended = 0
    with running(installation, Clock(start=LONG_AFTER)) as daemon:
        before = threads()
        deadline = time.monotonic() + 12
        while time.monotonic() < deadline:
            ended += terminate(server, database)
            time.sleep(0.4)
        recovery = eventually(lambda: is_complete(installation))
        assert before <= threads()
        assert page(daemon, "/healthz")[0] == 200
    assert ended > 20
    found = verdict(installation)
    assert found == {"lost": 0, "duplicated": 0}
    assert ask(installation, "SELECT count(*) FROM monitor.run WHERE state = 'dead'") == [0]
    note = "all sessions of the store and of the logs, every 0.4 s for 12 s; no thread ended"
    measured(scenario=3, name="sessions terminated", injected=ended, recovery=recovery, note=note, **found)


def test_a_database_that_is_away_is_waited_for_and_told_of_once_at_most(
    tmp_path: Path, ops: HttpPeer, measured: Callable[..., None]
) -> None:
    settings = {**IN_A_HURRY, "fsync": "on", "full_page_writes": "on"}
    server = embedded.start(tmp_path / "store", settings=settings)
    try:
        schema.upgrade(server.url)
        with watched(tmp_path, server.database("postgres"), ops) as installation:
            with running(installation, Clock(start=LONG_AFTER)) as daemon:
                before = threads()
                eventually(lambda: done(installation) >= 4)
                server.stop()  # immediately, as if it had crashed
                eventually(lambda: page(daemon, "/readyz")[0] == 503)
                assert page(daemon, "/healthz")[0] == 200
                deadline = time.monotonic() + 8
                while time.monotonic() < deadline:
                    assert page(daemon, "/healthz")[0] == 200
                    time.sleep(0.5)
                server = embedded.start(tmp_path / "store", settings=settings)
                back = eventually(lambda: page(daemon, "/readyz")[0] == 200)
                recovery = back + eventually(lambda: is_complete(installation))
                assert before <= threads()
            found = verdict(installation)
            assert found == {"lost": 0, "duplicated": 0}
            assert ask(installation, "SELECT reason FROM monitor.notification") == []
        note = "killed in the middle of its work and away for 8 s; alive, not ready, then caught up with 16 days"
        measured(scenario=4, name="store crashed and away", injected=1, recovery=recovery, note=note, **found)
    finally:
        server.stop()


def test_without_a_free_connection_the_daemon_waits_and_is_alive(
    installation: Installation, database: Database, measured: Callable[..., None]
) -> None:
    with running(installation, Clock(start=LONG_AFTER)) as daemon:
        before = threads()
        eventually(lambda: done(installation) >= 2)
        crowd: list[psycopg.Connection] = []
        for _ in range(200):  # also those that are kept for superusers
            try:
                crowd.append(psycopg.connect(database.dsn))
            except psycopg.OperationalError:
                break
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            psycopg.connect(database.dsn)
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            assert page(daemon, "/healthz")[0] == 200
            time.sleep(0.2)
        for conn in crowd:
            conn.close()
        recovery = eventually(lambda: is_complete(installation))
        assert before <= threads()
    found = verdict(installation)
    assert found == {"lost": 0, "duplicated": 0}
    note = "every connection that the server has was taken for 4 s"
    measured(scenario=8, name="too many clients (53300)", injected=1, recovery=recovery, note=note, **found)


def test_heartbeats_and_messages_do_not_wait_for_the_connections_of_evaluations(
    installation: Installation, ops: HttpPeer, measured: Callable[..., None]
) -> None:
    worker = Worker(installation=installation, clock=lambda: LONG_AFTER)
    worker.plan(LONG_AFTER)
    with installation.engine.begin() as conn:
        held = ledger.claim(conn, worker.owner, now=LONG_AFTER, lease=timedelta(seconds=3))
    assert held is not None
    worker.active[held.run_id] = held
    lease = f"SELECT lease_until FROM monitor.run WHERE run_id = '{held.run_id}'"
    (before,) = ask(installation, lease)
    pool = installation.engine.pool
    assert isinstance(pool, sa.pool.QueuePool)
    with ExitStack() as taken:
        while pool.checkedout() < 7:  # all that there are
            taken.enter_context(installation.engine.connect())
        worker.renew()
        with installation.pulse.begin() as conn:
            after = conn.execute(sa.text(lease)).scalar_one()
            outbox.put(conn, notification(), ["ops"])
        assert after > before
        sent = asyncio.run(
            deliver(installation.pulse, installation.channels, now=LONG_AFTER, rng=random.Random(0), limit=1)
        )
    assert sent[Outcome.SENT] == 1
    assert len(ops.requests) == 1
    note = "all connections of evaluations in use: a lease was renewed and a message went out all the same"
    measured(scenario=8, name="pool of evaluations exhausted", injected=1, note=note)


CONFLICTS = {
    "serialization failure": "40001",
    "deadlock": "40P01",
    "lock timeout": "55P03",
    "statement timeout": "57014",
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_a_conflict_in_the_store_is_tried_again_and_given_up_after_five_attempts(
    installation: Installation, name: str, measured: Callable[..., None]
) -> None:
    run(  # the end of a run meets it until somebody lets it go
        installation,
        "CREATE TABLE gate (shut int)",
        "INSERT INTO gate VALUES (3)",
        "CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF EXISTS (SELECT FROM gate WHERE shut > NEW.attempts OR (shut < 0 AND NEW.window_start = '2013-04-02+0'))"
        f" THEN RAISE EXCEPTION 'told to' USING ERRCODE = '{CONFLICTS[name]}'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER collide BEFORE UPDATE ON monitor.run FOR EACH ROW"
        " WHEN (NEW.state = 'done') EXECUTE FUNCTION collide()",
    )
    worker = Worker(installation=installation)
    states = "SELECT state, attempts FROM monitor.run WHERE part = 'inputs' ORDER BY window_start"

    def advance(days: int) -> None:
        now = FIRST + days * DAY + timedelta(hours=1)
        worker.plan(now)
        for _ in range(ledger.MAX_ATTEMPTS):
            run(installation, "UPDATE monitor.run SET retry_at = NULL")
            while worker.work(now):
                pass

    advance(1)
    assert ask(installation, states) == [("done", 3)]  # two conflicts, and then it went
    run(installation, "UPDATE gate SET shut = -1")
    advance(3)
    assert ask(installation, states) == [("done", 3), ("dead", 5), ("done", 1)]
    (reason,) = ask(installation, "SELECT reason FROM monitor.run WHERE state = 'dead' AND part = 'inputs'")
    assert "told to" in reason
    assert "UPDATE" not in reason  # what a person reads needs no statement
    note = "tried again with pauses; a run that met it five times was given up with the reason, the others went on"
    measured(scenario=9, name=f"{name} ({CONFLICTS[name]})", injected=7, note=note)


def test_migrations_and_evaluations_do_not_wait_for_a_lock_for_ever(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = schema.create_engine(installation.url, lock_timeout=timedelta(milliseconds=200))
    with installation.engine.begin() as holder, engine.begin() as waiter:
        holder.execute(sa.text("LOCK TABLE monitor.run IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            waiter.execute(sa.text("SELECT count(*) FROM monitor.run"))
    engine.dispose()
