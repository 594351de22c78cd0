"""A whole evaluation of one table by the worker, from rows in Postgres to findings in SQL: prints its figures as JSON.

``python -m benchmarks.throughput.whole URL ROWS``. The store is a database of its own on the same server. Training and
connecting are done before; the evaluation reads, profiles, judges and commits one window of all rows.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import psycopg
import sqlalchemy as sa

from benchmarks.throughput.peers import megabytes
from benchmarks.throughput.table import START, LogTable
from monitor import schema, store
from monitor.heavy import refuse_heavy
from monitor.installation import Installation, load_config
from monitor.outcome import Task
from monitor.reference import build_reference
from monitor.sources.arrow import DERIVED
from monitor.sources.session import libpq_url
from monitor.worker import Worker

CONFIG = """
store: {{url: "{store}"}}
models:
  m:
    active: {{from: "{start}", until: "{end}"}}
    source:
      url: "{url}"
      table: public.{table}
      time: occurred_at
      id: request_id
      prediction: {{score: score, threshold: 0.5}}
    window: 1h
"""


def train(installation: Installation, table: LogTable) -> None:
    """Store a training profile made of a sample of the table's own rows."""
    sample = installation.source("m").sample([table.window], 50_000, now=table.window.end)
    columns = {name: values for name, values in sample.columns.items() if not name.endswith(DERIVED)}
    reference = build_reference(
        type(sample)(rows=sample.rows, time=sample.time, columns=columns, score=sample.score),
        model="m",
        version="1",
        task=Task.BINARY,
        spec=installation.model("m").spec,
        created_at=START,
        rows=sample.rows,
        source="a sample of the log",
    )
    with installation.engine.begin() as conn:
        store.save_reference(conn, model="m", body=reference.to_bytes(), active_from=START, rows=sample.rows)


def main(url: str, rows: str) -> None:
    """Print seconds and megabytes."""
    refuse_heavy()
    before = megabytes("VmRSS")
    table, name = LogTable(rows=int(rows)), "monitor_store"
    with psycopg.connect(libpq_url(url), autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        conn.execute(f"CREATE DATABASE {name}".encode())
    ours = sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    schema.upgrade(ours)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "monitor.yaml"
        window = table.window
        file.write_text(
            CONFIG.format(
                store=ours, url=url, table=table.name, start=window.start.isoformat(), end=window.end.isoformat()
            )
        )
        installation = Installation(config=load_config(file, {}), url=ours)
        try:
            train(installation, table)
            worker = Worker(installation=installation)
            worker.advance(START)  # nothing is due; what is only done once is done
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak of training
            began = time.perf_counter()
            worker.advance(window.end + timedelta(minutes=20))
            seconds = time.perf_counter() - began
            with installation.engine.begin() as conn:
                (read, findings) = conn.exec_driver_sql(
                    "SELECT (SELECT sum(rows_transferred) FROM monitor.run_history_revisions), "
                    "(SELECT count(*) FROM monitor.finding_history)"
                ).one()
            assert read == table.rows
            assert findings > table.columns
        finally:
            installation.close()
    print(json.dumps({"seconds": seconds, "megabytes": megabytes("VmHWM") - before, "findings": findings}))


if __name__ == "__main__":
    main(*sys.argv[1:])
