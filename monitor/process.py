"""What is known of a serving process at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

Start = tuple[int | None, datetime | None]
WANDERING = timedelta(seconds=2)


@dataclass(frozen=True, kw_only=True)
class ProcessSample:
    """One measurement of one serving process (with its children); ``None`` where it cannot be known.

    ``restarts`` counts the process's changes of pid or start time since the monitor first saw it.
    """

    process: str
    sampled_at: datetime
    pid: int | None = None
    started_at: datetime | None = None
    model_version: str | None = None
    rss_bytes: int | None = None
    uss_bytes: int | None = None
    cpu_seconds: float | None = None
    cpu_percent: float | None = None
    threads: int | None = None
    open_files: int | None = None
    restarts: int = 0
    memory_limit_bytes: int | None = None

    @property
    def start(self) -> Start:
        """What tells one start of the process from the next."""
        return self.pid, self.started_at


def same_start(one: Start, other: Start) -> bool:
    """Whether two pairs of process id and time of start mean one and the same start of a process.

    The times may differ by two seconds, because the kernel counts them from a boot time that it corrects; where one is
    not known, the id decides.
    """
    (pid, began), (other_pid, other_began) = one, other
    if pid != other_pid:
        return False
    return began is None or other_began is None or abs(began - other_began) < WANDERING


class ProcessGoneError(Exception):
    """The process cannot be found; the message is one sentence."""
