"""How the resource check does on labelled series: ``python -m benchmarks.resources [--write docs/resources.md]``.

Reads ``nab_cloud_resources.csv.gz`` below ``$MONITOR_DATA`` (Numenta Anomaly Benchmark, MIT): CPU, network, disk and
requests of cloud machines, every five minutes, with windows in which people saw something anomalous. Every value is fed
to the check as if it were resident memory: nothing is tuned to a series, and the check knows nothing of its kind.

An alert that opens inside a labelled window is right, elsewhere wrong; a window in which one opened, or was still open
from before, is found. Delay counts from the first labelled moment of the window, which lies in its middle: negative
is early.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from monitor.check import Evidence, Stage, Verdict
from monitor.checks.resource import Resource
from monitor.process import ProcessSample
from monitor.window import Window, WindowSpec

FILE = "nab_cloud_resources.csv.gz"
STEP = timedelta(minutes=5)
SPEC = WindowSpec(width=timedelta(minutes=15))
UNIT = 1_000_000  # bytes for one of whatever the series counts: the check knows whole bytes only
BEGIN, END = "<!-- begin: python -m benchmarks.resources -->", "<!-- end -->"
Span = tuple[datetime, datetime]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One measured series with the windows in which people saw something, and the labelled moments."""

    name: str
    samples: Sequence[tuple[datetime, float]]
    windows: Sequence[Span]
    labels: Sequence[datetime]


@dataclass(frozen=True, kw_only=True)
class Score:
    """What the check made of one series; delays are hours from the labelled moment."""

    name: str
    days: float
    windows: int
    found: int
    opened: int
    """Windows in which an alert opened, unlike those in which one was merely open."""
    alerts: int
    right: int
    delays: Sequence[float]

    def row(self) -> list[str]:
        """The cells of the table."""
        precision = f"{self.right / self.alerts:.2f}" if self.alerts else "–"
        recall = f"{self.found / self.windows:.2f}" if self.windows else "–"
        delay = f"{statistics.median(self.delays):+.1f} h" if self.delays else "–"
        counts = [f"{self.days:.0f}", str(self.windows), str(self.found), str(self.alerts), str(self.right)]
        return [self.name, *counts, precision, recall, delay]


def load(path: Path) -> Iterator[Series]:
    """Yield the series in the order of their names, repeated rows left out."""
    with gzip.open(path, "rt", newline="") as file:
        rows = sorted({tuple(row.items()) for row in csv.DictReader(file)}, key=lambda row: (row[0][1], row[1][1]))
    for name, group in groupby((dict(row) for row in rows), key=lambda row: row["series"]):
        table = [(datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC), row) for row in group]
        yield Series(
            name=name.rpartition("/")[2],
            samples=[(at, float(row["value"])) for at, row in table],
            windows=list(spans([(at, row["in_anomaly_window"] == "1") for at, row in table])),
            labels=[at for at, row in table if row["anomaly_label"] == "1"],
        )


def spans(flags: Sequence[tuple[datetime, bool]]) -> Iterator[Span]:
    """Yield the first and last moment of each run of true flags."""
    for is_inside, group in groupby(flags, key=lambda flag: flag[1]):
        if is_inside:
            moments = [at for at, _ in group]
            yield moments[0], moments[-1]


def alerts(check: Resource, samples: Sequence[tuple[datetime, float]]) -> list[Span]:
    """Return when the check had an alert open: first and last moment of each time."""
    memories: dict[str, Any] = {}
    flags = []
    for at, value in samples:
        sample = ProcessSample(process="p", sampled_at=at, pid=1, rss_bytes=round(value * UNIT))
        judgement = check.run(
            Evidence(
                model="m",
                stage=Stage.PROCESS,
                window=Window(start=at, end=at + STEP),
                spec=SPEC,
                memories=memories,
                samples={"p": sample},
            )
        )
        memories = {"resource": judgement.memory}
        flags.append((at, any(one.verdict in (Verdict.WARNING, Verdict.CRITICAL) for one in judgement.findings)))
    return list(spans(flags))


def score(series: Series, opened: Sequence[Span]) -> Score:
    """Return how the alerts of one series compare with its labels."""
    right = [span for span in opened if any(start <= span[0] <= end for start, end in series.windows)]
    found, fresh, delays = 0, 0, []
    for start, end in series.windows:
        seen = [max(first, start) for first, last in opened if first <= end and last >= start]
        found += bool(seen)
        fresh += any(start <= first <= end for first, _ in opened)
        labelled = [at for at in series.labels if start <= at <= end]
        if seen and labelled:
            delays.append((min(seen) - labelled[0]).total_seconds() / 3600)
    (first, _), *_, (last, _) = series.samples
    return Score(
        name=series.name,
        days=(last - first).total_seconds() / 86400,
        windows=len(series.windows),
        found=found,
        opened=fresh,
        alerts=len(opened),
        right=len(right),
        delays=delays,
    )


def total(scores: Sequence[Score]) -> Score:
    """Return the sum of all series."""
    return Score(
        name="all",
        days=sum(one.days for one in scores),
        windows=sum(one.windows for one in scores),
        found=sum(one.found for one in scores),
        opened=sum(one.opened for one in scores),
        alerts=sum(one.alerts for one in scores),
        right=sum(one.right for one in scores),
        delays=[delay for one in scores for delay in one.delays],
    )


HEAD = ["series", "days", "windows", "found", "alerts", "right", "precision", "recall", "median delay"]


def table(scores: Sequence[Score]) -> str:
    """Return the scores as a table in Markdown."""
    rows = [HEAD, *(one.row() for one in [*scores, total(scores)])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    whole = total(scores)
    carried = f"In {whole.found - whole.opened} of the {whole.found} found windows an alert was open from before."
    return "\n".join([line(rows[0]), rule, *(line(row) for row in rows[1:]), "", carried])


def write(path: Path, text: str) -> None:
    """Put the table between its marks in a page."""
    page = path.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    path.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")


def main() -> None:
    """Print the table, and write it into a page if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resources", description=__doc__)
    parser.add_argument("--write", type=Path, help="page to put the table into")
    options = parser.parse_args()
    folder = os.environ.get("MONITOR_DATA")
    if not folder:
        parser.error("MONITOR_DATA is not set; it names the folder with the evaluation data")
    path = Path(folder) / FILE
    if not path.is_file():
        parser.error(f"{path} is not there; see docs/resources.md for where it comes from")
    check = Resource()
    scores = [score(series, alerts(check, series.samples)) for series in load(path)]
    text = table(scores)
    print(text)
    if options.write is not None:
        write(options.write, text)


if __name__ == "__main__":
    main()
