"""Readiness: whether a training set holds what production will ask, before anybody trains on it.

Needs scikit-learn for the joint comparison, so it runs in the command's process and never in the daemon's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.challenger import matrix_of, out_of_fold
from monitor.coverage import Gap, gap_of, rows_needed
from monitor.gate import Outcome, Section
from monitor.outcome import Task
from monitor.source import Batch, Bools, Floats, take
from monitor.stats.resampling import mean_with_error

FEWEST_ROWS = 500  # on either side, below which nothing is compared
FEWEST_OF_CLASS = 50  # labels of the rarer class
MOST_UNCOVERED = 0.01  # share of traffic
JOINT_ROWS = 20_000  # of either side
FOLDS, BLOCKS = 5, 45  # every fifth block of time is a fold: each has all seasons, and days stay together
DENSITY = 0.1  # training's density over production's, below which a row is not covered
WORTH = 0.1  # of the rows: below it most of training is about something else
FEW_LABELS = 0.5  # share of rows without which a training set is no fair sample
SHOWN = 12  # features in the section on gaps
DAY = 86_400e6  # microseconds


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the two files have in common: features that only one of them has, and those of another type, in words."""

    missing: Sequence[str] = ()
    """Production has them, training does not."""
    extra: Sequence[str] = ()
    """Training has them, production does not: no model can use them."""
    different: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Joint:
    """All features at once: how well production is told from training, and what no mix of training rows can stand for.

    ``auc`` and ``uncovered`` come with standard errors over folds of blocks of time. ``effective`` is how many rows of
    production the weighted training rows are worth, as a share of them (Kish).
    """

    auc: float
    auc_error: float
    uncovered: float
    uncovered_error: float
    effective: float


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """The findings as sections, and what they were made from."""

    sections: Sequence[Section]
    gaps: Sequence[Gap]
    joint: Joint | None
    uncovered: float
    needed: int
    """Labelled rows that are missing from parts of production that training does not cover."""


def assess(
    training: Batch,
    production: Batch,
    columns: Columns,
    *,
    labelled: bool,
    task: Task = Task.BINARY,
    most: float = MOST_UNCOVERED,
    timed: bool = False,
) -> Readiness:
    """Return whether a model of ``training`` could know what ``production`` asks.

    Both have the same features; labels are NaN where unknown, None where there is no such column. ``labelled`` says
    that a label was asked for, ``timed`` that rows carry their time. More than ``most`` of the traffic uncovered fails.
    """
    sections = [_columns(columns)]
    if min(training.rows, production.rows) < FEWEST_ROWS or not training.columns:
        why = (
            f"training has {training.rows:,} rows and production {production.rows:,}; "
            f"at least {FEWEST_ROWS} of each are needed"
            if training.columns
            else "the two have no feature in common"
        )
        sections += [Section(name="coverage", outcome=Outcome.UNCLEAR, why=why)]
        sections += [_labels(training, labelled, task)]
        return Readiness(sections=sections, gaps=(), joint=None, uncovered=float("nan"), needed=0)
    gaps = [gap_of(name, values, production.columns[name]) for name, values in training.columns.items()]
    gaps.sort(key=lambda gap: (-gap.uncovered, -gap.psi, gap.feature))
    joint = _joint(training, production)
    anywhere = np.zeros(production.rows, bool)
    for gap in gaps:
        for region in gap.regions:
            anywhere |= region.rows
    uncovered = float(anywhere.mean())
    sections += [_coverage(gaps, uncovered, production.rows, most), _together(joint, uncovered, most, training.rows)]
    share = max([uncovered if uncovered > most else 0.0, joint.uncovered if joint.uncovered > most else 0.0])
    sections += [_differences(gaps), _labels(training, labelled, task)]
    needed = rows_needed(share)
    sections += [_rows(share, needed, anywhere, production, timed)]
    return Readiness(sections=sections, gaps=gaps, joint=joint, uncovered=uncovered, needed=needed)


