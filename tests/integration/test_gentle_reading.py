"""Gentle to the monitored database: so many reads at once, and a replica that is read only as far as it got."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from monitor import embedded, schema
from monitor.embedded import Database, EmbeddedPostgres
from monitor.installation import Installation, load_config
from monitor.logtable import SourceSection
from monitor.source import SourceError
from monitor.sources.postgres import PostgresSource
from monitor.sources.session import Pool, Sessions
from monitor.window import Window

HOUR = timedelta(hours=1)
START = datetime(2024, 5, 6, tzinfo=UTC)
WINDOW = Window(start=START, end=START + HOUR)
SOURCE = {"table": "log", "time": "at", "id": "id", "features": {"x": "numeric"}, "prediction": {"score": "p"}}
PATIENT, IMPATIENT = timedelta(seconds=30), timedelta(milliseconds=100)
STREAMING = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on", "shared_buffers": "16MB"}


def eventually(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


# --- reads at once ---


def test_a_read_waits_for_room_and_says_so_when_there_is_none_in_time(empty_database: Database) -> None:
    pool = Pool(most=1)
    with closing(Sessions(url=empty_database.url, statement_timeout=PATIENT, pool=pool)) as sessions:
        first = sessions.begin()
        told = r"^1 reads of \S+ at \S+ at once, as limits.max_readers allows, left no room for another in time; raise"
        with pytest.raises(SourceError, match=told):
            Sessions(url=empty_database.url, statement_timeout=IMPATIENT, pool=pool).begin()
        begun = threading.Event()

        def read() -> None:
            sessions.begin().end()
            begun.set()

        thread = threading.Thread(target=read)
        thread.start()
        assert not begun.wait(0.2)
        first.end()
        first.end()  # twice makes no room for two
        assert begun.wait(20)
        thread.join()
        again = sessions.begin()
        with pytest.raises(SourceError, match=told):
            Sessions(url=empty_database.url, statement_timeout=IMPATIENT, pool=pool).begin()
        again.discard()
        sessions.begin().end()


def test_a_database_that_cannot_be_reached_takes_no_room(tmp_path: Path) -> None:
    pool, nowhere = Pool(most=1), f"postgresql://me@/db?host={tmp_path}"
    for _ in range(2):
        with pytest.raises(SourceError, match="cannot be reached"):
            Sessions(url=nowhere, statement_timeout=IMPATIENT, pool=pool).begin()


def test_models_that_share_an_address_share_its_readers_and_the_smallest_limit_counts(
    tmp_path: Path, database: Database
) -> None:
    limits = {
        "a": "{max_readers: 3}",
        "b": "{max_readers: 1}",
        "c": "{max_readers: 2, replica_url: 'postgresql://r/db'}",
    }
    source = "table: log, time: at, id: id, prediction: {score: p}"
    models = "".join(f"  {name}: {{window: 1h, source: {{{source}, limits: {one}}}}}\n" for name, one in limits.items())
    file = tmp_path / "monitor.yaml"
    file.write_text(f'store: {{url: "{database.url}"}}\nmodels:\n{models}')
    url = schema.database_url(database.url).render_as_string(False)
    with closing(Installation(config=load_config(file, {}), url=url)) as installation:
        pools = {name: installation.source(name).pool for name in limits}
        assert pools["a"] is pools["b"]
        assert (pools["a"].most, pools["c"].most) == (1, 2)
        section = installation.config.models["c"]
        assert installation.source_dsn(section) == "postgresql://r/db"
        assert installation.primary_dsn(section) == installation.dsn


# --- replicas ---


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """A primary with a log, and a standby that follows it."""
    folder = tmp_path_factory.mktemp("replica")
    with embedded.start(folder / "primary", settings=STREAMING) as primary:
        with psycopg.connect(primary.dsn, autocommit=True) as conn:
            conn.execute("CREATE TABLE log (id text, at timestamptz, x float8, p float8)")
        (folder / "standby").mkdir()
        copied = ["--pgdata", str(folder / "standby" / "postgres"), "--write-recovery-conf", "--checkpoint=fast"]
        program = str(embedded.find_binaries() / "pg_basebackup")
        subprocess.run([program, "--dbname", primary.dsn, *copied], check=True, capture_output=True)
        with embedded.start(folder / "standby", settings=STREAMING) as standby:
            yield primary, standby


def test_a_window_is_read_from_the_replica_and_waits_until_that_has_replayed_it(
    pair: tuple[EmbeddedPostgres, EmbeddedPostgres],
) -> None:
    primary, standby = pair
    section = SourceSection.model_validate({**SOURCE, "url": primary.url, "limits": {"replica_url": standby.url}})
    source = PostgresSource(url=section.address("store"), section=section, model="m")

    def rows() -> int:
        with source.read_inputs(WINDOW, [WINDOW], None, now=WINDOW.end) as read:
            return read.reading.rows

    with (
        closing(source),
        psycopg.connect(primary.dsn, autocommit=True) as conn,
        psycopg.connect(standby.dsn, autocommit=True) as follower,
    ):
        conn.execute("INSERT INTO log VALUES ('1', %s, 1, 0.5)", [START])
        eventually(lambda: rows() == 1)  # quiet since long after the window's end, and all of it replayed
        follower.execute("SELECT pg_wal_replay_pause()")
        eventually(lambda: follower.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",))
        until = datetime.now(UTC) + HOUR  # what the primary writes now belongs to a window that ends later
        later = Window(start=until - HOUR, end=until)
        conn.execute("INSERT INTO log VALUES ('2', %s, 1, 0.5)", [later.start])
        known = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
        eventually(lambda: follower.execute(known).fetchone() == (True,))
        told = r"^The replica \S+ at \S+ has replayed what was written until .*, and this window ends at .*; it is read"
        for read in (
            lambda: source.read_inputs(later, [later], None, now=later.end),
            lambda: source.fingerprints([later], None, now=later.end),
        ):
            with pytest.raises(SourceError, match=told):
                read()
        follower.execute("SELECT pg_wal_replay_resume()")
        eventually(lambda: follower.execute(known).fetchone() == (False,))
        with source.read_inputs(later, [later], None, now=later.end) as found:
            assert found.reading.rows == 1


def test_a_replica_that_refuses_is_told_by_its_own_key(tmp_path: Path) -> None:
    limits = {"replica_url": f"postgresql://me@/db?host={tmp_path}"}
    section = SourceSection.model_validate({**SOURCE, "limits": limits})
    source = PostgresSource(url=section.address("store"), section=section, model="m")
    with pytest.raises(SourceError, match=r"start it or correct source\.limits\.replica_url\.$"):
        source.fingerprints([WINDOW], None, now=WINDOW.end)
