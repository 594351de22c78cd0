"""Put the measured table into docs/reliability.md: ``python -m tests.faults.report [MEASUREMENTS [PAGE]]``.

Of several measurements of the same fault the last one counts, and the file is left with that one alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.faults.measurement import Measurement, load

ROOT = Path(__file__).resolve().parents[2]
MEASUREMENTS = ROOT / "docs" / "reliability.jsonl"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: make soak -->", "<!-- end of measured -->"
HEAD = (
    "| | what was injected | how often | lost | duplicated | recovered within | |",
    "|---|---|---:|---:|---:|---:|---|",
)


def table(measurements: Sequence[Measurement]) -> str:
    """Return the table in Markdown, a row per measurement.

    >>> print(table([Measurement(scenario=3, name="sessions ended", injected=30, recovery=1.25)]).splitlines()[-1])
    | 3 | sessions ended | 30 | 0 | 0 | 1.2 s |  |
    """
    rows = [
        f"| {one.scenario} | {one.name} | {one.injected:,} | {one.lost:,} | {one.duplicated:,} "
        f"| {'–' if one.recovery is None else f'{one.recovery:.1f} s'} | {one.note} |"
        for one in measurements
    ]
    return "\n".join([*HEAD, *rows])


def insert(page: str, shown: str) -> str:
    """Return the page with the table between its two marks; raises ValueError where they are missing."""
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{shown}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write the page anew; returns the exit code."""
    file, page = (Path(given) for given in [*arguments, *map(str, (MEASUREMENTS, PAGE)[len(arguments) :])])
    measurements = load(file)
    if not measurements:
        print(f"{file} holds no measurements; run make soak.", file=sys.stderr)
        return 2
    lines = [json.dumps(asdict(one), ensure_ascii=False) for one in measurements]
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    page.write_text(insert(page.read_text(encoding="utf-8"), table(measurements)), encoding="utf-8")
    print(f"{page}: {len(measurements)} measurements.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
