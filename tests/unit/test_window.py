"""Windows tile time exactly: no moment is in two of them or in none."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.window import DAY, HOUR, QUARTER_HOUR, CalendarUnit, Window, WindowSpec

ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"]
SPECS = st.one_of(
    st.builds(WindowSpec, calendar=st.sampled_from(CalendarUnit), timezone=st.sampled_from(ZONES)),
    st.builds(lambda n: WindowSpec(width=n * QUARTER_HOUR), st.integers(1, 200)),
    st.builds(lambda n, m: WindowSpec(width=n * m * QUARTER_HOUR, step=n * QUARTER_HOUR), *[st.integers(1, 20)] * 2),
)
MOMENTS = st.integers(946_684_800, 2_114_380_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def day(year: int, month: int, number: int, zone: str = "UTC") -> datetime:
    return datetime(year, month, number, tzinfo=ZoneInfo(zone))


@settings(max_examples=50, deadline=None)
@given(SPECS, MOMENTS)
def test_a_moment_is_in_its_window_and_windows_follow_without_a_gap(spec: WindowSpec, moment: datetime) -> None:
    window = spec.containing(moment)
    assert moment in window
    following = spec.following(window)
    if spec.step is None:
        assert following.start == window.end
        assert moment not in following
        assert spec.containing(following.start) == following
    else:
        assert following.start - window.start == spec.step


@settings(max_examples=50, deadline=None)
@given(SPECS, MOMENTS)
def test_tiles_cover_a_window_exactly(spec: WindowSpec, moment: datetime) -> None:
    window = spec.containing(moment)
    tiles = spec.tiles(window)
    assert tiles[0].start == window.start
    assert tiles[-1].end == window.end
    assert all(a.end == b.start for a, b in pairwise(tiles))
    assert all(tile.length == spec.tile_width for tile in tiles[:-1])
    assert sum((tile.length for tile in tiles), timedelta()) == window.length


@settings(max_examples=50, deadline=None)
@given(SPECS, MOMENTS)
def test_slots_are_within_the_season(spec: WindowSpec, moment: datetime) -> None:
    assert 0 <= spec.slot(spec.containing(moment)) < spec.season_length


@pytest.mark.parametrize(
    ("zone", "when", "hours"),
    [
        ("America/New_York", (2013, 3, 10), 23),
        ("America/New_York", (2013, 11, 3), 25),
        ("Europe/Berlin", (2024, 3, 31), 23),
        ("Australia/Lord_Howe", (2024, 4, 7), 24.5),
        ("Australia/Lord_Howe", (2024, 10, 6), 23.5),
        ("Asia/Kolkata", (2024, 2, 29), 24),
        ("America/Havana", (2024, 3, 10), 23),  # midnight itself does not exist there
    ],
)
def test_a_local_day_is_as_long_as_it_was(zone: str, when: tuple[int, int, int], hours: float) -> None:
    spec = WindowSpec(calendar=CalendarUnit.DAY, timezone=zone)
    noon = datetime(*when, 12, tzinfo=ZoneInfo(zone))
    window = spec.containing(noon)
    assert window.length == timedelta(hours=hours)
    assert spec.following(window).start == window.end
    assert sum((tile.length for tile in spec.tiles(window)), timedelta()) == timedelta(hours=hours)


def test_a_year_of_local_days_has_no_gap() -> None:
    spec = WindowSpec(calendar=CalendarUnit.DAY, timezone="Australia/Lord_Howe")
    windows = list(spec.between(day(2024, 1, 1, spec.timezone), day(2025, 1, 1, spec.timezone)))
    assert len(windows) == 366
    assert all(a.end == b.start for a, b in pairwise(windows))
    assert {date(2024, 2, 29)} <= {window.start.astimezone(spec.zone).date() for window in windows}


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    week = WindowSpec(calendar=CalendarUnit.WEEK, timezone="Europe/Berlin").containing(day(2025, 1, 1))
    assert (week.start.astimezone(ZoneInfo("Europe/Berlin")).date(), week.length) == (date(2024, 12, 30), 7 * DAY)
    months = WindowSpec(calendar=CalendarUnit.MONTH).between(day(2024, 1, 1), day(2025, 1, 1))
    assert [m.length.days for m in months] == [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


def test_sliding_windows_end_with_the_step_that_holds_the_moment() -> None:
    spec = WindowSpec(width=DAY, step=HOUR)
    window = spec.containing(datetime(2024, 5, 6, 12, 30, tzinfo=UTC))
    assert (window.end.hour, window.length) == (13, DAY)
    assert spec.following(window).start - window.start == HOUR
    assert len(list(spec.between(window.start, window.end + 3 * HOUR))) == 4


def test_windows_between_two_moments_lie_wholly_within_them() -> None:
    spec = WindowSpec(width=HOUR)
    found = list(spec.between(datetime(2024, 1, 1, 0, 30, tzinfo=UTC), datetime(2024, 1, 1, 3, 30, tzinfo=UTC)))
    assert [window.start.hour for window in found] == [1, 2]


@pytest.mark.parametrize("start", [day(2024, 1, 1).replace(tzinfo=None), day(2024, 1, 2)])
def test_a_window_without_zone_or_length_is_refused(start: datetime) -> None:
    with pytest.raises(ValueError, match="a window"):
        Window(start=start, end=datetime(2024, 1, 2, tzinfo=UTC))
