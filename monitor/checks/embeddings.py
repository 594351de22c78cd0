"""Embeddings: whether vectors lie elsewhere than in training, or spread otherwise, in some of their dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from monitor.check import Cause, Evidence, Finding, Judgement, Part, Stage, ThresholdSource, Verdict, register
from monitor.embedding import Embedding
from monitor.memo import per_reference
from monitor.panel import MATERIALITY
from monitor.profile import Profile
from monitor.reference import Reference
from monitor.source import Floats, Ints
from monitor.statistic import on_holidays, slot_of, training_slots
from monitor.stats.calibration import Calibration, RowShape, calibrate
from monitor.stats.multiplicity import adjusted, smallest_p
from monitor.stats.occasion import occasional

FEWEST_WINDOWS = 8  # of training
FEWEST_ROWS = 10  # vectors in a window
NAMED = 3  # dimensions in a message


@register("embeddings")
@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Compares mean and spread of every dimension of every embedding with training.

    ``materiality`` is the smallest shift of a dimension that matters, in training standard deviations; of its second
    moment, twice as much.
    """

    materiality: float = MATERIALITY

    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.INPUTS})

    def __post_init__(self) -> None:
        if not self.materiality > 0:
            raise ValueError(f"embeddings.materiality is {self.materiality}; it must be above 0")

    def run(self, evidence: Evidence) -> Judgement:
        """Judge every embedding of one window; nothing is remembered."""
        reference = evidence.reference
        embeddings = reference.layout.embeddings
        calibrations = _calibrations(reference, evidence.holidays) if embeddings else None
        if calibrations is None:
            return Judgement()
        calibration = calibrations[evidence.is_holiday]
        theta, n = _values(evidence.current)
        slot = slot_of(reference, evidence.window)
        z = np.where(n < FEWEST_ROWS, np.nan, calibration.z(theta, n, slot))
        deviation = calibration.deviation(theta, slot)
        owner, second = _owners(embeddings)
        floor = np.where(second, 2 * self.materiality, self.materiality)
        gate = np.abs(np.nan_to_num(deviation)) >= floor
        combined, chosen = smallest_p(calibration.p_of(z, n), owner, len(embeddings), gate=gate)
        p_adjusted = adjusted(combined)
        tested = max(int(np.isfinite(combined).sum()), 1)
        alpha = evidence.budget.q / tested / np.maximum(np.bincount(owner, minlength=len(embeddings)), 1)[owner]
        limit = np.maximum(calibration.critical(alpha, n) * calibration.scale(n), floor)
        detectable = np.maximum(calibration.minimum_detectable(n, alpha), floor)
        findings = []
        for j, embedding in enumerate(embeddings):
            first = int(np.searchsorted(owner, j))
            own = slice(first, first + 2 * embedding.dimensions)
            known = math.isfinite(combined[j])
            flagged = known and bool(p_adjusted[j] <= evidence.budget.q)
            ratio = np.abs(np.nan_to_num(deviation[own])) / limit[own]
            beyond = np.flatnonzero(ratio >= 1)
            at = int(chosen[j]) if chosen[j] >= 0 else first
            if (ratio[: embedding.dimensions] >= 1).any():
                at = first + int(ratio[: embedding.dimensions].argmax())  # people understand a mean first
            rows = int(n[first])
            finding = Finding(
                check="embeddings",
                part=Part.INPUT,
                subject=embedding.name,
                statistic="dimensions",
                verdict=(Verdict.WARNING if flagged else Verdict.OK) if known else Verdict.INCONCLUSIVE,
                reason="" if known else _why(evidence, rows),
                message=_message(embedding, beyond, at - first, float(deviation[at]), rows) if flagged else "",
                family=f"feature:{embedding.name}",
                cause=Cause.DRIFT,
                value=float(theta[at]) if known else None,
                reference_value=float(theta[at] - deviation[at]) if known else None,
                effect=float(deviation[at]) if known else None,
                materiality=float(floor[at]),
                threshold=float(limit[at]) if known else None,
                threshold_source=ThresholdSource.BUDGET,
                p_value=float(combined[j]) if known else None,
                p_adjusted=float(p_adjusted[j]) if known else None,
                minimum_detectable=float(np.median(detectable[own][: embedding.dimensions])) if known else None,
                direction=0,
                n_current=rows,
                n_reference=_trained(reference, j),
                details={"dimensions": _names(embedding, beyond)} if flagged else {},
            )
            findings.append(finding)
        return Judgement(findings=findings)


