"""Nobody may take silence for health: when a part of the daemon dies, liveness fails or the outside hears no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from monitor import ledger, outbox
from monitor.deadman import Deadman
from monitor.embedded import Database, EmbeddedPostgres
from monitor.installation import Installation
from tests.faults.running import Clock, eventually, hurry, page, running
from tests.peers import HttpPeer, notification
from tests.watched import DAY, FIRST, ask, installed, log_rows, run, train, write_config

pytestmark = pytest.mark.short

REST = """
channels: {{ops: {{type: webhook, url: "{url}"}}}}
deadman: {{url: "{url}/ping"}}
security: {{allow_private_addresses: true}}
retention: {{tiles: 40y, findings: 40y, samples: 40y, logs: 40y}}
"""
NOW = FIRST + 4 * DAY + timedelta(hours=1)


@pytest.fixture
def outside() -> Iterator[HttpPeer]:
    with HttpPeer() as peer:
        yield peer


@pytest.fixture
def installation(
    tmp_path: Path, database: Database, outside: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    hurry(monkeypatch)
    monkeypatch.setattr("monitor.daemon.SIGN_OF_LIFE", timedelta(seconds=0.3))
    monkeypatch.setattr("monitor.daemon.TICK", timedelta(seconds=0.2))
    monkeypatch.setattr("monitor.daemon.SILENCE", {"scheduler": 1.5, "dispatcher": 1.5})
    with installed(
        write_config(tmp_path, database, more="max_catch_up: 90d", rest=REST.format(url=outside.url))
    ) as one:
        log_rows(one)
        train(one)
        yield one


def pings(outside: HttpPeer) -> int:
    return sum(request.path == "/ping" for request in outside.requests)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is what is injected
def test_signs_of_life_stop_when_the_scheduler_is_dead_and_liveness_says_so(
    installation: Installation, outside: HttpPeer, monkeypatch: pytest.MonkeyPatch, measured: Callable[..., None]
) -> None:
    with running(installation, Clock(start=NOW)) as daemon:
        eventually(lambda: pings(outside) > 1)
        assert page(daemon, "/healthz")[0] == 200
        thread = daemon._scheduler._thread

        def break_down() -> None:
            raise RuntimeError("in the loop of the scheduler itself")

        monkeypatch.setattr(daemon._scheduler, "_process_jobs", break_down)
        thread.join(10)
        assert not thread.is_alive()
        detected = eventually(lambda: page(daemon, "/healthz")[0] == 503)
        assert "scheduler" in str(page(daemon, "/healthz")[1]["reasons"])
        heard = pings(outside)
        with pytest.raises(AssertionError):
            eventually(lambda: pings(outside) > heard, within=1)
    note = "no sign leaves any more, /healthz is 503 after the allowed silence (1.5 s in the test, 60 s otherwise)"
    measured(scenario=25, name="scheduler thread dead", injected=1, recovery=detected, note=note)


def test_liveness_fails_when_the_dispatcher_is_dead(
    installation: Installation, outside: HttpPeer, measured: Callable[..., None]
) -> None:
    with running(installation, Clock(start=NOW)) as daemon:
        eventually(lambda: pings(outside) > 1)
        daemon.dispatcher.stop()
        detected = eventually(lambda: page(daemon, "/healthz")[0] == 503)
        assert "dispatcher" in str(page(daemon, "/healthz")[1]["reasons"])
    note = "/healthz is 503 after the allowed silence (1.5 s in the test, 120 s otherwise)"
    measured(scenario=25, name="dispatcher dead", injected=1, recovery=detected, note=note)


def test_no_sign_leaves_while_a_message_waits_that_nobody_sends(installation: Installation, outside: HttpPeer) -> None:
    with installation.engine.begin() as conn:
        outbox.put(conn, notification(), ["ops"])
    deadman = Deadman(installation=installation, overdue=timedelta(seconds=0))
    assert "message" in deadman.sign(NOW)
    assert pings(outside) == 0


def test_signs_of_life_stop_when_evaluators_are_dead(
    installation: Installation, outside: HttpPeer, measured: Callable[..., None]
) -> None:
    with running(installation, Clock(start=NOW)) as daemon:
        eventually(lambda: ask(installation, "SELECT count(*) FROM monitor.run WHERE state = 'done'") == [4])
        daemon.worker.stopping.set()
        eventually(lambda: not any(thread.name.startswith("evaluator") for thread in threading.enumerate()))
        run(installation, "UPDATE monitor.run SET state = 'planned' WHERE window_start = '2013-04-04+0'")
        outside.requests.clear()
        with installation.pulse.begin() as conn:
            assert ledger.backlog(conn, now=NOW) == 1
        with pytest.raises(AssertionError):
            eventually(lambda: pings(outside) > 1, within=1.5)  # one may have been under way
    note = "a window is overdue: no sign leaves, whatever else turns"
    measured(scenario=25, name="evaluators dead", injected=1, note=note)


def test_signs_of_life_stop_when_the_role_may_no_longer_use_the_store(
    tmp_path: Path,
    installation: Installation,
    outside: HttpPeer,
    server: EmbeddedPostgres,
    database: Database,
    measured: Callable[..., None],
) -> None:
    role = "monitor_fault_writer"
    with psycopg.connect(database.dsn, autocommit=True) as conn:
        conn.execute(f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        conn.execute(f"GRANT ALL ON SCHEMA monitor, public TO {role}")
        conn.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA monitor, public TO {role}")
        conn.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA monitor, public TO {role}")
    url = sa.make_url(installation.url).set(username=role).render_as_string(False)
    weak = Installation(config=installation.config, url=url)
    try:
        deadman = Deadman(installation=weak)
        assert deadman.sign(NOW) == ""
        heard = pings(outside)
        with psycopg.connect(database.dsn, autocommit=True) as conn:
            conn.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA monitor FROM {role}")
        assert "permission denied" in deadman.sign(NOW)
        assert pings(outside) == heard
    finally:
        weak.close()
    measured(scenario=25, name="role revoked", injected=1, note="the proof itself fails, so no sign leaves")
