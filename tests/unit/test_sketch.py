"""Sketches keep what they promise: 2 % of a quantile, 256 novelties, a rough count of distinct values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.sketch import (
    ERROR,
    KEPT,
    REGISTERS,
    Buckets,
    bucket_keys,
    buckets_of,
    buckets_of_sorted,
    distinct,
    hash_floats,
    hash_texts,
    merge_buckets,
    merge_novelties,
    register_values,
    registers_of,
)
from monitor.source import Floats

Counts = dict[float | str, int]
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def buckets(x: Floats) -> Buckets:
    ordered = np.sort(x)
    zeros, ones = np.zeros(len(x), np.int64), np.ones(len(x), np.int64)
    return next(buckets_of(ordered, zeros, ones, 1))[1]


@settings(max_examples=50, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_right_to_two_percent(values: list[float], q: float) -> None:
    x = np.sort(np.array(values))
    exact = x[int(q * (len(x) - 1))]
    found = buckets(x).quantile(q)
    assert found == pytest.approx(exact, rel=ERROR * 1.0001, abs=1e-300)


@settings(max_examples=50, deadline=None)
@given(st.lists(FLOATS, min_size=2, max_size=100))
def test_keys_ascend_with_values(values: list[float]) -> None:
    keys = bucket_keys(np.sort(np.array(values)))
    assert (np.diff(keys) >= 0).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=60), st.lists(FLOATS, min_size=1, max_size=60))
def test_buckets_of_parts_add_up_to_those_of_the_whole(one: list[float], other: list[float]) -> None:
    whole = buckets(np.array(one + other))
    merged = merge_buckets([buckets(np.array(one)), buckets(np.array(other))])
    np.testing.assert_array_equal(merged.keys, whole.keys)
    np.testing.assert_array_equal(merged.counts, whole.counts)


@pytest.mark.parametrize("number", [10, 100, 1_000, 100_000, 3_000_000])
def test_the_estimate_of_distinct_values_is_within_four_standard_errors(number: int) -> None:
    registers = np.zeros(REGISTERS, np.uint8)
    slot, rank = register_values(hash_floats(np.arange(number, dtype=np.float64)))
    np.maximum.at(registers, slot, rank)
    assert distinct(registers) == pytest.approx(number, rel=4 * 1.04 / np.sqrt(REGISTERS))


FINITE = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([1.7976931348623157e308, 5e-324]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(FINITE, st.integers(-9, 9).map(float)), min_size=1), st.booleans())
def test_buckets_found_by_their_edges_are_those_of_the_keys(values: list[float], often: bool) -> None:
    x = np.sort(np.array(values * (500 if often else 1), np.float64))
    found = buckets_of_sorted(x, int(np.searchsorted(x, 0.0)), int(np.searchsorted(x, 0.0, "right")))
    keys, counts = np.unique(bucket_keys(x), return_counts=True)
    assert (found.keys.tolist(), found.counts.tolist()) == (keys.tolist(), counts.tolist())


def test_every_bucket_ends_where_the_key_of_its_values_does() -> None:
    rng = np.random.default_rng(1)
    for scale in (1e-310, 1e-300, 1e-5, 1.0, 1e5, 1e300):
        x = np.sort(rng.lognormal(0, 3, 50_000) * scale)
        found = buckets_of_sorted(x, 0, 0)
        keys, counts = np.unique(bucket_keys(x), return_counts=True)
        np.testing.assert_array_equal(found.keys, keys)
        np.testing.assert_array_equal(found.counts, counts)


@pytest.mark.parametrize("number", [0, 1, 300, 5000, 200_000])
def test_registers_are_those_of_every_hash(number: int) -> None:
    hashes = hash_floats(np.arange(number, dtype=np.float64))
    slot, rank = register_values(hashes)
    every = np.zeros(REGISTERS, np.uint8)
    np.maximum.at(every, slot, rank)
    np.testing.assert_array_equal(registers_of(hashes), every)
    low = hashes[hashes > np.uint64(1 << 63)]  # many hashes of the lowest rank alone
    slot, rank = register_values(low)
    every = np.zeros(REGISTERS, np.uint8)
    np.maximum.at(every, slot, rank)
    np.testing.assert_array_equal(registers_of(low), every)


def test_no_values_are_no_distinct_values() -> None:
    assert distinct(np.zeros(REGISTERS, np.uint8)) == 0


def test_hashes_are_the_same_in_every_process() -> None:
    assert hash_texts(["", "größe"]).tolist() == [13020603013274838756, 16832822397561338100]
    assert hash_floats(np.array([0.0, 1.5])).tolist() == [16294208416658607535, 15481881892811333770]
    assert hash_floats(np.array([-0.0])) == hash_floats(np.array([0.0]))


NOVELTIES: st.SearchStrategy[dict[float | str, int]] = st.dictionaries(
    st.integers(0, 2000).map(float), st.integers(1, 5), max_size=600
)


@settings(max_examples=30, deadline=None)
@given(NOVELTIES, NOVELTIES, NOVELTIES)
def test_novelties_merge_in_any_order(a: Counts, b: Counts, c: Counts) -> None:
    whole = merge_novelties([a, b, c])
    assert list(merge_novelties([merge_novelties([c, a]), b]).items()) == list(whole.items())
    assert merge_novelties([whole, {}]) == whole
    assert len(whole) <= KEPT
    everything = {value: a.get(value, 0) + b.get(value, 0) + c.get(value, 0) for value in a | b | c}
    assert all(everything[value] == count for value, count in whole.items())
