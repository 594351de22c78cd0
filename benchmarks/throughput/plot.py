"""The picture of the page: cost against rows, against columns, and against the length of a window."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.throughput.table import LogTable

OFTEN = 1_000_000  # rows of the table that is compared with wider ones


def draw(path: Path, found: Sequence[tuple[LogTable, dict[str, Any]]]) -> None:
    """Write three diagrams as SVG, of tables with a key.

    Seconds of bare COPY and of ours against rows of 20 columns; nanoseconds for each cell against columns; and what a
    window that steps by the hour takes beside reading its last hour: the merge of its stored tiles, against its length.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "throughput"
    from matplotlib.figure import Figure

    keyed = [(table, result) for table, result in found if table.keyed]
    long = sorted((one for one in keyed if one[0].columns == 20), key=lambda one: one[0].rows)
    wide = sorted((one for one in keyed if one[0].columns > 20), key=lambda one: one[0].columns)
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    by_rows, by_columns, by_length = figure.subplots(1, 3)
    for who, label, colour in (("copy", "bare COPY", "#888888"), ("ours", "profiled", "#1f6f8b")):
        by_rows.plot(
            [t.rows for t, _ in long], [_seconds(r, who) for _, r in long], marker="o", label=label, color=colour
        )
        some = [max(long, key=lambda one: one[0].rows <= OFTEN and one[0].rows), *wide]
        cells = [1e9 * _seconds(result, who) / (table.rows * table.columns) for table, result in some]
        by_columns.plot([table.columns for table, _ in some], cells, marker="o", label=label, color=colour)
    lengths = {int(hours): 1000 * seconds for hours, seconds in long[-1][1]["lengths"].items()}
    by_length.plot(list(lengths), list(lengths.values()), marker="o", color="#1f6f8b")
    by_rows.set(xscale="log", yscale="log", xlabel="rows of 20 columns", ylabel="seconds")
    by_columns.set(xscale="log", ylim=(0, None), xlabel="columns", ylabel="nanoseconds for each cell")
    by_length.set(xscale="log", ylim=(0, None), xlabel="hours of a window", ylabel="milliseconds to merge its tiles")
    for axes in (by_rows, by_columns, by_length):
        axes.grid(alpha=0.3)
    by_rows.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _seconds(result: dict[str, Any], who: str) -> float:
    return statistics.median(pair[who]["seconds"] for pair in result["pairs"])
