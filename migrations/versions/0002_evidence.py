"""What each window showed: findings, statistics, profiles, performance, memory, resources."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "column_profile",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("slice", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("run_part", sa.Text(), nullable=False),
        sa.Column("column_name", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=True),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("num_nulls", sa.BigInteger(), nullable=True),
        sa.Column("num_non_finite", sa.BigInteger(), nullable=True),
        sa.Column("percent_null", sa.Double(), nullable=True),
        sa.Column("percent_zeros", sa.Double(), nullable=True),
        sa.Column("distinct_count", sa.BigInteger(), nullable=True),
        sa.Column("avg", sa.Double(), nullable=True),
        sa.Column("stddev", sa.Double(), nullable=True),
        sa.Column("min", sa.Double(), nullable=True),
        sa.Column("max", sa.Double(), nullable=True),
        sa.Column("quantiles", postgresql.JSONB(), nullable=True),
        sa.Column("frequent_items", postgresql.JSONB(), nullable=True),
        sa.Column("other_count", sa.BigInteger(), nullable=True),
        sa.Column("new_count", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_column_profile_role")),
        sa.CheckConstraint("run_part IN ('inputs', 'outcomes', 'process')", name=op.f("ck_column_profile_run_part")),
        sa.PrimaryKeyConstraint("run_id", "slice", "window_start", "column_name", name=op.f("pk_column_profile")),
        schema="monitor",
        postgresql_partition_by="RANGE (window_start)",
    )
    op.create_index(
        "ix_column_profile_column",
        "column_profile",
        ["model", "column_name", "window_start"],
        unique=False,
        schema="monitor",
    )
    op.create_table(
        "column_statistic",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("slice", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("run_part", sa.Text(), nullable=False),
        sa.Column("column_name", sa.Text(), nullable=False),
        sa.Column("reference_kind", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=True),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("n_current", sa.BigInteger(), nullable=True),
        sa.Column("n_reference", sa.BigInteger(), nullable=True),
        sa.Column("population_stability_index", sa.Double(), nullable=True),
        sa.Column("psi_raw", sa.Double(), nullable=True),
        sa.Column("js_distance", sa.Double(), nullable=True),
        sa.Column("ks_statistic", sa.Double(), nullable=True),
        sa.Column("ks_p_value", sa.Double(), nullable=True),
        sa.Column("wasserstein_distance", sa.Double(), nullable=True),
        sa.Column("chi_squared_statistic", sa.Double(), nullable=True),
        sa.Column("chi_squared_p_value", sa.Double(), nullable=True),
        sa.Column("tv_distance", sa.Double(), nullable=True),
        sa.Column("l_infinity_distance", sa.Double(), nullable=True),
        sa.Column("hellinger_distance", sa.Double(), nullable=True),
        sa.Column("mean_delta", sa.Double(), nullable=True),
        sa.Column("null_share_delta", sa.Double(), nullable=True),
        sa.Column("new_category_share", sa.Double(), nullable=True),
        sa.Column("effect", sa.Double(), nullable=True),
        sa.Column("minimum_detectable", sa.Double(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("impact", sa.Double(), nullable=True),
        sa.Column("reference_id", sa.Text(), nullable=True),
        sa.Column("thresholds", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.CheckConstraint(
            "part IN ('input', 'prediction', 'outcome', 'process', 'release', 'pipeline')",
            name=op.f("ck_column_statistic_part"),
        ),
        sa.CheckConstraint(
            "reference_kind IN ('training', 'season', 'trailing', 'previous', 'champion', 'absolute')",
            name=op.f("ck_column_statistic_reference_kind"),
        ),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_column_statistic_role")),
        sa.CheckConstraint("run_part IN ('inputs', 'outcomes', 'process')", name=op.f("ck_column_statistic_run_part")),
        sa.CheckConstraint("severity IN ('info', 'warning', 'critical')", name=op.f("ck_column_statistic_severity")),
        sa.CheckConstraint(
            "verdict IN ('ok', 'warning', 'critical', 'inconclusive')", name=op.f("ck_column_statistic_verdict")
        ),
        sa.PrimaryKeyConstraint(
            "run_id", "slice", "window_start", "column_name", "reference_kind", name=op.f("pk_column_statistic")
        ),
        schema="monitor",
        postgresql_partition_by="RANGE (window_start)",
    )
    op.create_index(
        "ix_column_statistic_column",
        "column_statistic",
        ["model", "column_name", "window_start"],
        unique=False,
        schema="monitor",
    )
    op.create_table(
        "detector_memory",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("slice", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("check_name", sa.Text(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("part IN ('inputs', 'outcomes', 'process')", name=op.f("ck_detector_memory_part")),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_detector_memory_role")),
        sa.PrimaryKeyConstraint(
            "model", "role", "part", "slice", "check_name", "window_start", "revision", name=op.f("pk_detector_memory")
        ),
        schema="monitor",
    )
    op.create_table(
        "finding",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("slice", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("run_part", sa.Text(), nullable=False),
        sa.Column("check_name", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("statistic", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("reference_kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("reference_value", sa.Double(), nullable=True),
        sa.Column("effect", sa.Double(), nullable=True),
        sa.Column("materiality", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("threshold_source", sa.Text(), nullable=True),
        sa.Column("p_value", sa.Double(), nullable=True),
        sa.Column("p_adjusted", sa.Double(), nullable=True),
        sa.Column("interval_low", sa.Double(), nullable=True),
        sa.Column("interval_high", sa.Double(), nullable=True),
        sa.Column("minimum_detectable", sa.Double(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("impact", sa.Double(), nullable=True),
        sa.Column("impact_cost", sa.Numeric(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("n_current", sa.BigInteger(), nullable=True),
        sa.Column("n_reference", sa.BigInteger(), nullable=True),
        sa.Column("reference_id", sa.Text(), nullable=True),
        sa.Column("config_hash", sa.Text(), nullable=True),
        sa.Column("code_version", sa.Text(), nullable=True),
        sa.Column("evaluated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("extras", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.CheckConstraint(
            "part IN ('input', 'prediction', 'outcome', 'process', 'release', 'pipeline')", name=op.f("ck_finding_part")
        ),
        sa.CheckConstraint(
            "reference_kind IN ('training', 'season', 'trailing', 'previous', 'champion', 'absolute')",
            name=op.f("ck_finding_reference_kind"),
        ),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_finding_role")),
        sa.CheckConstraint("run_part IN ('inputs', 'outcomes', 'process')", name=op.f("ck_finding_run_part")),
        sa.CheckConstraint("severity IN ('info', 'warning', 'critical')", name=op.f("ck_finding_severity")),
        sa.CheckConstraint(
            "threshold_source IN ('budget', 'configured', 'default')", name=op.f("ck_finding_threshold_source")
        ),
        sa.CheckConstraint("verdict IN ('ok', 'warning', 'critical', 'inconclusive')", name=op.f("ck_finding_verdict")),
        sa.PrimaryKeyConstraint(
            "run_id",
            "slice",
            "window_start",
            "check_name",
            "subject",
            "statistic",
            "reference_kind",
            name=op.f("pk_finding"),
        ),
        schema="monitor",
        postgresql_partition_by="RANGE (window_start)",
    )
    op.create_index("ix_finding_window", "finding", ["model", "role", "window_start"], unique=False, schema="monitor")
    op.create_table(
        "performance",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("slice", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("run_part", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("interval_low", sa.Double(), nullable=True),
        sa.Column("interval_high", sa.Double(), nullable=True),
        sa.Column("reference_value", sa.Double(), nullable=True),
        sa.Column("target", sa.Double(), nullable=True),
        sa.Column("label_coverage", sa.Double(), nullable=True),
        sa.Column("label_delay_p50", postgresql.INTERVAL(), nullable=True),
        sa.Column("matured", sa.BigInteger(), nullable=True),
        sa.Column("cost_per_prediction", sa.Numeric(), nullable=True),
        sa.Column("fallback_cost_per_prediction", sa.Numeric(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.CheckConstraint("basis IN ('realised', 'estimated')", name=op.f("ck_performance_basis")),
        sa.CheckConstraint("role IN ('champion', 'shadow', 'canary')", name=op.f("ck_performance_role")),
        sa.CheckConstraint("run_part IN ('inputs', 'outcomes', 'process')", name=op.f("ck_performance_run_part")),
        sa.CheckConstraint(
            "verdict IN ('ok', 'warning', 'critical', 'inconclusive')", name=op.f("ck_performance_verdict")
        ),
        sa.PrimaryKeyConstraint("run_id", "slice", "window_start", "metric", "basis", name=op.f("pk_performance")),
        schema="monitor",
        postgresql_partition_by="RANGE (window_start)",
    )
    op.create_index(
        "ix_performance_metric", "performance", ["model", "metric", "window_start"], unique=False, schema="monitor"
    )
    op.create_table(
        "resource_sample",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sampled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("uss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("cpu_seconds", sa.Double(), nullable=True),
        sa.Column("cpu_percent", sa.Double(), nullable=True),
        sa.Column("threads", sa.Integer(), nullable=True),
        sa.Column("open_files", sa.Integer(), nullable=True),
        sa.Column("restarts", sa.Integer(), nullable=True),
        sa.Column("memory_limit_bytes", sa.BigInteger(), nullable=True),
        sa.Column("baseline_rss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("rss_ratio", sa.Double(), nullable=True),
        sa.Column("leak_bytes_per_hour", sa.Double(), nullable=True),
        sa.Column("time_to_limit", postgresql.INTERVAL(), nullable=True),
        schema="monitor",
        postgresql_partition_by="RANGE (sampled_at)",
    )
    op.create_index(
        "ix_resource_sample_process",
        "resource_sample",
        ["model", "process", "sampled_at"],
        unique=False,
        schema="monitor",
    )


def downgrade() -> None:
    op.drop_table("resource_sample", schema="monitor")
    op.drop_table("detector_memory", schema="monitor")
    op.drop_table("performance", schema="monitor")
    op.drop_table("column_profile", schema="monitor")
    op.drop_table("column_statistic", schema="monitor")
    op.drop_table("finding", schema="monitor")
