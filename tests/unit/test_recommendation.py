from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest

from monitor.advice import registration_notes
from monitor.alert import Alert, AlertState
from monitor.check import Cause, Severity, checks
from monitor.decision import Rules
from monitor.notification import Reason
from monitor.proof import Adjustment, Gain, Proof, ProofRequest, adjust, skill_sums
from monitor.rationale import choose
from monitor.recommendation import Action, Recommendation, RecommendationState
from tests.unit.outcomes import COSTS, TRAINED, Change, Daemon, late, outcome, reference, shuffled, unlabelled, window


class Prover:
    """Says what refits gained, and keeps what it was asked."""

    def __init__(self, **gains: Gain) -> None:
        self.gains = gains
        self.asked: list[ProofRequest] = []

    def __call__(self, request: ProofRequest) -> Proof:
        self.asked.append(request)
        return Proof(gains=self.gains)


def gain(mean: float, error: float = 0.01, per_prediction: float | None = 0.5) -> Gain:
    return Gain(mean=mean, error=error, champion_loss=0.6, windows=28, rows=8000, per_prediction=per_prediction)


def daemon(prover: Prover | None = None, **rules: float) -> Daemon:
    return Daemon(
        active={"performance": checks.build("performance", {})},
        rules=Rules(**rules),  # type: ignore[arg-type]  # only costs are given here
        prove=prover or Prover(expanding=gain(0.0, 0.05), recent=gain(-0.1)),
    )


def run(service: Daemon, days: int, change: Change | None = None) -> None:
    for _ in range(days):
        service.outcome_day(change)


def model_advice(service: Daemon) -> list[Recommendation]:
    return [r for r in service.recommendations.values() if r.cause_key == "model"]


def test_a_good_model_gets_no_advice() -> None:
    prover = Prover(expanding=gain(0.2))
    service = daemon(prover)
    run(service, 90)
    assert model_advice(service) == []
    assert prover.asked == []


def test_a_model_without_proven_skill_on_unseen_time_is_registered_with_a_note() -> None:
    """Scores that tell nothing of the labels are worse than a constant answer."""
    rng = np.random.default_rng(1)
    honest = reference()
    luckless = [outcome(day, lambda score, label, _: (score, rng.permutation(label))) for day in range(TRAINED)]
    assert registration_notes(honest) == []
    (note,) = registration_notes(replace(honest, outcomes=tuple(luckless)))
    assert note.startswith("no proven skill on unseen time")
    (none,) = registration_notes(replace(honest, outcomes=()))
    assert "no honest predictions" in none


def test_one_bad_week_is_no_reason_to_retrain() -> None:
    prover = Prover(expanding=gain(0.2))
    service = daemon(prover)
    run(service, 30)
    run(service, 7, late(0.5))
    run(service, 60)
    assert model_advice(service) == []


def test_a_model_that_lost_its_rank_is_retrained_when_a_refit_proves_better() -> None:
    service = daemon(Prover(expanding=gain(0.2), recent=gain(0.15)))
    run(service, 70, shuffled)
    (advice,) = model_advice(service)
    assert (advice.action, advice.state) == (Action.RETRAIN, RecommendationState.OPEN)
    assert "Two evaluations in a row failed" in advice.why
    assert "recalibrating" in advice.why_not
    told = [n for n in service.notifications if n.reason is Reason.RECOMMENDATION]
    assert len(told) == 1
    assert told[0].title == "RETRAIN: retrain the model"


def test_advice_needs_two_failed_evaluations_in_a_row() -> None:
    service = daemon(Prover(expanding=gain(0.2)))
    run(service, 28, shuffled)
    assert model_advice(service) == []
    run(service, 7, shuffled)
    assert [r.action for r in model_advice(service)] == [Action.RETRAIN]


SURE, UNSURE = gain(0.2), gain(0.2, 0.17)


