"""Holidays: the dates that a configuration names itself or by a country."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from monitor.section import suggestion


def fault(country: str) -> str | None:
    """Return why nobody knows the holidays of a country (US) or of a part of it (DE-BY); None where they are known."""
    import holidays  # a fifth of a second and 27 MB, which only those pay who name a country

    known = holidays.list_supported_countries(include_aliases=False)
    state, _, part = country.partition("-")
    if state not in known:
        return f"is no country whose holidays are known; {suggestion(state, known)}, or list dates"
    if part and part not in known[state]:
        return f"is no part of {state} whose holidays are known; known are {', '.join(known[state]) or 'none'}"
    return None


def dates_of(named: Iterable[str], first: int, last: int) -> frozenset[str]:
    """Return the local dates (ISO) of all holidays from the year ``first`` to the year ``last``.

    >>> sorted(dates_of(["2013-12-24", "US"], 2013, 2013))[-2:]
    ['2013-12-24', '2013-12-25']
    """
    found: set[str] = set()
    for name in named:
        found |= {name} if name[:1].isdigit() else _of_country(name, first, last)
    return frozenset(found)


@lru_cache(maxsize=256)
def _of_country(country: str, first: int, last: int) -> frozenset[str]:
    import holidays

    state, _, part = country.partition("-")
    known = holidays.country_holidays(state, subdiv=part or None, years=range(first, last + 1))
    return frozenset(day.isoformat() for day in known)
