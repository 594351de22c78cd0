"""The null model of windows: what it learns from training, and how right its promises are."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.stats.calibration import Calibration, RowShape, calibrate

RNG = np.random.default_rng


def flat(theta: np.ndarray, n: float = 1000.0, unit: float = 1.0) -> Calibration:
    theta = theta.reshape(len(theta), -1)
    return calibrate(theta, np.full(theta.shape, n), np.full(theta.shape[1], unit), np.zeros(len(theta), int))


def test_pure_sampling_noise_leaves_no_natural_variance() -> None:
    theta = RNG(1).normal(0, 1 / np.sqrt(1000), (200, 50))
    fitted = flat(theta)
    assert np.sqrt(np.median(fitted.natural)) < 0.01
    assert np.abs(fitted.z(theta, 1000.0)).std() < 1.1


def test_more_rows_cannot_beat_the_natural_variance() -> None:
    fitted = flat(RNG(2).normal(0, 0.1, (100, 1)))
    many, few = fitted.scale(1e9)[0], fitted.scale(100.0)[0]
    assert many == pytest.approx(0.1, rel=0.2)
    assert few == pytest.approx(np.hypot(0.1, 0.1), rel=0.2)


def test_p_values_of_new_windows_are_uniform_when_nothing_is_wrong() -> None:
    rng = RNG(3)
    below = []
    for _ in range(400):
        theta = rng.normal(0, 0.2, (30, 20))
        below.append(flat(theta).p(rng.normal(0, 0.2, 20), 1000.0) < 0.05)
    assert np.mean(below) == pytest.approx(0.05, abs=0.012)


def test_weekdays_that_differ_are_compared_with_themselves() -> None:
    rng = RNG(4)
    slots = np.arange(56) % 7
    theta = (np.where(slots == 6, 1.0, 0.0) + rng.normal(0, 0.05, 56)).reshape(-1, 1)
    fitted = calibrate(theta, np.full((56, 1), 1e6), np.ones(1), slots, 7)
    assert fitted.mean[6, 0] == pytest.approx(1.0, abs=0.1)
    assert abs(fitted.z([1.0], [1e6], 6)[0]) < 2 < 8 < abs(fitted.z([1.0], [1e6], 2)[0])


def test_noise_is_not_taken_for_a_season() -> None:
    theta = RNG(5).normal(0, 0.1, (56, 200))
    fitted = calibrate(theta, np.full(theta.shape, 1e9), np.ones(200), np.arange(56) % 7, 7)
    spread = np.abs(fitted.mean - fitted.mean.mean(axis=0)).mean()
    assert spread < 0.02  # unshrunk weekday means would be .03 off


HOURS = np.arange(168 * 4)
WEEK = HOURS % 168


def week_of(effect: np.ndarray, *, weeks: int = 4, rho: float = 0.0, channels: int = 200, seed: int = 7) -> Calibration:
    """Return the null model of hours that have this effect (168,), with a memory of ``rho`` from hour to hour."""
    noise = RNG(seed).normal(0, 0.1, (168 * weeks + 50, channels))
    for t in range(1, len(noise)):
        noise[t] = rho * noise[t - 1] + np.sqrt(1 - rho**2) * noise[t]
    slots = np.arange(168 * weeks) % 168
    theta = effect[slots][:, None] + noise[50:]
    row = RowShape(skewness=np.zeros(channels), kurtosis=np.zeros(channels), kin=np.zeros(channels, np.int64))
    return calibrate(theta, np.full(theta.shape, 1e6), np.ones(channels), slots, 168, row)


def test_an_hour_of_the_week_is_compared_with_itself() -> None:
    saturday_night = np.where(np.arange(168) == 5 * 24 + 23, 1.0, 0.0)
    fitted = week_of(saturday_night)
    assert np.abs(fitted.z(np.ones(200), 1e6, 5 * 24 + 23)).mean() < 4
    assert np.abs(fitted.z(np.ones(200), 1e6, 4 * 24 + 23)).min() > 6


def test_hours_and_weekdays_add_up_where_training_has_seen_each_hour_of_the_week_once_or_twice() -> None:
    hour, weekday = np.sin(np.arange(168) * 2 * np.pi / 24), np.where(np.arange(168) // 24 >= 5, 0.5, 0.0)
    fitted = week_of(hour + weekday, weeks=2)
    assert np.abs(fitted.mean - (hour + weekday)[:, None]).mean() < 0.05


@pytest.mark.parametrize("rho", [0.0, 0.8])
@pytest.mark.parametrize("weeks", [1, 2, 4])
def test_noise_is_not_taken_for_a_week_of_hours(rho: float, weeks: int) -> None:
    """Hours of one day resemble each other: they are no twenty-four witnesses of what a Monday is like."""
    fitted = week_of(np.zeros(168), weeks=weeks, rho=rho)
    assert np.abs(fitted.mean - fitted.mean.mean(axis=0)).mean() < 0.04
    below = fitted.p(RNG(8).normal(0, 0.1, (168, 200)), 1e6, np.arange(168)) <= 0.01
    assert np.mean(below) <= 0.015


def test_windows_of_six_hours_have_a_season_too() -> None:
    slots = np.arange(0, 168 * 4, 6) % 168
    theta = np.where(slots % 24 == 0, 1.0, 0.0)[:, None] + RNG(9).normal(0, 0.05, (len(slots), 1))
    fitted = calibrate(theta, np.full(theta.shape, 1e6), np.ones(1), slots, 168)
    assert fitted.mean[24, 0] == pytest.approx(1.0, abs=0.1)
    assert fitted.mean[30, 0] == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("windows", [7, 13])
def test_less_than_two_rounds_make_no_season(windows: int) -> None:
    theta = RNG(6).normal(0, 1, (windows, 1))
    fitted = calibrate(theta, np.full(theta.shape, 100.0), np.ones(1), np.arange(windows) % 7, 7)
    assert np.ptp(fitted.mean) == 0


def test_a_statistic_without_values_is_nan_and_hides_no_other() -> None:
    theta = RNG(7).normal(0, 0.1, (30, 2))
    theta[:, 0] = np.nan
    fitted = flat(theta)
    z = fitted.z([np.nan, 5.0], 1000.0)
    assert np.isnan(z[0])
    assert z[1] > 20
    assert np.isnan(fitted.z([0.1, np.nan], 1000.0)).all()
    assert np.isfinite(fitted.autocorrelation).all()


def test_missing_windows_are_left_out_of_mean_and_variance() -> None:
    theta = RNG(8).normal(0.3, 0.1, (60, 1))
    gaps = theta.copy()
    gaps[::2] = np.nan
    fitted, whole = flat(gaps), flat(theta[1::2])
    assert fitted.mean[0, 0] == pytest.approx(whole.mean[0, 0])
    assert fitted.natural[0] == pytest.approx(whole.natural[0])


@pytest.mark.parametrize("windows", [1, 2])
def test_two_windows_say_nothing_about_variance(windows: int) -> None:
    assert np.isnan(flat(np.zeros((windows, 1))).z([1.0], [1000.0])[0])


def test_a_mostly_zero_feature_does_not_flag_its_own_training() -> None:
    """Winsorising at three median deviations would: its median deviation is 0."""
    rng = RNG(9)
    rain = np.where(rng.random((60, 1)) < 0.2, rng.exponential(1.0, (60, 1)), 0.0)
    assert (flat(rain).p(rain, 1000.0) < 0.001).mean() < 0.05


def test_lasting_weather_is_seen_as_autocorrelation_and_noise_is_not() -> None:
    rng = RNG(10)
    weather = np.zeros(200)
    for t in range(1, 200):
        weather[t] = 0.7 * weather[t - 1] + rng.normal()
    fitted = flat(np.stack([weather, rng.normal(0, 1, 200)], axis=1))
    assert fitted.autocorrelation[0] == pytest.approx(0.7, abs=0.15)
    assert fitted.autocorrelation[1] < 0.2


def test_shifts_of_the_minimum_detectable_size_are_found_four_times_in_five() -> None:
    rng = RNG(11)
    found = []
    for _ in range(150):
        fitted = flat(rng.normal(0, 0.2, (59, 10)))
        size = fitted.minimum_detectable(1000.0, 0.001)
        found.append(fitted.p(rng.normal(0, 0.2, 10) + size, 1000.0) < 0.001)
    assert np.mean(found) > 0.75


def test_windows_in_a_row_detect_less_when_they_resemble_each_other() -> None:
    theta = RNG(12).normal(0, 0.2, (59, 1))
    alone = flat(theta).minimum_detectable(1000.0, 0.01)[0]
    week = flat(theta).minimum_detectable(1000.0, 0.01, windows=7)[0]
    assert alone / np.sqrt(7) < week < alone


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="same windows"):
        calibrate(np.zeros((5, 2)), np.zeros((5, 1)), np.ones(2), np.zeros(5, int))
    with pytest.raises(ValueError, match="seasons"):
        calibrate(np.zeros((5, 1)), np.zeros((5, 1)), np.ones(1), np.arange(5), 3)


BELLS = RowShape(skewness=np.zeros(40), kurtosis=np.zeros(40), kin=np.zeros(40, np.int64))


@pytest.mark.parametrize("row", [None, BELLS])
def test_windows_of_very_different_sizes_are_all_judged_by_their_own_noise(row: RowShape | None) -> None:
    """The mean of 1 / n, not 1 over the mean of n, is training's noise: what is left of it would pass for natural."""
    rng = np.random.default_rng(11)
    n = np.tile(np.where(np.arange(56) % 7 >= 5, 40.0, 2000.0)[:, None], 40)
    fitted = calibrate(rng.normal(size=n.shape) / np.sqrt(n), n, np.ones(40), np.zeros(56, np.int64), row=row)
    for rows in (40, 2000):
        z = fitted.z(rng.normal(size=(500, 40)) / np.sqrt(rows), np.full(40, rows))
        assert z.std() == pytest.approx(1.0, abs=0.15)


def test_the_error_of_a_mean_counts_the_memory_that_noise_hides() -> None:
    """A quarter natural (φ = .8): single channels of 56 windows cannot tell, forty together can."""
    rng = np.random.default_rng(12)
    errors, off = [], []
    for _ in range(20):
        level = np.zeros((56 + 30, 40))
        for t in range(1, len(level)):
            level[t] = 0.8 * level[t - 1] + 0.6 * rng.normal(size=40)
        theta = 0.04 * level[30:] + rng.normal(size=(56, 40)) * np.sqrt(3) * 0.04
        n = np.full((56, 40), 1 / (3 * 0.04**2))
        fitted = calibrate(theta, n, np.ones(40), np.zeros(56, np.int64), row=BELLS)
        errors.append(fitted.error)
        off.append(fitted.mean[0] ** 2)
    assert 0.8 * np.mean(off) < np.mean(errors) < 1.5 * np.mean(off)
