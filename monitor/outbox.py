"""What people are to be told: written with the decision, claimed by a dispatcher, kept until a channel has taken it.

Delivery is at least once. A message whose sender died may go out again, with the same notification id and marked as a
possible duplicate; none is forgotten. Nothing here sends: claims are short transactions, committed before any network
is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from monitor import breaker
from monitor.collapse import combine
from monitor.encoding import clean_text
from monitor.ledger import LeaseLost
from monitor.notification import Notification, from_json, to_json
from monitor.tables import delivery as deliveries
from monitor.tables import notification as notifications

#: What a claimed delivery gives up when it goes back.
FREED: dict[str, Any] = {"token": None, "lease_until": None}

NOBODY: Mapping[str, str] = MappingProxyType({})
#: A dead letter that is tried again.
FRESH: dict[str, Any] = {
    "state": "pending",
    "attempts": 0,
    "next_at": sa.func.clock_timestamp(),
    "recipients": sa.text("""(
        SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(delivery.recipients) WHERE value = '""'
    )"""),
}

LINK = sa.text("""
    INSERT INTO monitor.notification_alert (notification_id, alert_key, episode)
    SELECT :notification_id, alert_key, max(episode) FROM monitor.alert
    WHERE alert_key = ANY(CAST(:alert_keys AS text[]))
    GROUP BY alert_key
    ON CONFLICT DO NOTHING
""")

CLAIM = sa.text("""
    WITH due AS (
        SELECT d.delivery_id, d.state = 'sending' AS abandoned
        FROM monitor.delivery AS d
        WHERE (
            (d.state = 'pending' AND d.next_at <= clock_timestamp())
            OR (d.state = 'sending' AND d.lease_until < clock_timestamp())
        )
        AND (CAST(:channels AS text[]) IS NULL OR d.channel = ANY(CAST(:channels AS text[])))
        AND NOT EXISTS (
            SELECT FROM monitor.channel_state AS c
            WHERE c.channel = d.channel AND c.channel <> ALL(CAST(:probed AS text[]))
                AND (c.not_before > clock_timestamp() OR c.state <> 'closed')
        )
        -- First in, first out within a group, so that "resolved" never overtakes "firing".
        AND NOT EXISTS (
            SELECT FROM monitor.delivery AS older
            WHERE older.channel = d.channel AND older.group_key = d.group_key
                AND older.sequence < d.sequence AND older.state IN ('pending', 'sending', 'held')
        )
        -- A probe that failed has the latest time: the next one is another message, if there is another.
        ORDER BY CASE WHEN :probing THEN d.next_at END, d.sequence
        LIMIT :limit
        FOR UPDATE OF d SKIP LOCKED
    ), claimed AS (
        UPDATE monitor.delivery AS d
        SET state = 'sending', attempts = d.attempts + 1, token = gen_random_uuid(),
            lease_until = clock_timestamp() + :lease, possible_duplicate = d.possible_duplicate OR due.abandoned
        FROM due
        WHERE d.delivery_id = due.delivery_id
        RETURNING d.*
    )
    SELECT claimed.*, n.payload, n.attachment, n.thread_key, n.in_thread, thread.provider_ref AS thread_ref
    FROM claimed
    JOIN monitor.notification AS n USING (notification_id)
    LEFT JOIN LATERAL (
        SELECT first.provider_ref
        FROM monitor.notification AS m
        JOIN monitor.delivery AS first USING (notification_id)
        WHERE m.thread_key = n.thread_key AND first.channel = claimed.channel AND first.state = 'sent'
            AND first.provider_ref IS NOT NULL
        ORDER BY first.sequence
        LIMIT 1
    ) AS thread ON true
    ORDER BY claimed.sequence
""")


# What is held back by quiet hours stays, and replaces nothing.
COLLAPSE = sa.text("""
    WITH unsent AS (
        SELECT d.delivery_id, d.group_key, d.sequence
        FROM monitor.delivery AS d
        WHERE d.channel = :channel AND d.state = 'pending'
            AND (d.next_at <= clock_timestamp() OR d.last_error IS NOT NULL)
        FOR UPDATE SKIP LOCKED
    ), newest AS (
        SELECT group_key, max(sequence) AS sequence FROM unsent GROUP BY group_key
    )
    UPDATE monitor.delivery AS d SET state = 'superseded'
    FROM unsent JOIN newest USING (group_key)
    WHERE d.delivery_id = unsent.delivery_id AND unsent.sequence < newest.sequence
