"""Tiles know how they were made, runs what they transferred, and what looking at tiles again costs is counted."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

VIEWS = Path(__file__).resolve().parent.parent / "views"
CHANGED = ("run_history", "run_history_revisions")
COUNTED = ("rows_transferred", "rows_repeated", "rows_beyond_horizon")

_spec = importlib.util.spec_from_file_location("views", Path(__file__).with_name("0006_views.py"))
assert _spec is not None
assert _spec.loader is not None
views = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(views)


def write(name: str, folder: str) -> None:
    """Make a view as its file says; one that is there may only gain columns."""
    for statement in views.statements(name, (VIEWS / folder / f"{name}.sql").read_text(encoding="utf-8")):
        op.get_bind().execute(
            sa.text(statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1).replace(":", "\\:"))
        )


def upgrade() -> None:
    op.add_column(
        "tile", sa.Column("recipe", sa.Text(), server_default=sa.text("''"), nullable=False), schema="monitor"
    )
    for name in COUNTED:
        op.add_column("run", sa.Column(name, sa.BigInteger(), nullable=True), schema="monitor")
    op.create_table(
        "recheck",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
            for name in ("checks", "tiles", "tiles_changed", "tiles_put_off", "windows_revised")
        ),
        sa.Column("seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_recheck_role")),
        sa.CheckConstraint("part IN ('inputs', 'outcomes')", name=op.f("ck_recheck_part")),
        sa.PrimaryKeyConstraint("model", "role", "part", "day", name=op.f("pk_recheck")),
        schema="monitor",
    )
    for name in (*CHANGED, "recheck_history"):
        write(name, "0011")


def downgrade() -> None:
    for name in (*CHANGED, "recheck_history"):
        op.execute(f"DROP VIEW monitor.{name}")
    op.drop_table("recheck", schema="monitor")
    for name in COUNTED:
        op.drop_column("run", name, schema="monitor")
    op.drop_column("tile", "recipe", schema="monitor")
    for name in CHANGED:  # they name every column of the run
        write(name, "0006")
