"""Whether advice helped: surely and noticeably lower losses, neither too early nor by luck."""

from __future__ import annotations

import numpy as np

from monitor.recovery import Result, judge


def losses(mean: float, n: int, seed: int) -> list[float]:
    return list(np.random.default_rng(seed).normal(mean, 0.02, n))


def test_a_lower_loss_helped_after_fourteen_windows() -> None:
    found = judge(losses(0.5, 28, 1), losses(0.4, 14, 2), expected=0.39)
    assert found is not None
    assert (found.result, found.windows, found.recovered) == (Result.HELPED, 14, True)


def test_thirteen_windows_are_too_few() -> None:
    assert judge(losses(0.5, 28, 1), losses(0.4, 13, 2)) is None
    assert judge(losses(0.5, 13, 1), losses(0.4, 28, 2)) is None


def test_the_same_loss_is_waited_for_and_did_not_help_after_twenty_eight() -> None:
    assert judge(losses(0.5, 28, 1), losses(0.5, 27, 2)) is None
    found = judge(losses(0.5, 28, 1), losses(0.5, 28, 2), expected=0.4)
    assert found is not None
    assert (found.result, found.recovered) == (Result.DID_NOT_HELP, False)


def test_a_fall_too_small_to_matter_did_not_help() -> None:
    found = judge([0.5 + 1e-4 * (-1) ** i for i in range(28)], [0.495 + 1e-4 * (-1) ** i for i in range(28)])
    assert found is not None
    assert found.z < -5
    assert found.result is Result.DID_NOT_HELP


def test_luck_is_seldom_called_help_although_each_window_is_looked_at() -> None:
    helped = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        before, after = list(rng.normal(0.5, 0.05, 28)), list(rng.normal(0.5, 0.05, 28))
        looks = (judge(before, after[:n]) for n in range(14, 29))
        first = next((found for found in looks if found is not None), None)
        helped += first is not None and first.result is Result.HELPED
    assert helped / 300 < 0.13
