"""Recovery: whether a model errs less after what was advised was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from monitor.proof import LEVEL, SHARE
from monitor.stats.resampling import mean_shift

LEAST = 14  # windows of the new version before anything is said, and of the old one to compare with
EARLY = 2.58  # of z: the mean is looked at after each window, so an early answer must be surer than the last one
MOST = 28  # windows after which it is said that it did not help


class Result(StrEnum):
    """What came of a recommendation that was carried out."""

    HELPED = "helped"
    DID_NOT_HELP = "did_not_help"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """The loss of a model before and after, as means of windows, and what it comes to.

    ``z`` is that of the fall (negative: lower afterwards); ``expected`` is the loss that the new version's training
    promises, None where it is not known.
    """

    result: Result
    before: float
    after: float
    z: float
    windows: int
    expected: float | None = None

    @property
    def recovered(self) -> bool | None:
        """Whether the loss is what training promises, give or take a tenth; None where nothing is promised."""
        return None if self.expected is None else self.after <= 1.1 * self.expected


def judge(before: Sequence[float], after: Sequence[float], *, expected: float | None = None) -> Recovery | None:
    """Return what came of a new version from its losses and those of the one before, by window in order of time.

    It helped as soon as, after 14 windows or more, the mean loss is surely lower (z of 2.58 with the correlation of
    neighbours, 1.28 after 28 windows) by at least 2 %; it did not, if after 28 it is not. None is too early, or nothing
    to compare with. Not good for: seasons that change at the same time, which no comparison of before and after can
    tell from a better model.
    """
    old, new = np.array(before, np.float64)[-MOST:], np.array(after, np.float64)[:MOST]
    if len(old) < LEAST or len(new) < LEAST:
        return None
    z = mean_shift(new, old)
    lower = float(old.mean() - new.mean())
    if z < -(LEVEL if len(new) == MOST else EARLY) and lower >= SHARE * float(old.mean()):
        result = Result.HELPED
    elif len(new) < MOST:
        return None
    else:
        result = Result.DID_NOT_HELP
    return Recovery(
        result=result,
        before=float(old.mean()),
        after=float(new.mean()),
        z=float(z),
        windows=len(new),
        expected=expected,
    )
