from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.linear_model import LinearRegression

from monitor.stats.regression import linear_fit, mean_and_error, r_squared, representatives, weighted_median

rng = np.random.default_rng(0)
SCORE = rng.normal(50, 10, 400)
LABEL = 5 + 1.2 * SCORE + rng.normal(0, 8, 400)


def test_r_squared_from_sums_is_scikit_learns() -> None:
    found = r_squared(400, ((LABEL - SCORE) ** 2).sum(), LABEL.sum(), (LABEL**2).sum())
    assert found == pytest.approx(sk.r2_score(LABEL, SCORE))


def test_labels_that_do_not_vary_have_no_r_squared() -> None:
    assert np.isnan(r_squared(3, 1.0, 6.0, 12.0))


def test_a_line_from_sums_is_the_least_squares_line() -> None:
    line = LinearRegression().fit(SCORE[:, None], LABEL)
    found = linear_fit(400, SCORE.sum(), LABEL.sum(), (SCORE**2).sum(), (SCORE * LABEL).sum())
    assert found == pytest.approx((line.coef_[0], line.intercept_))


def test_scores_that_do_not_vary_are_moved_and_not_stretched() -> None:
    assert linear_fit(4, 20.0, 28.0, 100.0, 140.0) == (1.0, 2.0)


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
