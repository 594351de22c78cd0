"""The picture of the page: seconds against rows, on logarithmic axes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.throughput.table import LogTable


def draw(path: Path, found: Sequence[tuple[LogTable, dict[str, Any]]]) -> None:
    """Write the cost of bare COPY and of ours against the rows of tables of 20 columns with a key, as SVG."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "throughput"
    from matplotlib.figure import Figure

    chosen = [(table, result) for table, result in found if table.keyed and table.columns == 20]
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    rows = [table.rows for table, _ in chosen]
    for who, label, colour in (("copy", "bare COPY", "#888888"), ("ours", "profiled", "#1f6f8b")):
        seconds = [statistics.median(pair[who]["seconds"] for pair in result["pairs"]) for _, result in chosen]
        axes.plot(rows, seconds, marker="o", label=label, color=colour)
    axes.set(xscale="log", yscale="log", xlabel="rows of 20 columns", ylabel="seconds")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
