"""Every table of schema ``monitor``, typed; alembic's target metadata.

People who query use the views, which are the contract; these tables are ours and may change with a migration. Nothing
here asks a question: queries are in ``store``, ``ledger`` and ``outbox``.
"""

from __future__ import annotations

from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

T = TypeVar("T")

SCHEMA = "monitor"

#: Month partitions, and the day partitions of the log tables, by the column whose ranges they are cut along. The
#: migration's function ``monitor.ensure_partitions`` carries the same list; a test compares the two.
PARTITIONED = {
    "tile": "start",
    "finding": "window_start",
    "column_statistic": "window_start",
    "column_profile": "window_start",
    "performance": "window_start",
    "resource_sample": "sampled_at",
    "prediction_log": "occurred_at",
    "outcome_log": "observed_at",
    "heartbeat_log": "at",
}

metadata = sa.MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    },
)

TEXT = sa.Text()
INTEGER = sa.Integer()
BIGINT = sa.BigInteger()
FLOAT: sa.Double[float] = sa.Double()
MONEY = sa.Numeric()
BOOLEAN = sa.Boolean()
TIME = sa.DateTime(timezone=True)
SPAN = postgresql.INTERVAL()
UUID = sa.Uuid()
BYTES = sa.LargeBinary()
#: ``None`` means SQL NULL, never the JSON word null.
JSON = postgresql.JSONB(none_as_null=True)

EMPTY_OBJECT = sa.text("'{}'::jsonb")
EMPTY_LIST = sa.text("'[]'::jsonb")
NOW = sa.text("now()")
NEW_UUID = sa.text("gen_random_uuid()")
NO = sa.text("false")
ZERO = sa.text("0")
ONE = sa.text("1")
NOTHING = sa.text("''")

ROLES = ("champion", "shadow", "canary")
RUN_PARTS = ("inputs", "outcomes", "process")
VERDICTS = ("ok", "warning", "critical", "inconclusive")
SEVERITIES = ("info", "warning", "critical")
SUBJECT_PARTS = ("input", "prediction", "outcome", "process", "release", "pipeline")
REFERENCE_KINDS = ("training", "season", "trailing", "previous", "champion", "absolute")
COMPARED = (*REFERENCE_KINDS[:-1], "group", REFERENCE_KINDS[-1])  # of findings, which may compare groups of rows


def must(type_: TypeEngine[T], default: sa.TextClause | None = None, *, key: bool = False) -> sa.Column[T]:
    """A column that is never NULL."""
    return sa.Column(type_, nullable=False, server_default=default, primary_key=key)


def may(type_: TypeEngine[T]) -> sa.Column[T | None]:
    """A column that may be NULL, which means unknown or not applicable."""
    return sa.Column(type_, nullable=True)


def one_of(column: str, allowed: tuple[str, ...]) -> sa.CheckConstraint:
    """Refuse any other word, so that a typing error cannot become a state that no query looks for."""
    words = ", ".join(f"'{word}'" for word in allowed)
    return sa.CheckConstraint(f"{column} IN ({words})", name=column)


class Window(sa.TypedColumns):
    """Which window, and which of its judgements."""

    window_start = must(TIME)
    window_end = must(TIME)
    revision = must(INTEGER, ONE)


class Key(sa.TypedColumns):
    """Who and when: the columns every row of a window's evidence begins with."""

    run_id = must(UUID, key=True)
    model = must(TEXT)
    model_version = may(TEXT)
    role = must(TEXT)
    slice = must(JSON, EMPTY_OBJECT, key=True)
    window_start = must(TIME, key=True)
    window_end = must(TIME)
    revision = must(INTEGER, ONE)


# --- models and their training profiles ---
class ModelColumns(sa.TypedColumns):
    name = must(TEXT, key=True)
    config = must(JSON, EMPTY_OBJECT)
    config_hash = may(TEXT)
    code_version = may(TEXT)
    currency = may(TEXT)
    #: Step between windows and wait after their end, for "when is the next one due".
    period = may(SPAN)
    lag = may(SPAN)
    active_from = may(TIME)
    active_until = may(TIME)
    registered_at = must(TIME, NOW)
    updated_at = must(TIME, NOW)
    removed_at = may(TIME)


model = sa.Table("model", metadata, ModelColumns)


