"""Slices from the log to SQL and the message: attributes that are no features, late labels, a column that goes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from monitor.commands.profile import store_training, train_model
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.sources.frame import FrameError
from monitor.training import Training
from monitor.worker import Worker
from tests.watched import DAY, FIRST, MODEL, OUTCOME, ask, installed, run, write_config

PER_DAY = 480
DAYS = 4
SLICED = "checks: {fairness: {slices: [sex], metrics: [fpr]}}"
RATES = """
    SELECT {by}, count(*) FILTER (WHERE p >= 0.5 AND NOT y)::float / count(*) FILTER (WHERE NOT y), count(*)
    FROM logged JOIN labels USING (id)
    WHERE at < CAST('{until}' AS timestamptz) AND at >= CAST('{since}' AS timestamptz)
    GROUP BY 1 ORDER BY 1
"""


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    channel = 'channels: {ops: {type: webhook, url: "https://hooks.example.org/x"}}'
    file = write_config(
        tmp_path, database, outcome=OUTCOME + "\n      slices: [[sex, town]]", more=SLICED, rest=channel
    )
    with installed(file) as installation:
        rng = np.random.default_rng(3)
        n = DAYS * PER_DAY
        sex = np.where(rng.random(n) < 0.6, "m", "f")
        town = rng.choice(["Oslo", "Rome", "Nuuk"], n, p=[0.6, 0.39, 0.01])
        label = rng.random(n) < 0.4
        said = rng.random(n) < np.where(label, 0.8, np.where(sex == "f", 0.6, 0.2))
        score = np.where(said, 0.7, 0.3) + rng.uniform(-0.1, 0.1, n)
        run(
            installation,
            "CREATE TABLE logged (id text PRIMARY KEY, at timestamptz, x float8, p float8, sex text, town text)",
            "CREATE TABLE labels (id text, y bool, known_at timestamptz)",
        )
        with installation.engine.begin() as conn:
            conn.exec_driver_sql(
                "INSERT INTO logged SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::float8[], %s::float8[], "
                "%s::text[], %s::text[])",
                (
                    [str(i) for i in range(n)],
                    [FIRST + i * DAY / PER_DAY for i in range(n)],
                    score.tolist(),
                    score.tolist(),
                    sex.tolist(),
                    town.tolist(),
                ),
            )
            conn.exec_driver_sql(
                "INSERT INTO labels SELECT id, y, at + interval '1 hour' FROM logged "
                "JOIN unnest(%s::text[], %s::bool[]) AS l (id, y) USING (id)",
                ([str(i) for i in range(n)], label.tolist()),
            )
        yield installation


def training_file(folder: Path, *, without: str = "") -> Path:
    """Write sixty days of training rows in which both sexes are treated alike."""
    rng = np.random.default_rng(4)
    n = 60 * 40
    label = rng.random(n) < 0.4
    said = rng.random(n) < np.where(label, 0.8, 0.2)
    score = np.where(said, 0.7, 0.3) + rng.uniform(-0.1, 0.1, n)
    columns = {
        "at": [FIRST - 60 * DAY + i * DAY / 40 for i in range(n)],
        "x": score,
        "p": score,
        "y": label,
        "sex": np.where(rng.random(n) < 0.6, "m", "f"),
        "town": rng.choice(["Oslo", "Rome", "Nuuk"], n, p=[0.6, 0.395, 0.005]),
    }
    columns.pop(without, None)
    file = folder / "training.parquet"
    pyarrow.parquet.write_table(pa.table(columns), file)
    return file


def trained(installation: Installation, file: Path) -> Training:
    watched = installation.model(MODEL)
    training = train_model(
        installation,
        watched,
        source=file,
        query=None,
        holdout=None,
        version="1",
        time_column=None,
        importance=None,
    )
    store_training(installation, watched, training, moment=FIRST)
    return training


def test_slices_of_an_attribute_that_is_no_feature_reach_sql_and_the_message(
    installation: Installation, tmp_path: Path
) -> None:
    training = trained(installation, training_file(tmp_path))
    assert "sex" not in training.reference.features
    folded = [remark for remark in training.remarks if "(other)" in remark]
    assert folded, "what is folded is said"
    worker = Worker(installation=installation)
    worker.advance(FIRST + 2 * DAY + timedelta(hours=1))
    figures = (
        "SELECT slice->>'sex', value, matured FROM monitor.performance_history "
        "WHERE metric = 'false_positive_rate' AND slice ? 'sex' AND NOT slice ? 'town' AND window_start = '{}' "
        "ORDER BY 1"
    )
    truth = ask(installation, RATES.format(by="sex", since=FIRST, until=FIRST + DAY))
    found = ask(installation, figures.format(FIRST))
    assert [row[0] for row in found] == ["f", "m"]
    assert found == [(name, pytest.approx(rate), count) for name, rate, count in truth]
    pairs = "SELECT DISTINCT slice->>'sex', slice->>'town' FROM monitor.performance_history WHERE slice ? 'town'"
    assert set(ask(installation, pairs)) == {
        ("f", "Oslo"),
        ("f", "Rome"),
        ("m", "Oslo"),
        ("m", "Rome"),
        ("(other)", "(other)"),
    }
    assert ask(installation, "SELECT sum(rows_transferred) FROM monitor.run WHERE part = 'outcomes'") == [PER_DAY]
    worker.advance(FIRST + (DAYS + 1) * DAY + timedelta(hours=1))
    breach = ask(
        installation,
        "SELECT value, n_current, message FROM monitor.finding_history WHERE check_name = 'fairness' "
        "AND slice->>'sex' = 'f' AND statistic = 'fpr' AND reference_kind = 'group' ORDER BY window_start DESC LIMIT 1",
    )
    ((_, rate, _), _) = ask(installation, RATES.format(by="sex", since=FIRST, until=FIRST + DAYS * DAY))
    ((value, people, message),) = breach
    assert value == pytest.approx(rate), "the windows are added up"
    assert f"{people:,} people with a negative outcome" in message
    told = ask(
        installation,
        "SELECT payload->>'title', payload->>'summary' FROM monitor.notification "
        "WHERE starts_with(payload->>'title', 'Groups')",
    )
    assert [title for title, _ in told] == ["Groups are treated differently: sex"]
    assert "Sex = f: false positive rate" in told[0][1]


def test_a_late_label_changes_its_group_and_a_vanished_column_is_said(
    installation: Installation, tmp_path: Path
) -> None:
    trained(installation, training_file(tmp_path))
    worker = Worker(installation=installation)
    now = FIRST + 2 * DAY + timedelta(hours=1)
    worker.advance(now)
    figures = (
        "SELECT slice->>'sex', value FROM monitor.performance_history WHERE metric = 'false_positive_rate' "
        "AND slice ? 'sex' AND NOT slice ? 'town' ORDER BY 1"
    )
    before = dict(ask(installation, figures))
    run(installation, "UPDATE labels SET y = false FROM logged WHERE labels.id = logged.id AND sex = 'f' AND p >= 0.5")
    run(installation, "UPDATE monitor.tile SET next_check_at = :now", now=now)
    for hours in range(1, 4):
        worker.advance(now + timedelta(hours=hours))
    after = dict(ask(installation, figures))
    truth = {name: rate for name, rate, _ in ask(installation, RATES.format(by="sex", since=FIRST, until=FIRST + DAY))}
    assert after == pytest.approx(truth)
    assert after["f"] > before["f"]
    assert after["m"] == before["m"]
    run(installation, "ALTER TABLE logged DROP COLUMN sex")
    worker.advance(FIRST + 3 * DAY + timedelta(hours=1))
    said = ask(
        installation,
        "SELECT verdict, message FROM monitor.finding_history WHERE check_name = 'fairness' "
        "ORDER BY window_start DESC LIMIT 1",
    )
    assert said[0][0] == "inconclusive"
    assert 'source.slices names the column "sex", which public.logged does not have' in said[0][1]
    assert any('source.slices names the column "sex"' in line for line in installation.source(MODEL).check())


def test_training_rows_without_the_attribute_are_refused(installation: Installation, tmp_path: Path) -> None:
    with pytest.raises(FrameError, match=r"has no column sex, by which source\.slices watches rows apart; add it"):
        trained(installation, training_file(tmp_path, without="sex"))
