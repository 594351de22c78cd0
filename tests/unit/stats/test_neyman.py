"""Neyman's components: unit variance under the reference, and what each of them sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.stats.neyman import components, order_for, shifted


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=5, max_size=60).filter(lambda c: sum(n > 0 for n in c) >= 5))
def test_components_are_uncorrelated_with_mean_zero_and_variance_one(counts: list[int]) -> None:
    p = np.array(counts) / sum(counts)
    phi = components(p, 4)
    assert phi.shape == (len(p), 4)
    np.testing.assert_allclose(p @ phi, 0, atol=1e-7)
    np.testing.assert_allclose(phi.T @ (p[:, None] * phi), np.eye(4), atol=1e-6)


def test_the_first_is_cohens_d_of_a_small_normal_shift() -> None:
    rng = np.random.default_rng(1)
    edges = np.quantile(rng.normal(0, 1, 200_000), np.linspace(0, 1, 257)[1:-1])
    p = np.bincount(np.searchsorted(edges, rng.normal(0, 1, 400_000)), minlength=256) / 400_000
    q = np.bincount(np.searchsorted(edges, rng.normal(0.2, 1, 400_000)), minlength=256) / 400_000
    phi = components(p, 4)
    assert (q @ phi)[0] == pytest.approx(0.98 * 0.2, abs=0.01)
    assert abs((q @ phi)[1]) < 0.03


@pytest.mark.parametrize("shift", [-1.5, -0.3, 0.5, 2.0])
def test_what_a_shift_alone_does_to_spread_and_shape_is_known_whatever_the_scale_of_the_values(shift: float) -> None:
    rng = np.random.default_rng(2)
    before, after = np.exp(rng.normal(0, 1, 400_000)), np.exp(rng.normal(shift, 1, 400_000))  # log-normal
    edges = np.quantile(before, np.linspace(0, 1, 257)[1:-1])
    p, q = (np.bincount(np.searchsorted(edges, x), minlength=256) / len(x) for x in (before, after))
    first, *others = q @ components(p, 4)
    np.testing.assert_allclose(shifted(first), others, atol=0.02)


def test_it_saturates_which_is_why_there_is_a_location_beside_it() -> None:
    phi = components(np.full(256, 1 / 256), 1)
    assert phi[-1, 0] == pytest.approx(np.sqrt(3), abs=0.02)


def test_bins_outside_the_training_range_count_like_the_outermost_inside() -> None:
    phi = components([0.0, 0.25, 0.25, 0.0, 0.5, 0.0], 2)
    assert phi[0].tolist() == phi[1].tolist()
    assert phi[-1].tolist() == phi[-2].tolist()


@pytest.mark.parametrize(
    ("share", "floor", "filled", "order"),
    [(0.05, False, 40, 4), (0.25, False, 40, 2), (0.6, True, 40, 1), (0.6, False, 40, 2), (0.0, False, 3, 2)],
)
def test_columns_with_heavy_atoms_bear_fewer(share: float, floor: bool, filled: int, order: int) -> None:
    assert order_for(share, at_floor=floor, filled=filled) == order


def test_a_single_filled_bin_has_none() -> None:
    assert components([0.0, 1.0], 4).shape == (2, 0)
