"""Late rows make a window be judged again: the alerts of its model follow, and people hear only what is new."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor import ledger
from monitor.check import Evidence, Finding, Judgement, Part, Severity, Stage, Verdict
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.window import Window
from monitor.worker import Worker, plan_anew
from tests.watched import DAY, FIRST, MODEL, NOW, ask, installed, log_rows, run, train, write_config

CHANNEL = 'channels: {ops: {type: webhook, url: "https://hooks.example.org/x"}}\nalerts: {k: 2, n: 3, recover: 3}'
EPISODES = """
    SELECT episode, state, opened_window_start, resolved_window_start FROM monitor.alert
    WHERE family = 'feature:x' ORDER BY episode
"""
TOLD = "SELECT reason FROM monitor.notification WHERE reason <> 'digest' ORDER BY created_at, reason"
SHIFTED = "UPDATE logged SET x = x + 100 WHERE at >= :first AND at < :last"
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Mean:
    """A check that remembers nothing and flags a mean above one."""

    stages = frozenset({Stage.INPUTS})

    def run(self, evidence: Evidence) -> Judgement:
        mean = evidence.current.columns["x"].mean
        finding = Finding(
            check="mean",
            part=Part.INPUT,
            subject="x",
            statistic="mean",
            verdict=Verdict.WARNING if mean > 1 else Verdict.OK,
            severity=Severity.WARNING,
            family="feature:x",
            value=mean,
            message=f"the mean is {mean:.1f}",
        )
        return Judgement(findings=[finding])


def watching(installation: Installation) -> Installation:
    """Return the installation with this check alone."""
    for name, watched in installation.models.items():
        installation.models[name] = replace(watched, checks={"mean": Mean()})
    return installation


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    # nothing looks for late rows by itself: each test says which window is judged again, and when
    with installed(write_config(tmp_path, database, more="lateness: 30d", rest=CHANNEL)) as installation:
        log_rows(installation, days=7)
        train(installation)
        yield watching(installation)


def live_until(installation: Installation, day: int) -> None:
    """Evaluate what is due at the end of each day until one."""
    worker = Worker(installation=installation)
    for ended in range(1, day + 1):
        worker.plan(FIRST + ended * DAY + HOUR)
        while worker.work(FIRST + ended * DAY + HOUR):
            pass


def shift(installation: Installation, day: int, *, back: bool = False) -> None:
    """Change the rows of a day, as late rows would."""
    first = FIRST + day * DAY
    run(installation, SHIFTED.replace("+ 100", "- 100") if back else SHIFTED, first=first, last=first + DAY)


def judge_again(installation: Installation, day: int, *, at: int, kind: str = "late") -> None:
    """Judge a day's window again, some days later."""
    window = Window(start=FIRST + day * DAY, end=FIRST + (day + 1) * DAY)
    now = FIRST + at * DAY + 2 * HOUR
    with installation.engine.begin() as conn:
        if kind == "late":
            ledger.revise(conn, MODEL, "champion", "inputs", [window], due_at=now, reason="late rows")
        else:
            plan_anew(conn, installation.model(MODEL), [window], kind=kind, now=now)
    worker = Worker(installation=installation)
    assert worker.work(now)
    assert not worker.work(now)


def test_an_alert_that_opens_by_late_rows_is_told_once_with_its_revision(installation: Installation) -> None:
    shift(installation, 3)
    live_until(installation, 5)
    assert ask(installation, TOLD) == []  # one bad window of three
    shift(installation, 2)
    judge_again(installation, 2, at=5)
    ((episode, state, opened, _),) = ask(installation, EPISODES)
    assert (episode, state, opened) == (1, "recovering", FIRST + 3 * DAY)
    assert ask(installation, TOLD) == ["first"]
    (revision,) = ask(installation, "SELECT DISTINCT revision FROM monitor.alert_events WHERE to_state = 'recovering'")
    assert revision == 2
    (summary,) = ask(installation, "SELECT payload->>'summary' FROM monitor.notification WHERE reason = 'first'")
    assert "Late rows show it only now." in summary
    judge_again(installation, 2, at=5)
    judge_again(installation, 3, at=5)
    assert ask(installation, TOLD) == ["first"]


def test_a_second_revision_begins_from_the_corrected_past(installation: Installation) -> None:
    live_until(installation, 5)
    shift(installation, 1)
    judge_again(installation, 1, at=5)
    assert ask(installation, TOLD) == []
    shift(installation, 2)
    judge_again(installation, 2, at=5)  # the window before is remembered as bad by now
    assert ask(installation, TOLD) == ["first"]


