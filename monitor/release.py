"""Releases: what a comparison says about a candidate, kept as a recommendation and told once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from monitor import episode, outbox
from monitor.announcement import channels_for, complete
from monitor.candidate import Judged, ReleaseVerdict
from monitor.check import Severity
from monitor.installation import Installation, Monitored
from monitor.notification import Fact, Notification, Reason
from monitor.recommendation import Action, Recommendation, RecommendationState

CAUSE = "release"
ACTIONS = {ReleaseVerdict.PROMOTE: Action.PROMOTE, ReleaseVerdict.ROLL_BACK: Action.ROLL_BACK}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A version that would take over, what was judged of it, and the time that its answers span."""

    version: str
    role: str
    verdict: ReleaseVerdict
    judged: Sequence[Judged]
    start: datetime
    end: datetime


def recommend(
    conn: sa.Connection, installation: Installation, watched: Monitored, candidate: Candidate, *, now: datetime
) -> Recommendation | None:
    """Open, renew or supersede the recommendation about a model's release; returns the open one, told if it is new.

    Hold is no advice: what was advised before is superseded.
    """
    episode.hold(conn, watched.name)
    action = ACTIONS.get(candidate.verdict)
    standing = [one for one in episode.open_recommendations(conn, watched.name) if one.cause_key == CAUSE]
    same = [one for one in standing if one.action is action and one.extras.get("candidate") == candidate.version]
    for old in standing:
        if old not in same:
            episode.decide_recommendation(conn, old.id, RecommendationState.SUPERSEDED, by="monitor", at=now)
    if action is None:
        return None
    advice = Recommendation(
        id=same[0].id if same else uuid.uuid4(),
        model=watched.name,
        cause_key=CAUSE,
        action=action,
        opened_at=same[0].opened_at if same else now,
        window_start=candidate.start,
        window_end=candidate.end,
        evidence=[
            {"loss": one.loss.value, "champion": one.champion, "candidate": one.candidate, "margin": one.margin}
            | ({} if one.difference is None else {"rows": one.difference.rows, "low": one.difference.low})
            | ({} if one.difference is None else {"high": one.difference.high})
            for one in candidate.judged
        ],
        why="; ".join(one.why for one in candidate.judged),
        extras={"candidate": candidate.version, "role": candidate.role},
    )
    if episode.save_recommendation(conn, advice):
        told = complete(installation, _message(advice, candidate, now))
        channels = channels_for(installation, told, ())
        for held in dict.fromkeys(channels.values()) or [None]:
            outbox.put(conn, told, [name for name, until in channels.items() if until == held], not_before=held)
    return advice


def _message(advice: Recommendation, candidate: Candidate, now: datetime) -> Notification:
    promoted = advice.action is Action.PROMOTE
    name = f"{candidate.role} {candidate.version}".strip()
    return Notification(
        id=uuid.uuid4(),
        model=advice.model,
        reason=Reason.RECOMMENDATION,
        severity=Severity.WARNING,
        title=f"promote the {name}" if promoted else f"roll back the {name}",
        summary="It is as good as the champion." if promoted else "It is worse than the champion.",
        created_at=now,
        thread_key=f"release-{advice.id}",
        group_key=f"{advice.model}:champion:release",
        window_start=advice.window_start,
        window_end=advice.window_end,
        facts=[Fact(subject=one.loss.value, text=one.why) for one in candidate.judged],
        next_step=f"Approve or dismiss it: monitor recommendations approve {str(advice.id)[:8]}",
    )