def _why(evidence: Evidence, rows: int) -> str:
    if rows < FEWEST_ROWS:
        return "too few rows"
    return "unknown slot, not compared" if evidence.is_holiday else "not calibrated"


def _names(embedding: Embedding, places: Ints) -> list[int]:
    """Return the dimensions that moved, in their order."""
    return sorted({int(place) % embedding.dimensions for place in places})


def _message(embedding: Embedding, beyond: Ints, place: int, deviation: float, rows: int) -> str:
    dimension, spread = place % embedding.dimensions, place >= embedding.dimensions
    what = "spread (second moment)" if spread else "mean"
    moved = _names(embedding, beyond)
    side = "above" if deviation > 0 else "below"
    listed = ", ".join(map(str, moved[:NAMED])) + (" …" if len(moved) > NAMED else "")
    more = f"; {len(moved)} of {embedding.dimensions} dimensions are off: {listed}" if len(moved) > 1 else ""
    return (
        f"{embedding.name}: {what} of dimension {dimension} {abs(deviation):.2g} sd {side} training ({rows} rows){more}"
    )


def _parts(profile: Profile) -> Iterator[Floats]:
    """Yield the moments of each embedding."""
    at = profile.layout.embedded_at
    for embedding in profile.layout.embeddings:
        yield profile.sums[at : at + embedding.moments]
        at += embedding.moments


def _values(profile: Profile) -> tuple[Floats, Floats]:
    """Return the means of z and of z² of all dimensions, embedding by embedding, and the rows behind them."""
    theta, n = [], []
    for moments in _parts(profile):
        with np.errstate(invalid="ignore", divide="ignore"):
            theta.append(moments[1:] / moments[0])
        n.append(np.full(len(moments) - 1, moments[0]))
    return np.concatenate(theta), np.concatenate(n)


def _owners(embeddings: tuple[Embedding, ...]) -> tuple[Ints, Ints]:
    """Return whose each statistic is, and whether it is of a second moment."""
    owner = np.concatenate([np.full(2 * e.dimensions, j) for j, e in enumerate(embeddings)])
    second = np.concatenate([np.repeat([0, 1], e.dimensions) for e in embeddings])
    return owner.astype(np.int64), second.astype(np.int64)


def _trained(reference: Reference, place: int) -> int:
    return int(list(_parts(reference.total))[place][0])


@per_reference
def _calibrations(reference: Reference, holidays: frozenset[str]) -> tuple[Calibration, Calibration] | None:
    """Return what the dimensions do when nothing is wrong, on ordinary days and on holidays."""
    pairs = [_values(profile) for profile in reference.profiles]
    theta, n = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    if len(theta) < FEWEST_WINDOWS or not reference.timeline:
        return None
    total = reference.total
    unit, shapes = [], []
    for embedding, moments in zip(reference.layout.embeddings, _parts(total), strict=True):
        mean, square = np.split(moments[1:] / max(moments[0], 1.0), 2)
        variance = np.maximum(square - mean**2, 1e-6)
        fourth = (embedding.value[:, 1] + 3) * variance**2
        unit.append(np.concatenate([variance, np.maximum(fourth - square**2, 1e-6)]))
        shapes.append(np.vstack([embedding.value, embedding.square]))
    shape = np.vstack(shapes)
    slots, seasons = training_slots(reference)
    row = RowShape(skewness=shape[:, 0], kurtosis=shape[:, 1], kin=_owners(reference.layout.embeddings)[1])
    special = on_holidays(reference, holidays)
    ordinary = np.where(special[:, None], np.nan, theta)
    usual = calibrate(ordinary, n, np.concatenate(unit), slots, seasons, row)
    return usual, occasional(usual, theta[special], n[special], slots[special])
