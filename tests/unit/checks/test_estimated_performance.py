from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from monitor.check import Cause, Costs, Finding, MissingEvidenceError, Performance, Stage, Verdict, checks
from monitor.error_model import error_model_of
from monitor.estimate import CHANNELS, FIGURES, estimator_of, realised_figures, score_counts
from monitor.metric import metrics_of
from monitor.outcome import OutcomeProfile, Task
from monitor.profile import Profile
from monitor.reference import Reference, build_reference, with_score
from tests.unit.outcomes import (
    COSTS,
    SPEC,
    TRAINED,
    batch,
    day_rows,
    evidence,
    late,
    outcome,
    reference,
    unlabelled,
    window,
)


def inputs(day: int, rows: int = 300, tilt: float = 0.0) -> tuple[Profile, OutcomeProfile]:
    """Return a day's input profile and its outcomes; with a tilt rows with high scores are kept rather than others."""
    score, label = day_rows(day, rows)
    if tilt:
        kept = np.random.default_rng([9, day]).random(rows) < np.clip(score * tilt, 0, 1)
        score, label = score[kept], label[kept]
    rows_ = batch([day], [score], [label])
    layout = reference().outcome_layout
    assert layout is not None
    return Profile.of(reference().layout, with_score(rows_)), OutcomeProfile.of(layout, rows_)


def estimated(current: Profile, **changes: object) -> tuple[dict[str, Performance], Finding]:
    known = evidence(TRAINED, None, {}, stage=Stage.INPUTS, maybe_current=current, **changes)
    judgement = checks.build("estimated_performance", {}).run(known)
    return {row.metric: row for row in judgement.performance}, judgement.findings[0]


def compared(found: OutcomeProfile) -> Finding:
    judgement = checks.build("estimated_performance", {}).run(evidence(TRAINED, found, {}))
    return judgement.findings[0]


def test_estimates_lie_near_what_labels_say_later_and_intervals_hold() -> None:
    held = np.zeros(len(FIGURES))
    for day in range(TRAINED, TRAINED + 100):
        current, labelled = inputs(day)
        rows, _ = estimated(current)
        realised = realised_figures(labelled)
        for i, name in enumerate(FIGURES):
            row = rows[name]
            assert row.basis == "estimated"
            assert row.interval_low is not None
            assert row.interval_high is not None
            held[i] += row.interval_low <= realised[name] <= row.interval_high
    assert held.min() >= 88, dict(zip(FIGURES, held, strict=True))  # of 100 at 95 %
    assert held.mean() <= 99.5, "intervals that always hold say nothing"


def test_what_other_inputs_do_to_performance_is_seen_without_a_label() -> None:
    current, labelled = inputs(TRAINED, rows=40_000, tilt=1.5)
    usual, _ = inputs(TRAINED, rows=40_000)
    rows, _ = estimated(current)
    realised = realised_figures(labelled)
    before = estimated(usual)[0]["accuracy"].value
    assert before is not None
    assert abs(realised["accuracy"] - before) > 0.02, "the tilt must matter for the test to mean anything"
    assert rows["accuracy"].value == pytest.approx(realised["accuracy"], abs=0.01)
    assert rows["auc"].value == pytest.approx(realised["auc"], abs=0.01)


def test_figures_are_those_of_the_performance_check() -> None:
    _, labelled = inputs(TRAINED)
    exact, binned = metrics_of(labelled, COSTS), realised_figures(labelled)
    for name in ("auc", "average_precision", "accuracy", "precision", "recall", "specificity", "f1"):
        assert binned[name] == pytest.approx(exact[name].value), name
    for name in ("log_loss", "brier"):  # a bin's middle stands for its scores
        assert binned[name] == pytest.approx(exact[name].value, abs=0.01), name


def test_money_is_estimated_where_mistakes_have_a_price() -> None:
    current, labelled = inputs(TRAINED, rows=5000)
    rows, _ = estimated(current, costs=COSTS)
    cost = metrics_of(labelled, COSTS)["cost_per_prediction"].value
    row = rows["cost_per_prediction"]
    assert row.interval_low is not None
    assert row.interval_high is not None
    assert row.interval_low <= cost <= row.interval_high
    assert "cost_per_prediction" not in estimated(current, costs=None)[0]


def test_an_estimate_that_misses_the_target_of_the_business_says_so() -> None:
    current, _ = inputs(TRAINED)
    costs = Costs(false_positive=7, false_negative=13, good_enough={"cost_per_prediction": 0.5})
    assert estimated(current, costs=costs)[0]["cost_per_prediction"].verdict is Verdict.WARNING


def test_matured_labels_that_bear_the_estimate_out_are_ok() -> None:
    verdicts = [compared(outcome(day)).verdict for day in range(TRAINED, TRAINED + 100)]
    assert verdicts.count(Verdict.WARNING) <= 2  # three standard errors


