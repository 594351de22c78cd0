"""A made-up wide model: nine numeric features to one categorical, levels that wander from day to day."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from monitor.source import Batch, CategoryValues, NumericValues, Values

ROWS = 480  # of a day
TILES = 24


def batch_of(features: int, start: datetime, days: int) -> Batch:
    """Return ``days`` days of rows from a moment on."""
    first = round(start.timestamp())
    rng = np.random.default_rng(first)
    n = days * ROWS
    columns: dict[str, Values] = {}
    for i in range(features):
        if i % 10 == 9:
            codes = rng.integers(0, 12, n).astype(np.int32)
            columns[f"c{i}"] = CategoryValues(codes=codes, categories=[f"value {k}" for k in range(12)])
            continue
        level = np.repeat(rng.normal(size=days) / 5, ROWS)
        columns[f"f{i}"] = NumericValues(values=level + rng.normal(size=n), missing=np.zeros(n, bool))
    step = 86_400_000_000 // ROWS
    return Batch(rows=n, time=first * 1_000_000 + np.arange(n, dtype=np.int64) * step, columns=columns)