def test_an_alert_that_late_rows_explain_away_ends_by_good_windows(installation: Installation) -> None:
    for day in (1, 2):
        shift(installation, day)
    live_until(installation, 4)
    assert ask(installation, TOLD) == ["first"]
    shift(installation, 2, back=True)
    judge_again(installation, 2, at=4)
    assert [state for _, state, _, _ in ask(installation, EPISODES)] == ["recovering"]
    assert ask(installation, TOLD) == ["first"]
    live_until(installation, 5)
    assert [state for _, state, _, _ in ask(installation, EPISODES)] == ["resolved"]
    assert ask(installation, TOLD) == ["first", "resolved"]


def test_what_somebody_asks_for_moves_no_alert_and_spoils_no_memory(installation: Installation) -> None:
    shift(installation, 3)
    live_until(installation, 5)
    shift(installation, 2)
    judge_again(installation, 2, at=5, kind="manual")
    assert [state for _, state, _, _ in ask(installation, EPISODES)] == ["pending"]
    judge_again(installation, 3, at=5)  # from the tracks before it, which are those of the first judgement
    assert [state for _, state, _, _ in ask(installation, EPISODES)] == ["pending"]
    judge_again(installation, 2, at=5)
    assert ask(installation, TOLD) == ["first"]


def test_a_window_before_everything_that_is_remembered_moves_no_alert(installation: Installation) -> None:
    shift(installation, 3)
    live_until(installation, 5)
    run(installation, "DELETE FROM monitor.detector_memory WHERE check_name = 'alerts' AND window_start < '2013-04-03'")
    shift(installation, 2)
    judge_again(installation, 2, at=5)
    assert ask(installation, TOLD) == []
    assert ask(installation, "SELECT count(*) FROM monitor.finding_history WHERE verdict = 'warning'")[0] > 0


def test_the_tracks_of_a_window_are_remembered_as_long_as_late_rows_may_come(installation: Installation) -> None:
    live_until(installation, 6)
    kept = ask(installation, "SELECT count(*) FROM monitor.detector_memory WHERE check_name = 'alerts'")
    assert kept == [6]
    (largest,) = ask(installation, "SELECT max(length(body)) FROM monitor.detector_memory WHERE check_name = 'alerts'")
    assert largest < 1000


def test_a_model_that_is_configured_no_more_ends_its_alerts_without_calling_them_resolved(
    tmp_path: Path, installation: Installation
) -> None:
    from monitor.daemon import Daemon

    for day in (1, 2):
        shift(installation, day)
    live_until(installation, 3)
    assert ask(installation, TOLD) == ["first"]
    Daemon(installation=installation, clock=lambda: NOW).upkeep()  # it is known
    file = installation.config.path
    with installed(file.with_name("monitor.yaml")) as same:
        text = file.read_text().replace("  m:\n", "  other:\n")
        file.write_text(text)
        assert same.config.models
    with installed(file) as changed:
        Daemon(installation=changed, clock=lambda: NOW).upkeep()
        assert [state for _, state, _, _ in ask(changed, EPISODES)] == ["expired"]
        assert ask(changed, TOLD) == ["first"]
        last = "SELECT from_state, to_state, reason FROM monitor.alert_events ORDER BY event_id DESC LIMIT 1"
        (event,) = ask(changed, last.replace("alert_events", "alert_event"))
        assert event == ("firing", "expired", "the model is not configured any more")


def test_a_new_training_profile_ends_what_was_open_with_one_notice(installation: Installation) -> None:
    for day in (1, 2):
        shift(installation, day)
    live_until(installation, 3)
    train(installation, mean=0.5)
    run(installation, "UPDATE monitor.reference SET active_from = :first", first=FIRST + 3 * DAY)
    run(installation, "UPDATE monitor.reference SET active_from = :first WHERE active_until IS NOT NULL", first=FIRST)
    run(
        installation,
        "UPDATE monitor.reference SET active_until = :until WHERE active_until IS NOT NULL",
        until=FIRST + 3 * DAY,
    )
    live_until(installation, 5)
    assert ask(installation, TOLD).count("superseded") == 1
    assert ask(installation, EPISODES)[0][1] == "superseded"
    assert "resolved" not in ask(installation, TOLD)
