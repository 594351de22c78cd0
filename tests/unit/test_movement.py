"""Rules of all alerts of a model together: root causes, too many at once, and another training profile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from monitor.alert import AlertRules, AlertState, Identity
from monitor.check import Finding, Severity, Stage, Verdict
from monitor.decision import Rules
from monitor.inhibition import CROWD
from monitor.movement import MEMORY
from monitor.notification import Notification, Reason
from tests.unit.outcomes import Daemon, evidence
from tests.unit.test_decision import about, daemon, inputs


def reasons(told: list[Notification]) -> list[Reason]:
    return [one.reason for one in told]


def states(service: Daemon, family: str) -> Any:
    return next((a.state for a in service.alerts.values() if a.family == family), None)


def odd(family: str, verdict: Verdict = Verdict.CRITICAL, **changes: Any) -> Finding:
    return about(family, verdict, **changes)


def test_what_a_root_cause_explained_is_told_only_when_a_window_finds_it_bad_after_the_cause() -> None:
    service = daemon()
    inputs(service, odd("quality:weather", latched=True), odd("score"))
    told = inputs(service, odd("quality:weather", Verdict.OK, latched=True), odd("score", Verdict.INCONCLUSIVE))
    assert reasons(told) == [Reason.RESOLVED]
    assert states(service, "score") is AlertState.FIRING
    (message,) = inputs(service, odd("quality:weather", Verdict.OK, latched=True), odd("score"))
    assert (message.reason, "score" in message.title) == (Reason.FIRST, True)


def test_a_consequence_that_ends_with_its_cause_is_never_told() -> None:
    service = daemon()
    inputs(service, odd("quality:weather", latched=True), odd("score", latched=True))
    told = inputs(service, odd("quality:weather", Verdict.OK, latched=True), odd("score", Verdict.OK, latched=True))
    assert reasons(told) == [Reason.RESOLVED]
    assert len(told) == 1


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_in_which_findings_arrive_decides_nothing(order: int) -> None:
    service = daemon()
    told = inputs(service, *[odd("quality:weather"), odd("score"), odd("feature:temp")][::order])
    assert [len(one.alert_keys) for one in told] == [1]
    assert "weather" in told[0].title


def test_a_check_that_breaks_inhibits_nothing_and_leaves_what_is_open_as_it_is() -> None:
    service = daemon()
    inputs(service, odd("score"))
    for _ in range(5):
        inputs(service, odd("score", Verdict.INCONCLUSIVE), odd("pipeline:drift", severity=Severity.CRITICAL))
    assert states(service, "score") is AlertState.FIRING
    (stale,) = [a.stale_since for a in service.alerts.values() if a.family == "score"]
    assert stale is not None
    told = inputs(service, odd("quality:weather"), odd("pipeline:drift", severity=Severity.CRITICAL))
    assert reasons(told) == [Reason.FIRST]


def crowd(most: int) -> Daemon:
    service = daemon()
    service.rules = Rules(alerts=AlertRules(most_open=most, repeat={}))
    return service


def test_more_alerts_than_anybody_can_read_are_one_message_more() -> None:
    service = crowd(3)
    told = inputs(service, *[odd(f"quality:s{i}") for i in range(10)])
    assert sorted(len(one.alert_keys) for one in told) == [1, 3]
    (folded,) = [one for one in told if len(one.alert_keys) == 1]
    assert "more alerts are open" in folded.title.lower()
    assert "10 alerts are open at once; 7 of them are not told one by one" in folded.summary
    assert inputs(service, *[odd(f"quality:s{i}") for i in range(10)]) == []


def test_as_soon_as_others_are_over_the_rest_is_told() -> None:
    service = crowd(3)
    inputs(service, *[odd(f"quality:s{i}", latched=True) for i in range(4)])
    told = inputs(
        service,
        *[odd(f"quality:s{i}", Verdict.OK, latched=True) for i in range(3)],
        odd("quality:s3", latched=True),
    )
    assert states(service, CROWD) is AlertState.RESOLVED
    assert sorted(reasons(told)) == [Reason.FIRST, *[Reason.RESOLVED] * 4]


def test_alerts_that_are_only_information_crowd_out_nothing() -> None:
    service = crowd(3)
    told = inputs(service, *[odd(f"feature:f{i}", severity=Severity.INFO) for i in range(10)], odd("score"))
    assert reasons(told) == [Reason.FIRST]
    assert states(service, CROWD) is None


def under(service: Daemon, reference: str) -> None:
    """Let what is known of alerts be of another training profile."""
    for key, alert in service.alerts.items():
        judged = {**alert.memory["judged"], "reference": reference}
        service.alerts[key] = replace(alert, memory={**alert.memory, "judged": judged})


def test_another_training_profile_ends_what_is_open_with_one_notice_and_begins_anew() -> None:
    service = daemon()
    inputs(service, odd("quality:weather"), odd("quality:schedule"))
    under(service, "the one before")
    told = inputs(service, odd("quality:weather"))
    assert reasons(told) == [Reason.SUPERSEDED, Reason.FIRST]
    assert len(told[0].alert_keys) == 2
    assert "Nothing says that they are over" in told[0].summary
    assert states(service, "quality:schedule") is AlertState.SUPERSEDED
    (again,) = [a for a in service.alerts.values() if a.family == "quality:weather"]
    assert (again.episode, again.state) == (2, AlertState.FIRING)
    assert inputs(service, odd("quality:weather")) == []


def test_bad_windows_of_two_training_profiles_do_not_add_up() -> None:
    service = daemon()
    inputs(service, odd("score", Verdict.WARNING))
    under(service, "the one before")
    assert inputs(service, odd("score", Verdict.WARNING)) == []
    assert states(service, "score") is AlertState.PENDING


def test_a_process_and_the_pipeline_have_no_training_profile() -> None:
    service = daemon()
    inputs(service, odd("pipeline:drift", severity=Severity.CRITICAL))
    under(service, "the one before")
    told = inputs(service, odd("pipeline:drift", severity=Severity.CRITICAL))
    assert Reason.SUPERSEDED not in reasons(told)
    assert states(service, "pipeline:drift") is AlertState.FIRING


def test_what_is_remembered_of_a_window_are_the_tracks_of_its_stage() -> None:
    service = daemon()
    inputs(service, odd("score"), odd("pipeline:drift"))
    remembered = service.memories[Stage.INPUTS][MEMORY]
    assert set(remembered["families"]) == {"score"}
    assert remembered["reference"] == evidence(0, None, {}).reference.id
    key = Identity(model="flights", family="score").key
    assert remembered["families"]["score"] == service.alerts[key].tracks
