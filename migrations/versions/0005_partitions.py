"""Partitions by time, and the two functions that make and drop them.

Both functions run with their owner's rights: the daemon's own role may write rows but not change tables, and these
are the only two changes it needs.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PARTITIONED = [
    ("tile", "start", "month"),
    ("finding", "window_start", "month"),
    ("column_statistic", "window_start", "month"),
    ("column_profile", "window_start", "month"),
    ("performance", "window_start", "month"),
    ("resource_sample", "sampled_at", "month"),
    ("prediction_log", "occurred_at", "day"),
    ("outcome_log", "observed_at", "day"),
    ("heartbeat_log", "at", "day"),
]

# A row outside of every range lands in the default partition, so nothing is refused. When its range gets a partition
# later, it moves there first, because Postgres does not attach a partition whose rows are still in the default one.
ENSURE = """
CREATE FUNCTION monitor.ensure_partitions(every text, since timestamptz, until timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    parent record;
    lower_bound timestamptz;
    upper_bound timestamptz;
    child text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('monitor.partitions', 0));
    FOR parent IN SELECT * FROM (VALUES {values}) AS listed (name, key, unit) WHERE unit = every LOOP
        lower_bound := date_trunc(parent.unit, since, 'UTC');
        WHILE lower_bound < until LOOP
            -- In UTC a day is always 24 hours, whatever the session's time zone is.
            upper_bound := ((lower_bound AT TIME ZONE 'UTC') + ('1 ' || parent.unit)::interval) AT TIME ZONE 'UTC';
            child := parent.name || to_char(
                lower_bound AT TIME ZONE 'UTC', CASE parent.unit WHEN 'day' THEN '_YYYY_MM_DD' ELSE '_YYYY_MM' END
            );
            IF to_regclass('monitor.' || child) IS NULL THEN
                EXECUTE format(
                    'CREATE TABLE monitor.%I (LIKE monitor.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                    child, parent.name
                );
                EXECUTE format(
                    'WITH moved AS (DELETE FROM monitor.%I WHERE %I >= %L AND %I < %L RETURNING *)'
                    ' INSERT INTO monitor.%I SELECT * FROM moved',
                    parent.name || '_default', parent.key, lower_bound, parent.key, upper_bound, child
                );
                EXECUTE format(
                    'ALTER TABLE monitor.%I ATTACH PARTITION monitor.%I FOR VALUES FROM (%L) TO (%L)',
                    parent.name, child, lower_bound, upper_bound
                );
                made := made + 1;
            END IF;
            lower_bound := upper_bound;
        END LOOP;
    END LOOP;
    RETURN made;
END
$body$
"""

FORGET = """
CREATE FUNCTION monitor.forget(parent_name text, before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    parent record;
    child record;
    forgotten bigint := 0;
    counted bigint;
BEGIN
    SELECT * INTO STRICT parent FROM (VALUES {values}) AS listed (name, key, unit) WHERE name = parent_name;
    PERFORM pg_advisory_xact_lock(hashtextextended('monitor.partitions', 0));
    FOR child IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = ('monitor.' || parent_name)::regclass AND c.relname <> parent_name || '_default'
    LOOP
        -- Whole partitions only: the name says where one begins.
        IF (to_date(
                substr(child.relname, length(parent_name) + 2),
                CASE parent.unit WHEN 'day' THEN 'YYYY_MM_DD' ELSE 'YYYY_MM' END
            ) + ('1 ' || parent.unit)::interval) AT TIME ZONE 'UTC' <= before
        THEN
            EXECUTE format('SELECT count(*) FROM monitor.%I', child.relname) INTO counted;
            EXECUTE format('DROP TABLE monitor.%I', child.relname);
            forgotten := forgotten + counted;
        END IF;
    END LOOP;
    EXECUTE format('DELETE FROM monitor.%I WHERE %I < %L', parent_name || '_default', parent.key, before);
    GET DIAGNOSTICS counted = ROW_COUNT;
    RETURN forgotten + counted;
END
$body$
"""


def upgrade() -> None:
    for name, _, _ in PARTITIONED:
        op.execute(f"CREATE TABLE monitor.{name}_default PARTITION OF monitor.{name} DEFAULT")
    values = ", ".join(f"('{name}', '{key}', '{unit}')" for name, key, unit in PARTITIONED)
    for function in (ENSURE, FORGET):
        op.execute(function.replace("{values}", values))
    op.execute(
        "COMMENT ON FUNCTION monitor.ensure_partitions IS 'Makes month or day partitions between two times; how many.'"
    )
    op.execute("COMMENT ON FUNCTION monitor.forget IS 'Drops what is older than a time from a table; how many rows.'")


def downgrade() -> None:
    op.execute("DROP FUNCTION monitor.forget")
    op.execute("DROP FUNCTION monitor.ensure_partitions")
    for name, _, _ in PARTITIONED:
        op.execute(f"DROP TABLE monitor.{name}_default")
