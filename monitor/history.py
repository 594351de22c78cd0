"""Questions to the history, asked of the public views; and the reports that were made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from monitor.alert import UNREPORTED
from monitor.tables import alert as alerts
from monitor.tables import report as reports

DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # as SQLAlchemy declares it

#: Views a person may be shown rows of, with what puts the newest row first.
NEWEST_FIRST = {
    "finding_history": "window_start DESC, severity DESC, check_name, subject",
    "drift_metrics": "window_start DESC, column_name",
    "drift_history": "window_start DESC, feature, statistic",
    "profile_metrics": "window_start DESC, column_name",
    "performance_history": "window_start DESC, metric",
    "resource_history": "sampled_at DESC",
    "alert_history": "opened_at DESC NULLS LAST, alert_key",
    "alert_events": "at DESC",
    "notification_history": "created_at DESC",
    "recommendation_history": "opened_at DESC",
    "run_history": "window_start DESC",
    "reference_history": "created_at DESC",
    "request_trace": "logged_at DESC",
    "circuit_history": "at DESC",
    "silence_history": "starts_at DESC",
    "model_status": "model",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a query came to: names of columns, and rows of values in their order."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def records(self) -> list[dict[str, Any]]:
        """The rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class QueryError(ValueError):
    """A query was not answered; the message is Postgres's, in one sentence."""


def status(conn: sa.Connection) -> list[dict[str, Any]]:
    """Where each model stands, by name."""
    return rows_of(conn, "model_status")


def rows_of(
    conn: sa.Connection,
    view: str,
    *,
    limit: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    **equal: Any,
) -> list[dict[str, Any]]:
    """Rows of a view, newest first; ``equal`` are columns and the value, or list of values, they must have.

    ``since`` and ``until`` bound the start of the window, for views that have one.
    """
    query = _selection(view, limit=limit, since=since, until=until, equal=equal)
    return [dict(row) for row in conn.execute(query).mappings()]


def sql_of(
    view: str, *, limit: int | None = None, since: datetime | None = None, until: datetime | None = None, **equal: Any
) -> str:
    """Return the statement of ``rows_of`` with its values written out, as a person may run it.

    >>> print(sql_of("model_status", model="o'hara"))
    SELECT *
    FROM monitor.model_status
    WHERE model = 'o''hara' ORDER BY model
    """
    query = _selection(view, limit=limit, since=since, until=until, equal=equal)
    written = str(query.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))
    return "\n".join(line.strip() for line in written.splitlines())


def _selection(
    view: str, *, limit: int | None, since: datetime | None, until: datetime | None, equal: Mapping[str, Any]
) -> sa.Select[*tuple[Any, ...]]:
    if view not in NEWEST_FIRST:
        raise ValueError(f"There is no view {view}; there are {', '.join(NEWEST_FIRST)}.")
    query: sa.Select[*tuple[Any, ...]] = sa.select(sa.literal_column("*")).select_from(sa.table(view, schema="monitor"))
    for name, value in equal.items():
        column: sa.ColumnClause[Any] = sa.column(name)
        query = query.where(column.in_(value) if isinstance(value, list | tuple) else column == value)
    if since is not None:
        query = query.where(sa.column("window_start") >= since)
    if until is not None:
        query = query.where(sa.column("window_start") < until)
    return query.order_by(sa.text(NEWEST_FIRST[view])).limit(limit)


def select_readonly(conn: sa.Connection, statement: str, *, limit: int | None = None) -> Answer:
    """Run one statement of a person in a read-only transaction, with schema ``monitor`` first in the search path.

    A fresh connection is needed, because reading only is decided at the begin of a transaction; the transaction is
    rolled back. Raises QueryError with Postgres's own words. ``limit`` is the number of rows fetched.
    """
    with conn.begin() as transaction:
        conn.exec_driver_sql("SET TRANSACTION READ ONLY")
        conn.exec_driver_sql("SELECT set_config('search_path', 'monitor, public', true)")
        driver = conn.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        try:
            # The pipeline speaks the protocol in which a text is one statement: "commit; delete …" is refused.
            with driver.cursor() as cursor:
                with driver.pipeline():
                    cursor.execute(statement.encode())
                if cursor.description is None:
                    raise QueryError("The statement returns no rows; give a SELECT.")
                columns = tuple(column.name for column in cursor.description)
                rows = tuple(cursor.fetchall() if limit is None else cursor.fetchmany(limit))
        except psycopg.Error as error:
            raise QueryError(sentence(error)) from error
        finally:
            transaction.rollback()
    return Answer(columns=columns, rows=rows)


def sentence(error: psycopg.Error) -> str:
    """What Postgres says, with its hint, in one line."""
    said = error.diag.message_primary or str(error).strip() or type(error).__name__
    hint = f" {error.diag.message_hint}" if error.diag.message_hint else ""
    return f"Postgres says: {said.rstrip('.')}.{hint}"


def judged(conn: sa.Connection, *, model: str, role: str, at: datetime) -> dict[str, list[dict[str, Any]]]:
    """What was made of the windows in which a moment fell: ``windows``, ``findings``, ``alerts``, ``recommendations``.

    Windows carry how many findings had which verdict; findings are those that were not fine, the worst first. Alerts
    and recommendations are those that stood in one of the windows.
    """
    where = {"model": model, "role": role, "at": at}
    return {
        name: [dict(row) for row in conn.execute(query, where).mappings()] for name, query in AROUND_A_MOMENT.items()
    }


