"""Evidently's report: typed by the training profile, one bad column costs itself only, and pandas stays outside."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from monitor.inspection import ReportSchema, Rows, why_no_quality
from monitor.logtable import SourceSection
from monitor.outcome import Task
from monitor.reference import Reference, build_reference
from monitor.report import ReportError, ReportStoppedError, run_report
from monitor.source import Batch, CategoryValues, Floats, NumericValues, Values
from monitor.window import WindowSpec

ROWS = 400
EVIL = "</script><script>alert(1)</script>"


def numbers(values: Any) -> NumericValues:
    x = np.asarray(values, np.float64)
    return NumericValues(values=x, missing=np.isnan(x))


def texts(values: list[str | None]) -> CategoryValues:
    names = sorted({value for value in values if value is not None})
    codes = np.array([-1 if value is None else names.index(value) for value in values], np.int32)
    return CategoryValues(codes=codes, categories=names)


def batch(columns: Mapping[str, Values], **answers: Any) -> Batch:
    time = np.arange(ROWS, dtype=np.int64) * 3_600_000_000 + 1_356_998_400_000_000
    return Batch(rows=ROWS, time=time, columns=columns, **answers)


def reference_of(columns: Mapping[str, Values], task: Task, score: Floats, label: Floats) -> Reference:
    given = batch(columns, score=score, label=label)
    spec, created_at = WindowSpec(width=timedelta(days=1)), datetime(2013, 3, 1, tzinfo=UTC)
    return build_reference(given, model="m", version="1", task=task, spec=spec, created_at=created_at)


def parquet(columns: Mapping[str, Any]) -> bytes:
    target = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(dict(columns)), target)
    return target.getvalue()


def section(**changed: Any) -> SourceSection:
    usual = {
        "table": "serving.predictions",
        "time": "occurred_at",
        "id": "request_id",
        "prediction": {"score": "p_late", "threshold": 0.35},
        "outcome": {"table": "serving.outcomes", "id": "request_id", "label": "was_late", "matures_after": "2d"},
    }
    return SourceSection.model_validate({**usual, **changed})


def words(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return text[text.index("<header") : text.index("</header>")]


def test_bad_columns_are_left_out_with_their_reasons_and_the_rest_is_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    temp, score = rng.normal(50, 10, ROWS), rng.uniform(size=ROWS)
    label = (rng.uniform(size=ROWS) < score).astype(float)
    carrier = rng.choice(["AA", "UA", "DL"], ROWS).tolist()
    many = [f"flight {number}" for number in range(ROWS)]
    sometimes = np.where(rng.uniform(size=ROWS) < 0.5, np.nan, temp)
    training: dict[str, Values] = {
        "temp": numbers(temp),
        "price": numbers(np.round(temp, 2)),
        "small": numbers(temp.astype(np.uint8)),
        "flag": texts(["true" if t > 50 else "false" for t in temp]),
        "carrier": texts(list(carrier)),
        "tail": texts(list(many)),
        "sometimes": numbers(sometimes),
        "constant": numbers(np.ones(ROWS)),
        "never": numbers(temp),
        "vanished": numbers(temp),
        "when": numbers(temp),
        "endless": numbers(temp),
        "broken": numbers(temp),
        EVIL: texts([EVIL, "good"] * (ROWS // 2)),
    }
    stored = {
        "temp": temp,
        "price": [Decimal(f"{t:.2f}") for t in temp],
        "small": temp.astype(np.uint8),
        "flag": temp > 50,
        "carrier": carrier,
        "tail": many,
        "sometimes": pa.array([None if np.isnan(t) else int(t) for t in sometimes]),
        "constant": np.ones(ROWS),
        "never": temp,
        "vanished": temp,
        "when": [datetime(2013, 1, 1, tzinfo=UTC)] * ROWS,
        "endless": temp,
        "broken": ["no number"] * ROWS,
        EVIL: [EVIL, "good"] * (ROWS // 2),
        "p_late": score,
        "was_late": label > 0,
    }
    now = {name: values for name, values in training.items() if name != "vanished"}
    now["never"] = numbers(np.full(ROWS, np.nan))
    now["endless"] = numbers(np.where(np.arange(ROWS) == 7, np.inf, temp))
    now["temp"] = numbers(temp + 30)
    later = np.where(np.arange(ROWS) % 10 == 0, np.nan, label)  # not all labels have come
    target = tmp_path / "report.html"
    remarks = run_report(
        reference_of(training, Task.BINARY, score, label),
        parquet(stored),
        batch(now, score=score, label=later),
        section(),
        target,
        title=f"flights {EVIL}",
    )
    said = " ".join(remarks)
    assert "never is left out: it has no value in this window." in said
    assert "vanished is left out: this window does not have it." in said
    assert "when is left out: times count from" in said
    assert "endless has 1 infinite values" in said
    for kept in ("temp", "price", "small", "flag", "carrier", "tail", "sometimes", "constant", "p_late", "was_late"):
        assert f"{kept} is left out" not in said
    assert "quality" not in said
    page = target.read_text(encoding="utf-8")
    assert all(name in page for name in ("carrier", "p_late", "was_late", "Accuracy"))
    assert "never is left out" in words(target)
    assert "broken is left out: it has no value in the training sample" in said
    assert "script> is left out" not in said
    assert "alert(1)" in page
    assert "<script>alert" not in page  # Evidently itself escapes nothing
    assert "400 rows of the window against 400 rows of training" in words(target)


def test_a_regression_has_its_errors_and_leaves_nothing_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=ROWS)
    y = x + rng.normal(size=ROWS) / 3
    columns: dict[str, Values] = {"x": numbers(x)}
    target = tmp_path / "a page.html"
    outcome = {"table": "serving.outcomes", "id": "request_id", "value": "delay", "matures_after": "2d"}
    remarks = run_report(
        reference_of(columns, Task.REGRESSION, x, y),
        parquet({"x": x, "minutes": x, "delay": y}),
        batch(columns, score=x, label=y),
        section(prediction={"value": "minutes"}, outcome=outcome),
        target,
        title="regression",
    )
    assert remarks == []
    assert "MAE" in target.read_text(encoding="utf-8")


SCHEMA = ReportSchema(title="t", task=Task.BINARY, features={}, score="p", target="y")
GOOD = Rows(features={}, score=np.linspace(0, 1, ROWS), label=np.tile([0.0, 1.0], ROWS // 2))


@pytest.mark.parametrize(
    ("side", "why"),
    [
        (replace(GOOD, score=None), "has no scores of the model"),
        (replace(GOOD, label=None), "has 0 labels, and 30 are needed"),
        (replace(GOOD, label=np.full(ROWS, np.nan)), "has 0 labels, and 30 are needed"),
        (replace(GOOD, label=np.ones(ROWS)), "has labels of one class only"),
    ],
)
def test_quality_is_compared_only_where_both_sides_have_scores_and_labels(side: Rows, why: str) -> None:
    assert why_no_quality(GOOD, GOOD, SCHEMA) == ""
    assert why_no_quality(side, GOOD, SCHEMA) == f"the training sample {why}"
    assert why_no_quality(GOOD, side, SCHEMA) == f"this window {why}"


def test_a_report_of_nothing_is_refused_in_a_sentence(tmp_path: Path) -> None:
    x = np.linspace(0, 1, ROWS)
    columns: dict[str, Values] = {"x": numbers(x)}
    label = (x > 0.5).astype(float)
    with pytest.raises(ReportError, match=r"^no column can be compared\. x is left out: the training sample does not"):
        run_report(
            reference_of(columns, Task.BINARY, x, label),
            parquet({"other": x}),
            batch(columns),
            section(),
            tmp_path / "report.html",
            title="nothing",
        )


def test_a_report_is_given_up_when_the_process_ends(tmp_path: Path) -> None:
    x = np.linspace(0, 1, ROWS)
    columns: dict[str, Values] = {"x": numbers(x)}
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(ReportStoppedError):
        run_report(
            reference_of(columns, Task.BINARY, x, (x > 0.5).astype(float)),
            parquet({"x": x}),
            batch(columns),
            section(),
            tmp_path / "report.html",
            title="stopped",
            stopping=stopping,
        )
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_report_that_a_signal_to_all_of_us_ends_is_made_another_time(
    signal_number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.linspace(0, 1, ROWS)
    columns: dict[str, Values] = {"x": numbers(x)}
    struck = tmp_path / "python"  # in place of the interpreter: a child that the terminal's Ctrl-C reaches as well
    # a job in the background of a shell ignores Ctrl-C, and so would all that it starts
    strike = f"signal.signal({int(signal_number)}, signal.SIG_DFL); os.kill(os.getpid(), {int(signal_number)})"
    struck.write_text(f"#!{sys.executable}\nimport os, signal\n{strike}\n")
    struck.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(struck))
    with pytest.raises(ReportStoppedError):
        run_report(
            reference_of(columns, Task.BINARY, x, (x > 0.5).astype(float)),
            parquet({"x": x}),
            batch(columns),
            section(),
            tmp_path / "report.html",
            title="struck",
        )


def test_the_side_of_the_daemon_loads_neither_pandas_nor_evidently() -> None:
    program = (
        "import sys, monitor.report, monitor.charts, monitor.dispatcher, monitor.message\n"
        "from monitor.notification import channels\n"
        "channels.load()\n"
        "print([name for name in ('pandas', 'evidently', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_rare_value_is_in_no_report_and_a_common_or_listed_one_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=ROWS)
    people = ["Adelaide Q. Whistlethwaite", "Bartholomew Zuckerkandl", "Common", "Usual"]
    words = [*people[:2], *["Common", "Usual"] * ((ROWS - 2) // 2)]
    columns: dict[str, Values] = {"x": numbers(x), "who": texts(list(words))}
    now = {**columns, "who": texts(["Cornelius Featherstone", *words[1:]])}
    target = tmp_path / "report.html"
    run_report(
        reference_of(columns, Task.REGRESSION, x, x),
        parquet({"x": x, "who": words, "minutes": x, "delay": x}),
        batch(now, score=x, label=x),
        section(
            prediction={"value": "minutes"},
            outcome={"table": "o", "id": "id", "value": "delay", "matures_after": "2d"},
            shown_values={"who": "Bartholomew Zuckerkandl"},
        ),
        target,
        title="people",
    )
    page = target.read_text(encoding="utf-8")
    assert "Common" in page
    assert "cat#" in page
    assert "Zuckerkandl" in page
    for hidden in ("Whistlethwaite", "Featherstone"):
        assert hidden not in page
