"""One table read by us and by bare COPY, in turn, in a process of its own: prints its figures as JSON.

``python -m benchmarks.throughput.reading URL ROWS COLUMNS KEYED REPEAT``. The first read is ours and gives the peak of
the memory, frozen columns included; the pairs follow, so nothing is imported or connected in them for the first time.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.throughput.peers import megabytes
from benchmarks.throughput.table import START, LogTable
from monitor.column import Column, Layout, freeze_categorical, freeze_numeric
from monitor.heavy import refuse_heavy
from monitor.reference import with_score
from monitor.source import NumericValues
from monitor.sources.arrow import DERIVED
from monitor.sources.postgres import PostgresSource
from monitor.tile import TileKey, TilePart, build_inputs, merge_inputs

NOW = START + timedelta(days=1)
LENGTHS = (1, 24, 168, 720)  # hours, each a tile
KEY = TileKey(model="m", part=TilePart.INPUTS, reference_id="r")


def layout_of(source: PostgresSource, table: LogTable) -> Layout:
    """Return columns frozen on a sample of the table."""
    batch = with_score(source.sample([table.window], 2_000_000 // table.columns, now=NOW))
    columns: list[Column] = []
    for name, values in batch.columns.items():
        if not name.endswith(DERIVED):  # a category is no text
            numeric = isinstance(values, NumericValues)
            columns.append(freeze_numeric(name, values) if numeric else freeze_categorical(name, values))
    return Layout(tuple(columns))


def copy(url: str, table: LogTable) -> int:
    """Read every column of the window with psycopg and throw it away; returns the bytes."""
    window, total = table.window, 0
    statement = f"SELECT * FROM {table.name} WHERE occurred_at >= '{window.start}' AND occurred_at < '{window.end}'"
    with psycopg.connect(url) as conn, conn.cursor().copy(f"COPY ({statement}) TO STDOUT (FORMAT BINARY)") as rows:
        for row in rows:
            total += len(row)
    return total


def ours(source: PostgresSource, table: LogTable, layout: Layout) -> int:
    """Read and profile the window into tiles; returns the rows."""
    with source.read_inputs(table.window, table.tiles, layout, now=NOW) as read:
        _, profile = build_inputs(read, layout, KEY)
    return profile.rows


def merging(source: PostgresSource, table: LogTable, layout: Layout) -> dict[int, float]:
    """Return the seconds to merge the stored tiles of a window, by its length in hours."""
    with source.read_inputs(table.window, table.tiles, layout, now=NOW) as read:
        tiles, _ = build_inputs(read, layout, KEY)
    found = {}
    for hours in LENGTHS:
        began = time.perf_counter()
        merge_inputs(layout, (tiles * hours)[:hours])
        found[hours] = time.perf_counter() - began
    return found


def measure(server: psutil.Process, work: Callable[[], Any]) -> dict[str, float]:
    """Return seconds, and the processor seconds of the server and of this process."""

    def of_server() -> float:
        spent = 0.0
        for one in (*server.children(recursive=True), server):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended; the server counts it by now
                spent += sum(one.cpu_times()[:4])
        return spent

    before, own, began = of_server(), time.process_time(), time.perf_counter()
    work()
    return {
        "seconds": time.perf_counter() - began,
        "server": of_server() - before,
        "client": time.process_time() - own,
    }


def main(url: str, rows: str, columns: str, keyed: str, repeat: str) -> None:
    """Print the figures of one table."""
    refuse_heavy()
    imports = megabytes("VmRSS")
    table = LogTable(rows=int(rows), columns=int(columns), keyed=keyed == "True")
    with psycopg.connect(url, autocommit=True) as conn, PostgresSource(url=url, section=table.section) as source:
        server = psutil.Process(conn.info.backend_pid).parent()
        assert server is not None
        layout = layout_of(source, table)
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the sample
        assert ours(source, table, layout) == table.rows
        peak = megabytes("VmHWM")
        pairs = [
            {
                "copy": measure(server, lambda: copy(url, table)),
                "ours": measure(server, lambda: ours(source, table, layout)),
            }
            for _ in range(int(repeat))
        ]
        lengths = merging(source, table, layout)
        print(
            json.dumps(
                {"lengths": lengths, "imports": imports, "peak": peak, "pairs": pairs, "bytes": copy(url, table)}
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
