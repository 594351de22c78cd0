"""A profile is a commutative monoid of rows, survives its bytes, and says of a column what the rows say."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import profile as profile_module
from monitor.column import Clock, Column, Layout, NumericColumn, TimeFunction, freeze_categorical, freeze_numeric
from monitor.profile import Profile, profiles_of
from monitor.source import Batch, CategoryValues, NumericValues, Values, take

GOLDEN = Path(__file__).parent.parent / "golden"
WORDS = ["a", "b", "c", "ü", "", "rare"]
CLOCK = TimeFunction(clock=Clock.WEEKDAY, timezone="UTC", usual={3: 1.0, 4: 2.0}, agreement=1.0)


def training() -> Batch:
    rng = np.random.default_rng(7)
    n = 1000
    columns: dict[str, Values] = {
        "x": numeric(rng.normal(size=n)),
        "i": numeric(rng.integers(0, 9, n).astype(float)),
        "zero": numeric(np.where(rng.random(n) < 0.9, 0.0, rng.exponential(5, n))),
        "c": CategoryValues(codes=rng.integers(0, 3, n).astype(np.int32), categories=WORDS),
    }
    return Batch(rows=n, time=np.arange(n) * 60_000_000, columns=columns)


def numeric(values: np.ndarray, unparseable: np.ndarray | None = None) -> NumericValues:
    return NumericValues(values=values, missing=np.zeros(len(values), bool), unparseable=unparseable)


def frozen() -> Layout:
    batch = training()
    columns: list[Column] = []
    for name, values in batch.columns.items():
        if isinstance(values, NumericValues):
            columns.append(freeze_numeric(name, values, clock=CLOCK if name == "i" else None))
        else:
            columns.append(freeze_categorical(name, values, clock=CLOCK))
    return Layout(tuple(columns))


LAYOUT = frozen()
NUMBERS = st.one_of(
    st.floats(-5, 5), st.integers(-3, 12).map(float), st.floats(), st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324])
)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    n = draw(st.integers(0, 60))
    columns: dict[str, Values] = {}
    for name in ("x", "i", "zero"):
        if draw(st.booleans()) and draw(st.booleans()) and draw(st.booleans()):
            continue  # vanished
        values = np.array(draw(st.lists(NUMBERS, min_size=n, max_size=n)), np.float64)
        state = np.array(draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)), np.int64)
        values[state < 2] = np.nan
        unparseable = draw(st.sampled_from([None, state == 1]))
        columns[name] = NumericValues(values=values, missing=state == 0, unparseable=unparseable)
    codes = np.array(draw(st.lists(st.integers(-1, len(WORDS) - 1), min_size=n, max_size=n)), np.int32)
    columns["c"] = CategoryValues(codes=codes, categories=WORDS)
    time = np.array(draw(st.lists(st.integers(0, 10**15), min_size=n, max_size=n)), np.int64)
    return Batch(rows=n, time=time, columns=columns)


def assert_equal(one: Profile, other: Profile) -> None:
    np.testing.assert_array_equal(one.counts, other.counts)
    # A sum may cancel to nothing: it is exact to 1e-12 of the sum of sizes, which its squares bound.
    squares = one.sums.reshape(-1, 2)[:, 1]
    scale = np.stack([np.sqrt(max(one.rows, 1) * squares), squares], axis=1).ravel()
    assert (np.abs(one.sums - other.sums) <= 1e-12 * scale).all()
    np.testing.assert_array_equal(one.lows, other.lows)
    np.testing.assert_array_equal(one.highs, other.highs)
    np.testing.assert_array_equal(one.registers, other.registers)
    assert dict(one.novelties) == dict(other.novelties)
    assert one.buckets.keys() == other.buckets.keys()
    for name, buckets in one.buckets.items():
        np.testing.assert_array_equal(buckets.keys, other.buckets[name].keys)
        np.testing.assert_array_equal(buckets.counts, other.buckets[name].counts)


@settings(max_examples=40, deadline=None)
@given(batches(), batches())
def test_merging_is_commutative(one: Batch, other: Batch) -> None:
    a, b = Profile.of(LAYOUT, one), Profile.of(LAYOUT, other)
    assert_equal(a + b, b + a)
    assert (a + b).to_bytes() == (b + a).to_bytes()


@settings(max_examples=40, deadline=None)
@given(batches(), batches(), batches())
def test_merging_is_associative(one: Batch, other: Batch, third: Batch) -> None:
    a, b, c = (Profile.of(LAYOUT, batch) for batch in (one, other, third))
    assert_equal((a + b) + c, a + (b + c))


@settings(max_examples=30, deadline=None)
@given(batches())
def test_no_rows_change_nothing(batch: Batch) -> None:
    one = Profile.of(LAYOUT, batch)
    assert_equal(one + Profile.empty(LAYOUT), one)
    assert_equal(Profile.total(LAYOUT, []), Profile.empty(LAYOUT))


@settings(max_examples=50, deadline=None)
@given(batches(), st.data())
def test_profiles_of_parts_merge_to_the_profile_of_the_whole(batch: Batch, data: st.DataObject) -> None:
    number = data.draw(st.integers(1, 4))
    pieces = data.draw(st.lists(st.integers(0, number - 1), min_size=batch.rows, max_size=batch.rows))
    at = np.array(pieces, np.int64)
    parts = profiles_of(LAYOUT, batch, at, number)
    for piece, part in enumerate(parts):
        assert_equal(part, Profile.of(LAYOUT, take(batch, np.flatnonzero(at == piece))))
    assert_equal(Profile.total(LAYOUT, parts), Profile.of(LAYOUT, batch))


@settings(max_examples=50, deadline=None)
@given(batches())
def test_a_profile_survives_its_bytes_exactly(batch: Batch) -> None:
    one = Profile.of(LAYOUT, batch)
    again = Profile.from_bytes(LAYOUT, one.to_bytes())
    assert_equal(one, again)
    assert again.to_bytes() == one.to_bytes()
    np.testing.assert_array_equal(one.sums, again.sums)


@settings(max_examples=50, deadline=None)
@given(batches())
def test_every_row_is_counted_once_in_every_column(batch: Batch) -> None:
    for column in Profile.of(LAYOUT, batch).columns.values():
        if column.column.name in batch.columns:
            assert column.count + column.missing + column.non_finite + column.unparseable == batch.rows
        else:
            assert column.missing == batch.rows


@settings(max_examples=30, deadline=None)
@given(batches())
def test_counts_and_moments_are_those_of_the_rows(batch: Batch) -> None:
    found = Profile.of(LAYOUT, batch)
    for name in ("x", "i", "zero"):
        values = batch.columns.get(name)
        if not isinstance(values, NumericValues):
            continue
        column = found.column(name)
        x = values.values[np.isfinite(values.values)]
        assert column.zeros == (x == 0).sum()
        assert (column.minimum, column.maximum) == (min(x, default=math.inf), max(x, default=-math.inf))
        frozen_column = column.column
        assert isinstance(frozen_column, NumericColumn)
        np.testing.assert_array_equal(column.bins, np.bincount(frozen_column.bin(x), minlength=frozen_column.bins))
        small = x[np.abs(x) < 1e6]
        if len(x) == len(small) > 0:
            assert column.mean == pytest.approx(x.mean(), rel=1e-9, abs=1e-9)
            assert column.variance == pytest.approx(x.var(), rel=1e-6, abs=1e-6)
        for q in (0.0, 0.3, 1.0) if len(x) else ():
            exact = np.sort(x)[int(q * (len(x) - 1))]
            assert column.quantile(q) == pytest.approx(exact, rel=0.0201, abs=1e-300)


def test_many_rows_are_counted_like_few() -> None:
    rng = np.random.default_rng(3)
    n = 20_000
    columns: dict[str, Values] = {
        "x": numeric(rng.normal(0.5, 2, size=n)),
        "i": numeric(rng.integers(0, 3000, n) / 2),
        "c": CategoryValues(codes=rng.integers(0, 5000, n).astype(np.int32), categories=[f"v{i}" for i in range(5000)]),
    }
    batch = Batch(rows=n, time=np.arange(n) * 1_000_000, columns=columns)
    at = np.arange(n) // 40
    whole = Profile.of(LAYOUT, batch)
    assert_equal(Profile.total(LAYOUT, profiles_of(LAYOUT, batch, at, 500)), whole)
    assert_equal(Profile.total(LAYOUT, profiles_of(LAYOUT, batch, at[::-1].copy(), 500)), whole)
    assert whole.column("c").distinct == pytest.approx(5000, rel=0.4)
    assert len(whole.column("c").novelties) == 256
    assert whole.column("c").new == n


def test_equal_values_of_neighbouring_pieces_stay_apart() -> None:
    batch = Batch(rows=4, time=np.zeros(4, np.int64), columns={"i": numeric(np.array([1.0, 2.0, 2.0, 2.0]))})
    one, other = profiles_of(LAYOUT, batch, np.array([0, 0, 1, 1]), 2)
    for found, counted in ((one, 2), (other, 2)):
        assert found.column("i").count == counted
        assert found.buckets["i"].counts.sum() == counted
    assert [one.column("i").mean, other.column("i").mean] == [1.5, 2.0]


def test_wide_tables_are_built_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = training()
    at = (np.arange(batch.rows) * 7) % 24
    before = profiles_of(LAYOUT, batch, at, 24)
    monkeypatch.setattr(profile_module, "LARGEST", 2 * LAYOUT.counts)
    for one, other in zip(before, profiles_of(LAYOUT, batch, at, 24), strict=True):
        assert_equal(one, other)


def test_values_never_seen_are_counted_and_named() -> None:
    batch = Batch(
        rows=5,
        time=np.zeros(5, np.int64),
        columns={
            "i": numeric(np.array([1.0, 2.5, 2.5, 1e300, -7.0])),
            "c": CategoryValues(codes=np.array([0, 5, 5, 3, -1], np.int32), categories=WORDS),
        },
    )
    found = Profile.of(LAYOUT, batch)
    assert (found.column("i").unseen, dict(found.column("i").novelties)) == (4, {2.5: 2, 1e300: 1, -7.0: 1})
    assert (found.column("c").new, dict(found.column("c").novelties)) == (3, {"rare": 2, "ü": 1})
    assert found.column("c").frequencies == {"rare": 2, "a": 1, "ü": 1}


def test_a_time_function_is_checked_against_its_slot() -> None:
    # 1 January 1970 was a Thursday (slot 3), the 2nd a Friday, the 3rd a slot that training never saw
    time = np.array([0, 86_400_000_000, 86_400_000_000, 2 * 86_400_000_000])
    found = Profile.of(LAYOUT, Batch(rows=4, time=time, columns={"i": numeric(np.array([1.0, 2.0, 5.0, 1.0]))}))
    assert (found.column("i").clock_known, found.column("i").off_clock) == (3, 1)


def test_a_column_of_the_wrong_kind_is_refused() -> None:
    words = CategoryValues(codes=np.zeros(1, np.int32), categories=["1"])
    with pytest.raises(TypeError, match="x is numeric in training"):
        Profile.of(LAYOUT, Batch(rows=1, time=np.zeros(1, np.int64), columns={"x": words}))


def test_profiles_of_different_training_cannot_be_merged_or_mistaken() -> None:
    other = Layout(LAYOUT.columns[:2])
    with pytest.raises(ValueError, match="different training profiles"):
        Profile.empty(LAYOUT) + Profile.empty(other)
    with pytest.raises(ValueError, match="another training profile"):
        Profile.from_bytes(other, Profile.empty(LAYOUT).to_bytes())
    with pytest.raises(ValueError, match="no profile"):
        Profile.from_bytes(LAYOUT, b"something else")
    newer = bytearray(Profile.empty(LAYOUT).to_bytes())
    newer[4:6] = b"\xff\x7f"
    with pytest.raises(ValueError, match="newer"):
        Profile.from_bytes(LAYOUT, bytes(newer))


def test_profiles_written_by_format_1_load_for_ever() -> None:
    golden = json.loads((GOLDEN / "profile_1.json").read_text())
    layout = Layout.from_json(golden["layout"])
    assert layout.digest.hex() == golden["digest"]
    found = Profile.from_bytes(layout, base64.b64decode(golden["bytes"]))
    assert found.rows == golden["rows"]
    for name, facts in golden["columns"].items():
        column = found.column(name)
        assert {key: getattr(column, key) for key in facts} == facts, name
    assert dict(found.column("i").novelties) == {2.5: 1}
    assert dict(found.column("c").novelties) == {"never": 2}
    assert found.column("x").quantile(0.5) == pytest.approx(golden["median"], rel=1e-12)
