"""Onset: from when a column has been off, and whether its last weeks already were.

The trail of a statistic is its deviations from training's season slot in its last 28 production windows, in standard
deviations of a window; not continued while its source is suspect: a fault must not become what is usual.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from monitor.stats.changepoint import change_point
from monitor.window import Window, WindowSpec

KEPT = 28  # windows
ENOUGH = 7  # of them before they are compared with
FARTHEST = 8.0  # deviation that counts when a shift is dated: one freak window is no shift
APART = 3.0  # standard deviations of a window from the trailing median
Trail = Sequence[float | None]


class Movement(StrEnum):
    """What a window that differs from training is to the weeks before it."""

    SUDDEN = "sudden"  # they were ordinary
    SLOW = "slow"  # they were on the way
    KNOWN = "known"  # they were as far off
    SEASONAL = "seasonal"  # training was so in this season slot: no shift at all


WORDS = {
    Movement.SUDDEN: "sudden: most of the last weeks were ordinary",
    Movement.SLOW: "slow: the last weeks were on the way",
    Movement.KNOWN: "known: the last weeks were like this already",
}


@dataclass(frozen=True, kw_only=True)
class Onset:
    """When a shift began, and the first and last windows that it may have begun in; starts of windows.

    ``earliest`` is None where all windows of the trail may belong to the shift: it may be older than they are.
    """

    began: datetime
    earliest: datetime | None
    latest: datetime

    @classmethod
    def of(cls, window: Window) -> Onset:
        """Return that it began with this window."""
        return cls(began=window.start, earliest=window.start, latest=window.start)

    def sentence(self, spec: WindowSpec) -> str:
        """Return it in words.

        >>> from datetime import UTC
        >>> from monitor.window import CalendarUnit
        >>> day = lambda n: datetime(2024, 5, n, tzinfo=UTC)
        >>> Onset(began=day(3), earliest=day(1), latest=day(4)).sentence(WindowSpec(calendar=CalendarUnit.DAY))
        '3 May 2024 (between 1 May 2024 and 4 May 2024)'
        """
        form = "%-d %b %Y" if spec.pace.days else "%-d %b %Y %H:%M"
        began, latest = (moment.astimezone(spec.zone).strftime(form) for moment in (self.began, self.latest))
        if self.earliest is None:
            return f"{began} or before" if began == latest else f"{began} ({latest} at the latest)"
        earliest = self.earliest.astimezone(spec.zone).strftime(form)
        return began if earliest == latest else f"{began} (between {earliest} and {latest})"

    def to_json(self) -> dict[str, str | None]:
        """Return it as JSON values."""
        return {
            "at": self.began.isoformat(),
            "earliest": None if self.earliest is None else self.earliest.isoformat(),
            "latest": self.latest.isoformat(),
        }

    @classmethod
    def from_json(cls, written: str | Mapping[str, str | None]) -> Onset:
        """Return what ``to_json`` wrote; a plain time, as older versions kept it, has no interval."""
        known = {"at": written} if isinstance(written, str) else written
        at = known["at"]
        assert at is not None
        earliest, latest = known.get("earliest", at), known.get("latest") or at
        return cls(
            began=datetime.fromisoformat(at),
            earliest=None if earliest is None else datetime.fromisoformat(earliest),
            latest=datetime.fromisoformat(latest),
        )


def onset(trail: Trail, z: float, autocorrelation: float, spec: WindowSpec, window: Window) -> Onset:
    """Return when the shift of this window (``z``) began, going back no further than its trail."""
    series = np.clip([*_numbers(trail), z], -FARTHEST, FARTHEST)
    found = change_point(series, autocorrelation)
    if found is None:
        return Onset.of(window)
    last = len(series) - 1

    def start(place: int) -> datetime:
        # the middle of a window, since days are 23 or 25 hours long when clocks change
        return window.start if place == last else spec.containing(window.start - (last - place - 0.5) * spec.pace).start

    oldest = int(np.isfinite(series).argmax())
    earliest = None if found.first == oldest < last else start(found.first)
    return Onset(began=start(found.at), earliest=earliest, latest=start(found.last))


def movement(trail: Trail, z: float) -> Movement | None:
    """Return how a shifted window relates to its trail; None while the trail is too short to say.

    >>> movement([0.1] * 28, 6.0), movement([4.0] * 28, 5.0), movement([0.9] * 28, 2.5)
    (<Movement.SUDDEN: 'sudden'>, <Movement.KNOWN: 'known'>, <Movement.SLOW: 'slow'>)
    """
    known = [x for x in _numbers(trail) if math.isfinite(x)]
    if len(known) < ENOUGH or not math.isfinite(z):
        return None
    middle = float(np.median(known))
    if abs(middle) >= 1 and middle * z > 0 and abs(middle) >= abs(z) / 2:
        return Movement.KNOWN
    return Movement.SUDDEN if abs(z - middle) >= APART else Movement.SLOW


def trailing_median(trail: Trail) -> float:
    """Return the median of a trail, NaN while it is too short."""
    known = [x for x in _numbers(trail) if math.isfinite(x)]
    return float(np.median(known)) if len(known) >= ENOUGH else math.nan


def continued(trail: Trail, z: float) -> list[float | None]:
    """Return the trail with one more window; JSON knows no NaN, so a window without a score is None."""
    return [*trail, round(z, 2) if math.isfinite(z) else None][-KEPT:]


def _numbers(trail: Trail) -> list[float]:
    return [math.nan if x is None else x for x in trail]
