"""Trailing windows: what the last weeks of production looked like, in a few numbers per column.

A column's state is JSON: ``means`` and ``medians`` of up to 28 windows, ``values`` never seen in training with the
number of the window that had them last, and ``held``: windows set aside while their source is suspect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monitor.column import CategoricalColumn, NumericColumn
from monitor.profile import ColumnProfile
from monitor.reference import Reference

TRAILING = 28  # windows
FEWEST_ROWS = 3
KEPT_VALUES = 256  # unseen values remembered per column


def trailing_of_training(reference: Reference) -> dict[str, dict[str, Any]]:
    """Return every column's trailing windows before production: the last of training."""
    columns: dict[str, dict[str, Any]] = {}
    for column in reference.layout.columns:
        state: dict[str, Any] = {"means": [], "medians": [], "values": [], "held": []}
        if isinstance(column, NumericColumn):
            views = [profile.columns[column.name] for profile in reference.profiles[-TRAILING:]]
            usable = [view for view in views if view.count >= FEWEST_ROWS]
            state["means"] = [short(view.mean) for view in usable]
            state["medians"] = [short(median(view)) for view in usable]
        columns[column.name] = state
    return columns


def median(view: ColumnProfile) -> float:
    """Return the median of a numeric column: within its training bin by interpolation, beyond it within 2 %."""
    column = view.column
    assert isinstance(column, NumericColumn)
    if not view.count:
        return math.nan
    below = np.cumsum(view.bins)
    rank = view.count / 2
    place = int(np.searchsorted(below, rank))
    if place in (0, column.bins - 1):
        return view.quantile(0.5)
    inside = (rank - (below[place - 1])) / view.bins[place]
    low, high = column.edges[place - 1], column.edges[place]
    return float(low + (high - low) * inside)


def remember(state: Mapping[str, Any], view: ColumnProfile, number: int, *, held: bool) -> dict[str, Any]:
    """Return a column's trailing windows with this one: set aside while its source is suspect."""
    numbers = (None, None) if isinstance(view.column, CategoricalColumn) else (short(view.mean), short(median(view)))
    values = [value for value, _ in sorted(view.novelties.items(), key=lambda item: -item[1])[:KEPT_VALUES]]
    if held:
        return {**state, "held": [*state["held"], [*numbers, values[: KEPT_VALUES // TRAILING], number]][-TRAILING:]}
    return _absorb(state, numbers[0], numbers[1], values, number)


def _absorb(
    state: Mapping[str, Any], mean: float | None, middle: float | None, values: Sequence[Any], number: int
) -> dict[str, Any]:
    seen = {value: last for value, last in state["values"] if number - last <= TRAILING}
    seen |= dict.fromkeys(values, number)
    kept = sorted(seen.items(), key=lambda item: -item[1])[:KEPT_VALUES]
    return {
        "means": state["means"] if mean is None else [*state["means"], mean][-TRAILING:],
        "medians": state["medians"] if middle is None else [*state["medians"], middle][-TRAILING:],
        "values": [list(item) for item in kept],
        "held": state["held"],
    }


def release(state: Mapping[str, Any], *, accept: bool) -> dict[str, Any]:
    """Return the trailing windows after an episode: what lasted 28 windows is the new normal, a shorter one is not."""
    result = dict(state)
    for mean, middle, values, number in state["held"] if accept else ():
        result = _absorb(result, mean, middle, values, number)
    return {**result, "held": []}


def short(x: float) -> float:
    """Return a number to seven digits: memories are stored as text."""
    return float(f"{x:.7g}")
