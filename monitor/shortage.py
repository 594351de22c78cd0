"""Shortage of labels: advice to get them sooner, where scores say that the model errs more and nobody can check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from monitor.alert import Alert
from monitor.check import Evidence, Finding, Severity
from monitor.recommendation import Action, Occasion, Recommendation, RecommendationState

SHORTAGE = "shortage"  # cause key
MEMORY = "shortage"
IN_A_ROW = 3  # windows with a worse estimate, and without one, that open and close it
LATE = 7  # windows that labels take, from which on an estimate is worth acting on
MATERIAL = 0.05  # of the loss in training


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """What came of one window: changed recommendations, and the memory for the next window of inputs."""

    recommendations: Sequence[Recommendation] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)


def advise_on_labels(
    evidence: Evidence,
    findings: Sequence[Finding],
    alerts: Sequence[Alert],
    standing: Sequence[Recommendation],
    occasion: Occasion,
    matures_after: timedelta | None,
) -> Shortage:
    """Return GET_LABELS once the estimated loss is worse beyond its error while labels stay away, and its end.

    ``findings`` are those of the estimates. Worse is at least 5 % above training, with an interval that leaves training
    out, in three windows in a row in which an alert on the score is open too. Labels stay away where there are none, or
    where they take ``matures_after`` of seven windows or more: else realised figures come soon enough. What a person
    decided about a version is not advised again within 28 windows.
    """
    found = next((f for f in findings if f.statistic.startswith("estimated_")), None)
    kept: Mapping[str, Any] = evidence.memories.get(MEMORY) or {}
    away = matures_after is None or matures_after >= LATE * evidence.spec.pace
    if found is None or found.value is None or found.reference_value is None:
        return Shortage(memory=dict(kept))
    moved = any(a.family == "score" and a.is_open and a.severity is not Severity.INFO for a in alerts)
    surely = found.interval_low is not None and found.interval_low > found.reference_value
    worse = moved and surely and found.value >= (1 + MATERIAL) * found.reference_value
    bad = int(kept.get("bad", 0)) + 1 if worse else 0
    good = 0 if worse else int(kept.get("good", 0)) + 1
    since = str(kept.get("since") or evidence.window.start.isoformat()) if worse else None
    memory = {"bad": bad, "good": good, "since": since}
    about = [r for r in standing if r.cause_key == SHORTAGE and r.model_version == occasion.model_version]
    held = next((r for r in about if r.state is RecommendationState.OPEN), None)
    if held is not None and (good >= IN_A_ROW or not away):
        closed = "labels come soon enough now" if not away else "the estimate is what it was in training again"
        return Shortage(recommendations=[occasion.closed(held, closed)], memory=memory)
    decided = (RecommendationState.OPEN, RecommendationState.APPROVED, RecommendationState.DISMISSED)
    if not away or bad < IN_A_ROW or any(r.state in decided for r in about):
        return Shortage(memory=memory)
    return Shortage(recommendations=[_advice(occasion, found, since, matures_after)], memory=memory)


def _advice(occasion: Occasion, found: Finding, since: str | None, matures_after: timedelta | None) -> Recommendation:
    metric = found.statistic.removeprefix("estimated_").replace("_", " ")
    wait = "there are no labels" if matures_after is None else f"labels take {matures_after.days} days"
    figures = {
        "metric": found.statistic,
        "estimated": found.value,
        "at_least": found.interval_low,
        "training": found.reference_value,
        "since": since,
    }
    return occasion.opened(
        SHORTAGE,
        Action.GET_LABELS,
        evidence=(figures,),
        why=f"The score has moved, and a {metric} of {found.value:.3g} is estimated (at least "
        f"{found.interval_low:.3g}; {found.reference_value:.3g} in training), while {wait}: label a sample of the rows "
        f"since {(since or '')[:10]} now, a few hundred tell whether it is true.",
        why_not=f"Do not retrain on an estimate: it {found.reason}.",
    )
