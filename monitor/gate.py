"""The gate: what keeps a candidate out, judged on the same rows for it and the champion, before anybody deploys it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from monitor.candidate import Answers, Judged, ReleaseVerdict, likeness

Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]
Predict = Callable[[Columns], Floats]

SUSPICIOUS = 0.95  # AUC of one feature alone, from which it is taken to know the label
EMPTY = 0.99  # share of missing values from which a column is empty
SAME = 1e-6  # of a score: the difference from which it has moved
FLIPS = 0.001  # share of decisions that noise nobody could measure may turn over
NOISES = (1e-6, 1e-4, 1e-2)  # of a column's standard deviation; the first decides
MOST_ROWS = 1000  # that noise is put on
MOST_SWAPS = 300  # pairs of columns that are tried as the cause of moved predictions


class Outcome(StrEnum):
    """What one part of the gate says."""

    PASS = "pass"  # noqa: S105 it is no password
    FAIL = "fail"
    UNCLEAR = "could not tell"


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the gate: its outcome, a sentence, and figures in words."""

    name: str
    outcome: Outcome
    why: str
    figures: Sequence[str] = ()


def overall(sections: Sequence[Section]) -> Outcome:
    """Return fail if any part fails, pass if all pass."""
    outcomes = {section.outcome for section in sections}
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    return Outcome.PASS if outcomes == {Outcome.PASS} else Outcome.UNCLEAR


def markdown(title: str, sections: Sequence[Section]) -> str:
    """Return the report for a pull request.

    >>> print(markdown("m 8", [Section(name="parity", outcome=Outcome.PASS, why="all came out again")]))
    # m 8: pass
    <BLANKLINE>
    ## parity: pass
    <BLANKLINE>
    All came out again.
    <BLANKLINE>
    """
    lines = [f"# {_escaped(title)}: {overall(sections)}", ""]
    for section in sections:
        why = _escaped(section.why)
        lines += [f"## {section.name}: {section.outcome}", "", f"{why[:1].upper()}{why[1:].rstrip('.')}.", ""]
        lines += [f"* {_escaped(figure)}" for figure in section.figures]
        lines += [""] if section.figures else []
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Return a text in which names of columns make no Markdown and no HTML."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|&!" else " " if c in "\r\n" else c for c in text)


def regression(champion: Answers, candidate: Answers, judged: Sequence[Judged]) -> Section:
    """Return whether the candidate answers as well as the champion; without labels nothing was ``judged``."""
    like = likeness(champion, candidate)
    figures = [
        f"{like.rows:,} rows: agreement {like.agreement:.1%}, rank correlation {like.rank_correlation:.3f}, "
        f"mean distance of scores {like.score_distance:.4f}",
        *(f"score {low:.3f} to {high:.3f}: mean distance {apart:.4f}" for low, high, apart, _ in like.bands[:3]),
    ]
    verdicts = {one.verdict for one in judged}
    why = "; ".join(one.why for one in judged) or "no labels were given"
    if ReleaseVerdict.ROLL_BACK in verdicts:
        return Section(name="regression", outcome=Outcome.FAIL, why=why, figures=figures)
    outcome = Outcome.PASS if verdicts == {ReleaseVerdict.PROMOTE} else Outcome.UNCLEAR
    return Section(name="regression", outcome=outcome, why=why, figures=figures)


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


def leakage(training: Columns, label: Floats, production: Columns) -> Section:
    """Return whether a column of training can only be known after the prediction.

    Fails by name: a column that alone tells the label (AUC of .95 and more), and one that production does not have, or
    has empty or constant, while training does not.
    """
    areas = {name: single_auc(values, label) for name, values in training.items()}
    faults = [f"{name} alone tells the label (AUC {area:.3f})" for name, area in areas.items() if area >= SUSPICIOUS]
    for name, values in training.items():
        if _is_idle(values):
            continue
        if name not in production:
            faults.append(f"{name} is not in production's rows")
        elif _is_idle(production[name]):
            missing = _missing(production[name]).mean() >= EMPTY
            faults.append(f"{name} is {'empty' if missing else 'constant'} in production and not in training")
    best = sorted((name for name in areas if math.isfinite(areas[name])), key=lambda name: -areas[name])
    return Section(
        name="leakage",
        outcome=Outcome.FAIL if faults else Outcome.PASS,
        why="; ".join(faults) or f"none of {len(training)} columns knows the label or is missing in production",
        figures=[f"{name}: AUC alone {areas[name]:.3f}" for name in best[:3]],
    )


