"""Rules of sampling, on real processes: what is found, what is measured, and that a leak ends in an alert."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

import prometheus_client
import psutil
import pytest
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from monitor.check import Evidence, Stage, Verdict
from monitor.checks.resource import Resource
from monitor.deployment import ProcessSection
from monitor.process import ProcessGoneError
from monitor.resources import Sampler, memory_limit
from monitor.window import Window, WindowSpec
from tests.peers import closed_port

START = datetime(2024, 5, 6, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MB = 1_000_000

#: Keeps as many megabytes as it is told on a line, and answers with the port on which it listens.
SERVE = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
kept = []
print(listener.getsockname()[1], flush=True)
for line in sys.stdin:
    kept.append(bytearray(b"x" * int(float(line) * 1_000_000)))
    print(len(kept), flush=True)
"""


class Server:
    """A child that holds memory on demand."""

    def __init__(self, *arguments: str) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.child.stdout is not None
        self.port = int(self.child.stdout.readline())

    def hold(self, megabytes: float) -> None:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{megabytes}\n")
        self.child.stdin.flush()
        self.child.stdout.readline()

    def stop(self) -> None:
        with self.child:
            self.child.kill()


@contextmanager
def running(*arguments: str) -> Iterator[Server]:
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running("a model server of the tests") as started:
        yield started


def sampler(**where: object) -> Sampler:
    return Sampler(name="serve", where=ProcessSection.model_validate(where))


# --- where the process is found ---


