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
