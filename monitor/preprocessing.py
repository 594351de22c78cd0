"""Preprocessing: whether logged features are what the raw inputs beside them say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.golden import Floats

ALIKE = 1e-6  # relative difference up to which two numbers are the same
UNLIKE = 0.001  # share of the rows in which a feature may differ
TYPICAL = 0.9  # share of the rows that differ, from which one explanation is the explanation


@dataclass(frozen=True, kw_only=True)
class Unlike:
    """One feature beside its raw value: rows in which both are known or the feature was lost, and how many differ.

    ``lost`` of them have a raw value and no feature; ``how`` says what explains those that differ, if one thing does.
    Rows without a raw value do not count: what is filled in then is no mistake.
    """

    feature: str
    rows: int
    differing: int
    lost: int = 0
    how: str = ""

    @property
    def text(self) -> str:
        """For people."""
        lost = f", {self.lost:,} of them empty" if self.lost else ""
        how = f": {self.how}" if self.how else ""
        return f"{self.feature} is not what its raw value says in {self.differing:,} of {self.rows:,} rows{lost}{how}"


def compare(feature: str, raw: Sequence[str | None], logged: Sequence[str | None]) -> Unlike:
    """Return where a feature differs from its raw value, both as text; numbers are compared as numbers.

    >>> compare("hour", ["8", "9", None, "11"], ["12.0", "13", "7", "15"]).text
    'hour is not what its raw value says in 3 of 3 rows: always more by 4'
    >>> compare("km", ["100", "x", "3"], ["100.0000000001", "x", None])
    Unlike(feature='km', rows=3, differing=1, lost=1, how='')
    """
    pairs = [(one, other) for one, other in zip(raw, logged, strict=True) if one not in (None, "")]
    lost = np.array([other in (None, "") for _, other in pairs], np.bool_)
    a, b = (_numbers([pair[side] for pair in pairs]) for side in (0, 1))
    numeric = np.isfinite(a) & np.isfinite(b)
    words = np.array([one != other for one, other in pairs], np.bool_)
    apart = np.where(numeric, ~np.isclose(a, b, rtol=ALIKE, atol=ALIKE), words) | lost
    usable = apart & numeric
    explained = usable.sum() >= TYPICAL * max(int(apart.sum()), 1)
    how = _explanation(a[usable], b[usable]) if explained else ""
    return Unlike(feature=feature, rows=len(pairs), differing=int(apart.sum()), lost=int(lost.sum()), how=how)


def _explanation(raw: Floats, logged: Floats) -> str:
    """Return the one shift or factor between raw values and features; empty for none."""
    shift, known = logged - raw, raw != 0
    if (more := _usual(shift, len(raw))) is not None:
        return f"always {'more' if more > 0 else 'less'} by {abs(more):.6g}"
    factor = _usual(logged[known] / raw[known], len(raw))
    return "" if factor is None else f"always {factor:.6g} times as much"


def _usual(values: Floats, of: int) -> float | None:
    if not len(values):
        return None
    middle = float(np.median(values))
    same: NDArray[np.bool_] = np.isclose(values, middle, rtol=1e-4, atol=1e-9)
    return middle if same.sum() >= TYPICAL * of and of > 1 else None


def _numbers(words: Sequence[str | None]) -> Floats:
    def number(word: str | None) -> float:
        try:
            return float(word) if word is not None else np.nan
        except ValueError:
            return np.nan

    return np.array([number(word) for word in words], np.float64)
