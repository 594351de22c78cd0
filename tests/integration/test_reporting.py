"""Reports that cannot be made: each is tried once, and none keeps the next from being made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from litestar.testing import TestClient

from monitor import episode, history, schema, store
from monitor.alert import Alert, AlertState
from monitor.check import Cause, Severity
from monitor.embedded import Database
from monitor.health import Health
from monitor.installation import Installation, load_config
from monitor.reporting import Reporter
from monitor.web import create_app

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


def test_every_episode_about_rows_is_reported_whatever_its_cause_and_none_about_processes(
    installation: Installation,
) -> None:
    open_episode(installation)
    told: list[tuple[str, Cause | None]] = [("outcome", Cause.CONCEPT), ("leakage", Cause.RELEASE), ("mine", None)]
    told += [("resource:serve", Cause.RESOURCE), ("pipeline:evaluation", Cause.PIPELINE), ("crowd", None)]
    with installation.engine.begin() as conn:
        [first] = episode.load_alerts(conn, "m").values()
        more = [replace(first, key=f"{i:064x}", family=family, cause=cause) for i, (family, cause) in enumerate(told)]
        episode.save_alerts(conn, more, at=OPENED + DAY)
    reporter = Reporter(installation=installation)
    while reporter.make_next():
        pass
    with installation.engine.begin() as conn:
        reported = sa.text("SELECT family FROM monitor.report JOIN monitor.alert USING (alert_key) ORDER BY family")
        assert list(conn.scalars(reported)) == ["leakage", "mine", "outcome", "quality:weather"]


def test_the_link_of_a_message_leads_to_the_report_or_says_why_there_is_none(installation: Installation) -> None:
    open_episode(installation)
    with TestClient(
        create_app(installation, clock=lambda: OPENED + DAY, health=Health), base_url="http://127.0.0.1"
    ) as client:
        early = client.get(f"/alerts/{'ab' * 32}/report")
        assert (early.status_code, "is not made yet" in early.text) == (404, True)
        Reporter(installation=installation).make_next()
        failed = client.get(f"/alerts/{'ab' * 32}/report")
        assert (failed.status_code, "m has no training profile" in failed.text) == (404, True)
        with installation.engine.begin() as conn:
            made = history.save_report(
                conn,
                model="m",
                window_start=OPENED,
                window_end=OPENED + DAY,
                created_at=OPENED + 2 * DAY,
                body=b"<html>columns</html>",
                alert_key="ab" * 32,
                episode=1,
                note="x is left out: it has no value in this window.",
            )
        answer = client.get(f"/alerts/{'ab' * 32}/report")
        assert (answer.url.path, answer.text) == (f"/reports/{made}", "<html>columns</html>")
        page = client.get(f"/alerts/{'ab' * 32}").text
    assert f'href="/reports/{made}"' in page
    assert "x is left out: it has no value in this window." in page
    assert "No report of" in page
