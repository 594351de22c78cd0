"""Samples of serving processes: by psutil on this machine, or from the process's own Prometheus endpoint."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from monitor.deployment import ProcessSection
from monitor.process import ProcessGoneError, ProcessSample, same_start

TIMEOUT = 5.0  # seconds for a metrics page
LONGEST_PAGE = 4 << 20  # bytes of a metrics page that are read
UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as a number near 2**63


@dataclass(kw_only=True)
class Sampler:
    """Finds one model's serving process and measures it; remembers only what a rate needs."""

    name: str
    where: ProcessSection
    restarts: int = 0
    _last: ProcessSample | None = None
    _process: psutil.Process | None = field(default=None, repr=False)

    def sample(self, now: datetime) -> ProcessSample:
        """Return a measurement; raises ProcessGoneError when there is no such process or endpoint."""
        measured = self._scrape(now) if self.where.prometheus is not None else self._measure(now)
        last = self._last
        if last is not None and not same_start(measured.start, last.start):
            self.restarts += 1
        cpu = None
        if last is not None and measured.cpu_seconds is not None and last.cpu_seconds is not None:
            seconds = (now - last.sampled_at).total_seconds()
            if seconds > 0 and measured.cpu_seconds >= last.cpu_seconds:
                cpu = 100 * (measured.cpu_seconds - last.cpu_seconds) / seconds
        sample = ProcessSample(**{**vars(measured), "restarts": self.restarts, "cpu_percent": cpu})
        self._last = sample
        return sample

    def _measure(self, now: datetime) -> ProcessSample:
        try:
            process = self._find()
            family = [process, *process.children(recursive=True)]
            with process.oneshot():
                started = datetime.fromtimestamp(process.create_time(), UTC)
            figures = [_figures(member) for member in family]
        except psutil.NoSuchProcess as error:
            self._process = None
            raise ProcessGoneError(f"the serving process of {self.name} (pid {error.pid}) is gone") from error
        except psutil.AccessDenied as error:
            self._process = None
            raise ProcessGoneError(
                f"the serving process of {self.name} ({self._described()}) cannot be read; run the monitor as its user"
            ) from error
        found = [one for one in figures if one is not None]
        if not found:
            raise ProcessGoneError(f"the serving process of {self.name} cannot be read; run the monitor as its user")
        return ProcessSample(
            process=self.name,
            sampled_at=now,
            pid=process.pid,
            started_at=started,
            rss_bytes=int(sum(one["rss"] for one in found)),
            uss_bytes=int(sum(one["uss"] for one in found)) if all("uss" in one for one in found) else None,
            cpu_seconds=sum(one["cpu"] for one in found),
            threads=int(sum(one["threads"] for one in found)),
            open_files=int(sum(one["files"] for one in found)) if all("files" in one for one in found) else None,
            memory_limit_bytes=memory_limit(process.pid),
        )

    def _find(self) -> psutil.Process:
        if self._process is not None and self._process.is_running() and self._process.status() != "zombie":
            return self._process
        pid = self._pid()
        if pid is None or not psutil.pid_exists(pid):
            raise ProcessGoneError(f"the serving process of {self.name} is not running ({self._described()})")
        self._process = psutil.Process(pid)
        return self._process

    def _pid(self) -> int | None:
        if self.where.pid_file is not None:
            return _read_pid(self.where.pid_file)
        if self.where.command is not None:
            pattern = re.compile(self.where.command)
            found = [
                process
                for process in psutil.process_iter(["cmdline", "create_time", "ppid"])
                if process.pid != os.getpid()
                and pattern.search(" ".join(" ".join(process.info["cmdline"] or []).splitlines()))
            ]
            pids = {process.pid for process in found}
            roots = [process for process in found if process.info["ppid"] not in pids]
            return min(roots, key=lambda p: p.info["create_time"]).pid if roots else None
        listening = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == self.where.port
        ]
        return next((pid for pid in listening if pid), None)

    def _described(self) -> str:
        for key in ("pid_file", "command", "port"):
            value = getattr(self.where, key)
            if value is not None:
                return f"{key}: {value}"
        return str(self.where.prometheus)

    def _scrape(self, now: datetime) -> ProcessSample:
        url = str(self.where.prometheus)
        try:
            values = _metrics(_page(url))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ProcessGoneError(
                f"the metrics of {self.name} cannot be read at {url} ({type(error).__name__})"
            ) from error
        if "process_resident_memory_bytes" not in values:
            raise ProcessGoneError(f"{url} shows no process_resident_memory_bytes; serve the process metrics there")
        started = values.get("process_start_time_seconds")
        limit = values.get("process_virtual_memory_max_bytes")
        return ProcessSample(
            process=self.name,
            sampled_at=now,
            started_at=None if started is None else datetime.fromtimestamp(started, UTC),
            rss_bytes=int(values["process_resident_memory_bytes"]),
            cpu_seconds=values.get("process_cpu_seconds_total"),
            threads=_whole(values.get("process_threads")),
            open_files=_whole(values.get("process_open_fds")),
            memory_limit_bytes=None if limit is None or not 0 < limit < UNLIMITED else int(limit),
        )


def _page(url: str) -> str:
    """Return a page of metrics, at most so many bytes of it within so much time: its server is not always well."""
    deadline = time.monotonic() + TIMEOUT
    got = bytearray()
    with httpx.stream("GET", url, timeout=TIMEOUT, follow_redirects=False, trust_env=False) as answer:
        answer.raise_for_status()
        for chunk in answer.iter_bytes():
            got += chunk
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the page takes too long", request=answer.request)
            if len(got) > LONGEST_PAGE:
                break
    # What comes after the last whole line was cut off.
    return bytes(got[: got.rfind(b"\n") + 1]).decode("utf-8", errors="replace")


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _figures(process: psutil.Process) -> Mapping[str, float] | None:
    try:
        with process.oneshot():
            times = process.cpu_times()
            found = {
                "rss": process.memory_info().rss,
                "cpu": times.user + times.system,
                "threads": process.num_threads(),
            }
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return None
    dear: Mapping[str, Callable[[], float]] = {"uss": lambda: process.memory_full_info().uss, "files": process.num_fds}
    for name, read in dear.items():
        try:
            found[name] = read()
        except (psutil.Error, AttributeError):  # another user's process, or a platform without
            continue
    return found


def _metrics(page: str) -> dict[str, float]:
    wanted = {
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_threads",
        "process_open_fds",
        "process_start_time_seconds",
        "process_virtual_memory_max_bytes",
    }
    found: dict[str, float] = {}
    # The rest of the page is none of ours, and whatever is wrong with it neither.
    lines = [line for line in page.splitlines() if line.startswith("process_")]
    families = text_string_to_metric_families("\n".join(lines) + "\n")
    for family in families:
        for sample in family.samples:
            if sample.name in wanted:
                found[sample.name] = sample.value
    return found


def memory_limit(pid: int, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the memory limit of a process's control group (the tightest on the way up), None without one."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = base / path.lstrip("/")
        for place in (folder, *folder.parents):
            limit = _read_pid(place / name)
            if limit is not None and limit < UNLIMITED:
                limits.append(limit)
            if place == base:
                break
    return min(limits, default=None)
