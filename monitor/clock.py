"""Time on a machine whose clock may jump: what time it is comes from the store, the pace from the steady clock.

A window that looks due because one machine's clock is a month ahead would be judged empty, and its rows, when they
come, would be late for ever. So replicas ask the database what time it is, and all agree.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from apscheduler.schedulers.background import BackgroundScheduler

from monitor import ledger

log = logging.getLogger(__name__)

ASK = 30.0  # seconds after which the store is asked again
AGAIN = 5.0  # and after which when it did not answer
TELLING = timedelta(minutes=1)  # by which a machine is off before anybody wants to know
JUMP = 1.0  # seconds by which wall and steady clock part that no scheduler would notice


class StoreClock:
    """Tells the store's time, between questions by the steady clock; any thread may ask.

    The first call raises SQLAlchemyError where the store is away; later ones go on by the steady clock.
    """

    def __init__(self, engine: sa.Engine, *, steady: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._steady = steady
        self._asking = threading.Lock()
        self._shown: tuple[datetime, float] | None = None
        self._next = 0.0
        self._off = timedelta(0)

    def __call__(self) -> datetime:
        """Return the store's time, in UTC."""
        if self._shown is None:
            with self._asking:
                self._ask()
        elif self._steady() >= self._next and self._asking.acquire(blocking=False):
            try:
                self._ask()
            except sa.exc.SQLAlchemyError:
                self._next = self._steady() + AGAIN
            finally:
                self._asking.release()
        assert self._shown is not None
        at, steady = self._shown
        return at + timedelta(seconds=self._steady() - steady)

    def _ask(self) -> None:
        with self._engine.begin() as conn:
            before = self._steady()
            at = ledger.time_of_store(conn)
            after = self._steady()
        self._shown = at, (before + after) / 2
        self._next = after + ASK
        off = datetime.now(UTC) - at
        if abs(off - self._off) > TELLING:
            log.warning("this machine's clock is %.0f s off the store's; the store's counts", off.total_seconds())
            self._off = off


class SteadyScheduler(BackgroundScheduler):  # type: ignore[misc]  # APScheduler ships no types
    """A scheduler whose jobs keep their pace when somebody sets the clock.

    APScheduler knows the wall-clock time of each next run alone: an hour back, and nothing runs for an hour; a month
    ahead, and every run that was missed is listed in memory. After a jump all jobs run at once and go on from there.
    """

    def __init__(self, *, most: float, **options: object) -> None:
        super().__init__(**options)
        self._most = most
        self._last: tuple[float, float] | None = None

    def _process_jobs(self) -> float:
        wall, steady = time.time(), time.monotonic()
        if self._last is not None and abs((wall - self._last[0]) - (steady - self._last[1])) > JUMP:
            log.warning("somebody set this machine's clock; jobs go on at their pace")
            now = datetime.now(UTC)
            for job in self.get_jobs():
                job.modify(next_run_time=now)
        self._last = wall, steady
        wait = super()._process_jobs()
        return self._most if wait is None else min(wait, self._most)
