"""People hear once that windows cannot be evaluated, and once that they can again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor import episode, ledger
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.pipeline import ATTEMPTS, FAMILY
from monitor.worker import Worker
from tests.watched import DAY, FIRST, MODEL, NOW, ask, installed, log_rows, run, train, write_config

MESSAGES = "SELECT reason FROM monitor.notification WHERE reason <> 'digest' ORDER BY created_at, reason"
RETRY = "UPDATE monitor.run SET retry_at = NULL"


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    with installed(write_config(tmp_path, database)) as installation:
        yield installation


def attempt(worker: Worker, times: int) -> None:
    for _ in range(times):
        assert worker.work(NOW)
        run(worker.installation, RETRY)


def test_logs_that_are_away_for_a_moment_are_not_told(installation: Installation) -> None:
    worker = Worker(installation=installation)
    worker.plan(NOW)
    attempt(worker, ATTEMPTS - 1)
    log_rows(installation)
    worker.advance(NOW)
    assert ask(installation, MESSAGES) == []


def test_logs_that_stay_away_are_told_once_and_again_when_they_are_back(installation: Installation) -> None:
    woken: list[bool] = []
    worker = Worker(installation=installation, told=[lambda: woken.append(True)])
    worker.plan(NOW)
    attempt(worker, ATTEMPTS + 4)
    assert ask(installation, MESSAGES) == ["first"]
    assert len(woken) == 1
    ((title, summary, advice),) = ask(
        installation, "SELECT payload->>'title', payload->>'summary', payload->>'next_step' FROM monitor.notification"
    )
    assert "could not do its work" in title
    assert "logged" in summary  # the table that is missing
    assert "No window is lost" in advice
    log_rows(installation)
    assert worker.advance(NOW) == 4
    assert ask(installation, MESSAGES) == ["first", "resolved"]
    assert ask(installation, f"SELECT state FROM monitor.alert WHERE family = '{FAMILY}'") == ["resolved"]


def test_a_window_that_is_given_up_is_told_with_the_way_to_try_it_again(
    installation: Installation,
) -> None:
    log_rows(installation)
    run(
        installation,
        "CREATE FUNCTION monitor.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk is full'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON monitor.detector_memory EXECUTE FUNCTION monitor.refuse()",
        "CREATE TRIGGER refuse_findings BEFORE INSERT ON monitor.finding EXECUTE FUNCTION monitor.refuse()",
    )
    worker = Worker(installation=installation)
    worker.plan(NOW)
    attempt(worker, ledger.MAX_ATTEMPTS)
    assert ask(installation, "SELECT state FROM monitor.run ORDER BY window_start LIMIT 1") == ["dead"]
    ((summary, advice),) = ask(
        installation, "SELECT payload->>'summary', payload->>'next_step' FROM monitor.notification"
    )
    assert "disk is full" in summary
    assert f"monitor check {MODEL} --start 2013-04-01T00:00Z" in advice


def test_who_asks_for_windows_sees_the_reason_and_nobody_else_is_told(installation: Installation) -> None:
    worker = Worker(installation=installation)
    worker.plan(NOW)
    run(installation, "UPDATE monitor.run SET kind = 'manual'")
    attempt(worker, ATTEMPTS + 1)
    assert ask(installation, MESSAGES) == []


def test_a_silence_for_the_pipeline_keeps_it_back_and_its_end_is_told_where_it_was_known(
    installation: Installation,
) -> None:
    def silence(**matchers: list[str]) -> None:
        with installation.engine.begin() as conn:
            episode.add_silence(
                conn, matchers=matchers, starts_at=NOW - DAY, ends_at=NOW + DAY, author="ada", reason="it moves"
            )

    worker = Worker(installation=installation)
    worker.plan(NOW)
    silence(family=["score"])
    attempt(worker, ATTEMPTS)
    assert ask(installation, MESSAGES) == ["first"]
    silence(family=[FAMILY])
    attempt(worker, 2)
    assert ask(installation, f"SELECT silenced FROM monitor.alert WHERE family = '{FAMILY}'") == [True]
    log_rows(installation)
    worker.advance(NOW)
    assert ask(installation, MESSAGES) == ["first", "resolved"]


def test_what_a_silence_for_the_pipeline_kept_back_is_told_after_it(installation: Installation) -> None:
    with installation.engine.begin() as conn:
        made = episode.add_silence(
            conn, matchers={"model": [MODEL]}, starts_at=NOW - DAY, ends_at=NOW + DAY, author="ada", reason="it moves"
        )
    worker = Worker(installation=installation)
    worker.plan(NOW)
    attempt(worker, ATTEMPTS + 1)
    assert ask(installation, MESSAGES) == []
    with installation.engine.begin() as conn:
        episode.end_silence(conn, made, by="bob", at=NOW)
    attempt(worker, 1)
    assert ask(installation, MESSAGES) == ["first"]


def test_while_windows_cannot_be_evaluated_open_alerts_are_stale_and_nothing_is_inhibited_or_resolved(
    tmp_path: Path, database: Database
) -> None:
    loud = "checks: {drift: {thresholds: {psi: 0.25}}}"
    with installed(write_config(tmp_path, database, more=loud, rest="alerts: {k: 1, n: 1}")) as installation:
        log_rows(installation, days=1)
        train(installation, mean=-100.0)
        worker = Worker(installation=installation)
        worker.advance(FIRST + DAY + timedelta(hours=1))
        run(installation, "ALTER TABLE logged RENAME TO away")
        worker.plan(NOW)
        attempt(worker, ATTEMPTS)
        found = "SELECT DISTINCT state, stale_since, inhibited_by IS NULL FROM monitor.alert WHERE family = 'feature:x'"
        assert ask(installation, found) == [("firing", FIRST + DAY, True)]
        run(
            installation,
            "ALTER TABLE away RENAME TO logged",
            "INSERT INTO logged SELECT id || '+' || n, at + n * interval '1 day', x, p "
            "FROM logged, generate_series(1, 3) AS n",
        )
        worker.advance(NOW)
        assert [stale for _, stale, _ in ask(installation, found)] == [None]
