"""Rules of the slope: honest about samples that remember, and able to see a leak."""

from __future__ import annotations

import numpy as np
import pytest

from tests.faults.slope import slope

pytestmark = pytest.mark.short

HOURS = np.arange(240) / 3600


def remembering(rng: np.random.Generator, memory: float) -> np.ndarray:
    """Return noise each value of which keeps a share of the one before."""
    values = rng.normal(size=len(HOURS))
    for i in range(1, len(values)):
        values[i] += memory * values[i - 1]
    return values


def test_what_does_not_grow_is_called_flat_nearly_always() -> None:
    rng = np.random.default_rng(22)
    for memory, least in ((0.0, 0.9), (0.6, 0.88)):
        flat = [slope(list(HOURS), list(remembering(rng, memory))).is_flat for _ in range(400)]
        assert np.mean(flat) >= least


def test_a_leak_is_seen() -> None:
    rng = np.random.default_rng(22)
    leak = 100 * HOURS  # one and a half standard deviations a minute
    seen = [slope(list(HOURS), list(leak + remembering(rng, 0.6))).low > 0 for _ in range(100)]
    assert np.mean(seen) >= 0.95


def test_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        slope([0.0, 1.0], [1.0, 2.0])
