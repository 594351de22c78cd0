"""Confidence sequences hold at every look, widen with clusters, and say how long they need."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monitor.stats.sequence import clustering, difference, mean_of, radius, rows_needed


@pytest.mark.parametrize("shape", ["normal", "rare", "skewed"])
def test_the_mean_is_left_at_any_look_in_fewer_runs_than_alpha(shape: str) -> None:
    rng = np.random.default_rng(7)
    missed, runs = 0, 400
    for _ in range(runs):
        match shape:
            case "normal":
                x, mean, largest = rng.normal(size=4000), 0.0, 4.0
            case "rare":
                x, mean, largest = (rng.random(4000) < 0.01).astype(float), 0.01, 1.0
            case _:
                x, mean, largest = rng.exponential(size=4000), 1.0, 10.0
        looks = np.unique(np.geomspace(100, 4000, 25).astype(int))
        intervals = [mean_of(x[:look], largest=largest) for look in looks]
        missed += any(not one.low <= mean <= one.high for one in intervals)
    assert missed / runs <= 0.05


def test_an_interval_for_one_look_is_left_far_more_often() -> None:
    """The negative control: looking again and again is what the wider interval is for."""
    rng = np.random.default_rng(7)
    looks = np.unique(np.geomspace(100, 4000, 25).astype(int))
    missed = 0
    for _ in range(400):
        sums = np.cumsum(rng.normal(size=4000))[looks - 1]
        missed += bool((np.abs(sums / looks) > 1.96 / np.sqrt(looks)).any())
    assert missed / 400 > 0.2


def test_rows_that_come_in_clusters_count_less() -> None:
    rng = np.random.default_rng(1)
    day = np.repeat(np.arange(40), 50)
    x = rng.normal(size=2000) + rng.normal(size=40)[day]
    assert clustering(x, day) > 10
    assert clustering(rng.normal(size=2000), day) < 2
    assert mean_of(x, largest=5, clusters=day).deviation > 3 * mean_of(x, largest=5).deviation
    assert clustering(x, day * 0) == 1.0  # one window says nothing about windows


def test_what_was_never_seen_leaves_doubt() -> None:
    assert mean_of(np.zeros(200), largest=1.0).high > 0.02
    assert mean_of(np.zeros(200_000), largest=1.0).high < 0.001


def test_the_rows_that_are_needed_are_enough_and_one_fewer_is_not() -> None:
    mean = mean_of(np.random.default_rng(3).normal(0.05, 1, 500), largest=4.0)
    needed = rows_needed(mean, 0.2)
    distance = abs(0.2 - mean.value)
    assert radius(needed, mean.deviation) <= distance < radius(needed - 1, mean.deviation)
    assert rows_needed(mean, mean.value) == math.inf


def test_two_means_differ_by_no_more_than_their_intervals_together() -> None:
    one, other = mean_of(np.ones(300), largest=1.0), mean_of(np.zeros(500), largest=1.0)
    apart = difference(one, other)
    assert (apart.value, apart.rows) == (1.0, 300)
    assert apart.low == one.low - other.high
    assert apart.high == one.high - other.low


def test_no_rows_say_nothing_and_numbers_that_are_none_are_refused() -> None:
    empty = mean_of([], largest=1.0)
    assert (empty.low, empty.high, empty.rows) == (-math.inf, math.inf, 0)
    assert rows_needed(empty, 0.1) == math.inf
    with pytest.raises(ValueError, match="finite"):
        mean_of([1.0, math.nan], largest=1.0)
