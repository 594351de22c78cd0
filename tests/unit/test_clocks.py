"""Which features follow the clock: a slot counts only if training saw it come again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitor.column import Clock
from monitor.reference import recognise_time_function
from monitor.source import NumericValues

START = datetime(2021, 1, 4, tzinfo=UTC)  # a Monday


def followed(values_of: object, days: int) -> Clock | None:
    """Return the clock that a column of hourly rows over so many days follows."""
    moments = [START + timedelta(hours=i) for i in range(24 * days)]
    values = np.array([values_of(moment) for moment in moments], np.float64)  # type: ignore[operator]  # a function of a moment
    time = np.array([round(moment.timestamp()) * 1_000_000 for moment in moments], np.int64)
    found = recognise_time_function(NumericValues(values=values, missing=np.zeros(len(values), bool)), time, "UTC")
    return None if found is None else found.clock


@pytest.mark.parametrize(
    ("values_of", "days", "clock"),
    [
        (lambda moment: moment.weekday(), 15, Clock.WEEKDAY),
        (lambda moment: moment.weekday(), 13, None),
        (lambda moment: moment.hour, 8, Clock.HOUR),
        (lambda moment: moment.hour, 6, None),
        (lambda moment: moment.month, 3 * 366, Clock.MONTH),
        (lambda moment: moment.month, 400, None),  # one year of months is no habit
        (lambda moment: moment.day, 3 * 366, None),  # nor is a calendar date: next year's holidays are no clock faults
        (lambda moment: float(moment.month == 12 and moment.day > 23), 3 * 366, None),
    ],
)
def test_a_clock_counts_only_if_its_slots_come_again_in_training(
    values_of: object, days: int, clock: Clock | None
) -> None:
    assert followed(values_of, days) is clock
