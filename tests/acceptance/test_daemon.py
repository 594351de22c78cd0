"""The daemon as a process: light, drained on SIGTERM, deaf to a bad file, losing nothing to kill -9."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.embedded import Database
from monitor.heavy import HEAVY
from monitor.installation import Installation
from tests.watched import OUTCOME, ask, installed, label_rows, log_rows, run, train, write_config

PATIENCE = 60.0  # seconds for what takes two
ABOVE_BASELINE = 120e6  # bytes that evaluating may add to what the imports take
UNTIL = "active: {from: 2013-04-01}"
BOUNDED = "active: {from: 2013-04-01, until: 2013-05-01}"  # a daemon of today would catch up with years
CATCH_UP = "max_catch_up: 40y"
KEPT = "retention: {tiles: 40y, findings: 40y, samples: 40y, logs: 40y}"

# What a line on standard input asks for: the modules of this very process and its memory.
PROBE = """
import json, sys, threading
from monitor.heavy import refuse_heavy
refuse_heavy()
import psutil
import adbc_driver_postgresql.dbapi, monitor.challenger, monitor.cli, monitor.daemon, monitor.sources.postgres

def used():
    return psutil.Process().memory_info().rss

baseline = used()

def answer():
    for _ in sys.stdin:
        print(json.dumps({"modules": sorted(sys.modules), "baseline": baseline, "now": used()}), flush=True)

threading.Thread(target=answer, daemon=True).start()
monitor.cli.main(["run", "--config", sys.argv[1]])
"""


class Process:
    """A daemon in a process of its own."""

    def __init__(self, file: Path) -> None:
        self.log = file.with_suffix(f".{time.monotonic_ns()}.log")
        with self.log.open("w") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", PROBE, str(file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def said(self) -> str:
        """Return what is on standard error so far."""
        return self.log.read_text()

    def awaits(self, text: str) -> None:
        """Wait until it says something."""
        eventually(lambda: text in self.said() or self.child.poll() is not None)
        assert text in self.said()

    def probe(self) -> dict[str, Any]:
        """Return its modules and memory."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        print("?", file=self.child.stdin, flush=True)
        found: dict[str, Any] = json.loads(self.child.stdout.readline())
        return found

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.child.send_signal(number)

    def ended(self, seconds: float) -> int:
        """Return the exit code, which has to come in time."""
        return self.child.wait(seconds)


