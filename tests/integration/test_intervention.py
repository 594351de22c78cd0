"""A circuit opens for a named cause, closes on evidence, each change is a message, and people have the last word."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from monitor.cli import run as command
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.worker import Worker
from tests.watched import DAY, FIRST, MODEL, ask, installed, log_rows, run, train, write_config

CHANNEL = """
channels: {ops: {type: webhook, url: "https://hooks.example.org/x"}}
alerts: {k: 1, n: 1, recover: 1}
"""
MORE = """business: {automates: x, currency: EUR, fallback_cost: 3.01}
    checks: {drift: {thresholds: {psi: 0.25}}}
    circuit: {automatic: %s, open_on: [sudden.%s], fallback: {p: 0.2}}"""
HISTORY = "SELECT state, actor FROM monitor.circuit_history ORDER BY at"
TOLD = (
    "SELECT payload->>'title', payload->>'severity', payload->>'cost' FROM monitor.notification"
    " WHERE reason = 'circuit' ORDER BY created_at"
)


def configured(folder: Path, database: Database, *, automatic: bool = True, severity: str = "warning") -> Path:
    more = MORE % (str(automatic).lower(), severity)
    return write_config(folder, database, more=more, rest=CHANNEL)


def log_a_broken_day(installation: Installation) -> None:
    """Log five days, on the second of which the feature is far from where it was."""
    log_rows(installation, days=5)
    run(installation, "UPDATE logged SET x = x + 30 WHERE at >= '2013-04-02' AND at < '2013-04-03'")
    train(installation)


def evaluated(installation: Installation, days: int) -> None:
    Worker(installation=installation).advance(FIRST + days * DAY + timedelta(hours=1))


def test_a_named_cause_opens_the_circuit_and_its_end_closes_it(tmp_path: Path, database: Database) -> None:
    with installed(configured(tmp_path, database)) as installation:
        log_a_broken_day(installation)
        evaluated(installation, 1)
        assert ask(installation, HISTORY) == []
        evaluated(installation, 2)
        assert ask(installation, HISTORY) == [("open", "monitor")]
        ((fallback, until),) = ask(installation, "SELECT fallback, until FROM monitor.circuit_event")
        assert (fallback, until) == ({"p": 0.2}, FIRST + 3 * DAY + timedelta(hours=1))
        ((title, severity, cost),) = ask(installation, TOLD)
        assert (title, severity) == ("the model is out of service", "critical")
        assert cost == "EUR 3.01 for each answer of the fallback"
        evaluated(installation, 5)
        assert ask(installation, HISTORY) == [("open", "monitor"), ("closed", "monitor")]
        assert [row[0] for row in ask(installation, TOLD)] == ["the model is out of service", "the model answers again"]
        assert (
            len(ask(installation, "SELECT DISTINCT thread_key FROM monitor.notification WHERE reason='circuit'")) == 1
        )
        channels = ask(
            installation,
            "SELECT d.channel FROM monitor.delivery d JOIN monitor.notification n USING (notification_id)"
            " WHERE n.reason = 'circuit'",
        )
        assert channels == ["ops", "ops"]


def test_what_a_person_changed_only_a_person_undoes(tmp_path: Path, database: Database) -> None:
    file = configured(tmp_path, database)
    with installed(file) as installation:
        log_a_broken_day(installation)
        evaluated(installation, 2)
        again = ["circuit", "open", MODEL, "--reason", "I look into it", "--by", "ada", "--config", str(file)]
        assert command(again) == 0
        evaluated(installation, 5)
        assert ask(installation, HISTORY) == [("open", "monitor"), ("open", "ada")]


@pytest.mark.parametrize(("automatic", "severity"), [(False, "warning"), (True, "critical")])
def test_nothing_opens_where_it_is_not_allowed_or_milder_than_named(
    tmp_path: Path, database: Database, automatic: bool, severity: str
) -> None:
    with installed(configured(tmp_path, database, automatic=automatic, severity=severity)) as installation:
        log_a_broken_day(installation)
        evaluated(installation, 5)
        assert ask(installation, "SELECT count(*) FROM monitor.alert WHERE opened_at IS NOT NULL") != [0]
        assert ask(installation, HISTORY) == []


def test_every_opening_by_a_person_is_a_message_with_reason_fallback_and_cost(
    tmp_path: Path, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(configured(tmp_path, database))
    with installed(Path(file)) as installation:
        steps = (("open",), ("probe", "--share", "0.1"), ("open",), ("close",))
        for step, *more in steps:
            assert command(["circuit", step, MODEL, *more, "--reason", "°C", "--by", "ada", "--config", file]) == 0
        said = capsys.readouterr().err.splitlines()
        assert said[0].endswith("the fallback {'p': 0.2} does. It costs EUR 3.01 for each answer of the fallback.")
        assert said[-1] == "m answers."
        titles = [row[0] for row in ask(installation, TOLD)]
        opened, tried, closed = (
            "the model is out of service",
            "the model is tried on a share of the requests",
            "the model answers again",
        )
        assert titles == [opened, tried, opened, closed]
        ((summary, fact),) = ask(
            installation,
            "SELECT payload->>'summary', payload->'facts'->0->>'text' FROM monitor.notification"
            " WHERE reason = 'circuit' ORDER BY created_at LIMIT 1",
        )
        assert summary.startswith("ada opened the circuit: °C. m does not answer, the fallback {'p': 0.2} does")
        assert fact == "p = 0.2"
        assert command(["canary", MODEL, "--share", "0.1", "--config", file]) == 0
        assert len(ask(installation, TOLD)) == 4  # a planned share is no news
