"""A model's last windows side by side, for the pages: runs, effects of columns, performance, marks. Reads only.

Each question is bounded by a number of windows, however long the history.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql

from monitor.latest import WINDOWS

if TYPE_CHECKING:
    import sqlalchemy as sa

RUNS = """
    SELECT run_id, window_start, window_end, revision, state, reason, attempts, rows_read, rows_late, labels_joined,
        rows_duplicate, seconds, due_at, finished_at
    FROM monitor.run_history
    WHERE model = %(model)s AND role = 'champion' AND (%(until)s::timestamptz IS NULL OR window_start < %(until)s)
    ORDER BY window_start DESC, window_end DESC
    LIMIT %(most)s
"""

EFFECTS = """
    SELECT column_name, window_start, effect, minimum_detectable, verdict, severity
    FROM monitor.drift_metrics
    WHERE model = %(model)s AND role = 'champion' AND slice = '{}'::jsonb AND reference_kind = 'training'
        AND window_start >= %(since)s
        AND (%(column)s::text IS NULL OR column_name = %(column)s)
    ORDER BY column_name, window_start
"""

PERFORMANCE = """
    SELECT metric, basis, window_start, value, interval_low, interval_high, reference_value, target, verdict
    FROM monitor.performance_history
    WHERE model = %(model)s AND role = 'champion' AND slice = '{}'::jsonb AND window_start >= %(since)s
    ORDER BY metric, basis, window_start
"""

MEMORY = """
    SELECT r.window_start, max(s.rss_bytes) / 1e6::float8 AS memory_mb
    FROM monitor.run_history AS r
    CROSS JOIN unnest(%(processes)s::text[]) AS p (process)
    CROSS JOIN LATERAL (
        SELECT s.rss_bytes
        FROM monitor.resource_history AS s
        WHERE s.model = %(model)s AND s.process = p.process
            AND s.sampled_at >= r.window_start AND s.sampled_at < r.window_end
        ORDER BY s.sampled_at DESC
        LIMIT 1
    ) AS s
    WHERE r.model = %(model)s AND r.role = 'champion' AND r.window_start >= %(since)s
    GROUP BY r.window_start
    ORDER BY r.window_start
"""

MARKS = """
    SELECT active_from AS at, 'training profile' AS kind, coalesce(model_version, left(reference_id, 12)) AS what
    FROM monitor.reference_history
    WHERE model = %(model)s AND active_from >= %(since)s
    UNION ALL
    SELECT coalesce(began_at, opened_window_start), 'alert', title
    FROM monitor.alert_history
    WHERE model = %(model)s AND role = 'champion' AND state <> 'pending' AND severity <> 'info'
        AND opened_window_start >= %(since)s
    ORDER BY at
"""

PROFILE = """
    SELECT *
    FROM monitor.profile_metrics
    WHERE model = %(model)s AND role = 'champion' AND slice = '{}'::jsonb AND column_name = %(column)s
        AND window_start >= %(since)s
    ORDER BY num_nulls < row_count DESC, window_start DESC
    LIMIT 1
"""

FIGURES = """
    SELECT window_start, window_end, value, reference_value
    FROM monitor.performance_history
    WHERE model = %(model)s AND role = 'champion' AND slice = '{}' AND metric = %(metric)s AND basis = 'realised'
        AND window_start >= %(since)s AND value IS NOT NULL
    ORDER BY window_start
"""

WATCHED = """
    SELECT DISTINCT column_name
    FROM monitor.drift_metrics
    WHERE model = %(model)s AND role = 'champion' AND window_start >= %(since)s AND column_name = ANY(%(names)s)
"""

Row = Mapping[str, Any]
Rows = Sequence[Row]


def runs(conn: sa.Connection, model: str, *, most: int, until: datetime | None = None) -> Rows:
    """The last windows of a model, newest first, in every state; ``until`` gives those that begin before it."""
    return _ask(conn, RUNS, model=model, most=most, until=until)


def effects(conn: sa.Connection, model: str, *, since: datetime, column: str | None = None) -> Rows:
    """Shifts against training in windows from ``since`` on, by column and window."""
    return _ask(conn, EFFECTS, model=model, since=since, column=column)


def figures(conn: sa.Connection, model: str, metric: str, *, since: datetime) -> Rows:
    """One realised metric of all rows in windows from ``since`` on, oldest first, beside training's."""
    return _ask(conn, FIGURES, model=model, metric=metric, since=since)


def performance(conn: sa.Connection, model: str, *, since: datetime) -> Rows:
    """Realised and estimated metrics in windows from ``since`` on, by metric, basis and window."""
    return _ask(conn, PERFORMANCE, model=model, since=since)


def memory(conn: sa.Connection, model: str, processes: Sequence[str], *, since: datetime) -> Rows:
    """Memory at the end of each window from ``since`` on that has a sample, in MB; of several processes the largest."""
    return _ask(conn, MEMORY, model=model, processes=list(processes), since=since)


def marks(conn: sa.Connection, model: str, *, since: datetime) -> Rows:
    """What happened since: training profiles put in force, and beginnings of what alerts told of: at, kind, what."""
    return _ask(conn, MARKS, model=model, since=since)


def last_profile(conn: sa.Connection, model: str, column: str, *, since: datetime) -> Row | None:
    """What a column looked like in the last window in which it had values, else in the last; None without a profile."""
    return next(iter(_ask(conn, PROFILE, model=model, column=column, since=since)), None)


def watched(conn: sa.Connection, model: str, names: Sequence[str], *, since: datetime) -> set[str]:
    """Return which of some names are columns that have a page."""
    return {row["column_name"] for row in _ask(conn, WATCHED, model=model, names=list(names), since=since)}


STATEMENTS = {
    "runs": RUNS,
    "effects": EFFECTS,
    "performance": PERFORMANCE,
    "memory": MEMORY,
    "marks": MARKS,
    "profile": PROFILE,
    "windows": WINDOWS,
}


def sql_of(question: str, **values: Any) -> str:
    """Return the statement of a question with its values written out, as a person may run it.

    >>> print(sql_of("runs", model="o'hara", until=None, most=2).splitlines()[3])
    WHERE model = 'o''hara' AND role = 'champion' AND (NULL::timestamptz IS NULL OR window_start < NULL)
    """
    statement = textwrap.dedent(STATEMENTS[question]).strip()
    return re.sub(r"%\((\w+)\)s", lambda found: sql.Literal(values[found[1]]).as_string(None).strip(), statement)


def _ask(conn: sa.Connection, statement: str, **values: Any) -> Rows:
    return [dict(row) for row in conn.exec_driver_sql(statement, values).mappings()]
