"""Movement: all alerts of a model in one window, root causes first, and what there is to remember of it.

What is remembered after a window are the tracks of its families, small and bounded. When late rows make an earlier
window be judged again, the tracks before it are walked through it and all windows after it anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from monitor import machine
from monitor.alert import Alert, AlertRules, AlertState, Identity, Step, Transition
from monitor.check import Cause, Evidence, Finding, Part, Severity, Stage, Verdict
from monitor.inhibition import CROWD, inhibitor_of, rank_of
from monitor.notification import Reason
from monitor.silence import Silence
from monitor.track import Judged, Tracks
from monitor.window import Window

MEMORY = "alerts"
"""Name under which a window's tracks are remembered, beside the memories of the checks."""
OF_RUNS = frozenset({"pipeline", CROWD, "resource"})
"""Heads of families that tell of runs and processes instead of rows: judging a window again says nothing about them."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """A window after the one that is judged again, as it was judged: its findings and its training profile."""

    window: Window
    findings: Sequence[Finding]
    reference: str = ""


@dataclass(kw_only=True)
class Movement:
    """What one window did to all alerts: ``alerts`` is the newest episode of every family, brought up to date.

    ``memory`` is what the next window needs to know if this one is judged again; ``corrected`` the same for windows
    after it, by their start.
    """

    alerts: dict[str, Alert]
    changed: dict[str, Alert] = field(default_factory=dict)
    ended: list[Alert] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    memory: Any = None
    corrected: dict[datetime, Any] = field(default_factory=dict)

    def take(self, before: Alert | None, done: Step) -> None:
        """Keep what a step did."""
        self.transitions.extend(done.transitions)
        if done.ended is not None:
            self.ended.append(done.ended)
        if done.alert is not None and done.alert != before:
            self.alerts[done.alert.key] = self.changed[done.alert.key] = done.alert


def move(
    families: Mapping[str, Sequence[Finding]],
    alerts: Mapping[str, Alert],
    identity: Identity,
    evidence: Evidence,
    rules: AlertRules,
    silences: Sequence[Silence],
    now: datetime,
) -> Movement:
    """Return what one more window did: every family is stepped once, those of another training profile end before."""
    moved = Movement(alerts=dict(alerts))
    for alert in alerts.values():
        if _is_outdated(alert, identity):
            done = machine.close(
                alert, AlertState.SUPERSEDED, "there is another training profile", at=now, window=evidence.window
            )
            assert done.alert is not None
            after = replace(done.alert, memory={**done.alert.memory, "judged": dict(identity.judged)})
            tell = Reason.SUPERSEDED if alert.is_open and alert.told and not rules.quiet else None
            moved.take(alert, Step(alert=after, transitions=tuple(replace(t, tell=tell) for t in done.transitions)))
            if after.state is AlertState.SUPERSEDED:
                moved.ended.append(after)
    crowd = replace(identity, family=CROWD)
    told = {alert.key for alert in moved.alerts.values() if _counts(alert) and alert.inhibited_by is None}
    for family in sorted(families, key=lambda name: (rank_of(name), name)):
        own = replace(identity, family=family)
        before = moved.alerts.get(own.key)
        inhibitor = inhibitor_of(family, moved.alerts.values(), start=evidence.window.start, pace=evidence.spec.pace)
        if inhibitor is None and own.key not in told and len(told) >= rules.most_open:
            inhibitor = crowd.key
        done = machine.step(
            before,
            families[family],
            rules,
            identity=own,
            window=evidence.window,
            pace=evidence.spec.pace,
            now=now,
            inhibited_by=inhibitor,
            silences=silences,
        )
        moved.take(before, done)
        (told.add if done.alert is not None and _counts(done.alert) and inhibitor is None else told.discard)(own.key)
    _judge_crowd(moved, crowd, evidence, rules, silences, now)
    moved.memory = _memory(
        identity, {a.family: a.tracks for a in moved.alerts.values() if _is_remembered(a, identity, families)}
    )
    return moved


def move_again(
    families: Mapping[str, Sequence[Finding]],
    later: Sequence[tuple[Past, Mapping[str, Sequence[Finding]]]],
    alerts: Mapping[str, Alert],
    identity: Identity,
    evidence: Evidence,
    rules: AlertRules,
    silences: Sequence[Silence],
    now: datetime,
) -> Movement:
    """Return what judging an earlier window again did; ``later`` are the windows after it with findings by family.

    ``evidence.memories`` says what the tracks were before it.
    """
    moved = Movement(alerts=dict(alerts))
    remembered = evidence.memories.get(MEMORY) or {}
    tracks: Mapping[str, Tracks] = remembered.get("families", {})
    newest = later[-1][0].window if later else evidence.window
    windows = [evidence.window, *(past.window for past, _ in later)]
    after: list[dict[str, Tracks]] = [{} for _ in windows]
    standing = {alert.family for alert in alerts.values() if _is_of(alert, identity) and alert.tracks}
    names = {*tracks, *families, *standing, *(name for _, found in later for name in found)}
    for family in sorted(names, key=lambda name: (rank_of(name), name)):
        if family.partition(":")[0] in OF_RUNS:
            continue
        own = replace(identity, family=family)
        before = moved.alerts.get(own.key)
        judged = [
            Judged(
                window=evidence.window,
                findings=families.get(family, ()),
                reference=identity.judged.get("reference", ""),
            ),
            *(
                Judged(window=past.window, findings=found.get(family, ()), reference=past.reference)
                for past, found in later
            ),
        ]
        done, walk = machine.replay(
            before,
            tracks.get(family, {}),
            judged,
            rules,
            identity=own,
            pace=evidence.spec.pace,
            now=now,
            reference=str(remembered.get("reference", "")),
            inhibited_by=inhibitor_of(family, moved.alerts.values(), start=newest.start, pace=evidence.spec.pace),
            silences=silences,
        )
        moved.take(before, done)
        for place, found in enumerate(walk.after):
            if found:
                after[place][family] = found
    references = [identity.judged.get("reference", ""), *(past.reference for past, _ in later)]
    memories = [{"reference": r, "families": found} for r, found in zip(references, after, strict=True)]
    moved.memory = memories[0]
    moved.corrected = dict(zip((window.start for window in windows[1:]), memories[1:], strict=True))
    return moved


def _memory(identity: Identity, families: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    kept = {family: tracks for family, tracks in families.items() if tracks}
    return {"reference": identity.judged.get("reference", ""), "families": kept}


def _is_of(alert: Alert, identity: Identity) -> bool:
    """Return whether an alert is moved by the windows of this stage."""
    stage = alert.memory.get("judged", {}).get("stage")
    return stage is not None and stage == identity.judged.get("stage")


def _is_remembered(alert: Alert, identity: Identity, families: Mapping[str, Sequence[Finding]]) -> bool:
    return (_is_of(alert, identity) or alert.family in families) and alert.family.partition(":")[0] not in OF_RUNS


def _is_outdated(alert: Alert, identity: Identity) -> bool:
    """Return whether the windows of an alert are judged with another training profile from now on."""
    before, after = alert.memory.get("judged", {}).get("reference"), identity.judged.get("reference")
    return (
        _is_of(alert, identity)
        and bool(before and after and before != after)
        and alert.family.partition(":")[0] not in OF_RUNS
    )


def _counts(alert: Alert) -> bool:
    """Return whether an alert is one of those of which only so many may be open."""
    return alert.is_open and alert.severity is not Severity.INFO and alert.family != CROWD


def _judge_crowd(
    moved: Movement,
    identity: Identity,
    evidence: Evidence,
    rules: AlertRules,
    silences: Sequence[Silence],
    now: datetime,
) -> None:
    """Open or close the one alert that stands for those beyond the most that may be open at once."""
    hidden = sum(alert.is_open and alert.inhibited_by == identity.key for alert in moved.alerts.values())
    before = moved.alerts.get(identity.key)
    if not hidden and (before is None or not before.is_open):
        return
    number = sum(_counts(alert) for alert in moved.alerts.values())
    finding = Finding(
        check="alerts",
        part=Part.OUTCOME if evidence.stage is Stage.OUTCOMES else Part.INPUT,
        subject="alerts",
        statistic="open alerts",
        verdict=Verdict.WARNING if hidden else Verdict.OK,
        severity=Severity.WARNING,
        family=CROWD,
        cause=Cause.DATA,
        value=float(number),
        threshold=float(rules.most_open),
        latched=True,
        message=f"{number} alerts are open at once; {hidden} of them are not told one by one, the page lists them all",
    )
    done = machine.step(
        before,
        [finding],
        rules,
        identity=identity,
        window=evidence.window,
        pace=evidence.spec.pace,
        now=now,
        silences=silences,
    )
    moved.take(before, done)
