"""Judgements and alerts say in which windows a change may have begun, judgements what moved."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

VIEWS = Path(__file__).resolve().parent.parent / "views"
CHANGED = ("finding_history", "alert_history")
ENDS = ("began_earliest", "began_latest")

_spec = importlib.util.spec_from_file_location("views", Path(__file__).with_name("0006_views.py"))
assert _spec is not None
assert _spec.loader is not None
views = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(views)


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
    for name in ENDS:
        op.add_column("alert", sa.Column(name, sa.DateTime(timezone=True), nullable=True), schema="monitor")
    for name in CHANGED:
        write(name, "0012")


def downgrade() -> None:
    for name in ("finding_history_revisions", *CHANGED):
        op.execute(f"DROP VIEW monitor.{name}")
    for name in ENDS:
        op.drop_column("alert", name, schema="monitor")
    for name in CHANGED:
        write(name, "0006")
