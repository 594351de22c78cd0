"""One run's decision: from evidence to everything that is stored and sent, as a pure function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from monitor.advice import Advice, advise
from monitor.alert import Alert, AlertRules, AlertState, Identity, Step, Transition, step
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
from monitor.notification import Notification, Reason
from monitor.proof import History, Prove
from monitor.recommendation import Action, Recommendation, RecommendationState
from monitor.routing import Scene, notifications_for, share_threads
from monitor.silence import Silence, is_covered

ROOT_CAUSES: Sequence[tuple[frozenset[str], Severity]] = (
    (frozenset({"schema"}), Severity.WARNING),
    (frozenset({"volume", "freshness"}), Severity.CRITICAL),  # few rows are no excuse, no rows are
    (frozenset({"quality"}), Severity.WARNING),
    (frozenset({"score"}), Severity.WARNING),
    (frozenset({"feature"}), Severity.WARNING),
)
"""Families from root cause to consequence: while one is open from this severity on, nobody hears of those after it."""
INHIBITS = 28  # windows from opening; a cause that lasts longer excuses nothing any more


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


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Everything that follows from one window: stored and sent in one transaction.

    ``memories`` belong to check names (and "recommendation") and are ``evidence.memories`` of the next window *of the
    same stage*; ``alerts`` are the changed ones, ``transitions`` what happened to them, ``recommendations`` new or
    changed ones.
    """

    judgements: Mapping[str, Judgement]
    memories: Mapping[str, Any]
    alerts: Sequence[Alert] = ()
    transitions: Sequence[Transition] = ()
    notifications: Sequence[Notification] = ()
    recommendations: Sequence[Recommendation] = ()

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
) -> Decision:
    """Return what follows from one window of evidence.

    ``new_id`` gives ids to notifications and recommendations, ``history`` earlier outcome windows, ``prove`` fits
    challengers; both are called rarely, in the stage of outcomes only.
    """
    judgements = dict(run_checks(active_checks, evidence))
    memories = {name: judgement.memory for name, judgement in judgements.items()}
    alerts = {alert.key: alert for alert in state.alerts}
    identity = Identity(
        model=evidence.model, family="", model_version=model_version, role=role, slice=dict(slice_ or {})
    )
    families = _families(judgements, alerts.values(), evidence)
    changed, transitions = _move(families, alerts, identity, evidence, rules.alerts, state.silences, now)
    shared = share_threads(transitions)
    changed |= shared
    alerts |= shared
    transitions = [replace(t, alert=shared.get(t.alert.key, t.alert)) if t.tell else t for t in transitions]

    recommendations = {r.id: r for r in state.recommendations}
    data = _investigations(transitions, list(recommendations.values()), evidence, identity, now, new_id)
    recommendations |= {r.id: r for r in data}
    advice = Advice()
    performance = judgements.get("performance")
    if evidence.stage is Stage.OUTCOMES and performance is not None and performance.memory:
        expected = None if evidence.maybe_reference is None else expectation_of(evidence.maybe_reference)
        if expected is not None:
            advice = advise(
                evidence,
                performance.memory["series"],
                expected.calibration,
                list(alerts.values()),
                list(recommendations.values()),
                now=now,
                new_id=new_id,
                model_version=model_version,
                role=role,
                slice_=slice_,
                retraining_cost=rules.retraining_cost,
                history=history,
                prove=prove,
            )
            memories["recommendation"] = advice.memory
            recommendations |= {r.id: r for r in advice.recommendations}
    scene = Scene(
        model=evidence.model,
        window=evidence.window,
        label=evidence.spec.label(evidence.window),
        now=now,
        new_id=new_id,
        model_version=model_version,
        role=role,
        slice=dict(slice_ or {}),
    )
    standing = [r for r in recommendations.values() if r.state is RecommendationState.OPEN]
    return Decision(
        judgements=judgements,
        memories=memories,
        alerts=list(changed.values()),
        transitions=transitions,
        notifications=notifications_for(transitions, families, standing, advice.told, scene),
        recommendations=[*data, *advice.recommendations],
    )


def _families(judgements: Mapping[str, Judgement], alerts: Any, evidence: Evidence) -> dict[str, list[Finding]]:
    """Return the findings by family; those on outcomes with the cause that the other alerts suggest."""
    families: dict[str, list[Finding]] = {}
    for judgement in judgements.values():
        for finding in judgement.findings:
            if finding.family:
                families.setdefault(finding.family, []).append(finding)
    families |= _broken_checks(judgements, evidence.stage)
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


