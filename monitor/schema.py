"""Engines, and the schema's migrations.

``upgrade`` is what ``monitor db upgrade`` runs; every replica may run it at the same moment, because one
transaction-level lock lets one through at a time and the others find nothing left to do.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from monitor import roles
from monitor.encoding import json_text

if TYPE_CHECKING:
    from alembic.config import Config

SCHEMA = "monitor"

#: A peer that fell silent is noticed this long after the first probe, instead of after the kernel's two hours.
TCP_USER_TIMEOUT = timedelta(seconds=15)
CONNECT_TIMEOUT = timedelta(seconds=5)
KEEPALIVE_IDLE = timedelta(seconds=10)
KEEPALIVE_INTERVAL = timedelta(seconds=5)
POOL_RECYCLE = timedelta(minutes=30)
POOL_TIMEOUT = timedelta(seconds=10)
STATEMENT_TIMEOUT = timedelta(minutes=5)
LOCK_TIMEOUT = timedelta(seconds=10)
IDLE_TIMEOUT = timedelta(minutes=2)
READ_ONLY = "25006"
#: Beginnings of SQLSTATE that say that the server is away, full or the wrong one; what was asked is not at fault.
OUTAGES = ("08", "53", "57P", "58", READ_ONLY)


def database_url(url: str | sa.URL) -> sa.URL:
    """The same address with the driver spelled out, because libraries differ in what they take postgresql:// for.

    >>> database_url("postgres://me@db/history").render_as_string()
    'postgresql+psycopg://me@db/history'
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError(
            f"The database {parsed.render_as_string()} is not Postgres; give an address that begins with postgresql://."
        )
    return parsed.set(drivername="postgresql+psycopg")


def create_engine(
    url: str | sa.URL,
    *,
    application_name: str = "drift-monitor",
    pool_size: int = 5,
    max_overflow: int = 2,
    statement_timeout: timedelta = STATEMENT_TIMEOUT,
    lock_timeout: timedelta = LOCK_TIMEOUT,
    idle_timeout: timedelta = IDLE_TIMEOUT,
) -> sa.Engine:
    """An engine for our own tables that neither hangs for ever nor relies on anything a transaction pooler forgets.

    Limits are set per transaction (``SET LOCAL`` in effect), because a session's settings leak to strangers behind
    pgbouncer. Prepared statements are off for the same reason. Heartbeats and dispatcher deserve an engine of their
    own, so that a pool exhausted by analysis cannot stop them.
    """
    engine = sa.create_engine(
        database_url(url),
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=POOL_TIMEOUT.total_seconds(),
        pool_recycle=int(POOL_RECYCLE.total_seconds()),
        pool_pre_ping=True,
        json_serializer=json_text,
        connect_args={
            "connect_timeout": int(CONNECT_TIMEOUT.total_seconds()),
            "keepalives": 1,
            "keepalives_idle": int(KEEPALIVE_IDLE.total_seconds()),
            "keepalives_interval": int(KEEPALIVE_INTERVAL.total_seconds()),
            "tcp_user_timeout": milliseconds(TCP_USER_TIMEOUT),
            "application_name": application_name,
            "prepare_threshold": None,
        },
    )
    settings = {
        "statement_timeout": str(milliseconds(statement_timeout)),
        "lock_timeout": str(milliseconds(lock_timeout)),
        "idle_in_transaction_session_timeout": str(milliseconds(idle_timeout)),
        "TimeZone": "UTC",
        # Compiling our short queries costs many times what running them costs.
        "jit": "off",
    }
    statement = "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())

    @sa.event.listens_for(engine, "begin")
    def limit(connection: sa.Connection) -> None:
        connection.exec_driver_sql(statement)

    @sa.event.listens_for(engine, "handle_error")
    def leave(context: sa.engine.ExceptionContext) -> None:
        # A primary that became a standby keeps its sessions; only new ones find the new primary.
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
            context.is_disconnect = True

    return engine


def is_outage(error: BaseException) -> bool:
    """Return whether an error says that the database cannot work at all for a while, whatever it is asked.

    >>> is_outage(sa.exc.TimeoutError()), is_outage(ValueError())
    (True, False)
    """
    if isinstance(error, sa.exc.TimeoutError):  # every connection of the pool is in use
        return True
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # said by the driver and not by the server
        return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
    return str(state).startswith(OUTAGES)


def milliseconds(duration: timedelta) -> int:
    """Whole milliseconds, the unit of Postgres and of TCP options."""
    return int(duration / timedelta(milliseconds=1))


def migrations_directory() -> Path:
    """Where the migrations are: beside the package in the repository, inside it when installed from a wheel."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "migrations", package.parent / "migrations"):
        if (candidate / "env.py").is_file():
            return candidate
    raise FileNotFoundError(
        f"The migrations are neither in {package / 'migrations'} nor in {package.parent / 'migrations'};"
        " reinstall drift-monitor."
    )


def upgrade(url: str | sa.URL, revision: str = "head") -> None:
    """Bring schema ``monitor`` to a revision, by default the newest, in one transaction; already there is fine.

    The roles monitor_writer and monitor_viewer, where they exist, get their rights on what is new.
    """
    _migrate(url, "upgrade", revision)


def downgrade(url: str | sa.URL, revision: str = "base") -> None:
    """Take migrations back, by default all of them: **every table of ours is dropped with what it holds**."""
    _migrate(url, "downgrade", revision)


def current(url: str | sa.URL) -> str | None:
    """The revision the database is at, or None where our schema was never made."""
    from alembic.migration import MigrationContext

    engine = create_engine(url, pool_size=1)
    try:
        with engine.connect() as connection:
            if connection.scalar(sa.text("SELECT to_regclass('monitor.alembic_version')")) is None:
                return None
            context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
            return context.get_current_revision()
    finally:
        engine.dispose()


def head() -> str:
    """The newest revision this program knows."""
    from alembic.script import ScriptDirectory

    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None, "the package ships its migrations"
    return revision


def mismatch(url: str | sa.URL) -> str | None:
    """Why this program cannot work with the schema of a store, in one sentence; None when it can.

    Raises SQLAlchemyError where the store cannot be asked.
    """
    found, needed = current(url), _newest()
    if found is None:
        return "The store has no schema of ours; run `monitor db upgrade`."
    if found == needed:
        return None
    if not _knows(found):
        return (
            f"The store's schema is at {found}, which a newer version made; this one knows up to {needed} and must "
            "not write into it: run the newer version."
        )
    return f"The store's schema is at {found} and this program needs {needed}; run `monitor db upgrade`."


@cache
def _newest() -> str:
    return head()


@cache
def _knows(revision: str) -> bool:
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        return ScriptDirectory.from_config(_config()).get_revision(revision) is not None
    except CommandError:
        return False


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    # A percent sign in a path would otherwise be read as interpolation.
    config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
    return config


def _migrate(url: str | sa.URL, direction: str, revision: str) -> None:
    from alembic import command

    config = _config()
    engine = create_engine(url, pool_size=1)
    try:
        with engine.begin() as connection:
            attributes: dict[Any, Any] = config.attributes
            attributes["connection"] = connection
            getattr(command, direction)(config, revision)
            if direction == "upgrade":
                roles.grant(connection)
    finally:
        engine.dispose()
