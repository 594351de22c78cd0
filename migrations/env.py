"""Runs the migrations on the connection of ``monitor.schema``, or on $MONITOR_STORE_URL under alembic's own command."""

from __future__ import annotations

import os

import sqlalchemy as sa
from alembic import context

from monitor import schema, tables

#: Any constant will do, as long as it is ours: 'drift' on a keypad.
LOCK = 37438


def is_ours(_: object, name: str | None, type_: str, reflected: bool, compare_to: object) -> bool:
    """Leave partitions out of a comparison: they are made at run time and have no place in the metadata."""
    return not (type_ == "table" and reflected and compare_to is None and name != "alembic_version")


def migrate(connection: sa.Connection) -> None:
    """Run what was asked for inside the connection's transaction, one process at a time."""
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    # IF NOT EXISTS would ask for the right to create schemas even where ours is there
    if connection.scalar(sa.text(f"SELECT to_regnamespace('{schema.SCHEMA}')")) is None:
        connection.execute(sa.text(f"CREATE SCHEMA {schema.SCHEMA}"))
    context.configure(
        connection=connection,
        target_metadata=tables.metadata,
        version_table_schema=schema.SCHEMA,
        include_schemas=True,
        include_name=lambda name, type_, _: type_ != "schema" or name == schema.SCHEMA,
        include_object=is_ours,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    engine = schema.create_engine(os.environ["MONITOR_STORE_URL"], pool_size=1)
    with engine.begin() as opened:
        migrate(opened)
    engine.dispose()
