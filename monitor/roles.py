"""The four roles in Postgres as SQL: who may do what, made for one configuration, harmless to run again.

| role | may |
|---|---|
| `monitor_reader` | SELECT on the log tables that the configuration names |
| `monitor_writer` | read and write the rows of schema `monitor`; not its log tables, and no DDL |
| `monitor_migrator` | own schema `monitor`: `monitor db upgrade` |
| `monitor_viewer` | SELECT on the views of schema `monitor` |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from psycopg import sql

READER, WRITER, MIGRATOR, VIEWER = "monitor_reader", "monitor_writer", "monitor_migrator", "monitor_viewer"
ROLES = (READER, WRITER, MIGRATOR, VIEWER)
BUILTIN_LOGS = ("prediction_log", "outcome_log", "heartbeat_log")
"""Log tables in our own schema: serving writes them, the monitor only reads them."""
MOST_READERS = 20  # connections; a backstop against a leak, not a limit that anybody should meet

Table = tuple[str, str]
"""Schema and name."""


@dataclass(frozen=True, kw_only=True)
class LogDatabase:
    """Log tables of one database; ``by_writer`` where models read them with the store's own address."""

    database: str
    tables: tuple[Table, ...]
    by_writer: bool = False


def store_sql(logs: LogDatabase) -> str:
    """Return the SQL of the store's database, with the log tables that are in it."""
    paths = _schemas(logs.tables)
    statements = [
        _heading(logs.database, "the store"),
        _make_roles(ROLES),
        "-- A password each, so that none stands in a file: \\password monitor_writer, in psql.",
        _connect(logs.database, ROLES),
        _session(READER, paths, read_only=True),
        _session(WRITER, ["monitor", *(paths if logs.by_writer else [])]),
        _session(MIGRATOR, ["monitor"]),
        _session(VIEWER, ["monitor"], read_only=True),
        OWNERSHIP,
        grants(),
        *_log_grants(logs.tables, [READER, WRITER] if logs.by_writer else [READER]),
    ]
    if any(schema == "monitor" for schema, _ in logs.tables):
        names = ", ".join(f"monitor.{name}" for name in BUILTIN_LOGS)
        statements.append(
            f"-- The role of your serving process: GRANT USAGE ON SCHEMA monitor TO …; GRANT INSERT ON {names} TO …;\n"
            "-- GRANT SELECT ON monitor.circuit_event TO …;"
        )
    return "\n\n".join(statements) + "\n"


def logs_sql(logs: LogDatabase) -> str:
    """Return the SQL of a database that holds logs and is not the store's."""
    statements = [
        _heading(logs.database, "logs"),
        _make_roles([READER]),
        "-- Its password, so that it stands in no file: \\password monitor_reader, in psql.",
        _connect(logs.database, [READER]),
        _session(READER, _schemas(logs.tables), read_only=True),
        *_log_grants(logs.tables, [READER]),
    ]
    return "\n\n".join(statements) + "\n"


def grants() -> str:
    """Return the statement that gives writer and viewer their rights in schema ``monitor`` as it is now.

    Partitions get none: rows are reached through the table they are a part of.
    """
    only_read = ", ".join(f"'{name}'" for name in (*BUILTIN_LOGS, "alembic_version"))
    return f"""DO $grants$
DECLARE
    one record;
BEGIN
    REVOKE ALL ON SCHEMA monitor FROM PUBLIC;
    GRANT USAGE ON SCHEMA monitor TO {WRITER}, {VIEWER};
    FOR one IN
        SELECT c.oid::regclass AS name, c.relname, c.relkind FROM pg_class AS c
        WHERE c.relnamespace = 'monitor'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, {WRITER}, {VIEWER}', one.name);
        IF one.relkind = 'v' THEN
            EXECUTE format('GRANT SELECT ON %s TO {WRITER}, {VIEWER}', one.name);
        ELSIF one.relname IN ({only_read}) THEN
            EXECUTE format('GRANT SELECT ON %s TO {WRITER}', one.name);
        ELSE
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO {WRITER}', one.name);
        END IF;
    END LOOP;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA monitor FROM PUBLIC, {VIEWER};
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA monitor TO {WRITER};
END
$grants$;"""  # noqa: S608  # made of our own names alone


def grant(conn: sa.Connection) -> bool:
    """Give writer and viewer their rights after a migration; returns False where the two roles do not exist."""
    names = conn.scalars(sa.text("SELECT rolname FROM pg_roles WHERE rolname IN ('monitor_writer', 'monitor_viewer')"))
    if len(names.all()) < 2:
        return False
    conn.exec_driver_sql(grants().replace("%", "%%"))
    return True


OWNERSHIP = f"""CREATE SCHEMA IF NOT EXISTS monitor AUTHORIZATION {MIGRATOR};
-- What an earlier user made of it becomes the migrator's.
DO $ownership$
DECLARE
    one record;
BEGIN
    ALTER SCHEMA monitor OWNER TO {MIGRATOR};
    FOR one IN
        SELECT format('ALTER TABLE %s OWNER TO {MIGRATOR}', oid::regclass) AS statement FROM pg_class
        WHERE relnamespace = 'monitor'::regnamespace AND relkind IN ('r', 'p', 'v')
        UNION ALL
        SELECT format('ALTER FUNCTION %s OWNER TO {MIGRATOR}', oid::regprocedure) FROM pg_proc
        WHERE pronamespace = 'monitor'::regnamespace
    LOOP
        EXECUTE one.statement;
    END LOOP;
END
$ownership$;"""  # noqa: S608  # made of our own names alone


def _heading(database: str, what: str) -> str:
    shown = " ".join(database.split())
    return f"-- In the database {shown} ({what}), as its owner or a superuser. Running it again is harmless."


def _make_roles(names: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names)
    return f"""DO $roles$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[{listed}] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION', wanted);
        END IF;
    END LOOP;
END
$roles$;"""


def _connect(database: str, roles: Sequence[str]) -> str:
    return f"GRANT CONNECT ON DATABASE {_quoted(database)} TO {', '.join(roles)};"


def _session(role: str, schemas: Sequence[str], *, read_only: bool = False) -> str:
    """What a session of a role begins with; a fixed search path lets nobody slip in a function of the same name."""
    path = ", ".join(["pg_catalog", *(_quoted(schema) for schema in schemas)])
    lines = [f"ALTER ROLE {role} SET search_path = {path};"]
    if read_only:
        lines.append(f"ALTER ROLE {role} SET default_transaction_read_only = on;")
        lines.append(f"ALTER ROLE {role} SET statement_timeout = '5min';")
        lines.append(f"ALTER ROLE {role} CONNECTION LIMIT {MOST_READERS};")
    return "\n".join(lines)


def _log_grants(tables: Sequence[Table], roles: Sequence[str]) -> list[str]:
    names = ", ".join(roles)
    usage = [f"GRANT USAGE ON SCHEMA {_quoted(schema)} TO {names};" for schema in _schemas(tables)]
    return (
        ["\n".join([*usage, *(f"GRANT SELECT ON {_quoted(*table)} TO {names};" for table in tables)])] if tables else []
    )


def _schemas(tables: Sequence[Table]) -> list[str]:
    return list(dict.fromkeys(schema for schema, _ in tables))


def _quoted(*names: str) -> str:
    return sql.Identifier(*names).as_string(None)
