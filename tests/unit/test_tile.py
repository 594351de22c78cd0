"""Tiles: one pass over the rows, one tile per piece of time and version, and what has changed since."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.column import Layout, freeze_numeric
from monitor.outcome import OutcomeProfile, Task
from monitor.profile import Profile
from monitor.reference import SCORE, freeze_outcomes
from monitor.source import Batch, CategoryValues, Fingerprint, Ints, NumericValues, Read, Reading, TileFacts, take
from monitor.tile import (
    Tile,
    TileKey,
    TilePart,
    build_inputs,
    build_outcomes,
    changed,
    merge_inputs,
    merge_outcomes,
)
from monitor.window import HOUR, Window

START = datetime(2024, 5, 6, tzinfo=UTC)
TILES = [Window(start=START + i * HOUR, end=START + (i + 1) * HOUR) for i in range(24)]
INPUTS = TileKey(model="m", part=TilePart.INPUTS, reference_id="r")
OUTCOMES = TileKey(model="m", part=TilePart.OUTCOMES, reference_id="r")
VERSIONS = ["", "2"]


def rows(n: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    time = np.sort(rng.integers(0, 86_400_000_000, n)) + round(START.timestamp()) * 1_000_000
    x, score = rng.normal(size=n), rng.random(n)
    return Batch(
        rows=n,
        time=time,
        columns={"x": NumericValues(values=x, missing=np.zeros(n, bool))},
        score=score,
        label=np.where(rng.random(n) < 0.3, np.nan, (rng.random(n) < score).astype(float)),
        version=CategoryValues(codes=rng.integers(0, 2, n).astype(np.int32), categories=VERSIONS),
    )


TRAINING = rows(1000, 1)
LAYOUT = Layout(
    (
        freeze_numeric("x", TRAINING.columns["x"]),  # type: ignore[arg-type]  # it is numeric
        freeze_numeric(
            SCORE, NumericValues(values=np.linspace(0, 1, 100), missing=np.zeros(100, bool)), part="prediction"
        ),
    )
)
LABELS = freeze_outcomes(Task.BINARY, TRAINING, threshold=None)


def places(batch: Batch) -> Ints:
    return np.asarray((batch.time - round(START.timestamp()) * 1_000_000) // 3_600_000_000, np.int64)


def read(batches: Sequence[Batch]) -> Read:
    """A source's answer, with the counts that it would give."""
    counts: dict[tuple[int, str], int] = {}
    for batch in batches:
        assert batch.version is not None
        for tile, code in zip(places(batch).tolist(), batch.version.codes.tolist(), strict=True):
            counts[tile, VERSIONS[code]] = counts.get((tile, VERSIONS[code]), 0) + 1
    facts = [
        TileFacts(window=TILES[tile], version=version, rows=n, fingerprint=Fingerprint(count=n, total=7))
        for (tile, version), n in sorted(counts.items())
    ]

    def deliver(_: dict[str, Any]) -> Iterator[Batch]:
        yield from batches

    return Read(tiles=TILES, facts=facts, reading=Reading(rows=sum(counts.values())), batches=deliver)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 300), st.integers(0, 100), st.lists(st.integers(0, 300), max_size=3))
def test_tiles_are_the_same_however_the_rows_are_cut_into_batches(n: int, seed: int, cuts: list[int]) -> None:
    batch = rows(n, seed)
    edges = sorted({0, n, *(min(cut, n) for cut in cuts)})
    parts = [take(batch, np.arange(a, b)) for a, b in pairwise(edges)]
    whole, profile = build_inputs(read([batch]), LAYOUT, INPUTS)
    tiles, merged = build_inputs(read(parts), LAYOUT, INPUTS)
    assert [(t.window, t.version, t.rows) for t in tiles] == [(t.window, t.version, t.rows) for t in whole]
    for one, other in zip(tiles, whole, strict=True):
        np.testing.assert_array_equal(
            Profile.from_bytes(LAYOUT, one.body).counts, Profile.from_bytes(LAYOUT, other.body).counts
        )
    np.testing.assert_array_equal(merged.counts, profile.counts)


