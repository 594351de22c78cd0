"""``python -m benchmarks.readiness FOLDER``: flights of six winter weeks against ten months of production.

Prints what `monitor readiness` says, in full; FOLDER keeps the prepared flights.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq

from monitor.cli import run
from monitor.demo import flights


def main(folder: Path) -> int:
    """Prepare the flights, with labels where they came, and run the command."""
    prepared = flights.load(folder)
    production = folder / "labelled_production.parquet"
    pq.write_table(prepared.labelled_production(), production)
    answers = ("request_id", "logged_at", "model_version", "deployment_role", "p_late", "said_late")
    ignored = [part for name in answers for part in ("--ignore", name)]
    named = ["--train", str(prepared.training_file), "--production", str(production)]
    return run(["readiness", *named, "--label", "was_late", "--time", "occurred_at", *ignored])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Say where the flights shall be kept: python -m benchmarks.readiness FOLDER")
    sys.exit(main(Path(sys.argv[1])))
