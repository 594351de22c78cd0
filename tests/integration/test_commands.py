"""Commands as people type them: exit codes, and one sentence for everything that is wrong."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from rich.console import Console
from rich.progress import Progress

from monitor import breaker, cli, outbox
from monitor.cli import run
from monitor.command import progress
from monitor.embedded import Database
from tests.peers import notification
from tests.watched import OUTCOME, ask, installed, label_rows, log_rows, train, write_config

OK, WARNING, UNCLEAR, USAGE, FAILED = range(5)


@dataclass
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


@dataclass
class Shell:
    """Types commands with one configuration."""

    file: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Said:
        code = run([*arguments, "--config", str(self.file)])
        out, err = self.capsys.readouterr()
        return Said(code, out, err)

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").out)

    def refused(self, *arguments: str, code: int = USAGE) -> str:
        """Return the one line that a refused command says."""
        said = self(*arguments)
        assert said.code == code, said
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert "Traceback" not in said.err
        return said.err.strip()


@pytest.fixture
def shell(tmp_path: Path, database: Database, capsys: pytest.CaptureFixture[str]) -> Shell:
    seen = "checks: {power: {score: 0.5}}"  # so much is seen in 24 rows a day: a light may be green
    return Shell(write_config(tmp_path, database, outcome=OUTCOME, more=seen), capsys)


@pytest.fixture
def watched(shell: Shell) -> Shell:
    """A model with four ordinary days, labels and a training profile."""
    with installed(shell.file) as installation:
        log_rows(installation)
        label_rows(installation)
        train(installation, labelled=True)
    return shell


def test_a_backfill_fills_history_and_status(watched: Shell) -> None:
    said = watched("backfill", "m", "--since", "2013-04-01", "--until", "2013-04-05")
    assert (said.code, said.err.strip()) == (OK, "Evaluated 8 runs of 4 windows.")
    runs = watched.json("history", "m")
    assert [row["rows_read"] for row in runs] == [24] * 4
    assert {row["window_start"][:10] for row in runs} == {f"2013-04-0{i}" for i in (1, 2, 3, 4)}
    (status,) = watched.json("status")
    assert (status["model"], status["light"]) == ("m", "green")
    assert watched("status").code == OK
    assert watched.json("history", "m", "--feature", "x")[0]["column_name"] == "x"
    assert watched.json("alerts") == watched.json("recommendations") == []


def test_a_check_of_one_window_says_what_it_found(watched: Shell) -> None:
    said = watched("check", "m", "--start", "2013-04-02T13:00", "--json")
    assert {row["window_start"] for row in json.loads(said.out)} == {"2013-04-02T00:00:00+00:00"}
    assert said.code == OK
    with installed(watched.file) as installation, installation.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE logged SET x = NULL WHERE at >= '2013-04-03'")
    assert watched("check", "m", "--start", "2013-04-03").code == WARNING


def test_a_window_that_nothing_is_known_of_is_unclear(shell: Shell) -> None:
    with installed(shell.file) as installation:
        log_rows(installation)
        label_rows(installation)
    assert shell("check", "m", "--start", "2013-04-02").code == UNCLEAR
    assert shell("status").code == UNCLEAR


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["history", "n"], "n is no model"),
        (["history", "m", "--feature", "z"], "m has no feature z"),
        (["history", "m", "--since", "2013-04-05", "--until", "2013-04-01"], "--until 2013-04-01 is not after --since"),
        (["history", "m", "--since", "soon"], "--since 'soon' is no time"),
        (["backfill", "m", "--since", "2013-04-05", "--until", "2013-04-01"], "--until 2013-04-01 is not after"),
        (["backfill", "m", "--since", "2999-01-01", "--until", "2999-02-01"], "There is no closed window of m"),
        (["check", "m", "--end", "2013-04-01"], "--end needs --start"),
        (["check", "m", "--start", "2999-01-01"], "There is no closed window of m"),
        (["report", "m", "-o", "x.html", "--end", "2013-04-01"], "--end needs --start"),
        (["alerts", "--model", "n"], "n is no model"),
        (["alerts", "ack", "cafe"], "No alert has a key that begins with cafe"),
        (["recommendations", "approve", "x"], "x is no recommendation id"),
        (["redeliver", "--id", "6b1f0c3e-8a57-4a5e-9d0e-3f1f6f2f7a10"], "1 of 1 ids are no message"),
        (["profile", "m"], "exactly one of --from FILE and --query SQL"),
        (["query", "drop table monitor.run"], "cannot execute DROP TABLE in a read-only transaction"),
        (["query", "select 1; drop table monitor.run"], "cannot insert multiple commands"),
        (["query", ""], "give a SELECT"),
        (["query", "select * from nowhere"], 'relation "nowhere" does not exist'),
        (["query", "select 1", "--format", "xml"], "'xml' is not one of 'table', 'csv', 'json'"),
        (["history"], "Missing argument 'model'"),
        (["status", "--jsn"], "No such option: --jsn"),
        (["init", "mysql://a/b", "-t", "logged"], "is no address of a database"),
    ],
)
def test_what_a_person_mistypes_is_one_sentence(shell: Shell, arguments: list[str], said: str) -> None:
    assert said in shell.refused(*arguments)


def test_an_unknown_command_is_one_sentence_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["statu"]) == USAGE
    assert "Did you mean 'status'?" in capsys.readouterr().err


def test_a_missing_configuration_names_the_way_to_write_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["status", "--config", str(tmp_path / "none.yaml")]) == USAGE
    assert "monitor init" in capsys.readouterr().err


def test_an_empty_key_acknowledges_nothing(shell: Shell) -> None:
    assert "could be any alert" in shell.refused("alerts", "ack", "")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("table: logged", "table: loged", 'There is no table or view "loged" in this database; did you mean'),
        ("time: at\n", "time: att\n", 'source.time names the column "att"'),
        ("id: id\n", 'id: "id\'; drop table logged; --"\n', "source.id names the column"),
        ("table: labels", "table: answers", 'There is no table or view "answers" in this database'),
        ("label: y", "label: yy", 'source.outcome names the column "yy"'),
        ("url: store", "url: postgresql://me@127.0.0.1:{port}/x", "cannot be reached"),
    ],
)
def test_a_window_that_cannot_be_read_fails_with_the_reason(watched: Shell, before: str, after: str, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    text = watched.file.read_text()
    assert before in text
    watched.file.write_text(text.replace(before, after.format(port=port)))
    line = watched.refused("check", "m", "--start", "2013-04-02", code=FAILED)
    assert "could not be evaluated, the first of 2013-04-02 00:00" in line
    assert said in line
    watched.file.write_text(text)
    assert watched("check", "m", "--start", "2013-04-02").code == OK  # at once, whatever pause was set


def test_a_column_that_is_gone_is_a_finding(watched: Shell) -> None:
    text = watched.file.read_text()
    watched.file.write_text(text.replace("{x: numeric}", "{x: {column: xx, type: numeric}}"))
    said = watched("check", "m", "--start", "2013-04-02")
    assert said.code == WARNING
    assert 'has no column "xx" any more' in said.out


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("postgresql://me@127.0.0.1:{port}/x", FAILED, "The store cannot be reached"),
        ("mysql://me@127.0.0.1/x", USAGE, "store.url must be embedded or a URL"),
    ],
)
def test_a_store_that_is_away_is_one_sentence(shell: Shell, database: Database, url: str, code: int, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    shell.file.write_text(shell.file.read_text().replace(database.url, url.format(port=port)))
    assert said in shell.refused("status", code=code)


def test_a_store_without_schema_names_the_command_that_makes_it(
    tmp_path: Path, empty_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(write_config(tmp_path, empty_database), capsys)
    assert "run `monitor db upgrade`" in shell.refused("status", code=FAILED)
    assert shell("db", "current").code == WARNING
    assert shell("db", "upgrade").code == OK
    assert shell("status").code == UNCLEAR


def test_a_store_that_may_only_be_read_answers_questions_and_refuses_the_rest(watched: Shell) -> None:
    with installed(watched.file) as installation:
        name = ask(installation, "SELECT current_database()")[0]
        with installation.engine.begin() as conn:
            conn.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert watched("alerts").code == OK
    assert "The store can only be read" in watched.refused("check", "m", "--start", "2013-04-02", code=FAILED)


def test_a_person_without_rights_is_told_so(watched: Shell, database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS onlooker")
        conn.execute("CREATE ROLE onlooker LOGIN")
    watched.file.write_text(re.sub(r"://\w+@", "://onlooker@", watched.file.read_text()))
    assert "refuses this to the user of store.url" in watched.refused("status", code=FAILED)


def test_a_channel_in_trouble_is_named_by_doctor_and_status(watched: Shell) -> None:
    assert watched("status", "--channels").err.strip() == "no channel has had a message yet."
    with installed(watched.file) as installation, installation.engine.begin() as conn:
        outbox.put(conn, notification(), ("hook", "mail"))
        outbox.put(conn, notification(id=uuid.UUID(int=1)), ("hook",))
        for _ in range(breaker.OPEN_AFTER):
            breaker.note_failure(conn, "hook")
        (claimed,) = outbox.claim(conn, limit=1, lease=timedelta(minutes=1), channels=["mail"])
        refusal = "refused for good: b@example.org: 550 nobody here"
        outbox.mark_sent(conn, claimed.delivery_id, claimed.token, remark=refusal)
    found = watched("doctor")
    assert "channels.hook: Nothing has gone out on it since" in found.out
    assert "2 messages wait; each group is told once when it works again." in found.out
    assert "channels.hook: 2 messages wait for it, but it is not configured any more" in found.out
    assert f"channels.mail: a message of the last week was {refusal}." in found.out
    assert "Channel hook: Nothing has gone out on it since" in watched("status").err
    states = {row["channel"]: row for row in json.loads(watched("status", "--channels", "--json").out)}
    assert (states["hook"]["circuit"], states["hook"]["failures"], states["hook"]["waiting"]) == ("open", 5, 2)
    assert (states["mail"]["circuit"], states["mail"]["waiting"]) == ("closed", 0)
    assert watched("status", "--channels").code == WARNING


def test_doctor_finds_what_is_wrong(watched: Shell) -> None:
    said = watched("doctor")
    assert said.code == WARNING
    assert "has no index on at" in said.out
    watched.file.write_text(watched.file.read_text().replace("{calendar: day, timezone: UTC}", "1h"))
    assert "made for other windows than are configured (windows of 1h)" in watched("doctor").out


ENDLESS = {"run", "demo", "config schema"}  # a daemon, a show, and what is JSON anyway


def commands(group: Any, path: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every command with its options."""
    for name, command in getattr(group, "commands", {}).items():
        here = f"{path} {name}".strip()
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield here, {option for parameter in command.params for option in parameter.opts}
        yield from commands(command, here)


