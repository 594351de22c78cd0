"""A model server that leaks memory: ``python -m monitor.demo.leak --model FILE --pid-file FILE``.

It answers ``POST /predict`` (JSON: one object with the features) with the demo's champion and asks itself a few times a
second. After a healthy while it begins to keep what it should forget, at a set rate, up to a limit. The leak is
injected: the process exists to be caught.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HEALTHY = 50.0  # seconds before the leak begins: what is usual is known after 40 samples, one a second
RATE = 8.0  # MB per second
LIMIT = 350.0  # MB that are leaked at most: the machine of the person who watches has to live on
REQUESTS_PER_SECOND = 5.0
MEGABYTE = 1_000_000


@dataclass(kw_only=True)
class Leak:
    """A cache that nothing is ever removed from; it starts to fill ``healthy`` seconds after ``started``."""

    started: float
    healthy: float
    rate: float
    limit: float
    kept: list[bytes] = field(default_factory=list, repr=False)
    _size: float = 0.0

    def due(self, now: float) -> float:
        """Return how many MB should be leaked by ``now``, in the clock of ``started``.

        >>> Leak(started=0, healthy=10, rate=2, limit=50).due(15.0)
        10.0
        """
        return min(max(now - self.started - self.healthy, 0.0) * self.rate, self.limit)

    def grow(self, now: float) -> None:
        """Keep as much more as is due."""
        missing = self.due(now) - self._size
        if missing >= 0.1:
            # Written to, because untouched pages do not count as used memory.
            self.kept.append(b"x" * int(missing * MEGABYTE))
            self._size += missing


def run(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM; the pid file is there exactly while the server answers."""
    model = _load(arguments.model)
    leak = Leak(started=time.monotonic(), healthy=arguments.healthy, rate=arguments.rate, limit=arguments.limit)
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), _handler(model))
    server.daemon_threads = True
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pid_file: Path = arguments.pid_file
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    fresh = pid_file.with_suffix(".new")
    fresh.write_text(f"{os.getpid()}\n")
    fresh.replace(pid_file)
    print(f"serving on port {server.server_address[1]}", flush=True)
    try:
        # A parent that was killed cannot say goodbye: then somebody else has adopted us.
        while os.getppid() == arguments.parent or arguments.parent is None:
            leak.grow(time.monotonic())
            model.answer(model.example)
            if stopping.wait(1 / REQUESTS_PER_SECOND):
                break
    finally:
        pid_file.unlink(missing_ok=True)
        server.shutdown()


@dataclass(frozen=True, kw_only=True)
class Model:
    """The champion with its categories."""

    estimator: Any
    categories: dict[str, list[str]]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    example: dict[str, Any]

    def answer(self, features: dict[str, Any]) -> float:
        """Return the probability of a delay; missing numbers and unknown categories count as missing."""
        import numpy as np

        row = [float("nan") if features.get(name) is None else float(features[name]) for name in self.numeric]
        for name in self.categorical:
            known = self.categories[name]
            row.append(float(known.index(features[name])) if features.get(name) in known else float("nan"))
        return float(self.estimator.predict_proba(np.array([row], np.float32))[0, 1])


def _load(path: Path) -> Model:
    return Model(**pickle.loads(path.read_bytes()))  # noqa: S301  # the file is the demo's own


def _handler(model: Model) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                features = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                status, answer = 200, {"p_late": model.answer(features)}
            except (ValueError, TypeError, AttributeError) as error:
                status, answer = 400, {"error": str(error)}  # type: ignore[dict-item]  # either a number or a text
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name that http.server gives
            """Say nothing."""

    return Handler


@contextlib.contextmanager
def leaking(model: Path, pid_file: Path, **options: float) -> Iterator[subprocess.Popen[str]]:
    """Start the server as a child, yield it once it serves, end it afterwards. Options: healthy, rate, limit, port."""
    command = [sys.executable, "-m", "monitor.demo.leak", "--model", str(model), "--pid-file", str(pid_file)]
    command += ["--parent", str(os.getpid())]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    # One core is enough for one row at a time.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    assert child.stdout is not None
    try:
        if not child.stdout.readline():
            raise RuntimeError(f"The demo's model server did not start (code {child.wait()}); see the lines above.")
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m monitor.demo.leak", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="champion.pickle of the prepared flights")
    parser.add_argument("--pid-file", type=Path, required=True, help="where to write the process id")
    parser.add_argument("--healthy", type=float, default=HEALTHY, help="seconds without a leak")
    parser.add_argument("--rate", type=float, default=RATE, help="MB leaked per second")
    parser.add_argument("--limit", type=float, default=LIMIT, help="MB leaked in all")
    parser.add_argument("--port", type=int, default=0, help="port to answer on; 0 is any free one")
    parser.add_argument("--parent", type=int, default=None, help="process without which this one ends")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(parse(sys.argv[1:]))