def parity(golden: Columns, said: Floats, predict: Predict) -> Section:
    """Return whether predictions made in training come out again; a swap of two columns that explains it is named."""
    now = predict(golden)
    apart = np.abs(now - said)
    moved = ~(apart <= SAME)
    if not moved.any():
        why = f"{len(said):,} of {len(said):,} golden predictions came out again"
        return Section(name="parity", outcome=Outcome.PASS, why=why)
    figures = [f"largest difference {np.nanmax(apart):.4g}, mean {np.nanmean(apart):.4g}"]
    swap = _swapped(golden, said, predict)
    if swap is not None:
        figures.append(f"with {swap[0]} and {swap[1]} swapped they come out again: preprocessing exchanges the two")
    why = f"{moved.sum():,} of {len(said):,} golden predictions moved by more than {SAME:g}"
    return Section(name="parity", outcome=Outcome.FAIL, why=why, figures=figures)


def _swapped(golden: Columns, said: Floats, predict: Predict) -> tuple[str, str] | None:
    pairs = [(a, b) for a, b in combinations(golden, 2) if golden[a].dtype.kind == golden[b].dtype.kind]
    for one, other in pairs[:MOST_SWAPS]:
        if (np.abs(predict({**golden, one: golden[other], other: golden[one]}) - said) <= SAME).all():
            return one, other
    return None


def stability(rows: Columns, predict: Predict, *, threshold: float, rng: np.random.Generator) -> Section:
    """Return whether noise that nobody could measure turns decisions over.

    Noise is normal, in standard deviations of each column of numbers, on at most 1,000 rows. More than one decision in
    a thousand that flips at 1e-6 fails; the curve over larger noise and the most sensitive columns are shown.
    """
    size = len(next(iter(rows.values())))
    chosen = np.sort(rng.choice(size, min(size, MOST_ROWS), replace=False))
    taken = {name: values[chosen] for name, values in rows.items()}
    numbers = [name for name, values in taken.items() if values.dtype.kind in "fiu" and not _is_idle(values)]
    if not numbers:
        return Section(name="stability", outcome=Outcome.UNCLEAR, why="there is no column of numbers to put noise on")
    before = predict(taken) >= threshold

    def flipped(noise: float, names: Sequence[str]) -> float:
        shaken = dict(taken)
        for name in names:
            values = taken[name].astype(np.float64)
            shaken[name] = values + noise * np.nanstd(values) * rng.normal(size=len(values))
        return float(((predict(shaken) >= threshold) != before).mean())

    curve = {noise: flipped(noise, numbers) for noise in NOISES}
    alone = sorted(((flipped(NOISES[-1], [name]), name) for name in numbers), reverse=True)
    share = curve[NOISES[0]]
    return Section(
        name="stability",
        outcome=Outcome.FAIL if share > FLIPS else Outcome.PASS,
        why=f"{share:.2%} of {len(chosen):,} decisions flip at noise of {NOISES[0]:g} standard deviations",
        figures=[
            "flipped by noise: " + ", ".join(f"{noise:g}: {part:.2%}" for noise, part in curve.items()),
            f"most sensitive at {NOISES[-1]:g}: " + ", ".join(f"{name} {part:.2%}" for part, name in alone[:3]),
        ],
    )


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values), np.bool_)
    return np.array([value is None or value != value for value in values.tolist()], np.bool_)


def _is_idle(values: NDArray[Any]) -> bool:
    """Whether a column is empty or says the same in every row."""
    missing = _missing(values)
    return bool(missing.mean() >= EMPTY) or len(np.unique(values[~missing].astype(str))) <= 1