class ReferenceColumns(sa.TypedColumns):
    #: SHA-256 of the body in hexadecimal: the same training data gives the same reference.
    reference_id = must(TEXT, key=True)
    model = must(TEXT)
    model_version = may(TEXT)
    created_at = must(TIME, NOW)
    active_from = must(TIME, NOW)
    active_until = may(TIME)
    rows = must(BIGINT)
    holdout_rows = may(BIGINT)
    time_from = may(TIME)
    time_to = may(TIME)
    windows_for_variance = must(INTEGER, ZERO)
    calibrating = must(BOOLEAN, NO)
    features = must(JSON, EMPTY_LIST)
    packages = must(JSON, EMPTY_OBJECT)
    python_version = may(TEXT)
    importance = may(JSON)
    business = may(JSON)
    source = may(TEXT)
    body = must(BYTES)
    #: Rows for reports and challengers, and the golden rows with their predictions; Arrow or Parquet bytes.
    sample = may(BYTES)
    golden = may(BYTES)


reference = sa.Table(
    "reference",
    metadata,
    ReferenceColumns,
    sa.Index("ix_reference_model", "model", "active_from"),
)


# --- evidence ---
class TileColumns(sa.TypedColumns):
    model = must(TEXT, key=True)
    #: '' where the log has no version column: the version is part of the key.
    model_version = must(TEXT, NOTHING, key=True)
    role = must(TEXT, key=True)
    slice = must(JSON, EMPTY_OBJECT, key=True)
    part = must(TEXT, key=True)
    reference_id = must(TEXT, key=True)
    start = must(TIME, key=True)
    end = must(TIME)
    rows = must(BIGINT, ZERO)
    rows_duplicate = must(BIGINT, ZERO)
    rows_late = must(BIGINT, ZERO)
    rows_clock_skewed = must(BIGINT, ZERO)
    fingerprint_count = must(BIGINT, ZERO)
    fingerprint_sum = must(MONEY, ZERO)
    #: How rows became this profile; a tile of another recipe is built anew before it is used.
    recipe = must(TEXT, NOTHING)
    #: Empty where there was no row: that it was looked at is stored as well.
    body = must(BYTES)
    revision = must(INTEGER, ONE)
    built_at = must(TIME, NOW)
    checked_at = must(TIME, NOW)
    next_check_at = may(TIME)


tile = sa.Table(
    "tile",
    metadata,
    TileColumns,
    one_of("role", ROLES),
    one_of("part", ("inputs", "outcomes")),
    sa.Index("ix_tile_next_check_at", "next_check_at", postgresql_where=sa.text("next_check_at IS NOT NULL")),
    postgresql_partition_by="RANGE (start)",
)


class RunColumns(sa.TypedColumns):
    run_id = must(UUID, NEW_UUID, key=True)
    model = must(TEXT)
    role = must(TEXT)
    part = must(TEXT)
    window_start = must(TIME)
    window_end = must(TIME)
    revision = must(INTEGER, ONE)
    kind = must(TEXT, sa.text("'scheduled'"))
    state = must(TEXT, sa.text("'planned'"))
    reason = may(TEXT)
    attempts = must(INTEGER, ZERO)
    owner = may(TEXT)
    #: The fence: who does not know it cannot finish the run.
    token = may(UUID)
    lease_until = may(TIME)
    progress_at = may(TIME)
    due_at = must(TIME)
    #: Earliest next attempt after a failure, by the database's clock.
    retry_at = may(TIME)
    created_at = must(TIME, NOW)
    started_at = may(TIME)
    finished_at = may(TIME)
    rows_read = may(BIGINT)
    rows_duplicate = may(BIGINT)
    rows_late = may(BIGINT)
    rows_clock_skewed = may(BIGINT)
    labels_joined = may(BIGINT)
    seconds = may(FLOAT)
    read_seconds = may(FLOAT)
    reread_rows = may(BIGINT)
    rows_transferred = may(BIGINT)
    rows_repeated = may(BIGINT)
    rows_beyond_horizon = may(BIGINT)
    reference_id = may(TEXT)
    config_hash = may(TEXT)
    code_version = may(TEXT)
    model_version = may(TEXT)
    #: Its findings that were ok and went for their age; NULL while all are there.
    findings_thinned = may(BIGINT)


