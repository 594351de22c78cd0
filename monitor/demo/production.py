"""The flights as production: logged day by day, outcomes once the flights have landed, and the worker told the time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import psycopg
import pyarrow as pa
from rich.progress import Progress

from monitor.check import Stage
from monitor.demo import flights, serving
from monitor.demo.fault import injected_on
from monitor.demo.flights import Flights, local_midnight
from monitor.reading import wait_of
from monitor.worker import Worker


@dataclass(kw_only=True)
class Progressed:
    """What a replay came to: days, rows, and the seconds of each part."""

    days: int = 0
    predictions: int = 0
    outcomes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time that the block takes to a part."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began


def moments(worker: Worker, until: date) -> Iterator[tuple[date, datetime]]:
    """Yield each local day to live through and the moment after it at which its window is due.

    The days go on from ``until`` until the outcomes of the last window have matured.
    """
    watched = worker.installation.model(flights.MODEL)
    due = wait_of(watched, Stage.INPUTS)
    last = local_midnight(until) + wait_of(watched, Stage.OUTCOMES)
    day = flights.PRODUCTION_FROM
    while True:
        now = local_midnight(day + timedelta(days=1)) + due
        yield day, now
        if now >= last:
            return
        day += timedelta(days=1)


def feed(conn: psycopg.Connection, rows: tuple[date, pa.Table, pa.Table], until: date) -> tuple[int, int]:
    """Log one day's predictions and the outcomes that became known on it; returns how many of each.

    From ``until`` on nothing is predicted, but flights that were under way still land.
    """
    day, predictions, outcomes = rows
    with conn.transaction():
        if day < until:
            serving.append(conn, serving.PREDICTIONS, predictions)
            serving.append(conn, serving.OUTCOMES, outcomes)
            return predictions.num_rows, outcomes.num_rows
        serving.append(conn, serving.OUTCOMES, outcomes)
        return 0, outcomes.num_rows - serving.forget_unasked(conn)


def live(prepared: Flights, worker: Worker, *, until: date, progress: Progress) -> Progressed:
    """Live through the days: log their rows, then let the worker do what is due; returns what it came to."""
    done = Progressed()
    days = list(moments(worker, until))
    task = progress.add_task("", total=len(days))
    rows = {"predictions": 0, "outcomes": 0}
    logged = prepared.days()
    ahead = next(logged, None)
    with psycopg.connect(worker.installation.dsn) as conn:
        for day, now in days:
            with done.timed("logging rows"):
                while ahead is not None and ahead[0] <= day:
                    predictions, outcomes = feed(conn, ahead, until)
                    rows["predictions"] += predictions
                    rows["outcomes"] += outcomes
                    ahead = next(logged, None)
            with done.timed("evaluating windows"):
                worker.advance(now)
            note = injected_on(day) if day < until else "waiting for the last outcomes"
            progress.update(task, advance=1, description=f"{day:%a %d %b %Y}  {note}")
    done.days, done.predictions, done.outcomes = len(days), rows["predictions"], rows["outcomes"]
    return done
