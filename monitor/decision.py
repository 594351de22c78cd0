"""One run's decision: from evidence to everything that is stored and sent, as a pure function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from monitor.alert import Alert, AlertRules, Transition
from monitor.check import Check, Evidence, Judgement
from monitor.notification import Notification
from monitor.proof import History, Prove
from monitor.recommendation import Recommendation


@dataclass(frozen=True, kw_only=True)
class State:
    """What is known of a model before this run.

    ``alerts`` holds the newest episode of every family, open or not; ``recommendations`` the open ones and those of
    the last 28 windows.
    """

    alerts: Sequence[Alert] = ()
    recommendations: Sequence[Recommendation] = ()


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the configuration says about alerts and advice."""

    alerts: AlertRules = field(default_factory=AlertRules)
    retraining_cost: float | None = None
    """What one retraining costs, all in all, in the model's currency."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Everything that follows from one window: stored and sent in one transaction.

    ``memories`` belong to check names (and "recommendation") and are the next window's ``evidence.memories``;
    ``alerts`` are the changed ones, ``transitions`` what happened to them, ``recommendations`` new or changed ones.
    """

    judgements: Mapping[str, Judgement]
    memories: Mapping[str, Any]
    alerts: Sequence[Alert] = ()
    transitions: Sequence[Transition] = ()
    notifications: Sequence[Notification] = ()
    recommendations: Sequence[Recommendation] = ()


def decide(
    evidence: Evidence,
    active_checks: Mapping[str, Check],
    state: State,
    rules: Rules,
    *,
    now: datetime,
    new_id: Callable[[], UUID],
    model_version: str = "",
    role: str = "champion",
    slice_: Mapping[str, Any] | None = None,
    history: History | None = None,
    prove: Prove | None = None,
) -> Decision:
    """Return what follows from one window of evidence."""
    raise NotImplementedError
