"""Strata: all labelled rows, tenths of them by score, and groups, each with what honest predictions lead to expect."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from monitor.column import CLIP
from monitor.expectation import expectation_of
from monitor.memo import per_reference
from monitor.metric import label_values, score_values
from monitor.outcome import FLOOR, OutcomeLayout, OutcomeProfile, Task
from monitor.reference import Reference
from monitor.slicing import name_slice
from monitor.source import Floats, Ints
from monitor.stats.calibration import Calibration, calibrate

TENTHS = 10
RESIDUAL, LOSS = 0, 1  # channels of a stratum
CHANNELS = 2


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Some of the labelled rows: ``name`` in words, the group they are (``slice``) if they are one."""

    name: str
    slice: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Strata:
    """All strata of a model and their null: two channels each, residual and loss, in this order.

    ``tenth`` (B,) is the tenth of a score bin. ``calibration`` has two channels for each of ``members``.
    """

    members: Sequence[Stratum]
    layout: OutcomeLayout
    tenth: Ints
    cells: Floats
    """(2, score bins, labels): residual and loss of a row in each cell of the joint counts."""
    calibration: Calibration

    def measured(self, outcome: OutcomeProfile) -> tuple[Floats, Floats]:
        """Return θ and rows (2 × strata,) of a window: mean residual and loss of each stratum, NaN without rows."""
        theta, rows = [[outcome.mean("residual"), outcome.mean("loss")]], [outcome.labelled]
        sums, counts = tenths(outcome, self.cells, self.tenth, int(self.tenth.max(initial=-1)) + 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            theta += (sums / counts[:, None]).tolist()
        rows += counts.tolist()
        for stratum in self.members:
            if stratum.slice:
                group = outcome.group(stratum.slice)
                own = None if group is None else group.outcome
                theta.append([math.nan, math.nan] if own is None else [own.mean("residual"), own.mean("loss")])
                rows.append(0 if own is None else own.labelled)
        return np.array(theta, np.float64).ravel(), np.repeat(np.array(rows, np.float64), CHANNELS)


@per_reference
def strata_of(reference: Reference) -> Strata | None:
    """Return the strata of a reference; None where it has no honest predictions with labels.

    Tenths have about as many honest training rows each; models of many classes have one stratum per class that is
    said instead, in which only the share of wrong answers is known. Groups are those of ``source.slices``. A tenth's
    null is learned from its training windows; a group's windows are not kept, so it has its own level and row noise and
    the natural variation of all rows.
    """
    layout, null, total = reference.outcome_layout, expectation_of(reference), reference.outcome_total
    windows = [outcome for outcome in reference.outcomes if outcome is not None and outcome.labelled]
    if layout is None or null is None or total is None:
        return None
    cells, names = _cells(total), list(_names(total))
    tenth = _tenth(total, len(names))
    parts = [null.calibration]
    if names:
        parts.append(_of_tenths(windows, total, cells, tenth, len(names)))
    members = [Stratum(name="outcome"), *(Stratum(name=name) for name in names)]
    if reference.grouped is not None:
        for (number, place), group in sorted(reference.grouped.groups.items()):
            if group.outcome.labelled > CHANNELS:
                slice_ = layout.slicings[number].slice_of(place)
                members.append(Stratum(name=name_slice(slice_), slice=slice_))
                parts.append(_of_group(group.outcome, null.calibration))
    return Strata(members=members, layout=layout, tenth=tenth, cells=cells, calibration=Calibration.joined(parts))


def tenths(outcome: OutcomeProfile, cells: Floats, tenth: Ints, number: int) -> tuple[Floats, Floats]:
    """Return the sums (number, 2) of residual and loss of each tenth, and its labelled rows (number,)."""
    counts = outcome.joint.astype(np.float64)
    sums = (cells * counts).sum(axis=2)
    each = [np.bincount(tenth, weights=sums[channel], minlength=number) for channel in range(CHANNELS)]
    rows = np.bincount(tenth, weights=counts.sum(axis=1), minlength=number)
    return np.stack(each, axis=1), np.asarray(rows, np.float64)


def _cells(total: OutcomeProfile) -> Floats:
    """Return what a row of each cell of the joint counts adds to residual and loss.

    Bins are represented by one value in training and in production alike, so what they hide cancels out.
    """
    layout = total.layout
    match layout.task:
        case Task.BINARY:
            score = layout.bin_scores[:, None]
            label = np.array([[0.0, 1.0]])
            p = np.clip(score, FLOOR, 1 - FLOOR)
            return np.stack([label - score, -(label * np.log(p) + (1 - label) * np.log1p(-p))])
        case Task.REGRESSION:
            error = label_values(total)[None, :] - score_values(total)[:, None]
            residual = np.clip(error / layout.residual_scale, -CLIP, CLIP)
            return np.stack([residual, np.minimum(np.abs(error), layout.loss_cap)])
        case Task.MULTICLASS:
            wrong = 1.0 - np.eye(len(layout.classes))
            return np.stack([np.full_like(wrong, np.nan), wrong])


def _tenth(total: OutcomeProfile, number: int) -> Ints:
    if total.layout.task is Task.MULTICLASS:
        return np.arange(len(total.layout.classes))
    return _places(total) if number else np.zeros(total.layout.shape[0], np.int64)


def _places(total: OutcomeProfile) -> Ints:
    """Return the tenth of each score bin, numbered without gaps: a bin lies where the middle of its rows does."""
    counts = total.joint.sum(axis=1).astype(np.float64)
    middle = (np.cumsum(counts) - counts / 2) / max(float(counts.sum()), 1.0)
    tenth = np.minimum((TENTHS * middle).astype(np.int64), TENTHS - 1)
    _, place = np.unique(tenth, return_inverse=True)
    return np.asarray(place, np.int64)


def _names(total: OutcomeProfile) -> Iterator[str]:
    layout = total.layout
    if layout.task is Task.MULTICLASS:
        yield from (f"said {name}" for name in layout.classes)
        return
    place = _places(total)
    for tenth in range(int(place.max(initial=-1)) + 1):
        inside = np.flatnonzero(place == tenth)
        low = f"{layout.score_edges[inside[0] - 1]:.3g}" if inside[0] else ""
        high = f"{layout.score_edges[inside[-1]]:.3g}" if inside[-1] < len(layout.score_edges) else ""
        yield f"score {low} to {high}" if low and high else f"score below {high}" if high else f"score from {low}"


def _of_tenths(
    windows: Sequence[OutcomeProfile], total: OutcomeProfile, cells: Floats, tenth: Ints, number: int
) -> Calibration:
    theta = np.full((len(windows), number * CHANNELS), np.nan)
    rows = np.zeros_like(theta)
    for i, window in enumerate(windows):
        sums, counts = tenths(window, cells, tenth, number)
        with np.errstate(invalid="ignore", divide="ignore"):
            theta[i] = (sums / counts[:, None]).ravel()
        rows[i] = np.repeat(counts, CHANNELS)
    mean, counts = tenths(total, cells, tenth, number)
    squares, _ = tenths(total, cells**2, tenth, number)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = (squares / counts[:, None] - (mean / counts[:, None]) ** 2).ravel()
    return calibrate(theta, rows, np.maximum(np.nan_to_num(unit), 1e-12), np.zeros(len(windows), np.int64))


def _of_group(group: OutcomeProfile, whole: Calibration) -> Calibration:
    n = group.labelled
    mean = np.array([group.mean("residual"), group.mean("loss")])
    unit = np.array([max(group.mean(f"{name}2") - group.mean(name) ** 2, 1e-12) for name in ("residual", "loss")])
    return replace(whole, mean=mean[None, :], unit=unit, error=whole.error + unit / n)
