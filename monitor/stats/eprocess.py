"""The slow path: small shifts that last, found by adding up evidence over windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

RATES = np.array([0.25, 0.5, 1.0, 2.0])  # λ: the shifts, in standard deviations of a window, that are bet on
CAP = float(np.log(1e9))  # of one e-process; what is beyond tells nothing more
LARGEST = 4.0  # of one window's innovation: one wild window is no trend
DEAD = 2.0  # standard errors of the reference that a shift of a single channel has to exceed
CLEAN = 10  # windows below materiality that close an episode
OVER = float(np.log(20))  # what the bet that a shift goes on has to lose before it is taken for over
NEVER = -1e9  # log of no evidence, instead of minus infinity, which JSON cannot say


@dataclass(frozen=True, kw_only=True, eq=False)
class Detector:
    """State of e-detectors over C channels that belong to J subjects.

    ``evidence`` (C, 2, 4) holds logarithms per channel, sign (up, down) and rate; ``previous`` (C,) the last z,
    ``smoothed`` (C,) the exponentially weighted deviation. Per subject: ``open`` whether its episode is, ``age`` and
    ``clean`` its windows since opening and since the last material one, ``lead`` the channel that opened it (-1: none),
    ``bet`` the signed rate at which its shift is bet to go on, ``fallen`` how far that bet lies below its height.
    """

    evidence: Floats
    previous: Floats
    smoothed: Floats
    open: Bools
    age: Ints
    clean: Ints
    lead: Ints
    bet: Floats
    fallen: Floats

    @classmethod
    def start(cls, channels: int, subjects: int = 1) -> Detector:
        """Return the state before any window."""
        return cls(
            evidence=np.full((channels, 2, len(RATES)), NEVER),
            previous=np.zeros(channels),
            smoothed=np.zeros(channels),
            open=np.zeros(subjects, np.bool_),
            age=np.zeros(subjects, np.int64),
            clean=np.zeros(subjects, np.int64),
            lead=np.full(subjects, -1, np.int64),
            bet=np.zeros(subjects),
            fallen=np.zeros(subjects),
        )

    @property
    def direction(self) -> Ints:
        """Sign of the smoothed deviation in each subject's leading channel, 0 without one."""
        if not len(self.smoothed):
            return np.zeros(len(self.lead), np.int64)
        return np.where(self.lead >= 0, np.sign(self.smoothed[self.lead]), 0).astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return the state as small lists; evidence below a thousandth counts as none."""
        logs = self.evidence.ravel()
        held = np.flatnonzero(logs > -7.0)
        return {
            "channels": len(self.previous),
            "held": held.tolist(),
            "evidence": [round(x, 3) for x in logs[held].tolist()],
            "previous": [round(x, 4) for x in self.previous.tolist()],
            "smoothed": [float(f"{x:.6g}") for x in self.smoothed.tolist()],
            "open": self.open.astype(int).tolist(),
            "age": self.age.tolist(),
            "clean": self.clean.tolist(),
            "lead": self.lead.tolist(),
            "bet": self.bet.tolist(),
            "fallen": [round(x, 3) for x in self.fallen.tolist()],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None, channels: int, subjects: int = 1) -> Detector:
        """Return the state in ``data``; without data, or from other channels, a new one."""
        if not data or data.get("channels") != channels or len(data["open"]) != subjects:
            return cls.start(channels, subjects)
        evidence = np.full(channels * 2 * len(RATES), NEVER)
        evidence[np.array(data["held"], np.int64)] = data["evidence"]
        return cls(
            evidence=evidence.reshape(channels, 2, len(RATES)),
            previous=np.array(data["previous"], np.float64),
            smoothed=np.array(data["smoothed"], np.float64),
            open=np.array(data["open"], np.bool_),
            age=np.array(data["age"], np.int64),
            clean=np.array(data["clean"], np.int64),
            lead=np.array(data["lead"], np.int64),
            bet=np.array(data.get("bet", np.zeros(subjects)), np.float64),
            fallen=np.array(data.get("fallen", np.zeros(subjects)), np.float64),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What one window did: the new state, and per subject whether it alarmed, its e-value, opened or closed."""

    detector: Detector
    alarmed: Bools
    e_value: Floats
    opened: Bools
    closed: Bools


