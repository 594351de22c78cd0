"""Arrow to numpy: how a column of any type becomes the values that profiles are built from.

The same rules hold for rows from Postgres, for training files and for Spark, so their profiles can be compared. Numbers
are numbers; a boolean is the category ``true`` or ``false``; a time is its age in days at the row's own time; a text
that training found too diverse is counted by its length, what its characters are and how many of its words training did
not know, a list by its length and, when it holds numbers, its norm; lists of one length are embeddings besides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitor.embedding import stack
from monitor.source import CategoryValues, Floats, Ints, NumericValues, Values
from monitor.text import CLASSES, UNKNOWN, figures, vocabulary

LONGEST = 200  # bytes of a category; a longer one is cut and told apart by its hash
KEPT = 160  # characters kept of a longer one
DAY = 86_400e6  # microseconds
LENGTH = ".length"
NORM = ".norm"
TEXT = ".text"  # of a field that brings a text's figures; no feature is called so
FIGURES = tuple(f".{name}" for name in (*CLASSES, UNKNOWN))
DERIVED = (LENGTH, NORM, *FIGURES)
"""Ends of the names of features that are made of a text or a list."""

# Postgres sends its infinite times as the extreme integers of an epoch of its own; moved to the Unix epoch they wrap.
_EPOCH = 946_684_800_000_000
_LOWEST, _HIGHEST = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)
FOREVER = np.array([_HIGHEST, _LOWEST + _EPOCH - 1], np.int64)
NEVER = np.array([_LOWEST, _LOWEST + _EPOCH], np.int64)
EARLIEST = -250_000 * 366 * 86_400 * 1_000_000  # far before 4713 BC, where Postgres begins
_DATE_EPOCH = 10_957
_FIRST, _LAST = int(np.iinfo(np.int32).min), int(np.iinfo(np.int32).max)
FOREVER_DAYS = np.array([_LAST, _FIRST + _DATE_EPOCH - 1], np.int64)
NEVER_DAYS = np.array([_FIRST, _FIRST + _DATE_EPOCH], np.int64)


class Decoding(StrEnum):
    """How an Arrow column becomes values."""

    NUMBER = "number"
    NUMBER_TEXT = "number in text"
    CATEGORY = "category"
    AGE = "age"
    LIST = "list"
    TEXT = "text"


def decode(
    name: str,
    column: pa.Array,
    decoding: Decoding,
    time: Ints,
    vocabularies: dict[str, Vocabulary] | None = None,
    words: tuple[int, ...] | None = None,
) -> Mapping[str, Values]:
    """Return the values of one column by feature name; a list gives two, a text five. ``time`` is the rows' own time.

    ``vocabularies`` keeps the categories of each column from one batch to the next. Of a text, the share of unknown
    words is told only with the ``words`` that are known.
    """
    if isinstance(column, pa.ExtensionArray):
        column = column.storage  # numeric comes as text with a name on it
    match decoding:
        case Decoding.NUMBER:
            return {name: numbers(column)}
        case Decoding.NUMBER_TEXT:
            return {name: parsed_numbers(column)}
        case Decoding.CATEGORY:
            vocabulary = Vocabulary() if vocabularies is None else vocabularies.setdefault(name, Vocabulary())
            return {name: vocabulary.encode(column)}
        case Decoding.AGE:
            return {name: ages(column, time)}
        case Decoding.LIST:
            length, norm = list_sizes(column)
            return {name + LENGTH: length, name + NORM: norm}
        case Decoding.TEXT:
            return text_figures(name.removesuffix(TEXT), column, words)


def text_figures(name: str, column: pa.Array, words: tuple[int, ...] | None) -> dict[str, Values]:
    """Return what the texts of a column are made of (``text.figures``), missing where there is nothing to count."""
    codes, texts = _coded(column)
    found = figures([str(text) for text in texts], None if words is None else frozenset(words))
    values: dict[str, Values] = {}
    for figure, shares in found.items():
        x = np.append(shares, np.nan)[codes]
        known = words if figure == UNKNOWN else None
        values[f"{name}.{figure}"] = NumericValues(values=x, missing=np.isnan(x), words=known)
    return values


def learn_words(column: pa.Array) -> tuple[int, ...]:
    """Return hashes of the words that a column of training texts makes known."""
    codes, texts = _coded(column)
    return vocabulary([str(text) for text in texts], np.bincount(codes[codes >= 0], minlength=len(texts)).tolist())


def vectors(column: pa.Array, dimensions: int | None = None) -> Floats | None:
    """Return a list column as vectors (rows, D), NaN where a row has none of that length; see ``embedding.stack``."""
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return stack(lengths, _floats(pc.list_flatten(column).cast(pa.float64(), safe=False)), dimensions)


def base_of(feature: str) -> str:
    """Return the name of the column behind a feature that is made of a text or a list.

    >>> base_of("note.digits"), base_of("vector.norm"), base_of("temp")
    ('note', 'vector', 'temp')
    """
    end = next((end for end in (*DERIVED, TEXT) if feature.endswith(end)), "")
    return feature.removesuffix(end)


def numbers(column: pa.Array) -> NumericValues:
    """Return a column of numbers or booleans as floats, NaN where missing."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    missing = _nulls(column)
    return NumericValues(values=_floats(column.cast(pa.float64(), safe=False)), missing=missing)


