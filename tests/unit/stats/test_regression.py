from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.linear_model import QuantileRegressor

from monitor.stats.regression import absolute_fit, mean_and_error, r_squared, representatives, weighted_median

rng = np.random.default_rng(0)
SCORE = rng.normal(50, 10, 400)
LABEL = 5 + 1.2 * SCORE + rng.normal(0, 8, 400)


def test_r_squared_from_sums_is_scikit_learns() -> None:
    found = r_squared(400, ((LABEL - SCORE) ** 2).sum(), LABEL.sum(), (LABEL**2).sum())
    assert found == pytest.approx(sk.r2_score(LABEL, SCORE))


def test_labels_that_do_not_vary_have_no_r_squared() -> None:
    assert np.isnan(r_squared(3, 1.0, 6.0, 12.0))


def test_the_line_of_least_absolute_error_is_scikit_learns_and_wild_labels_do_not_turn_it() -> None:
    wild = np.where(np.arange(400) % 40 == 0, 5000.0, LABEL)
    line = QuantileRegressor(quantile=0.5, alpha=0.0).fit(SCORE[:, None], wild)
    found = absolute_fit(SCORE, wild, np.ones(400))
    assert found == pytest.approx((line.coef_[0], line.intercept_), rel=0.02, abs=0.5)


def test_weights_are_as_many_points() -> None:
    weights = np.arange(400) % 3
    assert absolute_fit(SCORE, LABEL, weights) == pytest.approx(
        absolute_fit(SCORE.repeat(weights), LABEL.repeat(weights), np.ones(weights.sum())), rel=1e-6
    )


def test_scores_that_do_not_vary_are_moved_and_not_stretched() -> None:
    assert absolute_fit([5.0] * 4, [7.0, 7.0, 7.0, 90.0], np.ones(4)) == (1.0, 2.0)


def test_the_error_of_a_mean_is_numpys() -> None:
    mean, error = mean_and_error(400, LABEL.sum(), (LABEL**2).sum())
    assert mean == pytest.approx(LABEL.mean())
    assert error == pytest.approx(LABEL.std(ddof=1) / 20)


def test_values_beyond_the_training_range_are_represented_by_what_the_sum_leaves() -> None:
    values = np.array([1.0, 1.0, 2.5, 9.0, 11.0])
    edges = np.array([0.5, 1.5, 3.0, 4.0])
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=5)
    found = representatives(edges, counts, float(values.sum()))
    assert found[-1] == pytest.approx((24.5 - 2 * found[1] - found[2]) / 2)
    assert found[-1] > 9


def test_the_median_of_a_histogram_lies_at_half_its_counts() -> None:
    assert weighted_median([1, 2, 3], [1, 1, 5]) == 3
    assert np.isnan(weighted_median([1, 2], [0, 0]))
