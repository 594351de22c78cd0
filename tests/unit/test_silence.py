"""Rules of silences: they keep messages back and change nothing else, and what is still open afterwards is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.alert import Alert, AlertState
from monitor.check import Cause, Severity, Verdict
from monitor.notification import Notification, Reason
from monitor.recommendation import RecommendationState
from monitor.silence import Silence, check_end, read_matchers, silence_of
from tests.unit.outcomes import Daemon
from tests.unit.test_decision import about, daemon, inputs

NOW = datetime(2013, 4, 23, tzinfo=UTC)
SCORE = {"family": ("score",)}


def silence(**matchers: Any) -> Silence:
    return Silence(matchers=matchers, ends_at=NOW, author="ada", reason="the source moves")


def bad(service: Daemon, family: str = "score", **changes: Any) -> list[Notification]:
    return inputs(service, about(family, **changes))


def good(service: Daemon, family: str = "score") -> list[Notification]:
    return inputs(service, about(family, Verdict.OK, severity=Severity.INFO))


def reasons(told: list[Notification]) -> list[Reason]:
    return [one.reason for one in told]


def only(service: Daemon) -> Alert:
    (alert,) = service.alerts.values()
    return alert


def test_a_silence_keeps_the_message_back_and_the_alert_moves_all_the_same() -> None:
    loud, quiet = daemon(), daemon()
    quiet.silences = (silence(**SCORE),)
    for _ in range(3):
        bad(loud)
        assert bad(quiet) == []
    assert only(quiet).silenced
    assert not only(loud).silenced
    for name in ("state", "episode", "severity", "opened_window_start", "subjects", "title", "thread_key"):
        assert getattr(only(quiet), name) == getattr(only(loud), name)
    assert only(quiet).memory["tracks"] == only(loud).memory["tracks"]


def test_what_is_still_open_when_the_silence_ends_is_told_once() -> None:
    service = daemon()
    service.silences = (silence(**SCORE),)
    bad(service)
    service.silences = ()
    assert reasons(bad(service)) == [Reason.FIRST]
    assert not only(service).silenced
    assert bad(service) == []


def test_what_was_told_before_the_silence_gets_one_reply_after_it() -> None:
    service = daemon()
    assert reasons(bad(service)) == [Reason.FIRST]
    service.silences = (silence(**SCORE),)
    assert bad(service) == []
    service.silences = ()
    (reply,) = bad(service)
    assert (reply.reason, reply.in_thread) == (Reason.REPEATED, True)
    assert bad(service) == []


def test_what_opened_again_in_the_silence_is_told_as_that_after_it() -> None:
    service = daemon()
    bad(service, "quality:weather")
    for _ in range(3):
        good(service, "quality:weather")
    assert only(service).state is AlertState.RESOLVED
    service.silences = (silence(family=("quality",)),)
    assert bad(service, "quality:weather") == []
    service.silences = ()
    (reply,) = bad(service, "quality:weather")
    assert (reply.reason, reply.in_thread) == (Reason.REOPENED, True)
    standing = [r for r in service.recommendations.values() if r.state is RecommendationState.OPEN]
    assert [r.cause_key for r in standing] == ["data:quality:weather"]


def test_the_end_of_what_was_told_goes_into_the_thread_during_a_silence_too() -> None:
    service = daemon()
    (first,) = bad(service)
    service.silences = (silence(**SCORE),)
    told = [message for _ in range(3) for message in good(service)]
    assert [(one.reason, one.in_thread, one.thread_key) for one in told] == [(Reason.RESOLVED, True, first.thread_key)]
    assert not only(service).silenced


def test_what_came_and_went_in_a_silence_is_never_told() -> None:
    service = daemon()
    service.silences = (silence(**SCORE),)
    told = [*bad(service), *good(service), *good(service), *good(service)]
    service.silences = ()
    assert [*told, *good(service)] == []
    assert only(service).state is AlertState.RESOLVED


def test_windows_that_say_nothing_do_not_use_up_what_is_owed() -> None:
    service = daemon()
    service.silences = (silence(**SCORE),)
    bad(service)
    service.silences = ()
    assert bad(service, verdict=Verdict.INCONCLUSIVE) == []
    assert reasons(bad(service)) == [Reason.FIRST]


def test_a_silence_for_warnings_lets_critical_ones_through() -> None:
    service = daemon()
    service.silences = (silence(severity=("warning",)),)
    assert bad(service) == []
    assert reasons(bad(service, severity=Severity.CRITICAL)) == [Reason.FIRST]


def alert(**changes: Any) -> Alert:
    facts: dict[str, Any] = {
        "key": "k",
        "episode": 1,
        "model": "flights",
        "family": "quality:weather",
        "severity": Severity.WARNING,
        "cause": Cause.DATA,
        "subjects": ({"subject": "temp", "check": "quality"}, {"subject": "dewp", "check": "quality"}),
    }
    return Alert(**(facts | changes))


@pytest.mark.parametrize(
    ("matchers", "covered"),
    [
        ({"model": ["flights"]}, True),
        ({"model": ["other"]}, False),
        ({"family": ["quality:weather"]}, True),
        ({"family": ["quality"]}, True),
        ({"family": ["qual"]}, False),
        ({"subject": ["temp"]}, False),  # dewp is broken as well
        ({"subject": ["temp", "dewp", "wind"]}, True),
        ({"severity": ["info", "warning"]}, True),
        ({"severity": ["critical"]}, False),
        ({"cause": ["data"]}, True),
        ({"cause": ["drift"]}, False),
        ({"check": ["quality"]}, True),
        ({"check": ["drift"]}, False),
        ({"model": ["flights"], "cause": ["drift"]}, False),
    ],
)
def test_a_silence_covers_an_alert_when_every_key_fits(matchers: dict[str, list[str]], covered: bool) -> None:
    assert silence(**matchers).covers(alert()) is covered


def test_what_an_alert_does_not_have_is_not_matched() -> None:
    assert not silence(cause=["data"]).covers(alert(cause=None))
    assert not silence(check=["quality"]).covers(alert(subjects=()))


def test_a_stored_silence_may_hold_a_single_value() -> None:
    row = {"matchers": {"model": "flights"}, "ends_at": NOW, "author": "ada", "reason": "the source moves"}
    found = silence_of(row)
    assert found.covers(alert())
    assert found.sentence == "model=flights until 23 Apr 00:00 UTC by ada (the source moves)"
    assert (found.concerns("flights"), found.concerns("other")) == (True, False)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ([], "at least one --match"),
        (["model"], "no key=value"),
        (["model="], "no key=value"),
        (["feature=temp"], "'feature' is no key of an alert"),
        (["severity=bad"], "severity may be info, warning, critical"),
        (["cause=weather"], "cause may be data, concept"),
    ],
)
def test_matchers_that_could_match_nothing_are_refused(texts: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_matchers(texts)


def test_a_silence_ends_later_and_within_thirty_days() -> None:
    check_end(NOW, NOW + timedelta(days=30))
    with pytest.raises(ValueError, match="give a later time"):
        check_end(NOW, NOW)
    with pytest.raises(ValueError, match="at most 30 days"):
        check_end(NOW, NOW + timedelta(days=30, seconds=1))
