"""Estimates of a classifier's performance while labels are out, and what they were worth on training time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from monitor.check import Costs
from monitor.column import NumericColumn
from monitor.memo import per_reference
from monitor.metric import Metric
from monitor.outcome import FLOOR, OutcomeLayout, OutcomeProfile, Task
from monitor.profile import Profile
from monitor.reference import SCORE, Reference
from monitor.source import Floats
from monitor.stats.calibration import Calibration, calibrate
from monitor.stats.classification import Confusion, auc, auc_error, average_precision, ratio
from monitor.stats.estimation import FOLDS, calibrated_rates, expected_joint, rebin

FIGURES = ("auc", "average_precision", "log_loss", "brier", "accuracy", "precision", "recall", "specificity", "f1")
CHANNELS = (*FIGURES, "false_positive_rate", "false_negative_rate")  # the last two, of all rows, price a mistake
LEVEL = 0.05  # the intervals are of 95 %


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimator:
    """How a model's scores are read as probabilities, and how far estimates were off on training time.

    ``rates`` (B,) is P(label = 1) per score bin of ``layout``. ``gap`` has the ``CHANNELS``: realised minus estimated,
    each training window estimated with rates fitted on other windows.
    """

    layout: OutcomeLayout
    rates: Floats
    gap: Calibration
    trained: Floats
    """Labelled training rows per score bin (B,)."""
    compared: str = "log_loss"
    """The figure that is compared with labels."""

    def error(self, labelled: int) -> float:
        """Return the standard error of what is compared, for so many labelled rows."""
        return float(self.gap.scale(np.full(self.gap.channels, max(labelled, 1)))[CHANNELS.index(self.compared)])

    @property
    def labels(self) -> int:
        """Rows behind it."""
        return int(self.trained.sum())

    def estimate(self, counts: ArrayLike, costs: Costs | None = None) -> dict[str, Metric]:
        """Return the figures to expect of rows per score bin (B,), with intervals that held on training time."""
        rows = np.asarray(counts, np.float64)
        joint = expected_joint(rows, self.rates)
        figures = figures_of(joint, self.layout)
        n = float(rows.sum())
        own = self.gap.scale(np.full(self.gap.channels, max(n, 1.0)))
        # however many rows there are, the rates were learned from so many labels
        learned = self.gap.unit / max(self.labels, 1)
        half = self.gap.critical(LEVEL) * np.sqrt(own**2 + learned)
        spread = dict(zip(CHANNELS, half.tolist(), strict=True))
        found = {name: _bounded(name, figures[name], spread[name]) for name in FIGURES}
        found["base_rate"] = Metric(name="base_rate", value=ratio(float(joint[:, 1].sum()), n))
        if costs is not None and costs.false_positive is not None and costs.false_negative is not None:
            cost = _confusion_of(joint, self.layout).cost(costs.false_positive, costs.false_negative)
            off = math.hypot(
                costs.false_positive * spread["false_positive_rate"],
                costs.false_negative * spread["false_negative_rate"],
            )
            found["cost_per_prediction"] = Metric(
                name="cost_per_prediction", value=cost, low=max(cost - off, 0.0), high=cost + off
            )
        return found

    def gaps(self, outcome: OutcomeProfile) -> Mapping[str, tuple[float, float, float]]:
        """Return realised, estimated and the z-score of their difference for each figure of labelled rows."""
        realised = realised_figures(outcome)
        estimated = figures_of(expected_joint(outcome.joint.sum(axis=1), self.rates), self.layout)
        theta = np.array([realised[name] - estimated[name] for name in CHANNELS])
        z = self.gap.z(theta, np.full(len(theta), max(outcome.labelled, 1)))
        return {
            name: (realised[name], estimated[name], float(z[i])) for i, name in enumerate(CHANNELS) if name in FIGURES
        }


@per_reference
def estimator_of(reference: Reference) -> Estimator | None:
    """Return how to estimate a reference's model; None for other tasks, and without honest labelled predictions."""
    layout = reference.outcome_layout
    windows = [o for o in reference.outcomes if o is not None and o.labelled]
    if layout is None or reference.task is not Task.BINARY or not windows:
        return None
    scores = layout.bin_scores
    joints = [o.joint.astype(np.float64) for o in windows]
    fitted_without = _rates_without(joints, scores)
    theta = np.full((len(windows), len(CHANNELS)), np.nan)
    unit = np.full((len(windows), len(CHANNELS)), np.nan)
    for i, (outcome, rates) in enumerate(zip(windows, fitted_without, strict=True)):
        realised = realised_figures(outcome)
        joint = expected_joint(outcome.joint.sum(axis=1), rates)
        estimated = figures_of(joint, layout)
        theta[i] = [realised[name] - estimated[name] for name in CHANNELS]
        unit[i] = _noise_of_a_row(joint, layout)
    rows = np.repeat([[float(o.labelled)] for o in windows], len(CHANNELS), axis=1)
    with np.errstate(invalid="ignore"):
        noise = np.nanmean(np.where(np.isfinite(unit), unit, np.nan), axis=0) if len(windows) else np.zeros(0)
    return Estimator(
        layout=layout,
        rates=calibrated_rates(joints, scores),
        gap=calibrate(theta, rows, np.nan_to_num(noise), np.zeros(len(windows), np.int64)),
        trained=np.sum([joint.sum(axis=1) for joint in joints], axis=0),
    )


