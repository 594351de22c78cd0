"""Tails: what skewness and heavy tails do to a p-value, and that worlds of bells stay bells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, gamma, norm

from monitor.stats.calibration import RowShape, calibrate
from monitor.stats.tails import normal_of, skewed_of, tail_weights

RNG = np.random.default_rng


@pytest.mark.parametrize("expected", [10, 25, 100])
@pytest.mark.parametrize("p", [1e-3, 1e-4])
def test_a_small_count_has_its_exact_tail(expected: int, p: float) -> None:
    n, share = 10_000, expected / 10_000
    count = int(binom.isf(p, n, share)) + 1
    spread = np.sqrt(n * share * (1 - share))
    z, skewness = (count - expected) / spread, (1 - 2 * share) / spread
    exact = binom.sf(count - 1, n, share)
    assert norm.sf(normal_of(z, skewness)) == pytest.approx(exact, rel=0.35)
    assert norm.sf(z) < exact / 1.35, "a plain bell would flag too often"


def test_a_bell_stays_a_bell_and_the_short_side_is_believed_no_more_than_a_bell() -> None:
    z = np.linspace(-6, 6, 25)
    assert normal_of(z, 0.0) == pytest.approx(z, abs=1e-4)
    for skewness in (0.5, 2.0, -2.0):
        assert (np.abs(normal_of(z, skewness)) <= np.abs(z) + 1e-12).all()
    assert np.isnan(normal_of(np.nan, 1.0))


@pytest.mark.parametrize("skewness", [0.1, 0.5, 1.0])
def test_the_critical_value_is_where_the_gamma_has_it(skewness: float) -> None:
    shape = 4 / skewness**2
    exact = (gamma.isf(1e-4, shape) - shape) / np.sqrt(shape)
    assert skewed_of(norm.isf(1e-4), skewness) == pytest.approx(exact, rel=0.02)
    assert normal_of(skewed_of(3.0, skewness), skewness) == pytest.approx(3.0)


def test_heavy_tails_are_told_from_bells_by_all_channels_together() -> None:
    rng = RNG(1)
    bell, _ = tail_weights(rng.normal(size=(56, 60)))
    heavy, _ = tail_weights(rng.standard_t(3, (56, 60)))
    assert bell.mean() < 0.02
    assert heavy.mean() > 0.13
    assert heavy.max() <= 0.15, "no tail is believed that would never let anything be seen"


def test_missing_windows_say_nothing_about_tails() -> None:
    rng = RNG(2)
    residual = rng.standard_t(3, (112, 40))
    gaps = np.where(np.arange(112)[:, None] % 2 == 0, residual, np.nan)
    assert tail_weights(gaps)[0] == pytest.approx(tail_weights(residual[::2])[0])


def _rates(theta: np.ndarray, fresh: np.ndarray, row: RowShape, n: float, unit: float, p: float) -> float:
    fitted = calibrate(theta, np.full(theta.shape, n), np.full(theta.shape[1], unit), np.zeros(len(theta), int), 1, row)
    return float((fitted.p(fresh, n) < p).mean())


def test_windows_whose_rows_share_a_source_value_are_judged_by_the_few_values_they_hold() -> None:
    """A thousand rows that hold five values are as skewed as five rows: believing in a thousand flags far too often."""
    rng = RNG(3)
    row = RowShape(skewness=np.full(40, 2.0), kurtosis=np.full(40, 6.0), kin=np.zeros(40, np.int64))  # an exponential's
    theta, fresh = (rng.exponential(1.0, (k, 40, 5)).mean(axis=2) - 1 for k in (56, 4000))
    nothing = RowShape(skewness=np.zeros(40), kurtosis=np.zeros(40), kin=np.zeros(40, np.int64))
    known, blind = _rates(theta, fresh, row, 1000.0, 1.0, 1e-3), _rates(theta, fresh, nothing, 1000.0, 1.0, 1e-3)
    assert known < 3e-3
    assert blind > 2 * known


def test_without_natural_variation_the_variance_of_a_row_is_known_and_not_estimated() -> None:
    """Degrees of freedom are those of what was learned; a bell's p stays near nominal where a plain t is half blind."""
    rng = RNG(4)
    bell = RowShape(skewness=np.zeros(200), kurtosis=np.zeros(200), kin=np.zeros(200, np.int64))
    theta, fresh = rng.normal(0, 1 / np.sqrt(500), (56, 200)), rng.normal(0, 1 / np.sqrt(500), (4000, 200))
    assert 0.3e-3 < _rates(theta, fresh, bell, 500.0, 1.0, 1e-3) < 1.2e-3


def test_weeks_that_resemble_each_other_widen_the_error_of_their_mean() -> None:
    rng = RNG(5)
    theta = np.zeros((56, 300))
    for t in range(1, 56):
        theta[t] = 0.6 * theta[t - 1] + rng.normal(0, 0.1, 300)
    bell = RowShape(skewness=np.zeros(300), kurtosis=np.zeros(300), kin=np.zeros(300, np.int64))
    fitted = calibrate(theta, np.full(theta.shape, 1e6), np.ones(300), np.zeros(56, int), 1, bell)
    assert np.median(fitted.inflation(1e6)) > 2.5 / 56  # (1 + ρ) / (1 − ρ) is 4
    off = np.abs(fitted.mean[0]) / np.sqrt(fitted.natural)
    assert off.std() < 1.5 * np.sqrt(np.median(fitted.inflation(1e6)))


def test_normal_scores_have_the_p_of_what_they_stand_for() -> None:
    row = RowShape(skewness=np.full(1, 1.0), kurtosis=np.full(1, 3.0), kin=np.zeros(1, np.int64))
    theta = RNG(6).exponential(0.1, (56, 1))
    fitted = calibrate(theta, np.full(theta.shape, 100.0), np.ones(1), np.zeros(56, int), 1, row)
    z = np.array([[-3.0], [0.0], [4.0]])
    score = fitted.normal(z, 100.0)
    assert 2 * norm.sf(np.abs(score)) == pytest.approx(fitted.p_of(z, 100.0), rel=1e-6)
    assert score[0, 0] < 0 < score[2, 0] < 4
    assert np.isfinite(fitted.normal(np.array([[1e6]]), 100.0)).all()


def test_channels_of_another_kin_tell_nothing_of_these() -> None:
    """Spreads are bells where locations are not: four hundred calm channels must not make wild ones look calm."""
    rng = RNG(7)
    wild, calm = rng.standard_t(3, (56, 30)), rng.normal(size=(56, 400))
    theta = np.hstack([wild, calm])
    tails = []
    for kin in (np.repeat([0, 1], [30, 400]), np.zeros(430, np.int64)):
        row = RowShape(skewness=np.zeros(430), kurtosis=np.zeros(430), kin=kin)
        fitted = calibrate(theta, np.full(theta.shape, 1e9), np.ones(430), np.zeros(56, int), 1, row)
        tails.append(fitted.tail)
    assert tails[0][:30].mean() > tails[1][:30].mean() + 0.01
    assert tails[0][30:].mean() < 0.02
