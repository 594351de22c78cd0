"""``python -m benchmarks.client [overhead] [shadow] [outage] [http] [circuit]``: all where none is named, in 6 min."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg

from benchmarks.client import http as web
from benchmarks.client.load import FEATURES
from monitor import embedded, schema, switchboard
from monitor.embedded import EmbeddedPostgres
from monitor_client import PredictionLogger

RATE = 500.0  # predictions per second
CLIENTS, ROUNDS = 20, 15
BEFORE, AWAY, AFTER = 15.0, 60.0, 15.0  # seconds


def quantile(values: list[float], share: float) -> float:
    return float(np.quantile(values, share))


def overhead(server: EmbeddedPostgres, folder: Path) -> None:
    """Print what one call of `log` costs while the thread writes what it gets."""
    calls = 50_000
    with PredictionLogger(server.dsn, model="bench", version="7", spool_directory=folder / "spool") as logger:
        logger.log(FEATURES, score=0.5)
        logger.flush(10)
        times = []
        for number in range(calls):
            start = time.perf_counter()
            logger.log(FEATURES, score=0.5, prediction=True, latency_ms=1.5)
            times.append(1e6 * (time.perf_counter() - start))
            if number % 100 == 0:
                time.sleep(0.005)
        flushed, dropped = logger.flush(60), logger.dropped
    print(
        f"overhead: {calls:,} predictions of {len(FEATURES)} features: median {quantile(times, 0.5):.0f} µs, "
        f"p99 {quantile(times, 0.99):.0f} µs; all written: {flushed}, lost: {dropped}"
    )


def start(mode: str, url: str, folder: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.client.load", mode, url, folder / "spool", RATE, seconds]
    return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate()
    found: dict[str, Any] = json.loads(out)
    return found


def compared(bare: list[float], with_client: list[float]) -> str:
    pairs = [(quantile(bare, share), quantile(with_client, share)) for share in (0.5, 0.99)]
    (median, with_median), (p99, with_p99) = pairs
    return (
        f"median {median:.3f} → {with_median:.3f} ms, p99 {p99:.3f} → {with_p99:.3f} ms "
        f"(added at p99: {with_p99 - p99:+.3f} ms)"
    )


def shadow(server: EmbeddedPostgres, folder: Path) -> None:
    """Print what a second model in a thread aside costs the first."""
    services = {mode: start(mode, server.dsn, folder, 20.0) for mode in ("client", "shadow")}
    found = {mode: result(service) for mode, service in services.items()}
    print(f"shadow: {RATE:.0f} answers/s, a shadow model in numpy: ", end="")
    print(compared(found["client"]["answers"], found["shadow"]["answers"]), end="; ")
    print(f"skipped: {found['shadow']['troubles'].get('shadow skipped', 0)}")


def kill(server: EmbeddedPostgres) -> None:
    """End every process of the server as a crash of its machine would."""
    pid = int((server.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    master = psutil.Process(pid)
    supervisor = master.parent()
    family = [*([supervisor] if supervisor is not None and supervisor.pid != 1 else []), master]
    for process in [*family, *master.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended with its parent
            process.kill()


def outage(server: EmbeddedPostgres, folder: Path) -> EmbeddedPostgres:
    """Print what a minute without the database does to answers and rows; returns the server that came back."""
    seconds = BEFORE + AWAY + AFTER
    with psycopg.connect(server.dsn) as conn:
        conn.execute("TRUNCATE monitor.prediction_log")  # ids of other parts are the same numbers
    # Both at the same time, so that what else the machine does touches both.
    services = {mode: start(mode, server.dsn, folder, seconds) for mode in ("bare", "client")}
    time.sleep(BEFORE)
    kill(server)
    time.sleep(AWAY)
    server = embedded.start(server.data_dir)
    found = {mode: result(service) for mode, service in services.items()}
    begin, end = int(RATE * (BEFORE + 1)), int(RATE * (BEFORE + AWAY))
    bare, client = found["bare"], found["client"]
    print(f"outage: {RATE:.0f} answers/s, the database killed for {AWAY:.0f} s: while it is away ", end="")
    print(compared(bare["answers"][begin:end], client["answers"][begin:end]))
    print(
        f"outage: one call of log while it is away: median {1000 * quantile(client['logs'][begin:end], 0.5):.0f} µs, "
        f"p99 {quantile(client['logs'][begin:end], 0.99):.3f} ms, longest {max(client['logs'][begin:end]):.1f} ms"
    )
    with psycopg.connect(server.dsn) as conn:
        row = conn.execute(
            "SELECT count(DISTINCT request_id), count(*) FROM monitor.prediction_log WHERE request_id ~ '^[0-9]+$'"
            " AND role = 'champion'"
        ).fetchone()
    assert row is not None
    print(
        f"outage: {client['logged']:,} logged, {row[0]:,} in the database, {row[1] - row[0]} repeated, "
        f"{client['dropped']} dropped; drained {client['drained_in']:.1f} s after the last answer"
    )
    return server


def over_http(server: EmbeddedPostgres, folder: Path) -> EmbeddedPostgres:
    """Print what a minute without the database does to a service over HTTP; returns the server that came back."""
    with psycopg.connect(server.dsn) as conn:
        conn.execute("TRUNCATE monitor.prediction_log")
    over, found = threading.Event(), {}
    spool = folder / "http"
    with (
        web.service("create_bare", server.dsn, spool) as bare,
        web.service("create_alone", server.dsn, spool) as client,
    ):
        ports = {"bare": bare, "client": client}
        asking = threading.Thread(target=lambda: found.update(web.ask(ports, RATE, over)))
        asking.start()
        time.sleep(BEFORE)
        kill(server)
        time.sleep(AWAY)
        server = embedded.start(server.data_dir)
        time.sleep(AFTER)
        over.set()
        asking.join()
        connection = http.client.HTTPConnection("127.0.0.1", client, timeout=60)
        flushed = json.loads(web.post(connection, "/flush", "{}", "last")[1])
    print(f"http: {len(found['client'].at) / max(found['client'].at):.0f} answers/s of each of two services", end=", ")
    print(f"the database killed for {AWAY:.0f} s: while it is away")
    since, until = BEFORE + 1, BEFORE + AWAY
    for where in ("inside", "outside"):
        times = {
            name: [took for took, at in zip(getattr(one, where), one.at, strict=True) if since < at < until]
            for name, one in found.items()
        }
        words = "in the service" if where == "inside" else "seen by who asks"
        print(f"http: {words}: {compared(times['bare'], times['client'])}")
    with psycopg.connect(server.dsn) as conn:
        rows = conn.execute("SELECT request_id FROM monitor.prediction_log WHERE role = 'champion'").fetchall()
    lost = set(found["client"].answered) - {key for (key,) in rows}
    print(
        f"http: {len(found['client'].answered):,} answered, {len(lost)} of them not in the database, "
        f"{len(found['client'].failed)} failed; dropped {flushed['dropped']}, flushed {flushed['flushed']}"
    )
    return server


def circuit(server: EmbeddedPostgres) -> None:
    """Print how long it takes until each of many processes knows that a circuit was opened or closed."""
    command = [sys.executable, "-m", "benchmarks.client.follower", server.dsn]
    followers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(CLIENTS)
    ]
    heard: list[list[tuple[str, float]]] = [[] for _ in followers]

    def listen(process: subprocess.Popen[str], into: list[tuple[str, float]], ready: threading.Barrier) -> None:
        assert process.stdout is not None
        process.stdout.readline()
        ready.wait()
        for line in process.stdout:
            state, at = line.split()
            into.append((state, float(at)))

    ready = threading.Barrier(CLIENTS + 1)
    threads = [
        threading.Thread(target=listen, args=(process, into, ready))
        for process, into in zip(followers, heard, strict=True)
    ]
    for thread in threads:
        thread.start()
    ready.wait()
    engine = schema.create_engine(server.url)
    for notified in (True, False):
        word = "ENABLE" if notified else "DISABLE"
        with psycopg.connect(server.dsn) as conn:
            conn.execute(f"ALTER TABLE monitor.circuit_event {word} TRIGGER notify_circuit".encode())
        delays = []
        for number in range(2 * ROUNDS):
            before = [len(into) for into in heard]
            with engine.begin() as conn:
                held = switchboard.hold_circuit(conn, "bench")
                now = datetime.now(UTC)
                changed = (
                    held.closed(reason="benchmark", actor="benchmark")
                    if number % 2
                    else held.opened(reason="benchmark", actor="benchmark", now=now)
                )
                switchboard.save_circuit(conn, changed)
                at = time.time()
            while any(len(into) == count for into, count in zip(heard, before, strict=True)):
                time.sleep(0.005)
            delays += [into[-1][1] - at for into in heard]
            time.sleep(0.2 + random.random())  # no rhythm that looks could fall in with
        how = "with notifications" if notified else "with notifications lost, by looking alone"
        print(
            f"circuit: {CLIENTS} processes, {len(delays)} changes known, {how}: median {quantile(delays, 0.5):.3f} s, "
            f"p99 {quantile(delays, 0.99):.3f} s, longest {max(delays):.3f} s"
        )
    engine.dispose()
    for process in followers:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)
    for thread in threads:
        thread.join(10)


def main(names: list[str]) -> int:
    parts = ("overhead", "shadow", "outage", "http", "circuit")
    if unknown := [name for name in names if name not in parts]:
        print(f"{unknown[0]} is no part of this benchmark; there are {', '.join(parts)}.", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = embedded.start(folder / "data")
        schema.upgrade(server.url)
        for part in names or parts:
            match part:
                case "overhead":
                    overhead(server, folder)
                case "shadow":
                    shadow(server, folder)
                case "outage":
                    server = outage(server, folder)
                case "http":
                    server = over_http(server, folder)
                case "circuit":
                    circuit(server)
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
