"""Failpoints: armed by the environment alone, at the reach that was asked for, refused in one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor import failpoint
from monitor.embedded import Database
from monitor.failpoint import VARIABLE, Failpoint, FailpointError, arm, reach
from monitor.installation import Installation
from tests.faults.replica import Options, eventually, forked, held, spawned
from tests.watched import NOW, ask, installed, log_rows, train, write_config

pytestmark = pytest.mark.short


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm({})


def test_nothing_is_armed_without_the_variable() -> None:
    assert arm({}) == ""
    assert failpoint._armed is None
    for point in Failpoint:
        reach(point)


def test_a_failpoint_fails_at_the_reach_that_was_asked_for_and_at_no_other() -> None:
    arm({VARIABLE: "read=raise@2, saving=raise"})
    reach(Failpoint.READ)
    with pytest.raises(FailpointError, match="read was told to fail"):
        reach(Failpoint.READ)
    reach(Failpoint.READ)
    with pytest.raises(FailpointError, match="saving"):
        reach(Failpoint.SAVING)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("comited=kill", 'there is no failpoint "comited"; did you mean committed?'),
        ("x=kill", 'there is no failpoint "x"; known are materialised,'),
        ("read=explode", '"read=explode" is no failpoint; write NAME=ACTION'),
        ("read=kill@0", "is no failpoint"),
        ("read=kill,", '"" is no failpoint'),
        ("read=wait:/nowhere", "/nowhere is no named pipe to wait at; make it with `mkfifo` first."),
    ],
)
def test_what_cannot_be_armed_is_refused_in_one_sentence(written: str, said: str) -> None:
    with pytest.raises(FailpointError) as error:
        arm({VARIABLE: written})
    assert said in str(error.value)
    assert str(error.value).startswith(VARIABLE)


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    with installed(write_config(tmp_path, database, port=0)) as installation:
        log_rows(installation)
        train(installation)
        yield installation


def states(installation: Installation) -> list[str]:
    return sorted(ask(installation, "SELECT state FROM monitor.run"))


def test_a_process_dies_stops_or_waits_where_it_was_told_to(installation: Installation, tmp_path: Path) -> None:
    file, options = installation.config.path, Options(start=NOW)
    with forked(file, options, failpoints="claimed=kill@2") as replica:
        assert replica.ended() == -signal.SIGKILL
        assert "breaks on purpose at claimed=kill@2" in replica.said()
        assert "running" in states(installation)
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    with forked(file, options, failpoints=f"saving=wait:{fifo}") as replica:
        with held(fifo, replica):
            assert "running" in states(installation)
        eventually(lambda: states(installation) == ["done"] * 4)
        replica.send(signal.SIGTERM)
        assert replica.ended(10) == 0


def test_a_program_stops_at_a_failpoint_and_goes_on_when_it_is_told_to(installation: Installation) -> None:
    with spawned(installation.config.path, Options(start=NOW), failpoints="computed=stop") as replica:
        status = Path(f"/proc/{replica.pid}/status")
        eventually(lambda: "T (stopped)" in status.read_text())
        replica.send(signal.SIGCONT)
        eventually(lambda: states(installation) == ["done"] * 4)


def test_a_replica_lives_by_the_clock_that_it_is_given() -> None:
    options = Options(start=NOW, origin=0.0, speed=2.0)
    assert options.clock() > NOW + timedelta(days=365)


def test_the_daemon_refuses_an_unknown_failpoint(tmp_path: Path, database: Database) -> None:
    file = write_config(tmp_path, database)
    ended = subprocess.run(
        [sys.executable, "-m", "monitor", "run", "--config", str(file)],
        env={**os.environ, VARIABLE: "reed=kill"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 3
    assert ended.stderr == f'{VARIABLE}: there is no failpoint "reed"; did you mean read?\n'