def test_each_tile_holds_its_own_rows_and_versions() -> None:
    batch = rows(500, 3)
    assert batch.version is not None
    tiles, profile = build_inputs(read([batch]), LAYOUT, INPUTS)
    for tile in tiles:
        mine = (places(batch) == TILES.index(tile.window)) & (batch.version.codes == VERSIONS.index(tile.version))
        assert Profile.from_bytes(LAYOUT, tile.body).rows == tile.rows == mine.sum()
    assert profile.column(SCORE).count == 500
    assert merge_inputs(LAYOUT, tiles).to_bytes() == profile.to_bytes()
    assert merge_inputs(LAYOUT, []).rows == 0


def test_a_row_at_an_edge_belongs_to_the_tile_that_begins_there() -> None:
    edge = round(TILES[3].start.timestamp()) * 1_000_000
    batch = take(rows(3), np.arange(3))
    batch = replace(batch, time=np.array([edge - 1, edge, edge + 1]), version=None)
    facts = [
        TileFacts(window=t, rows=n, fingerprint=Fingerprint(count=n, total=0))
        for t, n in zip(TILES[2:4], (1, 2), strict=True)
    ]
    answer = Read(tiles=TILES, facts=facts, reading=Reading(rows=3), batches=lambda _: iter([batch]))
    tiles, _ = build_inputs(answer, LAYOUT, INPUTS)
    assert [Profile.from_bytes(LAYOUT, tile.body).rows for tile in tiles] == [1, 2]


def test_outcome_tiles_merge_to_the_window() -> None:
    batch = rows(500, 4)
    tiles, profile = build_outcomes(read([batch]), LABELS, OUTCOMES)
    assert merge_outcomes(LABELS, tiles).to_bytes() == profile.to_bytes()
    np.testing.assert_array_equal(profile.joint, OutcomeProfile.of(LABELS, batch).joint)
    assert profile.labelled == np.isfinite(batch.label).sum()  # type: ignore[arg-type]  # rows() gives labels


def test_what_a_read_holds_does_not_grow_with_its_rows() -> None:
    held: list[int] = []

    def counted(most: int) -> int:
        def deliver(_: dict[str, Any]) -> Iterator[Batch]:
            for seed in range(most):
                held.append(sum(isinstance(one, Profile) for one in gc.get_objects()))
                yield rows(200, seed)

        facts = read([rows(2000)]).facts
        held.clear()
        build_inputs(Read(tiles=TILES, facts=facts, reading=Reading(rows=200 * most), batches=deliver), LAYOUT, INPUTS)
        return max(held) - held[0]

    assert counted(40) <= 1.1 * counted(10)


def test_a_window_without_rows_has_no_tiles() -> None:
    tiles, profile = build_inputs(read([]), LAYOUT, INPUTS)
    assert (tiles, profile.rows) == ([], 0)


def test_a_read_is_closed_when_its_tiles_are_built() -> None:
    closed: list[bool] = []
    answer = Read(
        tiles=TILES, facts=[], reading=Reading(), batches=lambda _: iter(()), close=lambda: closed.append(True)
    )
    build_inputs(answer, LAYOUT, INPUTS)
    answer.close()
    assert closed == [True]


def test_new_lost_and_changed_pieces_are_told_and_no_others() -> None:
    tiles, _ = build_inputs(read([rows(400, 5)]), LAYOUT, INPUTS)
    same = [facts_of(tile) for tile in tiles]
    assert changed(tiles, same) == []
    assert changed(tiles[1:], same) == [tiles[0].window]
    assert changed(tiles, same[:-1]) == [tiles[-1].window]
    other = replace(same[5], fingerprint=Fingerprint(count=same[5].fingerprint.count, total=8))
    assert changed(tiles, [*same[:5], other, *same[6:]]) == [tiles[5].window]
    later = Window(start=TILES[-1].end, end=TILES[-1].end + timedelta(hours=1))
    emptied = TileFacts(window=later, fingerprint=Fingerprint(count=0, total=0))
    assert changed(tiles, [*same, emptied]) == []


def facts_of(tile: Tile) -> TileFacts:
    return TileFacts(window=tile.window, version=tile.version, rows=tile.rows, fingerprint=tile.fingerprint)