def test_a_process_is_found_by_pid_file_command_and_port_and_measured(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "serve.pid"
    file.write_text(f"{server.child.pid}\n")
    for where in (
        sampler(pid_file=str(file)),
        sampler(command="^[^ ]*python.*a model server of the tests$"),
        sampler(port=server.port),
    ):
        found = where.sample(START)
        assert found.pid == server.child.pid
        assert found.rss_bytes is not None
        assert 2 * MB < found.rss_bytes < 200 * MB
        assert found.threads == 1
        assert found.open_files is not None
        assert found.started_at is not None
        assert abs(found.started_at.timestamp() - psutil.Process(server.child.pid).create_time()) < 1
        assert (found.restarts, found.cpu_percent) == (0, None)
        assert where.sample(START + SECOND).cpu_percent == pytest.approx(0, abs=100)


def test_memory_that_a_process_takes_is_seen() -> None:
    with running() as server:
        where = sampler(port=server.port)
        before = where.sample(START)
        server.hold(50)
        after = where.sample(START + SECOND)
    assert after.rss_bytes is not None
    assert before.rss_bytes is not None
    assert after.rss_bytes - before.rss_bytes == pytest.approx(50 * MB, rel=0.1)


def test_a_process_that_ended_is_gone_and_its_successor_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "serve.pid"
    where = sampler(pid_file=str(file))
    with pytest.raises(ProcessGoneError, match=r"is not running \(pid_file: .*serve\.pid\)"):
        where.sample(START)
    with running() as first:
        file.write_text(str(first.child.pid))
        where.sample(START)
    with pytest.raises(ProcessGoneError):
        where.sample(START + SECOND)
    with running() as second:
        file.write_text(str(second.child.pid))
        assert where.sample(START + 2 * SECOND).restarts == 1


@pytest.mark.parametrize("text", ["", "soon", "-1", "0"])
def test_a_pid_file_without_a_process_id_is_a_process_that_is_gone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "serve.pid"
    file.write_text(text)
    with pytest.raises(ProcessGoneError):
        sampler(pid_file=str(file)).sample(START)


def test_children_count_with_their_parent(tmp_path: Path) -> None:
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SERVE!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        parent.stdout.readline()
        file = tmp_path / "serve.pid"
        file.write_text(str(parent.pid))
        found = sampler(pid_file=str(file)).sample(START)
        parent.stdin.close()
    assert found.threads == 2


# --- its own metrics ---


@contextmanager
def metrics_page(page: bytes | CollectorRegistry) -> Iterator[str]:
    """Serve a page of metrics, of a real registry if one is given."""
    server: HTTPServer
    if isinstance(page, CollectorRegistry):
        server, thread = prometheus_client.start_http_server(0, "127.0.0.1", page)
    else:
        body = page

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_process_is_measured_by_its_own_prometheus_endpoint() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Gauge("process_threads", "Threads.", registry=registry).set(7)
    with metrics_page(registry) as url:
        where = sampler(prometheus=url)
        found = where.sample(START)
        assert where.sample(START + SECOND).restarts == 0
    assert found.rss_bytes == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert found.started_at is not None
    assert found.started_at.timestamp() == pytest.approx(psutil.Process().create_time(), abs=2)
    assert found.threads == 7
    assert found.cpu_seconds is not None


def test_what_is_wrong_elsewhere_on_the_page_does_not_matter() -> None:
    page = b"this is no metric {\nprocess_resident_memory_bytes 1.5e+08\nother{x=\n" + b"more 1\n" * 10
    with metrics_page(page) as url:
        assert sampler(prometheus=url).sample(START).rss_bytes == 150 * MB


@pytest.mark.parametrize("page", [b"", b"up 1\n", b"process_resident_memory_bytes many\n", b"\xff\xfe\n"])
def test_a_page_without_memory_is_refused_in_a_sentence(page: bytes) -> None:
    with metrics_page(page) as url, pytest.raises(ProcessGoneError, match=r"process_resident_memory_bytes|ValueError"):
        sampler(prometheus=url).sample(START)


def test_an_endpoint_that_does_not_answer_is_a_process_that_is_gone() -> None:
    url = f"http://127.0.0.1:{closed_port()}/metrics"
    with pytest.raises(ProcessGoneError, match=r"the metrics of serve cannot be read at http://.* \(ConnectError\)"):
        sampler(prometheus=url).sample(START)


# --- the limit ---


def tree(root: Path, cgroup: str, **limits: str) -> tuple[Path, Path]:
    """A /proc and a /sys/fs/cgroup with one process and the files named, dots and slashes as written."""
    proc, groups = root / "proc", root / "cgroup"
    (proc / "42").mkdir(parents=True)
    (proc / "42" / "cgroup").write_text(cgroup)
    for path, text in limits.items():
        file = groups / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return proc, groups


def test_the_tightest_limit_on_the_way_up_holds(tmp_path: Path) -> None:
    limits = {
        "memory.max": "max\n",
        "kube/memory.max": "300000000\n",
        "kube/pod/memory.max": "900000000\n",
        "other/memory.max": "1\n",
    }
    assert memory_limit(42, *tree(tmp_path, "0::/kube/pod\n", **limits)) == 300 * MB


def test_a_limit_of_the_older_control_groups_is_read(tmp_path: Path) -> None:
    limits = {"memory/docker/memory.limit_in_bytes": "500000000\n", "memory/memory.limit_in_bytes": str(2**63 - 4096)}
    cgroup = "5:cpu,cpuacct:/docker\n4:memory:/docker\n1:name=systemd:/x\n"
    assert memory_limit(42, *tree(tmp_path, cgroup, **limits)) == 500 * MB


def test_without_a_limit_there_is_none(tmp_path: Path) -> None:
    proc, groups = tree(tmp_path, "0::/a\n", **{"a/memory.max": "max\n"})
    assert memory_limit(42, proc, groups) is None
    assert memory_limit(43, proc, groups) is None


# --- all of it ---


def test_a_real_process_that_leaks_is_alerted_before_two_and_a_half_times_its_usual_memory() -> None:
    memory: dict[str, object] = {}
    check, usual = Resource(), 0.0
    with running() as server:
        where = sampler(port=server.port)
        server.hold(30)
        for number in itertools.count():
            now = START + number * SECOND
            sample = where.sample(now)
            evidence = Evidence(
                model="m",
                stage=Stage.PROCESS,
                window=Window(start=now, end=now + SECOND),
                spec=WindowSpec(width=timedelta(minutes=15)),
                memories=memory,
                samples={"serve": sample},
            )
            judgement = check.run(evidence)
            memory = {"resource": judgement.memory}
            found = [one for one in judgement.findings if one.verdict in (Verdict.WARNING, Verdict.CRITICAL)]
            assert sample.rss_bytes is not None
            if number < 60:
                assert not found, "it is healthy"
                usual = float(sample.rss_bytes)
                continue
            assert sample.rss_bytes < 2.5 * usual, "an alert must have come by now"
            if found:
                break
            server.hold(1)
    assert {one.family for one in found} == {"resource:serve"}
