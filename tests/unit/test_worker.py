"""Which windows are due: a pure function of configuration, the last window and the time."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitor.check import Stage
from monitor.installation import Monitored, monitored
from monitor.model import ModelSection
from monitor.reading import wait_of
from monitor.window import Window
from monitor.worker import EVALUATORS, due_windows, jitter, stages

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def watched(**settings: Any) -> Monitored:
    source = {"table": "t", "time": "at", "id": "id", "features": {"x": "numeric"}, "prediction": {"score": "p"}}
    source |= settings.pop("source", {})
    return monitored("m", ModelSection.model_validate({"source": source, "window": "1h", "lag": "15m", **settings}))


def hours(start: datetime, count: int) -> list[Window]:
    return [Window(start=start + i * HOUR, end=start + (i + 1) * HOUR) for i in range(count)]


def starts(windows: list[Window]) -> list[datetime]:
    return [window.start for window in windows]


def last(hour: int) -> Window:
    return Window(start=NOON.replace(hour=hour), end=NOON.replace(hour=hour + 1))


def test_a_window_is_due_when_its_lag_is_over() -> None:
    model = watched()
    early = due_windows(model, Stage.INPUTS, last(9), now=NOON.replace(hour=11, minute=14))
    late = due_windows(model, Stage.INPUTS, last(9), now=NOON.replace(hour=11, minute=15))
    assert (early, late) == (([], []), (hours(NOON.replace(hour=10), 1), []))


def test_outcomes_wait_for_their_labels() -> None:
    model = watched(source={"outcome": {"label": "y", "matures_after": "2h"}})
    assert stages(model) == (Stage.INPUTS, Stage.OUTCOMES)
    assert stages(watched()) == (Stage.INPUTS,)
    assert wait_of(model, Stage.OUTCOMES) == 2 * HOUR + timedelta(minutes=15)
    planned, _ = due_windows(model, Stage.OUTCOMES, last(7), now=NOON)
    assert starts(planned) == [NOON.replace(hour=8)]


def test_after_downtime_every_window_is_caught_up_in_order() -> None:
    planned, skipped = due_windows(watched(), Stage.INPUTS, last(4), now=NOON)
    assert planned == hours(NOON.replace(hour=5), 6)
    assert skipped == []


def test_what_is_older_than_max_catch_up_is_skipped_and_never_left_out() -> None:
    planned, skipped = due_windows(watched(max_catch_up="2h"), Stage.INPUTS, last(4), now=NOON)
    assert skipped + planned == hours(NOON.replace(hour=5), 6)
    assert starts(planned) == [NOON.replace(hour=9), NOON.replace(hour=10)]


def test_catching_up_with_the_latest_skips_the_others() -> None:
    planned, skipped = due_windows(watched(catch_up="latest"), Stage.INPUTS, last(4), now=NOON)
    assert starts(planned) == [NOON.replace(hour=10)]
    assert skipped == hours(NOON.replace(hour=5), 5)


def test_without_catching_up_only_a_window_that_has_just_become_due_is_planned() -> None:
    model = watched(catch_up="none")
    planned, skipped = due_windows(model, Stage.INPUTS, last(4), now=NOON)
    assert (starts(planned), len(skipped)) == ([NOON.replace(hour=10)], 5)
    assert due_windows(model, Stage.INPUTS, last(10), now=NOON) == ([], [])


def test_the_first_start_looks_back_as_far_as_catching_up_goes() -> None:
    planned, skipped = due_windows(watched(max_catch_up="3h"), Stage.INPUTS, None, now=NOON)
    assert (starts(planned), skipped) == ([NOON.replace(hour=9), NOON.replace(hour=10)], [])


@pytest.mark.parametrize(
    ("active", "expected"),
    [
        ({"from": "2026-03-10T10:00:00+00:00"}, [10]),
        ({"from": "2026-03-10T09:30:00+00:00"}, [10]),  # a window that begins before is not whole
        ({"from": "2026-03-10T08:00:00+00:00", "until": "2026-03-10T10:00:00+00:00"}, [8, 9]),
        ({"from": "2026-03-11"}, []),
    ],
)
def test_a_model_has_no_windows_outside_of_its_active_time(active: dict[str, str], expected: list[int]) -> None:
    planned, skipped = due_windows(watched(active=active), Stage.INPUTS, None, now=NOON)
    assert [window.start.hour for window in planned] == expected
    assert skipped == []


def test_days_are_local_days_where_clocks_change() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    model = watched(window={"calendar": "day", "timezone": "Europe/Berlin"}, lag="0m", max_catch_up="7d")
    before = Window(start=datetime(2026, 3, 27, tzinfo=berlin), end=datetime(2026, 3, 28, tzinfo=berlin))
    planned, _ = due_windows(model, Stage.INPUTS, before, now=datetime(2026, 3, 30, tzinfo=berlin))
    assert [window.length for window in planned] == [24 * HOUR, 23 * HOUR]
    assert all(a.end == b.start for a, b in itertools.pairwise(planned))
    autumn = Window(start=datetime(2026, 10, 24, tzinfo=berlin), end=datetime(2026, 10, 25, tzinfo=berlin))
    planned, _ = due_windows(model, Stage.INPUTS, autumn, now=datetime(2026, 10, 26, tzinfo=berlin))
    assert [window.length for window in planned] == [25 * HOUR]


def test_sliding_windows_are_due_at_every_step() -> None:
    model = watched(window="2h", every="1h", lag="0m", max_catch_up="3h")
    planned, _ = due_windows(model, Stage.INPUTS, None, now=NOON)
    assert [(w.start.hour, w.end.hour) for w in planned] == [(9, 11), (10, 12)]


def test_planning_twice_plans_nothing_more() -> None:
    model = watched()
    planned, _ = due_windows(model, Stage.INPUTS, last(4), now=NOON)
    assert due_windows(model, Stage.INPUTS, planned[-1], now=NOON) == ([], [])


def test_many_models_are_due_one_after_the_other_and_each_at_the_same_time_again() -> None:
    names = [f"m{number}" for number in range(500)]
    first = [jitter(name, len(names), HOUR) for name in names]
    assert first == [jitter(name, len(names), HOUR) for name in names]
    spread = [round(500 * one / timedelta(seconds=50)) for one in first]
    assert min(spread) >= 0
    assert max(spread) <= 500
    assert all(20 < sum(tenth <= one < tenth + 50 for one in spread) < 100 for tenth in range(0, 500, 50))


def test_few_models_wait_for_nothing_and_many_never_for_more_than_a_twentieth_of_their_pace() -> None:
    assert {jitter(name, EVALUATORS, HOUR) for name in "abc"} == {timedelta(0)}
    assert all(jitter(str(number), 100_000, HOUR) <= timedelta(minutes=3) for number in range(100))
