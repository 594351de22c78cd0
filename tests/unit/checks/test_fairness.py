from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from monitor.check import Budget, Evidence, Finding, Judgement, MissingEvidenceError, ReferenceKind, Stage, Verdict
from monitor.checks.fairness import Fairness
from monitor.checks.slices import Slices
from monitor.decision import Rules, State, decide
from monitor.notification import Notification
from monitor.outcome import OutcomeProfile, Task
from monitor.reference import Reference, build_reference
from monitor.source import Batch, CategoryValues, ColumnFault, Reading, concatenate
from monitor.stats.multiplicity import adjusted
from tests.unit.outcomes import SPEC, window

GROUPS = ("a", "b", "c")
FAIR = {"a": 0.2, "b": 0.2, "c": 0.2}
UNFAIR = FAIR | {"b": 0.5}
TRAINED = 20


def people(day: int, wrongly: Mapping[str, float], n: int = 600, shares: Sequence[float] = (0.6, 0.37, 0.03)) -> Batch:
    """Return decided and labelled people of a day, each group with its own rate of false positives."""
    rng = np.random.default_rng([11, day])
    codes = rng.choice(3, n, p=np.array(shares)).astype(np.int32)
    label = (rng.random(n) < 0.4).astype(float)
    false = np.array([wrongly[name] for name in GROUPS])[codes]
    decision = rng.random(n) < np.where(label == 1, 0.7, false)
    return Batch(
        rows=n,
        time=int(window(day).start.timestamp()) * 1_000_000 + np.arange(n) * 60_000_000,
        columns={},
        score=np.where(decision, 0.75, 0.25) + rng.uniform(-0.2, 0.2, n),
        decision=decision,
        label=label,
        attributes={"group": CategoryValues(codes=codes, categories=GROUPS)},
    )


@cache
def reference() -> Reference:
    return build_reference(
        concatenate([people(day, FAIR) for day in range(TRAINED)]),
        model="loans",
        version="1",
        task=Task.BINARY,
        spec=SPEC,
        created_at=window(TRAINED).start,
        threshold=0.5,
        slices=[["group"]],
    )


def evidence(day: int, batch: Batch, memories: Mapping[str, Any], **facts: Any) -> Evidence:
    layout = reference().outcome_layout
    assert layout is not None
    return Evidence(
        **{
            "model": "loans",
            "stage": Stage.OUTCOMES,
            "window": window(day),
            "spec": SPEC,
            "budget": Budget(),
            "maybe_reference": reference(),
            "maybe_outcome": OutcomeProfile.of(layout, batch),
            "memories": memories,
            **facts,
        }
    )


def judge(check: Fairness, days: int, wrongly: Mapping[str, float], **facts: Any) -> list[Judgement]:
    found: list[Judgement] = []
    for day in range(TRAINED, TRAINED + days):
        memories = {"fairness": found[-1].memory} if found else {}
        found.append(check.run(evidence(day, people(day, wrongly), memories, **facts)))
    return found


def of(judgement: Judgement, group: str, rate: str, kind: ReferenceKind = ReferenceKind.GROUP) -> Finding:
    (found,) = [
        f
        for f in judgement.findings
        if f.slice == {"group": group} and f.statistic == rate and f.reference_kind is kind
    ]
    return found


def test_a_group_that_is_wronged_more_often_is_named_with_its_rate_and_its_people() -> None:
    *_, last = judge(Fairness(slices=["group"]), 5, UNFAIR)
    found = of(last, "b", "fpr")
    assert found.verdict is Verdict.WARNING
    assert found.family == "fairness:group"
    assert found.value is not None
    assert found.value == pytest.approx(0.5, abs=0.05)
    people_ = found.details["people"]
    assert f"{found.n_current:,} people with a negative outcome" in found.message
    assert "against" in found.message
    assert f"{people_:,} people more wrongly selected than at that rate; equalised odds does not hold" in found.message
    assert people_ == pytest.approx(0.3 * (found.n_current or 0), rel=0.25)
    assert of(last, "b", "tpr").verdict is Verdict.OK
    assert of(last, "b", "fpr", ReferenceKind.TRAINING).verdict is Verdict.WARNING, "it was 0.2 in training"
    criteria = {f.statistic: f.verdict for f in last.findings if f.subject == "group"}
    assert criteria["equalised_odds"] is Verdict.WARNING
    assert criteria["equal_opportunity"] is Verdict.OK


