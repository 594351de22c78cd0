"""Golden rows: predictions that training kept, made again, and which versions of packages changed in between."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]
Predict = Callable[[Columns], Floats]

SAME = 1e-6  # of a score: the difference from which it has moved
JUMP = 0.01  # of the spread of predicted numbers: the difference from which one has turned over
MOST_SWAPS = 300  # pairs of columns that are tried as the cause of moved predictions


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What golden rows came to: how many predictions moved and decisions turned over, by how much, and why, if known.

    ``what`` says what ``flipped`` counts for this kind of model. ``swap`` are two columns whose exchange explains
    all of it.
    """

    rows: int
    moved: int
    flipped: int = 0
    what: str = "decisions turned over"
    largest: float = 0.0
    mean: float = 0.0
    swap: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A package (or Python, or the platform) that is another version here than there; "" where it is missing."""

    name: str
    before: str
    after: str

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.name} {self.before or 'missing'} → {self.after or 'missing'}"


def turned(before: Floats, after: Floats, threshold: float | None = None) -> NDArray[np.bool_]:
    """Return which decisions turned over, (N,).

    Scores, (N,), turn over at ``threshold``, probabilities of classes, (N, classes), where another class is the most
    probable, and numbers without a threshold where they move by more than 1 % of their standard deviation.

    >>> turned(np.array([0.4, 0.6]), np.array([0.6, 0.7]), 0.5).tolist()
    [True, False]
    >>> turned(np.array([[0.2, 0.8], [0.7, 0.3]]), np.array([[0.6, 0.4], [0.6, 0.4]])).tolist()
    [True, False]
    >>> turned(np.array([10.0, 20.0]), np.array([10.01, 30.0])).tolist()
    [False, True]
    """
    if before.ndim > 1:
        return np.asarray(before.argmax(axis=1) != after.argmax(axis=1), np.bool_)
    if threshold is not None:
        return np.asarray((before >= threshold) != (after >= threshold), np.bool_)
    known = before[np.isfinite(before)]
    with np.errstate(invalid="ignore"):
        close = (np.abs(after - before) <= JUMP * (np.std(known) if len(known) else 0.0)) | (after == before)
    return np.asarray(~(close | (np.isnan(after) & np.isnan(before))), np.bool_)


def replay(golden: Columns, said: Floats, predict: Predict, *, threshold: float | None = None) -> Replay:
    """Return what becomes of predictions ``said`` in training when the same rows are asked again.

    ``said`` is (N,), or (N, classes), where the class that moved most counts. A prediction that is not finite has
    moved, unless it was not finite before.

    >>> rows = {"x": np.array([0.25, 0.25])}
    >>> replay(rows, np.array([0.25, 0.25]), lambda columns: columns["x"] + [0, 0.5], threshold=0.5)
    Replay(rows=2, moved=1, flipped=1, what='decisions turned over', largest=0.5, mean=0.25, swap=None)
    """
    now = predict(golden)
    with np.errstate(invalid="ignore"):
        apart = np.abs(now - said)
        same = (apart <= SAME) | (now == said) | (np.isnan(now) & np.isnan(said))
    if same.ndim > 1:
        same, apart = same.all(axis=1), apart.max(axis=1)
    flipped = int(turned(said, now, threshold).sum())
    moved = int((~same).sum())
    if not moved:
        return Replay(rows=len(said), moved=0)
    known = apart[np.isfinite(apart)]
    return Replay(
        rows=len(said),
        moved=moved,
        flipped=flipped,
        what="of them by over 1% of their spread" if threshold is None and said.ndim == 1 else "decisions turned over",
        largest=float(known.max()) if len(known) else np.inf,
        mean=float(known.mean()) if len(known) else np.inf,
        swap=_swapped(golden, said, predict),
    )


def _swapped(golden: Columns, said: Floats, predict: Predict) -> tuple[str, str] | None:
    pairs = [(a, b) for a, b in combinations(golden, 2) if golden[a].dtype.kind == golden[b].dtype.kind]
    few = {name: values[:10] for name, values in golden.items()}  # most pairs are ruled out by a few rows
    for one, other in pairs[:MOST_SWAPS]:
        if not (np.abs(predict({**few, one: few[other], other: few[one]}) - said[:10]) <= SAME).all():
            continue
        if (np.abs(predict({**golden, one: golden[other], other: golden[one]}) - said) <= SAME).all():
            return one, other
    return None


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[Difference]:
    """Return what differs between two environments among what the first one names, the largest step first.

    >>> [one.text for one in differences({"numpy": "2.1.0", "scipy": "1.14", "torch": "2"},
    ...     {"numpy": "2.1.3", "scipy": "2.0", "torch": "2", "flask": "3"})]
    ['scipy 1.14 → 2.0', 'numpy 2.1.0 → 2.1.3']
    """
    found = [
        Difference(name=name, before=version, after=after.get(name, ""))
        for name, version in before.items()
        if after.get(name, "") != version
    ]
    return sorted(found, key=lambda one: (_step(one.before, one.after), one.name))


def _step(before: str, after: str) -> int:
    """Return the place of the first part of a version that differs: 0 is a major version, or a package that is gone."""
    if not after:
        return 0
    parts = zip_longest(re.findall(r"\d+|[a-z]+", before.lower()), re.findall(r"\d+|[a-z]+", after.lower()))
    return next((place for place, (one, other) in enumerate(parts) if one != other), 9)


def ranked(apart: Sequence[Difference], seen: Sequence[tuple[Mapping[str, str], int]]) -> list[tuple[Difference, int]]:
    """Return differences with how many predictions each can have moved, the most first, else in the order given.

    ``seen`` are environments in which golden rows were replayed, and how many predictions moved there. A version moved
    no more than the fewest that moved in any environment that ran it.

    >>> one, other = (Difference(name=name, before="1", after="2") for name in "ab")
    >>> seen = [({"a": "2", "b": "1"}, 0), ({"a": "2", "b": "2"}, 7)]
    >>> [(difference.name, moved) for difference, moved in ranked([one, other], seen)]
    [('b', 7), ('a', 0)]
    """
    found = [(one, min(moved for ran, moved in seen if ran.get(one.name, "") == one.after)) for one in apart]
    return sorted(found, key=lambda item: -item[1])


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The serving endpoint's replay of the golden rows: ``problem`` says why there is none.

    ``training`` and ``serving`` are versions by package, with ``python`` and ``platform`` where they are known;
    ``serving`` is empty where nobody told.
    """

    version: str = ""
    replay: Replay | None = None
    problem: str = ""
    training: Mapping[str, str] = field(default_factory=dict)
    serving: Mapping[str, str] = field(default_factory=dict)
