"""Rules of asking: what a person asks is only read, and the light of a model is what the evidence allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from monitor import episode, history, ledger, record, schema, store
from monitor.alert import Alert, AlertState
from monitor.check import Finding, Part, Performance, Severity, Verdict
from monitor.embedded import Database
from monitor.recommendation import Action, Recommendation
from monitor.window import Window

DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
YESTERDAY = Window(start=TODAY - DAY, end=TODAY)


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    engine = schema.create_engine(database.url)
    yield engine
    engine.dispose()


@pytest.fixture
def conn(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        yield connection


# --- reading only ---


def ask(engine: sa.Engine, statement: str, **options: int) -> history.Answer:
    with engine.connect() as conn:
        return history.select_readonly(conn, statement, **options)


def test_a_query_is_answered_with_columns_and_rows(engine: sa.Engine) -> None:
    answer = ask(engine, "SELECT 1 AS one, '50 %' AS share UNION ALL SELECT 2, '%s' ORDER BY one")
    assert answer.columns == ("one", "share")
    assert answer.records() == [{"one": 1, "share": "50 %"}, {"one": 2, "share": "%s"}]


def test_the_views_need_no_schema_before_their_name(engine: sa.Engine) -> None:
    assert ask(engine, "SELECT model, light FROM model_status").columns == ("model", "light")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM model",
        "CREATE TABLE mine (x int)",
        "WITH gone AS (DELETE FROM model RETURNING *) SELECT * FROM gone",
        "COMMIT; DELETE FROM monitor.model",
        "SELECT 1; COMMIT; DELETE FROM monitor.model",
        "SELECT 1; DELETE FROM model",
        "SET TRANSACTION READ WRITE",
        "SELECT monitor.ensure_partitions('day', now(), now() + interval '1 day')",
    ],
)
def test_a_query_that_would_change_something_is_refused(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as conn:
        store.register_model(conn, "m", config={}, config_hash="", code_version="")
    with pytest.raises(history.QueryError):
        ask(engine, statement)
    assert ask(engine, "SELECT name FROM model").rows == (("m",),)


def test_a_mistake_is_explained_in_one_sentence_and_harms_nothing(engine: sa.Engine) -> None:
    with engine.connect() as conn:
        with pytest.raises(history.QueryError, match=r'^Postgres says: column "modell" does not exist\.'):
            history.select_readonly(conn, "SELECT modell FROM model_status")
        assert history.select_readonly(conn, "SELECT 1").rows == ((1,),)


def test_a_statement_without_rows_is_refused(engine: sa.Engine) -> None:
    with pytest.raises(history.QueryError, match="returns no rows; give a SELECT"):
        ask(engine, "SET work_mem = '64MB'")


def test_only_as_many_rows_as_asked_for_are_fetched(engine: sa.Engine) -> None:
    assert len(ask(engine, "SELECT * FROM generate_series(1, 100)", limit=7).rows) == 7


def test_rows_of_a_view_are_chosen_by_columns_and_times(conn: sa.Connection) -> None:
    for number in range(3):
        window = Window(start=TODAY - number * DAY, end=TODAY - (number - 1) * DAY)
        ledger.materialise(conn, "m" if number else "n", "champion", "inputs", [window])
    assert [row["model"] for row in history.rows_of(conn, "run_history")] == ["n", "m", "m"]
    assert len(history.rows_of(conn, "run_history", model="m", limit=1)) == 1
    assert len(history.rows_of(conn, "run_history", model=["m", "n"], since=TODAY)) == 1
    assert len(history.rows_of(conn, "run_history", until=TODAY)) == 2
    with pytest.raises(ValueError, match="There is no view run; there are "):
        history.rows_of(conn, "run")


def test_every_view_can_be_asked_for_rows(conn: sa.Connection) -> None:
    for view in history.NEWEST_FIRST:
        assert history.rows_of(conn, view, limit=1) == [], view


# --- the light of a model ---


def watched(conn: sa.Connection, **changes: Any) -> None:
    values: dict[str, Any] = {"config": {}, "config_hash": "", "code_version": "", "currency": "USD"}
    store.register_model(conn, "m", **{**values, "period": DAY, "lag": timedelta(minutes=15), **changes})


def trained(conn: sa.Connection, *, calibrating: bool = False) -> None:
    since = TODAY - 30 * DAY
    store.save_reference(conn, model="m", body=b"profile", active_from=since, rows=9, calibrating=calibrating)


def judged(conn: sa.Connection, *findings: Finding, window: Window = YESTERDAY) -> ledger.Run:
    ledger.materialise(conn, "m", "champion", "inputs", [window])
    run = ledger.claim(conn, "tester", now=datetime.now(UTC), lease=DAY)
    assert run is not None
    assert run.token is not None
    record.save_findings(conn, run, findings, evaluated_at=TODAY)
    ledger.finish(conn, run.run_id, run.token, rows_read=1000)
    return run


def finding(**changes: Any) -> Finding:
    values: dict[str, Any] = {"check": "drift", "part": Part.INPUT, "subject": "temp", "statistic": "location"}
    return Finding(**{**values, "verdict": Verdict.OK, "effect": 0.1, **changes})


def alarmed(conn: sa.Connection, severity: Severity, state: AlertState = AlertState.FIRING) -> None:
    alert = Alert(key="k", episode=1, model="m", family="outcome", severity=severity, state=state, opened_at=TODAY)
    episode.save_alerts(conn, [alert], at=TODAY)


def advised(conn: sa.Connection, action: Action) -> None:
    advice = Recommendation(
        id=uuid4(),
        model="m",
        cause_key=action.value,
        action=action,
        opened_at=TODAY,
        window_start=YESTERDAY.start,
        window_end=YESTERDAY.end,
    )
    episode.save_recommendation(conn, advice)


def light(conn: sa.Connection) -> str:
    [row] = history.status(conn)
    assert row["light"] is not None
    return str(row["light"])


def test_green_is_a_judged_window_with_nothing_open(conn: sa.Connection) -> None:
    watched(conn)
    trained(conn)
    judged(conn, finding(), finding(subject="dewp", effect=-0.4))
    assert light(conn) == "green"
    [row] = history.status(conn)
    assert (row["worst_subject"], row["worst_effect"]) == ("dewp", -0.4)
    assert (row["last_window_end"], row["next_due_at"]) == (TODAY, TODAY + DAY + timedelta(minutes=15))
    assert (row["open_alerts"], row["open_recommendation"], row["circuit"]) == (0, None, "closed")


@pytest.mark.parametrize(
    ("severity", "expected"), [(Severity.CRITICAL, "red"), (Severity.WARNING, "yellow"), (Severity.INFO, "green")]
)
def test_an_open_alert_decides_the_light(conn: sa.Connection, severity: Severity, expected: str) -> None:
    watched(conn)
    trained(conn)
    judged(conn, finding())
    alarmed(conn, severity)
    assert light(conn) == expected


def test_an_alert_that_is_pending_or_over_does_not(conn: sa.Connection) -> None:
    watched(conn)
    trained(conn)
    judged(conn, finding())
    for state in (AlertState.PENDING, AlertState.RESOLVED):
        alarmed(conn, Severity.CRITICAL, state)
        assert light(conn) == "green"


def test_advice_to_act_is_yellow_and_advice_to_watch_is_not(conn: sa.Connection) -> None:
    watched(conn)
    trained(conn)
    judged(conn, finding())
    advised(conn, Action.WATCH)
    assert light(conn) == "green"
    advised(conn, Action.RETRAIN)
    assert light(conn) == "yellow"
    assert history.status(conn)[0]["open_recommendation"] == "RETRAIN"


def test_grey_is_a_model_that_was_never_judged(conn: sa.Connection) -> None:
    watched(conn)
    assert light(conn) == "grey"
    trained(conn)
    assert light(conn) == "grey"


def test_grey_is_a_model_without_a_training_profile_or_with_too_short_a_one(conn: sa.Connection) -> None:
    watched(conn)
    judged(conn, finding())
    assert light(conn) == "grey"
    trained(conn, calibrating=True)
    assert light(conn) == "grey"


def test_grey_is_a_window_in_which_nothing_could_be_told(conn: sa.Connection) -> None:
    watched(conn)
    trained(conn)
    judged(conn, finding(verdict=Verdict.INCONCLUSIVE))
    assert light(conn) == "grey"


def test_grey_is_a_window_that_could_not_have_shown_a_shift_of_the_score_that_matters(conn: sa.Connection) -> None:
    watched(conn)
    trained(conn)
    blind = {"check": "power", "verdict": Verdict.INCONCLUSIVE, "statistic": "mean (merged)"}
    judged(conn, finding(), finding(**blind, part=Part.PREDICTION, subject="prediction"))
    assert light(conn) == "grey"


def test_one_feature_of_which_little_can_be_seen_makes_no_model_grey(conn: sa.Connection) -> None:
    watched(conn)
    trained(conn)
    judged(conn, finding(), finding(check="power", verdict=Verdict.INCONCLUSIVE, statistic="location (merged)"))
    assert light(conn) == "green"


def test_grey_is_a_silence_of_more_than_three_periods(conn: sa.Connection) -> None:
    watched(conn)
    trained(conn)
    judged(conn, finding(), window=Window(start=TODAY - 9 * DAY, end=TODAY - 8 * DAY))
    assert light(conn) == "green"  # an old window that was judged just now: a replay is alive
    conn.execute(sa.text("UPDATE monitor.run SET finished_at = finished_at - interval '8 days'"))
    assert light(conn) == "grey"


def test_a_model_whose_time_is_over_owes_no_windows(conn: sa.Connection) -> None:
    watched(conn, active_until=TODAY - 8 * DAY)
    trained(conn)
    judged(conn, finding(), window=Window(start=TODAY - 9 * DAY, end=TODAY - 8 * DAY))
    conn.execute(sa.text("UPDATE monitor.run SET finished_at = finished_at - interval '8 days'"))
    assert light(conn) == "green"
    assert history.status(conn)[0]["next_due_at"] is None


def test_the_cost_above_training_is_per_day(conn: sa.Connection) -> None:
    watched(conn)
    trained(conn)
    run = judged(conn, finding())
    metric = Performance(metric="cost_per_prediction", value=2.75, reference_value=2.5)
    outcomes = replace(run, run_id=uuid4(), part="outcomes")
    record.save_performance(conn, outcomes, [metric], currency="EUR")
    [row] = history.status(conn)
    assert (float(row["cost_per_day_above_training"]), row["currency"]) == (250.0, "EUR")


# --- one request ---


def test_a_request_is_traced_to_its_label_its_window_and_what_was_open(conn: sa.Connection) -> None:
    run = judged(conn, finding())
    alert = Alert(
        key="k",
        episode=1,
        model="m",
        family="outcome",
        title="worse",
        severity=Severity.WARNING,
        state=AlertState.FIRING,
        opened_at=TODAY,
        opened_window_start=YESTERDAY.start,
    )
    episode.save_alerts(conn, [alert], at=TODAY)
    advised(conn, Action.RETRAIN)
    noon = YESTERDAY.start + DAY / 2
    conn.execute(
        sa.text(
            "INSERT INTO monitor.prediction_log (request_id, model, role, occurred_at, features, score)"
            " VALUES ('a', 'm', 'champion', :noon, '{\"temp\": 3}', 0.25), ('b', 'm', 'champion', :noon, NULL, NULL)"
        ),
        {"noon": noon},
    )
    conn.execute(
        sa.text("INSERT INTO monitor.outcome_log (request_id, model, label, observed_at) VALUES ('a', 'm', '1', :at)"),
        {"at": noon + DAY},
    )
    [row] = history.rows_of(conn, "request_trace", request_id="a")
    assert (row["features"], row["score"], row["outcome"], row["outcome_at"]) == ({"temp": 3}, 0.25, "1", noon + DAY)
    assert (row["window_start"], row["run_id"]) == (YESTERDAY.start, run.run_id)
    assert [alert["title"] for alert in row["open_alerts"]] == ["worse"]
    assert [advice["action"] for advice in row["recommendations"]] == ["RETRAIN"]
    [unlabelled] = history.rows_of(conn, "request_trace", request_id="b")
    assert unlabelled["outcome"] is None


def test_a_report_is_kept_and_listed_without_its_body(conn: sa.Connection) -> None:
    report_id = history.save_report(
        conn,
        model="m",
        window_start=YESTERDAY.start,
        window_end=TODAY,
        created_at=TODAY,
        body=b"<html>",
        alert_key="k",
        episode=2,
    )
    report = history.load_report(conn, report_id)
    assert report is not None
    assert report["body"] == b"<html>"
    [listed] = history.reports_of(conn, "k", 2)
    assert (listed["report_id"], listed["is_made"]) == (report_id, True)
    assert history.reports_of(conn, "k", 1) == []
    assert "body" not in listed
    assert history.load_report(conn, uuid4()) is None
