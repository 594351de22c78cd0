"""Many tests at once: one p-value per subject, and how many subjects to believe."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def smallest_p(p: ArrayLike, group: ArrayLike, subjects: int, gate: ArrayLike | None = None) -> tuple[Floats, Ints]:
    """Return each subject's Bonferroni-corrected smallest p-value and the channel it comes from.

    ``p`` (C,) are the channels' p-values (NaN: not judged), ``group`` (C,) their subjects, ``gate`` (C,) whether a
    channel is material. The result is min(1, channels × smallest p) over a subject's judged channels; a channel that
    the gate holds back still counts as a test but brings no p-value. Subjects without a judged channel have NaN, and
    the channel is -1 where nothing passed.

    Not a Cauchy or Fisher combination on purpose: there a single p near 1, as a gated channel has, adds an endless
    negative term and wipes out all other evidence.

    >>> smallest_p([1e-6, 1.0, np.nan], [0, 0, 1], 2)[0].tolist()
    [2e-06, nan]
    """
    p = np.asarray(p, np.float64)
    group = np.asarray(group, np.int64)
    judged = np.isfinite(p)
    allowed = judged if gate is None else judged & np.asarray(gate, np.bool_)
    tests = np.bincount(group, weights=judged, minlength=subjects)
    candidate = np.where(allowed, p, np.inf)
    order = np.lexsort((candidate, group))
    found = np.full(subjects, np.inf)
    channel = np.full(subjects, -1, np.int64)
    first = np.searchsorted(group[order], np.arange(subjects))
    has = np.bincount(group, minlength=subjects) > 0
    found[has] = candidate[order[first[has]]]
    channel[has] = np.where(np.isfinite(found[has]), order[first[has]], -1)
    with np.errstate(invalid="ignore"):
        corrected = np.where(np.isfinite(found), np.minimum(1.0, tests * found), 1.0)
    return np.where(tests > 0, corrected, np.nan), channel


def adjusted(p: ArrayLike) -> Floats:
    """Return Benjamini–Hochberg adjusted p-values: the level at which each test would just be believed.

    NaN stays NaN and does not count as a test. The share of false ones among those at or below q is at most q when
    tests are independent or positively dependent (Benjamini, Hochberg 1995). Not good for control over time: each
    window is a family of its own.

    >>> adjusted([0.01, 0.02, 0.9, np.nan]).round(3).tolist()
    [0.03, 0.03, 0.9, nan]
    """
    p = np.asarray(p, np.float64)
    result = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    if not len(known):
        return result
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * len(order) / np.arange(1, len(order) + 1)
    result[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1.0)
    return result


def believed(p: ArrayLike, q: float) -> Bools:
    """Return which tests Benjamini–Hochberg believes at level q; NaN never.

    >>> believed([0.001, 0.5, np.nan], 0.01).tolist()
    [True, False, False]
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(adjusted(p) <= q, np.bool_)
