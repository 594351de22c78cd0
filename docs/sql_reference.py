"""Writes docs/sql.md from the comments in the database: `python docs/sql_reference.py postgresql://… > docs/sql.md`."""

from __future__ import annotations

import sys
from pathlib import Path

import sqlalchemy as sa

from monitor import schema

QUERIES = Path(__file__).parent / "queries.sql"

INTRODUCTION = """\
# The history in SQL

Everything the monitor has seen, thought, told and advised is in the views of schema `monitor`. They are a contract: a
column is never dropped or changed without a note in the CHANGELOG; new ones may be added at the end. Ask with
`monitor query "SELECT …"`, which reads only and needs no schema before a view's name, or with any Postgres client.

Each row begins with who and when, where that makes sense: `run_id, model, model_version, role, slice, window_start,
window_end, revision`. A plain view shows the newest revision of a window; `<view>_revisions` shows all of them. Times
are `timestamptz`, durations `interval`, money `numeric` beside its currency.

This page is made from the comments in the database by `docs/sql_reference.py`; a test keeps the two equal and runs
every query.
"""

VIEWS = sa.text("""
    SELECT c.oid, c.relname AS name, obj_description(c.oid) AS comment
    FROM pg_class AS c
    WHERE c.relkind = 'v' AND c.relnamespace = 'monitor'::regnamespace
    ORDER BY c.relname
""")
COLUMNS = sa.text("""
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
        col_description(a.attrelid, a.attnum) AS comment
    FROM pg_attribute AS a
    WHERE a.attrelid = :view AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
""")
SHORT = {"timestamp with time zone": "timestamptz", "double precision": "float8"}


def worked_queries() -> dict[str, str]:
    """The statements of docs/queries.sql by the question above each."""
    queries: dict[str, str] = {}
    for part in QUERIES.read_text(encoding="utf-8").strip().split("\n\n"):
        question, statement = part.split("\n", 1)
        queries[question.removeprefix("-- ")] = statement.rstrip(";")
    return queries


def document(conn: sa.Connection) -> str:
    """The page, as Markdown."""
    parts = [INTRODUCTION, "## Questions\n"]
    for question, statement in worked_queries().items():
        parts.append(f"### {question}\n\n```sql\n{statement}\n```\n")
    parts.append("## Views\n")
    views = conn.execute(VIEWS).all()
    names = {view.name for view in views}
    for view in views:
        base = view.name.removesuffix("_revisions")
        parts.append(f"### {view.name}\n\n{view.comment}\n")
        columns = conn.execute(COLUMNS, {"view": view.oid}).all()
        if base != view.name and base != "run_history" and base in names:
            parts.append(f"Columns: those of [{base}](#{base}).\n")
            continue
        lines = ["| column | type | |", "|---|---|---|"]
        for column in columns:
            comment = column.comment.replace("|", "\\|")
            lines.append(f"| `{column.name}` | {SHORT.get(column.type, column.type)} | {comment} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    engine = schema.create_engine(sys.argv[1])
    with engine.connect() as connection:
        sys.stdout.write(document(connection))
    engine.dispose()
