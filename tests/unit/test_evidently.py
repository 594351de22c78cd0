"""Evidently's tests beside ours: the same values where its definition is sound, better verdicts where it is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from monitor.check import Evidence, Stage, checks
from monitor.divergence import divergence
from monitor.outcome import Task
from monitor.profile import Profile
from monitor.reference import Reference, build_reference
from monitor.source import Batch, CategoryValues, NumericValues, Reading, Values
from monitor.stats import distance
from monitor.window import CalendarUnit, Window, WindowSpec

FIRST = datetime(2024, 4, 1, tzinfo=UTC)
SPEC = WindowSpec(calendar=CalendarUnit.DAY)
DAYS = 30
Rows = Mapping[str, np.ndarray]
Tester = Callable[..., Any]


@pytest.fixture(scope="module")
def evidently() -> Tester:
    """Return a function that runs one of Evidently's own tests: name, reference, current, kind of column."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import uses what numpy, litestar and plotly have deprecated
        import pandas as pd
        from evidently.legacy.calculations import stattests
        from evidently.legacy.core import ColumnType

    def run(name: str, old: np.ndarray, new: np.ndarray) -> Any:
        kind = ColumnType.Categorical if old.dtype == object else ColumnType.Numerical
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(stattests, name)(pd.Series(old), pd.Series(new), kind, None)

    return run


