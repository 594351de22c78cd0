"""Distances: their laws, and agreement with scipy on raw rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from monitor.stats import distance

Distance = Callable[[list[int], list[int]], float]
TWO_COUNTS = st.integers(2, 12).flatmap(
    lambda size: st.tuples(
        *[st.lists(st.integers(0, 500), min_size=size, max_size=size).filter(lambda c: sum(c) > 0)] * 2
    )
)
METRICS: dict[str, Distance] = {
    "psi": distance.psi,
    "jensen_shannon": distance.jensen_shannon,
    "total_variation": distance.total_variation,
    "hellinger": distance.hellinger,
    "l_infinity": distance.l_infinity,
    "kolmogorov_smirnov": lambda p, q: distance.kolmogorov_smirnov(p, q).statistic,
    "wasserstein": lambda p, q: distance.wasserstein(np.arange(len(p)), p, q, 1.0),
}


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=40, deadline=None)
@given(pair=TWO_COUNTS)
def test_a_distance_is_symmetric_never_negative_and_zero_for_equals(
    name: str, pair: tuple[list[int], list[int]]
) -> None:
    measure, (p, q) = METRICS[name], pair
    assert measure(p, q) >= 0
    assert measure(p, q) == pytest.approx(measure(q, p), abs=1e-12)
    assert measure(p, p) == pytest.approx(0, abs=1e-7)
    if np.abs(np.array(p) / sum(p) - np.array(q) / sum(q)).max() > 1e-3:
        assert measure(p, q) > 0


@settings(max_examples=40, deadline=None)
@given(TWO_COUNTS)
def test_bounds_hold(pair: tuple[list[int], list[int]]) -> None:
    p, q = pair
    assert distance.jensen_shannon(p, q) <= np.sqrt(np.log(2)) + 1e-12
    assert distance.total_variation(p, q) <= 1 + 1e-12
    assert distance.hellinger(p, q) ** 2 <= distance.total_variation(p, q) + 1e-9
    assert distance.psi_corrected(p, q) <= distance.psi(p, q)


@pytest.mark.parametrize("seed", range(5))
def test_ks_from_bins_is_within_one_bins_mass_of_ks_on_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    old, new = rng.lognormal(0, 1, 20_000), rng.lognormal(0.1, 1.1, 2_000)
    edges = np.quantile(old, np.linspace(0, 1, 257)[1:-1])
    counts = [np.bincount(np.searchsorted(edges, x, side="right"), minlength=256) for x in (old, new)]
    ours, exact = distance.kolmogorov_smirnov(*counts), ks_2samp(old, new)
    assert abs(ours.statistic - exact.statistic) <= counts[0].max() / 20_000 + 1e-12
    assert ours.p_value == pytest.approx(exact.pvalue, rel=0.5, abs=0.02)


def test_jensen_shannon_and_wasserstein_are_scipys() -> None:
    p, q = [10, 20, 30, 0], [5, 25, 20, 10]
    assert distance.jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q))
    points = [0.0, 1.0, 3.0, 10.0]
    assert distance.wasserstein(points, p, q, 2.0) == pytest.approx(wasserstein_distance(points, points, p, q) / 2)


def test_chi_squared_treats_both_sides_as_samples_and_pools_small_cells() -> None:
    old, new = [500, 300, 200], [60, 25, 15]
    exact = chi2_contingency([old, new], correction=False)
    ours = distance.chi_squared(old, new)
    assert ours.statistic == pytest.approx(exact.statistic)
    assert ours.p_value == pytest.approx(exact.pvalue)
    lone = distance.chi_squared([1000, 1000, 0], [100, 99, 1])  # one unseen value is no proof of anything
    assert lone.p_value > 0.5


def test_chi_squared_is_honest_about_many_rare_categories() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(100))
    false = [
        distance.chi_squared(rng.multinomial(5000, p), rng.multinomial(1000, p)).p_value < 0.05 for _ in range(200)
    ]
    assert np.mean(false) < 0.09


@pytest.mark.parametrize("n", [200, 1000, 20_000])
def test_corrected_psi_is_near_zero_when_nothing_has_changed(n: int) -> None:
    rng = np.random.default_rng(2)
    cells = distance.cells_for(n)
    pairs = [
        (rng.multinomial(20 * n, [1 / cells] * cells), rng.multinomial(n, [1 / cells] * cells)) for _ in range(300)
    ]
    assert np.mean([distance.psi(*pair) for pair in pairs]) == pytest.approx(
        (cells - 1) * (1 / n + 1 / (20 * n)), rel=0.15
    )
    assert np.mean([distance.psi_corrected(*pair) for pair in pairs]) < 0.5 * (cells - 1) / n


def test_corrected_psi_is_the_same_for_small_and_large_windows() -> None:
    p, q = [0.25] * 4, [0.3, 0.25, 0.25, 0.2]
    rng = np.random.default_rng(3)
    small, large = (
        np.mean([distance.psi_corrected(rng.multinomial(20 * n, p), rng.multinomial(n, q)) for _ in range(300)])
        for n in (500, 50_000)
    )
    assert small == pytest.approx(large, rel=0.15)


def test_no_rows_have_no_distance() -> None:
    for name in ("jensen_shannon", "total_variation", "hellinger", "l_infinity"):
        assert np.isnan(METRICS[name]([1, 2], [0, 0])), name
    assert np.isnan(distance.psi_corrected([1, 2], [0, 0]))
    assert np.isnan(distance.kolmogorov_smirnov([1, 2], [0, 0]).p_value)
    assert np.isnan(distance.chi_squared([1, 2], [0, 0]).p_value)
    assert np.isnan(distance.wasserstein([0, 1], [1, 2], [2, 1], 0.0))


def test_merging_keeps_rows_and_joins_what_lies_outside_the_training_range() -> None:
    old, new = distance.merged([0, *[10] * 40, 0], [7, *[1] * 40, 5], 10)
    assert len(old) == 10
    assert (old.sum(), new.sum()) == (400, 52)
    assert new[0] == 7 + 4


def test_lumping_keeps_new_values_apart() -> None:
    old, new = distance.lumped([*[10] * 40, 0], [*[1] * 40, 9], 10)
    assert len(old) == 10
    assert (old[-1], new[-1]) == (0, 9)