def _columns(columns: Columns) -> Section:
    figures = [f"{name}: production has it, training does not" for name in columns.missing]
    figures += [f"{name}: training has it, production does not; no model can use it" for name in columns.extra]
    figures += list(columns.different)
    if columns.missing or columns.different:
        count = len(columns.missing) + len(columns.different)
        why = f"{count} features of production are missing from training or of another type"
        return Section(name="columns", outcome=Outcome.FAIL, why=why, figures=figures)
    why = "training has every feature of production"
    return Section(name="columns", outcome=Outcome.PASS, why=why, figures=figures)


def _coverage(gaps: Sequence[Gap], uncovered: float, rows: int, most: float) -> Section:
    regions = sorted((r for gap in gaps for r in gap.regions), key=lambda r: (-r.share, r.feature))
    figures = [
        f"{r.feature} {r.where}: {r.share:.1%} of traffic, {r.training_rows:,} training rows, "
        f"about {max(0, rows_needed(r.share) - r.training_rows):,} more needed"
        for r in regions
    ]
    if not regions:
        why = "no range or value of production is without training rows"
        return Section(name="coverage", outcome=Outcome.PASS, why=why)
    why = (
        f"{uncovered:.1%} of {rows:,} production rows have a value that training hardly saw "
        f"(allowed {most:.1%}): {', '.join(dict.fromkeys(r.feature for r in regions))}"
    )
    return Section(
        name="coverage", outcome=Outcome.FAIL if uncovered > most else Outcome.PASS, why=why, figures=figures
    )


