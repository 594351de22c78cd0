"""Performance of a classifier without labels: what calibrated scores say about how often they are right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from monitor.stats.recalibration import FLOOR, apply_logistic, fit_logistic

Floats = NDArray[np.float64]

FOLDS = 5


def rebin(counts: ArrayLike, edges: ArrayLike, onto: ArrayLike, low: float = 0.0, high: float = 1.0) -> Floats:
    """Return counts (E + 1,) between ``edges`` (E,) as counts (F + 1,) between the edges ``onto`` (F,).

    The first bin reaches down to ``low``, the last one up to ``high``; within a bin rows are spread evenly, so an edge
    that both have in common is exact.

    >>> rebin([10, 20], edges=[0.5], onto=[0.25, 0.5]).tolist()
    [5.0, 5.0, 20.0]
    """
    count = np.asarray(counts, np.float64)
    known = np.clip(np.concatenate([[low], np.asarray(edges, np.float64), [high]]), low, high)
    held = np.concatenate([[0.0], np.cumsum(count)])
    # np.interp takes the last of equal places, so a bin of no width is a jump just before its edge
    at = np.interp(np.asarray(onto, np.float64), known, held)
    return np.diff(np.concatenate([[0.0], at, held[-1:]]))


def monotone_rates(joint: ArrayLike, scores: ArrayLike) -> Floats:
    """Return P(label = 1) per score bin (B,), never falling with the score, from counts (B, 2) of bin and label.

    Isotonic regression by pooling adjacent violators (Barlow et al. 1972); empty bins lie on the line between their
    neighbours. Without any count the ``scores`` (B,) themselves.

    >>> monotone_rates([[8, 2], [0, 0], [6, 4], [7, 3]], [0.1, 0.2, 0.3, 0.4]).round(3).tolist()
    [0.2, 0.275, 0.35, 0.35]
    """
    table, x = np.asarray(joint, np.float64), np.asarray(scores, np.float64)
    count = table.sum(axis=1)
    filled = count > 0
    if not filled.any():
        return x
    fitted = isotonic_regression(table[filled, 1] / count[filled], weights=count[filled]).x
    return np.asarray(np.interp(x, x[filled], fitted), np.float64)


def logistic_rates(joint: ArrayLike, scores: ArrayLike) -> Floats:
    """Return P(label = 1) per score bin (B,) by the logistic map on the logit of the score."""
    table = np.asarray(joint, np.float64)
    return apply_logistic(scores, *fit_logistic(scores, table[:, 0], table[:, 1]))


def calibrated_rates(joints: Sequence[ArrayLike], scores: ArrayLike) -> Floats:
    """Return P(label = 1) per score bin (B,) to estimate with: the scores themselves, or mended where that helps.

    ``joints`` are the counts (B, 2) of windows in order of time. A logistic and an isotonic map are tried; one is taken
    when its log loss is the lowest on blocks of windows that it was not fitted on: a calibrated model would only get
    noise from it.
    """
    tables = [np.asarray(joint, np.float64) for joint in joints]
    x = np.asarray(scores, np.float64)
    blocks = [block for block in np.array_split(np.arange(len(tables)), FOLDS) if len(block)]
    if len(blocks) < 2:
        return x
    total = np.sum(tables, axis=0)
    loss = dict.fromkeys(MAPS, 0.0) | {None: 0.0}
    for block in blocks:
        own = np.sum([tables[i] for i in block], axis=0)
        loss[None] += _log_loss(own, x)
        for fit in MAPS:
            loss[fit] += _log_loss(own, fit(total - own, x))
    best = min(MAPS, key=lambda fit: loss[fit])
    return best(total, x) if loss[best] < loss[None] else x


def _log_loss(joint: Floats, rates: Floats) -> float:
    p = np.clip(rates, FLOOR, 1 - FLOOR)
    return -float((joint[:, 1] * np.log(p) + joint[:, 0] * np.log1p(-p)).sum())


MAPS = (logistic_rates, monotone_rates)


def expected_joint(counts: ArrayLike, rates: ArrayLike) -> Floats:
    """Return the expected counts (B, 2) of score bin and label of rows per bin (B,) at P(label = 1) ``rates`` (B,).

    Confidence-based performance estimation (NannyML's CBPE; Białek et al., arXiv 2407.08649): every figure of a
    confusion matrix or a ranking follows from it. Valid only while P(y | score) is what it was in training: blind to
    concept drift, and to covariate shift into regions where the scores are wrong.

    >>> expected_joint([10, 20], [0.1, 0.75]).tolist()
    [[9.0, 1.0], [5.0, 15.0]]
    """
    n, p = np.asarray(counts, np.float64), np.asarray(rates, np.float64)
    return np.stack([n * (1 - p), n * p], axis=1)
