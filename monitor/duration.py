"""Durations as people write them: `15m`, `48h`, `2d`, `1h30m`, `3y`."""

import re
from datetime import timedelta

UNITS: dict[str, timedelta] = {
    "y": timedelta(days=365),
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
PATTERN = r"^(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?$"

# Python's timedelta ends at 999,999,999 days; a duration beyond a thousand years is a slip of the finger.
_LONGEST = timedelta(days=365_000)


def parse_duration(text: str) -> timedelta:
    """Return the duration that `text` names: numbers with the units y (365 days), w, d, h, m, s, longest first.

    Raises ValueError for anything else, a bare number included, since its unit would be a guess.

    >>> parse_duration("15m")
    datetime.timedelta(seconds=900)
    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    compact = text.strip()
    if not compact or not compact.isascii() or not re.match(PATTERN, compact):
        raise ValueError("must be a duration such as 15m or 2d (numbers with the units y, w, d, h, m, s)")
    parts = [(int(number), UNITS[unit]) for number, unit in re.findall(r"(\d+)([ywdhms])", compact)]
    if any(number > _LONGEST / unit for number, unit in parts):
        raise ValueError("must be a duration below 1000 years")
    return sum((number * unit for number, unit in parts), timedelta())


def format_duration(duration: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads back as the same duration; parts below a second are cut.

    Years are never written, because a reader would ask which year.

    >>> format_duration(timedelta(hours=48)), format_duration(timedelta(minutes=90)), format_duration(timedelta())
    ('2d', '1h30m', '0s')
    """
    rest, text = duration, ""
    for name, unit in UNITS.items():
        if name in "yw":
            continue
        count, rest = divmod(rest, unit)
        text += f"{count}{name}" if count else ""
    return text or "0s"
