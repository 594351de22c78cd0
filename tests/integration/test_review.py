"""The digest of a period: one for each local day, whatever is done to the clock, and what it says of alerts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.embedded import Database
from monitor.review import review
from monitor.worker import Worker
from tests.watched import MODEL, ask, installed, run, train, write_config

DAILY = """
channels: {ops: {type: webhook, url: "https://hooks.example.org/x"}}
alerts: {digest: {every: day, to: [ops]}}
"""
ROWS = """
    CREATE TABLE logged AS
    SELECT i::text AS id, CAST(:first AS timestamptz) + i * interval '1 hour' AS at, sin(i) AS x, 0.5 AS p
    FROM generate_series(0, 24 * 6) AS i
"""
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("zone", "first", "changed"),
    [
        ("Europe/Berlin", "2024-03-28T23:00+00:00", "2024-03-31"),  # 23 hours
        ("Europe/Berlin", "2024-10-24T22:00+00:00", "2024-10-27"),  # 25 hours
        ("Australia/Lord_Howe", "2024-04-04T13:00+00:00", "2024-04-07"),  # half an hour longer
        ("Africa/Cairo", "2024-04-23T22:00+00:00", "2024-04-26"),  # no midnight: the day begins at one
    ],
)
def test_every_local_day_has_one_digest_on_days_when_the_clock_is_moved_too(
    tmp_path: Path, database: Database, zone: str, first: str, changed: str
) -> None:
    file = write_config(tmp_path, database, rest=DAILY)
    text = (
        file.read_text().replace("timezone: UTC", f"timezone: {zone}").replace("from: 2013-04-01", "from: 2024-01-01")
    )
    file.write_text(text)
    start = datetime.fromisoformat(first).astimezone(UTC)
    with installed(file) as installation:
        run(installation, ROWS, first=start)
        train(installation)
        watched = installation.model(MODEL)
        run(installation, "UPDATE monitor.reference SET active_from = :first", first=start - timedelta(days=90))
        worker = Worker(installation=installation)
        for hour in range(6 * 24):
            now = start + hour * HOUR
            if hour % 6 == 0:
                worker.plan(now)
                while worker.work(now):
                    pass
            review(installation, watched, now=now)
            review(installation, watched, now=now)
        starts = ask(installation, "SELECT window_start FROM monitor.notification WHERE reason = 'digest'")
    days = [str(at.astimezone(watched.spec.zone).date()) for at in starts]
    assert len(days) == len(set(days))
    around = datetime.fromisoformat(changed)
    assert {str((around + timedelta(days=by)).date()) for by in (-1, 0, 1)} <= set(days)
