from __future__ import annotations

import numpy as np
import pytest

from monitor.stats.resampling import lag_correlation, mean_shift, mean_with_error, skill, skill_bound


def correlated(rho: float, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.zeros(n)
    for i in range(1, n):
        x[i] = rho * x[i - 1] + rng.normal(0, np.sqrt(1 - rho**2))
    return x


def test_the_error_of_a_mean_grows_with_the_correlation_of_neighbours() -> None:
    means = [correlated(0.6, 200, seed).mean() for seed in range(200)]
    stated = np.median([mean_with_error(correlated(0.6, 200, seed))[1] for seed in range(200)])
    assert stated == pytest.approx(np.std(means), rel=0.25)


def test_too_few_values_have_no_certain_mean() -> None:
    assert mean_with_error([1.0])[1] == np.inf
    assert np.isnan(mean_shift([1.0] * 4, np.arange(20.0)))


def test_values_that_do_not_vary_have_no_correlation() -> None:
    assert lag_correlation(np.ones(30)) == 0.0


def test_a_shift_is_measured_in_errors_of_the_reference() -> None:
    reference = correlated(0.0, 400, 1)
    z = mean_shift(correlated(0.0, 28, 2) + 3, reference)
    assert z == pytest.approx(3 * np.sqrt(28), rel=0.25)


def test_the_skill_bound_holds_what_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        losses, base = rng.gamma(5, 0.16, 60), rng.gamma(5, 0.2, 60)
        hits += skill_bound(losses, base, 0.95, rng) >= 0.2  # the true skill
    assert 0.88 <= hits / 200 <= 1
    assert skill([1.0], [2.0]) == 0.5
