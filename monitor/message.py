"""Messages: how a notification reads as plain text, as HTML for mail and (blocks.py) for Slack, from one structure.

``compose`` decides order, words and lengths and cleans every text; the renderings only lay it out and escape it for
their medium.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from functools import lru_cache
from math import isfinite
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from monitor.charts import main_line, sparkline
from monitor.check import Severity
from monitor.notification import Fact, Notification, Reason

MOST_FACTS = 10
MOST_FACTS_OF_DIGEST = 40
MOST_FACTS_IN_THREAD = 3
MOST_LINKS = 6
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co"})  # Unicode's categories of what has no shape of its own
LONGEST_ADDRESS = 2000  # of a link, escaped

REASONS = {
    Reason.FIRST: "New",
    Reason.REOPENED: "Back again",
    Reason.ESCALATED: "Got worse",
    Reason.REPEATED: "Still going on",
    Reason.RESOLVED: "Resolved",
    Reason.FLAPPING: "Flapping, muted",
    Reason.UNANSWERED: "Nobody has taken it on",
    Reason.SUPERSEDED: "Judged anew",
    Reason.SILENCE: "Silence ends",
    Reason.CIRCUIT: "Circuit",
    Reason.RECOMMENDATION: "Recommendation",
    Reason.APPROVED: "Approved",
    Reason.DIGEST: "Digest",
    Reason.TEST: "Test",
}
SEVERITIES = {Severity.INFO: "Info", Severity.WARNING: "Warning", Severity.CRITICAL: "Critical"}
QUIET = frozenset(
    {
        Reason.RESOLVED,
        Reason.SUPERSEDED,
        Reason.SILENCE,
        Reason.RECOMMENDATION,
        Reason.APPROVED,
        Reason.DIGEST,
        Reason.TEST,
    }
)
"""Reasons that say more than the severity does: the message begins with them instead."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One fact in words: what it is about, what happened to it, and the figures behind it."""

    subject: str
    text: str
    figures: str


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A series as blocks, with what they are: ``caption`` names range, threshold and last value."""

    title: str
    blocks: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """A notification in clean, bounded texts, in the order in which they are read. ``short`` ones are replies."""

    lead: str
    tone: str
    subject: str
    model: str
    window: str
    reason: str
    title: str
    summary: str
    note: str
    facts: tuple[Line, ...]
    facts_title: str
    more: str
    trend: Trend | None
    cost: str
    next_step: str
    links: tuple[tuple[str, str], ...]
    footer: str
    short: bool


def compose(notification: Notification) -> Message:
    """Return the message of a notification.

    >>> from datetime import datetime
    >>> from uuid import UUID
    >>> told = Notification(id=UUID(int=7), model="flight-delay", reason=Reason.FIRST, severity=Severity.CRITICAL,
    ...     title="Late more often than predicted", summary="", created_at=datetime(2013, 4, 24, tzinfo=UTC),
    ...     window_label="23 April 2013", thread_key="k", group_key="g")
    >>> compose(told).subject
    'Critical · flight-delay · 23 April 2013 · New: Late more often than predicted'
    """
    told = notification
    quiet = told.reason in QUIET
    lead = REASONS[told.reason] if quiet else SEVERITIES[told.severity]
    title, window = plain(told.title, 200), _window(told)
    heading = title if quiet else f"{REASONS[told.reason]}: {title}"
    model = " ".join(
        part
        for part in (
            plain(told.model, 80),
            plain(told.model_version, 40),
            "" if told.role == "champion" else f"({plain(told.role, 20)})",
        )
        if part
    )
    limit = _most_facts(told)
    more = told.more_facts + max(len(told.facts) - limit, 0)
    return Message(
        lead=lead,
        tone=told.reason.value if quiet else told.severity.value,
        subject=plain(" · ".join(part for part in (lead, model, window, heading) if part), 250),
        model=model,
        window=window,
        reason=REASONS[told.reason],
        title=title,
        summary=plain(told.summary, 2000),
        note=plain(told.note, 300),
        facts=tuple(_line(fact) for fact in told.facts[:limit]),
        facts_title="In this period" if told.reason is Reason.DIGEST else "What was seen",
        more=f"and {more:,} more" if more else "",
        trend=None if told.in_thread or told.chart is None else _trend(told.chart),
        cost=plain(told.cost, 300),
        next_step=plain(told.next_step, 600),
        links=tuple(_links(told.links)),
        footer=f"monitor notification {told.id}"
        + (" · may be a repeat: an earlier try may have arrived" if told.possible_duplicate else ""),
        short=told.in_thread,
    )


def _most_facts(told: Notification) -> int:
    if told.reason is Reason.DIGEST:
        return MOST_FACTS_OF_DIGEST
    return MOST_FACTS_IN_THREAD if told.in_thread else MOST_FACTS


def _window(told: Notification) -> str:
    if told.window_label:
        return plain(told.window_label, 80)
    if told.window_start is None or told.window_end is None:
        return ""
    start, end = told.window_start.astimezone(UTC), told.window_end.astimezone(UTC)
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"


def _line(fact: Fact) -> Line:
    figures = [
        f"{plain(fact.statistic, 40) or 'value'} {number(fact.value)}" if fact.value is not None else "",
        f"threshold {number(fact.threshold)}" if fact.threshold is not None else "",
        f"n = {fact.n_current:,}" if fact.n_current is not None else "",
    ]
    # words that are there have their figures in them
    shown = "" if fact.text else ", ".join(filter(None, figures))
    return Line(subject=plain(fact.subject, 80), text=plain(fact.text, 300), figures=shown)


def _trend(chart: Mapping[str, Any]) -> Trend | None:
    try:
        name, line = main_line(chart)
        values = [None if value is None else float(value) for value in line]
        threshold = None if chart.get("threshold") is None else float(chart["threshold"])
    except (TypeError, ValueError, AttributeError):
        return None  # a chart that cannot be read keeps no message from going out; drawing it says why
    known = [value for value in values if value is not None and isfinite(value)]
    if not known:
        return None
    last = values[-1]
    says = [
        f"{number(min(known))} to {number(max(known))}",
        "last one missing" if last is None or not isfinite(last) else f"last {number(last)}",
        f"threshold {number(threshold)}" if threshold is not None else "",
    ]
    title = plain(str(chart.get("title") or name), 100)
    return Trend(title=title, blocks=sparkline(values), caption=", ".join(filter(None, says)))


def _links(links: Mapping[str, str]) -> list[tuple[str, str]]:
    """Links by label; what is no web address is shown as such instead of becoming a link."""
    shown = []
    for label, address in list(links.items())[:MOST_LINKS]:
        clean = quote(plain(address, LONGEST_ADDRESS), safe=":/?#[]@!$&'()*+,;=%~-._")
        fault = "" if urlsplit(clean).scheme in ("http", "https") else " (no web address)"
        if max(len(address), len(clean) + 4 * clean.count("&")) > LONGEST_ADDRESS:  # Slack writes & as &amp;
            fault = " (address too long)"
        shown.append((plain(label, 60) + fault, "" if fault else clean))
    return shown


def number(value: float) -> str:
    """Return a figure as people read it: three significant digits, whole numbers from a thousand on.

    >>> [number(x) for x in (0.04213, 2.9, 51234.0, 1e-9, 0.0, float("nan"))]
    ['0.0421', '2.9', '51,234', '1e-09', '0', 'not a number']
    """
    if not isfinite(value):
        return "not a number" if value != value else ("infinite" if value > 0 else "−infinite")
    if 1000 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def plain(text: str, limit: int) -> str:
    r"""Return a text on one line that shows what is in it and nothing else, cut at ``limit`` characters.

    Line breaks become spaces; marks that would hide or reorder text (control, zero-width, bidirectional) become �.

    >>> plain("temp\u202egnp.exe\n\u200b!", 80)
    'temp�gnp.exe �!'
    >>> plain("x" * 9, 4)
    'xxx…'
    """
    begin = str(text)[: 8 * limit]
    shown = "".join(" " if c.isspace() else "�" if unicodedata.category(c) in HIDDEN else c for c in begin)
    clean = " ".join(shown.split())
    if len(clean) <= limit and len(begin) == len(text):
        return clean
    end = limit - 1
    while end and unicodedata.combining(clean[end : end + 1] or " "):
        end -= 1  # a letter keeps its accents
    return clean[:end].rstrip() + "…"


def text(message: Message) -> str:
    """Return the message as plain text, lines unwrapped."""
    return _templates().get_template("mail.txt").render(m=message).strip() + "\n"


def html(message: Message, *, picture: str = "") -> str:
    """Return the message as an HTML page for mail, light and dark; ``picture`` is the address of the chart (cid:…)."""
    return _templates().get_template("mail.html").render(m=message, picture=picture)


@lru_cache(maxsize=1)
def _templates() -> Environment:
    return Environment(  # every page is escaped; mail.txt is plain text
        loader=PackageLoader("monitor", "templates"),
        autoescape=lambda name: name is not None and name.endswith(".html"),  # noqa: S701  # mail.txt is plain text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
