"""The slow path: what it finds, what it forgets, and that it never goes blind."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monitor.stats.eprocess import CLEAN, OVER, Detector, Step, advance, dead_zone

THRESHOLD = 1 / 0.00833


def one(
    detector: Detector, z: float, *, deviation: float | None = None, threshold: float = THRESHOLD, rho: float = 0.0
) -> Step:
    return advance(
        detector,
        z=[z],
        deviation=[z if deviation is None else deviation],
        autocorrelation=[rho],
        inflation=[1 / 59],
        threshold=threshold,
        materiality=[0.05],
    )


def alarms(values: np.ndarray) -> list[int]:
    detector, found = Detector.start(1), []
    for t, z in enumerate(values):
        step = one(detector, float(z))
        detector = step.detector
        if step.alarmed[0]:
            found.append(t)
    return found


@pytest.mark.parametrize("sign", [1, -1])
def test_a_small_shift_that_lasts_is_found_in_both_directions(sign: int) -> None:
    values = np.random.default_rng(1).normal(0, 1, 60)
    values[20:] += sign * 1.5
    found = alarms(values)
    assert 20 < found[0] < 32


def test_ordinary_windows_alarm_no_more_often_than_the_budget_allows() -> None:
    rng = np.random.default_rng(2)
    subjects, windows = 200, 400
    detector, count = Detector.start(subjects, subjects), 0
    for _ in range(windows):
        z = rng.normal(0, 1, subjects)
        step = advance(
            detector,
            z=z,
            deviation=z,
            autocorrelation=np.zeros(subjects),
            inflation=np.full(subjects, 1 / 59),
            threshold=THRESHOLD,
            materiality=np.full(subjects, 1e-9),
            group=np.arange(subjects),
        )
        detector, count = step.detector, count + int(step.alarmed.sum())
    assert count / (subjects * windows) < 0.00833


def test_a_window_without_evidence_changes_nothing() -> None:
    detector = one(one(Detector.start(1), 2.0).detector, 2.5).detector
    after = one(detector, float("nan"))
    assert json.dumps(after.detector.to_json()) == json.dumps(detector.to_json())
    assert not after.alarmed[0]


def test_one_channel_without_evidence_does_not_stop_the_others() -> None:
    detector, opened = Detector.start(2), False
    for _ in range(8):
        step = advance(
            detector,
            z=[np.nan, 3.0],
            deviation=[np.nan, 3.0],
            autocorrelation=[0.0, 0.0],
            inflation=[np.nan, 0.02],
            threshold=THRESHOLD,
            materiality=[0.05, 0.05],
        )
        detector, opened = step.detector, opened or bool(step.opened[0])
    assert opened
    assert detector.lead[0] == 1


def test_an_alarm_opens_at_once_and_empties_the_evidence() -> None:
    detector = Detector.start(1)
    while not (step := one(detector, 2.5)).alarmed[0]:
        detector = step.detector
    assert step.opened[0]
    assert step.detector.open[0]
    assert np.exp(step.detector.evidence).max() == 0
    assert step.detector.direction[0] == 1


def test_an_episode_outlives_the_reset_and_closes_after_ten_windows_below_materiality() -> None:
    detector = Detector.start(1)
    while not detector.open[0]:
        detector = one(detector, 2.5).detector
    for _ in range(5):
        detector = one(detector, 2.5).detector
        assert detector.open[0]
    quiet, windows = 0, 0
    while detector.open[0]:
        step = one(detector, 0.0)
        windows += 1
        quiet = quiet + 1 if abs(step.detector.smoothed[0]) < 0.05 else 0
        detector = step.detector
        assert windows < 100
    assert step.closed[0]
    assert quiet == CLEAN
    assert windows > CLEAN
    assert detector.lead[0] == -1


def test_materiality_holds_an_alarm_back_but_keeps_its_evidence() -> None:
    """A gate that zeroes what it holds back would be blind when the shift grows."""
    detector = Detector.start(1)
    for _ in range(40):
        step = one(detector, 2.0, deviation=0.01)
        detector = step.detector
        assert not step.alarmed[0]
    first = one(detector, 2.0, deviation=0.3)
    second = one(first.detector, 2.0, deviation=0.3)
    assert first.alarmed[0] or second.alarmed[0]


@pytest.mark.filterwarnings("error")
def test_enormous_values_neither_overflow_nor_blind_it() -> None:
    detector = Detector.start(1)
    for _ in range(2000):
        detector = one(detector, 1e12, deviation=0.0).detector
    assert np.isfinite(detector.evidence).all()
    for _ in range(3):
        step = one(detector, 3.0, deviation=50.0)
        detector = step.detector
        if step.alarmed[0]:
            return
    pytest.fail("blind after enormous values")


def test_autocorrelated_windows_do_not_count_as_independent_evidence() -> None:
    rng = np.random.default_rng(3)
    streams, counts = 60, {0.0: 0, 0.7: 0}
    for rho in counts:
        detector, z = Detector.start(streams, streams), np.zeros(streams)
        for _ in range(200):
            z = 0.7 * z + rng.normal(0, np.sqrt(1 - 0.49), streams)
            step = advance(
                detector,
                z=z,
                deviation=z,
                autocorrelation=np.full(streams, rho),
                inflation=np.full(streams, 1 / 59),
                threshold=THRESHOLD,
                materiality=np.full(streams, 0.05),
                group=np.arange(streams),
            )
            detector, counts[rho] = step.detector, counts[rho] + int(step.alarmed.sum())
    assert counts[0.7] < 0.3 * counts[0.0]


def test_its_state_survives_storage() -> None:
    rng = np.random.default_rng(4)
    kept, stored = Detector.start(3, 2), Detector.start(3, 2)
    group = [0, 0, 1]
    for t in range(60):
        z = rng.normal(0, 1, 3) + (t > 30) * np.array([0.0, 1.5, 0.0])
        steps = [
            advance(
                detector,
                z=z,
                deviation=z,
                autocorrelation=[0.2, 0.0, 0.5],
                inflation=[0.02] * 3,
                threshold=2 * THRESHOLD,
                materiality=[0.05] * 3,
                group=group,
            )
            for detector in (kept, stored)
        ]
        assert (steps[0].alarmed == steps[1].alarmed).all()
        kept = steps[0].detector
        stored = Detector.from_json(json.loads(json.dumps(steps[1].detector.to_json())), 3, 2)
    assert kept.open.tolist() == stored.open.tolist() == [True, False]


def test_a_state_of_other_channels_is_not_taken_over() -> None:
    state = one(Detector.start(1), 5.0).detector.to_json()
    assert Detector.from_json(state, 2).evidence.shape[0] == 2
    assert not Detector.from_json(None, 1).open.any()


def test_nothing_to_watch_is_no_error() -> None:
    step = advance(
        Detector.start(0, 2), z=[], deviation=[], autocorrelation=[], inflation=[], threshold=1.0, materiality=[]
    )
    assert step.detector.direction.tolist() == [0, 0]


def windows_of(rng: np.random.Generator, length: int, phi: float, natural: float) -> np.ndarray:
    """Windows of variance 1, of which ``natural`` is an AR(1) and the rest the noise of few rows."""
    level, found = rng.normal(0, 1), []
    for _ in range(length):
        level = phi * level + np.sqrt(1 - phi**2) * rng.normal()
        found.append(np.sqrt(natural) * level + np.sqrt(1 - natural) * rng.normal())
    return np.array(found)


def episodes(values: np.ndarray, **options: float) -> list[bool]:
    """Whether an episode is open after each window; all channels' own rules at once."""
    settings: dict[str, float] = {
        "phi": 0.0,
        "natural": 1.0,
        "error": 0.01,
        "dead": 2.0,
        "over": np.inf,
        "size": 0.08,
        "threshold": THRESHOLD,
    } | options
    detector, found = Detector.start(1), []
    for z in values.tolist():
        detector = advance(
            detector,
            z=[z],
            deviation=[settings["size"] * z],
            autocorrelation=[settings["phi"]],
            natural=[settings["natural"]],
            inflation=[settings["error"]],
            dead=settings["dead"],
            over=settings["over"],
            threshold=settings["threshold"],
            materiality=[0.05],
        ).detector
        found.append(bool(detector.open[0]))
    return found


