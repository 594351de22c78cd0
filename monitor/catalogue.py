"""Catalogue of usual causes of a sudden change: each with the inverse that would restore the old values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from monitor.column import CategoricalColumn
from monitor.source import Floats

Inverse = Callable[[float], float]
CLOSE = 0.02  # of the usual gap between values: an inverse that hits a known value hits it exactly, but for rounding


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


CAUSES: Mapping[str, Inverse] = {
    "°F → °C": lambda v: v * 1.8 + 32,
    "°C → °F": lambda v: (v - 32) / 1.8,
    "miles → km": lambda v: v / 1.609344,
    "km → miles": lambda v: v * 1.609344,
    "×10": lambda v: v / 10,
    "÷10": lambda v: v * 10,
    "×60 (minutes → seconds)": lambda v: v / 60,
    "÷60 (seconds → minutes)": lambda v: v * 60,
    "×100 (share → percent)": lambda v: v / 100,
    "÷100 (percent → share)": lambda v: v * 100,
    "×1000 (s → ms)": lambda v: v / 1000,
    "÷1000 (ms → s)": lambda v: v * 1000,
    "sign flipped": lambda v: -v,
    "logarithm taken": _exp,
    "logarithm dropped": lambda v: math.log(v) if v > 0 else math.nan,
    "counted from 1 instead of 0": lambda v: v - 1,
    "counted from 0 instead of 1": lambda v: v + 1,
}
TEXT_CAUSES: Mapping[str, Callable[[str], str]] = {
    "case changed": str.casefold,
    "blanks added or removed": lambda text: "".join(text.split()),
    "whole numbers written as decimals": lambda text: text.removesuffix(".0"),
    "leading zeros added or removed": lambda text: text.lstrip("0"),
}


def misfits(median: float, usual: float, spread: float) -> dict[str, float]:
    """Return for each cause how far its inverse leaves the median from the usual one, in ``spread``.

    >>> fits = misfits(15.4, 60.0, 5.0)
    >>> min(fits, key=fits.get)
    '°F → °C'
    """
    found = {name: abs(inverse(median) - usual) / spread for name, inverse in CAUSES.items()}
    return {name: misfit for name, misfit in found.items() if math.isfinite(misfit)}


def hits(values: Mapping[float | str, int], known: Floats) -> dict[str, float]:
    """Return for each cause the share of new values whose inverse is a known value; empty without a lattice.

    ``values`` are new values with their counts, ``known`` ascends. A unit change maps values of a lattice on one
    another exactly, so this names a cause even on a day when the median is nowhere special.

    >>> hits({3.9: 5, 5.0: 5}, np.array([39.02, 41.0, 50.0]))["°F → °C"]
    1.0
    """
    if len(known) < 2:
        return {}
    counts = np.array(list(values.values()), np.float64)
    close = CLOSE * float(np.median(np.diff(known)))
    found = {}
    for name, inverse in CAUSES.items():
        old = np.array([inverse(float(value)) for value in values])
        place = np.clip(np.searchsorted(known, np.nan_to_num(old)), 1, len(known) - 1)
        gap = np.minimum(np.abs(old - known[place - 1]), np.abs(old - known[place]))
        found[name] = float(counts[gap <= close].sum() / counts.sum())
    return found


def best_hit(found: Mapping[str, float]) -> tuple[str, float]:
    """Return the cause that hits most and its share; "" unless it hits twice as much as any other.

    >>> best_hit({"°F → °C": 1.0, "÷10": 0.2})
    ('°F → °C', 1.0)
    """
    order = sorted(found, key=lambda name: -found[name])
    if len(order) < 2 or found[order[0]] < 0.5 or found[order[0]] < 2 * found[order[1]]:
        return "", 0.0
    return order[0], found[order[0]]


def text_cause(new: Mapping[float | str, int], own: CategoricalColumn, others: Sequence[CategoricalColumn]) -> str:
    """Return the usual cause that explains nine tenths of a categorical column's new texts, or "".

    ``others`` are columns whose values these may be: then two columns have been swapped.
    """
    total = sum(new.values())
    for name, normal in TEXT_CAUSES.items():
        known = {normal(value) for value in own.values}
        if sum(count for value, count in new.items() if normal(str(value)) in known) >= 0.9 * total:
            return name
    for other in others:
        values = set(other.values)
        if other.name != own.name and sum(n for value, n in new.items() if value in values) >= 0.9 * total:
            return f"swapped with {other.name}"
    return ""
