"""The family of an alert, by which its section of the runbook is found."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

VIEWS = Path(__file__).resolve().parent.parent / "views"

_spec = importlib.util.spec_from_file_location("views", Path(__file__).with_name("0006_views.py"))
assert _spec is not None
assert _spec.loader is not None
views = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(views)


def write(folder: str) -> None:
    """Make the view as its file says; one that is there may only gain columns."""
    for statement in views.statements("alert_history", (VIEWS / folder / "alert_history.sql").read_text("utf-8")):
        op.get_bind().execute(
            sa.text(statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1).replace(":", "\\:"))
        )


def upgrade() -> None:
    write("0016")


def downgrade() -> None:
    op.execute("DROP VIEW monitor.alert_history")
    write("0012")
