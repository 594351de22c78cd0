"""Occasions: the few training windows on holidays say what is usual on one."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.stats.calibration import Calibration, calibrate
from monitor.stats.occasion import occasional

ROWS = 1e9


def learned(holidays: np.ndarray, seed: int, spread: float = 0.1) -> tuple[Calibration, Calibration]:
    """Return the null models of ordinary days and of holidays, (r, C)."""
    C = holidays.shape[1]
    days = np.random.default_rng(seed).normal(0, spread, (56, C))
    usual = calibrate(days, np.full(days.shape, ROWS), np.ones(C), np.zeros(56, int))
    return usual, occasional(usual, holidays, np.full(holidays.shape, ROWS), np.zeros(len(holidays), int))


@pytest.mark.parametrize("holidays", [3, 5, 12])
@pytest.mark.parametrize("varied", [0.0, 0.3])
def test_holidays_like_those_of_training_keep_to_the_level(holidays: int, varied: float) -> None:
    rng = np.random.default_rng(holidays)
    wide = np.hypot(0.1, varied)
    _, feast = learned(1.0 + rng.normal(0, wide, (holidays, 4000)), seed=holidays)
    assert np.mean(feast.p(1.0 + rng.normal(0, wide, 4000), ROWS) <= 0.01) <= 0.015


def test_a_holiday_unlike_those_of_training_is_found_the_sooner_the_more_there_were() -> None:
    found = []
    for holidays in (3, 10):
        _, feast = learned(1.0 + np.random.default_rng(9).normal(0, 0.1, (holidays, 2000)), seed=1)
        found.append(float(np.mean(feast.p(np.full(2000, -1.0), ROWS) <= 0.01)))
    assert found[0] < 0.5 < 0.99 < found[1]


def test_where_holidays_move_nothing_they_are_judged_like_other_days() -> None:
    usual, feast = learned(np.random.default_rng(3).normal(0, 0.1, (4, 2000)), seed=3)
    assert np.median(feast.scale(ROWS) / usual.scale(ROWS)) < 1.15


def test_fewer_than_three_holidays_say_nothing() -> None:
    _, feast = learned(np.full((2, 5), 1.0), seed=4)
    assert np.isnan(feast.z(np.ones(5), ROWS)).all()


def test_few_holidays_move_the_mean_less_than_many() -> None:
    means = [learned(np.full((r, 1), 1.0), seed=5)[1].mean[0, 0] for r in (3, 30)]
    assert means[0] == pytest.approx(0.75, abs=0.05)
    assert means[1] == pytest.approx(30 / 31, abs=0.05)
