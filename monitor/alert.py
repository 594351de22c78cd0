"""Alerts: one episode from opening to resolution, as it is stored; ``machine`` moves it window by window."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from monitor.check import Cause, Episode, Finding, Severity, Verdict
from monitor.notification import Reason
from monitor.window import DAY

RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
HARM = {Verdict.INCONCLUSIVE: -1, Verdict.OK: 0, Verdict.WARNING: 1, Verdict.CRITICAL: 2}
UNREPORTED = ("resource", "pipeline", "crowd")  # families, and beginnings of families, that rows say nothing about
MOST_SUBJECTS = 50  # of one alert; a message names the first ten of them


class AlertState(StrEnum):
    """Where an episode stands; ``inactive`` was pending and went back."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"
    RESOLVED = "resolved"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"


OPEN = frozenset({AlertState.FIRING, AlertState.RECOVERING})
ENDED = frozenset({AlertState.RESOLVED, AlertState.EXPIRED, AlertState.SUPERSEDED})


@dataclass(frozen=True, kw_only=True)
class AlertRules:
    """When an alert opens, recovers and is told again.

    ``k`` bad windows among the last ``n`` conclusive ones open it, ``recover`` good ones in a row close it. An opening
    of the same subject in the same direction within ``thread_windows`` of the last window of a thread belongs to that
    thread. After ``settle`` windows a smoothed effect of ``growth`` times what it was then is one more message.
    """

    k: int = 2
    n: int = 3
    recover: int = 3
    repeat: Mapping[Severity, timedelta] = field(default_factory=lambda: {Severity.CRITICAL: DAY})
    thread_windows: int = 28
    settle: int = 7
    growth: float = 2.0
    most_open: int = 200
    """Alerts of a model that may be open at once; what opens beyond is not told one by one."""
    quiet: bool = False
    """Whether nobody is told, as in a backfill; what is still open afterwards is told with the next window."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One episode of one family of findings.

    ``memory`` holds JSON values that the next window needs: ``tracks`` (see ``track``), ``threads`` and what people are
    owed (see ``conversation``), the last ``verdicts``, what its windows were ``judged`` with, and when it ``alarmed``
    and was ``escalated``. Acknowledgement, silence and flapping are flags beside the state and never change it.
    """

    key: str
    episode: int
    model: str
    model_version: str = ""
    role: str = "champion"
    slice: Mapping[str, Any] = field(default_factory=dict)
    family: str
    subject: str = ""
    direction: int = 0
    title: str = ""
    severity: Severity = Severity.INFO
    state: AlertState = AlertState.INACTIVE
    cause: Cause | None = None
    opened_at: datetime | None = None
    opened_window_start: datetime | None = None
    opened_window_end: datetime | None = None
    began_at: datetime | None = None
    began_earliest: datetime | None = None
    began_latest: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    acknowledged_until: datetime | None = None
    silenced: bool = False
    inhibited_by: str | None = None
    stale_since: datetime | None = None
    flapping: bool = False
    resolved_at: datetime | None = None
    resolved_window_start: datetime | None = None
    subjects: Sequence[Mapping[str, Any]] = ()
    impact_cost: float | None = None
    currency: str | None = None
    thread_key: str = ""
    memory: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it is firing or recovering."""
        return self.state in OPEN

    @property
    def told(self) -> bool:
        """Whether people have heard of this thread."""
        return bool(self._thread().get("told"))

    @property
    def tracks(self) -> Mapping[str, Mapping[str, Any]]:
        """What its subjects have gone through, by name."""
        found: Mapping[str, Mapping[str, Any]] = self.memory.get("tracks", {})
        return found

    def is_taken_on(self, now: datetime) -> bool:
        """Whether somebody has acknowledged it and that still counts."""
        return self.acknowledged_until is not None and now < self.acknowledged_until

    @property
    def notifications_sent(self) -> int:
        """Messages and replies of this thread so far."""
        return int(self._thread().get("sent", 0))

    def open_tracks(self, *, latched: bool | None = None) -> list[str]:
        """Return the names of what is open inside: ``latched`` chooses the slow path, or everything but it."""
        return [n for n, t in self.tracks.items() if t["open"] and (latched is None or t["latched"] is latched)]

    @property
    def is_data_incident(self) -> bool:
        """Whether it says that rows are broken: they are then left out of every evaluation of the model.

        Traffic that falls or grows is none: the rows that are there are right.
        """
        return self.severity is not Severity.INFO and self.family.partition(":")[0] in (
            "quality",
            "schema",
            "freshness",
        )

    def covers(self, start: datetime) -> bool:
        """Whether the window that starts at ``start`` lies in this episode; the resolving window does not."""
        if self.opened_window_start is None or start < self.opened_window_start:
            return False
        return self.resolved_window_start is None or start < self.resolved_window_start

    def as_episode(self) -> Episode | None:
        """Return what checks may know of it; None if it never opened."""
        if self.opened_window_start is None:
            return None
        return Episode(
            family=self.family,
            cause=self.cause,
            severity=self.severity,
            opened=self.opened_window_start,
            resolved=self.resolved_window_start,
            latched=bool(self.open_tracks(latched=True)),
        )

    def _thread(self) -> Mapping[str, Any]:
        threads: Sequence[Mapping[str, Any]] = self.memory.get("threads", ())
        return next((thread for thread in threads if thread["key"] == self.thread_key), {})


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One change of an alert, for the record and perhaps for people.

    ``tell`` is why people hear of it, None if they do not; ``in_thread`` makes it a reply. ``alert`` is the alert
    after it.
    """

    alert: Alert
    from_state: AlertState
    to_state: AlertState
    reason: str
    tell: Reason | None = None
    in_thread: bool = False


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one window did to an alert: ``alert`` is None while nothing was ever wrong.

    ``ended`` is an episode that is over and has a later one after it: it turned into its opposite, or a revision found
    it in the past.
    """

    alert: Alert | None
    transitions: tuple[Transition, ...] = ()
    ended: Alert | None = None


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whose alert it is.

    ``judged`` says with what its windows are judged: ``stage``, ``reference`` and ``config``, whichever are known.
    """

    model: str
    family: str
    model_version: str = ""
    role: str = "champion"
    slice: Mapping[str, Any] = field(default_factory=dict)
    judged: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """SHA-256 in hex of model, role, slice and family; no value, threshold, version or window is in it."""
        parts = [self.model, self.role, self.slice, self.family]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def is_reported(family: str) -> bool:
    """Return whether a report on the window's rows says more of an alert: on processes and ourselves it would not.

    >>> is_reported("quality:weather"), is_reported("resource:serve"), is_reported("crowd")
    (True, False, False)
    """
    return family.partition(":")[0] not in UNREPORTED


def fact_of(finding: Finding) -> dict[str, Any]:
    """Return what an alert keeps of a finding, as JSON values."""
    return {
        "check": finding.check,
        "subject": finding.subject,
        "statistic": finding.statistic,
        "verdict": finding.verdict.value,
        "severity": finding.severity.value,
        "value": finding.value,
        "reference_value": finding.reference_value,
        "effect": finding.effect,
        "threshold": finding.threshold,
        "n_current": finding.n_current,
        "direction": finding.direction,
        "latched": finding.latched,
        "message": finding.message,
    }


def weight(finding: Finding) -> tuple[float, ...]:
    """Sort key that puts what matters most first: severity, verdict, shift of the score, size."""
    size = abs(finding.effect or 0.0) / (finding.materiality or 1.0)
    return (-RANK[finding.severity], -HARM[finding.verdict], -(finding.impact or 0.0), -size)
