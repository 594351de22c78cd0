"""Partitions made ahead of time, and what is old enough to go.

The database's own functions do it with their owner's rights, so that the daemon needs none to change tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

#: Partitions are made this long ahead, so that serving finds them also while the daemon is down.
MONTHS_AHEAD = timedelta(days=35)
DAYS_AHEAD = timedelta(days=14)

#: Which tables follow which setting of `retention`.
PARTITIONED = {
    "tiles": ("tile",),
    "findings": ("finding", "column_statistic", "column_profile", "performance"),
    "samples": ("resource_sample",),
    "logs": ("prediction_log", "outcome_log", "heartbeat_log"),
}

#: Rows of other tables that go with the same settings. What is open, unsent or undecided never goes, however old it is.
DELETED = {
    "findings": (
        # a month's rows ask their runs what they were judged by, so that runs go when the month's partition does
        "DELETE FROM monitor.run WHERE window_start < date_trunc('month', CAST(:before AS timestamptz), 'UTC')"
        " AND state IN ('done', 'skipped', 'dead')",
        "DELETE FROM monitor.detector_memory WHERE window_end < :before",
        "DELETE FROM monitor.alert_event AS e WHERE at < :before AND NOT EXISTS ("
        " SELECT FROM monitor.alert AS a WHERE a.alert_key = e.alert_key AND a.episode = e.episode"
        " AND a.state IN ('pending', 'firing', 'recovering'))",
        "DELETE FROM monitor.alert WHERE updated_at < :before AND state NOT IN ('pending', 'firing', 'recovering')",
        "DELETE FROM monitor.notification AS n WHERE created_at < :before AND NOT EXISTS ("
        " SELECT FROM monitor.delivery AS d WHERE d.notification_id = n.notification_id"
        " AND d.state NOT IN ('sent', 'superseded'))",
        "DELETE FROM monitor.recommendation WHERE updated_at < :before AND state NOT IN ('open', 'approved')",
        "DELETE FROM monitor.silence WHERE ends_at < :before",
        "DELETE FROM monitor.confirmation WHERE expires_at < :before",
    ),
    "reports": ("DELETE FROM monitor.report WHERE created_at < :before",),
}


#: The settings of `retention` that remove whatever is older.
SETTINGS = tuple(dict.fromkeys([*PARTITIONED, *DELETED]))

#: Ages at which a month is packed: its tiles are hours by then, days or weeks, and its judgements thinned.
PACKED_AT = (timedelta(days=40), timedelta(days=120), timedelta(days=300), timedelta(days=430))


def ensure_partitions(conn: sa.Connection, now: datetime) -> int:
    """Make the partitions of now and of the time ahead; returns how many were missing. Call it daily.

    Rows that come without a partition are in the default one, and move into theirs when it is made.
    """
    months = ensure_months(conn, now, now + MONTHS_AHEAD)
    return months + _ensure(conn, "day", now - timedelta(days=1), now + DAYS_AHEAD)


def ensure_months(conn: sa.Connection, since: datetime, until: datetime) -> int:
    """Make the month partitions of our own tables for a replay or backfill of that time; returns how many."""
    return _ensure(conn, "month", since, until)


def _ensure(conn: sa.Connection, every: str, since: datetime, until: datetime) -> int:
    statement = sa.text("SELECT monitor.ensure_partitions(:every, :since, :until)")
    made: int = conn.execute(statement, {"every": every, "since": since, "until": until}).scalar_one()
    return made


def forget(conn: sa.Connection, now: datetime, keep: Mapping[str, timedelta]) -> dict[str, int]:
    """Remove what is older than the settings of `retention` say; returns rows by setting.

    Age is that of the data, not of the row: a replay of an old year is old from the first day, so keep more there.
    A setting that is missing keeps everything. Partitioned tables lose whole partitions, so a row may stay for up to
    a month longer than asked, logs for up to a day.
    """
    unknown = sorted(set(keep) - set(SETTINGS))
    if unknown:
        raise ValueError(f"There is nothing called {', '.join(unknown)} to forget; known are {', '.join(SETTINGS)}.")
    forgotten: dict[str, int] = {}
    for setting, length in keep.items():
        before = now - length
        rows = 0
        for table in PARTITIONED.get(setting, ()):
            parameters = {"name": table, "before": before}
            rows += conn.execute(sa.text("SELECT monitor.forget(:name, :before)"), parameters).scalar_one()
        for statement in DELETED.get(setting, ()):
            rows += conn.execute(sa.text(statement), {"before": before}).rowcount
        forgotten[setting] = rows
    return forgotten


THIN = sa.text("""
    WITH old AS (
        SELECT run_id, window_start FROM monitor.run
        WHERE model = :model AND state = 'done' AND findings_thinned IS NULL AND window_end < :before
        ORDER BY window_end LIMIT :most
        FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM monitor.finding AS f USING old
        WHERE f.run_id = old.run_id AND f.window_start = old.window_start AND f.verdict = 'ok'
            AND NOT EXISTS (SELECT FROM monitor.recommendation AS c WHERE c.run_id = f.run_id)
            AND NOT EXISTS (
                SELECT FROM monitor.alert AS a
                WHERE a.model = f.model AND a.role = f.role AND a.family = f.extras ->> 'family'
                    AND a.state <> 'inactive'
                    AND f.window_end > least(a.began_at, a.opened_window_start)
                    AND f.window_start <= CASE
                        WHEN a.state IN ('pending', 'firing', 'recovering') THEN 'infinity'
                        ELSE coalesce(a.resolved_window_start, a.resolved_at, a.updated_at)
                    END
            )
        RETURNING f.run_id
    ), counted AS (
        UPDATE monitor.run AS r SET findings_thinned = (SELECT count(*) FROM gone WHERE gone.run_id = r.run_id)
        FROM old WHERE r.run_id = old.run_id
        RETURNING r.findings_thinned
    )
    SELECT count(*) AS runs, coalesce(sum(findings_thinned), 0)::bigint AS findings FROM counted
""")


def thin(conn: sa.Connection, model: str, *, before: datetime, most: int) -> tuple[int, int]:
    """Remove the findings that were ok of a model's oldest windows that end before a time; returns runs and findings.

    Those stay that an alert's episode is about, from its beginning to its end, and those of the windows of which a
    recommendation came. A run remembers how many of its findings went.
    """
    row = conn.execute(THIN, {"model": model, "before": before, "most": most}).one()
    return row.runs, row.findings


def packings() -> Iterator[tuple[str, timedelta, int]]:
    """Yield what ``pack`` is to be asked for: tables with the age of their months and the number of the packing.

    >>> next(packings())
    ('tile', datetime.timedelta(days=430), 4)
    """
    for setting in ("tiles", "findings"):
        for table in PARTITIONED[setting]:
            for number, age in reversed(list(enumerate(PACKED_AT, 1))):
                yield table, age, number


def pack(conn: sa.Connection, table: str, *, before: datetime, packing: int) -> str | None:
    """Write one month of a table anew that ends before a time and was packed less often; returns its name, if any.

    It is locked for as long as that takes; commit at once. One that others use is left for another day.
    """
    statement = sa.text("SELECT monitor.pack(:name, :before, :packing)")
    packed: str | None = conn.execute(statement, {"name": table, "before": before, "packing": packing}).scalar_one()
    return packed
