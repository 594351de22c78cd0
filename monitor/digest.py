"""The digest: everything of a period that was not worth a message, and why its silence can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.alert import Alert
from monitor.check import Finding, Severity
from monitor.notification import Fact, Notification, Reason
from monitor.recommendation import Recommendation
from monitor.routing import MOST_FACTS, Scene


@dataclass(frozen=True, kw_only=True)
class Flagged:
    """One finding of the period with the label of its window."""

    window_label: str
    finding: Finding


def digest(
    *,
    scene: Scene,
    windows: int,
    flagged: Sequence[Flagged],
    alerts: Sequence[Alert],
    recommendations: Sequence[Recommendation],
    detectable: Mapping[str, str],
    silences: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Notification:
    """Return the summary of a period: what was not worth a message, and why silence can be believed.

    ``scene.window`` is the period. ``flagged`` are bad findings of single features, ranked here by the measured shift
    of the score; ``alerts`` those open now or resolved in the period; ``detectable`` says by subject what would have
    been seen ("0.08 on the share of late flights").
    """
    by_feature: dict[str, list[Finding]] = {}
    seen: dict[str, set[str]] = {}
    for item in flagged:
        by_feature.setdefault(item.finding.subject, []).append(item.finding)
        seen.setdefault(item.finding.subject, set()).add(item.window_label)

    def shift(findings: Sequence[Finding]) -> tuple[float, float]:
        return (
            max((f.impact or 0.0) for f in findings),
            max(abs(f.effect or 0.0) / (f.materiality or 1.0) for f in findings),
        )

    ranked = sorted(by_feature.items(), key=lambda item: (*(-x for x in shift(item[1])), item[0]))
    facts = [
        Fact(
            subject=feature,
            statistic=worst.statistic,
            text=f"{len(seen[feature])} of {windows} windows; {worst.message or worst.statistic}",
            value=worst.value,
            effect=worst.effect,
            threshold=worst.threshold,
            n_current=worst.n_current,
        )
        for feature, findings in ranked
        for worst in [max(findings, key=lambda f: ((f.impact or 0.0), abs(f.effect or 0.0)))]
    ]
    still = [a for a in alerts if a.is_open and a.severity is not Severity.INFO]
    over = [a for a in alerts if a.resolved_at is not None and a.severity is not Severity.INFO]
    parts = []
    if still:
        parts.append("Open: " + "; ".join(f"{a.family} since {_day(a.opened_window_start)}" for a in still) + ".")
    if over:
        parts.append("Resolved: " + "; ".join(f"{a.family} ({_day(a.resolved_window_start)})" for a in over) + ".")
    flapping = [a.family for a in alerts if a.flapping and a.severity is not Severity.INFO]
    if flapping:
        parts.append("Flapping and muted: " + "; ".join(dict.fromkeys(flapping)) + ".")
    for recommendation in recommendations:
        parts.append(f"{recommendation.action}: {recommendation.why}")
    if not (still or over or recommendations):
        parts.append("Nothing needed anybody.")
    if facts:
        parts.append(f"{len(ranked)} feature{'s' * (len(ranked) > 1)} moved, most important first.")
    if detectable:
        shown = "; ".join(f"{subject}: {size}" for subject, size in detectable.items())
        parts.append(f"A window would have shown: {shown}.")
    if silences:
        parts.append("Silenced: " + "; ".join(silences) + ".")
    parts.extend(notes)
    return Notification(
        id=scene.new_id(),
        model=scene.model,
        reason=Reason.DIGEST,
        severity=Severity.INFO,
        title=f"{windows} windows",
        summary=" ".join(parts),
        created_at=scene.now,
        thread_key=f"digest-{scene.model}-{scene.window.start:%Y%m%d}",
        group_key="digest",  # of all models: after an outage they become one message
        window_start=scene.window.start,
        window_end=scene.window.end,
        window_label=scene.label,
        facts=facts[:MOST_FACTS],
        more_facts=max(0, len(facts) - MOST_FACTS),
        alert_keys=[a.key for a in still],
        role=scene.role,
        model_version=scene.model_version,
    )


def _day(moment: datetime | None) -> str:
    return "?" if moment is None else f"{moment:%d %b}"
