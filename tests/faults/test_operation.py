"""What people do to a running daemon: reload it, migrate its store, fill its disk, give it too much to read."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from monitor import embedded, schema
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.worker import Worker
from tests.conftest import IN_A_HURRY
from tests.faults.fleet import end, fleet
from tests.faults.replica import Options, eventually, forked, spawned
from tests.watched import DAY, FIRST, ask, free_port, installed, log_rows, run, train, write_config

KEPT = "retention: {tiles: 40y, findings: 40y, samples: 40y, logs: 40y}"
NOW = FIRST + 4 * DAY + timedelta(hours=1)


@pytest.fixture
def file(tmp_path: Path, database: Database) -> Path:
    return write_config(tmp_path, database, more="max_catch_up: 90d", rest=KEPT)


@pytest.fixture
def installation(file: Path) -> Iterator[Installation]:
    with installed(file) as installation:
        log_rows(installation)
        train(installation)
        yield installation


BAD = {
    "broken YAML": "models: [",
    "unknown check": "checks: {drfit: {}}",
    "unknown channel type": "channels: {ops: {type: pigeon}}",
    "secret file missing": "channels: {ops: {type: slack, webhook_url_file: /nowhere/hook}}",
}


@pytest.mark.short
def test_a_reload_that_cannot_be_keeps_the_old_configuration_and_shows_it(
    file: Path, installation: Installation, measured: Callable[..., None]
) -> None:
    text = file.read_text()

    def success() -> str:
        with urllib.request.urlopen(f"http://{installation.config.web.listen}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        (line,) = [line for line in lines if line.startswith("monitor_config_reload_success ")]
        return str(line.split()[-1])

    def refused(times: int) -> bool:
        return replica.said().count("The old configuration goes on.") == times

    with forked(file, Options(start=NOW)) as replica:
        replica.awaits("Watching m")
        assert success() == "1.0"
        for times, added in enumerate(BAD.values(), 1):
            file.write_text(f"{text}\n{added}\n")
            replica.send(signal.SIGHUP)
            eventually(partial(refused, times))
            assert success() == "0.0"
        file.write_text(text)
        replica.send(signal.SIGHUP)
        eventually(lambda: replica.said().count("Watching m") == 2)
        assert success() == "1.0"
        assert "Traceback" not in replica.said()
    note = f"{', '.join(BAD)}: one sentence each, `monitor_config_reload_success` 0, then 1 again"
    measured(scenario=20, name="reloads that cannot be", injected=len(BAD), note=note)


@pytest.mark.short
def test_the_alerts_of_a_model_that_a_reload_removes_expire_and_are_not_called_resolved(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    hour = timedelta(hours=1)
    channels = f"{{nobody: {{type: webhook, url: 'http://127.0.0.1:{free_port()}/'}}}}"
    with fleet(tmp_path, database, models=2, windows=9, width=hour, channels=channels) as installation:
        worker = Worker(installation=installation)
        worker.advance(end(9, hour))
        states = "SELECT DISTINCT model, state FROM monitor.alert WHERE state <> 'resolved' ORDER BY 1"
        assert ask(installation, states) == [("model-00", "firing"), ("model-01", "firing")]
        file = installation.config.path
        with forked(file, Options(start=end(9, hour))) as replica:
            replica.awaits("Watching model-00")
            text = file.read_text()
            file.write_text(text[: text.index("\n  model-01:")] + text[text.index("\nweb:") :])
            replica.send(signal.SIGHUP)
            eventually(lambda: ask(installation, states) != [("model-00", "firing"), ("model-01", "firing")])
            # whom nobody listens to is no reason to refuse a configuration
            eventually(lambda: ask(installation, "SELECT 1 FROM monitor.delivery WHERE last_error IS NOT NULL"))
        query = "SELECT model, state FROM monitor.alert ORDER BY 1"
        assert set(ask(installation, query)) == {("model-00", "firing"), ("model-01", "expired")}
        assert ask(installation, "SELECT count(*) FROM monitor.notification WHERE reason = 'resolved'") == [0]
    note = "its alerts expired, those of the other went on; nothing was called resolved"
    measured(scenario=20, name="model removed by a reload, channel that nobody listens on", injected=1, note=note)


@pytest.mark.short
def test_a_newer_schema_is_worked_on_by_who_runs_and_refused_by_who_starts(
    file: Path, installation: Installation, measured: Callable[..., None]
) -> None:
    with forked(file, Options(start=NOW)) as older:
        older.awaits("Watching m")
        run(  # what the migrations of a next version do: add, and never change
            installation,
            "ALTER TABLE monitor.run ADD COLUMN added_later int DEFAULT 7",
            "CREATE TABLE monitor.added_later (id int)",
            "UPDATE monitor.alembic_version SET version_num = '9999'",
        )
        done = "SELECT count(*) FROM monitor.run WHERE state = 'done'"
        eventually(lambda: ask(installation, done) == [4])
        with forked(file, Options(start=NOW)) as started:
            assert started.ended(20) == 4
            assert "which a newer version made" in started.said()
            assert "Traceback" not in started.said()
        assert older.code() is None
    note = "a running replica of the older version goes on, one that starts exits with 4 and the reason"
    measured(scenario=21, name="older version beside a newer schema", injected=1, note=note)


@pytest.mark.short
def test_a_migration_that_is_killed_in_the_middle_leaves_nothing_and_can_be_repeated(
    empty_database: Database, measured: Callable[..., None]
) -> None:
    with psycopg.connect(empty_database.dsn, autocommit=True) as conn:
        conn.execute(
            "CREATE FUNCTION linger() RETURNS event_trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_sleep(60) WHERE to_regclass('monitor.alert') IS NOT NULL; END $$"
        )
        conn.execute("CREATE EVENT TRIGGER linger ON ddl_command_end EXECUTE FUNCTION linger()")
        command = f"from monitor import schema; schema.upgrade({empty_database.url!r})"
        child = subprocess.Popen([sys.executable, "-c", command])
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"

        def waits() -> bool:
            row = conn.execute(asleep).fetchone()
            return row == (1,)

        eventually(waits)
        child.kill()
        child.wait()
        conn.execute("DROP EVENT TRIGGER linger")
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event = 'PgSleep'"
        )
        eventually(lambda: not waits())
    assert schema.current(empty_database.url) is None
    schema.upgrade(empty_database.url)
    assert schema.current(empty_database.url) == schema.head()
    note = "nothing of it was left; repeated, it went through"
    measured(scenario=21, name="migration killed half-way", injected=1, note=note)


SMALL = {"max_wal_size": "32MB", "min_wal_size": "32MB", "shared_buffers": "16MB", "wal_recycle": "off"}
FINISHED = "SELECT count(*) FROM monitor.run WHERE state = 'done'"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of 160 MB."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Path) -> None:
    """Write until nothing fits any more."""
    with file.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(bytes(1 << 12))


@pytest.mark.soak
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_leaves_no_half_result_and_is_recovered_from(tmp_path: Path, measured: Callable[..., None]) -> None:
    with small_disk(tmp_path / "small") as small, embedded.start(small, settings={**IN_A_HURRY, **SMALL}) as server:
        schema.upgrade(server.url)
        file = write_config(tmp_path, server.database("postgres"), more="max_catch_up: 90d", rest=KEPT)
        with installed(file) as installation:
            log_rows(installation)
            train(installation)
            worker = Worker(installation=installation, clock=lambda: NOW)
            worker.plan(NOW)
            assert worker.work(NOW)
            fill(small / "filler")
            refused = 0
            for _ in range(20):
                try:
                    run(installation, "UPDATE monitor.run SET retry_at = NULL")
                    worker.work(NOW)
                    # pages that there was room for are used up
                    run(installation, "CREATE TABLE IF NOT EXISTS big (text text)")
                    run(installation, "INSERT INTO big SELECT md5(i::text) FROM generate_series(1, 5000) i")
                except sa.exc.SQLAlchemyError as error:
                    refused += schema.is_outage(error)
            assert refused > 0
            (small / "filler").unlink()
            began = time.monotonic()
            worker.tick()  # gives back what could not be given back
            while ask(installation, FINISHED) != [4]:
                assert time.monotonic() - began < 60
                run(installation, "UPDATE monitor.run SET retry_at = NULL")
                worker.advance(NOW)
            recovery = time.monotonic() - began
            each = "(window_start, run_part, check_name, subject, statistic)"
            twice = ask(installation, f"SELECT count(*) - count(DISTINCT {each}) FROM monitor.finding")
            assert twice == [0]
            assert ask(installation, "SELECT max(attempts) FROM monitor.run") == [1]
    note = "the disk of the store filled to the last byte (53100): transactions failed whole, no attempt was counted"
    measured(scenario=7, name="disk full", injected=refused, recovery=recovery, note=note)


@pytest.mark.soak
@pytest.mark.needs("prlimit")
def test_a_wide_window_is_read_within_bounded_memory(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    rows, limit = 1_500_000, 700 << 20
    names = [f"x{i}" for i in range(20)]
    file = write_config(tmp_path, database, more="max_catch_up: 90d", rest=KEPT)
    text = file.read_text().replace("{x: numeric}", f"{{{', '.join(f'{name}: numeric' for name in names)}}}")
    file.write_text(text.replace("{from: 2013-04-01}", "{from: 2013-04-01, until: 2013-04-02}"))
    with installed(file) as installation:
        run(
            installation,
            "CREATE UNLOGGED TABLE logged (id int, at timestamptz, p float8)",
            *(f"ALTER TABLE logged ADD COLUMN {name} float8" for name in names),
            "INSERT INTO logged SELECT i, CAST(:first AS timestamptz) + i * (interval '1 day' / CAST(:rows AS float8)),"
            f" 0.5, {', '.join(['random()'] * len(names))} FROM generate_series(0, CAST(:rows AS int) - 1) i",
            "CREATE INDEX ON logged (at)",
            first=FIRST,
            rows=rows,
        )
        (size,) = ask(installation, "SELECT pg_table_size('logged')")
        with spawned(file, Options(start=NOW, lease=30), before=("prlimit", f"--data={limit}")) as replica:
            eventually(lambda: ask(installation, "SELECT state FROM monitor.run") == ["done"], 240)
            status = Path(f"/proc/{replica.pid}/status").read_text()
        (peak,) = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")]
        assert ask(installation, "SELECT rows_read, attempts FROM monitor.run") == [(rows, 1)]
    note = f"{rows:,} rows, {size / 1e6:.0f} MB, at the first attempt; at most {peak / 1e6:.0f} MB resident"
    measured(scenario=18, name="wide window, 700 MB of data allowed", injected=1, note=note)
