"""What looking again at tiles costs, compared with reading them: ``python -m benchmarks.rechecks [ROWS]``.

Logs a day of hourly windows with ten numbers, five texts and a label for each row (100,000 rows unless told otherwise),
lets the daemon's worker live through that day and the two days of lateness in steps of five minutes, and prints the
seconds of both from the SQL views.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg

from monitor import embedded, schema, store
from monitor.installation import Installation, load_config
from monitor.outcome import Task
from monitor.reference import build_reference
from monitor.source import Batch, CategoryValues, NumericValues
from monitor.worker import Worker

FIRST = datetime(2024, 5, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
NUMBERS = [f"n{i}" for i in range(10)]
TEXTS = [f"t{i}" for i in range(5)]
CONFIG = """
store: {{url: "{url}"}}
models:
  m:
    active: {{from: 2024-05-06, until: 2024-05-07}}
    source:
      table: logged
      time: at
      id: id
      features: {{{features}}}
      prediction: {{score: p, threshold: 0.5}}
      outcome: {{table: labels, id: id, label: y, time: known_at, matures_after: 1h}}
    window: 1h
    lateness: 48h
"""


def fill(dsn: str, rows: int) -> None:
    numbers = ", ".join(f"random() * 100 AS {name}" for name in NUMBERS)
    texts = ", ".join(f"'category ' || (i % {i + 3}) AS {name}" for i, name in enumerate(TEXTS))
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            f"CREATE TABLE logged AS SELECT md5(i::text) AS id, timestamptz '2024-05-06+00' "
            f"+ i * (interval '1 day' / {rows}) AS at, {numbers}, {texts}, random() AS p "
            f"FROM generate_series(0, {rows - 1}) i".encode()
        )
        conn.execute("CREATE INDEX ON logged (at)")
        conn.execute("CREATE UNIQUE INDEX ON logged (id)")
        conn.execute(
            "CREATE TABLE labels AS SELECT id, random() < p AS y, at + interval '30 minutes' AS known_at FROM logged"
        )
        conn.execute("CREATE INDEX ON labels (id)")
        conn.execute("VACUUM ANALYZE logged")
        conn.execute("VACUUM ANALYZE labels")


def train(installation: Installation) -> None:
    rng = np.random.default_rng(0)
    n = 30 * 24 * 20
    columns = {name: NumericValues(values=rng.random(n) * 100, missing=np.zeros(n, bool)) for name in NUMBERS}
    texts = {
        name: CategoryValues(
            codes=rng.integers(0, i + 3, n).astype(np.int32), categories=[f"category {k}" for k in range(i + 3)]
        )
        for i, name in enumerate(TEXTS)
    }
    p = rng.random(n)
    batch = Batch(
        rows=n,
        time=round((FIRST - 30 * 24 * HOUR).timestamp()) * 1_000_000 + np.arange(n) * 180_000_000,
        columns={**columns, **texts},
        score=p,
        label=(rng.random(n) < p).astype(float),
    )
    spec = installation.model("m").spec
    reference = build_reference(
        batch, model="m", version="1", task=Task.BINARY, spec=spec, created_at=FIRST, rows=n, source="a benchmark"
    )
    with installation.engine.begin() as conn:
        store.save_reference(conn, model="m", body=reference.to_bytes(), active_from=FIRST, rows=n)


def main(rows: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, embedded.start(Path(folder) / "postgres") as server:
        schema.upgrade(server.url)
        fill(server.dsn, rows)
        file = Path(folder) / "monitor.yaml"
        features = ", ".join([*(f"{n}: numeric" for n in NUMBERS), *(f"{n}: categorical" for n in TEXTS)])
        file.write_text(CONFIG.format(url=server.url, features=features))
        installation = Installation(config=load_config(file, {}), url=server.url)
        try:
            train(installation)
            installation.source("m").check()  # the first connection is nobody's cost
            worker, now = Worker(installation=installation), FIRST
            while now < FIRST + 76 * HOUR:
                worker.advance(now)
                now += timedelta(minutes=5)
            with psycopg.connect(server.dsn) as conn:
                for part in ("inputs", "outcomes"):
                    read, transferred, windows = conn.execute(
                        "SELECT sum(read_seconds), sum(rows_transferred), count(*) FROM monitor.run_history_revisions"
                        " WHERE part = %s",
                        [part],
                    ).fetchone() or (0, 0, 0)
                    looks, tiles, seconds = conn.execute(
                        "SELECT sum(checks), sum(tiles), sum(seconds) FROM monitor.recheck_history WHERE part = %s",
                        [part],
                    ).fetchone() or (0, 0, 0)
                    print(
                        f"{part}: {windows} windows, {transferred:,} rows transferred in {read:.2f} s; "
                        f"{looks} looks at {tiles} tiles in {seconds:.2f} s = {seconds / read:.0%}"
                    )
        finally:
            installation.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
