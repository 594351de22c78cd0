"""`monitor gate`: an equal candidate passes; a worse, a leaking, a swapped and an unstable one fail, each by name."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet
import pytest

from monitor.cli import run as command
from monitor.embedded import Database
from tests.peers import closed_port
from tests.scoring import scoring

CONFIG = """
store: {url: "postgresql://nobody@127.0.0.1:1/none"}
models:
  late:
    business: {automates: x, currency: EUR, costs: {false_positive: 7, false_negative: 13}}
    source:
      url: store
      table: logged
      time: at
      id: id
      features: {wind: numeric, rain: numeric, carrier: categorical}
      prediction: {score: p, threshold: 0.35}
    window: {calendar: day, timezone: UTC}
"""
# Versions as somebody would write them: `worn` looks at no weather, `nervous` has steps finer than noise.
MODELS = """
import numpy as np

def champion(frame):
    odds = 0.9 * frame["wind"] + 0.6 * frame["rain"] + 0.4 * (frame["carrier"] == "B") - 1.2
    return 1 / (1 + np.exp(-odds))

def equal(frame):
    return champion(frame)

def worn(frame):
    return champion(frame.assign(wind=0.0, rain=0.0))

def swapped(frame):
    return champion(frame.rename(columns={"wind": "rain", "rain": "wind"}))

def nervous(frame):
    return champion(frame) + 0.2 * np.sign(np.sin(1e8 * frame["wind"]))

def unfair(frame):
    return np.where(frame["carrier"] == "B", 1 - champion(frame), champion(frame))

def features(frame):
    return frame.assign(wind=frame["knots"] * 0.514, rain=frame["rain"])[["wind", "rain", "carrier"]]

def by_class(frame):
    odds = np.column_stack([frame["wind"], frame["rain"], 0.5 * (frame["carrier"] == "B")])
    return np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)

def by_class_equal(frame):
    return by_class(frame)

def by_class_worn(frame):
    return by_class(frame.assign(wind=0.0))

def by_class_swapped(frame):
    return by_class(frame.rename(columns={"wind": "rain", "rain": "wind"}))

def by_class_nervous(frame):
    flat = np.full((len(frame), 3), 0.2)
    flat[np.arange(len(frame)), (np.sin(1e8 * frame["wind"]) > 0).astype(int)] = 0.6
    return flat

def minutes(frame):
    return 10 * frame["wind"] + 5 * frame["rain"]

def minutes_equal(frame):
    return minutes(frame)

def minutes_worn(frame):
    return minutes(frame.assign(wind=0.0))

def minutes_swapped(frame):
    return minutes(frame.rename(columns={"wind": "rain", "rain": "wind"}))

def minutes_nervous(frame):
    return minutes(frame) + 5 * np.sign(np.sin(1e8 * frame["wind"]))

def broken(frame):
    raise RuntimeError("no such tree")

def short(frame):
    return np.zeros(3)
