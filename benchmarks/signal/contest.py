"""Other tools on the same windows, each in its own environment, at its defaults and at an equal rate of false flags.

Tuning is kind to the tool: each of its scores is standardised by what it was on calibration streams, one limit for all
of them is set so that the allowed share of calibration windows exceeds it, and only then other streams are looked at.
"""

from __future__ import annotations

import csv
import math
import subprocess
import venv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PEERS = {"evidently": "0.7.23", "nannyml": "0.13.1", "frouros": "0.9.0", "river": "0.23.0"}
SCRIPTS = Path(__file__).with_name("peers")


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a tool said of one subject in one window."""

    series: tuple[str, str]
    """Method and subject."""
    window: int
    score: float
    flagged: bool


def python_of(tool: str, home: Path) -> Path:
    """Return the interpreter of a tool's environment, made from its pinned requirements where it is not there."""
    folder = home.resolve() / tool
    if not (folder / "complete").exists():
        print(f"installing {tool} into {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        python, pinned = folder / "bin" / "python", SCRIPTS / f"{tool}.txt"
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", "-r", str(pinned)], check=True)
        (folder / "complete").touch()
    return folder / "bin" / "python"


def score(tool: str, home: Path, folders: Sequence[Path]) -> None:
    """Let a tool score every folder of windows; one that has its scores is left alone."""
    command = [str(python_of(tool, home)), str(SCRIPTS / f"{tool}_peer.py"), *map(str, folders)]
    subprocess.run(command, check=True)


def read_scores(tool: str, folder: Path) -> list[Score]:
    """Return what a tool wrote about a folder."""
    with (folder / f"{tool}.csv").open(newline="", encoding="utf-8") as file:
        return [
            Score(
                series=(line["what"], line["subject"]),
                window=int(line["window"]),
                score=float(line["score"]),
                flagged=line["flagged"] == "1",
            )
            for line in csv.DictReader(file)
        ]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A tool's limit: so many standard deviations above the mean of the score on calibration streams."""

    center: dict[tuple[str, str], float]
    spread: dict[tuple[str, str], float]
    limit: float

    def excess(self, found: Score) -> float:
        """Return a score in standard deviations of calibration; one that never varied there is 0 or infinite."""
        center, spread = self.center.get(found.series, 0.0), self.spread.get(found.series, 0.0)
        if not math.isfinite(found.score):
            return 0.0
        if spread > 0:
            return (found.score - center) / spread
        return math.inf if found.score > center else 0.0

    def flags(self, found: Iterable[Score]) -> list[tuple[int, str]]:
        """Return windows and subjects above the limit."""
        return [(one.window, one.series[1]) for one in found if self.excess(one) > self.limit]


def tune(streams: Sequence[Iterable[Score]], share: float) -> Tuned:
    """Return the limit that at most ``share`` of the calibration windows exceed."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    kept = [list(stream) for stream in streams]
    for stream in kept:
        for one in stream:
            if math.isfinite(one.score):
                values[one.series].append(one.score)
    center = {series: float(np.mean(scores)) for series, scores in values.items()}
    spread = {series: float(np.std(scores)) for series, scores in values.items()}
    tuned = Tuned(center=center, spread=spread, limit=0.0)
    most: dict[tuple[int, int], float] = defaultdict(float)
    for number, stream in enumerate(kept):
        for one in stream:
            place = (number, one.window)
            most[place] = max(most[place], tuned.excess(one))
    ordered = sorted(most.values(), reverse=True)
    return Tuned(center=center, spread=spread, limit=ordered[min(int(share * len(ordered)), len(ordered) - 1)])


def defaults(found: Iterable[Score]) -> list[tuple[int, str]]:
    """Return what a tool flags by itself."""
    return [(one.window, one.series[1]) for one in found if one.flagged]


def delay(flags: Iterable[tuple[int, str]], subject: str, at: int, within: int = 30) -> float:
    """Return the windows until the subject is flagged; infinite where it is not in time."""
    return min((float(w - at) for w, s in flags if s == subject and at <= w <= at + within), default=math.inf)


def flagged_share(streams: Sequence[Iterable[tuple[int, str]]], windows: int) -> tuple[int, int]:
    """Return windows with any flag, and all of them, over several streams of so many windows."""
    return sum(len({w for w, _ in flags}) for flags in streams), windows * len(streams)
