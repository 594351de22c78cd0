"""Recipients of a delivery that are settled; how often a channel may be used, and when its breakdown was told."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE monitor.delivery ADD COLUMN recipients jsonb NOT NULL DEFAULT '{}'")
    op.execute("ALTER TABLE monitor.channel_state ADD COLUMN ready_at timestamptz, ADD COLUMN told_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE monitor.channel_state DROP COLUMN told_at, DROP COLUMN ready_at")
    op.execute("ALTER TABLE monitor.delivery DROP COLUMN recipients")