def _move(
    families: Mapping[str, Sequence[Finding]],
    alerts: dict[str, Alert],
    identity: Identity,
    evidence: Evidence,
    rules: AlertRules,
    silences: Sequence[Silence],
    now: datetime,
) -> tuple[dict[str, Alert], list[Transition]]:
    """Step every family, root causes first; ``alerts`` is brought up to date."""
    changed: dict[str, Alert] = {}
    transitions: list[Transition] = []
    ended: list[Alert] = []
    for family in sorted(families, key=lambda name: (_rank(name), name)):
        own = replace(identity, family=family)
        before = alerts.get(own.key)
        move = partial(
            step,
            None if before is None else replace(before, silenced=False),  # it is decided below
            families[family],
            identity=own,
            window=evidence.window,
            pace=evidence.spec.pace,
            now=now,
            inhibited_by=_inhibitor(family, alerts.values(), evidence),
        )
        done = _move_silenced(before, move, rules, silences, now)
        transitions.extend(done.transitions)
        if done.ended is not None:
            ended.append(done.ended)
        if done.alert is not None and done.alert != before:
            alerts[own.key] = changed[own.key] = done.alert
    return {**{f"{a.key}/{a.episode}": a for a in ended}, **changed}, transitions


def _move_silenced(
    before: Alert | None,
    move: Callable[[AlertRules], Step],
    rules: AlertRules,
    silences: Sequence[Silence],
    now: datetime,
) -> Step:
    """Step an alert, without telling while a silence covers it; what is still open when none does is told once.

    Silence changes nothing but who hears: state, tracks and threads move as ever, and the end of an episode that was
    told goes into its thread. ``memory["owed"]`` remembers as what people are to hear of an alert that was covered, in
    a thread that they know.
    """
    was_open = before is not None and before.is_open
    owed = before.memory.get("owed") if before is not None and was_open else None
    # the reply "still open" is due at once when the interval between two is nothing
    done = move(replace(rules, repeat=dict.fromkeys(Severity, timedelta())) if owed else rules)
    alert = done.alert
    if alert is None:
        return done
    silenced = alert.is_open and is_covered(silences, alert)
    if silenced:
        done = move(replace(rules, quiet=True))
        alert = done.alert or alert  # telling or not decides nothing else
        owed = owed or (Reason.REPEATED if was_open else Reason.REOPENED).value
    transitions = [replace(t, tell=Reason(owed)) if owed and t.tell is Reason.REPEATED else t for t in done.transitions]
    taken_on = alert.acknowledged_until is not None and now < alert.acknowledged_until
    if not silenced and (taken_on or not alert.is_open or any(t.tell for t in transitions)):
        owed = None
    memory = {name: value for name, value in alert.memory.items() if name != "owed"}
    after = replace(alert, silenced=silenced, memory=memory | ({"owed": owed} if owed else {}))
    settled = tuple(replace(t, alert=after) if t.alert is alert else t for t in transitions)
    return replace(done, alert=after, transitions=settled)


def _rank(family: str) -> int:
    """Return the place of a family among root causes; what is no part of that order comes last."""
    head = family.partition(":")[0]
    return next((i for i, (heads, _) in enumerate(ROOT_CAUSES) if head in heads), len(ROOT_CAUSES))


def _inhibitor(family: str, alerts: Any, evidence: Evidence) -> str | None:
    """Return the key of the open root cause that explains this family, the deepest one first."""
    rank = _rank(family)
    if rank == len(ROOT_CAUSES):
        return None
    start, reach = evidence.window.start, INHIBITS * evidence.spec.pace
    severe = {severity: place for place, severity in enumerate((Severity.INFO, Severity.WARNING, Severity.CRITICAL))}
    roots = [
        alert
        for alert in alerts
        if alert.is_open
        and _rank(alert.family) < rank
        and severe[alert.severity] >= severe[ROOT_CAUSES[_rank(alert.family)][1]]
        and alert.opened_window_start is not None
        and start < alert.opened_window_start + reach
    ]
    return min(roots, key=lambda alert: (_rank(alert.family), alert.key)).key if roots else None


def _investigations(
    transitions: Sequence[Transition],
    standing: Sequence[Recommendation],
    evidence: Evidence,
    identity: Identity,
    now: datetime,
    new_id: Callable[[], UUID],
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
            found.append(replace(held, state=RecommendationState.DONE, decided_by="monitor", decided_at=now))
        elif held is None and transition.tell in (Reason.FIRST, Reason.ESCALATED, Reason.REOPENED):
            subjects = sorted({str(fact["subject"]) for fact in alert.subjects})
            broken_from = evidence.spec.label(evidence.spec.containing(alert.began_at or evidence.window.start))
            found.append(
                Recommendation(
                    id=new_id(),
                    model=identity.model,
                    model_version=identity.model_version,
                    role=identity.role,
                    slice=identity.slice,
                    cause_key=cause_key,
                    action=Action.INVESTIGATE_DATA,
                    opened_at=now,
                    window_start=evidence.window.start,
                    window_end=evidence.window.end,
                    evidence=tuple(alert.subjects),
                    why=f"{alert.title} ({', '.join(subjects)})",
                    why_not=f"Do not retrain on rows since {broken_from} until it is over: those windows are "
                    "left out of every evaluation.",
                    extras={"family": alert.family, "subjects": subjects},
                )
            )
            open_[cause_key] = found[-1]
    return found
