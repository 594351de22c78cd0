"""The databases that a configuration names: what the role behind each address may do, and the SQL of better roles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from monitor.installation import Installation
from monitor.model import ModelSection
from monitor.rights import Purpose, excesses, rights
from monitor.roles import BUILTIN_LOGS, LogDatabase, Table, logs_sql, store_sql
from monitor.sources.catalog import UnknownTableError, describe_table, split_name
from monitor.sources.session import connect, libpq_url


@dataclass(frozen=True, kw_only=True)
class Address:
    """One address of the configuration: its key, what it is for, and the log tables that are read through it."""

    key: str
    url: str
    purpose: Purpose
    tables: tuple[str, ...] = ()
    """As written in the configuration."""


def addresses(installation: Installation) -> list[Address]:
    """Return every database that the configuration names, each address once by purpose; none of an embedded store."""
    config = installation.config
    found: list[Address] = []
    in_store: list[str] = []
    for name, model in config.models.items():
        source, tables = model.source, _tables(model)
        if source.url.get_secret_value() == "store":
            in_store += tables
        for key, url in (("url", source.url), ("limits.replica_url", source.limits.replica_url)):
            if url is not None and url.get_secret_value() != "store":
                address = libpq_url(url.get_secret_value())
                found.append(
                    Address(key=f"models.{name}.source.{key}", url=address, purpose=Purpose.LOGS, tables=tables)
                )
    if installation.postgres is not None:
        return found
    store = Address(key="store.url", url=installation.dsn, purpose=Purpose.STORE, tables=tuple(dict.fromkeys(in_store)))
    if config.store.migrator_url is None:
        return [store, *found]
    migrator = libpq_url(config.store.migrator_url.get_secret_value())
    return [store, Address(key="store.migrator_url", url=migrator, purpose=Purpose.MIGRATION), *found]


def _tables(model: ModelSection) -> tuple[str, ...]:
    outcome = model.source.outcome
    named = [model.source.table, outcome.table if outcome is not None else None]
    return tuple(dict.fromkeys(name for name in named if name is not None))


def faults_of_roles(installation: Installation) -> Iterator[str]:
    """Yield a sentence for every right that a role of the configuration has too much or too little.

    A database that cannot be reached is left to those who tell of it.
    """
    for address in addresses(installation):
        try:
            with connect(address.url) as conn:
                conn.read_only = True
                extra = [("monitor", name) for name in BUILTIN_LOGS] if address.purpose is Purpose.STORE else []
                tables = list(dict.fromkeys([*_resolved(conn, address.tables), *extra]))
                found = rights(conn, tables)
        except psycopg.Error:
            continue
        yield from excesses(found, address.purpose, address.key)


def roles_of(installation: Installation) -> str:
    """Return the SQL that makes the four roles for this configuration, database by database."""
    store, models = _target(installation.dsn), installation.config.models.values()
    tables: dict[tuple[str, ...], dict[Table, None]] = {store: {}}
    for model in models:
        url = installation.primary_dsn(model)  # a replica takes its roles from there
        tables.setdefault(_target(url), {}).update(dict.fromkeys(_found(url, _tables(model))))
    by_writer = any(model.source.url.get_secret_value() == "store" for model in models)
    logs = LogDatabase(database=store[-1], tables=tuple(tables.pop(store)), by_writer=by_writer)
    own = [] if installation.postgres is not None else [store_sql(logs)]
    others = [logs_sql(LogDatabase(database=where[-1], tables=tuple(found))) for where, found in sorted(tables.items())]
    return "\n".join([*own, *others])


def _found(url: str, names: Iterable[str]) -> list[Table]:
    try:
        with connect(url) as conn:
            return _resolved(conn, names)
    except psycopg.Error:
        return [_as_written(name) for name in names]


def _resolved(conn: psycopg.Connection[Any], names: Iterable[str]) -> list[Table]:
    """Schema and name of tables by the catalog; where it does not know one, as it is written."""
    found = []
    for name in names:
        try:
            table = describe_table(conn, name)
            found.append((table.schema, table.name))
        except UnknownTableError:
            found.append(_as_written(name))
    return found


def _as_written(name: str) -> Table:
    parts = split_name(name)
    return (parts[0], parts[1]) if len(parts) == 2 else ("public", parts[-1])


def _target(url: str) -> tuple[str, ...]:
    """What tells databases apart: host, port, name."""
    known = conninfo_to_dict(url)
    user = str(known.get("user") or "")
    return (
        str(known.get("host") or ""),
        str(known.get("port") or "5432"),
        str(known.get("dbname") or user or "postgres"),
    )
