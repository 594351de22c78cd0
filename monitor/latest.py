"""What is newest in the store: the last judgement of everything, for the page and the metrics. Reads only.

Each question is bounded, however long the history: by the last finished run of each part, or by a number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa

LAST_RUNS = """
    SELECT r.*
    FROM monitor.model AS m
    CROSS JOIN unnest(ARRAY['inputs', 'outcomes', 'process']) AS p (part)
    CROSS JOIN LATERAL (
        SELECT r.model, r.part, r.run_id, r.window_start, r.window_end, r.finished_at
        FROM monitor.run AS r
        WHERE r.model = m.name AND r.role = 'champion' AND r.part = p.part AND r.state = 'done'
        ORDER BY r.window_start DESC, r.window_end DESC, r.revision DESC
        LIMIT 1
    ) AS r
    WHERE m.removed_at IS NULL
"""

VERDICTS = f"""
    SELECT DISTINCT ON (f.model, f.check_name) f.model, f.check_name, f.verdict
    FROM ({LAST_RUNS}) AS r
    JOIN monitor.finding AS f ON f.model = r.model AND f.run_id = r.run_id AND f.window_start = r.window_start
    ORDER BY f.model, f.check_name,
        array_position(ARRAY['critical', 'warning', 'ok', 'inconclusive'], f.verdict)
"""  # noqa: S608  # made of our own texts alone

EFFECTS = f"""
    SELECT model, column_name, effect
    FROM (
        SELECT c.model, c.column_name, c.effect,
            row_number() OVER (PARTITION BY c.model ORDER BY abs(c.effect) DESC, c.column_name) AS place
        FROM ({LAST_RUNS}) AS r
        JOIN monitor.column_statistic AS c
            ON c.model = r.model AND c.run_id = r.run_id AND c.window_start = r.window_start
        WHERE r.part = 'inputs' AND c.reference_kind = 'training' AND c.slice = '{{}}'::jsonb AND c.effect IS NOT NULL
    ) AS c
    WHERE place <= %(most)s
    ORDER BY model, place
"""  # noqa: S608  # made of our own texts alone

FIRING = """
    SELECT model, severity, count(*)::integer AS number
    FROM monitor.alert
    WHERE state IN ('firing', 'recovering')
    GROUP BY model, severity
"""

PROCESSES = """
    SELECT s.*
    FROM monitor.model AS m
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (s.process) s.*
        FROM monitor.resource_sample AS s
        WHERE s.model = m.name AND s.sampled_at > (
            SELECT max(n.sampled_at) - interval '1 hour' FROM monitor.resource_sample AS n WHERE n.model = m.name
        )
        ORDER BY s.process, s.sampled_at DESC
        LIMIT 100
    ) AS s
    WHERE m.removed_at IS NULL
"""

WINDOWS = """
    SELECT r.*, f.critical, f.warning, f.judged
    FROM (
        SELECT * FROM monitor.run_history
        WHERE model = %(model)s AND role = 'champion'
        ORDER BY window_start DESC, window_end DESC
        LIMIT %(most)s
    ) AS r
    LEFT JOIN LATERAL (
        SELECT
            count(*) FILTER (WHERE f.verdict <> 'inconclusive')::integer AS judged,
            count(*) FILTER (WHERE f.is_bad AND f.severity = 'critical')::integer AS critical,
            count(*) FILTER (WHERE f.is_bad AND f.severity = 'warning')::integer AS warning
        FROM (SELECT *, verdict IN ('warning', 'critical') AS is_bad FROM monitor.finding_history) AS f
        WHERE f.model = r.model AND f.role = r.role AND f.window_start = r.window_start AND f.window_end = r.window_end
    ) AS f ON true
    ORDER BY r.window_start DESC, r.window_end DESC
"""


def runs(conn: sa.Connection) -> Sequence[sa.RowMapping]:
    """The last finished run of each model and part: model, part, run_id, window_start, window_end, finished_at."""
    return conn.exec_driver_sql(LAST_RUNS).mappings().all()


def verdicts(conn: sa.Connection) -> Sequence[sa.RowMapping]:
    """The worst verdict of each check in its last run: model, check_name, verdict."""
    return conn.exec_driver_sql(VERDICTS).mappings().all()


def effects(conn: sa.Connection, *, most: int) -> Sequence[sa.RowMapping]:
    """The ``most`` largest effects of each model's columns in the last window: model, column_name, effect."""
    return conn.exec_driver_sql(EFFECTS, {"most": most}).mappings().all()


def firing(conn: sa.Connection) -> Sequence[sa.RowMapping]:
    """Open alerts: model, severity, number."""
    return conn.exec_driver_sql(FIRING).mappings().all()


def processes(conn: sa.Connection) -> Sequence[sa.RowMapping]:
    """The last sample of each serving process that was seen within an hour of its model's newest sample."""
    return conn.exec_driver_sql(PROCESSES).mappings().all()


def windows(conn: sa.Connection, model: str, *, most: int) -> list[Mapping[str, Any]]:
    """The last windows of a model, newest first: rows of ``run_history`` with numbers of findings by severity."""
    return [dict(row) for row in conn.exec_driver_sql(WINDOWS, {"model": model, "most": most}).mappings()]
