"""The circuit breaker of each channel, in the database: one that fails is left alone but for probes, by all replicas.

Everyone who needs the state of a channel and a delivery takes the channel first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from monitor.tables import channel_state

#: No peer can keep a channel waiting for longer with one answer.
LONGEST_PAUSE = timedelta(hours=1)
#: Failures in a row after which a channel is open: it is left alone but for one probe at a time.
OPEN_AFTER = 5
#: Between probes: this long after the failure that opened a channel, doubled with every one that follows.
FIRST_PROBE = timedelta(seconds=30)
LONGEST_PROBE = timedelta(minutes=15)

PAUSE = sa.text("""
    INSERT INTO monitor.channel_state AS c (channel, not_before)
    VALUES (:channel, clock_timestamp() + :pause)
    ON CONFLICT (channel) DO UPDATE SET not_before = greatest(c.not_before, excluded.not_before)
""")

# The row is locked until the claim commits: whoever asks meanwhile waits, looks again, and finds its time moved. A
# probe whose sender died is followed by another one when its lease is over.
PROBE = sa.text("""
    UPDATE monitor.channel_state AS c
    SET state = 'half_open', not_before = clock_timestamp() + :lease
    WHERE c.state <> 'closed' AND (c.not_before IS NULL OR c.not_before <= clock_timestamp())
        AND (CAST(:channels AS text[]) IS NULL OR c.channel = ANY(CAST(:channels AS text[])))
        AND EXISTS (
            SELECT FROM monitor.delivery AS d
            WHERE d.channel = c.channel AND (
                (d.state = 'pending' AND d.next_at <= clock_timestamp())
                OR (d.state = 'sending' AND d.lease_until < clock_timestamp())
            )
        )
    RETURNING c.channel
""")

# The row is locked until the claim commits, as above: replicas take turns.
TURN = sa.text("""
    INSERT INTO monitor.channel_state AS c (channel) VALUES (:channel)
    ON CONFLICT (channel) DO UPDATE SET channel = excluded.channel
    RETURNING c.ready_at IS NULL OR c.ready_at <= clock_timestamp()
""")

TELL = sa.text("""
    INSERT INTO monitor.channel_state AS c (channel, told_at) VALUES (:channel, clock_timestamp())
    ON CONFLICT (channel) DO UPDATE SET told_at = excluded.told_at
    WHERE c.told_at IS NULL OR c.told_at < clock_timestamp() - :every
    RETURNING c.channel
""")

STATES = sa.text("""
    SELECT channel, coalesce(c.state, 'closed') AS circuit, coalesce(c.failures, 0) AS failures, c.opened_at,
        clock_timestamp() - c.opened_at AS open_for, clock_timestamp() - c.told_at AS told_for, c.not_before,
        coalesce(d.waiting, 0) AS waiting, coalesce(d.dead, 0) AS dead, d.last_error
    FROM monitor.channel_state AS c
    FULL JOIN (
        SELECT channel, count(*) FILTER (WHERE state IN ('pending', 'sending')) AS waiting,
            count(*) FILTER (WHERE state = 'dead') AS dead,
            (array_agg(last_error ORDER BY sequence DESC) FILTER (
                WHERE state IN ('pending', 'sending', 'dead') AND last_error IS NOT NULL
            ))[1] AS last_error
        FROM monitor.delivery
        GROUP BY channel
    ) AS d USING (channel)
    ORDER BY channel
""")

REOPEN = sa.text("""
    UPDATE monitor.channel_state AS c
    SET state = 'open', not_before = clock_timestamp() + :wait WHERE c.channel = :channel AND c.state = 'half_open'
""")

FAILED = sa.text("""
    INSERT INTO monitor.channel_state AS c (channel, failures) VALUES (:channel, 1)
    ON CONFLICT (channel) DO UPDATE SET
        failures = c.failures + 1,
        state = CASE WHEN c.state <> 'closed' OR c.failures + 1 >= :open_after THEN 'open' ELSE 'closed' END,
        opened_at = CASE
            WHEN c.state <> 'closed' THEN c.opened_at
            WHEN c.failures + 1 >= :open_after THEN clock_timestamp()
        END,
        -- What is left of the lease of a probe is no wait; what a peer asked for is added by a pause.
        not_before = CASE
            WHEN c.state <> 'closed' OR c.failures + 1 >= :open_after THEN greatest(
                CASE WHEN c.state <> 'half_open' THEN c.not_before END,
                clock_timestamp() + least(
                    CAST(:longest AS interval),
                    CAST(:first AS interval) * power(2, least(greatest(c.failures + 1 - :open_after, 0), 20))
                )
            )
            ELSE c.not_before
        END
