"""Training files: Parquet, CSV or the result of a query, as one batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from monitor.outcome import Task
from monitor.source import Batch, CategoryValues, Floats, Ints, NumericValues, Values
from monitor.sources import arrow
from monitor.sources.arrow import Decoding
from monitor.sources.labels import read_labels

DELIMITERS = (";", "\t", "|")  # of a CSV without commas
MOST_VALUES = 1000  # a text of more distinct values in training is counted by its length


class FrameError(Exception):
    """A training file cannot be used; the message is one sentence: what, which, what to do."""


def read_file(path: Path) -> pa.Table:
    """Return the rows of a Parquet or CSV file (``.csv``, ``.csv.gz``, ``.parquet``, ``.pq``)."""
    if not path.exists():
        raise FrameError(f"{path} does not exist; give the path of a Parquet or CSV file.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    try:
        if ".csv" in suffixes:
            return _usable(path, _read_csv(path))
        if suffixes and suffixes[-1] in (".parquet", ".pq"):
            return _usable(path, pyarrow.parquet.read_table(path))
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise FrameError(f"{path} cannot be read ({_first_line(error)}); save it again as Parquet or CSV.") from error
    raise FrameError(f"{path} is neither .parquet nor .csv; convert it to one of them.")


def _read_csv(path: Path) -> pa.Table:
    table = pyarrow.csv.read_csv(path)
    if table.num_columns == 1:
        for delimiter in DELIMITERS:
            if delimiter in table.column_names[0]:
                return pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter))
    for field in table.schema:
        if pa.types.is_binary(field.type):  # what the reader makes of bytes that are no text
            raise FrameError(f"{path} holds bytes in column {field.name} that are no UTF-8 text; save it as UTF-8.")
    return table


def _usable(path: Path, table: pa.Table) -> pa.Table:
    names = table.column_names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise FrameError(f"{path} has the column {twice} more than once; keep one of them.")
    return table


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


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


def times(name: str, column: pa.ChunkedArray, *, empty: bool = False) -> Ints:
    """Return microseconds since the epoch, UTC; naive times are taken as UTC, 0 where ``empty`` allows there is none.

    Raises FrameError for what is no time.
    """
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
    if column.null_count and not empty:
        raise FrameError(f"the time column {name} is empty in {column.null_count} rows; remove or repair these rows.")
    return np.asarray(column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def _parse_times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.timestamp("us", tz="UTC"))
    except pa.ArrowInvalid:
        return column.cast(pa.timestamp("us"))


def labels(name: str, column: pa.ChunkedArray, classes: Sequence[str], positive: str | None) -> Floats:
    """Return labels as they are read from the log: 0/1 for two classes, the class index for many, NaN where missing.

    Raises FrameError for what is no label: in training a row with a strange label is a mistake, not bad luck.
    """
    whole = _whole(column)
    found, wrong = read_labels(whole, Task.MULTICLASS if classes else Task.BINARY, classes, positive)
    if wrong.any():
        strange = str(whole[int(wrong.argmax())].as_py())
        if classes:
            raise FrameError(
                f"the target {name} has the class {strange!r}, which prediction.scores does not name; add it."
            )
        raise FrameError(
            f"the target {name} holds {strange!r}, neither true nor false; set prediction.positive to one class."
        )
    return found


def batch_of(
    table: pa.Table,
    features: Mapping[str, Decoding],
    *,
    time: Ints,
    score: Floats | None = None,
    scores: Floats | None = None,
    label: Floats | None = None,
    attributes: Sequence[str] = (),
    words: dict[str, tuple[int, ...]] | None = None,
) -> Batch:
    """Return the rows as one batch with the given features, each decoded as the log's own column is.

    ``attributes`` are the columns that rows are watched apart by. ``words`` keeps the words that the first rows made
    known of each text; without it, shares of unknown words are not counted.
    """
    columns: dict[str, Values] = {}
    embedded: dict[str, Floats] = {}
    for name, decoding in features.items():
        if name in columns:
            continue  # a list gave its length and norm at once
        column = table[base_of(name, table.column_names) or name]
        whole = _whole(column)
        match decoding:
            case Decoding.NUMBER | Decoding.NUMBER_TEXT if name not in table.column_names:
                columns[name] = arrow.numbers(pc.utf8_length(whole.cast(pa.string())))
            case Decoding.NUMBER | Decoding.NUMBER_TEXT:
                columns[name] = floats(name, column)
            case Decoding.CATEGORY:
                columns[name] = categories(column)
            case Decoding.AGE:
                moments = times(name, column, empty=True)
                aged = pa.array(moments, pa.timestamp("us"), mask=np.asarray(column.is_null()))
                columns[name] = arrow.ages(aged, time)
            case Decoding.LIST:
                columns.update(arrow.decode(name, whole, decoding, time))
                found = arrow.vectors(whole)
                embedded |= {} if found is None else {name: found}
            case Decoding.TEXT:
                whole = whole.cast(pa.string())
                if words is not None and name not in words:
                    words[name] = arrow.learn_words(whole)
                known = None if words is None else words[name]
                columns.update(arrow.decode(name, whole, decoding, time, words=known))
    apart = {name: categories(table[name]) for name in attributes}
    return Batch(
        rows=table.num_rows,
        time=time,
        columns=columns,
        score=score,
        scores=scores,
        label=label,
        attributes=apart,
        vectors=embedded,
    )


def base_of(feature: str, columns: Sequence[str]) -> str | None:
    """Return the file's column behind a feature: itself, or the text that it is made of; None without one."""
    if feature in columns:
        return feature
    base = arrow.base_of(feature)
    return base if base in columns else None


