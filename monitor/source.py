"""Where logged rows come from: the shape of a batch and what a source must give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Kind(StrEnum):
    """What a column is to the statistics."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


@dataclass(frozen=True, kw_only=True)
class NumericValues:
    """A numeric column of a batch.

    ``values`` is NaN where the value is missing, unparseable or NaN; ``missing`` and ``unparseable`` tell which.
    """

    values: Floats
    missing: Bools
    unparseable: Bools | None = None


@dataclass(frozen=True, kw_only=True)
class CategoryValues:
    """A categorical column of a batch: ``codes`` index ``categories``; -1 is missing."""

    codes: NDArray[np.int32]
    categories: Sequence[str]


Values = NumericValues | CategoryValues


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A bounded number of rows, by column; all arrays have ``rows`` entries.

    ``time`` is microseconds since the epoch, UTC. Outcome fields are None for inputs.
    """

    rows: int
    time: Ints
    columns: Mapping[str, Values]
    score: Floats | None = None
    """Predicted probability or value; NaN where missing."""
    scores: Floats | None = None
    """Multiclass: rows × classes."""
    decision: Bools | None = None
    """Logged positive decision of a classifier, if it is logged."""
    label: Floats | None = None
    """The outcome: 0/1, a number, or the class index; NaN where there is none (yet)."""
    label_delay: Floats | None = None
    """Seconds from prediction to label; NaN where unknown."""
    ids: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What a piece of time looked like when it was read: count and sum of 64-bit hashes of id and row version."""

    count: int
    total: int


@dataclass(frozen=True, kw_only=True)
class ColumnFault:
    """A configured column that is not what it was: vanished, or of another type."""

    column: str
    problem: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one read of a window came to, beside the rows themselves."""

    rows: int = 0
    duplicates: int = 0
    late: int = 0
    clock_skewed: int = 0
    null_times: int = 0
    labels: int = 0
    labels_without_prediction: int = 0
    seconds: float = 0.0
    last_row_at: datetime | None = None
    faults: Sequence[ColumnFault] = field(default_factory=tuple)
    details: Mapping[str, Any] = field(default_factory=dict)


class SourceError(Exception):
    """The logs cannot be read at all; the message is one sentence: what, which, what to do."""
