"""What other tools take for one window: a script of its own, run by a Python in which the tool is installed.

``python peers.py TOOL URL TABLE ROWS`` reads the first rows as reference (at most 100,000) and all as current, the way
each tool's manual does, with ``pandas.read_sql``, and prints its figures as JSON. Imports are not counted.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
os.environ |= {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "WHYLOGS_NO_ANALYTICS": "True"}
MODULES = {"evidently": ["evidently", "evidently.presets"], "whylogs": ["whylogs"], "nannyml": ["nannyml"]}


def megabytes(field: str) -> float:
    """Return a figure of this process: VmRSS now, VmHWM the most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def evidently(reference: Any, current: Any) -> None:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    Report([DataDriftPreset()]).run(current, reference).json()


def whylogs(_reference: Any, current: Any) -> None:
    import whylogs as why

    why.log(current).profile().view().to_pandas()


def nannyml(reference: Any, current: Any) -> None:
    from nannyml import UnivariateDriftCalculator

    names = [name for name in current.columns if name != "occurred_at"]
    calculator = UnivariateDriftCalculator(column_names=names, timestamp_column_name="occurred_at", chunk_number=1)
    calculator.fit(reference)
    calculator.calculate(current).to_df()


def main(tool: str, url: str, table: str, rows: str) -> None:
    """Print seconds and megabytes."""
    import pandas as pd
    import sqlalchemy as sa

    for module in MODULES[tool]:
        importlib.import_module(module)
    engine = sa.create_engine(url)
    columns = "SELECT * FROM " + table
    with engine.connect() as conn:
        reference = pd.read_sql(sa.text(f"{columns} ORDER BY occurred_at LIMIT {min(int(rows), 100_000)}"), conn)
        reference = reference.drop(columns=["request_id"])
        before, began, processor = megabytes("VmRSS"), time.perf_counter(), time.process_time()
        current = pd.read_sql(sa.text(columns), conn).drop(columns=["request_id"])
        read = time.perf_counter() - began
    if tool != "nannyml":
        reference, current = (frame.drop(columns=["occurred_at"]) for frame in (reference, current))
    globals()[tool](reference, current)
    found = {
        "seconds": time.perf_counter() - began,
        "processor": time.process_time() - processor,
        "read": read,
        "megabytes": megabytes("VmHWM") - before,
        "version": importlib.metadata.version(tool),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
