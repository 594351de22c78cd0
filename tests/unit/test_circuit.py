"""When alerts open a circuit, when they close it, and what they leave to people."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.alert import Alert, AlertState
from monitor.check import Severity
from monitor.circuit import MONITOR, Circuit, CircuitState, moved_by_alerts, named_causes

NOW = datetime(2024, 4, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
BROKEN = Alert(
    key="k",
    episode=1,
    model="m",
    family="quality:weather",
    title="temp is in °C.",
    severity=Severity.CRITICAL,
    state=AlertState.FIRING,
    subjects=({"check": "quality", "subject": "temp"},),
)
RESOLVED = replace(BROKEN, state=AlertState.RESOLVED)
OPEN = Circuit(model="m", state=CircuitState.OPEN, actor=MONITOR, reason="x", until=LATER, fallback={"p": 0.2})


def moved(circuit: Circuit, before: list[Alert], after: list[Alert], **changes: Any) -> Circuit | None:
    options: dict[str, Any] = {"open_on": ["quality.critical"], "fallback": {"p": 0.2}, "now": NOW, "until": LATER}
    return moved_by_alerts(circuit, before, after, **(options | changes))


def test_a_new_root_cause_opens_with_the_fallback_and_a_time_to_try_again() -> None:
    opened = moved(Circuit(model="m"), [], [BROKEN])
    assert opened is not None
    assert (opened.state, opened.actor, opened.reason) == (CircuitState.OPEN, MONITOR, "temp is in °C")
    assert (opened.until, opened.fallback, opened.probe_share) == (LATER, {"p": 0.2}, 0.05)


@pytest.mark.parametrize(
    ("change", "open_on", "is_named"),
    [
        ({}, ["quality.warning"], True),
        ({}, ["drift.info", "quality.critical"], True),
        ({"severity": Severity.WARNING}, ["quality.critical"], False),
        ({"inhibited_by": "schema"}, ["quality.critical"], False),
        ({"state": AlertState.PENDING}, ["quality.critical"], False),
        ({"state": AlertState.RECOVERING}, ["quality.critical"], True),
        ({}, ["drift.info"], False),
        ({}, [], False),
    ],
)
def test_only_open_root_causes_as_severe_as_named_count(
    change: dict[str, Any], open_on: list[str], is_named: bool
) -> None:
    assert bool(named_causes([replace(BROKEN, **change)], open_on)) is is_named


def test_a_cause_that_stays_does_not_open_again_what_a_person_closed() -> None:
    assert moved(Circuit(model="m", actor="ada"), [BROKEN], [BROKEN]) is None
    worse = replace(BROKEN, episode=2)
    assert moved(Circuit(model="m", actor="ada"), [BROKEN], [BROKEN, worse]) is not None


def test_an_open_circuit_opens_anew_only_while_it_is_tried() -> None:
    assert moved(OPEN, [], [BROKEN]) is None
    opened = moved(replace(OPEN, until=NOW), [], [BROKEN])
    assert opened is not None
    assert opened.until == LATER


def test_the_end_of_the_last_cause_closes_what_the_monitor_opened() -> None:
    closed = moved(OPEN, [BROKEN], [RESOLVED])
    assert closed is not None
    assert (closed.state, closed.actor, closed.reason) == (CircuitState.CLOSED, MONITOR, "over: temp is in °C")
    other = replace(BROKEN, key="other")
    assert moved(OPEN, [BROKEN, other], [RESOLVED, other]) is None


@pytest.mark.parametrize(
    "after",
    [
        [],
        [replace(BROKEN, state=AlertState.EXPIRED)],
        [replace(BROKEN, state=AlertState.SUPERSEDED)],
        [replace(BROKEN, severity=Severity.WARNING)],
    ],
)
def test_only_evidence_of_better_closes(after: list[Alert]) -> None:
    assert moved(OPEN, [BROKEN], after) is None


def test_a_milder_alert_that_is_over_closes_too() -> None:
    mild = replace(BROKEN, severity=Severity.WARNING)
    assert moved(OPEN, [mild], [replace(mild, state=AlertState.RESOLVED)]) is not None
    assert moved(OPEN, [], [RESOLVED]) is None  # it was over before


def test_what_a_person_did_stays() -> None:
    assert moved(replace(OPEN, actor="ada"), [BROKEN], [RESOLVED]) is None
