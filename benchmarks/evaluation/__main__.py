"""Judges windows of a wide model from stored tiles: seconds of one core from their bytes to findings.

The first window of a process learns from the training profile what is usual, once.

python -m benchmarks.evaluation [FEATURES]
"""

from __future__ import annotations

import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from benchmarks.evaluation.wide import ROWS, TILES, batch_of
from monitor.check import Budget, Evidence, Stage, checks
from monitor.outcome import Task
from monitor.profile import Profile, profiles_of
from monitor.reference import build_reference
from monitor.window import CalendarUnit, WindowSpec

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
TRAINED, JUDGED = 28, 3  # days
INPUTS = ("drift", "relations", "sudden", "quality")


def main(features: int) -> None:
    """Measure and print."""
    spec = WindowSpec(calendar=CalendarUnit.DAY)
    began = time.process_time()
    reference = build_reference(
        batch_of(features, FIRST, TRAINED), model="wide", version="1", task=Task.BINARY, spec=spec, created_at=FIRST
    )
    print(f"{features} features, {TRAINED} days of training: profile in {time.process_time() - began:.1f} s")
    active = {name: checks.build(name, {}) for name in INPUTS if name in checks.load()}
    memories: dict[str, object] = {}
    seconds: dict[str, list[float]] = {}
    for day in range(JUDGED):
        start = FIRST + timedelta(days=TRAINED + day)
        window = spec.containing(start)
        tiles = [
            profile.to_bytes()
            for profile in profiles_of(
                reference.layout,
                batch_of(features, start, 1),
                np.arange(ROWS) * TILES // ROWS,
                TILES,
            )
        ]
        marks = [("", time.process_time())]
        current = Profile.total(reference.layout, [Profile.from_bytes(reference.layout, body) for body in tiles])
        marks.append((f"merge {TILES} tiles", time.process_time()))
        evidence = Evidence(
            model="wide",
            stage=Stage.INPUTS,
            window=window,
            spec=spec,
            maybe_reference=reference,
            maybe_current=current,
            memories=memories,
            budget=Budget(),
        )
        kept = {}
        for name, check in active.items():
            kept[name] = check.run(evidence).memory
            marks.append((name, time.process_time()))
        memories = kept
        for (_, before), (name, after) in pairwise(marks):
            seconds.setdefault(name, []).append(after - before)
    size = sum(len(body) for body in tiles) / TILES
    print(
        f"a tile of {ROWS // TILES} rows is {size / 1024:.0f} KiB; {', '.join(INPUTS)} judge {JUDGED} windows of {ROWS}"
    )
    print("| part | first window, s | later ones, median s |")
    print("|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {taken[0]:.3f} | {statistics.median(taken[1:]):.3f} |")
    whole = [sum(taken[day] for taken in seconds.values()) for day in range(JUDGED)]
    print(f"| **all** | {whole[0]:.3f} | {statistics.median(whole[1:]):.3f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1000)
