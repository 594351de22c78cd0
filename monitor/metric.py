"""Performance figures of an outcome profile: everything that counts and sums can tell, with intervals where cheap."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from monitor.check import Costs
from monitor.outcome import OutcomeLayout, OutcomeProfile, Task
from monitor.source import Floats
from monitor.stats.classification import (
    Z95,
    Confusion,
    auc,
    auc_error,
    average_precision,
    best_cutoff,
    calibration_error,
    cutoff_cost,
    macro_f1,
    ratio,
    wilson,
)
from monitor.stats.recalibration import apply_logistic, fit_logistic
from monitor.stats.regression import mean_and_error, r_squared, representatives

ERROR_QUANTILES = (50, 90, 99)  # percent
CURVE = 10  # parts of the range of a score


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure with its 95 % interval, NaN where it cannot be told.

    Intervals treat rows as independent: they are too narrow where rows of a window resemble each other.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan


def metrics_of(outcome: OutcomeProfile, costs: Costs | None = None) -> dict[str, Metric]:
    """Return the figures of labelled rows by name; an empty profile gives NaN."""
    match outcome.layout.task:
        case Task.BINARY:
            found = _binary(outcome)
        case Task.MULTICLASS:
            found = _multiclass(outcome)
        case Task.REGRESSION:
            found = _regression(outcome)
    metrics = {metric.name: metric for metric in found}
    if costs is not None and has_costs(costs, outcome.layout.task):
        metrics |= {metric.name: metric for metric in _money(outcome, costs)}
    return metrics


def has_costs(costs: Costs, task: Task) -> bool:
    """Whether the business block prices this task's mistakes."""
    if task is Task.BINARY:
        return costs.false_positive is not None and costs.false_negative is not None
    return task is Task.REGRESSION and costs.under is not None and costs.over is not None


def _of_sums(outcome: OutcomeProfile, name: str, source: str) -> Metric:
    mean, error = mean_and_error(outcome.labelled, outcome.sum(source), outcome.sum(f"{source}2"))
    return Metric(name=name, value=mean, low=mean - Z95 * error, high=mean + Z95 * error)


def _share(name: str, part: float, whole: float) -> Metric:
    low, high = wilson(part, whole)
    return Metric(name=name, value=ratio(part, whole), low=low, high=high)


def _binary(outcome: OutcomeProfile) -> Iterator[Metric]:
    joint, layout = outcome.joint, outcome.layout
    negatives, positives = (float(x) for x in joint.sum(axis=0))
    area = auc(joint)
    error = auc_error(area, negatives, positives)
    low, high = max(area - Z95 * error, 0.0), min(area + Z95 * error, 1.0)
    yield Metric(name="auc", value=area, low=low, high=high)
    yield Metric(name="average_precision", value=average_precision(joint))
    yield _of_sums(outcome, "log_loss", "loss")
    yield _of_sums(outcome, "brier", "brier")
    yield _of_sums(outcome, "calibration_residual", "residual")
    yield Metric(name="calibration_error", value=calibration_error(joint, layout.bin_scores))
    table = Confusion.of(outcome.decisions)
    yield _share("accuracy", table.true_positive + table.true_negative, table.n)
    yield _share("precision", table.true_positive, table.true_positive + table.false_positive)
    yield _share("recall", table.true_positive, table.true_positive + table.false_negative)
    yield _share("specificity", table.true_negative, table.true_negative + table.false_positive)
    yield Metric(name="f1", value=table.f1)
    yield _share("base_rate", positives, negatives + positives)


def _multiclass(outcome: OutcomeProfile) -> Iterator[Metric]:
    right = float(np.trace(outcome.joint))
    yield _share("accuracy", right, outcome.labelled)
    yield Metric(name="f1", value=macro_f1(outcome.joint))
    yield _of_sums(outcome, "log_loss", "loss")
    yield _of_sums(outcome, "brier", "brier")
    yield _of_sums(outcome, "calibration_residual", "residual")

    for place, name in enumerate(outcome.layout.classes):
        said, came = float(outcome.joint[place].sum()), float(outcome.joint[:, place].sum())
        hits = float(outcome.joint[place, place])
        yield _share(f"precision:{name}", hits, said)
        yield _share(f"recall:{name}", hits, came)
        yield Metric(name=f"f1:{name}", value=ratio(2 * hits, said + came))
        yield _share(f"base_rate:{name}", came, outcome.labelled)


def _regression(outcome: OutcomeProfile) -> Iterator[Metric]:
    n = outcome.labelled
    mae, error = mean_and_error(n, outcome.sum("absolute_error"), outcome.sum("error2"))
    yield Metric(name="mae", value=mae, low=mae - Z95 * error, high=mae + Z95 * error)
    yield Metric(name="rmse", value=math.sqrt(outcome.sum("error2") / n) if n else math.nan)
    bias, error = mean_and_error(n, outcome.sum("error"), outcome.sum("error2"))
    yield Metric(name="bias", value=bias, low=bias - Z95 * error, high=bias + Z95 * error)
    yield Metric(name="r2", value=r_squared(n, outcome.sum("error2"), outcome.sum("label"), outcome.sum("label2")))
    yield _of_sums(outcome, "capped_error", "loss")
    yield _of_sums(outcome, "calibration_residual", "residual")
    yield from _error_quantiles(outcome)


