"""What every test may ask for: databases of a real Postgres, and the things that a machine may lack."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from monitor import embedded
from monitor.embedded import Database, EmbeddedPostgres

TEMPLATE = "monitor_template"
# Nothing that a test writes has to survive a crash of the machine.
IN_A_HURRY = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}
IN_A_HURRY |= {"max_prepared_transactions": "8"}  # what tests of writers prepare

#: What `needs(NAME)` looks for where the name alone is not a program, a module or a variable of the environment.
PROGRAMS = {"chromium": ("chromium", "chromium-browser", "google-chrome")}
#: And libraries that programs load: where Debian has them.
LIBRARIES = {"libfaketime": "usr/lib/*/faketime/libfaketimeMT.so.1"}
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take where fault tests write what they measured, and browser tests what they saw."""
    parser.addoption("--pictures", metavar="FOLDER", help="let tests/browser write pictures of what it sees there")
    parser.addoption("--measured", metavar="FILE", help="append what tests/faults measured to this file, as JSON lines")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks of this project; others are errors."""
    config.addinivalue_line(
        "markers",
        "needs(*names): programs, modules or environment variables without which a test skips, and in CI fails",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose needs are not met; in CI fail it, because there a skip would hide a missing install."""
    missing = [name for mark in item.iter_markers("needs") for name in mark.args if not available(name)]
    if not missing:
        return
    reason = f"needs {', '.join(missing)}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}: CI must have what tests need, so install it in .ci/run", pytrace=False)
    pytest.skip(reason)


def available(name: str) -> bool:
    """Whether this machine has `name`: a variable of the environment (all capitals), a program, library or module."""
    if name.isupper():
        return bool(os.environ.get(name))
    if name in LIBRARIES:
        return any(Path("/").glob(LIBRARIES[name]))
    programs = PROGRAMS.get(name, (name,))
    if any(shutil.which(program, path=SEARCH_PATH) for program in programs):
        return True
    return name.isidentifier() and importlib.util.find_spec(name) is not None


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """One embedded Postgres for the whole session."""
    with embedded.start(tmp_path_factory.mktemp("server"), settings=IN_A_HURRY) as running:
        yield running


@pytest.fixture(scope="session")
def template(server: EmbeddedPostgres) -> str:
    """The name of a database that is migrated to the newest schema once, and from which every `database` is copied."""
    _execute(server, "CREATE DATABASE {}", TEMPLATE)
    if importlib.util.find_spec("monitor.schema") is not None:
        from monitor import schema

        schema.upgrade(server.database(TEMPLATE).url)
    return TEMPLATE


@pytest.fixture
def database(server: EmbeddedPostgres, template: str) -> Iterator[Database]:
    """A database of the test's own with our newest schema: `.url` is for SQLAlchemy, `.dsn` for psycopg and ADBC."""
    yield from _fresh(server, template)


@pytest.fixture
def conn(database: Database) -> Iterator[sa.Connection]:
    """A connection to the database of the test, with a transaction that is never committed."""
    from monitor import schema

    engine = schema.create_engine(database.url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def empty_database(server: EmbeddedPostgres) -> Iterator[Database]:
    """A database of the test's own with nothing in it."""
    yield from _fresh(server, "template1")


def _fresh(server: EmbeddedPostgres, template: str) -> Iterator[Database]:
    name = f"test_{next(_numbers)}"
    _execute(server, "CREATE DATABASE {} TEMPLATE {}", name, template)
    yield server.database(name)
    _execute(server, "DROP DATABASE {} WITH (FORCE)", name)


def _execute(server: EmbeddedPostgres, statement: str, *names: str) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory for an embedded store of the test's own, with a space in its name, as people have them."""
    return tmp_path / "a directory"
