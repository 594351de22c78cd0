"""Many rows into one table at once, by COPY: a window of evidence is one round trip instead of a hundred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects.postgresql import JSONB

from monitor.encoding import clean_text, json_text


def copy_rows(conn: sa.Connection, table: sa.Table[Any], rows: Sequence[Mapping[str, Any]]) -> int:
    """Append rows, which all have the same keys, in the connection's transaction; returns how many.

    Keys are columns of the table; a key that is none is an error, because what is not stored is lost. Columns that
    are left out get their defaults. Raises what SQLAlchemy raises for any statement, such as IntegrityError for a row
    that is there already.
    """
    if not rows:
        return 0
    names = list(rows[0])
    unknown = sorted(set(names) - set(table.c.keys()))
    if unknown:
        raise TypeError(f"Table {table.name} has no column {', '.join(unknown)}; it has {', '.join(table.c.keys())}.")
    json_columns = {name for name in names if isinstance(table.c[name].type, JSONB)}
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table.schema or "public", table.name), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    if not conn.in_transaction():
        conn.begin()  # as a first statement would have done
    driver = conn.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                if row.keys() != rows[0].keys():
                    raise TypeError(f"Rows for table {table.name} differ in their columns; give all of them the same.")
                copy.write_row([storable(row[name], is_json=name in json_columns) for name in names])
    except psycopg.Error as error:
        raise sa.exc.DBAPIError.instance(statement.as_string(driver), None, error, psycopg.Error) from error
    return len(rows)


def storable(value: Any, *, is_json: bool = False) -> Any:
    """The value as COPY takes it: JSON as text, choices as words, numbers of numpy as Python's.

    >>> storable({"a": 1}, is_json=True)
    '{"a": 1}'
    """
    if value is None:
        return None
    if is_json:
        return json_text(value)
    if isinstance(value, Enum):
        return clean_text(str(value.value))
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bool | int | float | bytes | datetime | timedelta | UUID):
        # bool() and float() also turn a numpy float64, which is a float, into a plain one
        return float(value) if isinstance(value, float) else value
    return value.item() if hasattr(value, "item") else value
