"""The log table is not as it was: altered, gone, forbidden, swapped; or its rows are hostile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.embedded import Database
from monitor.installation import Installation
from monitor.worker import Worker
from tests.watched import DAY, FIRST, ask, installed, log_rows, run, train, write_config

pytestmark = pytest.mark.short

REST = """
channels: {ops: {type: webhook, url: "https://hooks.example.invalid/"}}
routes: [{match: {}, to: [ops]}]
retention: {tiles: 40y, findings: 40y, samples: 40y, logs: 40y}
"""
OTHER = """
  n:
    active: {from: 2013-04-01}
    source: {url: store, table: elsewhere, time: at, id: id, features: {x: numeric}, prediction: {score: p}}
    window: {calendar: day, timezone: UTC}
"""
DAYS = 12
ROLE = "monitor_log_reader"


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    file = write_config(tmp_path, database, more="max_catch_up: 90d\n    lateness: 4d", rest=REST)
    text = file.read_text().replace("\nweb:", f"{OTHER}\nweb:")
    # the logs are read as somebody who owns none of them
    logs = f"{database.dsn}&options=-crole%3D{ROLE}"
    file.write_text(text.replace("      url: store\n", f'      url: "{logs}"\n'))
    with installed(file) as installation:
        log_rows(installation, days=DAYS)
        run(
            installation,
            "ALTER TABLE logged RENAME TO to_come",
            "CREATE TABLE logged (LIKE to_come INCLUDING ALL)",
            "CREATE TABLE elsewhere (LIKE to_come)",
            f"DO $$ BEGIN CREATE ROLE {ROLE}; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
            f"GRANT SELECT ON logged TO {ROLE}",
        )
        train(installation)
        yield installation


def serve(installation: Installation, since: int, until: int) -> None:
    """Log what both models predict on some days."""
    for table in ("logged", "elsewhere"):
        run(
            installation,
            f"INSERT INTO {table} SELECT * FROM to_come WHERE at >= :since AND at < :until",
            since=FIRST + since * DAY,
            until=FIRST + until * DAY,
        )


def advance(installation: Installation, worker: Worker, now: Any, times: int = 1) -> None:
    """Evaluate what is due, over and over, without the pauses between attempts."""
    for _ in range(times):
        run(installation, "UPDATE monitor.run SET retry_at = NULL")
        worker.advance(now)


# What happens to the table, how it is undone, and whether windows wait meanwhile or are judged with a finding.
CHANGES = {
    "feature dropped": (["ALTER TABLE logged RENAME x TO gone"], ["ALTER TABLE logged RENAME gone TO x"], "judged"),
    "feature retyped": (
        ["ALTER TABLE logged ALTER x TYPE text USING 'high'"],
        ["ALTER TABLE logged ALTER x TYPE float8 USING sin(id::int * 1.7) * 1.4"],
        "judged",
    ),
    "time column renamed": (["ALTER TABLE logged RENAME at TO t"], ["ALTER TABLE logged RENAME t TO at"], "waiting"),
    "id column dropped": (["ALTER TABLE logged RENAME id TO key"], ["ALTER TABLE logged RENAME key TO id"], "waiting"),
    "table missing": (["ALTER TABLE logged RENAME TO away"], ["ALTER TABLE away RENAME TO logged"], "waiting"),
    "permission revoked": ([f"REVOKE SELECT ON logged FROM {ROLE}"], [f"GRANT SELECT ON logged TO {ROLE}"], "waiting"),
    "view swapped for the table": (
        [
            "ALTER TABLE logged RENAME TO plain",
            "CREATE VIEW logged AS SELECT id, at, x, p FROM plain",
            f"GRANT SELECT ON logged TO {ROLE}",
        ],
        ["DROP VIEW logged", "ALTER TABLE plain RENAME TO logged"],
        "silent",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_log_table_is_told_once_holds_up_nobody_else_and_is_gone_on_with(
    name: str, installation: Installation, measured: Callable[..., None]
) -> None:
    change, undo, outcome = CHANGES[name]
    worker = Worker(installation=installation)
    told = (
        "SELECT reason FROM monitor.notification WHERE model = 'm' AND reason <> 'repeated' ORDER BY created_at, reason"
    )
    # a table that was rewritten is read anew, which makes further revisions of the same windows
    done = "SELECT count(DISTINCT window_start) FROM monitor.run WHERE state = 'done' AND model = '{}'"
    before, during, after = (FIRST + days * DAY + timedelta(hours=1) for days in (3, 7, DAYS))
    serve(installation, 0, 3)
    advance(installation, worker, before)
    serve(installation, 3, 7)
    run(installation, *change)
    advance(installation, worker, during, times=12)
    assert ask(installation, done.format("n")) == [7]
    assert ask(installation, done.format("m")) == [3 if outcome == "waiting" else 7]
    assert ask(installation, told) == ([] if outcome == "silent" else ["first"])
    run(installation, *undo)
    serve(installation, 7, DAYS)
    advance(installation, worker, after)
    assert ask(installation, done.format("m")) == [DAYS]
    assert ask(installation, "SELECT count(*) FROM monitor.run WHERE state = 'dead'") == [0]
    assert ask(installation, told) == ([] if outcome == "silent" else ["first", "resolved"])
    note = {
        "waiting": "windows waited, told once, all caught up when it was undone",
        "judged": "a finding in each window, told once, over when it was undone",
        "silent": "nothing was to be told",
    }[outcome]
    measured(scenario=23, name=name, injected=1, note=f"{note}; the other model went on")


@pytest.mark.parametrize("before", [True, False], ids=["before it was read", "after it was judged"])
def test_a_detached_partition_is_told_as_missing_rows_and_counted_when_it_is_back(
    before: bool, installation: Installation, measured: Callable[..., None]
) -> None:
    """Nobody sees in the catalog of a table that a part of it is gone: its days are empty, or become so."""
    worker = Worker(installation=installation)
    first, end = (FIRST + days * DAY for days in (6, 9))
    run(
        installation,
        "ALTER TABLE logged RENAME TO plain",
        "CREATE TABLE logged (LIKE to_come) PARTITION BY RANGE (at)",
        "CREATE TABLE three_days (LIKE to_come)",
        f"ALTER TABLE logged ATTACH PARTITION three_days FOR VALUES FROM ('{first}') TO ('{end}')",
        "CREATE TABLE others PARTITION OF logged DEFAULT",
        f"GRANT SELECT ON logged TO {ROLE}",
    )
    rows = "SELECT rows_read FROM monitor.run_history WHERE model = 'm' ORDER BY window_start"
    told = (
        "SELECT model, reason FROM monitor.notification WHERE reason <> 'repeated' ORDER BY created_at, model, reason"
    )
    serve(installation, 0, 6)
    advance(installation, worker, first + timedelta(hours=1))
    serve(installation, 6, 9)
    if not before:
        advance(installation, worker, end + timedelta(hours=1))
        assert ask(installation, rows) == [24] * 9
    run(installation, "ALTER TABLE logged DETACH PARTITION three_days")
    advance(installation, worker, end + timedelta(hours=1 if before else 7), times=6)
    assert ask(installation, rows)[-2:] == [0, 0]
    assert ask(installation, told) == [("m", "first")]
    run(installation, f"ALTER TABLE logged ATTACH PARTITION three_days FOR VALUES FROM ('{first}') TO ('{end}')")
    for day in range(9, DAYS):
        serve(installation, day, day + 1)
        advance(installation, worker, FIRST + (day + 1) * DAY + timedelta(hours=1), times=3)
    assert ask(installation, rows) == [24] * DAYS
    assert ask(installation, told) == [("m", "first"), ("m", "resolved")]
    assert ask(installation, "SELECT state, count(*) FROM monitor.run WHERE model = 'n' GROUP BY 1") == [("done", DAYS)]
    name = f"partition detached {'before it was read' if before else 'after it was judged'}"
    note = "missing rows, told once; back within the lateness, all counted and the alert over; the other model went on"
    measured(scenario=23, name=name, injected=1, note=note)


HOSTILE = {
    "NaN, infinities, -0, 1e308": "SELECT i, 'NaN'::float8, 0.5 FROM generate_series(0, 5) i"
    " UNION ALL SELECT 10 + i, v, 0.5 FROM unnest('{Infinity,-Infinity,-0,1e308,-1e308,4.9e-324}'::float8[])"
    " WITH ORDINALITY u (v, i)",
    "scores that are none": "SELECT i, 0, v FROM unnest('{NaN,Infinity,-1,2,1e308,NULL}'::float8[])"
    " WITH ORDINALITY u (v, i)",
    "all constant": "SELECT i, 7, 0.5 FROM generate_series(0, 99) i",
    "no rows": "SELECT i, 0, 0 FROM generate_series(1, 0) i",
    "one row": "SELECT 1, 0.1, 0.5",
    "all NULL": "SELECT i, NULL::float8, NULL::float8 FROM generate_series(0, 99) i",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_numbers_are_counted_and_crash_nothing(
    name: str, tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    with installed(write_config(tmp_path, database, rest=REST)) as installation:
        train(installation)
        run(
            installation,
            "CREATE TABLE logged (id text, at timestamptz, x float8, p float8)",
            "INSERT INTO logged SELECT q.id, CAST(:first AS timestamptz) + interval '1 hour', q.x, q.p"
            f" FROM ({HOSTILE[name]}) q (id, x, p)",
            first=FIRST,
        )
        expect_done(installation)
        (rows,) = ask(installation, "SELECT rows_read FROM monitor.run")
        assert rows == ask(installation, "SELECT count(*) FROM logged")[0]
    measured(scenario=24, name=name, injected=max(1, rows), note="evaluated at the first attempt; every row counted")


TEXTS = {
    "10 MB text": "repeat('ab c', 2500000)",
    "escapes, controls, bidi, markup": r"E'\x01\x1f\x7f\\u202e\\u2066 <script>&amp; `$(x)` \"; DROP TABLE x --'",
    "200,000 new categories": "md5(i::text)",
    "empty texts": "''",
}


@pytest.mark.parametrize("name", TEXTS)
def test_hostile_texts_are_bounded_and_crash_nothing(
    name: str, tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    file = write_config(tmp_path, database, rest=REST)
    file.write_text(file.read_text().replace("{x: numeric}", "{x: numeric, word: categorical}"))
    count = 200_000 if "categories" in name else 3
    with installed(file) as installation:
        run(
            installation,
            "CREATE TABLE logged (id text, at timestamptz, x float8, p float8, word text)",
            f"INSERT INTO logged SELECT i, CAST(:first AS timestamptz) + interval '1 hour', 0, 0.5, {TEXTS[name]}"
            f" FROM generate_series(1, {count}) i",
            first=FIRST,
        )
        expect_done(installation)
        assert ask(installation, "SELECT rows_read FROM monitor.run") == [count]
        (size,) = ask(installation, "SELECT coalesce(max(length(body)), 0) FROM monitor.tile")
        assert size < 1e6
    measured(scenario=24, name=name, injected=count, note="evaluated at the first attempt; what is stored is bounded")


def test_hostile_json_is_missing_and_crashes_nothing(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    values = [
        "{}",
        "[]",
        "null",
        "1",
        '"x"',
        '{"x": "\\u0000"}',
        '{"x": "\\ud800"}',
        '{"x": {"y": [1]}}',
        '{"x": 1e400}',
    ]
    values += [
        '{"x": ' + "9" * 400 + "}",
        '{"x": "NaN"}',
        '{"x": true}',
        '{"x": ""}',
        '{"x": 1.5}',
        "[" * 500 + "]" * 500,
    ]
    file = write_config(tmp_path, database, rest=REST)
    file.write_text(file.read_text().replace("{x: numeric}", "{x: {json: body.x, type: numeric}}"))
    with installed(file) as installation:
        run(installation, "CREATE TABLE logged (id text, at timestamptz, body json, p float8)")
        for number, value in enumerate(values):
            run(
                installation,
                "INSERT INTO logged VALUES (:id, :at, CAST(:value AS json), 0.5)",
                id=str(number),
                at=FIRST + timedelta(hours=1),
                value=value,
            )
        expect_done(installation)
        assert ask(installation, "SELECT rows_read FROM monitor.run") == [len(values)]
    measured(
        scenario=24, name="JSON", injected=len(values), note="no field, wrong types, NUL, half a pair, 1e400, deep"
    )


def test_rows_of_impossible_times_and_repeats_are_counted_apart(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    with installed(write_config(tmp_path, database, rest=REST)) as installation:
        run(
            installation,
            "CREATE TABLE logged (id text, at timestamptz, x float8, p float8)",
            "INSERT INTO logged SELECT 'a', CAST(:first AS timestamptz) + interval '1 hour', 0, 0.5"
            " FROM generate_series(1, 5)",
            "INSERT INTO logged SELECT 'b' || t, t, 0, 0.5 FROM unnest("
            "'{-infinity,infinity,1970-01-01 00:00+0,4713-01-01 00:00+0 BC,294276-01-01 00:00+0}'::timestamptz[]) t",
            "INSERT INTO logged VALUES ('c', NULL, 0, 0.5)",
            first=FIRST,
        )
        expect_done(installation)
        assert ask(installation, "SELECT rows_read, rows_duplicate FROM monitor.run") == [(1, 4)]
    note = "one row of five equal ids; infinite times, 1970, both ends of the calendar and NULL are in no window"
    measured(scenario=24, name="times and repeats", injected=11, note=note)


def expect_done(installation: Installation) -> None:
    """Evaluate the first day, which has to succeed at the first attempt."""
    Worker(installation=installation).advance(FIRST + DAY + timedelta(hours=1))
    assert ask(installation, "SELECT state, attempts, reason FROM monitor.run") == [("done", 1, None)]
