"""A Postgres that can be taken away and given back, and services in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from monitor import embedded, schema
from monitor.embedded import EmbeddedPostgres

PATIENCE = 60.0  # seconds after which something that should happen is taken never to happen


def eventually(condition: Callable[[], Any], what: str = "") -> Any:
    """Return the first true value of a condition that is asked again and again."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"never came true: {what or condition}")


@dataclass
class Outage:
    """A database of the test's own that goes away and comes back."""

    data_dir: Path
    dsn: str
    server: EmbeddedPostgres | None = field(default=None, repr=False)
    frozen: list[psutil.Process] = field(default_factory=list)

    def start(self) -> None:
        self.server = embedded.start(self.data_dir, settings={"fsync": "off"})
        self.dsn = self.server.dsn

    def stop(self) -> None:
        """Shut the server down; every connection is cut."""
        assert self.server is not None
        self.server.stop()
        self.server = None

    def freeze(self) -> None:
        """Stop all processes of the server where they are: it takes connections and bytes, and says nothing."""
        pid = int((self.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        master = psutil.Process(pid)
        self.frozen = [master, *master.children(recursive=True)]
        for process in self.frozen:
            process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        for process in self.frozen:
            if process.is_running():
                process.send_signal(signal.SIGCONT)
        self.frozen = []

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query.encode()).fetchall()


@pytest.fixture(scope="session")
def second_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outage]:
    made = Outage(tmp_path_factory.mktemp("second") / "a server", "")
    made.start()
    assert made.server is not None
    schema.upgrade(made.server.url)
    yield made
    if made.server is not None:
        made.stop()


@pytest.fixture
def outage(second_server: Outage) -> Iterator[Outage]:
    """A database that no other test uses meanwhile, with empty log tables."""
    yield second_server
    second_server.thaw()
    if second_server.server is None:
        second_server.start()
    with psycopg.connect(second_server.dsn) as conn:
        conn.execute(
            "TRUNCATE monitor.prediction_log, monitor.outcome_log, monitor.heartbeat_log, monitor.circuit_event"
        )


@dataclass
class Service:
    """A service in a process of its own that runs a script and talks in lines."""

    process: subprocess.Popen[str]

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE)


@pytest.fixture
def service() -> Iterator[Callable[..., Service]]:
    """Start a script with arguments; killed at the end of the test if it still runs."""
    started: list[Service] = []

    def start(script: str, *arguments: object, errors: Path | None = None) -> Service:
        with (errors or Path("/dev/null")).open("a") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-c", script, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        started.append(Service(process))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()
        for pipe in (each.process.stdin, each.process.stdout):
            if pipe is not None:
                pipe.close()
