"""How a daemon ends: on SIGTERM in time and holding nothing, on kill after kill without taking others along."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from monitor import outbox
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.worker import Worker
from tests.faults.fleet import end, fleet
from tests.faults.replica import Options, eventually, forked
from tests.peers import HttpPeer, notification
from tests.watched import ask, run

HOUR = timedelta(hours=1)
RUNNING = "SELECT count(*) FROM monitor.run WHERE state = 'running'"
BAR = (  # whoever reads what was logged in these minutes waits until somebody lifts it
    "CREATE TABLE bar (down int)",
    "INSERT INTO bar VALUES (1)",
    "ALTER TABLE logged RENAME TO quick",
    "CREATE VIEW logged AS SELECT id, at, p, x + CASE WHEN at >= '{since}' AND at < '{until}'"
    " AND EXISTS (SELECT 1 FROM bar WHERE down = 1) THEN (SELECT 0 FROM pg_sleep(120)) ELSE 0 END AS x FROM quick",
)


@contextmanager
def barred(folder: Path, database: Database, peer: HttpPeer, *, models: int, window: int) -> Iterator[Installation]:
    channels = f"{{hook: {{type: webhook, url: '{peer.url}/'}}}}"
    with fleet(folder, database, models=models, windows=4, width=HOUR, channels=channels) as installation:
        since = end(window, HOUR)
        run(installation, *(one.format(since=since, until=since + timedelta(minutes=10)) for one in BAR))
        yield installation


def is_running(installation: Installation, attempt: int) -> bool:
    return ask(installation, f"{RUNNING} AND window_start = '{end(1, HOUR)}' AND attempts = {attempt}") == [1]


@pytest.mark.short
def test_a_window_that_kills_who_reads_it_is_given_up_and_the_others_go_on(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    with HttpPeer() as peer, barred(tmp_path, database, peer, models=1, window=1) as installation:
        options = Options(start=end(4, HOUR), lease=2.0)
        for kill in range(1, 6):
            with forked(installation.config.path, options) as replica:
                eventually(partial(is_running, installation, kill))
                replica.send(signal.SIGKILL)
                assert replica.ended() == -signal.SIGKILL
        began = time.monotonic()
        with forked(installation.config.path, options) as replica:
            states = "SELECT state, attempts FROM monitor.run ORDER BY window_start"
            expected = [("done", 1), ("dead", 5), ("done", 1), ("done", 1)]
            eventually(lambda: ask(installation, states) == expected)
            took = time.monotonic() - began
            eventually(lambda: peer.requests)
            replica.send(signal.SIGTERM)
            assert replica.ended() == 0
        told = [json.loads(request.body)["notification"] for request in peer.requests]
        assert "given up after several attempts" in str(told)
    measured(
        scenario=2,
        name="kill -9 of whoever reads one window",
        injected=5,
        recovery=took,
        note="the window is dead after five attempts and people are told; the windows after it are evaluated",
    )


@pytest.mark.short
def test_a_window_that_twice_killed_who_read_it_is_read_in_parts_and_comes_to_the_same(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    """As if memory had run out: whoever has the rows of the whole window is killed, and once who has half of them."""
    facts = (
        "SELECT column_name, row_count, num_nulls, avg, stddev, quantiles FROM monitor.column_profile"
        " WHERE model = '{}' ORDER BY window_start, column_name"
    )
    tiles = "SELECT count(*) FROM monitor.tile WHERE model = 'model-01'"
    with fleet(tmp_path, database, models=2, windows=1, width=HOUR, channels="{}") as installation:
        path, options = installation.config.path, Options(start=end(1, HOUR), lease=60.0)
        run(installation, "ALTER TABLE logged RENAME TO apart", "CREATE VIEW logged AS SELECT * FROM apart")
        worker = Worker(installation=installation)
        worker.plan(options.clock())
        assert worker.work(options.clock(), models=["model-00"])
        state = "SELECT state, attempts FROM monitor.run WHERE model = 'model-01'"
        lapsed = "UPDATE monitor.run SET lease_until = clock_timestamp() WHERE state = 'running'"
        owner, owners = "SELECT owner FROM monitor.run WHERE model = 'model-01'", []
        for kill in (1, 2):
            with forked(path, options, failpoints="read=kill") as replica:
                assert replica.ended() == -signal.SIGKILL
            assert ask(installation, state) == [("running", kill)]
            assert ask(installation, tiles) == [0]
            owners += ask(installation, owner)
            run(installation, lapsed)
        with forked(path, options, failpoints="tile-stored=kill@2") as replica:
            assert replica.ended() == -signal.SIGKILL
        assert ask(installation, tiles) == [2]
        owners += ask(installation, owner)
        run(installation, lapsed)
        began = time.monotonic()
        with forked(path, options) as replica:
            eventually(lambda: ask(installation, state) == [("done", 4)])
            took = time.monotonic() - began
            assert "a window is read in parts" in replica.said()
        assert ask(installation, tiles) == [4]
        # A process that comes after a dead one is somebody else, even one forked from the same.
        assert len({*owners, *ask(installation, owner)}) == 4
        assert ask(installation, facts.format("model-01")) == ask(installation, facts.format("model-00")) != []
        count = "SELECT DISTINCT rows_read, rows_duplicate FROM monitor.run"
        assert ask(installation, count) == [(8, 0)]
    measured(
        scenario=18,
        name="killed twice with the whole window in memory",
        injected=3,
        recovery=took,
        note="then read tile by tile, each stored at once; killed again half-way; the same profile as at one read",
    )


@pytest.mark.short
@pytest.mark.parametrize("signals", [1, 2])
def test_a_daemon_that_is_told_to_stop_while_it_reads_ends_in_time_and_holds_nothing(
    signals: int, tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    with HttpPeer() as peer, barred(tmp_path, database, peer, models=2, window=0) as installation:
        with forked(installation.config.path, Options(start=end(1, HOUR), lease=60.0)) as replica:
            eventually(lambda: ask(installation, RUNNING) == [2])
            began = time.monotonic()
            for _ in range(signals):
                replica.send(signal.SIGTERM)
            assert replica.ended(10) == 0
            took = time.monotonic() - began
        held = "SELECT count(*) FROM monitor.run WHERE token IS NOT NULL OR lease_until IS NOT NULL"
        assert ask(installation, held) == [0]
        assert ask(installation, "SELECT DISTINCT attempts FROM monitor.run WHERE state = 'planned'") == [0]
    measured(
        scenario=19,
        name=f"SIGTERM{' twice' if signals == 2 else ''} while reading",
        injected=2,
        recovery=took,
        note="seconds until exit 0; claims are free at once, no attempt is counted",
    )


@pytest.mark.short
def test_a_daemon_that_is_told_to_stop_while_it_sends_ends_in_time_and_the_message_is_free(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    with HttpPeer() as peer:
        peer.silent.set()
        channels = f"{{hook: {{type: webhook, url: '{peer.url}/'}}}}"
        with fleet(tmp_path, database, models=1, windows=1, width=HOUR, channels=channels) as installation:
            with installation.engine.begin() as conn:
                outbox.put(conn, notification(), ["hook"])
            options = Options(start=end(1, HOUR), deadline=60.0, delivery_lease=90.0)
            with forked(installation.config.path, options) as replica:
                eventually(lambda: peer.requests)
                began = time.monotonic()
                replica.send(signal.SIGTERM)
                assert replica.ended(10) == 0
                took = time.monotonic() - began
            found = "SELECT state, attempts, lease_until, possible_duplicate, next_at <= now() FROM monitor.delivery"
            assert ask(installation, found) == [("pending", 0, None, True, True)]
            peer.silent.clear()
    measured(
        scenario=19,
        name="SIGTERM while sending",
        injected=1,
        recovery=took,
        note="seconds until exit 0; the message is free at once, marked as a possible repeat",
    )
