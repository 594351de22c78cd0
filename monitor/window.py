"""Windows of time: the statistical unit of every comparison."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

QUARTER_HOUR = timedelta(minutes=15)  # smallest tile; windows may not be shorter
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MONTH = timedelta(days=30)  # the month of every "per month" figure


class CalendarUnit(StrEnum):
    """Calendar units a window can follow; their length varies with months and daylight saving."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, kw_only=True, order=True)
class Window:
    """Half-open piece of time ``[start, end)``; both aware.

    >>> Window(start=datetime(2013, 3, 1, tzinfo=UTC), end=datetime(2013, 3, 2, tzinfo=UTC)).length
    datetime.timedelta(days=1)
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError(f"a window needs aware times, got {self.start} and {self.end}; add a time zone")
        if self.end <= self.start:
            raise ValueError(f"a window must end after its start, got {self.start} to {self.end}")

    @property
    def length(self) -> timedelta:
        """Elapsed time, 23 or 25 hours on days when clocks change."""
        return self.end.astimezone(UTC) - self.start.astimezone(UTC)

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


@dataclass(frozen=True, kw_only=True)
class WindowSpec:
    """How a model's time is cut: along a calendar in a time zone, or in equal widths aligned to the Unix epoch.

    ``step`` is the distance between the starts of consecutive windows; None means the window's own length.
    Decisions and budgets count steps.
    """

    calendar: CalendarUnit | None = None
    timezone: str = "UTC"
    width: timedelta | None = None
    step: timedelta | None = None

    def __post_init__(self) -> None:
        if (self.calendar is None) == (self.width is None):
            raise ValueError("a window is either a calendar unit or a width, not both; give one of them")
        if self.width is not None and (self.width < QUARTER_HOUR or self.width % QUARTER_HOUR):
            raise ValueError(f"a window of {self.width} is no multiple of 15 minutes; choose one")
        if self.step is not None and (self.step < QUARTER_HOUR or self.step % QUARTER_HOUR):
            raise ValueError(f"a step of {self.step} is no multiple of 15 minutes; choose one")

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the calendar."""
        return ZoneInfo(self.timezone)

    @property
    def pace(self) -> timedelta:
        """Nominal distance between two decisions."""
        if self.step is not None:
            return self.step
        if self.width is not None:
            return self.width
        assert self.calendar is not None
        return {
            CalendarUnit.HOUR: HOUR,
            CalendarUnit.DAY: DAY,
            CalendarUnit.WEEK: 7 * DAY,
            CalendarUnit.MONTH: MONTH,
        }[self.calendar]

    @property
    def per_month(self) -> float:
        """Decisions per month of 30 days: 30 for daily windows, 720 for hourly ones.

        >>> WindowSpec(calendar=CalendarUnit.DAY).per_month
        30.0
        """
        return MONTH / self.pace

    @property
    def tile_width(self) -> timedelta:
        """Width of a stored tile: 15 minutes below a day's pace, else an hour.

        Hour tiles keep a quarter of the storage; the price is that one late row re-reads an hour, not a quarter.
        """
        return QUARTER_HOUR if self.pace < DAY or self.pace % HOUR else HOUR

    @property
    def settled_width(self) -> timedelta:
        """Width of a stored tile that is looked at no more: an hour where every window begins and ends with one.

        >>> WindowSpec(width=HOUR).settled_width, WindowSpec(width=HOUR, step=QUARTER_HOUR).settled_width
        (datetime.timedelta(seconds=3600), datetime.timedelta(seconds=900))
        """
        whole = not self.pace % HOUR and (self.width is None or not self.width % HOUR)
        return max(self.tile_width, HOUR) if whole else self.tile_width

    def is_of(self, unit: CalendarUnit) -> bool:
        """Return whether every window begins and ends with an hour, a day, a week or a month of its own calendar.

        >>> WindowSpec(width=7 * DAY, step=DAY).is_of(CalendarUnit.DAY), WindowSpec(width=HOUR).is_of(CalendarUnit.DAY)
        (True, False)
        """
        if self.calendar is not None:
            wider = list(CalendarUnit)[list(CalendarUnit).index(unit) :]
            return self.calendar in wider and not (unit is CalendarUnit.WEEK and self.calendar is CalendarUnit.MONTH)
        assert self.width is not None
        length = {CalendarUnit.HOUR: HOUR, CalendarUnit.DAY: DAY}.get(unit)  # weeks of widths do not begin on Mondays
        return length is not None and not self.width % length and not self.pace % length

    def containing(self, moment: datetime) -> Window:
        """Return the window that contains ``moment`` (of sliding windows: the one whose last step contains it)."""
        if self.width is not None:
            pace = self.pace
            epoch = datetime(1970, 1, 1, tzinfo=UTC)
            start = epoch + ((moment - epoch) // pace) * pace
            return Window(start=start + pace - self.width, end=start + pace)
        local = moment.astimezone(self.zone)
        if self.calendar is CalendarUnit.HOUR:
            start = local.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
            return Window(start=start, end=start + HOUR)
        first = self._first_day(local.date())
        return Window(start=self._midnight(first), end=self._midnight(self._next_day(first)))

    def following(self, window: Window) -> Window:
        """Return the next window one step later."""
        if self.width is not None:
            return Window(start=window.start + self.pace, end=window.end + self.pace)
        return self.containing(window.end)

    def starting(self, since: datetime) -> Window:
        """Return the first window that starts at or after ``since``."""
        window = self.containing(since)
        while window.start < since:
            window = self.following(window)
        return window

    def between(self, since: datetime, until: datetime) -> Iterator[Window]:
        """Yield the windows that start at or after ``since`` and end at or before ``until``, in order."""
        window = self.starting(since)
        while window.end <= until:
            yield window
            window = self.following(window)

    def tiles(self, window: Window) -> list[Window]:
        """Return the tiles of a window: they cover it without gap or overlap, the last may be short."""
        edges = [window.start.astimezone(UTC)]
        end = window.end.astimezone(UTC)
        while edges[-1] < end:
            edges.append(min(edges[-1] + self.tile_width, end))
        return [Window(start=a, end=b) for a, b in pairwise(edges)]

    @property
    def season_length(self) -> int:
        """Number of season slots: 7 weekdays for daily windows, 168 hours of the week below, 12 months, else 1."""
        if self.calendar is CalendarUnit.MONTH:
            return 12
        if self.pace >= 7 * DAY:
            return 1
        return 7 if self.pace >= DAY else 168

    def slot(self, window: Window) -> int:
        """Return the season slot of a window, from 0 to ``season_length - 1``, by local time."""
        local = window.start.astimezone(self.zone) if self.step is None else window.end.astimezone(self.zone)
        match self.season_length:
            case 7:
                return local.weekday()
            case 168:
                return 24 * local.weekday() + local.hour
            case 12:
                return local.month - 1
            case _:
                return 0

    def is_holiday(self, window: Window, holidays: frozenset[str]) -> bool:
        """Return whether a window of at most a day lies on one of these local dates (ISO), with its middle at least.

        >>> day = WindowSpec(calendar=CalendarUnit.DAY).containing(datetime(2013, 12, 25, 8, tzinfo=UTC))
        >>> WindowSpec(calendar=CalendarUnit.DAY).is_holiday(day, frozenset({"2013-12-25"}))
        True
        """
        if not holidays or window.length > DAY + HOUR:  # the clocks go back
            return False
        middle = window.start.astimezone(UTC) + window.length / 2
        return middle.astimezone(self.zone).date().isoformat() in holidays

    def label(self, window: Window) -> str:
        """Return how people name the window: the local date of a day, else its start in local time."""
        local = window.start.astimezone(self.zone)
        if self.pace % DAY == timedelta(0) and (local.hour, local.minute) == (0, 0):
            return local.strftime("%a %d %b %Y") if self.pace == DAY else f"{local:%d %b %Y} ({self.pace.days} days)"
        return local.strftime("%a %d %b %Y %H:%M")

    def _first_day(self, day: date) -> date:
        match self.calendar:
            case CalendarUnit.WEEK:
                return day - timedelta(days=day.weekday())
            case CalendarUnit.MONTH:
                return day.replace(day=1)
            case _:
                return day

    def _next_day(self, first: date) -> date:
        match self.calendar:
            case CalendarUnit.WEEK:
                return first + timedelta(days=7)
            case CalendarUnit.MONTH:
                return (first.replace(day=28) + timedelta(days=4)).replace(day=1)
            case _:
                return first + timedelta(days=1)

    def _midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)
