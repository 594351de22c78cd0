"""Sentences to the log: one for each kind of trouble and minute, with how often it has happened since."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter

EVERY = 60.0  # seconds between two sentences about the same trouble

log = logging.getLogger("monitor_client")


class Complaints:
    """Counts each trouble and says it now and then; safe from any thread, raises nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.after_fork()

    def after_fork(self) -> None:
        """Begin to count anew."""
        self.counts: Counter[str] = Counter()
        self._said: dict[str, tuple[float, int]] = {}
        self._lock = threading.RLock()

    def add(self, trouble: str, sentence: str, *, number: int = 1, level: int = logging.WARNING) -> None:
        """Count `number` times `trouble`; `sentence` says what happened and what to do."""
        now = time.monotonic()
        with self._lock:
            self.counts[trouble] += number
            total = self.counts[trouble]
            at, told = self._said.get(trouble, (-EVERY, 0))
            if now - at < EVERY:
                return
            self._said[trouble] = (now, total)
        since = total - told
        more = f" ({since} times since it was last said)" if since > number else ""
        log.log(level, "%s: %s%s", self.name, sentence, more)

    def over(self, trouble: str, sentence: str) -> None:
        """Say that a trouble is over, if it was said at all."""
        with self._lock:
            said = self._said.pop(trouble, None)
        if said is not None:
            log.info("%s: %s", self.name, sentence)
