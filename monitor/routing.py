"""Routing: which changes become which messages, in words a person likes to get."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from monitor.alert import HARM, RANK, Alert, Transition, weight
from monitor.check import Cause, Finding, ReferenceKind, Severity
from monitor.notification import Fact, Notification, Reason
from monitor.recommendation import Action, Recommendation
from monitor.window import Window

MOST_FACTS = 10
LOUD = frozenset({Reason.FIRST, Reason.ESCALATED, Reason.FLAPPING})
GROUPS = {"outcome": "outcome", "label": "outcome", "score": "score"}
PREFIXES = {name: name for name in ("feature", "resource", "pipeline", "crowd", "fairness")} | {"quality": "data"}
PREFIXES["merged"] = "feature"
PREFIXES |= {name: name for name in ("concept", "parity", "stability", "leakage")}
HEADLINES = {
    "outcome": "the outcomes no longer match the predictions",
    "score": "the score has shifted",
    "concept": "outcomes no longer follow from scores",
    "data": "something is wrong with the data",
    "feature": "a feature has drifted",
    "fairness": "groups are treated differently",
    "parity": "the model no longer computes what it did in training",
    "stability": "noise that nobody could measure turns decisions over",
    "leakage": "training knew what production cannot know",
    "resource": "the serving process behaves unusually",
    "pipeline": "the monitor could not do its work",
    "crowd": "more alerts are open than anybody can read",
}
ADVICE = {
    Action.RECALIBRATE: "recalibrate the model or move its cut-off",
    Action.RETRAIN: "retrain the model",
    Action.INVESTIGATE_DATA: "investigate the data",
    Action.INSUFFICIENT_DATA: "there is too little to go by",
    Action.WATCH: "watch the model",
    Action.GET_LABELS: "get labels sooner",
    Action.ROLL_BACK: "roll back the release",
    Action.PROMOTE: "promote the candidate",
}


STEPS: Mapping[Action, str] = {
    Action.RETRAIN: "Retrain the model, then store its training profile.",
    Action.RECALIBRATE: "Put the new cut-off or the recalibration in front of the model.",
    Action.GET_LABELS: "Get outcomes sooner.",
}
"""The first thing to do after each advice."""
EVIDENCE: Mapping[str, str] = {
    "windows": "windows judged",
    "skill": "skill against a constant answer",
    "skill_upper": "its 95 % bound",
    "skill_training": "skill in training",
    "rank_z": "rank (AUC), in standard errors from training",
    "loss_z": "loss, in standard errors from training",
}
"""Evidence of a recommendation that a message shows, in words."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What all messages of one run have in common."""

    model: str
    window: Window
    label: str
    now: datetime
    new_id: Callable[[], UUID]
    model_version: str = ""
    role: str = "champion"
    slice: Mapping[str, Any] = field(default_factory=dict)
    late: bool = False
    """Whether late rows made the window be judged again."""

    def group_key(self, group: str) -> str:
        """Return the name under which messages of one kind are held together after an outage."""
        part = "" if not self.slice else ":" + ",".join(f"{k}={v}" for k, v in sorted(self.slice.items()))
        return f"{self.model}:{self.role}{part}:{group}"


def group_of(family: str) -> str:
    """Return which message a family of findings belongs to.

    >>> group_of("quality:weather"), group_of("label"), group_of("volume"), group_of("resource:serve")
    ('data', 'outcome', 'data', 'resource:serve')
    """
    if family in GROUPS:
        return GROUPS[family]
    head = family.partition(":")[0]
    if head == "resource":
        return family
    return PREFIXES.get(head, "data")


def share_threads(transitions: Sequence[Transition]) -> dict[str, Alert]:
    """Return alerts, by key, whose first message is told together with another's: they share its thread."""
    leaders: dict[str, Alert] = {}
    changed: dict[str, Alert] = {}
    for transition in sorted(transitions, key=lambda t: _urgency(t)):
        if transition.tell is not Reason.FIRST:
            continue
        alert, group = transition.alert, group_of(transition.alert.family)
        leader = leaders.setdefault(group, alert)
        if leader is not alert:
            changed[alert.key] = _move_thread(alert, leader.thread_key)
    return changed


