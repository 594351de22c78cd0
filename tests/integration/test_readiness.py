"""`monitor readiness`: winter against a year fails and says what is missing; rows of the same kind pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor.cli import run as command
from monitor.demo import flights

Ready = Callable[..., tuple[int, str, str]]
CONFIG = """
store: {url: "postgresql://nobody@127.0.0.1:1/none"}
models:
  late:
    source:
      url: store
      table: logged
      time: at
      id: id
      features: {wind: numeric, carrier: categorical}
      prediction: {score: p, threshold: 0.35}
      outcome: {label: late, matures_after: 1d}
    window: {calendar: day, timezone: UTC}
"""


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ready:
    monkeypatch.chdir(tmp_path)
    Path("monitor.yaml").write_text(CONFIG)

    def typed(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        files = ("--train", "train.parquet", "--production", "production.parquet")
        code = command(["readiness", *arguments, *(() if "--train" in arguments else files)])
        return code, *capsys.readouterr()

    return typed


def rows(n: int, *, seed: int, **other: Any) -> pa.Table:
    rng = np.random.default_rng(seed)
    wind = rng.normal(size=n)
    columns = {
        "id": np.arange(n).astype(str),
        "at": np.arange(n) * 60_000_000,
        "wind": wind,
        "carrier": rng.choice(["A", "B"], n),
        "late": rng.random(n) < 1 / (1 + np.exp(1 - wind)),
        "p": rng.random(n),
    } | other
    table = pa.table({name: value for name, value in columns.items() if value is not None})
    return table.set_column(1, "at", table["at"].cast(pa.timestamp("us", "UTC")))


def write(name: str, table: pa.Table) -> None:
    pq.write_table(table, f"{name}.parquet")


def test_winter_flights_are_not_ready_for_a_year_and_it_says_what_is_missing(
    ready: Ready, request: pytest.FixtureRequest
) -> None:
    prepared = flights.load(Path(request.config.cache.mkdir("demo-flights")))
    kept = [*flights.FEATURES, "occurred_at", "was_late"]
    write("train", prepared.training_rows().select(kept).take(pa.array(range(0, 39_000, 8))))
    production = prepared.labelled_production().select(kept)
    write("production", production.take(pa.array(range(0, production.num_rows, 40))))
    code, out, _ = ready("--label", "was_late", "--time", "occurred_at", "--json")
    assert code == 1
    found = json.loads(out)
    worst = {one["feature"]: one for one in found["features"]}
    (summer,) = worst["temp"]["regions"]
    low, high = (float(part) for part in summer["where"].split(" to "))
    assert 50 < low < 62  # °F
    assert high > 95
    assert summer["share"] > 0.5
    assert worst["dewp"]["uncovered"] > 0.3
    assert worst["hour"]["regions"] == worst["carrier"]["regions"] == []
    assert found["rows_needed"] > 5000
    outcomes = {section["name"]: section["outcome"] for section in found["sections"]}
    assert outcomes == {
        **dict.fromkeys(("columns", "differences", "labels"), "pass"),
        **dict.fromkeys(("coverage", "combinations", "rows"), "fail"),
    }


def test_rows_like_production_are_ready(ready: Ready) -> None:
    write("train", rows(3000, seed=1))
    write("production", rows(6000, seed=2, late=None))
    code, out, err = ready("late")
    assert (code, err) == (0, "")
    assert "rows: pass: no more rows are needed" in out


def test_a_combination_that_training_lacks_fails_although_each_feature_is_covered(ready: Ready) -> None:
    rng = np.random.default_rng(3)
    carrier = rng.choice(["A", "B"], 6000)
    tied = np.where(carrier == "A", -1, 1) * np.abs(rng.normal(size=6000))
    write("train", rows(6000, seed=3, wind=tied, carrier=carrier))
    write("production", rows(6000, seed=4))
    code, out, _ = ready("late")
    assert code == 1
    assert "coverage: pass" in out
    assert "combinations: fail" in out


def test_columns_and_labels_that_are_missing_are_told_by_name(ready: Ready) -> None:
    write("train", rows(3000, seed=1, gate=np.arange(3000) % 7).drop_columns(["carrier"]))
    write("production", rows(3000, seed=2))
    code, out, _ = ready("--label", "late", "--time", "at", "--ignore", "id", "--ignore", "p")
    assert code == 1
    assert "carrier: production has it, training does not" in out
    assert "gate: training has it, production does not; no model can use it" in out
    write("train", rows(3000, seed=1, late=pa.nulls(3000, pa.bool_())))
    code, out, _ = ready("late")
    assert code == 1
    assert "labels: fail: no training row has a label" in out
    write("train", rows(3000, seed=1, wind=np.array(["calm", "storm", "breeze"] * 1000)))
    code, out, _ = ready("--label", "late", "--time", "at", "--ignore", "id", "--ignore", "p")
    assert code == 1
    assert "wind: string in training and double in production" in out


def test_too_few_rows_cannot_tell(ready: Ready) -> None:
    write("train", rows(400, seed=1))
    write("production", rows(3000, seed=2))
    code, out, _ = ready("late")
    assert code == 2
    assert "training has 400 rows" in out


def test_a_report_is_written(ready: Ready) -> None:
    write("train", rows(600, seed=1))
    write("production", rows(600, seed=2))
    assert ready("late", "--report", "ready.md")[0] == 0
    assert Path("ready.md").read_text().startswith("# readiness of train.parquet for production.parquet: pass")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--train", "no.parquet", "--production", "production.parquet"], "no.parquet does not exist"),
        (["nobody"], "There is no model nobody"),
        (["late", "--label", "truth"], "train.parquet has no column truth"),
        (["--time", "when"], "--time when must be a column of both files"),
        (["late", "--ignore", "x"], "neither file has the column x"),
        (["late", "--most", "3"], "--most 3 is no share of traffic"),
        (["late", "--report", "ready.pdf"], "--report ready.pdf is neither .md nor .html"),
        (["late", "--report", "no/ready.md"], "--report no/ready.md cannot be written"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(ready: Ready, arguments: list[str], sentence: str) -> None:
    write("train", rows(600, seed=1))
    write("production", rows(600, seed=2))
    code, _, err = ready(*arguments)
    assert code == 3
    assert sentence in err
    assert err.count("\n") == 1
