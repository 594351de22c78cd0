"""What quiet hours hold back in the outbox, and what they do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from monitor import outbox
from monitor.announcement import announce
from monitor.check import Severity
from monitor.decision import Decision
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.notification import Notification, Reason
from tests.watched import ask, installed, run, write_config

ROUTES = """
channels:
  ops: {type: webhook, url: "https://hooks.example.org/ops"}
  team: {type: webhook, url: "https://hooks.example.org/team"}
routes:
  - {match: {severity: info}, to: [ops], continue: true}
  - {match: {}, to: [ops, team], quiet_hours: {timezone: UTC, from: "20:00", to: "08:00"}}
"""
TONIGHT = datetime(2099, 6, 3, 22, tzinfo=UTC)  # so that the database's clock is before the end
MORNING = datetime(2099, 6, 4, 8, tzinfo=UTC)
DUE = "SELECT channel FROM monitor.delivery WHERE state = 'pending' AND next_at <= clock_timestamp() ORDER BY sequence"


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    with installed(write_config(tmp_path, database, rest=ROUTES)) as installation:
        yield installation


def tell(
    installation: Installation,
    severity: Severity,
    *,
    at: datetime = TONIGHT,
    group: str = "m:score",
    reason: Reason = Reason.FIRST,
    keys: Sequence[str] = (),
) -> None:
    message = Notification(
        id=uuid4(),
        model="m",
        reason=reason,
        in_thread=reason is Reason.RESOLVED,
        alert_keys=tuple(keys),
        severity=severity,
        title="the score has shifted",
        summary="By a lot.",
        created_at=at,
        thread_key=group,
        group_key=group,
    )
    with installation.engine.begin() as conn:
        announce(conn, installation, Decision(judgements={}, memories={}, notifications=[message]))


def claimed(installation: Installation) -> list[tuple[str, Severity]]:
    with installation.engine.begin() as conn:
        found = outbox.claim(conn, limit=10, lease=timedelta(minutes=1))
    return [(one.channel, one.notification.severity) for one in found]


def test_what_is_not_critical_waits_for_the_end_of_the_quiet_hours(installation: Installation) -> None:
    tell(installation, Severity.WARNING)
    assert set(ask(installation, "SELECT next_at FROM monitor.delivery")) == {MORNING}
    assert claimed(installation) == []


def test_outside_of_the_quiet_hours_everything_goes_at_once(installation: Installation) -> None:
    tell(installation, Severity.WARNING, at=MORNING)
    assert claimed(installation) == [("ops", Severity.WARNING), ("team", Severity.WARNING)]


def test_a_channel_that_another_route_takes_at_once_does_not_wait(installation: Installation) -> None:
    tell(installation, Severity.INFO)
    assert ask(installation, DUE) == ["ops"]
    assert ask(installation, "SELECT count(*) FROM monitor.notification") == [1]


def test_critical_messages_go_at_once_and_take_along_what_was_held_of_their_group(installation: Installation) -> None:
    tell(installation, Severity.WARNING)
    tell(installation, Severity.WARNING, group="m:data")
    tell(installation, Severity.CRITICAL)
    first = claimed(installation)
    assert first == [("ops", Severity.WARNING), ("team", Severity.WARNING)]
    with installation.engine.begin() as conn:
        assert outbox.counts(conn) == {"held": 2, "pending": 2, "sending": 2}
    assert ask(installation, DUE) == ["ops", "team"]  # the critical one is next; the other group waits for the morning


def test_what_failed_waits_for_its_channel_also_when_something_critical_comes(installation: Installation) -> None:
    tell(installation, Severity.WARNING, at=MORNING)
    with installation.engine.begin() as conn:
        for one in outbox.claim(conn, limit=10, lease=timedelta(minutes=1)):
            outbox.reschedule(conn, one.delivery_id, one.token, error="busy", delay=timedelta(hours=1))
    tell(installation, Severity.CRITICAL)
    assert claimed(installation) == []


def wake_up(installation: Installation) -> None:
    """Let the quiet hours end."""
    run(installation, "UPDATE monitor.delivery SET next_at = clock_timestamp() WHERE state = 'held'")


def test_what_came_and_went_in_the_quiet_hours_is_one_line_in_the_morning(installation: Installation) -> None:
    tell(installation, Severity.WARNING, keys=["a"])
    tell(installation, Severity.WARNING, keys=["a"], reason=Reason.RESOLVED)
    wake_up(installation)
    with installation.engine.begin() as conn:
        found = outbox.claim(conn, limit=10, lease=timedelta(minutes=1), channels=["team"])
    assert [(one.notification.reason, one.notification.in_thread) for one in found] == [(Reason.RESOLVED, True)]
    assert ask(installation, "SELECT state FROM monitor.delivery WHERE channel = 'team' ORDER BY sequence") == [
        "superseded",
        "sending",
    ]


def test_what_is_still_open_in_the_morning_comes_first_and_what_is_over_is_a_line_of_it(
    installation: Installation,
) -> None:
    tell(installation, Severity.WARNING, keys=["a"])
    tell(installation, Severity.WARNING, keys=["b"])
    tell(installation, Severity.WARNING, keys=["b"], reason=Reason.RESOLVED)
    wake_up(installation)
    with installation.engine.begin() as conn:
        (found,) = outbox.claim(conn, limit=10, lease=timedelta(minutes=1), channels=["team"])
    told = found.notification
    assert (told.reason, told.in_thread, set(told.alert_keys)) == (Reason.FIRST, False, {"a", "b"})
    assert "Kept back until now: Resolved: the score has shifted" in told.summary


def test_other_groups_are_told_on_their_own_in_the_morning(installation: Installation) -> None:
    tell(installation, Severity.WARNING)
    tell(installation, Severity.WARNING, group="m:data")
    wake_up(installation)
    assert claimed(installation) == [("ops", Severity.WARNING), ("team", Severity.WARNING)] * 2


def test_the_end_is_told_where_the_alert_was_told_and_nowhere_else(installation: Installation) -> None:
    tell(installation, Severity.WARNING, at=MORNING, keys=["a"])
    run(installation, "DELETE FROM monitor.delivery WHERE channel = 'ops'")
    tell(installation, Severity.INFO, at=MORNING, keys=["a"], reason=Reason.RESOLVED)
    assert ask(installation, "SELECT channel FROM monitor.delivery") == ["team", "team"]