run = sa.Table(
    "run",
    metadata,
    RunColumns,
    sa.UniqueConstraint("model", "role", "part", "window_start", "window_end", "revision", name="uq_run_window"),
    one_of("role", ROLES),
    one_of("part", RUN_PARTS),
    one_of("kind", ("scheduled", "late", "backfill", "manual")),
    one_of("state", ("planned", "running", "done", "skipped", "dead")),
    sa.CheckConstraint("window_start < window_end", name="window"),
    # The database, not the claim's query, is what makes one evaluation at a time certain.
    sa.Index("uq_run_running", "model", "role", "part", unique=True, postgresql_where=sa.text("state = 'running'")),
    sa.Index(
        "ix_run_unfinished",
        "model",
        "role",
        "part",
        "window_start",
        postgresql_where=sa.text("state IN ('planned', 'running')"),
    ),
    sa.Index("ix_run_window", "model", "window_end"),
    sa.Index(
        "ix_run_whole",
        "model",
        "window_end",
        postgresql_where=sa.text("state = 'done' AND findings_thinned IS NULL"),
    ),
)


class RecheckColumns(sa.TypedColumns):
    model = must(TEXT, key=True)
    role = must(TEXT, key=True)
    part = must(TEXT, key=True)
    day = must(sa.Date(), key=True)
    checks = must(BIGINT, ZERO)
    tiles = must(BIGINT, ZERO)
    tiles_changed = must(BIGINT, ZERO)
    tiles_put_off = must(BIGINT, ZERO)
    windows_revised = must(BIGINT, ZERO)
    seconds = must(FLOAT, ZERO)


recheck = sa.Table(
    "recheck",
    metadata,
    RecheckColumns,
    one_of("role", ROLES),
    one_of("part", ("inputs", "outcomes")),
)


class FindingColumns(Key):
    #: Which run wrote it: inputs and outcomes of one window have revisions of their own.
    run_part = must(TEXT)
    check_name = must(TEXT, key=True)
    part = must(TEXT)
    subject = must(TEXT, NOTHING, key=True)
    statistic = must(TEXT, NOTHING, key=True)
    reference_kind = must(TEXT, key=True)
    value = may(FLOAT)
    reference_value = may(FLOAT)
    effect = may(FLOAT)
    materiality = may(FLOAT)
    threshold = may(FLOAT)
    threshold_source = may(TEXT)
    p_value = may(FLOAT)
    p_adjusted = may(FLOAT)
    interval_low = may(FLOAT)
    interval_high = may(FLOAT)
    minimum_detectable = may(FLOAT)
    verdict = must(TEXT)
    severity = must(TEXT)
    impact = may(FLOAT)
    impact_cost = may(MONEY)
    currency = may(TEXT)
    began_at = may(TIME)
    reason = may(TEXT)
    message = may(TEXT)
    n_current = may(BIGINT)
    n_reference = may(BIGINT)
    evaluated_at = must(TIME, NOW)
    extras = must(JSON, EMPTY_OBJECT)


finding = sa.Table(
    "finding",
    metadata,
    FindingColumns,
    one_of("role", ROLES),
    one_of("run_part", RUN_PARTS),
    one_of("part", SUBJECT_PARTS),
    one_of("reference_kind", COMPARED),
    one_of("threshold_source", ("budget", "configured", "default")),
    one_of("verdict", VERDICTS),
    one_of("severity", SEVERITIES),
    sa.Index("ix_finding_window", "model", "role", "window_start"),
    postgresql_partition_by="RANGE (window_start)",
)


class ColumnStatisticColumns(Key):
    run_part = must(TEXT)
    column_name = must(TEXT, key=True)
    reference_kind = must(TEXT, key=True)
    data_type = may(TEXT)
    part = must(TEXT)
    n_current = may(BIGINT)
    n_reference = may(BIGINT)
    population_stability_index = may(FLOAT)
    psi_raw = may(FLOAT)
    js_distance = may(FLOAT)
    ks_statistic = may(FLOAT)
    ks_p_value = may(FLOAT)
    wasserstein_distance = may(FLOAT)
    chi_squared_statistic = may(FLOAT)
    chi_squared_p_value = may(FLOAT)
    tv_distance = may(FLOAT)
    l_infinity_distance = may(FLOAT)
    hellinger_distance = may(FLOAT)
    mean_delta = may(FLOAT)
    null_share_delta = may(FLOAT)
    new_category_share = may(FLOAT)
    effect = may(FLOAT)
    minimum_detectable = may(FLOAT)
    verdict = must(TEXT)
    severity = must(TEXT)
    impact = may(FLOAT)
    #: Plain thresholds that were configured, by statistic: {"population_stability_index": 0.25}.
    thresholds = must(JSON, EMPTY_OBJECT)


