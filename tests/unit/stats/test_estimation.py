from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.stats.classification import auc
from monitor.stats.estimation import calibrated_rates, expected_joint, monotone_rates, rebin

SCORES = (np.arange(20) + 0.5) / 20


def drawn(rates: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Return counts (B, 2) of rows spread evenly over the bins, with labels drawn at ``rates``."""
    positives = np.random.default_rng(seed).binomial(rows, rates)
    return np.stack([rows - positives, positives], axis=1)


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4), st.lists(st.floats(0.001, 0.999), max_size=6))
def test_no_row_is_lost_or_invented_between_two_sets_of_edges(counts: list[int], onto: list[float]) -> None:
    found = rebin(counts, [0.2, 0.5, 0.7], sorted(set(onto)))
    assert found.sum() == pytest.approx(sum(counts))
    assert (found >= -1e-9).all()


def test_a_value_with_a_bin_of_its_own_stays_on_its_side_of_the_cut_off() -> None:
    atom = 0.35
    edges = [0.1, atom, float(np.nextafter(atom, 1)), 0.9]
    assert rebin([0, 0, 100, 0, 0], edges, [atom]).round(6).tolist() == [0.0, 100.0]


def test_a_calibrated_score_is_left_as_it_is() -> None:
    joints = [drawn(SCORES, 4, seed) for seed in range(40)]
    assert calibrated_rates(joints, SCORES) is SCORES or np.allclose(calibrated_rates(joints, SCORES), SCORES, atol=0.1)


def test_an_overconfident_score_is_mended() -> None:
    true = 0.3 + 0.4 * SCORES
    found = calibrated_rates([drawn(true, 50, seed) for seed in range(40)], SCORES)
    assert np.abs(found - true).max() < 0.05


def test_rates_never_fall_with_the_score() -> None:
    found = monotone_rates(drawn(np.random.default_rng(0).random(20), 30, 1), SCORES)
    assert (np.diff(found) >= 0).all()


def test_two_windows_are_too_few_to_find_out_whether_calibrating_helps_with_one() -> None:
    assert calibrated_rates([drawn(SCORES, 50, 0)], SCORES) is SCORES
    assert calibrated_rates([], SCORES) is SCORES


def test_the_expected_ranking_is_that_of_drawn_labels() -> None:
    rows = np.full(20, 5000)
    estimated = auc(expected_joint(rows, SCORES))
    assert estimated == pytest.approx(auc(drawn(SCORES, 5000, 3)), abs=0.005)
