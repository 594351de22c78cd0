"""Relations between columns: a broken one is flagged at once, though each column alone stays ordinary."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest

from monitor.check import Budget, Cause, Evidence, Finding, Severity, Stage, Verdict
from monitor.checks.relations import Relations
from monitor.column import Layout
from monitor.outcome import Task
from monitor.profile import Profile
from monitor.reference import Reference, build_reference
from monitor.source import Batch, Floats, NumericValues
from monitor.window import CalendarUnit, WindowSpec

FIRST = datetime(2024, 4, 1, tzinfo=UTC)
SPEC = WindowSpec(calendar=CalendarUnit.DAY)
ROWS = 400


def rows_of(day: int, *, broken: bool = False) -> dict[str, Floats]:
    """Weather whose level wanders from day to day: dew follows temp, wind follows nothing."""
    rng = np.random.default_rng([7, day])
    temp = 50 + 10 * rng.normal() + 5 * rng.normal(size=ROWS)
    dew = temp - 8 + rng.normal(size=ROWS)
    wind = rng.gamma(4, 2, ROWS)
    if broken:
        dew = rng.permutation(dew)  # rows of one source joined to those of another
    return {"temp": temp, "dew": dew, "wind": wind}


def batch_of(days: list[dict[str, Floats]], first: int = 0) -> Batch:
    columns = {
        name: NumericValues(
            values=np.concatenate([day[name] for day in days]), missing=np.zeros(ROWS * len(days), bool)
        )
        for name in days[0]
    }
    start = round((FIRST + timedelta(days=first)).timestamp() * 1e6)
    time = np.concatenate([start + day * 86_400_000_000 + np.arange(ROWS) * 1_000_000 for day in range(len(days))])
    return Batch(rows=ROWS * len(days), time=time, columns=columns)


@cache
def reference() -> Reference:
    return build_reference(
        batch_of([rows_of(day) for day in range(56)]),
        model="m",
        version="1",
        task=Task.BINARY,
        spec=SPEC,
        created_at=FIRST,
    )


def judged(day: int, check: Relations | None = None, trained: Reference | None = None, **how: Any) -> list[Finding]:
    trained = trained or reference()
    evidence = Evidence(
        model="m",
        stage=Stage.INPUTS,
        window=SPEC.containing(FIRST + timedelta(days=day, hours=1)),
        spec=SPEC,
        maybe_reference=trained,
        maybe_current=Profile.of(trained.layout, batch_of([rows_of(day, **how)], day)),
        budget=Budget(),
    )
    return list((check or Relations()).run(evidence).findings)


def test_a_broken_relation_is_flagged_though_each_column_is_ordinary() -> None:
    found = {(f.subject, f.statistic): f for f in judged(60, broken=True)}
    broken = found["temp ~ dew", "spread"]
    assert broken.verdict is Verdict.WARNING
    assert broken.cause is Cause.DATA
    assert broken.severity is Severity.INFO, "it is a line of the digest"
    assert "temp and dew no longer go together as in training, where one explained" in broken.message
    assert {f.verdict for (subject, _), f in found.items() if subject != "temp ~ dew"} == {Verdict.OK}


def test_levels_that_move_together_break_nothing() -> None:
    flagged = [f for day in range(56, 116) for f in judged(day) if f.verdict is Verdict.WARNING]
    assert len(flagged) <= 2


def test_columns_that_did_not_go_together_are_watched_for_beginning_to() -> None:
    assert {(f.subject, f.statistic) for f in judged(60)} == {
        ("temp ~ dew", "spread"),
        ("temp ~ dew", "slope"),
        ("wind ~ dew", "slope"),
        ("wind ~ temp", "slope"),
    }


def test_every_verdict_says_what_it_could_have_seen() -> None:
    for finding in judged(60):
        assert finding.minimum_detectable is not None
        assert finding.materiality is not None
        assert finding.minimum_detectable >= finding.materiality
        assert finding.n_current == ROWS


def test_a_window_with_too_few_rows_is_inconclusive() -> None:
    trained = reference()
    few = {name: values[:20] for name, values in rows_of(60).items()}
    columns = {name: NumericValues(values=values, missing=np.zeros(20, bool)) for name, values in few.items()}
    batch = Batch(rows=20, time=np.zeros(20, np.int64), columns=columns)
    evidence = Evidence(
        model="m",
        stage=Stage.INPUTS,
        window=SPEC.containing(FIRST),
        spec=SPEC,
        maybe_reference=trained,
        maybe_current=Profile.of(trained.layout, batch),
    )
    assert {f.verdict for f in Relations().run(evidence).findings} == {Verdict.INCONCLUSIVE}


def test_a_training_profile_without_relations_is_not_judged() -> None:
    trained = reference()
    plain = Layout(trained.layout.columns)
    evidence = Evidence(
        model="m",
        stage=Stage.INPUTS,
        window=SPEC.containing(FIRST),
        spec=SPEC,
        maybe_reference=Reference(
            model="m",
            version="0",
            task=Task.BINARY,
            created_at=FIRST,
            spec=SPEC,
            timeline=True,
            windows=trained.windows[:1],
            profiles=(Profile.empty(plain),),
        ),
        maybe_current=Profile.empty(plain),
    )
    assert Relations().run(evidence).findings == ()


def test_a_materiality_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"relations\.slope is 0; it must be above 0"):
        Relations(slope=0)
