from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk

from monitor.check import Costs, MissingEvidenceError, Severity, Verdict, checks
from monitor.outcome import Task
from tests.unit.outcomes import COSTS, TRAINED, day_rows, evidence, judge, late, outcome, reference, unlabelled


def figures(day: int) -> dict[str, float | None]:
    check = checks.build("performance", {})
    judgement = check.run(evidence(day, outcome(day), {}))
    return {row.metric: row.value for row in judgement.performance}


def test_figures_of_a_window_are_those_of_its_rows() -> None:
    score, label = day_rows(TRAINED)
    said = score >= 0.35
    found = figures(TRAINED)
    assert found["log_loss"] == pytest.approx(sk.log_loss(label, score))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(label, score))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(label, score), abs=0.01)
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(label, score), abs=0.02)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(label, said))
    assert found["precision"] == pytest.approx(sk.precision_score(label, said))
    assert found["recall"] == pytest.approx(sk.recall_score(label, said))
    assert found["f1"] == pytest.approx(sk.f1_score(label, said))
    cost = (7 * (said & (label == 0)) + 13 * (~said & (label == 1))).mean()
    assert found["cost_per_prediction"] == pytest.approx(cost)
    assert found["regret_per_prediction"] == pytest.approx(cost - min(7 * (1 - label.mean()), 13 * label.mean()))
    assert found["fallback_cost_per_prediction"] == 3.0
    assert found["label_coverage"] == 1.0


def test_figures_of_a_regression_are_those_of_its_rows() -> None:
    score, label = day_rows(TRAINED, task=Task.REGRESSION)
    found = {row.metric: row.value for row in judge([None], Task.REGRESSION)[0].performance}
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(label, score))
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(label, score))
    assert found["r2"] == pytest.approx(sk.r2_score(label, score))
    assert found["bias"] == pytest.approx((label - score).mean())
    assert found["cost_per_prediction"] == pytest.approx(
        (2 * np.maximum(label - score, 0) + np.maximum(score - label, 0)).mean()
    )


def test_every_figure_with_an_interval_lies_in_it_and_has_training_beside_it() -> None:
    rows = judge([None])[0].performance
    bounded = [row for row in rows if row.interval_low is not None and row.interval_high is not None]
    assert len(bounded) >= 8
    for row in bounded:
        assert row.value is not None
        assert row.interval_low is not None
        assert row.interval_high is not None
        assert row.interval_low <= row.value <= row.interval_high
        assert row.reference_value is not None, row.metric


def test_ordinary_days_are_ok() -> None:
    findings = [f for judgement in judge([None] * 60) for f in judgement.findings]
    assert {f.verdict for f in findings} == {Verdict.OK}


def test_a_day_far_off_is_critical_at_once_and_says_how_far() -> None:
    found = judge([None, late(0.4)])[1].findings
    residual = next(f for f in found if f.statistic == "residual")
    assert residual.verdict is Verdict.CRITICAL
    assert residual.direction == 1
    assert residual.effect is not None
    assert residual.effect > 0.2
    assert "outcomes were positive, the model expected" in residual.message
    assert residual.details["cost"].startswith("≈ USD ")
    assert residual.impact_cost is not None
    assert residual.impact_cost > 0


def test_a_small_lasting_shift_is_found_by_the_slow_path_and_closed_once_it_is_over() -> None:
    judgements = judge([None] * 5 + [late(0.06)] * 40 + [None] * 40)
    slow = [next(f for f in j.findings if f.latched).verdict for j in judgements]
    assert Verdict.WARNING not in slow[:5]
    assert slow[44] is Verdict.WARNING
    assert slow[-1] is Verdict.OK


def test_a_week_of_shock_does_not_keep_the_slow_path_open_for_a_month() -> None:
    judgements = judge([None] * 5 + [late(0.4)] * 7 + [None] * 14)
    slow = [next(f for f in j.findings if f.latched).verdict for j in judgements]
    assert slow[11] is Verdict.WARNING
    assert slow[-1] is Verdict.OK


def test_what_was_found_of_one_model_is_not_held_against_the_next() -> None:
    memory = {"performance": judge([late(0.15)] * 20)[-1].memory}
    retrained = replace(reference(), version="2")
    day = evidence(TRAINED + 20, outcome(TRAINED + 20), memory, maybe_reference=retrained)
    assert {f.verdict for f in checks.build("performance", {}).run(day).findings} == {Verdict.OK}


def test_too_few_labels_are_inconclusive_and_never_ok() -> None:
    judgements = judge([None, unlabelled])
    assert {f.verdict for f in judgements[1].findings} == {Verdict.INCONCLUSIVE}
    assert judgements[1].memory["detector"] == judgements[0].memory["detector"]
    assert {row.verdict for row in judgements[1].performance} == {Verdict.INCONCLUSIVE}


def test_an_empty_window_is_inconclusive() -> None:
    check = checks.build("performance", {})
    judgement = check.run(evidence(TRAINED, outcome(TRAINED, rows=0), {}))
    assert {f.verdict for f in judgement.findings} == {Verdict.INCONCLUSIVE}


def test_a_better_model_than_in_training_is_no_alarm_about_loss() -> None:
    judgement = judge([lambda _score, label, _rng: (np.where(label > 0, 0.9, 0.05), label)])[0]
    loss = next(f for f in judgement.findings if f.statistic == "log_loss")
    assert loss.verdict is Verdict.OK


def test_the_memory_is_small_and_plain_json() -> None:
    memory = judge([None] * 130)[-1].memory
    assert len(json.dumps(memory, allow_nan=False)) < 60_000
    assert len(memory["series"]) == 120


def test_a_target_of_the_business_is_watched() -> None:
    costs = Costs(false_positive=7, false_negative=13, good_enough={"cost_per_prediction": 0.5})
    check = checks.build("performance", {})
    rows = check.run(evidence(TRAINED, outcome(TRAINED), {}, costs=costs)).performance
    row = next(row for row in rows if row.metric == "cost_per_prediction")
    assert (row.target, row.verdict) == (0.5, Verdict.WARNING)


def test_without_costs_no_money_is_spoken_of() -> None:
    check = checks.build("performance", {})
    judgement = check.run(evidence(TRAINED, outcome(TRAINED), {}, costs=None))
    assert not [row for row in judgement.performance if "cost" in row.metric or "regret" in row.metric]
    assert {f.impact_cost for f in judgement.findings} == {None}


def test_moving_the_cut_off_is_judged_on_a_window_it_was_not_chosen_on() -> None:
    rows = {row.metric: row.value for row in judge([None] * 3)[-1].performance}
    # the cut-off of a calibrated model is right already: nothing is to be gained
    assert rows["regret_to_moved_cutoff"] == pytest.approx(0, abs=0.25)
    assert rows["regret_to_recalibrated"] == pytest.approx(0, abs=0.25)


def test_a_training_profile_without_honest_predictions_says_what_to_do() -> None:
    from dataclasses import replace

    bare = replace(reference(), outcomes=(), outcome_layout=None)
    check = checks.build("performance", {})
    with pytest.raises(MissingEvidenceError, match="--holdout"):
        check.run(evidence(TRAINED, outcome(TRAINED), {}, maybe_reference=bare))


def test_a_shock_is_severe_and_a_breach_alone_is_not() -> None:
    shock = next(f for f in judge([late(0.6)])[0].findings if f.statistic == "residual")
    assert shock.severity is Severity.CRITICAL
    breach = next(f for f in judge([late(0.15)])[0].findings if f.statistic == "residual")
    assert breach.severity is Severity.WARNING
    assert COSTS.currency == breach.currency
