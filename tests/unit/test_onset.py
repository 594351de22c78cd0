"""Onsets in calendar time, and what a trail says of the weeks before."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from monitor.onset import KEPT, Movement, Onset, continued, movement, onset
from monitor.window import CalendarUnit, WindowSpec

NEW_YORK = WindowSpec(calendar=CalendarUnit.DAY, timezone="America/New_York")


def test_an_onset_counts_windows_back_also_over_a_change_of_clocks() -> None:
    window = NEW_YORK.containing(datetime(2024, 3, 13, 12, tzinfo=UTC))  # clocks changed on the 10th
    found = onset([0.0] * 10 + [9.0] * 4, 9.0, 0.0, NEW_YORK, window)
    assert NEW_YORK.label(NEW_YORK.containing(found.began)) == "Sat 09 Mar 2024"
    assert found.earliest == found.began == found.latest
    assert Onset.from_json(found.to_json()) == found
    assert found.sentence(NEW_YORK) == "9 Mar 2024"


def test_a_first_odd_window_began_itself() -> None:
    window = NEW_YORK.containing(datetime(2024, 5, 3, 12, tzinfo=UTC))
    for trail in ([], [0.1] * 20, [None] * 20):
        assert onset(trail, 8.0, 0.0, NEW_YORK, window).began == window.start
    assert onset([], math.nan, 0.0, NEW_YORK, window).began == window.start


def test_a_shift_as_old_as_the_trail_may_be_older() -> None:
    window = NEW_YORK.containing(datetime(2024, 5, 3, 12, tzinfo=UTC))
    found = onset([9.0] * 4, 9.0, 0.0, NEW_YORK, window)
    assert found.earliest is None
    assert found.sentence(NEW_YORK) == "29 Apr 2024 or before"
    assert Onset.from_json(found.to_json()) == found


def test_what_moved_is_read_from_the_weeks_before() -> None:
    assert movement([0.2, -0.5, 0.3] * 8, 6.0) is Movement.SUDDEN
    assert movement([5.5] * 28, 6.0) is Movement.KNOWN
    assert movement([-5.5] * 28, 6.0) is Movement.SUDDEN
    assert movement([x / 10 for x in range(28)], 2.9) is Movement.SLOW
    assert movement([0.1] * 3, 6.0) is None
    assert movement([None] * 28, 6.0) is None


def test_a_trail_is_bounded_and_json() -> None:
    trail: list[float | None] = []
    for z in [math.nan, *range(40)]:
        trail = continued(trail, z)
    assert len(trail) == KEPT
    assert continued([], math.nan) == [None]
