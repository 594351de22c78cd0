"""Reports that cannot be made: each is tried once, and none keeps the next from being made."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from monitor import episode, schema, store
from monitor.alert import Alert, AlertState
from monitor.check import Cause, Severity
from monitor.embedded import Database
from monitor.installation import Installation, load_config
from monitor.reporting import Reporter

DAY = timedelta(days=1)
OPENED = datetime(2013, 4, 23, tzinfo=UTC)

CONFIG = """
store: {{url: "{url}"}}
models:
  m:
    source: {{url: store, table: logged, time: at, id: id, features: {{x: numeric}}, prediction: {{score: p}}}}
    window: {{calendar: day}}
"""


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    file = tmp_path / "monitor.yaml"
    file.write_text(CONFIG.format(url=database.url))
    url = schema.database_url(database.url).render_as_string(False)
    installation = Installation(config=load_config(file, {}), url=url)
    yield installation
    installation.close()


def open_episode(installation: Installation) -> None:
    alert = Alert(
        key="ab" * 32,
        episode=1,
        model="m",
        family="quality:weather",
        severity=Severity.WARNING,
        state=AlertState.FIRING,
        cause=Cause.DATA,
        opened_at=OPENED + DAY,
        opened_window_start=OPENED,
        opened_window_end=OPENED + DAY,
    )
    with installation.engine.begin() as conn:
        episode.save_alerts(conn, [alert], at=OPENED + DAY)


def notes(installation: Installation) -> list[str | None]:
    with installation.engine.begin() as conn:
        return list(conn.scalars(sa.text("SELECT note FROM monitor.report ORDER BY created_at")))


def test_a_report_that_cannot_be_made_says_why_and_is_not_tried_again(installation: Installation) -> None:
    open_episode(installation)
    reporter = Reporter(installation=installation)
    assert reporter.make_next()
    assert not reporter.make_next()
    assert notes(installation) == ["m has no training profile; run `monitor profile m`."]


def test_a_fault_of_ours_ends_one_report_and_not_the_reporter(installation: Installation) -> None:
    open_episode(installation)
    with installation.engine.begin() as conn:
        store.save_reference(conn, model="m", body=b"damaged", active_from=OPENED, rows=1)
    reporter = Reporter(installation=installation)
    assert reporter.make_next()
    assert not reporter.make_next()
    assert [note is not None and "the log of the monitor says where" in note for note in notes(installation)] == [True]