def score_counts(profile: Profile, layout: OutcomeLayout) -> Floats | None:
    """Return a profile's rows per score bin of an outcome layout; None where it has no score."""
    if SCORE not in profile.layout.index:
        return None
    column = profile.columns[SCORE].column
    if not isinstance(column, NumericColumn):
        return None
    ends = (0.0, 1.0)
    if layout.task is Task.REGRESSION:
        everywhere = np.concatenate([column.edges, layout.score_edges])
        ends = (float(everywhere.min()), float(everywhere.max()))
    return rebin(profile.columns[SCORE].bins, column.edges, layout.score_edges, *ends)


def realised_figures(outcome: OutcomeProfile) -> dict[str, float]:
    """Return the figures that labels tell, from the same bins as estimates: what a bin hides cancels out."""
    return figures_of(outcome.joint.astype(np.float64), outcome.layout)


def figures_of(joint: Floats, layout: OutcomeLayout) -> dict[str, float]:
    """Return the figures of counts (B, 2) of score bin and label, expected or real."""
    n = float(joint.sum())
    table = _confusion_of(joint, layout)
    p = np.clip(layout.bin_scores, FLOOR, 1 - FLOOR)
    return {
        "auc": auc(joint),
        "average_precision": average_precision(joint),
        "log_loss": -ratio(float((joint[:, 1] * np.log(p) + joint[:, 0] * np.log1p(-p)).sum()), n),
        "brier": ratio(float((joint[:, 1] * (1 - p) ** 2 + joint[:, 0] * p**2).sum()), n),
        "accuracy": table.accuracy,
        "precision": table.precision,
        "recall": table.recall,
        "specificity": table.specificity,
        "f1": table.f1,
        "false_positive_rate": ratio(table.false_positive, n),
        "false_negative_rate": ratio(table.false_negative, n),
    }


def _confusion_of(joint: Floats, layout: OutcomeLayout) -> Confusion:
    cut = layout.first_positive_bin
    below, above = joint[:cut].sum(axis=0), joint[cut:].sum(axis=0)
    return Confusion.of(np.stack([below, above]))


def _rates_without(joints: Sequence[Floats], scores: Floats) -> list[Floats]:
    """Return for each window the rates that the windows outside of its block give."""
    found: list[Floats] = []
    for block in np.array_split(np.arange(len(joints)), min(FOLDS, len(joints))):
        rest = [joint for i, joint in enumerate(joints) if i not in set(block.tolist())]
        found += [calibrated_rates(rest, scores)] * len(block)
    return found


def _noise_of_a_row(joint: Floats, layout: OutcomeLayout) -> list[float]:
    """Return the sampling variance of each channel times the rows, given the scores and what they promise.

    Shares have the variance of independent Bernoulli labels, ranks Hanley and McNeil's; what has no simple formula
    gets that of the nearest figure that has one.
    """
    n = joint.sum(axis=1)
    total = float(n.sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(n > 0, joint[:, 1] / n, 0.0)
    label = n * rate * (1 - rate)  # variance of the positives of each bin
    p = np.clip(layout.bin_scores, FLOOR, 1 - FLOOR)
    cut = layout.first_positive_bin
    table = _confusion_of(joint, layout)
    negatives, positives = (float(x) for x in joint.sum(axis=0))
    rank = auc_error(auc(joint), negatives, positives) ** 2
    log_loss = float((label * (np.log(p) - np.log1p(-p)) ** 2).sum()) / total**2
    brier = float((label * (1 - 2 * p) ** 2).sum()) / total**2
    wrong = float(label.sum()) / total**2
    precise = ratio(float(label[cut:].sum()), (table.true_positive + table.false_positive) ** 2)
    recall = ratio(table.recall * (1 - table.recall), positives)
    specific = ratio(table.specificity * (1 - table.specificity), negatives)
    alarms, misses = float(label[cut:].sum()) / total**2, float(label[:cut].sum()) / total**2
    variances = [rank, rank, log_loss, brier, wrong, precise, recall, specific, max(precise, recall), alarms, misses]
    return [variance * total for variance in variances]


def _bounded(name: str, value: float, half: float) -> Metric:
    top = math.inf if name == "log_loss" else 1.0
    return Metric(name=name, value=value, low=max(value - half, 0.0), high=min(value + half, top))
