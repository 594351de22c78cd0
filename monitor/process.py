"""What is known of a serving process at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


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


class ProcessGoneError(Exception):
    """The process cannot be found; the message is one sentence."""
