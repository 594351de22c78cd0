"""Rules of quiet hours: a span of the wall clock, whatever is done to the clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.announcement import quiet_until
from monitor.settings import QuietHours


def quiet(begin: str, end: str, timezone: str = "Europe/Berlin") -> QuietHours:
    return QuietHours.model_validate({"timezone": timezone, "from": begin, "to": end})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("begin", "end", "now", "until"),
    [
        # over midnight, in the time zone of the route (summer: UTC+2)
        ("20:00", "08:00", "2024-06-03T17:59:59+00:00", None),
        ("20:00", "08:00", "2024-06-03T18:00:00+00:00", "2024-06-04T06:00:00+00:00"),
        ("20:00", "08:00", "2024-06-04T05:59:59+00:00", "2024-06-04T06:00:00+00:00"),
        ("20:00", "08:00", "2024-06-04T06:00:00+00:00", None),
        # within a day
        ("12:00", "13:30", "2024-06-03T10:00:00+00:00", "2024-06-03T11:30:00+00:00"),
        ("12:00", "13:30", "2024-06-03T11:30:00+00:00", None),
        # the night in which the clock is put forward is an hour shorter, the one in which it is put back longer
        ("20:00", "08:00", "2024-03-30T20:00:00+00:00", "2024-03-31T06:00:00+00:00"),
        ("20:00", "08:00", "2024-10-26T20:00:00+00:00", "2024-10-27T07:00:00+00:00"),
        # an end that the clock jumps over: 02:30 is 03:30
        ("20:00", "02:30", "2024-03-31T00:59:00+00:00", "2024-03-31T01:30:00+00:00"),
        # an end that comes twice: the first one ends them, and the hour that follows is not quiet again
        ("20:00", "02:30", "2024-10-27T00:00:00+00:00", "2024-10-27T00:30:00+00:00"),
        ("20:00", "02:30", "2024-10-27T01:10:00+00:00", None),
        # a begin that comes twice: once is enough
        ("02:30", "06:00", "2024-10-27T01:10:00+00:00", "2024-10-27T05:00:00+00:00"),
    ],
)
def test_quiet_hours_are_those_of_the_wall_clock(begin: str, end: str, now: str, until: str | None) -> None:
    assert quiet_until(quiet(begin, end), at(now)) == (None if until is None else at(until))


@settings(max_examples=50, deadline=None)
@given(
    quarters=st.integers(0, 6 * 366 * 24 * 4),
    begin=st.times(),
    end=st.times(),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
)
def test_quiet_hours_always_end_within_a_day_and_are_over_then(
    quarters: int, begin: time, end: time, zone: str
) -> None:
    now = datetime(2020, 1, 1, tzinfo=UTC) + quarters * timedelta(minutes=15)
    first, last = f"{begin:%H:%M}", f"{end:%H:%M}"
    if first == last:
        return
    hours = quiet(first, last, zone)
    until = quiet_until(hours, now)
    if until is not None:
        assert now < until <= now + timedelta(hours=25)
        assert quiet_until(hours, until) is None
