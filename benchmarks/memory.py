"""How much memory the daemon's process needs above its imports while it replays the demo's year.

``python -m benchmarks.memory [DAYS]`` replays the flights (all 306 days unless told otherwise) in a process of its own,
then imports in another one whatever that one had imported by its end, and prints both. Linux only: it reads /proc.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

REPLAY = """
import io, json, sys
from datetime import date
from pathlib import Path
from monitor.allocator import share_heaps
from monitor.heavy import refuse_heavy
share_heaps()
refuse_heavy()
from rich.console import Console
from monitor.demo.replay import replay
replay(Path(sys.argv[1]), until=date.fromisoformat(sys.argv[2]), serve=False, console=Console(file=io.StringIO()))
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
Path(sys.argv[3]).write_text(json.dumps({"peak": peak, "modules": list(sys.modules)}))
"""
IMPORTS = """
import contextlib, importlib, json, sys
from pathlib import Path
from monitor.heavy import refuse_heavy
refuse_heavy()
for name in json.loads(Path(sys.argv[1]).read_text())["modules"]:
    with contextlib.suppress(Exception):  # a few are made by others and cannot be imported by name
        importlib.import_module(name)
lines = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024)
"""
HEAVY = ("pandas", "evidently", "sklearn", "matplotlib")


def main(days: int) -> int:
    """Replay ``days`` days and print the figures; 1 if a heavy package was imported."""
    from monitor.demo.flights import PRODUCTION_FROM

    with tempfile.TemporaryDirectory() as folder:
        facts = Path(folder) / "facts.json"
        until = PRODUCTION_FROM + timedelta(days=days)
        arguments = [str(Path(folder) / "demo"), until.isoformat(), str(facts)]
        subprocess.run([sys.executable, "-c", REPLAY, *arguments], check=True)
        found = json.loads(facts.read_text())
        done = subprocess.run(
            [sys.executable, "-c", IMPORTS, str(facts)], check=True, stdout=subprocess.PIPE, text=True
        )
    imports, peak = float(done.stdout), found["peak"]
    heavy = [name for name in HEAVY if name in found["modules"]]
    print(f"imports {imports:.0f} MiB, peak {peak:.0f} MiB, above imports {peak - imports:.0f} MiB")
    print(f"heavy packages imported: {', '.join(heavy) or 'none'}")
    return 1 if heavy else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 306))
