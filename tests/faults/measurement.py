"""What a fault test measured: one line of JSON each, from which the table of docs/reliability.md is made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How the monitor came through one kind of fault."""

    scenario: int
    """Its number in docs/reliability.md."""
    name: str
    """What was injected, in a few words; with the number it is the key: a later measurement replaces an earlier one."""
    injected: int
    """How often."""
    lost: int = 0
    """Windows, rows, alerts or messages that are missing, whichever the test is about."""
    duplicated: int = 0
    """Those that are there twice."""
    recovery: float | None = None
    """Seconds from the end of the fault until work went on, the longest of all; None where nothing had stopped."""
    note: str = ""
    """A sentence: where it was injected, and what else one should know."""

    def __post_init__(self) -> None:
        if not 1 <= self.scenario <= 25 or self.injected < 1 or min(self.lost, self.duplicated) < 0:
            raise ValueError(f"a scenario is one of 1 to 25, was injected at least once and counts from 0: {self}")


def load(file: Path) -> list[Measurement]:
    """Return the last measurement of each kind in a file, by scenario and name."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()
    return newest(Measurement(**json.loads(line)) for line in lines if line.strip())


def append(file: Path, measurement: Measurement) -> None:
    """Write a measurement to the end of a file."""
    with file.open("a", encoding="utf-8") as out:
        print(json.dumps(asdict(measurement), ensure_ascii=False), file=out)


def newest(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return the last of each kind, by scenario and name."""
    found = {(one.scenario, one.name): one for one in measurements}
    return [found[key] for key in sorted(found)]
