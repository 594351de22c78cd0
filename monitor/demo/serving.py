"""The tables in which the demo's model logs, as a team of its own would have made them, in schema ``serving``."""

from __future__ import annotations

import io

import psycopg
import pyarrow as pa
import pyarrow.csv
from psycopg import sql

PREDICTIONS = "predictions"
OUTCOMES = "outcomes"

TABLES = """
CREATE SCHEMA serving;
CREATE TABLE serving.predictions (
    request_id      text PRIMARY KEY,
    occurred_at     timestamptz NOT NULL,  -- scheduled departure: the moment at which the model is asked
    logged_at       timestamptz NOT NULL,
    model_version   text NOT NULL,
    deployment_role text NOT NULL,
    carrier         text,
    origin          text,
    dest            text,
    dow             text,                  -- weekday of the local date
    hour            smallint,              -- local hour
    distance        integer,               -- miles
    temp            double precision,      -- °F
    dewp            double precision,      -- °F
    humid           double precision,      -- %
    wind_speed      double precision,      -- mph
    precip          double precision,      -- inches
    pressure        double precision,      -- mbar
    visib           double precision,      -- miles
    p_late          double precision,      -- probability of arriving more than 15 minutes late
    said_late       boolean
);
CREATE INDEX ON serving.predictions (occurred_at);
CREATE TABLE serving.outcomes (
    request_id  text PRIMARY KEY,
    was_late    boolean NOT NULL,          -- arrived more than 15 minutes late; cancelled flights never get a row
    observed_at timestamptz NOT NULL       -- when it reached its gate
);
CREATE TABLE serving.injected_faults (     -- what the demo added to the real data
    name         text PRIMARY KEY,
    first_day    date NOT NULL,
    last_day     date NOT NULL,
    column_names text[] NOT NULL,
    sentence     text NOT NULL
);
"""


def create_tables(conn: psycopg.Connection) -> None:
    """Make schema ``serving`` anew; an earlier one and its rows are dropped."""
    from monitor.demo.fault import FAULTS

    with conn.transaction():
        conn.execute("DROP SCHEMA IF EXISTS serving CASCADE")
        conn.execute(TABLES)
        for fault in FAULTS:
            conn.execute(
                "INSERT INTO serving.injected_faults VALUES (%s, %s, %s, %s, %s)",
                (fault.name, fault.since, fault.until, list(fault.columns), fault.sentence),
            )


def append(conn: psycopg.Connection, table: str, rows: pa.Table) -> None:
    """Write rows to a table of schema ``serving`` by COPY, in the caller's transaction."""
    if not rows.num_rows:
        return
    names = sql.SQL(", ").join(map(sql.Identifier, rows.schema.names))
    statement = sql.SQL("COPY serving.{} ({}) FROM STDIN (FORMAT csv)").format(sql.Identifier(table), names)
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(rows, buffer, pyarrow.csv.WriteOptions(include_header=False))
    with conn.cursor().copy(statement) as copy:
        copy.write(buffer.getvalue())


def forget_unasked(conn: psycopg.Connection) -> int:
    """Delete the outcomes of flights that were never predicted; returns how many."""
    return conn.execute(
        "DELETE FROM serving.outcomes o WHERE NOT EXISTS "
        "(SELECT FROM serving.predictions p WHERE p.request_id = o.request_id)"
    ).rowcount
