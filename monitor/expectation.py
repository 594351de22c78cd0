"""What to expect of outcomes when nothing is wrong, from honest predictions on training time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.memo import per_reference
from monitor.outcome import OutcomeProfile
from monitor.reference import Reference
from monitor.stats.calibration import Calibration, calibrate

FEWEST_LABELS = 0.1  # of the usual number; below it a window says nothing


@dataclass(frozen=True, kw_only=True, eq=False)
class Expectation:
    """How honest predictions (out-of-fold, held-out) did on training time, window by window.

    ``calibration`` has two channels, residual and loss; ``usual_labels`` is the median number of labels of a window,
    ``held_out`` the number of windows that training never saw, ``loss`` the mean loss of all rows.
    """

    calibration: Calibration
    usual_labels: float
    held_out: int
    total: OutcomeProfile
    loss: float

    def is_enough(self, labelled: int) -> bool:
        """Return whether a window has labels enough to say anything."""
        return labelled > 0 and labelled >= FEWEST_LABELS * self.usual_labels


@per_reference
def expectation_of(reference: Reference) -> Expectation | None:
    """Return what a reference leads one to expect; None when it has no outcomes."""
    windows = [outcome for outcome in reference.outcomes if outcome is not None and outcome.labelled]
    total = reference.outcome_total
    if total is None or not windows:
        return None
    theta = np.array([[w.mean("residual"), w.mean("loss")] for w in windows])
    n = np.array([[w.labelled, w.labelled] for w in windows], np.float64)
    several = [w for w in windows if w.labelled > 2]
    unit = np.array(
        [np.mean([max(w.mean(f"{name}2") - w.mean(name) ** 2, 0.0) for w in several]) for name in ("residual", "loss")]
        if several
        else [1.0, 1.0]
    )
    held_out = sum(
        marked for marked, outcome in zip(reference.held_out, reference.outcomes, strict=False) if outcome is not None
    )
    return Expectation(
        calibration=calibrate(theta, n, unit, np.zeros(len(windows), np.int64)),
        usual_labels=float(np.median(n[:, 0])),
        held_out=held_out,
        total=total,
        loss=total.mean("loss"),
    )
