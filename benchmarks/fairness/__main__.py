"""Fairness on two real data sets: ``python -m benchmarks.fairness compas|acs [DIR] [--permutations N]``.

DIR (default ``$MONITOR_DATA``) holds ``compas_two_years.csv.gz``, ProPublica's two-year file, or
``acs_employment_ma.parquet``, the ``employment_MA`` rows of NannyML 0.13.1 in one file. Neither is part of this
project.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fairness import employment, recidivism


def main(arguments: Sequence[str]) -> int:
    """Run one of the two; returns 1 where what is promised does not hold, 2 without data."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("case", choices=("compas", "acs"))
    parser.add_argument("folder", nargs="?", default=os.environ.get("MONITOR_DATA", "."))
    parser.add_argument("--permutations", type=int, default=100)
    given = parser.parse_args(arguments)
    file = Path(given.folder) / (recidivism.FILE if given.case == "compas" else employment.FILE)
    if not file.exists():
        print(f"{file} is not there; give the folder that holds it, or set MONITOR_DATA.", file=sys.stderr)
        return 2
    return recidivism.show(file) if given.case == "compas" else employment.show(file, given.permutations)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
