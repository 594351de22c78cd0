"""The network: connections that are cut, slow or silent in the middle of a query, of the store and of the logs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from monitor.embedded import Database, EmbeddedPostgres
from tests.faults.proxy import Proxy
from tests.faults.running import Clock, eventually, hurry, page, running, threads
from tests.faults.test_store import LONG_AFTER, done, is_complete, verdict, watched
from tests.peers import HttpPeer
from tests.watched import ask


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.mark.short
def test_connections_that_are_cut_or_slow_lose_no_window(
    tmp_path: Path, server: EmbeddedPostgres, database: Database, measured: Callable[..., None]
) -> None:
    with (
        HttpPeer() as ops,
        Proxy(server.socket_directory) as proxy,
        watched(tmp_path, database, ops, url=proxy.url(database)) as installation,
        running(installation, Clock(start=LONG_AFTER)) as daemon,
    ):

        def has_carried(this: int) -> bool:
            return proxy.carried > this

        before = threads()
        cut = 0
        for _ in range(10):
            reached = proxy.carried
            eventually(partial(has_carried, reached + 20_000))
            cut += proxy.cut()
        proxy.delay = 0.01
        eventually(lambda: done(installation) >= 10)
        proxy.delay = 0.0
        recovery = eventually(lambda: is_complete(installation))
        assert before <= threads()
        assert page(daemon, "/healthz")[0] == 200
        found = verdict(installation)
        assert ask(installation, "SELECT reason FROM monitor.notification") == []
    assert found == {"lost": 0, "duplicated": 0}
    note = "the sessions of store and logs reset in the middle of work, then 10 ms of delay each way"
    measured(scenario=6, name="connections reset", injected=cut, recovery=recovery, note=note, **found)


@pytest.mark.soak
@pytest.mark.needs("nft", "unshare")
@pytest.mark.parametrize("driver", ["psycopg", "adbc"])
def test_packets_that_are_dropped_in_the_middle_of_a_query_are_noticed(
    driver: str, server: EmbeddedPostgres, database: Database, measured: Callable[..., None]
) -> None:
    unshare = shutil.which("unshare") or ""
    command = [unshare, "--map-root-user", "--net", sys.executable, "-m", "tests.faults.blackhole"]
    command += [driver, str(server.socket_directory), database.name]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2], check=False
    )
    assert ended.returncode == 0, ended.stderr
    seconds = float(ended.stdout.split()[-1])
    assert seconds < 45
    note = "every packet dropped in the middle of a query that takes minutes"
    measured(scenario=6, name=f"packets dropped ({driver})", injected=1, recovery=seconds, note=note)
