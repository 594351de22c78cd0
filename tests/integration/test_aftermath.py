"""What becomes of approved advice: the new version is noticed, its losses say whether it helped, SQL counts it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from monitor import approval, episode, store
from monitor.aftermath import OVERDUE, follow
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.outcome import Task
from monitor.profiling import Profiler
from monitor.recommendation import Action, Recommendation, RecommendationState
from monitor.reference import build_reference
from monitor.source import Batch, NumericValues
from monitor.worker import Worker
from tests.watched import DAY, FIRST, MODEL, OUTCOME, ask, installed, log_rows, run, train, write_config

SWITCH = FIRST + 15 * DAY  # when the new version answers
CHANNEL = 'channels: {ops: {type: webhook, url: "https://hooks.example.org/x"}}'
COLUMNS = (
    "state, outcome, successor_version, replaced_at, round(loss_before::numeric, 1), round(loss_after::numeric, 1)"
)


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    with installed(write_config(tmp_path, database, outcome=OUTCOME, rest=CHANNEL)) as installation:
        log_rows(installation, days=32)
        run(installation, "CREATE TABLE labels (id text, y bool, known_at timestamptz)")
        train(installation, labelled=True)
        yield installation


def label(installation: Installation) -> None:
    """Give labels that the model gets wrong half of the time, and never after the switch."""
    run(
        installation,
        "INSERT INTO labels SELECT id, CASE WHEN at < :switch THEN extract(hour FROM at)::int % 2 = 0 ELSE p > 0.5 END,"
        " at + interval '1 hour' FROM logged",
        switch=SWITCH,
    )


def approved(installation: Installation) -> UUID:
    advice = Recommendation(
        id=uuid4(), model=MODEL, model_version="1", cause_key="model", action=Action.RETRAIN, opened_at=SWITCH - DAY,
        window_start=SWITCH - 2 * DAY, window_end=SWITCH - DAY, why="It errs more.",
    )  # fmt: skip
    with installation.engine.begin() as conn:
        episode.save_recommendation(conn, advice)
        approval.decide(
            conn, installation, advice.id, RecommendationState.APPROVED, by="alice", at=SWITCH - timedelta(hours=2)
        )
    return advice.id


def retrain(installation: Installation) -> None:
    """Do what a pipeline does: store the training profile of the next version."""
    rng = np.random.default_rng(1)
    n = 60 * 24
    x = rng.normal(0, 1, n)
    p = np.clip(0.5 + 0.28 * x, 0.01, 0.99)
    batch = Batch(
        rows=n, time=round((SWITCH - 60 * DAY).timestamp()) * 1_000_000 + np.arange(n) * 3_600_000_000,
        columns={"x": NumericValues(values=x, missing=np.zeros(n, bool))}, score=p,
        label=(rng.random(n) < p).astype(float),
    )  # fmt: skip
    spec = installation.model(MODEL).spec
    made = build_reference(batch, model=MODEL, version="2", task=Task.BINARY, spec=spec, created_at=SWITCH, rows=n)
    with installation.engine.begin() as conn:
        store.save_reference(conn, model=MODEL, body=made.to_bytes(), active_from=SWITCH, rows=n, model_version="2")


def work(installation: Installation, since: datetime, until: datetime) -> None:
    """Judge every window in its time: after a long absence the daemon would leave some out."""
    worker = Worker(installation=installation)
    while since < until:
        since = min(since + 5 * DAY, until)
        worker.advance(since)


def history(installation: Installation) -> list[Any]:
    return ask(installation, f"SELECT {COLUMNS} FROM monitor.recommendation_history WHERE action = 'RETRAIN'")


def outcomes_told(installation: Installation) -> list[Any]:
    return ask(
        installation,
        "SELECT payload->>'title', thread_key FROM monitor.notification"
        " WHERE reason = 'recommendation' AND payload->>'title' LIKE '%help%'",
    )


def test_a_retraining_that_helped_is_recorded_told_once_and_counted(installation: Installation) -> None:
    label(installation)
    work(installation, FIRST, SWITCH - timedelta(hours=3))
    advice = approved(installation)
    assert history(installation)[0][:3] == ("approved", None, None)
    retrain(installation)
    work(installation, SWITCH, SWITCH + 5 * DAY)
    assert history(installation)[0][:4] == ("done", None, "2", SWITCH)
    work(installation, SWITCH + 5 * DAY, SWITCH + 17 * DAY)
    (found,) = history(installation)
    assert found[:4] == ("done", "helped", "2", SWITCH)
    assert found[4] > 2 * found[5]
    (told,) = outcomes_told(installation)
    assert told == ("m: RETRAIN helped", f"recommendation-{advice}")
    (counted,) = ask(
        installation,
        "SELECT approved, helped, did_not_help, precision FROM monitor.recommendation_precision"
        " WHERE action = 'RETRAIN'",
    )
    assert counted == (1, 1, 0, 1.0)


def test_a_retraining_that_did_not_help_is_said_so_after_four_weeks_and_counted(installation: Installation) -> None:
    run(
        installation,
        "INSERT INTO logged SELECT i, CAST(:first AS timestamptz) + i * interval '1 hour', sin(i * 1.7) * 1.4,"
        " 0.5 + 0.4 * sin(i * 1.7) FROM generate_series(32 * 24, 47 * 24) i",
        "INSERT INTO labels SELECT id, extract(hour FROM at)::int % 2 = 0, at + interval '1 hour' FROM logged",
        first=FIRST,
    )
    work(installation, FIRST, SWITCH - timedelta(hours=3))
    approved(installation)
    retrain(installation)
    work(installation, SWITCH, SWITCH + 20 * DAY)
    assert history(installation)[0][:2] == ("done", None), "it is too early to say"
    work(installation, SWITCH + 20 * DAY, SWITCH + 31 * DAY)
    assert history(installation)[0][:2] == ("done", "did_not_help")
    (told,) = outcomes_told(installation)
    assert told[0] == "m: RETRAIN did not help"
    (counted,) = ask(
        installation,
        "SELECT approved, helped, did_not_help, precision FROM monitor.recommendation_precision"
        " WHERE action = 'RETRAIN'",
    )
    assert counted == (1, 0, 1, 0.0)


def test_the_version_in_the_logs_counts_before_its_profile_and_its_absence_is_failed(
    installation: Installation,
) -> None:
    advice = approved(installation)
    watched = installation.model(MODEL)
    with installation.engine.begin() as conn:
        follow(conn, installation, watched, now=SWITCH + OVERDUE)
        assert ask(installation, "SELECT state FROM monitor.recommendation") == ["approved"]
        reference = store.reference_id_at(conn, MODEL, at=FIRST)
        assert reference is not None
        for version, start in (("1", SWITCH - 9 * DAY), ("1", SWITCH), ("7", SWITCH)):
            tile = store.StoredTile(
                model=MODEL, model_version=version, part="inputs", reference_id=reference, body=b"",
                start=start, end=start + timedelta(hours=1),
            )  # fmt: skip
            store.save_tiles(conn, [tile])
        found = store.successor(conn, MODEL, after=SWITCH - timedelta(hours=2), than="1")
    assert found == store.Successor(version="7", since=SWITCH, profiled=False)
    run(installation, "DELETE FROM monitor.tile")
    with installation.engine.begin() as conn:
        follow(conn, installation, watched, now=SWITCH + OVERDUE + DAY)
        state = conn.execute(
            sa.text("SELECT state, outcome FROM monitor.recommendation WHERE recommendation_id = :id"), {"id": advice}
        ).one()
    assert tuple(state) == ("failed", "unknown")
    assert outcomes_told(installation) == []


def answers(installation: Installation, version: str, *, since: datetime) -> None:
    """Let a version have answered for an hour, as the tiles of its rows say."""
    with installation.engine.begin() as conn:
        reference = store.reference_id_at(conn, MODEL, at=FIRST)
        assert reference is not None
        tile = store.StoredTile(
            model=MODEL, model_version=version, part="inputs", reference_id=reference, body=b"",
            start=since, end=since + timedelta(hours=1),
        )  # fmt: skip
        store.save_tiles(conn, [tile])


def test_a_version_that_answers_gets_its_training_profile_from_the_agreed_file(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    file = write_config(tmp_path, database, more="retraining: {training_rows: 'rows-{version}.parquet'}")
    with installed(file) as installation:
        log_rows(installation, days=2)
        train(installation)
        profiler = Profiler(installation=installation, clock=lambda: SWITCH + DAY)
        stored = "SELECT model_version FROM monitor.reference_history WHERE model_version IS NOT NULL"

        def settle() -> None:
            deadline = time.monotonic() + 60
            profiler.tick()
            while profiler.busy and time.monotonic() < deadline:
                time.sleep(0.05)
                profiler.tick()

        assert profiler.wanted
        answers(installation, "../7", since=SWITCH)
        settle()
        answers(installation, "8", since=SWITCH + timedelta(hours=1))
        settle()
        assert ask(installation, stored) == [], "there is no file yet"
        rows = tmp_path / "rows-8.parquet"
        rows.write_bytes(b"half of it")
        settle()
        assert "no training profile of version 8" in caplog.text
        n = 60 * 24
        at = pa.array([SWITCH - 60 * DAY + i * timedelta(hours=1) for i in range(n)], pa.timestamp("us", "UTC"))
        x = np.random.default_rng(3).normal(size=n)
        pq.write_table(pa.table({"at": at, "x": x, "p": np.clip(0.5 + 0.28 * x, 0.01, 0.99)}), rows)
        settle()
        assert ask(installation, stored) == ["8"]
        settle()
        assert ask(installation, stored) == ["8"], "once"


def test_a_training_set_that_is_too_old_is_advised_on_once_and_not_after_a_new_one(
    tmp_path: Path, database: Database
) -> None:
    file = write_config(tmp_path, database, more="retraining: {max_age: 2d}", rest=CHANNEL)
    with installed(file) as installation:
        log_rows(installation, days=18)
        train(installation)
        worker = Worker(installation=installation)
        worker.advance(FIRST + 2 * DAY + timedelta(hours=1))
        about = "SELECT state, why FROM monitor.recommendation_history WHERE action = 'RETRAIN'"
        assert ask(installation, about) == []
        worker.advance(FIRST + 6 * DAY)
        ((state, why),) = ask(installation, about)
        assert state == "open"
        assert "retraining.max_age is 2 days" in why
        told = "SELECT count(*) FROM monitor.notification WHERE reason = 'recommendation'"
        assert ask(installation, told) == [1]
        retrain(installation)  # of rows until SWITCH
        worker.advance(SWITCH + 2 * DAY + timedelta(hours=1))
        assert ask(installation, about)[0][0] == "superseded"
        assert ask(installation, told) == [1]
