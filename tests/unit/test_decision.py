from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from monitor.alert import AlertState
from monitor.check import Cause, Check, Evidence, Finding, Judgement, Part, Severity, Stage, Verdict, checks
from monitor.notification import Notification, Reason
from monitor.recommendation import Action, RecommendationState
from tests.unit.outcomes import Daemon, late


@dataclass(frozen=True)
class Says:
    """A check of inputs that says what it was given."""

    findings: Sequence[Finding]
    stages = frozenset({Stage.INPUTS})

    def run(self, evidence: Evidence) -> Judgement:
        return Judgement(findings=self.findings, memory={"seen": len(self.findings)})


def about(family: str, verdict: Verdict = Verdict.CRITICAL, **changes: object) -> Finding:
    finding = Finding(
        check="quality",
        part=Part.INPUT,
        subject=family.partition(":")[2] or family,
        statistic="missing",
        verdict=verdict,
        family=family,
        severity=Severity.WARNING,
        cause=Cause.DATA if family.startswith(("quality", "schema", "volume")) else Cause.DRIFT,
        message=f"{family} is odd",
        direction=1,
    )
    return replace(finding, **changes)  # type: ignore[arg-type]  # names and types are the fields'


def daemon() -> Daemon:
    return Daemon(active={"performance": checks.build("performance", {})})


def inputs(service: Daemon, *findings: Finding) -> list[Notification]:
    """Decide on a window of inputs with these findings, and go on to the next day."""
    active: dict[str, Check] = {"quality": Says(findings)}
    before, service.active = service.active, active
    told = list(service.decide(Stage.INPUTS).notifications)
    service.active = before
    service.day += 1
    return told


def test_quiet_days_decide_nothing_but_memories() -> None:
    service = daemon()
    decision = service.outcome_day()
    assert (decision.alerts, decision.notifications, decision.recommendations) == ([], [], [])
    assert set(decision.memories) == {"performance", "recommendation", "alerts"}
    json.dumps(decision.memories, allow_nan=False)


def test_outcomes_off_while_the_inputs_are_ordinary_are_concept_drift() -> None:
    service = daemon()
    service.outcome_day()
    (message,) = service.outcome_day(late(0.4)).notifications
    (alert,) = service.alerts.values()
    assert alert.cause is Cause.CONCEPT
    assert "inputs look ordinary" in message.title
    assert (message.severity, message.model) == (Severity.CRITICAL, "flights")
    assert message.cost.startswith("≈ USD")
    assert message.chart is not None
    assert message.alert_keys == [alert.key]


def test_outcomes_off_while_the_score_has_moved_are_drift() -> None:
    service = daemon()
    inputs(service, about("score"))
    service.day -= 1
    service.outcome_day(late(0.4))
    assert {a.cause for a in service.alerts.values() if a.family == "outcome"} == {Cause.DRIFT}


def test_outcomes_of_broken_rows_point_at_the_data() -> None:
    service = daemon()
    inputs(service, about("quality:weather"))
    service.day -= 1
    (message,) = service.outcome_day(late(0.4)).notifications
    assert "INVESTIGATE_DATA" in message.next_step
    assert {a.cause for a in service.alerts.values() if a.family == "outcome"} == {Cause.DATA}


def test_the_cause_of_an_open_alert_stays_what_it_was() -> None:
    service = daemon()
    service.outcome_day(late(0.4))
    inputs(service, about("score"))
    service.day -= 1
    service.outcome_day(late(0.4))
    assert {a.cause for a in service.alerts.values() if a.family == "outcome"} == {Cause.CONCEPT}


def test_a_broken_source_silences_what_follows_from_it() -> None:
    service = daemon()
    told = inputs(service, about("quality:weather"), about("score"), about("feature:temp"))
    assert [n.alert_keys for n in told] == [[a.key for a in service.alerts.values() if a.family == "quality:weather"]]
    silenced = {a.family for a in service.alerts.values() if a.inhibited_by}
    assert silenced == {"score", "feature:temp"}


