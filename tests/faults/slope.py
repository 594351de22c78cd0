"""Does a figure of a process grow? A line through its samples, with an interval that knows of their memory.

The samples of a process are no independent draws: a cache that fills keeps filled. So the interval of the slope is
widened by the autocorrelation of what the line leaves over, the Newey–West estimate with Bartlett weights (Newey and
West, Econometrica 55, 1987) and the bandwidth n^(1/3); the quantile is Student's with the samples that remain when
neighbours count once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, kw_only=True)
class Slope:
    """Growth per hour with its 95 % interval."""

    estimate: float
    low: float
    high: float

    @property
    def is_flat(self) -> bool:
        """Whether zero is within the interval."""
        return self.low <= 0.0 <= self.high


def slope(hours: Sequence[float], values: Sequence[float]) -> Slope:
    """Return the growth of ``values`` per hour; at least 20 samples, the warm-up already left out.

    >>> slope(range(30), [5.0] * 30)
    Slope(estimate=0.0, low=0.0, high=0.0)
    """
    t, y = np.asarray(hours, float), np.asarray(values, float)
    if len(t) < 20:
        raise ValueError(f"{len(t)} samples are too few for a slope; 20 are needed")
    centred = t - t.mean()
    spread = float(centred @ centred)
    estimate = float(centred @ (y - y.mean())) / spread
    scores = centred * (y - y.mean() - estimate * centred)
    lags = int(np.ceil(len(t) ** (1 / 3)))
    total = float(scores @ scores)
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * float(scores[lag:] @ scores[:-lag])
    error = float(np.sqrt(max(total, 0.0) * len(t) / (len(t) - 2))) / spread
    reach = float(stats.t.ppf(0.975, max(2, len(t) // lags - 2))) * error
    return Slope(estimate=estimate, low=estimate - reach, high=estimate + reach)
