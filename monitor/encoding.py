"""What Postgres cannot store as it is: characters and numbers that text and jsonb refuse."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

#: Postgres text holds neither NUL nor halves of a UTF-16 pair; a log may hold both.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def clean_text(text: str) -> str:
    """The text with each unstorable character replaced by U+FFFD, so that a strange value does not kill a run.

    >>> clean_text("a" + chr(0) + "b") == "a" + REPLACEMENT + "b"
    True
    """
    return UNSTORABLE.sub(REPLACEMENT, text)


def json_text(value: Any) -> str:
    """JSON that jsonb accepts. NaN and infinities become the strings that a cast to float8 reads back.

    >>> json_text({"share": float("nan"), "n": 3})
    '{"share": "NaN", "n": 3}'
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps(_plain(value), allow_nan=False)
    # Both refused characters appear only as escapes here, so the slow walk is rare.
    return json.dumps(_plain(value), allow_nan=False) if "\\u0000" in text or "\\ud" in text else text


def _plain(value: Any) -> Any:
    if value is None or (isinstance(value, bool | int) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, str):
        return clean_text(str(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _float_word(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {clean_text(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        # numpy arrays and scalars, without importing numpy here
        return _plain(value.tolist())
    if hasattr(value, "__float__"):
        return _plain(float(value))
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON; convert it to text or a number first.")


def _float_word(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
