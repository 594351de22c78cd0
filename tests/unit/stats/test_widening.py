"""Merged windows: as if their profiles had been merged, and as often wrong as they say."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.stats.calibration import Calibration, RowShape, calibrate
from monitor.stats.widening import widen

ROWS, C = 60, 400


def world(windows: int, *, natural: float, rho: float, seed: int) -> np.ndarray:
    """Return θ of windows of 60 rows whose natural variation remembers."""
    rng = np.random.default_rng(seed)
    moved = rng.normal(0, natural, (windows + 30, C))
    for t in range(1, len(moved)):
        moved[t] = rho * moved[t - 1] + np.sqrt(1 - rho**2) * moved[t]
    return moved[30:] + rng.normal(0, 1 / np.sqrt(ROWS), (windows, C))


def fitted(natural: float, rho: float, seed: int = 1) -> Calibration:
    theta = world(56, natural=natural, rho=rho, seed=seed)
    row = RowShape(skewness=np.zeros(C), kurtosis=np.zeros(C), kin=np.zeros(C, np.int64))
    return calibrate(theta, np.full(theta.shape, float(ROWS)), np.ones(C), np.zeros(56, int), 1, row)


@pytest.mark.parametrize(("natural", "rho"), [(0.0, 0.0), (0.1, 0.0), (0.1, 0.6)])
def test_merged_windows_are_flagged_as_often_as_they_say(natural: float, rho: float) -> None:
    found = []
    for seed in range(3):
        theta = world(28, natural=natural, rho=rho, seed=seed + 50)
        calibration = fitted(natural, rho, seed)
        merged = widen(calibration, calibration.deviation(theta), np.full(theta.shape, ROWS), alpha=0.01, tolerance=0.0)
        assert set(merged.windows.tolist()) == {28}
        found.append(np.mean(merged.p <= 0.01))
    assert np.mean(found) <= 0.015


def test_a_shift_of_the_stated_size_is_found_four_times_in_five() -> None:
    calibration = fitted(0.05, 0.3)
    theta = world(28, natural=0.05, rho=0.3, seed=9)
    deviation, n = calibration.deviation(theta), np.full(theta.shape, ROWS)
    stated = widen(calibration, deviation, n, alpha=0.005, tolerance=0.0).minimum_detectable
    merged = widen(calibration, deviation + stated, n, alpha=0.005, tolerance=0.0)
    assert 0.72 <= np.mean(np.abs(merged.deviation) >= merged.threshold) <= 0.9


def test_no_more_windows_are_merged_than_the_tolerance_needs() -> None:
    calibration = fitted(0.0, 0.0)
    n = np.full((28, C), ROWS)
    widths = [widen(calibration, np.zeros((28, C)), n, alpha=0.01, tolerance=t).windows.max() for t in (2.0, 0.4, 0.2)]
    assert widths[0] == 1
    assert sorted(widths) == widths
    assert widths[-1] > widths[0]


def test_windows_of_different_size_count_by_their_rows() -> None:
    calibration = fitted(0.0, 0.0)
    deviation, n = np.vstack([np.full(C, 1.0), np.zeros(C)]), np.vstack([np.full(C, 30.0), np.full(C, 90.0)])
    assert widen(calibration, deviation, n, alpha=0.01, tolerance=0.0).deviation[0] == pytest.approx(0.25)


def test_a_channel_without_rows_says_nothing() -> None:
    calibration = fitted(0.1, 0.0).at([3])
    merged = widen(calibration, np.full((5, 1), np.nan), np.zeros((5, 1)), alpha=0.01, tolerance=0.1)
    assert merged.windows[0] == 0
    assert np.isnan(merged.p[0])
