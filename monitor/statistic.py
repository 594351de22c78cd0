"""Test statistics: the numbers of a window that are tested, all of them linear in a profile's counts and sums.

Each belongs to a subject (a feature, the score, the volume) and is compared with its own variation over training
windows. Linear means: a window's statistic is computed from merged tiles, and a thousand features cost a few
multiplications each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

import numpy as np

from monitor.column import CategoricalColumn, Layout, NumericColumn
from monitor.memo import per_reference
from monitor.outcome import OutcomeLayout, OutcomeProfile, Task
from monitor.profile import Profile
from monitor.reference import SCORE, Reference
from monitor.source import Bools, Floats, Ints
from monitor.stats.calibration import Calibration, RowShape, calibrate
from monitor.stats.neyman import components, order_for
from monitor.stats.occasion import occasional
from monitor.window import Window

VOLUME = ""  # subject of the volume: no column is called so
FEWEST_ROWS = 30  # usable training rows; fewer say nothing about a column
EXPECTED = 10.0  # smallest expected rows of a category in a small window (the 10 % quantile of training windows)
COMPONENTS = ("rank", "spread", "skew", "tails")  # what Neyman's φ₁ … φ₄ see first of all
SMALL_SHARE = 0.01
WHOLE_SHARE = 0.999


class StatisticKind(StrEnum):
    """What a statistic measures; all but the last two are in reference standard deviations."""

    LOCATION = "location"  # unbounded: a window outside the training range is as far as it is
    COMPONENT = "component"  # Neyman's, bounded
    CATEGORY = "category"
    MEAN = "mean"  # of the score, in its own units
    SHARE = "share"  # of rows, 0 to 1
    LOG_COUNT = "log count"


LASTING = frozenset({StatisticKind.LOCATION, StatisticKind.COMPONENT, StatisticKind.CATEGORY})  # fit for the slow path
# A share near 0 has a distribution of its own, which one long run of quiet windows makes look like evidence.


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """One test statistic: ``(Σ weights × counts / n - center) / scale``, or log n for the volume."""

    subject: str
    name: str
    kind: StatisticKind
    center: float = 0.0
    scale: float = 1.0
    unit: float = 1.0
    """Variance of one row, in units of the statistic."""
    skewness: float = 0.0
    kurtosis: float = 0.0
    """Of one row, in excess of a bell's."""

    @property
    def order(self) -> int:
        """Which of Neyman's components it is, from 1 on; 0 where it is none."""
        return COMPONENTS.index(self.name) + 1 if self.kind is StatisticKind.COMPONENT else 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """All statistics of a layout and how to compute them from a profile.

    Row t of the flat arrays says: add ``weights[t] × vector[cells[t]]``, where the vector is counts followed by sums;
    ``starts`` are where each statistic's numerator begins. ``row_cells`` and ``row_starts`` do so for the rows behind
    it.
    """

    layout: Layout
    items: tuple[Statistic, ...]
    cells: Ints
    weights: Floats
    starts: Ints
    row_cells: Ints
    row_weights: Floats
    row_starts: Ints
    volume: int
    """Position of the volume among the items."""

    def values(self, profile: Profile) -> tuple[Floats, Floats]:
        """Return theta (C,) and the rows behind each (C,); NaN where a window has no usable row."""
        vector = np.concatenate([profile.counts.astype(np.float64), profile.sums])
        n = np.add.reduceat(self.row_weights * vector[self.row_cells], self.row_starts)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            mean = np.add.reduceat(self.weights * vector[self.cells], self.starts) / n
            theta = (mean - self._center) / self._scale
            theta[self.volume] = np.log(n[self.volume])
        return np.where((n > 0) & np.isfinite(theta), theta, np.nan), n

    @cached_property
    def _center(self) -> Floats:
        return np.array([item.center for item in self.items])

    @cached_property
    def _scale(self) -> Floats:
        return np.array([item.scale for item in self.items])

    @cached_property
    def unit(self) -> Floats:
        """Variance of one row per statistic (C,)."""
        return np.array([item.unit for item in self.items])

    @cached_property
    def row(self) -> RowShape:
        """Shape of one row's value per statistic."""
        return RowShape(
            skewness=np.array([item.skewness for item in self.items]),
            kurtosis=np.array([item.kurtosis for item in self.items]),
            kin=np.array([item.order > 1 for item in self.items], np.int64),
        )

    @cached_property
    def score(self) -> int | None:
        """Position of the score's mean; None without scores in training."""
        return next((i for i, item in enumerate(self.items) if item.kind is StatisticKind.MEAN), None)

    def of(self, subject: str) -> Ints:
        """Return the positions of a subject's statistics."""
        return self._positions.get(subject, np.zeros(0, np.int64))

    @cached_property
    def _positions(self) -> dict[str, Ints]:
        found: dict[str, list[int]] = {}
        for place, item in enumerate(self.items):
            found.setdefault(item.subject, []).append(place)
        return {subject: np.array(places, np.int64) for subject, places in found.items()}


