"""An error model: how far a regression is off at each level of its prediction, to estimate its loss without labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from monitor.check import Costs
from monitor.memo import per_reference
from monitor.metric import Metric, label_values, score_values
from monitor.outcome import OutcomeLayout, OutcomeProfile, Task
from monitor.reference import Reference
from monitor.source import Floats, Ints
from monitor.stats.calibration import Calibration, calibrate
from monitor.stats.estimation import FOLDS

FIGURES = ("mae", "capped_error", "under", "over")  # the last two, per row, price a mistake
SHOWN = ("mae", "capped_error")
COMPARED = "capped_error"
LEVEL = 0.05  # the intervals are of 95 %
PARTS = 20  # levels of the prediction, with about as many training rows each


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorModel:
    """The mean error to expect at each level of the prediction, and how far such estimates were off in training.

    ``expected`` has shape (figures, score bins). ``gap`` has the ``FIGURES``: realised minus estimated, each training
    window estimated without its block of windows. After NannyML's direct loss estimation, whose second model is a table
    here.
    """

    layout: OutcomeLayout
    cells: Floats
    """(figures, score bins, label bins): the error of a row in each cell of the joint counts."""
    expected: Floats
    gap: Calibration
    trained: Floats
    """Labelled training rows per score bin."""
    compared: str = COMPARED

    @property
    def labels(self) -> int:
        """Rows behind it."""
        return int(self.trained.sum())

    def estimate(self, counts: ArrayLike, costs: Costs | None = None) -> dict[str, Metric]:
        """Return the figures to expect of rows per score bin (B,), with intervals that held on training time."""
        rows = np.asarray(counts, np.float64)
        n = float(rows.sum())
        values = self.expected @ rows / n if n else np.full(len(FIGURES), np.nan)
        own = self.gap.scale(np.full(self.gap.channels, max(n, 1.0)))
        half = self.gap.critical(LEVEL) * np.sqrt(own**2 + self.gap.unit / max(self.labels, 1))
        found = {
            name: Metric(name=name, value=float(values[i]), low=max(float(values[i] - half[i]), 0.0),
                         high=float(values[i] + half[i]))
            for i, name in enumerate(FIGURES)
        }  # fmt: skip
        shown = {name: found[name] for name in SHOWN}
        if costs is not None and costs.under is not None and costs.over is not None:
            cost = costs.under * found["under"].value + costs.over * found["over"].value
            off = math.hypot(costs.under * float(half[2]), costs.over * float(half[3]))
            shown["cost_per_prediction"] = Metric(
                name="cost_per_prediction", value=cost, low=max(cost - off, 0.0), high=cost + off
            )
        return shown

    def gaps(self, outcome: OutcomeProfile) -> Mapping[str, tuple[float, float, float]]:
        """Return realised, estimated and the z-score of their difference for each figure of labelled rows."""
        realised = _realised(outcome, self.cells)
        n = max(outcome.labelled, 1)
        estimated = self.expected @ outcome.joint.sum(axis=1).astype(np.float64) / n
        z = self.gap.z(realised - estimated, np.full(len(FIGURES), n))
        return {name: (float(realised[i]), float(estimated[i]), float(z[i])) for i, name in enumerate(FIGURES)}

    def error(self, labelled: int) -> float:
        """Return the standard error of what is compared, for so many labelled rows."""
        return float(self.gap.scale(np.full(self.gap.channels, max(labelled, 1)))[FIGURES.index(COMPARED)])


@per_reference
def error_model_of(reference: Reference) -> ErrorModel | None:
    """Return the error model of a regression; None for other tasks, and without honest labelled predictions."""
    layout, total = reference.outcome_layout, reference.outcome_total
    windows = [o for o in reference.outcomes if o is not None and o.labelled]
    if layout is None or total is None or reference.task is not Task.REGRESSION or len(windows) < 2:
        return None
    cells = _cells(total)
    part = _parts(total)
    joints = [o.joint.astype(np.float64) for o in windows]
    theta = np.full((len(windows), len(FIGURES)), np.nan)
    for block in np.array_split(np.arange(len(joints)), min(FOLDS, len(joints))):
        inside = set(block.tolist())
        expected = _expected([joint for i, joint in enumerate(joints) if i not in inside], cells, part)
        for i in block.tolist():
            theta[i] = _realised(windows[i], cells) - expected @ joints[i].sum(axis=1) / windows[i].labelled
    expected = _expected(joints, cells, part)
    counts = total.joint.astype(np.float64)
    mean = np.einsum("fsl,sl->f", cells, counts) / total.labelled
    unit = np.einsum("fsl,sl->f", cells**2, counts) / total.labelled - mean**2
    rows = np.repeat([[float(o.labelled)] for o in windows], len(FIGURES), axis=1)
    return ErrorModel(
        layout=layout,
        cells=cells,
        expected=expected,
        gap=calibrate(theta, rows, np.maximum(unit, 1e-12), np.zeros(len(windows), np.int64)),
        trained=counts.sum(axis=1),
    )


def _cells(total: OutcomeProfile) -> Floats:
    """Return the errors of a row in each cell, on the scale of training's exact sums: bins hide a little."""
    error = label_values(total)[None, :] - score_values(total)[:, None]
    size, cap = np.abs(error), total.layout.loss_cap
    tables = np.stack([size, np.minimum(size, cap), np.maximum(error, 0), np.maximum(-error, 0)])
    counts = total.joint.astype(np.float64)
    sums = [total.sum("absolute_error"), total.sum("loss"), total.sum("under"), total.sum("over")]
    found = np.einsum("fsl,sl->f", tables, counts)
    scale = np.where(found > 0, np.array(sums) / np.maximum(found, 1e-300), 1.0)
    return np.asarray(tables * scale[:, None, None], np.float64)


def _parts(total: OutcomeProfile) -> Ints:
    """Return the part of each score bin: parts hold about as many training rows each."""
    counts = total.joint.sum(axis=1).astype(np.float64)
    middle = (np.cumsum(counts) - counts / 2) / max(float(counts.sum()), 1.0)
    return np.asarray(np.minimum((PARTS * middle).astype(np.int64), PARTS - 1), np.int64)


def _expected(joints: Sequence[Floats], cells: Floats, part: Ints) -> Floats:
    """Return the mean error per score bin: that of its part, without rows there that of all."""
    total = np.sum(joints, axis=0)
    sums = np.einsum("fsl,sl->fs", cells, total)
    rows = np.bincount(part, weights=total.sum(axis=1), minlength=PARTS)
    each = np.stack([np.bincount(part, weights=one, minlength=PARTS) for one in sums])
    overall = each.sum(axis=1, keepdims=True) / max(float(rows.sum()), 1.0)
    mean = np.where(rows > 0, each / np.maximum(rows, 1.0), overall)
    return np.asarray(mean[:, part], np.float64)


def _realised(outcome: OutcomeProfile, cells: Floats) -> Floats:
    return np.asarray(np.einsum("fsl,sl->f", cells, outcome.joint.astype(np.float64)) / max(outcome.labelled, 1))
