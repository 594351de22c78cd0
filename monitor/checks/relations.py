"""Relations: whether columns that went together in training still do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from monitor.check import Cause, Evidence, Finding, Judgement, Part, Stage, ThresholdSource, Verdict, register
from monitor.memo import per_reference
from monitor.profile import Profile
from monitor.reference import Reference
from monitor.relation import MOMENTS, Relation
from monitor.source import Floats
from monitor.statistic import on_holidays, slot_of, training_slots
from monitor.stats.calibration import Calibration, RowShape, calibrate
from monitor.stats.multiplicity import adjusted
from monitor.stats.occasion import occasional

STATISTICS = ("spread", "slope")
FEWEST_ROWS = 30
FEWEST_WINDOWS = 3


@register("relations")
@dataclass(frozen=True, kw_only=True)
class Relations:
    """Compares how pairs of numeric columns go together with training: a broken relation is how sources break.

    ``spread`` is by which share the variance around a relation's line must change before it counts, ``slope`` by how
    much the covariance with what the line leaves over must; both within a window.
    """

    spread: float = 0.25
    slope: float = 0.1

    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.INPUTS})

    def __post_init__(self) -> None:
        for name in ("spread", "slope"):
            if not getattr(self, name) > 0:
                raise ValueError(f"relations.{name} is {getattr(self, name)}; it must be above 0")

    def run(self, evidence: Evidence) -> Judgement:
        """Judge every pair of one window; nothing is remembered."""
        reference, current = evidence.reference, evidence.current
        pairs = reference.layout.relations
        calibrations = _calibrations(reference, evidence.holidays) if pairs else None
        if calibrations is None:
            return Judgement()
        calibration = calibrations[evidence.is_holiday]
        theta, n = _values(current)
        slot = slot_of(reference, evidence.window)
        z = calibration.z(theta, n, slot)
        z[n < FEWEST_ROWS] = np.nan
        p = calibration.p_of(z, n)
        p_adjusted = adjusted(p)
        tested = max(int(np.isfinite(p).sum()), 1)
        alpha = evidence.budget.q / tested
        materiality = np.tile([self.spread, self.slope], len(pairs))
        deviation = calibration.deviation(theta, slot)
        limit = np.maximum(calibration.critical(alpha, n) * calibration.scale(n), materiality)
        detectable = np.maximum(calibration.minimum_detectable(n, np.full(len(n), alpha)), materiality)
        flagged = (np.nan_to_num(p_adjusted, nan=1.0) <= evidence.budget.q) & (np.abs(deviation) >= materiality)
        findings = []
        for i, relation in enumerate(pairs):
            for k, statistic in enumerate(STATISTICS):
                at = 2 * i + k
                if statistic == "spread" and not relation.held:
                    continue  # it is the variance of one column, which has a statistic of its own
                known = math.isfinite(p[at])
                why = "too few rows" if n[at] < FEWEST_ROWS or not evidence.is_holiday else "unknown slot, not compared"
                findings.append(
                    Finding(
                        check="relations",
                        part=Part.INPUT,
                        subject=relation.name,
                        statistic=statistic,
                        verdict=(Verdict.WARNING if flagged[at] else Verdict.OK) if known else Verdict.INCONCLUSIVE,
                        reason="" if known else why,
                        message=_message(relation, statistic, float(deviation[at]), int(n[at])) if flagged[at] else "",
                        family=f"relation:{relation.name}",
                        cause=Cause.DATA if relation.held else Cause.DRIFT,
                        value=float(theta[at]) if known else None,
                        reference_value=float(theta[at] - deviation[at]) if known else None,
                        effect=float(deviation[at]) if known else None,
                        materiality=float(materiality[at]),
                        threshold=float(limit[at]) if known else None,
                        threshold_source=ThresholdSource.BUDGET,
                        p_value=float(p[at]) if known else None,
                        p_adjusted=float(p_adjusted[at]) if known else None,
                        minimum_detectable=float(detectable[at]) if known else None,
                        direction=int(np.sign(deviation[at])) if known else 0,
                        n_current=int(n[at]),
                        details={"columns": [relation.of, relation.on], "explained": round(relation.explained, 4)},
                    )
                )
        return Judgement(findings=findings)


def _message(relation: Relation, statistic: str, deviation: float, rows: int) -> str:
    of, on = relation.of, relation.on
    if relation.held:
        share = f"{relation.explained:.0%} of the other"
        went = f"{of} and {on} no longer go together as in training, where one explained {share}"
        size = (
            f"variance around the line {deviation:+.2g} where 1 is usual"
            if statistic == "spread"
            else f"covariance with what is left over {deviation:+.2g}"
        )
        return f"{went}: {size} ({rows} rows)"
    return f"{of} and {on} go together otherwise than in training: {deviation:+.2g} ({rows} rows)"


def _values(profile: Profile) -> tuple[Floats, Floats]:
    """Return the variance of r and its covariance with a of each pair, and the rows behind them: (2 P,) both.

    Both are within the window: where its level lies is the business of single columns.
    """
    layout = profile.layout
    n, r, a, square, product = profile.sums[layout.moments_at : layout.embedded_at].reshape(-1, MOMENTS).T
    with np.errstate(invalid="ignore", divide="ignore"):
        theta = np.column_stack([square / n - (r / n) ** 2, product / n - r / n * a / n])
    return theta.ravel(), np.repeat(n, 2)


def _shapes(pairs: Sequence[Relation]) -> Floats:
    """Return variance, skewness and excess kurtosis of one row's value, (2 P, 3)."""
    return np.array([shape for pair in pairs for shape in (pair.square, pair.product)])


@per_reference
def _calibrations(reference: Reference, holidays: frozenset[str]) -> tuple[Calibration, Calibration] | None:
    """Return what the pairs do when nothing is wrong, on ordinary days and on holidays.

    None where training has too few windows to know.
    """
    known = [_values(profile) for profile in reference.profiles]
    theta, n = np.array([pair[0] for pair in known]), np.array([pair[1] for pair in known])
    if len(theta) < FEWEST_WINDOWS or not reference.timeline:
        return None
    shapes = _shapes(reference.layout.relations)
    slots, seasons = training_slots(reference)
    row = RowShape(skewness=shapes[:, 1], kurtosis=shapes[:, 2], kin=np.tile([0, 1], len(shapes) // 2))
    special = on_holidays(reference, holidays)
    ordinary = np.where(special[:, None], np.nan, theta)
    usual = calibrate(ordinary, n, shapes[:, 0], slots, seasons, row)
    return usual, occasional(usual, theta[special], n[special], slots[special])
