"""What Spark takes per row and core: ``python -m benchmarks.scale [ROWS] [CORES]``; needs Java and the extra ``spark``.

Writes Parquet files of half doubles, a quarter integers and a quarter texts (20 columns beside id, time and score),
profiles the hour in them with a local Spark, three times, and prints what a core does per second, JVM and Python
together. A job without a row is timed as well: what a job costs before it reads anything.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from benchmarks.throughput.table import LEVELS, START, LogTable
from monitor.column import Column, Layout, freeze_categorical, freeze_numeric
from monitor.profile import Profile
from monitor.source import CategoryValues, NumericValues
from monitor.sources.arrow import Vocabulary
from monitor.sources.spark import SparkSource, open_table
from monitor.tile import TileKey, TilePart, build_inputs
from monitor.window import Window

KEY = TileKey(model="m", part=TilePart.INPUTS, reference_id="r")
FILES = 8


def write(folder: Path, table: LogTable) -> Layout:
    """Write the files; returns columns frozen on the first one."""
    rng = np.random.default_rng(0)
    rows = table.rows // FILES
    layout: list[Column] = []
    for number in range(FILES):
        columns: dict[str, Any] = {
            "request_id": pa.array([str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(rows)]),
            "occurred_at": pa.array(
                round(START.timestamp() * 1e6) + rng.integers(0, 3_600_000_000, rows), pa.timestamp("us", "UTC")
            ),
            "score": pa.array(rng.random(rows)),
        }
        for name in table.features():
            columns[name] = drawn(name, rows, rng)
        pa.parquet.write_table(pa.table(columns), folder / f"{number}.parquet")
        if not number:
            layout = [frozen(name, columns[name]) for name in table.features()]
    return Layout(tuple(layout))


def drawn(name: str, rows: int, rng: np.random.Generator) -> pa.Array:
    """Return the values of a feature by the letter of its name, like those of `LogTable`."""
    match name[0]:
        case "x":
            return pa.array(rng.normal(size=rows))
        case "n":
            return pa.array(rng.integers(0, 1000, rows), pa.int32())
    levels = LEVELS[int(name[1:]) % len(LEVELS)]
    return pa.array([f"value {value}" for value in rng.integers(0, levels, rows)])


def frozen(name: str, column: pa.Array) -> Column:
    """Return one column as training would freeze it."""
    if name[0] == "t":
        found = Vocabulary().encode(column)
        assert isinstance(found, CategoryValues)
        return freeze_categorical(name, found)
    values = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return freeze_numeric(name, NumericValues(values=values, missing=np.zeros(len(values), np.bool_)))


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(rows: int, cores: int) -> None:
    """Measure and print."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession

    table = LogTable(rows=rows // FILES * FILES)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "log"
        folder.mkdir()
        layout = write(folder, table)
        builder = SparkSession.builder.master(f"local[{cores}]").config("spark.ui.enabled", "false")
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
        builder = builder.config("spark.sql.warehouse.dir", home).config("spark.sql.shuffle.partitions", str(cores))
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        source = SparkSource(frame=open_table(session, str(folder)), section=table.section)

        def profile(tiles: list[Window]) -> Profile:
            with source.read_inputs(tiles, layout, now=START + timedelta(days=1)) as read:
                return build_inputs(read, layout, KEY)[1]

        nothing = [Window(start=START - timedelta(hours=1), end=START)]
        assert profile(table.tiles).rows == table.rows  # what is only started once is started
        empty = statistics.median(seconds(lambda: profile(nothing)) for _ in range(3))
        full = [seconds(lambda: profile(table.tiles)) for _ in range(3)]
        session.stop()
    rate = table.rows / statistics.median(full) / cores
    print(f"a job without a row: {empty:.1f} s on {cores} cores, load {os.getloadavg()[0]:.0f}")
    print(f"{table.rows:,} × {table.columns}: {statistics.median(full):.1f} s ({min(full):.1f}–{max(full):.1f})")
    print(f"{rate:,.0f} rows per core and second; 10,000,000,000 rows are {1e10 / rate / 3600:,.0f} core hours")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, int(sys.argv[2]) if len(sys.argv) > 2 else 2)
