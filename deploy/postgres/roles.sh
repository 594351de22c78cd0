#!/bin/bash
# Runs once, when the database is made: the four roles with their passwords. Their rights in schema monitor are given by
# `monitor db upgrade`; the SQL for a database of your own is printed by `monitor doctor --roles`.
set -euo pipefail
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set migrator="$MIGRATOR_PASSWORD" --set writer="$WRITER_PASSWORD" --set viewer="$VIEWER_PASSWORD" \
    --set database="$POSTGRES_DB" <<'SQL'
CREATE ROLE monitor_migrator LOGIN PASSWORD :'migrator';
CREATE ROLE monitor_writer LOGIN PASSWORD :'writer';
CREATE ROLE monitor_viewer LOGIN PASSWORD :'viewer';
CREATE ROLE monitor_reader NOLOGIN;
ALTER ROLE monitor_viewer SET default_transaction_read_only = on;
CREATE SCHEMA monitor AUTHORIZATION monitor_migrator;
SQL
