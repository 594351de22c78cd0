"""Reminders: what people hear because time has passed, and not because a window came.

Any replica may look at any time. What is told has an id made of what it is about, and the outbox has each id once.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from monitor import episode, outbox
from monitor.alert import Alert, Transition
from monitor.announcement import channels_for, complete, offered
from monitor.check import Severity
from monitor.duration import format_duration
from monitor.evaluation import CHAMPION
from monitor.installation import Installation, Monitored
from monitor.notification import Fact, Notification, Reason
from monitor.routing import HEADLINES, MOST_FACTS, group_of
from monitor.silence import Silence, is_covered, silence_of, wording
from monitor.window import Window

NAMESPACE = uuid.UUID("0d3c0f0e-7a1f-4a53-8c44-6c4f1b1f6a52")  # of ids: the same reminder gets the same id anywhere
NOTICE = timedelta(hours=1)  # before the end of a silence


def remind(installation: Installation, *, now: datetime) -> int:
    """Put what is due into the outbox; returns how many messages were new."""
    told = sum(escalate(installation, watched, now=now) for watched in installation.models.values())
    return told + announce_ends(installation, now=now)


def unanswered_since(alert: Alert) -> datetime | None:
    """Return since when people know of something critical that nobody has taken on; None if that is not so.

    The clock starts with the first message that called it critical, and anew when an acknowledgement runs out. An
    episode is escalated once.
    """
    alarmed = alert.memory.get("alarmed")
    if not alert.is_open or alert.severity is not Severity.CRITICAL or alarmed is None:
        return None
    if alert.memory.get("escalated") or alert.inhibited_by is not None:
        return None
    return max(datetime.fromisoformat(str(alarmed)), alert.acknowledged_until or datetime.min.replace(tzinfo=UTC))


def escalate(installation: Installation, watched: Monitored, *, now: datetime) -> int:
    """Tell further channels of critical alerts that nobody has acknowledged in time; returns how many.

    Told are those that people have heard of, that are open still and that no silence covers. The alert remembers it in
    the same transaction.
    """
    wanted = installation.config.alerts.escalate
    if wanted is None:
        return 0

    def due(conn: sa.Connection) -> list[Alert]:
        silences = [silence_of(row) for row in episode.active_silences(conn, at=now)]
        return [
            alert
            for alert in episode.critical_alerts(conn, watched.name, CHAMPION)
            if (since := unanswered_since(alert)) is not None
            and since + wanted.after <= now
            and not is_covered(silences, alert)
        ]

    with installation.engine.begin() as conn:
        if not due(conn):
            return 0
        episode.hold(conn, watched.name, CHAMPION)
        unanswered = due(conn)  # somebody may have acknowledged one, or told it, meanwhile
        after = [replace(a, memory={**a.memory, "escalated": now.isoformat()}) for a in unanswered]
        reason = f"nobody acknowledged it in {format_duration(wanted.after)}, so {', '.join(wanted.to)} were told"
        changes = [Transition(alert=a, from_state=a.state, to_state=a.state, reason=reason) for a in after]
        episode.save_alerts(conn, after, at=now)
        episode.add_alert_events(conn, changes, at=now)
        for alert in after:
            told = complete(installation, unanswered_message(alert, watched, wanted.after, now))
            told = replace(told, links={**told.links, **offered(conn, installation, told, now=now)})
            outbox.put(conn, told, wanted.to)
        return len(after)


def unanswered_message(alert: Alert, watched: Monitored, after: timedelta, now: datetime) -> Notification:
    """Return the message that nobody has taken an alert on."""
    group = group_of(alert.family)
    start, end = alert.opened_window_start, alert.opened_window_end
    label = "" if start is None or end is None else watched.spec.label(Window(start=start, end=end))
    headline = HEADLINES[group.partition(":")[0]]
    return Notification(
        id=uuid.uuid5(NAMESPACE, f"{alert.key} {alert.episode} unanswered"),
        model=alert.model,
        reason=Reason.UNANSWERED,
        severity=alert.severity,
        title=headline[:1].upper() + headline[1:],
        summary=f"{alert.title.rstrip('.')}. It is critical, and nobody has acknowledged it in "
        f"{format_duration(after)}.",
        created_at=now,
        thread_key=alert.thread_key,
        group_key=f"{alert.model}:{alert.role}:{group}",
        window_start=start,
        window_end=end,
        window_label=label and f"since {label}",
        facts=[
            Fact(subject=str(one["subject"]), statistic=str(one["statistic"]), text=str(one["message"]))
            for one in alert.subjects[:MOST_FACTS]
            if one["message"]
        ],
        more_facts=max(0, len(alert.subjects) - MOST_FACTS),
        next_step=f"Take it on: monitor alerts ack {alert.key[:12]}",
        alert_keys=[alert.key],
        families=[alert.family],
        role=alert.role,
        model_version=alert.model_version,
    )


def announce_ends(installation: Installation, *, now: datetime) -> int:
    """Say an hour before that a silence ends, to those who would have been told; returns how many messages were new.

    A silence of an hour or less ends without a word, and so does one that somebody ends early.
    """
    told = 0
    with installation.engine.begin() as conn:
        for row in episode.active_silences(conn, at=now):
            if not row["starts_at"] < row["ends_at"] - NOTICE <= now:
                continue
            identity = uuid.uuid5(NAMESPACE, f"{row['silence_id']} {row['ends_at'].isoformat()} ends")
            silence = silence_of(row)
            models = [name for name in installation.models if silence.concerns(name)]
            if models and not outbox.knows(conn, identity):
                told += _announce_end(conn, installation, silence, identity, models, now)
    return told


def _announce_end(
    conn: sa.Connection,
    installation: Installation,
    silence: Silence,
    identity: uuid.UUID,
    models: list[str],
    now: datetime,
) -> bool:
    covered = [
        alert
        for name in models
        for alert in episode.load_alerts(conn, name, CHAMPION).values()
        if alert.is_open and silence.covers(alert)
    ]
    severities = {alert.severity for alert in covered} | {Severity.INFO}
    severity = next(one for one in (Severity.CRITICAL, Severity.WARNING, Severity.INFO) if one in severities)
    concerned = list(dict.fromkeys(alert.model for alert in covered)) or models
    message = Notification(
        id=identity,
        model=concerned[0],
        reason=Reason.SILENCE,
        severity=severity,
        title=f"{wording(silence.matchers)} is told again from {silence.ends_at.astimezone(UTC):%H:%M} UTC on",
        summary=f"{silence.author} silenced it ({silence.reason}). {_standing(covered)}",
        created_at=now,
        thread_key=f"silence-{identity}",
        group_key=f"silence:{identity}",
        next_step="To keep it silent, make a new silence: monitor alerts silence --help",
        alert_keys=[alert.key for alert in covered],
        families=[alert.family for alert in covered],
    )
    channels: dict[str, datetime | None] = {}
    for name in concerned:
        for channel, held in channels_for(installation, replace(message, model=name), covered).items():
            channels.setdefault(channel, held)
    new = 0
    for held in dict.fromkeys(channels.values()) or [None]:
        taken = [name for name, until in channels.items() if until == held]
        new += outbox.put(conn, complete(installation, message), taken, not_before=held)
    return new > 0


def _standing(covered: Iterable[Alert]) -> str:
    named = [f"{alert.model}: {alert.title or alert.family}" for alert in covered]
    if not named:
        return "Nothing that it covers is open now."
    more = f" and {len(named) - MOST_FACTS} more" if len(named) > MOST_FACTS else ""
    return f"Open and to be told then: {'; '.join(named[:MOST_FACTS])}{more}."
