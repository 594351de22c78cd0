"""A trial: one statistic judged alone, by the fast path in its window and by the slow path over windows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monitor.check import Evidence, Finding, ThresholdSource, Verdict
from monitor.onset import Onset, Trail, continued, onset
from monitor.source import Floats
from monitor.stats.calibration import Calibration
from monitor.stats.eprocess import Detector, advance

SMOOTHING = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """What the two paths say of one statistic, and the memory for its next window."""

    value: float
    deviation: float
    materiality: float
    p_value: float
    threshold: float
    minimum_detectable: float
    flagged: bool
    smoothed: float
    is_open: bool
    closed: bool
    began: Onset
    memory: Mapping[str, Any]

    @property
    def usual(self) -> float:
        """What training lets expect."""
        return self.value - self.deviation

    def findings(self, head: Finding, evidence: Evidence, *, name: str, rows: str, spread: float) -> Iterator[Finding]:
        """Yield the finding of this window and, while it lasts or ends, the latched one of the slow path.

        ``name`` is what the value is called in sentences, ``rows`` how many are behind it, ``spread`` a standard
        deviation of single values, in which the impact is given.
        """
        head = replace(
            head,
            value=self.value,
            reference_value=self.usual,
            effect=self.deviation,
            materiality=self.materiality,
            direction=int(np.sign(self.deviation)),
            impact=abs(self.deviation) / spread if spread > 0 else None,
        )
        details = {**head.details, "began": self.began.to_json()}
        since = f"since {self.began.sentence(evidence.spec)}"
        yield replace(
            head,
            verdict=Verdict.WARNING if self.flagged else Verdict.OK,
            threshold=self.threshold,
            threshold_source=ThresholdSource.BUDGET,
            p_value=self.p_value,
            p_adjusted=self.p_value,
            minimum_detectable=self.minimum_detectable,
            message=f"{name} is {self.value:.3g}, {abs(self.deviation):.2g} {_side(self.deviation)} training's "
            f"{self.usual:.3g} (flagged from {self.threshold:.2g}; {rows}), {since}"
            if self.flagged
            else "",
            began_at=self.began.began if self.flagged else None,
            details=details if self.flagged else head.details,
        )
        slow = replace(head, statistic=f"{head.statistic} (lasting)", latched=True)
        if self.is_open:
            lasting = f"{name} has stayed {abs(self.smoothed):.2g} {_side(self.smoothed)} training's {self.usual:.3g}"
            fading = f"{name} is back within {self.materiality:.2g} of training's {self.usual:.3g}, after a shift"
            yield replace(
                slow,
                verdict=Verdict.WARNING,
                effect=self.smoothed,
                threshold=self.materiality,
                threshold_source=ThresholdSource.BUDGET,
                direction=int(np.sign(self.smoothed)),
                impact=abs(self.smoothed) / spread if spread > 0 else None,
                began_at=self.began.began,
                details=details,
                message=f"{lasting if abs(self.smoothed) >= self.materiality else fading} {since}",
            )
        elif self.closed or has_latched_alert(evidence, head.family):
            yield replace(slow, verdict=Verdict.OK, reason="the shift is over")


def try_alone(
    calibration: Calibration,
    place: int,
    theta: Floats,
    n: Floats,
    *,
    materiality: float,
    evidence: Evidence,
    memory: Mapping[str, Any],
    tests: int = 1,
) -> Trial | None:
    """Return the trial of one statistic at level q / tests, or None where it has no z; its memory then stays as it was.

    ``memory`` is that of the last trial, or empty. The slow path gets half its budget: the panel has the other.
    """
    full = calibration.z(theta, n)
    z, deviation = float(full[place]), float(calibration.deviation(theta)[place])
    if not math.isfinite(z):
        return None
    alpha = evidence.budget.q / tests
    p_value = float(calibration.p_of(full, n)[place])
    step = advance(
        Detector.from_json(memory.get("detector"), 1),
        z=[z],
        deviation=[deviation],
        autocorrelation=[calibration.autocorrelation[place]],
        inflation=[calibration.inflation(n)[place]],
        natural=[calibration.share(n)[place]],
        threshold=2 / alpha,
        materiality=[materiality],
        smoothing=SMOOTHING,
    )
    is_open = bool(step.detector.open[0])
    since = memory.get("since") if is_open and not step.opened[0] else None
    trail: Trail = memory.get("trail", ())
    rho = float((calibration.share(n) * calibration.autocorrelation)[place])
    began = Onset.from_json(since) if since else onset(trail, z, rho, evidence.spec, evidence.window)
    limit = float(calibration.critical(alpha, n)[place] * calibration.scale(n)[place])
    return Trial(
        value=float(np.asarray(theta)[place]),
        deviation=deviation,
        materiality=materiality,
        p_value=p_value,
        threshold=max(limit, materiality),
        minimum_detectable=max(float(calibration.minimum_detectable(n, alpha)[place]), materiality),
        flagged=p_value <= alpha and abs(deviation) >= materiality,
        smoothed=float(step.detector.smoothed[0]),
        is_open=is_open,
        closed=bool(step.closed[0]),
        began=began,
        memory={
            "detector": step.detector.to_json(),
            "since": began.to_json() if is_open else None,
            "trail": continued(trail, z),
        },
    )


def has_latched_alert(evidence: Evidence, family: str) -> bool:
    """Return whether the slow path holds an alert of this family open: a new detector has to end it."""
    return any(e.family == family and e.resolved is None and e.latched for e in evidence.episodes)


def _side(x: float) -> str:
    return "above" if x > 0 else "below"