@dataclass
class _Builder:
    """Collects statistics and flattens them."""

    layout: Layout
    items: list[Statistic] = field(default_factory=list)
    cells: list[Ints] = field(default_factory=list)
    weights: list[Floats] = field(default_factory=list)
    row_cells: list[Ints] = field(default_factory=list)
    row_weights: list[Floats] = field(default_factory=list)

    def add(self, item: Statistic, cells: Ints, weights: Floats, row_cells: Ints, row_weights: Floats) -> None:
        self.items.append(item)
        self.cells.append(cells)
        self.weights.append(weights)
        self.row_cells.append(row_cells)
        self.row_weights.append(row_weights)

    def build(self) -> Statistics:
        def starts(parts: Sequence[Ints]) -> Ints:
            return np.cumsum([0, *(len(part) for part in parts[:-1])]).astype(np.int64)

        return Statistics(
            layout=self.layout,
            items=tuple(self.items),
            cells=np.concatenate(self.cells),
            weights=np.concatenate(self.weights),
            starts=starts(self.cells),
            row_cells=np.concatenate(self.row_cells),
            row_weights=np.concatenate(self.row_weights),
            row_starts=starts(self.row_cells),
            volume=next(i for i, item in enumerate(self.items) if item.kind is StatisticKind.LOG_COUNT),
        )


def statistics_of(reference: Reference) -> Statistics:
    """Return the test statistics that the reference's columns can bear.

    Numeric: Neyman's components (one where the feature is mostly its floor, two where a fifth is one value), location;
    where the interquartile range is 0 the share of the atom and the location of the rest; where training saw one value
    the share of others. Categorical: each value of at least 1 % and ten expected rows in a small window, the others
    together. A feature that follows the clock has none: it is compared with the clock, not with the margin. Columns
    with fewer than 30 usable training rows have none either.
    """
    layout = reference.layout
    builder = _Builder(layout)
    sizes = np.array([profile.rows for profile in reference.profiles if profile.rows])
    small = float(np.quantile(sizes, 0.1)) if len(sizes) else 0.0
    for position, column in enumerate(layout.columns):
        if reference.total.columns[column.name].count < FEWEST_ROWS or column.clock is not None:
            continue
        if isinstance(column, CategoricalColumn):
            _categories(builder, reference.total, position, column, small)
        else:
            _numeric(builder, reference.total, position, column)
        if column.name == SCORE and isinstance(column, NumericColumn):
            _score(builder, reference, position, column)
    rows, one = np.zeros(1, np.int64), np.ones(1)
    builder.add(Statistic(subject=VOLUME, name="log count", kind=StatisticKind.LOG_COUNT), rows, one, rows, one)
    return builder.build()


def _score(builder: _Builder, reference: Reference, position: int, column: NumericColumn) -> None:
    """Add the mean of the score, in its own units; a row's variance is that within windows."""
    layout = reference.layout
    bins = _range(layout.bins(position))
    views = [profile.columns[SCORE] for profile in reference.profiles]
    within = [view.variance for view in views if view.count > 2]
    item = Statistic(
        subject=SCORE,
        name="mean",
        kind=StatisticKind.MEAN,
        center=-column.center,
        unit=max(float(np.mean(within)) if within else views[0].variance, 1e-12),
    )
    builder.add(item, np.array([layout.counts + layout.sum_at(position)]), np.ones(1), bins, np.ones(len(bins)))


