"""Made-up streams for advice: the worlds of the signal benchmark, with labels that go with scores, or cease to.

Kinds and seeds are fixed before anything is tuned on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.design.streams import Stream
from benchmarks.signal.worlds import UPSTREAMS, Drift, drifting, null
from monitor.outcome import Task
from monitor.source import Batch, CategoryValues, NumericValues, Values

ROWS, PRODUCTION, BEGINS = 250, 91, 14
SEEDS = (11, 12)
KINDS = (
    None,
    Drift(kind="mean", size=0.5),
    Drift(kind="ramp", size=0.5),
    Drift(kind="benign", size=0.5, feature="normal3"),
    Drift(kind="unit", size=100.0, feature="skewed0"),
    Drift(kind="missing", size=0.3, lasts=5),
    Drift(kind="level", size=0.9),
    Drift(kind="level", size=-0.9),
    Drift(kind="level", size=0.9, lasts=10),
    Drift(kind="weight", size=1.2, feature="normal1"),
    Drift(kind="weight", size=-1.2, feature="normal0"),
    Drift(kind="concept"),
)


def streams() -> Iterator[Stream]:
    """Yield every kind with every seed."""
    for kind in KINDS:
        for seed in SEEDS:
            yield stream_of(kind, seed)


def stream_of(kind: Drift | None, seed: int) -> Stream:
    """Return one stream; the model that answers knows the truth as it was."""
    world = null("autocorrelated", ROWS, seed, PRODUCTION)
    if kind is not None:
        world = drifting(replace(kind, at=BEGINS), ROWS, seed, varying=True, production=PRODUCTION)
    parts = list(world.parts(most=ROWS * PRODUCTION))
    place = np.concatenate([first + own for first, _, _, own in parts])
    name = (
        "nothing"
        if kind is None
        else f"{kind.kind} {kind.size:+g} {kind.feature}" + (f" for {kind.lasts}" if kind.lasts else "")
    )
    return Stream(
        name=f"{name} #{seed}",
        task=Task.BINARY,
        spec=world.spec,
        batch=joined([batch for _, _, batch, _ in parts]),
        windows=tuple(world.windows),
        place=place,
        trained=world.trained,
        fitted=world.trained * 3 // 4,
        per_month=world.per_month,
        upstreams=UPSTREAMS,
        threshold=0.5,
    )


def joined(batches: list[Batch]) -> Batch:
    """Return the rows of several batches with the same columns."""
    columns: dict[str, Values] = {}
    for name, first in batches[0].columns.items():
        if isinstance(first, NumericValues):
            numeric = [b.columns[name] for b in batches]
            columns[name] = NumericValues(
                values=np.concatenate([c.values for c in numeric if isinstance(c, NumericValues)]),
                missing=np.concatenate([c.missing for c in numeric if isinstance(c, NumericValues)]),
            )
            continue
        parts = [c for b in batches if isinstance(c := b.columns[name], CategoryValues)]
        names = max((c.categories for c in parts), key=len)  # a new value comes after the known ones
        columns[name] = CategoryValues(codes=np.concatenate([c.codes for c in parts]), categories=names)
    return Batch(
        rows=sum(b.rows for b in batches),
        time=np.concatenate([b.time for b in batches]),
        columns=columns,
        score=np.concatenate([b.score for b in batches if b.score is not None]),
        label=np.concatenate([b.label for b in batches if b.label is not None]),
    )
