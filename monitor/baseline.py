"""Baseline: what the first windows of production were like, where training has no time line to learn it from.

Only sums are kept, so it is small enough to be remembered by a check, and windows are taken in one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monitor.reference import ENOUGH_WINDOWS
from monitor.source import Floats
from monitor.statistic import NullModel
from monitor.stats.calibration import FEWEST, LONGEST, Calibration

JUMP = 1.0  # training standard deviations that no ordinary window is off by; half of it in points of a share


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """Sums over windows of each statistic (C,): how often it had a value, mean, squares, products with the one before.

    ``windows`` were taken in; ``judged`` came after them, and ``flagged`` of these had a flag.
    """

    windows: int
    count: Floats
    mean: Floats
    squares: Floats
    products: Floats
    previous: Floats
    inverse: Floats
    judged: int = 0
    flagged: int = 0

    @classmethod
    def start(cls, channels: int) -> Baseline:
        """Return the baseline before any window."""
        zero = np.zeros(channels)
        return cls(windows=0, count=zero, mean=zero, squares=zero, products=zero, previous=zero, inverse=zero)

    @property
    def complete(self) -> bool:
        """Whether there are windows enough to judge by."""
        return self.windows >= ENOUGH_WINDOWS

    def absorbing(self, theta: Floats, n: Floats) -> Baseline:
        """Return the baseline with one more window (Welford 1962); a statistic without a value stays as it was."""
        known = np.isfinite(theta) & (n > 0)
        x = np.where(known, theta, self.mean)
        count = self.count + known
        many = np.maximum(count, 1)
        mean = self.mean + (x - self.mean) / many
        return replace(
            self,
            windows=self.windows + 1,
            count=count,
            mean=mean,
            squares=self.squares + (x - self.mean) * (x - mean),
            products=self.products + (x - mean) * self.previous,
            previous=np.where(known, x - mean, self.previous),
            inverse=self.inverse + np.where(known, 1 / np.maximum(n, 1.0), 0.0),
        )

    def counting(self, *, flagged: bool) -> Baseline:
        """Return the baseline with one more window that was judged by it."""
        return replace(self, judged=self.judged + 1, flagged=self.flagged + flagged)

    def null_model(self, null: NullModel) -> NullModel:
        """Return a null model that has these windows in the place of training's; nothing is known until it is complete.

        Sampling noise is that of training's rows; seasons cannot be told from so few windows and count as variation.
        """
        count = np.maximum(self.count, 1)
        unit, row = null.statistics.unit, null.statistics.row
        noise = unit * self.inverse / count
        variance = self.squares / np.maximum(count - 1, 1)
        natural = np.maximum(variance - noise, 0.0)
        share = np.clip(natural / np.maximum(variance, 1e-300), 0.0, 1.0)
        rho = self.products / np.maximum(self.squares, 1e-300)
        memory = np.where(rho > 1 / np.sqrt(count), np.clip(rho / np.maximum(share, 0.02), 0.0, LONGEST), 0.0)
        echo = np.minimum(1 + 2 * share * memory / (1 - memory), np.maximum(count / 4, 1.0))
        known = (self.count >= FEWEST) & self.complete
        usual = Calibration(
            mean=np.where(known, self.mean, np.nan)[None, :],
            natural=np.where(known, natural, np.nan),
            unit=unit,
            degrees=np.maximum(count - echo, 2.0),
            error=np.where(known, (natural + noise) * echo / count, np.nan),
            autocorrelation=memory,
            skewness=row.skewness,
            kurtosis=row.kurtosis,
            tail=np.zeros(len(count)),
            windows=self.windows,
        )
        return replace(null, season=usual, flat=usual)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        arrays = ("count", "mean", "squares", "products", "previous", "inverse")
        return {
            **{name: [float(f"{x:.9g}") for x in getattr(self, name).tolist()] for name in arrays},
            **{name: getattr(self, name) for name in ("windows", "judged", "flagged")},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None, channels: int) -> Baseline:
        """Return what ``to_json`` wrote; another number of statistics begins anew."""
        if data is None or len(data["count"]) != channels:
            return cls.start(channels)
        known: dict[str, Any] = {n: np.array(x, np.float64) if isinstance(x, list) else x for n, x in data.items()}
        return cls(**known)
