"""Behind a pgbouncer in transaction mode, where no session is one's own, the monitor works as it does without."""

from __future__ import annotations

import ast
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

import monitor
from monitor import cli, schema
from monitor.embedded import Database, EmbeddedPostgres
from monitor.installation import Installation
from monitor_client import Circuit
from tests.faults.replica import Options, eventually, forked
from tests.pooler import pgbouncer
from tests.watched import DAY, FIRST, MODEL, OUTCOME, ask, installed, label_rows, log_rows, train, write_config

pytestmark = [pytest.mark.short, pytest.mark.needs("pgbouncer")]

DAYS = 20
SIZE = 12


def test_two_replicas_behind_a_pooler_evaluate_each_window_once(
    tmp_path: Path, server: EmbeddedPostgres, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(pgbouncer(server.socket_directory, database, size=SIZE))
        files = [configured(tmp_path / name, database, url) for name in ("one", "two")]
        installation = stack.enter_context(installed(files[0]))
        log_rows(installation, days=DAYS)
        label_rows(installation)
        train(installation, labelled=True)
        options = Options(start=FIRST + (DAYS + 3) * DAY)
        replicas = [stack.enter_context(forked(file, options)) for file in files]
        eventually(lambda: finished(installation) >= 2 * DAYS)
        assert [replica.code() for replica in replicas] == [None, None]
        for replica in replicas:
            for complaint in ("Traceback", "prepared statement", "lease was lost", "cannot be reached"):
                assert complaint not in replica.said(), replica.said()
        # Each window of both parts once, at the first try, by both replicas together.
        assert ask(installation, "SELECT count(*), count(DISTINCT (part, window_start)) FROM monitor.run") == [
            (2 * DAYS, 2 * DAYS)
        ]
        assert ask(installation, "SELECT DISTINCT state, attempts, revision FROM monitor.run") == [("done", 1, 1)]
        assert ask(installation, "SELECT count(DISTINCT owner) FROM monitor.run") == [2]
        assert ask(installation, "SELECT DISTINCT rows_read, labels_joined FROM monitor.run_history") == [(24, 24)]
        # Nobody holds what outlives a transaction.
        assert ask(installation, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [0]
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as conn:
            for _ in range(2 * SIZE):
                assert conn.execute("SELECT name FROM pg_prepared_statements").fetchall() == []
                assert conn.execute("SHOW statement_timeout").fetchone() == ("0",)
        for command in (["doctor"], ["trace", "5"], ["check", MODEL, "--start", "2013-04-03"]):
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                cli.main([*command, "--config", str(files[0])])
            said = capsys.readouterr()
            assert ended.value.code == 0 or command == ["doctor"], said
            for complaint in ("Traceback", "prepared statement", "startup parameter", "cannot be reached"):
                assert complaint not in said.out + said.err


def test_the_schema_is_made_and_a_configuration_guessed_through_a_pooler(
    tmp_path: Path, server: EmbeddedPostgres, empty_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with pgbouncer(server.socket_directory, empty_database, size=2) as url:
        schema.upgrade(url)
        schema.upgrade(url)
        assert schema.current(url) == schema.head()
        with psycopg.connect(url, prepare_threshold=None) as conn:
            conn.execute("CREATE TABLE logged (id text PRIMARY KEY, at timestamptz DEFAULT now(), x float8, p float8)")
            conn.execute(
                "INSERT INTO logged SELECT i, now() - i * interval '1 minute', i, 0.5 FROM generate_series(1, 99) i"
            )
        file = tmp_path / "monitor.yaml"
        with pytest.raises(SystemExit) as ended:
            cli.main(["init", url, "--table", "logged", "--output", str(file)])
        assert (ended.value.code, file.exists()) == (0, True), capsys.readouterr()


def test_every_client_behind_a_pooler_answers_with_the_fallback_though_no_notification_passes(
    tmp_path: Path, server: EmbeddedPostgres, database: Database
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(pgbouncer(server.socket_directory, database, size=2))
        circuits = [stack.enter_context(Circuit(url, model=MODEL, wait=10)) for _ in range(20)]
        assert all(circuit.is_known and circuit.admits("r") for circuit in circuits)
        file = str(configured(tmp_path / "one", database, url))

        def answered() -> set[bool]:
            return {circuit.answer(lambda: 0.9, request_id="r").is_fallback for circuit in circuits}

        for step, is_fallback in (("open", True), ("close", False)):
            with pytest.raises(SystemExit) as ended:
                cli.main(["circuit", step, MODEL, "--reason", "a test", "--config", file])
            assert ended.value.code == 0
            eventually(partial(lambda wanted: answered() == {wanted}, is_fallback))
        assert not any(circuit.is_stale for circuit in circuits)


def test_a_session_behind_this_pooler_is_not_ones_own(server: EmbeddedPostgres, database: Database) -> None:
    """The negative control: what would break does break here."""
    with ExitStack() as stack:
        url = stack.enter_context(pgbouncer(server.socket_directory, database, size=2))
        one = stack.enter_context(psycopg.connect(url, autocommit=True, prepare_threshold=1))
        other = stack.enter_context(psycopg.connect(url, autocommit=True, prepare_threshold=1))
        one.execute("SET statement_timeout = '77s'")
        strangers = {other.execute("SHOW statement_timeout", prepare=False).fetchone() for _ in range(4)}
        assert ("77s",) in strangers
        missing = (psycopg.errors.DuplicatePreparedStatement, psycopg.errors.InvalidSqlStatementName)
        with pytest.raises(missing):
            take_turns(one, other)


def test_every_connection_of_the_monitor_leaves_statements_unprepared() -> None:
    """One place opens connections of psycopg, and says so; the demo has a server of its own."""
    found = {}
    for file in Path(monitor.__file__).parent.rglob("*.py"):
        if "demo" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "psycopg.connect":
                found[file.name] = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    assert list(found) == ["session.py"]
    assert found["session.py"]["prepare_threshold"] == "None"


def take_turns(*connections: psycopg.Connection[Any]) -> None:
    """Let each execute the same statement some times."""
    for _ in range(4):
        for conn in connections:
            conn.execute("SELECT 1")


def configured(folder: Path, database: Database, url: str) -> Path:
    """Write a configuration whose store and source both lie behind an address."""
    folder.mkdir()
    file = write_config(folder, database, outcome=OUTCOME, more="max_catch_up: 30d", port=0)
    text = file.read_text().replace(database.url, url).replace("url: store", f'url: "{url}"')
    until = (FIRST + DAYS * DAY).date().isoformat()
    file.write_text(text.replace("{from: 2013-04-01}", f"{{from: 2013-04-01, until: {until}}}"))
    return file


def finished(installation: Installation) -> int:
    """Return how many runs are done."""
    found: int = ask(installation, "SELECT count(*) FROM monitor.run WHERE state = 'done'")[0]
    return found
