"""Failover: a standby takes over that lacks the last transactions, and an old primary that can only be read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from monitor import embedded, schema
from monitor.embedded import EmbeddedPostgres
from tests.faults.proxy import Proxy
from tests.faults.running import Clock, eventually, hurry, page, running, threads
from tests.faults.test_store import DAYS, LONG_AFTER, done, is_complete, verdict, watched
from tests.peers import HttpPeer
from tests.watched import ask

pytestmark = pytest.mark.short

PRIMARY = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on", "shared_buffers": "32MB"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def standby_of(primary: EmbeddedPostgres, data_dir: Path, stack: ExitStack) -> EmbeddedPostgres:
    """Start a standby that follows a primary."""
    program = embedded.find_binaries() / "pg_basebackup"
    data_dir.mkdir()
    target = data_dir / "postgres"
    command = [
        str(program),
        "--dbname",
        primary.dsn,
        "--pgdata",
        str(target),
        "--write-recovery-conf",
        "--checkpoint=fast",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return stack.enter_context(embedded.start(data_dir, settings=PRIMARY))


def test_a_promoted_standby_is_worked_on_and_what_it_lacks_is_done_again(
    tmp_path: Path, stack: ExitStack, measured: Callable[..., None]
) -> None:
    primary = embedded.start(tmp_path / "primary", settings=PRIMARY)
    stack.callback(primary.stop)
    schema.upgrade(primary.url)
    ops = stack.enter_context(HttpPeer())
    standby = standby_of(primary, tmp_path / "standby", stack)
    proxy = stack.enter_context(Proxy(primary.socket_directory))
    database = primary.database("postgres")
    installation = stack.enter_context(watched(tmp_path, database, ops, url=proxy.url(database)))

    def ask_standby(query: str) -> int:
        with psycopg.connect(standby.dsn, autocommit=True) as conn:
            row = conn.execute(query).fetchone()
            assert row is not None
            return int(row[0])

    with running(installation, Clock(start=LONG_AFTER)) as daemon:
        before = threads()
        eventually(lambda: done(installation) >= 4)
        # from here on the standby misses what the primary commits
        with psycopg.connect(standby.dsn, autocommit=True) as conn:
            conn.execute("ALTER SYSTEM SET primary_conninfo = ''")
            conn.execute("SELECT pg_reload_conf()")
        eventually(lambda: ask_standby("SELECT count(*) FROM pg_stat_wal_receiver") == 0)
        reached = done(installation)
        eventually(lambda: done(installation) >= reached + 4)
        known = ask_standby("SELECT count(*) FROM monitor.run WHERE state = 'done'")
        # the old primary turns read-only first, and then all new connections lead to the standby
        with psycopg.connect(primary.dsn, autocommit=True) as conn:
            conn.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            conn.execute("SELECT pg_reload_conf()")
        at_last = done(installation)
        with psycopg.connect(standby.dsn, autocommit=True) as conn:
            conn.execute("SELECT pg_promote()")
        eventually(lambda: ask_standby("SELECT pg_is_in_recovery()::int") == 0)
        proxy.lead_to(standby.socket_directory)  # open connections stay with the old primary
        recovery = eventually(lambda: is_complete(installation))
        assert before <= threads()
        assert page(daemon, "/readyz")[0] == 200
    found = verdict(installation)
    assert found == {"lost": 0, "duplicated": 0}
    assert ask(installation, "SELECT pg_is_in_recovery()") == [False]
    assert ask(installation, "SELECT reason FROM monitor.notification") == []
    again = at_last - known
    note = (
        f"the standby lacked {again} finished runs of {2 * DAYS}; open sessions of the old, read-only primary were left"
    )
    measured(scenario=5, name="failover to a standby", injected=1, recovery=recovery, note=note, **found)
