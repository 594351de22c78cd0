"""Alerts: one episode from opening to resolution, moved window by window by one pure function."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from monitor.check import Cause, Episode, Finding, Severity, Verdict
from monitor.notification import Reason
from monitor.window import DAY, Window

RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
HARM = {Verdict.INCONCLUSIVE: -1, Verdict.OK: 0, Verdict.WARNING: 1, Verdict.CRITICAL: 2}
MOST_SUBJECTS = 50  # of one alert; a message names the first ten of them
BACKOFF = (1, 3, 7)  # multiples of the repeat interval after the first, second and every later repeat


class AlertState(StrEnum):
    """Where an episode stands; ``inactive`` was pending and went back."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"
    RESOLVED = "resolved"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"


OPEN = frozenset({AlertState.FIRING, AlertState.RECOVERING})
ENDED = frozenset({AlertState.RESOLVED, AlertState.EXPIRED, AlertState.SUPERSEDED})


@dataclass(frozen=True, kw_only=True)
class AlertRules:
    """When an alert opens, recovers and is told again.

    ``k`` bad windows among the last ``n`` conclusive ones open it, ``recover`` good ones in a row close it. An opening
    of the same subject in the same direction within ``thread_windows`` of the last window of a thread belongs to that
    thread. After ``settle`` windows a smoothed effect of ``growth`` times what it was then is one more message.
    """

    k: int = 2
    n: int = 3
    recover: int = 3
    repeat: Mapping[Severity, timedelta] = field(default_factory=lambda: {Severity.CRITICAL: DAY})
    thread_windows: int = 28
    settle: int = 7
    growth: float = 2.0
    quiet: bool = False
    """Whether nobody is told, as in a backfill; what is still open afterwards is told with the next window."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One episode of one family of findings.

    ``memory`` holds JSON values that the next window needs: the last verdicts by track, and the threads of the family.
    Acknowledgement, silence and flapping are flags beside the state and never change it.
    """

    key: str
    episode: int
    model: str
    model_version: str = ""
    role: str = "champion"
    slice: Mapping[str, Any] = field(default_factory=dict)
    family: str
    subject: str = ""
    direction: int = 0
    title: str = ""
    severity: Severity = Severity.INFO
    state: AlertState = AlertState.INACTIVE
    cause: Cause | None = None
    opened_at: datetime | None = None
    opened_window_start: datetime | None = None
    opened_window_end: datetime | None = None
    began_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    acknowledged_until: datetime | None = None
    silenced: bool = False
    inhibited_by: str | None = None
    stale_since: datetime | None = None
    flapping: bool = False
    resolved_at: datetime | None = None
    resolved_window_start: datetime | None = None
    subjects: Sequence[Mapping[str, Any]] = ()
    impact_cost: float | None = None
    currency: str | None = None
    thread_key: str = ""
    memory: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it is firing or recovering."""
        return self.state in OPEN

    @property
    def told(self) -> bool:
        """Whether people have heard of this thread."""
        return bool(self._thread().get("told"))

    @property
    def notifications_sent(self) -> int:
        """Messages and replies of this thread so far."""
        return int(self._thread().get("sent", 0))

    def open_tracks(self, *, latched: bool | None = None) -> list[str]:
        """Return the names of what is open inside: ``latched`` chooses the slow path, or everything but it."""
        tracks: Mapping[str, Mapping[str, Any]] = self.memory.get("tracks", {})
        return [n for n, t in tracks.items() if t["open"] and (latched is None or t["latched"] is latched)]

    @property
    def is_data_incident(self) -> bool:
        """Whether it says that rows are broken: they are then left out of every evaluation of the model.

        Traffic that falls or grows is none: the rows that are there are right.
        """
        return self.severity is not Severity.INFO and self.family.partition(":")[0] in (
            "quality",
            "schema",
            "freshness",
        )

    def covers(self, start: datetime) -> bool:
        """Whether the window that starts at ``start`` lies in this episode; the resolving window does not."""
        if self.opened_window_start is None or start < self.opened_window_start:
            return False
        return self.resolved_window_start is None or start < self.resolved_window_start

    def as_episode(self) -> Episode | None:
        """Return what checks may know of it; None if it never opened."""
        if self.opened_window_start is None:
            return None
        return Episode(
            family=self.family,
            cause=self.cause,
            severity=self.severity,
            opened=self.opened_window_start,
            resolved=self.resolved_window_start,
            latched=bool(self.open_tracks(latched=True)),
        )

    def _thread(self) -> Mapping[str, Any]:
        threads: Sequence[Mapping[str, Any]] = self.memory.get("threads", ())
        return next((thread for thread in threads if thread["key"] == self.thread_key), {})


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One change of an alert, for the record and perhaps for people.

    ``tell`` is why people hear of it, None if they do not; ``in_thread`` makes it a reply. ``alert`` is the alert
    after it.
    """

    alert: Alert
    from_state: AlertState
    to_state: AlertState
    reason: str
    tell: Reason | None = None
    in_thread: bool = False


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one window did to an alert: ``alert`` is None while nothing was ever wrong.

    ``ended`` is the earlier episode that turned into its opposite and was superseded.
    """

    alert: Alert | None
    transitions: tuple[Transition, ...] = ()
    ended: Alert | None = None


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whose alert it is."""

    model: str
    family: str
    model_version: str = ""
    role: str = "champion"
    slice: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """SHA-256 in hex of model, role, slice and family; no value, threshold, version or window is in it."""
        parts = [self.model, self.role, self.slice, self.family]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def step(
    alert: Alert | None,
    findings: Sequence[Finding],
    rules: AlertRules,
    *,
    identity: Identity,
    window: Window,
    pace: timedelta,
    now: datetime,
    inhibited_by: str | None = None,
) -> Step:
    """Return the alert after one more window, and what changed.

    ``alert`` is the newest episode of the family, open or not; ``findings`` are those of its family in this window,
    ``pace`` the distance between windows. Findings of one subject form a track: ordinary ones open it by k of n
    (critical ones at once) and close it after ``recover`` good windows; latched ones open and close it themselves. The
    alert is open while any track is. Inconclusive findings move nothing. While ``inhibited_by`` names the root cause,
    the alert moves but nobody is told; once it ends, what is still open is told.
    """
    findings = sorted(findings, key=_order)
    tracks, opened = _move_tracks({} if alert is None else alert.memory.get("tracks", {}), findings, rules, window)
    conclusive = any(finding.verdict is not Verdict.INCONCLUSIVE for finding in findings)
    is_open = any(track["open"] for track in tracks.values())
    if not tracks and (alert is None or alert.state in ENDED):
        return Step(alert=alert)
    if not conclusive:
        if alert is not None and alert.is_open and findings and alert.stale_since is None:
            return Step(alert=replace(alert, stale_since=window.start))
        return Step(alert=alert)

    direction = _direction(tracks, opened) if opened else 0
    # losing and gaining are different news about outcomes; a score that swings is one
    turned = alert is not None and alert.is_open and alert.family == "outcome" and direction * alert.direction < 0
    ended: Alert | None = None
    transitions: list[Transition] = []
    if alert is None or alert.state in ENDED or turned:
        threads = [] if alert is None else list(alert.memory.get("threads", ()))
        if alert is not None and turned:
            ended = replace(
                alert, state=AlertState.SUPERSEDED, resolved_at=now, resolved_window_start=window.start, memory={}
            )
            reason = "the change turned into its opposite"
            transitions.append(_transition(ended, alert.state, reason))
        current = Alert(
            key=identity.key,
            episode=1 if alert is None else alert.episode + 1,
            model=identity.model,
            model_version=identity.model_version,
            role=identity.role,
            slice=identity.slice,
            family=identity.family,
            memory={"tracks": {}, "threads": threads},
        )
    else:
        current = alert
    before = current.state
    was_open = current.is_open
    current = replace(
        current,
        inhibited_by=inhibited_by if is_open else None,
        stale_since=None,
        memory={**current.memory, "tracks": tracks},
    )
    if is_open:
        current = _describe(current, tracks, findings)
    if is_open and not was_open:
        current, thread_reason = _open(current, direction, rules, window=window, pace=pace, now=now)
        transitions.append(_transition(current, before, thread_reason))
    elif is_open:
        bad = any(track["open"] and (track["latched"] or not track["clean"]) for track in tracks.values())
        current = replace(current, state=AlertState.FIRING if bad else AlertState.RECOVERING)
        if current.state is not before:
            reason = "bad again" if bad else "good windows have begun"
            transitions.append(_transition(current, before, reason))
    elif was_open:
        current = replace(
            current, state=AlertState.RESOLVED, resolved_at=now, resolved_window_start=window.start, inhibited_by=None
        )
        told = Reason.RESOLVED if current.told else None
        transitions.append(_transition(current, before, "nothing is left of it", tell=told, in_thread=True))
    else:
        current = replace(current, state=AlertState.PENDING if tracks else AlertState.INACTIVE)
        if current.state is not before:
            reason = "first bad window" if tracks else "the bad windows were too few"
            transitions.append(_transition(current, before, reason))
    if was_open and not is_open:
        current = _count_reply(current)
    current = _visit_threads(current, window=window, pace=pace, rules=rules)
    current, told_transition = _tell(current, findings, opened, was_open, rules, window=window, now=now)
    if told_transition is not None:
        transitions.append(told_transition)
    # everyone who reads a transition wants the alert as it is stored
    settled = tuple(t if t.alert is ended else replace(t, alert=current) for t in transitions)
    return Step(alert=current, transitions=settled, ended=ended)