def test_labels_that_contradict_the_scores_are_concept_drift() -> None:
    found = compared(outcome(TRAINED, late(0.4)))
    assert (found.verdict, found.cause, found.direction) == (Verdict.WARNING, Cause.CONCEPT, 1)
    assert "outcomes follow from scores otherwise than in training" in found.message


def test_without_labels_the_estimate_stands_unproven() -> None:
    assert compared(outcome(TRAINED, unlabelled)).verdict is Verdict.INCONCLUSIVE


def test_a_window_without_scores_is_missing_evidence() -> None:
    with pytest.raises(MissingEvidenceError, match="no scores to estimate from"):
        estimated(Profile.empty(reference().layout))


def test_a_reference_without_honest_predictions_says_what_to_do() -> None:
    known = evidence(TRAINED, None, {}, stage=Stage.INPUTS, maybe_reference=replace(reference(), outcomes=()))
    with pytest.raises(MissingEvidenceError, match="--holdout"):
        checks.build("estimated_performance", {}).run(known)


def test_each_task_has_its_own_estimator() -> None:
    assert estimator_of(reference(Task.REGRESSION)) is None
    assert error_model_of(reference()) is None
    assert error_model_of(reference(Task.REGRESSION)) is not None


def test_a_profile_without_a_score_has_no_counts_of_it() -> None:
    estimator = estimator_of(reference())
    assert estimator is not None
    assert estimator.gap.channels == len(CHANNELS)
    layout = type(reference().layout)(tuple(c for c in reference().layout.columns if c.part == "input"))
    assert score_counts(Profile.empty(layout), estimator.layout) is None


def predicted(day: int, rows: int = 2000, higher: float = 0.0) -> tuple[Profile, OutcomeProfile]:
    """Return a day of a regression that errs more the higher it predicts, its inputs and its outcomes."""
    rng = np.random.default_rng([5, day])
    score = rng.normal(50 + higher, 10, rows)
    label = score + rng.normal(0, 1, rows) * np.clip(score - 20, 1, None) / 6
    one = batch([day], [score], [label])
    known = risky()
    assert known.outcome_layout is not None
    return Profile.of(known.layout, with_score(one)), OutcomeProfile.of(known.outcome_layout, one)


@cache
def risky() -> Reference:
    days = range(TRAINED)
    rngs = [np.random.default_rng([4, day]) for day in days]
    scores = [rng.normal(50, 10, 500) for rng in rngs]
    labels = [s + rng.normal(0, 1, 500) * np.clip(s - 20, 1, None) / 6 for s, rng in zip(scores, rngs, strict=True)]
    return build_reference(
        batch(list(days), scores, labels),
        model="flights",
        version="1",
        task=Task.REGRESSION,
        spec=SPEC,
        created_at=window(TRAINED).start,
        held_out_from=window(20).start,
    )


@pytest.mark.parametrize("higher", [0.0, 8.0])
def test_the_error_of_a_regression_is_estimated_where_its_predictions_lie_now(higher: float) -> None:
    current, labelled = predicted(TRAINED, rows=20_000, higher=higher)
    known = evidence(
        TRAINED,
        None,
        {},
        stage=Stage.INPUTS,
        maybe_current=current,
        maybe_reference=risky(),
        costs=Costs(under=2, over=1),
    )
    rows = {row.metric: row for row in checks.build("estimated_performance", {}).run(known).performance}
    realised = metrics_of(labelled)
    assert rows["mae"].value == pytest.approx(realised["mae"].value, rel=0.04)
    assert rows["capped_error"].value == pytest.approx(realised["capped_error"].value, rel=0.04)
    assert rows["mae"].interval_low < realised["mae"].value < rows["mae"].interval_high  # type: ignore[operator]
    if higher:
        assert rows["mae"].value > 1.15 * rows["mae"].reference_value  # type: ignore[operator]  # seen without a label
    assert rows["cost_per_prediction"].value is not None


def test_a_regression_that_errs_more_than_its_predictions_explain_is_concept_drift() -> None:
    _, fine = predicted(TRAINED)
    calm = checks.build("estimated_performance", {}).run(evidence(TRAINED, fine, {}, maybe_reference=risky()))
    assert [f.verdict for f in calm.findings] == [Verdict.OK]
    rng = np.random.default_rng(1)
    score = rng.normal(50, 10, 2000)
    one = batch([TRAINED], [score], [score + rng.normal(6, 6, 2000)])
    layout = risky().outcome_layout
    assert layout is not None
    off = evidence(TRAINED, OutcomeProfile.of(layout, one), {}, maybe_reference=risky())
    (finding,) = checks.build("estimated_performance", {}).run(off).findings
    assert (finding.verdict, finding.cause) == (Verdict.WARNING, Cause.CONCEPT)
    assert "capped error" in finding.message
