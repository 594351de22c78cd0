"""Embeddings: moments that merge, and what is a vector of the column."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from monitor.embedding import Embedding, freeze, stack
from monitor.outcome import Task
from monitor.profile import Profile, profiles_of
from monitor.reference import Reference, build_reference
from monitor.source import Batch, NumericValues, concatenate, take
from monitor.sources.arrow import vectors
from monitor.window import CalendarUnit, WindowSpec

D = 5


def batch(rows: int, seed: int = 1) -> Batch:
    rng = np.random.default_rng(seed)
    table = rng.normal([0, 1, 2, 3, 4], [1, 1, 5, 0.1, 1], (rows, D))
    table[::7] = np.nan
    x = rng.normal(size=rows)
    return Batch(
        rows=rows,
        time=np.sort(rng.integers(0, 40 * 86_400, rows)) * 1_000_000,
        columns={"x": NumericValues(values=x, missing=np.zeros(rows, bool))},
        vectors={"vector": table},
    )


def trained(rows: int = 4000) -> Reference:
    spec, at = WindowSpec(calendar=CalendarUnit.DAY), datetime(2024, 1, 1, tzinfo=UTC)
    return build_reference(batch(rows), model="m", version="1", task=Task.BINARY, spec=spec, created_at=at)


def test_moments_of_pieces_merge_to_those_of_the_whole() -> None:
    layout, rows = trained().layout, batch(1000, seed=3)
    whole = Profile.of(layout, rows)
    place = np.random.default_rng(0).integers(0, 6, rows.rows)
    merged = Profile.total(layout, profiles_of(layout, rows, place, 6))
    np.testing.assert_allclose(merged.sums, whole.sums, rtol=1e-11, atol=1e-9)
    at = layout.embedded_at
    assert whole.sums[at] == np.isfinite(rows.vectors["vector"][:, 0]).sum()
    z = layout.embeddings[0].scores(rows.vectors["vector"])
    np.testing.assert_allclose(whole.sums[at + 1 : at + 1 + D], z.sum(axis=0))


def test_a_profile_and_a_reference_with_embeddings_survive_as_bytes() -> None:
    reference = trained()
    again = Reference.from_bytes(reference.to_bytes())
    assert again.layout.digest == reference.layout.digest
    assert again.id == reference.id
    profile = Profile.of(again.layout, batch(50))
    assert (Profile.from_bytes(again.layout, profile.to_bytes()).sums == profile.sums).all()
    json.dumps(reference.layout.to_json(), allow_nan=False)


def test_a_reference_without_embeddings_is_written_as_before() -> None:
    plain = build_reference(
        replace(batch(500), vectors={}),
        model="m",
        version="1",
        task=Task.BINARY,
        spec=WindowSpec(calendar=CalendarUnit.DAY),
        created_at=datetime(2024, 1, 1, tzinfo=UTC),
    )
    assert not plain.layout.is_rich
    assert "embeddings" not in plain.layout.to_json()[-1]


def test_vectors_follow_their_rows() -> None:
    rows = batch(20)
    some = take(rows, np.array([3, 1]))
    assert (some.vectors["vector"] == rows.vectors["vector"][[3, 1]]).all()
    both = concatenate([rows, some])
    assert both.vectors["vector"].shape == (22, D)
    assert not concatenate([rows, replace(some, vectors={})]).vectors


@pytest.mark.parametrize(
    ("lists", "dimensions", "found"),
    [
        ([[1, 2], [3, 4], None, []], None, [[1, 2], [3, 4], [np.nan] * 2, [np.nan] * 2]),
        ([[1, 2], [3, 4, 5]], None, None),  # no length that nine of ten have
        ([[1, 2], [3, 4, 5]], 3, [[np.nan] * 3, [3, 4, 5]]),
        ([[1], [2]], None, None),
        ([None], None, None),
        ([None], 2, [[np.nan] * 2]),
        ([[1, None]], 2, [[1, np.nan]]),
    ],
)
def test_lists_of_one_length_are_vectors(lists: list[object], dimensions: int | None, found: list[object]) -> None:
    column = pa.array(lists, pa.list_(pa.float64()))
    got = vectors(column, dimensions)
    if found is None:
        assert got is None
    else:
        np.testing.assert_array_equal(got, np.array(found, float))


def test_a_dimension_that_never_varied_is_seen_when_it_does() -> None:
    table = np.random.default_rng(1).normal(size=(200, 3))
    table[:, 1] = 7.0
    frozen = freeze("v", table)
    assert isinstance(frozen, Embedding)
    moved = table.copy()
    moved[:, 1] = 14.0
    assert frozen.scores(moved)[:, 1].mean() == pytest.approx(1.0)


def test_fewer_than_a_hundred_vectors_are_no_training() -> None:
    assert freeze("v", np.ones((99, 2))) is None


def test_the_first_vectors_may_be_missing() -> None:
    lengths = np.array([0, 2, 0, 2])
    assert stack(lengths, np.array([1.0, 2.0, 3.0, 4.0]), 2) is not None
