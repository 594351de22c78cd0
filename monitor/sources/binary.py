"""Rows in the binary format of COPY, decoded by column with a few vector operations each.

A row is its number of fields and then, for each, a length (-1 for NULL) and that many bytes, all big-endian. Fields of
fixed width come first (`in_order`), so in rows without a NULL they lie at the same distance from the row's beginning:
one gather fetches them all. Only rows with a NULL, texts and lists have their places looked up field by field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitor.source import Bools, Ints

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
HEADER = len(SIGNATURE) + 8  # bytes before the first row
PADDING = 64  # bytes behind the last row that may be read, and are thrown away
EPOCH = 946_684_800_000_000  # of Postgres, 1 January 2000, in microseconds
EPOCH_DAYS = 10_957
WORDS = 4  # texts of at most so many words of 8 bytes are told apart by their words

Bytes = NDArray[np.uint8]


class Oid(IntEnum):
    """Types that are decoded as they come; every other one is asked for as text."""

    BOOL = 16
    INT8 = 20
    INT2 = 21
    INT4 = 23
    TEXT = 25
    FLOAT4 = 700
    FLOAT8 = 701
    FLOAT8_ARRAY = 1022
    VARCHAR = 1043
    DATE = 1082
    TIMESTAMP = 1114
    TIMESTAMPTZ = 1184


FIXED = {
    Oid.BOOL: "u1",
    Oid.INT2: ">i2",
    Oid.INT4: ">i4",
    Oid.INT8: ">i8",
    Oid.FLOAT4: ">f4",
    Oid.FLOAT8: ">f8",
    Oid.DATE: ">i4",
    Oid.TIMESTAMP: ">i8",
    Oid.TIMESTAMPTZ: ">i8",
}
NUMERIC = 1700


@dataclass(frozen=True, kw_only=True)
class Field:
    """One column of a result: its name and how its bytes are read."""

    name: str
    oid: Oid
    as_text: bool = False
    """Whether Postgres is asked for the text of a value of another type."""
    numeric: bool = False
    """Whether the text is that of a ``numeric``: the column becomes numbers."""

    @classmethod
    def of(cls, name: str, oid: int) -> Field:
        """Return the field for a column of any type."""
        known = oid in set(Oid)
        return cls(name=name, oid=Oid(oid) if known else Oid.TEXT, as_text=not known, numeric=oid == NUMERIC)


def in_order(fields: Sequence[Field]) -> list[Field]:
    """Return the fields with those of fixed width first, as `decode` wants them."""
    return sorted(fields, key=lambda field: field.oid not in FIXED)


def decode(data: Bytes, starts: Ints, fields: Sequence[Field]) -> pa.RecordBatch:
    """Return rows as Arrow; ``data`` holds them and `PADDING` more bytes, ``starts`` where each begins.

    Texts become dictionaries of the values that occur. Raises ValueError when the bytes are no rows of these fields.
    """
    if len(starts) and (_view(data, ">i2")[starts] != len(fields)).any():
        raise ValueError(f"rows of {len(fields)} fields were expected")
    fixed = [field for field in fields if field.oid in FIXED]
    columns, at = _fixed(data, starts + 2, fixed)
    for field in fields[len(fixed) :]:
        size = _view(data, ">i4")[at].astype(np.int64)
        missing = size < 0
        begin, size = at + 4, np.maximum(size, 0)
        if field.oid is Oid.FLOAT8_ARRAY:
            columns.append(_lists(data, begin, size, missing))
        elif field.numeric:
            columns.append(_numbers(_gathered(data, begin, size), missing))
        else:
            columns.append(texts(data, begin, size, missing))
        at = begin + size
    return pa.RecordBatch.from_arrays(columns, names=[field.name for field in fields])


def _view(data: Bytes, dtype: str) -> NDArray[Any]:
    """Return what lies at every byte, read as ``dtype``: an index is a place."""
    kind = np.dtype(dtype)
    return np.ndarray((len(data) - kind.itemsize + 1,), kind, data, 0, (1,))


def _fixed(data: Bytes, at: Ints, fields: Sequence[Field]) -> tuple[list[pa.Array], Ints]:
    """Return the columns of fixed width, which begin at ``at``, and where the rows go on behind them."""
    if not fields:
        return [], at
    kinds = [np.dtype(FIXED[field.oid]) for field in fields]
    record = np.dtype([item for i, kind in enumerate(kinds) for item in ((f"size{i}", ">i4"), (f"value{i}", kind))])
    width = record.itemsize
    # The last rows may be shorter than a row without NULLs, and `PADDING` too small for the difference.
    if len(at) and at[-1] + width > len(data):
        data = np.concatenate([data, np.zeros(width, np.uint8)])
    rows = np.ndarray((len(data) - width + 1,), np.dtype((np.void, width)), data, 0, (1,))[at].view(record)
    whole = np.ones(len(at), np.bool_)
    for i, kind in enumerate(kinds):
        whole &= rows[f"size{i}"] == kind.itemsize
    broken = np.flatnonzero(~whole)
    place = at[broken]
    columns, behind = [], at + width
    sizes = _view(data, ">i4")
    for i, (field, kind) in enumerate(zip(fields, kinds, strict=True)):
        values = rows[f"value{i}"].astype(kind.newbyteorder("="))
        missing: Bools | None = None
        if len(broken):
            null = sizes[place] < 0
            if not (null | (sizes[place] == kind.itemsize)).all():
                raise ValueError(f"{field.name} is not of the type that was announced")
            values[broken] = np.where(null, 0, _view(data, FIXED[field.oid])[place + 4])
            missing = np.zeros(len(at), np.bool_)
            missing[broken] = null
            place = place + np.where(null, 4, 4 + kind.itemsize)
        columns.append(_array(field.oid, values, missing))
    behind[broken] = place
    return columns, behind


def _array(oid: Oid, values: NDArray[Any], missing: Bools | None) -> pa.Array:
    match oid:
        case Oid.BOOL:
            return pa.array(values.astype(np.bool_), mask=missing)
        case Oid.DATE:
            days = values.astype(np.int32) + np.int32(EPOCH_DAYS)  # the infinite ones wrap, which `ages` knows
            return pa.array(days, mask=missing).view(pa.date32())
        case Oid.TIMESTAMP | Oid.TIMESTAMPTZ:
            moments = values.astype(np.int64) + np.int64(EPOCH)
            zone = "UTC" if oid is Oid.TIMESTAMPTZ else None
            return pa.array(moments, mask=missing).view(pa.timestamp("us", tz=zone))
    return pa.array(values, mask=missing)


def texts(data: Bytes, begin: Ints, size: Ints, missing: Bools) -> pa.Array:
    """Return texts by where they lie as a dictionary of those that occur."""
    words = -(-int(size.max(initial=0)) // 8)
    if words <= WORDS and (coded := _coded_by_words(data, begin, size, words)) is not None:
        codes, example = coded
        found = _gathered(data, begin[example], size[example])
    else:
        encoded = _gathered(data, begin, size).dictionary_encode()
        codes, found = encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=missing if missing.any() else None), found)


def _coded_by_words(data: Bytes, begin: Ints, size: Ints, words: int) -> tuple[NDArray[np.int32], Ints] | None:
    """Return the code of each text and an example of each code; None when two texts happen to have the same key.

    A text holds no byte 0, so one that is filled up with zeros to a word is told from all others.
    """
    parts: list[NDArray[np.uint64]] = []
    key = np.zeros(len(begin), np.uint64)
    for word in range(max(words, 1)):
        place = np.minimum(begin + 8 * word, len(data) - 8)
        part = _view(data, "<u8")[place] & _MASKS[np.clip(size - 8 * word, 0, 8)]
        key = (key ^ (key >> np.uint64(29))) * _MIX + part if word else part
        parts.append(part)
    encoded = pa.array(key.view(np.int64)).dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    example = np.zeros(len(encoded.dictionary), np.int64)
    example[codes] = np.arange(len(codes))
    same = all(bool((part[example][codes] == part).all()) for part in parts) if words > 1 else True
    return (codes, example) if same else None


_MASKS = np.array([(1 << (8 * size)) - 1 for size in range(9)], np.uint64)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_INLINE = 12  # bytes that a string view keeps in itself


def _gathered(data: Bytes, begin: Ints, size: Ints) -> pa.Array:
    """Return texts by where they lie; bytes that are no UTF-8 stay what they are."""
    views = np.zeros((len(begin), 4), np.int32)  # size and 12 bytes, or size, 4 bytes, number of a buffer, place in it
    views[:, 0] = size
    for word in range(3):
        place = np.minimum(begin + 4 * word, len(data) - 4)
        part = _view(data, "<u4")[place] & _MASKS[np.clip(size - 4 * word, 0, 4)].astype(np.uint32)
        views[:, 1 + word] = part.view(np.int32)
    long = size > _INLINE
    views[long, 2] = 0
    views[long, 3] = begin[long]
    array = pa.Array.from_buffers(pa.binary_view(), len(begin), [None, pa.py_buffer(views), pa.py_buffer(data)])
    return array.cast(pa.binary()).view(pa.string())


def _numbers(texts: pa.Array, missing: Bools) -> pa.Array:
    """Return what is written as numbers, all of them by Postgres; one too large for a double is infinite."""
    if missing.any():
        texts = pc.if_else(pa.array(missing), pa.scalar(None, pa.string()), texts)
    return texts.cast(pa.float64())


def _lists(data: Bytes, begin: Ints, size: Ints, missing: Bools) -> pa.Array:
    """Return lists of doubles: dimensions, flags, type, length and lower bound, then the elements, none NULL."""
    count = np.where(size > 12, _view(data, ">i4")[np.minimum(begin + 12, len(data) - 4)], 0).astype(np.int64)
    if (size != np.where(missing, 0, np.where(count > 0, 20 + 12 * count, 12))).any():
        raise ValueError("lists of doubles of one dimension were expected")
    offsets = np.concatenate([[0], np.cumsum(count)])
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], count)
    elements = _view(data, ">f8")[np.repeat(begin + 24, count) + 12 * within].astype(np.float64)
    return pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)), pa.array(elements), mask=pa.array(missing) if missing.any() else None
    )
