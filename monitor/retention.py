"""Partitions made ahead of time, and what is old enough to go.

The database's own functions do it with their owner's rights, so that the daemon needs none to change tables.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        "DELETE FROM monitor.run WHERE window_end < :before AND state IN ('done', 'skipped', 'dead')",
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
    unknown = sorted(set(keep) - set(PARTITIONED) - set(DELETED))
    if unknown:
        known = ", ".join(dict.fromkeys([*PARTITIONED, *DELETED]))
        raise ValueError(f"There is nothing called {', '.join(unknown)} to forget; known are {known}.")
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