@pytest.mark.parametrize(
    ("recalibrated", "moved", "refits", "action", "best"),
    [
        (gain(0.15), None, {"expanding": gain(0.2)}, Action.RECALIBRATE, "recalibrated"),  # most of the refit's gain
        (gain(0.1), None, {"expanding": gain(0.2)}, Action.RETRAIN, "expanding"),
        (gain(0.1), None, {"expanding": gain(0.2), "recent": gain(0.3)}, Action.RETRAIN, "recent"),
        (gain(0.15), None, {}, Action.RECALIBRATE, "recalibrated"),
        (UNSURE, None, {"expanding": UNSURE}, Action.WATCH, ""),
        (None, SURE, {"expanding": UNSURE}, Action.RECALIBRATE, "moved"),
        (UNSURE, UNSURE, {}, Action.RETRAIN, ""),  # nobody could try: may pay, not proven
        (None, None, {"expanding": gain(-0.4, 0.1), "recent": gain(-0.1)}, Action.WATCH, ""),
    ],
)
def test_the_cheapest_proven_change_is_advised(
    recalibrated: Gain | None, moved: Gain | None, refits: dict[str, Gain], action: Action, best: str
) -> None:
    found = choose(Adjustment(recalibrated=recalibrated, moved=moved), Proof(gains=refits))
    assert (found.action, found.best) == (action, best)
    assert found.proven is (bool(best) or bool(refits))


def test_a_gain_below_two_percent_of_the_loss_is_no_proof() -> None:
    assert not gain(0.011, 0.001).proven
    assert gain(0.013, 0.001).proven
    assert not gain(0.2, 0.17).proven


def test_a_lasting_wrong_level_is_recalibrated_from_profiles_alone() -> None:
    prover = Prover(expanding=gain(0.01), recent=gain(0.01))
    service = daemon(prover)
    run(service, 100, late(0.3))
    advice = model_advice(service)[0]
    assert advice.action is Action.RECALIBRATE
    assert advice.extras["map"] is not None
    assert 0 < advice.extras["cutoff"] < 0.35  # more comes true than is said: alarms must come sooner
    assert prover.asked


def test_where_refits_cannot_be_tried_retraining_may_pay_and_the_message_says_so() -> None:
    service = daemon()
    service.prove = lambda _: Proof(reason="the log table is gone")
    service.forgets = True
    run(service, 35, shuffled)
    (advice,) = model_advice(service)
    assert advice.action is Action.RETRAIN
    assert "may pay, not proven: the log table is gone" in advice.why


def test_a_refit_that_costs_more_than_it_brings_is_not_advised() -> None:
    service = daemon(Prover(expanding=gain(0.2, per_prediction=0.01)), retraining_cost=1000.0)
    run(service, 42, shuffled)
    (advice,) = model_advice(service)
    assert advice.action is Action.WATCH
    assert "costs 1,000" in advice.why_not
    assert not [n for n in service.notifications if n.reason is Reason.RECOMMENDATION]


def test_benefit_is_money_in_28_windows() -> None:
    service = daemon(Prover(expanding=gain(0.2, per_prediction=0.5)), retraining_cost=1000.0)
    run(service, 42, shuffled)
    (advice,) = model_advice(service)
    assert advice.expected_benefit == pytest.approx(0.5 * 300 * 28)
    assert (advice.expected_cost, advice.currency) == (1000.0, "USD")


def test_advice_is_closed_after_two_good_evaluations_and_soon_after_told_again_as_a_reply() -> None:
    service = daemon(Prover(expanding=gain(0.5)))
    run(service, 42, shuffled)
    run(service, 28)
    assert [r.state for r in model_advice(service)] == [RecommendationState.SUPERSEDED]
    run(service, 28, shuffled)
    told = [n for n in service.notifications if n.reason is Reason.RECOMMENDATION]
    assert [(n.in_thread, n.thread_key == told[0].thread_key) for n in told] == [(False, True), (True, True)]


def broken(first: int, last: int | None) -> Alert:
    return Alert(
        key="q",
        episode=1,
        model="flights",
        family="quality:weather",
        severity=Severity.WARNING,
        cause=Cause.DATA,
        state=AlertState.FIRING if last is None else AlertState.RESOLVED,
        opened_window_start=window(first).start,
        resolved_window_start=None if last is None else window(last).start,
    )