""")

SUCCEEDED = sa.text("""
    UPDATE monitor.channel_state AS c
    SET state = 'closed', failures = 0, opened_at = NULL,
        not_before = CASE WHEN c.state = 'closed' THEN c.not_before END
    FROM (SELECT channel, state FROM monitor.channel_state WHERE channel = :channel FOR UPDATE) AS before
    WHERE c.channel = before.channel AND (before.state <> 'closed' OR c.failures > 0)
    RETURNING before.state <> 'closed'
""")


class Circuit(StrEnum):
    """Whether a channel is used."""

    CLOSED = "closed"
    OPEN = "open"
    """Left alone: it failed too often in a row."""
    HALF_OPEN = "half_open"
    """One message is under way to see whether it is back."""


@dataclass(frozen=True, kw_only=True)
class ChannelState:
    """How one channel is doing: its failures in a row, its messages that wait or were given up.

    ``last_error`` is what went wrong with the newest of these messages.
    """

    channel: str
    circuit: Circuit
    failures: int
    opened_at: datetime | None
    open_for: timedelta | None
    told_for: timedelta | None
    """How long ago people were told that it is broken."""
    not_before: datetime | None
    waiting: int
    dead: int
    last_error: str | None


def pause(conn: sa.Connection, channel: str, delay: timedelta) -> None:
    """Claim nothing for a channel until ``delay`` is over by the database's clock, at most an hour.

    A longer pause that was asked for before stays. Call it before what it came from is written: everyone who needs the
    state of a channel and a delivery takes the channel first.
    """
    conn.execute(PAUSE, {"channel": channel, "pause": min(delay, LONGEST_PAUSE)})


def note_failure(conn: sa.Connection, channel: str) -> None:
    """Count one failure of a channel, which opens with the fifth in a row. Call it before the delivery is written."""
    conn.execute(FAILED, {"channel": channel, "open_after": OPEN_AFTER, "first": FIRST_PROBE, "longest": LONGEST_PROBE})


def note_success(conn: sa.Connection, channel: str) -> bool:
    """A channel took a message: it is closed, whatever it was. Returns whether an outage is over by that.

    Call it before the delivery is written.
    """
    return bool(conn.scalars(SUCCEEDED, {"channel": channel}).one_or_none())


def begin_probes(conn: sa.Connection, channels: Sequence[str] | None, *, lease: timedelta) -> Sequence[str]:
    """Return those channels (of these) that are open and to be probed now, by nobody else until ``lease`` is over."""
    wanted = None if channels is None else list(channels)
    return conn.scalars(PROBE, {"channels": wanted, "lease": lease}).all()


def end_probe(conn: sa.Connection, channel: str, *, wait: timedelta) -> None:
    """A probe showed nothing, as when its message was refused or its sender stopped: the next one after ``wait``."""
    conn.execute(REOPEN, {"channel": channel, "wait": wait})


def is_ready(conn: sa.Connection, channel: str) -> bool:
    """Whether a message may be claimed for a channel that takes only so many; no other replica claims until commit."""
    return bool(conn.scalars(TURN, {"channel": channel}).one())


def space(conn: sa.Connection, channel: str, spacing: timedelta) -> None:
    """Let the next message of a channel be claimed ``spacing`` from now, by whichever replica."""
    ready = sa.func.clock_timestamp() + spacing
    conn.execute(sa.update(channel_state).where(channel_state.c.channel == channel).values(ready_at=ready))


def may_tell(conn: sa.Connection, channel: str, *, every: timedelta) -> bool:
    """Whether people are to be told that a channel is broken; true once in ``every``, whichever replica asks."""
    return conn.execute(TELL, {"channel": channel, "every": every}).one_or_none() is not None


def channel_states(conn: sa.Connection) -> list[ChannelState]:
    """How each channel is doing that ever had a message, by name."""
    return [
        ChannelState(**{**row._mapping, "circuit": Circuit(row.circuit)})  # the columns are its fields
        for row in conn.execute(STATES)
    ]
