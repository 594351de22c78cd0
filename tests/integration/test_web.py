"""Rules of the page: it shows what the store knows, says plainly what is wrong, and never changes or leaks anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from monitor import episode, history, ledger, record, schema, store, web
from monitor.alert import Alert, AlertState
from monitor.check import Cause, ColumnStatistics, Finding, Part, ReferenceKind, Severity, Verdict
from monitor.embedded import Database
from monitor.health import Health, Heartbeats
from monitor.installation import Installation, load_config
from monitor.recommendation import Action, Recommendation
from monitor.window import Window

DAY = timedelta(days=1)
START = datetime(2013, 4, 22, 4, tzinfo=UTC)  # midnight in New York
WINDOW = Window(start=START, end=START + DAY)
NOW = WINDOW.end + timedelta(hours=3)
EVIL = "<script>alert(1)</script>"
KEY = "ab" * 32

CONFIG = """
store: {{url: "{url}"}}
models:
  flight-delay:
    source:
      url: store
      table: serving.predictions
      time: occurred_at
      id: request_id
      features: {{temp: numeric}}
      prediction: {{score: p_late}}
    window: {{calendar: day, timezone: America/New_York}}
"""


def installed(folder: Path, url: str) -> Installation:
    file = folder / "monitor.yaml"
    file.write_text(CONFIG.format(url=url))
    config = load_config(file, {})
    return Installation(config=config, url=schema.database_url(url).render_as_string(False))


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    found = installed(tmp_path, database.url)
    yield found
    found.close()


@pytest.fixture
def client(installation: Installation) -> Iterator[httpx.Client]:
    """A client of a real server on the loopback."""
    yield from served(installation)


def served(installation: Installation, health: Health | None = None) -> Iterator[httpx.Client]:
    app = web.create_app(installation, clock=lambda: NOW, health=lambda: health or Health())
    serving = web.serve(app, ("127.0.0.1", 0))
    try:
        with httpx.Client(base_url=serving.url, trust_env=False, timeout=30) as client:
            yield client
    finally:
        serving.stop()
        assert not serving.is_alive


def alert(**changes: Any) -> Alert:
    values: dict[str, Any] = {
        "key": KEY,
        "episode": 1,
        "model": "flight-delay",
        "family": "outcome",
        "title": f"Late more often than predicted {EVIL}",
        "severity": Severity.CRITICAL,
        "state": AlertState.FIRING,
        "cause": Cause.CONCEPT,
        "opened_at": NOW,
        "opened_window_start": WINDOW.start,
        "opened_window_end": WINDOW.end,
        "subjects": ({"subject": "late share", "statistic": "slope", "value": 0.45, "message": "45 % & more"},),
    }
    return Alert(**{**values, **changes})


def filled(conn: sa.Connection) -> None:
    """A model with one judged window, an open alert, an event and a recommendation."""
    store.register_model(
        conn, "flight-delay", config={}, config_hash="", code_version="", currency="USD", period=DAY, lag=timedelta(0)
    )
    ledger.materialise(conn, "flight-delay", "champion", "inputs", [WINDOW])
    run = ledger.claim(conn, "tester", now=NOW, lease=DAY)
    assert run is not None
    assert run.token is not None
    judged = Finding(
        check="drift",
        part=Part.INPUT,
        subject="temp",
        statistic="location",
        verdict=Verdict.WARNING,
        severity=Severity.WARNING,
        effect=1.5,
    )
    ok = replace(judged, check="quality", verdict=Verdict.OK, severity=Severity.INFO)
    record.save_findings(conn, run, [judged, ok], evaluated_at=NOW)
    statistics = ColumnStatistics(
        column="temp",
        data_type="numeric",
        part=Part.INPUT,
        reference_kind=ReferenceKind.TRAINING,
        n_current=900,
        n_reference=9000,
        effect=-1.5,
    )
    record.save_column_statistics(conn, run, [statistics])
    ledger.finish(conn, run.run_id, run.token, rows_read=912, seconds=0.25)
    episode.save_alerts(conn, [alert()], at=NOW)
    advice = Recommendation(
        id=uuid4(),
        model="flight-delay",
        action=Action.RECALIBRATE,
        cause_key="outcome",
        why="Scores are too low by a third.",
        opened_at=NOW,
        window_start=WINDOW.start,
        window_end=WINDOW.end,
    )
    episode.save_recommendation(conn, advice)


@pytest.fixture
def full(installation: Installation) -> None:
    with installation.engine.begin() as conn:
        filled(conn)


# --- the page ---


def test_the_first_page_says_where_each_model_stands_and_what_is_open(full: None, client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    text = answer.text
    for expected in (
        "flight-delay",
        "red: act now",
        "Late more often than predicted",
        "Mon 22 Apr 2013",
        "RECALIBRATE",
    ):
        assert expected in text, expected
    assert f'href="/alerts/{KEY}"' in text
    assert "<script" not in text
    assert "style=" not in text, "the policy allows no style in an attribute"


def test_a_configured_model_that_never_ran_is_on_the_page_with_what_to_do(client: httpx.Client) -> None:
    text = client.get("/").text
    assert "grey: could not tell" in text
    assert "monitor profile flight-delay" in text


def test_an_alert_has_a_page_with_its_subjects_and_a_title_that_cannot_run(full: None, client: httpx.Client) -> None:
    text = client.get(f"/alerts/{KEY[:12]}").text
    assert "&lt;script&gt;" in text
    assert EVIL not in text
    for expected in ("late share", "45 % &amp; more", "firing", "concept", "Mon 22 Apr 2013", "monitor alerts ack"):
        assert expected in text, expected


def test_an_alert_says_when_it_began_and_how_sure_that_is(
    installation: Installation, full: None, client: httpx.Client
) -> None:
    with installation.engine.begin() as conn:
        key = conn.scalar(
            sa.text(
                "UPDATE monitor.alert SET began_at = opened_window_start, began_latest = opened_window_start,"
                " began_earliest = opened_window_start - interval '3 days'"
                " WHERE opened_window_start IS NOT NULL RETURNING alert_key"
            )
        )
    assert "nine times in ten between" in client.get(f"/alerts/{key}").text


def test_a_model_has_a_page_with_its_columns_by_window_and_the_ledger(full: None, client: httpx.Client) -> None:
    page = client.get("/models/flight-delay")
    assert page.status_code == 200, page.text
    assert 'href="/models/flight-delay/features/temp"' in page.text
    assert page.text.count("<svg") == 2  # the columns and the volume; no performance was measured
    assert EVIL not in page.text
    runs = client.get("/models/flight-delay/runs").text
    assert "All 1 windows are done." in runs
    assert "912" in runs
    none = client.get("/models/flight-delay/runs", params={"before": WINDOW.start.isoformat()})
    assert "No window has closed yet." in none.text


def test_windows_that_are_not_done_are_said_in_words(
    installation: Installation, full: None, client: httpx.Client
) -> None:
    with installation.engine.begin() as conn:
        later = Window(start=WINDOW.end, end=WINDOW.end + DAY)
        ledger.materialise(conn, "flight-delay", "champion", "inputs", [later])
    assert "1 of them not done" in client.get("/models/flight-delay").text
    assert "1 of these 2 windows are not done." in client.get("/models/flight-delay/runs").text


def test_a_feature_has_a_page_with_its_shift_and_what_it_looked_like(
    installation: Installation, full: None, client: httpx.Client
) -> None:
    with installation.engine.begin() as conn:
        conn.execute(
            sa.text("""
                INSERT INTO monitor.column_profile (
                    model, model_version, role, slice, run_id, run_part, revision, window_start, window_end,
                    column_name, data_type, row_count, num_nulls, num_non_finite, percent_null, distinct_count,
                    frequent_items, new_count, other_count
                )
                SELECT model, '', role, '{}', run_id, part, revision, window_start, window_end, 'temp', 'categorical',
                    100, 0, 0, 0, 2, CAST(:items AS jsonb), 0, 0
                FROM monitor.run
            """),
            {"items": json.dumps({EVIL: 60, "b": 40})},
        )
    page = client.get("/models/flight-delay/features/temp")
    assert page.status_code == 200, page.text
    assert "-1.5" in page.text
    assert "60.00 %" in page.text
    assert EVIL not in page.text
    assert client.get("/models/flight-delay/features/a/b%20c").status_code == 404
    assert client.get("/models/other").status_code == client.get("/models/other/runs").status_code == 404


def test_the_episode_of_an_alert_can_be_chosen(installation: Installation, full: None, client: httpx.Client) -> None:
    older = alert(key="cd" * 32, state=AlertState.RESOLVED, title="the first time", resolved_at=NOW)
    with installation.engine.begin() as conn:
        episode.save_alerts(conn, [older], at=NOW)
        episode.save_alerts(conn, [alert(key="cd" * 32, episode=2, title="the second time")], at=NOW)
    assert "the second time" in client.get("/alerts/cdcd").text
    assert "the first time" in client.get("/alerts/cdcd?episode=1").text
    assert client.get("/alerts/cdcd?episode=3").status_code == 404


def test_a_report_is_shown_without_rights_to_the_page(installation: Installation, client: httpx.Client) -> None:
    folder = installation.config.folder
    (folder / "report.html").write_text("<p>from a file")
    (folder / "secret.txt").write_text("secret")
    key: dict[str, Any] = {
        "model": "flight-delay", "window_start": WINDOW.start, "window_end": WINDOW.end, "created_at": NOW
    }  # fmt: skip
    with installation.engine.begin() as conn:
        body = history.save_report(conn, body=b"<p>Evidently", **key)
        path = history.save_report(conn, path="report.html", **key)
        elsewhere = [history.save_report(conn, path=p, **key) for p in ("secret.txt", "/etc/passwd", "../x.html")]
    assert client.get(f"/reports/{body}").text == "<p>Evidently"
    answer = client.get(f"/reports/{path}")
    assert answer.text == "<p>from a file"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "allow-same-origin" not in policy
    assert "connect-src" not in policy, "default-src 'none' is what forbids the network"
    for one in elsewhere:
        assert client.get(f"/reports/{one}").status_code == 404
    assert client.get(f"/reports/{uuid4()}").status_code == 404


def test_every_answer_carries_the_headers_that_protect_a_browser(client: httpx.Client) -> None:
    for path in ("/", "/alerts/none", "/none", "/healthz", "/metrics", "/page.css", "/api/v1/runs"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY", path
        assert "server" not in headers, path


def test_everything_a_page_asks_for_is_there(client: httpx.Client) -> None:
    wanted = set(re.findall(r'(?:href|src)="(/[^"]*)"', client.get("/").text)) | {"/favicon.ico"}
    assert {path: client.get(path).status_code for path in wanted} == dict.fromkeys(wanted, 200)


def test_nothing_can_be_written(client: httpx.Client) -> None:
    for path in ("/", "/api/v1/models", "/healthz"):
        for method in ("POST", "PUT", "DELETE"):
            answer = client.request(method, path)
            assert answer.status_code == 405, path
            assert "can only be read" in answer.text, path


def test_an_unknown_page_is_answered_with_a_sentence(client: httpx.Client) -> None:
    answer = client.get("/nothing/here")
    assert answer.status_code == 404
    assert "There is nothing at /nothing/here; begin at /." in answer.text
    assert "There is no alert" in client.get("/alerts/zz").text


# --- JSON ---


def test_each_view_can_be_read_as_json(full: None, client: httpx.Client) -> None:
    for view in ("models", "alerts", "recommendations", "runs", "findings", "performance"):
        answer = client.get(f"/api/v1/{view}", params={"model": "flight-delay", "limit": 5})
        assert answer.status_code == 200, answer.text
        rows = answer.json()
        assert all(row["model"] == "flight-delay" for row in rows), view
        assert bool(rows) == (view != "performance"), view


def test_rows_are_chosen_by_name_state_and_time(full: None, client: httpx.Client) -> None:
    findings = client.get("/api/v1/findings", params={"verdict": "warning"}).json()
    assert [row["subject"] for row in findings] == ["temp"]
    assert client.get("/api/v1/findings", params={"since": WINDOW.end.isoformat()}).json() == []
    assert len(client.get("/api/v1/runs", params={"until": WINDOW.end.isoformat(), "state": "done"}).json()) == 1


def test_a_wrong_question_is_answered_with_a_sentence(client: httpx.Client) -> None:
    for query, status, said in (
        ("models?limit=0", 400, "limit: "),
        ("models?limit=100000", 400, "limit: "),
        ("models?model=flight-dealy", 404, "did you mean flight-delay?"),
        ("models?modle=x", 400, "has no parameter modle; it takes limit, model."),
        ("runs?status=x", 400, "it takes limit, model, since, state, until."),
        ("runs?since=yesterday", 400, "since: "),
        ("runs?since=2013-04-22T00:00:00", 400, "since needs a time zone"),
    ):
        answer = client.get(f"/api/v1/{query}")
        assert answer.status_code == status, query
        assert said in answer.json()["detail"], query


def test_the_api_describes_itself(client: httpx.Client) -> None:
    described = client.get("/api/openapi.json").json()
    assert set(described["paths"]) == {
        *(f"/api/v1/{view}" for view in ("models", "alerts", "recommendations", "runs", "findings", "performance")),
        *("/healthz", "/readyz", "/metrics"),
    }
    assert {method for path in described["paths"].values() for method in path} == {"get"}


# --- liveness and readiness ---


def test_a_process_whose_loops_turn_is_alive(client: httpx.Client) -> None:
    assert client.get("/healthz").json()["status"] == "ok"


def test_a_silent_loop_is_named_with_503(installation: Installation) -> None:
    times = iter([0.0, 10.0, 100.0])
    beats = Heartbeats(limits={"scheduler": 60, "dispatcher": 120}, clock=lambda: next(times))
    beats.beat("dispatcher")
    for client in served(installation, beats.health()):
        answer = client.get("/healthz")
        assert answer.status_code == 503
        (reason,) = answer.json()["reasons"]
        assert reason == "The scheduler has given no sign of life for 100 seconds, 60 are allowed."


def test_a_store_with_our_newest_schema_is_ready(client: httpx.Client) -> None:
    assert client.get("/readyz").status_code == 200


def test_a_store_without_our_schema_is_not_ready_and_the_page_says_what_to_do(
    tmp_path: Path, empty_database: Database
) -> None:
    for client in served(installed(tmp_path, empty_database.url)):
        for path in ("/readyz", "/"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert "monitor db upgrade" in answer.text


def test_an_older_schema_is_not_ready(installation: Installation, client: httpx.Client) -> None:
    with installation.engine.begin() as conn:
        conn.execute(sa.text("UPDATE monitor.alembic_version SET version_num = '0001'"))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "is at 0001" in answer.json()["reasons"][0]


def test_without_a_store_the_page_says_so_and_lives_on(
    installation: Installation, database: Database, client: httpx.Client
) -> None:
    name = installation.engine.url.database
    assert client.get("/").status_code == 200
    with psycopg.connect(database.dsn.replace(f"/{name}", "/postgres"), autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            answer = client.get("/")
            assert answer.status_code == 503
            assert "The store cannot be reached" in answer.text
            assert client.get("/readyz").status_code == 503
            assert client.get("/api/v1/models").json()["detail"].startswith("The store cannot be reached")
            assert client.get("/healthz").status_code == 200
            metrics = client.get("/metrics")
            assert metrics.status_code == 200
            assert "monitor_store_up 0.0" in metrics.text
        finally:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert client.get("/").status_code == 200


# --- the server ---


def test_a_port_that_is_taken_is_an_error_of_one_sentence(installation: Installation, client: httpx.Client) -> None:
    app = web.create_app(installation, clock=lambda: NOW, health=Health)
    with pytest.raises(OSError, match=r"^The page cannot listen on 127\.0\.0\.1:\d+ \(Address already in use\)"):
        web.serve(app, ("127.0.0.1", client.base_url.port or 0))
