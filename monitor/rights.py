"""What the role behind a connection may do in Postgres, and what of it is too much or too little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

from monitor.roles import BUILTIN_LOGS, VIEWER, Table
from monitor.sources.catalog import quote

REMEDY = "`monitor doctor --roles` prints the SQL of a role that may do less"


class Purpose(StrEnum):
    """What a connection is for."""

    STORE = "store"
    LOGS = "logs"
    MIGRATION = "migration"


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What one role may do in one database; ``written`` are the log tables it may change, with how."""

    role: str
    is_superuser: bool = False
    powers: tuple[str, ...] = ()
    """Attributes of the role that the monitor never needs, such as CREATEROLE."""
    reads_only: bool = False
    """Whether transactions begin as read-only."""
    open_schemas: tuple[str, ...] = ()
    """Schemas of the search path in which everybody may create functions and tables."""
    written: tuple[tuple[str, str], ...] = ()
    owns_schema: bool = False
    """Whether it may create in schema `monitor`."""
    lacking: tuple[str, ...] = ()
    """Tables and functions of schema `monitor` that the store's role needs and may not use."""
    seen_by_viewer: tuple[str, ...] = ()
    """Tables of schema `monitor` that monitor_viewer may read."""


_ROLE = """
SELECT current_user AS role, rolsuper AS is_superuser,
    array_remove(ARRAY[CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
        CASE WHEN rolreplication THEN 'REPLICATION' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END], NULL) AS powers,
    current_setting('default_transaction_read_only')::boolean AS reads_only,
    ARRAY(SELECT nspname::text FROM pg_namespace
        WHERE nspname = ANY (current_schemas(false)) AND has_schema_privilege('public', oid, 'CREATE')
        ORDER BY nspname) AS open_schemas,
    coalesce(has_schema_privilege(to_regnamespace('monitor')::oid, 'CREATE'), false) AS owns_schema
FROM pg_roles WHERE rolname = current_user
"""

_WRITTEN = """
SELECT c.oid::regclass::text AS table,
    concat_ws(', ', CASE WHEN has_any_column_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
        CASE WHEN has_any_column_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END,
        CASE WHEN has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END,
        CASE WHEN has_table_privilege(c.oid, 'TRUNCATE') THEN 'TRUNCATE' END) AS how
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN unnest(%(schemas)s::text[], %(names)s::text[]) AS wanted (schema, name)
    ON n.nspname = wanted.schema AND c.relname = wanted.name
ORDER BY 1
"""

_LACKING = """
SELECT c.oid::regclass::text AS name FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace('monitor') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND NOT (has_schema_privilege(c.relnamespace, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AND (
        c.relname = ANY (%(only_read)s) OR (has_table_privilege(c.oid, 'INSERT')
            AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))))
UNION ALL
SELECT p.oid::regprocedure::text FROM pg_proc AS p
WHERE p.pronamespace = to_regnamespace('monitor') AND NOT has_function_privilege(p.oid, 'EXECUTE')
ORDER BY 1
"""

_SEEN = """
SELECT c.oid::regclass::text AS name FROM pg_class AS c JOIN pg_roles AS r ON r.rolname = %(viewer)s
WHERE c.relnamespace = to_regnamespace('monitor') AND c.relkind IN ('r', 'p')
    AND has_table_privilege(r.oid, c.oid, 'SELECT') AND has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
ORDER BY 1
"""


def rights(conn: Connection[Any], logs: Sequence[Table]) -> Rights:
    """Return the rights of a connection's role, asked of the catalog; nothing is tried out."""
    with conn.cursor(row_factory=dict_row) as cursor:
        role: Any = cursor.execute(_ROLE).fetchone()
        cursor.execute("SET LOCAL search_path = pg_catalog")  # so that names are written with their schema
        given = {"schemas": [schema for schema, _ in logs], "names": [name for _, name in logs]}
        written = [(row["table"], row["how"]) for row in cursor.execute(_WRITTEN, given) if row["how"]]
        only_read = [*BUILTIN_LOGS, "alembic_version"]
        lacking = [row["name"] for row in cursor.execute(_LACKING, {"only_read": only_read})]
        seen = [row["name"] for row in cursor.execute(_SEEN, {"viewer": VIEWER})]
    plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in role.items()}
    return Rights(**plain, written=tuple(written), lacking=tuple(lacking), seen_by_viewer=tuple(seen))


def excesses(found: Rights, purpose: Purpose, key: str) -> Iterator[str]:
    """Yield a sentence for everything that a role may and should not, or should and may not; ``key`` is in the config.

    >>> list(excesses(Rights(role="postgres", is_superuser=True), Purpose.LOGS, "models.m.source.url"))
    ['models.m.source.url logs in as postgres, a SUPERUSER, which whoever takes over this process would be as well; \
`monitor doctor --roles` prints the SQL of a role that may do less.']
    """
    who = f"{key} logs in as {quote(found.role)}"
    if found.is_superuser:  # may everything: one sentence says it all
        yield f"{who}, a SUPERUSER, which whoever takes over this process would be as well; {REMEDY}."
        return
    if found.powers:
        yield f"{who}, which has {', '.join(found.powers)}; {REMEDY}."
    for table, how in found.written if purpose is not Purpose.MIGRATION else ():
        yield f"{who}, which may {how} on {table}, a log that is only ever read; {REMEDY}."
    if found.open_schemas:
        yield (
            f"{who}, whose search_path has {', '.join(found.open_schemas)}, where everybody may create functions; "
            f"{REMEDY}."
        )
    if purpose is Purpose.LOGS and not found.reads_only:
        yield f"{who}, whose transactions may write by default; ALTER ROLE … SET default_transaction_read_only = on."
    if purpose is Purpose.MIGRATION and not found.owns_schema:
        yield f"{who}, which may not create in schema monitor, so `monitor db upgrade` will fail; {REMEDY}."
    if purpose is Purpose.STORE:
        if found.owns_schema:
            yield f"{who}, which may change the schema itself; only store.migrator_url needs that; {REMEDY}."
        if found.lacking:
            shown = ", ".join(found.lacking[:5]) + (" and more" if len(found.lacking) > 5 else "")
            yield f"{who}, which lacks rights on {shown}; `monitor doctor --roles` prints the SQL that gives them."
        if found.seen_by_viewer:
            shown = ", ".join(found.seen_by_viewer[:5]) + (" and more" if len(found.seen_by_viewer) > 5 else "")
            yield f"{VIEWER} may read {shown} and not only the views; `monitor doctor --roles` prints the SQL of less."
