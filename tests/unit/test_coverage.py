"""What of production a training set does not cover."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.coverage import MISSING, gap_of, rows_needed
from monitor.source import CategoryValues, Floats, NumericValues


def numbers(values: Floats) -> NumericValues:
    return NumericValues(values=values, missing=np.isnan(values))


def categories(*values: str | None) -> CategoryValues:
    known = sorted({value for value in values if value is not None})
    codes = np.array([-1 if value is None else known.index(value) for value in values], np.int32)
    return CategoryValues(codes=codes, categories=known)


def test_a_range_that_training_never_saw_is_named_with_its_share_of_traffic() -> None:
    rng = np.random.default_rng(1)
    winter, year = rng.uniform(-10, 10, 5000), rng.uniform(-10, 30, 20_000)
    gap = gap_of("temp", numbers(winter), numbers(year))
    (region,) = gap.regions
    low, high = (float(part) for part in region.where.split(" to "))
    assert low == pytest.approx(10, abs=1.0)
    assert high == pytest.approx(30, abs=0.1)
    assert region.share == pytest.approx(0.5, abs=0.02) == gap.uncovered
    assert year[region.rows].min() == pytest.approx(low, rel=1e-5)
    assert region.rows.sum() == (year >= year[region.rows].min()).sum()


def test_a_hole_in_the_middle_of_training_is_found() -> None:
    rng = np.random.default_rng(2)
    holed = rng.uniform(0, 100, 8000)
    gap = gap_of("x", numbers(holed[(holed < 40) | (holed > 60)]), numbers(rng.uniform(0, 100, 20_000)))
    (region,) = gap.regions
    low, high = (float(part) for part in region.where.split(" to "))
    assert low == pytest.approx(40.0, abs=2.1)
    assert high == pytest.approx(60.0, abs=2.1)


@pytest.mark.parametrize("rows", [500, 5000, 50_000])
@pytest.mark.parametrize("kind", ["normal", "heavy", "lattice", "zeros"])
def test_rows_of_the_same_kind_have_no_region(kind: str, rows: int) -> None:
    def draw(rng: np.random.Generator, n: int) -> Floats:
        match kind:
            case "normal":
                return rng.normal(size=n)
            case "heavy":
                return rng.standard_t(1.5, size=n)
            case "lattice":
                return rng.integers(0, 7, n).astype(float)
            case _:
                return np.where(rng.random(n) < 0.9, 0.0, rng.exponential(size=n))

    for seed in range(40):
        rng = np.random.default_rng(seed)
        assert gap_of("x", numbers(draw(rng, rows)), numbers(draw(rng, 20_000))).regions == ()


def test_a_repeated_value_that_training_lacks_is_one_value_and_no_range() -> None:
    rng = np.random.default_rng(3)
    production = np.where(rng.random(10_000) < 0.2, 999.0, rng.normal(size=10_000))
    (region,) = gap_of("x", numbers(rng.normal(size=5000)), numbers(production)).regions
    assert region.where == "999"


def test_values_and_missing_ones_that_training_lacks_are_named() -> None:
    training = categories(*["a", "b"] * 1000)
    production = categories(*["a", "b", "c", None] * 1000)
    (region,) = gap_of("kind", training, production).regions
    assert set(region.where.split(", ")) == {"c", MISSING}
    assert region.share == 0.5
    lost = numbers(np.where(np.arange(4000) % 4 == 0, np.nan, np.arange(4000.0)))
    (region,) = gap_of("x", numbers(np.arange(4000.0)), lost).regions
    assert (region.where, region.share) == (MISSING, 0.25)


def test_training_with_enough_rows_covers_production_however_much_else_it_has() -> None:
    rng = np.random.default_rng(4)
    gap = gap_of("x", numbers(rng.uniform(0, 100, 500_000)), numbers(rng.uniform(45, 50, 5000)))
    assert gap.regions == ()
    assert gap.psi > 1


def test_a_part_needs_385_rows_for_each_fiftieth_of_the_traffic() -> None:
    assert rows_needed(0.02) == 385
    assert rows_needed(0.0) == 0
    assert rows_needed(1.0) == 50 * 385
