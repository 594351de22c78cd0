"""`monitor trace` follows one request from its inputs to the advice, in any log table."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from monitor.cli import run
from monitor.embedded import Database
from monitor.worker import Worker
from tests.watched import DAY, FIRST, OUTCOME, ask, installed, label_rows, log_rows, train, write_config
from tests.watched import run as sql

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    def typed(file: Path, *arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "--config", str(file)])
        return code, *capsys.readouterr()

    return typed


@pytest.fixture
def alarmed(tmp_path: Path, database: Database) -> Path:
    """A model whose second day drifted, so that an alert opened."""
    file = write_config(
        tmp_path,
        database,
        outcome=OUTCOME,
        more="checks: {drift: {thresholds: {psi: 0.25}}}",
        rest="alerts: {k: 1, n: 1}",
    )
    with installed(file) as installation:
        log_rows(installation)
        label_rows(installation)
        train(installation, mean=-100.0)
        Worker(installation=installation).advance(FIRST + DAY + timedelta(hours=1))
    return file


def test_a_request_is_followed_to_the_alerts_of_its_window(alarmed: Path, typed: Typed) -> None:
    code, out, _ = typed(alarmed, "trace", "3", "--json")
    assert code == 0
    (found,) = json.loads(out)
    (prediction,) = found["predictions"]
    assert (found["model"], found["request_id"]) == ("m", "3")
    assert (prediction["role"], prediction["occurred_at"][:10]) == ("champion", "2013-04-01")
    assert list(prediction["features"]) == ["x"]
    assert prediction["answer"]["score"] == pytest.approx(0.5 + 0.4 * prediction["features"]["x"] / 1.4)
    assert found["outcomes"][0]["outcome"] in (True, False)
    (window,) = prediction["windows"]
    assert (window["window_start"][:10], window["state"]) == ("2013-04-01", "done")
    assert window["warning"] + window["critical"] == len(prediction["findings"]) > 0
    assert {finding["subject"] for finding in prediction["findings"]} >= {"x"}
    assert {alert["state"] for alert in prediction["alerts"]} == {"firing"}
    code, out, _ = typed(alarmed, "trace", "3")
    assert code == 0
    for part in ("m: predictions of 3", "inputs", "outcomes, the newest first", "windows as champion", "firing"):
        assert part in out


def test_a_request_of_a_window_that_was_not_judged_yet_says_so(alarmed: Path, typed: Typed) -> None:
    _, out, _ = typed(alarmed, "trace", "95")
    assert "windows as champion: none was judged" in out
    assert "alerts that stood: none" in out


def test_an_id_that_nobody_logged_is_said(alarmed: Path, typed: Typed) -> None:
    code, out, said = typed(alarmed, "trace", "nobody")
    assert (code, out) == (2, "")
    assert said == "No row with the id nobody is in the logs of m; look for another id, or log it.\n"
    assert typed(alarmed, "trace", "nobody", "--json")[:2] == (2, "[]\n")
    code, _, said = typed(alarmed, "trace", "3", "--model", "n")
    assert code == 3
    assert "n is no model" in said


BUILTIN = """
store: {{url: "{url}"}}
models:
  late:
    source:
      builtin: true
      prediction: {{score: score}}
      outcome: {{label: label, matures_after: 1d}}
    window: {{calendar: day, timezone: UTC}}
  other:
    source: {{builtin: true, prediction: {{score: score}}}}
    window: {{calendar: day, timezone: UTC}}
