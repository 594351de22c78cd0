"""Rules of the metrics: names that Prometheus' own linter accepts, the newest results, and a bounded number of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from monitor import breaker, ledger, metrics, outbox, record, schema, store
from monitor.check import ColumnStatistics, Finding, Part, Severity, Verdict
from monitor.embedded import Database
from monitor.metrics import Metrics
from monitor.window import Window
from tests.peers import notification

DAY = timedelta(days=1)
FIRST = Window(start=datetime(2013, 4, 22, tzinfo=UTC), end=datetime(2013, 4, 23, tzinfo=UTC))
NOW = datetime(2013, 5, 1, tzinfo=UTC)


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    engine = schema.create_engine(database.url)
    yield engine
    engine.dispose()


def values(shown: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, in the order of their names."""
    families = text_string_to_metric_families(shown.text().decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def judged(conn: sa.Connection, window: Window, verdict: Verdict, *, effects: int = 1) -> None:
    ledger.materialise(conn, "m", "champion", "inputs", [window])
    run = ledger.claim(conn, "tester", now=NOW, lease=DAY)
    assert run is not None
    assert run.token is not None
    bad = Finding(check="drift", part=Part.INPUT, subject="temp", statistic="location", verdict=verdict)
    ok = Finding(check="drift", part=Part.INPUT, subject="wind", statistic="location", verdict=Verdict.OK)
    record.save_findings(conn, run, [bad, ok], evaluated_at=NOW)
    record.save_column_statistics(
        conn,
        run,
        [
            ColumnStatistics(
                column=f"f{i}", data_type="numeric", part=Part.INPUT, n_current=1, n_reference=1, effect=-i / 10
            )
            for i in range(effects)
        ],
    )
    ledger.finish(conn, run.run_id, run.token, rows_read=5)


def registered(conn: sa.Connection) -> None:
    store.register_model(conn, "m", config={}, config_hash="", code_version="", period=DAY, lag=timedelta(0))


@pytest.fixture
def full(engine: sa.Engine) -> Metrics:
    """Metrics of a store with something of everything in it."""
    with engine.begin() as conn:
        registered(conn)
        judged(conn, FIRST, Verdict.WARNING)
        outbox.put(conn, notification(model="m", severity=Severity.WARNING), ("ops",))
        for _ in range(2):
            breaker.note_failure(conn, "ops")
        sample = {"model": "m", "process": "m", "sampled_at": NOW, "rss_bytes": 1_000_000, "restarts": 2}
        store.save_resource_samples(conn, [sample])
    shown = Metrics(engine, clock=lambda: NOW, version="1.2.3")
    shown.observe_run("m", "inputs", seconds=0.2, rows=5)
    shown.observe_run("m", "inputs", seconds=0.2, failed=True)
    return shown


def test_the_newest_results_and_what_this_process_did_are_shown(full: Metrics) -> None:
    found = values(full)
    expected = {
        ("monitor_store_up",): 1,
        ("monitor_build_info", "1.2.3"): 1,
        ("monitor_verdict", "drift", "m"): 1,
        ("monitor_drift_effect", "f0", "m"): 0,
        ("monitor_light", "m"): -1,
        ("monitor_alerts_firing", "m", "critical"): 0,
        ("monitor_outbox_pending", "pending"): 1,
        ("monitor_channel_open", "ops"): 0,
        ("monitor_channel_failures", "ops"): 2,
        ("monitor_channel_waiting", "ops"): 1,
        ("monitor_channel_dead_letters", "ops"): 0,
        ("monitor_runs_due",): 0,
        ("monitor_rows_read_total", "m"): 5,
        ("monitor_runs_failed_total", "m"): 1,
        ("monitor_run_seconds_count", "m", "inputs"): 1,
        ("monitor_process_rss_bytes", "m", "m"): 1_000_000,
        ("monitor_process_restarts", "m", "m"): 2,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found[("monitor_outbox_oldest_seconds",)] >= 0
    assert abs(found[("monitor_last_success_timestamp_seconds", "m")] - datetime.now(UTC).timestamp()) < 600


@pytest.mark.needs("promtool")
def test_prometheus_own_linter_finds_nothing(full: Metrics) -> None:
    promtool = shutil.which("promtool") or "promtool"
    checked = subprocess.run([promtool, "check", "metrics"], input=full.text(), capture_output=True, check=False)
    assert (checked.returncode, checked.stderr.decode(), checked.stdout.decode()) == (0, "", "")


def test_only_the_last_window_speaks(engine: sa.Engine) -> None:
    with engine.begin() as conn:
        registered(conn)
        judged(conn, FIRST, Verdict.CRITICAL)
        judged(conn, Window(start=FIRST.end, end=FIRST.end + DAY), Verdict.OK)
    assert values(Metrics(engine, clock=lambda: NOW))[("monitor_verdict", "drift", "m")] == 0


def test_a_wide_model_shows_its_largest_effects_only(engine: sa.Engine) -> None:
    with engine.begin() as conn:
        registered(conn)
        judged(conn, FIRST, Verdict.OK, effects=metrics.MOST_FEATURES + 50)
    shown = {key[1] for key in values(Metrics(engine, clock=lambda: NOW)) if key[0] == "monitor_drift_effect"}
    assert shown == {f"f{i}" for i in range(50, metrics.MOST_FEATURES + 50)}


def test_two_registries_share_nothing(engine: sa.Engine) -> None:
    one, other = (Metrics(engine, clock=lambda: NOW) for _ in range(2))
    one.observe_run("m", "inputs", seconds=1, rows=7)
    assert ("monitor_rows_read_total", "m") in values(one)
    assert ("monitor_rows_read_total", "m") not in values(other)
