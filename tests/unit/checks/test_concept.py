from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from monitor.check import Cause, Finding, MissingEvidenceError, Severity, Verdict, checks
from monitor.notification import Reason
from monitor.outcome import OutcomeProfile, Task, outcomes_of
from monitor.reference import Reference, build_reference
from monitor.source import Batch, CategoryValues, Floats
from monitor.stratum import strata_of
from tests.unit.outcomes import SPEC, TRAINED, Change, Daemon, batch, evidence, late, outcome, reference, window
from tests.unit.outcomes import day_rows as drawn


def watch(changes: Sequence[Change | None], task: Task = Task.BINARY, **options: Any) -> list[list[Finding]]:
    """Return what the check says of successive days after training."""
    check = checks.build("concept", options)
    memory: dict[str, Any] = {}
    found = []
    for i, change in enumerate(changes):
        known = evidence(TRAINED + i, outcome(TRAINED + i, change, task=task), memory, maybe_reference=reference(task))
        judgement = check.run(known)
        memory = {"concept": judgement.memory}
        found.append(list(judgement.findings))
    return found


def opened(day: Sequence[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in day if finding.verdict is Verdict.WARNING}


def turned(score: Floats, label: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Let low scores come true more often and high ones as much less: overall as many as before."""
    low, high = score < 0.15, score > 0.5
    up, down = rng.random(len(label)) < 0.15, rng.random(len(label)) < 0.25
    return score, np.where(low & up, 1.0, np.where(high & down, 0.0, label))


@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_nothing_is_said_of_a_model_that_is_as_good_as_in_training(task: Task) -> None:
    days = watch([None] * 150, task)
    assert all(not opened(day) for day in days)
    assert {finding.verdict for finding in days[0]} == {Verdict.OK}


def test_a_relation_that_changes_in_some_tenths_only_is_found_there() -> None:
    days = watch([None] * 20 + [turned] * 40)
    assert all(not opened(day) for day in days[:20])
    found = opened(days[-1])
    below = [f for name, f in found.items() if name.startswith("score below") and f.direction > 0]
    above = [f for name, f in found.items() if name.startswith("score from") and f.direction < 0]
    assert below, found
    assert above, found
    assert "outcome" not in found or found["outcome"].statistic == "concept_loss"  # residuals cancel out overall
    assert below[0].cause is Cause.CONCEPT
    assert "more comes true than is said" in below[0].message
    assert "lasting since" in below[0].message


def test_what_lies_within_the_tolerance_never_alarms_however_long_it_lasts() -> None:
    days = watch([late(0.02)] * 250, tolerance=0.1, loss_tolerance=1.0)
    assert all(not opened(day) for day in days)
    assert opened(watch([late(0.3)] * 60, tolerance=0.1, loss_tolerance=1.0)[-1])


def test_a_lower_loss_is_no_alarm() -> None:
    def certain(score: Floats, label: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw labels that go with the scores more closely than is said."""
        sharp = 1 / (1 + np.exp(-2.5 * np.log(score / (1 - score))))
        return score, (rng.random(len(label)) < sharp).astype(float)

    for day in watch([certain] * 60):
        for finding in opened(day).values():
            assert finding.statistic != "concept_loss", finding.message


def test_intervals_hold_whenever_they_are_looked_at() -> None:
    days = watch([late(0.1)] * 200)
    truth = np.nanmean([f.value - f.reference_value for day in days for f in day if f.subject == "outcome"])  # type: ignore[operator]
    left = [f for day in days for f in day if f.subject == "outcome"]
    known = [f for f in left if f.statistic == "concept_residual"]
    assert all(f.interval_low <= truth <= f.interval_high for f in known)  # type: ignore[operator]
    assert known[-1].interval_low > 0  # type: ignore[operator]  # and in the end they tell


def test_a_message_is_sent_only_where_it_is_wished() -> None:
    for notify, loud in (("digest", False), ("message", True)):
        service = Daemon(active={"concept": checks.build("concept", {"notify": notify})})
        for _ in range(40):
            service.outcome_day(turned)
        first = [n for n in service.notifications if n.reason is Reason.FIRST]
        assert bool(first) is loud
        if loud:
            assert first[0].severity is Severity.WARNING
            assert "outcomes no longer follow from scores" in first[0].title.lower()


def test_what_speaks_against_one_model_says_nothing_about_the_next() -> None:
    check = checks.build("concept", {})
    memory = {"concept": {**check.run(evidence(TRAINED, outcome(TRAINED), {})).memory, "reference": "another"}}
    fresh = check.run(evidence(TRAINED + 1, outcome(TRAINED + 1), memory)).memory
    assert set(fresh["windows"]) <= {0, 1}


def test_without_honest_predictions_it_says_what_is_missing() -> None:
    bare = replace(reference(), outcomes=(None,) * len(reference().windows))
    with pytest.raises(MissingEvidenceError, match="--holdout"):
        checks.build("concept", {}).run(evidence(TRAINED, outcome(TRAINED), {}, maybe_reference=bare))


@pytest.mark.parametrize(("options", "word"), [({"tolerance": 0}, "above 0"), ({"loss_tolerance": -1}, "above 0")])
def test_a_tolerance_of_nothing_is_refused(options: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        checks.build("concept", options)


CITIES = ("Oslo", "Rome")


def in_cities(days: Sequence[int], wrong: str = "") -> Batch:
    """Return rows of two cities; in one of them more comes true than is said."""
    rows = [drawn(day) for day in days]
    scores, labels = [s for s, _ in rows], [y for _, y in rows]
    whole = batch(days, scores, labels)
    codes = (np.arange(whole.rows) % 2).astype(np.int32)
    assert whole.label is not None
    label = whole.label.copy()
    if wrong:
        mine = codes == CITIES.index(wrong)
        label[mine & (np.random.default_rng(days[0]).random(whole.rows) < 0.25)] = 1.0
    return replace(whole, label=label, attributes={"city": CategoryValues(codes=codes, categories=CITIES)})


def sliced() -> Reference:
    return build_reference(
        in_cities(range(TRAINED)),
        model="flights",
        version="1",
        task=Task.BINARY,
        spec=SPEC,
        created_at=window(TRAINED).start,
        held_out_from=window(20).start,
        threshold=0.35,
        slices=[["city"]],
    )


def test_a_group_for_which_the_relation_changed_is_named() -> None:
    known = sliced()
    assert known.outcome_layout is not None
    check = checks.build("concept", {})
    memory: dict[str, Any] = {}
    found: Sequence[Finding] = ()
    for day in range(TRAINED, TRAINED + 40):
        rows = in_cities([day], wrong="Rome")
        of_day: OutcomeProfile = outcomes_of(known.outcome_layout, rows, np.zeros(rows.rows, np.int64), 1)[0]
        judgement = check.run(evidence(day, of_day, memory, maybe_reference=known))
        memory, found = {"concept": judgement.memory}, judgement.findings
    bad = opened(found)
    assert bad["city = Rome"].slice == {"city": "Rome"}
    assert "city = Oslo" not in bad


def test_tenths_hold_about_as_many_training_rows_each() -> None:
    strata, total = strata_of(reference()), reference().outcome_total
    assert strata is not None
    assert total is not None
    counts = np.bincount(strata.tenth, weights=total.joint.sum(axis=1))
    assert len(counts) == 10
    assert counts.min() > 0.5 * counts.mean()
    assert strata.members[1].name.startswith("score below")
    assert strata.members[10].name.startswith("score from")
