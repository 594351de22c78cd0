"""Change points: the interval holds the true beginning as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.stats.changepoint import change_point

RNG = np.random.default_rng


def _series(rng: np.random.Generator, size: float, at: int, rho: float, windows: int = 29) -> np.ndarray:
    noise = np.zeros(windows + 20)
    for t in range(1, len(noise)):
        noise[t] = rho * noise[t - 1] + np.sqrt(1 - rho**2) * rng.normal()
    return noise[20:] + size * (np.arange(windows) >= at)


@pytest.mark.parametrize(("size", "rho"), [(1.0, 0.0), (2.0, 0.0), (4.0, 0.0), (2.0, 0.6)])
def test_nine_of_ten_intervals_hold_the_true_beginning(size: float, rho: float) -> None:
    rng = RNG(1)
    held = 0
    for _ in range(300):
        at = int(rng.integers(3, 24))
        found = change_point(_series(rng, size, at, rho), rho)
        assert found is not None
        assert found.first <= found.at <= found.last
        held += found.first <= at <= found.last
    assert held / 300 >= 0.9


def test_a_larger_shift_is_dated_more_narrowly() -> None:
    rng = RNG(2)
    widths = []
    for size in (1.0, 2.0, 4.0):
        found = [change_point(_series(rng, size, 15, 0.0)) for _ in range(100)]
        widths.append(np.mean([f.last - f.first for f in found if f is not None]))
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] < 2


def test_windows_without_a_score_are_left_out_and_keep_their_places() -> None:
    z = np.array([0.1, np.nan, -0.2, np.nan, 6.0, np.nan, 6.1])
    found = change_point(z)
    assert found is not None
    assert found.at == 4
    assert change_point([np.nan, np.nan]) is None


def test_a_shift_older_than_the_series_begins_with_it() -> None:
    found = change_point(np.full(28, 5.0))
    assert found is not None
    assert found.at == 0
