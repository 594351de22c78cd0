"""What a Postgres database says about its tables: columns with types, indexes, rough row counts, and a small sample.

Names that come from people are matched against the catalog here, so every identifier in a statement of ours exists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import tuple_row

from monitor.section import nearest

SAMPLE_ROWS = 1000
SAMPLE_TEXT = 100  # characters of a value that a sample brings; rows may hold megabytes


class TableKind(StrEnum):
    """What a relation is; only tables know their row versions."""

    TABLE = "table"
    PARTITIONED = "partitioned"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized view"
    FOREIGN = "foreign table"


class Family(StrEnum):
    """What a Postgres type is to us, whatever its exact name."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    TEXT = "text"
    ENUM = "enum"
    TIMESTAMP = "timestamp"
    DATE = "date"
    INTERVAL = "interval"
    JSON = "json"
    ARRAY = "array"
    UUID = "uuid"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class ColumnDescription:
    """One column: `type` as Postgres writes it, `base` its plain type name with domains resolved."""

    name: str
    type: str
    base: str
    family: Family
    nullable: bool


@dataclass(frozen=True, kw_only=True)
class IndexDescription:
    """One index: its method and its key columns in order, None where a key is an expression."""

    name: str
    method: str
    unique: bool
    partial: bool
    columns: tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True)
class TableDescription:
    """One table or view as the catalog knows it; `approximate_rows` is None where nobody has counted."""

    schema: str
    name: str
    kind: TableKind
    columns: tuple[ColumnDescription, ...]
    indexes: tuple[IndexDescription, ...]
    approximate_rows: int | None

    @property
    def qualified(self) -> str:
        """Schema and name with a dot, quoted only where they must be."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    @property
    def identifier(self) -> sql.Identifier:
        """The name for statements."""
        return sql.Identifier(self.schema, self.name)

    def column(self, name: str) -> ColumnDescription | None:
        """Return the column of exactly this name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def has_range_index(self, name: str) -> bool:
        """Return whether a range of a column is found without reading all: a btree that begins with it, or BRIN."""
        return any(
            not index.partial and (index.columns[:1] == (name,) if index.method == "btree" else name in index.columns)
            for index in self.indexes
            if index.method in ("btree", "brin")
        )

    def is_unique(self, name: str) -> bool:
        """Return whether the database itself keeps a column unique."""
        return any(index.unique and not index.partial and index.columns == (name,) for index in self.indexes)


class UnknownTableError(Exception):
    """A table that is not in the catalog, or that this role may not see; the message names the nearest one."""


_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), b.typname, b.typtype, b.typcategory, NOT a.attnotnull
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

_INDEXES = """
SELECT c.relname, m.amname, i.indisunique, i.indpred IS NOT NULL,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY k(attnum, position)
             LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
             ORDER BY k.position)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
WHERE i.indrelid = %s AND i.indisvalid
ORDER BY c.relname
"""

_ROWS = """
SELECT sum(greatest(c.reltuples, 0)), min(c.reltuples)
FROM pg_class c
WHERE c.oid = %(oid)s AND c.relkind IN ('r', 'm')
   OR c.oid IN (SELECT relid FROM pg_partition_tree(%(oid)s) WHERE isleaf)
"""

_TABLES = """
SELECT c.oid, n.nspname, c.relname, c.relkind, pg_table_is_visible(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%%'
  AND n.nspname NOT LIKE 'pg\\_temp%%'
ORDER BY n.nspname, c.relname
"""

_KINDS = {
    "r": TableKind.TABLE,
    "p": TableKind.PARTITIONED,
    "v": TableKind.VIEW,
    "m": TableKind.MATERIALIZED_VIEW,
    "f": TableKind.FOREIGN,
}


def describe_table(conn: Connection[Any], name: str) -> TableDescription:
    """Return what the catalog knows of `name` (`table`, `schema.table`, with double quotes where needed).

    A name is taken exactly as written first, then in lower case as SQL would. Raises UnknownTableError.
    """
    parts = split_name(name)
    with conn.cursor(row_factory=tuple_row) as cursor:
        tables = cursor.execute(_TABLES).fetchall()
        for spelling in (parts, [part.lower() for part in parts]):
            for oid, schema, table, kind, visible in tables:
                if spelling == [schema, table] or (visible and spelling == [table]):
                    return _describe(cursor, oid, schema, table, _KINDS[kind])
    known = {f"{quote(schema)}.{quote(table)}": table for _, schema, table, _, _ in tables}
    close = nearest(name, known) or next((full for full, table in known.items() if nearest(parts[-1], [table])), None)
    remedy = f'did you mean "{close}"?' if close else "write it as schema.table, and let this role see it."
    raise UnknownTableError(f'There is no table or view "{name}" in this database; {remedy}')


