from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from monitor.alert import AlertRules, Identity, Transition
from monitor.check import Cause, Finding, Part, Severity, Verdict
from monitor.digest import Flagged, digest
from monitor.machine import step
from monitor.notification import Reason
from monitor.recommendation import Action, Recommendation
from monitor.routing import Scene, group_of, notifications_for
from monitor.window import Window

WINDOW = Window(start=datetime(2013, 4, 23, 4, tzinfo=UTC), end=datetime(2013, 4, 24, 4, tzinfo=UTC))
DAY = timedelta(days=1)


def scene() -> Scene:
    ids = iter(range(1, 100))
    return Scene(
        model="flights",
        window=WINDOW,
        label="Tue 23 Apr 2013",
        now=WINDOW.end,
        new_id=lambda: uuid.UUID(int=next(ids)),
        model_version="7",
    )


def finding(family: str, subject: str, **changes: object) -> Finding:
    facts: dict[str, object] = {
        "check": "quality",
        "part": Part.INPUT,
        "subject": subject,
        "statistic": "missing",
        "verdict": Verdict.CRITICAL,
        "family": family,
        "severity": Severity.WARNING,
        "cause": Cause.DATA,
        "message": f"{subject}: 61 % of 920 rows are missing",
        "value": 0.61,
        "reference_value": 0.02,
        "effect": 0.59,
        "threshold": 0.17,
        "n_current": 920,
    }
    return Finding(**(facts | changes))  # type: ignore[arg-type]  # names and types are the fields'


def opening(*findings: Finding) -> Transition:
    done = step(
        None,
        findings,
        AlertRules(),
        identity=Identity(model="flights", family=findings[0].family),
        window=WINDOW,
        pace=DAY,
        now=WINDOW.end,
    )
    return next(t for t in done.transitions if t.tell is not None)


@pytest.mark.parametrize(
    ("family", "group"),
    [
        ("outcome", "outcome"),
        ("label", "outcome"),
        ("score", "score"),
        ("quality:weather", "data"),
        ("schema", "data"),
        ("freshness", "data"),
        ("feature:temp", "feature"),
        ("resource:serve", "resource:serve"),
        ("pipeline:drift", "pipeline"),
    ],
)
def test_families_of_one_kind_share_a_message(family: str, group: str) -> None:
    assert group_of(family) == group


def test_a_message_begins_with_severity_what_model_and_window_and_names_figures() -> None:
    said = [finding("quality:weather", "temp"), finding("quality:weather", "dewp", value=0.5)]
    (message,) = notifications_for([opening(*said)], {"quality:weather": said}, (), (), scene())
    assert message.title == "Something is wrong with the data: weather"
    assert (message.severity, message.model, message.window_label) == (Severity.WARNING, "flights", "Tue 23 Apr 2013")
    assert message.summary.endswith("61 % of 920 rows are missing.")
    assert [fact.subject for fact in message.facts] == ["temp", "dewp"]
    assert message.facts[0].text == "missing 0.61 (usual 0.02), threshold 0.17, n = 920"
    assert (message.model_version, message.window_label, message.reason) == ("7", "Tue 23 Apr 2013", Reason.FIRST)
    assert message.next_step.startswith("INVESTIGATE_DATA")


def test_more_than_ten_subjects_are_counted_not_listed() -> None:
    said = [finding("quality:weather", f"column {i}") for i in range(14)]
    (message,) = notifications_for([opening(*said)], {"quality:weather": said}, (), (), scene())
    assert (len(message.facts), message.more_facts) == (10, 4)


def test_different_kinds_are_different_messages() -> None:
    weather, score = finding("quality:weather", "temp"), finding("score", "prediction", cause=Cause.DRIFT)
    told = notifications_for(
        [opening(weather), opening(score)], {"quality:weather": [weather], "score": [score]}, (), (), scene()
    )
    assert len({n.id for n in told}) == 2
    assert len({n.group_key for n in told}) == 2


def advice(**changes: object) -> Recommendation:
    facts: dict[str, object] = {
        "id": uuid.UUID(int=99),
        "model": "flights",
        "cause_key": "model",
        "action": Action.RETRAIN,
        "opened_at": WINDOW.end,
        "window_start": WINDOW.start,
        "window_end": WINDOW.end,
        "why": "Two evaluations in a row failed.",
        "why_not": "Recalibrating gains less.",
        "expected_benefit": 2413.0,
        "expected_cost": 300.0,
        "currency": "USD",
        "train_since": datetime(2013, 1, 1, tzinfo=UTC),
    }
    return Recommendation(**(facts | changes))  # type: ignore[arg-type]  # names and types are the fields'


def test_advice_says_why_why_not_and_what_it_brings_and_costs() -> None:
    (message,) = notifications_for((), {}, (), [advice()], scene())
    assert message.title == "RETRAIN: retrain the model"
    assert message.summary == "Two evaluations in a row failed."
    assert message.cost == "expected benefit USD 2,413 in 28 windows, cost USD 300"
    assert "Recalibrating gains less." in message.next_step
    assert "Train on rows since 01 Jan 2013." in message.next_step
    assert message.reason is Reason.RECOMMENDATION


def test_the_digest_ranks_features_by_the_shift_of_the_score_and_says_what_would_have_been_seen() -> None:
    flagged = [
        Flagged(window_label="Mon", finding=finding("feature:temp", "temp", impact=0.1, effect=3.0)),
        Flagged(window_label="Mon", finding=finding("feature:dest", "dest", impact=0.4, effect=0.2)),
        Flagged(window_label="Tue", finding=finding("feature:temp", "temp", impact=0.2, effect=2.0)),
    ]
    alert = opening(finding("quality:weather", "temp")).alert
    message = digest(
        scene=scene(),
        windows=7,
        flagged=flagged,
        alerts=[alert],
        recommendations=[advice()],
        detectable={"outcome": "0.31 on the share of late flights"},
        notes=["Training covers 2 of 12 months."],
    )
    assert [fact.subject for fact in message.facts] == ["dest", "temp"]
    assert message.facts[1].text.startswith("2 of 7 windows")
    assert "Open: quality:weather since 23 Apr." in message.summary
    assert "RETRAIN: Two evaluations" in message.summary
    assert "A window would have shown: outcome: 0.31" in message.summary
    assert message.summary.endswith("Training covers 2 of 12 months.")
    assert message.reason is Reason.DIGEST


def test_the_digest_of_a_quiet_week_says_so() -> None:
    message = digest(scene=scene(), windows=7, flagged=(), alerts=(), recommendations=(), detectable={})
    assert message.summary == "Nothing needed anybody."