column_statistic = sa.Table(
    "column_statistic",
    metadata,
    ColumnStatisticColumns,
    one_of("role", ROLES),
    one_of("run_part", RUN_PARTS),
    one_of("part", SUBJECT_PARTS),
    one_of("reference_kind", REFERENCE_KINDS),
    one_of("verdict", VERDICTS),
    one_of("severity", SEVERITIES),
    sa.Index("ix_column_statistic_column", "model", "column_name", "window_start"),
    postgresql_partition_by="RANGE (window_start)",
)


class ColumnProfileColumns(Key):
    run_part = must(TEXT)
    column_name = must(TEXT, key=True)
    data_type = may(TEXT)
    row_count = must(BIGINT)
    num_nulls = may(BIGINT)
    num_non_finite = may(BIGINT)
    percent_null = may(FLOAT)
    percent_zeros = may(FLOAT)
    distinct_count = may(BIGINT)
    avg = may(FLOAT)
    stddev = may(FLOAT)
    min = may(FLOAT)
    max = may(FLOAT)
    quantiles = may(JSON)
    frequent_items = may(JSON)
    other_count = may(BIGINT)
    new_count = may(BIGINT)


column_profile = sa.Table(
    "column_profile",
    metadata,
    ColumnProfileColumns,
    one_of("role", ROLES),
    one_of("run_part", RUN_PARTS),
    sa.Index("ix_column_profile_column", "model", "column_name", "window_start"),
    postgresql_partition_by="RANGE (window_start)",
)


class PerformanceColumns(Key):
    run_part = must(TEXT)
    metric = must(TEXT, key=True)
    basis = must(TEXT, key=True)
    value = may(FLOAT)
    interval_low = may(FLOAT)
    interval_high = may(FLOAT)
    reference_value = may(FLOAT)
    target = may(FLOAT)
    label_coverage = may(FLOAT)
    label_delay_p50 = may(SPAN)
    matured = may(BIGINT)
    cost_per_prediction = may(MONEY)
    fallback_cost_per_prediction = may(MONEY)
    currency = may(TEXT)
    verdict = must(TEXT)


performance = sa.Table(
    "performance",
    metadata,
    PerformanceColumns,
    one_of("role", ROLES),
    one_of("run_part", RUN_PARTS),
    one_of("basis", ("realised", "estimated")),
    one_of("verdict", VERDICTS),
    sa.Index("ix_performance_metric", "model", "metric", "window_start"),
    postgresql_partition_by="RANGE (window_start)",
)


class DetectorMemoryColumns(sa.TypedColumns):
    model = must(TEXT, key=True)
    role = must(TEXT, key=True)
    #: A check that judges inputs and outcomes remembers each on its own.
    part = must(TEXT, key=True)
    slice = must(JSON, EMPTY_OBJECT, key=True)
    check_name = must(TEXT, key=True)
    window_start = must(TIME, key=True)
    window_end = must(TIME)
    revision = must(INTEGER, ONE, key=True)
    body = must(BYTES)
    saved_at = must(TIME, NOW)


detector_memory = sa.Table(
    "detector_memory", metadata, DetectorMemoryColumns, one_of("role", ROLES), one_of("part", RUN_PARTS)
)


class ResourceSampleColumns(sa.TypedColumns):
    model = must(TEXT)
    model_version = may(TEXT)
    process = must(TEXT)
    pid = may(INTEGER)
    started_at = may(TIME)
    sampled_at = must(TIME)
    rss_bytes = may(BIGINT)
    uss_bytes = may(BIGINT)
    cpu_seconds = may(FLOAT)
    cpu_percent = may(FLOAT)
    threads = may(INTEGER)
    open_files = may(INTEGER)
    restarts = may(INTEGER)
    memory_limit_bytes = may(BIGINT)
    baseline_rss_bytes = may(BIGINT)
    rss_ratio = may(FLOAT)
    leak_bytes_per_hour = may(FLOAT)
    time_to_limit = may(SPAN)


