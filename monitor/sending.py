"""Sending: one message to one channel under one deadline, and writing down how it went.

Nothing is sent inside a transaction. What a send came to is written under the token of its claim, so that a sender
that was paused for too long cannot overwrite another.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from monitor import breakdown, breaker, outbox
from monitor.breaker import LONGEST_PAUSE
from monitor.charts import ChartError, picture
from monitor.failpoint import Failpoint, reach
from monitor.ledger import LeaseLost
from monitor.notification import Channel, DeliveryError, Receipt
from monitor.outbox import Claimed

DEADLINE = 30.0  # seconds for one send, from the first look at a name to the last byte
PICTURE_SECONDS = 20.0
LEASE = timedelta(seconds=90)  # more than picture, send and acknowledgement together
BACKOFF_BASE = 2.0
BACKOFF_CAP = 900.0
MOST_ATTEMPTS = 12
LONGEST_TRY = timedelta(hours=24)
ACKNOWLEDGE_PAUSES = (0.5, 2.0)
TOO_MANY = 429

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long one send may take in seconds, and how long its claim holds: longer than picture, send and writing."""

    deadline: float = DEADLINE
    lease: timedelta = LEASE

    def __post_init__(self) -> None:
        if self.lease.total_seconds() <= self.deadline:
            raise ValueError(
                f"a lease of {self.lease.total_seconds():g} s ends before a send of {self.deadline:g} s does; "
                "give a longer one"
            )

    @property
    def picture(self) -> float:
        """Seconds that the picture of a message may take."""
        return min(PICTURE_SECONDS, (self.lease.total_seconds() - self.deadline) / 2)


USUAL = Patience()


class Outcome(StrEnum):
    """How one attempt ended."""

    SENT = "sent"
    RETRY = "retry"
    DEAD = "dead"
    LOST = "lost"
    """Another dispatcher took over meanwhile."""


def backoff(attempts: int, rng: random.Random) -> float:
    """Return the seconds to wait after so many failed attempts: full jitter below 2 s · 2ⁿ, at most 15 minutes.

    >>> backoff(1, random.Random(0)) <= 4 and backoff(99, random.Random(0)) <= 900
    True
    """
    return rng.uniform(0.0, min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(attempts, 30)))


def hopeless(attempts: int, age: timedelta) -> bool:
    """Whether a message is given up: after 12 attempts and 24 hours, whichever comes last."""
    return attempts >= MOST_ATTEMPTS and age >= LONGEST_TRY


