from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from monitor.stats.classification import (
    Confusion,
    auc,
    auc_error,
    average_precision,
    best_cutoff,
    calibration_error,
    cutoff_cost,
    macro_f1,
    tied_share,
)

GRID = np.arange(1, 200) / 200


def rows(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.beta(1.2, 3.0, n)
    return score, (rng.random(n) < score).astype(float)


def joint(score: np.ndarray, label: np.ndarray) -> np.ndarray:
    table = np.zeros((len(GRID) + 1, 2), np.int64)
    np.add.at(table, (np.searchsorted(GRID, score, side="right"), label.astype(int)), 1)
    return table


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 400))
def test_binned_auc_is_scikit_learns_within_half_the_tied_pairs(seed: int, n: int) -> None:
    score, label = rows(seed, n)
    table = joint(score, label)
    if 0 < label.sum() < n:
        assert abs(auc(table) - sk.roc_auc_score(label, score)) <= tied_share(table) / 2 + 1e-12


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 400))
def test_on_scores_rounded_to_their_bin_figures_equal_scikit_learns(seed: int, n: int) -> None:
    score, label = rows(seed, n)
    table = joint(score, label)
    rounded = np.searchsorted(GRID, score, side="right")
    if not 0 < label.sum() < n:
        return
    assert auc(table) == pytest.approx(sk.roc_auc_score(label, rounded))
    assert average_precision(table) == pytest.approx(sk.average_precision_score(label, rounded))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_decisions_give_the_figures_of_scikit_learn(seed: int) -> None:
    score, label = rows(seed, 300)
    said = score >= 0.35
    table = np.zeros((2, 2))
    np.add.at(table, (said.astype(int), label.astype(int)), 1)
    confusion = Confusion.of(table)
    assert confusion.accuracy == pytest.approx(sk.accuracy_score(label, said))
    assert confusion.precision == pytest.approx(sk.precision_score(label, said))
    assert confusion.recall == pytest.approx(sk.recall_score(label, said))
    assert confusion.specificity == pytest.approx(sk.recall_score(1 - label, ~said))
    assert confusion.f1 == pytest.approx(sk.f1_score(label, said))


def test_macro_f1_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    said, came = rng.integers(0, 4, 500), rng.integers(0, 4, 500)
    table = np.zeros((4, 4))
    np.add.at(table, (said, came), 1)
    assert macro_f1(table) == pytest.approx(sk.f1_score(came, said, average="macro"))


def test_the_error_of_an_auc_is_that_of_repeated_samples() -> None:
    areas = [sk.roc_auc_score(label, score) for score, label in (rows(seed, 400) for seed in range(300))]
    _, label = rows(1, 400)
    stated = auc_error(float(np.mean(areas)), float((label == 0).sum()), float(label.sum()))
    assert 0.8 < stated / np.std(areas) < 1.3


def test_one_label_alone_has_no_auc() -> None:
    assert np.isnan(auc([[3, 0], [1, 0]]))
    assert np.isnan(average_precision([[3, 0], [1, 0]]))


def test_the_best_cut_off_is_the_best_of_all() -> None:
    score, label = rows(3, 2000)
    table = joint(score, label)
    place, cost = best_cutoff(table, 7, 13)
    every = [cutoff_cost(table, at, 7, 13) for at in range(len(table) + 1)]
    assert cost == pytest.approx(min(every))
    assert cutoff_cost(table, place, 7, 13) == pytest.approx(cost)
    # a calibrated model's best cut-off is the price of an alarm among both prices
    assert abs(place / 200 - 0.35) < 0.1


def test_calibration_error_finds_a_shift_of_the_scores() -> None:
    score, label = rows(4, 20_000)
    middles = np.concatenate([[0.0], (GRID[1:] + GRID[:-1]) / 2, [1.0]])
    assert calibration_error(joint(score, label), middles) < 0.02
    assert calibration_error(joint(np.clip(score + 0.2, 0, 0.999), label), middles) == pytest.approx(0.2, abs=0.03)
