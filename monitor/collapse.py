"""What one message tells for those before it that were never sent: after an outage each group is told once.

Pure: which messages those are is the outbox's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from monitor.alert import RANK
from monitor.message import REASONS, plain
from monitor.notification import Notification, Reason

#: Other subjects that the one message of a group names after an outage; more are counted.
MOST_OTHERS = 8
LONGEST_TITLE = 120


def _subjects(told: Notification) -> frozenset[str]:
    """Return what a message is about: its alerts, or its thread where it has none, as a recommendation.

    Digests tell how a model is: a newer one takes the place of all before it.
    """
    if told.reason is Reason.DIGEST:
        return frozenset({f"digest {told.model} {told.role}"})
    return frozenset(told.alert_keys) or frozenset({f"thread {told.thread_key}"})


def unheard(newest: Notification, older: Sequence[Notification]) -> list[Notification]:
    """Return, newest first, the last message about each subject of which ``newest`` says nothing.

    ``older`` is in the order of writing.
    """
    covered, found = _subjects(newest), []
    for told in reversed(older):
        if not _subjects(told) <= covered:
            found.append(told)
            covered |= _subjects(told)
    return found


def combine(newest: Notification, older: Sequence[Notification]) -> Notification:
    """Return the newest message of a group with what the ``older`` ones, which will not be sent, leave to be told.

    It is the newest as it stands where that covers them all, as "resolved" covers the opening of the same alert.
    Otherwise it is no reply but a message of its own, as severe as the worst of them; and where the newest tells that
    one alert is over while another one is open, the open one comes first. Digests of several models become one. The id
    stays that of the newest.
    """
    others = unheard(newest, older)
    if not others:
        return newest
    if newest.reason is Reason.DIGEST:
        return _one_digest(newest, others)
    together = [newest, *others]
    lead = next((told for told in together if told.reason is not Reason.RESOLVED), newest)
    rest = sorted((told for told in together if told is not lead), key=lambda told: -RANK[told.severity])
    named = [
        f"{REASONS[told.reason]}: {plain(told.title, LONGEST_TITLE)}"
        + (f" ({plain(told.window_label, 40)})" if told.window_label else "")
        for told in rest[:MOST_OTHERS]
    ]
    if len(rest) > MOST_OTHERS:
        named.append(f"and {len(rest) - MOST_OTHERS} more, which the page and monitor status show")
    return replace(
        lead,
        id=newest.id,
        severity=max((told.severity for told in together), key=RANK.__getitem__),
        summary=f"{plain(lead.summary, 700)} Kept back until now: {'; '.join(named)}.".strip(),
        in_thread=False,
        alert_keys=tuple(dict.fromkeys(key for told in [lead, *rest] for key in told.alert_keys)),
        possible_duplicate=newest.possible_duplicate,
    )


def _one_digest(newest: Notification, others: Sequence[Notification]) -> Notification:
    """Return one digest for several models: those with open alerts first, all of them by name."""
    rest = sorted(others, key=lambda told: (not told.alert_keys, not told.facts, told.model))
    said = [
        f"{told.model}, {plain(told.window_label, 40)}: {plain(told.title, LONGEST_TITLE)}. {plain(told.summary, 160)}"
        for told in rest[:MOST_OTHERS]
    ]
    if len(rest) > MOST_OTHERS:
        named = ", ".join(told.model for told in rest[MOST_OTHERS:])
        said.append(f"And digests of {plain(named, 400)}, which the page and `monitor history` show")
    return replace(
        newest,
        title=f"{newest.title}, and digests of {len(rest)} other model{'s' * (len(rest) > 1)}",
        summary=f"{plain(newest.summary, 700)} Kept back until now: {' '.join(said)}",
        in_thread=False,
        alert_keys=tuple(dict.fromkeys(key for told in [newest, *rest] for key in told.alert_keys)),
    )
