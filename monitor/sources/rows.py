"""Rows of a log: the statement that asks for them, and Arrow batches made into ours."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from psycopg import sql

from monitor.logtable import PredictionSection
from monitor.outcome import Task
from monitor.source import Batch, Bools, CategoryValues, Floats, NumericValues, Values
from monitor.sources import selection
from monitor.sources.arrow import Decoding, Vocabulary, ages, categories, decode, microseconds, vectors
from monitor.sources.labels import read_labels
from monitor.sources.logged import Log
from monitor.sources.selection import Field
from monitor.sources.truth import Truth


def select_rows(
    log: Log,
    relation: sql.Composable,
    condition: sql.Composable,
    fields: Sequence[Field],
    *,
    latest: Truth | None = None,
    limit: int | None = None,
) -> sql.Composable:
    """Return the statement for rows with their time, version and fields, each named so that ``batch_of`` finds it.

    ``latest`` keeps only the latest label of each row; ``limit`` draws uniformly by the hash of the id.
    """
    items = [sql.SQL("{} AS {}").format(log.moment_of("p"), sql.Identifier("monitor time"))]
    if log.version is not None:
        items.append(sql.SQL("{} AS {}").format(log.version_of("p"), sql.Identifier("monitor version")))
    for chosen in fields:
        own = chosen.name.startswith("monitor ")
        items.append(
            sql.SQL("{} AS {}").format(chosen.expression, sql.Identifier(chosen.name if own else f"f {chosen.name}"))
        )
    first: sql.Composable = sql.SQL("")
    order: sql.Composable = sql.SQL("")
    key: sql.Composable = sql.SQL("p.tableoid, p.ctid")
    if not selection.has_row_versions(log.table):
        key = sql.SQL("{}, {}").format(sql.Identifier("p", log.id.name), log.version_of("p"))
    if latest is not None and latest.table is not None:
        parts: list[sql.Composable] = []
        if latest.time is not None:
            parts.append(sql.SQL("{} DESC NULLS LAST").format(sql.Identifier("o", latest.time.name)))
        if selection.has_row_versions(latest.table):
            parts.append(sql.SQL("o.tableoid DESC, o.ctid DESC"))
        else:
            parts.append(sql.SQL("{}::text DESC").format(selection.value(latest.label, "o")))
        newest = sql.SQL(", ").join(parts)
        first = sql.SQL("DISTINCT ON ({})").format(key)
        order = sql.SQL(" ORDER BY {}, {}").format(key, newest)
    statement: sql.Composable = sql.SQL("SELECT {} {} FROM {} WHERE {}{}").format(
        first, sql.SQL(", ").join(items), relation, condition, order
    )
    if limit is None:
        return statement
    drawn = sql.SQL("hashtextextended({}, 0)").format(sql.Identifier("monitor id"))
    return sql.SQL("SELECT * FROM ({}) AS s ORDER BY {}, {} LIMIT {}").format(
        statement, drawn, sql.Identifier("monitor time"), sql.Literal(limit)
    )


ATTRIBUTE = "monitor attribute "


def recipe_of(fields: Sequence[Field], prediction: PredictionSection) -> str:
    """Return what changes whenever the same rows would become other values: expressions, decoding, cut-off, classes."""
    parts = [f"{field.name}={field.expression.as_string(None)}:{field.decoding.value}" for field in fields]
    text = "\n".join([*parts, prediction.model_dump_json()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def drawn(log: Log, condition: sql.Composable, halvings: int) -> sql.Composable:
    """Return the condition for one row in 2 ** ``halvings`` of those that fulfil ``condition``, by the hash of its id.

    Whatever is drawn so of features, labels and answers of other versions is of the same requests, and more halvings
    draw some of the same rows. Rows without an id are never drawn.
    """
    if not halvings:
        return condition
    limit = sql.Literal(-(1 << 63) + (1 << (64 - halvings)))
    id_ = sql.Identifier("p", log.id.name)
    return sql.SQL("{} AND hashtextextended({}::text, 0) < {}").format(condition, id_, limit)


def drawn_recipe(recipe: str, halvings: int) -> str:
    """Return the recipe of tiles whose rows were drawn: those of another share cannot be merged with them."""
    return f"{recipe}/{halvings}" if halvings else recipe


def id_field(log: Log) -> Field:
    """Return the field of the request id as text."""
    return Field(
        name="monitor id",
        expression=sql.SQL("{}::text").format(sql.Identifier("p", log.id.name)),
        decoding=Decoding.CATEGORY,
    )


def batch_of(
    arrow: pa.RecordBatch,
    prediction: PredictionSection,
    features: Sequence[Field],
    details: dict[str, Any],
    vocabularies: dict[str, Vocabulary] | None = None,
) -> Batch:
    """Return an Arrow batch of ``select_rows`` as ours; labels are counted into ``details``.

    ``vocabularies`` keeps the categories of each column from one batch of a read to the next.
    """
    names = set(arrow.schema.names)
    time = microseconds(arrow.column("monitor time"))
    columns: dict[str, Values] = {}
    embedded: dict[str, Floats] = {}
    for chosen in features:
        column = arrow.column(f"f {chosen.name}")
        columns.update(decode(chosen.name, column, chosen.decoding, time, vocabularies, chosen.words))
        if chosen.decoding is Decoding.LIST and chosen.dimensions != 0:
            found = vectors(column, chosen.dimensions)
            embedded |= {} if found is None else {chosen.name: found}
    score, scores, decision = _answers(arrow, prediction)
    label = delay = None
    if "monitor label" in names:
        classes = tuple(prediction.scores or ())
        label, wrong = read_labels(arrow.column("monitor label"), prediction.task, classes, prediction.positive)
        _count(details, "labels", int(np.isfinite(label).sum()))
        _count(details, "unparseable_labels", int(wrong.sum()))
    if "monitor known at" in names:
        age = ages(arrow.column("monitor known at"), time).values
        delay = np.where(np.isfinite(age), -86_400.0 * age, np.nan)
    attributes: dict[str, CategoryValues] = {}
    for name in arrow.schema.names:
        if name.startswith(ATTRIBUTE):
            attributes[name.removeprefix(ATTRIBUTE)] = categories(arrow.column(name))
    return Batch(
        rows=arrow.num_rows,
        time=time,
        columns=columns,
        score=score,
        scores=scores,
        decision=decision,
        label=label,
        label_delay=delay,
        ids=tuple(arrow.column("monitor id").to_pylist()) if "monitor id" in names else None,
        version=categories(arrow.column("monitor version")) if "monitor version" in names else None,
        attributes=attributes,
        vectors=embedded,
    )


def _answers(arrow: pa.RecordBatch, prediction: PredictionSection) -> tuple[Floats | None, Floats | None, Bools | None]:
    """Return score, scores of classes and decision; a decision that was not logged follows from the score."""
    names = set(arrow.schema.names)

    def number(role: str) -> Floats | None:
        return _number(arrow.column(f"f prediction {role}")) if f"f prediction {role}" in names else None

    score, scores, decision = number("score"), None, None
    if prediction.value is not None:
        score = number("value")
    if prediction.scores is not None:
        parts = [part for part in map(number, (f"scores.{name}" for name in prediction.scores)) if part is not None]
        if len(parts) == len(prediction.scores):
            scores = np.stack(parts, axis=1)
            score = scores.max(axis=1)
    if "f prediction label" in names and prediction.task is Task.BINARY:
        said, _ = read_labels(arrow.column("f prediction label"), Task.BINARY, positive=prediction.positive)
        if score is None:
            score = said  # a model that logs only its decision has the score 0 or 1
        cut = 0.5 if prediction.threshold is None else prediction.threshold
        decision = np.where(np.isnan(said), score >= cut, said == 1.0)
    return score, scores, decision


def _number(column: pa.Array) -> Floats:
    text = isinstance(column, pa.ExtensionArray) or pa.types.is_string(column.type)
    found = decode("", column, Decoding.NUMBER_TEXT if text else Decoding.NUMBER, np.zeros(0, np.int64))[""]
    assert isinstance(found, NumericValues)
    return found.values


def _count(details: dict[str, Any], name: str, more: int) -> None:
    details[name] = details.get(name, 0) + more