def test_windows_are_added_up_and_an_overlapping_one_is_not_counted_twice() -> None:
    judged = judge(Fairness(slices=["group"], windows=3), 5, FAIR)
    sizes = [of(judgement, "b", "selection_rate").n_current or 0 for judgement in judged]
    layout = reference().outcome_layout
    assert layout is not None
    own = []
    for day in range(TRAINED, TRAINED + 5):
        group = OutcomeProfile.of(layout, people(day, FAIR)).group({"group": "b"})
        assert group is not None
        own.append(group.outcome.rows)
    assert sizes == [sum(own[max(0, i - 2) : i + 1]) for i in range(5)]
    again = Fairness(slices=["group"]).run(
        evidence(TRAINED + 4, people(TRAINED + 4, FAIR), {"fairness": judged[-1].memory})
    )
    assert of(again, "b", "selection_rate").n_current == sum(own[2:4]) + own[4], "the window itself was remembered"


def test_few_people_are_no_evidence() -> None:
    (first,) = judge(Fairness(slices=["group"]), 1, UNFAIR | {"c": 1.0})
    found = of(first, "c", "fpr")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason == "too few people"


def test_equal_treatment_breaks_nothing_at_the_level_of_the_budget() -> None:
    check = Fairness(slices=["group"], tolerance=0.0, windows=1)
    flagged = [
        any(f.family and f.verdict is Verdict.WARNING for f in check.run(evidence(day, people(day, FAIR), {})).findings)
        for day in range(100, 500)
    ]
    assert sum(flagged) <= 10, f"{sum(flagged)} of 400 at q = {Budget().q:.4f}"


def test_all_groups_and_rates_that_alert_are_corrected_for_together() -> None:
    *_, last = judge(Fairness(slices=["group"]), 28, FAIR)
    alerting = [f for f in last.findings if f.family]
    assert {(f.slice["group"], f.statistic) for f in alerting} == {
        (group, rate) for group in ("b", "c") for rate in ("tpr", "fpr")
    }
    assert [f.p_adjusted for f in alerting] == pytest.approx(adjusted([f.p_value or 0.0 for f in alerting]))
    assert [f.p_adjusted for f in alerting] != pytest.approx([f.p_value for f in alerting])


def test_the_reference_group_is_the_largest_or_the_one_that_is_named() -> None:
    (first,) = judge(Fairness(slices=["group"], reference={"group": "b"}), 1, FAIR)
    assert {f.slice["group"] for f in first.findings if f.reference_kind is ReferenceKind.GROUP and f.slice} >= {"a"}
    assert of(first, "a", "tpr").details["reference_group"] == "group = b"
    (unknown,) = judge(Fairness(slices=["group"], reference={"group": "z"}), 1, FAIR)
    said = [f.message for f in unknown.findings if f.statistic == "groups"]
    assert said == [
        "no group by group with 50 training rows fits fairness.reference; name one of training's groups there"
    ]


