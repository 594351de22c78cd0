"""How other tools take part: a file of windows in, a file of flags out, each tool in an environment of its own.

``windows.parquet`` has one row per logged row: ``window`` (negative in training), ``prediction``, ``label``, and the
features. A tool writes ``flags.csv`` with a header and one line per flag: ``window,subject``; a subject is a feature's
name, ``prediction`` or ``label``. Whatever is flagged counts, by the window it is flagged in.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from benchmarks.signal.worlds import World
from monitor.source import Batch, Ints, NumericValues

Flag = tuple[int, str]


def write_windows(world: World, path: Path, subjects: Collection[str] | None = None) -> None:
    """Write a world's rows, piece after piece; of some subjects alone where they are named."""
    write_pieces(((batch, first + place - world.trained) for first, _, batch, place in world.parts()), path, subjects)


def write_pieces(pieces: Iterable[tuple[Batch, Ints]], path: Path, subjects: Collection[str] | None = None) -> None:
    """Write rows with the number of each one's window."""
    writer: pa.parquet.ParquetWriter | None = None
    for batch, windows in pieces:
        columns = {"window": pa.array(windows, pa.int32())}
        columns |= {"prediction": pa.array(batch.score), "label": pa.array(batch.label)}
        for name, values in batch.columns.items():
            if isinstance(values, NumericValues):
                columns[name] = pa.array(values.values, mask=values.missing)
            else:
                codes = pa.array(values.codes, mask=values.codes < 0)
                columns[name] = pa.DictionaryArray.from_arrays(codes, list(values.categories)).cast(pa.string())
        if subjects is not None:
            columns = {name: values for name, values in columns.items() if name == "window" or name in subjects}
        table = pa.table(columns)
        writer = writer or pa.parquet.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def write_flags(flags: Iterable[Flag], path: Path) -> None:
    """Write flags as every tool does."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("window", "subject"), *sorted(set(flags))])


def read_flags(path: Path, windows: int) -> list[Flag]:
    """Return a tool's flags; raises ValueError where the file is no such file."""
    if not path.is_file():
        raise ValueError(f"{path} is no file; let the tool write its flags there first")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or rows[0] != ["window", "subject"]:
        raise ValueError(f"{path} does not begin with window,subject; write that header first")
    flags = [(int(row[0]), row[1]) for row in rows[1:]]
    wrong = next((window for window, _ in flags if not 0 <= window < windows), None)
    if wrong is not None:
        raise ValueError(f"{path} flags window {wrong}, but there are windows 0 to {windows - 1}")
    return flags


def figures(flags: Iterable[Flag], world: World) -> dict[str, float | None]:
    """Return a tool's figures on a world: clean windows flagged, and the delay to a flag in the right place."""
    flags = list(flags)
    drift = world.drift
    clean = np.arange(world.production) < (world.production if drift is None else drift.at)
    flagged = {window for window, _ in flags}
    found = None
    if drift is not None:
        right = {"label", "prediction"} if drift.kind == "concept" else {drift.feature}
        found = next((w - drift.at for w, subject in sorted(flags) if w >= drift.at and subject in right), None)
    return {
        "clean windows flagged": sum(bool(clean[w]) for w in flagged) / max(int(clean.sum()), 1),
        "delay": None if found is None else float(found),
    }
