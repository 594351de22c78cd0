"""Stability: whether noise that nobody could measure turns decisions over, asked through the serving endpoint."""

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
    ReferenceKind,
    Severity,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)
from monitor.noise import FLIPS, Steadied


@register("stability")
@dataclass(frozen=True, kw_only=True)
class Stability:
    """Puts noise on golden rows and asks ``serving.endpoint`` and ``release.endpoint`` for their decisions.

    More than ``flips`` of the decisions that turn over at noise of 1e-6 standard deviations are told. It takes
    ``rows`` rows every ``every``, and leaves endpoints alone that serve production, unless ``on_production`` is true.
    """

    flips: float = FLIPS
    every: timedelta = timedelta(days=1)
    rows: int = 200
    on_production: bool = False

    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.INPUTS})

    def __post_init__(self) -> None:
        if not 0 < self.flips < 1:
            raise ValueError(f"stability.flips is {self.flips}; it is a share between 0 and 1")
        if self.rows < 1:
            raise ValueError(f"stability.rows is {self.rows}; at least one row must be asked")

    def run(self, evidence: Evidence) -> Judgement:
        """Judge what was shaken; the memory is when."""
        memory: dict[str, Any] = dict(evidence.memories.get("stability") or {})
        found: list[Steadied] = evidence.examined.get("stability", [])
        if found:
            memory["at"] = evidence.window.end.isoformat()
        champion = next((one.shaken for one in found if one.endpoint == "champion"), None)
        usual = None if champion is None else champion.flips
        return Judgement(findings=[self._finding(one, usual) for one in found], memory=memory)

    def _finding(self, one: Steadied, champion: float | None) -> Finding:
        family = "stability" if one.endpoint == "champion" else f"stability:{one.endpoint}"
        shared: dict[str, Any] = {
            "check": "stability",
            "part": Part.RELEASE,
            "subject": one.endpoint,
            "statistic": "flipped decisions",
            "family": family,
            "cause": Cause.RELEASE,
        }
        if one.shaken is None:
            return Finding(**shared, verdict=Verdict.INCONCLUSIVE, message=one.problem, reason="endpoint")
        share = one.shaken.flips
        bad = share > self.flips
        compared = champion is not None and one.endpoint != "champion"
        beside = f" ({champion:.2%} of the champion's)" if compared else ""
        message = f"{one.shaken.text}{beside}; " + "; ".join(one.shaken.figures)
        return Finding(
            **shared,
            verdict=Verdict.CRITICAL if bad else Verdict.OK,
            severity=Severity.WARNING,
            latched=True,
            value=share,
            reference_kind=ReferenceKind.CHAMPION if compared else ReferenceKind.ABSOLUTE,
            reference_value=champion if compared else None,
            threshold=self.flips,
            threshold_source=ThresholdSource.DEFAULT,
            n_current=one.shaken.rows,
            message=message if bad else "",
            details={
                "curve": {f"{noise:g}": part for noise, part in one.shaken.curve.items()},
                "alone": dict(one.shaken.alone),
                "swapped": dict(one.shaken.swapped),
                "missing": dict(one.shaken.missing),
                "rounding": one.shaken.rounding,
            },
        )
