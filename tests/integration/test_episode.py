"""Rules of what outlives a window: one open episode per alert, one recommendation per cause, silences that end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from monitor import episode
from monitor.alert import Alert, AlertState, Transition
from monitor.check import Cause, Severity
from monitor.recommendation import Action, Recommendation, RecommendationState

NOW = datetime(2013, 4, 23, tzinfo=UTC)
DAY = timedelta(days=1)


def alert(**changes: Any) -> Alert:
    values: dict[str, Any] = {
        "key": "abc",
        "episode": 1,
        "model": "m",
        "model_version": "v1",
        "slice": {"origin": "JFK"},
        "family": "outcome",
        "subject": "auc",
        "direction": -1,
        "title": "worse\x00 than usual",
        "severity": Severity.CRITICAL,
        "state": AlertState.FIRING,
        "cause": Cause.CONCEPT,
        "opened_at": NOW,
        "opened_window_start": NOW - DAY,
        "opened_window_end": NOW,
        "began_at": NOW - DAY,
        "began_earliest": NOW - 2 * DAY,
        "began_latest": NOW - DAY,
        "subjects": ({"subject": "auc", "effect": -3.5},),
        "impact_cost": 120.5,
        "currency": "USD",
        "thread_key": "abc-1",
        "memory": {"tracks": {"auc": {"bad": [True, False]}}},
    }
    return Alert(**{**values, **changes})


def test_an_episode_comes_back_as_it_was_saved(conn: sa.Connection) -> None:
    saved = alert()
    episode.save_alerts(conn, [saved], at=NOW)
    assert episode.load_alerts(conn, "m") == {"abc": replace(saved, title="worse\ufffd than usual")}
    assert episode.load_alerts(conn, "other") == {}
    assert episode.load_alerts(conn, "m", "shadow") == {}


def test_an_episode_is_changed_in_place(conn: sa.Connection) -> None:
    episode.save_alerts(conn, [alert()], at=NOW)
    later = alert(state=AlertState.RESOLVED, resolved_at=NOW + DAY, title="better")
    episode.save_alerts(conn, [later], at=NOW + DAY)
    assert episode.load_alerts(conn, "m") == {"abc": later}
    shown = conn.execute(sa.text("SELECT state, resolved_at, slice FROM monitor.alert_history")).all()
    assert shown == [("resolved", NOW + DAY, {"origin": "JFK"})]


def test_the_newest_episode_is_the_one_that_goes_on(conn: sa.Connection) -> None:
    episode.save_alerts(conn, [alert(state=AlertState.RESOLVED)], at=NOW)
    episode.save_alerts(conn, [alert(episode=2)], at=NOW)
    assert episode.load_alerts(conn, "m")["abc"].episode == 2


def test_an_alert_has_at_most_one_open_episode(conn: sa.Connection) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="uq_alert_open"):
        episode.save_alerts(conn, [alert(), alert(episode=2, state=AlertState.PENDING)], at=NOW)


def test_an_episode_that_turned_into_its_opposite_is_saved_with_the_one_that_follows(conn: sa.Connection) -> None:
    episode.save_alerts(conn, [alert()], at=NOW)
    following = alert(episode=2, direction=1)
    episode.save_alerts(conn, [following, alert(state=AlertState.SUPERSEDED)], at=NOW)
    assert episode.load_alerts(conn, "m")["abc"].episode == 2


def test_an_alert_that_was_only_pending_is_remembered_but_not_shown(conn: sa.Connection) -> None:
    episode.save_alerts(conn, [alert(state=AlertState.INACTIVE)], at=NOW)
    assert conn.execute(sa.text("SELECT * FROM monitor.alert_history")).all() == []
    assert episode.load_alerts(conn, "m")["abc"].memory == alert().memory


def test_past_episodes_are_loaded_as_far_back_as_asked(conn: sa.Connection) -> None:
    def past(key: str, opened: int, resolved: int | None) -> Alert:
        return alert(
            key=key,
            state=AlertState.FIRING if resolved is None else AlertState.RESOLVED,
            opened_window_start=NOW + opened * DAY,
            resolved_window_start=None if resolved is None else NOW + resolved * DAY,
        )

    never = alert(key="never", state=AlertState.PENDING, opened_window_start=None)
    episode.save_alerts(conn, [past("open", -50, None), past("old", -60, -40), past("new", -9, -3), never], at=NOW)
    assert [one.key for one in episode.load_episodes(conn, "m", since=NOW - 30 * DAY)] == ["open", "new"]


def test_every_change_is_recorded_with_who_did_it(conn: sa.Connection) -> None:
    opened = Transition(alert=alert(), from_state=AlertState.PENDING, to_state=AlertState.FIRING, reason="opened")
    episode.save_alerts(conn, [alert()], at=NOW)
    episode.add_alert_events(conn, [opened], at=NOW, window_start=NOW - DAY, revision=2)
    until = NOW + 3 * DAY
    assert episode.acknowledge(conn, alert(), by="ada", at=NOW + DAY, until=until)
    events = conn.execute(
        sa.text("SELECT at, revision, from_state, to_state, reason, actor FROM monitor.alert_events ORDER BY at")
    ).all()
    assert events == [
        (NOW, 2, "pending", "firing", "opened", None),
        (NOW + DAY, None, "firing", "firing", "acknowledged", "ada"),
    ]
    assert episode.load_alerts(conn, "m")["abc"].acknowledged_until == until


def test_what_is_over_cannot_be_acknowledged(conn: sa.Connection) -> None:
    episode.save_alerts(conn, [alert(state=AlertState.RESOLVED)], at=NOW)
    assert not episode.acknowledge(conn, alert(), by="ada", at=NOW, until=NOW + DAY)
    assert conn.execute(sa.text("SELECT * FROM monitor.alert_events")).all() == []


def test_an_alert_is_found_by_the_begin_of_its_key_if_that_names_only_one(conn: sa.Connection) -> None:
    episode.save_alerts(conn, [alert(key="abc"), alert(key="abd"), alert(key="x%")], at=NOW)
    found = episode.find_alert(conn, "abd")
    assert found is not None
    assert found.key == "abd"
    assert episode.find_alert(conn, "%") is None
    with pytest.raises(ValueError, match=r"^2 alerts have a key that begins with ab; give more of it\.$"):
        episode.find_alert(conn, "ab")


# --- recommendations ---


def advice(**changes: Any) -> Recommendation:
    values: dict[str, Any] = {
        "id": uuid4(),
        "model": "m",
        "cause_key": "calibration",
        "action": Action.RECALIBRATE,
        "opened_at": NOW,
        "window_start": NOW - DAY,
        "window_end": NOW,
        "evidence": ({"subject": "log_loss", "gain": 0.5},),
        "why": "the probabilities are too low",
        "expected_benefit": 310.25,
        "currency": "USD",
        "extras": {"map": [0.1, 1.2]},
    }
    return Recommendation(**{**values, **changes})


def test_a_recommendation_comes_back_as_it_was_saved(conn: sa.Connection) -> None:
    saved = advice()
    assert episode.save_recommendation(conn, saved)
    assert episode.open_recommendations(conn, "m") == [saved]
    assert episode.load_recommendation(conn, saved.id) == saved
    assert episode.load_recommendation(conn, uuid4()) is None


def test_an_open_recommendation_may_say_more_later(conn: sa.Connection) -> None:
    first = advice()
    episode.save_recommendation(conn, first)
    stronger = replace(first, why="and it has become worse", expected_benefit=900.0)
    assert not episode.save_recommendation(conn, stronger)
    assert episode.open_recommendations(conn, "m") == [stronger]


def test_a_cause_has_at_most_one_open_recommendation(conn: sa.Connection) -> None:
    episode.save_recommendation(conn, advice())
    with pytest.raises(sa.exc.IntegrityError, match="uq_recommendation_open"), conn.begin_nested():
        episode.save_recommendation(conn, advice(action=Action.RETRAIN))
    assert episode.save_recommendation(conn, advice(cause_key="rank", action=Action.RETRAIN))


def test_a_recommendation_is_decided_once(conn: sa.Connection) -> None:
    saved = advice()
    episode.save_recommendation(conn, saved)
    assert episode.decide_recommendation(conn, saved.id, RecommendationState.APPROVED, by="ada", at=NOW + DAY)
    assert not episode.decide_recommendation(conn, saved.id, RecommendationState.DISMISSED, by="bob", at=NOW + DAY)
    assert episode.open_recommendations(conn, "m") == []
    assert not episode.save_recommendation(conn, replace(saved, why="changed after the decision"))
    decided = episode.load_recommendation(conn, saved.id)
    assert decided is not None
    assert (decided.state, decided.decided_by, decided.why) == (RecommendationState.APPROVED, "ada", saved.why)
    assert episode.save_recommendation(conn, advice())


def test_what_came_of_a_recommendation_is_recorded_only_if_it_was_approved(conn: sa.Connection) -> None:
    saved = advice()
    episode.save_recommendation(conn, saved)
    assert not episode.close_recommendation(conn, saved.id, RecommendationState.DONE)
    episode.decide_recommendation(conn, saved.id, RecommendationState.APPROVED, by="ada", at=NOW)
    assert episode.close_recommendation(conn, saved.id, RecommendationState.DONE, outcome="helped")
    shown = conn.execute(sa.text("SELECT state, outcome, expected_benefit FROM monitor.recommendation_history")).all()
    assert [(state, outcome, float(benefit)) for state, outcome, benefit in shown] == [("done", "helped", 310.25)]


# --- silences ---


def test_a_silence_holds_until_its_end_or_until_somebody_ends_it(conn: sa.Connection) -> None:
    silence_id = episode.add_silence(
        conn, matchers={"model": "m"}, starts_at=NOW, ends_at=NOW + 3 * DAY, author="ada", reason="migration"
    )

    def active(at: datetime) -> list[Any]:
        return [row["silence_id"] for row in episode.active_silences(conn, at=at)]

    assert [active(NOW - DAY), active(NOW), active(NOW + 3 * DAY)] == [[], [silence_id], []]
    assert episode.end_silence(conn, silence_id, by="bob", at=NOW + DAY)
    assert active(NOW + 2 * DAY) == []
    assert not episode.end_silence(conn, silence_id, by="bob", at=NOW + 2 * DAY)
    shown = conn.execute(sa.text("SELECT author, ended_by, ends_at FROM monitor.silence_history")).all()
    assert shown == [("ada", "bob", NOW + DAY)]
