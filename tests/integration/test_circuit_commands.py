"""`monitor circuit` and `monitor canary`: what a person changes is in force, in the history, and refused in words."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row

from monitor import schema, switchboard
from monitor.cli import run
from monitor.embedded import Database

CONFIG = """
store: {{url: "{url}"}}
models:
  late:
    source: {{builtin: true, features: {{age: numeric}}, prediction: {{score: score}}}}
    window: {{calendar: day, timezone: UTC}}
    circuit: {{fallback: {{score: 0.2}}}}
  other:
    source: {{builtin: true, features: {{age: numeric}}, prediction: {{score: score}}}}
    window: {{calendar: day, timezone: UTC}}
"""

Monitor = Callable[..., tuple[int, str, str]]


@pytest.fixture
def monitor(database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Monitor:
    file = tmp_path / "monitor.yaml"
    file.write_text(CONFIG.format(url=database.url))

    def typed(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "--config", str(file)])
        return code, *capsys.readouterr()

    return typed


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(database.dsn, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def test_a_circuit_that_nobody_touched_is_closed(monitor: Monitor) -> None:
    code, out, _ = monitor("circuit", "status", "--json")
    assert code == 0
    assert [(row["model"], row["state"], row["at"]) for row in json.loads(out)] == [
        ("late", "closed", None),
        ("other", "closed", None),
    ]


def test_an_opened_circuit_gives_the_configured_fallback_and_stands_in_the_history(
    monitor: Monitor, conn: psycopg.Connection[dict[str, Any]]
) -> None:
    conn.execute("LISTEN monitor_circuit")
    code, _, said = monitor("circuit", "open", "late", "--reason", "weather is in °C", "--for", "2h", "--by", "ada")
    assert code == 0
    assert said.startswith("late does not answer, the fallback {'score': 0.2} does; from ")
    assert [notice.payload for notice in conn.notifies(timeout=5, stop_after=1)] == ["late"]
    code, out, _ = monitor("circuit", "status", "late", "--json")
    assert code == 1
    assert json.loads(out)[0]["fallback"] == {"score": 0.2}
    assert monitor("circuit", "probe", "late", "--share", "0.1", "--reason", "repaired?", "--by", "bob")[0] == 0
    assert monitor("circuit", "close", "late", "--reason", "repaired", "--by", "bob")[0] == 0
    assert monitor("circuit", "status")[0] == 0
    rows = conn.execute("SELECT * FROM monitor.circuit_history ORDER BY at").fetchall()
    assert [(row["state"], row["reason"], row["actor"], row["probe_share"]) for row in rows] == [
        ("open", "weather is in °C", "ada", 0.05),
        ("half_open", "repaired?", "bob", 0.1),
        ("closed", "repaired", "bob", None),
    ]
    assert [row["fallback"] for row in rows] == [{"score": 0.2}, {"score": 0.2}, None]


def test_the_share_of_a_canary_changes_alone(monitor: Monitor, conn: psycopg.Connection[dict[str, Any]]) -> None:
    monitor("circuit", "open", "late", "--reason", "broken")
    code, _, said = monitor("canary", "late", "--share", "0.25")
    assert (code, said.strip()) == (0, "The canary of late answers 0.25 of the requests.")
    row = json.loads(monitor("circuit", "status", "late", "--json")[1])[0]
    assert (row["state"], row["share"], row["fallback"], row["reason"]) == ("open", 0.25, {"score": 0.2}, "broken")
    monitor("circuit", "close", "late", "--reason", "repaired")
    row = json.loads(monitor("circuit", "status", "late", "--json")[1])[0]
    assert (row["state"], row["share"]) == ("closed", 0.25)
    assert monitor("canary", "late", "--share", "0", "--reason", "worse")[0] == 0
    last = conn.execute("SELECT * FROM monitor.circuit_history ORDER BY at DESC LIMIT 1").fetchone()
    assert last is not None
    assert (last["state"], last["share"], last["reason"]) == ("closed", 0, "worse")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("circuit", "open", "lat", "--reason", "x"), "did you mean late?"),
        (("circuit", "open", "late", "--reason", " "), "--reason is empty"),
        (("circuit", "open", "late"), "Missing option '--reason'"),
        (("circuit", "open", "late", "--reason", "x", "--for", "soon"), "--for 'soon' must be a duration"),
        (("circuit", "open", "late", "--reason", "x", "--for", "0s"), "which is over; say later"),
        (("circuit", "close", "late", "--reason", "x"), "is closed already"),
        (("circuit", "probe", "late", "--share", "0.5", "--reason", "x"), "is closed, so all requests try the model"),
        (("canary", "late", "--share", "5"), "--share 5 is no share"),
        (("canary", "late", "--share", "nan"), "--share nan is no share"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence_and_changes_nothing(
    monitor: Monitor, conn: psycopg.Connection[dict[str, Any]], arguments: tuple[str, ...], sentence: str
) -> None:
    code, out, said = monitor(*arguments)
    assert (code, out) == (3, "")
    assert sentence in said
    assert said.count("\n") == 1
    assert conn.execute("SELECT * FROM monitor.circuit_event").fetchall() == []


def test_a_share_of_probes_is_a_part_of_the_requests(monitor: Monitor) -> None:
    monitor("circuit", "open", "late", "--reason", "x")
    for share in ("0", "1", "-1", "nan"):
        assert "is no part of the requests" in monitor("circuit", "probe", "late", "--share", share, "--reason", "x")[2]


def test_two_people_at_once_lose_no_change(database: Database) -> None:
    engine = schema.create_engine(database.url)
    with engine.begin() as first:
        held = switchboard.hold_circuit(first, "late")
        switchboard.save_circuit(first, held.shared(0.1, reason=None, actor="ada"))
        begun = threading.Event()

        def second() -> None:
            with engine.begin() as conn:
                conn.execute(sa.text("SELECT 1"))  # its transaction is older than the first one's end
                begun.set()
                held = switchboard.hold_circuit(conn, "late")
                switchboard.save_circuit(conn, held.shared(held.share * 2 if held.share else 0, reason=None, actor="b"))

        thread = threading.Thread(target=second)
        thread.start()
        assert begun.wait(10)
    thread.join(10)
    with engine.begin() as conn:
        assert switchboard.load_circuit(conn, "late").share == 0.2
    engine.dispose()
