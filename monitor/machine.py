"""The alert machine: one alert is moved by one more window, or by earlier windows that were judged again.

Both are pure functions of the alert and the findings, and end alike: the tracks say what is open now, that becomes the
state of the newest episode, and the conversation says whether people hear of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from monitor import conversation, track
from monitor.alert import (
    ENDED,
    HARM,
    MOST_SUBJECTS,
    RANK,
    Alert,
    AlertRules,
    AlertState,
    Identity,
    Step,
    Transition,
    fact_of,
    weight,
)
from monitor.check import Finding, Severity, Verdict
from monitor.conversation import Moment, Telling
from monitor.silence import Silence, is_covered
from monitor.track import BAD, GOOD, VERDICTS, Judged, Tracks, Walk
from monitor.window import Window


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
    silences: Iterable[Silence] = (),
) -> Step:
    """Return the alert after one more window, and what changed.

    ``alert`` is the newest episode of the family, open or not; ``findings`` are those of its family in this window,
    ``pace`` the distance between windows. The alert is open while any track of it is (see ``track.move``). Without a
    conclusive finding nothing moves but that an open alert is stale. While ``inhibited_by`` names the root cause, or
    one of the ``silences`` covers it, the alert moves but nobody is told; once neither does, what is open is told.
    """
    findings = sorted(findings, key=_order)
    tracks, opened = track.move({} if alert is None else alert.tracks, findings, rules, window)
    if not any(finding.verdict is not Verdict.INCONCLUSIVE for finding in findings):
        if alert is not None and alert.is_open and findings and alert.stale_since is None:
            return Step(alert=replace(alert, stale_since=window.start))
        return Step(alert=alert)
    bad = any(HARM[finding.verdict] > 0 for finding in findings)
    verdicts = _verdicts(alert, bad)
    if not tracks and not verdicts and (alert is None or alert.state in ENDED):
        if alert is not None and alert.tracks:
            alert = replace(alert, memory={**alert.memory, "tracks": {}})
        return Step(alert=alert)
    moment = Moment(rules=rules, window=window, pace=pace, now=now)
    return _settle(
        alert,
        tracks,
        opened,
        findings,
        moment,
        identity=identity,
        opened_in=window,
        over_in=window.start,
        verdicts=verdicts,
        inhibited_by=inhibited_by,
        silences=silences,
    )


def replay(
    alert: Alert | None,
    before: Mapping[str, Mapping[str, Any]],
    windows: Sequence[Judged],
    rules: AlertRules,
    *,
    identity: Identity,
    pace: timedelta,
    now: datetime,
    reference: str = "",
    inhibited_by: str | None = None,
    silences: Iterable[Silence] = (),
) -> tuple[Step, Walk]:
    """Return the alert after earlier windows were judged again, what changed, and the tracks on the way.

    ``alert`` is the newest episode as it stands, ``before`` are the tracks (and ``reference`` the training profile)
    before the first of ``windows``: the one that was judged again and all after it, with what was found in them. What
    that changes is settled once, in the newest window. An alert that is open now and was not is told like any other; a
    message that people have is not sent again, as the record of what they know is not touched; an opening that does not
    hold any more is no resolution: it ends by good windows. What came and went in the past is recorded and told nobody.
    """
    windows = [replace(one, findings=sorted(one.findings, key=_order)) for one in windows]
    walk = track.walk(before, windows, rules, reference=reference, standing={} if alert is None else alert.tracks)
    moment = Moment(rules=rules, window=windows[-1].window, pace=pace, now=now, revised=True)
    known, passed = alert, list[Transition]()
    if alert is None or not alert.is_open:
        alert, passed = _pass(alert, walk, windows, moment, identity)
    ended = alert if alert is not known else None
    if not walk.tracks and (alert is None or not alert.is_open):
        if alert is not None and alert.state not in ENDED:  # pending: the bad window was none
            alert = replace(alert, state=AlertState.INACTIVE, memory={**alert.memory, "tracks": {}})
        return Step(alert=alert, transitions=tuple(passed)), walk
    since = track.opened_at(walk.tracks)
    described = windows[-1] if walk.bad is None else walk.bad
    done = _settle(
        alert,
        walk.tracks,
        walk.opened,
        described.findings,
        moment,
        identity=identity,
        opened_in=next((one.window for one in windows if one.window.start == since), moment.window),
        over_in=walk.spans[-1][1] if walk.spans else moment.window.start,
        verdicts="" if alert is None else str(alert.memory.get("verdicts", "")),
        inhibited_by=inhibited_by,
        silences=silences,
    )
    if done.alert is None or ended is None or done.alert.episode == ended.episode:
        ended = None
    return replace(done, transitions=(*passed, *done.transitions), ended=done.ended or ended), walk


def close(alert: Alert, state: AlertState, reason: str, *, at: datetime, window: Window | None = None) -> Step:
    """Return an alert that ends without having been resolved, such as expired or superseded, and its transition.

    One that is not open only forgets. Tracks are dropped, and threads end with it: what follows begins anew.
    """
    memory = {name: value for name, value in alert.memory.items() if name == "judged"}
    if not alert.is_open:
        over = alert.state in ENDED
        return Step(alert=replace(alert, state=alert.state if over else AlertState.INACTIVE, memory=memory))
    ended = replace(
        alert,
        state=state,
        resolved_at=at,
        resolved_window_start=None if window is None else window.start,
        inhibited_by=None,
        silenced=False,
        stale_since=None,
        memory={**memory, "threads": alert.memory.get("threads", [])},
    )
    return Step(alert=ended, transitions=(_transition(ended, alert.state, reason),))


def _settle(
    alert: Alert | None,
    tracks: Tracks,
    opened: Sequence[str],
    findings: Sequence[Finding],
    moment: Moment,
    *,
    identity: Identity,
    opened_in: Window,
    over_in: datetime,
    verdicts: str,
    inhibited_by: str | None,
    silences: Iterable[Silence],
) -> Step:
    """Return the newest episode with its state as the tracks say, and what people hear of the change.

    ``opened`` are the tracks that opened just now, ``opened_in`` is the window in which the first of the open ones did,
    and ``over_in`` the start of the one since which none is.
    """
    window, now = moment.window, moment.now
    is_open = any(one["open"] for one in tracks.values())
    direction = _direction(tracks, opened) if opened else 0
    # losing and gaining are different news about outcomes; a score that swings is one
    turned = alert is not None and alert.is_open and alert.family == "outcome" and direction * alert.direction < 0
    ended: Alert | None = None
    transitions: list[Transition] = []
    if turned and alert is not None:
        ended = replace(
            alert, state=AlertState.SUPERSEDED, resolved_at=now, resolved_window_start=window.start, memory={}
        )
        transitions.append(_transition(ended, alert.state, "the change turned into its opposite"))
    fresh = alert is None or turned or (alert.state in ENDED and not _goes_on(alert, is_open, opened_in, moment))
    current = _episode(alert, identity) if fresh else alert
    assert current is not None
    before, was_open, worst = current.state, current.is_open, current.severity
    memory = {**current.memory, "tracks": tracks}
    if verdicts:
        memory["verdicts"] = verdicts
    elif "verdicts" in memory:
        del memory["verdicts"]
    transitions += _noted(current, identity)
    if identity.judged:
        memory["judged"] = dict(identity.judged)
    flapped = current.flapping
    current = replace(
        current,
        inhibited_by=inhibited_by if is_open else None,
        stale_since=None,
        flapping=track.flaps(verdicts, current.flapping) and bool(memory.get("threads") or is_open),
        memory=memory,
    )
    if is_open:
        current = _describe(current, tracks, findings)
        if was_open and RANK[current.severity] > RANK[worst]:
            current = _unacknowledge(current, f"it is {current.severity} now", transitions)
        elif current.acknowledged_until is not None and not current.is_taken_on(now):
            current = _unacknowledge(current, "its time is over", transitions)
    bad = any(one["open"] and (one["latched"] or not one["clean"]) for one in tracks.values())
    if is_open and not was_open:
        current, reason = _open(current, direction, opened_in, moment)
        if not bad:  # only a revision opens what is good by now
            current = replace(current, state=AlertState.RECOVERING)
        transitions.append(_transition(current, before, reason))
    elif is_open:
        current = replace(current, state=AlertState.FIRING if bad else AlertState.RECOVERING)
        if moment.revised and current.opened_window_start is not None and opened_in.start < current.opened_window_start:
            current = replace(current, opened_window_start=opened_in.start, opened_window_end=opened_in.end)
        if current.state is not before:
            reason = "bad again" if bad else "good windows have begun"
            transitions.append(_transition(current, before, reason))
    elif was_open:
        current = replace(
            current, state=AlertState.RESOLVED, resolved_at=now, resolved_window_start=over_in, inhibited_by=None
        )
        current, over = conversation.end(current)
        reason = "nothing is left of it"
        transitions.append(_transition(current, before, reason, over))
    else:
        current = replace(current, state=AlertState.PENDING if tracks else AlertState.INACTIVE)
        if fresh and not tracks:  # only its last verdicts are still of interest
            current = replace(alert, flapping=current.flapping, memory=memory) if alert is not None else current
        elif current.state is not before:
            reason = "first bad window" if tracks else "the bad windows were too few"
            transitions.append(_transition(current, before, reason))
    current = conversation.visit_threads(current, moment)
    if flapped and not current.flapping:
        current, over = conversation.calm(current)
        transitions.append(_transition(current, current.state, "it is calm", over))
    current = replace(current, silenced=current.is_open and is_covered(silences, current))
    current, due = conversation.tell(current, findings, opened, was_open, moment)
    if due is not None:
        transitions.append(_transition(current, current.state, due.reason, due))
    # everyone who reads a transition wants the alert as it is stored
    settled = tuple(t if t.alert is ended else replace(t, alert=current) for t in transitions)
    return Step(alert=current, transitions=settled, ended=ended)


def _episode(alert: Alert | None, identity: Identity) -> Alert:
    """Return the episode after ``alert``, which has not opened yet and keeps what its family is known for."""
    kept = {} if alert is None else {n: v for n, v in alert.memory.items() if n in ("verdicts", "flapped", "judged")}
    closed = alert is None or alert.state in (AlertState.EXPIRED, AlertState.SUPERSEDED)
    return Alert(
        key=identity.key,
        episode=1 if alert is None else alert.episode + 1,
        model=identity.model,
        model_version=identity.model_version,
        role=identity.role,
        slice=identity.slice,
        family=identity.family,
        flapping=alert is not None and alert.flapping,
        memory={
            **kept,
            "tracks": {},
            "threads": [] if closed or alert is None else list(alert.memory.get("threads", ())),
        },
    )


def _goes_on(alert: Alert, is_open: bool, opened_in: Window, moment: Moment) -> bool:
    """Return whether a revision takes back the resolution of an episode: what is open began before it."""
    over = alert.resolved_window_start
    return (
        moment.revised
        and is_open
        and alert.state is AlertState.RESOLVED
        and over is not None
        and (opened_in.start <= over)
    )


def _open(alert: Alert, direction: int, opened_in: Window, moment: Moment) -> tuple[Alert, str]:
    """Return the alert as it opens, and in which words; one whose resolution is taken back keeps its begin."""
    opened, again = conversation.open_thread(replace(alert, state=AlertState.FIRING), direction, moment)
    if alert.state is AlertState.RESOLVED:
        return replace(opened, resolved_at=None, resolved_window_start=None), "a revision shows that it is not over"
    opened = replace(
        opened,
        opened_at=moment.now,
        opened_window_start=opened_in.start,
        opened_window_end=opened_in.end,
        resolved_at=None,
        resolved_window_start=None,
    )
    return opened, "opened again within the thread" if again else "opened"


def _pass(
    alert: Alert | None, walk: Walk, windows: Sequence[Judged], moment: Moment, identity: Identity
) -> tuple[Alert | None, list[Transition]]:
    """Return the newest episode as a revised past has it, and what that changed.

    One that is over gets the begin and end that its windows have now; one that came and went unseen is added.
    """
    if not walk.spans:
        return alert, []
    since, until = walk.spans[-1]
    opened_in = next((one.window for one in windows if one.window.start == since), None)
    if alert is not None and alert.state is AlertState.RESOLVED:
        opened, over = alert.opened_window_start, alert.resolved_window_start
        if opened is not None and over is not None and since <= over:
            if opened > until or (opened <= since and over == until):
                return alert, []
            moved = replace(alert, resolved_window_start=until)
            if opened_in is not None and since < opened:
                moved = replace(moved, opened_window_start=since, opened_window_end=opened_in.end)
            return moved, [_transition(moved, alert.state, "a revision moved its begin or its end")]
    current = _episode(alert, identity) if alert is None or alert.state in ENDED else alert
    lived = [one for one in windows if since <= one.window.start < until]
    for one in lived:
        bad = [finding for finding in one.findings if HARM[finding.verdict] > 0]
        severity = max((finding.severity for finding in bad), key=RANK.__getitem__, default=Severity.INFO)
        current = _describe(replace(current, state=AlertState.FIRING), {"": {"open": True, "severity": severity}}, bad)
    found = replace(
        current,
        state=AlertState.RESOLVED,
        opened_at=moment.now,
        opened_window_start=since,
        opened_window_end=moment.window.end if opened_in is None else opened_in.end,
        resolved_at=moment.now,
        resolved_window_start=until,
        memory={**current.memory, "tracks": {}},
    )
    before = AlertState.INACTIVE if alert is None or alert.state in ENDED else alert.state
    return found, [_transition(found, before, "a revision found it in the past, where it came and went")]


def _verdicts(alert: Alert | None, bad: bool) -> str:
    """Return the last verdicts of an alert's windows; nothing where all of them are good."""
    before = "" if alert is None else str(alert.memory.get("verdicts", ""))
    verdicts = (before + (BAD if bad else GOOD))[-VERDICTS:]
    return verdicts if BAD in verdicts else ""


