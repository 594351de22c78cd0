"""Concept drift: whether outcomes still follow from scores as in training, overall, by tenth of the score and group."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from monitor.check import (
    Cause,
    Evidence,
    Finding,
    Judgement,
    MissingEvidenceError,
    Part,
    Severity,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)
from monitor.expectation import expectation_of
from monitor.outcome import Task
from monitor.source import Floats
from monitor.stats.eprocess import DEAD, Detector, advance
from monitor.stats.resampling import inflation
from monitor.stats.sequence import radius
from monitor.stratum import CHANNELS, LOSS, RESIDUAL, Strata, Stratum, strata_of

TOLERANCE = {Task.BINARY: 0.03, Task.MULTICLASS: 0.03, Task.REGRESSION: 0.075}  # probability; residual sd
LOSS_TOLERANCE = 0.05  # of the stratum's loss in training
SMOOTHING = 0.1
PLANNED = 28.0  # windows at which the interval is narrowest
FEWEST = 5  # labelled rows of a stratum in a window; fewer are left for the next
NAMES = ("residual", "loss")


@register("concept")
@dataclass(frozen=True, kw_only=True)
class ConceptDrift:
    """Concept drift on matured labels: loss and calibration residual, overall, per tenth of the score, and per group.

    The null is that of honest predictions (out-of-fold in blocks of time, or held out). Each stratum adds up evidence
    that its mean residual (one test for each sign) or its loss (upwards only) is beyond training by more than
    ``tolerance`` (probability; regression: residual standard deviations) and ``loss_tolerance`` (share of its training
    loss); what is within is never an alarm, however many rows say so. So a change that cancels out overall is seen.
    Intervals are confidence sequences since the training profile came into force, valid whenever they are looked at.
    Lines of the digest, since ``performance`` tells of all rows together; ``notify: message`` sends them.
    """

    tolerance: float | None = None
    loss_tolerance: float = LOSS_TOLERANCE
    notify: Literal["digest", "message"] = "digest"

    def __post_init__(self) -> None:
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"concept.tolerance is {self.tolerance}; it is a size above 0")
        if not self.loss_tolerance > 0:
            raise ValueError(f"concept.loss_tolerance is {self.loss_tolerance}; it is a share of the loss above 0")

    @property
    def stages(self) -> frozenset[Stage]:
        return frozenset({Stage.OUTCOMES})

    def run(self, evidence: Evidence) -> Judgement:
        reference, outcome = evidence.reference, evidence.outcome
        strata, null = strata_of(reference), expectation_of(reference)
        if strata is None or null is None:
            raise MissingEvidenceError(
                "the training profile has no honest predictions with labels; give `monitor profile` a --holdout file"
            )
        memory: Mapping[str, Any] = evidence.memories.get("concept") or {}
        if memory.get("reference") != reference.id:
            memory = {}
        theta, rows = strata.measured(outcome)
        theta = np.where((rows >= FEWEST) & null.is_enough(outcome.labelled), theta, np.nan)
        tolerances = self._tolerances(strata, reference.task)
        known = strata.calibration
        number = len(strata.members)
        scale, h = known.scale(rows), np.maximum(known.inflation(rows), 1e-9)
        step = advance(
            Detector.from_json(memory.get("detector"), number * CHANNELS, number),
            z=known.z(theta, rows),
            deviation=known.deviation(theta),
            autocorrelation=known.autocorrelation,
            inflation=h,
            natural=known.share(rows),
            dead=DEAD + np.nan_to_num(tolerances / scale) / np.sqrt(h),
            threshold=2 * number / evidence.budget.q,
            materiality=tolerances,
            smoothing=SMOOTHING,
            group=np.repeat(np.arange(number), CHANNELS),
        )
        seen = _averaged(memory, known.deviation(theta), scale, known.autocorrelation)
        since = _since(memory, step.detector, evidence.window.start.isoformat())
        findings = list(self._findings(evidence, strata, step.detector, theta, rows, tolerances, seen, since))
        return Judgement(
            findings=findings,
            memory={
                "reference": reference.id,
                "detector": step.detector.to_json(),
                "since": since,
                **{name: [float(f"{x:.6g}") for x in values.tolist()] for name, values in seen.items()},
            },
        )

    def _tolerances(self, strata: Strata, task: Task) -> Floats:
        residual = TOLERANCE[task] if self.tolerance is None else self.tolerance
        usual = np.nan_to_num(strata.calibration.mean[0])
        found = np.full(len(usual), residual)
        found[LOSS::CHANNELS] = np.maximum(self.loss_tolerance * usual[LOSS::CHANNELS], 1e-6)
        return found

    def _findings(
        self,
        evidence: Evidence,
        strata: Strata,
        detector: Detector,
        theta: Floats,
        rows: Floats,
        tolerances: Floats,
        seen: Mapping[str, Floats],
        since: Mapping[str, str],
    ) -> Iterator[Finding]:
        usual, error = strata.calibration.mean[0], strata.calibration.error
        for number, stratum in enumerate(strata.members):
            first = number * CHANNELS
            residual, loss = first + RESIDUAL, first + LOSS
            biased = math.isfinite(usual[residual]) and abs(detector.smoothed[residual]) >= tolerances[residual]
            worse = detector.smoothed[loss] >= tolerances[loss]  # a loss that fell is no alarm
            opened = bool(detector.open[number]) and bool(biased or worse)
            at = loss if not math.isfinite(usual[residual]) or (opened and not biased) else residual
            windows, mean = float(seen["windows"][at]), float(seen["mean"][at])
            half = radius(windows, float(seen["deviation"][at]), planned=PLANNED) + DEAD * math.sqrt(error[at])
            known = math.isfinite(theta[at]) and math.isfinite(half)
            verdict = Verdict.WARNING if opened else Verdict.OK if known else Verdict.INCONCLUSIVE
            loud = self.notify == "message" and opened
            yield Finding(
                check="concept",
                part=Part.OUTCOME,
                subject=stratum.name,
                statistic=f"concept_{NAMES[at - first]}",
                family=f"concept:{stratum.name}",
                verdict=verdict,
                severity=Severity.WARNING if loud else Severity.INFO,
                value=_number(theta[at]),
                reference_value=_number(usual[at]),
                effect=_number(float(detector.smoothed[at])),
                materiality=_number(tolerances[at]),
                threshold=_number(tolerances[at]),
                threshold_source=ThresholdSource.DEFAULT if self.tolerance is None else ThresholdSource.CONFIGURED,
                interval_low=_number(mean - half),
                interval_high=_number(mean + half),
                direction=int(np.sign(detector.smoothed[at])) if opened else 0,
                latched=True,
                cause=Cause.CONCEPT if opened else None,
                n_current=int(rows[at]),
                slice=stratum.slice,
                message=_words(stratum, at - first, detector.smoothed[at], since.get(str(number)), evidence, opened),
                reason="" if known or opened else "too few labels",
                details={"since_training": {"mean": mean, "windows": windows}},
            )


def _averaged(memory: Mapping[str, Any], deviation: Floats, scale: Floats, rho: Floats) -> dict[str, Floats]:
    """Return per channel the windows so far, their mean deviation, and the deviation of one of them.

    ``deviation`` has what neighbours that resemble each other add to the variance of a mean.
    """
    channels = len(deviation)
    kept = memory if len(memory.get("windows", ())) == channels else {}
    windows, mean, variance = (
        np.array(kept.get(name, np.zeros(channels)), np.float64) for name in ("windows", "mean", "deviation")
    )
    told = np.isfinite(deviation) & np.isfinite(scale)
    own = np.where(told, scale**2 * np.array([inflation(one) for one in np.nan_to_num(rho).tolist()]), 0.0)
    windows = windows + told
    share = np.where(told, 1 / np.maximum(windows, 1), 0.0)
    mean = mean + share * (np.nan_to_num(deviation) - mean)
    variance = variance**2 + share * (own - variance**2)
    return {"windows": windows, "mean": mean, "deviation": np.sqrt(variance)}


def _since(memory: Mapping[str, Any], detector: Detector, start: str) -> dict[str, str]:
    """Return by stratum when its alarm began, of those that are open."""
    kept: Mapping[str, str] = memory.get("since") or {}
    return {str(number): kept.get(str(number), start) for number in np.flatnonzero(detector.open).tolist()}


def _words(stratum: Stratum, channel: int, shift: float, since: str | None, evidence: Evidence, opened: bool) -> str:
    if not opened:
        return ""
    where = "of all rows" if stratum.name == "outcome" else f"where {stratum.name}"
    if evidence.reference.task is Task.REGRESSION:
        unit = " residual standard deviations" if channel == RESIDUAL else ""
        more = "outcomes are higher than predicted" if shift > 0 else "outcomes are lower than predicted"
    else:
        unit = " probability" if channel == RESIDUAL else ""
        more = "more comes true than is said" if shift > 0 else "less comes true than is said"
    if channel == LOSS:
        more = "the loss is higher than in training"
    day = "" if since is None else f" since {since[:10]}"
    return f"{where}, {more}: {shift:+.3g}{unit} against training, lasting{day}"


def _number(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None
