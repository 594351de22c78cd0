"""Rules of levels: the usual ignores what is rare, a climb is what goes on, thinning loses no weight."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.stats.level import climb, thin, usual

TIMES = np.arange(36.0)
levels = st.floats(1, 1e12)


def test_nothing_is_usual_without_levels() -> None:
    assert math.isnan(usual([], []))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(levels, st.integers(1, 5)), min_size=1, max_size=20))
def test_the_usual_is_the_median_of_the_levels_each_as_often_as_it_weighs(entries: list[tuple[float, int]]) -> None:
    repeated = [level for level, weight in entries for _ in range(weight)]
    found = usual([level for level, _ in entries], [weight for _, weight in entries])
    assert found == pytest.approx(float(np.median(repeated)))


@settings(max_examples=50, deadline=None)
@given(st.lists(levels, min_size=1, max_size=40), st.integers(1, 10))
def test_thinning_keeps_weight_mean_and_order(values: list[float], most: int) -> None:
    entries = [[float(i), value, 1.0] for i, value in enumerate(values)]
    kept = thin(entries, most)
    assert len(kept) == min(most, len(entries))
    assert sum(weight for *_, weight in kept) == len(entries)
    mean = sum(level * weight for _, level, weight in kept) / len(entries)
    assert mean == pytest.approx(float(np.mean(values)), rel=1e-9)
    assert kept == sorted(kept, key=lambda one: one[0])


def test_a_straight_line_is_steady_and_a_single_spike_does_not_bend_it() -> None:
    values = 100 + 2 * TIMES
    values[20] = 5000
    found = climb(TIMES, values)
    assert found.slope == pytest.approx(2)
    assert found.steadiness == pytest.approx(1, abs=0.1)
    assert found.z > 6


def test_what_fills_up_and_levels_off_is_not_steady() -> None:
    assert climb(TIMES, 100 + 100 * (1 - np.exp(-TIMES / 10))).steadiness < 0.5
    assert climb(TIMES, np.minimum(100 + 10 * TIMES, 250)).steadiness < 0.5


def test_no_climb_is_told_from_two_points_or_from_a_flat_line() -> None:
    assert climb(TIMES[:2], TIMES[:2]).rise == 0
    assert climb(TIMES, np.full(36, 7.0)).z == 0
    assert climb(np.zeros(5), np.arange(5.0)).slope == 0
