"""What outlives a window: episodes of alerts, recommendations, and the silences people asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from monitor.alert import ENDED, OPEN, Alert, AlertState, Transition
from monitor.check import Cause, Severity
from monitor.encoding import clean_text
from monitor.ledger import Run
from monitor.machine import close
from monitor.recommendation import Action, Recommendation, RecommendationState
from monitor.tables import alert as alerts
from monitor.tables import alert_event as events
from monitor.tables import recommendation as recommendations
from monitor.tables import silence as silences

#: Fields of an alert that are columns of the same name.
ALERT_COLUMNS = tuple(field.name for field in dataclasses.fields(Alert) if field.name != "key")
RECOMMENDATION_COLUMNS = tuple(field.name for field in dataclasses.fields(Recommendation) if field.name != "id")


def load_alerts(conn: sa.Connection, model: str, role: str = "champion") -> dict[str, Alert]:
    """The newest episode of each alert of a model, open or not, by alert key: what the next window steps from."""
    query = (
        sa.select(alerts)
        .ext(postgresql.distinct_on(alerts.c.alert_key))
        .where(alerts.c.model == model, alerts.c.role == role)
        .order_by(alerts.c.alert_key, alerts.c.episode.desc())
    )
    return {row.alert_key: alert_of(row._mapping) for row in conn.execute(query)}


def load_episodes(conn: sa.Connection, model: str, role: str = "champion", *, since: datetime) -> list[Alert]:
    """Episodes that opened and were not resolved before a window that starts at ``since``, oldest first."""
    query = (
        sa.select(alerts)
        .where(
            alerts.c.model == model,
            alerts.c.role == role,
            alerts.c.opened_window_start.is_not(None),
            sa.or_(alerts.c.resolved_window_start.is_(None), alerts.c.resolved_window_start >= since),
        )
        .order_by(alerts.c.opened_window_start, alerts.c.alert_key)
    )
    return [alert_of(row._mapping) for row in conn.execute(query)]


def critical_alerts(conn: sa.Connection, model: str, role: str = "champion") -> list[Alert]:
    """Open episodes of a model that are critical, by key."""
    query = sa.select(alerts).where(
        alerts.c.model == model,
        alerts.c.role == role,
        alerts.c.state.in_([state.value for state in OPEN]),
        alerts.c.severity == Severity.CRITICAL.value,
    )
    return [alert_of(row._mapping) for row in conn.execute(query.order_by(alerts.c.alert_key))]


def find_alert(conn: sa.Connection, key: str) -> Alert | None:
    """The newest episode of the alert whose key begins with ``key``, None without any; ValueError if several do."""
    query = (
        sa.select(alerts)
        .ext(postgresql.distinct_on(alerts.c.alert_key))
        .where(alerts.c.alert_key.startswith(key, autoescape=True))
        .order_by(alerts.c.alert_key, alerts.c.episode.desc())
    )
    found = conn.execute(query).all()
    if len(found) > 1:
        raise ValueError(f"{len(found)} alerts have a key that begins with {key}; give more of it.")
    return alert_of(found[0]._mapping) if found else None


def hold(conn: sa.Connection, model: str, role: str = "champion") -> None:
    """Keep a model's alerts and advice to this transaction until it ends: nobody else changes them meanwhile.

    Everybody who writes them takes this first and then reads them, so that no change is lost. Several stages of a model
    are evaluated at once, and people acknowledge at any time.
    """
    name = f"alerts of {model} {role}"
    conn.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))


def newest_alert(conn: sa.Connection, key: str) -> Alert | None:
    """The newest episode of an alert; None without any."""
    query = sa.select(alerts).where(alerts.c.alert_key == key).order_by(alerts.c.episode.desc()).limit(1)
    row = conn.execute(query).one_or_none()
    return None if row is None else alert_of(row._mapping)


def save_alerts(conn: sa.Connection, changed: Iterable[Alert], *, at: datetime) -> None:
    """Write episodes as they are now. That one key has at most one open episode is seen to by the database.

    Save an episode that ended together with the one that follows it: ended ones are written first.
    """
    rows = [
        {**{name: getattr(alert, name) for name in ALERT_COLUMNS}, "alert_key": alert.key, "updated_at": at}
        for alert in sorted(changed, key=lambda alert: alert.state not in ENDED)
    ]
    if not rows:
        return
    insert = postgresql.insert(alerts)
    replaced = {name: insert.excluded[name] for name in rows[0] if name not in ("alert_key", "episode")}
    conn.execute(
        insert.on_conflict_do_update(index_elements=["alert_key", "episode"], set_=replaced),
        [storable(row) for row in rows],
    )


def add_alert_events(
    conn: sa.Connection,
    transitions: Iterable[Transition],
    *,
    at: datetime,
    window_start: datetime | None = None,
    revision: int | None = None,
    actor: str | None = None,
) -> None:
    """Append what happened to alerts; ``actor`` is the person who did it, None when the evidence did."""
    rows = [
        {
            "alert_key": transition.alert.key,
            "episode": transition.alert.episode,
            "model": transition.alert.model,
            "model_version": transition.alert.model_version,
            "role": transition.alert.role,
            "slice": dict(transition.alert.slice),
            "at": at,
            "window_start": window_start,
            "revision": revision,
            "from_state": transition.from_state.value,
            "to_state": transition.to_state.value,
            "reason": clean_text(transition.reason),
            "actor": actor,
        }
        for transition in transitions
    ]
    if rows:
        conn.execute(sa.insert(events), rows)


def acknowledge(conn: sa.Connection, alert: Alert, *, by: str, at: datetime, until: datetime) -> bool:
    """Write down that somebody has taken on an open episode; False if it is not open any more."""
    hold(conn, alert.model, alert.role)
    changed = conn.execute(
        sa.update(alerts)
        .where(
            alerts.c.alert_key == alert.key,
            alerts.c.episode == alert.episode,
            alerts.c.state.in_([AlertState.FIRING.value, AlertState.RECOVERING.value]),
        )
        .values(acknowledged_by=by, acknowledged_at=at, acknowledged_until=until)
    ).rowcount
    if changed:
        transition = Transition(alert=alert, from_state=alert.state, to_state=alert.state, reason="acknowledged")
        add_alert_events(conn, [transition], at=at, actor=by)
    return bool(changed)


def expire(conn: sa.Connection, model: str, *, at: datetime) -> int:
    """End everything about a model that is not configured any more, without calling it resolved; returns how many."""
    roles = conn.scalars(sa.select(alerts.c.role).where(alerts.c.model == model).distinct()).all()
    ended = 0
    for role in roles:
        hold(conn, model, role)
        standing = [alert for alert in load_alerts(conn, model, role).values() if alert.state not in ENDED]
        steps = [close(alert, AlertState.EXPIRED, "the model is not configured any more", at=at) for alert in standing]
        save_alerts(conn, [step.alert for step in steps if step.alert is not None], at=at)
        transitions = [transition for step in steps for transition in step.transitions]
        add_alert_events(conn, transitions, at=at)
        ended += len(transitions)
    for advice in open_recommendations(conn, model):
        decide_recommendation(conn, advice.id, RecommendationState.SUPERSEDED, by="monitor", at=at)
    return ended


def alert_of(row: Mapping[Any, Any]) -> Alert:
    """An episode as the state machine knows it."""
    values = {name: row[name] for name in ALERT_COLUMNS}
    return Alert(
        **{
            **values,
            "key": row["alert_key"],
            "model_version": row["model_version"] or "",
            "thread_key": row["thread_key"] or "",
            "direction": row["direction"] or 0,
            "severity": Severity(row["severity"]),
            "state": AlertState(row["state"]),
            "cause": row["cause"] and Cause(row["cause"]),
            "subjects": tuple(row["subjects"]),
            "impact_cost": None if row["impact_cost"] is None else float(row["impact_cost"]),
        }
    )


# --- recommendations ---


def open_recommendations(conn: sa.Connection, model: str) -> list[Recommendation]:
    """What is advised and not decided, oldest first."""
    query = (
        sa.select(recommendations)
        .where(recommendations.c.model == model, recommendations.c.state == RecommendationState.OPEN.value)
        .order_by(recommendations.c.opened_at, recommendations.c.cause_key)
    )
    return [recommendation_of(row._mapping) for row in conn.execute(query)]


def recent_recommendations(conn: sa.Connection, model: str, *, since: datetime) -> list[Recommendation]:
    """What is advised now, and what was advised about windows from a time on, oldest first."""
    query = (
        sa.select(recommendations)
        .where(
            recommendations.c.model == model,
            sa.or_(recommendations.c.state == RecommendationState.OPEN.value, recommendations.c.window_start >= since),
        )
        .order_by(recommendations.c.opened_at, recommendations.c.cause_key)
    )
    return [recommendation_of(row._mapping) for row in conn.execute(query)]


def load_recommendation(conn: sa.Connection, recommendation_id: UUID) -> Recommendation | None:
    """One recommendation."""
    query = sa.select(recommendations).where(recommendations.c.recommendation_id == recommendation_id)
    row = conn.execute(query).one_or_none()
    return None if row is None else recommendation_of(row._mapping)


def save_recommendation(conn: sa.Connection, advice: Recommendation, *, run: Run | None = None) -> bool:
    """Store a recommendation, or replace what an open one with the same id says; returns whether it is new.

    A second open one for the same model and cause is refused by the database: supersede the first before.
    """
    values = storable({name: getattr(advice, name) for name in RECOMMENDATION_COLUMNS}) | {
        "updated_at": sa.func.now(),
        "run_id": run and run.run_id,
        "revision": run and run.revision,
    }
    kept = {name: value for name, value in values.items() if name not in ("opened_at", "model", "cause_key")}
    # a row that was never changed by a later transaction has no xmax: it was inserted
    is_new: sa.ColumnElement[bool] = sa.literal_column("xmax = 0", sa.Boolean())
    insert = (
        postgresql.insert(recommendations)
        .values(recommendation_id=advice.id, **values)
        .on_conflict_do_update(
            index_elements=["recommendation_id"],
            set_=kept,
            where=recommendations.c.state == RecommendationState.OPEN.value,
        )
        .returning(is_new)
    )
    return bool(conn.execute(insert).scalar_one_or_none())


def decide_recommendation(
    conn: sa.Connection, recommendation_id: UUID, state: RecommendationState, *, by: str, at: datetime
) -> bool:
    """Approve, dismiss or supersede an open recommendation; False if it is not open any more."""
    return bool(
        conn.execute(
            sa.update(recommendations)
            .where(
                recommendations.c.recommendation_id == recommendation_id,
                recommendations.c.state == RecommendationState.OPEN.value,
            )
            .values(state=state.value, decided_by=by, decided_at=at, updated_at=sa.func.now())
        ).rowcount
    )


def undecided(conn: sa.Connection, model: str) -> list[Recommendation]:
    """Approved advice on the model itself of which it is not known yet what came of it, oldest first."""
    approved, done = RecommendationState.APPROVED.value, RecommendationState.DONE.value
    query = (
        sa.select(recommendations)
        .where(
            recommendations.c.model == model,
            recommendations.c.action.in_([Action.RETRAIN.value, Action.RECALIBRATE.value]),
            recommendations.c.outcome.is_(None),
            sa.or_(
                recommendations.c.state == approved,
                sa.and_(recommendations.c.state == done, recommendations.c.extras.has_key("since")),
            ),
        )
        .order_by(recommendations.c.decided_at)
    )
    return [recommendation_of(row._mapping) for row in conn.execute(query)]


def close_recommendation(
    conn: sa.Connection,
    recommendation_id: UUID,
    state: RecommendationState,
    *,
    outcome: str | None = None,
    extras: Mapping[str, Any] | None = None,
) -> bool:
    """Record what became of an approved recommendation: done or failed, later whether it helped; ``extras`` add."""
    values: dict[str, Any] = {"state": state.value, "updated_at": sa.func.now()}
    if extras is not None:
        values["extras"] = recommendations.c.extras.op("||")(sa.cast(dict(extras), postgresql.JSONB))
    if outcome is not None:
        values["outcome"] = outcome
    return bool(
        conn.execute(
            sa.update(recommendations)
            .where(
                recommendations.c.recommendation_id == recommendation_id,
                recommendations.c.state.in_(("approved", "done", "failed")),
            )
            .values(values)
        ).rowcount
    )


def recommendation_of(row: Mapping[Any, Any]) -> Recommendation:
    """A recommendation as the program knows it."""
    values = {name: row[name] for name in RECOMMENDATION_COLUMNS}
    for name in ("expected_benefit", "expected_cost"):
        values[name] = None if values[name] is None else float(values[name])
    for name in ("model_version", "why", "why_not"):
        values[name] = values[name] or ""
    return Recommendation(
        **{
            **values,
            "id": row["recommendation_id"],
            "action": Action(row["action"]),
            "state": RecommendationState(row["state"]),
            "evidence": tuple(row["evidence"]),
        }
    )


# --- silences ---


def add_silence(
    conn: sa.Connection,
    *,
    matchers: Mapping[str, Any],
    starts_at: datetime,
    ends_at: datetime,
    author: str,
    reason: str,
) -> UUID:
    """Silence what matches until a time; who, why and until when are never left out. Returns its id."""
    values = {"matchers": dict(matchers), "starts_at": starts_at, "ends_at": ends_at, "author": author}
    insert = sa.insert(silences).values(**values, reason=reason).returning(silences.c.silence_id)
    return conn.execute(insert).scalar_one()


def end_silence(conn: sa.Connection, silence_id: UUID, *, by: str, at: datetime) -> bool:
    """End a silence early; False if it is over."""
    statement = sa.update(silences).where(silences.c.silence_id == silence_id, silences.c.ends_at > at)
    return bool(
        conn.execute(statement.values(ends_at=sa.func.greatest(silences.c.starts_at, at), ended_by=by)).rowcount
    )


def active_silences(conn: sa.Connection, *, at: datetime) -> Sequence[sa.RowMapping]:
    """Silences in force at a time."""
    query = sa.select(silences).where(silences.c.starts_at <= at, silences.c.ends_at > at)
    return conn.execute(query.order_by(silences.c.starts_at)).mappings().all()


def storable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Texts without characters that Postgres refuses, choices as words; the rest as it is."""
    return {name: clean_text(str(value)) if isinstance(value, str) else value for name, value in row.items()}