"""


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        yield connection


def test_champion_shadow_and_corrected_label_of_the_built_in_log_stand_side_by_side(
    database: Database, conn: psycopg.Connection[Any], tmp_path: Path, typed: Typed
) -> None:
    at = datetime(2013, 4, 1, 12, tzinfo=UTC)
    for model, role, version, score in (
        ("late", "shadow", "8", 0.7),
        ("late", "champion", "7", 0.3),
        ("other", "champion", "1", 0.1),
    ):
        conn.execute(
            "INSERT INTO monitor.prediction_log (request_id, trace_id, model, model_version, role, occurred_at,"
            " features, score) VALUES ('r-1', 'abc', %s, %s, %s, %s, %s, %s)",
            [model, version, role, at, '{"temp": 39.5, "carrier": "UA"}', score],
        )
    for label, hours in (("false", 1), ("true", 2)):
        conn.execute(
            "INSERT INTO monitor.outcome_log (request_id, model, label, observed_at) VALUES ('r-1', 'late', %s, %s)",
            [label, at + timedelta(hours=hours)],
        )
    file = tmp_path / "monitor.yaml"
    file.write_text(BUILTIN.format(url=database.url))
    code, out, _ = typed(file, "trace", "r-1", "--json")
    assert code == 0
    late, other = json.loads(out)
    assert [(row["role"], row["version"], row["answer"]) for row in late["predictions"]] == [
        ("champion", "7", {"score": 0.3}),
        ("shadow", "8", {"score": 0.7}),
    ]
    assert {row["trace_id"] for row in late["predictions"]} == {"abc"}
    assert late["predictions"][0]["features"] == {"temp": 39.5, "carrier": "UA"}
    assert [row["outcome"] for row in late["outcomes"]] == ["true", "false"]
    assert [row["answer"] for row in other["predictions"]] == [{"score": 0.1}]
    assert [found["model"] for found in json.loads(typed(file, "trace", "r-1", "-m", "other", "--json")[1])] == [
        "other"
    ]
    conn.execute("DELETE FROM monitor.prediction_log")
    _, out, _ = typed(file, "trace", "r-1")
    assert "late: predictions of r-1: only a label was logged, no prediction" in out


@pytest.mark.parametrize("kind", ["uuid", "bigint", "text"])
def test_ids_of_any_type_are_found_by_their_index(
    database: Database, conn: psycopg.Connection[Any], tmp_path: Path, typed: Typed, kind: str
) -> None:
    wanted = {"uuid": str(uuid.UUID(int=7)), "bigint": "7", "text": "7"}[kind]
    conn.execute(f'CREATE TABLE "Log" ("Id" {kind} PRIMARY KEY, at timestamp, payload jsonb, p float8)'.encode())
    conn.execute('INSERT INTO "Log" VALUES (%s, \'2013-04-01 12:00\', \'{"deep": {"age": 3}}\', 0.5)', [wanted])
    file = tmp_path / "monitor.yaml"
    file.write_text(
        f'store: {{url: "{database.url}"}}\nmodels: {{m: {{source: {{table: \'"Log"\', time: at, id: Id, '
        "features: {age: {json: payload.deep.age, type: numeric}}, prediction: {score: p}}, window: 1d}}"
    )
    code, out, _ = typed(file, "trace", wanted, "--json")
    assert code == 0
    (prediction,) = json.loads(out)[0]["predictions"]
    assert prediction["features"] == {"age": 3}
    assert prediction["occurred_at"] == "2013-04-01T12:00:00+00:00"
    assert typed(file, "trace", "no such id'; --")[0] == 2


def test_logs_that_cannot_be_read_are_said_in_one_sentence(database: Database, tmp_path: Path, typed: Typed) -> None:
    file = tmp_path / "monitor.yaml"
    file.write_text(
        f'store: {{url: "{database.url}"}}\nmodels: {{m: {{source: {{url: "postgresql://x@127.0.0.1:1/x", table: t, '
        "time: at, id: id, prediction: {score: p}}, window: 1d}}"
    )
    code, out, said = typed(file, "trace", "r-1")
    assert (code, out) == (4, "")
    assert said.startswith("The logs of m cannot be read: ")
    assert said.count("\n") == 1


def test_rows_without_an_id_and_labels_without_a_prediction_are_judged(tmp_path: Path, database: Database) -> None:
    with installed(write_config(tmp_path, database, outcome=OUTCOME)) as installation:
        log_rows(installation)
        label_rows(installation)
        sql(
            installation,
            "ALTER TABLE logged DROP CONSTRAINT logged_pkey, ALTER id DROP NOT NULL",
            "CREATE INDEX ON logged (id)",
            "UPDATE logged SET id = NULL WHERE id IN ('1', '2', '3')",
        )
        train(installation, labelled=True)
        Worker(installation=installation).advance(FIRST + 2 * DAY + timedelta(hours=1))
        found = ask(
            installation,
            "SELECT subject, verdict, value, n_current FROM monitor.finding_history"
            " WHERE check_name = 'traceability' AND window_start = '2013-04-01' ORDER BY subject",
        )
    # Known an hour after their prediction, 23 labels of the day came on it, three of them for rows without an id.
    assert found == [
        ("labels", "inconclusive", pytest.approx(3 / 24, abs=0.03), pytest.approx(24, abs=2)),
        ("request ids", "warning", 3 / 24, 24),
    ]
