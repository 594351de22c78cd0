"""Profiling: a new version that answers gets its training profile, where its training rows lie in an agreed place."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from monitor import store
from monitor.installation import Installation, Monitored

log = logging.getLogger(__name__)

RECENT = timedelta(days=7)  # in which a version must have answered, to be the one that does
PLAIN = re.compile(r"[A-Za-z0-9_][\w.+-]*")  # what a version may be to stand in a path: logs are no place to trust
GRACE = 5.0  # seconds that a child gets to end


@dataclass(kw_only=True)
class _Child:
    """`monitor profile` for one version of one model, in a process of its own: it fits models and needs memory."""

    model: str
    version: str
    process: subprocess.Popen[bytes]
    said: IO[bytes]


@dataclass(kw_only=True)
class Profiler:
    """Starts `monitor profile` for one version after the other; ``tick`` never waits for it."""

    installation: Installation
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _child: _Child | None = None
    _tried: dict[tuple[str, str], float] = field(default_factory=dict)
    """When the file that was tried last for a version was written."""

    @property
    def wanted(self) -> bool:
        """Whether any model says where its training rows are."""
        return any(one.section.retraining.training_rows for one in self.installation.models.values())

    @property
    def busy(self) -> bool:
        """Whether a child runs."""
        return self._child is not None

    def tick(self) -> None:
        """See to the child that runs, or start one where a version that answers has no training profile."""
        if self._child is not None:
            self._see_to(self._child)
            return
        for watched in self.installation.models.values():
            pattern = watched.section.retraining.training_rows
            if pattern is None:
                continue
            with self.installation.engine.begin() as conn:
                version = store.unprofiled_version(conn, watched.name, since=self.clock() - RECENT)
            if version is not None and self._start(watched, pattern, version):
                return

    def stop(self) -> None:
        """End the child that runs; the next daemon starts it again."""
        if self._child is None:
            return
        self._child.process.terminate()
        try:
            self._child.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._child.process.kill()
            self._child.process.wait()
        self._child.said.close()
        self._child = None

    def _start(self, watched: Monitored, pattern: Path, version: str) -> bool:
        if PLAIN.fullmatch(version) is None:
            return False
        rows = Path(str(pattern).replace("{version}", version))
        try:
            written = rows.stat().st_mtime
        except OSError:
            return False  # the pipeline has not put it there yet
        key = (watched.name, version)
        if self._tried.get(key) == written:
            return False  # it failed, and is the same
        self._tried[key] = written
        config = self.installation.config.path
        command = [sys.executable, "-m", "monitor", "profile", watched.name, "--from", str(rows), "--version", version]
        said = tempfile.TemporaryFile()  # noqa: SIM115 it is read when the child has ended
        # Our own command reads the same configuration, so it needs the environment that this may refer to.
        process = subprocess.Popen(
            [*command, "--config", str(config)], stdin=subprocess.DEVNULL, stdout=said, stderr=said, env={**os.environ}
        )
        self._child = _Child(model=watched.name, version=version, process=process, said=said)
        log.info(
            "version %s has no training profile; storing one from %s", version, rows, extra={"model": watched.name}
        )
        return True

    def _see_to(self, child: _Child) -> None:
        code = child.process.poll()
        if code is None:
            return
        child.said.seek(0)
        lines = child.said.read().decode(errors="replace").strip().splitlines()
        child.said.close()
        self._child = None
        last = lines[-1] if lines else f"code {code}"
        if code:
            log.warning("no training profile of version %s: %s", child.version, last, extra={"model": child.model})
        else:
            log.info("training profile of version %s stored", child.version, extra={"model": child.model})
