"""Approvals: a person decides on a recommendation; what was approved goes to the webhook that carries it out.

The call is a message of the outbox like any other: written in the transaction of the decision, signed, tried again
until it is taken, with the id of the message as its key. Whoever decides second finds it decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from monitor import episode, outbox, switchboard
from monitor.check import Severity
from monitor.notification import Notification, Reason, hook_name
from monitor.recommendation import Action, Recommendation, RecommendationState

if TYPE_CHECKING:
    import sqlalchemy as sa

    from monitor.installation import Installation

NAMESPACE = UUID("5a3f1a3c-6d35-4b51-9a53-0f5f5b1f7f10")  # of the ids of calls: one for each recommendation
RELEASES = (Action.PROMOTE, Action.ROLL_BACK)


class DecisionError(ValueError):
    """Nothing was decided; the message is one sentence, ``known`` says whether there is such a recommendation."""

    def __init__(self, message: str, *, known: bool) -> None:
        super().__init__(message)
        self.known = known


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A recommendation after a person decided on it, and the name of the webhook that is called, if any."""

    advice: Recommendation
    hook: str | None = None


def decide(
    conn: sa.Connection,
    installation: Installation,
    identity: UUID,
    state: RecommendationState,
    *,
    by: str,
    at: datetime,
) -> Decided:
    """Approve or dismiss an open recommendation in the caller's transaction, and write down the call it leads to.

    Raises DecisionError where there is none, or somebody has decided already.
    """
    if not episode.decide_recommendation(conn, identity, state, by=by, at=at):
        advice = episode.load_recommendation(conn, identity)
        if advice is None:
            listing = "`monitor recommendations --all` lists them"
            raise DecisionError(f"There is no recommendation {identity}; {listing}.", known=False)
        who = f" by {advice.decided_by}" if advice.decided_by else ""
        raise DecisionError(
            f"Recommendation {identity} is {advice.state} already{who}, so it cannot be {state}.", known=True
        )
    advice = episode.load_recommendation(conn, identity)
    assert advice is not None, "it was updated in this transaction"
    if state is RecommendationState.APPROVED:
        _share(conn, advice, by=by)
    hook = hook_name(advice.model, "release" if advice.action in RELEASES else "retraining")
    if state is not RecommendationState.APPROVED or hook not in installation.hooks:
        return Decided(advice=advice)
    outbox.put(conn, call_for(advice, by=by, at=at), [hook])
    return Decided(advice=advice, hook=hook)


def _share(conn: sa.Connection, advice: Recommendation, *, by: str) -> None:
    """Give a canary the share that was approved: the next step, or none where it is rolled back."""
    if advice.extras.get("role") != "canary":
        return
    share = 0.0 if advice.action is Action.ROLL_BACK else advice.extras.get("next_share")
    circuit = switchboard.hold_circuit(conn, advice.model)
    if share is not None and share != (circuit.share or 0.0):
        reason = f"{advice.action} of version {advice.extras.get('candidate')} was approved"
        switchboard.save_circuit(conn, circuit.shared(share, reason=reason, actor=by))


def call_for(advice: Recommendation, *, by: str, at: datetime) -> Notification:
    """Return the call that an approval leads to; its id is that of the recommendation, so that there is only one."""
    call = uuid5(NAMESPACE, str(advice.id))
    return Notification(
        id=call,
        model=advice.model,
        model_version=advice.model_version,
        role=advice.role,
        reason=Reason.APPROVED,
        severity=Severity.INFO,
        title=f"{advice.action} was approved by {by}",
        summary=advice.why,
        created_at=at,
        thread_key=f"approval-{advice.id}",
        group_key=f"approval-{advice.id}",  # nothing ever takes its place
        window_start=advice.window_start,
        window_end=advice.window_end,
        details=details_of(advice, by=by, at=at),
    )


def details_of(advice: Recommendation, *, by: str, at: datetime) -> Mapping[str, Any]:
    """Return what a program needs in order to carry it out, as JSON values."""
    return {
        "recommendation_id": str(advice.id),
        "action": advice.action.value,
        "approved_by": by,
        "approved_at": at.isoformat(),
        "train_since": None if advice.train_since is None else advice.train_since.isoformat(),
        "train_query": advice.train_query,
        "evidence": [dict(one) for one in advice.evidence],
        **{name: value for name, value in advice.extras.items() if name != "thread"},
    }
