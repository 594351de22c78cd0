"""Real streams whose rows are shuffled over time: every flag and every message on them is false by construction.

Shuffling leaves small windows, ties, rare categories and many correlated columns as they are; season and trend go, so
this says nothing about them. Shuffles of one stream share its rows and are not independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from benchmarks.design.replay import Replayer
from benchmarks.design.streams import DAILY, EPOCH, STREAMS, Stream, reference_of, take
from benchmarks.signal import contest, interval
from benchmarks.signal.measure import flags_of
from monitor.outcome import Task
from monitor.reference import cut_timeline
from monitor.source import Batch, CategoryValues, NumericValues, Values

EMPLOYMENT = "employment"
ROWS = 1000  # a window, of the stream that has no clock finer than years
TRAINED = 68
NO_FEATURES = ("id", "employed", "year", "prediction", "predicted_probability")


@dataclass(frozen=True, kw_only=True)
class Silence:
    """What was said about a shuffled stream."""

    months: float
    messages: int
    windows: int
    flagged: int
    about: tuple[str, ...]


def employment(home: Path) -> Stream:
    """Return the employment data of the NannyML package: 2015 as training, until 2018, a thousand rows as a day."""
    import pandas as pd

    python = contest.python_of("nannyml", home)
    found = sorted(python.parent.parent.glob("lib/python*/site-packages/nannyml/datasets/data"))
    if not found:
        raise SystemExit(f"The NannyML in {python.parent.parent} has no data sets; remove that folder and try again.")
    parts = {name: pd.read_parquet(found[0] / f"employment_MA_{name}.pq") for name in ("reference", "analysis")}
    target = pd.read_parquet(found[0] / "employment_MA_analysis_target.pq")
    frame = pd.concat([parts["reference"], parts["analysis"].merge(target, on="id")], ignore_index=True)
    frame = frame[: len(frame) // ROWS * ROWS]
    columns: dict[str, Values] = {}
    for name in frame.columns:
        if name in NO_FEATURES:
            continue
        if frame[name].dtype.kind == "f":
            x = frame[name].to_numpy(np.float64)
            columns[name] = NumericValues(values=x, missing=np.isnan(x))
        else:
            codes, kinds = pd.factorize(frame[name])
            columns[name] = CategoryValues(codes=codes.astype(np.int32), categories=[str(kind) for kind in kinds])
    rows = np.arange(len(frame))
    start, day = round(EPOCH.timestamp() * 1e6), round(timedelta(days=1) / timedelta(microseconds=1))
    batch = Batch(
        rows=len(frame),
        time=start + rows * (day // ROWS),
        columns=columns,
        score=frame["predicted_probability"].to_numpy(np.float64),
        label=frame["employed"].to_numpy(np.float64),
    )
    windows, place = cut_timeline(batch.time, DAILY)
    return Stream(
        name=EMPLOYMENT,
        task=Task.BINARY,
        spec=DAILY,
        batch=batch,
        windows=windows,
        place=place,
        trained=TRAINED,
        fitted=TRAINED * 3 // 4,
        per_month=30,
        upstreams={"census": tuple(columns)},
        threshold=0.5,
    )


def shuffled(stream: Stream, seed: int) -> Stream:
    """Return the stream with its rows in another order at the same times."""
    order = np.random.default_rng(seed).permutation(stream.batch.rows)
    return replace(stream, batch=replace(take(stream.batch, order), time=stream.batch.time))


def silence(stream: Stream, seeds: Sequence[int]) -> Silence:
    """Return what is said about several shuffles of a stream."""
    months, messages, windows, flagged, about = 0.0, 0, 0, 0, set[str]()
    for seed in seeds:
        null = shuffled(stream, seed)
        reference = reference_of(null)
        replay = Replayer(stream=null, reference=reference, with_challengers=False).run()
        months += null.months
        messages += len(replay.loud)
        about |= {n.group_key.split(":")[2] for n in replay.loud}
        windows += len(null.windows) - null.trained
        flagged += len({w for w, subject in flags_of(replay) if subject in reference.layout.index})
    return Silence(months=months, messages=messages, windows=windows, flagged=flagged, about=tuple(sorted(about)))


def table(home: Path, names: Sequence[str], seeds: Sequence[int]) -> Iterator[str]:
    """Yield the table line by line."""
    yield f"## Real streams, rows shuffled over time: {len(seeds)} shuffles each, against .5 messages per month"
    yield ""
    yield "| stream | rows | months | messages | per month | 95 % interval | windows flagged | 95 % interval |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in names:
        stream = employment(home) if name == EMPLOYMENT else STREAMS[name]()
        found = silence(stream, seeds)
        low, high = interval.rate(found.messages, found.months)
        least, most = interval.share(found.flagged, found.windows)
        rows = stream.batch.rows // len(stream.windows)
        about = f" ({', '.join(found.about)})" if found.about else ""
        yield (
            f"| {name} | {rows} | {found.months:.1f} | {found.messages}{about} | {found.messages / found.months:.2f} | "
            f"{low:.2f}–{high:.2f} | {found.flagged / found.windows:.1%} | {least:.1%}–{most:.1%} |"
        )
    yield ""
