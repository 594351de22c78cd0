"""Comparison: shadows and canaries beside the champion, with all that they have answered so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from monitor.candidate import MARGIN, MEMORY, SLOW, Compared, Guard, Judged, ReleaseVerdict
from monitor.check import (
    Cause,
    Evidence,
    Finding,
    Judgement,
    Part,
    ReferenceKind,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)

KEPT = 20  # candidates whose first window is remembered


@register("comparison")
@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Judges candidates that answered in the newest window: promote, hold or roll back.

    ``margin`` is the share of the champion's loss that a candidate may be worse, ``slow`` the share of its answers that
    may be slower than 95 % of the champion's, ``memory`` how many times the champion's memory it may take. The verdict
    becomes a recommendation, which is the message; findings keep the figures of every window.
    """

    margin: float = MARGIN
    slow: float = SLOW
    memory: float = MEMORY

    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.INPUTS})

    def __post_init__(self) -> None:
        if not 0 < self.margin < 1:
            raise ValueError(f"comparison.margin is {self.margin}; it is a share between 0 and 1")
        if not 0.05 < self.slow < 1:
            raise ValueError(
                f"comparison.slow is {self.slow}; it is a share between .05, which the champion has, and 1"
            )
        if not self.memory >= 1:
            raise ValueError(f"comparison.memory is {self.memory}; it is a multiple of the champion's, at least 1")

    def run(self, evidence: Evidence) -> Judgement:
        """Judge what was compared; the memory is since when each candidate is compared."""
        found: Sequence[Compared] = evidence.examined.get("comparison", ())
        since: dict[str, str] = dict((evidence.memories.get("comparison") or {}).get("since", {}))
        for role, version in evidence.examined.get("candidates", ()):
            key = f"{role} {version}"
            since[key] = since.pop(key, evidence.window.start.isoformat())  # the newest last
        findings = [finding for one in found for finding in _findings(one)]
        return Judgement(findings=findings, memory={"since": dict(list(since.items())[-KEPT:])})


def _findings(one: Compared) -> list[Finding]:
    found = [_of_loss(one, judged) for judged in one.judged] + [_of_guard(one, guard) for guard in one.guards]
    like = one.likeness
    if like is not None:
        figures = {
            "agreement": like.agreement,
            "rank correlation": like.rank_correlation,
            "score distance": like.score_distance,
        }
        bands = [{"from": low, "to": high, "distance": apart, "rows": rows} for low, high, apart, rows in like.bands]
        found += [
            _finding(one, name, Verdict.OK, value=value, rows=like.rows, details={"bands": bands[:3]})
            for name, value in figures.items()
            if math.isfinite(value)
        ]
    return found


VERDICTS = {
    ReleaseVerdict.PROMOTE: Verdict.OK,
    ReleaseVerdict.HOLD: Verdict.INCONCLUSIVE,
    ReleaseVerdict.ROLL_BACK: Verdict.WARNING,
}


def _of_loss(one: Compared, judged: Judged) -> Finding:
    mean = judged.difference
    more: dict[str, Any] = {}
    if mean is not None:
        more = {
            "value": mean.value,
            "reference_value": judged.champion,
            "threshold": judged.margin,
            "threshold_source": ThresholdSource.DEFAULT,
            "interval_low": mean.low,
            "interval_high": mean.high,
            "rows": mean.rows,
        }
    still = one.still if judged.verdict is ReleaseVerdict.HOLD else ""
    needed = {"rows_needed": judged.rows_needed} if math.isfinite(judged.rows_needed) else {}
    return _finding(
        one,
        judged.loss.value,
        VERDICTS[judged.verdict],
        message=f"{judged.why}. {still}".strip() if still else judged.why,
        details={"verdict": judged.verdict.value, **needed},
        **more,
    )


def _of_guard(one: Compared, guard: Guard) -> Finding:
    mean = guard.interval
    more: dict[str, Any] = {}
    if mean is not None and mean.rows:
        more = {"interval_low": mean.low, "interval_high": mean.high, "rows": mean.rows}
    return _finding(
        one,
        guard.name,
        VERDICTS[guard.verdict],
        message=guard.why,
        value=guard.candidate,
        reference_value=guard.champion,
        threshold=guard.limit,
        threshold_source=ThresholdSource.DEFAULT,
        details={"verdict": guard.verdict.value},
        **more,
    )


def _finding(
    one: Compared, statistic: str, verdict: Verdict, *, rows: int | None = None, details: dict[str, Any], **more: Any
) -> Finding:
    share = {} if one.share is None else {"share": one.share}
    return Finding(
        check="comparison",
        part=Part.RELEASE,
        subject=one.name,
        statistic=statistic,
        verdict=verdict,
        reason="hold" if verdict is Verdict.INCONCLUSIVE else "",
        reference_kind=ReferenceKind.CHAMPION,
        cause=Cause.RELEASE,
        n_current=rows,
        details={**details, "role": one.role, "version": one.version, **share},
        **more,
    )
