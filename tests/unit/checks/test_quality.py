"""Data quality: what is told at once, what is told once, what is ordinary."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from monitor.check import Finding, Judgement, Severity, Verdict, checks
from monitor.checks.quality import Quality
from monitor.habit import usual_shares
from monitor.profile import Profile
from monitor.reference import Reference
from monitor.source import ColumnFault, NumericValues, Reading
from tests.unit.checks.stream import (
    SPEC,
    Change,
    bad,
    batch_of,
    day_rows,
    profile_of,
    reference,
    run,
    window_of,
)


def on(change: Change | None = None, day: int = 56, **more: Any) -> Judgement:
    return next(run(Quality(), "quality", range(day, day + 1), change, **more))[1]


def about(judgement: Judgement, subject: str, statistic: str | None = None) -> Finding:
    found = [f for f in judgement.findings if f.subject == subject and statistic in (None, f.statistic)]
    assert len(found) == 1, found
    return found[0]


def without(column: str, share: float) -> Change:
    def change(values: dict[str, Any]) -> None:
        rows = round(share * len(values[column]))
        values[column] = values[column].copy()
        values[column][:rows] = None if values[column].dtype == object else np.nan

    return change


def test_ordinary_days_have_no_faults() -> None:
    faults = [(day, f.subject) for day, j in run(Quality(), "quality", range(56, 84)) for f in bad(j)]
    assert len(faults) <= 1, faults


@pytest.mark.parametrize("column", ["temp", "colour"])
@pytest.mark.parametrize(
    ("share", "verdict"), [(0.1, Verdict.OK), (0.3, Verdict.WARNING), (0.6, Verdict.CRITICAL), (1.0, Verdict.CRITICAL)]
)
def test_missing_values_are_told_from_fifteen_points_and_half_of_them_at_once(
    column: str, share: float, verdict: Verdict
) -> None:
    finding = about(on(without(column, share)), column, "missing")
    assert finding.verdict is verdict
    assert finding.value == pytest.approx(share, abs=0.01)
    assert finding.family == ("quality:meter" if column == "temp" else "quality:shop")
    if share == 0.3:
        assert finding.message == (
            f"{column}: 30% of 600 rows are missing (180 NULL); training had 0.0%, flagged above 15%"
        )


def gappy(share: float, worst: float) -> Any:
    """Return a reference in which ``temp`` is usually missing in a share of rows, on one day in the worst."""
    trained = reference()
    profiles = [
        profile_of(trained, day, without("temp", worst if day == 30 else share), seed=1)
        for day in range(len(trained.windows))
    ]
    return replace(trained, profiles=tuple(profiles), source=f"gappy {share} {worst}")


def test_the_gate_lies_above_the_usual_share_not_at_a_fixed_level() -> None:
    """With a fixed level of 15 % a source that always misses a fifth would alarm every day."""
    trained = gappy(0.2, 0.25)
    assert about(on(without("temp", 0.22), trained=trained), "temp", "missing").verdict is Verdict.OK
    assert about(on(without("temp", 0.30), trained=trained), "temp", "missing").verdict is Verdict.OK
    assert about(on(without("temp", 0.40), trained=trained), "temp", "missing").verdict is Verdict.WARNING


def test_a_day_a_little_worse_than_the_worst_of_training_is_not_critical_but_a_total_loss_is() -> None:
    trained = gappy(0.1, 0.7)
    worst = usual_shares(trained).missing["temp"].largest
    assert worst == pytest.approx(0.7, abs=0.01)
    assert about(on(without("temp", 0.72), trained=trained), "temp", "missing").verdict is not Verdict.CRITICAL
    assert about(on(without("temp", 1.0), trained=trained), "temp", "missing").verdict is Verdict.CRITICAL


def test_text_among_numbers_is_counted_not_fatal() -> None:
    trained = reference()
    batch = batch_of([day_rows(56, 600, 2)])
    broken = np.zeros(600, np.bool_)
    broken[:60] = True
    plain = batch.columns["plain"]
    assert isinstance(plain, NumericValues)
    values = np.where(broken, np.nan, plain.values)
    columns = {
        **batch.columns,
        "plain": NumericValues(values=values, missing=np.zeros(600, np.bool_), unparseable=broken),
    }
    profile = Profile.of(trained.layout, replace(batch, columns=columns))
    finding = about(on(profiles={56: profile}), "plain", "unparseable")
    assert (finding.verdict, finding.severity) == (Verdict.WARNING, Severity.INFO)
    assert finding.message == "plain: 60 of 600 rows hold text that is no number"


def test_each_new_value_is_told_once() -> None:
    def change(values: dict[str, Any]) -> None:
        values["colour"] = values["colour"].copy()
        values["colour"][:5] = "mauve"

    told = [
        (day, f.message)
        for day, j in run(Quality(), "quality", range(56, 60), change)
        for f in bad(j)
        if "never seen" in f.message
    ]
    assert told == [(56, "colour: 1 value never seen before in 5 of 600 rows: 'cat#5910'")]


def test_many_rows_of_new_values_are_a_warning_at_once() -> None:
    def change(values: dict[str, Any]) -> None:
        values["colour"] = values["colour"].copy()
        values["colour"][:200] = [f"c{i % 9}" for i in range(200)]

    finding = about(on(change), "colour", "new values")
    assert (finding.verdict, finding.severity) == (Verdict.CRITICAL, Severity.WARNING)
    assert finding.message.endswith("and 4 more")
    assert len(finding.details["values"]) == 9


def test_columns_that_vanish_or_change_type_are_critical() -> None:
    faults = (
        ColumnFault(column="temp", problem="missing", message="column temp is gone from shop.log; restore it"),
        ColumnFault(column="size", problem="type", message="column size is integer, training had text"),
    )
    judged = dict(run(Quality(), "quality", range(56, 58), readings={56: Reading(faults=faults)}))
    finding = about(judged[56], "schema")
    assert (finding.verdict, finding.severity, finding.family) == (Verdict.CRITICAL, Severity.CRITICAL, "schema")
    assert "temp is gone" in finding.message
    assert "size is integer" in finding.message
    assert about(judged[57], "schema").verdict is Verdict.OK


def test_no_data_is_critical() -> None:
    finding = about(on(profiles={56: Profile.empty(reference().layout)}), "volume")
    assert (finding.verdict, finding.severity, finding.direction) == (Verdict.CRITICAL, Severity.CRITICAL, -1)
    assert finding.message == "no data: not one row in Mon 27 May 2024, about 600 were expected"


def test_an_empty_holiday_is_judged_by_the_holidays_of_training() -> None:
    trained, empty = reference(), Profile.empty(reference().layout)
    keep = [i for i in range(56) if i not in (10, 20, 30)]
    closed = replace(
        trained,
        windows=tuple(trained.windows[i] for i in keep),
        profiles=tuple(trained.profiles[i] for i in keep),
        source="closed on three feasts",
    )

    def judged(known: Reference, *feasts: int) -> Finding:
        dates = frozenset(window_of(day).start.date().isoformat() for day in (57, *feasts))
        return about(on(day=57, trained=known, profiles={57: empty}, holidays=dates), "volume")

    assert judged(closed, 10, 20, 30).verdict is Verdict.OK
    assert judged(trained, 10, 20, 30).verdict is Verdict.CRITICAL
    unknown = judged(closed)
    assert (unknown.verdict, unknown.reason) == (Verdict.INCONCLUSIVE, "unknown slot, not compared")


def test_an_empty_window_is_ordinary_where_training_had_empty_ones_too() -> None:
    trained = reference()
    keep = [i for i, window in enumerate(trained.windows) if SPEC.slot(window) != 6]
    workdays = replace(
        trained,
        windows=tuple(trained.windows[i] for i in keep),
        profiles=tuple(trained.profiles[i] for i in keep),
        source="no sundays",
    )
    sunday, monday = 62, 63
    empty = Profile.empty(trained.layout)
    for day, verdict in ((sunday, Verdict.OK), (monday, Verdict.CRITICAL)):
        judgement = on(day=day, trained=workdays, profiles={day: empty})
        assert about(judgement, "volume").verdict is verdict


@pytest.mark.parametrize(
    ("rows", "verdict", "severity"),
    [(600, "ok", "info"), (450, "warning", "info"), (60, "warning", "warning"), (3000, "warning", "info")],
)
def test_volume_is_a_message_only_when_it_collapses(rows: int, verdict: str, severity: str) -> None:
    finding = about(on(rows=rows), "volume")
    assert (finding.verdict.value, finding.severity.value) == (verdict, severity)


def test_a_feature_that_leaves_its_clock_is_found_on_the_first_day() -> None:
    def stuck(values: dict[str, Any]) -> None:
        values["weekday"] = np.full(len(values["weekday"]), "Mon", object)

    def shifted(values: dict[str, Any]) -> None:
        values["hour"] = (values["hour"] + 5) % 24

    monday, tuesday = on(stuck, day=56), on(stuck, day=57)
    assert about(monday, "weekday", "off the clock").verdict is Verdict.OK
    assert about(tuesday, "weekday", "off the clock").verdict is Verdict.CRITICAL
    finding = about(on(shifted), "hour", "off the clock")
    assert finding.verdict is Verdict.CRITICAL
    assert "another time zone" in finding.message


def test_rows_that_stop_early_are_told_once_the_usual_gap_is_known() -> None:
    def reading(day: int, hours: float) -> Reading:
        return Reading(rows=600, last_row_at=window_of(day).end - timedelta(hours=hours))

    odd = {57: 8, 70: 9, 75: 20, 77: 22}
    readings = {day: reading(day, odd.get(day, 1 + day % 3)) for day in range(56, 80)}
    judged = dict(run(Quality(), "quality", range(56, 80), readings=readings))
    stopped = {day: about(j, "freshness").verdict for day, j in judged.items()}
    assert [day for day, verdict in stopped.items() if verdict is Verdict.WARNING] == [75, 77]
    message = about(judged[75], "freshness").message
    assert message.startswith("rows stop at 15 Jun 04:00")
    assert message.endswith("never missed more than 38%")


def test_repeated_skewed_untimed_and_late_rows_are_counted() -> None:
    reading = Reading(rows=600, duplicates=60, clock_skewed=6, null_times=1, repeats=7, beyond_horizon=0)
    judgement = on(readings={56: reading})
    found = {f.subject: (f.verdict.value, f.severity.value) for f in judgement.findings if f.family == "quality:log"}
    assert found == {
        "duplicates": ("warning", "warning"),
        "clock skew": ("warning", "info"),
        "times": ("ok", "info"),
        "repeated ids": ("warning", "info"),
        "late rows": ("ok", "info"),
    }


@pytest.mark.parametrize(("rows", "lost", "severity"), [(600, 1, "info"), (600, 60, "warning")])
def test_even_one_row_that_belongs_to_no_window_any_more_is_told(rows: int, lost: int, severity: str) -> None:
    found = about(on(readings={56: Reading(rows=rows, beyond_horizon=lost)}), "late rows")
    assert (found.verdict.value, found.severity.value) == ("warning", severity)
    assert "belong to no window" in found.message


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValidationError):
        checks.build("quality", {"missing": 2})
