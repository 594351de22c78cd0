"""Tails that are no bell's: what skewness and heavy tails do to a window's z, and how heavy they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, stdtr, stdtrit

Floats = NDArray[np.float64]

WEIGHTS = np.array([0.0, 0.03, 0.06, 0.09, 0.12, 0.15])  # 1 / ν of the t distributions that are tried
BELIEF = 2.0
FAR = 1e-4  # the two-sided p at which the tails of one t distribution stand for those of a mixture
ROUNDS = 12  # of the fits: both converge fast, and a last digit of them changes no verdict
LEAST_SKEW = 1e-6


def normal_of(z: ArrayLike, skewness: ArrayLike) -> Floats:
    """Return the normal scores of values with mean 0, variance 1 and this skewness; same shape, NaN in, NaN out.

    z′ = (6/γ) (∛(γ z / 2 + 1) − 1) + γ / 6, the cube root of a gamma variable (Wilson, Hilferty 1931). A mean of few
    rows, or a count with few expected, is skewed as a gamma is; on its short side the bell is kept, since nothing says
    that the tail ends there. For a count with ten expected rows the one-sided p of 23 is 2.3e-4, exactly 2.4e-4, by a
    plain bell 2e-5. Not good for skewness above about 3.

    >>> normal_of([4.11, -4.11, 4.11], [0.316, 0.316, 0.0]).round(2).tolist()
    [3.5, -4.11, 4.11]
    """
    z = np.asarray(z, np.float64)
    gamma = np.where(np.abs(skewness) < LEAST_SKEW, LEAST_SKEW, np.asarray(skewness, np.float64))
    straight = 6 / gamma * (np.cbrt(gamma * z / 2 + 1) - 1) + gamma / 6
    long = np.sign(z) * np.clip(np.sign(z) * straight, 0.0, np.abs(z))
    return np.asarray(np.where(gamma * z > 0, long, z), np.float64)


def skewed_of(score: ArrayLike, skewness: ArrayLike) -> Floats:
    """Return |z| on the long side that has this positive normal score: the inverse of ``normal_of`` there.

    >>> skewed_of(3.5, 0.316).round(1).item()
    4.1
    """
    score = np.asarray(score, np.float64)
    gamma = np.maximum(np.abs(np.asarray(skewness, np.float64)), LEAST_SKEW)
    return np.asarray(np.maximum(score, 2 / gamma * ((gamma / 6 * (score - gamma / 6) + 1) ** 3 - 1)), np.float64)


def tail_weights(residual: ArrayLike) -> tuple[Floats, Floats]:
    """Return 1 / ν of each channel's t distribution and its squared scale, from residuals (K, C), NaN left out.

    Every ν of a small grid is fitted by maximum likelihood (scale by reweighting), and weighted under a prior that all
    channels share: their own mixture, by EM, started at the bell with the weight of five channels. Sixty windows of
    one channel cannot tell ν; sixty channels that live in the same weeks can. What is returned is the t distribution
    whose p of 1e-4 lies where the mixture has it, so not knowing ν counts as a heavier tail.
    Nothing heavier than ν ≈ 7 is believed: with ν = 3 and sixty windows a p of 1e-4 is thirty deviations out, and
    nothing is ever seen. So truly heavier tails flag more often than asked for, and the achieved rate says it.
    Not good for a single rare event of its own kind (a holiday): give it a calendar.

    >>> rng = np.random.default_rng(0)
    >>> bell, heavy = tail_weights(rng.normal(size=(60, 40)))[0], tail_weights(rng.standard_t(3, (60, 40)))[0]
    >>> bool(bell.mean() < 0.02), bool(heavy.mean() > 0.14)
    (True, True)
    """
    r2 = np.asarray(residual, np.float64) ** 2
    known = np.isfinite(r2)
    r2 = np.where(known, r2, 0.0)
    K = np.maximum(known.sum(axis=0), 1)
    plain = np.maximum(r2.sum(axis=0) / K, 1e-300)
    likelihood, scales = np.empty((len(WEIGHTS), len(K))), np.empty((len(WEIGHTS), len(K)))
    for g, weight in enumerate(WEIGHTS):
        scale = plain
        if weight == 0.0:
            likelihood[g] = -0.5 * K * (np.log(2 * np.pi * plain) + 1)
            scales[g] = plain
            continue
        nu = 1 / weight
        for _ in range(ROUNDS):
            scale = np.maximum((r2 * (nu + 1) / (nu + r2 / scale)).sum(axis=0) / K, 1e-300)
        each = np.where(known, np.log1p(r2 / (nu * scale)), 0.0).sum(axis=0)
        constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi * scale)
        likelihood[g] = K * constant - (nu + 1) / 2 * each
        scales[g] = scale
    believed = np.full(len(WEIGHTS), 0.5 / (len(WEIGHTS) - 1))
    believed[0] = 0.5
    prior, start = believed, BELIEF * np.eye(len(WEIGHTS))[0]
    for _ in range(ROUNDS):
        mass = prior[:, None] * np.exp(likelihood - likelihood.max(axis=0))
        mass /= mass.sum(axis=0)
        prior = (mass.sum(axis=1) + start) / (mass.shape[1] + BELIEF)
    scale = (scales * mass).sum(axis=0)
    return _equivalent(mass, np.sqrt(scales / scale)), scale


def _equivalent(mass: Floats, spread: Floats) -> Floats:
    """Return 1 / ν of the one t distribution that is as far out as the mixture at p = ``FAR``; both (grid, C)."""
    nu = 1 / np.maximum(WEIGHTS, 1e-9)
    low, high = np.full(mass.shape[1], 2.0), np.full(mass.shape[1], 100.0)
    for _ in range(30):
        middle = np.sqrt(low * high)
        heavier = 2 * (mass * stdtr(nu[:, None], -middle / spread)).sum(axis=0) > FAR
        low, high = np.where(heavier, middle, low), np.where(heavier, high, middle)
    grid = np.linspace(0.0, WEIGHTS[-1], 101)
    reach = stdtrit(1 / np.maximum(grid, 1e-9), 1 - FAR / 2)
    return np.asarray(np.interp(np.sqrt(low * high), reach, grid), np.float64)
