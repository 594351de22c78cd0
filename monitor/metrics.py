"""Metrics in Prometheus' text format: what this process did, and the newest results in the store.

A registry of its own, no global one. Labels are names from the configuration and of columns, never values of the data;
columns are bounded, so that a wide model cannot flood whoever scrapes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from monitor import breaker, history, latest, ledger, outbox
from monitor.breaker import ChannelState, Circuit

if TYPE_CHECKING:
    import sqlalchemy as sa

log = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST
MOST_FEATURES = 200  # per model, the largest effects
VERDICTS = {"ok": 0, "warning": 1, "critical": 2, "inconclusive": -1}
LIGHTS = {"green": 0, "yellow": 1, "red": 2, "grey": -1}
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
DELIVERIES = ("pending", "sending", "held", "dead")  # what is not over; the sent ones only grow

#: Figures of a channel: name of the metric, what it is, and how it is read from the channel's state.
CHANNEL_FIGURES: dict[tuple[str, str], Callable[[ChannelState], int]] = {
    ("monitor_channel_open", "Whether a channel failed too often in a row and is left alone but for probes."): (
        lambda state: int(state.circuit is not Circuit.CLOSED)
    ),
    ("monitor_channel_failures", "Failures of a channel in a row."): lambda state: state.failures,
    ("monitor_channel_waiting", "Messages that wait for a channel."): lambda state: state.waiting,
    ("monitor_channel_dead_letters", "Messages that were given up on a channel."): lambda state: state.dead,
}

#: Figures of a serving process, by column of ``resource_sample``: name of the metric and what it is.
FIGURES = {
    "rss_bytes": ("monitor_process_rss_bytes", "Resident memory of a serving process."),
    "baseline_rss_bytes": ("monitor_process_usual_rss_bytes", "Resident memory that is usual for it."),
    "memory_limit_bytes": ("monitor_process_memory_limit_bytes", "Memory at which it will be killed."),
    "leak_bytes_per_hour": ("monitor_process_leak_bytes_per_hour", "Steady growth of its memory, if there is one."),
    "cpu_percent": ("monitor_process_cpu_percent", "Processor time it uses; 100 is one core."),
    "threads": ("monitor_process_threads", "Threads of a serving process."),
    "open_files": ("monitor_process_open_files", "Open file descriptors of a serving process."),
    "restarts": ("monitor_process_restarts", "Restarts seen since this monitor first saw it."),
}


class Metrics:
    """What ``/metrics`` shows; ``observe_run`` is told of each run, the rest is read from the store when scraped.

    ``engine`` is asked once a scrape; where the store is away, ``monitor_store_up`` is 0 and the counters of this
    process are shown all the same.
    """

    def __init__(self, engine: sa.Engine, *, clock: Callable[[], datetime], version: str = "") -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._rows = Counter(
            "monitor_rows_read_total", "Rows of logs that this process has read.", ["model"], registry=self.registry
        )
        self._transferred = Counter(
            "monitor_rows_transferred_total",
            "Rows that came from the logs for it; the others were in stored tiles.",
            ["model"],
            registry=self.registry,
        )
        self._rechecks = Counter(
            "monitor_rechecks_total",
            "Looks at stored tiles whose rows may still change.",
            ["model"],
            registry=self.registry,
        )
        self._recheck_seconds = Counter(
            "monitor_recheck_seconds_total", "Time that these looks took.", ["model"], registry=self.registry
        )
        self._seconds = Histogram(
            "monitor_run_seconds",
            "Time from reading a window to its committed verdict.",
            ["model", "part"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._failed = Counter(
            "monitor_runs_failed_total", "Runs that went wrong in this process.", ["model"], registry=self.registry
        )
        self._configured = Gauge(
            "monitor_config_reload_success",
            "Whether the configuration file could be used the last time that it was read.",
            registry=self.registry,
        )
        self._configured.set(1)
        self.registry.register(_Stored(engine, clock, version))

    def observe_run(
        self, model: str, part: str, *, seconds: float, rows: int = 0, transferred: int = 0, failed: bool = False
    ) -> None:
        """Count one run of a window: its part (inputs, outcomes, process), its time, the rows it read."""
        self._rows.labels(model).inc(rows)
        self._transferred.labels(model).inc(transferred)
        if failed:
            self._failed.labels(model).inc()
        else:
            self._failed.labels(model).inc(0)  # a series that begins at zero lets its first increase be seen
            self._seconds.labels(model, part).observe(seconds)

    def configured(self, good: bool) -> None:
        """Note whether the configuration file could be used the last time that it was read."""
        self._configured.set(good)

    def observe_recheck(self, model: str, *, checks: int, seconds: float) -> None:
        """Count looks at stored tiles that transfer no row, and their time."""
        self._rechecks.labels(model).inc(checks)
        self._recheck_seconds.labels(model).inc(seconds)

    def text(self) -> bytes:
        """Return the page in the text format, see ``CONTENT_TYPE``."""
        return generate_latest(self.registry)


class _Stored(Collector):
    def __init__(self, engine: sa.Engine, clock: Callable[[], datetime], version: str) -> None:
        self._engine = engine
        self._clock = clock
        self._version = version

    def collect(self) -> Iterable[Metric]:
        yield gauge("monitor_build_info", "1, with the version that runs.", [((self._version,), 1)], ["version"])
        try:
            with self._engine.connect() as conn:
                found = list(stored(conn, now=self._clock()))
        except Exception:  # a scrape must show that something is wrong, not fail with it
            log.warning("the metrics of the store cannot be read", exc_info=True)
            yield gauge("monitor_store_up", "Whether the store could be read.", [((), 0)])
            return
        yield gauge("monitor_store_up", "Whether the store could be read.", [((), 1)])
        yield from found


def stored(conn: sa.Connection, *, now: datetime) -> Iterator[Metric]:
    """Yield the newest results in the store as gauges."""
    models = history.status(conn)
    yield gauge(
        "monitor_light",
        "Where a model stands: 0 green, 1 yellow, 2 red, -1 grey (could not tell).",
        [((row["model"],), LIGHTS[row["light"]]) for row in models],
        ["model"],
    )
    yield gauge(
        "monitor_drift_effect",
        f"Shift of a column in the last window, in reference standard deviations; the {MOST_FEATURES} largest a model.",
        [((row["model"], row["column_name"]), row["effect"]) for row in latest.effects(conn, most=MOST_FEATURES)],
        ["model", "feature"],
    )
    yield gauge(
        "monitor_verdict",
        "Worst verdict of a check in its last window: 0 ok, 1 warning, 2 critical, -1 inconclusive.",
        [((row["model"], row["check_name"]), VERDICTS[row["verdict"]]) for row in latest.verdicts(conn)],
        ["model", "check"],
    )
    firing = {(row["model"], severity): 0 for row in models for severity in ("warning", "critical")}
    firing |= {(row["model"], row["severity"]): row["number"] for row in latest.firing(conn)}
    yield gauge("monitor_alerts_firing", "Open alerts.", firing.items(), ["model", "severity"])
    yield gauge(
        "monitor_last_success_timestamp_seconds",
        "When a window of the model was last judged.",
        _newest(latest.runs(conn)).items(),
        ["model"],
    )
    yield gauge("monitor_runs_due", "Windows that are due and not begun.", [((), ledger.backlog(conn, now=now))])
    oldest = outbox.oldest_pending_age(conn)
    yield gauge(
        "monitor_outbox_oldest_seconds",
        "How long the oldest unsent message has been due.",
        [((), 0.0 if oldest is None else oldest.total_seconds())],
    )
    waiting = outbox.counts(conn)
    yield gauge(
        "monitor_outbox_pending",
        "Messages that are not delivered, by state.",
        [((state,), waiting.get(state, 0)) for state in DELIVERIES],
        ["state"],
    )
    states = breaker.channel_states(conn)
    for (name, text), measure in CHANNEL_FIGURES.items():
        yield gauge(name, text, [((state.channel,), measure(state)) for state in states], ["channel"])
    processes = latest.processes(conn)
    for column, (name, text) in FIGURES.items():
        values = [((row["model"], row["process"]), row[column]) for row in processes if row[column] is not None]
        yield gauge(name, text, values, ["model", "process"])


def gauge(
    name: str, text: str, values: Iterable[tuple[tuple[str, ...], Any]], labels: Iterable[str] = ()
) -> GaugeMetricFamily:
    """Return a gauge with a value for each combination of labels; what is no finite number is left out.

    >>> [sample.value for sample in gauge("g", "A gauge.", [(("a",), 1), (("b",), float("nan"))], ["x"]).samples]
    [1.0]
    """
    family = GaugeMetricFamily(name, text, labels=list(labels))
    for key, value in values:
        if math.isfinite(number := float(value)):
            family.add_metric(list(key), number)
    return family


def _newest(runs: Iterable[sa.RowMapping]) -> dict[tuple[str, ...], float]:
    newest: dict[tuple[str, ...], float] = {}
    for run in runs:
        if run["finished_at"] is not None:
            key, at = (run["model"],), run["finished_at"].timestamp()
            newest[key] = max(newest.get(key, at), at)
    return newest