""")

# What quiet hours held back is looked at again when they end: of each group only the newest is sent, for all of them.
WAKE = sa.text("""
    WITH due AS (
        SELECT d.delivery_id, d.channel, d.group_key, d.sequence
        FROM monitor.delivery AS d
        WHERE d.state = 'held' AND d.next_at <= clock_timestamp()
            AND (CAST(:channels AS text[]) IS NULL OR d.channel = ANY(CAST(:channels AS text[])))
        ORDER BY d.sequence
        FOR UPDATE
    ), newest AS (
        SELECT channel, group_key, max(sequence) AS sequence FROM due GROUP BY channel, group_key
    )
    UPDATE monitor.delivery AS d
    SET state = CASE WHEN due.sequence < newest.sequence THEN 'superseded' ELSE 'pending' END
    FROM due JOIN newest USING (channel, group_key)
    WHERE d.delivery_id = due.delivery_id
""")

# What a message stands for besides itself: all that it superseded since its group was last heard of on the channel.
SUPERSEDED = sa.text("""
    SELECT n.payload
    FROM monitor.delivery AS c
    JOIN monitor.delivery AS s
        ON s.channel = c.channel AND s.group_key = c.group_key AND s.sequence < c.sequence AND s.state = 'superseded'
    JOIN monitor.notification AS n ON n.notification_id = s.notification_id
    WHERE c.delivery_id = :delivery_id AND NOT EXISTS (
        SELECT FROM monitor.delivery AS told
        WHERE told.channel = c.channel AND told.group_key = c.group_key AND told.state = 'sent'
            AND told.sequence > s.sequence AND told.sequence < c.sequence
    )
    ORDER BY s.sequence
