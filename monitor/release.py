"""Releases: what a comparison says about a candidate, kept as a recommendation and told once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from monitor import episode, outbox, switchboard
from monitor.announcement import channels_for, complete
from monitor.candidate import Compared, ReleaseVerdict, next_step
from monitor.check import Severity
from monitor.checks.comparison import Comparison
from monitor.installation import Installation, Monitored
from monitor.notification import Fact, Notification, Reason
from monitor.pairing import CANARY
from monitor.recommendation import Action, Recommendation, RecommendationState

CAUSE = "release"
ACTIONS = {ReleaseVerdict.PROMOTE: Action.PROMOTE, ReleaseVerdict.ROLL_BACK: Action.ROLL_BACK}


def limits_of(watched: Monitored) -> Comparison:
    """Return how much worse, slower and larger a model's candidates may be."""
    check = watched.checks.get("comparison")
    return check if isinstance(check, Comparison) else Comparison()


def stepped(conn: sa.Connection, watched: Monitored, found: Compared) -> Compared:
    """Return a compared canary with the share of the requests that it answers now, and the next one."""
    if found.role != CANARY:
        return found
    share = switchboard.load_circuit(conn, watched.name).share
    return replace(found, share=share, next_share=next_step(share, watched.section.release.steps))


def advise(
    conn: sa.Connection,
    installation: Installation,
    watched: Monitored,
    compared: Sequence[Compared] | None,
    *,
    now: datetime,
) -> None:
    """Keep what the newest window says about all candidates; advice on one that is gone is withdrawn.

    None says that nothing was compared, which is no news of anybody.
    """
    if compared is None:
        return
    here = {(one.role, one.version) for one in compared}
    for old in _standing(conn, watched.name):
        if (old.extras.get("role"), old.extras.get("candidate")) not in here:
            episode.decide_recommendation(conn, old.id, RecommendationState.SUPERSEDED, by="monitor", at=now)
    for one in compared:
        recommend(conn, installation, watched, one, now=now)


def _standing(conn: sa.Connection, model: str) -> list[Recommendation]:
    found = episode.open_recommendations(conn, model)
    return [one for one in found if one.cause_key.partition(":")[0] == CAUSE]


def recommend(
    conn: sa.Connection, installation: Installation, watched: Monitored, found: Compared, *, now: datetime
) -> Recommendation | None:
    """Open, renew or supersede the recommendation about a model's release; returns the open one, told if it is new.

    Hold is no advice: what was advised before is superseded.
    """
    episode.hold(conn, watched.name)
    action = ACTIONS.get(found.verdict)
    extras = {"candidate": found.version, "role": found.role, "share": found.share, "next_share": found.next_share}
    standing = [one for one in _standing(conn, watched.name) if one.extras.get("role") == found.role]
    same = [one for one in standing if one.action is action and {**one.extras} == extras]
    for old in standing:
        if old not in same:
            episode.decide_recommendation(conn, old.id, RecommendationState.SUPERSEDED, by="monitor", at=now)
    if action is None:
        return None
    advice = Recommendation(
        id=same[0].id if same else uuid.uuid4(),
        model=watched.name,
        cause_key=f"{CAUSE}:{found.role}",
        action=action,
        opened_at=same[0].opened_at if same else now,
        window_start=found.start,
        window_end=found.end,
        evidence=[
            {"loss": one.loss.value, "champion": one.champion, "candidate": one.candidate, "margin": one.margin}
            | ({} if one.difference is None else {"rows": one.difference.rows, "low": one.difference.low})
            | ({} if one.difference is None else {"high": one.difference.high})
            for one in found.judged
        ]
        + [
            {"guard": one.name, "champion": one.champion, "candidate": one.candidate, "limit": one.limit}
            for one in found.guards
        ],
        why="; ".join([*(one.why for one in found.judged), *(one.why for one in found.guards)]),
        extras=extras,
    )
    if episode.save_recommendation(conn, advice):
        told = complete(installation, _message(advice, found, now))
        channels = channels_for(installation, told, ())
        for held in dict.fromkeys(channels.values()) or [None]:
            outbox.put(conn, told, [name for name, until in channels.items() if until == held], not_before=held)
    return advice


def _message(advice: Recommendation, found: Compared, now: datetime) -> Notification:
    promoted = advice.action is Action.PROMOTE
    title = f"promote the {found.name}" if promoted else f"roll back the {found.name}"
    if promoted and found.next_share is not None:
        title = f"let the {found.name} answer {found.next_share:.3g} of the requests"
    worse = next((one.why for one in found.guards if one.verdict is ReleaseVerdict.ROLL_BACK), "")
    lost = any(one.verdict is ReleaseVerdict.ROLL_BACK for one in found.judged)
    bad = "It is worse than the champion." if lost or not worse else "It answers too slowly."
    return Notification(
        id=uuid.uuid4(),
        model=advice.model,
        reason=Reason.RECOMMENDATION,
        severity=Severity.WARNING,
        title=title,
        summary="It is as good as the champion." if promoted else bad,
        created_at=now,
        thread_key=f"release-{advice.id}",
        group_key=f"{advice.model}:champion:release:{found.role}",
        window_start=advice.window_start,
        window_end=advice.window_end,
        facts=[
            *(Fact(subject=one.loss.value, text=one.why) for one in found.judged),
            *(Fact(subject=one.name, text=one.why) for one in found.guards),
        ],
        next_step=f"Approve or dismiss it: monitor recommendations approve {str(advice.id)[:8]}",
    )
