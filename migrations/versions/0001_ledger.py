"""Models, training profiles, tiles and the ledger of runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("config", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("config_hash", sa.Text(), nullable=True),
        sa.Column("code_version", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("period", postgresql.INTERVAL(), nullable=True),
        sa.Column("lag", postgresql.INTERVAL(), nullable=True),
        sa.Column("active_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("active_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("registered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_model")),
        schema="monitor",
    )
    op.create_table(
        "reference",
        sa.Column("reference_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("active_from", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("active_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("holdout_rows", sa.BigInteger(), nullable=True),
        sa.Column("time_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("time_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("windows_for_variance", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("calibrating", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("features", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("packages", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("python_version", sa.Text(), nullable=True),
        sa.Column("importance", postgresql.JSONB(), nullable=True),
        sa.Column("business", postgresql.JSONB(), nullable=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("sample", sa.LargeBinary(), nullable=True),
        sa.Column("golden", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("reference_id", name=op.f("pk_reference")),
        schema="monitor",
    )
    op.create_index("ix_reference_model", "reference", ["model", "active_from"], unique=False, schema="monitor")
    op.create_table(
        "run",
        sa.Column("run_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("kind", sa.Text(), server_default=sa.text("'scheduled'"), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'planned'"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rows_read", sa.BigInteger(), nullable=True),
        sa.Column("rows_duplicate", sa.BigInteger(), nullable=True),
        sa.Column("rows_late", sa.BigInteger(), nullable=True),
        sa.Column("rows_clock_skewed", sa.BigInteger(), nullable=True),
        sa.Column("labels_joined", sa.BigInteger(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("read_seconds", sa.Double(), nullable=True),
        sa.Column("reread_rows", sa.BigInteger(), nullable=True),
        sa.Column("reference_id", sa.Text(), nullable=True),
        sa.Column("config_hash", sa.Text(), nullable=True),
        sa.Column("code_version", sa.Text(), nullable=True),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('scheduled', 'late', 'backfill', 'manual')", name=op.f("ck_run_kind")),
        sa.CheckConstraint("part IN ('inputs', 'outcomes', 'process')", name=op.f("ck_run_part")),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_run_role")),
        sa.CheckConstraint("state IN ('planned', 'running', 'done', 'skipped', 'dead')", name=op.f("ck_run_state")),
        sa.CheckConstraint("window_start < window_end", name=op.f("ck_run_window")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run")),
        sa.UniqueConstraint("model", "role", "part", "window_start", "window_end", "revision", name="uq_run_window"),
        schema="monitor",
    )
    op.create_index(
        "ix_run_unfinished",
        "run",
        ["model", "role", "part", "window_start"],
        unique=False,
        schema="monitor",
        postgresql_where=sa.text("state IN ('planned', 'running')"),
    )
    op.create_index("ix_run_window", "run", ["model", "window_end"], unique=False, schema="monitor")
    op.create_index(
        "uq_run_running",
        "run",
        ["model", "role", "part"],
        unique=True,
        schema="monitor",
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "tile",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("slice", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("reference_id", sa.Text(), nullable=False),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rows", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rows_duplicate", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rows_late", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rows_clock_skewed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("fingerprint_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("fingerprint_sum", sa.Numeric(), server_default=sa.text("0"), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("built_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("next_check_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("part IN ('inputs', 'outcomes')", name=op.f("ck_tile_part")),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_tile_role")),
        sa.PrimaryKeyConstraint(
            "model", "model_version", "role", "slice", "part", "reference_id", "start", name=op.f("pk_tile")
        ),
        schema="monitor",
        postgresql_partition_by="RANGE (start)",
    )
    op.create_index(
        "ix_tile_next_check_at",
        "tile",
        ["next_check_at"],
        unique=False,
        schema="monitor",
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("run", schema="monitor")
    op.drop_table("tile", schema="monitor")
    op.drop_table("reference", schema="monitor")
    op.drop_table("model", schema="monitor")
