"""The daemon compares shadows and canaries by itself: figures in SQL, advice in a message, a click moves the share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from monitor import approval, switchboard
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.recommendation import RecommendationState
from monitor.worker import Worker
from tests.watched import ask, installed, run

CONFIG = """
store: {{url: "{url}"}}
models:
  late:
    active: {{from: 2026-03-01}}
    business: {{automates: x, currency: EUR, costs: {{false_positive: 7, false_negative: 13}}}}
    source:
      builtin: true
      features: {{age: numeric}}
      prediction: {{score: score, threshold: 0.5}}
      outcome: {{label: label, matures_after: 1h}}
    window: {{calendar: day, timezone: UTC}}
    release: {{steps: [0.1, 0.5], webhook: "https://deploy.example.org/x"}}
channels: {{ops: {{type: webhook, url: "https://hooks.example.org/x"}}}}
"""
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
TRUE_SCORE = "0.5 + 0.45 * sin(i * 1.7)"
LOG = """
INSERT INTO monitor.prediction_log (request_id, model, model_version, role, occurred_at, score, latency_ms)
SELECT i::text, 'late', CAST(:version AS text), CAST(:role AS text),
    CAST(:first AS timestamptz) + i * interval '4 days' / 8000, {score}, {latency}
FROM generate_series(0, 7999) i WHERE i % :every = :rest
"""


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    file = tmp_path / "monitor.yaml"
    file.write_text(CONFIG.format(url=database.url))
    with installed(file) as made:
        log(made, "champion", version="7")
        run(
            made,
            "INSERT INTO monitor.outcome_log (request_id, model, label, observed_at)"
            f" SELECT i::text, 'late', (({TRUE_SCORE} > 0.5) <> (i % 5 = 0))::text, CAST(:first AS timestamptz)"
            " + i * interval '4 days' / 8000 FROM generate_series(0, 7999) i",
            first=FIRST,
        )
        yield made


def log(
    installation: Installation,
    role: str,
    score: str = TRUE_SCORE,
    *,
    version: str,
    every: int = 1,
    rest: int = 0,
    latency: str = "10 + 5 * sin(i * 0.3)",
) -> None:
    statement = LOG.format(score=score, latency=latency)
    run(installation, statement, version=version, role=role, every=every, rest=rest, first=FIRST)


def day(installation: Installation, number: int) -> None:
    """Let the daemon's worker live through the evening of a day."""
    Worker(installation=installation).advance(FIRST + timedelta(days=number, hours=3))


def advice(installation: Installation) -> list[tuple[str, str]]:
    query = "SELECT action, state FROM monitor.recommendation ORDER BY opened_at, state"
    return [tuple(row) for row in ask(installation, query)]


def findings(installation: Installation, subject: str) -> dict[str, tuple[str, str]]:
    rows = ask(
        installation,
        "SELECT statistic, verdict, message FROM monitor.finding WHERE check_name = 'comparison'"
        f" AND subject = '{subject}' ORDER BY window_start",
    )
    return {statistic: (verdict, message) for statistic, verdict, message in rows}


def test_a_shadow_is_judged_at_every_window_and_its_promotion_told_once(installation: Installation) -> None:
    log(installation, "shadow", version="8")
    for number in (1, 2, 3):
        day(installation, number)
    found = findings(installation, "shadow 8")
    assert found["cost"][0] == "ok"
    assert "not worse by" in found["cost"][1]
    assert found["latency"][0] == "ok"
    assert set(found) == {"cost", "latency", "agreement", "rank correlation", "score distance"}
    assert advice(installation) == [("PROMOTE", "open")]
    assert ask(installation, "SELECT payload->>'title' FROM monitor.notification WHERE reason = 'recommendation'") == [
        "promote the shadow 8"
    ]
    counted = "SELECT n_current FROM monitor.finding WHERE statistic = 'cost' ORDER BY window_start"
    assert ask(installation, counted) == [2000, 4000, 6000], "all that it has answered counts, not a window alone"


def test_what_was_answered_while_the_monitor_was_away_counts_too(installation: Installation) -> None:
    log(installation, "shadow", version="8")
    day(installation, 3)
    counted = "SELECT n_current FROM monitor.finding WHERE statistic = 'cost'"
    assert ask(installation, counted) == [6000]


def test_a_candidate_that_is_gone_is_advised_no_more(installation: Installation) -> None:
    log(installation, "shadow", version="8")
    day(installation, 1)
    assert advice(installation) == [("PROMOTE", "open")]
    run(installation, "DELETE FROM monitor.prediction_log WHERE role = 'shadow' AND occurred_at >= '2026-03-02'")
    day(installation, 2)
    assert advice(installation) == [("PROMOTE", "superseded")]


