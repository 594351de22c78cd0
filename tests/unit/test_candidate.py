"""A candidate is promoted, held or rolled back by its losses, paired or apart, and never on a few labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from monitor.candidate import Answers, Loss, ReleaseVerdict, judge_apart, judge_pairs, likeness, losses
from monitor.check import Costs

COSTS = Costs(false_positive=7.0, false_negative=13.0)


def world(rows: int, *, noise: float = 0.0, seed: int = 0) -> tuple[Answers, Answers]:
    """Return a champion and a candidate on the same requests, of which the second sees less by ``noise``."""
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.3).astype(float)
    evidence = label + rng.normal(size=rows)

    def said(seen: np.ndarray) -> Answers:
        score = 1 / (1 + np.exp(-(seen - 1.3)))
        return Answers(score=score, decision=(score > 0.4).astype(float), label=label, window=np.arange(rows) // 100)

    return said(evidence), said(evidence + noise * rng.normal(size=rows))


@pytest.mark.parametrize("loss", [Loss.COST, Loss.ERROR, Loss.BRIER, Loss.LOG_LOSS])
def test_an_equal_candidate_is_promoted_and_a_bad_one_rolled_back(loss: Loss) -> None:
    champion, same = world(20_000)
    good = judge_pairs(champion, same, loss=loss, costs=COSTS)
    assert good.verdict is ReleaseVerdict.PROMOTE, good.why
    champion, bad = world(20_000, noise=2.0)
    judged = judge_pairs(champion, bad, loss=loss, costs=COSTS)
    assert judged.verdict is ReleaseVerdict.ROLL_BACK, judged.why
    assert judged.candidate > judged.champion


def test_a_canary_needs_more_labels_for_the_same_verdict() -> None:
    champion, bad = world(20_000, noise=2.0)
    few = np.arange(20_000) < 900
    assert judge_pairs(champion.of(few), bad.of(few), loss=Loss.COST, costs=COSTS).verdict is ReleaseVerdict.ROLL_BACK
    other, _ = world(20_000, seed=1)
    held = judge_apart(other.of(few), bad.of(few), loss=Loss.COST, costs=COSTS)
    assert held.verdict is ReleaseVerdict.HOLD
    assert 900 < held.rows_needed < 20_000
    assert judge_apart(other, bad, loss=Loss.COST, costs=COSTS).verdict is ReleaseVerdict.ROLL_BACK


def test_few_labels_hold_and_say_how_many_are_needed() -> None:
    champion, same = world(5000)
    unlabelled = replace(champion, label=np.where(np.arange(5000) < 150, champion.label, np.nan))
    judged = judge_pairs(unlabelled, same, loss=Loss.ERROR)
    assert (judged.verdict, judged.why, judged.rows_needed) == (
        ReleaseVerdict.HOLD,
        "150 of 200 labelled requests to begin with",
        200,
    )
    more = judge_pairs(champion.of(np.arange(5000) < 300), same.of(np.arange(5000) < 300), loss=Loss.ERROR)
    assert more.verdict is ReleaseVerdict.HOLD
    assert 300 < more.rows_needed < 1e6


def test_answers_that_are_missing_are_left_out() -> None:
    champion, same = world(5000)
    holes = replace(same, score=np.where(np.arange(5000) % 2, same.score, np.nan))
    judged = judge_pairs(champion, holes, loss=Loss.BRIER)
    assert judged.difference is not None
    assert judged.difference.rows == 2500


def test_costs_that_nobody_configured_are_asked_for() -> None:
    champion, same = world(300)
    with pytest.raises(ValueError, match=r"business\.costs are not configured"):
        losses(champion, Loss.COST, Costs())
    with pytest.raises(ValueError, match=r"business\.costs are not configured"):
        judge_pairs(champion, same, loss=Loss.COST)


def test_numbers_cost_by_how_far_they_are_off() -> None:
    answers = Answers(
        score=np.array([1.0, 4.0]), decision=np.full(2, np.nan), label=np.array([3.0, 3.0]), window=np.zeros(2, int)
    )
    assert losses(answers, Loss.COST, Costs(under=10.0, over=1.0)).tolist() == [20.0, 1.0]
    assert losses(answers, Loss.ABSOLUTE).tolist() == [2.0, 1.0]
    assert losses(answers, Loss.SQUARED).tolist() == [4.0, 1.0]


def test_the_band_that_differs_most_comes_first() -> None:
    champion, same = world(10_000)
    moved = replace(same, score=np.where(champion.score > 0.6, same.score - 0.3, same.score))
    like = likeness(champion, moved)
    assert like.rows == 10_000
    assert like.agreement == 1.0  # decisions were not changed
    assert like.bands[0][0] > 0.5
    assert like.bands[0][2] == pytest.approx(0.3, abs=0.01)
    assert like.bands[-1][2] == 0
    assert likeness(champion, same).rank_correlation == pytest.approx(1)


def test_a_number_has_a_cost_without_a_decision() -> None:
    rng = np.random.default_rng(0)
    said = rng.normal(0, 10, 4000)
    champion = Answers(
        score=said,
        decision=np.full(4000, np.nan),
        label=said + rng.normal(0, 4, 4000),
        window=np.arange(4000) // 100,
    )
    costs = Costs(under=2.0, over=1.0)
    assert judge_pairs(champion, champion, loss=Loss.COST, costs=costs).verdict is ReleaseVerdict.PROMOTE
    late = replace(champion, score=said - 8)
    assert judge_pairs(champion, late, loss=Loss.COST, costs=costs).verdict is ReleaseVerdict.ROLL_BACK


def test_many_classes_are_judged_by_the_probability_of_the_true_one() -> None:
    score = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    answers = Answers(score=score, decision=np.array([0.0, 2.0]), label=np.array([0.0, 1.0]), window=np.zeros(2, int))
    assert losses(answers, Loss.ERROR).tolist() == [0.0, 1.0]
    assert losses(answers, Loss.LOG_LOSS).tolist() == pytest.approx([-np.log(0.7), -np.log(0.1)])
    assert losses(answers, Loss.BRIER).tolist() == pytest.approx([(0.09 + 0.04 + 0.01) / 2, (0.01 + 0.81 + 0.64) / 2])
    with pytest.raises(ValueError, match="many classes have no cost"):
        losses(answers, Loss.COST, COSTS)
    like = likeness(answers, replace(answers, score=score[:, ::-1], decision=np.array([2.0, 0.0])))
    assert like.agreement == 0.0
    assert like.score_distance == pytest.approx((0.6 + 0.7) / 2)
