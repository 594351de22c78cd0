"""Processes that are killed: workers and dispatchers forked one after the other, each of which dies at a failpoint.

A whole daemon takes seconds to start; a worker that is forked from a process with configuration and training profiles
in memory takes a tenth of one, so that thousands can be killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import sqlalchemy as sa

from monitor import failpoint, ledger, schema
from monitor.dispatcher import deliver
from monitor.evaluation import current_reference
from monitor.failpoint import Failpoint
from monitor.installation import Installation, load_config
from monitor.sending import Patience
from monitor.worker import Worker
from tests.faults.replica import context

LEASE = timedelta(seconds=4)  # of runs: on a busy machine a shorter one ends under an evaluation that is alive
DELIVERY = Patience(deadline=10, lease=timedelta(seconds=12))  # long enough for a send that a busy machine holds up
DELIVERIES = (Failpoint.DELIVERY_CLAIMED, Failpoint.SENT, Failpoint.MARKING, Failpoint.MARKED)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who is to die: ``kills`` processes, each at the ``nth`` reach of a point.

    Where the point is one of delivery, they serve the channel of its name. ``at`` is what time it is for them, ``pace``
    by how much it goes on with every process, ``tried`` how often runs count as tried that nobody has touched.
    """

    file: Path
    at: datetime
    point: Failpoint
    kills: int = 1
    nth: int = 1
    pace: timedelta = timedelta(0)
    tried: int = 0
    seconds: float = 900.0


@contextmanager
def dying(*plans: Plan) -> Iterator[Callable[[], list[int]]]:
    """Let processes die as planned, the plans side by side; yields a function that waits and returns the kills."""
    pipes, children = [], []
    for plan in plans:
        ours, theirs = context().Pipe(duplex=False)
        child = context().Process(target=_breed, args=(plan, theirs), daemon=True)
        child.start()
        theirs.close()
        pipes.append(ours)
        children.append(child)
    try:
        yield lambda: [int(pipe.recv()) for pipe in pipes]
    finally:
        for child in children:
            child.kill()
            child.join()


@dataclass(kw_only=True)
class Survivor:
    """A replica that nobody kills, in threads of the test: it takes back and does what dead owners held."""

    installation: Installation
    at: datetime
    tried: int = 0
    slowest: float = 0.0
    """The longest time in seconds from the last sign of life of an owner to the moment its run was taken back."""
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Survivor:
        self._threads = [threading.Thread(target=work) for work in (self._rescue, self._work)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _rescue(self) -> None:
        late = sa.text("SELECT max(clock_timestamp() - lease_until) FROM monitor.run WHERE lease_until < now()")
        while not self._over.wait(0.1):
            with self.installation.engine.begin() as conn:
                overdue: timedelta | None = conn.execute(late).scalar_one()
                if ledger.rescue(conn) and overdue is not None:
                    self.slowest = max(self.slowest, (LEASE + overdue).total_seconds())

    def _work(self) -> None:
        worker = Worker(installation=self.installation, lease=10 * LEASE)
        while not self._over.wait(0.1):
            if harmed := models_of(self.installation, self.tried, harmed=True):
                worker.work(self.at, models=harmed)


def models_of(installation: Installation, tried: int, *, harmed: bool) -> list[str]:
    """Return the models whose next run was tried more than so often, or was not."""
    query = sa.text("""
        SELECT model FROM monitor.run WHERE state = 'planned' GROUP BY model HAVING (max(attempts) > :tried) = :harmed
    """)
    with installation.engine.begin() as conn:
        return list(conn.scalars(query, {"tried": tried, "harmed": harmed}))


def _breed(plan: Plan, result: Connection) -> None:
    config = load_config(plan.file, {})
    url = schema.database_url(config.store.url.get_secret_value()).render_as_string(False)
    installation = Installation(config=config, url=url)
    with installation.engine.begin() as conn:
        for watched in installation.models.values():
            current_reference(conn, installation, watched, at=plan.at)
    # One piece of work warms what is remembered for the next, such as compiled statements.
    if plan.point in DELIVERIES:
        _dispatch(installation, plan.point, limit=1)
    elif plan.point is not Failpoint.MATERIALISED:
        Worker(installation=installation, lease=LEASE).work(
            plan.at, models=models_of(installation, plan.tried, harmed=False)
        )
    installation.close()  # every child makes connections of its own
    installation.sources.clear()
    killed, born, until = 0, 0, time.monotonic() + plan.seconds
    while killed < plan.kills and time.monotonic() < until:
        born += 1
        pid = os.fork()
        if pid == 0:
            _live(plan, installation, plan.at + born * plan.pace)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            killed += 1
        else:
            time.sleep(0.1)  # nothing to do at the moment: leases have to end first
    result.send(killed)


def _live(plan: Plan, installation: Installation, now: datetime) -> None:
    try:
        failpoint.arm({failpoint.VARIABLE: f"{plan.point}=kill@{plan.nth}"})
        if plan.point in DELIVERIES:
            _dispatch(installation, plan.point, limit=1000)
        elif plan.point is Failpoint.MATERIALISED:
            Worker(installation=installation).plan(now)
        else:
            _evaluate(installation, now, plan.tried)
    finally:
        os._exit(0)


def _dispatch(installation: Installation, channel: str, *, limit: int) -> None:
    asyncio.run(
        deliver(
            installation.pulse,
            {channel: installation.channels[channel]},
            now=datetime.now(UTC),
            rng=random.Random(os.getpid()),
            patience=DELIVERY,
            limit=limit,
        )
    )


def _evaluate(installation: Installation, now: datetime, tried: int) -> None:
    worker = Worker(installation=installation, lease=LEASE)

    def renew() -> None:
        while True:
            time.sleep(LEASE.total_seconds() / 3)
            worker.renew()

    threading.Thread(target=renew, daemon=True).start()
    # a run is killed once, and then done by the survivor: five kills of the same would be another story
    while (fresh := models_of(installation, tried, harmed=False)) and worker.work(now, models=fresh):
        pass
