"""One run, one transaction: everything that follows from a window is stored, or nothing is."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from monitor import episode, ledger
from monitor.check import Evidence, Judgement, Stage
from monitor.embedded import Database
from monitor.evaluation import evaluate
from monitor.installation import Installation
from monitor.ledger import LeaseLost, Run
from monitor.source import SourceError
from monitor.window import Window
from monitor.worker import Worker, plan_anew
from tests.watched import (
    DAY,
    FIRST,
    MODEL,
    NOW,
    OUTCOME,
    ask,
    installed,
    label_rows,
    log_rows,
    run,
    train,
    write_config,
)

WRITTEN = (
    *("tile", "finding", "column_statistic", "column_profile", "performance", "detector_memory"),
    *("alert", "alert_event", "notification", "delivery", "recommendation"),
)
CHANNEL = 'channels: {ops: {type: webhook, url: "https://hooks.example.org/x"}}\nalerts: {k: 1, n: 1}'
FIRING = "SELECT count(*) FROM monitor.alert WHERE state = 'firing'"
TOLD = "SELECT reason FROM monitor.notification WHERE reason <> 'digest'"


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    loud = "checks: {drift: {thresholds: {psi: 0.25}}}"
    with installed(write_config(tmp_path, database, outcome=OUTCOME, more=loud, rest=CHANNEL)) as installation:
        yield installation


def claimed(installation: Installation, stage: Stage = Stage.INPUTS) -> Run:
    """Claim the first window's run."""
    window = Window(start=FIRST, end=FIRST + DAY)
    with installation.engine.begin() as conn:
        ledger.materialise(conn, MODEL, "champion", stage.value, [window])
        found = ledger.claim(conn, "me", now=NOW, lease=timedelta(minutes=1))
    assert found is not None
    return found


def counts(installation: Installation) -> dict[str, int]:
    return {table: ask(installation, f"SELECT count(*) FROM monitor.{table}")[0] for table in WRITTEN}


def running(installation: Installation, stage: Stage, window: Window) -> Run:
    """Return a run that was claimed."""
    with installation.engine.begin() as conn:
        query = "SELECT run_id FROM monitor.run WHERE part = :part AND window_start = :start"
        run_id = conn.scalars(sa.text(query), {"part": stage.value, "start": window.start}).one()
        found = ledger.load_run(conn, run_id)
    assert found is not None
    return found


def evaluated(installation: Installation, stage: Stage = Stage.INPUTS) -> None:
    evaluate(installation, installation.model(MODEL), claimed(installation, stage), now=NOW)


def test_a_bad_window_leaves_its_whole_story(installation: Installation) -> None:
    log_rows(installation)
    train(installation, mean=-100.0)
    evaluated(installation)
    found = counts(installation)
    assert [table for table in WRITTEN if not found[table]] == ["performance", "recommendation"]
    assert ask(installation, "SELECT state, rows_read FROM monitor.run") == [("done", 24)]
    told = "SELECT channel, state FROM monitor.delivery"
    assert set(ask(installation, told)) == {("ops", "pending")}
    (read,) = ask(installation, "SELECT sum(rows) FROM monitor.tile")
    assert read == 24


def test_outcomes_of_a_window_are_their_own_run(installation: Installation) -> None:
    log_rows(installation)
    label_rows(installation)
    train(installation, labelled=True)
    evaluated(installation, Stage.OUTCOMES)
    assert ask(installation, "SELECT part, labels_joined FROM monitor.run") == [("outcomes", 24)]
    assert counts(installation)["performance"] > 5
    (coverage,) = ask(installation, "SELECT DISTINCT label_coverage FROM monitor.performance")
    assert coverage == 1.0


def test_a_crash_before_the_end_leaves_nothing(installation: Installation) -> None:
    log_rows(installation)
    train(installation, mean=-100.0)
    run(  # the end of the run is the last thing that is written
        installation,
        "CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the power went'; END $$",
        "CREATE TRIGGER crash BEFORE UPDATE ON monitor.run FOR EACH ROW WHEN (NEW.state = 'done')"
        " EXECUTE FUNCTION crash()",
    )
    before = counts(installation)
    with pytest.raises(sa.exc.DBAPIError, match="the power went"):
        evaluated(installation)
    assert counts(installation) == before
    run(installation, "DROP TRIGGER crash ON monitor.run")
    run(installation, "UPDATE monitor.run SET lease_until = clock_timestamp() - interval '1 s'")
    Worker(installation=installation).advance(FIRST + DAY + timedelta(hours=1))
    assert ask(installation, "SELECT state, attempts FROM monitor.run WHERE part = 'inputs'") == [("done", 2)]
    (findings, distinct) = ask(
        installation,
        "SELECT count(*), count(DISTINCT (check_name, subject, statistic, extras->>'latched')) FROM monitor.finding",
    )[0]
    assert findings == distinct