def _error_quantiles(outcome: OutcomeProfile) -> Iterator[Metric]:
    """Yield quantiles of the absolute error, from the joint counts of score and label: exact to the width of a bin.

    The interval of a quantile are the quantiles √(q (1 − q) / n) times 1.96 below and above it.
    """
    counts = outcome.joint.astype(np.float64).ravel()
    n = float(counts.sum())
    errors = np.abs(label_values(outcome)[None, :] - score_values(outcome)[:, None]).ravel() if n else np.zeros(0)
    order = np.argsort(errors, kind="stable")
    for percent in ERROR_QUANTILES:
        name, q = f"absolute_error_p{percent}", percent / 100
        if not n:
            yield Metric(name=name, value=math.nan)
            continue
        half = Z95 * math.sqrt(q * (1 - q) / n)
        held = np.cumsum(counts[order]) / n
        value, low, high = (
            float(errors[order][min(int(np.searchsorted(held, level)), len(held) - 1)])
            for level in (q, max(q - half, 0.0), min(q + half, 1.0))
        )
        yield Metric(name=name, value=value, low=low, high=high)


def curve_of(outcome: OutcomeProfile) -> Iterator[Metric]:
    """Yield the calibration curve of a binary classifier: of each tenth of the score's range the share that came true.

    What was said there lies within the name, ``observed_rate:0.1-0.2``; intervals are Wilson's. Tenths without labelled
    rows are left out; a score bin that reaches over a border counts where its middle lies.
    """
    layout = outcome.layout
    if layout.task is not Task.BINARY:
        return
    place = np.minimum((layout.bin_scores * CURVE).astype(np.int64), CURVE - 1)
    rows = np.bincount(place, weights=outcome.joint.sum(axis=1), minlength=CURVE)
    came = np.bincount(place, weights=outcome.joint[:, 1], minlength=CURVE)
    for tenth in np.flatnonzero(rows).tolist():
        yield _share(
            f"observed_rate:{tenth / CURVE:.1f}-{(tenth + 1) / CURVE:.1f}", float(came[tenth]), float(rows[tenth])
        )


def _money(outcome: OutcomeProfile, costs: Costs) -> Iterator[Metric]:
    """Yield cost per prediction and the regret against the best constant answer (chosen with hindsight)."""
    if outcome.layout.task is Task.REGRESSION:
        assert costs.under is not None
        assert costs.over is not None
        total = costs.under * outcome.sum("under") + costs.over * outcome.sum("over")
        cost = Metric(name="cost_per_prediction", value=ratio(total, outcome.labelled))
        constant = _constant_error_cost(outcome, costs.under, costs.over)
    else:
        assert costs.false_positive is not None
        assert costs.false_negative is not None
        table = Confusion.of(outcome.decisions)
        total = table.false_positive * costs.false_positive + table.false_negative * costs.false_negative
        squares = table.false_positive * costs.false_positive**2 + table.false_negative * costs.false_negative**2
        mean, error = mean_and_error(table.n, total, squares)
        cost = Metric(name="cost_per_prediction", value=mean, low=mean - Z95 * error, high=mean + Z95 * error)
        negatives, positives = (float(x) for x in outcome.joint.sum(axis=0))
        constant = ratio(min(negatives * costs.false_positive, positives * costs.false_negative), negatives + positives)
    yield cost
    yield Metric(name="constant_cost_per_prediction", value=constant)
    yield Metric(name="regret_per_prediction", value=cost.value - constant)


def label_values(outcome: OutcomeProfile) -> Floats:
    """Return a representative label per label bin of a regression."""
    return representatives(outcome.layout.label_edges, outcome.joint.sum(axis=0), outcome.sum("label"))


def score_values(outcome: OutcomeProfile) -> Floats:
    """Return a representative score per score bin of a regression's labelled rows."""
    return representatives(outcome.layout.score_edges, outcome.joint.sum(axis=1), outcome.sum("score_labelled"))


def _constant_error_cost(outcome: OutcomeProfile, under: float, over: float) -> float:
    """Return the cost per case of the best constant: the under / (under + over) quantile of the labels."""
    counts, values = outcome.joint.sum(axis=0).astype(np.float64), label_values(outcome)
    if not counts.sum():
        return math.nan
    held = np.cumsum(counts)
    place = min(int(np.searchsorted(held, held[-1] * under / max(under + over, 1e-12))), len(values) - 1)
    gap = values - values[place]
    return float((counts * np.where(gap > 0, under * gap, -over * gap)).sum() / counts.sum())


def adjusted_costs(
    trailing: Floats, outcome: OutcomeProfile, layout: OutcomeLayout, costs: Costs
) -> tuple[float, float]:
    """Return the cost per prediction with the cut-off moved, and with recalibrated scores and the cost-optimal cut-off.

    Both are fitted on ``trailing``, joint counts of earlier rows, and judged on ``outcome``.
    """
    assert costs.false_positive is not None
    assert costs.false_negative is not None
    prices = (costs.false_positive, costs.false_negative)
    place, _ = best_cutoff(trailing, *prices)
    slope, intercept = fit_logistic(layout.bin_scores, trailing[:, 0], trailing[:, 1])
    honest = apply_logistic(layout.bin_scores, slope, intercept)
    wrong_alarm = costs.false_positive / max(costs.false_positive + costs.false_negative, 1e-12)
    alarm = honest >= wrong_alarm
    joint = outcome.joint.astype(np.float64)
    recalibrated = costs.false_positive * joint[alarm, 0].sum() + costs.false_negative * joint[~alarm, 1].sum()
    return cutoff_cost(joint, place, *prices), ratio(float(recalibrated), float(joint.sum()))
