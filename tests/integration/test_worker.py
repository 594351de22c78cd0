"""Rules of planning and evaluating: no window is passed over or given up for a fault that is not its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import sqlalchemy as sa
import yaml

from monitor import ledger, schema, store
from monitor.daemon import Daemon
from monitor.embedded import Database
from monitor.installation import Installation, load_config
from monitor.outcome import Task
from monitor.reference import build_reference
from monitor.source import Batch, NumericValues
from monitor.window import Window
from monitor.worker import Worker, plan_anew

DAY = timedelta(days=1)
FIRST = datetime(2013, 4, 1, tzinfo=UTC)
NOW = FIRST + 4 * DAY + timedelta(hours=1)

CONFIG = """
store: {{url: "{url}"}}
models:
  m:
    active: {{from: 2013-04-01}}
    source:
      url: store
      table: logged
      time: at
      id: id
      features: {{x: numeric}}
      prediction: {{score: p}}
    window: {{calendar: day, timezone: UTC}}
    checks: {{drift: {{thresholds: {{psi: 0.25}}}}}}
channels:
  ops: {{type: webhook, url: "https://hooks.example.invalid/"}}
alerts: {{digest: {{every: day, to: [ops]}}}}
web: {{listen: "127.0.0.1:{port}"}}
"""


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    file = tmp_path / "monitor.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file.write_text(CONFIG.format(url=database.url, port=taken.getsockname()[1]))
        url = schema.database_url(database.url).render_as_string(False)
        installation = Installation(config=load_config(file, {}), url=url)
        yield installation
        installation.close()


def log_rows(installation: Installation) -> None:
    with installation.engine.begin() as conn:
        conn.execute(sa.text("CREATE TABLE logged (id text, at timestamptz, x float8, p float8)"))
        conn.execute(
            sa.text("INSERT INTO logged SELECT i, :at + i * interval '1 hour', i, 0.5 FROM generate_series(0, 95) i"),
            {"at": FIRST},
        )


def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def runs(installation: Installation) -> list[Any]:
    with installation.engine.begin() as conn:
        query = "SELECT window_start, state, rows_read FROM monitor.run ORDER BY window_start"
        return list(conn.execute(sa.text(query)).all())


def retry_at_once(installation: Installation) -> None:
    with installation.engine.begin() as conn:
        conn.execute(sa.text("UPDATE monitor.run SET retry_at = NULL"))


def test_every_window_since_the_model_went_live_is_evaluated_once(installation: Installation) -> None:
    log_rows(installation)
    worker = Worker(installation=installation)
    assert (worker.advance(NOW), worker.advance(NOW)) == (4, 0)
    assert runs(installation) == [(FIRST + i * DAY, "done", 24) for i in range(4)]


def test_what_a_person_asked_for_first_leaves_no_gap_before_it(installation: Installation) -> None:
    with installation.engine.begin() as conn:
        asked = Window(start=FIRST + 2 * DAY, end=FIRST + 3 * DAY)
        ledger.materialise(conn, "m", "champion", "inputs", [asked], kind="manual")
    Worker(installation=installation).plan(NOW)
    assert [start for start, _, _ in runs(installation)] == [FIRST + i * DAY for i in range(4)]


def test_a_window_whose_logs_cannot_be_read_waits_for_them_however_long(installation: Installation) -> None:
    worker = Worker(installation=installation)
    worker.plan(NOW)
    for _ in range(2 * ledger.MAX_ATTEMPTS):
        assert worker.work(NOW)
        retry_at_once(installation)
    log_rows(installation)
    assert worker.advance(NOW) == 4
    assert {state for _, state, _ in runs(installation)} == {"done"}


def test_a_window_that_is_too_slow_to_read_holds_up_the_others_for_a_while_only(installation: Installation) -> None:
    log_rows(installation)
    with installation.engine.begin() as conn:
        conn.execute(sa.text("ALTER TABLE logged RENAME TO quick"))
        conn.execute(
            sa.text(
                "CREATE VIEW logged AS SELECT id, at, p,"
                " CASE WHEN at < '2013-04-02+0' THEN (SELECT quick.x FROM pg_sleep(10)) ELSE x END AS x FROM quick"
            )
        )
    source = installation.source("m")
    source._sessions.statement_timeout = timedelta(milliseconds=300)
    worker = Worker(installation=installation)
    worker.plan(NOW)
    for _ in range(ledger.MAX_ATTEMPTS):
        assert worker.work(NOW)
        retry_at_once(installation)
    worker.advance(NOW)
    assert [state for _, state, _ in runs(installation)] == ["dead", "done", "done", "done"]


def test_a_model_whose_logs_answer_slowly_holds_up_no_other_even_with_both_its_stages(
    tmp_path: Path, database: Database
) -> None:
    config = yaml.safe_load(CONFIG.format(url=database.url, port=1))
    model = config["models"].pop("m") | {"active": {"from": "2013-04-04"}}
    outcome = {"label": "y", "matures_after": "0s"}
    slow = {**model, "source": {**model["source"], "table": "slow", "outcome": outcome}}
    config["models"] = {"a-slow": slow, "quick": model}
    file = tmp_path / "two.yaml"
    file.write_text(yaml.safe_dump(config))
    url = schema.database_url(database.url).render_as_string(False)
    installation = Installation(config=load_config(file, {}), url=url)
    worker = Worker(installation=installation, clock=lambda: NOW, pace=timedelta(milliseconds=50))
    log_rows(installation)
    threads: list[threading.Thread] = []

    def done(name: str) -> int:
        with installation.engine.begin() as conn:
            query = "SELECT count(*) FROM monitor.run WHERE model = :name AND state = 'done'"
            return int(conn.scalars(sa.text(query), {"name": name}).one())

    try:
        with installation.engine.connect() as holder:  # who reads a row waits for as long as this lock is held
            holder.execute(
                sa.text(
                    "CREATE FUNCTION wait() RETURNS float8 LANGUAGE sql VOLATILE AS $$"
                    "SELECT 0.0::float8 FROM (SELECT pg_advisory_xact_lock_shared(7)) AS w $$"
                )
            )
            holder.execute(
                sa.text("CREATE VIEW slow AS SELECT id, at, x + wait() AS x, p + wait() AS p, 1 AS y FROM logged")
            )
            holder.commit()
            holder.execute(sa.text("SELECT pg_advisory_lock(7)"))
            worker.plan(NOW)
            threads = worker.start()
            eventually(lambda: done("quick") == 1)
            assert done("a-slow") == 0
            assert [run.model for run in worker.active.values()] == ["a-slow"]
            holder.execute(sa.text("SELECT pg_advisory_unlock(7)"))
            eventually(lambda: done("a-slow") == 2)
    finally:
        worker.stop(threads)
        installation.close()


def test_replicas_share_the_windows_and_each_is_evaluated_once(tmp_path: Path, database: Database) -> None:
    config = yaml.safe_load(CONFIG.format(url=database.url, port=1))
    model = config["models"].pop("m") | {"active": {"from": "2013-04-01", "until": "2013-04-05"}}
    config["models"] = {f"m{number}": model for number in range(6)}
    file = tmp_path / "six.yaml"
    file.write_text(yaml.safe_dump(config))
    url = schema.database_url(database.url).render_as_string(False)
    replicas = [Installation(config=load_config(file, {}), url=url) for _ in range(3)]
    workers = [Worker(installation=one, clock=lambda: NOW, pace=timedelta(milliseconds=50)) for one in replicas]
    log_rows(replicas[0])
    threads: list[list[threading.Thread]] = []
    try:
        for worker in workers:
            worker.plan(NOW)
        threads = [worker.start() for worker in workers]
        with replicas[0].engine.connect() as conn:
            query = sa.text(
                "SELECT count(*), count(DISTINCT (model, window_start)), count(DISTINCT owner), max(attempts)"
                " FROM monitor.run WHERE state = 'done'"
            )
            eventually(lambda: conn.execute(query).one()[0] >= 24)
            everything, windows, owners, attempts = conn.execute(query).one()
        assert (everything, windows, attempts) == (24, 24, 1)
        assert owners > 1
    finally:
        for worker, started in zip(workers, threads, strict=False):
            worker.stop(started)
        for one in replicas:
            one.close()


def train_elsewhere(installation: Installation) -> None:
    """Store a training profile that the logged rows are far from."""
    rng = np.random.default_rng(0)
    n = 60 * 24
    start = FIRST - 60 * DAY
    batch = Batch(
        rows=n,
        time=round(start.timestamp()) * 1_000_000 + np.arange(n) * 3_600_000_000,
        columns={"x": NumericValues(values=rng.normal(-100, 1, n), missing=np.zeros(n, bool))},
        score=rng.random(n),
    )
    spec = installation.model("m").spec
    reference = build_reference(
        batch, model="m", version="1", task=Task.BINARY, spec=spec, created_at=FIRST, rows=n, source="a test"
    )
    with installation.engine.begin() as conn:
        store.save_reference(conn, model="m", body=reference.to_bytes(), active_from=FIRST, rows=n)


@pytest.mark.parametrize(("notify", "told"), [(False, 0), (True, 1)])
def test_nobody_hears_of_a_backfill_unless_asked_whoever_evaluates_it(
    installation: Installation, notify: bool, told: int
) -> None:
    log_rows(installation)
    train_elsewhere(installation)
    windows = [Window(start=FIRST + i * DAY, end=FIRST + (i + 1) * DAY) for i in range(4)]
    with installation.engine.begin() as conn:
        plan_anew(conn, installation.model("m"), windows, kind="manual" if notify else "backfill", now=NOW)
    daemon = Worker(installation=installation)
    assert daemon.advance(NOW) == 4
    messages = "SELECT count(*) FROM monitor.notification WHERE reason <> 'digest'"
    with installation.engine.begin() as conn:
        assert conn.execute(sa.text(messages)).scalar_one() == told
        assert conn.execute(sa.text("SELECT count(*) FROM monitor.alert WHERE state = 'firing'")).scalar_one()


def test_the_digest_of_a_period_waits_until_its_windows_are_evaluated(installation: Installation) -> None:
    def digests() -> int:
        with installation.engine.begin() as conn:
            query = "SELECT count(*) FROM monitor.notification WHERE reason = 'digest'"
            return int(conn.execute(sa.text(query)).scalar_one())

    log_rows(installation)
    worker = Worker(installation=installation, clock=lambda: NOW)
    worker.tick()
    assert digests() == 0
    while worker.work(NOW):
        pass
    worker.tick()
    worker.tick()
    assert digests() == 1


class Usurped:
    """A source that fails just after another process has taken the run over."""

    def __init__(self, installation: Installation) -> None:
        self._engine = installation.engine

    def read_inputs(self, *_: object, **__: object) -> None:
        with self._engine.begin() as conn:
            conn.execute(sa.text("UPDATE monitor.run SET token = :t WHERE state = 'running'"), {"t": uuid4()})
        raise RuntimeError("the rows were strange")

    def close(self) -> None:
        """There is nothing to give back."""


def test_a_run_that_fails_after_it_was_taken_over_stays_with_the_new_owner(installation: Installation) -> None:
    installation.sources["m"] = Usurped(installation)  # type: ignore[assignment]  # all that a run asks of a source
    worker = Worker(installation=installation)
    worker.plan(NOW)
    assert worker.work(NOW)
    assert [state for _, state, _ in runs(installation)] == ["running", "planned", "planned", "planned"]


def test_a_daemon_whose_port_is_taken_says_so_and_ends(installation: Installation) -> None:
    daemon = Daemon(installation=installation, clock=lambda: NOW)
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        daemon.start()
    daemon.stop()
