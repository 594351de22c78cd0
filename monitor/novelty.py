"""Novelty: how often a training window itself held values that no other window had, so that new ones mean something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.column import CategoricalColumn, Column, NumericColumn
from monitor.memo import per_reference
from monitor.reference import Reference
from monitor.sketch import distinct, distinct_each
from monitor.source import Floats, Ints

USUAL = 0.05  # of a window's rows: beyond it a column brings new values all the time
ENOUGH_WINDOWS = 6


def can_be_new(reference: Reference, name: str) -> bool:
    """Return whether values never seen are a sign for this column: its values recur (are a lattice), or never vary.

    Not for columns that bring new values all the time (names, ids, real numbers), nor for those that move in blocks.
    """
    return name in _able(reference)


@per_reference
def _able(reference: Reference) -> frozenset[str]:
    return frozenset(column.name for column in reference.layout.columns if _recurs(reference, column))


def _recurs(reference: Reference, column: Column) -> bool:
    if isinstance(column, NumericColumn) and column.lattice is None:
        return False
    if is_constant(column):
        return True
    shares = records(reference, column.name)
    usual = len(shares) >= ENOUGH_WINDOWS and float(shares.mean()) < USUAL
    return usual and not moves_in_blocks(reference, column.name)


def is_constant(column: Column) -> bool:
    """Return whether training saw a single value of a column."""
    if isinstance(column, CategoricalColumn):
        return len(column.values) == 1 and not column.rare
    return column.constant


def moves_in_blocks(reference: Reference, name: str) -> bool:
    """Return whether a column usually has one value per window but several in all: a month, a season, a campaign.

    Its next value comes with the calendar, and then fills whole windows.
    """
    return name in _blocks(reference)


@per_reference
def _blocks(reference: Reference) -> frozenset[str]:
    found = set()
    for position, column in enumerate(reference.layout.columns):
        if reference.total.columns[column.name].distinct <= 1:
            continue
        windows = _windows(reference, position)
        several = distinct_each(windows.registers)
        if isinstance(column, CategoricalColumn):
            several += (windows.bins > 0).sum(axis=1)
        if 2 * int((several <= 1).sum()) > len(several):
            found.add(column.name)
    return frozenset(found)


def records(reference: Reference, name: str) -> Floats:
    """Return for each training window with usable rows the share of rows whose value occurs in no other window.

    A profile that contains its own windows has seen all their values, so each window is left out in turn. Exact for
    the top values of a categorical column; otherwise by distinct counts with and without the window (HyperLogLog on
    the same registers, so the error of the difference is small; good on average over windows, not for any one).
    """
    return _records(reference)[name]


@per_reference
def _records(reference: Reference) -> dict[str, Floats]:
    return {column.name: _of(reference, position) for position, column in enumerate(reference.layout.columns)}


def _of(reference: Reference, position: int) -> Floats:
    windows = _windows(reference, position)
    bins, registers = windows.bins, windows.registers
    if not len(bins):
        return np.zeros(0)
    unique = np.zeros(len(bins))
    sketched = rows = (bins.sum(axis=1) + windows.rare).astype(np.float64)
    if isinstance(reference.layout.columns[position], CategoricalColumn):
        unique = (bins * ((bins > 0).sum(axis=0) == 1)).sum(axis=1).astype(np.float64)
        sketched = windows.rare.astype(np.float64)
    order = np.sort(registers, axis=0)
    highest, second = order[-1], order[-2] if len(bins) > 1 else np.zeros_like(order[-1])
    # Without a window the second highest is left where it alone held the highest.
    alone = (registers == highest) & ((registers == highest).sum(axis=0) == 1)
    mine, rest = distinct_each(registers), distinct_each(np.where(alone, second, highest))
    shares = np.clip((distinct(highest) - rest) / np.maximum(mine, 1), 0.0, 1.0) * (mine > 0)
    return np.asarray((unique + shares * sketched) / rows, np.float64)


@dataclass(frozen=True, kw_only=True)
class _Windows:
    """A column in the K training windows that have usable rows of it."""

    bins: Ints
    """Rows per bin (K, bins)."""
    rare: Ints
    """Rows of a categorical column with any other value (K,)."""
    registers: NDArray[np.uint8]


def _windows(reference: Reference, position: int) -> _Windows:
    layout, profiles = reference.layout, reference.profiles
    places = layout.bins(position)
    bins = np.array([profile.counts[places] for profile in profiles])
    rare = np.zeros(len(bins), np.int64)
    if isinstance(layout.columns[position], CategoricalColumn):
        other, new = layout.extra(position, "other"), layout.extra(position, "unseen")
        rare = np.array([profile.counts[other] + profile.counts[new] for profile in profiles])
    used = bins.sum(axis=1) + rare > 0
    registers = np.array([profile.registers[position] for profile in profiles])
    return _Windows(bins=bins[used], rare=rare[used], registers=registers[used])
