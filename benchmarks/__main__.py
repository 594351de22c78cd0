"""``make bench``: every benchmark, or those named (``make bench ARGS=memory``)."""

from __future__ import annotations

import os
import subprocess
import sys

COMMANDS = {
    "memory": ["benchmarks.memory"],
    "rechecks": ["benchmarks.rechecks"],
    "storage": ["benchmarks.storage"],
    "page": ["benchmarks.page"],
    "throughput": ["benchmarks.throughput"],
    "scale": ["benchmarks.scale"],
    "design": ["benchmarks.design", "all"],
    "weeks": ["benchmarks.design.robustness", "weeks", "20"],
    "shifts": ["benchmarks.design.robustness", "shifts"],
    "resources": ["benchmarks.resources"],
    "client": ["benchmarks.client"],
    "estimation": ["benchmarks.estimation"],
    "evaluation": ["benchmarks.evaluation"],
    "release": ["benchmarks.release"],
    "gate": ["benchmarks.release.flights"],
    "signal": ["benchmarks.signal"],
    "advice": ["benchmarks.advice", "synthetic"],
    **{f"case-{name}": ["benchmarks.cases", name] for name in ("electricity", "bank", "taxi", "occupancy")},
}
NEED_DATA = {"design", "resources", "case-electricity", "case-bank", "case-taxi", "case-occupancy"}


def main(names: list[str]) -> int:
    """Run benchmarks one after the other; returns the worst exit code."""
    unknown = [name for name in names if name not in COMMANDS]
    if unknown:
        print(f"{unknown[0]} is no benchmark; there are {', '.join(COMMANDS)}.", file=sys.stderr)
        return 3
    worst = 0
    for name in names or COMMANDS:
        if name in NEED_DATA and not os.environ.get("MONITOR_DATA"):
            print(f"{name} needs the evaluation data: set MONITOR_DATA to its folder.", file=sys.stderr)
            worst = max(worst, 2)
            continue
        module, *arguments = COMMANDS[name]
        print(f"--- {name}: python -m {module} {' '.join(arguments)}".rstrip(), flush=True)
        worst = max(worst, subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
