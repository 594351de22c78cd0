"""What came of advice: the version that followed, losses before and after, and how often advice was right."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

VIEWS = Path(__file__).resolve().parent.parent / "views"

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
    for name in ("recommendation_history", "recommendation_precision"):
        write(name, "0015")


def downgrade() -> None:
    for name in ("recommendation_history", "recommendation_precision"):
        op.execute(f"DROP VIEW monitor.{name}")
    write("recommendation_history", "0006")
