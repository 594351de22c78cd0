"""What a report shows: two samples of rows, typed alike, looked at by Evidently column by column.

Evidently sees types its own way, leaves out what it does not recognise and fails as a whole for one bad column: so it
gets floats and texts only, with an explicit definition, and each column is tried alone first. What is left out is said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.disclosure import pseudonym
from monitor.message import plain
from monitor.outcome import Task
from monitor.source import Floats, Kind, NumericValues, Values

MOST_ROWS = 10_000  # of each side
MOST_CATEGORIES = 100
FEWEST_LABELS = 30
POSITIVE, NEGATIVE, OTHER = "positive", "negative", "(other)"
PREDICTED = "predicted class"


class ReportError(Exception):
    """No report can be made; one sentence: what, which, what to do."""


@dataclass(frozen=True, kw_only=True)
class ReportSchema:
    """What the columns are: features with their kinds, and the log's names of score and target ("" without)."""

    title: str
    task: Task
    features: Mapping[str, Kind]
    score: str = ""
    target: str = ""
    threshold: float | None = None
    positive: str | None = None
    classes: tuple[str, ...] = ()
    class_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shown: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Of each category whose rare values are hidden, the values that may be shown."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One side of the comparison: features, and as floats the score (rows × classes for many) and the label."""

    features: Mapping[str, Values]
    score: Floats | None = None
    label: Floats | None = None
    troubles: Mapping[str, str] = field(default_factory=dict)
    """Why a feature is not there."""


def make_report(reference: Rows, current: Rows, schema: ReportSchema, target: Path) -> list[str]:
    """Write the page and return what was left out and why; imports pandas and Evidently, so never in the daemon.

    At most 10,000 rows of each side are looked at. Evidently's own thresholds flag columns there; they know nothing of
    the sample's size or of what is usual, so the page says that alerts do not follow them.
    """
    import pandas as pd

    remarks = list(schema.notes)
    sides = [_columns(rows, schema, remarks if rows is current else []) for rows in (reference, current)]
    rng = np.random.default_rng(0)
    frames = [_sampled(pd.DataFrame(side), rng) for side in sides]
    troubles = {name: _trouble(name, frames, reference.troubles) for name in _wanted(schema)}
    kept = []
    # Evidently is loaded only if there is something to show it
    for name in [name for name, trouble in troubles.items() if not trouble]:
        troubles[name] = _fails_alone(name, frames)
        kept += [] if troubles[name] else [name]
    remarks += [f"{plain(name, 80)} is left out: {why}." for name, why in troubles.items() if why]
    if not kept:
        raise ReportError(f"no column can be compared. {' '.join(remarks)}")
    no_quality = why_no_quality(reference, current, schema)
    if no_quality and schema.target:
        remarks.append(f"There is no part on the quality of predictions: {no_quality}.")
    shown = _harmless(list(frames[1].columns))
    named = replace(schema, score=shown.get(schema.score, ""), target=shown.get(schema.target, ""))
    page = _page(
        [frame.rename(columns=shown) for frame in frames],
        [shown[name] for name in kept],
        None if no_quality else named,
        remarks,
    )
    target.write_text(_with_banner(page, schema, remarks, [len(f) for f in frames]), encoding="utf-8")
    return remarks


def harmless(text: str) -> str:
    """Return a text that Evidently may write into its page: it escapes nothing, so a value could end its script.

    >>> harmless("a</script><script>b")
    'a‹/script›‹script›b'
    """
    return plain(text, 120).replace("<", "‹").replace(">", "›")


def _harmless(names: Sequence[str]) -> dict[str, str]:
    """Names as they may be shown, by name; no two become the same."""
    shown: dict[str, str] = {}
    for name in names:
        wanted = harmless(name)
        taken = sum(other == wanted or other.startswith(f"{wanted} (") for other in shown.values())
        shown[name] = f"{wanted} ({taken + 1})" if taken else wanted
    return shown


