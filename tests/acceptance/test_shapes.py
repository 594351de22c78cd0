"""`monitor init` on the four shapes in which people log: what it writes runs as it stands, to a verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from monitor.cli import run
from monitor.embedded import Database

ROWS = """
CREATE TEMP TABLE made AS
SELECT i, 'r' || i AS id, date_trunc('day', now()) - i * interval '20 minutes' AS at, sin(i * 1.7) * 1.4 AS age,
    cos(i * 0.9) * 10 AS income, (ARRAY['web', 'app', 'branch'])[i % 3 + 1] AS channel,
    0.5 + 0.4 * sin(i * 1.7) AS p, sin(i * 1.7) + 0.6 * sin(i * 12.9898) > 0 AS y
FROM generate_series(1, 4320) i
"""
COLUMNS = "id text PRIMARY KEY, at timestamptz NOT NULL, score float8"
WIDE = f"""
CREATE TABLE answers ({COLUMNS}, age float8, income float8, channel text, label bool);
INSERT INTO answers SELECT id, at, p, age, income, channel, y FROM made;
CREATE INDEX ON answers (at)
"""
JSON = f"""
CREATE TABLE answers ({COLUMNS}, features jsonb, label bool);
INSERT INTO answers SELECT id, at, p, jsonb_build_object('age', age, 'income', income, 'channel', channel), y FROM made;
CREATE INDEX ON answers (at)
"""
EACH = WIDE.replace("answers", "credit_log") + ";" + WIDE.replace("answers", "fraud_log")
SEPARATE = f"""
CREATE TABLE answers ({COLUMNS}, age float8, income float8, channel text);
INSERT INTO answers SELECT id, at, p, age, income, channel FROM made;
CREATE INDEX ON answers (at);
CREATE TABLE outcomes (id text PRIMARY KEY, label bool, observed_at timestamptz);
INSERT INTO outcomes SELECT id, y, at + interval '6 hours' FROM made
"""
PLAIN = "SELECT at, age, income, channel, label, score FROM answers"
SHAPES = {
    "wide columns": (WIDE, ["answers"], PLAIN),
    "JSON features": (
        JSON,
        ["answers"],
        "SELECT at, (features->>'age')::float8 age, (features->>'income')::float8 income, features->>'channel' channel,"
        " label, score FROM answers",
    ),
    "one table per model": (EACH, ["credit_log", "fraud_log"], PLAIN),
    "separate outcomes": (
        SEPARATE,
        ["answers"],
        "SELECT a.at, a.age, a.income, a.channel, o.label, a.score FROM answers a JOIN outcomes o USING (id)",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_init_writes_runs_unchanged_to_a_verdict(
    shape: str,
    database: Database,
    empty_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def monitor(*arguments: str) -> tuple[int, str, str]:
        return (run(list(arguments)), *capsys.readouterr())

    typed: Callable[..., tuple[int, str, str]] = monitor
    statements, tables, training = SHAPES[shape]
    with psycopg.connect(empty_database.dsn) as conn:
        conn.execute(ROWS)
        conn.execute(statements.encode())
        ago = "SELECT (now() - i * interval '1 day')::date FROM (VALUES (9), (3)) AS v (i)"
        days = [str(row[0]) for row in conn.execute(ago)]
    monkeypatch.setenv("MONITOR_STORE_URL", database.url)
    monkeypatch.delenv("MONITOR_CONFIG", raising=False)
    for table in tables:
        folder = tmp_path / table
        folder.mkdir()
        monkeypatch.chdir(folder)
        code, _, said = typed("init", empty_database.dsn, "--table", table)
        assert code == 0, said
        assert "in place of" not in said, "it asks for nothing"
        assert typed("config", "check")[0] == 0
        model = table
        rows = f"{training.replace('answers', table)} WHERE at < '{days[0]}'"
        code, _, said = typed("profile", model, "--query", rows)
        assert code == 0, said
        code, _, said = typed("backfill", model, "--since", days[0], "--until", days[1])
        assert (code, said.strip()) == (0, "Evaluated 12 runs of 6 windows.")
        code, out, _ = typed("status", "--json")
        [row] = [one for one in json.loads(out) if one["model"] == model]
        assert (code, row["light"]) == (0, "green"), row
        realised = "SELECT count(*) n FROM performance_history WHERE basis = 'realised' AND value IS NOT NULL"
        _, out, _ = typed("query", f"{realised} AND model = '{model}'", "--format", "json")
        assert json.loads(out)[0]["n"] > 0
