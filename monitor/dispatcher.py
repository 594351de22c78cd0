"""The dispatcher: takes what is due from the outbox and hands it to the channels, which do not wait for each other."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from monitor.notification import Channel, is_hook
from monitor.sending import USUAL, Outcome, Patience, Sender

log = logging.getLogger(__name__)


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
    senders = [
        Sender(
            engine=engine,
            name=name,
            channel=channel,
            now=now,
            rng=rng,
            patience=patience,
            others=_others(name, channels),
        )
        for name, channel in channels.items()
    ]
    return sum(await asyncio.gather(*(sender.drain(limit=limit) for sender in senders)), Counter[Outcome]())


class _Threads(ThreadPoolExecutor):
    """Threads that nobody waits for: a name that is being resolved cannot be cut, and must not hold up the end."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001  # whoever waits for the future gets it
                    future.set_exception(error)

        threading.Thread(target=work, daemon=True, name="of the dispatcher").start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


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
        self._rng = rng or random.Random()  # noqa: S311  # spreads retries, guards nothing
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
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(_Threads())
            runner.run(self._run())

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
                sender = Sender(
                    engine=self._engine,
                    name=name,
                    channel=channel,
                    now=self._clock(),
                    rng=self._rng,
                    patience=self._patience,
                    others=_others(name, self._channels),
                )
                await sender.drain(limit=100, go_on=lambda: not self._stopping and self._channels.get(name) is channel)
            except Exception as error:  # noqa: BLE001  # whatever it is, mostly an absent database, the next pass tries again
                log.warning("Nothing could be delivered on %s: %s", name, type(error).__name__)
            self.passes += 1
            try:
                async with asyncio.timeout(self._every):
                    await alarm.wait()
            except TimeoutError:
                continue


def _others(name: str, channels: Mapping[str, Channel]) -> list[str]:
    """The channels to people on which it is told that one is broken."""
    return [other for other in channels if other != name and not is_hook(other)]