def test_a_memory_that_noise_hides_from_neighbours_is_no_evidence() -> None:
    """Half natural (φ = .9), half noise: the lag-1 correlation is .45, but weeks add up to much more than that."""
    rng = np.random.default_rng(7)
    streams = [windows_of(rng, 300, 0.9, 0.5) for _ in range(60)]
    seen_through = sum(any(episodes(z, phi=0.9, natural=0.5, threshold=1e4)) for z in streams)
    taken_for_all = sum(any(episodes(z, phi=0.45, natural=1.0, threshold=1e4)) for z in streams)
    assert seen_through <= 6
    assert taken_for_all > 2 * seen_through


def test_a_reference_that_is_off_by_three_standard_errors_does_not_alarm_for_ever() -> None:
    """One of four hundred channels is; a monitor of forty channels would have one in each tenth model."""
    rng = np.random.default_rng(8)
    off = [3 * 0.15 + rng.normal(0, 1, 300) for _ in range(40)]
    width = dead_zone(40, 0.00833)
    assert sum(any(episodes(z, error=0.15**2, dead=width)) for z in off) <= 6
    assert sum(any(episodes(z, error=0.15**2, dead=2.0)) for z in off) > 10


@pytest.mark.parametrize("sign", [1, -1])
def test_an_episode_ends_soon_after_its_shift_though_noise_stays_above_materiality(sign: int) -> None:
    rng = np.random.default_rng(9)
    lasted, without = [], []
    for _ in range(30):
        z = rng.normal(0, 1, 200)
        z[:20] += sign * 1.5
        lasted.append(sum(episodes(z, size=0.2, over=OVER)[20:]))
        without.append(sum(episodes(z, size=0.2)[20:]))
    assert np.median(lasted) <= 15
    assert np.median(without) > 2 * np.median(lasted)


def test_an_episode_stays_open_while_its_shift_lasts() -> None:
    rng = np.random.default_rng(10)
    shares = []
    for _ in range(30):
        found = episodes(1.5 + rng.normal(0, 1, 200), over=OVER)
        shares.append(np.mean(found[found.index(True) :]))
    assert np.mean(shares) > 0.97
