"""What looking again at tiles costs, compared with reading them: ``python -m benchmarks.rechecks [ROWS]``.

Logs five days of hourly windows with ten numbers, five texts and a label for each row (1,000,000 rows unless told
otherwise), lets the daemon's worker live through them in steps of five minutes, and prints the seconds of both from
the SQL views for the last two days, when windows are read and all kinds of looks are due: once with every look, once
with the budget. The minute that the budget allows in any case is left out, because it would hide what happens to a log
that is a hundred times as large.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psycopg

from monitor import embedded, recheck, schema, store
from monitor.installation import Installation, load_config
from monitor.outcome import Task
from monitor.reference import build_reference
from monitor.source import Batch, CategoryValues, NumericValues
from monitor.worker import Worker

FIRST = datetime(2024, 5, 6, tzinfo=UTC)
HOUR, DAYS = timedelta(hours=1), 5
NUMBERS = [f"n{i}" for i in range(10)]
TEXTS = [f"t{i}" for i in range(5)]
CONFIG = """
store: {{url: "{url}"}}
models:
  m:
    active: {{from: 2024-05-06, until: {until}}}
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


def fill(dsn: str, rows: int, *, numbers: list[str] = NUMBERS, texts: list[str] = TEXTS, days: int = 1) -> None:
    """Log rows evenly over some days from FIRST on, with a label each."""
    columns = [f"random() * 100 AS {name}" for name in numbers]
    columns += [f"'category ' || floor(random() * {i + 3}) AS {name}" for i, name in enumerate(texts)]
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            f"CREATE TABLE logged AS SELECT md5(i::text) AS id, timestamptz '2024-05-06+00' "
            f"+ i * (interval '{days} day' / {rows}) AS at, {', '.join(columns)}, random() AS p "
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


def train(
    installation: Installation,
    *,
    numbers: list[str] = NUMBERS,
    texts: list[str] = TEXTS,
    slices: tuple[str, ...] = (),
) -> None:
    """Store a training profile of thirty days before FIRST, groups of some texts apart."""
    rng = np.random.default_rng(0)
    n = 30 * 24 * 20
    columns = {name: NumericValues(values=rng.random(n) * 100, missing=np.zeros(n, bool)) for name in numbers}
    categories = {
        name: CategoryValues(
            codes=rng.integers(0, i + 3, n).astype(np.int32), categories=[f"category {k}" for k in range(i + 3)]
        )
        for i, name in enumerate(texts)
    }
    p = rng.random(n)
    batch = Batch(
        rows=n,
        time=round((FIRST - 30 * 24 * HOUR).timestamp()) * 1_000_000 + np.arange(n) * 180_000_000,
        columns={**columns, **categories},
        score=p,
        label=(rng.random(n) < p).astype(float),
        attributes={name: categories[name] for name in slices},
    )
    spec = installation.model("m").spec
    reference = build_reference(
        batch,
        model="m",
        version="1",
        task=Task.BINARY,
        spec=spec,
        created_at=FIRST,
        rows=n,
        source="a benchmark",
        slices=[(name,) for name in slices],
    )
    with installation.engine.begin() as conn:
        store.save_reference(conn, model="m", body=reference.to_bytes(), active_from=FIRST, rows=n)


def main(rows: int) -> None:
    """Measure and print."""
    for budget, share in (("every look", 1e9), ("with the budget", recheck.SHARE)):
        with patch.multiple(recheck, SHARE=share, ALLOWANCE=timedelta(0)):
            measure(rows, budget)


def measure(rows: int, budget: str) -> None:
    """Live through the days and print what was read and looked at."""
    with tempfile.TemporaryDirectory() as folder, embedded.start(Path(folder) / "postgres") as server:
        schema.upgrade(server.url)
        fill(server.dsn, rows, days=DAYS)
        file = Path(folder) / "monitor.yaml"
        features = ", ".join([*(f"{n}: numeric" for n in NUMBERS), *(f"{n}: categorical" for n in TEXTS)])
        file.write_text(CONFIG.format(url=server.url, features=features, until="2024-05-11"))
        installation = Installation(config=load_config(file, {}), url=server.url)
        try:
            train(installation)
            installation.source("m").check()  # the first connection is nobody's cost
            worker, now = Worker(installation=installation), FIRST
            while now < FIRST + DAYS * 24 * HOUR:
                worker.advance(now)
                now += timedelta(minutes=5)
            since = FIRST + (DAYS - 2) * 24 * HOUR
            with psycopg.connect(server.dsn) as conn:
                for part in ("inputs", "outcomes"):
                    read, transferred, windows = conn.execute(
                        "SELECT sum(read_seconds), sum(rows_transferred), count(*) FROM monitor.run_history_revisions"
                        " WHERE part = %s AND window_end > %s",
                        [part, since],
                    ).fetchone() or (0, 0, 0)
                    looks, tiles, seconds = conn.execute(
                        "SELECT sum(checks), sum(tiles), sum(seconds) FROM monitor.recheck_history"
                        " WHERE part = %s AND day >= %s",
                        [part, since],
                    ).fetchone() or (0, 0, 0)
                    print(
                        f"{budget}, {part}: {windows} windows, {transferred:,} rows transferred in {read:.2f} s; "
                        f"{looks} looks at {tiles} tiles in {seconds:.2f} s = {seconds / read:.0%}"
                    )
        finally:
            installation.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
