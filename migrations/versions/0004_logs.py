"""Log tables for those who have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "heartbeat_log",
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("rss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("uss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("cpu_seconds", sa.Double(), nullable=True),
        sa.Column("threads", sa.Integer(), nullable=True),
        sa.Column("open_files", sa.Integer(), nullable=True),
        sa.Column("memory_limit_bytes", sa.BigInteger(), nullable=True),
        sa.Column("packages", postgresql.JSONB(), nullable=True),
        sa.Column("dropped", sa.BigInteger(), nullable=True),
        sa.Column("queued", sa.BigInteger(), nullable=True),
        schema="monitor",
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index(
        "ix_heartbeat_log_process", "heartbeat_log", ["model", "process", "at"], unique=False, schema="monitor"
    )
    op.create_table(
        "outcome_log",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("observed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("logged_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        schema="monitor",
        postgresql_partition_by="RANGE (observed_at)",
    )
    op.create_index("ix_outcome_log_request", "outcome_log", ["request_id"], unique=False, schema="monitor")
    op.create_index("ix_outcome_log_time", "outcome_log", ["model", "observed_at"], unique=False, schema="monitor")
    op.create_table(
        "prediction_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), server_default=sa.text("'champion'"), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("logged_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("features", postgresql.JSONB(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("scores", postgresql.JSONB(), nullable=True),
        sa.Column("prediction", sa.Text(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_prediction_log_role")),
        schema="monitor",
        postgresql_partition_by="RANGE (occurred_at)",
    )
    op.create_index("ix_prediction_log_request", "prediction_log", ["request_id"], unique=False, schema="monitor")
    op.create_index(
        "ix_prediction_log_time", "prediction_log", ["model", "occurred_at"], unique=False, schema="monitor"
    )


def downgrade() -> None:
    op.drop_table("heartbeat_log", schema="monitor")
    op.drop_table("outcome_log", schema="monitor")
    op.drop_table("prediction_log", schema="monitor")
