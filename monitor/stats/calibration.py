"""How much a quantity varies from window to window when nothing is wrong, learned from the training time line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, stdtrit

from monitor.stats.tails import normal_of, skewed_of, tail_weights

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

FEWEST = 3  # windows; with fewer there is no variance between windows to learn
ENOUGH = 8  # channels, to learn from each other
EVEN, STEPS = 1.1, 12  # sizes of windows that count as one; of Newton's method
LEAST_SHARE = 0.02  # of natural variance, where nothing of it is seen
MOST_BELIEVED = 0.5  # share of natural variance that is taken from other channels
LONGEST = 0.9  # φ of natural variation
WEEK = (7, 24)  # a season of 168 slots is a week of hours: slot = 24 × weekday + hour
ROUNDS = 4  # weeks, from which on an hour of the week is learned by itself; of two, noise looks like a habit
POWER = 0.84  # normal quantile of 80 %: a shift of the minimum detectable size is found four times in five


@dataclass(frozen=True, kw_only=True, eq=False)
class RowShape:
    """How a single row's value is distributed, per channel (C,): ``skewness`` and ``kurtosis`` beyond a bell's.

    Channels of the same ``kin`` (a number) may be expected to have alike tails.
    """

    skewness: Floats
    kurtosis: Floats
    kin: Ints


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """The null model of C channels: ``theta = season mean + natural variation + sampling noise``.

    ``mean`` has shape (seasons, C), everything else (C,). ``natural`` is τ², the variance between windows that more
    rows cannot remove; ``unit`` the variance of a single row, so a window of n rows has variance τ² + unit / n.
    ``degrees`` are those of the t distribution, ``error`` the variance of the estimated mean, ``autocorrelation`` (φ)
    that of the natural variation of successive windows; their sampling noise has none. A channel with fewer than three
    finite windows is all NaN: it can be judged by nobody.

    ``skewness`` and ``kurtosis`` are those of a single row, ``tail`` is 1 / ν of the natural variation. A window is
    as skewed as a mean of unit / (τ² + unit / n) independent rows: so many are its rows worth, if many of them share
    one source value. Zero, all three mean a bell.

    Not good for: trends inside training (they inflate τ), seasons longer than half of training.
    """

    mean: Floats
    natural: Floats
    unit: Floats
    degrees: Floats
    error: Floats
    autocorrelation: Floats
    skewness: Floats
    kurtosis: Floats
    tail: Floats
    windows: int

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.mean.shape[1])

    def at(self, places: ArrayLike) -> Calibration:
        """Return the null model of some channels."""
        chosen = np.asarray(places, np.int64)
        arrays: dict[str, Any] = {name: getattr(self, name)[..., chosen] for name in _arrays()}
        return replace(self, **arrays)

    @classmethod
    def joined(cls, parts: Sequence[Calibration]) -> Calibration:
        """Return one null model of the channels of several that have as many seasons."""
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in _arrays()
        }
        return replace(parts[0], **arrays)

    def deviation(self, theta: ArrayLike, slot: ArrayLike = 0) -> Floats:
        """Return theta minus its season mean, shape (..., C); NaN where theta is not finite."""
        theta = np.asarray(theta, np.float64)
        return np.where(np.isfinite(theta), theta, np.nan) - self.mean[np.asarray(slot, np.int64)]

    def scale(self, n: ArrayLike) -> Floats:
        """Return the standard deviation of a new window of n rows, that of the estimated mean included."""
        rows = np.maximum(np.asarray(n, np.float64), 1.0)
        return np.asarray(np.sqrt(self.natural + self.unit / rows + self.error), np.float64)

    def share(self, n: ArrayLike) -> Floats:
        """Return the share of a window's variance that is natural variation, not sampling noise of its n rows."""
        rows = np.maximum(np.asarray(n, np.float64), 1.0)
        return np.asarray(self.natural / np.maximum(self.natural + self.unit / rows, 1e-300), np.float64)

    def inflation(self, n: ArrayLike) -> Floats:
        """Return h, the variance of the estimated mean relative to that of a window of n rows."""
        rows = np.maximum(np.asarray(n, np.float64), 1.0)
        return np.asarray(self.error / np.maximum(self.natural + self.unit / rows, 1e-300), np.float64)

    def z(self, theta: ArrayLike, n: ArrayLike, slot: ArrayLike = 0) -> Floats:
        """Return the deviation in standard deviations, shape (..., C); NaN in, NaN out."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.deviation(theta, slot) / self.scale(n), np.float64)

    def p(self, theta: ArrayLike, n: ArrayLike, slot: ArrayLike = 0) -> Floats:
        """Return two-sided p-values, shape (..., C); NaN where there is no z."""
        return self.p_of(self.z(theta, n, slot), n)

    def p_of(self, z: ArrayLike, n: ArrayLike) -> Floats:
        """Return the two-sided p-values of z-scores of windows of n rows."""
        skewness, degrees = self._shape(n)
        return np.asarray(2 * stdtr(degrees, -np.abs(normal_of(z, skewness))), np.float64)

    def normal(self, z: ArrayLike, n: ArrayLike) -> Floats:
        """Return z-scores as normal scores of the same p: what adds up evidence over windows takes them for bells."""
        z = np.asarray(z, np.float64)
        with np.errstate(divide="ignore"):
            score = -ndtri(np.maximum(self.p_of(z, n) / 2, 1e-300))
        return np.asarray(np.sign(z) * score, np.float64)

    def critical(self, alpha: ArrayLike, n: ArrayLike = np.inf) -> Floats:
        """Return |z| that is exceeded with probability alpha (two-sided) when nothing is wrong, on the longer side.

        ``n`` are the rows of the window; of endless ones, natural variation alone decides.
        """
        skewness, degrees = self._shape(n)
        return skewed_of(stdtrit(degrees, 1 - np.asarray(alpha, np.float64) / 2), skewness)

    def _shape(self, n: ArrayLike) -> tuple[Floats, Floats]:
        """Return the skewness of a window of n rows and the degrees of its t distribution."""
        rows = np.maximum(np.asarray(n, np.float64), 1.0)
        variance = self.natural + self.unit / rows
        worth = np.minimum(variance / np.maximum(self.unit, 1e-300), 1.0)  # one by the rows that it is worth
        skewness = self.skewness * np.sqrt(worth)
        beyond = np.maximum(self.kurtosis * worth - 1.5 * skewness**2, 0.0)  # a gamma has 1.5 γ² of it
        heavy = np.maximum(self.tail, beyond / (6 + 4 * beyond))  # t has 6 / (ν - 4)
        # what a row's own variance contributes is known; only the share that is τ² was learned from K windows
        learned = np.clip(self.natural / np.maximum(variance, 1e-300), 0.0, 1.0)
        return skewness, 1 / np.maximum(learned / self.degrees + heavy, 1e-9)

    def minimum_detectable(self, n: ArrayLike, alpha: ArrayLike, windows: int = 1) -> Floats:
        """Return the shift that is found in four windows out of five at level alpha (two-sided), per channel.

        Over several windows in a row, autocorrelation leaves more of the natural variance than independence would:
        the variance is (τ² (1 + ρ) / (1 − ρ) + unit / n) / windows. Not good for sequential thresholds, which are
        higher.
        """
        rows = np.maximum(np.asarray(n, np.float64), 1.0)
        rho = self.autocorrelation
        natural = self.natural * ((1 + rho) / (1 - rho) if windows > 1 else 1.0)
        spread = np.sqrt((natural + self.unit / rows) / windows + self.error)
        return np.asarray((self.critical(alpha, n) + POWER) * spread, np.float64)


def _arrays() -> list[str]:
    """Return the fields of a null model that have a value for each channel."""
    return [field.name for field in fields(Calibration) if field.name != "windows"]


def calibrate(
    theta: ArrayLike,
    n: ArrayLike,
    unit: ArrayLike,
    slots: ArrayLike,
    seasons: int = 1,
    row: RowShape | None = None,
) -> Calibration:
    """Return the null model of channels from their values in training windows in order of time.

    ``theta`` and ``n`` have shape (K, C): value and rows behind it, NaN where a window has none. ``unit`` (C,) is the
    variance of one row. ``slots`` (K,) are season slots below ``seasons``. A season enters only when every slot
    occurs and there are two rounds of it; its means are shrunk to the common mean by the share of their variance
    that is not noise. Of 168 slots (hours of the week) the mean is that of the hour and that of the weekday, added up,
    and what a slot has beyond both; each is shrunk by itself, weekdays by how whole days differ. τ² is what makes the
    windows' standardised variance one, each with its own sampling noise, and at
    least 0 (Paule, Mandel 1982). Variance between subgroups as in Laney's p′ chart (2002); no value is winsorised,
    since features that are mostly zero would then always alarm.

    With ``row``, the shape of a row's values, windows need be no bells: skewness and tails enter the p-values, and
    how heavy natural variation is follows from all channels together (``stats/tails.py``). Windows that resemble each
    other then tell less of the mean: its variance is (1 + ρ) / (1 − ρ) times that of independent ones, and the sample
    variance that much too small.

    >>> theta = np.array([[0.0], [0.2], [-0.2], [0.1], [-0.1]])
    >>> fitted = calibrate(theta, np.full((5, 1), 1e9), np.ones(1), np.zeros(5, int))
    >>> round(float(fitted.natural[0]), 3)  # (.04 + .04 + .01 + .01) / 4
    0.025
    >>> round(float(fitted.z([0.4], [1e9])[0]), 2)  # .4 / sqrt(.025 × 1.2)
    2.31
    """
    theta = np.atleast_2d(np.asarray(theta, np.float64))
    n = np.asarray(n, np.float64)
    slots = np.asarray(slots, np.int64)
    if theta.shape != n.shape or len(slots) != len(theta):
        raise ValueError(f"theta {theta.shape}, n {n.shape} and slots {slots.shape} must tell of the same windows")
    if len(slots) and not (slots.min() >= 0 and slots.max() < seasons):
        raise ValueError(f"slots reach from {slots.min()} to {slots.max()}, but there are {seasons} seasons")
    K = len(theta)
    theta = np.where(np.isfinite(theta), theta, np.nan)
    rows = np.where(np.isfinite(theta) & (n > 0), n, np.nan)
    unit = np.asarray(unit, np.float64)
    finite = np.isfinite(theta).sum(axis=0)
    grand = _mean(theta)
    mean, season = _season(theta, slots, seasons, grand)
    residual = theta - mean[slots]
    noise = unit * _mean(1 / np.maximum(rows, 1.0))
    spent = season.spent
    known = finite >= FEWEST
    rho = _autocorrelation(np.nan_to_num(residual), K)
    plain = np.nansum(residual**2, axis=0) / np.maximum(finite - 1 - spent, 1.0)
    share = np.nan_to_num(1 - noise / np.maximum(plain, 1e-300))
    if row is None:
        echo, believed = np.ones(len(rho)), np.zeros(len(rho))
        memory = np.minimum(rho / np.maximum(share, LEAST_SHARE), LONGEST) * (rho > 1 / np.sqrt(max(K, 1)))
    else:
        echo, memory, believed = _memory(rho, share, finite, known & (plain > 0))
    degrees = np.maximum(finite - echo - spent, 2.0)
    variance = np.nansum(residual**2, axis=0) / degrees
    natural = np.where(known, _natural(residual, unit / np.maximum(n, 1.0), degrees, variance, noise), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        h = echo / finite + season.blur(echo / finite)
        error = np.where(known, np.maximum(natural + noise, noise / (1 - believed)) * h, np.nan)
        z = residual / np.sqrt(natural + unit / np.maximum(n, 1.0) + error)
    bell = np.zeros(theta.shape[1])
    fitted = Calibration(
        mean=np.where(finite >= FEWEST, mean, np.nan),
        natural=natural,
        unit=unit,
        degrees=degrees,
        error=error,
        autocorrelation=memory,
        skewness=bell if row is None else row.skewness,
        kurtosis=bell if row is None else row.kurtosis,
        tail=bell,
        windows=K,
    )
    return fitted if row is None else _with_tails(fitted, z, n, unit / np.maximum(_mean(rows), 1.0), row.kin)


def _natural(residual: Floats, noise: Floats, degrees: Floats, variance: Floats, usual: Floats) -> Floats:
    """Return τ² of each column, so that Σ residual² / (τ² + noise) = ``degrees``; 0 where noise alone is more.

    Of windows of one size that is ``variance`` − ``usual``, the noise they share. Small windows, whose noise says
    little of τ², weigh little in it; else they would hide what large windows know.
    """
    start = np.maximum(variance - usual, 0.0)
    finite = np.isfinite(residual)
    least = np.where(finite, noise, np.inf).min(axis=0, initial=np.inf)
    uneven = np.where(finite, noise, 0.0).max(axis=0, initial=0.0) > EVEN * least
    if not uneven.any():
        return start
    square, own = np.where(finite, residual, 0.0)[:, uneven] ** 2, noise[:, uneven]
    natural = np.zeros(int(uneven.sum()))
    for _ in range(STEPS):  # Newton's steps from 0 never pass the root of a sum that falls and is convex
        ratio = square / (natural + own)
        slope = (ratio / (natural + own)).sum(axis=0)
        natural = np.maximum(natural + (ratio.sum(axis=0) - degrees[uneven]) / np.maximum(slope, 1e-300), 0.0)
    start[uneven] = natural
    return start


def _with_tails(fitted: Calibration, z: Floats, n: Floats, noise: Floats, kin: Ints) -> Calibration:
    """Return the null model with the tails of its own residuals ``z``, and τ² on the scale that goes with them."""
    skewness, _ = fitted._shape(n)
    known = np.isfinite(z)
    score = np.where(known, normal_of(np.nan_to_num(z), skewness), np.nan)
    tail, scale = np.zeros(len(kin)), np.ones(len(kin))
    for one in np.unique(kin):
        tail[kin == one], scale[kin == one] = tail_weights(score[:, kin == one])
    plain = _mean(np.where(known, z, np.nan) ** 2)
    shrink = np.clip(scale / np.maximum(plain, 1e-300), 0.0, 1.0)
    natural = np.maximum((fitted.natural + noise) * shrink - noise, 0.0)
    return replace(fitted, natural=natural, tail=tail)


def _mean(x: Floats) -> Floats:
    """Return the mean over finite entries of each column, NaN where there is none; no warning about it."""
    finite = np.isfinite(x)
    count = finite.sum(axis=0)
    total = np.where(finite, x, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Season:
    """What a season costs: ``weight`` is how far slots were believed, ``error`` the variance of a believed slot's mean.

    Both are lists of arrays (C,), with the number of slots of each; errors are relative to that of one window.
    """

    weight: tuple[Floats, ...] = ()
    slots: tuple[int, ...] = ()
    error: tuple[Floats, ...] = ()

    @property
    def spent(self) -> Floats | float:
        """Degrees of freedom."""
        return sum((number - 1) * weight for number, weight in zip(self.slots, self.weight, strict=True))

    def blur(self, common: Floats) -> Floats | float:
        """Return the variance of a slot's mean beyond that of the ``common`` mean, relative to one window's."""
        return sum(w**2 * np.maximum(error - common, 0) for w, error in zip(self.weight, self.error, strict=True))


def _season(theta: Floats, slots: Ints, seasons: int, grand: Floats) -> tuple[Floats, _Season]:
    """Return season means (seasons, C) shrunk towards the common mean, and what they cost."""
    if seasons == WEEK[0] * WEEK[1]:
        return _week(theta, slots, grand)
    if seasons < 2 or 2 * seasons > len(theta) or len(np.unique(slots)) < seasons:
        return np.tile(grand, (seasons, 1)), _Season()
    effect, weight, rounds, _ = _effects(theta, slots, seasons)
    return grand + effect, _Season(weight=(weight,), slots=(seasons,), error=(1 / rounds,))


def _week(theta: Floats, slots: Ints, grand: Floats) -> tuple[Floats, _Season]:
    """Return means of the hours of the week (168, C): hour, weekday and what is left of both, each shrunk by itself.

    Hours of one day resemble each other, so weekdays are learned from means of whole days. A part enters only when
    training has two rounds of it (what is left: four); hours that never occur (of longer windows) have the common mean.
    """
    days, hours = WEEK
    weekday, hour = slots // hours, slots % hours
    mean, rest = np.tile(grand, (days * hours, 1)), theta - grand
    weights, numbers, errors = [], [], []

    def add(effect: Floats, weight: Floats, number: int, error: Floats) -> None:
        weights.append(weight)
        numbers.append(number)
        errors.append(error)
        mean[:] += effect
        rest[:] -= effect[slots]

    occurring = len(np.unique(hour))
    if occurring > 1 and len(theta) >= 2 * occurring:
        effect, weight, rounds, _ = _effects(rest, hour, hours, occurring)
        add(np.tile(effect, (days, 1)), weight, occurring, 1 / rounds)
    day = np.cumsum(np.diff(weekday, prepend=weekday[:1]) != 0)
    first = np.searchsorted(day, np.arange(int(day.max(initial=-1)) + 1))
    if len(first) and np.bincount(weekday[first], minlength=days).min() >= 2:
        whole = np.array([_mean(rest[day == d]) for d in range(len(first))])
        within = np.nansum(rest**2, axis=0) / np.maximum(np.isfinite(rest).sum(axis=0), 1)
        effect, weight, rounds, noise = _effects(whole, weekday[first], days)
        add(np.repeat(effect, hours, axis=0), weight, days, noise / np.maximum(rounds * within, 1e-300))
    cells = days * occurring
    if len(theta) >= ROUNDS * cells and len(np.unique(slots)) == cells and len(weights) == 2:
        effect, weight, rounds, _ = _effects(rest, slots, days * hours, cells)
        add(effect, weight, cells - occurring - days + 2, 1 / rounds)
    return mean, _Season(weight=tuple(weights), slots=tuple(numbers), error=tuple(errors))


def _effects(theta: Floats, slots: Ints, seasons: int, occurring: int = 0) -> tuple[Floats, Floats, Floats, Floats]:
    """Return what each slot adds to the common mean (seasons, C), shrunk; its weight, rounds and variance within.

    ``occurring`` are the slots that occur at all, all of them unless it is told.
    """
    number = occurring or seasons
    means = np.array([_mean(theta[slots == slot]) for slot in range(seasons)])
    finite = np.isfinite(theta).sum(axis=0)
    rounds = np.maximum(finite / number, 1.0)
    within = np.nansum((theta - means[slots]) ** 2, axis=0) / np.maximum(finite - number, 1)
    known = np.isfinite(means)
    spread = np.where(known, means - _mean(means), 0.0)
    between = (spread**2).sum(axis=0) / np.maximum(known.sum(axis=0) - 1, 1)
    between = np.maximum(between - within / rounds, 0.0)
    weight = np.where(between > 0, between / np.maximum(between + within / rounds, 1e-300), 0.0)
    return weight * np.where(known, means - _mean(theta), 0.0), weight, rounds, within


def _autocorrelation(z: Floats, K: int) -> Floats:
    """Return the lag-1 correlation of each column, at most .95; what a short series loses of it is given back."""
    if K < FEWEST:
        return np.zeros(z.shape[1])
    early, late = z[:-1] - z[:-1].mean(axis=0), z[1:] - z[1:].mean(axis=0)
    size = np.sqrt((early**2).sum(axis=0) * (late**2).sum(axis=0))
    rho = (early * late).sum(axis=0) / np.where(size > 1e-12, size, np.inf)
    return np.asarray(np.minimum(rho, 0.95), np.float64)


def _memory(rho: Floats, share: Floats, finite: Ints, known: Bools) -> tuple[Floats, Floats, Floats]:
    """Return how many windows count as one for the mean, φ of natural variation and its believed share; all (C,).

    ``rho`` are lag-1 correlations, ``share`` is natural variance over all variance. Sampling noise has no memory, so
    ρ = share × φ, and the mean of K windows has 1 + 2 share φ / (1 − φ) times the variance of independent ones. Sixty
    windows of one channel tell neither; so both are shrunk towards what all channels say together, by the share of
    their differences that is noise (random effects as in DerSimonian, Laird 1986).

    >>> rho, share = np.full(10, 0.3), np.full(10, 0.5)
    >>> echo, memory, _ = _memory(rho, share, np.full(10, 100), np.ones(10, bool))
    >>> echo.round(2)[0].item(), memory.round(2)[0].item()  # (.3 + 1.9 / 100) / .5, and 1 + .638 / .362
    (2.76, 0.64)
    """
    K = np.maximum(finite, 1)
    natural = np.clip(_shrunk(np.maximum(share, -1.0), K / 2, known), LEAST_SHARE, 1.0)
    lag = rho + (1 + 3 * np.maximum(rho, 0.0)) / K  # a short series loses so much of it
    memory = np.clip(_shrunk(lag / natural, K * natural**2, known), 0.0, LONGEST)
    echo = 1 + 2 * natural * memory / (1 - memory)
    return np.minimum(echo, np.maximum(K / 4, 1.0)), memory, np.minimum(natural, MOST_BELIEVED)


def _shrunk(x: Floats, weight: Floats, known: Bools) -> Floats:
    """Return estimates of variance 1 / ``weight`` (C,), shrunk towards their weighted mean as far as they are noise."""
    if known.sum() < ENOUGH:
        return x
    y, w = x[known], weight[known]
    mean = float((w * y).sum() / w.sum())
    excess = float((w * (y - mean) ** 2).sum()) - (len(y) - 1)
    between = max(excess / float(w.sum() - (w**2).sum() / w.sum()), 0.0)
    return np.asarray(mean + between / (between + 1 / weight) * (x - mean), np.float64)
