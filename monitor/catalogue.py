"""Catalogue of usual causes of a sudden change: each with the inverse that would restore the old values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from monitor.column import CategoricalColumn
from monitor.source import Floats

Inverse = Callable[[float], float]
FEWEST_HITS = 3  # different values: that the new 5 is the old 4 plus 1 proves nothing
CLEARLY = 1.5  # times as many hits as the second best
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
    """Return for each cause how well its inverse maps new values one to one on known ones, from 0 to 1.

    ``values`` are new values with their counts, ``known`` ascends; empty without a lattice. A unit change maps values
    of a lattice on one another, exactly or up to the rounding of the new ones, so this names a cause even on a day
    when the median is nowhere special. The score is the share of rows that hit, above what chance would hit, times
    the known values hit per new value: dividing by 1000 puts everything next to 0, which proves nothing.

    >>> hits({3.9: 5, 5.0: 5, 10.0: 1}, np.array([39.02, 41.0, 50.0]))["°F → °C"]
    1.0
    """
    if len(known) < 2:
        return {}
    new = np.array([float(value) for value in values])
    counts = np.array(list(values.values()), np.float64)
    gap = float(np.median(np.diff(known)))
    half = _resolution(new) / 2
    return {name: _hit(inverse, new, counts, known, gap, half) for name, inverse in CAUSES.items()}


def _hit(inverse: Inverse, new: Floats, counts: Floats, known: Floats, gap: float, half: float) -> float:
    old = np.nan_to_num(np.array([inverse(value) for value in new.tolist()]))
    rounded = np.abs(np.nan_to_num(np.array([inverse(value + half) for value in new.tolist()])) - old)
    right = np.clip(np.searchsorted(known, old), 1, len(known) - 1)
    nearest = np.where(np.abs(old - known[right - 1]) <= np.abs(old - known[right]), right - 1, right)
    distance = np.abs(old - known[nearest])
    best = 0.0
    for tolerance in (np.full(len(new), CLOSE * gap), np.maximum(rounded, CLOSE * gap)):
        chance = 2 * float(np.mean(tolerance)) / gap
        hit = distance <= tolerance
        if chance < 1 and len(np.unique(nearest[hit])) >= FEWEST_HITS:
            share = (float(counts[hit].sum() / counts.sum()) - chance) / (1 - chance)
            best = max(best, share * len(np.unique(nearest[hit])) / int(hit.sum()))
    return best


def _resolution(values: Floats) -> float:
    """Return the decimal step on which all values lie: .1 for 3.9 and 5.0, at least a millionth."""
    for digits in range(6):
        scaled = values * 10**digits
        if np.all(np.abs(scaled - np.round(scaled)) <= 1e-3 + 1e-6 * np.abs(scaled)):
            return float(10**-digits)
    return 1e-6


def best_hit(found: Mapping[str, float]) -> tuple[str, float]:
    """Return the cause that hits most and its share; "" unless it hits half of all, and clearly more than any other.

    >>> best_hit({"°F → °C": 1.0, "÷10": 0.2})
    ('°F → °C', 1.0)
    """
    order = sorted(found, key=lambda name: -found[name])
    if len(order) < 2 or found[order[0]] < 0.5 or found[order[0]] < CLEARLY * found[order[1]]:
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
