"""Coverage: what production holds that a training set does not, as ranges and values with their share of traffic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import poisson

from monitor.source import Bools, CategoryValues, Floats, Ints, Values
from monitor.stats.distance import psi_corrected

CELLS = 50  # of equal traffic
SPARSE = 0.1  # of the rows that a training set like production would have: below it a cell is not covered
SURELY = 0.5  # ... and surely below this share of them
LEVEL = 0.01  # one-sided, of that bound
MISSING = "missing"
MOST_VALUES = 10  # that a sentence names

ROWS_PER_CELL = 385
"""Rows that give a share to within five points (95 %, in the worst case): 1.96² × .25 / .05²."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of production that training does not cover: a range of a number, some values, or missing ones."""

    feature: str
    where: str
    """In words: ``57.9 to 100``, ``SAT, TUL``, ``missing``."""
    rows: Bools
    """Which rows of production lie there."""
    share: float
    """Of production's rows."""
    training_rows: int


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How one feature of production differs from training; ``psi`` is corrected for the number of rows."""

    feature: str
    psi: float
    shift: float
    """Numbers: median of production less that of training, in interquartile ranges of training; else NaN."""
    regions: tuple[Region, ...]
    uncovered: float
    """Share of production's rows in any of the regions."""


def gap_of(feature: str, training: Values, production: Values) -> Gap:
    """Return how a feature of production differs, and where training has hardly a row.

    A number's cells are 50 quantiles of production (fewer where values repeat), a category's its values; missing
    values are a cell of their own. A cell is not covered where training has less than a tenth of the rows that it
    would have if it were like production, surely (Poisson, 99 %) less than half of them, and fewer than are needed to
    learn it (``rows_needed``); neighbours are joined first.
    """
    if isinstance(production, CategoryValues) or isinstance(training, CategoryValues):
        assert isinstance(production, CategoryValues)
        assert isinstance(training, CategoryValues)
        return _categorical(feature, training, production)
    return _numeric(feature, training.values, production.values)


def rows_needed(share: float) -> int:
    """Return how many rows a part of production needs to be learned: 385 for each 2 % of traffic.

    >>> rows_needed(0.02), rows_needed(0.4)
    (385, 7700)
    """
    return math.ceil(round(share * CELLS * ROWS_PER_CELL, 6))


def _numeric(feature: str, training: Floats, production: Floats) -> Gap:
    old, new = training[np.isfinite(training)], production[np.isfinite(production)]
    empty = ~np.isfinite(production)
    regions: list[Region] = []
    psi, shift = math.nan, math.nan
    if len(new):
        edges, repeats = np.unique(
            np.quantile(new, np.linspace(1 / CELLS, 1, CELLS), method="inverted_cdf"), return_counts=True
        )
        edges = np.union1d(edges, np.nextafter(edges[repeats > 1], -np.inf))  # a cell for each frequent value
        # Cells are (edge, edge].
        place = np.searchsorted(edges, production, side="left")
        inside = old[(old >= new.min()) & (old <= edges[-1])]
        have = np.bincount(np.searchsorted(edges, inside, side="left"), minlength=len(edges))
        seen = np.bincount(place[~empty], minlength=len(edges))
        for first, last in _sparse_runs(have, seen, len(training), len(production)):
            rows = ~empty & (place >= first) & (place <= last)
            low, high = production[rows].min(), production[rows].max()
            where = f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
            regions.append(_region(feature, where, rows, int(have[first : last + 1].sum())))
        below, above = int((old < new.min()).sum()), int((old > edges[-1]).sum())
        psi = psi_corrected([below, *have, above], [0, *seen, 0])
        if len(old):
            low, middle, high = np.quantile(old, [0.25, 0.5, 0.75])
            shift = (float(np.median(new)) - middle) / (high - low) if high > low else math.nan
    lost = int((~np.isfinite(training)).sum())
    if _is_sparse(lost, int(empty.sum()), len(training), len(production)):
        regions.append(_region(feature, MISSING, empty, lost))
    return _gap(feature, psi, shift, regions, len(production))


def _categorical(feature: str, training: CategoryValues, production: CategoryValues) -> Gap:
    known = {text: n for n, text in enumerate(production.categories)}
    count = len(known)
    have = np.zeros(count + 1, np.int64)
    old = np.bincount(training.codes[training.codes >= 0], minlength=len(training.categories))
    elsewhere = 0  # rows of training with values that production never has
    for text, rows in zip(training.categories, old.tolist(), strict=True):
        if text in known:
            have[known[text]] += rows
        else:
            elsewhere += rows
    have[count] = int((training.codes < 0).sum())
    place = np.where(production.codes < 0, count, production.codes)
    seen = np.bincount(place, minlength=count + 1)
    expected = seen * (len(training.codes) / max(1, len(production.codes)))
    enough = seen / max(1, len(place)) * CELLS * ROWS_PER_CELL
    sparse = np.flatnonzero((seen > 0) & (have < np.minimum(SPARSE * expected, enough)))
    regions = []
    if len(sparse) and _is_sparse(
        int(have[sparse].sum()), int(seen[sparse].sum()), len(training.codes), len(place), of=len(seen)
    ):
        order = sparse[np.argsort(-seen[sparse], kind="stable")]
        names = [MISSING if n == count else str(production.categories[n]) for n in order.tolist()]
        more = f" and {len(names) - MOST_VALUES} more" if len(names) > MOST_VALUES else ""
        where = ", ".join(names[:MOST_VALUES]) + more
        regions.append(_region(feature, where, np.isin(place, sparse), int(have[sparse].sum())))
    psi = psi_corrected([*have, elsewhere], [*seen, 0])
    return _gap(feature, psi, math.nan, regions, len(place))


def _sparse_runs(have: Ints, seen: Ints, training: int, production: int) -> list[tuple[int, int]]:
    """Return first and last cell of each run of neighbours that are sparse and together surely so."""
    sparse = have < seen / max(1, production) * min(SPARSE * training, CELLS * ROWS_PER_CELL)
    runs: list[tuple[int, int]] = []
    for cell in np.flatnonzero(sparse).tolist():
        if runs and runs[-1][1] == cell - 1:
            runs[-1] = (runs[-1][0], cell)
        else:
            runs.append((cell, cell))
    cells = len(seen)
    return [
        (a, b)
        for a, b in runs
        if _is_sparse(int(have[a : b + 1].sum()), int(seen[a : b + 1].sum()), training, production, of=cells)
    ]


def _is_sparse(have: int, seen: int, training: int, production: int, *, of: int = 1) -> bool:
    """Return whether training has too few rows in a part of production, which is one ``of`` so many looked at."""
    expected = seen * training / max(1, production)
    few = have < min(SPARSE * expected, rows_needed(seen / max(1, production)))
    return bool(few and poisson.cdf(have, SURELY * expected) < LEVEL / of)


def _region(feature: str, where: str, rows: Bools, training_rows: int) -> Region:
    return Region(feature=feature, where=where, rows=rows, share=float(rows.mean()), training_rows=training_rows)


def _gap(feature: str, psi: float, shift: float, regions: Sequence[Region], production: int) -> Gap:
    anywhere = np.zeros(production, bool)
    for region in regions:
        anywhere |= region.rows
    uncovered = float(anywhere.mean()) if production else math.nan
    return Gap(feature=feature, psi=psi, shift=shift, regions=tuple(regions), uncovered=uncovered)
