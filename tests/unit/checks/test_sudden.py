"""Sudden changes of a source: found on the first day, named, and not learned as normal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from monitor.catalogue import CAUSES, misfits
from monitor.check import Cause, Finding, Severity, Verdict
from monitor.checks.quality import Quality
from monitor.checks.sudden import Sudden
from monitor.novelty import can_be_new, records
from monitor.outcome import Task
from monitor.profile import Profile
from monitor.reference import build_reference
from monitor.trailing import median
from tests.unit.checks.stream import FIRST, SPEC, Change, bad, batch_of, day_rows, profile_of, reference, run, shifted

DAYS = range(56, 84)
START = 70


def celsius(columns: Sequence[str]) -> Change:
    def change(values: dict[str, Any]) -> None:
        for name in columns:
            values[name] = np.round((values[name] - 32) / 1.8, 1)

    return change


def days_of(findings: dict[int, list[Finding]]) -> list[int]:
    return [day for day, found in findings.items() if found]


def replay(change: Change | None, first: int = START, last: int = START + 6, days: range = DAYS) -> dict[int, Any]:
    changes = dict.fromkeys(range(first, last + 1), change) if change is not None else None
    return {day: bad(j) for day, j in run(Sudden(), "sudden", days, changes)}


def test_ordinary_days_are_no_sudden_change() -> None:
    assert days_of({day: bad(j) for day, j in run(Sudden(), "sudden", range(56, 140))}) == []


@pytest.mark.parametrize("first", [60, 66, 71, 77])
def test_a_unit_change_of_two_columns_is_found_on_its_first_day_and_named(first: int) -> None:
    found = replay(celsius(["temp", "dew"]), first, first + 6)
    assert days_of(found)[0] == first
    assert {f.subject for f in found[first]} == {"temp", "dew"}
    for finding in found[first]:
        assert finding.verdict is Verdict.CRITICAL
        assert finding.latched
        assert finding.family == "quality:meter"
        assert finding.cause is Cause.DATA
        assert finding.severity is Severity.WARNING
        assert finding.details["named cause"] == "°F → °C"
        assert finding.message.startswith("meter: temp and dew changed at once, as by °F → °C")


def test_the_trailing_windows_do_not_learn_the_fault() -> None:
    """If they did, nothing would be new on the second day."""
    found = replay(celsius(["temp", "dew"]))
    assert days_of(found)[:7] == list(range(START, START + 7))


def test_the_episode_ends_three_clean_windows_after_the_fault() -> None:
    changes = {day: celsius(["temp", "dew"]) for day in range(START, START + 7)}
    judged = dict(run(Sudden(), "sudden", DAYS, changes))
    last = max(day for day, j in judged.items() if bad(j))
    assert last == START + 6 + 2
    ended = [f for f in judged[last + 1].findings if f.latched]
    assert {f.subject for f in ended} == {"temp", "dew"}
    assert {f.verdict for f in ended} == {Verdict.OK}
    assert not [f for day in range(last + 2, 84) for f in judged[day].findings if f.latched]


def test_what_lasts_for_28_windows_is_the_new_normal() -> None:
    found = replay(celsius(["temp", "dew"]), 60, 200, range(56, 110))
    assert days_of(found) == list(range(60, 60 + 28))


def test_one_column_alone_needs_all_the_signs() -> None:
    def warmer(values: dict[str, Any]) -> None:  # new values, but of no usual cause
        values["temp"] = values["temp"] + 0.37

    assert days_of(replay(warmer)) == []
    assert START in days_of(replay(celsius(["temp"])))


def test_a_sign_in_one_column_is_kept_for_people_who_look() -> None:
    def warmer(values: dict[str, Any]) -> None:
        values["temp"] = values["temp"] + 0.37

    judged = dict(run(Sudden(), "sudden", range(56, 62), {60: warmer}))
    finding = next(f for f in judged[60].findings if f.subject == "meter")
    assert finding.verdict is Verdict.OK
    assert "100% of values never seen before" in finding.details["single signs"]["temp"]


@pytest.mark.parametrize(
    ("cause", "broken"),
    [
        ("×1000 (s → ms)", lambda x: x * 1000),
        ("÷100 (percent → share)", lambda x: x / 100),
        ("×10", lambda x: x * 10),
        ("sign flipped", lambda x: -x),
        ("miles → km", lambda x: np.round(x * 1.609344, 3)),
        ("logarithm taken", lambda x: np.log(np.maximum(x, 1e-3))),
    ],
)
def test_usual_causes_are_named(cause: str, broken: Any) -> None:
    def change(values: dict[str, Any]) -> None:
        for name in ("temp", "dew"):
            values[name] = broken(values[name])

    found = replay(change)
    assert days_of(found)[0] == START
    assert found[START][0].details["named cause"] == cause


def test_a_source_of_one_column_is_decided_by_two_signs() -> None:
    def change(values: dict[str, Any]) -> None:
        values["plain"] = values["plain"] * 1000

    found = replay(change)
    assert days_of(found)[0] == START
    assert found[START][0].family == "quality:plain"
    assert found[START][0].details["named cause"] == "×1000 (s → ms)"


@pytest.mark.parametrize(
    ("cause", "broken"),
    [("case changed", str.upper), ("blanks added or removed", lambda text: f"{text} "), ("", lambda text: f"c-{text}")],
)
def test_texts_that_change_all_at_once_are_found_and_named(cause: str, broken: Any) -> None:
    def change(values: dict[str, Any]) -> None:
        values["colour"] = np.array([broken(text) for text in values["colour"]], object)

    found = replay(change)
    assert days_of(found)[0] == START
    assert found[START][0].subject == "colour"
    assert found[START][0].details["named cause"] == cause


def test_swapped_columns_are_named() -> None:
    def change(values: dict[str, Any]) -> None:
        values["colour"], values["size"] = values["size"], values["colour"]

    found = replay(change)
    assert {f.subject for f in found[START]} == {"colour", "size"}
    assert "swapped with" in found[START][0].details["named cause"]


def test_a_mostly_zero_column_takes_no_part_in_jump_and_catalogue() -> None:
    def change(values: dict[str, Any]) -> None:
        values["wet"] = values["wet"] * 60

    assert days_of(replay(change)) == []


def test_a_constant_is_new_at_its_first_departure_only() -> None:
    def change(values: dict[str, Any]) -> None:
        values["fixed"] = values["fixed"] + 1

    trained = reference()
    first = dict(run(Sudden(), "sudden", range(56, 62), {60: change}))[60]
    assert "fixed" in str([f.details for f in first.findings])
    again = dict(run(Sudden(), "sudden", range(56, 66), {60: change, 64: shifted("fixed", 5.0)}))[64]
    assert "fixed" not in str([f.details for f in again.findings])
    assert can_be_new(trained, "fixed")


def test_records_leave_each_training_window_out() -> None:
    """A profile that contains its own windows has seen every value of theirs."""
    trained = reference()
    assert trained.total.columns["temp"].unseen == 0
    assert 0 <= records(trained, "temp").mean() < 0.05
    assert can_be_new(trained, "temp")
    assert not can_be_new(trained, "plain")  # nearly every value of a real number is new
    assert not can_be_new(trained, "prediction")
    few = reference(rows=12)  # so few that training has seen fewer than 1024 values: a lattice, but values never recur
    assert few.total.columns["plain"].column.lattice is not None  # type: ignore[union-attr]  # it is numeric
    assert not can_be_new(few, "plain")


def test_columns_that_move_in_blocks_bring_new_values_with_the_calendar() -> None:
    """A month, a season, a campaign: its next value fills whole windows, and is no fault."""

    def rows(day: int, seed: int) -> dict[str, Any]:
        return day_rows(day, 200, seed) | {
            "campaign": np.full(200, f"c{day // 14}", object),
            "month": np.full(200, float(day // 28)),
        }

    trained = build_reference(
        batch_of([rows(day, 1) for day in range(56)]),
        model="shop",
        version="1",
        task=Task.BINARY,
        spec=SPEC,
        created_at=FIRST,
    )
    assert not can_be_new(trained, "campaign")
    assert not can_be_new(trained, "month")
    profiles = {day: Profile.of(trained.layout, replace(batch_of([rows(day, 2)]), score=None)) for day in range(56, 86)}
    for check, name in ((Sudden(), "sudden"), (Quality(), "quality")):
        judged = dict(run(check, name, range(56, 86), trained=trained, profiles=profiles))
        news = {day: [f for f in bad(j) if f.subject in ("campaign", "month")] for day, j in judged.items()}
        assert days_of(news) == ([] if name == "sudden" else [56, 70, 84])
        assert {f.severity for found in news.values() for f in found} <= {Severity.INFO}


def test_a_day_without_rows_moves_nothing() -> None:
    trained = reference()
    empty = {day: Profile.empty(trained.layout) for day in (60, 61)}
    judged = dict(run(Sudden(), "sudden", range(56, 64), profiles=empty))
    assert {f.verdict for f in judged[60].findings} == {Verdict.INCONCLUSIVE}
    assert judged[61].memory["columns"] == judged[59].memory["columns"]


def test_its_memory_stays_small() -> None:
    def noisy(values: dict[str, Any]) -> None:
        rng = np.random.default_rng(1)
        values["temp"] = values["temp"] + rng.normal(0, 1, len(values["temp"])).round(6)

    for _, judgement in run(Sudden(), "sudden", range(56, 100), noisy):
        assert len(json.dumps(judgement.memory)) < 100_000


def test_the_median_from_bins_is_that_of_the_rows() -> None:
    view = profile_of(reference(), 60).columns["plain"]
    assert median(view) == pytest.approx(np.median(day_rows(60, 600, 2)["plain"]), abs=1.0)


def test_the_median_of_a_changed_unit_is_not_that_of_the_wide_bin_it_falls_in() -> None:
    def change(values: dict[str, Any]) -> None:
        values["temp"] = values["temp"] / 100

    view = profile_of(reference(), 60, change).columns["temp"]
    assert median(view) == pytest.approx(np.median(day_rows(60, 600, 2)["temp"]) / 100, rel=0.05)


def test_inverses_of_the_catalogue_undo_what_they_name() -> None:
    forward = {"°F → °C": (50 - 32) / 1.8, "×60 (minutes → seconds)": 3000.0, "logarithm taken": np.log(50.0)}
    for cause, value in forward.items():
        assert CAUSES[cause](value) == pytest.approx(50.0)
    assert min(misfits(5e307, 50.0, 1.0).values()) > 1
