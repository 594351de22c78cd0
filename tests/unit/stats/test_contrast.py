from __future__ import annotations

import math

import numpy as np
import pytest

from monitor.stats.contrast import compare, overdispersion, share


@pytest.mark.parametrize(("p", "q", "n", "m"), [(0.5, 0.3, 80, 400), (0.05, 0.02, 200, 900), (0.3, 0.3, 60, 60)])
def test_intervals_of_differences_and_ratios_hold_the_truth_as_often_as_they_say(
    p: float, q: float, n: int, m: int
) -> None:
    rng = np.random.default_rng(4)
    held = np.zeros(2)
    for _ in range(2000):
        found = compare(share(rng.binomial(n, p), n), share(rng.binomial(m, q), m))
        held += [
            found.low <= p - q <= found.high,
            math.isnan(found.ratio) or found.ratio_low <= p / q <= found.ratio_high,
        ]
    assert held.min() >= 0.93 * 2000
    assert held.max() <= 0.99 * 2000


def test_the_test_is_wrong_no_more_often_than_its_level_at_the_edge_of_what_is_allowed() -> None:
    rng = np.random.default_rng(5)
    for allowed in (0.0, 0.1):
        wrong = [
            compare(share(rng.binomial(300, 0.3 + allowed), 300), share(rng.binomial(900, 0.3), 900), allowed=allowed)
            for _ in range(3000)
        ]
        assert np.mean([found.p_value <= 0.05 for found in wrong]) <= 0.062


@pytest.mark.parametrize(
    ("n", "m", "p", "allowed"),
    [(50, 1500, 0.95, 0.0), (50, 1500, 0.5, 0.0), (60, 3000, 0.03, 0.0), (1500, 50, 0.95, 0.0), (50, 1500, 0.85, 0.1)],
)
def test_few_people_are_called_apart_no_more_often_than_the_level_far_out_either(
    n: int, m: int, p: float, allowed: float
) -> None:
    rng = np.random.default_rng(7)
    runs, level = 4000, 0.01
    seen = zip(rng.binomial(n, p + allowed, runs), rng.binomial(m, p, runs), strict=True)
    wrong = sum(compare(share(k, n), share(j, m), allowed=allowed).p_value <= level for k, j in seen)
    assert wrong / runs <= 1.5 * level  # a normal approximation is wrong several times as often


def test_a_difference_of_shares_has_the_chance_that_adding_up_all_outcomes_gives() -> None:
    n, m, k, j = 9, 7, 8, 2
    pooled = (k + j) / (n + m)
    ways = [math.comb(n, x) * pooled**x * (1 - pooled) ** (n - x) for x in range(n + 1)]
    others = [math.comb(m, y) * pooled**y * (1 - pooled) ** (m - y) for y in range(m + 1)]
    apart = k / n - j / m
    expected = sum(
        ways[x] * others[y] for x in range(n + 1) for y in range(m + 1) if abs(x / n - y / m) >= apart - 1e-12
    )
    assert compare(share(k, n), share(j, m)).p_value == pytest.approx(expected, rel=1e-9)
    assert compare(share(j, m), share(k, n)).p_value == pytest.approx(expected, rel=1e-9)


def test_a_ratio_is_taken_only_of_shares_and_never_overflows() -> None:
    assert math.isnan(compare(share(3, 50), share(0, 50)).ratio)
    found = compare(share(1, 50), share(1, 50), inflation=1e9)
    assert 0 < found.ratio_low < 1 < found.ratio_high < math.inf
    assert math.isnan(compare(share(0, 0), share(1, 5)).difference)


def test_periods_that_differ_more_than_rows_widen_the_interval() -> None:
    rng = np.random.default_rng(6)
    alike = rng.normal(0, 0.1, 4000)
    assert overdispersion(alike, [0.1] * 4000) == pytest.approx(1, abs=0.1)
    assert overdispersion(alike * 3, [0.1] * 4000) == pytest.approx(9, rel=0.1)
    assert overdispersion([5.0, -5.0], [0.1, 0.1]) == 1.0, "two periods say nothing"
