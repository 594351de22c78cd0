"""A map from the score that a model gives to the one it should have given."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FLOOR = 1e-4
RIDGE = 0.1  # on the slope, as scikit-learn's LogisticRegression(C=10): a fit on few rows stays near sense
STEPS = 50


def logit(p: ArrayLike) -> Floats:
    """Return log(p / (1 − p)) of probabilities clipped to [1e-4, 1 − 1e-4]."""
    clipped = np.clip(np.asarray(p, np.float64), FLOOR, 1 - FLOOR)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), np.float64)


def expit(x: ArrayLike) -> Floats:
    """Return 1 / (1 + e^−x), clipped to [1e-4, 1 − 1e-4]."""
    x = np.asarray(x, np.float64)
    return np.clip(0.5 * (1 + np.tanh(x / 2)), FLOOR, 1 - FLOOR)


def fit_logistic(scores: ArrayLike, negatives: ArrayLike, positives: ArrayLike) -> tuple[float, float]:
    """Return slope and intercept of the logistic map on the logit of the score (Platt 1999) from counts per score.

    Newton's method on the penalised likelihood; (1, 0), no change, when one of the labels is absent.

    >>> slope, intercept = fit_logistic([0.2, 0.5, 0.8], [800, 500, 200], [200, 500, 800])
    >>> round(slope, 2), abs(round(intercept, 2))  # a model that is right stays as it is
    (1.0, 0.0)
    """
    x = logit(scores)
    n0, n1 = np.asarray(negatives, np.float64), np.asarray(positives, np.float64)
    if not n0.sum() or not n1.sum():
        return 1.0, 0.0
    n = n0 + n1
    beta = np.array([1.0, 0.0])
    design = np.stack([x, np.ones_like(x)], axis=1)
    penalty = np.array([RIDGE, 0.0])

    def objective(b: Floats) -> float:
        eta = design @ b
        return float((n * np.logaddexp(0, eta) - n1 * eta).sum() + 0.5 * (penalty * b**2).sum())

    value = objective(beta)
    for _ in range(STEPS):
        p = 0.5 * (1 + np.tanh(design @ beta / 2))
        gradient = design.T @ (n * p - n1) + penalty * beta
        hessian = design.T @ (design * (n * p * (1 - p))[:, None]) + np.diag(penalty + 1e-9)
        move = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-6 and objective(beta - size * move) > value:
            size /= 2
        beta = beta - size * move
        previous, value = value, objective(beta)
        if previous - value < 1e-9 * max(1.0, abs(value)):
            break
    return float(beta[0]), float(beta[1])


def apply_logistic(scores: ArrayLike, slope: float, intercept: float) -> Floats:
    """Return the recalibrated probabilities."""
    return expit(slope * logit(scores) + intercept)


def log_loss(scores: ArrayLike, negatives: ArrayLike, positives: ArrayLike) -> float:
    """Return the mean log loss of counts per score; NaN without any."""
    p = np.clip(np.asarray(scores, np.float64), FLOOR, 1 - FLOOR)
    n0, n1 = np.asarray(negatives, np.float64), np.asarray(positives, np.float64)
    n = n0.sum() + n1.sum()
    return float(-(n1 * np.log(p) + n0 * np.log1p(-p)).sum() / n) if n else float("nan")
