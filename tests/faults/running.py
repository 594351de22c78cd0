"""A daemon that runs in the test's own process, in a hurry, and what may be asked of it."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from monitor.daemon import Daemon
from monitor.installation import Installation
from monitor.sending import Patience
from tests.watched import FIRST

PATIENCE = 60.0  # seconds for what takes two


@dataclass(kw_only=True)
class Clock:
    """A clock that the test sets, or that runs ``speed`` times as fast as the real one."""

    start: datetime = FIRST
    speed: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def __call__(self) -> datetime:
        return self.start + timedelta(seconds=self.speed * (time.monotonic() - self._began))


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what could not be read be tried again soon."""
    monkeypatch.setattr("monitor.ledger.PAUSE", timedelta(seconds=0.5))


@contextmanager
def running(installation: Installation, clock: Callable[[], datetime]) -> Iterator[Daemon]:
    """Start a daemon of an installation, and stop it at the end."""
    daemon = Daemon(
        installation=installation,
        clock=clock,
        lease=timedelta(seconds=3),
        tick=timedelta(seconds=0.4),
        patience=Patience(deadline=2, lease=timedelta(seconds=4)),
    )
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


def eventually(holds: Callable[[], Any], within: float = PATIENCE) -> float:
    """Wait for what other threads do; returns the seconds that it took. What it asks may fail meanwhile."""
    began = time.monotonic()
    trouble: Exception | None = None
    while time.monotonic() - began < within:
        try:
            if holds():
                return time.monotonic() - began
            trouble = None
        except Exception as error:  # noqa: BLE001  # the database may be away
            trouble = error
        time.sleep(0.05)
    raise AssertionError(f"it did not happen within {within:g} s") from trouble


def page(daemon: Daemon, path: str) -> tuple[int, dict[str, Any]]:
    """Return status and JSON of an answer of the daemon."""
    assert daemon.serving is not None
    try:
        with urllib.request.urlopen(daemon.serving.url + path, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def threads() -> set[str]:
    """Return the names of the threads that are alive and have to live on; those of single requests come and go."""
    return {thread.name for thread in threading.enumerate() if thread.is_alive() and thread.name != "of the dispatcher"}
