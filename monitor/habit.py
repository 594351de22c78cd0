"""Habits of the training data: which shares of missing, unreadable or misplaced rows its windows had anyway."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monitor.column import CategoricalColumn
from monitor.memo import per_reference
from monitor.reference import Reference
from monitor.source import Floats


@dataclass(frozen=True, kw_only=True)
class Usual:
    """What a share was in training windows: its mean, 99 % quantile and maximum."""

    mean: float = 0.0
    highest: float = 0.0
    largest: float = 0.0

    @classmethod
    def of(cls, shares: Floats) -> Usual:
        """Return it for the shares of windows; those without rows are NaN and do not count."""
        shares = shares[np.isfinite(shares)]
        if not len(shares):
            return cls()
        return cls(mean=float(shares.mean()), highest=float(np.quantile(shares, 0.99)), largest=float(shares.max()))


@dataclass(frozen=True, kw_only=True, eq=False)
class UsualShares:
    """What is usual in training by column, and the share of empty windows by season slot."""

    missing: Mapping[str, Usual]
    unparseable: Mapping[str, Usual]
    non_finite: Mapping[str, Usual]
    off_clock: Mapping[str, Usual]
    empty: Sequence[float]


@per_reference
def usual_shares(reference: Reference) -> UsualShares:
    """Return what was usual in the training windows of a reference."""
    layout = reference.layout
    counts = np.array([profile.counts for profile in reference.profiles], np.float64)
    rows = counts[:, 0]
    missing, unparseable, non_finite, off_clock = {}, {}, {}, {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for position, column in enumerate(layout.columns):

            def extra(name: str, at: int = position) -> Any:
                return counts[:, layout.extra(at, name)]

            usable = counts[:, layout.bins(position)].sum(axis=1)
            if isinstance(column, CategoricalColumn):
                usable = usable + extra("other") + extra("unseen")
            missing[column.name] = Usual.of(1 - usable / rows)
            unparseable[column.name] = Usual.of(extra("unparseable") / rows)
            non_finite[column.name] = Usual.of((extra("nan") + extra("infinite")) / rows)
            off_clock[column.name] = Usual.of(extra("off_clock") / extra("clock_known"))
    return UsualShares(
        missing=missing,
        unparseable=unparseable,
        non_finite=non_finite,
        off_clock=off_clock,
        empty=_empty_shares(reference),
    )


def _empty_shares(reference: Reference) -> list[float]:
    """Return for each season slot the share of training windows without rows.

    An hour of the week has been seen a few times only, so the same hour of all days counts as one more.
    """
    spec = replace(reference.spec, step=None)
    if not reference.timeline or len(reference.windows) < 2:
        return [0.0] * spec.season_length
    filled, all_ = np.zeros(spec.season_length), np.zeros(spec.season_length)
    for window in spec.between(reference.windows[0].start, reference.windows[-1].end):
        all_[reference.spec.slot(window)] += 1
    for window in reference.windows:
        filled[reference.spec.slot(window)] += 1
    empty = np.maximum(all_ - filled, 0)
    if spec.season_length == 168:
        hours, each = empty.reshape(7, 24).sum(axis=0), all_.reshape(7, 24).sum(axis=0)
        empty, all_ = empty + np.tile(hours / np.maximum(each, 1), 7), all_ + np.tile(each > 0, 7)
    shares = np.where(all_ > 0, empty / np.maximum(all_, 1), 0.0)  # a slot that training never reached: unknown
    return [float(share) for share in shares]


@per_reference
def empty_holidays(reference: Reference, holidays: frozenset[str]) -> float:
    """Return the share of training windows on holidays that had no rows; NaN where training had no holiday."""
    if not reference.timeline:
        return math.nan
    spec = replace(reference.spec, step=None)
    span = spec.between(reference.windows[0].start, reference.windows[-1].end)
    filled = set(reference.windows)
    found = [window not in filled for window in span if spec.is_holiday(window, holidays)]
    return float(np.mean(found)) if found else math.nan
