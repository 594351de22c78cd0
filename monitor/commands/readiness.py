"""``monitor readiness``: whether a training set holds what production will ask, with an exit code for CI."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer

from monitor import gate as gates
from monitor.command import CommandError, ConfigOption, JsonOption, configuration, console, plain, say
from monitor.commands.gate import CODES, write_report
from monitor.logtable import FeatureType
from monitor.outcome import Task
from monitor.readiness import Columns, assess, document
from monitor.source import Batch, Floats, Ints
from monitor.sources import frame
from monitor.sources.arrow import Decoding
from monitor.sources.frame import FrameError

DECODINGS = {
    FeatureType.NUMERIC: Decoding.NUMBER,
    FeatureType.CATEGORICAL: Decoding.CATEGORY,
    FeatureType.BOOLEAN: Decoding.CATEGORY,
    FeatureType.TIMESTAMP: Decoding.AGE,
    FeatureType.TEXT: Decoding.CATEGORY,
}
MOST_CLASSES = 20  # whole numbers up to which a label without a configuration is a class


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command("readiness")(readiness)


@dataclass(kw_only=True)
class _Meaning:
    """Which column is what; without a model of the configuration as the options and the files say."""

    features: Mapping[str, Decoding] | None = None
    label: str | None = None
    time: str | None = None
    positive: str | None = None
    classes: tuple[str, ...] = ()
    task: Task | None = None
    other: set[str] = field(default_factory=set)


def readiness(
    train: Annotated[Path, typer.Option("--train", help="Rows that the model shall be trained on; Parquet or CSV.")],
    production: Annotated[Path, typer.Option("--production", help="Rows that production asks; Parquet or CSV.")],
    model: Annotated[
        str | None, typer.Argument(help="Model of the configuration, whose features, label and time are meant.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="Column with the truth.")] = None,
    positive: Annotated[str | None, typer.Option("--positive", help="The label's positive class.")] = None,
    time: Annotated[str | None, typer.Option("--time", help="Column with the time of a row.")] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Column that is no feature; repeatable.")] = None,
    most: Annotated[float, typer.Option("--most", help="Share of traffic that training need not cover.")] = 0.01,
    report: Annotated[Path | None, typer.Option("--report", "-o", help="Write a report, .md or .html.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compare a training set with production before training: 0 ready, 1 something is missing, 2 could not tell."""
    if report is not None and report.suffix not in (".md", ".html"):
        raise CommandError(f"--report {report} is neither .md nor .html; give one of them.")
    if not 0 <= most < 1:
        raise CommandError(f"--most {most:g} is no share of traffic; give one from 0 to below 1, such as 0.01.")
    meaning = _Meaning() if model is None else _configured(model, config)
    meaning.label, meaning.time = label or meaning.label, time or meaning.time
    meaning.positive = positive or meaning.positive
    meaning.other |= set(ignore or ())
    try:
        tables = [frame.read_file(path) for path in (train, production)]
        for path, table in zip((train, production), tables, strict=True):
            if not table.num_rows:
                raise FrameError(f"{path} has no rows; give a file with rows.")
        for name in ignore or ():
            if not any(name in table.column_names for table in tables):
                raise FrameError(f"neither file has the column {name}, which --ignore names; leave it out.")
        if label is not None and label not in tables[0].column_names:
            raise FrameError(f"{train} has no column {label}, which --label names.")
        if time is not None and not all(time in table.column_names for table in tables):
            raise FrameError(f"--time {time} must be a column of both files.")
        columns, features, remarks = _common(tables[0], tables[1], meaning)
        task = meaning.task or _task(tables[0], meaning)
        batches = [_batch(table, features, meaning, task) for table in tables]
    except FrameError as error:
        raise CommandError(f"Readiness cannot be judged: {error}") from error
    timed = meaning.time is not None and all(meaning.time in table.column_names for table in tables)
    found = assess(
        batches[0], batches[1], columns, labelled=meaning.label is not None, task=task, most=most, timed=timed
    )
    outcome = gates.overall(found.sections)
    title = f"readiness of {train.name} for {production.name}"
    if report is not None:
        write_report(report, title, outcome, found.sections)
    if as_json:
        sections = [asdict(one) for one in found.sections]
        print(json.dumps({"outcome": outcome, **document(found), "sections": sections}, default=plain, indent=2))
    else:
        console().print(f"{title}: {outcome}", markup=False, soft_wrap=True)
        for section in found.sections:
            console().print(f"  {section.name}: {section.outcome}: {section.why}", markup=False, soft_wrap=True)
            for figure in section.figures:
                console().print(f"    {figure}", markup=False, soft_wrap=True)
    for remark in remarks:
        say(remark)
    return CODES[outcome]


