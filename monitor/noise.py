"""Noise: how many decisions turn over when inputs change by what nobody could measure, and by a little more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.foresight import is_idle
from monitor.golden import Columns, Predict, turned

FLIPS = 0.001  # share of decisions that noise nobody could measure may turn over
NOISES = (1e-6, 1e-4, 1e-2)  # of a column's standard deviation; the first decides
MOST_ROWS = 1000  # that noise is put on
MOST_COLUMNS = 30  # that are tried alone, by name where there are more
FINEST = 1e-9  # steps below this share of a column's spread are no precision


@dataclass(frozen=True, kw_only=True)
class Shaken:
    """Shares of decisions that turned over: ``curve`` by noise on all columns of numbers, the others by column.

    ``what`` says what that is for this kind of model. ``rounding`` is noise of half a step of each column's own
    precision, on all that have one; ``swapped`` gives a category the value of another row, ``missing`` takes a value
    away.
    """

    rows: int
    curve: Mapping[float, float]
    rounding: float | None = None
    what: str = "decisions flip"
    alone: Mapping[str, float] = field(default_factory=dict)
    swapped: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, float] = field(default_factory=dict)

    @property
    def flips(self) -> float:
        """The share at noise that nobody could measure."""
        return self.curve[NOISES[0]]

    @property
    def text(self) -> str:
        """What decides, for people."""
        return f"{self.flips:.2%} of {self.rows:,} {self.what} at noise of {NOISES[0]:g} standard deviations"

    @property
    def figures(self) -> list[str]:
        """For people, the most sensitive columns first."""
        curve = ", ".join(f"{noise:g}: {part:.2%}" for noise, part in self.curve.items())
        rounding = "" if self.rounding is None else f"; within the precision of the data: {self.rounding:.2%}"
        found = [f"flipped by noise: {curve}{rounding}"]
        for shares, what in (
            (self.alone, f"most sensitive at {NOISES[-1]:g}"),
            (self.swapped, "by another row's category"),
            (self.missing, "without a value"),
        ):
            top = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:3]
            if top:
                found.append(f"{what}: " + ", ".join(f"{name} {part:.2%}" for name, part in top))
        return found


def shake(
    rows: Columns, predict: Predict, *, threshold: float | None, rng: np.random.Generator, most: int = MOST_ROWS
) -> Shaken | None:
    """Return how steady decisions are on at most ``most`` rows; None where there is no column to put noise on.

    What a decision is without a ``threshold`` says ``golden.turned``. Noise is normal, in standard deviations of each
    column of numbers. It asks ``predict`` once for each figure.
    """
    size = len(next(iter(rows.values())))
    chosen = np.sort(rng.choice(size, min(size, most), replace=False))
    taken = {name: values[chosen] for name, values in rows.items()}
    useful = [name for name, values in taken.items() if not is_idle(values)]
    numbers = [name for name in useful if taken[name].dtype.kind in "fiu"]
    words = [name for name in useful if taken[name].dtype.kind not in "fiub"]
    if not numbers:
        return None
    before = predict(taken)

    def flipped(changed: Mapping[str, NDArray[Any]]) -> float:
        return float(turned(before, predict({**taken, **changed}), threshold).mean())

    def noisy(noise: float, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        return {
            name: (x := taken[name].astype(np.float64)) + noise * np.nanstd(x) * rng.normal(size=len(x))
            for name in names
        }

    steps = {name: step for name in numbers if (step := precision(taken[name])) is not None}
    rounded = {
        name: taken[name].astype(np.float64) + step * rng.uniform(-0.5, 0.5, len(chosen))
        for name, step in steps.items()
    }
    return Shaken(
        rows=len(chosen),
        curve={noise: flipped(noisy(noise, numbers)) for noise in NOISES},
        rounding=flipped(rounded) if rounded else None,
        what="predictions jump" if threshold is None and before.ndim == 1 else "decisions flip",
        alone={name: flipped(noisy(NOISES[-1], [name])) for name in numbers[:MOST_COLUMNS]},
        swapped={name: flipped({name: rng.permutation(taken[name])}) for name in words[:MOST_COLUMNS]},
        missing={name: flipped({name: _without(taken[name])}) for name in useful[:MOST_COLUMNS]},
    )


def precision(values: NDArray[Any]) -> float | None:
    """Return the step in which a column is recorded: a power of ten; None where it has more digits than that.

    >>> precision(np.array([1.25, 3.5, 2.0])), precision(np.random.default_rng(0).normal(size=9))
    (0.01, None)
    """
    known = values.astype(np.float64)
    known = known[np.isfinite(known)]
    spread = float(np.std(known)) if len(known) else 0.0
    for digits in range(-3, 8):
        step = 10.0**-digits
        if step < FINEST * spread:
            break
        if len(known) and np.allclose(known, np.round(known, digits), rtol=0, atol=step * 1e-6):
            return step
    return None


def _without(values: NDArray[Any]) -> NDArray[Any]:
    return np.full(len(values), np.nan) if values.dtype.kind in "fiu" else np.full(len(values), None, object)


@dataclass(frozen=True, kw_only=True)
class Steadied:
    """One endpoint under noise; ``problem`` says why nothing is known."""

    endpoint: str
    shaken: Shaken | None = None
    problem: str = ""