def test_every_command_that_ends_answers_in_json_if_asked() -> None:
    cli._load_commands()
    found = dict(commands(typer.main.get_command(cli.app)))
    assert len(found) > 25
    assert {name for name, options in found.items() if not options & {"--json", "--format"}} == ENDLESS


def test_what_a_command_did_is_one_json_object_and_the_sentence_stays_for_people(watched: Shell) -> None:
    answered = watched.json
    assert any("has no index on at" in problem for problem in answered("doctor")["problems"])
    assert answered("config", "check")["models"] == 1
    assert answered("db", "upgrade")["before"] == answered("db", "current")["newest"]
    assert "***" in answered("db", "url")["url"] or "@" in answered("db", "url")["url"]
    silenced = answered("alerts", "silence", "--match", "model=m", "--for", "1h", "--reason", "it moves", "--by", "ada")
    assert (silenced["by"], silenced["matchers"]) == ("ada", {"model": ["m"]})
    assert answered("alerts", "unsilence", silenced["silence_id"], "--by", "bob")["by"] == "bob"
    opened = watched("circuit", "open", "m", "--reason", "°C", "--by", "ada", "--json")
    assert json.loads(opened.out)["state"] == "open"
    assert "does not answer" in opened.err


def test_the_shell_completes_commands_and_options() -> None:
    def completed(words: str) -> set[str]:
        asked = {"_MONITOR_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(
            [sys.executable, "-m", "monitor"], env={**os.environ, **asked}, capture_output=True, text=True, check=False
        )
        return set(done.stdout.split())

    assert completed("monitor ba") == {"backfill"}
    assert {"ack", "silence", "unsilence"} <= completed("monitor alerts ")
    assert "--since" in completed("monitor backfill m --si")


def test_progress_tells_rate_and_time_left() -> None:
    shown, clock = io.StringIO(), iter(range(1000))
    console = Console(file=shown, width=120)
    bar = Progress(*progress("runs").columns, console=console, get_time=lambda: float(next(clock)))
    task = bar.add_task("evaluating", total=10)
    for _ in range(4):
        bar.advance(task)
    console.print(bar.make_tasks_table(bar.tasks))
    assert re.search(r"evaluating .* 40% .* runs/s .* left +\d:\d\d:\d\d", shown.getvalue())
