"""Novelty: how often a training window itself held values that no other window had, so that new ones mean something."""

from __future__ import annotations

import numpy as np

from monitor.column import CategoricalColumn, Column, NumericColumn
from monitor.memo import per_reference
from monitor.reference import Reference
from monitor.sketch import distinct
from monitor.source import Floats

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
    for column in reference.layout.columns:
        views = [view for profile in reference.profiles if (view := profile.columns[column.name]).count]
        single = sum(view.distinct <= 1 for view in views)
        if reference.total.columns[column.name].distinct > 1 and 2 * single > len(views):
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
    return {column.name: _of(reference, column.name) for column in reference.layout.columns}


def _of(reference: Reference, name: str) -> Floats:
    position = reference.layout.index[name]
    column = reference.layout.columns[position]
    views = [profile.columns[name] for profile in reference.profiles]
    used = [i for i, view in enumerate(views) if view.count]
    if not used:
        return np.zeros(0)
    rows = np.array([views[i].count for i in used], np.float64)
    unique = np.zeros(len(used))
    sketched = rows
    if isinstance(column, CategoricalColumn):
        bins = np.array([views[i].bins for i in used])
        unique = (bins * ((bins > 0).sum(axis=0) == 1)).sum(axis=1).astype(np.float64)
        sketched = np.array([views[i].other + views[i].new for i in used], np.float64)
    registers = np.array([reference.profiles[i].registers[position] for i in used])
    order = np.sort(registers, axis=0)
    highest, second = order[-1], order[-2] if len(used) > 1 else np.zeros_like(order[-1])
    everything = distinct(highest)
    shares = np.zeros(len(used))
    for i, own in enumerate(registers):
        mine = distinct(own)
        if mine:
            without = np.where(own == highest, np.where(_held_twice(registers, highest), highest, second), highest)
            shares[i] = min(1.0, max(0, everything - distinct(without.astype(np.uint8))) / mine)
    return (unique + shares * sketched) / rows


def _held_twice(registers: np.ndarray, highest: np.ndarray) -> np.ndarray:
    return np.asarray((registers == highest).sum(axis=0) > 1)
