"""A light is green only where a shift of the score that matters would have been seen."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
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
    write("model_status", "0017")


def downgrade() -> None:
    write("model_status", "0006")
