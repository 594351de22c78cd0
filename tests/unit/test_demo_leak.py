"""The demo's model server is a real process, and it leaks only when and as much as it is told to."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from monitor.demo import flights, leak
from monitor.demo.flights import Flights

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def prepared(request: pytest.FixtureRequest) -> Flights:
    return flights.load(Path(request.config.cache.mkdir("demo-flights")))


def test_memory_grows_to_the_limit_and_no_further(prepared: Flights, tmp_path: Path) -> None:
    pid_file = tmp_path / "run" / "serve.pid"
    with leak.leaking(prepared.champion_file, pid_file, healthy=1, rate=40, limit=60) as server:
        process = psutil.Process(int(pid_file.read_text()))
        assert process.pid == server.pid
        healthy = process.memory_info().rss
        deadline = time.monotonic() + 30
        while process.memory_info().rss < healthy + 55 * MEGABYTE:
            assert time.monotonic() < deadline, "no leak"
            time.sleep(0.2)
        assert server.poll() is None
        assert process.memory_info().rss < healthy + 90 * MEGABYTE
    assert not pid_file.exists()
    assert server.returncode == 0


def test_it_answers_what_the_champion_said(prepared: Flights, tmp_path: Path) -> None:
    rows = prepared.production_rows().slice(100_000, 5).to_pylist()
    with leak.leaking(prepared.champion_file, tmp_path / "serve.pid", port=0) as server:
        (port,) = {
            c.laddr.port for c in psutil.Process(server.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN
        }
        for row in rows:
            features = {name: row[name] for name in flights.FEATURES}
            answer = httpx.post(f"http://127.0.0.1:{port}/predict", json=features, trust_env=False)
            assert answer.json()["p_late"] == pytest.approx(row["p_late"], abs=1e-9)
        refused = httpx.post(f"http://127.0.0.1:{port}/predict", content=b"[1]", trust_env=False)
        assert refused.status_code == 400


def test_it_ends_when_its_parent_is_gone(prepared: Flights, tmp_path: Path) -> None:
    pid_file = tmp_path / "serve.pid"
    somebody_else = 1  # never the parent of what a test starts
    command = [sys.executable, "-m", "monitor.demo.leak", "--model", str(prepared.champion_file)]
    command += ["--pid-file", str(pid_file), "--parent", str(somebody_else)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert re.fullmatch(r"serving on port \d+\n", done.stdout)
    assert not pid_file.exists()
