"""Power: whether a window could show what matters; where it could not, it is judged together with those before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

import numpy as np

from monitor.check import (
    Evidence,
    Finding,
    Judgement,
    MissingEvidenceError,
    Part,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)
from monitor.expectation import expectation_of
from monitor.outcome import Task
from monitor.panel import MATERIALITY, Panel
from monitor.reference import SCORE
from monitor.statistic import StatisticKind, null_model, slot_of
from monitor.stats.calibration import Calibration
from monitor.stats.widening import WIDTHS, Widened, widen

TIMES = 5.0  # materiality
MOST = 50  # columns whose windows are remembered, the most important ones
SCORES = {Task.BINARY: 0.1, Task.MULTICLASS: 0.1}  # probability; of a regression .75 standard deviations
VALUES = 0.75
OUTCOMES = {Task.BINARY: 0.15, Task.MULTICLASS: 0.15, Task.REGRESSION: 0.375}  # probability; residual sd
RESIDUAL = "residual"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Series = Sequence[Sequence[float]]
"""Of the last windows: start (seconds since the epoch), deviation, rows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """What is judged: its statistic, how far it is off in this window and by how many rows, and what matters."""

    name: str
    statistic: str
    part: Part
    place: int
    deviation: float
    rows: float
    tolerance: float
    materiality: float
    unit: str


@register("power")
@dataclass(frozen=True, kw_only=True)
class Power:
    """Judges subjects of which one window would not show a shift that matters over as few windows as would.

    ``tolerance`` is the shift of a feature that has to be visible, in training standard deviations; ``score`` and
    ``outcome`` are those of the mean score and of the mean residual, in their own units (default: five times what is
    material). Twenty-eight windows are merged at most.
    """

    tolerance: float = TIMES * MATERIALITY
    score: float | None = None
    outcome: float | None = None

    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.INPUTS, Stage.OUTCOMES})

    def __post_init__(self) -> None:
        for name in ("tolerance", "score", "outcome"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"power.{name} is {value}; it must be above 0")

    def run(self, evidence: Evidence) -> Judgement:
        """Judge features and score when a window closes, the residual when labels have matured."""
        if not evidence.reference.timeline:
            return Judgement()  # nobody knows yet what is usual
        memory = evidence.memories.get("power") or {}
        if memory.get("reference") != evidence.reference.id:
            memory = {}
        if evidence.stage is Stage.OUTCOMES:
            groups = [self._residual(evidence)]
        else:
            groups = [self._features(evidence), self._score(evidence)]
        findings: list[Finding] = []
        series: dict[str, Series] = {}
        for calibration, subjects in groups:
            found, kept = _judge(calibration, subjects, evidence, memory.get("series", {}))
            findings += found
            series |= kept
        return Judgement(findings=findings, memory={"reference": evidence.reference.id, "series": series})

    def _features(self, evidence: Evidence) -> tuple[Calibration, list[Subject]]:
        reference = evidence.reference
        null = null_model(reference, evidence.holidays, on_holiday=evidence.is_holiday)
        names = [column.name for column in reference.layout.columns if column.clock is None and column.part == "input"]
        names = sorted(names, key=lambda name: -abs(reference.importance.get(name, 0.0)))[:MOST]
        panel = Panel.of(null, names)
        theta, n = null.statistics.values(evidence.current)
        deviation = null.season.deviation(theta, slot_of(reference, evidence.window))
        broken = (evidence.memories.get("sudden") or {}).get("sources", {})
        found = []
        for j, name in enumerate(names):
            main = panel.main(j)
            if main < 0 or reference.source_of(name) in broken:
                continue  # what a suspect source logs is not merged with ordinary windows
            place, statistic = int(panel.places[main]), panel.statistics[main]
            share = statistic.kind is StatisticKind.SHARE
            found.append(
                Subject(
                    name=name,
                    statistic=statistic.name,
                    part=Part.INPUT,
                    place=place,
                    deviation=float(deviation[place]),
                    rows=float(n[place]),
                    tolerance=TIMES * float(panel.materiality[main]) if share else self.tolerance,
                    materiality=float(panel.materiality[main]),
                    unit="of rows" if share else "sd",
                )
            )
        usual = null_model(reference, evidence.holidays)
        return usual.season, found

    def _score(self, evidence: Evidence) -> tuple[Calibration, list[Subject]]:
        reference = evidence.reference
        null = null_model(reference, evidence.holidays, on_holiday=evidence.is_holiday)
        place, usual = null.statistics.score, null_model(reference, evidence.holidays).flat
        if place is None:
            return usual, []
        theta, n = null.statistics.values(evidence.current)
        spread = math.sqrt(reference.total.columns[SCORE].variance)
        tolerance = self.score or SCORES.get(reference.task, VALUES * spread)
        subject = Subject(
            name=SCORE,
            statistic="mean",
            part=Part.PREDICTION,
            place=place,
            deviation=float(null.flat.deviation(theta)[place]),
            rows=float(n[place]),
            tolerance=tolerance,
            materiality=tolerance / TIMES,
            unit="",
        )
        return usual, [subject]

    def _residual(self, evidence: Evidence) -> tuple[Calibration, list[Subject]]:
        outcome, null = evidence.outcome, expectation_of(evidence.reference)
        if null is None:
            raise MissingEvidenceError("the training profile has no honest predictions with labels")
        tolerance = self.outcome or OUTCOMES[evidence.reference.task]
        theta = np.array([outcome.mean("residual"), outcome.mean("loss")])
        enough = null.is_enough(outcome.labelled)
        subject = Subject(
            name="outcome",
            statistic=RESIDUAL,
            part=Part.OUTCOME,
            place=0,
            deviation=float(null.calibration.deviation(theta)[0]) if enough else math.nan,
            rows=float(outcome.labelled) if enough else 0.0,
            tolerance=tolerance,
            materiality=tolerance / TIMES,
            unit="",
        )
        return null.calibration, [subject]