def _numeric(builder: _Builder, total: Profile, position: int, column: NumericColumn) -> None:
    layout, view = total.layout, total.columns[column.name]
    bins = _range(layout.bins(position))
    ones = np.ones(len(bins))
    p = view.bins / view.count
    atom = column.atom_bin
    if column.constant or (p > 0).sum() < 2:
        place = int(p.argmax())
        others = np.delete(bins, place)
        unit = 1 / max(view.count, 1)
        item = Statistic(
            subject=column.name, name="not constant", kind=StatisticKind.SHARE, unit=unit, **_bernoulli(unit)
        )
        builder.add(item, others, np.ones(len(others)), bins, ones)
        return
    at_floor = column.atom is not None and column.atom in (0.0, view.minimum)
    order = order_for(column.atom_share, at_floor=at_floor, filled=int((p > 0).sum()))
    for name, values in zip(COMPONENTS, components(p, order).T, strict=False):
        item = Statistic(subject=column.name, name=name, kind=StatisticKind.COMPONENT, **_shape(p, values))
        builder.add(item, bins, values, bins, ones)
    sum_at = layout.counts + layout.sum_at(position)
    mean, rows = view.location, view.location_count
    if not column.off_atom:
        item = Statistic(
            subject=column.name,
            name="location",
            kind=StatisticKind.LOCATION,
            unit=_clipped(total, position),
            **_shape(p, column.clipped(_middles(column))),
        )
        builder.add(item, np.array([sum_at + 2]), np.ones(1), bins, ones)
        return
    if atom is not None:
        share = float(p[atom])
        unit = max(share * (1 - share), 1 / view.count)
        item = Statistic(subject=column.name, name="atom", kind=StatisticKind.SHARE, unit=unit, **_bernoulli(share))
        builder.add(item, bins[atom : atom + 1], np.ones(1), bins, ones)
    if column.scale > 0 and rows > 0 and np.isfinite(mean):
        places = np.arange(len(bins)) if atom is None else np.delete(np.arange(len(bins)), atom)
        item = Statistic(
            subject=column.name,
            name="rest",
            kind=StatisticKind.LOCATION,
            unit=_clipped(total, position),
            **_shape(p[places], column.clipped(_middles(column))[places]),
        )
        off = bins[places]
        builder.add(item, np.array([sum_at + 2]), np.ones(1), off, np.ones(len(off)))


def _middles(column: NumericColumn) -> Floats:
    """Return a value for each bin: its middle, an edge for the two that training left empty."""
    edges = column.edges
    return np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])


def _shape(weights: Floats, values: Floats) -> dict[str, float]:
    """Return skewness and excess kurtosis of values that occur with these weights; 0 without a spread."""
    p = weights / max(float(weights.sum()), 1e-300)
    off = values - p @ values
    variance = float(p @ off**2)
    if not variance > 0:
        return {"skewness": 0.0, "kurtosis": 0.0}
    return {"skewness": float(p @ off**3) / variance**1.5, "kurtosis": float(p @ off**4) / variance**2 - 3}


def _bernoulli(share: float) -> dict[str, float]:
    return _shape(np.array([1 - share, share]), np.array([0.0, 1.0]))


def _clipped(total: Profile, position: int) -> float:
    """Return the variance of one row's clipped value."""
    first = total.layout.sum_at(position)
    n = total.columns[total.layout.columns[position].name].location_count
    mean = total.sums[first + 2] / n
    return float(max(total.sums[first + 3] / n - mean**2, 1e-4))


def _categories(builder: _Builder, total: Profile, position: int, column: CategoricalColumn, small: float) -> None:
    layout, view = total.layout, total.columns[column.name]
    bins = _range(layout.bins(position))
    rest = np.array([layout.extra(position, "other"), layout.extra(position, "unseen")])
    everything = np.concatenate([bins, rest])
    ones = np.ones(len(everything))
    p = view.bins / view.count
    big = (p * small >= EXPECTED) & (p >= SMALL_SHARE)

    def add(name: str, cells: Ints, share: float) -> None:
        item = Statistic(
            subject=column.name,
            name=name,
            kind=StatisticKind.CATEGORY,
            center=share,
            scale=float(np.sqrt(share * (1 - share))),
            **_bernoulli(share),
        )
        builder.add(item, cells, np.ones(len(cells)), everything, ones)

    for place in np.flatnonzero(big & (p <= WHOLE_SHARE)).tolist():
        add(f"= {column.values[place]}", bins[place : place + 1], float(p[place]))
    other = 1 - float(p[big].sum())
    if other * small >= EXPECTED and (other < 1 or not big.any()) and 0 < other <= WHOLE_SHARE:
        add("other values", np.concatenate([bins[~big], rest]), other)


