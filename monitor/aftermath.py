"""Aftermath: what became of approved advice: the new version, and whether the model errs less since."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from uuid import uuid5

import sqlalchemy as sa

from monitor import episode, outbox, store, timeline
from monitor.announcement import channels_for, complete
from monitor.approval import NAMESPACE
from monitor.check import Severity
from monitor.checks.performance import LOSS_NAME
from monitor.installation import Installation, Monitored
from monitor.notification import Fact, Notification, Reason
from monitor.recommendation import Recommendation, RecommendationState
from monitor.recovery import MOST, Recovery, Result, judge

OVERDUE = timedelta(days=60)  # without a new version, or without enough labels of it


def follow(conn: sa.Connection, installation: Installation, watched: Monitored, *, now: datetime) -> None:
    """Go on with every approved RETRAIN and RECALIBRATE of a model, in the transaction of an outcome window.

    A new version in the logs, or a training profile of one, makes it done; its windows of matured labels say whether it
    helped, which is told once, in the thread of the advice. Nothing within 60 days is failed, or unknown.
    """
    for advice in episode.undecided(conn, watched.name):
        assert advice.decided_at is not None, "somebody approved it"
        if advice.state is RecommendationState.APPROVED:
            found = store.successor(conn, watched.name, after=advice.decided_at, than=advice.model_version)
            if found is not None:
                extras = {"successor": found.version, "since": found.since.isoformat(), "profiled": found.profiled}
                episode.close_recommendation(conn, advice.id, RecommendationState.DONE, extras=extras)
            elif now - advice.decided_at > OVERDUE:
                episode.close_recommendation(conn, advice.id, RecommendationState.FAILED, outcome=Result.UNKNOWN.value)
            continue
        since = datetime.fromisoformat(advice.extras["since"])
        recovery = _recovery(conn, watched, advice, since)
        if recovery is not None:
            facts = {"recovery": asdict(recovery) | {"recovered": recovery.recovered, "metric": _metric(watched)}}
            episode.close_recommendation(
                conn, advice.id, RecommendationState.DONE, outcome=recovery.result.value, extras=facts
            )
            _tell(conn, installation, _message(advice, watched, recovery, now))
        elif now - since > OVERDUE + MOST * watched.spec.pace:
            episode.close_recommendation(conn, advice.id, RecommendationState.DONE, outcome=Result.UNKNOWN.value)


def _metric(watched: Monitored) -> str:
    return LOSS_NAME[watched.section.source.prediction.task]


def _recovery(conn: sa.Connection, watched: Monitored, advice: Recommendation, since: datetime) -> Recovery | None:
    pace = watched.spec.pace
    points = timeline.figures(conn, watched.name, _metric(watched), since=advice.window_start - MOST * pace)
    before = [one for one in points if one["window_end"] <= since]
    after = [one for one in points if one["window_start"] >= since]
    promised = [one["reference_value"] for one in after if one["reference_value"] is not None]
    return judge(
        [one["value"] for one in before],
        [one["value"] for one in after],
        expected=promised[-1] if promised else None,
    )


def _tell(conn: sa.Connection, installation: Installation, message: Notification) -> None:
    told = complete(installation, message)
    channels = channels_for(installation, told, ())
    for held in dict.fromkeys(channels.values()):
        outbox.put(conn, told, [name for name, until in channels.items() if until == held], not_before=held)


def _message(advice: Recommendation, watched: Monitored, recovery: Recovery, now: datetime) -> Notification:
    helped = recovery.result is Result.HELPED
    word = "helped" if helped else "did not help"
    metric = _metric(watched).replace("_", " ")
    change = f"{metric} {recovery.before:.4g} before, {recovery.after:.4g} in {recovery.windows} windows since"
    facts = [Fact(subject=advice.extras["successor"] or "new version", text=change)]
    if recovery.expected is not None:
        held = "as" if recovery.recovered else "above what"
        facts.append(Fact(subject="training", text=f"{held} training promises, {recovery.expected:.4g}"))
    return Notification(
        id=uuid5(NAMESPACE, f"{advice.id} outcome"),
        model=advice.model,
        model_version=advice.extras["successor"],
        role=advice.role,
        reason=Reason.RECOMMENDATION,
        severity=Severity.INFO if helped else Severity.WARNING,
        title=f"{advice.model}: {advice.action} {word}",
        summary=f"{change[:1].upper()}{change[1:]}.",
        created_at=now,
        thread_key=str(advice.extras.get("thread") or f"recommendation-{advice.id}"),
        group_key=f"{advice.model}:{advice.role}:outcome",
        window_start=advice.window_start,
        window_end=advice.window_end,
        facts=facts,
        next_step="Nothing to do."
        if helped
        else "Look at the slices and the data of the new version; it is judged on.",
    )
