"""The runbook (docs/runbook.md): which of its sections says what to do about an alert, and its text as a page."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
PLACES = (HERE / "runbook.md", HERE.parent / "docs" / "runbook.md")  # in a wheel, in a checkout
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
OTHERS = "messages-that-are-no-alert-of-a-model"
ADVICE = "what-is-advised"


@cache
def text() -> str:
    """Return the runbook in Markdown."""
    return next(place for place in PLACES if place.exists()).read_text(encoding="utf-8")


def anchors(written: str) -> list[tuple[str, str]]:
    r"""Return the headings of a page in their order, each with its anchor, the same as on GitHub.

    >>> anchors("# `quality:…`\n\n# `parity`\n\n# `parity:…`")
    [('`quality:…`', 'quality'), ('`parity`', 'parity'), ('`parity:…`', 'parity-1')]
    """
    seen: dict[str, int] = {}
    found = []
    for heading in HEADING.findall(written):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        number = seen[name] = seen.get(name, -1) + 1
        found.append((heading, f"{name}-{number}" if number else name))
    return found


@cache
def _sections() -> dict[str, str]:
    return {heading.strip("`"): anchor for heading, anchor in anchors(text())}


def section_of(family: str) -> str:
    """Return the anchor of the section about a family of alerts; "" where there is none, as for a check of one's own.

    >>> section_of("quality:log"), section_of("quality:weather"), section_of("parity"), section_of("parity:2014-01")
    ('qualitylog', 'quality', 'parity', 'parity-1')
    >>> section_of("mine")
    ''
    """
    sections = _sections()
    return sections.get(family) or sections.get(f"{family.partition(':')[0]}:…", "")
