"""Breakdowns: that a channel is broken is told on the others, because on itself nobody would hear of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from monitor import breaker, outbox
from monitor.breaker import ChannelState, Circuit
from monitor.check import Severity
from monitor.notification import Notification, Reason

EVERY = timedelta(days=1)  # people hear of one channel no more often
AFTER = timedelta(minutes=30)  # without a single success, from when on an outage is told

#: What stands in place of a model in messages about the monitor itself.
ITSELF = "drift-monitor"


def tell(conn: sa.Connection, channel: str, others: Sequence[str], *, now: datetime) -> bool:
    """Write a message for those of the others that work, in the caller's transaction; returns whether there is one.

    It is written once a day at most, when messages were given up or nothing has gone out for half an hour. Where no
    other channel works it is not written at all: it would come when it is over.
    """
    states = {state.channel: state for state in breaker.channel_states(conn)}
    state = states[channel]
    working = [name for name in others if name not in states or _works(states[name])]
    down = state.open_for is not None and state.open_for >= AFTER
    if not working or not (state.dead or down) or not breaker.may_tell(conn, channel, every=EVERY):
        return False
    outbox.put(conn, breakdown(state, id=uuid.uuid4(), now=now), working)
    return True


def _works(state: ChannelState) -> bool:
    return state.circuit is Circuit.CLOSED and (state.told_for is None or state.told_for > EVERY)


def trouble(state: ChannelState) -> str:
    """Return what is wrong with a channel in sentences; "" where nothing is."""
    said = []
    if state.dead:
        said.append(f"{_messages(state.dead, 'was', 'were')} given up.")
    if state.opened_at is not None:
        said.append(f"Nothing has gone out on it since {state.opened_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC.")
        if state.waiting:
            said.append(f"{_messages(state.waiting, 'waits', 'wait')}; each group is told once when it works again.")
    if said and state.last_error:
        said.append(f"What it said last: {state.last_error}.")
    return " ".join(said)


def breakdown(state: ChannelState, *, id: uuid.UUID, now: datetime) -> Notification:  # noqa: A002  # of the notification
    """Return what people are told of a channel that does not work."""
    again = " `monitor redeliver` then sends what was given up." if state.dead else ""
    return Notification(
        id=id,
        model=ITSELF,
        reason=Reason.FIRST,
        severity=Severity.WARNING,
        title=f"Channel {state.channel} does not deliver",
        summary=trouble(state),
        created_at=now,
        thread_key=f"channel {state.channel} {id}",
        group_key=f"channel {state.channel}",
        next_step=f"Mend channels.{state.channel}; `monitor doctor --send-test` tries every channel.{again}",
    )


def _messages(number: int, one: str, many: str) -> str:
    return f"1 message {one}" if number == 1 else f"{number} messages {many}"
