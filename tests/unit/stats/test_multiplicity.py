"""Many tests at once: strong evidence survives whatever stands beside it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from monitor.stats.multiplicity import adjusted, believed, smallest_p

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_a_strong_channel_alarms_beside_a_gated_one() -> None:
    """A Cauchy combination would add tan(-π/2) for the gated one and say p ≈ 1."""
    p, channel = smallest_p([1e-9, 1.0 - 1e-12], [0, 0], 1, gate=[True, False])
    assert p[0] == pytest.approx(2e-9)
    assert channel[0] == 0


def test_a_channel_without_evidence_neither_hides_nor_counts() -> None:
    p, channel = smallest_p([np.nan, 1e-4, 0.3], [0, 0, 0], 1)
    assert p[0] == pytest.approx(2e-4)
    assert channel[0] == 1


def test_a_subject_whose_channels_are_all_gated_is_ordinary_and_one_without_evidence_unknown() -> None:
    p, channel = smallest_p([1e-9, np.nan], [0, 1], 3, gate=[False, True])
    assert p[0] == 1.0
    assert np.isnan(p[1:]).all()
    assert channel.tolist() == [-1, -1, -1]


def test_subjects_may_come_in_any_order() -> None:
    p, channel = smallest_p([0.5, 0.01, 0.02, 0.4], [1, 0, 1, 0], 2)
    assert p.tolist() == pytest.approx([0.02, 0.04])
    assert channel.tolist() == [1, 2]


@settings(max_examples=50, deadline=None)
@given(PROBABILITIES)
def test_adjusted_p_values_are_those_of_scipy(p: list[float]) -> None:
    np.testing.assert_allclose(adjusted(p), false_discovery_control(p), atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(PROBABILITIES, st.integers(0, 5))
def test_tests_that_were_not_made_change_nothing(p: list[float], gaps: int) -> None:
    np.testing.assert_allclose(adjusted([*p, *[np.nan] * gaps])[: len(p)], adjusted(p))


def test_false_flags_stay_within_the_level_when_nothing_is_wrong() -> None:
    p = np.random.default_rng(1).random((2000, 20))
    assert np.mean([believed(row, 0.05).any() for row in p]) < 0.065
