"""Relations: which pairs are followed, and moments that merge like everything else."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.column import Layout, freeze_categorical, freeze_numeric
from monitor.profile import Profile, profiles_of
from monitor.relation import MOST, MOST_OF_ONE, Relation, learn
from monitor.source import Batch, CategoryValues, Floats, NumericValues, Values

RNG = np.random.default_rng


def numeric(values: Floats) -> NumericValues:
    return NumericValues(values=values, missing=np.isnan(values))


def batch(rng: np.random.Generator, rows: int) -> Batch:
    x = rng.normal(size=rows)
    y = 2 * x + rng.normal(size=rows) / 2
    y[::7] = np.nan
    codes = rng.integers(0, 2, rows).astype(np.int32)
    columns: dict[str, Values] = {
        "x": numeric(x),
        "y": numeric(y),
        "c": CategoryValues(codes=codes, categories=["a", "b"]),
    }
    return Batch(rows=rows, time=np.arange(rows, dtype=np.int64), columns=columns)


def layout() -> Layout:
    rows = batch(RNG(0), 2000)
    x, y = rows.columns["x"], rows.columns["y"]
    assert isinstance(x, NumericValues)
    assert isinstance(y, NumericValues)
    columns = (freeze_numeric("x", x), freeze_numeric("y", y))
    pairs = learn({c.name: c.clipped(v.values) for c, v in zip(columns, (x, y), strict=True)})
    category = rows.columns["c"]
    assert isinstance(category, CategoryValues)
    return Layout((*columns, freeze_categorical("c", category)), pairs)


LAYOUT = layout()


def test_a_line_is_found_with_what_it_explains() -> None:
    (pair,) = LAYOUT.relations
    assert pair.name == "y ~ x"
    assert pair.held
    assert pair.explained == pytest.approx(4 / 4.25, abs=0.02)
    assert pair.square[0] == pytest.approx(2, rel=0.2), "the variance of a squared bell is 2"


def test_moments_of_parts_are_those_of_all_rows_in_any_order() -> None:
    rows = batch(RNG(1), 900)
    whole = Profile.of(LAYOUT, rows)
    pieces = RNG(2).integers(0, 5, 900)
    parts = profiles_of(LAYOUT, rows, pieces, 5)
    merged = Profile.total(LAYOUT, parts[::-1])
    at = LAYOUT.moments_at
    np.testing.assert_allclose(merged.sums[at:], whole.sums[at:], rtol=1e-12)
    known = rows.rows - int(np.isnan(rows.columns["y"].values).sum())  # type: ignore[union-attr]  # a numeric column
    assert whole.sums[at] == known


def test_a_layout_with_relations_survives_json_and_one_without_has_the_digest_it_had() -> None:
    again = Layout.from_json(LAYOUT.to_json())
    assert again.relations == LAYOUT.relations
    assert again.digest == LAYOUT.digest
    plain = Layout(LAYOUT.columns)
    assert "relations" not in plain.to_json()[-1]
    assert plain.digest != LAYOUT.digest


def test_profiles_with_relations_survive_bytes() -> None:
    profile = Profile.of(LAYOUT, batch(RNG(3), 100))
    assert Profile.from_bytes(LAYOUT, profile.to_bytes()).sums.tolist() == profile.sums.tolist()


def test_however_many_columns_there_are_few_pairs_are_followed_and_no_column_takes_them_all() -> None:
    rng = RNG(4)
    common = rng.normal(size=1000)
    pairs = learn({f"f{i:02}": common + rng.normal(size=1000) * (i + 1) / 10 for i in range(40)})
    assert len(pairs) == MOST
    names = [name for pair in pairs for name in (pair.of, pair.on)]
    assert max(names.count(name) for name in names) <= MOST_OF_ONE


def test_a_column_computed_from_another_has_a_spread_to_divide_by() -> None:
    x = RNG(5).normal(size=500)
    (pair,) = learn({"celsius": x, "fahrenheit": x})
    assert pair.explained == pytest.approx(1)
    assert pair.residual(x, x + 0.5).min() == 8


@pytest.mark.parametrize("columns", [{}, {"x": np.ones(500)}, {"x": np.ones(500), "y": np.ones(500)}])
def test_columns_that_do_not_vary_or_are_alone_have_no_relation(columns: dict[str, Floats]) -> None:
    assert learn(columns) == ()


def test_too_few_common_rows_make_no_relation() -> None:
    x, y = RNG(6).normal(size=(2, 500))
    x[:450] = np.nan
    assert learn({"x": x, "y": y}) == ()


def test_a_relation_is_json() -> None:
    (pair,) = LAYOUT.relations
    assert Relation.from_json(pair.to_json()) == pair
