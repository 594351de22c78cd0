"""Recommendations: what to do about a model, with the evidence, told once per cause."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from monitor.window import Window


class Action(StrEnum):
    """What a person may be advised to do."""

    INVESTIGATE_DATA = "INVESTIGATE_DATA"
    RECALIBRATE = "RECALIBRATE"
    RETRAIN = "RETRAIN"
    GET_LABELS = "GET_LABELS"
    ROLL_BACK = "ROLL_BACK"
    PROMOTE = "PROMOTE"
    WATCH = "WATCH"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


class RecommendationState(StrEnum):
    """Where a recommendation stands."""

    OPEN = "open"
    APPROVED = "approved"
    DISMISSED = "dismissed"
    SUPERSEDED = "superseded"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """One piece of advice; at most one is open per model and ``cause_key``.

    ``evidence`` are JSON facts (windows, figures); ``extras`` carry what only some actions have (the recalibration
    map, the new cut-off).
    """

    id: UUID
    model: str
    model_version: str = ""
    role: str = "champion"
    slice: Mapping[str, Any] = field(default_factory=dict)
    cause_key: str
    action: Action
    state: RecommendationState = RecommendationState.OPEN
    opened_at: datetime
    window_start: datetime
    window_end: datetime
    evidence: Sequence[Mapping[str, Any]] = ()
    why: str = ""
    why_not: str = ""
    expected_benefit: float | None = None
    expected_cost: float | None = None
    currency: str | None = None
    train_since: datetime | None = None
    train_query: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """What all advice after one window shares: whom it is about, the window, and when it is given."""

    model: str
    model_version: str = ""
    role: str = "champion"
    slice: Mapping[str, Any] = field(default_factory=dict)
    window: Window
    now: datetime
    new_id: Callable[[], UUID]

    @property
    def subject(self) -> Mapping[str, Any]:
        """Model, version, role and slice."""
        return {
            "model": self.model,
            "model_version": self.model_version,
            "role": self.role,
            "slice": dict(self.slice),
        }

    def opened(self, cause_key: str, action: Action, **said: Any) -> Recommendation:
        """Return new advice; ``said`` are further fields of it."""
        return Recommendation(
            id=self.new_id(),
            cause_key=cause_key,
            action=action,
            opened_at=self.now,
            window_start=self.window.start,
            window_end=self.window.end,
            **self.subject,
            **said,
        )

    def closed(
        self, held: Recommendation, why: str = "", *, state: RecommendationState = RecommendationState.SUPERSEDED
    ) -> Recommendation:
        """Return advice that the monitor itself ends, and why."""
        extras = {**held.extras, "closed": why} if why else held.extras
        return replace(held, state=state, decided_by="monitor", decided_at=self.now, extras=extras)
