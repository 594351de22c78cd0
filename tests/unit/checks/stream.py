"""A made-up model's traffic with every kind of column, and the running of checks over its windows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np

from monitor.check import Check, Evidence, Finding, Judgement, Stage
from monitor.outcome import Task, outcomes_of
from monitor.profile import Profile, profiles_of
from monitor.reference import Reference, build_reference, with_score
from monitor.source import Batch, CategoryValues, Floats, NumericValues, Reading
from monitor.window import CalendarUnit, Window, WindowSpec

SPEC = WindowSpec(calendar=CalendarUnit.DAY, timezone="America/New_York")
FIRST = datetime(2024, 4, 1, 4, tzinfo=UTC)  # a Monday, midnight in New York, far from any change of its clocks
UPSTREAMS = {"meter": ("temp", "dew", "wet"), "shop": ("colour", "size")}
COLOURS = ("red", "green", "blue", "grey", "white", "black")
Change = Callable[[dict[str, Any]], None]


def day_rows(day: int, rows: int, seed: int) -> dict[str, Any]:
    """Return one local day's rows by column; what varies from day to day does so by the seed."""
    rng = np.random.default_rng([seed, day])
    seconds = np.sort(rng.integers(0, 86_400, rows))
    weekday = day % 7  # the first day is a Monday
    level = rng.normal(0, 0.3)
    temp = np.round(40 + 10 * (level + rng.normal(0, 1, rows))).clip(0, 80)
    wet = np.where(rng.random(rows) < 0.1, rng.exponential(1.0, rows).round(1), 0.0)
    score = 1 / (1 + np.exp(-(rng.normal(-1, 0.8, rows) + 0.1 * rng.normal())))
    return {
        "time": (int(FIRST.timestamp()) + day * 86_400 + seconds) * 1_000_000,
        "plain": rng.normal(100, 15, rows) + rng.normal(0, 1),
        "temp": temp,
        "dew": (temp - 10 - rng.integers(0, 8, rows)).clip(-20, 80),
        "wet": wet,
        "fixed": np.full(rows, 7.0),
        "hour": (seconds // 3600).astype(float),
        "colour": rng.choice(np.array(COLOURS, object), rows, p=[0.4, 0.3, 0.15, 0.1, 0.03, 0.02]),
        "size": rng.choice(np.array(["S", "M", "L"], object), rows, p=[0.2, 0.5, 0.3]),
        "weekday": np.full(rows, ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[weekday], object),
        "score": score,
        "label": (rng.random(rows) < score).astype(float),
    }


def batch_of(days: list[dict[str, Any]]) -> Batch:
    """Return days as a batch; None in a text column and NaN in a number are missing."""
    joined = {name: np.concatenate([day[name] for day in days]) for name in days[0]}
    columns: dict[str, NumericValues | CategoryValues] = {}
    for name, values in joined.items():
        if name in ("time", "score", "label"):
            continue
        if values.dtype == object:
            present = np.array([value is not None for value in values])
            texts, codes = np.unique(values[present].astype(str), return_inverse=True)
            full = np.full(len(values), -1, np.int32)
            full[present] = codes
            columns[name] = CategoryValues(codes=full, categories=tuple(texts.tolist()))
        else:
            columns[name] = number(values.astype(np.float64))
    return Batch(
        rows=len(joined["time"]),
        time=joined["time"].astype(np.int64),
        columns=columns,
        score=joined["score"],
        label=joined["label"],
    )


def number(values: Floats) -> NumericValues:
    return NumericValues(values=values, missing=np.isnan(values), unparseable=np.zeros(len(values), np.bool_))


@cache
def reference(days: int = 56, rows: int = 600, seed: int = 1, has_time: bool = True) -> Reference:
    """Return the reference of so many days of training."""
    return build_reference(
        batch_of([day_rows(day, rows, seed) for day in range(days)]),
        model="shop",
        version="1",
        task=Task.BINARY,
        spec=SPEC,
        created_at=FIRST,
        has_time=has_time,
        upstreams=UPSTREAMS,
    )


def window_of(day: int) -> Window:
    return Window(start=FIRST + timedelta(days=day), end=FIRST + timedelta(days=day + 1))


def profile_of(
    trained: Reference, day: int, change: Change | None = None, *, rows: int = 600, seed: int = 2
) -> Profile:
    """Return the profile of a production day, changed before it is profiled."""
    values = day_rows(day, rows, seed)
    if change is not None:
        change(values)
    batch = with_score(batch_of([values]))
    score = batch.columns["prediction"]
    assert isinstance(score, NumericValues)
    batch = replace(batch, columns={**batch.columns, "prediction": number(score.values)})
    return profiles_of(trained.layout, batch, np.zeros(batch.rows, np.int64), 1)[0]


def run(
    check: Check,
    name: str,
    days: range,
    changes: Mapping[int, Change] | Change | None = None,
    *,
    trained: Reference | None = None,
    rows: int = 600,
    seed: int = 2,
    profiles: Mapping[int, Profile] | None = None,
    readings: Mapping[int, Reading] | None = None,
    stage: Stage = Stage.INPUTS,
    **fields: Any,
) -> Iterator[tuple[int, Judgement]]:
    """Yield each day's judgement; the memory goes through JSON as it does through the store."""
    known = trained or reference()
    memories: dict[str, Any] = {}
    for day in days:
        change = changes.get(day) if isinstance(changes, Mapping) else changes
        evidence = Evidence(
            model="shop",
            stage=stage,
            window=window_of(day),
            spec=SPEC,
            maybe_reference=known,
            memories=memories,
            reading=(readings or {}).get(day, Reading()),
            **fields,
        )
        if stage is Stage.OUTCOMES:
            values = day_rows(day, rows, seed)
            if change is not None:
                change(values)
            assert known.outcome_layout is not None
            outcome = outcomes_of(known.outcome_layout, batch_of([values]), np.zeros(rows, np.int64), 1)[0]
            evidence = replace(evidence, maybe_outcome=outcome)
        else:
            current = (profiles or {}).get(day) or profile_of(known, day, change, rows=rows, seed=seed)
            evidence = replace(evidence, maybe_current=current)
        judgement = check.run(evidence)
        memories = {name: json.loads(json.dumps(judgement.memory, allow_nan=False))}
        yield day, judgement


def bad(judgement: Judgement) -> list[Finding]:
    return [finding for finding in judgement.findings if finding.verdict.value in ("warning", "critical")]


def shifted(column: str, by: float) -> Change:
    def change(values: dict[str, Any]) -> None:
        values[column] = values[column] + by

    return change