def _fails_alone(name: str, frames: Sequence[Any]) -> str:
    """Why Evidently cannot compare a column, "" if it can."""
    from evidently import Report
    from evidently.metrics import ValueDrift
    from evidently.presets import ValueStats

    try:
        reference, current = _datasets(frames, [name], {})
        Report([ValueDrift(column=name), ValueStats(column=name)]).run(current, reference)
    except Exception as error:  # noqa: BLE001  # one column must never cost the whole report
        return f"Evidently cannot compare it ({type(error).__name__}: {plain(str(error), 120)})"
    return ""


def _page(frames: Sequence[Any], kept: Sequence[str], judged: ReportSchema | None, remarks: list[str]) -> str:
    """Evidently's HTML with as many parts as it manages; what fails is added to the remarks."""
    from evidently import Report
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    columns = list(kept)
    attempts = [
        [DataDriftPreset(columns=columns), DataSummaryPreset(columns=columns)],
        [DataDriftPreset(columns=columns)],
    ]
    tasks: dict[str, Any] = {}
    if judged is not None:
        quality, tasks, extra = _quality(judged)
        columns = list(dict.fromkeys([*columns, *extra]))
        attempts.insert(0, [*attempts[0], quality])
    reference, current = _datasets(frames, columns, tasks)
    for parts in attempts:
        try:
            return str(Report(parts).run(current, reference).get_html_str(as_iframe=False))
        except Exception as error:  # noqa: BLE001  # less of a report is better than none
            failure = f"Evidently failed ({type(error).__name__}: {plain(str(error), 120)}), so a part is missing."
            remarks.append(failure)
    raise ReportError(f"Evidently made no part of it. {' '.join(remarks)}")


def _datasets(frames: Sequence[Any], columns: list[str], tasks: Mapping[str, Any]) -> list[Any]:
    from evidently import DataDefinition, Dataset

    numeric = [name for name in columns if frames[1][name].dtype.kind == "f"]
    categorical = [name for name in columns if name not in numeric]
    definition = DataDefinition(numerical_columns=numeric, categorical_columns=categorical, **tasks)
    return [Dataset.from_pandas(frame[columns], data_definition=definition) for frame in frames]


def _wanted(schema: ReportSchema) -> list[str]:
    answers = [schema.score, *schema.class_columns, schema.target]
    return [*schema.features, *(name for name in answers if name and name not in schema.features)]


def _columns(rows: Rows, schema: ReportSchema, remarks: list[str]) -> dict[str, NDArray[Any]]:
    """Everything by name: floats without infinities, and texts with None for what is missing."""
    columns: dict[str, NDArray[Any]] = {}
    for name, values in rows.features.items():
        if isinstance(values, NumericValues):
            infinite = int(np.isinf(values.values).sum())
            if infinite:
                remarks.append(f"{plain(name, 80)} has {infinite:,} infinite values, which are left out.")
            columns[name] = np.where(np.isfinite(values.values), values.values, np.nan)
        else:
            shown = schema.shown.get(name)
            named = [v if shown is None or v in shown else pseudonym(name, v) for v in values.categories]
            columns[name] = np.array([*map(harmless, named), None], object)[values.codes]
    if rows.score is not None:
        matrix = rows.score.reshape(len(rows.score), -1)
        for name, score in zip(schema.class_columns or (schema.score,), matrix.T, strict=False):
            columns[name] = np.where(np.isfinite(score), score, np.nan)
    if rows.label is not None and schema.target:
        if schema.task is Task.REGRESSION:
            columns[schema.target] = rows.label
        else:
            words = np.array([*map(harmless, schema.classes or (NEGATIVE, POSITIVE)), None], object)
            known = np.isfinite(rows.label)
            columns[schema.target] = words[np.where(known, rows.label, -1).astype(np.int64)]
    if schema.classes and rows.score is not None:
        words = np.array([*map(harmless, schema.classes)], object)
        columns[PREDICTED] = words[np.nan_to_num(rows.score, nan=-np.inf).argmax(axis=1)]
    return columns


