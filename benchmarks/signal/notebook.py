"""Lines measured so far, kept in a file: a long run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

ENGINE = ("monitor/stats", "monitor/checks", "monitor", "benchmarks/signal", "benchmarks/design")


class Notebook:
    """The lines of one form of the benchmark and of one state of the code; other code begins another notebook."""

    def __init__(self, folder: Path, form: str) -> None:
        self.path = folder / f"{form}-{fingerprint()}.json"
        kept = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        self.lines: dict[str, str] = kept.get("lines", {})
        self.seconds: float = kept.get("seconds", 0.0)

    def line(self, key: str, measure: Callable[[], str]) -> str:
        """Return the line kept under a key, or measure it and keep it."""
        if key not in self.lines:
            began = time.perf_counter()
            self.lines[key] = measure()
            self.seconds += time.perf_counter() - began
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_suffix(".part")
            part.write_text(json.dumps({"lines": self.lines, "seconds": self.seconds}), encoding="utf-8")
            part.rename(self.path)
        return self.lines[key]


def fingerprint() -> str:
    """Return what tells one state of the code that decides from another."""
    root = Path(__file__).parents[2]
    files = sorted(path for folder in ENGINE for path in (root / folder).glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