def _order(finding: Finding) -> tuple[object, ...]:
    """Sort key that leaves nothing to the order in which findings arrive."""
    effect = finding.effect or 0.0
    names = (finding.check, finding.subject, finding.statistic, finding.latched, finding.verdict, finding.severity)
    return (*names, finding.direction, effect, finding.message)


def _transition(
    alert: Alert, before: AlertState, reason: str, tell: Reason | None = None, in_thread: bool = False
) -> Transition:
    return Transition(
        alert=alert, from_state=before, to_state=alert.state, reason=reason, tell=tell, in_thread=in_thread
    )


def _move_tracks(
    tracks: Mapping[str, Mapping[str, Any]], findings: Sequence[Finding], rules: AlertRules, window: Window
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the tracks after this window without the clean ones, and which of them opened."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.verdict is not Verdict.INCONCLUSIVE:
            name = f"{finding.check}:{finding.subject}" + (":slow" if finding.latched else "")
            groups.setdefault(name, []).append(finding)
    moved = {name: dict(track) for name, track in tracks.items()}
    opened: list[str] = []
    for name, group in sorted(groups.items()):
        worst = max(group, key=lambda f: (HARM[f.verdict], RANK[f.severity], abs(f.effect or 0.0), f.statistic))
        bad = HARM[worst.verdict] > 0
        track = moved.setdefault(
            name,
            {"open": None, "latched": worst.latched, "history": [], "clean": 0, "severity": "info", "direction": 0},
        )
        track["history"] = [*track["history"], int(bad)][-rules.n :]
        if track["open"]:
            track["clean"] = 0 if bad else track["clean"] + 1
            if track["clean"] >= (1 if track["latched"] else rules.recover):
                track |= {"open": None, "history": [], "clean": 0}
        elif bad and (track["latched"] or worst.verdict is Verdict.CRITICAL or sum(track["history"]) >= rules.k):
            track |= {"open": window.start.isoformat(), "clean": 0, "severity": "info", "direction": worst.direction}
            opened.append(name)
        if bad and RANK[worst.severity] > RANK[Severity(track["severity"])]:
            track["severity"] = worst.severity.value
        if not track["open"] and not any(track["history"]):
            del moved[name]
    return moved, opened


def _direction(tracks: Mapping[str, Mapping[str, Any]], opened: Sequence[str]) -> int:
    signs = {int(tracks[name]["direction"]) for name in opened}
    return signs.pop() if len(signs) == 1 else 0


def _describe(alert: Alert, tracks: Mapping[str, Mapping[str, Any]], findings: Sequence[Finding]) -> Alert:
    """Return the alert with what this window says about it; the severity of an episode never falls."""
    severities = [Severity(track["severity"]) for track in tracks.values() if track["open"]]
    severity = max([alert.severity if alert.is_open else Severity.INFO, *severities], key=RANK.__getitem__)
    bad = sorted((f for f in findings if HARM[f.verdict] > 0), key=_weight)
    if not bad:
        return replace(alert, severity=severity)
    first = bad[0]
    began = [f.began_at for f in bad if f.began_at is not None]
    if alert.is_open and alert.began_at is not None:
        began.append(alert.began_at)
    costs = [f.impact_cost for f in bad if f.impact_cost is not None]
    return replace(
        alert,
        severity=severity,
        subject=first.subject,
        # what opened it, or made it worse, names an episode; how it goes on is in its subjects
        title=alert.title if alert.is_open and severity is alert.severity else first.message or alert.title,
        cause=first.cause or alert.cause,
        began_at=min(began, default=None),
        subjects=tuple(fact_of(f) for f in bad[:MOST_SUBJECTS]),
        impact_cost=max(costs, default=alert.impact_cost),
        currency=first.currency or alert.currency,
    )


def _weight(finding: Finding) -> tuple[float, ...]:
    size = abs(finding.effect or 0.0) / (finding.materiality or 1.0)
    return (-RANK[finding.severity], -HARM[finding.verdict], -(finding.impact or 0.0), -size)


def fact_of(finding: Finding) -> dict[str, Any]:
    """Return what an alert keeps of a finding, as JSON values."""
    return {
        "check": finding.check,
        "subject": finding.subject,
        "statistic": finding.statistic,
        "verdict": finding.verdict.value,
        "severity": finding.severity.value,
        "value": finding.value,
        "reference_value": finding.reference_value,
        "effect": finding.effect,
        "threshold": finding.threshold,
        "n_current": finding.n_current,
        "direction": finding.direction,
        "latched": finding.latched,
        "message": finding.message,
    }


def _open(
    alert: Alert, direction: int, rules: AlertRules, *, window: Window, pace: timedelta, now: datetime
) -> tuple[Alert, str]:
    """Return the alert as it opens, in a thread of its own or in the one it belongs to, and which of the two."""
    threads: list[dict[str, Any]] = [dict(thread) for thread in alert.memory.get("threads", ())]
    found = [
        thread
        for thread in threads
        if thread["direction"] * direction >= 0
        and window.start - datetime.fromisoformat(thread["last"]) <= rules.thread_windows * pace
    ]
    if found:
        # the one of the same direction rather than one that fits any
        thread = max(found, key=lambda t: (t["direction"] == direction, t["last"]))
        thread["direction"] = thread["direction"] or direction
        reason = "opened again within the thread"
    else:
        thread = {"key": f"{alert.key[:20]}-{alert.episode}", "direction": direction, "members": [], "told": None}
        threads.append(thread)
        reason = "opened"
    thread["last"] = window.start.isoformat()
    opened = replace(
        alert,
        state=AlertState.FIRING,
        direction=direction or int(thread["direction"]),
        opened_at=now,
        opened_window_start=window.start,
        opened_window_end=window.end,
        resolved_at=None,
        resolved_window_start=None,
        thread_key=thread["key"],
        memory={**alert.memory, "threads": threads},
    )
    return opened, reason


def _visit_threads(alert: Alert, *, window: Window, pace: timedelta, rules: AlertRules) -> Alert:
    """Return the alert with its threads marked as alive in this window and the old ones forgotten.

    A thread lives while a track of its direction is open, also after the alert took the other direction.
    """
    tracks: Mapping[str, Mapping[str, Any]] = alert.memory["tracks"]
    signs = {int(track["direction"]) for track in tracks.values() if track["open"]}
    kept: list[dict[str, Any]] = []
    for thread in alert.memory.get("threads", ()):
        own = thread["key"] == alert.thread_key and (alert.is_open or alert.resolved_window_start == window.start)
        if own or (signs and (thread["direction"] in signs)):
            kept.append({**thread, "last": window.start.isoformat()})
        elif window.start - datetime.fromisoformat(thread["last"]) <= rules.thread_windows * pace:
            kept.append(dict(thread))
    return replace(alert, memory={**alert.memory, "threads": kept})


def _tell(
    alert: Alert,
    findings: Sequence[Finding],
    opened: Sequence[str],
    was_open: bool,
    rules: AlertRules,
    *,
    window: Window,
    now: datetime,
) -> tuple[Alert, Transition | None]:
    """Return the alert with its record of what people know, and the message that is due."""
    if not alert.is_open or alert.severity is Severity.INFO:
        return alert, None
    threads: list[dict[str, Any]] = [dict(thread) for thread in alert.memory["threads"]]
    thread = next(t for t in threads if t["key"] == alert.thread_key)
    members = {name.split(":")[1] for name in alert.open_tracks()}
    known, fresh = set(thread["members"]), members - set(thread["members"])
    smoothed = _smoothed(findings)
    told = dict(thread["told"]) if thread["told"] else None
    if told is not None and smoothed is not None:
        told["windows"] += 1
        if told["windows"] < rules.settle:
            told["peak"] = max(told["peak"], smoothed)
    tell: Reason | None = None
    reason, in_thread = "", False
    if alert.inhibited_by is not None or alert.silenced or rules.quiet:
        pass
    elif told is None:
        tell, reason = Reason.FIRST, "told for the first time"
    elif alert.family.startswith("quality:") and opened and len(fresh) >= max(1, len(known)):
        tell, reason = Reason.ESCALATED, f"{', '.join(sorted(fresh))} joined"
    elif RANK[alert.severity] > RANK[Severity(told["severity"])]:
        # where a smoothed effect says how far it has grown, that rule alone makes a new message
        tell, reason, in_thread = Reason.ESCALATED, f"now {alert.severity}", smoothed is not None
    elif smoothed is not None and told["windows"] >= rules.settle and smoothed >= rules.growth * told["peak"]:
        tell, reason = Reason.ESCALATED, f"{smoothed / told['peak']:.1f} times what it was when last told"
    elif not was_open:
        tell, reason, in_thread = Reason.REOPENED, "opened again within the thread", True
    elif _repeat_due(alert, told, rules, now):
        tell, reason, in_thread = Reason.REPEATED, "still open", True
    if tell is Reason.REPEATED and told is not None:
        told |= {"repeats": told["repeats"] + 1, "at": now.isoformat()}
    elif tell is Reason.ESCALATED and in_thread and told is not None:
        told |= {"severity": alert.severity.value, "at": now.isoformat()}
    elif tell in (Reason.FIRST, Reason.ESCALATED):
        floor = max((f.materiality or 0.0 for f in findings if "smoothed" in f.details), default=0.0)
        told = {
            "at": now.isoformat(),
            "window": window.start.isoformat(),
            "severity": alert.severity.value,
            "windows": 0,
            "peak": max(smoothed or 0.0, floor),
            "repeats": 0,
        }
    thread |= {"told": told, "sent": thread.get("sent", 0) + (tell is not None)}
    if tell is not None:
        thread["members"] = sorted(known | members)
    alert = replace(alert, memory={**alert.memory, "threads": threads})
    if tell is None:
        return alert, None
    return alert, _transition(alert, alert.state, reason, tell=tell, in_thread=in_thread)


def _count_reply(alert: Alert) -> Alert:
    """Return the alert with the resolution counted among the messages of its thread, if there were any."""
    threads = [
        {**t, "sent": t.get("sent", 0) + 1} if t["key"] == alert.thread_key and t["told"] else t
        for t in alert.memory["threads"]
    ]
    return replace(alert, memory={**alert.memory, "threads": threads})


def _smoothed(findings: Sequence[Finding]) -> float | None:
    values = [abs(float(f.details["smoothed"])) for f in findings if f.details.get("smoothed") is not None]
    return max(values, default=None)


def _repeat_due(alert: Alert, told: Mapping[str, Any], rules: AlertRules, now: datetime) -> bool:
    interval = rules.repeat.get(alert.severity)
    if interval is None or (alert.acknowledged_until is not None and now < alert.acknowledged_until):
        return False
    backoff = BACKOFF[min(int(told["repeats"]), len(BACKOFF) - 1)]
    return now - datetime.fromisoformat(told["at"]) >= interval * backoff
