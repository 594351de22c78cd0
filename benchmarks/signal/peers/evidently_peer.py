"""Evidently: the test its default choice takes for each column, on what its own calculation leaves of the column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from windows import Line, features, run


def score(old: Any, new: Any) -> Iterator[Line]:
    from evidently.legacy.calculations.stattests.registry import get_stattest
    from evidently.legacy.core import ColumnType

    for name, numeric in features(old):
        kind = ColumnType.Numerical if numeric else ColumnType.Categorical
        reference = old[name].dropna()
        for window, rows in new.groupby("window")[name]:
            current = rows.dropna()
            if current.empty:
                continue
            found = get_stattest(reference, current, kind, None)(reference, current, kind, None)
            yield "evidently", "distance", name, window, found.drift_score, found.drifted


if __name__ == "__main__":
    run("evidently", score)
