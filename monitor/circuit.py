"""The circuit of a model: whether it answers, its fallback does, or a few requests try it; and its canary's share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

PROBE_SHARE = 0.05
"""Share of requests with which an open circuit is tried, where nobody says another."""


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