def asked_pause(error: DeliveryError, otherwise: timedelta) -> timedelta | None:
    """Return for how long the whole channel is left alone after an error, at most an hour; None for not at all.

    A peer that says how long, or that it gets too much (429), means everything that is sent to it, not one message.

    >>> asked_pause(DeliveryError("busy", retry_after=30.0), timedelta(seconds=4))
    datetime.timedelta(seconds=30)
    >>> asked_pause(DeliveryError("busy", status=429), timedelta(seconds=4))
    datetime.timedelta(seconds=4)
    >>> asked_pause(DeliveryError("busy", status=503), timedelta(seconds=4)) is None
    True
    """
    asked = error.retry_after
    if asked is not None and not math.isnan(asked):
        return timedelta(seconds=min(max(asked, 0.0), LONGEST_PAUSE.total_seconds()))
    return otherwise if error.status == TOO_MANY else None


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Sends what is due on one channel; ``others`` are the channels on which people hear that this one is broken.

    ``now`` is compared with the time at which a message was written.
    """

    engine: sa.Engine
    name: str
    channel: Channel
    now: datetime
    rng: random.Random
    patience: Patience = USUAL
    others: Sequence[str] = ()

    @property
    def spacing(self) -> timedelta:
        """Time from one message to the next that the channel asks for."""
        spacing: timedelta = getattr(self.channel, "spacing", timedelta(0))
        return spacing

    async def drain(self, *, limit: int, go_on: Callable[[], bool] = lambda: True) -> Counter[Outcome]:
        """Send until nothing is due, something fails, ``limit`` is reached or ``go_on`` says no; returns the ends."""
        ended: Counter[Outcome] = Counter()
        while ended.total() < limit and go_on():
            # one at a time: what is claimed and not sent would be held up by its lease
            claimed = await transact(self.engine, self._claim)
            if not claimed:
                break
            reach(Failpoint.DELIVERY_CLAIMED)
            outcome = await self.attempt(claimed[0])
            ended[outcome] += 1
            if outcome is Outcome.RETRY:
                break  # a channel in trouble is not told so with every message
            await asyncio.sleep(self.spacing.total_seconds())
        return ended

    def _claim(self, conn: sa.Connection) -> list[Claimed]:
        return outbox.claim(conn, limit=1, lease=self.patience.lease, channels=[self.name], spacing=self.spacing)

    async def attempt(self, claimed: Claimed) -> Outcome:
        """Send one claimed message and write down how it went."""
        try:
            tried = claimed.attempts - 1
            if hopeless(tried, self.now - claimed.created_at):
                raise DeliveryError(f"its sender never came back in {tried} attempts", permanent=True)
            shown = await _picture(self.channel, claimed, seconds=self.patience.picture)
            receipt = await send(self.channel, claimed, shown, deadline=self.patience.deadline)
        except asyncio.CancelledError:
            # at a shutdown; the write is waited for although this task was told to end
            await acknowledge(self.engine, lambda conn: self._stopped(conn, claimed))
            raise
        except DeliveryError as error:
            # an outage of a whole channel is nothing that its messages could be given up for
            spent = not claimed.probe and hopeless(claimed.attempts, self.now - claimed.created_at)
            if error.permanent or spent:
                return await self._bury(claimed, error)
            return await self._put_back(claimed, error)
        reach(Failpoint.SENT)
        written = await acknowledge(self.engine, lambda conn: self._took(conn, claimed, receipt))
        reach(Failpoint.MARKED)
        remark = refused({**claimed.recipients, **receipt.recipients})
        if remark:
            log.warning("Message %s went out on %s, %s", claimed.notification.id, self.name, remark)
        else:
            log.info("Message %s went out on %s", claimed.notification.id, self.name)
        return Outcome.SENT if written else Outcome.LOST

    def _took(self, conn: sa.Connection, claimed: Claimed, receipt: Receipt) -> None:
        if breaker.note_success(conn, self.name):
            outbox.supersede(conn, self.name)
        outbox.mark_sent(
            conn,
            claimed.delivery_id,
            claimed.token,
            provider_ref=receipt.reference,
            status=int(receipt.status) if receipt.status.isdecimal() else None,
            recipients=receipt.recipients,
            remark=refused({**claimed.recipients, **receipt.recipients}),
        )
        reach(Failpoint.MARKING)

    def _stopped(self, conn: sa.Connection, claimed: Claimed) -> None:
        if claimed.probe:
            breaker.end_probe(conn, self.name, wait=timedelta(0))
        outbox.reschedule(
            conn,
            claimed.delivery_id,
            claimed.token,
            error="stopped while sending",
            delay=timedelta(0),
            ambiguous=True,
            counts=False,
        )

    async def _bury(self, claimed: Claimed, error: DeliveryError) -> Outcome:
        log.error("Message %s is given up on %s: %s", claimed.notification.id, self.name, error)

        def bury(conn: sa.Connection) -> None:
            if not error.permanent:
                breaker.note_failure(conn, self.name)
            elif claimed.probe:  # it says more about the message than about the channel
                breaker.end_probe(conn, self.name, wait=breaker.FIRST_PROBE)
            outbox.give_up(
                conn,
                claimed.delivery_id,
                claimed.token,
                error=str(error),
                status=error.status,
                recipients=error.recipients,
            )
            breakdown.tell(conn, self.name, self.others, now=self.now)

        return Outcome.DEAD if await acknowledge(self.engine, bury) else Outcome.LOST

    async def _put_back(self, claimed: Claimed, error: DeliveryError) -> Outcome:
        wait = timedelta(seconds=backoff(claimed.attempts, self.rng))
        pause = asked_pause(error, wait)
        delay = wait if pause is None else max(wait, pause)
        said = (claimed.notification.id, self.name, delay.total_seconds(), error)
        log.warning("Message %s did not go out on %s, next try in %.0f s: %s", *said)

        def put_back(conn: sa.Connection) -> None:
            breaker.note_failure(conn, self.name)
            if pause is not None:
                breaker.pause(conn, self.name, pause)
            outbox.reschedule(
                conn,
                claimed.delivery_id,
                claimed.token,
                error=str(error),
                delay=delay,
                status=error.status,
                ambiguous=error.ambiguous,
                counts=not claimed.probe,
                recipients=error.recipients,
            )
            if claimed.probe:
                breakdown.tell(conn, self.name, self.others, now=self.now)

        return Outcome.RETRY if await acknowledge(self.engine, put_back) else Outcome.LOST


def refused(recipients: Mapping[str, str]) -> str:
    """Return who of the recipients of a message was refused for good, and why; "" where nobody was.

    >>> refused({"a@x.example": "", "b@x.example": "550 no such user"})
    'refused for good: b@x.example: 550 no such user'
    """
    named = [f"{name}: {why}" for name, why in recipients.items() if why]
    return f"refused for good: {'; '.join(named)}" if named else ""


async def send(channel: Channel, claimed: Claimed, shown: bytes | None, *, deadline: float) -> Receipt:
    """Hand one message to its channel within ``deadline`` seconds; whatever goes wrong is a DeliveryError."""
    notification = replace(
        claimed.notification, possible_duplicate=claimed.possible_duplicate, recipients=claimed.recipients
    )
    try:
        async with asyncio.timeout(deadline):
            return await channel.send(notification, thread_reference=claimed.thread_reference, picture=shown)
    except DeliveryError:
        raise
    except TimeoutError:
        raise DeliveryError(f"not done within {deadline:g} s", ambiguous=True) from None
    except Exception as error:  # noqa: BLE001  # a fault of one channel must stop neither the others nor the next try
        # what it says may hold a secret; its type does not
        raise DeliveryError(f"the channel failed with {type(error).__name__}", ambiguous=True) from None


async def _picture(channel: Channel, claimed: Claimed, *, seconds: float) -> bytes | None:
    told = claimed.notification
    if not getattr(channel, "shows_pictures", False) or told.chart is None or told.in_thread:
        return None
    if claimed.attachment is not None:
        return claimed.attachment
    try:
        return await picture(told.chart, seconds=seconds)
    except (ChartError, OSError) as error:
        log.warning("Message %s goes out without its chart: %s", told.id, error)
        return None


async def acknowledge(engine: sa.Engine, write: Callable[[sa.Connection], None]) -> bool:
    """Write how it went, more than once if need be: what is not written is sent again. False if the claim was lost."""
    for pause in (*ACKNOWLEDGE_PAUSES, None):
        try:
            await transact(engine, write)
            return True
        except LeaseLost as lost:
            log.warning("%s", lost)
            return False
        except SQLAlchemyError:
            if pause is None:
                raise
            await asyncio.sleep(pause)
    raise AssertionError("unreachable")


async def transact(engine: sa.Engine, work: Callable[[sa.Connection], Any]) -> Any:
    """Do some work in a transaction, in a thread of its own; returns what it returns."""

    def run() -> Any:
        with engine.begin() as conn:
            return work(conn)

    return await asyncio.to_thread(run)
