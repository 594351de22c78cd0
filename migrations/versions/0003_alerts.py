"""Alerts, what people are told, and what they are advised."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alert",
        sa.Column("alert_key", sa.Text(), nullable=False),
        sa.Column("episode", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("slice", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("direction", sa.SmallInteger(), nullable=True),
        sa.Column("title", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opened_window_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opened_window_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("silenced", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("inhibited_by", sa.Text(), nullable=True),
        sa.Column("stale_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("flapping", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_window_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("subjects", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("impact_cost", sa.Numeric(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("thread_key", sa.Text(), nullable=True),
        sa.Column("memory", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "cause IN ('data', 'concept', 'drift', 'resource', 'release', 'pipeline')", name=op.f("ck_alert_cause")
        ),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_alert_role")),
        sa.CheckConstraint("severity IN ('info', 'warning', 'critical')", name=op.f("ck_alert_severity")),
        sa.CheckConstraint(
            "state IN ('inactive', 'pending', 'firing', 'recovering', 'resolved', 'expired', 'superseded')",
            name=op.f("ck_alert_state"),
        ),
        sa.CheckConstraint("direction IN (-1, 0, 1)", name=op.f("ck_alert_direction")),
        sa.PrimaryKeyConstraint("alert_key", "episode", name=op.f("pk_alert")),
        schema="monitor",
    )
    op.create_index("ix_alert_model", "alert", ["model", "state"], unique=False, schema="monitor")
    op.create_index(
        "uq_alert_open",
        "alert",
        ["alert_key"],
        unique=True,
        schema="monitor",
        postgresql_where=sa.text("state IN ('pending', 'firing', 'recovering')"),
    )
    op.create_table(
        "alert_event",
        sa.Column("event_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("alert_key", sa.Text(), nullable=False),
        sa.Column("episode", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("slice", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_alert_event_role")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_alert_event")),
        schema="monitor",
    )
    op.create_index("ix_alert_event_alert", "alert_event", ["alert_key", "episode"], unique=False, schema="monitor")
    op.create_index("ix_alert_event_at", "alert_event", ["at"], unique=False, schema="monitor")
    op.create_table(
        "channel_state",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'closed'"), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('closed', 'open', 'half_open')", name=op.f("ck_channel_state_state")),
        sa.PrimaryKeyConstraint("channel", name=op.f("pk_channel_state")),
        schema="monitor",
    )
    op.create_table(
        "circuit_event",
        sa.Column("event_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("share", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("fallback", postgresql.JSONB(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('closed', 'open', 'half_open')", name=op.f("ck_circuit_event_state")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_circuit_event")),
        schema="monitor",
    )
    op.create_index("ix_circuit_event_model", "circuit_event", ["model", "at"], unique=False, schema="monitor")
    op.create_table(
        "notification",
        sa.Column("notification_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("slice", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("thread_key", sa.Text(), nullable=True),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("in_thread", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("subject_line", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("attachment", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_notification_role")),
        sa.CheckConstraint("severity IN ('info', 'warning', 'critical')", name=op.f("ck_notification_severity")),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_notification")),
        schema="monitor",
    )
    op.create_index("ix_notification_created_at", "notification", ["created_at"], unique=False, schema="monitor")
    op.create_index("ix_notification_thread", "notification", ["thread_key"], unique=False, schema="monitor")
    op.create_table(
        "recommendation",
        sa.Column("recommendation_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("slice", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("cause_key", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("evidence", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("why_not", sa.Text(), nullable=True),
        sa.Column("expected_benefit", sa.Numeric(), nullable=True),
        sa.Column("expected_cost", sa.Numeric(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("train_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("train_query", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("extras", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "action IN ('INVESTIGATE_DATA', 'RECALIBRATE', 'RETRAIN', 'GET_LABELS', 'ROLL_BACK', 'PROMOTE', 'WATCH', "
            "'INSUFFICIENT_DATA')",
            name=op.f("ck_recommendation_action"),
        ),
        sa.CheckConstraint("outcome IN ('helped', 'did_not_help', 'unknown')", name=op.f("ck_recommendation_outcome")),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_recommendation_role")),
        sa.CheckConstraint(
            "state IN ('open', 'approved', 'dismissed', 'superseded', 'done', 'failed')",
            name=op.f("ck_recommendation_state"),
        ),
        sa.PrimaryKeyConstraint("recommendation_id", name=op.f("pk_recommendation")),
        schema="monitor",
    )
    op.create_index(
        "uq_recommendation_open",
        "recommendation",
        ["model", "cause_key"],
        unique=True,
        schema="monitor",
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "report",
        sa.Column("report_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("alert_key", sa.Text(), nullable=True),
        sa.Column("episode", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("report_id", name=op.f("pk_report")),
        schema="monitor",
    )
    op.create_index("ix_report_window", "report", ["model", "window_start"], unique=False, schema="monitor")
    op.create_table(
        "silence",
        sa.Column("silence_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("matchers", postgresql.JSONB(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("starts_at <= ends_at", name=op.f("ck_silence_period")),
        sa.PrimaryKeyConstraint("silence_id", name=op.f("pk_silence")),
        schema="monitor",
    )
    op.create_table(
        "delivery",
        sa.Column("delivery_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("notification_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("provider_ref", sa.Text(), nullable=True),
        sa.Column("possible_duplicate", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'sending', 'sent', 'held', 'superseded', 'dead')", name=op.f("ck_delivery_state")
        ),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["monitor.notification.notification_id"],
            name=op.f("fk_delivery_notification_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("notification_id", "channel", name=op.f("uq_delivery_notification_id_channel")),
        schema="monitor",
    )
    op.create_index(
        "ix_delivery_unsent",
        "delivery",
        ["channel", "group_key", "sequence"],
        unique=False,
        schema="monitor",
        postgresql_where=sa.text("state IN ('pending', 'sending', 'held')"),
    )
    op.create_table(
        "notification_alert",
        sa.Column("notification_id", sa.Uuid(), nullable=False),
        sa.Column("alert_key", sa.Text(), nullable=False),
        sa.Column("episode", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["monitor.notification.notification_id"],
            name=op.f("fk_notification_alert_notification_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("notification_id", "alert_key", name=op.f("pk_notification_alert")),
        schema="monitor",
    )
    op.create_index(
        "ix_notification_alert_episode", "notification_alert", ["alert_key", "episode"], unique=False, schema="monitor"
    )


def downgrade() -> None:
    op.drop_table("report", schema="monitor")
    op.drop_table("circuit_event", schema="monitor")
    op.drop_table("silence", schema="monitor")
    op.drop_table("recommendation", schema="monitor")
    op.drop_table("channel_state", schema="monitor")
    op.drop_table("delivery", schema="monitor")
    op.drop_table("notification_alert", schema="monitor")
    op.drop_table("notification", schema="monitor")
    op.drop_table("alert_event", schema="monitor")
    op.drop_table("alert", schema="monitor")