def test_windows_of_broken_data_are_left_out_of_evaluations_and_refits() -> None:
    prover = Prover(expanding=gain(0.2))
    service = daemon(prover)
    service.alerts["q"] = broken(TRAINED + 10, TRAINED + 16)
    run(service, 35, shuffled)
    left_out = {w.start for w in prover.asked[0].excluded}
    assert {window(TRAINED + day).start for day in range(10, 16)} <= left_out
    assert not left_out & {w.start for w in prover.asked[0].windows}


def test_while_most_windows_are_broken_there_is_no_advice() -> None:
    service = daemon(Prover(expanding=gain(0.2)))
    service.alerts["q"] = broken(TRAINED, None)
    run(service, 35, shuffled)
    assert model_advice(service) == []


def test_an_incident_excludes_at_most_28_windows() -> None:
    service = daemon(Prover(expanding=gain(0.2)))
    service.alerts["q"] = broken(TRAINED, None)
    run(service, 63, shuffled)
    assert [r.action for r in model_advice(service)] == [Action.RETRAIN]


def investigation(state: RecommendationState, day: int = TRAINED) -> Recommendation:
    return Recommendation(
        id=UUID(int=10_000 + day),
        model="flights",
        cause_key="data:quality:weather",
        action=Action.INVESTIGATE_DATA,
        state=state,
        opened_at=window(day).end,
        window_start=window(day).start,
        window_end=window(day).end,
    )


def test_who_dismisses_the_advice_on_data_says_that_its_windows_count() -> None:
    service = daemon(Prover(expanding=gain(0.2)))
    service.alerts["q"] = broken(TRAINED, None)
    run(service, 20, shuffled)
    dismissed = investigation(RecommendationState.DISMISSED)
    service.recommendations[dismissed.id] = dismissed
    run(service, 15, shuffled)
    assert [r.action for r in model_advice(service)] == [Action.RETRAIN]


def test_a_later_advice_on_the_same_data_excludes_its_windows_again() -> None:
    service = daemon(Prover(expanding=gain(0.2)))
    service.alerts["q"] = broken(TRAINED, None)
    for one in (investigation(RecommendationState.DISMISSED), investigation(RecommendationState.OPEN, TRAINED + 5)):
        service.recommendations[one.id] = one
    run(service, 35, shuffled)
    assert model_advice(service) == []


def test_labels_that_stay_away_are_told_once() -> None:
    service = daemon()
    run(service, 5)
    run(service, 20, unlabelled)
    (advice,) = [r for r in service.recommendations.values() if r.cause_key == "labels"]
    assert advice.action is Action.INSUFFICIENT_DATA
    assert len([n for n in service.notifications if n.reason is Reason.RECOMMENDATION]) == 1
    run(service, 3)
    (advice,) = [r for r in service.recommendations.values() if r.cause_key == "labels"]
    assert advice.state is RecommendationState.SUPERSEDED


def test_evaluations_ask_for_rows_before_their_windows_only() -> None:
    prover = Prover(expanding=gain(0.2))
    service = daemon(prover)
    run(service, 35, shuffled)
    (request,) = prover.asked
    assert all(w.start >= request.fit_until for w in request.windows)
    assert request.recent_since == request.fit_until - timedelta(days=TRAINED)
    assert request.costs == COSTS


def test_recalibrating_a_calibrated_model_gains_nothing() -> None:
    fit = sum((outcome(day) for day in range(61, 90)), start=outcome(60))
    adjustment = adjust(fit, [outcome(day) for day in range(100, 128)], COSTS)
    assert adjustment.recalibrated is not None
    assert adjustment.moved is not None
    assert not adjustment.recalibrated.proven
    assert not adjustment.moved.proven


def test_the_baseline_of_the_skill_is_the_base_rate_of_all_windows_together() -> None:
    windows = [outcome(day) for day in range(60, 70)]
    _, base = skill_sums(windows)
    labels = sum(w.labelled for w in windows)
    rate = sum(int(w.joint[:, 1].sum()) for w in windows) / labels
    assert base.sum() == pytest.approx(labels * rate * (1 - rate))
