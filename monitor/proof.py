"""Proofs: whether another answer than the champion's would have been better on windows it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from monitor.outcome import OutcomeProfile
from monitor.window import Window

LEVEL = 1.28  # one-sided 90 %
SHARE = 0.02  # of the champion's loss: a smaller gain is not worth anybody's time


@dataclass(frozen=True, kw_only=True)
class Gain:
    """By how much an alternative's loss was below the champion's: mean over windows, its standard error.

    ``champion_loss`` is the champion's mean loss on the same rows, in the same units (log loss; regression: the
    absolute error, capped).
    """

    mean: float
    error: float
    champion_loss: float
    windows: int = 0
    rows: int = 0
    per_prediction: float | None = None
    """The same in money per prediction, where costs are known."""

    @property
    def lower(self) -> float:
        """Lower one-sided 90 % bound of the gain."""
        return self.mean - LEVEL * self.error

    @property
    def upper(self) -> float:
        """Upper one-sided 90 % bound of the gain."""
        return self.mean + LEVEL * self.error

    @property
    def proven(self) -> bool:
        """Whether the gain is above zero beyond doubt and large enough to matter."""
        return self.lower > 0 and self.mean >= SHARE * self.champion_loss


@dataclass(frozen=True, kw_only=True)
class ProofRequest:
    """What to try: refits on rows before ``fit_until``, judged on ``windows``.

    ``recent_since`` is where the refit on recent rows begins; the expanding one uses everything before, training rows
    included. Rows of ``excluded`` windows (broken data) are used by neither.
    """

    model: str
    model_version: str
    role: str
    slice: Mapping[str, object] = field(default_factory=dict)
    windows: tuple[Window, ...]
    fit_until: datetime
    recent_since: datetime
    excluded: tuple[Window, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What the refits gained, by name ("recent", "expanding"); ``reason`` says in words why there is none."""

    gains: Mapping[str, Gain] = field(default_factory=dict)
    reason: str = ""


Prove = Callable[[ProofRequest], Proof]
History = Callable[[datetime, datetime], Sequence[tuple[Window, OutcomeProfile]]]
"""Matured outcome windows that start in [since, until), in order."""
