"""Silences as people use them: made and ended by a command, obeyed by the evaluation, listed in the digest."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from monitor import episode
from monitor.cli import run as command
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.vitals import vitals_of
from monitor.worker import Worker
from tests.watched import DAY, FIRST, ask, installed, log_rows, run, train, write_config

LOUD = "checks: {drift: {thresholds: {psi: 0.25}}}"
CHANNEL = """
channels: {ops: {type: webhook, url: "https://hooks.example.org/x"}}
alerts: {k: 1, n: 1, digest: {every: day, to: [ops]}}
"""
FIRING = "SELECT DISTINCT silenced FROM monitor.alert WHERE state = 'firing'"
TOLD = "SELECT reason FROM monitor.notification WHERE reason <> 'digest'"
HOUR = timedelta(hours=1)


@pytest.fixture
def file(tmp_path: Path, database: Database) -> Path:
    return write_config(tmp_path, database, more=LOUD, rest=CHANNEL)


def silences(installation: Installation) -> list[object]:
    return ask(installation, "SELECT matchers, author, reason, ended_by FROM monitor.silence_history")


def test_a_silenced_model_is_judged_and_told_when_the_silence_is_over(file: Path) -> None:
    with installed(file) as installation:
        log_rows(installation)
        train(installation, mean=-100.0)
        with installation.engine.begin() as conn:
            episode.add_silence(
                conn,
                matchers={"model": ["m"]},
                starts_at=FIRST,
                ends_at=FIRST + 2 * DAY,
                author="ada",
                reason="the source moves",
            )
        worker = Worker(installation=installation)
        worker.advance(FIRST + DAY + HOUR)
        assert (ask(installation, FIRING), ask(installation, TOLD)) == ([True], [])
        (digest,) = ask(installation, "SELECT payload->>'summary' FROM monitor.notification")
        assert "Silenced: model=m until 03 Apr 00:00 UTC by ada (the source moves)." in digest
        worker.advance(FIRST + 2 * DAY + HOUR)
        assert ask(installation, FIRING) == [False]
        assert set(ask(installation, TOLD)) == {"first"}


def test_a_serving_process_that_is_gone_is_silenced_as_well(tmp_path: Path, database: Database) -> None:
    serving = f"serving: {{process: {{pid_file: {tmp_path}/nobody.pid}}, every: 60s}}"
    with installed(write_config(tmp_path, database, more=serving, rest=CHANNEL)) as installation:
        with installation.engine.begin() as conn:
            episode.add_silence(
                conn,
                matchers={"family": ["resource"]},
                starts_at=FIRST,
                ends_at=FIRST + HOUR,
                author="ada",
                reason="the host is patched",
            )
        (vitals,) = vitals_of(installation)
        minutes = [FIRST + timedelta(minutes=15 * i) for i in range(6)]
        for at in minutes[:4]:
            vitals.observe(at)
        assert (ask(installation, FIRING), ask(installation, TOLD)) == ([True], [])
        for at in minutes[4:]:
            vitals.observe(at)
        assert (ask(installation, FIRING), ask(installation, TOLD)) == ([False], ["first"])


def test_the_command_makes_a_silence_and_ends_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--config", str(file)]
    asked = ["--match", "model=m", "--match", "severity=info", "--match", "severity=warning"]
    told = [*asked, "--for", "2h", "--reason", "the source moves", "--by", "ada"]
    assert command(["alerts", "silence", *told, *where]) == 0
    out, err = capsys.readouterr()
    identity = str(uuid.UUID(out.strip()))
    assert err.startswith("ada silenced model=m severity=info severity=warning until ")
    matchers = {"model": ["m"], "severity": ["info", "warning"]}
    with installed(file) as installation:
        assert silences(installation) == [(matchers, "ada", "the source moves", None)]
        (lasts,) = ask(installation, "SELECT ends_at - starts_at FROM monitor.silence_history")
        assert lasts == 2 * HOUR
    assert command(["alerts", "unsilence", identity, "--by", "bob", *where]) == 0
    assert command(["alerts", "unsilence", identity, *where]) == 3
    assert "No silence" in capsys.readouterr().err
    with installed(file) as installation:
        assert silences(installation) == [(matchers, "ada", "the source moves", "bob")]
        run(installation, "DELETE FROM monitor.silence")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--for", "2h", "--reason", "x"], "at least one --match"),
        (["--match", "model=m", "--reason", "x"], "one of --until TIME and --for DURATION"),
        (["--match", "model=m", "--reason", "x", "--for", "2h", "--until", "2099-01-01"], "one of --until"),
        (["--match", "model=m", "--reason", "x", "--for", "31d"], "at most 30 days"),
        (["--match", "model=m", "--reason", "x", "--for", "soon"], "--for soon must be a duration"),
        (["--match", "model=m", "--reason", "x", "--until", "2013-01-01"], "give a later time"),
        (["--match", "model=m", "--for", "2h"], "--reason TEXT"),
        (["--match", "model=m", "--for", "2h", "--reason", " "], "--reason TEXT"),
        (["--match", "model=n", "--for", "2h", "--reason", "x"], "n is no model"),
        (["--match", "check=weather", "--for", "2h", "--reason", "x"], "No model has a check weather"),
    ],
)
def test_a_silence_without_end_reason_or_target_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert command(["alerts", "silence", *arguments, "--config", str(file)]) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert sentence in err
    with installed(file) as installation:
        assert silences(installation) == []
