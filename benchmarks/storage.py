"""What the store grows to: ``python -m benchmarks.storage [DAYS [ROWS]] [slices]``.

Lets the daemon's worker live through hourly windows of a model with 20 features and labels (a year with 1,000 rows an
hour unless told otherwise) with retention by default, does each day what the daemon does each day, and prints the size
of each table with its indexes and of each month. Of fewer days than a year it says what a year would come to if every
day more took what a day of the first whole month takes; 75 days are the fewest after which that month was packed. With
"slices" the rows are watched in 20 groups as well.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import psycopg

from benchmarks.rechecks import CONFIG, FIRST, HOUR, fill, train
from monitor import embedded, retention, schema
from monitor.compaction import compact, pack, thin
from monitor.installation import Installation, load_config
from monitor.worker import Worker

NUMBERS = [f"n{i}" for i in range(14)]
TEXTS = [f"t{i}" for i in range(6)]
DAY = timedelta(days=1)
YEAR, FIRST_MONTH = 365, 26  # days; the first month begins on the 6th of May
SIZES = """
    SELECT coalesce(parent.relname, c.relname), sum(pg_table_size(c.oid))::bigint, sum(pg_indexes_size(c.oid))::bigint
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid LEFT JOIN pg_class AS parent ON parent.oid = i.inhparent
    WHERE n.nspname = 'monitor' AND c.relkind = 'r' GROUP BY 1 ORDER BY 2 DESC
"""
MONTHS = r"""
    SELECT substring(c.relname FROM '\d{4}_\d\d$'), sum(pg_total_relation_size(c.oid))::bigint
    FROM pg_class AS c JOIN pg_inherits AS i ON i.inhrelid = c.oid
    WHERE c.relnamespace = 'monitor'::regnamespace AND c.relname ~ '^(tile|finding|column_\w+|performance)_\d{4}_\d\d$'
    GROUP BY 1 ORDER BY 1
"""
SLICES = ("t0", "t1", "t2", "t5")  # with 3, 4, 5 and 8 values: 20 groups


def live(installation: Installation, days: int) -> None:
    """Evaluate every hour, and do each day what the daemon does each day."""
    worker, keep = Worker(installation=installation), installation.config.retention
    kept = {name: getattr(keep, name) for name in retention.SETTINGS}
    for day in range(days + 3):
        with installation.engine.begin() as conn:
            retention.ensure_months(conn, FIRST + day * DAY, FIRST + (day + 1) * DAY)
            retention.forget(conn, FIRST + day * DAY, kept)
        for watched in installation.models.values():
            compact(installation, watched, now=FIRST + day * DAY)
            thin(installation, watched, keep=keep.ok_findings)
        pack(installation, now=FIRST + day * DAY)
        for hour in range(24):
            worker.advance(FIRST + day * DAY + hour * HOUR + timedelta(minutes=20))


def main(days: int, rows: int, slices: tuple[str, ...]) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, embedded.start(Path(folder) / "postgres") as server:
        schema.upgrade(server.url)
        fill(server.dsn, days * 24 * rows, numbers=NUMBERS, texts=TEXTS, days=days)
        file = Path(folder) / "monitor.yaml"
        features = ", ".join([*(f"{n}: numeric" for n in NUMBERS), *(f"{n}: categorical" for n in TEXTS)])
        until = (FIRST + days * DAY).date()
        text = CONFIG.format(url=server.url, features=features, until=until)
        if slices:
            text = text.replace("      outcome:", f"      slices: [{', '.join(slices)}]\n      outcome:")
        file.write_text(text)
        installation = Installation(config=load_config(file, {}), url=server.url)
        try:
            train(installation, numbers=NUMBERS, texts=TEXTS, slices=slices)
            live(installation, days)
        finally:
            installation.close()
        with psycopg.connect(server.dsn, autocommit=True) as conn:
            sizes = conn.execute(SIZES.encode()).fetchall()
            windows = conn.execute("SELECT count(*) FROM monitor.run WHERE state = 'done'").fetchone() or (0,)
            months = conn.execute(MONTHS.encode()).fetchall()
        whole = 0
        for name, table, indexes in sizes:
            whole += table + indexes
            if table + indexes > 1_000_000:
                print(f"{name}: {table / 1e6:.1f} MB, indexes {indexes / 1e6:.1f} MB")
        for month, size in months:
            print(f"{month}: {size / 1e6:.1f} MB")
        print(f"{windows[0]:,} evaluated windows and outcomes in {days} days: {whole / 1e6:.0f} MB")
        if days < YEAR:
            later = (YEAR - days) * months[0][1] / 1e6 / min(days, FIRST_MONTH)
            print(f"in a year, if every day more takes what one of {months[0][0]} does: {whole / 1e6 + later:.0f} MB")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:] if argument != "slices"]
    days, rows = [*given, *[YEAR, 1_000][len(given) :]]
    main(days, rows, SLICES if "slices" in sys.argv[1:] else ())