@pytest.mark.parametrize(
    ("root", "severity", "silent"),
    [
        ("schema", Severity.CRITICAL, True),
        ("volume", Severity.CRITICAL, True),
        ("volume", Severity.WARNING, False),  # little traffic explains no missing values
        ("quality:weather", Severity.WARNING, False),  # one source does not explain another
        ("pipeline:drift", Severity.CRITICAL, False),
    ],
)
def test_root_causes_silence_by_their_order(root: str, severity: Severity, silent: bool) -> None:
    service = daemon()
    inputs(service, about(root, severity=severity), about("quality:schedule"))
    (alert,) = [a for a in service.alerts.values() if a.family == "quality:schedule"]
    assert (alert.inhibited_by is not None) is silent


def test_what_outlives_its_root_cause_is_told_then() -> None:
    service = daemon()
    inputs(service, about("quality:weather"), about("score"))
    for _ in range(2):
        assert inputs(service, about("quality:weather", Verdict.OK), about("score")) == []
    told = inputs(service, about("quality:weather", Verdict.OK), about("score"))
    assert [(n.reason, n.in_thread) for n in told] == [(Reason.RESOLVED, True), (Reason.FIRST, False)]
    assert "score" in told[1].title


def test_two_sources_that_break_together_are_one_message_and_one_thread() -> None:
    service = daemon()
    (message,) = inputs(service, about("quality:weather"), about("quality:schedule"))
    assert "schedule, weather" in message.title
    assert {a.thread_key for a in service.alerts.values()} == {message.thread_key}
    for _ in range(2):
        inputs(service, about("quality:weather", Verdict.OK), about("quality:schedule", Verdict.OK))
    replies = inputs(service, about("quality:weather", Verdict.OK), about("quality:schedule", Verdict.OK))
    assert {(n.reason, n.in_thread, n.thread_key) for n in replies} == {(Reason.RESOLVED, True, message.thread_key)}


def test_features_alone_are_no_message() -> None:
    service = daemon()
    assert inputs(service, about("feature:temp", severity=Severity.INFO)) == []
    assert [a.state for a in service.alerts.values()] == [AlertState.FIRING]


def test_a_data_incident_asks_for_an_investigation_until_it_is_over() -> None:
    service = daemon()
    (message,) = inputs(service, about("quality:weather", subject="temp"), about("quality:weather", subject="dewp"))
    (advice,) = service.recommendations.values()
    assert (advice.action, advice.state) == (Action.INVESTIGATE_DATA, RecommendationState.OPEN)
    assert advice.extras["subjects"] == ["dewp", "temp"]
    assert "Do not retrain" in message.next_step
    fine = [about("quality:weather", Verdict.OK, subject=name) for name in ("temp", "dewp")]
    for _ in range(3):
        inputs(service, *fine)
    (advice,) = service.recommendations.values()
    assert advice.state is RecommendationState.DONE


def test_falling_traffic_is_told_but_is_no_broken_data() -> None:
    service = daemon()
    (message,) = inputs(service, about("volume"))
    assert "volume" in message.title
    assert service.recommendations == {}


def test_the_same_evidence_gives_the_same_decision() -> None:
    one, other = daemon(), daemon()
    for change in [None, late(0.4), None, late(0.4), None, None, None]:
        assert one.outcome_day(change) == other.outcome_day(change)


def test_a_check_that_breaks_stops_no_other_and_is_told_when_it_breaks_again() -> None:
    @dataclass(frozen=True)
    class Broken:
        stages = frozenset({Stage.OUTCOMES})

        def run(self, evidence: Evidence) -> Judgement:
            raise ZeroDivisionError("nothing to divide")

    service = daemon()
    service.active = {"broken": Broken(), **service.active}
    decision = service.outcome_day(late(0.4))
    assert [f.reason for f in decision.findings if f.check == "broken"] == ["check failed"]
    assert {a.family for a in decision.alerts if a.is_open} == {"outcome"}
    again = service.outcome_day(late(0.4))
    (told,) = [n for n in again.notifications if "broken" in n.title]
    assert "the log has the details" in told.summary
    assert told.severity is Severity.WARNING
