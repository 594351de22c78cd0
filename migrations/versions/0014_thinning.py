"""A year takes less room: what a run says once is not repeated in its rows, and months that are over are packed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

VIEWS = Path(__file__).resolve().parent.parent / "views"
BEFORE = {
    "finding_history": "0012",
    "drift_metrics": "0006",
    "drift_history": "0006",
    "run_history": "0011",
    "run_history_revisions": "0011",
}
#: Columns of a run that stood in each of its rows as well, by table.
REPEATED = {"finding": ("reference_id", "config_hash", "code_version"), "column_statistic": ("reference_id",)}

_spec = importlib.util.spec_from_file_location("views", Path(__file__).with_name("0006_views.py"))
assert _spec is not None
assert _spec.loader is not None
views = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(views)

# A row that was deleted leaves its room to rows of the same month, and after a month no more come. CLUSTER writes a
# table anew as VACUUM FULL does, but may run in a function, so that the daemon's own role needs no right to do it.
# One partition at a time, so that nobody waits long; one that is in use is left for another day.
PACK = """
CREATE FUNCTION monitor.pack(parent_name text, before timestamptz, packing integer) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $body$
DECLARE
    child record;
BEGIN
    IF parent_name NOT IN ('tile', 'finding', 'column_statistic', 'column_profile', 'performance') THEN
        RAISE 'There is no table % to pack.', parent_name;
    END IF;
    FOR child IN
        SELECT c.oid, c.relname, x.relname AS key
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        JOIN pg_index k ON k.indrelid = c.oid AND k.indisprimary JOIN pg_class x ON x.oid = k.indexrelid
        WHERE i.inhparent = ('monitor.' || parent_name)::regclass AND c.relname <> parent_name || '_default'
        ORDER BY c.relname
    LOOP
        IF (to_date(substr(child.relname, length(parent_name) + 2), 'YYYY_MM') + interval '1 month')
                AT TIME ZONE 'UTC' <= before
            AND packing
                > coalesce(substring(obj_description(child.oid, 'pg_class') FROM '^packed ([0-9]+)$')::integer, 0)
        THEN
            BEGIN
                EXECUTE format('CLUSTER monitor.%I USING %I', child.relname, child.key);
                EXECUTE format('COMMENT ON TABLE monitor.%I IS %L', child.relname, 'packed ' || packing);
                RETURN child.relname;
            EXCEPTION WHEN lock_not_available THEN
                CONTINUE;
            END;
        END IF;
    END LOOP;
    RETURN NULL;
END
$body$
"""


def write(name: str, folder: str) -> None:
    """Make a view as its file says, and that of its revisions; one that is there may only gain columns."""
    text = (VIEWS / folder / f"{name}.sql").read_text(encoding="utf-8")
    script = views.statements(name, text)
    if views.LATEST in text:
        script += views.statements(f"{name}_revisions", text.split(views.LATEST)[0], " Every revision of a window.")
    for statement in script:
        op.get_bind().execute(
            sa.text(statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1).replace(":", "\\:"))
        )


def upgrade() -> None:
    op.add_column("run", sa.Column("findings_thinned", sa.BigInteger(), nullable=True), schema="monitor")
    op.create_index(
        "ix_run_whole",
        "run",
        ["model", "window_end"],
        schema="monitor",
        postgresql_where=sa.text("state = 'done' AND findings_thinned IS NULL"),
    )
    for name in BEFORE:
        write(name, revision)
    for table, names in REPEATED.items():
        for name in names:
            op.drop_column(table, name, schema="monitor")
    op.execute(PACK)
    op.execute("REVOKE ALL ON FUNCTION monitor.pack FROM PUBLIC")
    op.execute(
        "COMMENT ON FUNCTION monitor.pack IS"
        " 'Writes one month of a table anew without the room of deleted rows, unless it was packed so often; which.'"
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION monitor.pack")
    for table, names in REPEATED.items():
        for name in names:
            op.add_column(table, sa.Column(name, sa.Text(), nullable=True), schema="monitor")
        told = ", ".join(f"{name} = r.{name}" for name in names)
        op.execute(f"UPDATE monitor.{table} AS t SET {told} FROM monitor.run AS r WHERE r.run_id = t.run_id")  # noqa: S608  # names of our own
    for name in (*BEFORE, "finding_history_revisions", "drift_metrics_revisions", "drift_history_revisions"):
        op.execute(f"DROP VIEW monitor.{name}")
    op.drop_index("ix_run_whole", "run", schema="monitor")
    op.drop_column("run", "findings_thinned", schema="monitor")
    for name, folder in BEFORE.items():  # they name every column of the run
        write(name, folder)
