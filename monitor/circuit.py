"""The circuit of a model: whether it answers, its fallback does, or a few requests try it; and its canary's share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from monitor.alert import RANK, Alert, AlertState
from monitor.check import Severity

PROBE_SHARE = 0.05
"""Share of requests with which an open circuit is tried, where nobody says another."""
MONITOR = "monitor"
"""Who changed a circuit that no person changed."""


class CircuitState(StrEnum):
    """Who answers."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """What serving processes are told about one model, and why it is so.

    ``share`` is the canary's share of requests, ``probe_share`` the model's own while the circuit is half open. After
    ``until`` an open circuit is tried like a half-open one.
    """

    model: str
    state: CircuitState = CircuitState.CLOSED
    share: float | None = None
    probe_share: float | None = None
    fallback: Mapping[str, Any] | None = None
    reason: str | None = None
    actor: str | None = None
    until: datetime | None = None
    at: datetime | None = None
    """When the last change was made; None when there was none."""

    def opened(
        self,
        *,
        reason: str,
        actor: str,
        now: datetime,
        until: datetime | None = None,
        fallback: Mapping[str, Any] | None = None,
    ) -> Circuit:
        """Return the circuit open: the fallback answers. Raises ValueError where it would be tried at once."""
        if until is not None and until <= now:
            raise ValueError(f"The circuit would be tried from {until:%Y-%m-%d %H:%M %Z} on, which is over; say later.")
        changed = self._changed(CircuitState.OPEN, reason, actor)
        # An open circuit that is opened again for another reason keeps its answer.
        kept = self.fallback if self.state is not CircuitState.CLOSED else None
        return replace(changed, until=until, fallback=fallback or kept, probe_share=PROBE_SHARE if until else None)

    def probed(self, share: float, *, reason: str, actor: str) -> Circuit:
        """Return the circuit half open: a share of the requests tries the model. Raises ValueError."""
        if self.state is CircuitState.CLOSED:
            raise ValueError(f"The circuit of {self.model} is closed, so all requests try the model; open it first.")
        if not 0 < share < 1:
            raise ValueError(f"--share {share:g} is no part of the requests; give one above 0 and below 1.")
        changed = self._changed(CircuitState.HALF_OPEN, reason, actor)
        return replace(changed, probe_share=share, until=None)

    def closed(self, *, reason: str, actor: str) -> Circuit:
        """Return the circuit closed: the model answers again. Raises ValueError where it already does."""
        if self.state is CircuitState.CLOSED:
            raise ValueError(f"The circuit of {self.model} is closed already, so there is nothing to change.")
        changed = self._changed(CircuitState.CLOSED, reason, actor)
        return replace(changed, probe_share=None, fallback=None, until=None)

    def shared(self, share: float, *, reason: str | None, actor: str) -> Circuit:
        """Return the circuit with another share for the canary; the state stays. Raises ValueError."""
        if not 0 <= share <= 1:
            raise ValueError(f"--share {share:g} is no share; give one from 0 to 1, such as 0.05.")
        kept = None if self.state is CircuitState.CLOSED else self.reason  # why it is open is not forgotten over this
        return replace(self, share=share, reason=reason or kept, actor=actor)

    def _changed(self, state: CircuitState, reason: str, actor: str) -> Circuit:
        if not reason.strip():
            raise ValueError("--reason is empty; say why, for whoever reads the history.")
        return replace(self, state=state, reason=reason.strip(), actor=actor)

    @property
    def sentence(self) -> str:
        """Who answers now, for people."""
        if self.state is CircuitState.CLOSED:
            return f"{self.model} answers."
        answer = "the fallback that each service has" if not self.fallback else f"the fallback {dict(self.fallback)}"
        if self.state is CircuitState.HALF_OPEN:
            return f"{self.model} answers {self.probe_share or 0:.3g} of the requests, {answer} the others."
        tried = f"; from {self.until:%Y-%m-%d %H:%M %Z} on it is tried again" if self.until else ""
        return f"{self.model} does not answer, {answer} does{tried}."


def named_causes(alerts: Iterable[Alert], open_on: Sequence[str]) -> list[Alert]:
    """Return the alerts for which a circuit may open: open root causes of a named check, at least as severe as named.

    ``open_on`` are texts such as ``quality.critical``. What another alert explains is no root cause.
    """
    limits = _limits(open_on)
    return [
        alert
        for alert in alerts
        if alert.is_open
        and alert.inhibited_by is None
        and any(RANK[alert.severity] >= limits[check] for check in _checks(alert) if check in limits)
    ]


def moved_by_alerts(
    circuit: Circuit,
    before: Sequence[Alert],
    after: Sequence[Alert],
    *,
    open_on: Sequence[str],
    fallback: Mapping[str, Any],
    now: datetime,
    until: datetime,
) -> Circuit | None:
    """Return the circuit as a window's alerts leave it, None where they change nothing.

    A named cause that was not there before the window opens it; the model is tried from ``until`` on. When none is left
    and one of them was resolved by evidence in this window, it closes, unless a person has changed it since: what a
    person did, only a person undoes. A cause that stays open does not open again what somebody has closed.
    """
    known = {(alert.key, alert.episode) for alert in named_causes(before, open_on)}
    named = named_causes(after, open_on)
    new = [alert for alert in named if (alert.key, alert.episode) not in known]
    if new:
        is_tried = circuit.until is not None and circuit.until <= now
        if circuit.state is CircuitState.OPEN and not is_tried:
            return None
        titles = "; ".join(alert.title.rstrip(".") or alert.family for alert in new[:3])
        return circuit.opened(reason=titles, actor=MONITOR, now=now, until=until, fallback=fallback)
    if circuit.state is CircuitState.CLOSED or circuit.actor != MONITOR or named:
        return None
    limits = _limits(open_on)
    stood = {(alert.key, alert.episode) for alert in before if alert.is_open}
    over = [
        alert
        for alert in after
        if alert.state is AlertState.RESOLVED and (alert.key, alert.episode) in stood and _checks(alert) & set(limits)
    ]
    if not over:
        return None
    titles = "; ".join(alert.title.rstrip(".") or alert.family for alert in over[:3])
    return circuit.closed(reason=f"over: {titles}", actor=MONITOR)


def _limits(open_on: Sequence[str]) -> dict[str, int]:
    """Return per check the rank of the mildest severity that is named."""
    limits: dict[str, int] = {}
    for cause in open_on:
        check, _, severity = cause.partition(".")
        limits[check] = min(limits.get(check, RANK[Severity.CRITICAL]), RANK[Severity(severity)])
    return limits


def _checks(alert: Alert) -> set[str]:
    return {str(fact["check"]) for fact in alert.subjects if "check" in fact}