def _move_thread(alert: Alert, key: str) -> Alert:
    threads = [{**t, "key": key} if t["key"] == alert.thread_key else t for t in alert.memory["threads"]]
    return replace(alert, thread_key=key, memory={**alert.memory, "threads": threads})


def notifications_for(
    transitions: Sequence[Transition],
    findings: Mapping[str, Sequence[Finding]],
    recommendations: Sequence[Recommendation],
    told: Sequence[Recommendation],
    scene: Scene,
) -> list[Notification]:
    """Return the messages of one window.

    ``findings`` are those of this window by family; ``recommendations`` what is open now (data incidents mention
    theirs), ``told`` those of them that get a message of their own. Openings of one kind are one message; everything
    else is a reply in the thread of its alert.
    """
    found: list[Notification] = []
    groups: dict[str, list[Transition]] = {}
    outdated: list[Transition] = []
    for transition in transitions:
        if transition.tell is None:
            continue
        if transition.tell is Reason.SUPERSEDED:
            outdated.append(transition)
        elif transition.tell in LOUD and not transition.in_thread:
            groups.setdefault(group_of(transition.alert.family), []).append(transition)
        else:
            found.append(_reply(transition, findings.get(transition.alert.family, ()), scene))
    for group, members in groups.items():
        found.append(_opening(group, sorted(members, key=_urgency), findings, recommendations, scene))
    if outdated:
        found.insert(0, _notice(sorted(outdated, key=_urgency), scene))
    found.extend(_advice(recommendation, scene) for recommendation in told)
    return found


def _urgency(transition: Transition) -> tuple[int, int, str]:
    return (-RANK[transition.alert.severity], transition.tell is not Reason.FIRST, transition.alert.family)


def _opening(
    group: str,
    members: Sequence[Transition],
    findings: Mapping[str, Sequence[Finding]],
    recommendations: Sequence[Recommendation],
    scene: Scene,
) -> Notification:
    first = members[0]
    alerts = [member.alert for member in members]
    said = _bad(f for alert in alerts for f in findings.get(alert.family, ()))
    severity = max((alert.severity for alert in alerts), key=RANK.__getitem__)
    costs = [str(f.details["cost"]) for f in said if f.details.get("cost")]
    return Notification(
        id=scene.new_id(),
        model=scene.model,
        reason=first.tell or Reason.FIRST,
        severity=severity,
        title=_title(scene, _headline(group, first, alerts)),
        summary=_summary(first, said, scene),
        created_at=scene.now,
        thread_key=first.alert.thread_key,
        group_key=scene.group_key(group),
        window_start=scene.window.start,
        window_end=scene.window.end,
        window_label=scene.label,
        facts=_facts(said),
        more_facts=max(0, len(said) - MOST_FACTS),
        cost=costs[0] if costs else "",
        next_step=_next_step(group, alerts, recommendations),
        alert_keys=[alert.key for alert in alerts],
        families=[alert.family for alert in alerts],
        chart=next((f.details["chart"] for f in said if f.details.get("chart")), None),
        role=scene.role,
        model_version=scene.model_version,
    )


def _reply(transition: Transition, findings: Sequence[Finding], scene: Scene) -> Notification:
    alert = transition.alert
    group = group_of(alert.family)
    said = _bad(findings)
    headline = _headline(group, transition, [alert])
    summary = _summary(transition, said, scene)
    if transition.tell is Reason.RESOLVED:
        opened = alert.opened_window_start
        since = "" if opened is None else f" It was open since {opened:%d %b %Y}."
        summary = f"Back within what training showed.{since}"
    severity = Severity.INFO if transition.tell is Reason.RESOLVED else alert.severity
    costs = [str(f.details["cost"]) for f in said if f.details.get("cost")]
    return Notification(
        id=scene.new_id(),
        model=scene.model,
        reason=transition.tell or Reason.REOPENED,
        severity=severity,
        title=_title(scene, headline),
        summary=summary,
        created_at=scene.now,
        thread_key=alert.thread_key,
        group_key=scene.group_key(group),
        in_thread=True,
        window_start=scene.window.start,
        window_end=scene.window.end,
        window_label=scene.label,
        facts=_facts(said),
        more_facts=max(0, len(said) - MOST_FACTS),
        cost=costs[0] if costs else "",
        alert_keys=[alert.key],
        families=[alert.family],
        chart=next((f.details["chart"] for f in said if f.details.get("chart")), None),
        role=scene.role,
        model_version=scene.model_version,
    )