def list_tables(conn: Connection[Any]) -> list[str]:
    """Return schema.table of every table and view outside the system's schemas; partitions are left out."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        return [f"{quote(schema)}.{quote(table)}" for _, schema, table, _, _ in cursor.execute(_TABLES)]


def sample_columns(
    conn: Connection[Any], table: TableDescription, columns: Sequence[str], limit: int = SAMPLE_ROWS
) -> dict[str, list[str | None]]:
    """Return up to `limit` rows by column, each value as the text that Postgres writes, cut to 100 characters."""
    if not columns:
        return {}
    values = sql.SQL(", ").join(sql.SQL("left({}::text, {})").format(sql.Identifier(c), SAMPLE_TEXT) for c in columns)
    query = sql.SQL("SELECT {} FROM {} LIMIT {}").format(values, table.identifier, limit)
    with conn.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(query).fetchall()
    return {column: [row[number] for row in rows] for number, column in enumerate(columns)}


def json_keys(
    conn: Connection[Any], table: TableDescription, column: str, limit: int = SAMPLE_ROWS
) -> Mapping[str, Mapping[str, int]]:
    """Return the keys of a json or jsonb column in up to `limit` rows, with how often each JSON type occurred."""
    query = sql.SQL(
        "WITH sampled AS MATERIALIZED (SELECT {column}::jsonb AS document FROM {table} LIMIT {limit}) "
        "SELECT key, jsonb_typeof(value), count(*) FROM sampled, "
        "jsonb_each(CASE WHEN jsonb_typeof(document) = 'object' THEN document ELSE '{{}}'::jsonb END) "
        "GROUP BY 1, 2 ORDER BY 1, 3 DESC"
    ).format(column=sql.Identifier(column), table=table.identifier, limit=limit)
    keys: dict[str, dict[str, int]] = {}
    with conn.cursor(row_factory=tuple_row) as cursor:
        for key, kind, count in cursor.execute(query):
            keys.setdefault(key, {})[kind] = count
    return keys


def quote(name: str) -> str:
    """Return an identifier as one may write it in SQL and in our configuration.

    >>> quote("predictions"), quote("My Table")
    ('predictions', '"My Table"')
    """
    return name if re.fullmatch(r"[a-z_][a-z0-9_$]*", name) else '"' + name.replace('"', '""') + '"'


def split_name(name: str) -> list[str]:
    """Return the parts of a name as SQL writes it: schema and table, or the table alone.

    >>> split_name('risk."My.Table"'), split_name("predictions")
    (['risk', 'My.Table'], ['predictions'])
    """
    pieces = re.findall(r'"((?:[^"]|"")+)"|([^".]+)', name)
    return [quoted.replace('""', '"') if quoted else plain.strip() for quoted, plain in pieces] or [name]


def _describe(cursor: Any, oid: int, schema: str, table: str, kind: TableKind) -> TableDescription:
    columns = tuple(
        ColumnDescription(name=name, type=type_, base=base, family=_family(base, category, typtype), nullable=nullable)
        for name, type_, base, typtype, category, nullable in cursor.execute(_COLUMNS, [oid])
    )
    indexes = tuple(
        IndexDescription(name=name, method=method, unique=unique, partial=partial, columns=tuple(keys))
        for name, method, unique, partial, keys in cursor.execute(_INDEXES, [oid])
    )
    total, least = cursor.execute(_ROWS, {"oid": oid}).fetchone()
    counted = total is not None and least >= 0  # -1 is a table that was never analysed
    return TableDescription(
        schema=schema,
        name=table,
        kind=kind,
        columns=columns,
        indexes=indexes,
        approximate_rows=int(total) if counted else None,
    )


def _family(base: str, category: str, typtype: str) -> Family:
    if base in ("date", "interval", "uuid", "json"):
        return Family(base)
    if base == "jsonb":
        return Family.JSON
    if typtype == "e":
        return Family.ENUM
    if base in ("int2", "int4", "int8"):
        return Family.INTEGER
    if base in ("timestamp", "timestamptz"):
        return Family.TIMESTAMP
    by_category = {"N": Family.DECIMAL, "B": Family.BOOLEAN, "S": Family.TEXT, "A": Family.ARRAY}
    return by_category.get(category, Family.OTHER)
