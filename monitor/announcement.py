"""Announcements: a decision's messages on their way into the outbox, with links, notes, channels and quiet hours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from monitor import confirmation, outbox, runbook
from monitor.alert import RANK, Alert, is_reported
from monitor.check import Severity
from monitor.confirmation import Deed
from monitor.decision import Decision
from monitor.holding import release
from monitor.installation import Installation
from monitor.notification import Notification, Reason
from monitor.recommendation import Action
from monitor.route import channels_of
from monitor.settings import QuietHours

OFFERED_FOR = timedelta(days=3)  # how long a link in a message works
DECIDABLE = frozenset(action.value for action in Action if action not in (Action.WATCH, Action.INSUFFICIENT_DATA))
OPENING = frozenset({Reason.FIRST, Reason.REOPENED, Reason.ESCALATED, Reason.REPEATED, Reason.UNANSWERED})


def announce(
    conn: sa.Connection, installation: Installation, decision: Decision, *, revision: int | None = None
) -> int:
    """Write a decision's messages into the outbox in the caller's transaction; returns how many there were."""
    for notification in decision.notifications:
        told = complete(installation, notification)
        deeds = offered(conn, installation, told, now=told.created_at)
        told = replace(told, links={**told.links, **deeds})
        channels = channels_for(installation, told, decision.alerts)
        if told.reason is Reason.RESOLVED:
            channels = answered(conn, installation, told, decision.alerts)
        if told.severity is Severity.CRITICAL:
            release(conn, told.group_key, list(channels))
        # a message without any channel is in the history all the same
        for not_before in dict.fromkeys(channels.values()) or [None]:
            taken = [name for name, held in channels.items() if held == not_before]
            outbox.put(conn, told, taken, revision=revision, not_before=not_before)
    return len(decision.notifications)


def answered(
    conn: sa.Connection, installation: Installation, resolution: Notification, alerts: Sequence[Alert]
) -> dict[str, datetime | None]:
    """Return the channels that heard of what is over: the end is told where the thread is, and nowhere else.

    Quiet hours hold it as they hold the alert itself.
    """
    over = [alert for alert in alerts if alert.key in resolution.alert_keys]
    severity = max((alert.severity for alert in over), key=RANK.__getitem__, default=resolution.severity)
    routed = channels_for(installation, replace(resolution, severity=severity), alerts)
    told = outbox.channels_of_thread(conn, resolution.thread_key)
    return {name: routed.get(name) for name in told if name in installation.config.channels}


def complete(installation: Installation, notification: Notification) -> Notification:
    """Return the message with links to the page and the configured notes about its time."""
    section = installation.model(notification.model).section
    notes: list[str] = []
    if notification.window_start is not None and notification.window_end is not None:
        notes = section.notes_on(notification.window_start, notification.window_end)
    return replace(
        notification, note=" ".join(notes), links={**notification.links, **links(installation, notification)}
    )


def links(installation: Installation, notification: Notification) -> dict[str, str]:
    """Return where to look and what to do: the page of the matter, its report, its section of the runbook.

    Nothing where the page has no address for others.
    """
    base, told = installation.config.web.base_url, notification
    if base is None:
        return {}
    root, key = str(base).rstrip("/"), next(iter(told.alert_keys), "")
    if advised := told.details.get("recommendation_id"):
        return {"Open": f"{root}/recommendations/{advised}", "Runbook": f"{root}/runbook#{runbook.ADVICE}"}
    if told.reason is Reason.DIGEST:
        return {"Open": f"{root}/models/{quote(told.model, safe='')}"}
    if told.reason is Reason.CIRCUIT:
        place = f"{root}/models/{quote(told.model, safe='')}/circuit"
        return {"Open": place, "Runbook": f"{root}/runbook#{runbook.OTHERS}"}
    found = {"Open": f"{root}/alerts/{key}" if key else f"{root}/"}
    if key and told.reason in OPENING and any(map(is_reported, told.families)):
        found["Report"] = f"{root}/alerts/{key}/report"
    if section := next(filter(None, map(runbook.section_of, told.families)), ""):
        found["Runbook"] = f"{root}/runbook#{section}"
    return found


def offered(
    conn: sa.Connection, installation: Installation, notification: Notification, *, now: datetime
) -> dict[str, str]:
    """Return links by which whoever gets a message may act on it, each once; none without base_url and tokens."""
    web, told = installation.config.web, notification
    if web.base_url is None or web.tokens is None:
        return {}
    subject = {"title": told.title, "model": told.model}
    deeds: dict[str, Deed] = {}
    if told.alert_keys and told.reason in OPENING:
        subject["alert_key"] = told.alert_keys[0]
        deeds = {"Acknowledge": Deed.ACKNOWLEDGE, "Silence a day": Deed.SILENCE}
    elif told.reason is Reason.RECOMMENDATION and told.details.get("action") in DECIDABLE:
        subject["recommendation_id"] = str(told.details["recommendation_id"])
        deeds = {"Approve": Deed.APPROVE, "Dismiss": Deed.DISMISS}
    root = f"{web.base_url.rstrip('/')}/confirm"
    return {
        label: f"{root}/{confirmation.offer(conn, deed, subject, now=now, until=now + OFFERED_FOR)}"
        for label, deed in deeds.items()
    }


def channels_for(
    installation: Installation, notification: Notification, alerts: Iterable[Alert]
) -> dict[str, datetime | None]:
    """Return the channels a message goes to, by the configured routes, each with the time until which it is held.

    Quiet hours hold what is not critical; a channel that another route takes at once waits for none.
    """
    told = [alert for alert in alerts if alert.key in notification.alert_keys]
    traits = {
        "severity": {notification.severity.value},
        "model": {notification.model},
        "role": {notification.role},
        "cause": {alert.cause.value for alert in told if alert.cause is not None},
        "check": {str(fact["check"]) for alert in told for fact in alert.subjects},
    }
    found: dict[str, datetime | None] = {}
    for route in installation.config.effective_routes():
        taken = channels_of([route], traits)
        held = None
        if route.quiet_hours is not None and notification.severity is not Severity.CRITICAL:
            held = quiet_until(route.quiet_hours, notification.created_at)
        for name in taken:
            earlier = found.get(name, held)
            found[name] = None if held is None or earlier is None else min(held, earlier)
        if taken and not route.proceed:
            break
    return found


def quiet_until(hours: QuietHours, now: datetime) -> datetime | None:
    """Return when the quiet hours end that ``now`` lies in, in UTC; None outside of them.

    The hours are those of the wall clock of their time zone. When a clock is put forward over the begin or the end,
    that happens as much later as the clock was moved; when it is put back, the first of two equal times counts.
    """
    zone = ZoneInfo(hours.timezone)
    start, end = time.fromisoformat(hours.start), time.fromisoformat(hours.end)
    today = now.astimezone(zone).date()
    for first in (today - timedelta(days=1), today):
        last = first if start < end else first + timedelta(days=1)
        # moments and not wall clock times are compared: those of one zone leave the clock's changes out
        begins, ends = (datetime.combine(day, at, zone).timestamp() for day, at in ((first, start), (last, end)))
        if begins <= now.timestamp() < ends:
            return datetime.fromtimestamp(ends, UTC)
    return None