resource_sample = sa.Table(
    "resource_sample",
    metadata,
    ResourceSampleColumns,
    sa.Index("ix_resource_sample_process", "model", "process", "sampled_at"),
    postgresql_partition_by="RANGE (sampled_at)",
)


# --- alerts and what people are told ---
class AlertColumns(sa.TypedColumns):
    alert_key = must(TEXT, key=True)
    episode = must(INTEGER, ONE, key=True)
    model = must(TEXT)
    model_version = may(TEXT)
    role = must(TEXT)
    slice = must(JSON, EMPTY_OBJECT)
    family = must(TEXT)
    subject = must(TEXT, NOTHING)
    direction = may(sa.SmallInteger())
    title = must(TEXT, NOTHING)
    severity = must(TEXT)
    state = must(TEXT)
    cause = may(TEXT)
    opened_at = may(TIME)
    opened_window_start = may(TIME)
    opened_window_end = may(TIME)
    began_at = may(TIME)
    began_earliest = may(TIME)
    began_latest = may(TIME)
    acknowledged_by = may(TEXT)
    acknowledged_at = may(TIME)
    acknowledged_until = may(TIME)
    silenced = must(BOOLEAN, NO)
    inhibited_by = may(TEXT)
    stale_since = may(TIME)
    flapping = must(BOOLEAN, NO)
    resolved_at = may(TIME)
    resolved_window_start = may(TIME)
    subjects = must(JSON, EMPTY_LIST)
    impact_cost = may(MONEY)
    currency = may(TEXT)
    thread_key = may(TEXT)
    #: What the state machine needs of earlier windows, such as the last n verdicts.
    memory = must(JSON, EMPTY_OBJECT)
    updated_at = must(TIME, NOW)


alert = sa.Table(
    "alert",
    metadata,
    AlertColumns,
    one_of("role", ROLES),
    one_of("severity", SEVERITIES),
    # inactive: was pending and went back; kept for its memory, never shown.
    one_of("state", ("inactive", "pending", "firing", "recovering", "resolved", "expired", "superseded")),
    one_of("cause", ("data", "concept", "drift", "resource", "release", "pipeline")),
    sa.CheckConstraint("direction IN (-1, 0, 1)", name="direction"),
    sa.Index(
        "uq_alert_open",
        "alert_key",
        unique=True,
        postgresql_where=sa.text("state IN ('pending', 'firing', 'recovering')"),
    ),
    sa.Index("ix_alert_model", "model", "state"),
)


class AlertEventColumns(sa.TypedColumns):
    event_id = sa.Column(BIGINT, sa.Identity(), primary_key=True)
    alert_key = must(TEXT)
    episode = must(INTEGER)
    model = must(TEXT)
    model_version = may(TEXT)
    role = must(TEXT)
    slice = must(JSON, EMPTY_OBJECT)
    at = must(TIME, NOW)
    window_start = may(TIME)
    revision = may(INTEGER)
    from_state = must(TEXT)
    to_state = must(TEXT)
    reason = may(TEXT)
    actor = may(TEXT)


alert_event = sa.Table(
    "alert_event",
    metadata,
    AlertEventColumns,
    one_of("role", ROLES),
    sa.Index("ix_alert_event_alert", "alert_key", "episode"),
    sa.Index("ix_alert_event_at", "at"),
)


class NotificationColumns(sa.TypedColumns):
    notification_id = must(UUID, key=True)
    model = must(TEXT)
    role = may(TEXT)
    slice = must(JSON, EMPTY_OBJECT)
    window_start = may(TIME)
    window_end = may(TIME)
    revision = may(INTEGER)
    reason = must(TEXT)
    severity = must(TEXT)
    thread_key = may(TEXT)
    group_key = must(TEXT)
    in_thread = must(BOOLEAN, NO)
    subject_line = must(TEXT)
    payload = must(JSON, EMPTY_OBJECT)
    attachment = may(BYTES)
    created_at = must(TIME, NOW)


notification = sa.Table(
    "notification",
    metadata,
    NotificationColumns,
    one_of("role", ROLES),
    one_of("severity", SEVERITIES),
    sa.Index("ix_notification_thread", "thread_key"),
    sa.Index("ix_notification_created_at", "created_at"),
)


class NotificationAlertColumns(sa.TypedColumns):
    notification_id = sa.Column(
        UUID, sa.ForeignKey("monitor.notification.notification_id", ondelete="CASCADE"), primary_key=True
    )
    alert_key = must(TEXT, key=True)
    episode = must(INTEGER)