def _noted(alert: Alert, identity: Identity) -> list[Transition]:
    """Return the note that an open episode goes on under a changed configuration."""
    before, after = alert.memory.get("judged", {}).get("config"), identity.judged.get("config")
    if not alert.is_open or not before or not after or before == after:
        return []
    return [_transition(alert, alert.state, "the configuration changed; it goes on under the new one")]


def _unacknowledge(alert: Alert, because: str, transitions: list[Transition]) -> Alert:
    free = replace(alert, acknowledged_by=None, acknowledged_at=None, acknowledged_until=None)
    if alert.acknowledged_by is not None:
        transitions.append(_transition(free, free.state, f"not acknowledged any more: {because}"))
    return free


def _order(finding: Finding) -> tuple[object, ...]:
    """Sort key that leaves nothing to the order in which findings arrive."""
    effect = finding.effect or 0.0
    names = (finding.check, finding.subject, finding.statistic, finding.latched, finding.verdict, finding.severity)
    return (*names, finding.direction, effect, finding.message)


def _transition(alert: Alert, before: AlertState, reason: str, told: Telling | None = None) -> Transition:
    return Transition(
        alert=alert,
        from_state=before,
        to_state=alert.state,
        reason=reason,
        tell=None if told is None else told.tell,
        in_thread=told is not None and told.in_thread,
    )