def batch_of(rows: Rows, day: int = 0, days: int = 1) -> Batch:
    columns: dict[str, Values] = {}
    count = len(next(iter(rows.values())))
    for name, x in rows.items():
        if x.dtype == object:
            texts, codes = np.unique(x.astype(str), return_inverse=True)
            columns[name] = CategoryValues(codes=codes.astype(np.int32), categories=tuple(texts.tolist()))
        else:
            columns[name] = NumericValues(values=x, missing=np.isnan(x))
    start = round((FIRST + timedelta(days=day)).timestamp() * 1e6)
    return Batch(rows=count, time=start + np.arange(count) * (days * 86_400_000_000 // count), columns=columns)


def trained_on(rows: Rows, days: int = DAYS) -> Reference:
    return build_reference(
        batch_of(rows, 0, days),
        model="m",
        version="1",
        task=Task.BINARY,
        spec=SPEC,
        created_at=FIRST + timedelta(days=days),
    )


def flagged(trained: Reference, rows: Rows) -> set[str]:
    """Return the columns of which drift or quality says that something is wrong in one window after training."""
    days, batch = len(trained.windows), batch_of(rows, len(trained.windows))
    evidence = Evidence(
        model="m",
        stage=Stage.INPUTS,
        window=Window(start=FIRST + timedelta(days=days), end=FIRST + timedelta(days=days + 1)),
        spec=SPEC,
        maybe_reference=trained,
        maybe_current=Profile.of(trained.layout, batch),
        reading=Reading(rows=batch.rows),
    )
    found = [f for name in ("drift", "quality") for f in checks.build(name, {}).run(evidence).findings]
    return {f.subject for f in found if f.verdict.value in ("warning", "critical")}


def texts(rng: np.random.Generator, values: int, n: int) -> np.ndarray:
    return np.array([f"v{i}" for i in range(values)], object)[rng.integers(0, values, n)]


def test_values_from_profiles_are_those_of_evidently_within_the_stated_error(evidently: Tester) -> None:
    """KS within the largest bin's share, Wasserstein within 3 % on a bell, Jensen–Shannon on categories exactly."""
    rng = np.random.default_rng(1)
    old = {"x": rng.normal(size=30_000), "c": texts(rng, 6, 30_000)}
    new = {"x": rng.normal(0.3, 1.2, 2_000), "c": texts(rng, 5, 2_000)}
    trained = trained_on(old)
    now = Profile.of(trained.layout, batch_of(new, DAYS))
    x = divergence(trained.total.columns["x"], now.columns["x"])
    c = divergence(trained.total.columns["c"], now.columns["c"])
    assert x.ks_p_value is not None
    assert x.wasserstein_distance is not None
    p = evidently("ks_stat_test", old["x"], new["x"]).drift_score
    assert abs(np.log10(x.ks_p_value) - np.log10(p)) < 0.1 * abs(np.log10(p))
    scale = float(np.subtract(*np.quantile(old["x"], [0.75, 0.25]))) / 1.349 / float(np.std(old["x"]))
    ours = x.wasserstein_distance * scale  # in standard deviations of training, as Evidently's
    assert ours == pytest.approx(evidently("wasserstein_stat_test", old["x"], new["x"]).drift_score, rel=0.03)
    assert c.js_distance == pytest.approx(
        evidently("jensenshannon_stat_test", old["c"], new["c"]).drift_score, abs=1e-9
    )


def test_small_windows_and_many_columns_in_which_nothing_changed_stay_silent(evidently: Tester) -> None:
    rng = np.random.default_rng(2)

    def rows(n: int) -> Rows:
        return {f"x{i}": rng.normal(size=n) for i in range(10)} | {"c": texts(rng, 100, n)}

    old = rows(DAYS * 100)
    trained, theirs, ours = trained_on(old), 0, 0
    for _ in range(10):
        new = rows(100)
        theirs += any(evidently("wasserstein_stat_test", old[name], new[name]).drifted for name in old if name != "c")
        theirs += bool(evidently("jensenshannon_stat_test", old["c"], new["c"]).drifted)
        ours += bool(flagged(trained, new))
    assert theirs >= 18  # of 20
    assert ours <= 1  # of 10


def test_chi_squared_holds_its_level_where_both_sides_are_samples(evidently: Tester) -> None:
    rng = np.random.default_rng(3)
    theirs = ours = 0
    for _ in range(100):
        old, new = texts(rng, 5, 1000), texts(rng, 5, 1000)
        theirs += bool(evidently("chi_stat_test", old, new).drifted)
        counted = [np.unique(side.astype(str), return_counts=True)[1] for side in (old, new)]
        ours += distance.chi_squared(*counted).p_value < 0.05
    assert theirs >= 15
    assert ours <= 11


def test_a_shift_too_small_to_matter_is_left_alone_however_many_rows_prove_it(evidently: Tester) -> None:
    rng = np.random.default_rng(4)
    old, new = {"x": rng.normal(size=300_000)}, {"x": rng.normal(0.02, 1, 300_000)}
    assert evidently("ks_stat_test", old["x"], new["x"]).drifted
    assert "x" not in flagged(trained_on(old), new)  # so many rows in one window are told as volume


def test_one_value_far_out_hides_no_shift_and_is_none(evidently: Tester) -> None:
    rng = np.random.default_rng(5)
    old = {"x": rng.normal(size=30_000)}
    shifted = np.append(rng.normal(0.5, 1, 1000), 1e4)
    trained = trained_on(old)
    assert not evidently("psi_stat_test", old["x"], shifted).drifted
    assert flagged(trained, {"x": shifted}) == {"x"}
    alone = np.append(rng.normal(size=1000), 1e9)
    assert evidently("wasserstein_stat_test", old["x"], alone).drift_score > 1e5
    assert "x" not in flagged(trained, {"x": alone})


def test_a_feature_with_a_heavy_tail_that_triples_is_found(evidently: Tester) -> None:
    rng = np.random.default_rng(6)
    old, new = {"x": rng.lognormal(0, 2, 30_000)}, {"x": 3 * rng.lognormal(0, 2, 1000)}
    assert not evidently("psi_stat_test", old["x"], new["x"]).drifted
    assert flagged(trained_on(old), new) == {"x"}


def test_a_new_category_weighs_the_same_for_nine_and_eleven_thousand_training_rows(evidently: Tester) -> None:
    def psi(n: int) -> tuple[float, float]:
        old = np.array(["a"] * (n - 1) + ["rare"], object)
        new = np.array(["a"] * (n * 99 // 100 - 1) + ["rare"] + ["new"] * (n // 100), object)
        theirs = evidently("psi_stat_test", old, new).drift_score
        return theirs, distance.psi([n - 1, 1, 0], [n * 99 // 100 - 1, 1, n // 100])

    (theirs, ours), (theirs_later, ours_later) = psi(9_000), psi(11_000)
    assert theirs_later > 3 * theirs
    assert ours_later == pytest.approx(ours, rel=0.1)


def test_a_feature_of_tiny_values_is_judged_on_its_own_scale(evidently: Tester) -> None:
    rng = np.random.default_rng(7)
    old, new = {"x": 1e-6 * rng.normal(size=30_000)}, {"x": 1e-6 * rng.normal(3, 1, 1000)}
    assert not evidently("wasserstein_stat_test", old["x"], new["x"]).drifted
    assert flagged(trained_on(old), new) == {"x"}


def test_a_shift_downwards_is_found_like_one_upwards(evidently: Tester) -> None:
    rng = np.random.default_rng(8)
    old, new = {"x": rng.normal(size=30_000)}, {"x": rng.normal(-1, 1, 1000)}
    assert not evidently("mann_whitney_u_stat_test", old["x"], new["x"]).drifted
    assert flagged(trained_on(old), new) == {"x"}


def test_values_that_nobody_has_seen_before_are_found_and_no_global_state_is_touched(evidently: Tester) -> None:
    old = {"c": np.array([f"old{i % 2000}" for i in range(6000)], object)}
    new = {"c": np.array([f"new{i}" for i in range(200)], object)}
    trained = trained_on(old)
    with pytest.raises(ValueError, match="sum of the observed frequencies"):
        evidently("g_test", old["c"], new["c"])  # it takes counts for shares: unequal numbers of rows are an error
    before = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # what must not change is the global generator
    assert flagged(trained, new) == {"c"}
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == before  # noqa: NPY002  # as above
    assert distance.total_variation([6000, 0], [0, 200]) == 1.0


def test_missing_and_infinite_values_hide_no_shift_and_are_told_themselves(evidently: Tester) -> None:
    rng = np.random.default_rng(9)
    old = {"x": rng.normal(size=30_000), "y": rng.normal(size=30_000)}
    shifted, gone = rng.normal(2, 1, 1000), rng.normal(size=1000)
    shifted[::10], gone[::2] = np.nan, np.nan
    assert not evidently("wasserstein_stat_test", old["x"], shifted).drifted
    trained = trained_on(old)
    assert flagged(trained, {"x": shifted, "y": gone}) == {"x", "y"}
    shifted[1::10] = np.inf
    assert "x" in flagged(trained, {"x": shifted, "y": gone})
    assert Profile.of(trained.layout, batch_of({"x": shifted, "y": gone})).columns["x"].non_finite == 100
