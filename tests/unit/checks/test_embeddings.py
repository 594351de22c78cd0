"""Embeddings: what moved in some dimension is found and named, what did not is left alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from monitor.check import Evidence, Finding, Stage, Verdict, checks
from monitor.checks.embeddings import Embeddings
from monitor.outcome import Task
from monitor.profile import Profile
from monitor.reference import Reference, build_reference
from monitor.source import Batch, Floats, concatenate
from tests.unit.checks.stream import FIRST, SPEC, batch_of, day_rows, profile_of, reference, window_of

D, ROWS = 16, 300


def day(number: int, seed: int) -> Batch:
    """Return a day whose vectors have correlated dimensions and vary from day to day."""
    rng = np.random.default_rng([seed, number])
    mix = np.random.default_rng(7).normal(size=(D, D)) / np.sqrt(D)
    vectors = rng.normal(size=(ROWS, D)) @ mix + rng.normal(0, 0.1, D)
    return replace(batch_of([day_rows(number, ROWS, seed)]), vectors={"vector": vectors})


@cache
def trained(days: int = 56) -> Reference:
    rows = concatenate([day(number, 1) for number in range(days)])
    return build_reference(rows, model="shop", version="1", task=Task.BINARY, spec=SPEC, created_at=FIRST)


def judged(number: int, change: Any = None, *, seed: int = 2, days: int = 56, **more: Any) -> Finding:
    rows = day(number, seed)
    if change is not None:
        rows = replace(rows, vectors={"vector": change(rows.vectors["vector"].copy())})
    evidence = Evidence(
        model="shop",
        stage=Stage.INPUTS,
        window=window_of(number),
        spec=SPEC,
        maybe_reference=trained(days),
        maybe_current=Profile.of(trained(days).layout, rows),
        **more,
    )
    (finding,) = Embeddings().run(evidence).findings
    return finding


def moved(dimension: int, by: float) -> Any:
    def change(vectors: Floats) -> Floats:
        vectors[:, dimension] += by * vectors[:, dimension].std()
        return vectors

    return change


def test_ordinary_days_are_ordinary() -> None:
    flagged = [number for number in range(56, 116) if judged(number).verdict is Verdict.WARNING]
    assert len(flagged) <= 2


def test_a_dimension_that_moved_is_found_and_named() -> None:
    finding = judged(57, moved(11, 1.0))
    assert finding.verdict is Verdict.WARNING
    assert 11 in finding.details["dimensions"]
    assert len(finding.details["dimensions"]) < D / 2
    assert "mean of dimension 11" in finding.message
    assert finding.effect == pytest.approx(1.0, abs=0.4)


def test_a_spread_that_changed_is_found() -> None:
    def wider(vectors: Floats) -> Floats:
        return vectors * 1.6

    finding = judged(57, wider)
    assert finding.verdict is Verdict.WARNING
    assert "of 16 dimensions are off" in finding.message


def test_another_model_of_the_same_size_is_found() -> None:
    assert judged(57, lambda vectors: vectors[:, ::-1] + 0.5).verdict is Verdict.WARNING


def test_vectors_that_are_gone_are_inconclusive() -> None:
    finding = judged(57, lambda vectors: np.full_like(vectors, np.nan))
    assert (finding.verdict, finding.reason) == (Verdict.INCONCLUSIVE, "too few rows")


def test_an_unknown_holiday_is_not_compared() -> None:
    dates = frozenset({window_of(57).start.date().isoformat()})
    finding = judged(57, moved(3, 2.0), holidays=dates)
    assert (finding.verdict, finding.reason) == (Verdict.INCONCLUSIVE, "unknown slot, not compared")


def test_models_without_embeddings_hear_nothing() -> None:
    plain = Evidence(
        model="shop",
        stage=Stage.INPUTS,
        window=window_of(57),
        spec=SPEC,
        maybe_reference=reference(),
        maybe_current=profile_of(reference(), 57),
    )
    assert Embeddings().run(plain).findings == ()


def test_the_stated_shift_is_found() -> None:
    size = judged(57).minimum_detectable
    assert size is not None
    found = [judged(57, moved(i, 1.15 * size), seed=s).verdict is Verdict.WARNING for i in range(8) for s in range(3)]
    assert np.mean(found) >= 0.75


def test_materiality_is_above_zero() -> None:
    with pytest.raises(ValueError, match="it must be above 0"):
        checks.build("embeddings", {"materiality": 0})
