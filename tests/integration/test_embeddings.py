"""Texts and embeddings from the log to the finding: a real table, a training profile read from it, a day that moved."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from monitor import store
from monitor.embedded import Database
from monitor.evaluation import evaluate
from monitor.installation import Installation
from monitor.sources import frame
from monitor.training import train
from tests.integration.test_evaluation import claimed
from tests.watched import FIRST, MODEL, NOW, ask, installed, run, write_config

CONFIG = """
store: {{url: "{url}"}}
models:
  m:
    source:
      url: store
      table: logged
      time: at
      id: id
      features: {{note: text, vector: array, doc: {{json: body.v, type: array}}}}
      prediction: {{score: p, threshold: 0.5}}
    window: {{calendar: day}}
"""
READ = "SELECT *, ARRAY(SELECT e::text::float8 FROM jsonb_array_elements(body -> 'v') AS e) AS doc FROM logged"
ROWS = """
INSERT INTO logged
SELECT {id} || i, CAST('{at}' AS timestamptz) + i * interval '1 day' / {per_day}, {note},
  ARRAY[{move} + sqrt(-2 * ln(a)) * cos(6.2831853 * b), a, b]::real[], jsonb_build_object('v', ARRAY[a, b]), a
FROM (SELECT i, (hashint4(i + {seed}) & 65535) / 65536.0 + 1e-6 AS a, (hashint4(i + 7 * {seed}) & 65535) / 65536.0 AS b
      FROM generate_series(0, {rows} - 1) i) AS drawn
"""


def trained(installation: Installation, url: str) -> None:
    """Store the training profile of sixty days that are in the log."""
    watched, source = installation.model(MODEL), installation.source(MODEL)
    rows = frame.read_query(url, f"{READ} WHERE at < '{FIRST.isoformat()}'")  # a constant
    training = train(
        MODEL,
        watched.section,
        rows,
        source="a query",
        features=source.features(),
        version="1",
        time_column="at",
        now=NOW,
        progress=lambda *_: None,
    )
    with installation.engine.begin() as conn:
        store.save_reference(conn, model=MODEL, body=training.reference.to_bytes(), active_from=FIRST, rows=9000)


@pytest.mark.parametrize(
    ("note", "move", "flagged"),
    [
        ("'order ' || (hashint4(i) & 1023) || ' was late'", "0.0", set()),
        ("'order ' || (hashint4(i) & 1023) || ' was late'", "0.8", {"vector"}),
        ("'Ã¼berÃ¼ ' || i", "0.0", {"note.others", "note.unknown"}),
    ],
)
def test_a_day_whose_texts_or_vectors_moved_is_flagged_by_what_moved(
    tmp_path: Path, database: Database, note: str, move: str, flagged: set[str]
) -> None:
    file = write_config(tmp_path, database)
    file.write_text(CONFIG.format(url=database.url), encoding="utf-8")
    with installed(file) as installation:
        usual = {"per_day": 150, "note": "'order ' || (hashint4(i) & 1023) || ' was late'", "move": "0.0"}
        run(
            installation,
            "CREATE TABLE logged (id text PRIMARY KEY, at timestamptz, note text, vector real[], body jsonb, p float8)",
            ROWS.format(id="'t'", at=(FIRST - timedelta(days=60)).isoformat(), rows=9000, seed=1, **usual),
            ROWS.format(
                id="'p'",
                at=FIRST.isoformat(),
                rows=150,
                seed=90_001,
                per_day=150,
                note=note.replace(":", "\\:"),
                move=move,
            ),
        )
        trained(installation, database.dsn)
        evaluate(installation, installation.model(MODEL), claimed(installation), now=NOW)
        found = ask(
            installation,
            "SELECT DISTINCT subject FROM monitor.finding_history WHERE verdict = 'warning'"
            " AND check_name IN ('drift', 'embeddings') AND reference_kind = 'training'",
        )
        assert ask(installation, "SELECT message FROM monitor.finding_history WHERE reason = 'check failed'") == []
        assert flagged <= set(found)
        assert bool(flagged) or not found
        if "vector" in flagged:
            (said,) = ask(
                installation,
                "SELECT message FROM monitor.finding_history WHERE check_name = 'embeddings' AND verdict = 'warning'",
            )
            assert "mean of dimension 0" in said
