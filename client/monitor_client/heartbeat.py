"""Signs of life of a serving process: what it uses, and which versions of which packages it runs."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil

from monitor_client.row import line, moment, number, text, whole

UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as a number near 2**63
_INSTALLED = re.compile(r"(?P<name>[A-Za-z0-9._]+)-(?P<version>[0-9][^-]*)\.(?:dist-info|egg-info)")


def process_name() -> str:
    """Return what tells this process from all others: host and process id."""
    return f"{socket.gethostname()}/{os.getpid()}"


def heartbeat(process: str, model: str, version: str | None, *, at: float, packages: bool, **counts: int) -> bytes:
    """Return one heartbeat of this process as a line; package versions only where asked, they hardly ever change."""
    me = psutil.Process()
    rss = uss = cpu = threads = files = None
    with contextlib.suppress(psutil.Error, OSError):
        with me.oneshot():
            rss, threads = me.memory_info().rss, me.num_threads()
            times = me.cpu_times()
            cpu = times.user + times.system
        files = me.num_fds()
    with contextlib.suppress(psutil.Error, OSError):
        uss = me.memory_full_info().uss
    installed = json.dumps(installed_packages(sys.path), ensure_ascii=False) if packages else None
    return line(
        text(process),
        text(model),
        text(version),
        moment(at),
        whole(os.getpid()),
        whole(rss),
        whole(uss),
        number(cpu),
        whole(threads),
        whole(files),
        whole(memory_limit()),
        text(installed),
        whole(counts["dropped"]),
        whole(counts["queued"]),
    )


def memory_limit(proc: Path = Path("/proc/self"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the smallest memory limit in bytes that holds for this process, None where there is none."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = []
    for entry in lines:
        _, controllers, path = entry.split(":", 2)
        if not controllers:
            base, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):  # a parent's limit holds as well
            with contextlib.suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text()))
            if folder == base:
                break
    return min((limit for limit in limits if limit < UNLIMITED), default=None)


def installed_packages(path: Iterable[str]) -> dict[str, str]:
    """Return the installed distributions by name, ``python`` and ``platform``; the first on the path counts.

    Only names of directories are read: opening the metadata of hundreds of packages would hold the interpreter for
    longer than a request may take.
    """
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for folder in path:
        with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                match = _INSTALLED.fullmatch(entry.name) if entry.name.endswith("-info") else None
                if match:
                    found.setdefault(re.sub(r"[-_.]+", "-", match["name"]).lower(), match["version"])
    return found
