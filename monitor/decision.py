"""One run's decision: from evidence to everything that is stored and sent, as a pure function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from monitor.advice import Advice, advise, advise_by_age
from monitor.alert import Alert, AlertRules, AlertState, Identity, Transition
from monitor.check import (
    FAILED,
    MISSING,
    Cause,
    Check,
    Evidence,
    Finding,
    Judgement,
    Part,
    Severity,
    Stage,
    Verdict,
    run_checks,
)
from monitor.expectation import expectation_of
from monitor.inhibition import INHIBITS
from monitor.movement import MEMORY, Past, move, move_again
from monitor.notification import Notification, Reason
from monitor.proof import History, Prove
from monitor.recommendation import Action, Occasion, Recommendation, RecommendationState
from monitor.routing import Scene, notifications_for, share_threads
from monitor.shortage import MEMORY as SHORTAGE
from monitor.shortage import advise_on_labels
from monitor.silence import Silence


@dataclass(frozen=True, kw_only=True)
class State:
    """What is known of a model before this run.

    ``alerts`` holds the newest episode of every family, open or not; ``recommendations`` at least the open ones,
    ``silences`` those in force.
    """

    alerts: Sequence[Alert] = ()
    recommendations: Sequence[Recommendation] = ()
    silences: Sequence[Silence] = ()


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the configuration says about alerts and advice."""

    alerts: AlertRules = field(default_factory=AlertRules)
    retraining_cost: float | None = None
    """What one retraining costs, all in all, in the model's currency."""
    max_age: timedelta | None = None
    """From which age of the newest training row retraining is advised without any other reason."""
    matures_after: timedelta | None = None
    """How long labels take; None where there is no outcome feed."""
    config: str = ""
    """What tells one configuration of the model from another: an episode goes on under a new one, and notes it."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Everything that follows from one window: stored and sent in one transaction.

    ``memories`` belong to check names (and "recommendation" and "alerts") and are ``evidence.memories`` of the next
    window *of the same stage*; ``alerts`` are the changed ones, ``transitions`` what happened to them,
    ``recommendations`` new or changed ones; ``corrected`` is what is to be remembered of the alerts after later windows
    from now on, by their start.
    """

    judgements: Mapping[str, Judgement]
    memories: Mapping[str, Any]
    alerts: Sequence[Alert] = ()
    transitions: Sequence[Transition] = ()
    notifications: Sequence[Notification] = ()
    recommendations: Sequence[Recommendation] = ()
    corrected: Mapping[datetime, Any] = field(default_factory=dict)

    @property
    def findings(self) -> list[Finding]:
        """All findings in order of the checks."""
        return [finding for judgement in self.judgements.values() for finding in judgement.findings]


def decide(
    evidence: Evidence,
    active_checks: Mapping[str, Check],
    state: State,
    rules: Rules,
    *,
    now: datetime,
    new_id: Callable[[], UUID],
    model_version: str = "",
    role: str = "champion",
    slice_: Mapping[str, Any] | None = None,
    history: History | None = None,
    prove: Prove | None = None,
    judgements: Mapping[str, Judgement] | None = None,
    later: Sequence[Past] | None = None,
) -> Decision:
    """Return what follows from one window of evidence.

    ``new_id`` gives ids to notifications and recommendations, ``history`` earlier outcome windows, ``prove`` fits
    challengers; both are called rarely, in the stage of outcomes only. ``judgements`` are those of the checks if they
    were run on this evidence before. ``later``, even empty, says that late rows made the window be judged again, and
    which windows of its stage have been judged after it: alerts are moved through all of them anew, advice is for new
    windows only.
    """
    judgements = dict(run_checks(active_checks, evidence)) if judgements is None else judgements
    memories = {name: judgement.memory for name, judgement in judgements.items()}
    alerts = {alert.key: alert for alert in state.alerts}
    reference = evidence.maybe_reference
    judged = {"stage": evidence.stage.value, "reference": "" if reference is None else reference.id}
    identity = Identity(
        model=evidence.model,
        family="",
        model_version=model_version,
        role=role,
        slice=dict(slice_ or {}),
        judged=judged | ({"config": rules.config} if rules.config else {}),
    )
    families = _families(judgements, alerts.values(), evidence)
    if later is None:
        moved = move(families, alerts, identity, evidence, rules.alerts, state.silences, now)
    else:
        known = [(past, _by_family(past.findings, alerts.values(), evidence)) for past in later]
        moved = move_again(families, known, alerts, identity, evidence, rules.alerts, state.silences, now)
    alerts, transitions = moved.alerts, moved.transitions
    if evidence.stage is not Stage.PROCESS:
        memories[MEMORY] = moved.memory
    shared = share_threads(transitions)
    changed = {**{f"{a.key}/{a.episode}": a for a in moved.ended}, **moved.changed, **shared}
    alerts |= shared
    transitions = [replace(t, alert=shared.get(t.alert.key, t.alert)) if t.tell else t for t in transitions]

    recommendations = {r.id: r for r in state.recommendations}
    occasion = Occasion(
        model=evidence.model,
        model_version=model_version,
        role=role,
        slice=dict(slice_ or {}),
        window=evidence.window,
        now=now,
        new_id=new_id,
    )
    data = _investigations(transitions, list(recommendations.values()), evidence, occasion)
    recommendations |= {r.id: r for r in data}
    advice = Advice()
    performance = judgements.get("performance")
    if later is None and evidence.stage is Stage.OUTCOMES and performance is not None and performance.memory:
        expected = None if reference is None else expectation_of(reference)
        if expected is not None:
            advice = advise(
                evidence,
                performance.memory["series"],
                expected.calibration,
                list(alerts.values()),
                list(recommendations.values()),
                occasion,
                retraining_cost=rules.retraining_cost,
                history=history,
                prove=prove,
            )
            memories["recommendation"] = advice.memory
            recommendations |= {r.id: r for r in advice.recommendations}
    aged: Sequence[Recommendation] = ()
    if later is None and evidence.stage is Stage.INPUTS:
        aged = advise_by_age(evidence, list(recommendations.values()), occasion, rules.max_age)
        estimates = judgements.get("estimated_performance")
        short = advise_on_labels(
            evidence,
            () if estimates is None else estimates.findings,
            list(alerts.values()),
            list(recommendations.values()),
            occasion,
            rules.matures_after,
        )
        memories[SHORTAGE] = short.memory
        aged = [*aged, *short.recommendations]
        recommendations |= {r.id: r for r in aged}
    scene = Scene(
        model=evidence.model,
        window=evidence.window,
        label=evidence.spec.label(evidence.window),
        now=now,
        new_id=new_id,
        model_version=model_version,
        role=role,
        slice=dict(slice_ or {}),
        late=later is not None,
    )
    standing = [r for r in recommendations.values() if r.state is RecommendationState.OPEN]
    return Decision(
        judgements=judgements,
        memories=memories,
        alerts=list(changed.values()),
        transitions=transitions,
        notifications=notifications_for(
            transitions,
            families,
            standing,
            [*advice.told, *(one for one in aged if one.state is RecommendationState.OPEN)],
            scene,
        ),
        recommendations=[*data, *advice.recommendations, *aged],
        corrected=moved.corrected,
    )


