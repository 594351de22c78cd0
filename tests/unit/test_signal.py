"""The signal benchmark itself: seeds decide everything, files of flags are read with care, intervals are exact."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from benchmarks.design.streams import Stream
from benchmarks.signal import contest, exchange, interval, real
from benchmarks.signal.notebook import Notebook
from benchmarks.signal.worlds import Drift, World, drifting, null
from monitor.outcome import Task
from monitor.reference import cut_timeline
from monitor.source import Batch, NumericValues


def test_a_seed_decides_all_rows_and_another_seed_other_ones() -> None:
    def first(seed: int) -> np.ndarray:
        values = next(null("autocorrelated", 50, seed, 5).parts())[2].columns["normal0"]
        assert isinstance(values, NumericValues)
        return values.values

    assert (first(1) == first(1)).all()
    assert (first(1) != first(2)).any()


@pytest.mark.parametrize(
    "drift",
    [
        Drift(kind="mean", size=5.0, at=3),
        Drift(kind="unit", size=100.0, feature="skewed0", at=3),
        Drift(kind="missing", size=0.9, at=3, lasts=1),
        Drift(kind="new category", size=0.5, feature="five0", at=3),
    ],
    ids=lambda drift: drift.kind,
)
def test_a_drift_begins_in_its_window_and_touches_its_feature_alone(drift: Drift) -> None:
    def columns(world: World) -> dict[tuple[int, str], np.ndarray]:
        found: dict[tuple[int, str], np.ndarray] = {}
        for first, _, batch, place in world.parts(most=1):
            for name, values in batch.columns.items():
                x = values.values if isinstance(values, NumericValues) else values.codes
                for t in np.unique(place):
                    found[first + t - world.trained, name] = x[place == t]
        return found

    wrong = columns(drifting(drift, 60, 7, varying=True, production=6))
    right = columns(null("autocorrelated", 60, 7, 6))
    before = [(t, name) for t, name in right if t < 3]
    assert all(np.array_equal(wrong[key], right[key], equal_nan=True) for key in before)
    assert not np.array_equal(wrong[3, drift.feature], right[3, drift.feature], equal_nan=True)
    assert np.array_equal(wrong[3, "normal1"], right[3, "normal1"])


def test_a_tool_reads_windows_and_writes_flags_that_we_read_back(tmp_path: Path) -> None:
    world = null("iid", 40, 1, 5)
    exchange.write_windows(world, tmp_path / "windows.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "windows.parquet")
    windows = table["window"].to_numpy()
    assert (windows.min(), windows.max(), len(windows)) == (-world.trained, 4, 40 * (world.trained + 5))
    assert {"prediction", "label", "normal0", "five0"} <= set(table.column_names)
    exchange.write_flags([(3, "normal0"), (1, "label"), (3, "normal0")], tmp_path / "flags.csv")
    flags = exchange.read_flags(tmp_path / "flags.csv", 5)
    assert flags == [(1, "label"), (3, "normal0")]
    assert exchange.figures(flags, world) == {"clean windows flagged": 2 / 5, "delay": None}


def test_a_flag_counts_from_the_first_wrong_window_and_only_in_the_right_place() -> None:
    world = drifting(Drift(kind="mean", size=0.5, at=40), 40, 1, varying=False)
    figures = exchange.figures([(10, "normal0"), (41, "normal1"), (44, "normal0")], world)
    assert figures == {"clean windows flagged": 1 / 40, "delay": 4.0}


@pytest.mark.parametrize(
    ("text", "says"),
    [("a,b\n", "does not begin with window,subject"), ("window,subject\n9,x\n", "flags window 9, but there are")],
)
def test_a_file_of_flags_that_is_none_is_refused_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "flags.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        exchange.read_flags(path, 5)
    with pytest.raises(ValueError, match="is no file"):
        exchange.read_flags(tmp_path / "none.csv", 5)


def test_intervals_are_exact() -> None:
    assert interval.share(0, 300)[0] == 0.0
    assert interval.share(0, 300)[1] == pytest.approx(0.01222, abs=1e-4)
    assert interval.share(5, 5)[1] == 1.0
    assert interval.rate(0, 10.0)[1] == pytest.approx(0.3689, abs=1e-4)
    assert list(interval.rate(5, 10.0)) == pytest.approx([0.1623, 1.1668], abs=1e-3)


def scores(values: dict[str, list[float]], *, flagged: bool = False) -> list[contest.Score]:
    return [
        contest.Score(series=("distance", subject), window=w, score=value, flagged=flagged)
        for subject, column in values.items()
        for w, value in enumerate(column)
    ]


def test_a_tuned_tool_flags_at_most_the_allowed_share_of_calibration_windows_over_all_columns() -> None:
    rng = np.random.default_rng(1)
    calm = scores({"a": rng.normal(size=300).tolist(), "b": (100 * rng.normal(size=300)).tolist()})
    tuned = contest.tune([calm], 0.02)
    assert contest.flagged_share([tuned.flags(calm)], 300) == (6, 300)
    assert {subject for _, subject in tuned.flags(calm)} == {"a", "b"}  # a column's unit gives it no weight


def test_a_score_that_never_varied_in_calibration_is_flagged_once_it_rises() -> None:
    calm = scores({"a": [1.0, 2.0, 1.0, 3.0] * 25, "missing": [0.0] * 100})
    tuned = contest.tune([calm], 0.1)
    assert tuned.flags(scores({"missing": [0.0, 0.3]})) == [(1, "missing")]
    assert tuned.flags(scores({"missing": [float("nan")]})) == []


def test_a_delay_counts_the_right_column_within_its_time_and_is_infinite_else() -> None:
    flags = [(10, "a"), (43, "b"), (45, "a"), (80, "a")]
    assert contest.delay(flags, "a", at=40) == 5
    assert contest.delay(flags, "b", at=44) == float("inf")
    assert contest.delay(flags, "a", at=46) == float("inf")
    assert contest.delay(flags, "a", at=46, within=40) == 34


def test_scores_of_a_tool_are_read_back(tmp_path: Path) -> None:
    (tmp_path / "river.csv").write_text("rule,what,subject,window,score,flagged\nriver,adwin,x,3,2.5,1\n")
    found = contest.read_scores("river", tmp_path)
    assert found == [contest.Score(series=("adwin", "x"), window=3, score=2.5, flagged=True)]
    assert contest.defaults(found) == [(3, "x")]


def test_a_shuffled_stream_keeps_its_times_and_moves_whole_rows() -> None:
    world = null("iid", 40, 1, 5)
    batch = next(world.parts())[2]
    windows, place = cut_timeline(batch.time, world.spec)
    stream = Stream(
        name="s",
        task=Task.BINARY,
        spec=world.spec,
        batch=batch,
        windows=windows,
        place=place,
        trained=20,
        fitted=15,
        per_month=30,
        upstreams={},
    )
    other = real.shuffled(stream, 1).batch

    def rows(of: Batch) -> list[tuple[float, float]]:
        values = of.columns["normal0"]
        assert isinstance(values, NumericValues)
        assert of.score is not None
        return list(zip(values.values.tolist(), of.score.tolist(), strict=True))

    assert (other.time == batch.time).all()
    assert rows(other) != rows(batch)
    assert sorted(rows(other)) == sorted(rows(batch))


def test_a_run_that_was_stopped_measures_nothing_twice(tmp_path: Path) -> None:
    asked: list[str] = []

    def measure(key: str) -> str:
        asked.append(key)
        return f"| {key} |"

    first = Notebook(tmp_path, "quick")
    assert [first.line(key, partial(measure, key)) for key in "ab"] == ["| a |", "| b |"]
    again = Notebook(tmp_path, "quick")
    assert [again.line(key, partial(measure, key)) for key in "abc"] == ["| a |", "| b |", "| c |"]
    assert asked == ["a", "b", "c"]
    assert Notebook(tmp_path, "full").lines == {}, "another form has seeds of its own"