def test_who_lost_the_lease_writes_nothing(installation: Installation) -> None:
    log_rows(installation)
    train(installation, mean=-100.0)
    mine = claimed(installation)
    run(installation, f"UPDATE monitor.run SET token = '{uuid.uuid4()}', owner = 'somebody else'")
    before = counts(installation)
    with pytest.raises(LeaseLost):
        evaluate(installation, installation.model(MODEL), mine, now=NOW)
    assert counts(installation) == before
    assert ask(installation, "SELECT state, owner FROM monitor.run") == [("running", "somebody else")]


def test_logs_that_cannot_be_read_are_told_in_a_sentence(installation: Installation) -> None:
    train(installation)
    with pytest.raises(SourceError, match=r"source.table: There is no table or view \"logged\""):
        evaluated(installation)


def test_without_a_training_profile_nothing_is_judged_and_rows_are_counted(installation: Installation) -> None:
    log_rows(installation)
    evaluated(installation)
    assert set(ask(installation, "SELECT verdict FROM monitor.finding")) == {"inconclusive"}
    assert ask(installation, "SELECT rows_read FROM monitor.run") == [24]


def test_a_profile_of_other_windows_judges_nothing(tmp_path: Path, installation: Installation) -> None:
    log_rows(installation)
    train(installation, mean=-100.0)
    file = installation.config.path
    file.write_text(file.read_text().replace("{calendar: day, timezone: UTC}", "1d"))
    with installed(file) as changed:
        evaluated(changed)
    assert set(ask(installation, "SELECT verdict FROM monitor.finding")) == {"inconclusive"}
    assert counts(installation)["notification"] == 0


def test_a_window_that_is_judged_late_corrects_the_history_and_moves_no_alert(installation: Installation) -> None:
    log_rows(installation)
    worker = Worker(installation=installation)
    worker.advance(NOW)
    train(installation, mean=-100.0)
    windows = [Window(start=FIRST + i * DAY, end=FIRST + (i + 1) * DAY) for i in range(4)]
    with installation.engine.begin() as conn:
        plan_anew(conn, installation.model(MODEL), windows, kind="manual", now=NOW)
    assert worker.advance(NOW) > 0
    assert ask(installation, "SELECT count(*) FROM monitor.finding_history WHERE verdict = 'warning'")[0] > 0
    assert ask(installation, FIRING) == [0]
    assert ask(installation, TOLD) == []


def test_what_a_backfill_found_and_is_still_open_is_told_with_the_next_window(installation: Installation) -> None:
    log_rows(installation)
    train(installation, mean=-100.0)
    windows = [Window(start=FIRST + i * DAY, end=FIRST + (i + 1) * DAY) for i in range(3)]
    with installation.engine.begin() as conn:
        plan_anew(conn, installation.model(MODEL), windows, kind="backfill", now=NOW)
    worker = Worker(installation=installation)
    while worker.work(NOW):
        pass
    assert ask(installation, FIRING)[0] > 0
    assert ask(installation, TOLD) == []
    worker.advance(NOW)
    assert set(ask(installation, TOLD)) == {"first"}


def test_judging_again_is_a_revision_and_tells_nothing_twice(installation: Installation) -> None:
    log_rows(installation)
    train(installation, mean=-100.0)
    evaluated(installation)
    told = counts(installation)["notification"]
    window = Window(start=FIRST, end=FIRST + DAY)
    with installation.engine.begin() as conn:
        ledger.revise(conn, MODEL, "champion", "inputs", [window], due_at=NOW, reason="late rows")
        again = ledger.claim(conn, "me", now=NOW, lease=timedelta(minutes=1))
    assert again is not None
    evaluate(installation, installation.model(MODEL), again, now=NOW)
    assert ask(installation, "SELECT revision, state FROM monitor.run ORDER BY revision") == [(1, "done"), (2, "done")]
    assert ask(installation, "SELECT DISTINCT revision FROM monitor.finding_history") == [2]
    assert counts(installation)["notification"] == told
    assert ask(installation, "SELECT DISTINCT revision FROM monitor.tile") == [1]  # the same rows


def test_performance_is_estimated_before_there_is_any_label(installation: Installation) -> None:
    log_rows(installation)
    train(installation, labelled=True)
    evaluated(installation)
    rows = ask(
        installation,
        "SELECT value BETWEEN interval_low AND interval_high, matured, label_coverage FROM monitor.performance_history"
        " WHERE metric = 'auc' AND basis = 'estimated'",
    )
    assert rows == [(True, None, None)]
    assert not ask(installation, "SELECT metric FROM monitor.performance_history WHERE basis = 'realised'")


