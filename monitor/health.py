"""Health of a process: which of its loops have turned lately, by a clock that nobody sets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Health:
    """Whether the process is alive; ``ages`` are seconds since each part gave a sign, ``reasons`` are sentences."""

    ages: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether nothing is overdue."""
        return not self.reasons


@dataclass(kw_only=True)
class Heartbeats:
    """Signs of life of the parts of a process; any thread may give them, any may ask.

    ``limits`` names every part with the longest silence in seconds; a part that never gave a sign counts from the
    start. A loop that may work for long on one thing needs a limit beyond that, or beats in between.

    >>> at = iter([0.0, 5.0, 70.0])
    >>> beats = Heartbeats(limits={"scheduler": 60.0}, clock=lambda: next(at))
    >>> beats.beat("scheduler")
    >>> beats.health().reasons
    ('The scheduler has given no sign of life for 65 seconds, 60 are allowed.',)
    """

    limits: Mapping[str, float]
    clock: Callable[[], float] = time.monotonic
    _last: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        started = self.clock()
        self._last = dict.fromkeys(self.limits, started)

    def beat(self, part: str) -> None:
        """Give a sign of life; raises KeyError for a part without a limit."""
        if part not in self.limits:
            raise KeyError(f"{part} has no limit; known are {', '.join(sorted(self.limits))}.")
        with self._lock:
            self._last[part] = self.clock()

    def health(self) -> Health:
        """Return how long each part has been silent, and which for too long."""
        now = self.clock()
        with self._lock:
            ages = {part: now - last for part, last in self._last.items()}
        late = sorted(part for part, age in ages.items() if age > self.limits[part])
        sentence = "The {} has given no sign of life for {:.0f} seconds, {:.0f} are allowed."
        return Health(ages=ages, reasons=tuple(sentence.format(part, ages[part], self.limits[part]) for part in late))