def _judge(
    calibration: Calibration, subjects: Sequence[Subject], evidence: Evidence, past: Mapping[str, Series]
) -> tuple[list[Finding], dict[str, Series]]:
    """Return findings on subjects that one window says too little about, and the series to remember."""
    if not subjects:
        return [], {}
    start, length = (moment.total_seconds() for moment in (evidence.window.start - EPOCH, evidence.window.length))
    series: dict[str, Series] = {}
    kept: dict[str, Series] = {}
    for one in subjects:
        before = past.get(one.name, ())
        series[one.name] = apart = [point for point in before if point[0] + length <= start][1 - WIDTHS[-1] :]
        if math.isfinite(one.deviation) and one.rows > 0:
            apart.append([start, float(f"{one.deviation:.4g}"), one.rows])
        overlaps = bool(before) and before[-1][0] + length > start  # sliding windows: rows count once
        kept[one.name] = before if overlaps else apart
    most = max(len(known) for known in series.values())
    if not most:
        return [], kept
    deviation, n = np.full((2, most, len(subjects)), np.nan)
    for j, one in enumerate(subjects):
        if known := series[one.name]:
            _, deviation[-len(known) :, j], n[-len(known) :, j] = np.array(known, np.float64).T
    widened = widen(
        calibration.at([one.place for one in subjects]),
        deviation,
        n,
        alpha=evidence.budget.q / 2 / len(subjects),
        tolerance=[one.tolerance for one in subjects],
    )
    findings: list[Finding] = []
    for j, one in enumerate(subjects):
        if not math.isfinite(one.deviation) or not widened.windows[j]:
            continue  # this window brings nothing: what its own check calls inconclusive is not judged again
        enough = bool(widened.minimum_detectable[j] <= one.tolerance)
        if enough and widened.windows[j] == 1:
            if one.part is Part.INPUT:
                del kept[one.name]  # windows have rows enough; nothing is remembered of a thousand features
            continue
        findings.append(_finding(one, series[one.name], widened, j, evidence, enough=enough))
    return findings, kept


def _finding(one: Subject, series: Series, widened: Widened, j: int, evidence: Evidence, *, enough: bool) -> Finding:
    """Return the finding on merged windows: bad where they are off, inconclusive where even they could not show it."""
    windows, rows = int(widened.windows[j]), int(widened.rows[j])
    effect, visible = float(widened.deviation[j]), float(widened.minimum_detectable[j])
    since = datetime.fromtimestamp(series[-windows][0], evidence.spec.zone)
    form = "%-d %b %Y" if evidence.spec.pace.days else "%-d %b %Y %H:%M"
    judged = "this window" if windows == 1 else f"the last {windows} windows (since {since.strftime(form)})"
    judged = f"{judged}, {rows} rows"
    flagged = bool(abs(effect) >= max(float(widened.threshold[j]), one.materiality))
    unit = f" {one.unit}" if one.unit else ""
    verdict, message, reason = Verdict.OK, "", f"judged over {judged}"
    if flagged:
        verdict = Verdict.WARNING
        side = "above" if effect > 0 else "below"
        message = f"{one.name}: {one.statistic} {abs(effect):.2g}{unit} {side} training over {judged}"
    elif not enough:
        verdict, reason = Verdict.INCONCLUSIVE, "too few rows"
        message = (
            f"{one.name}: {judged} would show a shift of {visible:.2g}{unit} at the least; "
            f"{one.tolerance:.2g}{unit} has to be visible"
        )
    return Finding(
        check="power",
        part=one.part,
        subject=one.name,
        statistic=f"{one.statistic} (merged)",
        verdict=verdict,
        message=message,
        reason=reason,
        family=f"merged:{one.name}",
        value=effect,
        reference_value=0.0,
        effect=effect,
        materiality=one.materiality,
        threshold=max(float(widened.threshold[j]), one.materiality),
        threshold_source=ThresholdSource.BUDGET,
        p_value=float(widened.p[j]),
        minimum_detectable=visible,
        direction=int(np.sign(effect)),
        n_current=rows,
        n_reference=evidence.reference.rows,
        details={"windows": windows, "since": since.isoformat(), "tolerance": one.tolerance},
    )
