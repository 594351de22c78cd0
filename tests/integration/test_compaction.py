"""What is stored becomes smaller with age, and nothing that somebody still asks for goes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from monitor import ledger, record, retention, store
from monitor.check import Finding, Part, Stage, Verdict
from monitor.compaction import compact, pack, thin, widths
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.ledger import Run
from monitor.profile import Profile
from monitor.reading import load, tile_key
from monitor.store import StoredTile
from monitor.window import CalendarUnit, Window
from monitor.worker import Worker, plan_anew
from tests.watched import (
    DAY,
    FIRST,
    MODEL,
    OUTCOME,
    ask,
    installed,
    label_rows,
    log_rows,
    run,
    train,
    write_config,
)

WIDTHS = """SELECT count(*), "end" - start FROM monitor.tile WHERE part = 'inputs' GROUP BY 2 ORDER BY 2"""
HOUR = timedelta(hours=1)
LONG_AFTER = FIRST + 60 * DAY


@pytest.fixture
def hourly(tmp_path: Path, database: Database) -> Iterator[Installation]:
    """A model of hourly windows whose first day, and an hour more, is stored and looked at no more."""
    file = write_config(tmp_path, database, outcome=OUTCOME)
    file.write_text(file.read_text().replace("window: {calendar: day, timezone: UTC}", "window: 1h"))
    with installed(file) as installation:
        log_rows(installation, days=2, per_day=96)
        label_rows(installation)
        train(installation, labelled=True)
        Worker(installation=installation).advance(FIRST + 25 * HOUR)
        run(installation, "UPDATE monitor.tile SET next_check_at = NULL")
        yield installation


# --- tiles ---


def test_hours_become_days_once_no_window_will_end_within_one(hourly: Installation) -> None:
    watched, reference = hourly.model(MODEL), next(iter(hourly.references.values()))
    key, day = tile_key(watched, reference, Stage.INPUTS), Window(start=FIRST, end=FIRST + DAY)

    def held() -> tuple[int, int, Profile]:
        tiles = load(hourly, key, day)
        prints = [tile.fingerprint for tile in tiles]
        profiles = [Profile.from_bytes(reference.layout, tile.body) for tile in tiles if tile.rows]
        whole = Profile.total(reference.layout, profiles)
        return sum(one.count for one in prints), sum(one.total for one in prints), whole

    before = held()
    [(_, none), (_, after), _] = widths(watched)
    assert none is None
    assert after is not None
    compact(hourly, watched, now=day.end + after - HOUR)
    assert ask(hourly, WIDTHS) == [(24, HOUR)]
    compact(hourly, watched, now=day.end + after)
    assert ask(hourly, WIDTHS) == [(1, DAY)]
    assert held()[:2] == before[:2]
    assert np.array_equal(held()[2].counts, before[2].counts)
    np.testing.assert_allclose(held()[2].sums, before[2].sums, rtol=1e-12)
    assert compact(hourly, watched, now=LONG_AFTER) == 0


def test_an_hour_of_a_day_long_past_is_judged_again_and_the_day_is_kept(hourly: Installation) -> None:
    watched = hourly.model(MODEL)
    compact(hourly, watched, now=LONG_AFTER)
    worker, hour = Worker(installation=hourly), Window(start=FIRST + 7 * HOUR, end=FIRST + 8 * HOUR)
    with hourly.engine.begin() as conn:
        plan_anew(conn, watched, [hour, Window(start=FIRST, end=FIRST + HOUR)], kind="manual", now=LONG_AFTER)
    while worker.work(LONG_AFTER):
        pass
    again = "SELECT rows_read, rows_transferred FROM monitor.run WHERE part = 'inputs' AND revision = 2"
    assert ask(hourly, again) == [(4, 4), (4, 4)]
    assert ask(hourly, WIDTHS) == [(1, DAY)]


def test_a_model_of_whole_days_has_tiles_of_days_as_soon_as_they_are_settled(
    tmp_path: Path, database: Database
) -> None:
    with installed(write_config(tmp_path, database)) as installation:
        log_rows(installation)
        train(installation)
        watched = installation.model(MODEL)
        assert widths(watched)[0] == (CalendarUnit.DAY, None)
        Worker(installation=installation).advance(FIRST + 2 * DAY + HOUR)
        run(installation, "UPDATE monitor.tile SET next_check_at = NULL WHERE start < :until", until=FIRST + DAY)
        compact(installation, watched, now=FIRST + 2 * DAY)
        assert ask(installation, WIDTHS) == [(24, HOUR), (1, DAY)]


def tile(start: datetime, width: timedelta, **facts: Any) -> StoredTile:
    return StoredTile(model="m", part="inputs", reference_id="r", start=start, end=start + width, body=b"", **facts)


def spans(conn: sa.Connection, unit: str, zone: str, before: datetime | None = None) -> dict[str, list[Window]]:
    return store.settled_spans(conn, model="m", role="champion", part="inputs", unit=unit, zone=zone, before=before)


def test_days_are_those_of_the_models_own_calendar(conn: sa.Connection) -> None:
    """The clocks of New York went forward on 10 March 2013: that day had 23 hours."""
    midnight = datetime(2013, 3, 10, 5, tzinfo=UTC)
    store.save_tiles(conn, [tile(midnight + hour * HOUR, HOUR) for hour in range(-1, 23 + 24)])
    short, next_day = midnight + 23 * HOUR, midnight + 47 * HOUR
    days = [Window(start=midnight, end=short), Window(start=short, end=next_day)]
    assert spans(conn, "day", "America/New_York") == {"r": days}
    assert spans(conn, "day", "America/New_York", before=short) == {"r": days[:1]}
    assert spans(conn, "week", "America/New_York") == {}


@pytest.mark.parametrize(
    ("hour", "facts"),
    [(5, None), (5, {"next_check_at": FIRST}), (5, {"recipe": "another"})],
    ids=["missing", "still looked at", "made otherwise"],
)
def test_a_day_is_left_alone_while_an_hour_is(conn: sa.Connection, hour: int, facts: dict[str, Any] | None) -> None:
    hours = [tile(FIRST + one * HOUR, HOUR) for one in range(24) if one != hour]
    store.save_tiles(conn, [*hours, *([] if facts is None else [tile(FIRST + hour * HOUR, HOUR, **facts)])])
    assert spans(conn, "day", "UTC") == {}


def test_hours_across_midnight_of_the_calendar_make_no_day(conn: sa.Connection) -> None:
    store.save_tiles(conn, [tile(FIRST + one * HOUR, HOUR) for one in range(72)])
    assert spans(conn, "day", "Asia/Kolkata") == {}


# --- judgements ---


def judged(conn: sa.Connection, model: str, start: datetime, *findings: Finding) -> Run:
    window = Window(start=start, end=start + DAY)
    ledger.materialise(conn, model, "champion", "inputs", [window])
    claimed = ledger.claim(conn, "tester", now=start + 2 * DAY, lease=DAY)
    assert claimed is not None
    assert claimed.token is not None
    record.save_findings(conn, claimed, findings, evaluated_at=start)
    ledger.finish(conn, claimed.run_id, claimed.token)
    return claimed


def found(family: str, verdict: Verdict) -> Finding:
    return Finding(check="drift", part=Part.INPUT, subject=family, statistic="location", family=family, verdict=verdict)


LEFT = """
    SELECT window_start, subject || ' ' || verdict FROM monitor.finding_history
    WHERE model = 'm' ORDER BY 1, 2
