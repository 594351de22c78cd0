"""What people hear because time has passed: nobody has taken a critical alert on, or a silence ends."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from monitor import episode
from monitor.alert import AlertRules, Identity
from monitor.announcement import announce
from monitor.check import Finding, Part, Severity, Verdict
from monitor.cli import run as command
from monitor.decision import Decision
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.machine import step
from monitor.reminder import remind
from monitor.routing import Scene, notifications_for
from monitor.window import Window
from tests.watched import DAY, FIRST, MODEL, ask, installed, write_config

SECTION = """
channels:
  team: {type: webhook, url: "https://hooks.example.org/team"}
  ops: {type: webhook, url: "https://hooks.example.org/ops"}
routes: [{match: {}, to: [team]}]
alerts: {escalate: {after: 4h, to: [ops]}}
"""
SENT = "SELECT channel, reason FROM monitor.notification_history ORDER BY created_at, channel"
HOUR = timedelta(hours=1)
OPENED = FIRST + DAY


@pytest.fixture
def file(tmp_path: Path, database: Database) -> Path:
    return write_config(tmp_path, database, rest=SECTION)


@pytest.fixture
def installation(file: Path) -> Iterator[Installation]:
    with installed(file) as installation:
        yield installation


def see(installation: Installation, verdict: Verdict, *, at: datetime, severity: Severity = Severity.CRITICAL) -> None:
    """Step an alert of the model by one window, and announce what came of it."""
    identity = Identity(model=MODEL, family="score")
    window = Window(start=at - DAY, end=at)
    finding = Finding(
        check="drift",
        part=Part.PREDICTION,
        subject="score",
        statistic="mean",
        verdict=verdict,
        severity=severity,
        family="score",
        latched=True,
        message="the mean score is .1 above training's",
    )
    new_id = iter(range(round(at.timestamp()), 1 << 60))
    with installation.engine.begin() as conn:
        episode.hold(conn, MODEL)
        done = step(
            episode.newest_alert(conn, identity.key),
            [finding],
            AlertRules(repeat={}),
            identity=identity,
            window=window,
            pace=DAY,
            now=at,
        )
        scene = Scene(model=MODEL, window=window, label="that day", now=at, new_id=lambda: UUID(int=next(new_id)))
        told = notifications_for(done.transitions, {"score": [finding]}, [], [], scene)
        alerts = [] if done.alert is None else [done.alert]
        episode.save_alerts(conn, alerts, at=at)
        episode.add_alert_events(conn, done.transitions, at=at)
        decision = Decision(judgements={}, memories={}, alerts=alerts, notifications=told)
        announce(conn, installation, decision)


def acknowledge(installation: Installation, *, at: datetime, until: datetime) -> None:
    with installation.engine.begin() as conn:
        (alert,) = episode.load_alerts(conn, MODEL).values()
        assert episode.acknowledge(conn, alert, by="ada", at=at, until=until)


def silence(installation: Installation, *, start: datetime, end: datetime, **matchers: list[str]) -> UUID:
    with installation.engine.begin() as conn:
        return episode.add_silence(
            conn, matchers=matchers, starts_at=start, ends_at=end, author="ada", reason="the source moves"
        )


def test_a_critical_alert_that_nobody_takes_on_goes_to_further_channels_once(installation: Installation) -> None:
    see(installation, Verdict.CRITICAL, at=OPENED)
    assert remind(installation, now=OPENED + 3 * HOUR) == 0
    assert remind(installation, now=OPENED + 4 * HOUR) == 1
    assert ask(installation, SENT) == [("team", "first"), ("ops", "unanswered")]
    with installed(installation.config.path) as restarted:
        assert remind(restarted, now=OPENED + 9 * HOUR) == 0
    (payload,) = ask(installation, "SELECT payload FROM monitor.notification WHERE reason = 'unanswered'")
    assert payload["title"] == "The score has shifted"
    assert "nobody has acknowledged it in 4h" in payload["summary"]
    assert "monitor alerts ack" in payload["next_step"]
    (event,) = ask(installation, "SELECT reason FROM monitor.alert_event ORDER BY event_id DESC LIMIT 1")
    assert event == "nobody acknowledged it in 4h, so ops were told"


def test_several_replicas_that_look_at_once_escalate_once(installation: Installation) -> None:
    see(installation, Verdict.CRITICAL, at=OPENED)
    with ThreadPoolExecutor(8) as replicas:
        told = list(replicas.map(lambda _: remind(installation, now=OPENED + 5 * HOUR), range(16)))
    assert sum(told) == 1
    assert ask(installation, SENT) == [("team", "first"), ("ops", "unanswered")]


@pytest.mark.parametrize("severity", [Severity.INFO, Severity.WARNING])
def test_what_is_not_critical_is_not_escalated(installation: Installation, severity: Severity) -> None:
    see(installation, Verdict.CRITICAL, at=OPENED, severity=severity)
    assert remind(installation, now=OPENED + 9 * HOUR) == 0


def test_what_was_taken_on_in_time_is_escalated_only_after_the_acknowledgement_ran_out(
    installation: Installation,
) -> None:
    see(installation, Verdict.CRITICAL, at=OPENED)
    acknowledge(installation, at=OPENED + HOUR, until=OPENED + 10 * HOUR)
    for hours in (4, 9, 11, 13):
        assert remind(installation, now=OPENED + hours * HOUR) == 0
    assert remind(installation, now=OPENED + 14 * HOUR) == 1


def test_what_is_over_in_time_is_not_escalated(installation: Installation) -> None:
    see(installation, Verdict.CRITICAL, at=OPENED)
    see(installation, Verdict.OK, at=OPENED + 3 * HOUR)
    assert remind(installation, now=OPENED + 9 * HOUR) == 0


def test_a_silence_keeps_back_an_escalation_too(installation: Installation) -> None:
    see(installation, Verdict.CRITICAL, at=OPENED)
    silence(installation, start=OPENED, end=OPENED + HOUR * 8, family=["score"])
    assert remind(installation, now=OPENED + 6 * HOUR) == 0
    assert remind(installation, now=OPENED + 8 * HOUR) == 1


def test_every_channel_that_heard_of_it_hears_that_it_is_over(installation: Installation) -> None:
    see(installation, Verdict.CRITICAL, at=OPENED)
    remind(installation, now=OPENED + 4 * HOUR)
    see(installation, Verdict.OK, at=OPENED + DAY)
    assert ask(installation, SENT)[2:] == [("ops", "resolved"), ("team", "resolved")]


def test_a_rise_to_critical_starts_the_clock(installation: Installation) -> None:
    see(installation, Verdict.WARNING, at=OPENED, severity=Severity.WARNING)
    see(installation, Verdict.CRITICAL, at=OPENED + DAY)
    assert remind(installation, now=OPENED + DAY + 3 * HOUR) == 0
    assert remind(installation, now=OPENED + DAY + 4 * HOUR) == 1


def test_an_hour_before_a_silence_ends_those_hear_who_would_have_been_told(installation: Installation) -> None:
    silence(installation, start=OPENED, end=OPENED + 10 * HOUR, family=["score"])
    see(installation, Verdict.CRITICAL, at=OPENED, severity=Severity.WARNING)
    assert remind(installation, now=OPENED + 8 * HOUR) == 0
    with ThreadPoolExecutor(4) as replicas:
        told = list(replicas.map(lambda _: remind(installation, now=OPENED + 9 * HOUR), range(8)))
    assert sum(told) == 1
    assert ask(installation, SENT)[-1] == ("team", "silence")
    (payload,) = ask(installation, "SELECT payload FROM monitor.notification WHERE reason = 'silence'")
    assert payload["severity"] == "warning"
    assert "family=score is told again from 10:00 UTC on" in payload["title"]
    assert "Open and to be told then: m: the mean score is .1 above training's." in payload["summary"]


@pytest.mark.parametrize("hours", [0.5, 1.0])
def test_a_silence_of_an_hour_or_less_ends_without_a_word(installation: Installation, hours: float) -> None:
    silence(installation, start=OPENED, end=OPENED + hours * HOUR, model=[MODEL])
    assert remind(installation, now=OPENED + 0.4 * HOUR) == 0


def test_a_silence_that_was_ended_early_is_announced_no_more(installation: Installation) -> None:
    made = silence(installation, start=OPENED, end=OPENED + 10 * HOUR, model=[MODEL])
    with installation.engine.begin() as conn:
        episode.end_silence(conn, made, by="bob", at=OPENED + 8 * HOUR)
    assert remind(installation, now=OPENED + 9 * HOUR) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--until", "2099-01-01"], 3, "must lie ahead and within 30 days"),
        (["--until", "2013-01-01"], 3, "must lie ahead"),
        (["--until", "soon"], 3, "--until"),
        ([], 0, "acknowledged the mean score is .1 above training's until"),
    ],
)
def test_the_command_takes_an_alert_on_until_a_time_that_lies_ahead(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    with installed(file) as installation:
        see(installation, Verdict.CRITICAL, at=OPENED)
        (key,) = ask(installation, "SELECT alert_key FROM monitor.alert")
    assert command(["alerts", "ack", key[:12], "--by", "ada", *arguments, "--config", str(file)]) == code
    assert said in capsys.readouterr().err


def test_an_acknowledgement_until_tomorrow_ends_tomorrow(file: Path) -> None:
    from monitor.command import now

    with installed(file) as installation:
        see(installation, Verdict.CRITICAL, at=OPENED)
        (key,) = ask(installation, "SELECT alert_key FROM monitor.alert")
        end = (now() + DAY).replace(second=0, microsecond=0)
        assert command(["alerts", "ack", key, "--until", end.isoformat(), "--config", str(file)]) == 0
        assert ask(installation, "SELECT acknowledged_until FROM monitor.alert") == [end]