def _notice(members: Sequence[Transition], scene: Scene) -> Notification:
    """Return the one message that alerts are over because a new training profile is in force."""
    alerts = [member.alert for member in members]
    named = ", ".join(alert.family for alert in alerts[:MOST_FACTS])
    more = f" and {len(alerts) - MOST_FACTS} more" if len(alerts) > MOST_FACTS else ""
    return Notification(
        id=scene.new_id(),
        model=scene.model,
        reason=Reason.SUPERSEDED,
        severity=Severity.INFO,
        title=_title(scene, "there is a new training profile, open alerts begin anew"),
        summary=f"Against the earlier one these were open: {named}{more}. Nothing says that they are over; "
        "what is wrong against the new one is told as new.",
        created_at=scene.now,
        thread_key=alerts[0].thread_key if len(alerts) == 1 else f"superseded-{scene.model}-{scene.now:%Y%m%d%H%M}",
        group_key=scene.group_key("superseded"),
        in_thread=len(alerts) == 1,
        window_start=scene.window.start,
        window_end=scene.window.end,
        window_label=scene.label,
        alert_keys=[alert.key for alert in alerts],
        families=[alert.family for alert in alerts],
        role=scene.role,
        model_version=scene.model_version,
    )


def _advice(recommendation: Recommendation, scene: Scene) -> Notification:
    action = recommendation.action
    money = ""
    if recommendation.expected_benefit is not None:
        money = f"expected benefit {recommendation.currency} {recommendation.expected_benefit:,.0f} in 28 windows"
        if recommendation.expected_cost is not None:
            money += f", cost {recommendation.currency} {recommendation.expected_cost:,.0f}"
    facts = [
        Fact(subject=EVIDENCE[name], text=f"{value:.3g}" if isinstance(value, float) else str(value))
        for evidence in recommendation.evidence
        for name, value in evidence.items()
        if name in EVIDENCE and value is not None
    ]
    severity = Severity.INFO if action is Action.WATCH else Severity.WARNING
    since = "" if recommendation.train_since is None else f"Train on rows since {recommendation.train_since:%d %b %Y}."
    decide = "" if action is Action.WATCH else f"Decide: monitor recommendations approve|dismiss {recommendation.id}"
    return Notification(
        id=scene.new_id(),
        model=scene.model,
        reason=Reason.RECOMMENDATION,
        severity=severity,
        title=f"{action}: {ADVICE[action]}",
        summary=recommendation.why,
        created_at=scene.now,
        thread_key=str(recommendation.extras.get("thread") or f"recommendation-{recommendation.id}"),
        group_key=scene.group_key("recommendation"),
        in_thread="thread" in recommendation.extras,
        window_start=scene.window.start,
        window_end=scene.window.end,
        window_label=scene.label,
        facts=facts[:MOST_FACTS],
        cost=money,
        next_step=" ".join(part for part in (STEPS.get(action, ""), recommendation.why_not, since, decide) if part),
        role=scene.role,
        model_version=scene.model_version,
        details={"recommendation_id": str(recommendation.id), "action": action.value},
    )


def _title(scene: Scene, headline: str) -> str:
    """Return the headline; severity, model, window and reason stand beside it in every channel."""
    role = "" if scene.role == "champion" else f" ({scene.role})"
    return headline[:1].upper() + headline[1:] + role


