"""Foresight: columns of training that know what nobody knows at the time of a prediction."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from monitor.golden import Columns, Floats
from monitor.outcome import Task

SUSPICIOUS = 0.95  # AUC of one column alone, from which it is taken to know the label
ENCODED = 0.75  # AUC of the order or the spelling of an id, which should know nothing
EMPTY = 0.99  # share of missing values from which a column is empty
FALL = 0.15  # by which the AUC of a column may be lower in production than in training
CERTAIN = 4.0  # standard errors of that difference
FEWEST = 50  # labels of each class
USUAL = 0.5  # share of training from which one value for all of production is nothing strange
LATE = 0.01  # share of rows in which a time may lie after the prediction
REPEATED = 0.05  # share of the rows of a test that may be in training


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """One column that knows the future, and how that was seen; ``kind`` is what is wrong, ``value`` its figure."""

    column: str
    kind: str
    message: str
    value: float
    limit: float
    reference: float | None = None


@dataclass(frozen=True, kw_only=True)
class Foreknowledge:
    """What was found in training, and the AUC of each column alone there (and in production, with labels)."""

    suspicions: tuple[Suspicion, ...] = ()
    areas: Mapping[str, float] = field(default_factory=dict)
    in_production: Mapping[str, float] = field(default_factory=dict)
    columns: int = 0


def find(
    training: Columns,
    label: Floats | None,
    production: Columns | None,
    *,
    production_label: Floats | None = None,
    ids: Columns | None = None,
    late: Mapping[str, float] | None = None,
    compare_presence: bool = True,
    task: Task = Task.BINARY,
) -> Foreknowledge:
    """Return which columns of training know the future, by everything that is at hand.

    ``label`` (NaN: unknown) are the labels of the training rows, ``production_label`` those of production's; ``ids``
    are columns that should know nothing; ``late`` is the share of rows in which a time lies after the prediction.
    The AUC of one column is that of the label (binary), of each class against the others (the largest counts), or of
    lying above training's median (numbers).
    """
    sides = [] if label is None else sides_of(label, label, task)
    each = {name: [single_auc(values, side) for side in sides] for name, values in training.items()} if sides else {}
    best = {name: int(np.nan_to_num(areas, nan=-1.0).argmax()) for name, areas in each.items()}
    areas = {name: each[name][best[name]] for name in each}
    found = [
        Suspicion(
            column=name,
            kind="knows the label",
            message=f"{name} alone tells the label (AUC {area:.3f})",
            value=area,
            limit=SUSPICIOUS,
        )
        for name, area in areas.items()
        if area >= SUSPICIOUS
    ]
    if production is not None and compare_presence:
        found += _absent(training, production)
    there = {}
    if production is not None and production_label is not None and label is not None:
        seen = sides_of(production_label, label, task)
        there = {name: single_auc(production[name], seen[best[name]]) for name in areas if name in production}
        fallen = (_fallen(name, areas, there, sides[best[name]], seen[best[name]]) for name in there)
        found += [one for one in fallen if one is not None]
    for name, values in (ids or {}).items():
        area = max((one for side in sides if math.isfinite(one := id_auc(values, side))), default=math.nan)
        if area >= ENCODED:
            message = f"{name} is an id, and its order or spelling tells the label (AUC {area:.3f})"
            found.append(Suspicion(column=name, kind="id", message=message, value=area, limit=ENCODED))
    for name, share in (late or {}).items():
        if share >= LATE:
            message = f"{name} lies after the prediction in {share:.1%} of the rows"
            found.append(Suspicion(column=name, kind="later", message=message, value=share, limit=LATE))
    return Foreknowledge(suspicions=tuple(found), areas=areas, in_production=there, columns=len(training))


def sides_of(label: Floats, training: Floats, task: Task) -> list[Floats]:
    """Return the questions of yes and no that a label answers, (N,) each; NaN where it is unknown.

    >>> sides_of(np.array([0.0, 2.0]), np.array([0.0, 1.0, 2.0]), Task.MULTICLASS)[2].tolist()
    [0.0, 1.0]
    >>> sides_of(np.array([9.0, np.nan]), np.array([1.0, 2.0, 3.0]), Task.REGRESSION)[0].tolist()
    [1.0, nan]
    """
    known = training[np.isfinite(training)]
    match task:
        case Task.BINARY:
            return [label]
        case Task.MULTICLASS:
            answers = [label == one for one in np.unique(known)]
        case Task.REGRESSION:
            answers = [label > np.median(known)] if len(known) else []
    return [np.where(np.isfinite(label), answer, np.nan) for answer in answers]


def _absent(training: Columns, production: Columns) -> list[Suspicion]:
    found = []
    for name, values in training.items():
        if is_idle(values):
            continue
        if name not in production:
            message = f"{name} is not in production's rows"
            found.append(Suspicion(column=name, kind="absent", message=message, value=1.0, limit=EMPTY))
        elif is_idle(production[name]):
            share = float(missing(production[name]).mean())
            what = "empty" if share >= EMPTY else "constant"
            if what == "constant" and share_of(production[name], values) >= USUAL:
                continue  # a dry week is constant as well
            message = f"{name} is {what} in production and not in training"
            found.append(Suspicion(column=name, kind=what, message=message, value=share, limit=EMPTY))
    return found


def _fallen(
    name: str, areas: Mapping[str, float], there: Mapping[str, float], label: Floats, production_label: Floats
) -> Suspicion | None:
    """Return the column if it tells the label far better in training than in production."""
    before, after = areas[name], there[name]
    errors = [_error(area, of) for area, of in ((before, label), (after, production_label))]
    if not before - after >= FALL or not before - after >= CERTAIN * math.hypot(*errors):
        return None
    return Suspicion(
        column=name,
        kind="fallen",
        message=f"{name} alone tells the label with an AUC of {before:.3f} in training and {after:.3f} in production",
        value=after,
        limit=before - FALL,
        reference=before,
    )


def _error(area: float, label: Floats) -> float:
    """Return an upper bound of the standard error of an AUC: √(A (1 − A) / the smaller class), inf with few labels.

    Birnbaum and Klose (1957), the variance of the Mann-Whitney statistic; never below half a row.
    """
    fewer = min(float((label == 1).sum()), float((label == 0).sum()))
    if fewer < FEWEST:
        return math.inf
    return math.sqrt(max(area * (1 - area), 0.5 / fewer) / fewer)


def single_auc(values: NDArray[Any], label: Floats) -> float:
    """Return the AUC of one column alone, in whichever direction is better; NaN where it has none.

    A column of words is scored by the mean label of each word, which flatters words that come once: with more than one
    word per ten rows it has none.

    >>> single_auc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 1.0, 0.0, 0.0]))
    1.0
    """
    known = np.isfinite(label)
    x, y = values[known], label[known]
    if x.dtype.kind not in "fiub":
        words, code = np.unique(x.astype(str), return_inverse=True)
        if len(words) > len(x) / 10:
            return math.nan
        x = (np.bincount(code, weights=y) / np.bincount(code))[code]
    x = x.astype(np.float64)
    there = np.isfinite(x)
    x, y = x[there], y[there]
    positives, negatives = float((y == 1).sum()), float((y == 0).sum())
    if not positives or not negatives:
        return math.nan
    area = (stats.rankdata(x)[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return float(max(area, 1 - area))


def id_auc(values: NDArray[Any], label: Floats) -> float:
    """Return the largest AUC of an id's order, its number, its length and its first three characters; NaN for none.

    >>> id_auc(np.array(["p1", "p2", "n3", "n4"] * 30), np.array([1.0, 1, 0, 0] * 30))
    1.0
    """
    text = values.astype(str)
    _, order = np.unique(text, return_inverse=True)
    numbers = [re.findall(r"\d+", one) for one in text]
    readings: list[NDArray[Any]] = [
        order.astype(np.float64),
        np.array([float(found[-1][-15:]) if found else math.nan for found in numbers]),
        np.array([float(len(one)) for one in text]),
        np.array([one[:3] for one in text]),
        np.array([one[:1] for one in text]),
    ]
    areas = [single_auc(reading, label) for reading in readings]
    return max((area for area in areas if math.isfinite(area)), default=math.nan)


def repeated(training: Columns, test: Columns) -> tuple[float, float]:
    """Return the share of a test's rows that training has, feature for feature, and that of training in itself.

    >>> train, test = {"x": np.array([1.0, 2, 3, 4])}, {"x": np.array([1.0, 2, 9, 8])}
    >>> repeated(train, test)
    (0.5, 0.0)
    """
    shared = [name for name in training if name in test]
    if not shared:
        return 0.0, 0.0
    mine, other = (_records(rows, shared) for rows in (training, test))
    known = set(mine)
    return sum(row in known for row in other) / max(len(other), 1), 1 - len(known) / max(len(mine), 1)


def _records(rows: Columns, names: list[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(_plain(rows[name]) for name in names), strict=True))


def _plain(values: NDArray[Any]) -> list[Any]:
    return [None if value is None or value != value else value for value in values.tolist()]


def missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a column has no value."""
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values), np.bool_)
    return np.array([value is None or value != value for value in values.tolist()], np.bool_)


def is_idle(values: NDArray[Any]) -> bool:
    """Whether a column is empty or says the same in every row."""
    gone = missing(values)
    return bool(gone.mean() >= EMPTY) or len(np.unique(values[~gone].astype(str))) <= 1


def share_of(production: NDArray[Any], training: NDArray[Any]) -> float:
    """Return the share of training's rows that have the one value of an idle column of production.

    >>> share_of(np.array([0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.5]))
    0.75
    """
    (value,) = set(production[~missing(production)].tolist())
    return float(np.mean([one == value for one in training.tolist()]))
