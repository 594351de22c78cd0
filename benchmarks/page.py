"""How long the page of a large model takes: ``python -m benchmarks.page [FEATURES] [WINDOWS]``.

Stores judgements of 200 features in 90 windows (unless told otherwise) and a sample of memory a minute in a real
Postgres, asks a real server for the model's page over HTTP, and prints the median and the slowest of twenty answers,
and the page's size.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from monitor import embedded, ledger, record, schema, store, web
from monitor.check import ColumnStatistics, Part, ReferenceKind, Severity, Verdict
from monitor.health import Health
from monitor.installation import Installation, load_config
from monitor.window import Window

FIRST = datetime(2024, 5, 6, tzinfo=UTC)
DAY = timedelta(days=1)
TIMES = 20
CONFIG = """
store: {{url: "{url}"}}
models:
  m:
    source: {{url: store, table: logged, time: at, id: id, features: {{x: numeric}}, prediction: {{score: p}}}}
    window: {{calendar: day, timezone: UTC}}
"""


def fill(engine: sa.Engine, features: int, windows: int) -> None:
    """Store done windows with a judgement of each feature; one in fifty is flagged."""
    cut = [Window(start=FIRST + i * DAY, end=FIRST + (i + 1) * DAY) for i in range(windows)]
    with engine.begin() as conn:
        store.register_model(
            conn, "m", config={}, config_hash="", code_version="", currency="USD", period=DAY, lag=timedelta(0)
        )
        ledger.materialise(conn, "m", "champion", "inputs", cut)
    for number in range(windows):
        with engine.begin() as conn:
            run = ledger.claim(conn, "benchmark", now=FIRST + 365 * DAY, lease=DAY)
            assert run is not None
            assert run.token is not None
            record.save_column_statistics(conn, run, [judgement(f, number) for f in range(features)])
            ledger.finish(conn, run.run_id, run.token, rows_read=10_000, seconds=1.0)
            store.save_resource_samples(conn, [sample(cut[number].start, minute) for minute in range(24 * 60)])


def sample(start: datetime, minute: int) -> dict[str, Any]:
    """Return a sample of the serving process, of which there is one a minute."""
    at = start + timedelta(minutes=minute)
    return {"model": "m", "process": "serve", "sampled_at": at, "rss_bytes": 400_000_000 + 1000 * minute}


def judgement(feature: int, window: int) -> ColumnStatistics:
    """Return what was made of a feature in a window."""
    flagged = (feature * 31 + window * 7) % 50 == 0
    return ColumnStatistics(
        column=f"feature_{feature:03d}",
        data_type="numeric",
        part=Part.INPUT,
        reference_kind=ReferenceKind.TRAINING,
        n_current=10_000,
        n_reference=100_000,
        effect=0.4 if flagged else 0.01 * (window % 5),
        minimum_detectable=0.05,
        verdict=Verdict.WARNING if flagged else Verdict.OK,
        severity=Severity.WARNING if flagged else Severity.INFO,
    )


def main(features: int = 200, windows: int = 90) -> None:
    """Print what the page takes."""
    with tempfile.TemporaryDirectory() as name, embedded.start(Path(name) / "store") as server:
        schema.upgrade(server.url)
        file = Path(name) / "monitor.yaml"
        file.write_text(CONFIG.format(url=server.url))
        installation = Installation(config=load_config(file, {}), url=server.url)
        fill(installation.engine, features, windows)
        with installation.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            conn.exec_driver_sql("ANALYZE")
        serving = web.serve(
            web.create_app(installation, clock=lambda: FIRST + 365 * DAY, health=Health), ("127.0.0.1", 0)
        )
        try:
            with httpx.Client(base_url=serving.url, trust_env=False, timeout=60) as client:
                client.get("/models/m").raise_for_status()
                took = []
                for _ in range(TIMES):
                    begun = time.perf_counter()
                    answer = client.get("/models/m")
                    took.append(time.perf_counter() - begun)
        finally:
            serving.stop()
            installation.close()
    print(
        f"page of {features} features × {windows} windows: median {statistics.median(took) * 1000:.0f} ms, "
        f"slowest {max(took) * 1000:.0f} ms of {TIMES}; {len(answer.content) / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
