"""Performance on matured labels: whether the predictions are still true, and what being wrong costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from monitor.check import (
    Costs,
    Evidence,
    Finding,
    Judgement,
    MissingEvidenceError,
    Part,
    Performance,
    ReferenceKind,
    Severity,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)
from monitor.expectation import FEWEST_LABELS, Expectation, expectation_of
from monitor.metric import Metric, adjusted_costs, curve_of, has_costs, metrics_of
from monitor.outcome import OutcomeProfile, Task
from monitor.reference import ENOUGH_WINDOWS, Reference
from monitor.source import Floats
from monitor.stats.classification import Z95, auc
from monitor.stats.eprocess import CLEAN, Detector, advance
from monitor.stats.regression import mean_and_error
from monitor.window import DAY

RESIDUAL, LOSS = 0, 1  # channels
MATERIALITY = {Task.BINARY: 0.03, Task.MULTICLASS: 0.03, Task.REGRESSION: 0.075}  # probability; residual sd
SLOW_SMOOTHING = 0.1
TOLD_SMOOTHING = 0.2  # of the residual that decides whether a told alert has grown
KEPT = 120  # windows of the series in memory
CHARTED = 42
TRAILING = 28  # windows' weight of the joint counts that adjusted policies are fitted on
MUCH_WORSE = 1.5  # times the training loss: a shock of this size is critical
LOSS_NAME = {Task.BINARY: "log_loss", Task.MULTICLASS: "log_loss", Task.REGRESSION: "capped_error"}


@lru_cache(maxsize=32)
def _reference_metrics(reference: Reference, costs: tuple[float | None, ...] | None) -> Mapping[str, Metric]:
    null = expectation_of(reference)
    if null is None:
        return {}
    curve = {metric.name: metric for metric in curve_of(null.total)}
    if costs is None:
        return metrics_of(null.total) | curve
    false_positive, false_negative, under, over = costs
    priced = Costs(false_positive=false_positive, false_negative=false_negative, under=under, over=over)
    return metrics_of(null.total, priced) | curve


@register("performance")
@dataclass(frozen=True, kw_only=True)
class PerformanceCheck:
    """Realised performance of matured outcomes against honest (out-of-fold, held-out) training performance.

    Alarms: residual (two-sided) or loss (upwards) beyond the budget in 2 of 3 windows or far beyond it in one; and,
    as the slow path, a lasting loss of calibration. ``materiality`` is the smallest residual that matters
    (probability; regression: residual standard deviations).
    """

    materiality: float | None = None

    @property
    def stages(self) -> frozenset[Stage]:
        return frozenset({Stage.OUTCOMES})

    def run(self, evidence: Evidence) -> Judgement:
        reference, outcome = evidence.reference, evidence.outcome
        null = expectation_of(reference)
        if null is None:
            raise MissingEvidenceError(
                "the training profile has no honest predictions with labels; give `monitor profile` a --holdout file"
            )
        memory: Mapping[str, Any] = evidence.memories.get("performance") or {}
        if memory.get("reference") != reference.id:
            memory = {}  # what speaks against one model says nothing about the next
        return _Judge(self, evidence, reference, outcome, null, memory).judge()


class _Judge:
    """One window's judgement; holds what its steps share."""

    def __init__(
        self,
        check: PerformanceCheck,
        evidence: Evidence,
        reference: Reference,
        outcome: OutcomeProfile,
        null: Expectation,
        memory: Mapping[str, Any],
    ) -> None:
        self.evidence, self.reference, self.outcome, self.null, self.memory = evidence, reference, outcome, null, memory
        self.task = reference.task
        self.material = MATERIALITY[self.task] if check.materiality is None else check.materiality
        self.n = outcome.labelled
        self.enough = null.is_enough(self.n)
        self.theta = np.array([outcome.mean("residual"), outcome.mean("loss")])
        if not self.enough:
            self.theta = np.full(2, np.nan)
        self.deviation = null.calibration.deviation(self.theta)
        self.z = null.calibration.z(self.theta, [self.n, self.n])
        costs = evidence.costs
        self.costs = costs if costs is not None and has_costs(costs, self.task) else None
        self.metrics = metrics_of(outcome, costs)
        key = None if costs is None else (costs.false_positive, costs.false_negative, costs.under, costs.over)
        self.usual = _reference_metrics(reference, key)

    def judge(self) -> Judgement:
        q = self.evidence.budget.q
        calibration = self.null.calibration
        step = advance(
            Detector.from_json(self.memory.get("detector"), 1),
            z=self.z[:1],
            deviation=self.deviation[:1],
            autocorrelation=calibration.autocorrelation[:1],
            inflation=calibration.inflation([self.n, self.n])[:1],
            natural=calibration.share([self.n, self.n])[:1],
            threshold=2 / q,
            materiality=[self.material],
            smoothing=SLOW_SMOOTHING,
        )
        series = [*self.memory.get("series", ()), self._point()][-KEPT:]
        detector = self._closed(step.detector, series)
        smoothed = float(self.memory.get("smoothed", 0.0))
        if self.enough:
            smoothed += TOLD_SMOOTHING * (float(self.deviation[RESIDUAL]) - smoothed)
        lasting = bool(detector.open[0])
        trailing = self._trailing()
        memory: dict[str, Any] = {
            "reference": self.reference.id,
            "detector": detector.to_json(),
            "smoothed": _short(smoothed),
            "series": series,
            "since": self._since(lasting),
        }
        rows = list(self._rows(trailing))
        if trailing is not None:
            added = trailing * (1 - 1 / TRAILING) + self.outcome.joint if self.n else trailing
            memory["trailing"] = [_short(x, 5) for x in added.ravel().tolist()]
        findings = self._inconclusive() if not self.enough else self._findings(q, smoothed, series, detector, memory)
        return Judgement(findings=tuple(findings), performance=tuple(rows), memory=memory)

    def _closed(self, detector: Detector, series: list[dict[str, Any]]) -> Detector:
        """Return the detector closed when the last ten windows together are below materiality.

        The smoothed residual itself remembers a shock for weeks: after a week at six times materiality it needs
        eighteen windows to fall, although nothing is wrong any more.
        """
        recent = [point["deviation"] for point in series if point["deviation"] is not None][-CLEAN:]
        calm = len(recent) == CLEAN and abs(float(np.mean(recent))) < self.material
        if not (detector.open[0] and detector.age[0] >= CLEAN and calm):
            return detector
        return replace(Detector.start(1), previous=detector.previous, smoothed=detector.smoothed)

    def _since(self, lasting: bool) -> str | None:
        if not lasting:
            return None
        return str(self.memory.get("since") or self.evidence.window.start.isoformat())

    def _point(self) -> dict[str, Any]:
        """Return this window in the series that recommendations and charts read."""
        joint = self.outcome.joint
        metric = auc(joint) if self.task is Task.BINARY and self.n else math.nan
        point = {
            "at": self.evidence.window.start.isoformat(),
            "rows": self.outcome.rows,
            "n": self.n,
            "unlabelled": not self.enough and self.outcome.coverage < self.null.total.coverage / 2,
            "auc": _short(metric),
            "loss": _short(self.outcome.mean("loss")),
            "residual": _short(self.outcome.mean("residual")),
            "deviation": _short(float(self.deviation[RESIDUAL])),
            "z": _short(float(self.z[RESIDUAL]), 4),
            "said": _short(self.outcome.mean("score_labelled")),
        }
        cost = self.metrics.get("cost_per_prediction")
        return point if cost is None else point | {"cost": _short(cost.value)}

    def _trailing(self) -> Floats | None:
        """Return decayed joint counts of earlier windows; at first those of training, weighing as much."""
        if self.task is not Task.BINARY or self.costs is None:
            return None
        shape = self.outcome.layout.shape
        kept = self.memory.get("trailing")
        if kept is not None and len(kept) == shape[0] * shape[1]:
            return np.array(kept, np.float64).reshape(shape)
        weight = TRAILING * self.null.usual_labels / max(self.null.total.labelled, 1)
        return np.asarray(self.null.total.joint * min(weight, 1.0), np.float64)

    # --- what is stored of every metric

    def _rows(self, trailing: Floats | None) -> Iterator[Performance]:
        metrics = dict(self.metrics)
        if trailing is not None and self.costs is not None and self.n:
            moved, honest = adjusted_costs(trailing, self.outcome, self.outcome.layout, self.costs)
            cost = metrics["cost_per_prediction"].value
            metrics["regret_to_moved_cutoff"] = Metric(name="regret_to_moved_cutoff", value=cost - moved)
            metrics["regret_to_recalibrated"] = Metric(name="regret_to_recalibrated", value=cost - honest)
        if self.costs is not None and self.costs.fallback is not None:
            metrics["fallback_cost_per_prediction"] = Metric(
                name="fallback_cost_per_prediction", value=self.costs.fallback
            )
        metrics["label_coverage"] = Metric(name="label_coverage", value=self.outcome.coverage)
        metrics |= {metric.name: metric for metric in curve_of(self.outcome)}
        targets = {} if self.evidence.costs is None else self.evidence.costs.good_enough
        for metric in metrics.values():
            usual, target = self.usual.get(metric.name), targets.get(metric.name)
            if metric.name == "label_coverage":
                usual = Metric(name="label_coverage", value=self.null.total.coverage)
            yield Performance(
                metric=metric.name,
                value=_none(metric.value),
                interval_low=_none(metric.low),
                interval_high=_none(metric.high),
                reference_value=None if usual is None else _none(usual.value),
                target=target,
                verdict=self._verdict(metric, target),
            )

    def _verdict(self, metric: Metric, target: float | None) -> Verdict:
        if not self.enough or math.isnan(metric.value):
            return Verdict.INCONCLUSIVE
        if target is None or self.evidence.costs is None:
            return Verdict.OK
        kept = metric.value <= target if self.evidence.costs.at_most else metric.value >= target
        return Verdict.OK if kept else Verdict.WARNING

    # --- what is judged

    def _inconclusive(self) -> list[Finding]:
        usual = self.null.usual_labels
        message = (
            f"{self.n} of {self.outcome.rows} predictions have their label; usual are {usual:.0f} labels a window, "
            f"and below {FEWEST_LABELS:.0%} of that nothing can be said"
        )
        return [
            Finding(
                check="performance",
                part=Part.OUTCOME,
                subject="outcome",
                statistic="residual",
                family="outcome",
                verdict=Verdict.INCONCLUSIVE,
                message=message,
                reason="too few labels",
                n_current=self.n,
                n_reference=self.null.total.labelled,
            )
        ]

    def _findings(
        self, q: float, smoothed: float, series: list[dict[str, Any]], detector: Detector, memory: Mapping[str, Any]
    ) -> Iterator[Finding]:
        calibration = self.null.calibration
        gap, z = float(self.deviation[RESIDUAL]), np.abs(self.z)
        rows = [self.n, self.n]
        scale = calibration.scale(rows)
        near, far = (
            float(calibration.critical(q / 4, rows)[RESIDUAL]),
            float(calibration.critical(q / 40, rows)[RESIDUAL]),
        )
        loss_limit = float(calibration.critical(q, rows)[LOSS])  # one-sided q / 2
        matters = abs(gap) >= self.material
        verdict = Verdict.OK
        if matters and z[RESIDUAL] > near:
            verdict = Verdict.CRITICAL if z[RESIDUAL] > far else Verdict.WARNING
        worse = bool(self.z[LOSS] > loss_limit)
        loss, usual_loss = float(self.theta[LOSS]), self.null.loss
        severity = Severity.WARNING
        if verdict is Verdict.CRITICAL and loss >= MUCH_WORSE * usual_loss:
            severity = Severity.CRITICAL
        sign = int(np.sign(gap)) if z[RESIDUAL] >= MUCH_WORSE else 0
        bad = verdict is not Verdict.OK or worse
        lasting = bool(detector.open[0])
        details: dict[str, Any] = {"smoothed": smoothed, "provisional": self.null.held_out < ENOUGH_WINDOWS}
        if bad or lasting:
            details["chart"] = _chart(series, self.task)
        cost, currency, sentence = self._money()
        details["cost"] = sentence
        _, error = mean_and_error(self.n, self.outcome.sum("residual"), self.outcome.sum("residual2"))
        common: dict[str, Any] = {
            "check": "performance",
            "part": Part.OUTCOME,
            "subject": "outcome",
            "family": "outcome",
            "reference_kind": ReferenceKind.TRAINING,
            "threshold_source": ThresholdSource.BUDGET,
            "n_current": self.n,
            "n_reference": self.null.total.labelled,
            "impact_cost": cost,
            "currency": currency,
        }
        provisional = "provisional: fewer than 28 held-out windows" if details["provisional"] else ""
        p_values = calibration.p_of(self.z, rows)
        yield Finding(
            **common,
            statistic="residual",
            verdict=verdict,
            severity=severity if bad else Severity.INFO,
            value=float(self.theta[RESIDUAL]),
            reference_value=float(calibration.mean[0, RESIDUAL]),
            effect=gap,
            materiality=self.material,
            threshold=near * float(scale[RESIDUAL]),
            p_value=float(p_values[RESIDUAL]),
            interval_low=_none(gap - Z95 * error),
            interval_high=_none(gap + Z95 * error),
            minimum_detectable=float(calibration.minimum_detectable([self.n, self.n], q / 4)[RESIDUAL]),
            direction=sign,
            message=self._sentence(),
            reason=provisional,
            details=details,
        )
        yield Finding(
            **common,
            statistic=LOSS_NAME[self.task],
            verdict=Verdict.WARNING if worse else Verdict.OK,
            severity=Severity.WARNING if worse else Severity.INFO,
            value=loss,
            reference_value=usual_loss,
            effect=float(self.deviation[LOSS]),
            threshold=float(calibration.mean[0, LOSS]) + loss_limit * float(scale[LOSS]),
            p_value=float(p_values[LOSS]) / 2 if self.z[LOSS] > 0 else 1 - float(p_values[LOSS]) / 2,
            minimum_detectable=float(calibration.minimum_detectable([self.n, self.n], q)[LOSS]),
            direction=sign,
            message=self._sentence(),
            details={key: value for key, value in details.items() if key != "smoothed"},
        )
        recent = [point["deviation"] for point in series[-10:] if point["deviation"] is not None]
        level = float(detector.smoothed[0])
        since = memory["since"]
        yield Finding(
            **common,
            statistic="calibration",
            verdict=Verdict.WARNING if lasting else Verdict.OK,
            severity=Severity.WARNING if lasting else Severity.INFO,
            latched=True,
            effect=level,
            materiality=self.material,
            direction=int(np.sign(np.mean(recent))) if recent else 0,
            message=self._lasting_sentence(level),
            reason=f"open since {since}" if since else "",
            details=details,
        )

    def _money(self) -> tuple[float | None, str | None, str]:
        """Return the realised cost per day above the training level, its currency and a sentence."""
        cost, usual = self.metrics.get("cost_per_prediction"), self.usual.get("cost_per_prediction")
        if self.costs is None or cost is None or usual is None or math.isnan(cost.value):
            return None, None, ""
        days = self.evidence.window.length / DAY
        daily = (cost.value - usual.value) * self.outcome.rows / days
        side = "above" if daily >= 0 else "below"
        sentence = (
            f"≈ {self.costs.currency} {abs(daily):,.0f} a day {side} the training level "
            f"({cost.value:.2f} against {usual.value:.2f} per prediction"
        )
        if self.costs.fallback is not None:
            worse = ", worse than the fallback" if cost.value > self.costs.fallback else ""
            sentence += f"; the fallback costs {self.costs.fallback:.2f}{worse}"
        return daily, self.costs.currency, sentence + ")"

    def _sentence(self) -> str:
        n, outcome = self.n, self.outcome
        loss, usual = float(self.theta[LOSS]), self.null.loss
        match self.task:
            case Task.BINARY:
                said, came = outcome.mean("score_labelled"), float(outcome.joint[:, 1].sum()) / n
                return (
                    f"{came:.0%} of {n:,} outcomes were positive, the model expected {said:.0%}; "
                    f"log loss {loss:.3f} against {usual:.3f} in training"
                )
            case Task.MULTICLASS:
                right, said = float(np.trace(outcome.joint)) / n, outcome.mean("score_labelled")
                return (
                    f"{right:.0%} of {n:,} labelled predictions were right, the model expected {said:.0%}; "
                    f"log loss {loss:.3f} against {usual:.3f} in training"
                )
            case Task.REGRESSION:
                mae, usual_mae = outcome.mean("absolute_error"), self.null.total.mean("absolute_error")
                bias = outcome.mean("error")
                side = "too low" if bias > 0 else "too high"
                return (
                    f"predictions of {n:,} labelled rows were {abs(bias):.3g} {side} on average; "
                    f"mean absolute error {mae:.3g} against {usual_mae:.3g} in training"
                )

    def _lasting_sentence(self, level: float) -> str:
        if self.task is Task.REGRESSION:
            side = "low" if level > 0 else "high"
            return f"predictions have been too {side} for a while, by {abs(level):.2f} residual sd; {self._sentence()}"
        side = "low" if level > 0 else "high"
        return f"probabilities have been too {side} for a while, by {abs(level):.1%}; {self._sentence()}"


def _chart(series: list[dict[str, Any]], task: Task) -> dict[str, Any]:
    """Return series for the small picture: what was predicted and what came."""
    recent = [point for point in series[-CHARTED:] if point["n"]]
    x = [point["at"][:10] for point in recent]
    if task is Task.REGRESSION:
        return {"title": "capped absolute error", "x": x, "lines": {"error": [point["loss"] for point in recent]}}
    said = [point["said"] for point in recent]
    came = [None if p["said"] is None or p["residual"] is None else p["said"] + p["residual"] for p in recent]
    lines = {"realised": came, "expected": said}
    return {"title": "realised and expected share", "x": x, "lines": lines, "main": "realised"}


def _short(x: float, digits: int = 6) -> float | None:
    """Return a number with few digits, for the memory; None for NaN, which JSON cannot say."""
    return float(f"{x:.{digits}g}") if math.isfinite(x) else None


def _none(x: float) -> float | None:
    return x if math.isfinite(x) else None
