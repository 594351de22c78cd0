"""Rules of the ledger, on a real Postgres with real concurrency."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from monitor import ledger, schema
from monitor.embedded import Database
from monitor.ledger import Run
from monitor.window import Window

NOW = datetime(2013, 4, 1, tzinfo=UTC)
LEASE = timedelta(minutes=5)
DAY = timedelta(days=1)


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    engine = schema.create_engine(database.url, pool_size=8)
    yield engine
    engine.dispose()


def day(number: int) -> Window:
    """The numbered day of March."""
    start = datetime(2013, 3, 1, tzinfo=UTC) + (number - 1) * DAY
    return Window(start=start, end=start + DAY)


def plan(engine: sa.Engine, *numbers: int, model: str = "m", part: str = "inputs") -> int:
    with engine.begin() as conn:
        return ledger.materialise(conn, model, "champion", part, [day(number) for number in numbers])


def claim(engine: sa.Engine, *, owner: str = "a", now: datetime = NOW, lease: timedelta = LEASE) -> Run | None:
    with engine.begin() as conn:
        return ledger.claim(conn, owner, now=now, lease=lease)


def take(engine: sa.Engine, *, owner: str = "a", lease: timedelta = LEASE) -> tuple[Run, UUID]:
    """A run that has to be there, with its token."""
    run = claim(engine, owner=owner, lease=lease)
    assert run is not None
    assert run.token is not None
    return run, run.token


def finish(engine: sa.Engine, run: Run) -> None:
    assert run.token is not None
    with engine.begin() as conn:
        ledger.finish(conn, run.run_id, run.token, rows_read=10)


def states(engine: sa.Engine) -> list[str]:
    with engine.connect() as conn:
        return list(conn.scalars(sa.text("SELECT state FROM monitor.run ORDER BY window_start, part, revision")))


def test_a_window_is_owed_once_however_often_it_is_written_down(engine: sa.Engine) -> None:
    assert plan(engine, 1, 2, 3) == 3
    assert plan(engine, 2, 3, 4) == 1
    assert states(engine) == ["planned"] * 4


def test_a_window_is_not_given_out_before_it_is_due(engine: sa.Engine) -> None:
    with engine.begin() as conn:
        ledger.materialise(conn, "m", "champion", "inputs", [day(1)], wait=timedelta(minutes=15))
    assert claim(engine, now=day(1).end + timedelta(minutes=14)) is None
    assert claim(engine, now=day(1).end + timedelta(minutes=15)) is not None


def test_windows_of_a_model_are_given_out_in_order_and_one_at_a_time(engine: sa.Engine) -> None:
    plan(engine, 3, 1, 2)
    for number in (1, 2, 3):
        run, _token = take(engine)
        assert run.window == day(number)
        assert claim(engine, owner="b") is None
        finish(engine, run)
    assert states(engine) == ["done"] * 3


def test_models_and_parts_do_not_wait_for_each_other(engine: sa.Engine) -> None:
    plan(engine, 1, model="m")
    plan(engine, 1, model="m", part="outcomes")
    plan(engine, 1, model="other")
    claimed = [claim(engine) for _ in range(4)]
    assert {(run.model, run.part) for run in claimed if run} == {
        ("m", "inputs"),
        ("m", "outcomes"),
        ("other", "inputs"),
    }
    assert claimed[3] is None


def test_a_window_that_turns_up_behind_a_running_one_waits_without_holding_up_other_models(engine: sa.Engine) -> None:
    plan(engine, 2)
    running, _ = take(engine)
    plan(engine, 1)
    plan(engine, 3, model="other")
    elsewhere, _ = take(engine)
    assert elsewhere.model == "other"
    assert claim(engine) is None
    finish(engine, running)
    waited, _ = take(engine)
    assert waited.window == day(1)


def test_a_current_window_comes_before_the_backlog_of_other_models_which_is_oldest_first(engine: sa.Engine) -> None:
    plan(engine, 1, 2, 3, model="behind")
    plan(engine, 5, model="up to date")
    order = []
    for _ in range(4):
        run, _token = take(engine)
        order.append((run.model, run.window))
        finish(engine, run)
    assert order == [("up to date", day(5)), *(("behind", day(number)) for number in (1, 2, 3))]


def test_who_takes_only_current_windows_leaves_backlog_and_revisions_to_others(engine: sa.Engine) -> None:
    plan(engine, 1, 2, model="behind")
    plan(engine, 1, model="corrected")
    with engine.begin() as conn:
        first = ledger.claim(conn, "a", now=NOW, lease=LEASE, models=["corrected"])
    assert first is not None
    finish(engine, first)
    with engine.begin() as conn:
        ledger.revise(conn, "corrected", "champion", "inputs", [day(1)], due_at=NOW, reason="late rows")
    with engine.begin() as conn:
        assert ledger.claim(conn, "a", now=NOW, lease=LEASE, current_only=True) is None
    behind, _token = take(engine)
    assert (behind.model, behind.window) == ("behind", day(1))
    finish(engine, behind)
    with engine.begin() as conn:
        last = ledger.claim(conn, "a", now=NOW, lease=LEASE, current_only=True)
    assert last is not None
    assert (last.model, last.window) == ("behind", day(2))


def test_a_process_is_given_only_runs_of_models_it_knows(engine: sa.Engine) -> None:
    plan(engine, 1, model="strange")
    with engine.begin() as conn:
        assert ledger.claim(conn, "a", now=NOW, lease=LEASE, models=["m"]) is None
        assert ledger.claim(conn, "a", now=NOW, lease=LEASE, models=["m", "strange"]) is not None


def test_a_process_keeps_to_models_whose_training_profile_it_knows_until_another_has_waited_for_long(
    engine: sa.Engine,
) -> None:
    def due(model: str, late: timedelta) -> None:
        with engine.begin() as conn:
            ledger.materialise(conn, model, "champion", "inputs", [day(1)], wait=late)

    def given(familiar: list[str]) -> str:
        with engine.begin() as conn:
            run = ledger.claim(conn, "a", now=NOW, lease=LEASE, familiar=familiar)
        assert run is not None
        return run.model

    due("strange", timedelta(0))
    due("familiar", timedelta(seconds=110))
    due("later", timedelta(seconds=130))
    assert given(["familiar", "later"]) == "familiar"
    assert given(["familiar", "later"]) == "strange"
    assert given(["familiar", "later"]) == "later"


def test_the_newest_window_that_the_clock_planned_is_told_of_many_models_at_once(engine: sa.Engine) -> None:
    plan(engine, 1, 2)
    plan(engine, 1, model="n", part="outcomes")
    with engine.begin() as conn:
        ledger.materialise(conn, "m", "champion", "inputs", [day(9)], kind="manual")
        found = ledger.last_scheduled(conn, "champion", [("m", "inputs"), ("m", "outcomes"), ("n", "outcomes")])
    assert found == {("m", "inputs"): day(2), ("n", "outcomes"): day(1)}


def test_a_run_in_the_hands_of_a_transaction_that_has_not_ended_is_passed_over(engine: sa.Engine) -> None:
    plan(engine, 1, 2)
    plan(engine, 1, model="other")
    with engine.begin() as first, engine.begin() as second:
        mine = ledger.claim(first, "a", now=NOW, lease=LEASE)
        yours = ledger.claim(second, "b", now=NOW, lease=LEASE)
    assert mine is not None
    assert yours is not None
    assert {mine.model, yours.model} == {"m", "other"}
    assert {mine.window, yours.window} == {day(1)}


def test_of_many_claimers_each_window_has_exactly_one_and_in_order(engine: sa.Engine) -> None:
    for model in ("m", "n"):
        plan(engine, *range(1, 11), model=model)
    taken: list[Run] = []

    def work(owner: str) -> None:
        while sum(run.state != "dead" for run in taken) < 20:
            run = claim(engine, owner=owner)
            if run is not None:
                taken.append(run)
                finish(engine, run)

    threads = [threading.Thread(target=work, args=(f"owner {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(run.model, run.window) for run in taken}) == len(taken) == 20
    assert states(engine) == ["done"] * 20
    with engine.connect() as conn:
        overtaken = conn.scalar(
            sa.text(
                "SELECT count(*) FROM monitor.run a JOIN monitor.run b ON a.model = b.model"
                " AND a.window_start < b.window_start AND a.finished_at > b.started_at"
            )
        )
    assert overtaken == 0


def test_a_result_is_refused_once_the_run_was_given_to_another(engine: sa.Engine) -> None:
    plan(engine, 1)
    slow, slow_token = take(engine, owner="slow", lease=timedelta(0))
    with engine.begin() as conn:
        assert [run.run_id for run in ledger.rescue(conn)] == [slow.run_id]
    quick, _ = take(engine, owner="quick")
    assert quick.run_id == slow.run_id

    with engine.connect() as conn:
        with pytest.raises(ledger.LeaseLost):
            ledger.finish(conn, slow.run_id, slow_token)
        with pytest.raises(ledger.LeaseLost):
            ledger.heartbeat(conn, slow.run_id, slow_token, LEASE)
        with pytest.raises(ledger.LeaseLost):
            ledger.fail(conn, slow.run_id, slow_token, "late")
    finish(engine, quick)
    assert states(engine) == ["done"]


def test_a_late_finish_of_a_run_that_nobody_took_over_still_counts(engine: sa.Engine) -> None:
    plan(engine, 1)
    run, _token = take(engine, lease=timedelta(0))
    finish(engine, run)
    assert states(engine) == ["done"]


def test_a_finished_run_cannot_be_finished_again(engine: sa.Engine) -> None:
    plan(engine, 1)
    run, _token = take(engine)
    finish(engine, run)
    with pytest.raises(ledger.LeaseLost):
        finish(engine, run)


def test_renewing_keeps_a_run_from_being_rescued(engine: sa.Engine) -> None:
    plan(engine, 1)
    run, token = take(engine, lease=timedelta(0))
    with engine.begin() as conn:
        ledger.heartbeat(conn, run.run_id, token, LEASE)
    with engine.begin() as conn:
        assert ledger.rescue(conn) == []


def test_a_failed_run_is_tried_again_after_a_pause_and_given_up_after_five(engine: sa.Engine) -> None:
    plan(engine, 1)
    for attempt in range(1, 6):
        run, token = take(engine)
        assert run.attempts == attempt
        with engine.begin() as conn:
            state = ledger.fail(conn, run.run_id, token, "the source\x00broke", backoff=timedelta(0))
        assert state == ("planned" if attempt < 5 else "dead")
    assert claim(engine) is None
    with engine.connect() as conn:
        dead = ledger.load_run(conn, run.run_id)
    assert dead is not None
    assert (dead.state, dead.reason) == ("dead", "the source\ufffdbroke")
    assert dead.finished_at is not None


def test_a_failed_run_is_not_given_out_during_its_pause(engine: sa.Engine) -> None:
    plan(engine, 1)
    run, token = take(engine)
    with engine.begin() as conn:
        ledger.fail(conn, run.run_id, token, "broke", backoff=timedelta(hours=1))
    assert claim(engine) is None


def test_a_poisonous_run_is_given_up_even_if_it_kills_its_process_each_time(engine: sa.Engine) -> None:
    plan(engine, 1, 2)
    for _ in range(5):
        run, _ = take(engine, lease=timedelta(0))
        assert run.window == day(1)
        with engine.begin() as conn:
            ledger.rescue(conn)
    following, _token = take(engine)
    assert following.window == day(2)
    assert states(engine) == ["dead", "running"]


def test_a_released_run_costs_no_attempt_and_is_free_at_once(engine: sa.Engine) -> None:
    plan(engine, 1)
    run, token = take(engine)
    with engine.begin() as conn:
        ledger.release(conn, run.run_id, token)
    again, token = take(engine, owner="b")
    assert again.attempts == 1


def test_a_skipped_window_is_in_the_ledger_with_its_reason(engine: sa.Engine) -> None:
    plan(engine, 1)
    with engine.begin() as conn:
        assert ledger.skip(conn, "m", "champion", "inputs", [day(1), day(2)], reason="older than max_catch_up") == 2
    assert claim(engine) is None
    with engine.connect() as conn:
        rows = conn.execute(sa.text("SELECT state, reason FROM monitor.run_history")).all()
    assert rows == [("skipped", "older than max_catch_up")] * 2


def test_a_changed_window_gets_one_new_revision_and_keeps_the_old_row(engine: sa.Engine) -> None:
    plan(engine, 1)
    first, _ = take(engine)
    finish(engine, first)
    with engine.begin() as conn:
        arguments = {"due_at": NOW, "reason": "3 late rows"}
        assert ledger.revise(conn, "m", "champion", "inputs", [day(1)], **arguments) == 1  # type: ignore[arg-type]  # both fit
        assert ledger.revise(conn, "m", "champion", "inputs", [day(1)], **arguments) == 0  # type: ignore[arg-type]  # both fit
    with engine.connect() as conn:
        history = conn.execute(sa.text("SELECT revision, state FROM monitor.run_history")).all()
    assert history == [(1, "done")]
    second, _token = take(engine)
    assert (second.revision, second.kind, second.window) == (2, "late", day(1))
    finish(engine, second)
    with engine.connect() as conn:
        assert conn.execute(sa.text("SELECT revision, state FROM monitor.run_history")).all() == [(2, "done")]
        revisions = sa.text("SELECT revision, state FROM monitor.run_history_revisions ORDER BY revision")
        assert conn.execute(revisions).all() == [(1, "done"), (2, "done")]


def test_the_history_has_one_row_for_a_window_with_the_labels_of_its_outcomes(engine: sa.Engine) -> None:
    plan(engine, 1)
    plan(engine, 1, part="outcomes")
    for part, facts in (
        ("inputs", {"rows_read": 900, "seconds": 0.5}),
        ("outcomes", {"labels_joined": 850, "seconds": 0.25}),
    ):
        run, token = take(engine)
        assert run.part == part
        with engine.begin() as conn:
            ledger.finish(conn, run.run_id, token, **facts)
    with engine.connect() as conn:
        row = conn.execute(sa.text("SELECT rows_read, labels_joined, seconds FROM monitor.run_history")).one()
    assert row == (900, 850, 0.75)


def test_a_fact_the_ledger_does_not_keep_is_refused(engine: sa.Engine) -> None:
    with engine.connect() as conn, pytest.raises(TypeError, match="does not know rows_red"):
        ledger.finish(conn, uuid4(), uuid4(), rows_red=3)


def test_any_number_of_windows_can_be_left_out_at_once(engine: sa.Engine) -> None:
    pace = timedelta(minutes=15)
    windows = [Window(start=NOW + i * pace, end=NOW + (i + 1) * pace) for i in range(40_000)]
    with engine.begin() as conn:
        ledger.materialise(conn, "m", "champion", "inputs", windows[:3])
        assert ledger.skip(conn, "m", "champion", "inputs", windows, reason="a year and more behind") == len(windows)
        assert ledger.backlog(conn, now=NOW + len(windows) * pace) == 0


def test_the_last_window_is_told_by_state(engine: sa.Engine) -> None:
    plan(engine, 1, 2)
    run, _token = take(engine)
    finish(engine, run)
    with engine.connect() as conn:
        assert ledger.last_window(conn, "m", "champion", "inputs") == day(2)
        assert ledger.last_window(conn, "m", "champion", "inputs", states=["done"]) == day(1)
        assert ledger.last_window(conn, "m", "shadow", "inputs") is None
        assert ledger.backlog(conn, now=NOW) == 1
