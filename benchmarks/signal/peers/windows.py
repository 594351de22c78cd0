"""What every tool shares: windows in, one score per window and subject out. Runs in the tool's environment, not ours.

A folder has ``windows.parquet``: ``window`` (negative in training) and columns. A tool writes ``TOOL.csv`` beside it:
``rule,what,subject,window,score,flagged``. The score grows with suspicion; ``flagged`` is the tool's own verdict at its
documented defaults. ``what`` names the method where a rule has several for one subject.
"""

from __future__ import annotations

import csv
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
os.environ |= {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}

Line = tuple[str, str, str, int, float, bool]


def run(tool: str, score: Callable[[Any, Any], Iterable[Line]]) -> None:
    """Score the folders named by the arguments; one that has its scores is left alone."""
    import pandas as pd

    for folder in map(Path, sys.argv[1:]):
        target = folder / f"{tool}.csv"
        if target.exists():
            continue
        frame = pd.read_parquet(folder / "windows.parquet")
        old, new = frame[frame["window"] < 0], frame[frame["window"] >= 0]
        part = target.with_suffix(".part")
        with part.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(["rule", "what", "subject", "window", "score", "flagged"])
            lines.writerows((*line[:5], int(line[5])) for line in score(old, new))
        part.rename(target)


def features(frame: Any) -> list[tuple[str, bool]]:
    """Return the columns with whether they are numeric; labels are no feature."""
    from pandas.api.types import is_numeric_dtype

    return [(name, is_numeric_dtype(frame[name])) for name in frame.columns if name not in ("window", "label")]