def _joint(training: Batch, production: Batch) -> Joint:
    """Tell production from training by a model that never saw the block of time that it is asked about."""
    parts = [_thinned(training), _thinned(production)]
    matrices = matrix_of(parts)
    blocks = [np.arange(part.rows) * BLOCKS // part.rows % FOLDS for part in parts]
    label = np.repeat([0.0, 1.0], [part.rows for part in parts])
    block = np.concatenate(blocks)
    said = out_of_fold(Task.BINARY, np.concatenate(matrices), label, block, folds=FOLDS)
    # The classifier saw both sides in the proportion of their rows, which the odds contain.
    density = (1 - said) / said * (parts[1].rows / parts[0].rows)
    far = density < DENSITY
    areas, shares = [], []
    for one in range(FOLDS):
        inside = block == one
        areas.append(_area(said[inside & (label == 0)], said[inside & (label == 1)]))
        shares.append(float(far[inside & (label == 1)].mean()))
    weight = 1 / density[label == 0]
    area, error = mean_with_error(areas)
    share, share_error = mean_with_error(shares)
    effective = float(weight.sum() ** 2 / (weight**2).sum() / len(weight))
    return Joint(auc=area, auc_error=error, uncovered=share, uncovered_error=share_error, effective=effective)


def _thinned(batch: Batch) -> Batch:
    """Return at most 20,000 rows at equal distances, in order of time."""
    order = np.argsort(batch.time, kind="stable")
    if batch.rows > JOINT_ROWS:
        order = order[np.linspace(0, batch.rows - 1, JOINT_ROWS).astype(np.int64)]
    return take(batch, np.asarray(order, np.int64))


def _area(low: Floats, high: Floats) -> float:
    """Return the share of pairs in which production gets the higher score, ties as one half."""
    ordered = np.sort(low)
    wins = np.searchsorted(ordered, high, side="left") + np.searchsorted(ordered, high, side="right")
    return float(wins.sum() / 2 / len(low) / len(high))


def _together(joint: Joint, alone: float, most: float, rows: int) -> Section:
    figures = [
        f"production is told from training with AUC {joint.auc:.3f} ± {1.96 * joint.auc_error:.3f} (.5: not at all)",
        f"{joint.uncovered:.1%} ± {1.96 * joint.uncovered_error:.1%} of traffic lies where training is less than a "
        f"tenth as dense; by single features it was {alone:.1%}",
        f"weighted to look like production, the {rows:,} training rows are worth about {joint.effective * rows:,.0f}",
    ]
    if joint.uncovered - 1.64 * joint.uncovered_error > most or joint.effective < WORTH:
        why = (
            f"taken together, {joint.uncovered:.1%} of traffic is hardly like any training row, and training is worth "
            f"{joint.effective:.0%} of its rows"
        )
        return Section(name="combinations", outcome=Outcome.FAIL, why=why, figures=figures)
    if joint.uncovered > most:
        why = f"{joint.uncovered:.1%} of traffic may be unlike any training row; the blocks of time do not agree"
        return Section(name="combinations", outcome=Outcome.UNCLEAR, why=why, figures=figures)
    why = "combinations of features occur in training as well"
    return Section(name="combinations", outcome=Outcome.PASS, why=why, figures=figures)


def _differences(gaps: Sequence[Gap]) -> Section:
    """Return the features by distance: to be read, since another mix of known rows keeps nobody from training."""
    ranked = sorted((gap for gap in gaps if np.isfinite(gap.psi)), key=lambda gap: -gap.psi)[:SHOWN]
    figures = [
        f"{gap.feature}: PSI {gap.psi:.2f}"
        + (f", median {gap.shift:+.1f} interquartile ranges of training" if np.isfinite(gap.shift) else "")
        for gap in ranked
    ]
    why = "distances of single features, largest first; information only"
    return Section(name="differences", outcome=Outcome.PASS, why=why, figures=figures)


def _labels(training: Batch, labelled: bool, task: Task) -> Section:
    if training.label is None:
        if labelled:
            return Section(name="labels", outcome=Outcome.FAIL, why="training has no column of the label")
        return Section(name="labels", outcome=Outcome.UNCLEAR, why="no label was named; give --label")
    known = np.isfinite(training.label)
    share = float(known.mean()) if len(known) else 0.0
    figures = [f"{int(known.sum()):,} of {len(known):,} training rows have a label ({share:.1%})"]
    outcome, why = Outcome.PASS, f"{share:.1%} of training rows have a label"
    if task is not Task.REGRESSION and known.any():
        classes = np.unique(training.label[known], return_counts=True)
        rare = int(classes[1].min())
        figures.append(f"{len(classes[0])} classes; the rarest has {rare:,} rows")
        if len(classes[0]) < 2 or rare < FEWEST_OF_CLASS:
            outcome = Outcome.FAIL
            why = (
                f"the rarest class has {rare:,} labelled rows; {FEWEST_OF_CLASS} are the least"
                if len(classes[0]) > 1
                else "all labels are the same; nothing can be learned"
            )
    if not known.any():
        outcome, why = Outcome.FAIL, "no training row has a label"
    elif outcome is Outcome.PASS and share < FEW_LABELS:
        outcome = Outcome.UNCLEAR
        why += "; those with one may be unlike the others"
    return Section(name="labels", outcome=outcome, why=why, figures=figures)


def _rows(share: float, needed: int, anywhere: Bools, production: Batch, timed: bool) -> Section:
    if not needed:
        return Section(name="rows", outcome=Outcome.PASS, why="no more rows are needed to cover production")
    figures = ["385 rows for each 2 % of traffic give a rate there to within five points (95 %)"]
    inside = int(anywhere.sum())
    if inside:
        known = 0 if production.label is None else int(np.isfinite(production.label[anywhere]).sum())
        figures.append(
            f"of production's {inside:,} rows with values that training hardly saw, {known:,} have a label"
            + ("; add them" if known else "; they can be used once labels have come")
        )
        if timed:
            times = production.time[anywhere]
            days = len(np.unique(times // int(DAY)))
            figures.append(
                f"they came on {days:,} days; at that rate {needed:,} rows take {needed * days / inside:,.0f} such days"
            )
    why = f"about {needed:,} more labelled rows are needed, from the parts named above ({share:.1%} of traffic)"
    return Section(name="rows", outcome=Outcome.FAIL, why=why, figures=figures)


def document(readiness: Readiness) -> Mapping[str, object]:
    """Return what a program reads of it, as JSON values."""
    joint = readiness.joint
    return {
        "uncovered": readiness.uncovered,
        "rows_needed": readiness.needed,
        "joint": None if joint is None else dict(vars(joint)),
        "features": [
            {
                "feature": gap.feature,
                "psi": gap.psi,
                "shift": None if np.isnan(gap.shift) else gap.shift,
                "uncovered": gap.uncovered,
                "regions": [
                    {"where": r.where, "share": r.share, "training_rows": r.training_rows} for r in gap.regions
                ],
            }
            for gap in readiness.gaps
        ],
    }
