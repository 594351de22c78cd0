"""The dispatcher: takes what is due from the outbox, hands it to the channels, and writes down how it went.

Nothing is sent inside a transaction. Each send has one total deadline, far below the lease of the claim; what it came
to is written under the token of the claim, so that a dispatcher that was paused for too long cannot overwrite another.
Channels do not wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from monitor import outbox
from monitor.charts import ChartError, picture
from monitor.failpoint import Failpoint, reach
from monitor.ledger import LeaseLost
from monitor.notification import Channel, DeliveryError, Receipt
from monitor.outbox import LONGEST_PAUSE, Claimed

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


async def deliver(
    engine: sa.Engine,
    channels: Mapping[str, Channel],
    *,
    now: datetime,
    rng: random.Random,
    patience: Patience = USUAL,
    limit: int = 100,
) -> Counter[Outcome]:
    """Send what is due, each channel on its own and until its first failure; returns how the attempts ended.

    ``limit`` is the most messages per channel. ``now`` is compared with the time at which a message was written.
    """
    ended = await asyncio.gather(
        *(
            _drain(engine, name, channel, now=now, rng=rng, patience=patience, limit=limit)
            for name, channel in channels.items()
        )
    )
    return sum(ended, Counter[Outcome]())


async def _drain(
    engine: sa.Engine,
    name: str,
    channel: Channel,
    *,
    now: datetime,
    rng: random.Random,
    patience: Patience,
    limit: int,
    go_on: Callable[[], bool] = lambda: True,
) -> Counter[Outcome]:
    ended: Counter[Outcome] = Counter()
    while ended.total() < limit and go_on():
        # one at a time: what is claimed and not sent would be held up by its lease
        claimed = await _transact(
            engine, lambda conn: outbox.claim(conn, limit=1, lease=patience.lease, channels=[name])
        )
        if not claimed:
            break
        reach(Failpoint.DELIVERY_CLAIMED)
        outcome = await _attempt(engine, channel, claimed[0], now=now, rng=rng, patience=patience)
        ended[outcome] += 1
        if outcome is Outcome.RETRY:
            break  # a channel in trouble is not told so with every message
    return ended


async def _attempt(
    engine: sa.Engine, channel: Channel, claimed: Claimed, *, now: datetime, rng: random.Random, patience: Patience
) -> Outcome:
    id_, token = claimed.delivery_id, claimed.token
    try:
        if hopeless(claimed.attempts - 1, now - claimed.created_at):
            raise DeliveryError(f"its sender never came back in {claimed.attempts - 1} attempts", permanent=True)
        shown = await _picture(channel, claimed, seconds=patience.picture)
        receipt = await send(channel, claimed, shown, deadline=patience.deadline)
    except asyncio.CancelledError:
        # at a shutdown; the write is waited for although this task was told to end
        def stopped(conn: sa.Connection) -> None:
            if claimed.probe:
                outbox.end_probe(conn, claimed.channel, wait=timedelta(0))
            outbox.reschedule(
                conn, id_, token, error="stopped while sending", delay=timedelta(0), ambiguous=True, counts=False
            )

        await _acknowledge(engine, stopped)
        raise
    except DeliveryError as error:
        said, status = str(error), error.status
        permanent = error.permanent
        # an outage of a whole channel is nothing that its messages could be given up for
        if permanent or (not claimed.probe and hopeless(claimed.attempts, now - claimed.created_at)):
            log.error("Message %s is given up on %s: %s", claimed.notification.id, claimed.channel, said)

            def bury(conn: sa.Connection) -> None:
                if not permanent:
                    outbox.note_failure(conn, claimed.channel)
                elif claimed.probe:  # it says more about the message than about the channel
                    outbox.end_probe(conn, claimed.channel, wait=outbox.FIRST_PROBE)
                outbox.give_up(conn, id_, token, error=said, status=status)

            written = await _acknowledge(engine, bury)
            return Outcome.DEAD if written else Outcome.LOST
        wait = timedelta(seconds=backoff(claimed.attempts, rng))
        pause = asked_pause(error, wait)
        delay = wait if pause is None else max(wait, pause)
        ambiguous = error.ambiguous
        log.warning(
            "Message %s did not go out on %s, next try in %.0f s: %s",
            claimed.notification.id,
            claimed.channel,
            delay.total_seconds(),
            said,
        )

        def put_back(conn: sa.Connection) -> None:
            outbox.note_failure(conn, claimed.channel)
            if pause is not None:
                outbox.pause(conn, claimed.channel, pause)
            outbox.reschedule(
                conn,
                id_,
                token,
                error=said,
                delay=delay,
                status=status,
                ambiguous=ambiguous,
                counts=not claimed.probe,
            )

        written = await _acknowledge(engine, put_back)
        return Outcome.RETRY if written else Outcome.LOST
    reach(Failpoint.SENT)
    code = int(receipt.status) if receipt.status.isdecimal() else None

    def took(conn: sa.Connection) -> None:
        outbox.note_success(conn, claimed.channel)
        outbox.mark_sent(conn, id_, token, provider_ref=receipt.reference, status=code)
        reach(Failpoint.MARKING)

    written = await _acknowledge(engine, took)
    reach(Failpoint.MARKED)
    log.info("Message %s went out on %s", claimed.notification.id, claimed.channel)
    return Outcome.SENT if written else Outcome.LOST


async def send(channel: Channel, claimed: Claimed, shown: bytes | None, *, deadline: float) -> Receipt:
    """Hand one message to its channel within ``deadline`` seconds; whatever goes wrong is a DeliveryError."""
    notification = replace(claimed.notification, possible_duplicate=claimed.possible_duplicate)
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


async def _acknowledge(engine: sa.Engine, write: Callable[[sa.Connection], None]) -> bool:
    """Write how it went, more than once if need be: what is not written is sent again. False if the claim was lost."""
    for pause in (*ACKNOWLEDGE_PAUSES, None):
        try:
            await _transact(engine, write)
            return True
        except LeaseLost as lost:
            log.warning("%s", lost)
            return False
        except SQLAlchemyError:
            if pause is None:
                raise
            await asyncio.sleep(pause)
    raise AssertionError("unreachable")


async def _transact(engine: sa.Engine, work: Callable[[sa.Connection], Any]) -> Any:
    def run() -> Any:
        with engine.begin() as conn:
            return work(conn)

    return await asyncio.to_thread(run)


class Dispatcher:
    """Delivers until it is stopped: one loop per channel, woken on demand and every ``every`` seconds.

    ``run`` blocks and belongs into a thread of its own; ``wake``, ``stop`` and ``replace`` may be called from any
    thread at any time. After ``stop`` sends under way have ``grace`` seconds; then they are cut and count as ambiguous.
    """

    def __init__(
        self,
        engine: sa.Engine,
        channels: Mapping[str, Channel],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: random.Random | None = None,
        patience: Patience = USUAL,
        every: float = 5.0,
        grace: float = 8.0,
    ) -> None:
        self._engine = engine
        self._channels = dict(channels)
        self._clock = clock
        self._rng = rng or random.Random()
        self._patience = patience
        self._every = every
        self._grace = grace
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._alarms: dict[str, asyncio.Event] = {}
        self._changed: asyncio.Event | None = None
        self.passes = 0
        """Passes over a channel so far: a sign of life for the health check."""

    def run(self) -> None:
        """Deliver until ``stop``; returns when everything under way has ended or was cut."""
        asyncio.run(self._run())

    def wake(self) -> None:
        """Look at the outbox now: something was committed."""
        self._in_loop(self._ring)

    def stop(self) -> None:
        """Claim nothing more; ``run`` returns within ``grace``."""
        self._stopping = True
        self._in_loop(self._ring)

    def replace(self, channels: Mapping[str, Channel]) -> None:
        """Use these channels from now on; sends under way end on the old ones."""
        self._channels = dict(channels)
        self._in_loop(self._ring)

    def _in_loop(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(work)

    def _ring(self) -> None:
        for alarm in [*self._alarms.values(), *([self._changed] if self._changed else [])]:
            alarm.set()

    async def _run(self) -> None:
        self._changed = asyncio.Event()
        with self._lock:
            self._loop = asyncio.get_running_loop()
        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            while not self._stopping:
                tasks = {name: task for name, task in tasks.items() if not task.done()}
                for name in self._channels.keys() - tasks.keys():
                    self._alarms[name] = asyncio.Event()
                    tasks[name] = asyncio.create_task(self._serve(name), name=f"channel {name}")
                await self._changed.wait()
                self._changed.clear()
        finally:
            with self._lock:
                self._loop = None
            if tasks:
                await asyncio.wait(tasks.values(), timeout=self._grace)
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _serve(self, name: str) -> None:
        alarm = self._alarms[name]
        while not self._stopping and (channel := self._channels.get(name)) is not None:
            alarm.clear()
            try:
                await _drain(
                    self._engine,
                    name,
                    channel,
                    now=self._clock(),
                    rng=self._rng,
                    patience=self._patience,
                    limit=100,
                    go_on=lambda: not self._stopping and self._channels.get(name) is channel,
                )
            except Exception as error:  # noqa: BLE001  # whatever it is, mostly an absent database, the next pass tries again
                log.warning("Nothing could be delivered on %s: %s", name, type(error).__name__)
            self.passes += 1
            try:
                async with asyncio.timeout(self._every):
                    await alarm.wait()
            except TimeoutError:
                continue