def _headline(group: str, transition: Transition, alerts: Sequence[Alert]) -> str:
    head = group.partition(":")[0]
    headline = HEADLINES[head]
    if head == "outcome" and transition.alert.cause is Cause.CONCEPT:
        headline += ", the inputs look ordinary"
    if head == "data":
        sources = sorted({a.family.partition(":")[2] or a.family for a in alerts})
        headline = f"{headline}: {', '.join(sources)}"
    if head in ("fairness", "concept"):
        headline += ": " + ", ".join(sorted({a.family.partition(":")[2] for a in alerts}))
    if head in ("resource", "feature", "pipeline"):
        headline += f": {transition.alert.family.partition(':')[2]}"
    if transition.tell is Reason.ESCALATED:
        headline += f" – {transition.reason}"
    return headline


def _summary(transition: Transition, said: Sequence[Finding], scene: Scene) -> str:
    alert = transition.alert
    lead = said[0].message if said and said[0].message else alert.title
    sentences = [_sentence(lead)] if lead else []
    if scene.late:
        sentences.append("Late rows show it only now.")
    if transition.tell is Reason.FLAPPING:
        sentences.append(_sentence(transition.reason))
        sentences.append("The digest goes on to name it; a rise to critical is told all the same.")
    if group_of(alert.family) == "outcome":
        because = {
            Cause.CONCEPT: "Score and sources look ordinary, so what changed is how outcomes follow from inputs "
            "(concept drift).",
            Cause.DATA: "A data incident is open for these rows; look there first.",
            Cause.DRIFT: "The score has shifted too, so the inputs have moved where the model is less right.",
        }
        if alert.cause in because:
            sentences.append(because[alert.cause])
    return " ".join(sentences)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _bad(findings: Iterable[Finding]) -> list[Finding]:
    return sorted((f for f in findings if HARM[f.verdict] > 0), key=weight)


def _facts(said: Sequence[Finding]) -> list[Fact]:
    """Return the findings as lines: in words, or as figures where the words were said already."""
    heard = {"", said[0].message} if said else {""}
    facts = []
    for finding in said[:MOST_FACTS]:
        facts.append(_fact(finding, _figures(finding) if finding.message in heard else finding.message))
        heard.add(finding.message)
    return facts


def _figures(finding: Finding) -> str:
    parts = [finding.statistic.replace("_", " ")]
    if finding.value is not None:
        beside = "reference group" if finding.reference_kind is ReferenceKind.GROUP else "usual"
        usual = "" if finding.reference_value is None else f" ({beside} {finding.reference_value:.3g})"
        parts[0] += f" {finding.value:.3g}{usual}"
    if finding.threshold is not None:
        parts.append(f"threshold {finding.threshold:.3g}")
    if finding.n_current is not None:
        parts.append(f"n = {finding.n_current:,}")
    return ", ".join(parts)


def _fact(finding: Finding, text: str) -> Fact:
    return Fact(
        subject=finding.subject,
        statistic=finding.statistic,
        text=text,
        value=finding.value,
        threshold=finding.threshold,
        effect=finding.effect,
        n_current=finding.n_current,
    )


def _next_step(group: str, alerts: Sequence[Alert], recommendations: Sequence[Recommendation]) -> str:
    match group.partition(":")[0]:
        case "data":
            keys = {alert.family for alert in alerts}
            advice = [r for r in recommendations if r.extras.get("family") in keys]
            words = advice[0].why_not if advice else ""
            return f"INVESTIGATE_DATA: repair the source before anything else. {words}".strip()
        case "outcome":
            cause = alerts[0].cause
            if cause is Cause.CONCEPT:
                return "Ask what happened on these days. No retraining yet: that needs two evaluations of four weeks."
            if cause is Cause.DATA:
                return "INVESTIGATE_DATA first; outcomes of broken inputs say nothing about the model."
            return "Watch it; if two evaluations of four weeks fail, you will hear what to do."
        case "concept":
            return "Ask what changed for these rows. No retraining yet: that needs two evaluations of four weeks."
        case "score":
            return "See in the report which features moved; the digest ranks them."
        case "fairness":
            return (
                "Decide which criterion matters for this decision: where base rates differ, making one hold can break "
                "another."
            )
        case "resource":
            return "Look at the process before its limit does it for you."
        case _:
            return ""