def _direction(tracks: Mapping[str, Mapping[str, Any]], opened: Sequence[str]) -> int:
    signs = {int(tracks[name]["direction"]) for name in opened}
    return signs.pop() if len(signs) == 1 else 0


def _describe(alert: Alert, tracks: Mapping[str, Mapping[str, Any]], findings: Sequence[Finding]) -> Alert:
    """Return the alert with what this window says about it; the severity of an episode never falls."""
    severities = [Severity(one["severity"]) for one in tracks.values() if one["open"]]
    severity = max([alert.severity if alert.is_open else Severity.INFO, *severities], key=RANK.__getitem__)
    bad = sorted((f for f in findings if HARM[f.verdict] > 0), key=weight)
    if not bad:
        return replace(alert, severity=severity)
    first = bad[0]
    costs = [f.impact_cost for f in bad if f.impact_cost is not None]
    return replace(
        _dated(alert, bad),
        severity=severity,
        subject=first.subject,
        # what opened it, or made it worse, names an episode; how it goes on is in its subjects
        title=alert.title if alert.is_open and severity is alert.severity else first.message or alert.title,
        cause=first.cause or alert.cause,
        subjects=tuple(fact_of(f) for f in bad[:MOST_SUBJECTS]),
        impact_cost=max(costs, default=alert.impact_cost),
        currency=first.currency or alert.currency,
    )


def _dated(alert: Alert, bad: Sequence[Finding]) -> Alert:
    """Return the alert with the earliest beginning of what is bad, and its interval; an earlier one stands."""
    stories = [(f.began_at, f.details.get("began") or {}) for f in bad if f.began_at is not None]
    began, interval = min(stories, key=lambda story: story[0], default=(None, {}))
    if alert.is_open and alert.began_at is not None and (began is None or alert.began_at <= began):
        return alert
    earliest, latest = (
        None if interval.get(end) is None else datetime.fromisoformat(interval[end]) for end in ("earliest", "latest")
    )
    return replace(alert, began_at=began, began_earliest=earliest, began_latest=latest)
