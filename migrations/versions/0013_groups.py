"""Findings may compare a group of rows with another group."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

VIEWS = ("finding_history", "finding_history_revisions")
BEFORE = ("training", "season", "trailing", "previous", "champion", "absolute")


def allow(words: tuple[str, ...]) -> None:
    """Let findings compare with these and nothing else; partitions follow their table."""
    listed = ", ".join(f"'{word}'" for word in words)
    name = op.f("ck_finding_reference_kind")
    op.drop_constraint(name, "finding", schema="monitor", type_="check")
    op.create_check_constraint(name, "finding", f"reference_kind IN ({listed})", schema="monitor")
    for view in VIEWS:
        said = f"What it was compared with: {', '.join(words[:-1])} or {words[-1]}."
        op.execute(f"COMMENT ON COLUMN monitor.{view}.reference_kind IS '{said}'")


def upgrade() -> None:
    allow((*BEFORE[:-1], "group", BEFORE[-1]))


def downgrade() -> None:
    op.execute("DELETE FROM monitor.finding WHERE reference_kind = 'group'")
    allow(BEFORE)