def eventually(holds: Callable[[], Any]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


@contextmanager
def daemon(file: Path) -> Iterator[Process]:
    process = Process(file)
    try:
        yield process
    finally:
        process.child.kill()
        process.child.communicate()


@pytest.fixture
def file(tmp_path: Path, database: Database) -> Path:
    """Thirty days that a daemon of today has to catch up with: a window each, inputs and outcomes."""
    path = write_config(tmp_path, database, outcome=OUTCOME, more=CATCH_UP, rest=KEPT)
    path.write_text(path.read_text().replace(UNTIL, BOUNDED))
    return path


@pytest.fixture
def installation(file: Path) -> Iterator[Installation]:
    with installed(file) as installation:
        log_rows(installation, days=30, per_day=48)
        label_rows(installation)
        train(installation, labelled=True)
        yield installation


def finished(installation: Installation) -> int:
    (count,) = ask(installation, "SELECT count(*) FROM monitor.run WHERE state = 'done'")
    return int(count)


def test_a_daemon_stays_light_while_it_evaluates_and_drains_within_ten_seconds(
    file: Path, installation: Installation
) -> None:
    with daemon(file) as process:
        eventually(lambda: finished(installation) == 60)
        found = process.probe()
        heavy = {name.partition(".")[0] for name in found["modules"]} & HEAVY
        assert not heavy
        assert found["now"] - found["baseline"] <= ABOVE_BASELINE
        assert found["now"] <= 400e6
        process.send(signal.SIGTERM)
        assert process.ended(10) == 0


def test_a_reload_that_cannot_be_keeps_the_old_configuration(file: Path, installation: Installation) -> None:
    def page(path: str) -> int:
        with urllib.request.urlopen(f"http://{installation.config.web.listen}{path}", timeout=10) as answer:
            return int(answer.status)

    text = file.read_text()
    with daemon(file) as process:
        process.awaits("Watching m")
        file.write_text(text + "chanels: {}\n")
        process.send(signal.SIGHUP)
        process.awaits('chanels is not a known key; did you mean "channels"? The old configuration goes on.')
        assert page("/healthz") == 200
        file.write_text(bad_store(text))
        process.send(signal.SIGHUP)
        process.awaits("The store cannot be reached")
        process.awaits("check store.url and the server. The old configuration goes on.")
        eventually(lambda: process.said().count("Watching m") == 2)
        assert page("/healthz") == 200
        file.write_text(text)
        process.send(signal.SIGHUP)
        eventually(lambda: process.said().count("Watching m") == 3)
        process.send(signal.SIGTERM)
        assert process.ended(10) == 0
        assert "Traceback" not in process.said()


def bad_store(text: str) -> str:
    """Return the configuration with a store that nobody answers for."""
    lines = [
        'store: {url: "postgresql://me@127.0.0.1:1/x"}' if "store: {" in line else line for line in text.split("\n")
    ]
    return "\n".join(lines)


def test_kill_9_loses_no_window_and_doubles_none(file: Path, installation: Installation, tmp_path: Path) -> None:
    run(  # a window in the middle takes until somebody lets it go
        installation,
        "CREATE TABLE gate (shut int)",
        "INSERT INTO gate VALUES (1)",
        "ALTER TABLE logged RENAME TO quick",
        "CREATE VIEW logged AS SELECT id, at, p, x + CASE WHEN at >= '2013-04-10+0' AND at < '2013-04-10 00:30+0'"
        " AND EXISTS (SELECT 1 FROM gate WHERE shut = 1) THEN (SELECT 0 FROM pg_sleep(60)) ELSE 0 END AS x FROM quick",
    )
    stuck = "SELECT count(*) FROM monitor.run WHERE state = 'running' AND part = 'inputs'"
    with daemon(file) as first:
        eventually(lambda: finished(installation) >= 9 and ask(installation, stuck) == [1])
        first.send(signal.SIGKILL)
        first.ended(10)
    assert ask(installation, stuck) == [1]  # nobody could clean up
    run(installation, "UPDATE gate SET shut = 0")
    # as if a minute had passed
    run(installation, "UPDATE monitor.run SET lease_until = clock_timestamp() WHERE state = 'running'")
    other = tmp_path / "other"
    other.mkdir()
    second = other / "monitor.yaml"
    second.write_text(file.read_text().replace(str(installation.config.web.listen), "127.0.0.1:0"))
    with daemon(file) as one, daemon(second) as two:
        eventually(lambda: finished(installation) == 60)
        for process in (one, two):
            process.send(signal.SIGTERM)
        assert [one.ended(10), two.ended(10)] == [0, 0]
    days = ask(installation, "SELECT DISTINCT window_start FROM monitor.run_history WHERE state = 'done'")
    assert len(days) == 30
    doubled = (
        "SELECT count(*) - count(DISTINCT (window_start, run_part, check_name, subject, statistic, extras->>'latched'))"
        " FROM monitor.finding"
    )
    assert ask(installation, doubled) == [0]
    assert ask(installation, "SELECT max(revision) FROM monitor.run") == [1]


def test_a_port_that_is_taken_is_one_sentence(file: Path, installation: Installation) -> None:
    with daemon(file) as first:
        first.awaits("Watching m")
        with daemon(file) as second:
            assert second.ended(PATIENCE) == 4
            assert "The page cannot listen on" in second.said()
            assert "Traceback" not in second.said()
        assert first.child.poll() is None