def _sampled(frame: Any, rng: np.random.Generator) -> Any:
    """At most MOST_ROWS rows, chosen evenly."""
    if len(frame) > MOST_ROWS:
        frame = frame.iloc[np.sort(rng.choice(len(frame), MOST_ROWS, replace=False))].reset_index(drop=True)
    return frame


def _trouble(name: str, frames: Sequence[Any], troubles: Mapping[str, str]) -> str:
    """Why a column cannot be compared, "" if it may; many categories are folded in place."""
    reference, current = frames
    if name in troubles:
        return troubles[name].rstrip(".")
    for frame, where in ((reference, "the training sample"), (current, "this window")):
        if name not in frame.columns:
            return f"{where} does not have it"
        if not frame[name].notna().any():
            return f"it has no value in {where}"
    if reference[name].dtype.kind != current[name].dtype.kind:
        return "it has numbers on one side and texts on the other"
    if reference[name].dtype.kind != "f":
        frequent = reference[name].value_counts().index[:MOST_CATEGORIES]
        for frame in frames:
            rare = frame[name].notna() & ~frame[name].isin(frequent)
            if reference[name].nunique() > MOST_CATEGORIES:
                frame.loc[rare, name] = OTHER
    return ""


def why_no_quality(reference: Rows, current: Rows, schema: ReportSchema) -> str:
    """Return why the quality of predictions cannot be compared, "" if it can."""
    for rows, where in ((reference, "the training sample"), (current, "this window")):
        if rows.score is None:
            return f"{where} has no scores of the model"
        labels = np.empty(0) if rows.label is None else rows.label[np.isfinite(rows.label)]
        if len(labels) < FEWEST_LABELS:
            return f"{where} has {len(labels)} labels, and {FEWEST_LABELS} are needed"
        if schema.task is not Task.REGRESSION and len(np.unique(labels)) < 2:
            return f"{where} has labels of one class only"
    return ""


def _quality(schema: ReportSchema) -> tuple[Any, dict[str, Any], list[str]]:
    """Evidently's preset for the task, its part of the definition, and the columns it looks at."""
    from evidently import BinaryClassification, MulticlassClassification, Regression
    from evidently.presets import ClassificationPreset, RegressionPreset

    target = schema.target
    match schema.task:
        case Task.REGRESSION:
            errors = Regression(target=target, prediction=schema.score)
            return RegressionPreset(), {"regression": [errors]}, [target, schema.score]
        case Task.MULTICLASS:
            many = MulticlassClassification(target=target, prediction_labels=PREDICTED)
            return ClassificationPreset(), {"classification": [many]}, [target, PREDICTED]
        case Task.BINARY:
            two = BinaryClassification(target=target, prediction_probas=schema.score, pos_label=POSITIVE)
            preset = ClassificationPreset(probas_threshold=schema.threshold)
            return preset, {"classification": [two]}, [target, schema.score]


def _with_banner(page: str, schema: ReportSchema, remarks: Sequence[str], rows: Sequence[int]) -> str:
    items = "".join(f"<li>{escape(remark)}</li>" for remark in remarks)
    banner = (
        '<header style="font: 15px/1.5 sans-serif; padding: 16px 24px; background: #f2f4f6; color: #1d2126;">'
        f"<h1 style='font-size: 20px; margin: 0;'>{escape(plain(schema.title, 200))}</h1>"
        f"<p>{rows[1]:,} rows of the window against {rows[0]:,} rows of training. Columns are flagged by Evidently's "
        "fixed thresholds, which know neither the number of rows nor what is usual: alerts do not follow them.</p>"
        f"{f'<ul>{items}</ul>' if items else ''}</header>"
    )
    head, body, rest = page.partition("<body>")
    return f"{head}{body}{banner}{rest}" if body else banner + page
