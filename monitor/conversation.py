"""Conversations: what people know of an alert, what they are to hear now, and what they are owed for later.

The record of it is in the alert's memory. ``threads`` are the conversations of its family: an episode that opens soon
after another one, in the same direction, belongs to the same. ``owed`` is what is to be told once nothing mutes the
alert any more. Telling changes no state, and no state is changed to tell something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from monitor.alert import RANK, Alert, AlertRules
from monitor.check import Finding, Severity
from monitor.notification import Reason
from monitor.window import Window

BACKOFF = (1, 3, 7)  # multiples of the repeat interval after the first, second and every later repeat


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When an alert is looked at, and what is known then.

    ``window`` is the newest one, ``pace`` the distance between windows. ``revised`` says that an earlier window was
    judged again: no time has passed.
    """

    rules: AlertRules
    window: Window
    pace: timedelta
    now: datetime
    revised: bool = False


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What people hear: why, in which words, and whether in the thread."""

    tell: Reason
    reason: str
    in_thread: bool = False


def open_thread(alert: Alert, direction: int, moment: Moment) -> tuple[Alert, bool]:
    """Return the alert in a thread of its own or in the one it belongs to, and whether that is an earlier one."""
    threads: list[dict[str, Any]] = [dict(thread) for thread in alert.memory.get("threads", ())]
    reach = moment.rules.thread_windows * moment.pace
    found = [
        thread
        for thread in threads
        if thread["direction"] * direction >= 0
        and moment.window.start - datetime.fromisoformat(thread["last"]) <= reach
    ]
    if found:
        # the one of the same direction rather than one that fits any
        thread = max(found, key=lambda t: (t["direction"] == direction, t["last"]))
        thread["direction"] = thread["direction"] or direction
    else:
        thread = {"key": f"{alert.key[:20]}-{alert.episode}", "direction": direction, "members": [], "told": None}
        threads.append(thread)
    thread["last"] = moment.window.start.isoformat()
    opened = replace(
        alert,
        direction=direction or int(thread["direction"]),
        thread_key=thread["key"],
        memory={**alert.memory, "threads": threads},
    )
    return opened, bool(found)


def visit_threads(alert: Alert, moment: Moment) -> Alert:
    """Return the alert with its threads marked as alive in this window and the old ones forgotten.

    A thread lives while a track of its direction is open, also after the alert took the other direction.
    """
    start, reach = moment.window.start, moment.rules.thread_windows * moment.pace
    signs = {int(track["direction"]) for track in alert.tracks.values() if track["open"]}
    kept: list[dict[str, Any]] = []
    for thread in alert.memory.get("threads", ()):
        own = thread["key"] == alert.thread_key and (alert.is_open or alert.resolved_window_start == start)
        if own or (signs and (thread["direction"] in signs)):
            kept.append({**thread, "last": start.isoformat()})
        elif start - datetime.fromisoformat(thread["last"]) <= reach:
            kept.append(dict(thread))
    return replace(alert, memory={**alert.memory, "threads": kept})


def tell(
    alert: Alert, findings: Sequence[Finding], opened: Sequence[str], was_open: bool, moment: Moment
) -> tuple[Alert, Telling | None]:
    """Return the alert with its record of what people know, and what they are to hear of it while it is open.

    ``opened`` are the tracks that opened in this window. What is muted is owed: told once, as what it was, when nothing
    mutes the alert any more and it is still open. The first of these that holds is told:

    * nothing while it is inhibited, silenced or part of a backfill,
    * a rise to critical, also of an alert that flaps,
    * that it flaps, once, and then nothing until it is calm,
    * what is new: the alert itself, many more columns of a source, a higher severity, twice the effect, an opening
      within the thread,
    * what is owed, or that it is still open, when it is time for that.
    """
    if not alert.is_open or alert.severity is Severity.INFO:
        return alert, None
    rules = moment.rules
    threads: list[dict[str, Any]] = [dict(thread) for thread in alert.memory["threads"]]
    thread = next(t for t in threads if t["key"] == alert.thread_key)
    members = {name.split(":")[1] for name in alert.open_tracks()}
    known = set(thread["members"])
    smoothed = _smoothed(findings)
    told = dict(thread["told"]) if thread["told"] else None
    if told is not None and smoothed is not None and not moment.revised:
        told["windows"] += 1
        if told["windows"] < rules.settle:
            told["peak"] = max(told["peak"], smoothed)
    owed = alert.memory.get("owed")
    due: Telling | None = None
    hidden = alert.silenced or alert.inhibited_by is not None or rules.quiet
    if not hidden:
        fresh = sorted(members - known)
        due = _news(alert, told, fresh, len(known), smoothed, opened, was_open, rules)
        if due is None and told is not None:
            due = _reminder(alert, told, owed, moment)
    muted = alert.silenced or (hidden and not was_open)
    if alert.flapping and not hidden and not (due is not None and _alarms(alert, told)):
        muted, due = True, _once_flapping(alert, told)
    if muted:
        owed = owed or (Reason.REPEATED if was_open else Reason.REOPENED).value
    elif due is not None or alert.is_taken_on(moment.now):
        owed = None
    if due is not None:
        told = _record(alert, told, due, findings, smoothed, moment)
        thread["members"] = sorted(known | members)
    thread |= {"told": told, "sent": thread.get("sent", 0) + (due is not None)}
    memory = {name: value for name, value in alert.memory.items() if name != "owed"} | {"threads": threads}
    if owed:
        memory["owed"] = owed
    if due is not None and due.tell is Reason.FLAPPING:
        memory["flapped"] = alert.thread_key
    elif due is not None and alert.severity is Severity.CRITICAL:
        memory.setdefault("alarmed", moment.now.isoformat())
    return replace(alert, memory=memory), due


def end(alert: Alert) -> tuple[Alert, Telling | None]:
    """Return the alert with its resolution counted, and the reply that tells it; none where nobody heard of it.

    Nothing but flapping mutes it: who was told that something is wrong is told that it is over.
    """
    memory = {name: value for name, value in alert.memory.items() if name != "owed"}
    alert = replace(alert, silenced=False, memory=memory)
    if not alert.told or (alert.flapping and alert.memory.get("flapped")):
        return alert, None
    return _count(alert), Telling(tell=Reason.RESOLVED, reason="nothing is left of it", in_thread=True)


def calm(alert: Alert) -> tuple[Alert, Telling | None]:
    """Return an alert that does not flap any more, and the reply that ends its muting if it is over as well."""
    thread = alert.memory.get("flapped")
    memory = {name: value for name, value in alert.memory.items() if name != "flapped"}
    alert = replace(alert, memory=memory)
    if thread is None or alert.is_open:
        return alert, None
    alert = replace(alert, thread_key=str(thread))
    return _count(alert), Telling(tell=Reason.RESOLVED, reason="it is calm and nothing is left of it", in_thread=True)


def _news(
    alert: Alert,
    told: Mapping[str, Any] | None,
    fresh: Sequence[str],
    known: int,
    smoothed: float | None,
    opened: Sequence[str],
    was_open: bool,
    rules: AlertRules,
) -> Telling | None:
    """Return what has not been told yet."""
    if told is None:
        return Telling(tell=Reason.FIRST, reason="told for the first time")
    if alert.family.startswith("quality:") and opened and len(fresh) >= max(1, known):
        return Telling(tell=Reason.ESCALATED, reason=f"{', '.join(fresh)} joined")
    if RANK[alert.severity] > RANK[Severity(told["severity"])]:
        # where a smoothed effect says how far it has grown, that rule alone makes a new message
        return Telling(tell=Reason.ESCALATED, reason=f"now {alert.severity}", in_thread=smoothed is not None)
    if smoothed is not None and told["windows"] >= rules.settle and smoothed >= rules.growth * told["peak"]:
        return Telling(tell=Reason.ESCALATED, reason=f"{smoothed / told['peak']:.1f} times what it was when last told")
    if not was_open:
        return Telling(tell=Reason.REOPENED, reason="opened again within the thread", in_thread=True)
    return None


def _reminder(alert: Alert, told: Mapping[str, Any], owed: str | None, moment: Moment) -> Telling | None:
    """Return what was kept back, or that it is still open; neither to who has taken it on, nor without a new window."""
    if alert.is_taken_on(moment.now) or moment.revised:
        return None
    if owed:
        return Telling(tell=Reason(owed), reason="kept back until now", in_thread=True)
    interval = moment.rules.repeat.get(alert.severity)
    if interval is None:
        return None
    wait = interval * BACKOFF[min(int(told["repeats"]), len(BACKOFF) - 1)]
    if moment.now - datetime.fromisoformat(told["at"]) < wait:
        return None
    return Telling(tell=Reason.REPEATED, reason="still open", in_thread=True)


def _alarms(alert: Alert, told: Mapping[str, Any] | None) -> bool:
    """Return whether it is critical and people know of nothing critical."""
    return alert.severity is Severity.CRITICAL and (told is None or told["severity"] != Severity.CRITICAL.value)


def _once_flapping(alert: Alert, told: Mapping[str, Any] | None) -> Telling | None:
    if alert.memory.get("flapped"):
        return None
    reason = "it opens and closes again and again, so it is muted until it is calm"
    return Telling(tell=Reason.FLAPPING, reason=reason, in_thread=told is not None)


def _record(
    alert: Alert,
    told: Mapping[str, Any] | None,
    due: Telling,
    findings: Sequence[Finding],
    smoothed: float | None,
    moment: Moment,
) -> dict[str, Any]:
    """Return what people know after hearing this."""
    at = moment.now.isoformat()
    if told is not None and due.in_thread:
        match due.tell:
            case Reason.REPEATED:
                return {**told, "repeats": told["repeats"] + 1, "at": at}
            case Reason.ESCALATED:
                return {**told, "severity": alert.severity.value, "at": at}
            case _:
                return dict(told)
    floor = max((f.materiality or 0.0 for f in findings if "smoothed" in f.details), default=0.0)
    return {
        "at": at,
        "window": moment.window.start.isoformat(),
        "severity": alert.severity.value,
        "windows": 0,
        "peak": max(smoothed or 0.0, floor),
        "repeats": 0,
    }


def _count(alert: Alert) -> Alert:
    """Return the alert with one more message counted in its thread, if people know of the thread."""
    threads = [
        {**t, "sent": t.get("sent", 0) + 1} if t["key"] == alert.thread_key and t["told"] else t
        for t in alert.memory.get("threads", ())
    ]
    return replace(alert, memory={**alert.memory, "threads": threads})


def _smoothed(findings: Sequence[Finding]) -> float | None:
    values = [abs(float(f.details["smoothed"])) for f in findings if f.details.get("smoothed") is not None]
    return max(values, default=None)
