"""Treatment: the rates by which groups of rows are compared, from sums that add over windows, and criteria by name.

Nothing here says which criterion is right. Where base rates differ and predictions err, equal precision and equal error
rates cannot both be had (Chouldechova 2017; Kleinberg, Mullainathan, Raghavan 2017).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np

from monitor.outcome import Group
from monitor.source import Floats
from monitor.stats.classification import auc, auc_error
from monitor.stats.contrast import Estimate, share, shares

SUMS = (
    "rows",
    "decided",
    "selected",
    "labelled",
    "true_negative",
    "false_negative",
    "false_positive",
    "true_positive",
    "residual",
    "residual2",
    "pairs",
    "ordered",
    "pairs_variance",
)
"""What is kept of a group: counts, Σ (label − score) and its squares, and for the AUC Σ weight, Σ weight × AUC and
Σ (weight × its error)² over windows, where a window weighs as many pairs as its rarer label has rows."""


class Rate(StrEnum):
    """A figure by which groups are compared."""

    SELECTION = "selection_rate"
    TPR = "tpr"
    FPR = "fpr"
    TNR = "tnr"
    FNR = "fnr"
    PRECISION = "precision"
    AUC = "auc"
    CALIBRATION = "calibration"


WORDS: Mapping[Rate, tuple[str, str, str]] = {
    Rate.SELECTION: ("selection rate", "", "selected"),
    Rate.TPR: ("true positive rate", " with a positive outcome", "found"),
    Rate.FPR: ("false positive rate", " with a negative outcome", "wrongly selected"),
    Rate.TNR: ("true negative rate", " with a negative outcome", "rightly left alone"),
    Rate.FNR: ("false negative rate", " with a positive outcome", "missed"),
    Rate.PRECISION: ("precision", " who were selected", "rightly selected"),
    Rate.AUC: ("AUC", " with a label", ""),
    Rate.CALIBRATION: ("mean of outcome minus score", " with a label", ""),
}
"""Each rate in words, of whom it is taken, and what happened to those it counts."""

CRITERIA: Mapping[str, tuple[Rate, ...]] = {
    "demographic_parity": (Rate.SELECTION,),
    "equal_opportunity": (Rate.TPR,),
    "equalised_odds": (Rate.TPR, Rate.FPR),
    "predictive_parity": (Rate.PRECISION,),
}
"""What must be the same in all groups for a criterion to hold."""

PARTS: Mapping[Rate, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Rate.SELECTION: (("selected",), ("decided",)),
    Rate.TPR: (("true_positive",), ("true_positive", "false_negative")),
    Rate.FNR: (("false_negative",), ("true_positive", "false_negative")),
    Rate.FPR: (("false_positive",), ("false_positive", "true_negative")),
    Rate.TNR: (("true_negative",), ("false_positive", "true_negative")),
    Rate.PRECISION: (("true_positive",), ("true_positive", "false_positive")),
}
"""What a share is of: the counts above and below the line."""

_AT = {name: place for place, name in enumerate(SUMS)}


def sums_of(group: Group) -> Floats:
    """Return the sums of one group of a binary classifier, shape (13,)."""
    outcome = group.outcome
    negatives, positives = (float(x) for x in outcome.joint.sum(axis=0))
    area = auc(outcome.joint)
    weight = 0.0 if math.isnan(area) else min(negatives, positives)
    error = auc_error(area, negatives, positives) if weight else 0.0
    (tn, fn), (fp, tp) = outcome.decisions.tolist()
    return np.array(
        [
            outcome.rows,
            group.decided,
            group.selected,
            outcome.labelled,
            tn,
            fn,
            fp,
            tp,
            outcome.sum("residual"),
            outcome.sum("residual2"),
            weight,
            weight * area if weight else 0.0,
            (weight * error) ** 2,
        ]
    )


def estimate(rate: Rate, sums: Floats) -> Estimate:
    """Return a rate from (added) sums, NaN where nobody is counted in it.

    The AUC of several windows is their mean: pairs of rows are compared within a window only.
    """
    if rate in PARTS:
        part, whole = PARTS[rate]
        return share(_sum(sums, part), _sum(sums, whole))
    value, error, n = (float(each[0]) for each in estimates(rate, sums[None, :]))
    # a calibration is no share of anything, so nobody takes a ratio of it
    return Estimate(value=value, error=error, n=int(n), centre=value if rate is Rate.AUC else math.nan)


def estimates(rate: Rate, sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Return values, errors and numbers of people of a rate in many windows; ``sums`` has shape (windows, 13)."""
    if rate in PARTS:
        part, whole = PARTS[rate]
        n = _sum(sums, whole)
        return (*shares(_sum(sums, part), n), n)
    n = _sum(sums, ("labelled",))
    with np.errstate(invalid="ignore", divide="ignore"):
        if rate is Rate.AUC:
            weight = _sum(sums, ("pairs",))
            return _sum(sums, ("ordered",)) / weight, np.sqrt(_sum(sums, ("pairs_variance",))) / weight, n
        mean = _sum(sums, ("residual",)) / n
        spread = np.maximum(_sum(sums, ("residual2",)) / n - mean**2, 0)
        return mean, np.sqrt(spread / (n - 1)), n


def _sum(sums: Floats, names: tuple[str, ...]) -> Any:
    return sum(sums[..., _AT[name]] for name in names)


def base_rate(sums: Floats) -> float:
    """Return the share of positive outcomes among labelled decisions, NaN without any."""
    positives = sums[_AT["true_positive"]] + sums[_AT["false_negative"]]
    whole = positives + sums[_AT["true_negative"]] + sums[_AT["false_positive"]]
    return float(positives / whole) if whole else math.nan


def rates_of(criterion_or_rate: str) -> tuple[Rate, ...]:
    """Return the rates behind a name, that of a criterion or of a rate itself; raises ValueError for another.

    >>> rates_of("equalised_odds")
    (<Rate.TPR: 'tpr'>, <Rate.FPR: 'fpr'>)
    """
    return CRITERIA[criterion_or_rate] if criterion_or_rate in CRITERIA else (Rate(criterion_or_rate),)