def test_few_labels_hold_with_what_is_still_needed(installation: Installation) -> None:
    log(installation, "shadow", "0.5 + 0.45 * sin(i * 1.7 + 0.2)", version="8")
    run(installation, "DELETE FROM monitor.outcome_log WHERE request_id::int > 400")
    day(installation, 1)
    verdict, message = findings(installation, "shadow 8")["cost"]
    assert verdict == "inconclusive"
    assert "401 labels so far; about " in message
    assert " days at " in message
    assert advice(installation) == []


def test_labels_that_have_not_matured_do_not_count(installation: Installation) -> None:
    log(installation, "shadow", version="8")
    with_lag = FIRST + timedelta(days=1, minutes=30)
    Worker(installation=installation).advance(with_lag)
    labelled = ask(installation, "SELECT n_current FROM monitor.finding WHERE statistic = 'cost'")
    assert labelled == [1959], "half an hour after midnight the last half hour of the day is missing"


def test_a_shadow_as_good_that_answers_too_slowly_is_rolled_back(installation: Installation) -> None:
    log(installation, "shadow", version="8", latency="14 + 5 * sin(i * 0.3)")
    day(installation, 1)
    found = findings(installation, "shadow 8")
    assert (found["cost"][0], found["latency"][0]) == ("ok", "warning")
    assert advice(installation) == [("ROLL_BACK", "open")]
    assert ask(
        installation, "SELECT payload->>'summary' FROM monitor.notification WHERE reason = 'recommendation'"
    ) == ["It answers too slowly."]


def test_memory_beyond_the_champions_holds_a_promotion(installation: Installation) -> None:
    log(installation, "shadow", version="8")
    run(
        installation,
        "INSERT INTO monitor.heartbeat_log (process, model, model_version, at, rss_bytes, cpu_seconds)"
        " SELECT 'p' || v, 'late', v::text, CAST(:first AS timestamptz) + h * interval '1 hour',"
        " CASE v WHEN 7 THEN 1e9 ELSE 2e9 END, h * 10 FROM generate_series(7, 8) v, generate_series(1, 20) h",
        first=FIRST,
    )
    day(installation, 1)
    verdict, message = findings(installation, "shadow 8")["memory"]
    assert verdict == "inconclusive"
    assert message.startswith(
        "memory 1,000 → 2,000 MB for each process (median), 2.0 times the champion, more than 1.5"
    )
    assert "CPU 95 → 95 ms for each answer" in message
    assert advice(installation) == []


def test_a_canary_climbs_a_step_with_one_click(installation: Installation) -> None:
    def approve() -> None:
        (identity,) = ask(installation, "SELECT recommendation_id FROM monitor.recommendation WHERE state = 'open'")
        with installation.engine.begin() as conn:
            approval.decide(conn, installation, UUID(str(identity)), RecommendationState.APPROVED, by="ann", at=FIRST)

    def share() -> float | None:
        with installation.engine.begin() as conn:
            return switchboard.load_circuit(conn, "late").share

    run(
        installation,
        "UPDATE monitor.prediction_log SET role = 'canary', model_version = '8' WHERE hashtext(request_id) % 2 = 0",
    )
    run(
        installation,
        "INSERT INTO monitor.circuit_event (model, state, share, actor, at)"
        " VALUES ('late', 'closed', .1, 'ann', :first)",
        first=FIRST,
    )
    for number in (1, 2, 3, 4):
        day(installation, number)
    held = findings(installation, "canary 8")["cost"]
    assert held[0] == "inconclusive", "four thousand labels each cannot prove 5 %"
    with_margin = installation.config.path.read_text().replace(
        "release:", "checks: {comparison: {margin: 0.5}}\n    release:"
    )
    installation.config.path.write_text(with_margin)
    with installed(installation.config.path) as lenient:
        run(lenient, "DELETE FROM monitor.run WHERE window_start >= '2026-03-04'")
        day(lenient, 4)
        titles = "SELECT payload->>'title' FROM monitor.notification WHERE reason = 'recommendation'"
        assert ask(lenient, titles) == ["let the canary 8 answer 0.5 of the requests"]
        approve()
        assert share() == 0.5
        call = "SELECT payload->'details'->>'next_share' FROM monitor.notification WHERE reason = 'approved'"
        assert ask(lenient, call) == ["0.5"]
