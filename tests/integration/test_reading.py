"""A window is the merge of its tiles: what changed is transferred, what did not is not, and nothing is missed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor import ledger, store
from monitor.check import Stage
from monitor.compaction import compact
from monitor.embedded import Database
from monitor.evaluation import current_reference
from monitor.installation import Installation
from monitor.outcome import OutcomeProfile
from monitor.profile import Profile
from monitor.reading import load, tile_key
from monitor.recheck import AGAIN, CLAIM, Rechecked, portions, recheck, recheck_all
from monitor.source import Fingerprint, SourceError
from monitor.tile import Tile, TileKey, TilePart, build_inputs, build_outcomes
from monitor.window import HOUR, Window
from monitor.worker import Worker, plan_anew
from tests.watched import DAY, FIRST, MODEL, OUTCOME, ask, installed, label_rows, log_rows, run, train, write_config

SLIDING = "window: 1d\n    every: 1h"
LAG = timedelta(minutes=15)
DUE = FIRST + DAY + LAG  # when the first day is judged
HORIZON = DUE + timedelta(hours=48)
RUNS = "SELECT part, revision, rows_read, rows_transferred, reread_rows FROM monitor.run WHERE state = 'done'"


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    """A model of daily windows with outcomes, four days of hourly rows, a training profile."""
    with installed(write_config(tmp_path, database, outcome=OUTCOME)) as installation:
        log_rows(installation)
        label_rows(installation)
        train(installation, labelled=True)
        yield installation


def add(installation: Installation, at: datetime, name: str = "late") -> None:
    run(installation, "INSERT INTO logged VALUES (:name, :at, 0.1, 0.5)", name=name, at=at)


def runs(installation: Installation, part: str = "inputs") -> list[Any]:
    """Revision, rows of the window, rows transferred and those of them again, in order."""
    found = ask(installation, f"{RUNS} AND part = '{part}' ORDER BY window_start, window_end, revision")
    return [row[1:] for row in found]


def live(installation: Installation, until: datetime, *, since: datetime = DUE, step: timedelta = LAG) -> None:
    worker, now = Worker(installation=installation), since
    while now <= until:
        worker.advance(now)
        now += step


def afresh(installation: Installation, window: Window, *, now: datetime) -> tuple[Profile, OutcomeProfile]:
    """The profiles of a window from all of its rows."""
    watched = installation.model(MODEL)
    with installation.engine.begin() as conn:
        reference = current_reference(conn, installation, watched, at=window.start)
    assert reference is not None
    assert reference.outcome_layout is not None
    pieces, source = watched.spec.tiles(window), installation.source(MODEL)
    key = tile_key(watched, reference, Stage.INPUTS)
    _, inputs = build_inputs(source.read_inputs(window, pieces, reference.layout, now=now), reference.layout, key)
    read = source.read_outcomes(window, pieces, now=now)
    return inputs, build_outcomes(read, reference.outcome_layout, key)[1]


def stored_rows(installation: Installation, part: str = "inputs") -> int:
    return int(ask(installation, f"SELECT coalesce(sum(rows), 0)::int FROM monitor.tile WHERE part = '{part}'")[0])


# --- transferring ---------------------------------------------------------------------------------------------------


def test_each_row_is_transferred_once_however_many_windows_hold_it(tmp_path: Path, database: Database) -> None:
    file = write_config(tmp_path, database)
    file.write_text(file.read_text().replace("window: {calendar: day, timezone: UTC}", SLIDING))
    with installed(file) as installation:
        log_rows(installation)
        train(installation)
        Worker(installation=installation).advance(FIRST + 2 * DAY + LAG)
        found = runs(installation)
        assert [row[1] for row in found] == [24] * 25
        assert [row[2] for row in found] == [24, *[1] * 24]
        # what was merged from the store is what a fresh look at every row gives
        window = Window(start=FIRST + DAY, end=FIRST + 2 * DAY)
        key = tile_key(installation.model(MODEL), next(iter(installation.references.values())), Stage.INPUTS)
        layout = next(iter(installation.references.values())).layout
        parts = [Profile.from_bytes(layout, tile.body) for tile in load(installation, key, window) if tile.rows]
        merged = Profile.total(layout, parts)
        source = installation.source(MODEL)
        pieces = installation.model(MODEL).spec.tiles(window)
        fresh = build_inputs(source.read_inputs(window, pieces, layout, now=FIRST + 3 * DAY), layout, key)[1]
        assert np.array_equal(merged.counts, fresh.counts)
        assert np.allclose(merged.sums, fresh.sums, rtol=1e-12, atol=1e-12)
        figures = "SELECT DISTINCT row_count FROM monitor.column_profile WHERE column_name = 'x'"
        assert ask(installation, figures) == [24]


def test_a_window_of_thirty_days_that_steps_by_the_hour_transfers_what_hourly_windows_would(
    tmp_path: Path, database: Database
) -> None:
    file, days, steps = write_config(tmp_path, database, more="max_catch_up: 60d"), 30, 3
    long = "window: 30d\n    every: 1h"
    file.write_text(file.read_text().replace("window: {calendar: day, timezone: UTC}", long))
    with installed(file) as installation:
        log_rows(installation, days=days + 1, per_day=96)
        train(installation)
        live(installation, FIRST + (days * 24 + steps) * HOUR + LAG, since=FIRST + days * DAY + LAG, step=HOUR)
        found = runs(installation)
        assert [row[1] for row in found] == [days * 96] * (steps + 1)
        assert [row[2] for row in found] == [days * 96, *[4] * steps]
        hourly = days * 96 + steps * 4  # windows of an hour transfer each row once
        assert sum(row[2] for row in found) <= 1.1 * hourly


def test_of_a_window_that_is_asked_for_again_only_the_tile_that_changed_is_transferred(
    installation: Installation,
) -> None:
    Worker(installation=installation).advance(DUE)
    add(installation, FIRST + 5.5 * HOUR)
    with installation.engine.begin() as conn:
        window = Window(start=FIRST, end=FIRST + DAY)
        plan_anew(conn, installation.model(MODEL), [window], kind="manual", now=DUE)
    Worker(installation=installation).advance(DUE)
    assert runs(installation) == [(1, 24, 24, 0), (2, 25, 2, 2)]


@pytest.mark.parametrize("reason", [ledger.RESCUED, ledger.OUT_OF_MEMORY])
@pytest.mark.parametrize("part", ["inputs", "outcomes"])
def test_a_window_that_is_read_in_parts_transfers_and_counts_what_it_does_at_once(
    part: str, reason: str, installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    twice_in_vain = "UPDATE monitor.run SET attempts = 2, reason = :reason WHERE state = 'planned'"
    worker, later = Worker(installation=installation), DUE + DAY
    worker.plan(later)
    run(installation, twice_in_vain, reason=reason)
    worker.advance(later)
    add(installation, FIRST + 5.5 * HOUR)
    with installation.engine.begin() as conn:
        window = Window(start=FIRST, end=FIRST + DAY)
        plan_anew(conn, installation.model(MODEL), [window], kind="manual", now=later)
    run(installation, twice_in_vain, reason=reason)
    worker.advance(later)
    assert "a window is read in parts" in caplog.text
    days = [(1, 24, 24, 0)] * (2 if part == "inputs" else 1)
    assert sorted(runs(installation, part)) == [*days, (2, 25, 2, 2)]
    if part == "inputs":  # ids are counted over the whole window, whatever was transferred
        judged = "SELECT DISTINCT verdict, value, n_current FROM monitor.finding WHERE subject = 'request ids'"
        assert ask(installation, judged) == [("ok", 0.0, 24), ("ok", 0.0, 25)]


def test_a_new_cut_off_rebuilds_what_was_made_with_the_old_one(
    installation: Installation, tmp_path: Path, database: Database
) -> None:
    Worker(installation=installation).advance(DUE + DAY)
    other = tmp_path / "other"
    other.mkdir()
    file = write_config(other, database, outcome=OUTCOME)
    file.write_text(file.read_text().replace("threshold: 0.5", "threshold: 0.9"))
    with installed(file) as changed:
        with changed.engine.begin() as conn:
            window = Window(start=FIRST, end=FIRST + DAY)
            plan_anew(conn, changed.model(MODEL), [window], kind="manual", now=DUE + DAY)
        Worker(installation=changed).advance(DUE + DAY)
        assert runs(changed, "outcomes") == [(1, 24, 24, 0), (2, 24, 24, 24)]
        decisions = afresh(changed, Window(start=FIRST, end=FIRST + DAY), now=DUE + DAY)[1].decisions
        layout = next(iter(changed.references.values())).outcome_layout
        assert layout is not None
        key = tile_key(changed.model(MODEL), next(iter(changed.references.values())), Stage.OUTCOMES)
        bodies = [tile.body for tile in load(changed, key, Window(start=FIRST, end=FIRST + DAY)) if tile.rows]
        kept = OutcomeProfile.total(layout, [OutcomeProfile.from_bytes(layout, body) for body in bodies])
        assert np.array_equal(kept.decisions, decisions)


def test_tiles_of_two_training_profiles_are_never_mixed(installation: Installation) -> None:
    Worker(installation=installation).advance(DUE)
    train(installation, mean=3.0, labelled=True)
    with installation.engine.begin() as conn:
        window = Window(start=FIRST, end=FIRST + DAY)
        plan_anew(conn, installation.model(MODEL), [window], kind="manual", now=DUE)
    Worker(installation=installation).advance(DUE)
    assert runs(installation) == [(1, 24, 24, 0), (2, 24, 24, 0)]
    assert ask(installation, "SELECT count(DISTINCT reference_id) FROM monitor.run WHERE state = 'done'") == [2]
    per = "SELECT sum(rows)::int FROM monitor.tile WHERE part = 'inputs' GROUP BY reference_id"
    assert ask(installation, per) == [24, 24]


def test_time_that_was_cut_differently_is_stored_once(
    installation: Installation, tmp_path: Path, database: Database
) -> None:
    Worker(installation=installation).advance(DUE)
    other = tmp_path / "other"
    other.mkdir()
    file = write_config(other, database, outcome=OUTCOME)
    file.write_text(file.read_text().replace("window: {calendar: day, timezone: UTC}", SLIDING))
    with installed(file) as sliding:
        train(sliding, labelled=True)  # windows of a day, as sliding ones, have a profile of their own
        reference = ask(sliding, "SELECT reference_id FROM monitor.reference ORDER BY active_until NULLS LAST")[-1]
        run(sliding, f"UPDATE monitor.tile SET reference_id = '{reference}'")
        with sliding.engine.begin() as conn:
            plan_anew(conn, sliding.model(MODEL), [Window(start=FIRST, end=FIRST + DAY)], kind="manual", now=DUE)
        Worker(installation=sliding).advance(DUE)
        assert stored_rows(sliding) == 24
        widths = """SELECT DISTINCT "end" - start FROM monitor.tile WHERE part = 'inputs'"""
        assert ask(sliding, widths) == [timedelta(hours=1)], "hours fit into windows that step by hours, and stay"


# --- looking again --------------------------------------------------------------------------------------------------

CHANGES = {
    "a late row": ("INSERT INTO logged VALUES ('late', '2013-04-01 05:30+00', 0.1, 0.5)", 25, 2),
    "a row that went": ("DELETE FROM logged WHERE id = '7'", 23, 0),
    "a row that became another": ("UPDATE logged SET x = 1.25 WHERE id = '7'", 24, 1),
    "one for another": (
        "WITH gone AS (DELETE FROM logged WHERE id = '7' RETURNING at)"
        " INSERT INTO logged SELECT 'n', at, 0, 0 FROM gone",
        24,
        1,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_within_the_lateness_is_judged_again(installation: Installation, change: str) -> None:
    statement, rows, transferred = CHANGES[change]
    worker = Worker(installation=installation)
    worker.advance(DUE)
    run(installation, statement)
    worker.advance(HORIZON)
    revised = [row for row in runs(installation) if row[0] == 2]
    assert revised == [(2, rows, transferred, transferred)]
    assert stored_rows(installation) == rows + 48
    window = Window(start=FIRST, end=FIRST + DAY)
    current, _ = afresh(installation, window, now=HORIZON)
    (judged,) = ask(
        installation,
        "SELECT avg FROM monitor.column_profile WHERE column_name = 'x' AND revision = 2 AND run_part = 'inputs'",
    )
    assert judged == pytest.approx(current.columns["x"].mean, rel=1e-12)
    kinds = "SELECT kind, reason FROM monitor.run WHERE revision = 2 AND part = 'inputs'"
    assert ask(installation, kinds) == [("late", None)]


def test_a_tile_of_many_rows_is_settled_like_any_other(tmp_path: Path, database: Database) -> None:
    with installed(write_config(tmp_path, database)) as installation:
        log_rows(installation, per_day=24 * 200)
        train(installation)
        worker = Worker(installation=installation)
        worker.advance(DUE)
        worker.advance(HORIZON)
        day = "start < '2013-04-02+00'"
        assert ask(installation, f"SELECT count(*), count(next_check_at) FROM monitor.tile WHERE {day}") == [(24, 0)]
        sums = f"SELECT max(abs(fingerprint_sum)) > 9223372036854775807 FROM monitor.tile WHERE {day}"
        assert ask(installation, sums) == [True]


def test_the_first_row_of_an_empty_hour_is_seen(installation: Installation) -> None:
    run(installation, "DELETE FROM logged WHERE at < '2013-04-02'")
    worker = Worker(installation=installation)
    worker.advance(DUE)
    assert runs(installation) == [(1, 0, 0, 0)]
    add(installation, FIRST + 3 * HOUR)
    worker.advance(HORIZON)
    assert runs(installation)[:2] == [(1, 0, 0, 0), (2, 1, 1, 1)]


def test_labels_that_come_late_or_are_corrected_are_judged_again(installation: Installation) -> None:
    run(installation, "DELETE FROM labels WHERE id = '22'")
    worker = Worker(installation=installation)
    worker.advance(DUE + DAY)
    assert ask(installation, "SELECT labels_joined FROM monitor.run WHERE part = 'outcomes'") == [23]
    known = HORIZON + DAY
    run(installation, "INSERT INTO labels VALUES ('22', true, :at)", at=DUE + DAY + HOUR)
    worker.advance(DUE + DAY + 2 * HOUR)
    run(installation, "UPDATE labels SET y = NOT y WHERE id = '4'")
    worker.advance(known)
    day = "part = 'outcomes' AND window_start = '2013-04-01+00' ORDER BY revision"
    assert ask(installation, f"SELECT labels_joined FROM monitor.run WHERE {day}") == [23, 24, 24]
    assert [row[2] for row in runs(installation, "outcomes") if row[0] > 1] == [1, 1]
    _, outcome = afresh(installation, Window(start=FIRST, end=FIRST + DAY), now=known)
    (realised,) = ask(
        installation,
        "SELECT value FROM monitor.performance WHERE metric = 'log_loss' AND revision = 3 AND basis = 'realised'",
    )
    assert realised == pytest.approx(outcome.mean("loss"), rel=1e-9)
    assert {row[0] for row in runs(installation)} == {1}  # inputs did not change


def test_a_label_that_is_written_into_the_log_changes_no_inputs(tmp_path: Path, database: Database) -> None:
    own = "outcome: {label: y, matures_after: 1d}"
    with installed(write_config(tmp_path, database, outcome=own)) as installation:
        log_rows(installation)
        run(installation, "ALTER TABLE logged ADD COLUMN y bool")
        train(installation, labelled=True)
        worker = Worker(installation=installation)
        worker.advance(DUE)
        run(installation, "UPDATE logged SET y = p > 0.5 WHERE at < '2013-04-02'")
        worker.advance(DUE + DAY)
        run(installation, "UPDATE logged SET y = NOT y WHERE id = '7'")
        worker.advance(HORIZON + DAY)
        assert {row[0] for row in runs(installation)} == {1}
        assert runs(installation, "outcomes")[:2] == [(1, 24, 24, 0), (2, 24, 1, 1)]


def test_late_rows_are_waited_for_until_the_lateness_is_over_and_not_longer(installation: Installation) -> None:
    worker = Worker(installation=installation)
    worker.advance(DUE)
    moments = ask(installation, "SELECT DISTINCT next_check_at FROM monitor.tile WHERE start >= '2013-04-01 23:00+00'")
    assert moments == [DUE + timedelta(minutes=5)]
    live(installation, HORIZON, step=timedelta(minutes=30))
    day = "start < '2013-04-02+00' AND part = 'inputs'"
    assert ask(installation, f"SELECT count(next_check_at) FROM monitor.tile WHERE {day}") == [0]
    add(installation, FIRST + 5 * HOUR)
    live(installation, HORIZON + DAY, since=HORIZON, step=HOUR)
    assert {row[0] for row in runs(installation)} == {1}
    # 5 and 30 minutes, 2, 12 and 48 hours: no tile is looked at more often
    (looks, tiles) = ask(installation, "SELECT checks, tiles FROM monitor.recheck_history WHERE day = '2013-04-02'")[0]
    assert looks < tiles


def test_rows_that_come_after_that_are_counted_and_told(tmp_path: Path, database: Database) -> None:
    file = write_config(tmp_path, database)
    file.write_text(file.read_text().replace("time: at", "time: at\n      logged_at: written"))
    with installed(file) as installation:
        log_rows(installation)
        run(
            installation,
            "ALTER TABLE logged ADD COLUMN written timestamptz",
            "UPDATE logged SET written = at",
            "INSERT INTO logged VALUES ('lost', :at, 0, 0.5, :written), ('in time', :at, 0, 0.5, :soon)",
            at=FIRST + HOUR,
            written=FIRST + 3 * DAY + HOUR,
            soon=FIRST + DAY,
        )
        train(installation)
        Worker(installation=installation).advance(FIRST + 4 * DAY + LAG)
        lost = "SELECT rows_beyond_horizon FROM monitor.run ORDER BY window_start"
        assert ask(installation, lost) == [0, 0, 0, 1]
        told = "SELECT verdict, message FROM monitor.finding WHERE subject = 'late rows' AND value > 0"
        ((verdict, message),) = ask(installation, told)
        assert verdict == "warning"
        assert message.startswith("1 rows came later than the configured lateness and belong to no window")


def test_a_change_that_was_found_last_minute_is_looked_at_until_it_was_judged(installation: Installation) -> None:
    worker = Worker(installation=installation)
    worker.advance(DUE)
    add(installation, FIRST + 5.5 * HOUR)
    (look,) = recheck(installation, installation.model(MODEL), TilePart.INPUTS, now=HORIZON)
    assert (look.changed, look.revised) == (1, 1)
    again = "SELECT next_check_at FROM monitor.tile WHERE start = '2013-04-01 05:00+00'"
    assert ask(installation, again) == [HORIZON + AGAIN]
    while worker.work(HORIZON):
        pass
    assert ask(installation, again) == [None]
    assert (2, 25, 2, 2) in runs(installation)


def test_two_replicas_do_not_look_at_the_same_tiles(installation: Installation) -> None:
    Worker(installation=installation).advance(DUE)
    at = HORIZON
    watched = installation.model(MODEL)
    with installation.engine.begin() as first, installation.engine.begin() as second:
        values: dict[str, Any] = {"model": MODEL, "role": "champion", "part": "inputs", "now": at, "until": at + CLAIM}
        mine = store.claim_tiles(first, **values, most=10)
        yours = store.claim_tiles(second, **values, most=100)
    pieces = [set(next(iter(found.values()))) for found in (mine, yours)]
    assert (len(pieces[0]), len(pieces[1]), pieces[0] & pieces[1]) == (10, 14, set())
    assert recheck(installation, watched, TilePart.INPUTS, now=at) == []


def test_what_a_dead_replica_had_taken_comes_back(installation: Installation) -> None:
    Worker(installation=installation).advance(DUE)
    values: dict[str, Any] = {"model": MODEL, "role": "champion", "part": "inputs"}
    with installation.engine.begin() as conn:
        store.claim_tiles(conn, **values, now=HORIZON, until=HORIZON + CLAIM, most=100)
    add(installation, FIRST + 5.5 * HOUR)
    worker = Worker(installation=installation)
    assert worker.recheck(HORIZON) == 0
    assert worker.recheck(HORIZON + CLAIM) == 1


def test_logs_that_are_away_leave_the_tiles_due_and_other_models_alone(installation: Installation) -> None:
    Worker(installation=installation).advance(DUE)
    add(installation, FIRST + 5.5 * HOUR)
    run(installation, "ALTER TABLE logged RENAME TO away")
    with pytest.raises(SourceError):
        recheck(installation, installation.model(MODEL), TilePart.INPUTS, now=HORIZON)
    assert recheck_all(installation, now=HORIZON + CLAIM)[MODEL] == []
    run(installation, "ALTER TABLE away RENAME TO logged")
    assert Worker(installation=installation).recheck(HORIZON + 2 * CLAIM) == 1


def test_looking_again_that_takes_too_long_is_had_only_for_the_last_time(installation: Installation) -> None:
    Worker(installation=installation).advance(DUE)
    with installation.engine.begin() as conn:
        store.count_recheck(
            conn, model=MODEL, role="champion", part="inputs", day=DUE.date(), checks=1, tiles=1, seconds=100.0
        )
    (look,) = recheck(installation, installation.model(MODEL), TilePart.INPUTS, now=DUE + timedelta(minutes=6))
    assert (look.tiles, look.put_off) == (0, 1)
    add(installation, FIRST + 23.5 * HOUR)
    found: list[Rechecked] = recheck(installation, installation.model(MODEL), TilePart.INPUTS, now=HORIZON)
    assert [(look.tiles, look.changed, look.revised) for look in found] == [(24, 1, 1)]
    assert ask(installation, "SELECT tiles_put_off FROM monitor.recheck_history WHERE day = '2013-04-02'") == [1]


def test_last_looks_are_had_together_where_looking_again_takes_too_long(installation: Installation) -> None:
    Worker(installation=installation).advance(DUE)
    add(installation, FIRST + 23.5 * HOUR)
    with installation.engine.begin() as conn:
        store.count_recheck(
            conn, model=MODEL, role="champion", part="inputs", day=HORIZON.date(), checks=1, tiles=1, seconds=100.0
        )
    watched, together = installation.model(MODEL), FIRST + 3 * DAY + 6 * HOUR
    found = recheck(installation, watched, TilePart.INPUTS, now=HORIZON)
    # the first eighteen hours at once; what ended after 17:45 and waited 48 hours and the lag, six hours later
    assert [(look.tiles, look.put_off, look.revised) for look in found] == [(23, 0, 0)]
    assert recheck(installation, watched, TilePart.INPUTS, now=together - timedelta(minutes=1)) == []
    found = recheck(installation, watched, TilePart.INPUTS, now=together)
    assert [(look.tiles, look.put_off, look.revised) for look in found] == [(1, 0, 1)]


def test_a_look_at_very_many_rows_is_several_statements() -> None:
    hours = [Window(start=FIRST + hour * HOUR, end=FIRST + (hour + 1) * HOUR) for hour in range(5)]
    key = TileKey(model=MODEL, part=TilePart.INPUTS, reference_id="r")
    tiles = [
        Tile(key=key, window=hour, version=version, body=b"", fingerprint=Fingerprint(count=count, total=0))
        for hour, count in zip(hours, (2, 2, 9, 0, 4), strict=True)
        for version in ("1", "2")
    ]
    assert portions(hours, tiles, most=8) == [hours[:2], hours[2:3], hours[3:]]
    assert portions([], tiles) == []


def test_ids_that_occur_in_two_tiles_are_counted_in_both_and_reported(tmp_path: Path, database: Database) -> None:
    with installed(write_config(tmp_path, database)) as installation:
        log_rows(installation)
        run(
            installation,
            "ALTER TABLE logged DROP CONSTRAINT logged_pkey",
            "CREATE INDEX ON logged (at)",
            "INSERT INTO logged SELECT id, at + interval '2 hours', x, p FROM logged WHERE id IN ('22', '30')",
            "INSERT INTO logged SELECT id, at + interval '5 minutes', x, p FROM logged WHERE id = '40'",
        )
        train(installation)
        Worker(installation=installation).advance(FIRST + 2 * DAY + LAG)
        counts = "SELECT rows_read, rows_duplicate, rows_repeated FROM monitor.run ORDER BY window_start"
        # 22 was asked at 22:00 and again at 00:00 of the next day, of which the hour before is looked at, no more
        assert ask(installation, counts) == [(24, 0, 0), (26, 1, 1)]
        message = "SELECT message FROM monitor.finding WHERE subject = 'repeated ids' AND value > 0"
        assert ask(installation, message) == ["1 ids occur in another tile as well and are counted in each (3.8%)"]


# --- compaction -----------------------------------------------------------------------------------------------------


@pytest.fixture
def hourly(tmp_path: Path, database: Database) -> Iterator[Installation]:
    """A model of hourly windows whose first day is stored, of which the inputs are looked at no more."""
    file = write_config(tmp_path, database, outcome=OUTCOME)
    file.write_text(file.read_text().replace("window: {calendar: day, timezone: UTC}", "window: 1h"))
    with installed(file) as installation:
        log_rows(installation, days=1, per_day=96)
        run(installation, "DELETE FROM logged WHERE at >= '2013-04-01 05:00+00' AND at < '2013-04-01 06:00+00'")
        label_rows(installation)
        train(installation, labelled=True)
        worker = Worker(installation=installation)
        worker.advance(FIRST + 25 * HOUR)
        run(installation, "UPDATE monitor.tile SET next_check_at = NULL WHERE start < '2013-04-01 20:00+00'")
        yield installation


WIDTHS = """SELECT count(*), "end" - start FROM monitor.tile WHERE part = 'inputs' GROUP BY 2 ORDER BY 2"""


def test_settled_quarters_become_hours_and_hold_what_they_held(hourly: Installation) -> None:
    (watched, reference) = hourly.model(MODEL), next(iter(hourly.references.values()))
    key = tile_key(watched, reference, Stage.INPUTS)
    day, layout = Window(start=FIRST, end=FIRST + DAY), reference.layout

    def held() -> tuple[int, int, int, Profile]:
        tiles = load(hourly, key, day)
        profiles = [Profile.from_bytes(layout, tile.body) for tile in tiles if tile.rows]
        prints = [tile.fingerprint for tile in tiles]
        return (
            sum(tile.rows for tile in tiles),
            sum(one.count for one in prints),
            sum(one.total for one in prints),
            Profile.total(layout, profiles),
        )

    before = held()
    assert compact(hourly, watched, now=FIRST + DAY) >= 20
    assert ask(hourly, WIDTHS) == [(16, timedelta(minutes=15)), (20, HOUR)]
    after = held()
    assert after[:3] == before[:3]
    assert np.array_equal(after[3].counts, before[3].counts)
    np.testing.assert_allclose(after[3].sums, before[3].sums, rtol=1e-12)
    assert compact(hourly, watched, now=FIRST + DAY) == 0


def test_an_hour_that_is_asked_for_again_is_known_unless_its_rows_changed(hourly: Installation) -> None:
    compact(hourly, hourly.model(MODEL), now=FIRST + DAY)
    add(hourly, FIRST + 7.6 * HOUR)
    worker, now = Worker(installation=hourly), FIRST + 26 * HOUR
    with hourly.engine.begin() as conn:
        windows = [Window(start=FIRST + hour * HOUR, end=FIRST + (hour + 1) * HOUR) for hour in (5, 6, 7)]
        plan_anew(conn, hourly.model(MODEL), windows, kind="manual", now=now)
    while worker.work(now):
        pass
    asked = [row for row in runs(hourly) if row[0] == 2]
    assert asked == [(2, 0, 0, 0), (2, 4, 0, 0), (2, 5, 5, 5)]
    assert ask(hourly, WIDTHS) == [(16, timedelta(minutes=15)), (20, HOUR)]


def test_windows_that_end_within_an_hour_keep_their_quarters(tmp_path: Path, database: Database) -> None:
    file = write_config(tmp_path, database)
    file.write_text(file.read_text().replace("window: {calendar: day, timezone: UTC}", "window: 30m"))
    with installed(file) as installation:
        log_rows(installation, days=1, per_day=96)
        train(installation)
        Worker(installation=installation).advance(FIRST + 3 * HOUR)
        run(installation, "UPDATE monitor.tile SET next_check_at = NULL")
        assert compact(installation, installation.model(MODEL), now=FIRST + DAY) == 0


def test_a_sliding_window_reads_nothing_again_because_its_tiles_are_wider(tmp_path: Path, database: Database) -> None:
    file = write_config(tmp_path, database)
    file.write_text(file.read_text().replace("window: {calendar: day, timezone: UTC}", SLIDING))
    with installed(file) as installation:
        log_rows(installation)
        train(installation)
        worker = Worker(installation=installation)
        worker.advance(DUE)
        run(installation, "UPDATE monitor.tile SET next_check_at = NULL WHERE start < '2013-04-01 20:00+00'")
        assert compact(installation, installation.model(MODEL), now=FIRST + DAY) == 20
        worker.advance(DUE + 2 * HOUR)
        assert [row[1:3] for row in runs(installation)] == [(24, 24), (24, 1), (24, 1)]