notification_alert = sa.Table(
    "notification_alert",
    metadata,
    NotificationAlertColumns,
    sa.Index("ix_notification_alert_episode", "alert_key", "episode"),
)


class DeliveryColumns(sa.TypedColumns):
    delivery_id = must(UUID, NEW_UUID, key=True)
    #: Order of writing: what first-in-first-out is measured by.
    sequence = sa.Column(BIGINT, sa.Identity(), nullable=False)
    notification_id = sa.Column(
        UUID, sa.ForeignKey("monitor.notification.notification_id", ondelete="CASCADE"), nullable=False
    )
    channel = must(TEXT)
    group_key = must(TEXT)
    state = must(TEXT, sa.text("'pending'"))
    attempts = must(INTEGER, ZERO)
    next_at = must(TIME, NOW)
    lease_until = may(TIME)
    token = may(UUID)
    last_error = may(TEXT)
    last_status = may(INTEGER)
    #: What the channel calls the message, such as Slack's ``ts``; replies hang on it.
    provider_ref = may(TEXT)
    possible_duplicate = must(BOOLEAN, NO)
    created_at = must(TIME, NOW)
    sent_at = may(TIME)
    #: Who of several recipients has it, as "", or was refused for good, and why; the others are still to be asked.
    recipients = must(JSON, EMPTY_OBJECT)


delivery = sa.Table(
    "delivery",
    metadata,
    DeliveryColumns,
    sa.UniqueConstraint("notification_id", "channel"),
    one_of("state", ("pending", "sending", "sent", "held", "superseded", "dead")),
    sa.Index(
        "ix_delivery_unsent",
        "channel",
        "group_key",
        "sequence",
        postgresql_where=sa.text("state IN ('pending', 'sending', 'held')"),
    ),
)


class ChannelStateColumns(sa.TypedColumns):
    channel = must(TEXT, key=True)
    state = must(TEXT, sa.text("'closed'"))
    not_before = may(TIME)
    failures = must(INTEGER, ZERO)
    opened_at = may(TIME)
    #: When the next message may be claimed, where the channel takes only so many in a time.
    ready_at = may(TIME)
    #: When people were last told on other channels that this one is broken.
    told_at = may(TIME)


channel_state = sa.Table(
    "channel_state", metadata, ChannelStateColumns, one_of("state", ("closed", "open", "half_open"))
)


class RecommendationColumns(sa.TypedColumns):
    recommendation_id = must(UUID, NEW_UUID, key=True)
    run_id = may(UUID)
    model = must(TEXT)
    model_version = may(TEXT)
    role = must(TEXT)
    slice = must(JSON, EMPTY_OBJECT)
    window_start = may(TIME)
    window_end = may(TIME)
    revision = may(INTEGER)
    cause_key = must(TEXT)
    action = must(TEXT)
    state = must(TEXT, sa.text("'open'"))
    opened_at = must(TIME, NOW)
    evidence = must(JSON, EMPTY_LIST)
    why = may(TEXT)
    why_not = may(TEXT)
    expected_benefit = may(MONEY)
    expected_cost = may(MONEY)
    currency = may(TEXT)
    train_since = may(TIME)
    train_query = may(TEXT)
    decided_by = may(TEXT)
    decided_at = may(TIME)
    outcome = may(TEXT)
    extras = must(JSON, EMPTY_OBJECT)
    updated_at = must(TIME, NOW)


recommendation = sa.Table(
    "recommendation",
    metadata,
    RecommendationColumns,
    one_of("role", ROLES),
    one_of(
        "action",
        (
            "INVESTIGATE_DATA",
            "RECALIBRATE",
            "RETRAIN",
            "GET_LABELS",
            "ROLL_BACK",
            "PROMOTE",
            "WATCH",
            "INSUFFICIENT_DATA",
        ),
    ),
    one_of("state", ("open", "approved", "dismissed", "superseded", "done", "failed")),
    one_of("outcome", ("helped", "did_not_help", "unknown")),
    sa.Index("uq_recommendation_open", "model", "cause_key", unique=True, postgresql_where=sa.text("state = 'open'")),
)


