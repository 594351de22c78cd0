"""Relations: lines that pairs of numeric columns followed in training, and the moments that show whether they still do.

The moments of a pair are sums over rows, so they merge like everything else in a profile. Pairs are chosen once, at
training time: however many columns there are, a profile grows by at most five numbers for each of twelve pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from monitor.source import Floats

MOMENTS = 5  # rows with both values, Σ r, Σ a, Σ r², Σ r·a
MOST = 12
MOST_OF_ONE = 3  # pairs that one column is in: a cluster of copies would take them all
FARTHEST = 8.0  # residual standard deviations
LEAST_SPREAD = 0.01  # of a residual, in robust standard deviations: where one column is computed from the other
SAMPLE = 10_000  # rows that pairs are chosen and fitted on: what a wide table needs stays bounded
FEWEST_ROWS = 100
CANDIDATES = 1000  # columns, in their order
HELD = 0.8  # share of the variance that a line explains which is called a relation


@dataclass(frozen=True, kw_only=True)
class Relation:
    """The line of column ``of`` on column ``on``, both as robust scores clip((x - center) / scale, ±8).

    The residual is r = clip((b - intercept - slope · a) / spread, ±8). ``explained`` is the share of b's variance that
    the line explained, ``square`` and ``product`` are variance, skewness and excess kurtosis of one row's r² and r·a.
    """

    of: str
    on: str
    slope: float
    intercept: float
    spread: float
    explained: float
    square: tuple[float, float, float]
    product: tuple[float, float, float]

    @property
    def name(self) -> str:
        """Both columns."""
        return f"{self.of} ~ {self.on}"

    @property
    def held(self) -> bool:
        """Whether the columns went together in training, or were only looked at together."""
        return self.explained >= HELD

    def residual(self, a: Floats, b: Floats) -> Floats:
        """Return r of each row; NaN where a score is NaN."""
        return np.clip((b - self.intercept - self.slope * a) / self.spread, -FARTHEST, FARTHEST)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Relation:
        """Return what ``to_json`` wrote."""
        return cls(**{**data, "square": tuple(data["square"]), "product": tuple(data["product"])})

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def learn(scores: Mapping[str, Floats]) -> tuple[Relation, ...]:
    """Return the pairs worth following, the closest first; ``scores`` (N,) by column, NaN where there is no value.

    Chosen by the size of their correlation, at most twelve and three of one column. Lines are least squares on
    the rows with both values; what explains more, b on a or a on b, is the same, so names decide.
    """
    names = list(scores)[:CANDIDATES]
    if len(names) < 2:
        return ()
    table = np.array([np.nan_to_num(scores[name]) for name in names])
    table = table - table.mean(axis=1, keepdims=True)
    size = np.sqrt((table**2).sum(axis=1))
    table /= np.where(size > 0, size, 1.0)[:, None]
    closeness = np.abs(table @ table.T)
    first, second = np.triu_indices(len(names), 1)
    taken: dict[str, int] = dict.fromkeys(names, 0)
    found: list[Relation] = []
    for place in np.argsort(-closeness[first, second], kind="stable").tolist():
        on, of = sorted((names[first[place]], names[second[place]]))
        if max(taken[on], taken[of]) >= MOST_OF_ONE:
            continue
        relation = _fit(of, on, scores[on], scores[of])
        if relation is None:
            continue
        found.append(relation)
        taken[on] += 1
        taken[of] += 1
        if len(found) == MOST:
            break
    return tuple(found)


def _fit(of: str, on: str, a: Floats, b: Floats) -> Relation | None:
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < FEWEST_ROWS or not a.std() > 0 or not b.std() > 0:
        return None
    slope = float(((a - a.mean()) * (b - b.mean())).mean() / a.var())
    intercept = float(b.mean() - slope * a.mean())
    rest = float((b - intercept - slope * a).std())
    line = Relation(
        of=of,
        on=on,
        slope=slope,
        intercept=intercept,
        spread=max(rest, LEAST_SPREAD),
        explained=1 - rest**2 / float(b.var()),
        square=(0.0, 0.0, 0.0),
        product=(0.0, 0.0, 0.0),
    )
    r = line.residual(a, b)
    return Relation(**{**line.to_json(), "square": _shape(r * r), "product": _shape(r * (a - a.mean()))})


def _shape(values: Floats) -> tuple[float, float, float]:
    mean, variance = float(values.mean()), float(values.var())
    if not variance > 0:
        return 1e-12, 0.0, 0.0
    z = (values - mean) / np.sqrt(variance)
    return variance, float((z**3).mean()), float((z**4).mean() - 3)
