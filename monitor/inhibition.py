"""Inhibition: which open alert explains another one, so that nobody hears of the consequence.

It is worked out in the step that moves the alerts, root causes first. So no order of arrival decides it, and when a
cause is over what it explained is told only if a window finds it bad still.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from monitor.alert import RANK, Alert
from monitor.check import Severity

ROOT_CAUSES: Sequence[tuple[frozenset[str], Severity]] = (
    (frozenset({"schema"}), Severity.WARNING),
    (frozenset({"volume", "freshness"}), Severity.CRITICAL),  # few rows are no excuse, no rows are
    (frozenset({"quality"}), Severity.WARNING),
    (frozenset({"score"}), Severity.WARNING),
    (frozenset({"feature"}), Severity.WARNING),
)
"""Families from root cause to consequence: while one is open from this severity on, nobody hears of those after it.

Above all of them is a database that cannot be reached: then no window is judged and no alert moves at all. A fault of
the pipeline (``pipeline:…``) inhibits nothing; open alerts are stale until a window is judged again.
"""
INHIBITS = 28  # windows from opening; a cause that lasts longer excuses nothing any more
CROWD = "crowd"
"""Family of the one alert that stands for all those beyond the most that may be open at once."""


def rank_of(family: str) -> int:
    """Return the place of a family among root causes; what is no part of that order comes last."""
    head = family.partition(":")[0]
    return next((i for i, (heads, _) in enumerate(ROOT_CAUSES) if head in heads), len(ROOT_CAUSES))


def inhibitor_of(family: str, alerts: Iterable[Alert], *, start: datetime, pace: timedelta) -> str | None:
    """Return the key of the open root cause that explains a family in the window at ``start``, the deepest one first.

    ``pace`` is the distance between windows: a cause explains what happens in its first 28.
    """
    rank = rank_of(family)
    if rank == len(ROOT_CAUSES):
        return None
    roots = [
        alert
        for alert in alerts
        if alert.is_open
        and rank_of(alert.family) < rank
        and RANK[alert.severity] >= RANK[ROOT_CAUSES[rank_of(alert.family)][1]]
        and alert.opened_window_start is not None
        and start < alert.opened_window_start + INHIBITS * pace
    ]
    return min(roots, key=lambda alert: (rank_of(alert.family), alert.key)).key if roots else None
