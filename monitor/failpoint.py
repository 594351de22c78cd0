"""Failpoints: named points at which a test lets a process die, stop, fail or wait.

They are armed once, when the process starts, by the variable ``MONITOR_FAILPOINTS``, and are otherwise one comparison
with None. ``docs/development.md`` says how tests use them.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

VARIABLE = "MONITOR_FAILPOINTS"
PLAN = re.compile(r"(?P<point>[^=]*)=(?P<action>kill|stop|raise|wait:(?P<fifo>.+?))(?:@(?P<nth>[1-9]\d*))?")


class Failpoint(StrEnum):
    """Where something may happen; each is reached only with work at hand, in the order of this list."""

    MATERIALISED = "materialised"
    """The windows that are due are in the ledger, committed."""
    CLAIMING = "claiming"
    """A run is claimed, not committed."""
    CLAIMED = "claimed"
    """A run is claimed, committed."""
    TILE_STORED = "tile-stored"
    """A tile of a window that is read in parts is committed."""
    READ = "read"
    """The window's rows are read."""
    COMPUTED = "computed"
    """The decision is made, nothing of it is written."""
    SAVING = "saving"
    """Everything that follows from the run is written, not committed."""
    COMMITTED = "committed"
    """The run and all that follows from it are committed."""
    DELIVERY_CLAIMED = "delivery-claimed"
    """A message is claimed for a channel, committed, not sent."""
    SENT = "sent"
    """The channel took the message, nothing of that is written."""
    MARKING = "marking"
    """That it was sent is written, not committed."""
    MARKED = "marked"
    """That it was sent is committed."""


class FailpointError(Exception):
    """What an armed failpoint raises, or why one cannot be armed."""


@dataclass(kw_only=True)
class Armed:
    """What happens at which reach of which point."""

    actions: Mapping[tuple[Failpoint, int], Callable[[], None]]
    reached: Counter[Failpoint] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reach(self, point: Failpoint) -> None:
        """Count one reach, and do what is planned for it."""
        with self.lock:
            self.reached[point] += 1
            action = self.actions.get((point, self.reached[point]))
        if action is not None:
            action()


_armed: Armed | None = None


def reach(point: Failpoint) -> None:
    """Do what is planned for this point, which is nothing unless the process was started with failpoints."""
    if _armed is not None:
        _armed.reach(point)


def arm(environ: Mapping[str, str]) -> str:
    """Arm what the environment asks for; returns it as written, "" for nothing. Raises FailpointError in a sentence."""
    global _armed  # it is the process that is armed, before anything runs in it
    written = environ.get(VARIABLE, "")
    _armed = Armed(actions=dict(map(_planned, written.split(",")))) if written else None
    return written


def _planned(plan: str) -> tuple[tuple[Failpoint, int], Callable[[], None]]:
    found = PLAN.fullmatch(plan.strip())
    if found is None:
        raise FailpointError(
            f'{VARIABLE}: "{plan.strip()}" is no failpoint; write NAME=ACTION or NAME=ACTION@N, where ACTION is kill, '
            "stop, raise or wait:FIFO and N the reach that counts."
        )
    if found["point"] not in set(Failpoint):
        near = get_close_matches(found["point"], list(Failpoint), n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(Failpoint)}."
        raise FailpointError(f'{VARIABLE}: there is no failpoint "{found["point"]}"; {hint}')
    point, fifo = Failpoint(found["point"]), found["fifo"]
    if fifo is not None and not _is_fifo(Path(fifo)):
        raise FailpointError(f"{VARIABLE}: {fifo} is no named pipe to wait at; make it with `mkfifo` first.")
    return (point, int(found["nth"] or 1)), _action(point, found["action"], fifo)


def _action(point: Failpoint, name: str, fifo: str | None) -> Callable[[], None]:
    def fail() -> None:
        raise FailpointError(f"Failpoint {point} was told to fail.")

    def wait() -> None:
        assert fifo is not None
        Path(fifo).read_bytes()  # until somebody opens it for writing, and closes it again

    if name == "raise":
        return fail
    if fifo is not None:
        return wait
    number = signal.SIGKILL if name == "kill" else signal.SIGSTOP
    return lambda: os.kill(os.getpid(), number)


def _is_fifo(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False