def parsed_numbers(column: pa.Array) -> NumericValues:
    """Return the numbers written in a column of texts; what is no number is unparseable, what is too large infinite."""
    missing = _nulls(column)
    try:
        return NumericValues(
            values=_floats(column.cast(pa.float64())), missing=missing, unparseable=np.zeros(len(column), np.bool_)
        )
    except pa.ArrowInvalid:
        codes, texts = _coded(column)
    parsed = [_number(str(text)) for text in texts]
    values = np.array([*(np.nan if number is None else number for number in parsed), np.nan])
    broken = np.array([*(number is None for number in parsed), False])
    return NumericValues(values=values[codes], missing=missing, unparseable=broken[codes])


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)  # Python takes 1_000 for a number, nobody else does
    except ValueError:
        return None


def categories(column: pa.Array) -> CategoryValues:
    """Return a column as category codes; whole floats lose their ``.0``, NaN is missing."""
    return Vocabulary().encode(column)


class Vocabulary:
    """The values that a column had in the batches of one read: each is made a text once, not once per batch.

    Batches that bring nothing new share one tuple of categories. Beyond ``MOST`` values a batch has its own.
    """

    MOST = 1 << 13

    def __init__(self) -> None:
        self._codes: dict[object, int] = {}
        self._texts: tuple[str, ...] = ()

    def encode(self, column: pa.Array) -> CategoryValues:
        """Return a column as ``categories`` does."""
        if pa.types.is_boolean(column.type):
            codes = column.cast(pa.int32()).fill_null(-1).to_numpy(zero_copy_only=False)
            return CategoryValues(codes=codes.astype(np.int32), categories=("false", "true"))
        codes, values = _coded(column)
        if len(self._codes) + len(values) > self.MOST:
            self._codes, self._texts = {}, ()
        known = self._codes
        new: list[str] = []
        for value in values:
            if value not in known:
                text = _text(value)
                # A dictionary may hold a null, and a NaN is no category.
                known[value] = -1 if text is None else len(self._texts) + len(new)
                if text is not None:
                    new.append(text)
        if new:
            self._texts += tuple(new)
        table = np.array([*(known[value] for value in values), -1], np.int32)
        return CategoryValues(codes=table[codes], categories=self._texts)


def _coded(column: pa.Array) -> tuple[NDArray[np.int32], list[object]]:
    """Return codes, -1 where missing, and the distinct values they stand for."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return codes, _plain(column.dictionary)


def _plain(dictionary: pa.Array) -> list[object]:
    if pa.types.is_string(dictionary.type) or pa.types.is_large_string(dictionary.type):
        # A database without a proper encoding sends bytes that are no UTF-8; they shall be seen, not kill a run.
        return [
            None if value is None else value.decode("utf-8", "replace")
            for value in dictionary.cast(
                pa.binary() if pa.types.is_string(dictionary.type) else pa.large_binary()
            ).to_pylist()
        ]
    if pa.types.is_floating(dictionary.type) or pa.types.is_integer(dictionary.type):
        return list(dictionary.to_pylist())
    return list(dictionary.cast(pa.string()).to_pylist())


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return shorten(value)
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return shorten(str(value))


def shorten(text: str) -> str:
    """Return a category of bounded size: texts of more than 200 bytes keep 160 characters and get their MD5.

    >>> shorten("short"), len(shorten("long " * 1000))
    ('short', 193)
    """
    if len(text) <= LONGEST // 4:
        return text
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= LONGEST or _is_short_form(text):
        return text
    return f"{text[:KEPT]}…{hashlib.md5(data, usedforsecurity=False).hexdigest()}"


def _is_short_form(text: str) -> bool:
    return len(text) == KEPT + 33 and text[KEPT] == "…"


def ages(column: pa.Array, time: Ints) -> NumericValues:
    """Return how old each date or time was at its row's time, in days; infinite times are infinite.

    ``'infinity'`` lies in the future and has the age minus infinity. Naive times are taken as UTC.
    """
    missing = _nulls(column)
    if pa.types.is_date32(column.type):
        days = column.cast(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        values = (time - days * 86_400_000_000) / DAY
        values[np.isin(days, FOREVER_DAYS)] = -np.inf
        values[np.isin(days, NEVER_DAYS)] = np.inf
    else:
        moments = microseconds(column)
        with np.errstate(over="ignore"):
            values = (time.astype(np.float64) - moments.astype(np.float64)) / DAY
        values[np.isin(moments, FOREVER) | ((moments < EARLIEST) & ~np.isin(moments, NEVER))] = -np.inf
        values[np.isin(moments, NEVER)] = np.inf
    values[missing] = np.nan
    return NumericValues(values=values, missing=missing)


def microseconds(column: pa.Array) -> Ints:
    """Return times as microseconds since the epoch, UTC; 0 where missing."""
    if column.type.unit != "us":
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    return np.asarray(column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def list_sizes(column: pa.Array) -> tuple[NumericValues, NumericValues]:
    """Return length and Euclidean norm of each list of numbers; NULL elements count for the length alone."""
    missing = _nulls(column)
    length = _floats(pc.list_value_length(column).cast(pa.float64()))
    parents = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
    elements = _floats(pc.list_flatten(column).cast(pa.float64(), safe=False))
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.where(np.isnan(elements), 0.0, elements) ** 2
        norm = np.sqrt(np.bincount(parents, weights=squares, minlength=len(column)))
    norm[missing] = np.nan
    return NumericValues(values=length, missing=missing), NumericValues(values=norm, missing=missing)


def _nulls(column: pa.Array) -> NDArray[np.bool_]:
    if column.null_count == 0:
        return np.zeros(len(column), np.bool_)
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False), np.bool_)


def _floats(column: pa.Array) -> Floats:
    if column.null_count:
        column = column.fill_null(float("nan"))
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
