"""The process between us and the embedded Postgres: runs the server as its child, ends it when nobody uses it any more.

`monitor.embedded` starts it as a plain script with a task in JSON, isolated and without site-packages, so it imports
only the standard library and is there in 20 ms. It is a process of its own because only a parent with nothing else to
do can promise that its child is never orphaned: Linux ties the death signal to the thread that started the child, and
elsewhere there is no such signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, TypedDict

FAST_STOP = 10.0  # seconds that Postgres gets for a shutdown with a checkpoint before it is told to stop at once
STEADY = 10.0  # seconds; a server that has run this long and then dies is started again
LOG_LIMIT = 10_000_000  # bytes; a longer log is begun anew at the next start

SHARED, STOPPING = "shared", "stopping"  # what the supervisor answers to the process that started it and goes


class Task(TypedDict):
    """What the supervisor is told: command and user of the server, the locks, and what to remove at the end."""

    command: list[str]
    identity: dict[str, Any]
    users: str
    lock: int
    log: str
    temporary: str | None


def supervise(task: Task) -> None:
    """Run Postgres until nobody uses it. No signal ends this process but SIGKILL, and then Postgres stops at once."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    server: subprocess.Popen[bytes] | None = None
    stopping, ended = threading.Event(), threading.Event()

    def stop_when_unused() -> None:
        sys.stdin.read()  # ends when the process that started us goes, by its own will or not
        with Path(task["users"]).open("a") as users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                answer(SHARED)
                fcntl.flock(users, fcntl.LOCK_EX)
            answer(STOPPING)
            stopping.set()
            for number, patience in ((signal.SIGINT, FAST_STOP), (signal.SIGQUIT, FAST_STOP), (signal.SIGKILL, None)):
                if server is not None:
                    server.send_signal(number)
                if ended.wait(patience):
                    return

    watcher = threading.Thread(target=stop_when_unused, daemon=True)
    while not stopping.is_set():
        began = time.monotonic()
        server = spawn(task)
        if not watcher.is_alive():
            watcher.start()
        server.wait()
        if time.monotonic() - began < STEADY:
            break
        stopping.wait(1.0)  # the rest of its processes need a moment to see that it is gone
    ended.set()
    if stopping.is_set():
        watcher.join()
    if task["temporary"]:
        shutil.rmtree(task["temporary"], ignore_errors=True)


def spawn(task: Task) -> subprocess.Popen[bytes]:
    """Start Postgres in a session of its own, with the lock in its hands for as long as any of its processes lives."""
    path = Path(task["log"])
    mode = "wb" if path.exists() and path.stat().st_size > LOG_LIMIT else "ab"
    with path.open(mode) as log:
        return subprocess.Popen(
            task["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[task["lock"]],
            start_new_session=True,
            preexec_fn=prepare_child,  # safe here: the one other thread of this process only ever waits
            **task["identity"],
        )


def prepare_child() -> None:
    """Undo what the supervisor ignores, and ask Linux to stop Postgres at once when the supervisor is killed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGQUIT)


def answer(word: str) -> None:
    """Tell the process that started us; it may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, f"{word}\n".encode())


if __name__ == "__main__":
    supervise(json.loads(sys.argv[1]))