def _configured(model: str, config: Path | None) -> _Meaning:
    """Return what the configuration says of a model; its database is not asked."""
    sections = configuration(config).models
    if model not in sections:
        raise CommandError(f"There is no model {model}; the configuration has {', '.join(sections)}.")
    source = sections[model].source
    features = None
    if source.features != "auto":
        features = {n: DECODINGS[s.type] for n, s in source.features.items() if s.type in DECODINGS}
    prediction, outcome = source.prediction, source.outcome
    other = {source.id, source.version, source.role, source.logged_at, *prediction.columns().values()}
    return _Meaning(
        features=features,
        label=None if outcome is None else (outcome.label or outcome.value),
        time=source.time,
        positive=prediction.positive,
        classes=tuple(prediction.scores or ()),
        task=prediction.task,
        other={name for name in other if name is not None},
    )


def _common(train: pa.Table, production: pa.Table, meaning: _Meaning) -> tuple[Columns, dict[str, Decoding], list[str]]:
    """Return what the files have in common: the columns, how each is decoded, and remarks on those left out."""
    without = meaning.other | {name for name in (meaning.label, meaning.time) if name is not None}
    names = [[n for n in table.column_names if n not in without] for table in (train, production)]
    if meaning.features is not None:
        absent = [n for n in meaning.features if n not in train.column_names and n not in production.column_names]
        if absent:
            raise FrameError(f"neither file has the feature {absent[0]} of the configuration; add it or correct it.")
        names = [[n for n in some if n in meaning.features] for some in names]
    remarks, different = [], []
    features: dict[str, Decoding] = {}
    for name in (n for n in names[1] if n in names[0]):
        here = _decoding(train.schema.field(name).type)
        there = _decoding(production.schema.field(name).type)
        wanted = None if meaning.features is None else meaning.features[name]
        if wanted is None and here != there:
            kinds = (
                f"{train.schema.field(name).type} in training and {production.schema.field(name).type} in production"
            )
            different.append(f"{name}: {kinds}")
            continue
        decoding = wanted or here
        if decoding is None or (decoding is Decoding.AGE and meaning.time is None):
            remarks.append(f"Not compared: {name} is {train.schema.field(name).type}; --ignore {name} says so.")
        elif decoding is Decoding.CATEGORY and frame.is_diverse(production, name):
            remarks.append(f"Not compared: {name} hardly repeats a value, so it is an id or a text.")
        else:
            features[name] = decoding
    columns = Columns(
        missing=[n for n in names[1] if n not in names[0]],
        extra=[n for n in names[0] if n not in names[1]],
        different=different,
    )
    return columns, features, remarks


def _decoding(kind: pa.DataType) -> Decoding | None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Decoding.CATEGORY
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Decoding.NUMBER
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Decoding.AGE
    return None


def _task(train: pa.Table, meaning: _Meaning) -> Task:
    if meaning.label is None or meaning.label not in train.column_names:
        return Task.BINARY
    column = train[meaning.label]
    distinct = pc.unique(column.drop_null())
    if len(distinct) <= 2:
        if meaning.positive is None and _decoding(column.type) is Decoding.CATEGORY:
            meaning.classes = () if pa.types.is_boolean(column.type) else _names(distinct)
        return Task.MULTICLASS if meaning.classes else Task.BINARY
    if _decoding(column.type) is Decoding.CATEGORY or (
        pa.types.is_integer(column.type) and len(distinct) <= MOST_CLASSES
    ):
        meaning.classes = _names(distinct)
        return Task.MULTICLASS
    return Task.REGRESSION


def _names(distinct: pa.Array) -> tuple[str, ...]:
    return tuple(sorted(str(value) for value in distinct.to_pylist()))


def _batch(table: pa.Table, features: Mapping[str, Decoding], meaning: _Meaning, task: Task) -> Batch:
    moments: Ints = np.arange(table.num_rows, dtype=np.int64)  # without a time, the order of the file
    if meaning.time is not None and meaning.time in table.column_names:
        moments = frame.times(meaning.time, table[meaning.time])
    label: Floats | None = None
    if meaning.label is not None and meaning.label in table.column_names:
        column = table[meaning.label]
        if task is Task.REGRESSION:
            label = frame.floats(meaning.label, column).values
        else:
            if pa.types.is_integer(column.type) and meaning.classes:
                column = column.cast(pa.string())
            label = frame.labels(meaning.label, column, meaning.classes, meaning.positive)
    return frame.batch_of(table, features, time=moments, label=label)