def _families(judgements: Mapping[str, Judgement], alerts: Any, evidence: Evidence) -> dict[str, list[Finding]]:
    """Return the findings of a window by family, with those on the checks themselves."""
    found = [finding for judgement in judgements.values() for finding in judgement.findings]
    return _by_family(found, alerts, evidence) | _broken_checks(judgements, evidence.stage)


def _by_family(findings: Sequence[Finding], alerts: Any, evidence: Evidence) -> dict[str, list[Finding]]:
    """Return findings by family; those on outcomes with the cause that the other alerts suggest."""
    families: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.family:
            families.setdefault(finding.family, []).append(finding)
    if "outcome" in families:
        standing = next((a for a in alerts if a.family == "outcome" and a.is_open), None)
        cause = _cause_of_outcome(alerts, evidence) if standing is None else standing.cause
        families["outcome"] = [replace(finding, cause=cause) for finding in families["outcome"]]
    return families


def _broken_checks(judgements: Mapping[str, Judgement], stage: Stage) -> dict[str, list[Finding]]:
    """Return one finding per check on the check itself: a crash is inconclusive for the model, but people must hear.

    A check without evidence says nothing about itself.
    """
    found: dict[str, list[Finding]] = {}
    for name, judgement in judgements.items():
        reasons = {finding.reason for finding in judgement.findings}
        if MISSING in reasons:
            continue
        own = Finding(
            check=name,
            part=Part.PIPELINE,
            subject=f"{name} of {stage}",  # the stages of one check see different windows
            statistic="check",
            verdict=Verdict.OK,
            family=f"pipeline:{name}",
            cause=Cause.PIPELINE,
        )
        if FAILED in reasons:
            said = next(finding.message for finding in judgement.findings if finding.reason == FAILED)
            message = f"the check {name} breaks ({said}), so it judges nothing; the log has the details"
            own = replace(own, verdict=Verdict.WARNING, severity=Severity.WARNING, message=message)
        found[own.family] = [own]
    return found


def _cause_of_outcome(alerts: Any, evidence: Evidence) -> Cause:
    """Return what explains wrong predictions: broken rows, a score that moved, or else a relation that changed."""
    start, reach = evidence.window.start, INHIBITS * evidence.spec.pace
    covering = [
        alert
        for alert in alerts
        if alert.covers(start) and alert.severity is not Severity.INFO and start < alert.opened_window_start + reach
    ]
    if any(alert.is_data_incident for alert in covering):
        return Cause.DATA
    if any(alert.family == "score" for alert in covering):
        return Cause.DRIFT
    return Cause.CONCEPT


def _investigations(
    transitions: Sequence[Transition],
    standing: Sequence[Recommendation],
    evidence: Evidence,
    occasion: Occasion,
) -> list[Recommendation]:
    """Open INVESTIGATE_DATA with a data incident that people hear of, and close it with the incident."""
    found: list[Recommendation] = []
    open_ = {r.cause_key: r for r in standing if r.state is RecommendationState.OPEN}
    for transition in transitions:
        alert = transition.alert
        if not alert.is_data_incident:
            continue
        cause_key = f"data:{alert.family}"
        held = open_.get(cause_key)
        if held is not None and transition.to_state is AlertState.RESOLVED:
            found.append(occasion.closed(held, state=RecommendationState.DONE))
        elif held is None and transition.tell in (Reason.FIRST, Reason.ESCALATED, Reason.REOPENED):
            subjects = sorted({str(fact["subject"]) for fact in alert.subjects})
            broken_from = evidence.spec.label(evidence.spec.containing(alert.began_at or evidence.window.start))
            found.append(
                occasion.opened(
                    cause_key,
                    Action.INVESTIGATE_DATA,
                    evidence=tuple(alert.subjects),
                    why=f"{alert.title} ({', '.join(subjects)})",
                    why_not=f"Do not retrain on rows since {broken_from} until it is over: those windows are "
                    "left out of every evaluation.",
                    extras={"family": alert.family, "subjects": subjects},
                )
            )
            open_[cause_key] = found[-1]
    return found
