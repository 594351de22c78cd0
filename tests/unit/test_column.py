"""Frozen columns: where a value belongs, what was never seen, and which clock a feature follows."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.column import (
    BINS,
    CLIP,
    LATTICE,
    TOP_VALUES,
    CategoricalColumn,
    Clock,
    Layout,
    TimeFunction,
    clock_slots,
    freeze_categorical,
    freeze_numeric,
)
from monitor.source import CategoryValues, Floats, NumericValues

ZONES = ["UTC", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"]


def numeric(x: Floats) -> NumericValues:
    return NumericValues(values=x, missing=np.isnan(x))


def categorical(values: list[str | None]) -> CategoryValues:
    texts = sorted({value for value in values if value is not None})
    codes = [-1 if value is None else texts.index(value) for value in values]
    return CategoryValues(codes=np.array(codes, np.int32), categories=texts)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2_000_000_000), min_size=1, max_size=40), st.sampled_from(ZONES))
def test_clock_slots_agree_with_zoneinfo(seconds: list[int], zone: str) -> None:
    time = np.array(seconds, np.int64) * 1_000_000 + 999_999
    local = [datetime.fromtimestamp(s, UTC).astimezone(ZoneInfo(zone)) for s in seconds]
    assert clock_slots(Clock.WEEKDAY, time, zone).tolist() == [moment.weekday() for moment in local]
    assert clock_slots(Clock.HOUR, time, zone).tolist() == [moment.hour for moment in local]
    assert clock_slots(Clock.HALF_HOUR, time, zone).tolist() == [m.hour * 2 + m.minute // 30 for m in local]
    assert clock_slots(Clock.MONTH, time, zone).tolist() == [moment.month - 1 for moment in local]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/New_York"])
def test_clock_slots_are_right_on_both_sides_of_a_change_of_clocks(zone: str) -> None:
    start = round(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
    seconds = np.arange(start, start + 366 * 86_400, 900)
    local = [datetime.fromtimestamp(int(s), UTC).astimezone(ZoneInfo(zone)) for s in seconds]
    found = clock_slots(Clock.HALF_HOUR, seconds * 1_000_000, zone)
    np.testing.assert_array_equal(found, [moment.hour * 2 + moment.minute // 30 for moment in local])


def test_times_before_1970_have_slots_too() -> None:
    moment = round(datetime(1969, 12, 28, 23, 59, tzinfo=UTC).timestamp()) * 1_000_000
    found = [int(clock_slots(clock, np.array([moment]), "UTC")[0]) for clock in Clock]
    assert found == [6, 23, 47, 11]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400))
def test_every_training_value_lies_between_under_and_over(values: list[float]) -> None:
    x = np.array(values)
    column = freeze_numeric("x", numeric(x))
    bins = column.bin(x)
    assert bins.min() >= 1
    assert bins.max() <= column.bins - 2
    assert column.bin(np.array([np.nextafter(x.min(), -np.inf)]))[0] == 0
    assert column.bin(np.array([np.nextafter(np.nextafter(x.max(), np.inf), np.inf)]))[0] == column.bins - 1
    unseen = column.unseen(x)
    assert unseen is None or not unseen.any()


def test_a_frequent_value_has_a_bin_of_its_own() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([np.zeros(1000), rng.normal(size=1000)])
    column = freeze_numeric("x", numeric(x))
    assert column.atom == 0.0
    near = np.nextafter(0.0, 1.0)
    assert set(column.bin(np.array([-near, 0.0, near])).tolist()) >= {column.atom_bin}
    assert column.bin(np.array([0.0]))[0] == column.atom_bin
    assert column.bin(np.array([near, -near])).tolist() != [column.atom_bin] * 2
    assert (column.bin(x) == column.atom_bin).sum() == 1000


def test_a_column_that_is_mostly_one_value_is_scaled_by_the_others() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([np.zeros(900), rng.normal(50, 10, size=100)])
    column = freeze_numeric("x", numeric(x))
    assert column.off_atom
    assert 40 < column.center < 60
    assert 5 < column.scale < 20
    assert column.clipped(np.array([0.0, 1e9])).tolist() == [0.0, CLIP]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.one_of(st.floats(-60, 60), st.sampled_from([0.0, -0.0, 1e300, -1e300, 3.0])), min_size=1),
    st.sampled_from(["plain", "atom", "constant"]),
)
def test_sums_of_ascending_values_are_those_of_each_value(values: list[float], shape: str) -> None:
    rng = np.random.default_rng(4)
    training = {
        "plain": rng.normal(2, 3, 500),
        "atom": np.where(rng.random(500) < 0.9, 3.0, rng.normal(0, 2, 500)),
        "constant": np.full(500, 3.0),
    }[shape]
    column = freeze_numeric("x", numeric(training))
    x = np.sort(np.array(values))
    gap = np.clip(x - column.center, -1e150, 1e150)
    clipped = column.clipped(x)
    expected = [gap.sum(), (gap**2).sum(), clipped.sum(), (clipped**2).sum()]
    size = [np.abs(gap).sum(), (gap**2).sum(), np.abs(clipped).sum(), (clipped**2).sum()]
    for one, other, scale in zip(column.sums(x).tolist(), expected, size, strict=True):
        assert one == pytest.approx(other, rel=1e-12, abs=1e-12 * float(scale))


def test_a_constant_and_an_empty_column_are_frozen_too() -> None:
    constant = freeze_numeric("x", numeric(np.full(10, 3.0)))
    assert (constant.constant, constant.bins) == (True, 3)
    assert constant.clipped(np.array([3.0, 4.0])).tolist() == [0.0, 0.0]
    empty = freeze_numeric("x", numeric(np.full(10, np.nan)))
    assert (empty.bins, empty.scale) == (1, 0.0)
    assert empty.bin(np.array([1.0])).tolist() == [0]


def test_a_value_training_never_saw_is_unseen_only_on_a_lattice() -> None:
    column = freeze_numeric("x", numeric(np.arange(100.0)))
    found = column.unseen(np.array([5.0, 5.5, 1e300]))
    assert found is not None
    assert found.tolist() == [False, True, True]
    assert freeze_numeric("x", numeric(np.arange(LATTICE + 1.0))).unseen(np.array([5.5])) is None


def test_single_and_double_precision_agree_on_what_was_seen() -> None:
    column = freeze_numeric("x", numeric(np.array([0.1, 0.2])))
    found = column.unseen(np.array([0.1, 0.2], np.float32).astype(np.float64))
    assert found is not None
    assert not found.any()


def test_the_most_frequent_values_are_kept_and_the_rest_by_name() -> None:
    values: list[str | None] = [*(f"v{i:03d}" for i in range(TOP_VALUES + 2)), "v300", "v257", None]
    column = freeze_categorical("c", categorical(values))
    assert column.values[0] == "v257"
    assert len(column.values) == TOP_VALUES
    assert column.places(["v257", "v255", "never"]).tolist() == [0, column.OTHER, column.NEW]


def test_a_layout_survives_json() -> None:
    rng = np.random.default_rng(1)
    clock = TimeFunction(clock=Clock.WEEKDAY, timezone="Europe/Berlin", usual={0: 1.5, 6: 2.5}, agreement=0.99)
    columns = (
        freeze_numeric("x", numeric(rng.normal(size=500)), clock=clock),
        freeze_numeric("prediction", numeric(np.array([np.nan])), part="prediction"),
        freeze_numeric("i", numeric(np.arange(7.0).repeat(9))),
        freeze_categorical("c", categorical(["a", "ü", None, "a"])),
        CategoricalColumn(name="d", values=("x",), rare=frozenset({"y", "z"}), clock=clock),
    )
    layout = Layout(columns)
    again = Layout.from_json(layout.to_json())
    assert again.digest == layout.digest
    assert again.to_json() == layout.to_json()
    assert again.counts == layout.counts
    assert len(columns[0].edges) <= BINS + 2
    first = again.columns[0]
    assert first.clock is not None
    assert first.clock.expected(np.array([4 * 86_400_000_000])).tolist() == [1.5]  # a Monday
    assert np.isnan(first.clock.expected(np.array([0]))[0])


def test_places_in_a_layout_never_overlap() -> None:
    layout = Layout((freeze_numeric("x", numeric(np.arange(9.0))), freeze_categorical("c", categorical(["a", "b"]))))
    taken = [0]
    for position in range(2):
        where = layout.bins(position)
        taken += list(range(where.start, where.stop))
        taken += [layout.extra(position, name) for name in ("missing", "nan", "infinite", "unparseable", "unseen")]
        taken += [layout.extra(position, name) for name in ("zeros", "other", "off_clock", "clock_known")]
    assert sorted(taken) == list(range(layout.counts))