AROUND_A_MOMENT = {
    "windows": sa.text("""
        SELECT r.run_id, r.window_start, r.window_end, r.revision, r.state, r.reason, verdicts.*
        FROM monitor.run_history AS r
        LEFT JOIN LATERAL (
            SELECT
                count(*) FILTER (WHERE f.verdict = 'critical') AS critical,
                count(*) FILTER (WHERE f.verdict = 'warning') AS warning,
                count(*) FILTER (WHERE f.verdict = 'inconclusive') AS inconclusive,
                count(*) FILTER (WHERE f.verdict = 'ok') + coalesce(r.findings_thinned, 0) AS ok
            FROM monitor.finding_history AS f
            WHERE f.model = r.model AND f.role = r.role
                AND f.window_start = r.window_start AND f.window_end = r.window_end
        ) AS verdicts ON true
        WHERE r.model = :model AND r.role = :role AND r.window_start <= :at AND r.window_end > :at
        ORDER BY r.window_start
    """),
    "findings": sa.text("""
        SELECT f.window_start, f.check_name, f.subject, f.statistic, f.verdict, f.severity, f.effect, f.message
        FROM monitor.finding_history AS f
        WHERE f.model = :model AND f.role = :role AND f.window_start <= :at AND f.window_end > :at
            AND f.verdict IN ('warning', 'critical')
        ORDER BY f.verdict, array_position(ARRAY['critical', 'warning', 'info'], f.severity), f.window_start, f.subject
    """),
    "alerts": sa.text("""
        SELECT a.alert_key, a.episode, a.title, a.severity, a.state, a.cause, a.opened_window_start,
            a.resolved_window_start
        FROM monitor.alert_history AS a
        WHERE a.model = :model AND a.role = :role AND a.state <> 'pending' AND EXISTS (
            SELECT FROM monitor.run_history AS r
            WHERE r.model = :model AND r.role = :role AND r.window_start <= :at AND r.window_end > :at
                AND a.opened_window_start <= r.window_start
                AND coalesce(a.resolved_window_start, 'infinity') > r.window_start
        )
        ORDER BY a.opened_window_start, a.alert_key
    """),
    "recommendations": sa.text("""
        SELECT c.recommendation_id, c.action, c.state, c.opened_at, c.why, c.decided_by, c.decided_at
        FROM monitor.recommendation_history AS c
        WHERE c.model = :model AND c.role = :role AND EXISTS (
            SELECT FROM monitor.run_history AS r
            WHERE r.model = :model AND r.role = :role AND r.window_start <= :at AND r.window_end > :at
                AND c.window_start <= r.window_start AND coalesce(c.decided_at, 'infinity') > r.window_start
        )
        ORDER BY c.opened_at
    """),
}


# --- reports ---


def save_report(
    conn: sa.Connection,
    *,
    model: str,
    window_start: datetime,
    window_end: datetime,
    created_at: datetime,
    path: str | None = None,
    body: bytes | None = None,
    role: str = "champion",
    alert_key: str | None = None,
    episode: int | None = None,
    note: str | None = None,
) -> UUID:
    """Keep a report, by its path or its bytes, and return its id."""
    values = {
        "model": model,
        "role": role,
        "window_start": window_start,
        "window_end": window_end,
        "created_at": created_at,
        "path": path,
        "body": body,
        "alert_key": alert_key,
        "episode": episode,
        "note": note,
    }
    return conn.execute(sa.insert(reports).values(values).returning(reports.c.report_id)).scalar_one()


@dataclass(frozen=True, kw_only=True)
class Unreported:
    """An episode that people were told of and that has no report yet."""

    model: str
    role: str
    alert_key: str
    episode: int
    window_start: datetime
    window_end: datetime


def unreported(conn: sa.Connection, models: Sequence[str], *, limit: int = 1) -> list[Unreported]:
    """Episodes that opened, are worth a message and are about rows, without a report; the newest first."""
    query = (
        sa.select(
            alerts.c.model,
            alerts.c.role,
            alerts.c.alert_key,
            alerts.c.episode,
            alerts.c.opened_window_start.label("window_start"),
            alerts.c.opened_window_end.label("window_end"),
        )
        .where(
            alerts.c.model.in_(models),
            sa.func.split_part(alerts.c.family, ":", 1).not_in(UNREPORTED),
            alerts.c.severity != "info",
            alerts.c.opened_window_start.is_not(None),
            ~sa.exists().where(reports.c.alert_key == alerts.c.alert_key, reports.c.episode == alerts.c.episode),
        )
        .order_by(alerts.c.opened_window_start.desc())
        .limit(limit)
    )
    return [Unreported(**row._mapping) for row in conn.execute(query)]


def load_report(conn: sa.Connection, report_id: UUID) -> Mapping[str, Any] | None:
    """One report with its body, or None."""
    row = conn.execute(sa.select(reports).where(reports.c.report_id == report_id)).mappings().one_or_none()
    return None if row is None else dict(row)


def reports_of(conn: sa.Connection, alert_key: str, episode: int, *, limit: int = 50) -> Sequence[sa.RowMapping]:
    """The newest reports of an episode, without bodies; where one is not ``is_made``, ``note`` says why."""
    columns = [column for column in reports.c if column.name != "body"]
    is_made = sa.or_(reports.c.body.is_not(None), reports.c.path.is_not(None)).label("is_made")
    query = (
        sa.select(*columns, is_made)
        .where(reports.c.alert_key == alert_key, sa.func.coalesce(reports.c.episode, episode) == episode)
        .order_by(reports.c.created_at.desc())
        .limit(limit)
    )
    return conn.execute(query).mappings().all()