def test_stages_and_people_that_change_the_same_alerts_at_once_lose_nothing(installation: Installation) -> None:
    """Both stages break, so both step the alert on their check; it has a track of each, and somebody acknowledges."""
    log_rows(installation)
    label_rows(installation)
    train(installation, labelled=True)
    watched = installation.model(MODEL)
    both = threading.Barrier(2, timeout=60)

    class Breaks:
        stages = frozenset({Stage.INPUTS, Stage.OUTCOMES})

        def run(self, evidence: Evidence) -> Judgement:
            both.wait()  # both have read the alerts as they were before
            raise RuntimeError("on purpose")

    broken = replace(watched, checks={"breaks": Breaks()})

    def live(stage: Stage) -> None:
        for day in range(2):
            window = Window(start=FIRST + day * DAY, end=FIRST + (day + 1) * DAY)
            with installation.engine.begin() as conn:
                ledger.materialise(conn, MODEL, "champion", stage.value, [window])
                ready = "UPDATE monitor.run SET state = 'running', token = gen_random_uuid() WHERE part = :part"
                conn.execute(
                    sa.text(f"{ready} AND window_start = :start"), {"part": stage.value, "start": window.start}
                )
            evaluate(installation, broken, running(installation, stage, window), now=NOW)

    with ThreadPoolExecutor(2) as stages:
        for lived in [stages.submit(live, stage) for stage in (Stage.INPUTS, Stage.OUTCOMES)]:
            lived.result(timeout=120)
    (tracks,) = ask(installation, "SELECT memory->'tracks' FROM monitor.alert WHERE family = 'pipeline:breaks'")
    assert set(tracks) == {"breaks:breaks of inputs", "breaks:breaks of outcomes"}
    assert ask(installation, "SELECT count(*) FROM monitor.alert WHERE family = 'pipeline:breaks'") == [1]
    assert ask(installation, TOLD) == ["first"]


def test_an_acknowledgement_during_an_evaluation_is_kept(installation: Installation) -> None:
    log_rows(installation)
    train(installation, mean=-100.0)
    evaluated(installation)

    @dataclass(frozen=True)
    class Interrupted:
        """A check in whose time somebody acknowledges everything."""

        stages = frozenset({Stage.INPUTS})

        def run(self, evidence: Evidence) -> Judgement:
            with installation.engine.begin() as conn:
                for alert in episode.load_alerts(conn, MODEL).values():
                    episode.acknowledge(conn, alert, by="ada", at=NOW, until=NOW + DAY)
            return Judgement()

    watched = installation.model(MODEL)
    interrupted = replace(watched, checks={"interrupted": Interrupted(), **watched.checks})
    window = Window(start=FIRST + DAY, end=FIRST + 2 * DAY)
    with installation.engine.begin() as conn:
        ledger.materialise(conn, MODEL, "champion", "inputs", [window])
        found = ledger.claim(conn, "me", now=NOW, lease=timedelta(minutes=1))
    assert found is not None
    evaluate(installation, interrupted, found, now=NOW)
    firing = "SELECT DISTINCT acknowledged_by FROM monitor.alert WHERE state = 'firing'"
    assert ask(installation, firing) == ["ada"]


@pytest.mark.parametrize("holidays", ["[2013-04-01]", "[GB-ENG, US]"])  # Easter Monday of 2013, by date and by country
def test_a_holiday_that_training_did_not_see_opens_nothing(tmp_path: Path, database: Database, holidays: str) -> None:
    more = f"checks: {{drift: {{notify: message}}}}\n    holidays: {holidays}"
    with installed(write_config(tmp_path, database, more=more, rest=CHANNEL)) as installation:
        log_rows(installation)
        train(installation, mean=2.0)
        evaluated(installation)
        query = "SELECT verdict, reason FROM monitor.finding_history WHERE check_name = 'drift' AND subject = 'x'"
        assert ask(installation, query) == [("inconclusive", "unknown slot, not compared")]
        assert ask(installation, FIRING) == [0]


def test_the_same_day_opens_an_alert_where_it_is_no_holiday(tmp_path: Path, database: Database) -> None:
    more = "checks: {drift: {notify: message}}\n    holidays: [2013-04-02]"
    with installed(write_config(tmp_path, database, more=more, rest=CHANNEL)) as installation:
        log_rows(installation)
        train(installation, mean=2.0)
        evaluated(installation)
        assert ask(installation, FIRING) != [0]
