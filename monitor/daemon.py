"""The daemon: everything that ``monitor run`` runs, started and stopped together. APScheduler is its clock only."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MISSED, JobExecutionEvent

from monitor import episode, retention, schema, store, web
from monitor.clock import SteadyScheduler
from monitor.compaction import compact, pack, thin
from monitor.deadman import EVERY as SIGN_OF_LIFE
from monitor.deadman import Deadman
from monitor.dispatcher import Dispatcher
from monitor.health import Health, Heartbeats
from monitor.installation import CODE_VERSION, Installation, register
from monitor.metrics import Metrics
from monitor.profiling import Profiler
from monitor.reporting import Reporter
from monitor.sending import USUAL, Patience
from monitor.vitals import Vitals, vitals_of
from monitor.worker import LEASE, TICK, Worker

log = logging.getLogger(__name__)

PROFILE = timedelta(minutes=1)  # between looks for versions without a training profile
UPKEEP = timedelta(hours=1)  # partitions ahead of time, and what is old enough to go
SILENCE = {"scheduler": 60.0, "dispatcher": 120.0}  # seconds without a sign of life that are too long


@dataclass(kw_only=True)
class Daemon:
    """Scheduler, evaluators, dispatcher, process samplers, reports and page of one installation.

    ``evaluating`` is false in a replay, which tells the worker the time itself; everything else then runs as always.
    Every ``tick`` due work is looked for; a run is its owner's for ``lease``, which is renewed at each third of it.
    ``patience`` is the dispatcher's.
    """

    installation: Installation
    evaluating: bool = True
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    lease: timedelta = LEASE
    tick: timedelta = TICK
    patience: Patience = USUAL
    worker: Worker = field(init=False)
    dispatcher: Dispatcher = field(init=False)
    reporter: Reporter = field(init=False)
    serving: web.Serving | None = field(init=False, default=None)
    _scheduler: SteadyScheduler = field(init=False, repr=False)
    _beats: Heartbeats = field(init=False, repr=False)
    _threads: list[threading.Thread] = field(init=False, default_factory=list, repr=False)
    _evaluators: list[threading.Thread] = field(init=False, default_factory=list, repr=False)

    def __post_init__(self) -> None:
        metrics = Metrics(self.installation.engine, clock=self.clock, version=CODE_VERSION)
        self.worker = Worker(
            installation=self.installation, clock=self.clock, lease=self.lease, pace=self.tick, metrics=metrics
        )
        self.dispatcher = Dispatcher(
            self.installation.pulse,
            self.installation.carriers,
            clock=self.clock,
            patience=self.patience,
            every=self.tick.total_seconds(),
        )
        self.reporter = Reporter(installation=self.installation, clock=self.clock)
        self.profiler = Profiler(installation=self.installation, clock=self.clock)
        self.worker.told.append(self.dispatcher.wake)
        self.worker.told.append(self.reporter.wake)
        self._metrics = metrics
        self._beats = Heartbeats(limits=SILENCE)
        # Jobs only ask the store what is due, so a lost or doubled tick is harmless.
        self._scheduler = SteadyScheduler(
            most=self.tick.total_seconds(),
            timezone=UTC,
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._scheduler.add_listener(_report_trouble, EVENT_JOB_ERROR | EVENT_JOB_MISSED)

    def start(self) -> None:
        """Start everything; raises OSError when the page's port cannot be had."""
        self.upkeep()
        app = web.create_app(self.installation, clock=self.clock, health=self.health, metrics=self._metrics)
        self.serving = web.serve(app, self.installation.config.web.address)
        for work, name in ((self.dispatcher.run, "dispatcher"), (self.reporter.run, "reports")):
            thread = threading.Thread(target=work, name=name)
            thread.start()
            self._threads.append(thread)
        self._every(TICK, self.beat, "beat")
        self._every(self.lease / 3, self.worker.renew, "renew leases")
        self._every(UPKEEP, self.upkeep, "upkeep")
        for vitals in vitals_of(self.installation):
            self._every(vitals.every, partial(self.observe, vitals), f"sample {vitals.watched.name}")
        if self.evaluating and self.installation.config.deadman.url is not None:
            deadman = Deadman(installation=self.installation)
            self._every(SIGN_OF_LIFE, lambda: deadman.sign(self.clock()), "sign of life")
        self._scheduler.start()
        if self.evaluating:
            self.evaluate()

    def evaluate(self) -> None:
        """Begin to plan and evaluate windows by the clock."""
        self._evaluators = self.worker.start()
        self.worker.tick()
        self._every(self.tick, self.worker.tick, "plan")
        self._every(self.tick, self.worker.look_again, "look again at tiles")
        if self.profiler.wanted:
            self._every(PROFILE, self.profiler.tick, "profile new versions")

    def stop(self) -> None:
        """Stop claiming, drain what is under way within ten seconds, release the rest."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        self.dispatcher.stop()
        self.reporter.stop()
        self.profiler.stop()
        self.worker.stop(self._evaluators)
        for thread in self._threads:
            thread.join()
        if self.serving is not None:
            self.serving.stop()

    def beat(self) -> None:
        """Give a sign of life for the scheduler, and for the dispatcher when it has passed over its channels."""
        self._beats.beat("scheduler")
        if any(thread.name == "dispatcher" and thread.is_alive() for thread in self._threads):
            self._beats.beat("dispatcher")

    def configured(self, good: bool) -> None:
        """Note whether the configuration file could be used the last time that it was read."""
        self._metrics.configured(good)

    def health(self) -> Health:
        """Return whether the daemon's loops turn."""
        return self._beats.health()

    def upkeep(self) -> None:
        """Write down the configured models, make partitions ahead, drop what is older than its retention."""
        installation, now = self.installation, self.clock()
        config = installation.config
        with installation.engine.begin() as conn:
            for watched in installation.models.values():
                start, until = watched.section.active_bounds()
                register(conn, watched)
                if start is not None and start < now - UPKEEP:
                    retention.ensure_months(conn, start, now if until is None else min(until, now))
            for name in store.remove_models(conn, known=list(installation.models)):
                episode.expire(conn, name, at=now)
            retention.ensure_partitions(conn, now)
        with installation.engine.begin() as conn:
            keep = config.retention
            retention.forget(conn, now, {name: getattr(keep, name) for name in retention.SETTINGS})
        for watched in installation.models.values():
            compact(installation, watched, now=now)
            thin(installation, watched, keep=keep.ok_findings)
        pack(installation, now=now)

    def observe(self, vitals: Vitals) -> None:
        """Measure one serving process; wake the dispatcher if people are to hear of it."""
        decision = vitals.observe(self.clock())
        if decision.notifications:
            self.dispatcher.wake()

    def _every(self, pace: timedelta, work: Callable[[], object], name: str) -> None:
        def safely() -> None:
            try:
                work()
            except sa.exc.SQLAlchemyError as error:
                if not schema.is_outage(error):
                    raise
                self.worker.missed(error)

        self._scheduler.add_job(safely, "interval", seconds=pace.total_seconds(), name=name)


def _report_trouble(event: JobExecutionEvent) -> None:
    if event.exception is not None:
        log.error("a job failed", extra={"job": event.job_id}, exc_info=event.exception)
