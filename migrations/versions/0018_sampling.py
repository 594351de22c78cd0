"""Judgements on a sample of the rows say how much was drawn, and the error of that."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

VIEWS = Path(__file__).resolve().parent.parent / "views"

_spec = importlib.util.spec_from_file_location("views", Path(__file__).with_name("0006_views.py"))
assert _spec is not None
assert _spec.loader is not None
views = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(views)


def write(folder: str) -> None:
    """Make the view as its file says, and that of its revisions; they may only gain columns."""
    text = (VIEWS / folder / "finding_history.sql").read_text(encoding="utf-8")
    script = views.statements("finding_history", text)
    script += views.statements("finding_history_revisions", text.split(views.LATEST)[0], " Every revision of a window.")
    for statement in script:
        op.get_bind().execute(
            sa.text(statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1).replace(":", "\\:"))
        )


def upgrade() -> None:
    write("0018")


def downgrade() -> None:
    for name in ("finding_history_revisions", "finding_history"):
        op.execute(f"DROP VIEW monitor.{name}")
    write("0014")
