"""Exact intervals of shares and of rates."""

from __future__ import annotations

from scipy.stats import beta, chi2


def share(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the Clopper–Pearson interval of a share; (0, 1) without trials."""
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, trials - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def rate(events: int, time: float, level: float = 0.95) -> tuple[float, float]:
    """Return the Garwood interval of events per unit of time."""
    tail = (1 - level) / 2
    low = float(chi2.ppf(tail, 2 * events) / 2) if events else 0.0
    return low / time, float(chi2.ppf(1 - tail, 2 * events + 2) / 2) / time
