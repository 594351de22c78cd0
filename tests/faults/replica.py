"""A replica: the daemon of ``monitor run`` as a process of its own, with short leases and a clock that may race.

As a program (``python -m tests.faults.replica monitor.yaml --start 2013-04-05 --speed 86400``) it is what a fault that
needs a program is done to: a preloaded library, a cgroup, another user. In tests ``forked`` makes one from a server
process that has imported everything, which takes a twentieth of the time. Failpoints come from the environment.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from monitor import cli, failpoint
from monitor.commands.run import keep_running
from monitor.heavy import HEAVY
from monitor.sending import Patience

PATIENCE = 60.0  # seconds for what takes two


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a replica runs; times in seconds.

    With ``start`` its clock shows that time at ``origin`` (seconds since 1970 of the real one) and goes ``speed`` times
    as fast from there, alike in every replica that is given the same; without, the clock is that of the daemon.
    """

    start: datetime | None = None
    origin: float = field(default_factory=time.time)
    speed: float = 1.0
    lease: float = 2.0
    tick: float = 0.2
    deadline: float = 1.0
    delivery_lease: float = 2.0

    def clock(self) -> datetime:
        """Return what time it is for the replica."""
        if self.start is None:
            return datetime.now(UTC)
        return self.start + self.speed * timedelta(seconds=time.time() - self.origin)

    def daemon(self) -> dict[str, Any]:
        """Return the fields of its Daemon."""
        return {
            **({} if self.start is None else {"clock": self.clock}),
            "lease": timedelta(seconds=self.lease),
            "tick": timedelta(seconds=self.tick),
            "patience": Patience(deadline=self.deadline, lease=timedelta(seconds=self.delivery_lease)),
        }

    def arguments(self) -> list[str]:
        """Return it as arguments of the program."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]


@dataclass(kw_only=True)
class Replica:
    """A running replica; ``log`` is the file of its standard output and error."""

    child: BaseProcess | subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.child.pid is not None
        return self.child.pid

    def said(self) -> str:
        """Return what it wrote so far."""
        return self.log.read_text()

    def awaits(self, text: str, seconds: float = PATIENCE) -> None:
        """Wait until it writes something; fails when it ends without."""
        eventually(lambda: text in self.said() or self.code() is not None, seconds)
        assert text in self.said(), self.said()

    def code(self) -> int | None:
        """Return how it ended: the exit code, or minus the signal; None while it runs."""
        return self.child.poll() if isinstance(self.child, subprocess.Popen) else self.child.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def ended(self, seconds: float = PATIENCE) -> int:
        """Return how it ended, which has to come in time."""
        eventually(lambda: self.code() is not None, seconds)
        code = self.code()
        assert code is not None
        return code

    def close(self) -> None:
        """Kill it if it runs, and wait for it."""
        self.child.kill()
        self.ended()


def eventually(holds: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


@contextmanager
def forked(file: Path, options: Options, *, failpoints: str = "") -> Iterator[Replica]:
    """Yield a replica that was forked from a process with everything imported; it is killed at the end."""
    log = file.with_suffix(f".{time.monotonic_ns()}.log")
    log.touch()
    child = context().Process(target=_forked, args=(file, options, failpoints, log), daemon=True)
    child.start()
    replica = Replica(child=child, log=log)
    try:
        yield replica
    finally:
        replica.close()


@contextmanager
def spawned(
    file: Path,
    options: Options,
    *,
    failpoints: str = "",
    before: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
) -> Iterator[Replica]:
    """Yield a replica that is a program of its own, started by the command ``before``; it is killed at the end."""
    log = file.with_suffix(f".{time.monotonic_ns()}.log")
    command = [*before, sys.executable, "-W", "ignore", "-m", "tests.faults.replica", str(file), *options.arguments()]
    with log.open("wb") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, failpoint.VARIABLE: failpoints, **(environ or {})},
            cwd=Path(__file__).parents[2],
        )
    replica = Replica(child=child, log=log)
    try:
        yield replica
    finally:
        replica.close()


@contextmanager
def held(fifo: Path, replica: Replica, seconds: float = PATIENCE) -> Iterator[None]:
    """Wait until a replica is at the failpoint that waits for ``fifo``, and let it go on at the end."""
    found: list[int] = []

    def entered() -> bool:
        assert replica.code() is None, replica.said()
        try:
            found.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads
            return False
        return True

    eventually(entered, seconds)
    try:
        yield
    finally:
        os.close(found[0])


def context() -> multiprocessing.context.ForkServerContext:
    """Return where processes are forked from one that has imported everything."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads do not survive a fork
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.nursery"])
    return context


def _forked(file: Path, options: Options, failpoints: str, log: Path) -> None:
    out = os.open(log, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(out, number)
    os.environ[failpoint.VARIABLE] = failpoints
    _run(file, options)


def _run(file: Path, options: Options) -> None:
    for name in HEAVY & {name.partition(".")[0] for name in sys.modules}:
        raise AssertionError(f"{name} was imported before a replica was")
    run = cli.app.command("replica")(lambda: keep_running(file, **options.daemon()))
    assert run is not None
    cli.main(["replica"])


def main() -> None:
    """Run as the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--start", type=lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC))
    for one in fields(Options):
        if one.name != "start":
            parser.add_argument(f"--{one.name.replace('_', '-')}", type=float)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    _run(given.pop("file"), Options(**given))


if __name__ == "__main__":
    main()
