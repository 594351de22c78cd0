"""Training files: Parquet, CSV or the result of a query, as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from monitor.source import Batch, CategoryValues, Floats, Ints, Kind, NumericValues, Values
from monitor.sources import arrow


class FrameError(Exception):
    """A training file cannot be used; the message is one sentence: what, which, what to do."""


def read_file(path: Path) -> pa.Table:
    """Return the rows of a Parquet or CSV file (``.csv``, ``.csv.gz``, ``.parquet``, ``.pq``)."""
    if not path.exists():
        raise FrameError(f"{path} does not exist; give the path of a Parquet or CSV file.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    try:
        if ".csv" in suffixes:
            return pyarrow.csv.read_csv(path)
        if suffixes and suffixes[-1] in (".parquet", ".pq"):
            return pyarrow.parquet.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise FrameError(f"{path} cannot be read ({_first_line(error)}); save it again as Parquet or CSV.") from error
    raise FrameError(f"{path} is neither .parquet nor .csv; convert it to one of them.")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def kind_of(column: pa.ChunkedArray) -> Kind:
    """Return what a column is to the statistics by its Arrow type: numbers are numeric, all else categorical."""
    kind = column.type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return Kind.NUMERIC if numeric else Kind.CATEGORICAL


def floats(name: str, column: pa.ChunkedArray) -> NumericValues:
    """Return a numeric column; text that is no number counts as unparseable."""
    whole = _whole(column)
    if pa.types.is_string(whole.type) or pa.types.is_large_string(whole.type):
        return arrow.parsed_numbers(whole)
    try:
        return arrow.numbers(whole)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FrameError(
            f"column {name} is {whole.type}, which is no number; declare its type or leave it out."
        ) from error


def categories(column: pa.ChunkedArray) -> CategoryValues:
    """Return a categorical column."""
    return arrow.categories(_whole(column))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def times(name: str, column: pa.ChunkedArray) -> Ints:
    """Return microseconds since the epoch, UTC; naive times are taken as UTC. Raises FrameError when unparseable."""
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = _parse_times(column)
        if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)), safe=False)
        else:
            raise pa.ArrowInvalid(f"type {column.type}")
    except pa.ArrowInvalid as error:
        example = next((str(v) for v in column.to_pylist() if v is not None), "nothing")
        raise FrameError(
            f"the time column {name} cannot be parsed (for example {example!r}); give ISO 8601 times."
        ) from error
    if column.null_count:
        raise FrameError(f"the time column {name} is empty in {column.null_count} rows; remove or repair these rows.")
    return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def _parse_times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.timestamp("us", tz="UTC"))
    except pa.ArrowInvalid:
        return column.cast(pa.timestamp("us"))


def labels(name: str, column: pa.ChunkedArray, classes: Sequence[str], positive: str | None) -> Floats:
    """Return labels as floats: 0/1 for two classes, the class index for many, NaN where missing."""
    if classes:
        place = {text: float(i) for i, text in enumerate(classes)}
        values = categories(column)
        unknown = [c for c in values.categories if c not in place]
        if unknown:
            raise FrameError(
                f"the target {name} has the class {unknown[0]!r}, which prediction.scores does not name; add it."
            )
        return np.array([*(place[c] for c in values.categories), np.nan])[values.codes]
    if pa.types.is_boolean(column.type):
        return np.asarray(column.cast(pa.int8()).cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    values = categories(column)
    meaning = {"true": 1.0, "t": 1.0, "yes": 1.0, "1": 1.0, "false": 0.0, "f": 0.0, "no": 0.0, "0": 0.0}
    table: list[float] = []
    for text in values.categories:
        if positive is not None:
            table.append(float(text == positive))
        elif text.strip().lower() in meaning:
            table.append(meaning[text.strip().lower()])
        else:
            raise FrameError(
                f"the target {name} holds {text!r}, neither true nor false; set prediction.positive to one class."
            )
    return np.array([*table, np.nan])[values.codes]


def batch_of(
    table: pa.Table,
    kinds: Mapping[str, Kind],
    *,
    time: Ints,
    score: Floats | None = None,
    scores: Floats | None = None,
    label: Floats | None = None,
) -> Batch:
    """Return the rows as one batch with the given feature columns."""
    columns: dict[str, Values] = {
        name: floats(name, table[name]) if kind is Kind.NUMERIC else categories(table[name])
        for name, kind in kinds.items()
    }
    return Batch(rows=table.num_rows, time=time, columns=columns, score=score, scores=scores, label=label)
