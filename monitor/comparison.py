"""One column against three references: training, training's windows of the same season slot, its own last weeks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from monitor.check import Evidence, Finding, ReferenceKind, Severity, Verdict
from monitor.onset import APART, WORDS, Movement, Onset, Trail, movement, onset, trailing_median

AGAINST = {
    ReferenceKind.SEASON: "training's windows of the same season slot",
    ReferenceKind.TRAILING: "the median of its own last weeks",
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The main statistic of one column in one window: its value and what it is beside each reference.

    ``effect`` is its deviation from the season slot, ``overall`` that from all of training, ``scale`` the standard
    deviation of a window, ``trail`` the deviations before in such, ``spread`` the standard deviation of
    windows when season counts as variation.
    """

    statistic: str
    value: float
    effect: float
    overall: float
    scale: float
    autocorrelation: float
    trail: Trail
    has_season: bool
    spread: float

    @property
    def z(self) -> float:
        """The deviation in standard deviations of a window."""
        return self.effect / self.scale

    @property
    def trailing(self) -> float:
        """Deviation from the median of the trail, NaN while that is too short."""
        return self.effect - trailing_median(self.trail) * self.scale

    def moved(self, *, flagged: bool) -> Movement | None:
        """Return what moved: None where nothing did, or too few windows came before."""
        if flagged:
            return movement(self.trail, self.z)
        unusual = abs(self.overall) >= max(APART * self.scale, self.spread)
        return Movement.SEASONAL if unusual and self.has_season else None

    def onset(self, evidence: Evidence) -> Onset:
        """Return when a shift of this window began."""
        return onset(self.trail, self.z, self.autocorrelation, evidence.spec, evidence.window)

    def findings(self, finding: Finding, evidence: Evidence, began: Onset | None) -> list[Finding]:
        """Return the finding on this statistic with what moved, and one each on the other references.

        ``began`` is when the shift began, where that is known from an earlier window.
        They are the finding alone where nothing moved, or where it is about another statistic than the main one.
        """
        flagged = finding.verdict is Verdict.WARNING
        kind = self.moved(flagged=flagged)
        if kind is None or finding.statistic != self.statistic:
            return [finding]
        details: dict[str, Any] = {
            **finding.details,
            "moved": kind.value,
            "references": {
                "training": _short(self.overall),
                "season": _short(self.effect) if self.has_season else None,
                "trailing": _short(self.trailing),
            },
        }
        if kind is not Movement.SEASONAL:
            began = began or self.onset(evidence)
            details["began"] = began.to_json()
            finding = replace(
                finding,
                began_at=began.began,
                message=f"{finding.message}; {WORDS[kind]}; since {began.sentence(evidence.spec)}",
            )
        finding = replace(finding, details=details)
        found = [finding]
        if not flagged:
            return found
        if self.has_season:
            found.append(self._against(finding, ReferenceKind.SEASON, self.effect, moved=True))
        if math.isfinite(self.trailing):
            found.append(self._against(finding, ReferenceKind.TRAILING, self.trailing, moved=kind is Movement.SUDDEN))
        return found

    def _against(self, finding: Finding, kind: ReferenceKind, effect: float, *, moved: bool) -> Finding:
        """Return information on another reference: it belongs to no alert."""
        return replace(
            finding,
            reference_kind=kind,
            family="",
            severity=Severity.INFO,
            verdict=Verdict.WARNING if moved else Verdict.OK,
            value=self.value,
            reference_value=self.value - effect,
            effect=effect,
            p_value=None,
            p_adjusted=None,
            threshold=None,
            threshold_source=None,
            minimum_detectable=None,
            message=f"{finding.subject}: {self.statistic} {effect:+.2g} against {AGAINST[kind]}" if moved else "",
        )


def _short(x: float) -> float | None:
    return float(f"{x:.4g}") if math.isfinite(x) else None
