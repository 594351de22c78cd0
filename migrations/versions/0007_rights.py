"""Functions that run with their owner's rights are for the daemon alone, not for everybody who may connect."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA monitor FROM PUBLIC")


def downgrade() -> None:
    op.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA monitor TO PUBLIC")
