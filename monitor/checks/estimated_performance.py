"""Estimated performance: what the scores alone say while labels are out, and whether labels bear it out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from monitor.check import (
    Cause,
    Evidence,
    Finding,
    Judgement,
    MissingEvidenceError,
    Part,
    Performance,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)
from monitor.error_model import ErrorModel, error_model_of
from monitor.estimate import Estimator, estimator_of, score_counts
from monitor.expectation import expectation_of
from monitor.metric import Metric
from monitor.outcome import Task
from monitor.reference import SCORE

ASSUMPTIONS = {
    "log_loss": "assumes that P(outcome | score) is what it was in training",
    "capped_error": "assumes that errors at each level of the prediction are what they were in training",
}
"""By the figure that is estimated: what must hold, or the estimate is wrong."""
GAP_LIMIT = 3.0  # standard errors of the estimate


@register("estimated_performance")
@dataclass(frozen=True, kw_only=True)
class EstimatedPerformance:
    """Estimates performance from calibrated scores, or a regression's error from its predictions, without labels.

    The estimates are stored beside the realised figures (``basis = 'estimated'``), with intervals that held on
    training time. When labels have matured they are compared: a gap of more than ``gap`` standard errors cannot come
    from other inputs, so it is concept drift. Information for the digest and the history; realised performance is what
    alerts. Models of many classes are not estimated.
    """

    gap: float = GAP_LIMIT

    @property
    def stages(self) -> frozenset[Stage]:
        return frozenset({Stage.INPUTS, Stage.OUTCOMES})

    def run(self, evidence: Evidence) -> Judgement:
        if evidence.reference.task is Task.MULTICLASS:
            return Judgement()
        regression = evidence.reference.task is Task.REGRESSION
        estimator = error_model_of(evidence.reference) if regression else estimator_of(evidence.reference)
        if estimator is None:
            raise MissingEvidenceError(
                "the training profile has no honest predictions with labels, so nothing says what a score is worth; "
                "give `monitor profile` a --holdout file"
            )
        if evidence.stage is Stage.OUTCOMES:
            return Judgement(findings=[self._compare(evidence, estimator)])
        counts = score_counts(evidence.current, estimator.layout)
        if counts is None or not counts.sum():
            raise MissingEvidenceError("the window has no scores to estimate from")
        found = estimator.estimate(counts, evidence.costs)
        return Judgement(
            findings=[self._estimate(evidence, estimator, found, int(counts.sum()))],
            performance=list(_rows(evidence, estimator, found)),
        )

    def _estimate(
        self, evidence: Evidence, estimator: Estimator | ErrorModel, found: dict[str, Metric], rows: int
    ) -> Finding:
        name = estimator.compared
        assumption, words = ASSUMPTIONS[name], name.replace("_", " ")
        loss = found[name]
        usual = estimator.estimate(estimator.trained)[name].value
        return Finding(
            check="estimated_performance",
            part=Part.PREDICTION,
            subject=SCORE,
            statistic=f"estimated_{name}",
            verdict=Verdict.OK if math.isfinite(loss.low) else Verdict.INCONCLUSIVE,
            value=loss.value,
            reference_value=usual,
            interval_low=_number(loss.low),
            interval_high=_number(loss.high),
            effect=loss.value - usual,
            n_current=rows,
            n_reference=estimator.labels,
            reason=assumption,
            message=f"{words} {loss.value:.3f} estimated from the scores ({usual:.3f} in training); {assumption}",
        )

    def _compare(self, evidence: Evidence, estimator: Estimator | ErrorModel) -> Finding:
        outcome, expected = evidence.outcome, expectation_of(evidence.reference)
        realised, estimated, z = estimator.gaps(outcome)[estimator.compared]
        known = math.isfinite(z) and expected is not None and expected.is_enough(outcome.labelled)
        wide = known and abs(z) > self.gap
        error = estimator.error(outcome.labelled)
        verdict = Verdict.WARNING if wide else Verdict.OK
        return Finding(
            check="estimated_performance",
            part=Part.OUTCOME,
            subject="outcome",
            statistic="estimation_gap",
            verdict=verdict if known else Verdict.INCONCLUSIVE,
            value=_number(realised),
            reference_value=_number(estimated),
            effect=_number(realised - estimated),
            threshold=_number(self.gap * error),
            threshold_source=ThresholdSource.DEFAULT if self.gap == GAP_LIMIT else ThresholdSource.CONFIGURED,
            direction=0 if not wide else 1 if z > 0 else -1,
            cause=Cause.CONCEPT if wide else None,
            n_current=outcome.labelled,
            n_reference=estimator.labels,
            message=(
                f"{estimator.compared.replace('_', ' ')} {realised:.3f} against {estimated:.3f} "
                f"estimated from the scores, {abs(z):.1f} standard errors"
                + (": outcomes follow from scores otherwise than in training" if wide else "")
            )
            if known
            else f"{outcome.labelled} labels are too few to compare the estimate with",
        )


def _rows(evidence: Evidence, estimator: Estimator | ErrorModel, found: dict[str, Metric]) -> Iterator[Performance]:
    usual = estimator.estimate(estimator.trained, evidence.costs)
    targets = {} if evidence.costs is None else evidence.costs.good_enough
    for metric in found.values():
        target = targets.get(metric.name)
        kept = target is None or evidence.costs is None or _keeps(metric, target, at_most=evidence.costs.at_most)
        known = math.isfinite(metric.value)
        yield Performance(
            metric=metric.name,
            basis="estimated",
            value=_number(metric.value),
            interval_low=_number(metric.low),
            interval_high=_number(metric.high),
            reference_value=_number(usual[metric.name].value),
            target=target,
            verdict=Verdict.INCONCLUSIVE if not known else Verdict.OK if kept else Verdict.WARNING,
        )


def _keeps(metric: Metric, target: float, *, at_most: bool) -> bool:
    return metric.value <= target if at_most else metric.value >= target


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
