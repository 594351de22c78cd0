"""Case studies on real streams: ``MONITOR_DATA=DIR python -m benchmarks.cases NAME [--write docs/cases]``.

NAME is electricity, bank, taxi or occupancy. Prints the page of the case, or writes it. Returns 1 where the advice was
not what hindsight says, 2 without data.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases.page import study
from benchmarks.cases.stage import StageError, play, staged
from benchmarks.cases.subject import SUBJECTS


def main(arguments: Sequence[str]) -> int:
    """Run one case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cases", description=__doc__)
    parser.add_argument("name", choices=tuple(SUBJECTS))
    parser.add_argument("--write", type=Path, metavar="DIR", help="write DIR/NAME.md instead of printing it")
    given = parser.parse_args(arguments)
    if not os.environ.get("MONITOR_DATA"):
        print("MONITOR_DATA is not set; set it to the folder with the evaluation data.", file=sys.stderr)
        return 2
    subject = SUBJECTS[given.name]
    stream = subject.stream()
    with tempfile.TemporaryDirectory(prefix="monitor-case-") as folder:
        try:
            with staged(subject, stream, Path(folder)) as stage:
                text, outcome = study(stage, play(stage))
        except StageError as error:
            print(error, file=sys.stderr)
            return 1
    if given.write:
        (given.write / f"{subject.name}.md").write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    print(outcome.sentence, file=sys.stderr)
    return int(outcome.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
