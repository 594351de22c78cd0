"""The daemon's heart: what is due is planned, claimed and evaluated; APScheduler only ticks."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa

from monitor import evaluation, ledger, pipeline, schema
from monitor.check import Stage
from monitor.evaluation import CHAMPION
from monitor.failpoint import Failpoint, reach
from monitor.installation import Installation, Monitored
from monitor.ledger import LeaseLost, Run
from monitor.metrics import Metrics
from monitor.model import CatchUp
from monitor.reading import wait_of
from monitor.recheck import recheck_all
from monitor.reminder import remind
from monitor.review import review
from monitor.source import SlowReadError, SourceError
from monitor.window import Window

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)  # a dead owner's run is taken over after this time
TICK = timedelta(seconds=5)
DRAIN = timedelta(seconds=8)  # of the ten that an orchestrator waits after SIGTERM
EVALUATORS = 2
SPREAD = timedelta(milliseconds=100)  # about what a window takes
MOST_SKIPPED = 5000  # windows written down in one statement: each takes two of its 65,535 parameters


@dataclass(kw_only=True)
class Worker:
    """Plans and evaluates the windows of one installation; any number of workers may share a store.

    ``clock`` tells the time: the daemon's is the real one, a replay hands in the moments it lives through. ``lease`` is
    how long a run stays its owner's without a renewal, ``pace`` how long an evaluator with nothing to do waits.
    """

    installation: Installation
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    lease: timedelta = LEASE
    pace: timedelta = TICK
    owner: str = field(default_factory=lambda: str(uuid.uuid4()))  # fresh per process: a restart is somebody else
    active: dict[uuid.UUID, Run] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    awake: threading.Event = field(default_factory=threading.Event)
    familiar: set[str] = field(default_factory=set)
    """Models that this process has learned what is usual for: it keeps to them where it can."""
    metrics: Metrics | None = None
    told: list[Callable[[], None]] = field(default_factory=list)
    """Called when alerts moved or messages were written: there may be something to send or to report."""
    _owed: deque[Callable[[], None]] = field(default_factory=deque, repr=False)
    _away: bool = False
    _claiming: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def advance(self, now: datetime) -> int:
        """Plan and evaluate everything due at ``now``, one run after the other; returns how many were done."""
        self.plan(now)
        done = 0
        while not self.stopping.is_set():
            if self.work(now):
                done += 1
            elif not self.recheck(now):
                break
        self.remind(now)
        self.review(now)
        return done

    def recheck(self, now: datetime) -> int:
        """Look again at stored tiles that are due; returns how many windows are to be judged again because of it."""
        found = recheck_all(self.installation, now=now)
        if self.metrics is not None:
            for model, looks in found.items():
                self.metrics.observe_recheck(model, checks=len(looks), seconds=sum(look.seconds for look in looks))
        revised = sum(look.revised for looks in found.values() for look in looks)
        if revised:
            self.awake.set()
        return revised

    def remind(self, now: datetime) -> None:
        """Escalate what nobody has taken on, and say which silences end soon."""
        if remind(self.installation, now=now):
            self._tell()

    def review(self, now: datetime) -> None:
        """Put the digest of the last complete period into the outbox, once its windows are evaluated."""
        for watched in self.installation.models.values():
            if review(self.installation, watched, now=now):
                self._tell()

    def plan(self, now: datetime) -> None:
        """Write every window that is due into the ledger, take back what dead owners held."""
        fresh = 0
        with self.installation.engine.begin() as conn:
            for lost in sorted(ledger.rescue(conn), key=lambda run: run.model):  # all take models' alerts in one order
                log.warning("took back a run", extra={"model": lost.model, "window": lost.window.start.isoformat()})
                if lost.state == "dead":
                    self._observe(conn, lost, ledger.RESCUED, dead=True, now=now)
            models = self.installation.models
            owed = [(name, stage) for name, watched in models.items() for stage in stages(watched)]
            last = ledger.last_scheduled(conn, CHAMPION, [(name, stage.value) for name, stage in owed])
            for name, stage in owed:
                after = last.get((name, stage.value))
                fresh += plan_windows(conn, models[name], stage, after, now=now, among=len(models))
        if fresh:
            reach(Failpoint.MATERIALISED)

    def work(self, now: datetime, *, models: Sequence[str] | None = None, current_only: bool = False) -> bool:
        """Claim and evaluate one run (of these models); False when nothing is due. A failed run goes back.

        With ``current_only`` backlog is left to others.
        """
        run = self._claim(now, list(self.installation.models if models is None else models), current_only)
        if run is None:
            return False
        assert run.token is not None
        extra = {"model": run.model, "part": run.part, "window": run.window.start.isoformat()}
        began, done = time.perf_counter(), None
        try:
            reach(Failpoint.CLAIMED)
            watched = self.installation.model(run.model)
            # whoever of several processes evaluates a backfill: the history is complete, nobody is told
            done = evaluation.evaluate(self.installation, watched, run, now=now, quiet=run.kind == "backfill")
        except LeaseLost:
            log.warning("lost the run to another process; nothing was written", extra=extra)
        except SourceError as error:
            log.warning("a run waits: %s", error, extra=extra)
            # logs that nobody can read are no fault of this window; one that is too slow to read must not hold up all
            self._give_back(run, run.token, str(error), now=now, counts=isinstance(error, SlowReadError))
        except MemoryError:
            log.warning("a run had no memory left", extra=extra)
            self._give_back(run, run.token, ledger.OUT_OF_MEMORY, now=now)
        except Exception as error:
            if away := schema.is_outage(error):
                log.warning("a run was interrupted, the store is away: %s", first_line(error), extra=extra)
            else:
                log.exception("a run failed", extra=extra)
            self._give_back(run, run.token, f"{type(error).__name__}: {first_line(error)}", now=now, counts=not away)
        finally:
            self.active.pop(run.run_id, None)
        if self.metrics is not None:
            seconds = time.perf_counter() - began
            rows, moved = (0, 0) if done is None else (done.rows, done.transferred)
            self.metrics.observe_run(
                run.model, run.part, seconds=seconds, rows=rows, transferred=moved, failed=done is None
            )
        if done is not None and pipeline.is_troubled(done.alerts):
            with self.installation.engine.begin() as conn:
                self._observe(conn, run, None, now=now)
            self._tell()
        elif done is not None and (done.decision.transitions or done.decision.notifications):
            self._tell()
        return True

    def _claim(self, now: datetime, models: Sequence[str], current_only: bool) -> Run | None:
        """Claim a run of a model that no other evaluator of this process works on: a slow one holds up one of them."""
        with self._claiming:
            busy = {run.model for run in self.active.values()}
            with self.installation.engine.begin() as conn:
                run = ledger.claim(
                    conn,
                    self.owner,
                    now=now,
                    lease=self.lease,
                    models=[model for model in models if model not in busy],
                    current_only=current_only,
                    familiar=list(self.familiar),
                )
                if run is None:
                    return None
                reach(Failpoint.CLAIMING)
            self.active[run.run_id] = run
            self.familiar.add(run.model)
        return run

    def _tell(self) -> None:
        for tell in self.told:
            tell()

    def _give_back(self, run: Run, token: uuid.UUID, error: str, *, now: datetime, counts: bool = True) -> None:
        try:
            with self.installation.engine.begin() as conn:
                dead = ledger.fail(conn, run.run_id, token, error, counts=counts) == "dead"
                told = self._observe(conn, run, error, dead=dead, now=now)
        except LeaseLost:
            log.warning("the run was taken over before it failed", extra={"model": run.model})
        except sa.exc.SQLAlchemyError as trouble:
            if not schema.is_outage(trouble):
                raise
            # the ledger is to learn of it when it is there again, and not when the lease ends: that would be an attempt
            self._owed.append(partial(self._give_back, run, token, error, now=now, counts=counts))
        else:
            if told:
                self._tell()

    def _observe(
        self, conn: sa.Connection, run: Run, problem: str | None, *, dead: bool = False, now: datetime
    ) -> bool:
        watched = self.installation.models.get(run.model)
        if watched is None:
            return False
        return pipeline.observe(conn, self.installation, watched, run, problem=problem, dead=dead, now=now)

    def renew(self) -> None:
        """Renew the leases of what this process works on, on connections of their own."""
        for run in list(self.active.values()):
            assert run.token is not None
            try:
                with self.installation.pulse.begin() as conn:
                    ledger.heartbeat(conn, run.run_id, run.token, self.lease)
            except LeaseLost:
                if run.run_id in self.active:  # else it ended in the meantime
                    log.warning("a lease was lost", extra={"model": run.model, "run_id": str(run.run_id)})

    def loop(self, *, current_only: bool = False) -> None:
        """Evaluate until told to stop; sleeps while nothing is due."""
        while not self.stopping.is_set():
            try:
                busy = self.work(self.clock(), current_only=current_only)
            except Exception as error:
                # an evaluator that ended would leave windows to nobody; what it held comes back when its lease ends
                if schema.is_outage(error):
                    self.missed(error)
                else:
                    log.exception("an evaluator stumbled")
                busy = False
            if not busy:
                self.awake.wait(self.pace.total_seconds())
                self.awake.clear()

    def tick(self) -> None:
        """Plan what is due, remind, review what is over, wake the evaluators; the next tick makes up for a lost one."""
        try:
            self._settle()
            self.plan(self.clock())
            self.remind(self.clock())
            self.review(self.clock())
        except sa.exc.SQLAlchemyError as error:
            if not schema.is_outage(error):
                raise
            self.missed(error)
        else:
            if self._away:
                self._away = False
                log.info("the store can be reached again")
        self.awake.set()

    def missed(self, error: Exception) -> None:
        """Say once that the store is away, however often that is noticed until a tick reaches it again."""
        if not self._away:
            self._away = True
            log.warning("the store cannot be reached; trying again until it can: %s", first_line(error))

    def _settle(self) -> None:
        """Give back what could not be given back while the store was away; what still cannot be waits on."""
        for _ in range(len(self._owed)):
            self._owed.popleft()()

    def look_again(self) -> None:
        """Look again at tiles by the clock; a lost tick is made up for by the next."""
        try:
            self.recheck(self.clock())
        except sa.exc.SQLAlchemyError as error:
            if not schema.is_outage(error):
                raise
            self.missed(error)

    def start(self) -> list[threading.Thread]:
        """Start the evaluators and return their threads."""
        threads = [
            # At most half of them work on what should have been done long ago.
            threading.Thread(
                target=self.loop,
                kwargs={"current_only": 2 * number >= EVALUATORS},
                name=f"evaluator-{number}",
                daemon=True,
            )
            for number in range(EVALUATORS)
        ]
        for thread in threads:
            thread.start()
        return threads

    def stop(self, threads: Iterable[threading.Thread]) -> None:
        """Stop claiming, wait for what is running within the grace, give the rest back to the ledger."""
        self.stopping.set()
        self.awake.set()
        deadline = threading.Event()
        timer = threading.Timer(DRAIN.total_seconds(), deadline.set)
        timer.start()
        for thread in threads:
            while thread.is_alive() and not deadline.is_set():
                thread.join(0.1)
        timer.cancel()
        for run in list(self.active.values()):
            assert run.token is not None
            # it may have been finished since it was listed
            with contextlib.suppress(LeaseLost), self.installation.pulse.begin() as conn:
                ledger.release(conn, run.run_id, run.token)


def first_line(error: Exception) -> str:
    """Return what a database said without the statement that SQLAlchemy appends; of other errors all they say."""
    said = str(getattr(error, "orig", None) or error)
    return said.splitlines()[0].strip() if isinstance(error, sa.exc.SQLAlchemyError) and said else said


def stages(watched: Monitored) -> tuple[Stage, ...]:
    """Return the stages a model has: outcomes only where there is an outcome feed."""
    return (Stage.INPUTS, Stage.OUTCOMES) if watched.section.source.outcome else (Stage.INPUTS,)


def due_windows(
    watched: Monitored, stage: Stage, last: Window | None, *, now: datetime
) -> tuple[list[Window], list[Window]]:
    """Return the windows to plan and those to skip, after ``last``, by activity and catch-up policy. Pure."""
    section, spec = watched.section, watched.spec
    start, until = section.active_bounds()
    wait = wait_of(watched, stage)
    oldest = now - wait - section.max_catch_up
    first = spec.following(last) if last is not None else spec.starting(oldest if start is None else start)
    windows: list[Window] = []
    while first.end + wait <= now and (until is None or first.end <= until):
        windows.append(first)
        first = spec.following(first)
    match section.catch_up:
        case CatchUp.ALL:
            planned = [window for window in windows if window.end >= oldest]
        case CatchUp.LATEST:
            planned = windows[-1:]
        case CatchUp.NONE:
            planned = [window for window in windows if now - (window.end + wait) < spec.pace]
    return planned, windows[: len(windows) - len(planned)]


def plan_windows(
    conn: sa.Connection, watched: Monitored, stage: Stage, last: Window | None, *, now: datetime, among: int = 1
) -> int:
    """Write a model's due windows after ``last`` into the ledger; returns how many are new and to be evaluated.

    Windows beyond the catch-up policy are written as skipped. ``among`` is the number of models: see ``jitter``.
    """
    planned, skipped = due_windows(watched, stage, last, now=now)
    if skipped:
        reason = f"older than max_catch_up when it could be evaluated (catch_up: {watched.section.catch_up})"
        for first in range(0, len(skipped), MOST_SKIPPED):
            some = skipped[first : first + MOST_SKIPPED]
            ledger.skip(conn, watched.name, CHAMPION, stage.value, some, reason=reason)
    wait = wait_of(watched, stage) + jitter(watched.name, among, watched.spec.pace)
    return ledger.materialise(conn, watched.name, CHAMPION, stage.value, planned, wait=wait)


def jitter(model: str, models: int, pace: timedelta) -> timedelta:
    """Return how much later than its fellows a model is due, so that many do not ask the logs at the same moment.

    It is the same for a model each time and in every process, and spread evenly over a tenth of a second for each model
    that the evaluators of one process cannot take at once, at most a twentieth of the time between windows.

    >>> jitter("fraud", 2, timedelta(hours=1)), jitter("fraud", 502, timedelta(hours=1)) < timedelta(seconds=50)
    (datetime.timedelta(0), True)
    """
    span = min(max(models - EVALUATORS, 0) * SPREAD, pace / 20)
    drawn = int.from_bytes(hashlib.blake2b(model.encode(), digest_size=4).digest())
    return span * (drawn / (1 << 32))


def plan_anew(conn: sa.Connection, watched: Monitored, windows: Sequence[Window], *, kind: str, now: datetime) -> None:
    """Plan windows that a person asks for, in all stages that are due; one that was evaluated gets a new revision.

    Nobody is told of what comes of the kind ``backfill``.
    """
    for stage in stages(watched):
        wait = wait_of(watched, stage)
        due = [window for window in windows if window.end + wait <= now]
        ledger.materialise(conn, watched.name, CHAMPION, stage.value, due, wait=wait, kind=kind)
        ledger.revise(conn, watched.name, CHAMPION, stage.value, due, due_at=now, reason="asked for", kind=kind)