"""
Gate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gate:
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("versions_of_late", None)
    Path("monitor.yaml").write_text(CONFIG)
    Path("versions_of_late.py").write_text(MODELS)
    write("inputs", rows(20_000, seed=1))
    training = rows(4000, seed=2)
    write("train", training)
    versions: dict[str, Any] = {}
    exec(MODELS, versions)
    known = {name: training.column(name) for name in ("wind", "rain", "carrier")}
    said = versions["champion"](pa.table(known).to_pandas())
    write("golden", pa.table({**known, "prediction": said}).slice(0, 500))

    def typed(predict: str, *arguments: str) -> tuple[int, str, str]:
        called = predict if ":" in predict or predict == "p" else f"versions_of_late:{predict}"
        everything = ["gate", "late", "--candidate", "8", "--inputs", "inputs.parquet", "--predict", called]
        capsys.readouterr()
        code = command([*everything, *arguments])
        return code, *capsys.readouterr()

    return typed


FULL = (
    *("--champion", "versions_of_late:champion", "--label", "late"),
    *("--train", "train.parquet", "--golden", "golden.parquet"),
)


def rows(count: int, *, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    wind, rain = rng.normal(size=count), rng.normal(size=count)
    carrier = rng.choice(["A", "B"], count)
    odds = 0.9 * wind + 0.6 * rain + 0.4 * (carrier == "B") - 1.2
    late = rng.random(count) < 1 / (1 + np.exp(-odds))
    return pa.table({"wind": wind, "rain": rain, "carrier": carrier, "late": late})


def write(name: str, table: pa.Table) -> None:
    pyarrow.parquet.write_table(table, f"{name}.parquet")


def parts(out: str) -> dict[str, Any]:
    return {section["name"]: section for section in json.loads(out)["sections"]}


def test_an_equal_candidate_passes_every_part(gate: Gate) -> None:
    code, out, said = gate("equal", *FULL, "--json")
    found = parts(out)
    assert {name: section["outcome"] for name, section in found.items()} == {
        "regression": "pass",
        "leakage": "pass",
        "parity": "pass",
        "stability": "pass",
    }
    assert (code, said) == (0, "")


def test_a_worse_candidate_fails_by_its_cost(gate: Gate) -> None:
    code, out, _ = gate("worn", *FULL, "--json")
    section = parts(out)["regression"]
    assert (code, section["outcome"]) == (1, "fail")
    assert section["why"].startswith("cost ")
    assert "worse by more than" in section["why"]


def test_a_column_known_only_afterwards_fails_by_name(gate: Gate, tmp_path: Path) -> None:
    training = pyarrow.parquet.read_table("train.parquet")
    late = training.column("late").to_numpy(zero_copy_only=False)
    delay = 40.0 * late + np.random.default_rng(3).normal(0, 8, len(late))
    write("train", training.append_column("dep_delay", pa.array(delay)))
    code, out, _ = gate("equal", *FULL, "--json")
    why = parts(out)["leakage"]["why"]
    assert code == 1
    assert "dep_delay alone tells the label (AUC " in why
    assert "dep_delay is not in production's rows" in why
    assert "wind" not in why


@pytest.mark.parametrize(
    ("values", "word"), [(pa.nulls(20_000, pa.float64()), "empty"), (pa.array(np.zeros(20_000)), "constant")]
)
def test_a_column_that_production_does_not_fill_fails_by_name(gate: Gate, values: pa.Array, word: str) -> None:
    inputs = pyarrow.parquet.read_table("inputs.parquet")
    write("inputs", inputs.append_column("gate", values))
    training = pyarrow.parquet.read_table("train.parquet")
    write("train", training.append_column("gate", pa.array(np.random.default_rng(0).normal(size=4000))))
    code, out, _ = gate("equal", *FULL, "--json")
    assert code == 1
    assert parts(out)["leakage"]["why"] == f"gate is {word} in production and not in training"


def test_two_swapped_columns_fail_parity_and_are_named(gate: Gate) -> None:
    code, out, _ = gate("swapped", *FULL, "--json")
    section = parts(out)["parity"]
    assert (code, section["outcome"]) == (1, "fail")
    assert section["why"] == "500 of 500 golden predictions moved by more than 1e-06"
    assert "with wind and rain swapped they come out again" in section["figures"][1]


def test_decisions_that_flip_at_noise_nobody_can_measure_fail(gate: Gate) -> None:
    code, out, _ = gate("nervous", *FULL, "--json")
    section = parts(out)["stability"]
    assert (code, section["outcome"]) == (1, "fail")
    assert section["figures"][1].startswith("most sensitive at 0.01: wind ")


def test_what_was_not_given_is_named_and_scores_may_be_columns(gate: Gate) -> None:
    inputs = pyarrow.parquet.read_table("inputs.parquet")
    write(
        "inputs",
        inputs.append_column("p", pa.array(np.full(20_000, 0.2))).append_column("q", pa.array(np.full(20_000, 0.2))),
    )
    code, _, said = gate("p", "--champion", "q", "--label", "late")
    assert code == 0
    assert said.splitlines() == [
        "Not judged: leakage; give --train and --label.",
        "Not judged: parity and stability; give --predict as module:function or an endpoint.",
    ]
    assert gate("p", "--champion", "q")[0] == 2  # without labels nobody can tell


def test_the_report_is_markdown_or_html_and_names_make_no_markup(gate: Gate) -> None:
    training = pyarrow.parquet.read_table("train.parquet")
    evil = training.append_column("<b>*x*</b>", training.column("late"))
    write("train", evil)
    assert gate("equal", *FULL, "-o", "report.md")[0] == 1
    assert gate("equal", *FULL, "-o", "report.html")[0] == 1
    text, page = Path("report.md").read_text(), Path("report.html").read_text()
    assert text.startswith("# late 8: fail\n")
    assert "## leakage: fail" in text
    assert "\\<b\\>\\*x\\*\\</b\\> alone tells the label" in text
    assert "&lt;b&gt;*x*&lt;/b&gt; alone tells the label" in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("predict", "arguments", "sentence"),
    [
        ("equal", ("-o", "report.txt"), "--report report.txt is neither .md nor .html"),
        ("equal", ("-o", "no/where.md"), "--report no/where.md cannot be written (No such file or directory)"),
        ("equal", ("--margin", "0"), "--margin 0 is no share of a loss"),
        ("missing", (), "versions_of_late:missing cannot be imported (AttributeError"),
        ("no_module:f", (), "no_module:f cannot be imported (ModuleNotFoundError"),
        ("broken", (), "versions_of_late:broken failed on the given rows (RuntimeError: no such tree)"),
        ("short", (), "versions_of_late:short returned shape (3,)"),
        ("p", (), "inputs.parquet has no column p; it has wind, rain, carrier, late"),
        ("equal", ("--champion", "carrier"), "The column carrier is string and not a number"),
        ("equal", ("--golden", "nothing.csv"), "nothing.csv does not exist"),
        ("equal", ("--golden", "train.parquet"), "train.parquet has no column prediction"),
        ("equal", ("--train", "train.parquet", "--label", "latte"), "train.parquet has no column latte"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_sentence(
    gate: Gate, predict: str, arguments: tuple[str, ...], sentence: str
) -> None:
    code, out, said = gate(predict, *arguments)
    assert (code, out) == (3, "")
    assert sentence in said
    assert said.count("\n") == 1


SLICED = CONFIG.replace("      prediction:", "      slices: [carrier]\n      prediction:").replace(
    "    window:", "    checks: {fairness: {slices: [carrier], tolerance: 0.05}}\n    window:"
)


def test_slices_and_fairness_are_judged_by_the_configured_groups(gate: Gate) -> None:
    Path("monitor.yaml").write_text(SLICED)
    found = parts(gate("equal", *FULL, "--json")[1])
    assert (found["slices"]["outcome"], found["slices"]["why"]) == ("pass", "worse for certain in none of 2 groups")
    assert found["fairness"]["outcome"] == "pass"


def test_a_candidate_that_is_worse_for_one_group_fails_by_its_name(gate: Gate) -> None:
    Path("monitor.yaml").write_text(SLICED)
    code, out, _ = gate("unfair", *FULL, "--json", "--report", "gate.html")
    found = parts(out)
    assert code == 1
    assert (found["slices"]["outcome"], found["slices"]["why"]) == ("fail", "worse for certain in carrier B")
    assert found["fairness"]["outcome"] == "fail"
    assert "true positive rate" in found["fairness"]["why"]
    assert "Worse for certain in carrier B" in Path("gate.html").read_text()


def test_both_versions_can_be_endpoints_and_noise_goes_only_where_it_may(gate: Gate) -> None:
    numbers = rows(300, seed=3)
    write("inputs", pa.table({"x": numbers["wind"], "z": numbers["rain"], "late": numbers["late"]}))
    with scoring() as old, scoring("nervous") as new:
        options = "protocol: mlflow, production: PRODUCTION, per_second: 999"
        told = f"release: {{endpoint: {{url: '{new}/invocations', {options}}}}}"
        for production, stability in (("true", None), ("false", "fail")):
            Path("monitor.yaml").write_text(CONFIG + f"    {told.replace('PRODUCTION', production)}\n")
            champion = ("--champion", f"v2:{old}/v2/models/m/infer")
            code, out, said = command_line("--predict", "endpoint", *champion, "--json")
            found = parts(out)
            assert "300 rows: agreement" in found["regression"]["figures"][0]
            assert found.get("stability", {}).get("outcome") == stability
            assert ("the endpoint serves production" in said) == (stability is None)
            assert code == (2 if stability is None else 1)


def command_line(*arguments: str) -> tuple[int, str, str]:
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as said:
        code = command(["gate", "late", "--candidate", "8", "--inputs", "inputs.parquet", *arguments])
    return code, out.getvalue(), said.getvalue()


def test_an_endpoint_that_is_away_is_one_sentence(gate: Gate) -> None:
    code, out, said = command_line("--predict", f"mlflow:http://127.0.0.1:{closed_port()}/invocations")
    assert (code, out) == (3, "")
    assert "does not answer" in said
    code, _, said = command_line("--predict", "endpoint")
    assert code == 3
    assert "late has no release.endpoint; configure it, or give v2:URL or mlflow:URL" in said


def test_the_logs_can_answer_for_both_versions(gate: Gate, database: Database) -> None:
    text = CONFIG.replace("postgresql://nobody@127.0.0.1:1/none", database.url)
    Path("monitor.yaml").write_text(
        text.replace(
            "      url: store\n      table: logged\n      time: at\n      id: id\n", "      builtin: true\n"
        ).replace("p, threshold", "score, threshold")
    )
    given = rows(2000, seed=4)
    keys = [str(number) for number in range(2000)]
    write("inputs", given.append_column("request_id", pa.array(keys)))
    with psycopg.connect(database.dsn) as conn, conn.cursor() as cursor:
        log = (
            "INSERT INTO monitor.prediction_log (request_id, model, model_version, role, score)"
            " VALUES (%s, 'late', %s, %s, %s)"
        )
        for version, role, sign in (("7", "champion", 1), ("8", "shadow", -1)):
            said = 1 / (1 + np.exp(-sign * np.asarray(given["wind"])))
            cursor.executemany(log, [(k, version, role, float(p)) for k, p in zip(keys[:1500], said, strict=False)])
    code, out, _ = command_line("--predict", "log", "--champion", "log", "--label", "late", "--json")
    found = parts(out)
    assert code == 1
    assert found["regression"]["outcome"] == "fail"
    assert "rank correlation -1.000" in found["regression"]["figures"][0]
    run = ["gate", "late", "--candidate", "9", "--inputs", "inputs.parquet", "--predict", "log"]
    assert command(run) == 3, "nobody has shadowed as version 9"


BY_CLASS = CONFIG.replace("{score: p, threshold: 0.35}", "{scores: {sun: p_sun, rain: p_rain, fog: p_fog}}")
MINUTES = CONFIG.replace("{score: p, threshold: 0.35}", "{value: said}").replace(
    "costs: {false_positive: 7, false_negative: 13}", "costs: {under: 2, over: 1}"
)


def test_features_that_were_logged_otherwise_than_preprocessing_makes_them_fail_by_name(gate: Gate) -> None:
    given = rows(2000, seed=7)
    knots = np.asarray(given["wind"]) / 0.514
    write("inputs", given.append_column("knots", pa.array(knots)))
    code, out, _ = gate("equal", "--transform", "versions_of_late:features", "--json")
    assert parts(out)["preprocessing"] == {
        "name": "preprocessing",
        "outcome": "pass",
        "why": "3 features are what preprocessing makes of their raw inputs",
        "figures": [],
    }
    wind = given.column_names.index("wind")
    write("inputs", given.set_column(wind, "wind", pa.array(knots)).append_column("knots", pa.array(knots)))
    code, out, _ = gate("equal", "--transform", "versions_of_late:features", "--json")
    section = parts(out)["preprocessing"]
    assert (code, section["outcome"]) == (1, "fail")
    assert section["why"] == (
        "wind is not what its raw value says in 2,000 of 2,000 rows: always 1.94553 times as much"
    )
    code, _, said = gate("equal", "--transform", "versions_of_late:short")
    assert code == 3
    assert "versions_of_late:short returned no frame of 2000 rows" in said


@pytest.fixture(params=["by_class", "minutes"])
def other(request: pytest.FixtureRequest, gate: Gate) -> tuple[str, Gate]:
    """The gate for a model of three classes, and for one that predicts minutes."""
    kind: str = request.param
    Path("monitor.yaml").write_text(BY_CLASS if kind == "by_class" else MINUTES)
    versions: dict[str, Any] = {}
    exec(MODELS, versions)
    for name, count, seed in (("inputs", 6000, 1), ("train", 3000, 2)):
        given, rng = rows(count, seed=seed).drop_columns(["late"]), np.random.default_rng(seed + 10)
        said = np.asarray(versions[kind](given.to_pandas()))
        if kind == "by_class":
            place = (said.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
            truth = pa.array(np.array(["sun", "rain", "fog"])[place])
        else:
            truth = pa.array(said + rng.normal(0, 4, count))
        write(name, given.append_column("truth", truth))
        kept = pa.array(said.tolist())
        write("golden", given.append_column("prediction", kept).slice(0, 300))
    return kind, gate


@pytest.mark.parametrize(
    ("version", "part", "why"),
    [
        ("equal", None, ""),
        ("worn", "regression", "worse by more than"),
        ("swapped", "parity", "of 300 golden predictions moved by more than 1e-06"),
        ("nervous", "stability", "at noise of 1e-06 standard deviations"),
    ],
)
def test_models_of_many_classes_and_of_numbers_pass_and_fail_like_those_of_two_classes(
    other: tuple[str, Gate], version: str, part: str | None, why: str
) -> None:
    kind, gate = other
    files = ("--label", "truth", "--train", "train.parquet", "--golden", "golden.parquet")
    code, out, said = gate(f"{kind}_{version}", "--champion", f"versions_of_late:{kind}", *files, "--json")
    found = parts(out)
    assert set(found) == {"regression", "leakage", "parity", "stability"}, said
    assert found["leakage"]["outcome"] == "pass"
    if part is None:
        assert (code, {section["outcome"] for section in found.values()}) == (0, {"pass"})
    else:
        assert (code, found[part]["outcome"]) == (1, "fail")
        assert why in found[part]["why"]


def test_a_column_that_tells_one_of_many_classes_or_the_size_of_a_number_fails_by_name(other: tuple[str, Gate]) -> None:
    kind, gate = other
    training = pyarrow.parquet.read_table("train.parquet")
    truth = training["truth"].to_pylist()
    code = [1.0 if one == "fog" else 0.0 for one in truth] if kind == "by_class" else [2 * one for one in truth]
    write("train", training.append_column("code", pa.array(code)))
    inputs = pyarrow.parquet.read_table("inputs.parquet")
    write("inputs", inputs.append_column("code", pa.array(np.arange(6000.0))))
    _, out, _ = gate(f"{kind}_equal", "--label", "truth", "--train", "train.parquet", "--json")
    assert parts(out)["leakage"]["why"] == "code alone tells the label (AUC 1.000)"


def test_probabilities_of_the_wrong_number_of_classes_are_one_sentence(other: tuple[str, Gate]) -> None:
    kind, gate = other
    wrong = "minutes" if kind == "by_class" else "by_class"
    code, _, said = gate(f"versions_of_late:{wrong}")
    assert code == 3
    assert f"{wrong} returned shape" in said


def _told_afterwards(training: pa.Table, late: Any) -> pa.Table:
    times = [datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=number) for number in range(len(late))]
    closed = [at + timedelta(hours=1 if number % 10 == 0 else -1) for number, at in enumerate(times)]
    return training.append_column("at", pa.array(times)).append_column("closed_at", pa.array(closed))


LEAKS: dict[str, tuple[Callable[[pa.Table, Any], pa.Table], str]] = {
    "the label alone": (
        lambda training, late: training.append_column("code", pa.array(late + 0.0)),
        r"code alone tells the label \(AUC 1\.000\); code is not in production's rows",
    ),
    "ids by their prefix": (
        lambda training, late: training.append_column(
            "id", pa.array([f"{'ab'[y]}{i}" for i, y in enumerate(late * 1)])
        ),
        r"id is an id, and its order or spelling tells the label \(AUC 1\.000\)",
    ),
    "ids by their order": (
        lambda training, late: training.take(pa.array(np.argsort(late, kind="stable"))).append_column(
            "id", pa.array([str(i) for i in range(len(late))])
        ),
        r"id is an id, and its order or spelling tells the label \(AUC 1\.000\)",
    ),
    "times after the prediction": (
        _told_afterwards,
        r"closed_at lies after the prediction in 10\.0% of the rows",
    ),
    "rows of the test": (
        lambda training, _: pa.concat_tables([training, pyarrow.parquet.read_table("inputs.parquet").slice(0, 2000)]),
        r"10\.0% of the given inputs are rows of training, so regression flatters the candidate",
    ),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_every_kind_of_leak_fails_by_name_with_its_figure(gate: Gate, leak: str) -> None:
    made, said = LEAKS[leak]
    training = pyarrow.parquet.read_table("train.parquet")
    late = training["late"].to_numpy()
    write("train", made(training, late))
    if "closed_at" in (changed := pyarrow.parquet.read_table("train.parquet")).column_names:
        inputs = pyarrow.parquet.read_table("inputs.parquet")
        moments = pa.array([changed["closed_at"][0].as_py() + timedelta(minutes=i) for i in range(inputs.num_rows)])
        write("inputs", inputs.append_column("closed_at", moments))
    code, out, _ = gate("equal", *FULL, "--json")
    section = parts(out)["leakage"]
    assert (code, section["outcome"]) == (1, "fail")
    assert re.fullmatch(said, section["why"]), section["why"]
