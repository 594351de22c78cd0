"""The service of ``tests/acceptance`` over HTTP, with the client and without, under the same steady load."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

THREADS = 4
BODY = json.dumps({"features": {f"number_{i}": i / 7 for i in range(18)} | {"x": 0.5, "z": -0.2}})


@dataclass(kw_only=True)
class Asked:
    """What one service was asked: when, milliseconds inside it and seen from outside, ids answered, and failures."""

    at: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@contextmanager
def service(factory: str, url: str, spool: Path) -> Iterator[int]:
    """Run the service in a process of its own; yields its port once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", "--factory", f"tests.acceptance.service:{factory}", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--log-level", "error"], env={**os.environ, "MONITOR_URL": url, "SPOOL": str(spool)}
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                post(http.client.HTTPConnection("127.0.0.1", port), "/predict", BODY, "first")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def post(connection: http.client.HTTPConnection, path: str, body: str, key: str) -> tuple[int, str, float]:
    """Return status, body, and the milliseconds that the service says it took (NaN where it does not)."""
    connection.request("POST", path, body, {"x-request-id": key})
    answer = connection.getresponse()
    said = answer.read().decode()
    took = re.search(r"dur=([0-9.]+)", answer.headers.get("server-timing") or "")
    return answer.status, said, float(took[1]) if took else float("nan")


def ask(ports: dict[str, int], rate: float, over: threading.Event) -> dict[str, Asked]:
    """Ask all services in turn, each ``rate`` times a second, until it is over; returns what each was asked."""
    found = {name: [Asked() for _ in range(THREADS)] for name in ports}
    begun = time.monotonic()

    def run(number: int) -> None:
        connections = {name: http.client.HTTPConnection("127.0.0.1", port) for name, port in ports.items()}
        count, due = 0, begun + number / rate
        while not over.is_set():
            due = max(due + THREADS / rate, time.monotonic() - 0.1)  # after a pause of the machine, no long burst
            time.sleep(max(0.0, due - time.monotonic()))
            for name in list(connections)[:: 1 if count % 2 else -1]:
                into, key = found[name][number], f"{number}-{count}"
                start = time.perf_counter()
                try:
                    status, _, took = post(connections[name], "/predict", BODY, key)
                except (OSError, http.client.HTTPException) as error:
                    into.failed.append(str(error))
                    connections[name].close()
                    continue
                into.at.append(time.monotonic() - begun)
                into.outside.append(1000 * (time.perf_counter() - start))
                into.inside.append(took)
                (into.answered if status == 200 else into.failed).append(key)
            count += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    parts = list(Asked.__dataclass_fields__)
    return {
        name: Asked(**{part: list(chain.from_iterable(getattr(one, part) for one in each)) for part in parts})
        for name, each in found.items()
    }
