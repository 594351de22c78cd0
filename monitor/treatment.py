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

from monitor.outcome import Group, OutcomeProfile, Task
from monitor.source import Floats, Ints
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
    "right",
    "size",
    "size2",
)
"""What is kept of a group: counts, Σ (label − score) and its squares, and for the AUC Σ weight, Σ weight × AUC and
Σ (weight × its error)² over windows, where a window weighs as many pairs as its rarer label has rows; right answers,
and of a regression Σ |error| (capped, in residual standard deviations of training) and its squares."""


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
    ACCURACY = "accuracy"
    ERROR = "absolute_error"


DECIDING = (Rate.SELECTION, Rate.TPR, Rate.FPR, Rate.TNR, Rate.FNR, Rate.PRECISION)
"""Rates of models that say yes or no."""
MEANS = frozenset({Rate.AUC, Rate.CALIBRATION, Rate.ERROR})
"""Figures that are no share of people."""


def rates_had(task: Task, favourable: str) -> tuple[Rate, ...]:
    """Return the rates that a model has; one of many classes says yes by naming its ``favourable`` class, if any."""
    match task:
        case Task.BINARY:
            return (*DECIDING, Rate.AUC, Rate.CALIBRATION)
        case Task.MULTICLASS:
            return (*(DECIDING if favourable else ()), Rate.ACCURACY, Rate.CALIBRATION)
        case Task.REGRESSION:
            return (Rate.ERROR, Rate.CALIBRATION)


def rates_expected(task: Task, favourable: str) -> tuple[str, ...]:
    """Return what alerts where nothing is named: equal error rates, or as many right answers or as large errors."""
    if task is Task.REGRESSION:
        return (Rate.ERROR.value,)
    return ("equalised_odds",) if task is Task.BINARY or favourable else (Rate.ACCURACY.value,)


WORDS: Mapping[Rate, tuple[str, str, str]] = {
    Rate.SELECTION: ("selection rate", "", "selected"),
    Rate.TPR: ("true positive rate", " with a positive outcome", "found"),
    Rate.FPR: ("false positive rate", " with a negative outcome", "wrongly selected"),
    Rate.TNR: ("true negative rate", " with a negative outcome", "rightly left alone"),
    Rate.FNR: ("false negative rate", " with a positive outcome", "missed"),
    Rate.PRECISION: ("precision", " who were selected", "rightly selected"),
    Rate.AUC: ("AUC", " with a label", ""),
    Rate.CALIBRATION: ("mean of outcome minus score", " with a label", ""),
    Rate.ACCURACY: ("share of right answers", " with a label", "rightly judged"),
    Rate.ERROR: ("mean absolute error in residual standard deviations", " with a label", ""),
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
    Rate.ACCURACY: (("right",), ("labelled",)),
}
"""What a share is of: the counts above and below the line."""

_AT = {name: place for place, name in enumerate(SUMS)}


def sums_of(group: Group, favourable: str = "") -> Floats:
    """Return the sums of one group, shape (16,); zero where the task has none of a kind.

    Of many classes the ``favourable`` one is the positive decision and outcome; who has no label was not decided on.
    """
    outcome = group.outcome
    found = dict.fromkeys(SUMS, 0.0)
    found |= {"rows": outcome.rows, "labelled": outcome.labelled}
    found |= {"residual": outcome.sum("residual"), "residual2": outcome.sum("residual2")}
    match outcome.layout.task:
        case Task.BINARY:
            found |= _decided(outcome.decisions, group.decided, group.selected) | _ranked(outcome)
        case Task.MULTICLASS:
            found["right"] = float(np.trace(outcome.joint))
            if favourable:
                place = outcome.layout.classes.index(favourable)
                both, said, came = (
                    outcome.joint[place, place],
                    outcome.joint[place].sum(),
                    outcome.joint[:, place].sum(),
                )
                table = np.array([[outcome.labelled - said - came + both, came - both], [said - both, both]])
                found |= _decided(table, outcome.labelled, int(said))
        case Task.REGRESSION:
            scale = outcome.layout.residual_scale or 1.0
            found |= {"size": outcome.sum("loss") / scale, "size2": outcome.sum("loss2") / scale**2}
    return np.array([found[name] for name in SUMS], np.float64)


def _decided(decisions: Ints, decided: int, selected: int) -> dict[str, float]:
    (tn, fn), (fp, tp) = decisions.tolist()
    counts = {"true_negative": tn, "false_negative": fn, "false_positive": fp, "true_positive": tp}
    return {"decided": decided, "selected": selected, **counts}


def _ranked(outcome: OutcomeProfile) -> dict[str, float]:
    negatives, positives = (float(x) for x in outcome.joint.sum(axis=0))
    area = auc(outcome.joint)
    weight = 0.0 if math.isnan(area) else min(negatives, positives)
    error = auc_error(area, negatives, positives) if weight else 0.0
    ordered = weight * area if weight else 0.0
    return {"pairs": weight, "ordered": ordered, "pairs_variance": (weight * error) ** 2}


def estimate(rate: Rate, sums: Floats) -> Estimate:
    """Return a rate from (added) sums, NaN where nobody is counted in it.

    The AUC of several windows is their mean: pairs of rows are compared within a window only.
    """
    if rate in PARTS:
        part, whole = PARTS[rate]
        return share(_sum(sums, part), _sum(sums, whole))
    value, error, n = (float(each[0]) for each in estimates(rate, sums[None, :]))
    # a calibration is no share of anything, so nobody takes a ratio of it
    return Estimate(value=value, error=error, n=int(n), centre=math.nan if rate is Rate.CALIBRATION else value)


def estimates(rate: Rate, sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Return values, errors and numbers of people of a rate in many windows; ``sums`` has shape (windows, 16)."""
    if rate in PARTS:
        part, whole = PARTS[rate]
        n = _sum(sums, whole)
        return (*shares(_sum(sums, part), n), n)
    n = _sum(sums, ("labelled",))
    with np.errstate(invalid="ignore", divide="ignore"):
        if rate is Rate.AUC:
            weight = _sum(sums, ("pairs",))
            return _sum(sums, ("ordered",)) / weight, np.sqrt(_sum(sums, ("pairs_variance",))) / weight, n
        name = "size" if rate is Rate.ERROR else "residual"
        mean = _sum(sums, (name,)) / n
        spread = np.maximum(_sum(sums, (f"{name}2",)) / n - mean**2, 0)
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
