"""Evidently's report on a training sample and a window's rows, made in a process of its own.

The parent (``run_report``) writes the rows into a folder; ``python -m monitor.report FOLDER OUTPUT.html`` reads them,
and writes the page (inspection.py), because Evidently takes seconds and 180 MB to import.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.disclosure import Disclosure
from monitor.inheritance import inherited
from monitor.inspection import ReportError, ReportSchema, Rows, make_report
from monitor.logtable import SourceSection
from monitor.message import plain
from monitor.outcome import Task
from monitor.reference import Reference
from monitor.source import Batch, CategoryValues, Kind, NumericValues, Values

__all__ = ["ReportError", "ReportStoppedError", "run_report", "schema_of"]

SECONDS = 600.0
CHECKED = 0.2  # seconds between two looks at whether to stop
MOST_COLUMNS = 200


class ReportStoppedError(ReportError):
    """The report was given up because the process ends; it can be made another time."""


def run_report(
    reference: Reference,
    sample: bytes,
    current: Batch,
    section: SourceSection,
    target: Path,
    *,
    title: str,
    stopping: threading.Event | None = None,
) -> list[str]:
    """Write the HTML report to ``target``; returns remarks on what was left out and why.

    ``sample`` is Parquet: training rows with features, answers and label under the names of the log. Imports neither
    pandas nor Evidently; raises ReportError.
    """
    schema = replace(schema_of(reference, section, title), shown=shown_values(reference, section, current))
    with TemporaryDirectory(prefix="monitor-report-") as name:
        folder = Path(name)
        (folder / "schema.json").write_text(json.dumps(_schema_to_json(schema)), encoding="utf-8")
        (folder / "reference.parquet").write_bytes(sample)
        _write_rows(folder, current, schema)
        command = [sys.executable, "-m", "monitor.report", str(folder), str(target)]
        environment = inherited(os.environ, DO_NOT_TRACK="1", OMP_NUM_THREADS="1")
        code, said = _supervise(command, environment, stopping or threading.Event())
        if code in (-signal.SIGTERM, -signal.SIGINT):  # as a terminal or a supervisor sends it to all of us
            raise ReportStoppedError("it was stopped; ask for it again.")
        if code:
            last = (said.strip().splitlines() or [f"it ended with code {code}"])[-1]
            raise ReportError(plain(last.removeprefix("monitor.report.ReportError: "), 300))
        remarks: list[str] = json.loads((folder / "remarks.json").read_text(encoding="utf-8"))
    return remarks


def _supervise(command: list[str], environment: dict[str, str], stopping: threading.Event) -> tuple[int, str]:
    """Return how the child ended and what it said on standard error; it is killed when it takes too long or we stop."""
    deadline = time.monotonic() + SECONDS
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as child:
        while True:
            try:
                _, said = child.communicate(timeout=CHECKED)
                return child.returncode, said
            except subprocess.TimeoutExpired:
                if not stopping.is_set() and time.monotonic() < deadline:
                    continue
                child.kill()
            if stopping.is_set():
                raise ReportStoppedError("it was stopped; ask for it again.")
            raise ReportError(f"it took longer than {SECONDS:.0f} seconds; try a shorter window.")


def schema_of(reference: Reference, section: SourceSection, title: str) -> ReportSchema:
    """Return what a report has to know of a model; of very many features the most important ones."""
    names = [column.name for column in reference.layout.columns if column.part == "input"]
    names.sort(key=lambda name: -reference.importance.get(name, 0.0))
    notes = []
    if len(names) > MOST_COLUMNS:
        notes.append(f"Of {len(names)} features the {MOST_COLUMNS} most important ones are shown.")
    chosen = set(names[:MOST_COLUMNS])
    prediction, outcome = section.prediction, section.outcome
    scores = prediction.scores or {}
    return ReportSchema(
        title=title,
        task=reference.task,
        features={column.name: column.kind for column in reference.layout.columns if column.name in chosen},
        score=prediction.score or prediction.value or "",
        target="" if outcome is None else outcome.label or outcome.value or "",
        threshold=prediction.threshold,
        positive=prediction.positive,
        classes=tuple(scores),
        class_columns=tuple(scores.values()),
        notes=tuple(notes),
    )


def shown_values(reference: Reference, section: SourceSection, current: Batch) -> dict[str, list[str]]:
    """Return by category which values the page may show; a category of which all may be shown is left out."""
    disclosure = Disclosure(reference=reference, listed=section.listed_values)
    shown: dict[str, list[str]] = {}
    for name, values in current.columns.items():
        if isinstance(values, CategoryValues):
            rows = np.bincount(values.codes[values.codes >= 0], minlength=len(values.categories)).tolist()
            found = disclosure.open(name, zip(values.categories, rows, strict=True))
            if found is not None:
                shown[name] = sorted(found)
    return shown


def _schema_to_json(schema: ReportSchema) -> dict[str, Any]:
    return {**vars(schema), "features": dict(schema.features), "shown": dict(schema.shown)}


def _schema_from_json(data: Mapping[str, Any]) -> ReportSchema:
    tuples = {name: tuple(data[name]) for name in ("classes", "class_columns", "notes")}
    features = {name: Kind(kind) for name, kind in data["features"].items()}
    return ReportSchema(**{**data, **tuples, "task": Task(data["task"]), "features": features})


def _write_rows(folder: Path, batch: Batch, schema: ReportSchema) -> None:
    """Write a batch as arrays without pickles; categories are in a file of JSON beside them."""
    arrays: dict[str, NDArray[Any]] = {}
    names: list[Any] = []
    for number, name in enumerate(schema.features):
        values = batch.columns.get(name)
        if values is None:
            continue
        numeric = isinstance(values, NumericValues)
        arrays[str(number)] = values.values if isinstance(values, NumericValues) else values.codes
        names.append([number, name, None if numeric else list(values.categories)])  # type: ignore[union-attr]  # checked above
    score = batch.score if batch.scores is None else batch.scores
    arrays |= {key: values for key, values in (("score", score), ("label", batch.label)) if values is not None}
    np.savez(folder / "current.npz", **arrays)  # type: ignore[arg-type]  # numpy's stubs take a keyword for allow_pickle
    (folder / "current.json").write_text(json.dumps(names), encoding="utf-8")


def _read_rows(folder: Path) -> Rows:
    features: dict[str, Values] = {}
    with np.load(folder / "current.npz") as arrays:
        for number, name, categories in json.loads((folder / "current.json").read_text(encoding="utf-8")):
            x = arrays[str(number)]
            features[name] = (
                NumericValues(values=x, missing=np.isnan(x))
                if categories is None
                else CategoryValues(codes=x, categories=categories)
            )
        score, label = (arrays[key] if key in arrays.files else None for key in ("score", "label"))
    return Rows(features=features, score=score, label=label)


def read_sample(sample: Path, schema: ReportSchema) -> Rows:
    """Return the training rows of a Parquet file, each feature decoded as production's; troubles are by feature."""
    import pyarrow as pa
    import pyarrow.parquet

    from monitor.sources import frame

    table = pyarrow.parquet.read_table(sample)
    features: dict[str, Values] = {}
    troubles: dict[str, str] = {}
    for name, kind in schema.features.items():
        try:
            features[name] = _decode(table, name, kind)
        except (frame.FrameError, pa.ArrowException, KeyError, ValueError) as error:
            troubles[name] = str(error.args[0] if error.args else error)
    score = label = None
    columns = schema.class_columns or ((schema.score,) if schema.score else ())
    try:
        if columns and set(columns) <= set(table.column_names):
            found = [frame.floats(column, table[column]).values for column in columns]
            score = np.column_stack(found) if schema.classes else found[0]
        if schema.target in table.column_names:
            column = table[schema.target]
            label = (
                frame.floats(schema.target, column).values
                if schema.task is Task.REGRESSION
                else frame.labels(schema.target, column, schema.classes, schema.positive)
            )
    except frame.FrameError as error:
        troubles[schema.target or schema.score] = str(error)
    return Rows(features=features, score=score, label=label, troubles=troubles)


