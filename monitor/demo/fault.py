"""The faults that the demo adds to real data; everything that shows one of them says that it was injected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One injected fault of the flight log; ``since`` and ``until`` are local dates, both affected."""

    name: str
    since: date
    until: date
    columns: tuple[str, ...]
    sentence: str

    def covers(self, day: date) -> bool:
        """Return whether rows of a local day carry the fault."""
        return self.since <= day <= self.until


CELSIUS = Fault(
    name="celsius",
    since=date(2013, 10, 14),
    until=date(2013, 10, 20),
    columns=("temp", "dewp"),
    sentence="INJECTED by the demo: from 14 to 20 October temp and dewp arrive in °C instead of °F",
)
LEAK_SENTENCE = "INJECTED by the demo: the serving process leaks memory on purpose"
FAULTS: tuple[Fault, ...] = (CELSIUS,)


def celsius(fahrenheit: float) -> float:
    """Return °F in °C at the resolution that weather stations report.

    >>> celsius(39.02)
    3.9
    """
    return round((fahrenheit - 32) / 1.8, 1)


def injected_on(day: date, faults: Sequence[Fault] = FAULTS) -> str:
    """Return the sentence of the fault that a local day carries, or "".

    >>> injected_on(date(2013, 10, 13))
    ''
    """
    return next((fault.sentence for fault in faults if fault.covers(day)), "")
