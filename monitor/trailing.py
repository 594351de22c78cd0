"""Trailing windows: what the last weeks of production looked like, in a few numbers per column.

A column's state is JSON: ``means`` and ``medians`` of up to 28 windows, ``values`` never seen in training with the
number of the window that had them last, and ``held``: the same of windows set aside while their source is suspect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from monitor.column import NumericColumn
from monitor.profile import ColumnProfile
from monitor.reference import Reference
from monitor.sketch import ERROR

TRAILING = 28  # windows
FEWEST_ROWS = 3
KEPT_VALUES = 256  # unseen values remembered per column


def trailing_of_training(reference: Reference) -> dict[str, dict[str, Any]]:
    """Return every column's trailing windows before production: the last of training."""
    columns: dict[str, dict[str, Any]] = {}
    for column in reference.layout.columns:
        state: dict[str, Any] = {"means": [], "medians": [], "values": [], "held": None}
        if isinstance(column, NumericColumn):
            views = [profile.columns[column.name] for profile in reference.profiles[-TRAILING:]]
            usable = [view for view in views if view.count >= FEWEST_ROWS]
            state["means"] = [short(view.mean) for view in usable]
            state["medians"] = [short(median(view)) for view in usable]
        columns[column.name] = state
    return columns


def median(view: ColumnProfile) -> float:
    """Return the median of a numeric column, NaN without rows.

    By interpolation in its training bin, within the 2 % that the logarithmic buckets leave: a bin may be wide, and
    where a unit has changed, values lie in it quite differently from training.
    """
    column = view.column
    assert isinstance(column, NumericColumn)
    if not view.count:
        return math.nan
    rough = view.quantile(0.5)
    below = np.cumsum(view.bins)
    rank = view.count / 2
    place = int(np.searchsorted(below, rank))
    if place in (0, column.bins - 1):
        return rough
    inside = (rank - below[place - 1]) / view.bins[place]
    low, high = column.edges[place - 1], column.edges[place]
    slack = 1.02 * ERROR * abs(rough)
    return float(np.clip(low + (high - low) * inside, rough - slack, rough + slack))


def remember(state: Mapping[str, Any], view: ColumnProfile, number: int, *, held: bool) -> dict[str, Any]:
    """Return a column's trailing windows with this one: set aside while its source is suspect."""
    if not held:
        return {**_absorb(state, view, number), "held": state["held"]}
    aside = state["held"] or {"means": [], "medians": [], "values": []}
    return {**state, "held": _absorb(aside, view, number)}


def _absorb(state: Mapping[str, Any], view: ColumnProfile, number: int) -> dict[str, Any]:
    common = sorted(view.novelties, key=lambda value: -view.novelties[value])[:KEPT_VALUES]
    seen = {value: last for value, last in state["values"] if number - last <= TRAILING} | dict.fromkeys(common, number)
    kept = sorted(seen.items(), key=lambda item: -item[1])[:KEPT_VALUES]
    means, medians = list(state["means"]), list(state["medians"])
    if isinstance(view.column, NumericColumn):
        means, medians = [*means, short(view.mean)], [*medians, short(median(view))]
    return {"means": means[-TRAILING:], "medians": medians[-TRAILING:], "values": [list(item) for item in kept]}


def release(state: Mapping[str, Any], *, accept: bool) -> dict[str, Any]:
    """Return the trailing windows after an episode: what lasted 28 windows is the new normal, a shorter one is not."""
    aside = state["held"]
    if not accept or aside is None:
        return {**state, "held": None}
    values = sorted([*state["values"], *aside["values"]], key=lambda item: item[1])
    newest = sorted(dict(values).items(), key=lambda item: -item[1])[:KEPT_VALUES]
    return {
        "means": [*state["means"], *aside["means"]][-TRAILING:],
        "medians": [*state["medians"], *aside["medians"]][-TRAILING:],
        "values": [list(item) for item in newest],
        "held": None,
    }


def short(x: float) -> float:
    """Return a number to seven digits: memories are stored as text."""
    return float(f"{x:.7g}")