def _decode(table: Any, name: str, kind: Kind) -> Values:
    import pyarrow as pa
    import pyarrow.compute as pc

    from monitor.sources import arrow, frame

    if name in table.column_names:
        column = table[name]
        if pa.types.is_temporal(column.type):
            raise ValueError("times count from the time of their row, which the training sample does not keep")
        return frame.floats(name, column) if kind is Kind.NUMERIC else frame.categories(column)
    base = arrow.base_of(name)
    if base not in table.column_names:
        raise ValueError("the training sample does not have it")
    whole = pa.concat_arrays(table[base].chunks) if table[base].num_chunks != 1 else table[base].chunk(0)
    if pa.types.is_string(whole.type) or pa.types.is_large_string(whole.type):
        if name.endswith(arrow.LENGTH):
            return arrow.numbers(pc.utf8_length(whole))
        shares = arrow.decode(base, whole, arrow.Decoding.TEXT, np.zeros(len(whole), np.int64))
        if name not in shares:
            raise ValueError("the training sample does not keep which words were known")
        return shares[name]
    return arrow.decode(base, whole, arrow.Decoding.LIST, np.zeros(len(whole), np.int64))[name]


def main(folder: Path, target: Path) -> None:
    """Make the report of a folder that ``run_report`` wrote."""
    import warnings

    os.nice(10)  # a report can wait; evaluations and the monitored machine cannot
    os.environ["DO_NOT_TRACK"] = "1"  # Evidently calls home otherwise
    warnings.simplefilter("ignore")  # of libraries, about each other
    schema = _schema_from_json(json.loads((folder / "schema.json").read_text(encoding="utf-8")))
    try:
        reference = read_sample(folder / "reference.parquet", schema)
        remarks = make_report(reference, _read_rows(folder), schema, target)
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed here; reports need the full image or `pip install evidently`.")
    except ReportError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename or target} cannot be used ({error.strerror}); give another place.")
    (folder / "remarks.json").write_text(json.dumps(remarks), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
