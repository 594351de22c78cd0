"""Figures of a classifier from counts: score bins × labels, decisions × labels, predicted × actual classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

Z95 = 1.959964


def auc(joint: ArrayLike) -> float:
    """Return the area under the ROC curve from counts per score bin (ascending) and label, shape (B, 2).

    A pair within one bin counts one half, as ties do: the error against raw scores is at most half the share of pairs
    that share a bin (``tied_share``). NaN when one of the labels is absent.

    >>> auc([[3, 1], [1, 3]])  # of 16 pairs 9 are right, 1 is wrong and 6 are tied
    0.75
    """
    table = np.asarray(joint, np.float64)
    negatives, positives = table[:, 0], table[:, 1]
    pairs = negatives.sum() * positives.sum()
    if not pairs:
        return math.nan
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / pairs)


def tied_share(joint: ArrayLike) -> float:
    """Return the share of positive-negative pairs in one bin: twice the largest error of the binned AUC."""
    table = np.asarray(joint, np.float64)
    pairs = table[:, 0].sum() * table[:, 1].sum()
    return float((table[:, 0] * table[:, 1]).sum() / pairs) if pairs else math.nan


def auc_error(area: float, negatives: float, positives: float) -> float:
    """Return the standard error of an AUC (Hanley and McNeil 1982, exponential approximation).

    Not good for: AUC near 0 or 1 with few rows, rows that are not independent.
    """
    if not (negatives > 0 and positives > 0) or math.isnan(area):
        return math.nan
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return math.sqrt(max(spread, 0.0) / (negatives * positives))


def average_precision(joint: ArrayLike) -> float:
    """Return Σ (recall step) × precision over thresholds at bin edges; NaN without positives.

    Like scikit-learn's ``average_precision_score`` on scores rounded to their bin.
    """
    table = np.asarray(joint, np.float64)[::-1]
    positives = np.cumsum(table[:, 1])
    if not len(positives) or not positives[-1]:
        return math.nan
    total = np.maximum(np.cumsum(table.sum(axis=1)), 1e-300)
    return float((table[:, 1] / positives[-1] * positives / total).sum())


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Decisions against labels."""

    true_negative: float
    false_positive: float
    false_negative: float
    true_positive: float

    @classmethod
    def of(cls, decisions: ArrayLike) -> Confusion:
        """Return it from counts of shape (2, 2): decision × label."""
        table = np.asarray(decisions, np.float64)
        return cls(
            true_negative=float(table[0, 0]),
            false_negative=float(table[0, 1]),
            false_positive=float(table[1, 0]),
            true_positive=float(table[1, 1]),
        )

    @property
    def n(self) -> float:
        """All decisions."""
        return self.true_negative + self.false_positive + self.false_negative + self.true_positive

    @property
    def accuracy(self) -> float:
        """Share of right decisions."""
        return ratio(self.true_positive + self.true_negative, self.n)

    @property
    def precision(self) -> float:
        """Share of alarms that were right; NaN without alarms."""
        return ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Share of positives that were found; NaN without positives."""
        return ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float:
        """Share of negatives left alone; NaN without negatives."""
        return ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN where neither alarms nor positives occur."""
        return ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    def cost(self, false_positive: float, false_negative: float) -> float:
        """Return the cost per decision, in the unit of the two costs."""
        return ratio(self.false_positive * false_positive + self.false_negative * false_negative, self.n)


def ratio(part: float, whole: float) -> float:
    """Return part / whole, NaN for nothing of nothing."""
    return part / whole if whole else math.nan


def wilson(part: float, whole: float, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's interval of a share; (NaN, NaN) without cases.

    >>> [round(x, 3) for x in wilson(8, 10)]
    [0.49, 0.943]
    """
    if not whole:
        return math.nan, math.nan
    share = part / whole
    center = share + z**2 / (2 * whole)
    half = z * math.sqrt(share * (1 - share) / whole + z**2 / (4 * whole**2))
    scale = 1 + z**2 / whole
    return (center - half) / scale, (center + half) / scale


def calibration_error(joint: ArrayLike, scores: ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error: mean |share of positives − mean score| over bins of equal counts.

    ``scores`` (B,) represent the score bins of ``joint`` (B, 2); neighbouring bins are merged until each of ``bins``
    groups holds about the same number of rows. Biased upwards by about √(p (1 − p) bins / n): compare with the
    reference's value at the same n, never with 0.
    """
    table = np.asarray(joint, np.float64)
    count = table.sum(axis=1)
    n = count.sum()
    if not n:
        return math.nan
    middle = np.cumsum(count) - count / 2
    group = np.minimum((middle / n * bins).astype(np.int64), bins - 1)
    positive = np.bincount(group, weights=table[:, 1], minlength=bins)
    expected = np.bincount(group, weights=count * np.asarray(scores, np.float64), minlength=bins)
    return float(np.abs(positive - expected).sum() / n)


def best_cutoff(joint: ArrayLike, false_positive: float, false_negative: float) -> tuple[int, float]:
    """Return the first bin called positive at the lowest cost, and that cost per case.

    The bin may be 0 (always positive) or B (never). Fitted and judged on the same rows it is optimistic.

    >>> best_cutoff([[6, 0], [3, 1], [1, 4]], false_positive=1, false_negative=5)
    (1, 0.26666666666666666)
    """
    table = np.asarray(joint, np.float64)
    alarms = np.concatenate([np.cumsum(table[::-1, 0])[::-1], [0.0]])
    missed = np.concatenate([[0.0], np.cumsum(table[:, 1])])
    cost = false_positive * alarms + false_negative * missed
    place = int(cost.argmin())
    return place, float(cost[place] / max(table.sum(), 1.0))


def cutoff_cost(joint: ArrayLike, place: int, false_positive: float, false_negative: float) -> float:
    """Return the cost per case when bins from ``place`` on are called positive; NaN without cases."""
    table = np.asarray(joint, np.float64)
    wrong = false_positive * table[place:, 0].sum() + false_negative * table[:place, 1].sum()
    return ratio(float(wrong), float(table.sum()))


def macro_f1(matrix: ArrayLike) -> float:
    """Return the mean F1 over classes from predicted × actual counts; classes that never occur are left out."""
    table = np.asarray(matrix, np.float64)
    size = table.sum(axis=0) + table.sum(axis=1)
    seen = size > 0
    return float((2 * np.diag(table)[seen] / size[seen]).mean()) if seen.any() else math.nan