def chosen(table: pa.Table, features: Mapping[str, Decoding]) -> dict[str, Decoding]:
    """Return the features to keep: of a text that gives category and figures, the figures if it is too diverse."""
    kept: dict[str, Decoding] = {}
    for name, decoding in features.items():
        text, length = arrow.base_of(name), name + arrow.LENGTH
        if decoding is Decoding.CATEGORY and length in features and is_diverse(table, name):
            continue
        if text != name and features.get(text) is Decoding.CATEGORY and not is_diverse(table, text):
            continue
        kept[name] = decoding
    return kept


def is_diverse(table: pa.Table, name: str) -> bool:
    """Return whether a column of a file has so many values that they are no categories."""
    if name not in table.column_names:
        return False
    known = table[name].drop_null()
    distinct = pc.count_distinct(known).as_py()
    return bool(distinct > MOST_VALUES or distinct > len(known) / 2)


def read_query(url: str, statement: str) -> pa.Table:
    """Return the rows of a SELECT on a Postgres database."""
    import adbc_driver_postgresql.dbapi as driver

    try:
        with driver.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(statement)
            table: pa.Table = cursor.fetch_arrow_table()
    except driver.Error as error:
        raise FrameError(
            f"the query was refused ({_first_line(error)}); correct it (only SELECT is allowed)."
        ) from error
    opaque = [f.name for f in table.schema if isinstance(f.type, pa.BaseExtensionType)]
    for name in opaque:  # numeric arrives as text
        place = table.schema.get_field_index(name)
        storage = pa.chunked_array(
            [chunk.storage for chunk in table[name].chunks], table.schema.field(name).type.storage_type
        )
        table = table.set_column(place, name, storage)
    return table


def column_of(rows: pa.Table, path: Path | None, name: str) -> pa.ChunkedArray:
    """Return a column; raises FrameError with the names of those that there are."""
    if name not in rows.column_names:
        raise FrameError(f"{path or 'The file'} has no column {name}; it has {', '.join(rows.column_names[:20])}.")
    return rows[name]


def columns_of(rows: pa.Table, without: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return columns as models get them: numbers and booleans as floats (missing: NaN), all else as objects."""
    found: dict[str, NDArray[Any]] = {}
    for name in rows.column_names:
        if name not in without:
            kind = rows.schema.field(name).type
            plain_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
            found[name] = numbers_of(rows[name], name) if plain_number else np.array(rows[name].to_pylist(), object)
    if not found:
        raise FrameError("The file has no column of a feature; give the inputs of the model.")
    return found


def numbers_of(column: pa.ChunkedArray, name: str) -> Floats:
    """Return a column as floats; raises FrameError where it is none of numbers."""
    try:
        return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FrameError(f"The column {name} is {column.type} and not a number; give one of numbers.") from error
