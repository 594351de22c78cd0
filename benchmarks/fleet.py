"""Many models on one machine: ``python -m benchmarks.fleet [MODELS [HOURS [PROCESSES]]]``.

Models (500 unless told otherwise) with ten features and hourly windows of 10,000 rows are evaluated for a day by two
daemons' workers, each a process of its own, that share one store. They all read the same table, so that the disk holds
a day of rows once and not 500 times; each model has a training profile and a history of its own. Prints how long the
hours took, how the workers shared the windows, their processor time and memory, and how long the hours of all models
took at most. The first hour is told apart: in it each process computes what it keeps of every training profile.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import psutil
import psycopg

from benchmarks.rechecks import FIRST, HOUR, fill
from monitor import embedded, schema, store
from monitor.installation import Installation, load_config
from monitor.outcome import Task
from monitor.reference import Reference, build_reference
from monitor.retention import ensure_months
from monitor.source import Batch, CategoryValues, NumericValues
from monitor.window import WindowSpec
from monitor.worker import Worker

ROWS = 10_000  # of a window
NUMBERS = [f"n{i}" for i in range(7)]
TEXTS = [f"t{i}" for i in range(3)]
MODEL = """
  {name}:
    active: {{from: 2024-05-06, until: 2024-05-07}}
    source:
      table: logged
      time: at
      id: id
      features: {{{features}}}
      prediction: {{score: p, threshold: 0.5}}
    window: 1h
"""
LOOK = timedelta(minutes=20)  # after an hour's end: lag is over


def write(file: Path, url: str, models: int) -> None:
    """Write the configuration of so many models."""
    features = ", ".join([*(f"{n}: numeric" for n in NUMBERS), *(f"{n}: categorical" for n in TEXTS)])
    sections = "".join(MODEL.format(name=f"m{number:03d}", features=features) for number in range(models))
    file.write_text(f'store: {{url: "{url}"}}\nmodels:{sections}')


def profile() -> Reference:
    """Return the training profile of thirty days before FIRST, of windows as large as production's."""
    rng = np.random.default_rng(0)
    n = 30 * 24 * 100
    columns = {name: NumericValues(values=rng.random(n) * 100, missing=np.zeros(n, bool)) for name in NUMBERS}
    categories = {
        name: CategoryValues(
            codes=rng.integers(0, i + 3, n).astype(np.int32), categories=[f"category {k}" for k in range(i + 3)]
        )
        for i, name in enumerate(TEXTS)
    }
    batch = Batch(
        rows=n,
        time=round((FIRST - 30 * 24 * HOUR).timestamp()) * 1_000_000 + np.arange(n) * 36_000_000,
        columns={**columns, **categories},
        score=rng.random(n),
    )
    return build_reference(
        batch,
        model="m",
        version="1",
        task=Task.BINARY,
        spec=WindowSpec(width=HOUR),
        created_at=FIRST,
        rows=n,
        source="a benchmark",
    )


def live(file: Path, url: str, hours: int, done: multiprocessing.Queue[tuple[list[int], float, float, float]]) -> None:
    """Evaluate hour after hour as one of several workers, and tell how many windows of each and what it took."""
    installation = Installation(config=load_config(file, {}), url=url)
    worker, windows, first = Worker(installation=installation), [], 0.0
    try:
        for hour in range(1, hours + 1):
            windows.append(worker.advance(FIRST + hour * HOUR + LOOK))
            first = first or time.process_time()
    finally:
        installation.close()
    whole, later = time.process_time(), sum(windows[1:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    done.put((windows, whole, (whole - first) / max(later, 1), peak))


def server_time(server: embedded.EmbeddedPostgres) -> float:
    """Return the seconds of processor that Postgres took so far, in all its processes."""
    postmaster = psutil.Process(int((server.data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))
    own = postmaster.cpu_times()
    spent = own.user + own.system + own.children_user + own.children_system
    for child in postmaster.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            spent += times.user + times.system
    return spent


def main(models: int, hours: int, processes: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, embedded.start(Path(folder) / "postgres") as server:
        schema.upgrade(server.url)
        fill(server.dsn, 24 * ROWS, numbers=NUMBERS, texts=TEXTS)
        file = Path(folder) / "monitor.yaml"
        write(file, server.url, models)
        installation, reference = Installation(config=load_config(file, {}), url=server.url), profile()
        with installation.engine.begin() as conn:
            ensure_months(conn, FIRST, FIRST + 24 * HOUR)
            for name in installation.models:
                body = replace(reference, model=name).to_bytes()
                store.save_reference(conn, model=name, body=body, active_from=FIRST, rows=reference.rows)
        installation.close()
        context = multiprocessing.get_context("spawn")
        done: multiprocessing.Queue[tuple[list[int], float, float, float]] = context.Queue()
        started = [context.Process(target=live, args=(file, server.url, hours, done)) for _ in range(processes)]
        began, before = time.perf_counter(), server_time(server)
        for process in started:
            process.start()
        told = [done.get() for _ in started]
        seconds = time.perf_counter() - began
        serving = server_time(server) - before
        for process in started:
            process.join()
        with psycopg.connect(server.dsn) as conn:
            runs, rows = conn.execute(
                "SELECT count(*), sum(rows_read)::bigint FROM monitor.run WHERE state = 'done'"
            ).fetchone() or (0, 0)
            ((owed,),) = conn.execute("SELECT count(*) FROM monitor.run WHERE state <> 'done'").fetchall()
            slowest, usual = conn.execute(
                "SELECT max(seconds), percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FROM monitor.run"
            ).fetchone() or (0, 0)
            first, *others = (
                float(took)
                for (took,) in conn.execute(
                    "SELECT extract(epoch FROM max(finished_at) - min(started_at)) FROM monitor.run"
                    " GROUP BY window_start ORDER BY window_start"
                )
            )
        load = psutil.getloadavg()[0]
        print(f"{models} models × {hours} hourly windows of {rows / max(runs, 1):,.0f} rows, {processes} processes")
        print(f"load {load:.1f}: {runs:,} windows in {seconds:,.0f} s, {owed} not done")
        print(
            f"a window takes {usual:.2f} s, the slowest {slowest:.2f} s; the longest hour {max(first, *others):.0f} s"
        )
        for number, (windows, cpu, later, peak) in enumerate(told, 1):
            print(
                f"process {number}: {sum(windows):,} windows, {cpu:,.0f} s of processor, "
                f"{1000 * later:.0f} ms a window after the first hour, {peak:.0f} MB at most"
            )
        busy = sum(cpu for _, cpu, _, _ in told) + serving
        print(f"all processes and Postgres: {busy:,.0f} s of processor")
        if (models, hours) != (500, 24) and others:
            day = 500 / models * (first + 23 * statistics.median(others))
            print(f"extrapolated, a first hour and 23 later ones of 500 models take {day / 60:.1f} minutes")
            again = sum(each * sum(done[1:]) for done, _, each, _ in told)
            learning = (sum(cpu for _, cpu, _, _ in told) - again) / sum(done[0] for done, _, _, _ in told)
            work = 500 * (learning + 23 * again / sum(sum(done[1:]) for done, _, _, _ in told) + 24 * serving / runs)
            print(f"and {work / 60:.1f} minutes of processor, half as long on two that do nothing else")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*[*given, *[500, 24, 2][len(given) :]])
