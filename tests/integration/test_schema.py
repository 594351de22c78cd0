"""The schema is what the contract says, however it was reached."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from monitor import schema, tables
from monitor.embedded import Database

CONTRACT: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent.parent / "contract" / "views.json").read_text(encoding="utf-8")
)

COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type,
        col_description(c.oid, a.attnum) AS comment
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind = :kind AND c.relnamespace = 'monitor'::regnamespace
    ORDER BY c.relname, a.attnum
"""

# Everything that makes a table what it is, by name, with the schema's own name taken out.
SHAPE = """
    SELECT 'column' AS what, c.relname || '.' || a.attname AS name,
        format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || a.attidentity::text || ' '
        || coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS definition
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'monitor'::regnamespace
    UNION ALL
    SELECT 'constraint', n.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_class n ON n.oid = k.conrelid AND NOT n.relispartition
    WHERE k.connamespace = 'monitor'::regnamespace
    UNION ALL
    SELECT 'index', n.relname || '.' || i.relname, pg_get_indexdef(x.indexrelid)
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class n ON n.oid = x.indrelid
    WHERE NOT n.relispartition AND n.relnamespace = 'monitor'::regnamespace
    UNION ALL
    SELECT 'partition key', p.partrelid::regclass::text, pg_get_partkeydef(p.partrelid)
    FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid WHERE c.relnamespace = 'monitor'::regnamespace
"""


def shape(url: str | sa.URL) -> set[tuple[str, str, str]]:
    """All columns, constraints, indexes and partition keys of the tables, as Postgres itself writes them."""
    engine = schema.create_engine(url)
    with engine.connect() as conn:
        rows = {(what, name, definition) for what, name, definition in conn.execute(sa.text(SHAPE))}
    engine.dispose()
    return {row for row in rows if not row[1].startswith("alembic_version.")}


def test_the_schema_goes_up_and_down_and_up_again(empty_database: Database) -> None:
    assert schema.current(empty_database.url) is None
    schema.upgrade(empty_database.url)
    assert schema.current(empty_database.url) == schema.head()
    made = shape(empty_database.url)

    schema.downgrade(empty_database.url)
    assert schema.current(empty_database.url) is None
    assert shape(empty_database.url) == set()

    schema.upgrade(empty_database.url)
    assert shape(empty_database.url) == made


def test_an_upgrade_with_nothing_to_do_does_nothing(database: Database) -> None:
    schema.upgrade(database.url)
    assert schema.current(database.url) == schema.head()


def test_the_metadata_equals_the_migrated_schema(conn: sa.Connection) -> None:
    partitions = set(conn.scalars(sa.text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")).all())
    context = MigrationContext.configure(
        conn,
        opts={
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == "monitor",
            "include_object": lambda _, name, kind, reflected, __: (
                not (kind == "table" and reflected and (name in partitions or name == "alembic_version"))
            ),
        },
    )
    assert compare_metadata(context, tables.metadata) == []


def test_checks_defaults_and_partition_keys_equal_the_metadata_too(
    database: Database, empty_database: Database
) -> None:
    """Alembic compares none of these; Postgres describes both schemas in the same words."""
    engine = schema.create_engine(empty_database.url)
    with engine.begin() as conn:
        conn.execute(sa.text("CREATE SCHEMA monitor"))
        tables.metadata.create_all(conn)
    engine.dispose()
    assert shape(database.url) == shape(empty_database.url)


def test_every_view_has_the_columns_order_and_types_of_the_contract(conn: sa.Connection) -> None:
    views: dict[str, dict[str, str]] = {}
    for row in conn.execute(sa.text(COLUMNS), {"kind": "v"}):
        views.setdefault(row.relname, {})[row.attname] = row.type
    assert sorted(views) == sorted(CONTRACT)
    for view, columns in CONTRACT.items():
        assert list(views[view].items()) == list(columns.items()), view


def test_every_view_and_every_column_of_a_view_has_a_comment(conn: sa.Connection) -> None:
    bare = [f"{row.relname}.{row.attname}" for row in conn.execute(sa.text(COLUMNS), {"kind": "v"}) if not row.comment]
    assert bare == []
    views = conn.execute(
        sa.text(
            "SELECT relname, obj_description(oid) FROM pg_class"
            " WHERE relkind = 'v' AND relnamespace = 'monitor'::regnamespace"
        )
    )
    assert [name for name, comment in views if not comment] == []


def test_every_view_can_be_read_while_everything_is_empty(conn: sa.Connection) -> None:
    for view in CONTRACT:
        assert conn.execute(sa.text(f"SELECT * FROM monitor.{view}")).all() == [], view


def test_time_grows_tables_are_partitioned_by_the_listed_column_and_have_a_default(conn: sa.Connection) -> None:
    keys = conn.execute(
        sa.text(
            "SELECT c.relname, pg_get_partkeydef(c.oid), p.partdefid::regclass::text"
            " FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid"
        )
    )
    expected = {(name, f"RANGE ({column})", f"monitor.{name}_default") for name, column in tables.PARTITIONED.items()}
    assert {(name, key.replace('"', ""), default) for name, key, default in keys} == expected


def test_a_transaction_has_limits_and_reads_times_in_utc(conn: sa.Connection) -> None:
    def setting(name: str) -> str | None:
        value: str | None = conn.scalar(sa.text("SELECT current_setting(:name)"), {"name": name})
        return value

    assert setting("statement_timeout") == "5min"
    assert setting("lock_timeout") == "10s"
    assert setting("idle_in_transaction_session_timeout") == "2min"
    assert setting("TimeZone") == "UTC"


def test_an_address_of_another_database_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"is not Postgres; give an address that begins with postgresql://\.$"):
        schema.create_engine("sqlite:///history.db")


def test_a_password_is_not_part_of_the_refusal() -> None:
    with pytest.raises(ValueError, match="Postgres") as refused:
        schema.database_url("mysql://me:canary@db/history")
    assert "canary" not in str(refused.value)
