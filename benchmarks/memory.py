"""How much memory the daemon's process needs above its imports while it replays the demo's year.

``python -m benchmarks.memory [DAYS]`` replays the flights (all 306 days unless told otherwise) in a process of its own
and prints its resident memory after importing, and at its peak. Linux only: it reads /proc.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

CHILD = """
import io, sys
from datetime import date, timedelta
from pathlib import Path
from monitor.heavy import refuse_heavy
refuse_heavy()
def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
import monitor.daemon, monitor.demo.replay, monitor.sources.postgres, adbc_driver_postgresql.dbapi
from monitor import check, notification
check.checks.load(), notification.channels.load()
from rich.console import Console
baseline = resident("VmRSS")
until = date.fromisoformat(sys.argv[2])
monitor.demo.replay.replay(Path(sys.argv[1]), until=until, serve=False, console=Console(file=io.StringIO()))
peak = resident("VmHWM")
heavy = [name for name in ("pandas", "evidently", "sklearn", "matplotlib") if name in sys.modules]
print(f"imports {baseline:.0f} MiB, peak {peak:.0f} MiB, above imports {peak - baseline:.0f} MiB")
print(f"heavy packages: {heavy or 'none'}")
"""


def main(days: int) -> int:
    """Replay ``days`` days and print the figures."""
    from monitor.demo.flights import PRODUCTION_FROM

    with tempfile.TemporaryDirectory() as folder:
        until = PRODUCTION_FROM + timedelta(days=days)
        command = [sys.executable, "-c", CHILD, str(Path(folder) / "demo"), until.isoformat()]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 306))
