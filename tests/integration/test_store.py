"""Rules of the store: what is written comes back as it was, the newest revision is shown, nothing is dropped."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import sqlalchemy as sa

from monitor import ledger, record, retention, store, tables
from monitor.check import (
    Cause,
    ColumnStatistics,
    Finding,
    Part,
    Performance,
    ReferenceKind,
    Severity,
    ThresholdSource,
    Verdict,
)
from monitor.column import Layout, freeze_categorical, freeze_numeric
from monitor.copying import copy_rows
from monitor.disclosure import Disclosure, pseudonym
from monitor.ledger import Run
from monitor.profile import Profile
from monitor.source import Batch, CategoryValues, NumericValues, Values
from monitor.store import StoredTile
from monitor.window import Window

NOW = datetime(2013, 4, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def day(number: int) -> Window:
    start = datetime(2013, 3, 1, tzinfo=UTC) + (number - 1) * DAY
    return Window(start=start, end=start + DAY)


def begun(conn: sa.Connection, window: Window, *, part: str = "inputs") -> Run:
    """A run of a window as the evaluation has it in hand."""
    ledger.materialise(conn, "m", "champion", part, [window])
    run = ledger.claim(conn, "tester", now=NOW, lease=DAY)
    assert run is not None
    return replace(run, reference_id="r", config_hash="c", code_version="1", model_version="v1")


def done(conn: sa.Connection, run: Run) -> None:
    assert run.token is not None
    ledger.finish(conn, run.run_id, run.token)


def finding(**changes: Any) -> Finding:
    values: dict[str, Any] = {
        "check": "drift",
        "part": Part.INPUT,
        "subject": "temp",
        "statistic": "location",
        "verdict": Verdict.WARNING,
        "family": "feature:temp",
        "threshold_source": ThresholdSource.BUDGET,
        "value": 1.25,
        "severity": Severity.INFO,
        "cause": Cause.DRIFT,
        "impact_cost": 12.5,
        "began_at": NOW,
        "n_current": 900,
        "direction": -1,
        "details": {"slots": [1, 2]},
    }
    return Finding(**{**values, **changes})


def rows(conn: sa.Connection, statement: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in conn.execute(sa.text(statement))]


# --- findings and revisions ---


def test_a_finding_is_in_the_history_with_who_when_and_why(conn: sa.Connection) -> None:
    run = begun(conn, day(1))
    assert record.save_findings(conn, run, [finding(slice={"origin": "JFK"})], evaluated_at=NOW) == 1
    assert run.token is not None
    ledger.finish(conn, run.run_id, run.token, reference_id="r", config_hash="c", code_version="1")
    row = conn.execute(sa.text("SELECT * FROM monitor.finding_history")).mappings().one()
    assert dict(row) | {
        "run_id": run.run_id,
        "model": "m",
        "model_version": "v1",
        "role": "champion",
        "slice": {"origin": "JFK"},
        "window_start": day(1).start,
        "window_end": day(1).end,
        "revision": 1,
        "check_name": "drift",
        "part": "input",
        "subject": "temp",
        "statistic": "location",
        "reference_kind": "training",
        "value": 1.25,
        "threshold": None,
        "threshold_source": "budget",
        "verdict": "warning",
        "severity": "info",
        "impact_cost": 12.5,
        "began_at": NOW,
        "n_current": 900,
        "reference_id": "r",
        "config_hash": "c",
        "code_version": "1",
        "evaluated_at": NOW,
    } == dict(row)
    assert rows(conn, "SELECT extras FROM monitor.finding") == [
        ({"family": "feature:temp", "cause": "drift", "direction": -1, "details": {"slots": [1, 2]}},)
    ]


def test_the_history_says_in_which_windows_a_change_may_have_begun_and_what_moved(conn: sa.Connection) -> None:
    began = {"at": NOW.isoformat(), "earliest": None, "latest": NOW.isoformat()}
    told = finding(details={"began": began, "moved": "sudden"})
    record.save_findings(conn, begun(conn, day(1)), [told, finding(subject="dewp", began_at=None)], evaluated_at=NOW)
    assert rows(
        conn, "SELECT subject, began_earliest, began_latest, moved FROM monitor.finding_history ORDER BY subject"
    ) == [("dewp", None, None, None), ("temp", None, NOW, "sudden")]


def test_every_field_of_a_finding_is_stored(conn: sa.Connection) -> None:
    """A field that the core adds must get a column, or a place among the extras: `copy_rows` refuses it otherwise."""
    assert set(record.FINDING_COLUMNS) <= set(tables.finding.c.keys())
    record.save_findings(conn, begun(conn, day(1)), [finding()], evaluated_at=NOW)


def test_the_same_judgement_twice_in_one_run_is_refused(conn: sa.Connection) -> None:
    run = begun(conn, day(1))
    with pytest.raises(sa.exc.IntegrityError):
        record.save_findings(conn, run, [finding(), finding(value=2.0)], evaluated_at=NOW)


def test_two_slices_and_two_references_are_two_judgements(conn: sa.Connection) -> None:
    run = begun(conn, day(1))
    both = [finding(), finding(reference_kind=ReferenceKind.SEASON)]
    record.save_findings(conn, run, both, evaluated_at=NOW)
    record.save_findings(conn, run, [replace(one, slice={"origin": "JFK"}) for one in both], evaluated_at=NOW)
    assert rows(conn, "SELECT count(*) FROM monitor.finding_history") == [(4,)]


def test_a_new_revision_replaces_the_old_one_once_it_is_done(conn: sa.Connection) -> None:
    first = begun(conn, day(1))
    record.save_findings(conn, first, [finding(value=1.0), finding(subject="dewp")], evaluated_at=NOW)
    done(conn, first)
    ledger.revise(conn, "m", "champion", "inputs", [day(1)], due_at=NOW, reason="late rows")
    second = ledger.claim(conn, "tester", now=NOW, lease=DAY)
    assert second is not None
    history = "SELECT subject, value, revision FROM monitor.finding_history ORDER BY subject"
    assert rows(conn, history) == [("dewp", 1.25, 1), ("temp", 1.0, 1)]
    record.save_findings(conn, second, [finding(value=2.0)], evaluated_at=NOW)
    done(conn, second)
    assert rows(conn, history) == [("temp", 2.0, 2)]
    assert rows(conn, "SELECT count(*) FROM monitor.finding_history_revisions") == [(3,)]


def test_revisions_of_inputs_and_outcomes_do_not_hide_each_other(conn: sa.Connection) -> None:
    for part in ("inputs", "outcomes"):
        run = begun(conn, day(1), part=part)
        record.save_findings(conn, run, [finding(check=part)], evaluated_at=NOW)
        done(conn, run)
    ledger.revise(conn, "m", "champion", "outcomes", [day(1)], due_at=NOW, reason="late labels")
    again = ledger.claim(conn, "tester", now=NOW, lease=DAY)
    assert again is not None
    record.save_findings(conn, again, [finding(check="outcomes", value=3.0)], evaluated_at=NOW)
    done(conn, again)
    shown = rows(conn, "SELECT check_name, value, revision FROM monitor.finding_history ORDER BY check_name")
    assert shown == [("inputs", 1.25, 1), ("outcomes", 3.0, 2)]


def test_strange_texts_and_numbers_are_stored_and_seen(conn: sa.Connection) -> None:
    strange = finding(
        subject="a\x00b",
        message="half \ud800 pair",
        value=math.nan,
        effect=math.inf,
        p_value=np.float64(0.25),
        n_current=np.int64(7),
        details={"share": math.nan, "name\x00": "\udfff", "array": np.array([1.5, -math.inf])},
    )
    record.save_findings(conn, begun(conn, day(1)), [strange], evaluated_at=NOW)
    [(subject, message, effect, p_value, n_current, extras)] = rows(
        conn, "SELECT subject, message, effect, p_value, n_current, extras FROM monitor.finding"
    )
    assert (subject, message, effect, p_value, n_current) == (
        "a\ufffdb",
        "half \ufffd pair",
        math.inf,
        0.25,
        7,
    )
    assert extras["details"] == {"share": "NaN", "name\ufffd": "\ufffd", "array": [1.5, "-Infinity"]}
    assert rows(conn, "SELECT value = 'NaN' FROM monitor.finding") == [(True,)]


def test_a_word_that_is_no_verdict_is_refused(conn: sa.Connection) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="ck_finding_verdict"):
        record.save_findings(conn, begun(conn, day(1)), [finding(verdict="fine")], evaluated_at=NOW)


def test_a_column_that_a_table_does_not_have_is_refused(conn: sa.Connection) -> None:
    with pytest.raises(TypeError, match=r"has no column rss; it has model, "):
        copy_rows(conn, tables.resource_sample, [{"model": "m", "rss": 3}])


def test_rows_with_different_columns_are_refused(conn: sa.Connection) -> None:
    with pytest.raises(TypeError, match="differ in their columns"):
        copy_rows(conn, tables.resource_sample, [{"model": "m", "process": "p"}, {"model": "m"}])


# --- distances, profiles, performance ---


def test_distances_are_stored_wide_and_read_long_with_their_configured_threshold(conn: sa.Connection) -> None:
    run = begun(conn, day(1))
    statistics = ColumnStatistics(
        column="temp",
        data_type="numeric",
        part=Part.INPUT,
        n_current=900,
        n_reference=40_000,
        population_stability_index=0.31,
        mean_delta=-4.5,
        verdict=Verdict.WARNING,
    )
    thresholds = {"temp": {"population_stability_index": 0.25}}
    assert record.save_column_statistics(conn, run, [statistics], thresholds=thresholds) == 1
    wide = "SELECT column_name, population_stability_index, ks_statistic, reference_kind FROM monitor.drift_metrics"
    assert rows(conn, wide) == [("temp", 0.31, None, "training")]
    long = "SELECT feature, statistic, value, threshold, verdict FROM monitor.drift_history ORDER BY statistic"
    assert rows(conn, long) == [
        ("temp", "mean_delta", -4.5, None, "warning"),
        ("temp", "population_stability_index", 0.31, 0.25, "warning"),
    ]


def numbers(values: list[float]) -> NumericValues:
    array = np.array(values, np.float64)
    return NumericValues(values=array, missing=np.isnan(array))


def names(values: list[str]) -> CategoryValues:
    known = sorted(set(values))
    return CategoryValues(codes=np.array([known.index(name) for name in values], np.int32), categories=known)


def some_profile(temp: list[float], carrier: list[str]) -> Profile:
    trained = numbers(list(np.linspace(0, 100, 500))), names(["UA"] * 300 + ["AA"] * 200)
    layout = Layout((freeze_numeric("temp", trained[0]), freeze_categorical("carrier", trained[1])))
    columns: dict[str, Values] = {"temp": numbers(temp), "carrier": names(carrier)}
    return Profile.of(layout, Batch(rows=len(temp), time=np.zeros(len(temp), np.int64), columns=columns))


def test_a_profile_is_shown_in_figures(conn: sa.Connection) -> None:
    profile = some_profile([0.0, 10.0, 20.0, math.nan], ["UA", "UA", "AA", "ZZ"])
    shown = Disclosure(listed={"carrier": ["UA", "AA"]})
    assert record.save_column_profiles(conn, begun(conn, day(1)), profile, shown) == 2
    query = (
        "SELECT row_count, num_nulls, percent_null, percent_zeros, avg, min, max, (quantiles ->> '0.5')::float8"
        " FROM monitor.profile_metrics WHERE column_name = 'temp'"
    )
    [(*figures, median)] = rows(conn, query)
    assert figures == [4, 1, 25.0, 25.0, 10.0, 0.0, 20.0]
    assert median == pytest.approx(10, rel=0.03)
    query = "SELECT frequent_items, new_count, avg FROM monitor.profile_metrics WHERE column_name = 'carrier'"
    assert rows(conn, query) == [({"UA": 2, "AA": 1, pseudonym("carrier", "ZZ"): 1}, 1, None)]


def test_a_column_without_a_single_value_has_no_figures(conn: sa.Connection) -> None:
    profile = some_profile([math.nan], ["UA"])
    record.save_column_profiles(conn, begun(conn, day(1)), profile, Disclosure())
    query = "SELECT num_nulls, avg, min, quantiles FROM monitor.profile_metrics WHERE column_name = 'temp'"
    assert rows(conn, query) == [(1, None, None, None)]


def test_performance_is_stored_with_the_labels_behind_it(conn: sa.Connection) -> None:
    run = begun(conn, day(1), part="outcomes")
    metrics = [Performance(metric="auc", value=0.7, reference_value=0.74), Performance(metric="log_loss", value=None)]
    record.save_performance(
        conn, run, metrics, label_coverage=0.97, label_delay_p50=timedelta(hours=3), matured=880, currency="USD"
    )
    query = "SELECT metric, basis, value, label_delay_p50, matured FROM monitor.performance_history ORDER BY metric"
    assert rows(conn, query) == [
        ("auc", "realised", 0.7, timedelta(hours=3), 880),
        ("log_loss", "realised", None, timedelta(hours=3), 880),
    ]


# --- training profiles ---


def test_a_training_profile_is_addressed_by_its_content_and_in_force_until_the_next(conn: sa.Connection) -> None:
    first = store.save_reference(conn, model="m", body=b"one", active_from=day(1).start, rows=10, sample=b"s")
    second = store.save_reference(conn, model="m", body=b"two", active_from=day(10).start, rows=20, golden=b"g")
    assert len(first) == 64

    def in_force(window: Window) -> str | None:
        found = store.load_reference(conn, "m", at=window.start)
        return None if found is None else found.reference_id

    assert [in_force(day(number)) for number in (1, 9, 10, 20)] == [first, first, second, second]
    assert in_force(day(-5)) == first
    assert store.load_reference(conn, "other", at=NOW) is None
    assert store.load_sample(conn, first) == (b"s", None)
    assert store.load_sample(conn, second) == (None, b"g")


def test_a_training_profile_that_is_stored_again_stays_one(conn: sa.Connection) -> None:
    arguments: dict[str, Any] = {"model": "m", "body": b"one", "active_from": day(1).start, "rows": 10}
    assert store.save_reference(conn, **arguments) == store.save_reference(conn, **arguments)
    assert rows(conn, "SELECT count(*), count(active_until) FROM monitor.reference_history") == [(1, 0)]


def test_going_back_to_an_older_training_profile_puts_it_in_force_again(conn: sa.Connection) -> None:
    first = store.save_reference(conn, model="m", body=b"one", active_from=day(1).start, rows=10)
    store.save_reference(conn, model="m", body=b"two", active_from=day(10).start, rows=10)
    store.save_reference(conn, model="m", body=b"one", active_from=day(20).start, rows=10)
    found = store.load_reference(conn, "m", at=day(25).start)
    assert found is not None
    assert found.reference_id == first


# --- tiles ---


def tile(hour: int, **changes: Any) -> StoredTile:
    start = day(1).start + hour * timedelta(hours=1)
    values: dict[str, Any] = {
        "model": "m",
        "part": "inputs",
        "reference_id": "r",
        "start": start,
        "end": start + timedelta(hours=1),
        "body": b"profile",
        "fingerprint_count": 10,
        "fingerprint_sum": 2**64 + hour,
    }
    return StoredTile(**{**values, **changes})


def load(conn: sa.Connection, **changes: Any) -> list[StoredTile]:
    values: dict[str, Any] = {
        "model": "m",
        "role": "champion",
        "part": "inputs",
        "reference_id": "r",
        "start": day(1).start,
        "end": day(1).end,
    }
    return store.load_tiles(conn, **{**values, **changes})


def test_tiles_come_back_in_order_and_only_those_asked_for(conn: sa.Connection) -> None:
    mine = [tile(0), tile(1), tile(23)]
    others = [
        tile(24),
        tile(-1),
        tile(1, part="outcomes"),
        tile(1, role="shadow"),
        tile(1, reference_id="s"),
        tile(1, slice={"origin": "JFK"}),
    ]
    store.save_tiles(conn, [*reversed(mine), *others])
    assert load(conn) == mine
    assert load(conn, slice_={"origin": "JFK"}) == [others[-1]]
    assert load(conn, slice_=None) != mine


def test_a_tile_that_changed_is_replaced_and_counts_its_revision_up(conn: sa.Connection) -> None:
    store.save_tiles(conn, [tile(1)])
    store.save_tiles(conn, [tile(1)])
    assert [kept.revision for kept in load(conn)] == [1]
    changed = tile(1, body=b"new", fingerprint_sum=7)
    store.save_tiles(conn, [changed])
    assert load(conn) == [replace(changed, revision=2)]


# --- memory ---


def test_a_check_gets_back_what_it_remembered_after_the_window_before(conn: sa.Connection) -> None:
    for number in (1, 2, 3):
        run = begun(conn, day(number))
        store.save_memories(conn, run, {"drift": {"window": number, "sum": math.nan}, "sudden": [number, 1e-300]})
        done(conn, run)

    def before(number: int, **changes: Any) -> dict[str, Any]:
        arguments = {"model": "m", "role": "champion", "part": "inputs", "before": day(number).start}
        return store.load_memories(conn, **{**arguments, **changes})

    assert before(1) == {}
    assert before(3)["sudden"] == [2, 1e-300]
    assert before(9)["drift"]["window"] == 3
    assert math.isnan(before(9)["drift"]["sum"])
    assert before(9, part="outcomes") == {}
    assert before(9, slice_={"origin": "JFK"}) == {}


def test_a_window_judged_again_is_remembered_by_its_newest_revision(conn: sa.Connection) -> None:
    run = begun(conn, day(1))
    store.save_memories(conn, run, {"drift": "first"})
    store.save_memories(conn, replace(run, revision=2), {"drift": "second"})
    arguments = {"model": "m", "role": "champion", "part": "inputs"}
    assert store.load_memories(conn, **arguments, before=day(2).start) == {"drift": "second"}  # type: ignore[arg-type]  # str


def test_only_the_newest_windows_are_remembered_and_a_backfill_keeps_its_own(conn: sa.Connection) -> None:
    for number in (5, 6, 7, 1):
        run = begun(conn, day(number))
        store.save_memories(conn, run, {"drift": number}, keep=2)
        done(conn, run)
    kept = rows(conn, "SELECT window_start FROM monitor.detector_memory ORDER BY 1")
    assert kept == [(day(1).start,), (day(6).start,), (day(7).start,)]


# --- models and samples ---


def test_a_model_is_registered_with_its_newest_configuration_and_removed_when_it_is_gone(conn: sa.Connection) -> None:
    for currency in ("USD", "EUR"):
        store.register_model(conn, "m", config={"lag": "15m"}, config_hash="c", code_version="1", currency=currency)
    assert rows(conn, "SELECT model, light, currency FROM monitor.model_status") == [("m", "grey", "EUR")]
    assert store.remove_models(conn, known=["other"]) == ["m"]
    assert store.remove_models(conn, known=["other"]) == []
    assert rows(conn, "SELECT model FROM monitor.model_status") == []


def test_samples_of_a_process_come_back_oldest_first(conn: sa.Connection) -> None:
    sample = {"model": "m", "process": "serve", "pid": 7, "rss_bytes": 2**40, "time_to_limit": timedelta(hours=5)}
    store.save_resource_samples(conn, [sample | {"sampled_at": NOW + hours * DAY} for hours in (2, 0, 1)])
    found = store.recent_resource_samples(conn, "m", since=NOW + DAY)
    assert [row["sampled_at"] for row in found] == [NOW + DAY, NOW + 2 * DAY]
    assert found[0]["time_to_limit"] == timedelta(hours=5)
    assert store.recent_resource_samples(conn, "m", since=NOW, process="other") == []
    assert rows(conn, "SELECT count(*), max(rss_bytes) FROM monitor.resource_history") == [(3, 2**40)]


# --- partitions and retention ---


def partitions(conn: sa.Connection, table: str) -> list[str]:
    query = sa.text(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = ('monitor.' || :table)::regclass ORDER BY 1"
    )
    return list(conn.scalars(query, {"table": table}))


def test_partitions_are_made_ahead_once(conn: sa.Connection) -> None:
    assert retention.ensure_partitions(conn, NOW) > 0
    assert retention.ensure_partitions(conn, NOW) == 0
    assert partitions(conn, "finding") == ["finding_2013_04", "finding_2013_05", "finding_default"]
    assert "prediction_log_2013_04_02" in partitions(conn, "prediction_log")
    assert retention.ensure_partitions(conn, NOW + DAY) == 3


def test_every_partitioned_table_gets_its_partitions(conn: sa.Connection) -> None:
    retention.ensure_partitions(conn, NOW)
    for table in tables.PARTITIONED:
        assert len(partitions(conn, table)) > 1, table
    assert {table for group in retention.PARTITIONED.values() for table in group} == set(tables.PARTITIONED)


def test_rows_that_came_before_their_partition_move_into_it(conn: sa.Connection) -> None:
    record.save_findings(conn, begun(conn, day(1)), [finding()], evaluated_at=NOW)
    conn.execute(sa.text("INSERT INTO monitor.prediction_log (request_id, model) VALUES ('a', 'm'), ('b', 'm')"))
    today = conn.scalar(sa.text("SELECT now()"))
    assert today is not None
    retention.ensure_months(conn, day(1).start, day(1).end)
    retention.ensure_partitions(conn, today)
    assert rows(conn, "SELECT tableoid::regclass::text FROM monitor.finding") == [("monitor.finding_2013_03",)]
    moved = rows(conn, "SELECT id, request_id, tableoid::regclass::text FROM monitor.prediction_log ORDER BY id")
    name = f"monitor.prediction_log_{today:%Y_%m_%d}"
    assert moved == [(1, "a", name), (2, "b", name)]
    conn.execute(sa.text("INSERT INTO monitor.prediction_log (request_id, model) VALUES ('c', 'm')"))
    assert rows(conn, "SELECT max(id) FROM monitor.prediction_log") == [(3,)]


def test_a_partition_is_cut_in_utc_whatever_the_time_zone_of_the_session(conn: sa.Connection) -> None:
    conn.execute(sa.text("SELECT set_config('TimeZone', 'Pacific/Auckland', true)"))
    retention.ensure_months(conn, day(1).start, day(1).end)
    [(bounds,)] = rows(
        conn,
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = 'monitor.finding_2013_03'::regclass",
    )
    assert "2013-03-01 13:00:00+13" in bounds
    assert "2013-04-01 13:00:00+13" in bounds


def test_what_is_older_than_the_retention_goes_and_nothing_else(conn: sa.Connection) -> None:
    for number in (1, 30, 70):
        run = begun(conn, day(number)) if number < 40 else replace(begun(conn, day(31)), window=day(number))
        record.save_findings(conn, run, [finding()], evaluated_at=NOW)
        done(conn, run)
    retention.ensure_months(conn, day(1).start, day(35).end)
    now = day(31).end + DAY
    assert retention.forget(conn, now, {"findings": timedelta(days=0)})["findings"] >= 2
    assert partitions(conn, "finding") == ["finding_2013_04", "finding_default"]
    assert rows(conn, "SELECT window_start FROM monitor.finding") == [(day(70).start,)]


def test_what_is_open_or_unsent_is_kept_however_old(conn: sa.Connection) -> None:
    conn.execute(
        sa.text(
            "INSERT INTO monitor.alert (alert_key, model, role, family, severity, state, updated_at)"
            " VALUES ('open', 'm', 'champion', 'score', 'warning', 'firing', :old),"
            " ('over', 'm', 'champion', 'score', 'warning', 'resolved', :old)"
        ),
        {"old": NOW - 1000 * DAY},
    )
    for name, state in (("sent", "sent"), ("unsent", "pending"), ("dead", "dead")):
        identity = uuid4()
        conn.execute(
            sa.text(
                "INSERT INTO monitor.notification (notification_id, model, reason, severity, group_key, subject_line,"
                " created_at) VALUES (:id, 'm', 'first', 'warning', 'g', :name, :old)"
            ),
            {"id": identity, "name": name, "old": NOW - 1000 * DAY},
        )
        conn.execute(
            sa.text(
                "INSERT INTO monitor.delivery (notification_id, channel, group_key, state)"
                " VALUES (:id, 'ops', 'g', :state)"
            ),
            {"id": identity, "state": state},
        )
    retention.forget(conn, NOW, {"findings": 100 * DAY})
    assert rows(conn, "SELECT alert_key FROM monitor.alert") == [("open",)]
    assert rows(conn, "SELECT subject_line FROM monitor.notification ORDER BY 1") == [("dead",), ("unsent",)]


def test_a_setting_of_retention_that_does_not_exist_is_refused(conn: sa.Connection) -> None:
    with pytest.raises(ValueError, match="There is nothing called profiles to forget"):
        retention.forget(conn, NOW, {"profiles": DAY})
