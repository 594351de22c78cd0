"""What the store grows to: ``python -m benchmarks.storage [DAYS [ROWS]]``.

Lets the daemon's worker live through hourly windows of a model with 20 features and labels (a year with 1,000 rows an
hour unless told otherwise), with retention by default and tiles that become wider with age, and prints the size of each
table with its indexes, what they come to, and what a year of windows would come to at this size each.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import psycopg

from benchmarks.rechecks import CONFIG, FIRST, HOUR, fill, train
from monitor import embedded, retention, schema
from monitor.compaction import compact
from monitor.installation import Installation, load_config
from monitor.worker import Worker

NUMBERS = [f"n{i}" for i in range(14)]
TEXTS = [f"t{i}" for i in range(6)]
DAY = timedelta(days=1)
SIZES = """
    SELECT coalesce(parent.relname, c.relname), sum(pg_table_size(c.oid))::bigint, sum(pg_indexes_size(c.oid))::bigint
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid LEFT JOIN pg_class AS parent ON parent.oid = i.inhparent
    WHERE n.nspname = 'monitor' AND c.relkind = 'r' GROUP BY 1 ORDER BY 2 DESC
"""


def live(installation: Installation, days: int) -> None:
    """Evaluate every hour, and do each day what the daemon does each day."""
    worker, keep = Worker(installation=installation), installation.config.retention
    kept = {name: getattr(keep, name) for name in ("tiles", "findings", "samples", "logs", "reports")}
    for day in range(days + 3):
        with installation.engine.begin() as conn:
            retention.ensure_months(conn, FIRST + day * DAY, FIRST + (day + 1) * DAY)
            retention.forget(conn, FIRST + day * DAY, kept)
        for watched in installation.models.values():
            compact(installation, watched)
        for hour in range(24):
            worker.advance(FIRST + day * DAY + hour * HOUR + timedelta(minutes=20))


def main(days: int, rows: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, embedded.start(Path(folder) / "postgres") as server:
        schema.upgrade(server.url)
        fill(server.dsn, days * 24 * rows, numbers=NUMBERS, texts=TEXTS, days=days)
        file = Path(folder) / "monitor.yaml"
        features = ", ".join([*(f"{n}: numeric" for n in NUMBERS), *(f"{n}: categorical" for n in TEXTS)])
        until = (FIRST + days * DAY).date()
        file.write_text(CONFIG.format(url=server.url, features=features, until=until))
        installation = Installation(config=load_config(file, {}), url=server.url)
        try:
            train(installation, numbers=NUMBERS, texts=TEXTS)
            live(installation, days)
        finally:
            installation.close()
        with psycopg.connect(server.dsn, autocommit=True) as conn:
            sizes = conn.execute(SIZES.encode()).fetchall()
            windows = conn.execute("SELECT count(*) FROM monitor.run WHERE state = 'done'").fetchone() or (0,)
        whole = 0
        for name, table, indexes in sizes:
            whole += table + indexes
            if table + indexes > 1_000_000:
                print(f"{name}: {table / 1e6:.1f} MB, indexes {indexes / 1e6:.1f} MB")
        print(
            f"{windows[0]:,} evaluated windows and outcomes in {days} days: {whole / 1e6:.0f} MB, "
            f"in a year {whole / 1e6 * 365 / days:.0f} MB"
        )


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*[*given, *[365, 1_000][len(given) :]])