""")


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """One message to be handed to one channel, with the token that lets its sender say how it went."""

    delivery_id: UUID
    token: UUID
    channel: str
    notification: Notification
    attempts: int
    created_at: datetime
    possible_duplicate: bool
    attachment: bytes | None = None
    #: What the channel called the first message of the thread, or "".
    thread_reference: str = ""
    #: It is sent to see whether an open channel is back: its failure is no attempt.
    probe: bool = False
    recipients: Mapping[str, str] = field(default_factory=dict)
    """Who of several recipients is settled, as in ``Notification``."""


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """One message that was given up."""

    delivery_id: UUID
    notification_id: UUID
    channel: str
    model: str
    subject_line: str
    created_at: datetime
    attempts: int
    last_error: str | None


def put(
    conn: sa.Connection,
    notification: Notification,
    channels: Sequence[str],
    *,
    attachment: bytes | None = None,
    revision: int | None = None,
    slice_: Mapping[str, Any] | None = None,
    not_before: datetime | None = None,
) -> int:
    """Write a message for these channels in the caller's transaction; returns for how many it is new.

    The same id is written once: deciding twice does not tell twice. Alerts named in it are linked to their newest
    episode, so save them first. ``not_before`` holds it back, as in quiet hours, by the database's clock.
    """
    conn.execute(
        postgresql.insert(notifications)
        .values(
            notification_id=notification.id,
            model=notification.model,
            role=notification.role,
            slice=dict(slice_ or {}),
            window_start=notification.window_start,
            window_end=notification.window_end,
            revision=revision,
            reason=notification.reason.value,
            severity=notification.severity.value,
            thread_key=notification.thread_key,
            group_key=notification.group_key,
            in_thread=notification.in_thread,
            subject_line=clean_text(notification.title),
            payload=to_json(notification),
            attachment=attachment,
            created_at=notification.created_at,
        )
        .on_conflict_do_nothing()
    )
    if notification.alert_keys:
        conn.execute(LINK, {"notification_id": notification.id, "alert_keys": list(notification.alert_keys)})
    if not channels:
        return 0
    rows = [
        {
            "notification_id": notification.id,
            "channel": channel,
            "group_key": notification.group_key,
            "state": "pending" if not_before is None else "held",
            "next_at": sa.func.clock_timestamp() if not_before is None else not_before,
        }
        for channel in dict.fromkeys(channels)
    ]
    insert = postgresql.insert(deliveries).values(rows).on_conflict_do_nothing().returning(deliveries.c.delivery_id)
    return len(conn.execute(insert).all())


def channels_of_thread(conn: sa.Connection, thread_key: str) -> list[str]:
    """The channels that have, or are about to get, a message of a thread; what was given up counts for none."""
    query = (
        sa.select(deliveries.c.channel)
        .join(notifications, notifications.c.notification_id == deliveries.c.notification_id)
        .where(notifications.c.thread_key == thread_key, deliveries.c.state != "dead")
        .distinct()
        .order_by(deliveries.c.channel)
    )
    return list(conn.scalars(query))


def knows(conn: sa.Connection, notification_id: UUID) -> bool:
    """Whether a message with this id was put before."""
    query = sa.select(sa.exists().where(notifications.c.notification_id == notification_id))
    return bool(conn.execute(query).scalar_one())


def claim(
    conn: sa.Connection,
    *,
    limit: int,
    lease: timedelta,
    channels: Sequence[str] | None = None,
    spacing: timedelta = timedelta(0),
) -> list[Claimed]:
    """Take what is due, oldest first and one of each group at a time; commit before sending.

    Of a channel that is open nothing is taken but one message, when it is time for a probe and nobody else probes;
    older messages of a group are superseded before, so that the probe does not tell what is past.

    ``lease`` has to be longer than the deadline of a send. What a dead sender held comes back after it, as a possible
    duplicate. With ``spacing``, of one channel, there is nothing until so long after the last claim.
    """
    wanted = None if channels is None else list(channels)
    if spacing:
        assert wanted is not None
        (channel,) = wanted
        if not breaker.is_ready(conn, channel):
            return []
    conn.execute(WAKE, {"channels": wanted})
    probed = breaker.begin_probes(conn, wanted, lease=lease)
    claimed = _take(conn, channels=wanted, limit=limit, lease=lease, probing=False)
    for channel in probed:
        supersede(conn, channel)
        found = _take(conn, channels=[channel], limit=1, lease=lease, probing=True)
        if not found:  # it waits for an older one of its group, or somebody has it in hand
            breaker.end_probe(conn, channel, wait=timedelta(0))
        claimed += found
    if claimed and spacing:
        breaker.space(conn, channel, spacing)
    return claimed


def _take(
    conn: sa.Connection, *, channels: list[str] | None, limit: int, lease: timedelta, probing: bool
) -> list[Claimed]:
    probed = channels if probing and channels is not None else []
    rows = conn.execute(
        CLAIM, {"limit": limit, "lease": lease, "channels": channels, "probed": probed, "probing": probing}
    )
    return [_claimed(conn, row, probing) for row in rows.all()]


def _claimed(conn: sa.Connection, row: sa.Row[Any], probing: bool) -> Claimed:
    newest = from_json(row.payload)
    older = [from_json(payload) for payload in conn.scalars(SUPERSEDED, {"delivery_id": row.delivery_id})]
    told = combine(newest, older)
    same = told is newest
    return Claimed(
        delivery_id=row.delivery_id,
        token=row.token,
        channel=row.channel,
        notification=told,
        attempts=row.attempts,
        created_at=row.created_at,
        possible_duplicate=row.possible_duplicate,
        attachment=row.attachment if same else None,
        thread_reference=(row.thread_ref or "") if same else "",
        probe=probing,
        recipients=row.recipients,
    )


def supersede(conn: sa.Connection, channel: str) -> None:
    """Of what waits for a channel after an outage, leave only the newest message of each group to be sent.

    It tells what the others, which become superseded, leave to be told.
    """
    conn.execute(COLLAPSE, {"channel": channel})


def mark_sent(
    conn: sa.Connection,
    delivery_id: UUID,
    token: UUID,
    *,
    provider_ref: str = "",
    status: int | None = None,
    recipients: Mapping[str, str] = NOBODY,
    remark: str = "",
) -> None:
    """The channel has it; a ``remark`` says what was wrong all the same, as that one of several recipients refused it.

    Raises LeaseLost when another sender took over in the meantime.
    """
    fenced(
        conn,
        delivery_id,
        token,
        {
            "state": "sent",
            "sent_at": sa.func.clock_timestamp(),
            "provider_ref": clean_text(provider_ref) or None,
            "last_status": status,
            "last_error": clean_text(remark) or None,
            **settled(recipients),
            **FREED,
        },
    )


def reschedule(
    conn: sa.Connection,
    delivery_id: UUID,
    token: UUID,
    *,
    error: str,
    delay: timedelta,
    status: int | None = None,
    ambiguous: bool = False,
    counts: bool = True,
    recipients: Mapping[str, str] = NOBODY,
) -> None:
    """Try again after `delay`, without those ``recipients`` that are settled.

    ``ambiguous`` means that it may have arrived; without ``counts`` the attempt was none, as at a shutdown.
    """
    fenced(
        conn,
        delivery_id,
        token,
        {
            "state": "pending",
            "next_at": sa.func.clock_timestamp() + delay,
            "last_error": clean_text(error),
            "last_status": status,
            "possible_duplicate": sa.or_(deliveries.c.possible_duplicate, sa.literal(ambiguous)),
            "attempts": deliveries.c.attempts - (0 if counts else 1),
            **settled(recipients),
            **FREED,
        },
    )


def give_up(
    conn: sa.Connection,
    delivery_id: UUID,
    token: UUID,
    *,
    error: str,
    status: int | None = None,
    recipients: Mapping[str, str] = NOBODY,
) -> None:
    """Make it a dead letter: kept, listed, counted, and redeliverable to those who do not have it."""
    values = {"state": "dead", "last_error": clean_text(error), "last_status": status}
    fenced(conn, delivery_id, token, {**values, **settled(recipients), **FREED})


def settled(recipients: Mapping[str, str]) -> dict[str, Any]:
    """Return what is written of a delivery when some of its recipients need not be asked again."""
    cleaned = {clean_text(name): clean_text(why) for name, why in recipients.items()}
    return {"recipients": deliveries.c.recipients.op("||")(sa.cast(cleaned, postgresql.JSONB))} if cleaned else {}


def dead_letters(conn: sa.Connection) -> list[DeadLetter]:
    """Messages that were given up, oldest first."""
    query = (
        sa.select(
            deliveries.c.delivery_id,
            deliveries.c.notification_id,
            deliveries.c.channel,
            notifications.c.model,
            notifications.c.subject_line,
            notifications.c.created_at,
            deliveries.c.attempts,
            deliveries.c.last_error,
        )
        .join_from(deliveries, notifications)
        .where(deliveries.c.state == "dead")
        .order_by(deliveries.c.sequence)
    )
    return [DeadLetter(**row._mapping) for row in conn.execute(query)]


def redeliver(conn: sa.Connection, delivery_ids: Sequence[UUID] | None = None) -> int:
    """Make dead letters pending again, all of them unless some are named; returns how many.

    Attempts count afresh, and recipients who were refused for good are asked again.
    """
    statement = sa.update(deliveries).where(deliveries.c.state == "dead")
    if delivery_ids is not None:
        statement = statement.where(deliveries.c.delivery_id.in_(delivery_ids))
    return conn.execute(statement.values(FRESH)).rowcount


def refusals(conn: sa.Connection, *, since: datetime) -> list[tuple[str, str]]:
    """Channel and remark of what went out since a time, but not to all of its recipients, the newest first."""
    query = (
        sa.select(deliveries.c.channel, deliveries.c.last_error)
        .where(deliveries.c.state == "sent", deliveries.c.last_error.is_not(None), deliveries.c.sent_at >= since)
        .order_by(deliveries.c.sequence.desc())
    )
    return [(row.channel, row.last_error) for row in conn.execute(query) if row.last_error is not None]


def oldest_pending_age(conn: sa.Connection) -> timedelta | None:
    """How long the oldest unsent message has been due; None when nothing is due. What an outbox is judged by."""
    query = sa.select(sa.func.clock_timestamp() - sa.func.min(deliveries.c.next_at)).where(
        deliveries.c.state.in_(("pending", "sending", "held")), deliveries.c.next_at <= sa.func.clock_timestamp()
    )
    age: timedelta | None = conn.scalars(query).one()
    return age


def counts(conn: sa.Connection) -> dict[str, int]:
    """Number of deliveries by state; states without any are left out."""
    query = sa.select(deliveries.c.state, sa.func.count().label("number")).group_by(deliveries.c.state)
    return {row.state: row.number for row in conn.execute(query)}


def fenced(conn: sa.Connection, delivery_id: UUID, token: UUID, values: Mapping[str, Any]) -> None:
    """Change a delivery only while `token` is the one it was claimed with."""
    changed = conn.execute(
        sa.update(deliveries)
        .where(deliveries.c.delivery_id == delivery_id, deliveries.c.token == token, deliveries.c.state == "sending")
        .values(dict(values))
    ).rowcount
    if changed != 1:
        raise LeaseLost(f"Delivery {delivery_id} was claimed by another sender meanwhile; it says how it went.")