class SilenceColumns(sa.TypedColumns):
    silence_id = must(UUID, NEW_UUID, key=True)
    matchers = must(JSON)
    starts_at = must(TIME, NOW)
    ends_at = must(TIME)
    author = must(TEXT)
    reason = must(TEXT)
    ended_by = may(TEXT)
    created_at = must(TIME, NOW)


silence = sa.Table("silence", metadata, SilenceColumns, sa.CheckConstraint("starts_at <= ends_at", name="period"))


class ConfirmationColumns(sa.TypedColumns):
    #: SHA-256 of the token in the link, in hex.
    token_hash = must(TEXT, key=True)
    deed = must(TEXT)
    subject = must(JSON)
    created_at = must(TIME, NOW)
    expires_at = must(TIME)
    used_at = may(TIME)
    used_by = may(TEXT)


confirmation = sa.Table("confirmation", metadata, ConfirmationColumns)


class CircuitEventColumns(sa.TypedColumns):
    event_id = sa.Column(BIGINT, sa.Identity(), primary_key=True)
    model = must(TEXT)
    at = must(TIME, NOW)
    state = must(TEXT)
    share = may(FLOAT)
    reason = may(TEXT)
    actor = may(TEXT)
    fallback = may(JSON)
    until = may(TIME)
    probe_share = may(FLOAT)


circuit_event = sa.Table(
    "circuit_event",
    metadata,
    CircuitEventColumns,
    one_of("state", ("closed", "open", "half_open")),
    sa.Index("ix_circuit_event_model", "model", "at"),
)


class ReportColumns(sa.TypedColumns):
    report_id = must(UUID, NEW_UUID, key=True)
    model = must(TEXT)
    role = may(TEXT)
    window_start = must(TIME)
    window_end = must(TIME)
    alert_key = may(TEXT)
    episode = may(INTEGER)
    created_at = must(TIME, NOW)
    path = may(TEXT)
    body = may(BYTES)
    note = may(TEXT)


report = sa.Table("report", metadata, ReportColumns, sa.Index("ix_report_window", "model", "window_start"))


# --- log tables for those who have none; a client writes them, a source reads them like any other table ---
class PredictionLogColumns(sa.TypedColumns):
    id = sa.Column(BIGINT, sa.Identity(), nullable=False)
    request_id = must(TEXT)
    trace_id = may(TEXT)
    model = must(TEXT)
    model_version = may(TEXT)
    role = must(TEXT, sa.text("'champion'"))
    occurred_at = must(TIME, NOW)
    logged_at = must(TIME, NOW)
    features = may(JSON)
    score = may(FLOAT)
    scores = may(JSON)
    prediction = may(TEXT)
    value = may(FLOAT)
    latency_ms = may(FLOAT)


prediction_log = sa.Table(
    "prediction_log",
    metadata,
    PredictionLogColumns,
    one_of("role", ROLES),
    sa.Index("ix_prediction_log_time", "model", "occurred_at"),
    sa.Index("ix_prediction_log_request", "request_id"),
    postgresql_partition_by="RANGE (occurred_at)",
)


class OutcomeLogColumns(sa.TypedColumns):
    request_id = must(TEXT)
    model = must(TEXT)
    label = may(TEXT)
    value = may(FLOAT)
    observed_at = must(TIME, NOW)
    logged_at = must(TIME, NOW)


outcome_log = sa.Table(
    "outcome_log",
    metadata,
    OutcomeLogColumns,
    sa.Index("ix_outcome_log_time", "model", "observed_at"),
    sa.Index("ix_outcome_log_request", "request_id"),
    postgresql_partition_by="RANGE (observed_at)",
)


class HeartbeatLogColumns(sa.TypedColumns):
    process = must(TEXT)
    model = must(TEXT)
    model_version = may(TEXT)
    at = must(TIME, NOW)
    pid = may(INTEGER)
    rss_bytes = may(BIGINT)
    uss_bytes = may(BIGINT)
    cpu_seconds = may(FLOAT)
    threads = may(INTEGER)
    open_files = may(INTEGER)
    memory_limit_bytes = may(BIGINT)
    packages = may(JSON)
    dropped = may(BIGINT)
    queued = may(BIGINT)


heartbeat_log = sa.Table(
    "heartbeat_log",
    metadata,
    HeartbeatLogColumns,
    sa.Index("ix_heartbeat_log_process", "model", "process", "at"),
    postgresql_partition_by="RANGE (at)",
)
