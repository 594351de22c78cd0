"""The first steps of a stranger: a table of one's own, a CSV file, a profile, a history; and the built-in log."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest

from monitor.cli import run
from monitor.embedded import Database

DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
SINCE, UNTIL = f"{TODAY - 5 * DAY:%Y-%m-%d}", f"{TODAY:%Y-%m-%d}"
WIDE = 25

TABLE = f"""
CREATE SCHEMA risk;
CREATE TYPE risk.channel AS ENUM ('web', 'app', 'branch');
CREATE TABLE risk."Decisions" ("txnNo" bigserial PRIMARY KEY, made_at timestamp, ch risk.channel, age smallint,
  payload jsonb, {", ".join(f"bureau_{i:02d} real" for i in range(WIDE))}, p_default numeric(8, 6), declined boolean,
  "was_default" boolean, settled_at timestamptz);
CREATE INDEX ON risk."Decisions" (made_at)
"""


@pytest.fixture
def monitor(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """A shell in an empty folder, with a store of the stranger's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MONITOR_STORE_URL", database.url)
    monkeypatch.delenv("MONITOR_CONFIG", raising=False)

    def typed(*arguments: str) -> tuple[int, str, str]:
        return (run(list(arguments)), *capsys.readouterr())

    return typed


def applicants(rng: np.random.Generator, n: int, since: datetime) -> list[dict[str, object]]:
    """Return made-up applications evenly over some days."""
    rows: list[dict[str, object]] = []
    for i in range(n):
        bureau = rng.normal(size=WIDE)
        p = float(1 / (1 + np.exp(2 - bureau[0])))
        rows.append(
            {
                "made_at": since + i * (30 * DAY / n),
                "ch": str(rng.choice(["web", "app", "branch"])),
                "age": int(rng.integers(18, 80)),
                "income": round(float(rng.lognormal(8, 0.4)), 2),
                "vip": bool(rng.random() < 0.1),
                **{f"bureau_{k:02d}": round(float(v), 4) for k, v in enumerate(bureau)},
                "p_default": round(p, 6),
                "declined": p > 0.3,
                "was_default": bool(rng.random() < p),
            }
        )
    return rows


def log(database: Database, rows: list[dict[str, object]]) -> None:
    """Write applications into the stranger's table; those of the last day have no outcome yet."""
    columns = ["made_at", "ch", "age", "payload", *(f"bureau_{i:02d}" for i in range(WIDE))]
    columns += ["p_default", "declined", "was_default", "settled_at"]
    with psycopg.connect(database.dsn) as conn:
        conn.execute(TABLE.encode())
        names = ", ".join(columns)
        with conn.cursor().copy(f'COPY risk."Decisions" ({names}) FROM STDIN'.encode()) as copy:
            for row in rows:
                made = row["made_at"]
                assert isinstance(made, datetime)
                settled = made + 6 * timedelta(hours=1)
                known = settled < TODAY - DAY
                more = {
                    "payload": json.dumps({"income": row["income"], "vip": row["vip"]}),
                    "made_at": made.replace(tzinfo=None),
                    "was_default": row["was_default"] if known else None,
                    "settled_at": settled if known else None,
                }
                copy.write_row([{**row, **more}[name] for name in columns])


