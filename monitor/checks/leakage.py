"""Leakage: columns of training that know the future, seen once production and its labels are there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from monitor.check import (
    Cause,
    Evidence,
    Finding,
    Judgement,
    Part,
    Severity,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)
from monitor.foresight import Foreknowledge, Suspicion

SPAN = 7  # windows of production that are looked at together, and how many must have been seen


@register("leakage")
@dataclass(frozen=True, kw_only=True)
class Leakage:
    """Compares the kept training rows with ``rows`` of production's last seven windows, every ``every``.

    Names columns that training has and production has empty or constant, times that lie after the prediction, columns
    that alone tell the label, and those that tell it far better in training than in production (AUC lower by .15).
    Each is told once, and over when it is no longer seen.
    """

    every: timedelta = timedelta(days=7)
    rows: int = 5000

    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.INPUTS, Stage.OUTCOMES})

    def __post_init__(self) -> None:
        if self.rows < 200:
            raise ValueError(f"leakage.rows is {self.rows}; fewer than 200 rows say nothing about a column")

    def run(self, evidence: Evidence) -> Judgement:
        """Judge what was found; the memory is when, and which columns are suspected."""
        memory: dict[str, Any] = dict(evidence.memories.get("leakage") or {})
        found: Foreknowledge | None = evidence.examined.get("leakage")
        memory["seen"] = min(int(memory.get("seen", 0)) + 1, SPAN)
        if found is None:
            return Judgement(memory=memory)
        suspected = {f"{one.column}: {one.kind}": one for one in found.suspicions}
        over = [name for name in memory.get("suspected", ()) if name not in suspected]
        findings = [_suspected(name, one, found) for name, one in suspected.items()]
        findings += [_finding(name, Verdict.OK, family="leakage", latched=True) for name in over]
        if not findings:
            message = f"none of {found.columns} columns knows the label or is missing in production"
            findings = [_finding("columns", Verdict.OK, message=message)]
        memory |= {"at": evidence.window.end.isoformat(), "suspected": list(suspected)}
        return Judgement(findings=findings, memory=memory)


def _suspected(name: str, one: Suspicion, found: Foreknowledge) -> Finding:
    return _finding(
        name,
        Verdict.CRITICAL,
        family="leakage",
        latched=True,
        severity=Severity.WARNING,
        value=one.value,
        reference_value=one.reference,
        threshold=one.limit,
        threshold_source=ThresholdSource.DEFAULT,
        message=one.message,
        details={
            "auc_training": found.areas.get(one.column),
            "auc_production": found.in_production.get(one.column),
            "kind": one.kind,
        },
    )


def _finding(name: str, verdict: Verdict, **more: Any) -> Finding:
    return Finding(
        check="leakage",
        part=Part.RELEASE,
        subject=name,
        statistic="foreknowledge",
        verdict=verdict,
        cause=Cause.RELEASE,
        **more,
    )
