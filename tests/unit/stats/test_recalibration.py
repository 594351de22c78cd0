from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sk_log_loss

from monitor.stats.recalibration import apply_logistic, fit_logistic, log_loss, logit

rng = np.random.default_rng(0)
SCORES = np.round(rng.beta(2, 3, 3000), 2).clip(0.01, 0.99)
LABELS = rng.random(3000) < 1 / (1 + np.exp(-(0.6 * logit(SCORES) - 0.8)))


def counts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values, place = np.unique(SCORES, return_inverse=True)
    return values, np.bincount(place, weights=~LABELS), np.bincount(place, weights=LABELS)


def test_the_map_from_counts_is_the_logistic_regression_of_the_rows() -> None:
    line = LogisticRegression(C=10).fit(logit(SCORES)[:, None], LABELS)
    slope, intercept = fit_logistic(*counts())
    assert slope == pytest.approx(line.coef_[0, 0], abs=1e-3)
    assert intercept == pytest.approx(line.intercept_[0], abs=1e-3)


def test_recalibrated_scores_have_the_mean_of_the_labels() -> None:
    values, negatives, positives = counts()
    honest = apply_logistic(values, *fit_logistic(values, negatives, positives))
    assert (honest * (negatives + positives)).sum() / 3000 == pytest.approx(LABELS.mean(), abs=1e-4)


def test_log_loss_of_counts_is_that_of_the_rows() -> None:
    assert log_loss(*counts()) == pytest.approx(sk_log_loss(LABELS, SCORES))


def test_one_label_alone_changes_nothing() -> None:
    assert fit_logistic([0.1, 0.9], [5, 5], [0, 0]) == (1.0, 0.0)


def test_separable_scores_stay_finite() -> None:
    slope, intercept = fit_logistic([0.1, 0.9], [500, 0], [0, 500])
    assert np.isfinite([slope, intercept]).all()
