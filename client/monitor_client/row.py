"""A row as Postgres's COPY takes it: values in, one line of bytes out. Pure, and fast on the common path."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from monitor_client.context import LONGEST_ID

ROLES = ("champion", "shadow", "canary")
COLUMNS = {
    "prediction_log": "model, model_version, role, request_id, trace_id, occurred_at, features, score, scores,"
    " prediction, value, latency_ms",
    "outcome_log": "model, request_id, label, value, observed_at",
    "heartbeat_log": "process, model, model_version, at, pid, rss_bytes, uss_bytes, cpu_seconds, threads, open_files,"
    " memory_limit_bytes, packages, dropped, queued",
}
"""Columns of a line by table, in order."""

NULL = "\\N"
_SPECIAL = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\ufffd"})
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_SIZED = (str, bytes, bytearray, list, tuple, dict)


class RowError(ValueError):
    """A row that cannot be written, in one sentence; the service is never told, the log is."""


def line(*fields: str) -> bytes:
    """Return fields that are escaped already as one line."""
    # Half a pair of UTF-16 is no text for any database.
    return ("\t".join(fields) + "\n").encode("utf-8", "replace")


def text(value: object) -> str:
    """Return any value as an escaped field, NULL for None; truth values are ``true`` and ``false``."""
    if value is None:
        return NULL
    if not isinstance(value, str):
        value = plain_text(value)
    return value if value.isalnum() else value.translate(_SPECIAL)


def plain_text(value: Any) -> str:
    """Return a label or decision as text, the same whether it came from Python or numpy.

    >>> plain_text(True), plain_text(3), plain_text("late")
    ('true', '3', 'late')
    """
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()  # of numpy, whose bool is no bool
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return plain_text(value.value)
    return str(value)


def number(value: Any) -> str:
    """Return a number as a field, NULL for None; raises RowError where it is none."""
    if value is None:
        return NULL
    try:
        return repr(float(value))
    except (TypeError, ValueError) as error:
        raise RowError(f"a {type(value).__name__} is no number; give a float") from error


def whole(value: int | None) -> str:
    """Return a whole number as a field, NULL for None."""
    return NULL if value is None else str(value)


def moment(value: float | datetime) -> str:
    """Return a time, given in seconds since the epoch or as a datetime with a zone, as a field."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise RowError(f"the time {value} has no time zone; give an aware datetime")
        return value.isoformat()
    return datetime.fromtimestamp(value, timezone.utc).isoformat()


def request(value: Any) -> str:
    """Return a request id as a field; raises RowError where it is empty or too long."""
    wanted = value if isinstance(value, str) else plain_text(value)
    if not 0 < len(wanted) <= LONGEST_ID:
        raise RowError(f"the request id has {len(wanted)} characters; give from 1 to {LONGEST_ID}")
    return text(wanted)


def document(value: Any, what: str, limit: int) -> str:
    """Return a mapping as a JSON field, NULL for None.

    NaN is missing, because libraries of frames use it so, and infinite numbers are the texts ``Infinity`` and
    ``-Infinity``, which the monitor counts as not finite. Raises RowError where something has no JSON form or is
    larger than `limit` bytes.
    """
    if value is None:
        return NULL
    if not isinstance(value, Mapping):
        value = value.to_dict() if hasattr(value, "to_dict") else value
        if not isinstance(value, Mapping):
            raise RowError(f"{what} are a {type(value).__name__}; give a mapping from name to value")
    # Seen before any work is done: what would take long to write is refused in microseconds.
    for name, item in value.items():
        if isinstance(item, _SIZED) and len(item) > limit:
            raise RowError(f"{what}.{name} is larger than {limit} bytes; log a summary of it, or raise max_row_bytes")
    if len(value) > limit:
        raise RowError(f"{what} have {len(value)} values; log fewer, or raise max_row_bytes")
    try:
        written = _encode(value if type(value) is dict else dict(value))
    except ValueError:  # not finite, or inside itself, which the second try says
        written = _encode(finite(value))
    if "\\" in written:
        if "\\u0000" in written:
            written = _NUL.sub("\\1\\\\ufffd", written)
        written = written.replace("\\", "\\\\")
    return written


def finite(value: Any, depth: int = 0) -> Any:
    """Return a copy in which NaN is None and infinite numbers are texts; numpy's values become Python's."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if value is None or isinstance(value, str | int):
        return value
    if depth > 50:
        raise RowError("features are nested more than 50 deep, or contain themselves; log flat values")
    if isinstance(value, Mapping):
        return {key: finite(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item, depth + 1) for item in value]
    return finite(_plain(value), depth + 1)


def _plain(value: Any) -> Any:
    """Return what JSON can say for a value that it does not know."""
    if isinstance(value, datetime | date | time):
        written = value.isoformat()
        return None if written == "NaT" else written
    if hasattr(value, "tolist"):  # arrays and scalars of numpy, frames' series
        return finite(value.tolist())
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return finite(float(value))
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, Mapping):
        return dict(value)
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas's missing, without importing pandas
        return None
    raise RowError(f"a {type(value).__name__} has no JSON form; log numbers, texts, truth values or lists of them")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode
