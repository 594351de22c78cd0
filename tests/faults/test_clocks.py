"""Clocks: machines whose time jumps or is wrong, days that are no 24 hours, processes that were paused."""

from __future__ import annotations

import itertools
import json
import signal
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import pytest

from monitor.embedded import Database
from monitor.worker import Worker
from tests.conftest import LIBRARIES
from tests.faults.replica import Options, eventually, forked, spawned
from tests.watched import DAY, FIRST, ask, installed, log_rows, run, train, write_config

KEPT = "retention: {tiles: 40y, findings: 40y, samples: 40y, logs: 40y}"
DIGEST = (
    KEPT
    + """
channels: {ops: {type: webhook, url: "https://hooks.example.invalid/"}}
alerts: {digest: {every: day, to: [ops]}}
"""
)
JUMPS = ["+1h", "-1h", "-1d", "+30d", "+10m", "+0"]


def library() -> Path:
    """Return where libfaketime is."""
    return next(Path("/").glob(LIBRARIES["libfaketime"]))


@pytest.mark.soak
@pytest.mark.needs("libfaketime")
def test_a_machine_whose_clock_jumps_neither_misses_nor_invents_a_window(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    since = datetime.now(UTC) - 2 * DAY
    file = write_config(tmp_path, database)
    text = file.read_text().replace("{from: 2013-04-01}", f"{{from: {since.date()}}}")
    file.write_text(text.replace("{calendar: day, timezone: UTC}", "1h"))
    jump = tmp_path / "jump"
    jump.write_text("+0")
    environ = {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(jump),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # with it faked, waiting hangs
    }
    unborn = "SELECT count(*) FROM monitor.run WHERE window_end > clock_timestamp()"
    missing = (
        "SELECT count(*) FROM generate_series((SELECT min(window_start) FROM monitor.run),"
        " clock_timestamp() - interval '2 hours', interval '1 hour') h"
        " WHERE NOT EXISTS (SELECT FROM monitor.run WHERE window_start = h AND state = 'done')"
    )
    slowest, grown = 0.0, 0.0
    with installed(file) as installation:
        run(installation, "CREATE TABLE logged (id text PRIMARY KEY, at timestamptz, x float8, p float8)")
        address = installation.config.web.listen

        def silence() -> float:
            with urllib.request.urlopen(f"http://{address}/healthz", timeout=10) as answer:
                return float(json.load(answer)["seconds_since_sign_of_life"]["scheduler"])

        def told(times: int) -> bool:
            return replica.said().count("somebody set this machine's clock") >= times

        with spawned(file, Options(), environ=environ) as replica:
            replica.awaits("Watching m")
            eventually(lambda: ask(installation, missing) == [0])
            before = psutil.Process(replica.pid).memory_info().rss
            for by in JUMPS:
                jump.write_text(by)
                began = time.monotonic()
                time.sleep(6)  # longer than a tick: a scheduler that waits for the old time falls silent meanwhile
                eventually(lambda: silence() < 5.5)
                slowest = max(slowest, time.monotonic() - began - 6)
                assert ask(installation, unborn) == [0], by
                eventually(partial(told, JUMPS.index(by) + 1))
            grown = psutil.Process(replica.pid).memory_info().rss - before
            assert replica.code() is None
            replica.send(signal.SIGTERM)
            assert replica.ended(20) == 0
        assert ask(installation, missing) == [0]
        assert ask(installation, "SELECT count(*) FROM monitor.run WHERE attempts > 1 OR revision > 1") == [0]
    assert grown < 30e6
    note = f"by {', '.join(JUMPS[:-1])}: no window too early, none missing; memory grew by {grown / 1e6:.0f} MB"
    measured(scenario=15, name="machine's clock set", injected=len(JUMPS), recovery=slowest, note=note)


ODD_DAYS = {
    "New York, spring": ("America/New_York", "2013-03-08", 23),
    "New York, autumn": ("America/New_York", "2013-11-01", 25),
    "Lord Howe, half an hour back": ("Australia/Lord_Howe", "2013-04-05", 24.5),
    "Lord Howe, half an hour ahead": ("Australia/Lord_Howe", "2013-10-04", 23.5),
    "leap day": ("Europe/Berlin", "2012-02-27", 24),
}


@pytest.mark.short
@pytest.mark.parametrize("name", ODD_DAYS)
def test_local_days_tile_the_time_and_each_has_one_digest(
    name: str, tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    zone, first, hours = ODD_DAYS[name]
    file = write_config(tmp_path, database, rest=DIGEST)
    text = file.read_text().replace("{from: 2013-04-01}", f"{{from: {first}}}")
    file.write_text(text.replace("timezone: UTC", f"timezone: {zone}"))
    start = datetime.fromisoformat(first).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    with installed(file) as installation:
        run(
            installation,
            "CREATE TABLE logged (id text PRIMARY KEY, at timestamptz, x float8, p float8)",
            "INSERT INTO logged SELECT i, CAST(:start AS timestamptz) + i * interval '30 minutes', 0, 0.5"
            " FROM generate_series(0, 6 * 48) i",
            start=start,
        )
        worker = Worker(installation=installation)
        for step in range(5 * 6):
            worker.advance(start + DAY + step * timedelta(hours=4))
        windows = ask(installation, "SELECT window_start, window_end, rows_read FROM monitor.run ORDER BY 1")
        digests = ask(installation, "SELECT window_start FROM monitor.notification WHERE reason = 'digest' ORDER BY 1")
    local = [(begin.astimezone(ZoneInfo(zone)), end.astimezone(ZoneInfo(zone))) for begin, end, _ in windows]
    assert windows[0][0] == start
    assert all(one[1] == following[0] for one, following in itertools.pairwise(windows))
    assert all((at.hour, at.minute) == (0, 0) for pair in local for at in pair)
    lengths = [(end - begin) / timedelta(hours=1) for begin, end, _ in windows]
    assert sorted({24.0, hours}) == sorted(set(lengths))
    assert [rows for _, _, rows in windows] == [2 * length for length in lengths]
    days = [begin.date() for begin, _ in local]
    assert len(set(days)) == len(days) >= 5
    told = [at.astimezone(ZoneInfo(zone)).date() for at in digests]
    assert len(told) == len(set(told)) >= 4
    note = f"a day of {hours:g} hours in {zone}: every row in one day, one digest a day"
    measured(scenario=16, name=name, injected=1, note=note)


@pytest.mark.short
def test_what_a_paused_owner_computed_is_refused_when_another_took_over(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files.append(write_config(tmp_path / name, database, more="max_catch_up: 90d", rest=KEPT))
        text = files[-1].read_text()
        files[-1].write_text(text.replace("{from: 2013-04-01}", "{from: 2013-04-01, until: 2013-04-05}"))
    options = Options(start=FIRST + 5 * DAY, lease=2.0)
    with installed(files[0]) as installation:
        log_rows(installation)
        train(installation)

        def state(number: int) -> Any:
            query = "SELECT state, attempts, owner FROM monitor.run ORDER BY window_start"
            return ask(installation, query)[number]

        with forked(files[0], options, failpoints="computed=stop") as paused:
            eventually(lambda: psutil.Process(paused.pid).status() == psutil.STATUS_STOPPED)
            owner = state(0)[2]
            with forked(files[1], options) as other:
                began = time.monotonic()
                eventually(lambda: [s for s, _, _ in map(state, range(4))] == ["done"] * 4)
                recovery = time.monotonic() - began
                time.sleep(max(0.0, 3 * options.lease - recovery))
                findings = "SELECT count(*) FROM monitor.finding"
                before = ask(installation, findings)
                paused.send(signal.SIGCONT)
                paused.awaits("lost the run to another process; nothing was written")
                assert ask(installation, findings) == before
                assert state(0)[:2] == ("done", 2)
                assert state(0)[2] != owner
                for replica in (paused, other):
                    replica.send(signal.SIGTERM)
                assert [paused.ended(20), other.ended(20)] == [0, 0]
        doubled = (
            "SELECT count(*) - count(DISTINCT (window_start, check_name, subject, statistic)) FROM monitor.finding"
        )
        assert ask(installation, doubled) == [0]
    note = "SIGSTOP with the result in hand for three leases of 2 s, then SIGCONT: the write was refused"
    measured(scenario=17, name="owner paused", injected=1, recovery=recovery, note=note)