def _range(where: slice) -> Ints:
    return np.arange(where.start, where.stop, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class NullModel:
    """What a reference's statistics do when nothing is wrong.

    ``season`` calibrates every statistic by season slot, ``flat`` without seasons (used for the score: a champion's
    honest predictions cover too few rounds of a season to spend degrees of freedom on it).
    """

    statistics: Statistics
    theta: Floats
    n: Floats
    slots: Ints
    seasons: int
    season: Calibration
    flat: Calibration


def training_slots(reference: Reference) -> tuple[Ints, int]:
    """Return the season slot of each training window and the number of slots (1 without a time line)."""
    if not reference.timeline:
        return np.zeros(len(reference.windows), np.int64), 1
    seasons = reference.spec.season_length
    return np.array([reference.spec.slot(window) for window in reference.windows], np.int64), seasons


def slot_of(reference: Reference, window: Window) -> int:
    """Return the season slot of a production window, as the null model numbers them."""
    return reference.spec.slot(window) if reference.timeline else 0


def label_theta(layout: OutcomeLayout, outcome: OutcomeProfile) -> Floats:
    """Return the labels of a window: the share of positives, of each class, or the mean (regression); NaN without any.

    >>> layout = OutcomeLayout(task=Task.BINARY, score_edges=np.array([0.5]), label_edges=np.zeros(0))
    >>> label_theta(layout, OutcomeProfile.empty(layout)).tolist()
    [nan]
    """
    if layout.task is Task.REGRESSION:
        return np.array([outcome.mean("label")])
    counts = outcome.joint.sum(axis=0).astype(np.float64)
    share = counts / outcome.labelled if outcome.labelled else np.full(len(counts), np.nan)
    return share[1:] if layout.task is Task.BINARY else share


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelNull:
    """The null model of label shares (or their mean): names, spread of one row, calibration without season."""

    names: tuple[str, ...]
    spread: Floats
    calibration: Calibration


def on_holidays(reference: Reference, holidays: frozenset[str]) -> Bools:
    """Return which training windows lie on a holiday."""
    spec, known = reference.spec, holidays if reference.timeline else frozenset()
    return np.array([spec.is_holiday(window, known) for window in reference.windows], np.bool_)


def null_model(reference: Reference, holidays: frozenset[str] = frozenset(), *, on_holiday: bool = False) -> NullModel:
    """Return the null model of a reference, for windows on its holidays or for all others."""
    return _null_models(reference, holidays)[on_holiday]


@per_reference
def _null_models(reference: Reference, holidays: frozenset[str]) -> tuple[NullModel, NullModel]:
    """Return the null models of ordinary windows and of holidays; each sees only its own windows of training."""
    statistics = statistics_of(reference)
    pairs = [statistics.values(profile) for profile in reference.profiles]
    theta, n = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    slots, seasons = training_slots(reference)
    special, zero = on_holidays(reference, holidays), np.zeros(len(theta), np.int64)
    ordinary = np.where(special[:, None], np.nan, theta)
    usual = NullModel(
        statistics=statistics,
        theta=ordinary,
        n=n,
        slots=slots,
        seasons=seasons,
        season=calibrate(ordinary, n, statistics.unit, slots, seasons, statistics.row),
        flat=calibrate(ordinary, n, statistics.unit, zero),
    )
    return usual, replace(
        usual,
        theta=theta[special],
        n=n[special],
        slots=slots[special],
        season=occasional(usual.season, theta[special], n[special], slots[special]),
        flat=occasional(usual.flat, theta[special], n[special], zero[special]),
    )


def label_null(
    reference: Reference, holidays: frozenset[str] = frozenset(), *, on_holiday: bool = False
) -> LabelNull | None:
    """Return the null model of the labels, or None where the reference has no outcomes."""
    found = _label_nulls(reference, holidays)
    return None if found is None else found[on_holiday]


@per_reference
def _label_nulls(reference: Reference, holidays: frozenset[str]) -> tuple[LabelNull, LabelNull] | None:
    layout, total = reference.outcome_layout, reference.outcome_total
    if layout is None or total is None or not total.labelled:
        return None
    share = label_theta(layout, total)
    if layout.task is Task.REGRESSION:
        unit = np.array([max(total.mean("label2") - total.mean("label") ** 2, 1e-12)])
        names: tuple[str, ...] = ("mean",)
    else:
        unit = np.maximum(share * (1 - share), 1 / total.labelled)
        names = ("positive share",) if layout.task is Task.BINARY else tuple(f"share of {c}" for c in layout.classes)
    with_labels = np.array([outcome is not None for outcome in reference.outcomes], np.bool_)
    known = [outcome for outcome in reference.outcomes if outcome is not None]
    special = on_holidays(reference, holidays)[with_labels]
    theta = np.array([label_theta(layout, outcome) for outcome in known])
    n = np.array([[outcome.labelled] * theta.shape[1] for outcome in known], np.float64)
    zero = np.zeros(len(known), np.int64)
    usual = calibrate(np.where(special[:, None], np.nan, theta), n, unit, zero)
    holiday = occasional(usual, theta[special], n[special], zero[special])
    return (
        LabelNull(names=names, spread=np.sqrt(unit), calibration=usual),
        LabelNull(names=names, spread=np.sqrt(unit), calibration=holiday),
    )