"""


def test_of_long_ago_stays_what_was_not_ok_and_what_belongs_to_an_alert_or_advice(conn: sa.Connection) -> None:
    everything = [found("a", Verdict.OK), found("b", Verdict.OK), found("c", Verdict.WARNING)]
    runs = [judged(conn, "m", FIRST + number * DAY, *everything) for number in range(4)]
    judged(conn, "other", FIRST, *everything)
    conn.execute(
        sa.text(
            "INSERT INTO monitor.alert (alert_key, model, role, family, severity, state, opened_window_start,"
            " resolved_window_start) VALUES ('k', 'm', 'champion', 'a', 'warning', 'resolved', :first, :last)"
        ),
        {"first": FIRST + DAY, "last": FIRST + DAY},
    )
    conn.execute(
        sa.text(
            "INSERT INTO monitor.recommendation (run_id, model, role, cause_key, action, state)"
            " VALUES (:run, 'm', 'champion', 'model', 'WATCH', 'open')"
        ),
        {"run": runs[2].run_id},
    )
    assert retention.thin(conn, "m", before=FIRST + 3 * DAY + HOUR, most=2) == (2, 3)
    assert retention.thin(conn, "m", before=FIRST + 3 * DAY + HOUR, most=2) == (1, 0)
    assert retention.thin(conn, "m", before=FIRST + 3 * DAY + HOUR, most=2) == (0, 0)
    whole = ["a ok", "b ok", "c warning"]
    kept = [["c warning"], ["a ok", "c warning"], whole, whole]
    assert [tuple(row) for row in conn.execute(sa.text(LEFT))] == [
        (FIRST + number * DAY, one) for number, ones in enumerate(kept) for one in ones
    ]
    counted = "SELECT findings_thinned FROM monitor.run_history WHERE model = 'm' ORDER BY window_start"
    assert conn.scalars(sa.text(counted)).all() == [2, 1, 0, None]
    assert conn.scalar(sa.text("SELECT count(*) FROM monitor.finding WHERE model = 'other'")) == 3


def test_an_episode_that_is_open_keeps_all_since_its_beginning(conn: sa.Connection) -> None:
    for number in range(3):
        judged(conn, "m", FIRST + number * DAY, found("a", Verdict.OK))
    conn.execute(
        sa.text(
            "INSERT INTO monitor.alert (alert_key, model, role, family, severity, state, opened_window_start)"
            " VALUES ('k', 'm', 'champion', 'a', 'warning', 'firing', :first)"
        ),
        {"first": FIRST + DAY},
    )
    assert retention.thin(conn, "m", before=FIRST + 9 * DAY, most=9) == (3, 1)


def test_windows_that_may_be_judged_again_keep_everything(hourly: Installation) -> None:
    """They are the newest 400; a day of hours is far from that."""
    every = ask(hourly, "SELECT count(*) FROM monitor.finding")
    assert thin(hourly, hourly.model(MODEL), keep=HOUR) == 0
    assert ask(hourly, "SELECT count(*) FROM monitor.finding") == every
    run(
        hourly,
        "UPDATE monitor.run SET window_start = window_start - interval '401 hours',"
        " window_end = window_end - interval '401 hours' WHERE window_start < :until",
        until=FIRST + 3 * HOUR,
    )
    run(
        hourly,
        "UPDATE monitor.finding AS f SET window_start = r.window_start, window_end = r.window_end"
        " FROM monitor.run AS r WHERE r.run_id = f.run_id",
    )
    assert thin(hourly, hourly.model(MODEL), keep=HOUR) > 0


# --- room ---


def test_a_month_that_is_over_gives_back_the_room_of_what_went(hourly: Installation) -> None:
    month = FIRST + 31 * DAY
    with hourly.engine.begin() as conn:
        retention.ensure_months(conn, FIRST, month)
    run(
        hourly,
        "INSERT INTO monitor.tile (model, role, part, reference_id, start, \"end\", body) SELECT 'm', 'champion',"
        " 'inputs', i::text, :first, CAST(:first AS timestamptz) + interval '1 hour', ''"
        " FROM generate_series(1, 5000) i",
        first=FIRST,
    )
    run(hourly, "DELETE FROM monitor.tile WHERE model = 'm' AND reference_id <> '7'")
    size = "SELECT pg_table_size('monitor.tile_2013_04') + pg_indexes_size('monitor.tile_2013_04')"
    [before], left = ask(hourly, size), "SELECT count(*) FROM monitor.tile"
    [rows] = ask(hourly, left)
    assert pack(hourly, now=FIRST + 60 * DAY) == []  # April is over for less than forty days
    assert "tile_2013_04" in pack(hourly, now=month + 40 * DAY)
    assert ask(hourly, size)[0] < before / 4
    assert ask(hourly, left) == [rows]
    assert pack(hourly, now=month + 40 * DAY) == []
    assert "tile_2013_04" in pack(hourly, now=month + 120 * DAY)
    assert pack(hourly, now=month + 100 * DAY) == []


def test_a_month_that_somebody_uses_is_packed_another_day(hourly: Installation) -> None:
    month = FIRST + 31 * DAY
    with hourly.engine.begin() as conn:
        retention.ensure_months(conn, FIRST, month)
    with hourly.engine.begin() as reader:
        reader.execute(sa.text("SELECT count(*) FROM monitor.tile_2013_04")).one()
        packed = pack(hourly, now=month + 40 * DAY)
        assert "tile_2013_04" not in packed
        assert "finding_2013_04" in packed
    assert pack(hourly, now=month + 40 * DAY) == ["tile_2013_04"]