def write_csv(path: Path, rows: list[dict[str, object]], *left_out: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name not in left_out], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def test_from_a_table_of_ones_own_to_a_history(
    monitor: Callable[..., tuple[int, str, str]], database: Database, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    log(database, applicants(rng, 1500, TODAY - 30 * DAY))
    code, _, said = monitor("init", database.dsn, "--table", "risk.Decisions")
    assert code == 0
    assert "prediction.label: declined (it follows from p_default" in said
    assert "prediction.threshold: 0.3 " in said
    assert "outcome: was_default" in said
    assert "outcome.time: settled_at" in said
    assert "monitor profile Decisions --from FILE" in said
    assert monitor("config", "check")[0] == 0

    training = applicants(rng, 4000, TODAY - 60 * DAY)
    write_csv(tmp_path / "train.csv", training, "bureau_07", "p_default")
    code, _, said = monitor("profile", "Decisions", "--from", "train.csv")
    assert (code, said.strip()) == (
        3,
        "No training profile for Decisions: train.csv has no column bureau_07, which production logs as a feature; "
        "add it, or leave it out of source.features.",
    )
    write_csv(tmp_path / "train.csv", training, "p_default")
    code, _, said = monitor("profile", "Decisions", "--from", "train.csv")
    assert code == 0
    assert "Stored training profile" in said
    assert "4,000 rows" in said
    assert f"{WIDE + 4} features" in said  # channel, age, income, vip

    code, _, said = monitor("backfill", "Decisions", "--since", SINCE, "--until", UNTIL)
    assert (code, said.strip()) == (0, "Evaluated 8 runs of 5 windows.")  # outcomes mature after two days
    _, out, _ = monitor("query", "select count(*) n, sum(rows_read) r from run_history", "--format", "json")
    assert json.loads(out) == [{"n": 5, "r": 250}]
    metrics = "select distinct metric from performance_history where value is not null"
    _, out, _ = monitor("query", metrics, "--format", "csv")
    assert {"auc", "log_loss", "recall"} <= set(out.split())
    assert monitor("status")[0] in (0, 1)
    code, out, _ = monitor("history", "Decisions", "-f", "income", "--json")
    assert (code, {row["n_current"] for row in json.loads(out)}) == (0, {50})
    assert monitor("history", "Decisions", "-f", "incme")[0] == 3


def test_a_query_may_give_the_training_rows(
    monitor: Callable[..., tuple[int, str, str]], database: Database, tmp_path: Path
) -> None:
    log(database, applicants(np.random.default_rng(3), 1500, TODAY - 30 * DAY))
    assert monitor("init", database.dsn, "--table", 'risk."Decisions"')[0] == 0
    bureau = ", ".join(f"bureau_{i:02d}" for i in range(WIDE))
    rows = f"""SELECT made_at, ch, age, (payload->>'income')::float income, (payload->>'vip')::bool vip, {bureau},
        was_default FROM risk."Decisions" WHERE was_default IS NOT NULL"""
    code, _, said = monitor("profile", "Decisions", "--query", rows)
    assert code == 0, said
    assert re.search(r"Stored training profile \w+ of Decisions .*: 1,\d\d\d rows", said)
    assert monitor("profile", "Decisions", "--query", 'DROP TABLE risk."Decisions"')[0] == 3
    assert monitor("profile", "Decisions", "--query", f"{rows}; DROP SCHEMA risk CASCADE")[0] == 3


BUILTIN = """
store: {url: "${MONITOR_STORE_URL}"}
models:
  churn:
    source:
      builtin: true
      features: {age: numeric, plan: categorical}
      prediction: {score: score}
      outcome: {label: label, matures_after: 0h}
    window: {calendar: day, timezone: UTC}
"""


def test_the_built_in_log_needs_no_names(
    monitor: Callable[..., tuple[int, str, str]], database: Database, tmp_path: Path
) -> None:
    (tmp_path / "monitor.yaml").write_text(BUILTIN)
    yesterday = TODAY - DAY
    with psycopg.connect(database.dsn) as conn:
        conn.execute(
            "INSERT INTO monitor.prediction_log (request_id, model, occurred_at, logged_at, features, score)"
            " SELECT i, CASE WHEN i < 100 THEN 'churn' ELSE 'another' END, %(at)s + i * interval '5 minutes', %(at)s,"
            " jsonb_build_object('age', 20 + i %% 50, 'plan', CASE i %% 2 WHEN 0 THEN 'a' ELSE 'b' END), i %% 10 / 10.0"
            " FROM generate_series(0, 149) i",
            {"at": yesterday},
        )
        conn.execute(
            "INSERT INTO monitor.outcome_log (request_id, model, label, observed_at)"
            " SELECT request_id, model, (score > 0.5)::text, occurred_at FROM monitor.prediction_log"
        )
    rng = np.random.default_rng(0)
    with (tmp_path / "train.csv").open("w", encoding="utf-8") as file:
        file.write("occurred_at,age,plan,label\n")
        for i in range(3000):
            at = TODAY - 60 * DAY + i * (50 * DAY / 3000)
            file.write(f"{at.isoformat()},{20 + i % 50},{'ab'[i % 2]},{rng.random() < 0.4}\n")
    assert monitor("profile", "churn", "--from", "train.csv")[0] == 0
    code, out, said = monitor("check", "churn", "--start", f"{yesterday:%Y-%m-%d}", "--json")
    assert code in (0, 1), said
    assert {row["subject"] for row in json.loads(out)} >= {"age", "plan", "volume"}
    _, out, _ = monitor("query", "select rows_read, labels_joined from run_history", "-f", "json")
    assert json.loads(out) == [{"rows_read": 100, "labels_joined": 100}]