def advance(
    detector: Detector,
    *,
    z: ArrayLike,
    deviation: ArrayLike,
    autocorrelation: ArrayLike,
    inflation: ArrayLike,
    natural: ArrayLike = 1.0,
    dead: ArrayLike = DEAD,
    over: float = np.inf,
    threshold: ArrayLike,
    materiality: ArrayLike,
    smoothing: float = 0.2,
    group: ArrayLike | None = None,
    clean_windows: int = CLEAN,
) -> Step:
    """Return the detector after one more window.

    ``z``, ``deviation`` (theta minus its season mean), ``autocorrelation`` (φ) of natural variation, its share
    ``natural`` of a window's variance, ``inflation`` (h) and ``materiality`` are (C,); ``group`` (C,) names each
    channel's subject (default: all one), ``threshold`` (J,) or a number is the e-value that alarms: subjects /
    false-alarm rate per window. ``dead`` is how many standard errors of the reference do not count (``dead_zone``).

    Shiryaev–Roberts e-detectors (Shin, Ramdas, Rinaldo: E-detectors), in logarithms so that nothing overflows:
    M ← exp(λ y − λ²/2) (1 + M), with y = min(±ε − κ, 4). ε is the innovation of natural variation that is seen
    through sampling noise (Kalman's filter, settled; without noise (z − φ z′) / √(1 − φ²)): a little noise hides most
    of a memory from neighbours, but not from a sum of weeks. κ is a dead zone as wide as the reference's own error,
    without which every monitor alarms in the end. A subject's e-value is the mean over channels, signs and rates.
    Channels whose smoothed deviation is below materiality do not count but keep their evidence. An alarm empties the
    subject's evidence and opens its episode at once. The episode closes when all smoothed deviations stay below
    materiality for ``clean_windows``, or when the bet that half of what opened it goes on has lost ``over`` (log) from
    its height since the last alarm: with few rows, noise alone keeps some channel above materiality for months.
    A channel without a finite z changes nothing, a subject without any neither opens nor closes.

    Not good for: single extreme windows (the fast path's), guarantees when ρ or τ are far off (it is approximate).
    """
    z = np.asarray(z, np.float64)
    deviation = np.asarray(deviation, np.float64)
    rho = np.asarray(autocorrelation, np.float64)
    h = np.nan_to_num(np.asarray(inflation, np.float64))
    J = len(detector.open)
    owner = np.zeros(len(z), np.int64) if group is None else np.asarray(group, np.int64)
    seen = np.isfinite(z) & np.isfinite(deviation)
    gain, width, passed = _filter(rho, np.clip(np.nan_to_num(np.asarray(natural, np.float64)), 0.0, 1.0))
    surprise = np.nan_to_num(z) - rho * detector.previous
    innovation = np.where(seen, surprise / width, 0.0)
    zone = np.asarray(dead, np.float64) * np.sqrt(h) * passed
    signed = np.stack([innovation, -innovation], axis=1)
    y = np.minimum(signed - zone[:, None], LARGEST)[:, :, None]
    grown = np.minimum(RATES * y - RATES**2 / 2 + np.logaddexp(0.0, detector.evidence), CAP)
    evidence = np.where(seen[:, None, None], grown, detector.evidence)
    smoothed = np.where(
        seen, (1 - smoothing) * detector.smoothed + smoothing * np.nan_to_num(deviation), detector.smoothed
    )

    ratio = np.abs(smoothed) / np.maximum(np.asarray(materiality, np.float64), 1e-300)
    material = ratio >= 1
    weight = np.where(material, np.exp(evidence).mean(axis=(1, 2)), 0.0)
    towards = evidence[np.arange(len(z)), np.where(smoothed >= 0, 0, 1)].argmax(axis=1)
    half = np.sign(smoothed) * np.maximum(RATES / 2, RATES[0])[towards]
    size = np.bincount(owner, minlength=J)
    e_value = np.bincount(owner, weights=weight, minlength=J) / np.maximum(size, 1)
    judged = np.bincount(owner, weights=seen, minlength=J) > 0
    alarmed = judged & (e_value >= np.asarray(threshold, np.float64))
    evidence = np.where(alarmed[owner][:, None, None], NEVER, evidence)

    any_material = np.bincount(owner, weights=material, minlength=J) > 0
    opened = alarmed & ~detector.open
    still = detector.open & judged
    clean = np.where(still, np.where(alarmed | any_material, 0, detector.clean + 1), detector.clean)
    lead = np.where(opened, _largest(ratio, owner, J), detector.lead)
    bet = np.where(opened & (lead >= 0), _at(half, lead), detector.bet)
    told = still & (_at(seen, lead) > 0)
    lost = bet**2 / 2 - np.minimum(bet * _at(innovation, lead), np.abs(bet) * LARGEST)
    fallen = np.where(alarmed, 0.0, np.where(told, np.maximum(detector.fallen + lost, 0.0), detector.fallen))
    closed = still & ((clean >= clean_windows) | (told & (fallen >= over)))
    lead = np.where(closed, -1, lead)
    return Step(
        detector=replace(
            detector,
            evidence=evidence,
            previous=np.where(seen, rho * detector.previous + gain * surprise, detector.previous),
            smoothed=smoothed,
            open=(detector.open | opened) & ~closed,
            age=np.where(opened, 0, np.where(closed, 0, detector.age + still)),
            clean=np.where(opened | closed, 0, clean),
            lead=lead.astype(np.int64),
            bet=np.where(closed, 0.0, bet),
            fallen=np.where(closed, 0.0, fallen),
        ),
        alarmed=alarmed,
        e_value=e_value,
        opened=opened,
        closed=closed,
    )