def test_what_training_does_not_know_or_the_log_lost_is_said_and_never_fair() -> None:
    (found,) = judge(Fairness(slices=["age"]), 1, FAIR)[0].findings
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "run `monitor profile loans` again" in found.message
    lost = Reading(faults=(ColumnFault(column="group", problem="vanished", message="group is gone."),))
    (found,) = judge(Fairness(slices=["group"]), 1, UNFAIR, reading=lost)[0].findings
    assert (found.verdict, found.message) == (Verdict.INCONCLUSIVE, "group is gone.")
    without = replace(reference(), grouped=None)
    with pytest.raises(MissingEvidenceError, match="knows no slices"):
        judge(Fairness(slices=["group"]), 1, FAIR, maybe_reference=without)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metrics": ["equality"]}, 'names "equality"; known are demographic_parity, .*, tpr'),
        ({"tolerance": 1.0}, "tolerance is 1.0"),
        ({"fewest": 3}, "fewest is 3"),
        ({"windows": 0}, "windows is 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Fairness(**options)


def test_the_message_names_the_slices_and_says_that_criteria_conflict() -> None:
    memories: Mapping[str, Any] = {}
    alerts: dict[str, Any] = {}
    told: list[Notification] = []
    for day in range(TRAINED, TRAINED + 5):
        known = evidence(day, people(day, UNFAIR), memories)
        decision = decide(
            known,
            {"fairness": Fairness(slices=["group"])},
            State(alerts=tuple(alerts.values())),
            Rules(),
            now=window(day).end,
            new_id=uuid.uuid4,
        )
        memories = decision.memories
        alerts |= {alert.key: alert for alert in decision.alerts}
        told += decision.notifications
    (message,) = told
    assert message.title == "Groups are treated differently: group"
    assert "people more wrongly selected" in message.summary
    assert "making one hold can break another" in message.next_step


def test_each_group_has_its_performance_with_intervals_beside_its_own_in_training() -> None:
    rows = Slices().run(evidence(TRAINED, people(TRAINED, UNFAIR), {})).performance
    by = {(row.slice["group"], row.metric): row for row in rows}
    found = by["b", "false_positive_rate"]
    assert found.value is not None
    assert found.interval_low is not None
    assert found.interval_high is not None
    assert found.reference_value is not None
    assert found.interval_low < found.value < found.interval_high
    assert found.value > 0.35 > found.reference_value
    assert by["c", "recall"].verdict is Verdict.INCONCLUSIVE
    assert {"auc", "log_loss", "precision", "recall", "specificity", "selection_rate", "label_coverage"} <= {
        metric for group, metric in by if group == "a"
    }


KINDS = ("grant", "defer", "refuse")


def judged(day: int, hard: float, n: int = 900) -> Batch:
    """Return people with one of three answers; for group b it is wrong more often, and mostly a refusal."""
    rng = np.random.default_rng([12, day])
    codes = (np.arange(n) % 2).astype(np.int32)
    label = rng.integers(0, 3, n)
    wrong = rng.random(n) < np.where(codes == 1, hard, 0.2)
    said = np.where(wrong, 2, label)
    scores = np.full((n, 3), 0.1)
    scores[np.arange(n), said] = 0.8
    return Batch(
        rows=n,
        time=int(window(day).start.timestamp()) * 1_000_000 + np.arange(n) * 60_000_000,
        columns={},
        scores=scores,
        score=scores.max(axis=1),
        label=label.astype(float),
        attributes={"group": CategoryValues(codes=codes, categories=("a", "b"))},
    )


def measured(day: int, worse: float, n: int = 900) -> Batch:
    """Return predicted numbers whose error is larger for group b."""
    rng = np.random.default_rng([13, day])
    codes = (np.arange(n) % 2).astype(np.int32)
    score = rng.normal(50, 10, n)
    return Batch(
        rows=n,
        time=int(window(day).start.timestamp()) * 1_000_000 + np.arange(n) * 60_000_000,
        columns={},
        score=score,
        label=score + rng.normal(0, 4, n) * np.where(codes == 1, worse, 1.0),
        attributes={"group": CategoryValues(codes=codes, categories=("a", "b"))},
    )


def of_task(task: Task, rows: Any, fair: float, unfair: float, **options: Any) -> list[Finding]:
    """Return what the check says after three days, the training of which was fair."""
    known = build_reference(
        concatenate([rows(day, fair) for day in range(TRAINED)]),
        model="loans",
        version="1",
        task=task,
        spec=SPEC,
        created_at=window(TRAINED).start,
        classes=KINDS if task is Task.MULTICLASS else (),
        slices=[["group"]],
    )
    assert known.outcome_layout is not None
    check = Fairness(slices=["group"], reference={"group": "a"}, **options)
    memories: Mapping[str, Any] = {}
    findings: Sequence[Finding] = ()
    for day in range(TRAINED, TRAINED + 3):
        outcome = OutcomeProfile.of(known.outcome_layout, rows(day, unfair))
        judgement = check.run(evidence(day, people(day, FAIR), memories, maybe_reference=known, maybe_outcome=outcome))
        memories, findings = {"fairness": judgement.memory}, judgement.findings
    return list(findings)


def told_of(findings: Sequence[Finding], rate: str) -> Finding:
    return next(
        f
        for f in findings
        if f.statistic == rate and f.reference_kind is ReferenceKind.GROUP and f.slice == {"group": "b"}
    )


def test_a_model_of_many_classes_is_compared_by_its_right_answers() -> None:
    found = told_of(of_task(Task.MULTICLASS, judged, 0.2, 0.6), "accuracy")
    assert found.verdict is Verdict.WARNING
    assert found.family == "fairness:group"
    assert found.value == pytest.approx(0.6, abs=0.03)  # a third of the refused would have been refused anyway
    assert found.reference_value == pytest.approx(0.87, abs=0.03)
    assert "share of right answers" in found.message
    assert told_of(of_task(Task.MULTICLASS, judged, 0.2, 0.2), "accuracy").verdict is Verdict.OK


def test_the_class_that_is_good_for_people_makes_decisions_of_many_classes() -> None:
    findings = of_task(Task.MULTICLASS, judged, 0.2, 0.6, favourable="grant", metrics=["equal_opportunity"])
    found = told_of(findings, "tpr")
    assert found.value == pytest.approx(0.4, abs=0.04)
    assert found.reference_value == pytest.approx(0.8, abs=0.04)
    assert "equal opportunity and equalised odds do not hold" in found.message
    assert any(f.statistic == "equal_opportunity" and f.verdict is Verdict.WARNING for f in findings)
    assert told_of(findings, "selection_rate").value < told_of(findings, "selection_rate").reference_value  # type: ignore[operator]


def test_a_regression_is_compared_by_the_size_of_its_errors() -> None:
    findings = of_task(Task.REGRESSION, measured, 1.0, 1.6)
    found = told_of(findings, "absolute_error")
    assert found.verdict is Verdict.WARNING
    assert found.value / found.reference_value == pytest.approx(1.6, abs=0.15)  # type: ignore[operator]
    assert "residual standard deviations" in found.message
    assert "%" not in found.message.partition("(95 %")[0]
    assert told_of(findings, "calibration").severity == "info"
    assert told_of(of_task(Task.REGRESSION, measured, 1.0, 1.0), "absolute_error").verdict is Verdict.OK


@pytest.mark.parametrize(
    ("task", "rows", "options", "words"),
    [
        (Task.REGRESSION, measured, {"metrics": ["tpr"]}, "tpr, which a regression model does not have"),
        (Task.MULTICLASS, judged, {"metrics": ["equalised_odds"]}, "name the favourable class"),
        (Task.MULTICLASS, judged, {"favourable": "praise"}, 'is "praise", but the classes are grant, defer, refuse'),
        (Task.REGRESSION, measured, {"favourable": "x"}, "a regression model has no classes"),
    ],
)
def test_what_a_task_does_not_have_is_refused_with_what_it_has(
    task: Task, rows: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(MissingEvidenceError, match=words):
        of_task(task, rows, 0.2, 0.2, **options)
