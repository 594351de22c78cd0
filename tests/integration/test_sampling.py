"""Windows of more rows than are to be read: some are drawn by the hash of the request id, and everything says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from monitor import schema, store
from monitor.config import ConfigError
from monitor.embedded import Database
from monitor.installation import Installation, load_config
from monitor.outcome import Task
from monitor.reference import build_reference
from monitor.source import Batch, NumericValues
from monitor.worker import Worker

HOUR = timedelta(hours=1)
FIRST = datetime(2024, 5, 6, tzinfo=UTC)
ROWS, MOST = 6_000, 2_000  # of an hour: a quarter of them is drawn
NOW = FIRST + HOUR + timedelta(minutes=20)
CONFIG = """
store: {{url: "{url}"}}
models:
  m:
    active: {{from: 2024-05-06, until: 2024-05-07}}
    source:
      table: logged
      time: at
      id: id
      features: {{x: numeric}}
      prediction: {{score: p}}
      outcome: {{label: y, matures_after: 0s}}
      limits: {{sample: {most}}}
    window: 1h
"""
MORE = """
    INSERT INTO logged SELECT i, :at, i % 97, 0.5, (i % 3 = 0)::int
    FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS i
"""


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    file = tmp_path / "monitor.yaml"
    file.write_text(CONFIG.format(url=database.url, most=MOST))
    url = schema.database_url(database.url).render_as_string(False)
    with closing(Installation(config=load_config(file, {}), url=url)) as installation:
        train(installation)
        with installation.engine.begin() as conn:
            conn.execute(sa.text("CREATE TABLE logged (id int, at timestamptz, x float8, p float8, y int)"))
            for quarter in range(4):
                first = quarter * ROWS // 4
                values = {"at": FIRST + quarter * HOUR / 4, "first": first, "last": first + ROWS // 4 - 1}
                conn.execute(sa.text(MORE), values)
        yield installation


def train(installation: Installation) -> None:
    rng = np.random.default_rng(0)
    hours, rows = 40, 150
    n = hours * rows
    start = round((FIRST - hours * HOUR).timestamp()) * 1_000_000
    batch = Batch(
        rows=n,
        time=start + np.arange(n) * (3_600_000_000 // rows),
        columns={"x": NumericValues(values=rng.integers(0, 97, n).astype(float), missing=np.zeros(n, bool))},
        score=rng.random(n),
        label=(rng.random(n) < 0.3).astype(float),
    )
    spec = installation.model("m").spec
    reference = build_reference(
        batch, model="m", version="1", task=Task.BINARY, spec=spec, created_at=FIRST, rows=n, source="a test"
    )
    with installation.engine.begin() as conn:
        store.save_reference(conn, model="m", body=reference.to_bytes(), active_from=FIRST, rows=n)


def ask(installation: Installation, query: str) -> list[Any]:
    with installation.engine.begin() as conn:
        return list(conn.execute(sa.text(query)).all())


def test_of_a_window_with_too_many_rows_a_share_is_drawn_and_findings_carry_its_error(
    installation: Installation,
) -> None:
    assert Worker(installation=installation).advance(NOW) == 2
    drawn = ask(
        installation,
        "SELECT count(*) FROM logged WHERE hashtextextended(id::text, 0) < -9223372036854775808 + (1::bigint << 62)",
    )
    ((rows,),) = drawn
    assert rows == pytest.approx(ROWS / 4, rel=0.1)
    runs = ask(installation, "SELECT part, rows_read, rows_transferred, labels_joined FROM monitor.run ORDER BY part")
    # features and labels are of the same requests, and all rows were counted
    assert [tuple(run) for run in runs] == [("inputs", ROWS, rows, 0), ("outcomes", ROWS, rows, rows)]
    ((column_rows,),) = ask(installation, "SELECT row_count FROM monitor.column_profile WHERE column_name = 'x'")
    assert column_rows == rows
    ((volume, sampled),) = ask(
        installation, "SELECT value, sampling_error FROM monitor.finding_history WHERE subject = 'volume'"
    )
    assert (volume, sampled) == (ROWS, None)
    found = ask(
        installation,
        "SELECT DISTINCT sampled_share, sampling_error FROM monitor.finding_history"
        f" WHERE subject = 'x' AND check_name = 'drift' AND n_current = {rows}",
    )
    assert [tuple(one) for one in found] == [(0.25, pytest.approx((0.75 / rows) ** 0.5, rel=1e-3))]


def test_a_window_that_grows_beyond_the_next_half_is_drawn_anew_as_a_whole(installation: Installation) -> None:
    worker = Worker(installation=installation)
    worker.advance(NOW)
    with installation.engine.begin() as conn:
        conn.execute(sa.text(MORE), {"at": FIRST, "first": ROWS, "last": ROWS + 2 * MOST})
    later = FIRST + timedelta(minutes=165)  # two hours after the tile was due its rows are looked at again
    assert worker.advance(later) > 0
    ((rows, moved),) = ask(
        installation,
        "SELECT rows_read, rows_transferred FROM monitor.run WHERE part = 'inputs' AND revision = 2 AND state = 'done'",
    )
    assert rows == ROWS + 2 * MOST + 1
    assert moved == pytest.approx(rows / 8, rel=0.15)
    recipes = ask(installation, "SELECT DISTINCT recipe FROM monitor.tile WHERE part = 'inputs' AND rows > 0")
    assert len(recipes) == 1
    assert recipes[0][0].endswith("/3")
    assert worker.advance(later + timedelta(minutes=1)) == 0  # and rests


def test_a_window_with_few_rows_is_read_as_a_whole_and_says_nothing_of_a_sample(installation: Installation) -> None:
    with installation.engine.begin() as conn:
        conn.execute(sa.text(f"DELETE FROM logged WHERE id >= {MOST // 2}"))
    assert Worker(installation=installation).advance(NOW) == 2
    ((rows, moved),) = ask(installation, "SELECT rows_read, rows_transferred FROM monitor.run WHERE part = 'inputs'")
    assert rows == moved == MOST // 2
    assert ask(installation, "SELECT 1 FROM monitor.finding_history WHERE sampled_share IS NOT NULL") == []


def test_windows_that_overlap_are_not_sampled_and_the_file_is_told_so(tmp_path: Path, database: Database) -> None:
    file = tmp_path / "monitor.yaml"
    text = CONFIG.format(url=database.url, most=MOST)
    file.write_text(text.replace("window: 1h", "window: 1d\n    every: 1h"))
    with pytest.raises(ConfigError, match="sample does not go with every, whose windows share what was read"):
        load_config(file, {})
    file.write_text(text.replace(str(MOST), "10"))
    with pytest.raises(ConfigError, match=r"limits\.sample.*1000"):
        load_config(file, {})
