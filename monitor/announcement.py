"""Announcements: a decision's messages on their way into the outbox, with links, notes and the channels to take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import sqlalchemy as sa

from monitor import outbox
from monitor.alert import Alert
from monitor.decision import Decision
from monitor.installation import Installation
from monitor.notification import Notification
from monitor.route import channels_of


def announce(
    conn: sa.Connection, installation: Installation, decision: Decision, *, revision: int | None = None
) -> int:
    """Write a decision's messages into the outbox in the caller's transaction; returns how many there were."""
    for notification in decision.notifications:
        told = complete(installation, notification)
        outbox.put(conn, told, channels_for(installation, told, decision.alerts), revision=revision)
    return len(decision.notifications)


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
    """Return where to look: the alert's page, or the front page; nothing where the page has no address for others."""
    base = installation.config.web.base_url
    if base is None:
        return {}
    root = str(base).rstrip("/")
    if notification.alert_keys:
        return {"Open": f"{root}/alerts/{notification.alert_keys[0]}"}
    return {"Open": f"{root}/"}


def channels_for(installation: Installation, notification: Notification, alerts: Iterable[Alert]) -> list[str]:
    """Return the channels a message goes to, by the configured routes."""
    told = [alert for alert in alerts if alert.key in notification.alert_keys]
    traits = {
        "severity": {notification.severity.value},
        "model": {notification.model},
        "role": {notification.role},
        "cause": {alert.cause.value for alert in told if alert.cause is not None},
        "check": {str(fact["check"]) for alert in told for fact in alert.subjects},
    }
    return channels_of(installation.config.effective_routes(), traits)