def dead_zone(channels: int, q: float) -> float:
    """Return the standard errors of the reference that no channel is off by in a share 1 - q of all references.

    An error of the reference lasts: a channel beyond it would alarm again and again for as long as there is a model.

    >>> round(dead_zone(40, 0.00833), 2)
    3.71
    """
    return float(max(DEAD, -ndtri(q / max(channels, 1) / 2)))


def _filter(rho: Floats, natural: Floats) -> tuple[Floats, Floats, Floats]:
    """Return gain, an innovation's width, and what of a lasting shift arrives in each of them; all (C,).

    The filter is that of an AR(1) of variance ``natural`` and white noise of variance 1 - ``natural``, settled.

    >>> [round(float(x), 3) for x in _filter(np.array(0.6), np.array(1.0))]  # no noise: 1, √(1 - .36), √(.4 / 1.6)
    [1.0, 0.8, 0.5]
    >>> [round(float(x), 3) for x in _filter(np.array(0.6), np.array(0.0))]  # only noise: nothing to remember
    [0.0, 1.0, 1.0]
    """
    noise = 1 - natural
    fresh = (1 - rho**2) * natural
    half = (fresh - noise * (1 - rho**2)) / 2
    ahead = half + np.sqrt(half**2 + fresh * noise)  # variance of the prediction, once it has settled
    gain = ahead / np.maximum(ahead + noise, 1e-300)
    size = np.sqrt(ahead + noise)
    return gain, size, (1 - rho) / (1 - rho + rho * gain) / size


def _at(values: ArrayLike, lead: Ints) -> Floats:
    """Return the value of each subject's leading channel, 0 without one."""
    return np.append(np.asarray(values, np.float64), 0.0)[lead]


def _largest(ratio: Floats, owner: Ints, subjects: int) -> Ints:
    """Return the channel of largest ratio of each subject, -1 for a subject without channels."""
    order = np.lexsort((-ratio, owner))
    first = np.searchsorted(owner[order], np.arange(subjects))
    found = np.full(subjects, -1, np.int64)
    has = (first < len(order)) & (np.append(owner[order], -1)[first] == np.arange(subjects))
    found[has] = order[first[has]]
    return found
