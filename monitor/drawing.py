"""Pictures of the pages, as SVG without a style or script of its own: the page's style sheet colours their classes.

Numbers come in, text comes out. A picture has a title for those who cannot see it, and a table stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

Values = Sequence[float | None]

WIDTH, HEIGHT = 960, 220
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 10, 24
NAMES = 220  # for the names of rows
MOST_NAME = 30


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One square of a heat map: the class that colours it, and a text where a reader wants one."""

    tone: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series along the windows; ``tone`` is a class of the style sheet, ``low`` and ``high`` its interval."""

    name: str
    values: Values
    tone: str = "first"
    low: Values = ()
    high: Values = ()


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment on the axis, by the place of its window."""

    place: int
    text: str
    tone: str = "alert"


def heat_map(
    title: str, rows: Sequence[tuple[str, str, Sequence[Cell | None]]], columns: Sequence[str], marks: Sequence[Mark]
) -> str:
    """Return rows of squares, each row with its name, address and cells; None is a window without an answer.

    >>> heat_map("shifts", [("temp", "/temp", [Cell(tone="ok"), None])], ["Monday", "Tuesday"], []).count("<rect")
    2
    """
    size = max((len(cells) for _, _, cells in rows), default=0)
    step = max(4.0, min(18.0, (WIDTH - NAMES) / max(size, 1)))
    height = 16
    drawn = [f'<text class="label" x="{NAMES}" y="12">{escape(columns[0])}</text>'] if columns else []
    if len(columns) > 1:
        end = NAMES + step * size
        drawn.append(f'<text class="label" x="{end:.0f}" y="12" text-anchor="end">{escape(columns[-1])}</text>')
    for number, (name, address, cells) in enumerate(rows):
        y = 18 + number * height
        shown = name if len(name) <= MOST_NAME else name[: MOST_NAME - 1] + "…"
        drawn.append(
            f'<a href="{escape(address)}"><text x="{NAMES - 8}" y="{y + 12}" text-anchor="end">{escape(shown)}'
        )
        drawn.append(f"<title>{escape(name)}</title></text></a>")
        for place, cell in enumerate(cells):
            tone = "gap" if cell is None else cell.tone
            head = f'<rect class="{tone}" x="{NAMES + place * step:.1f}" y="{y}" width="{step - 1:.1f}" height="14"'
            told = "" if cell is None or not cell.text else f"<title>{escape(cell.text)}</title>"
            drawn.append(f"{head}>{told}</rect>" if told else f"{head}/>")
    tall = 18 + len(rows) * height + 6
    drawn += [_mark(NAMES + (mark.place + 0.5) * step, 14, tall - 4, mark) for mark in marks]
    return _svg(title, "".join(drawn), max(WIDTH, NAMES + step * size), tall)


def line_chart(
    title: str, lines: Sequence[Line], columns: Sequence[str], *, marks: Sequence[Mark] = (), band: float | None = None
) -> str:
    """Return series along the windows; ``band`` shades what lies within that much of zero. Empty without a number.

    >>> "polyline" in line_chart("auc", [Line(name="auc", values=[0.7, None, 0.8, 0.9])], ["a", "b", "c", "d"])
    True
    >>> line_chart("auc", [Line(name="auc", values=[None])], ["a"])
    ''
    """
    series = [one for line in lines for one in (line.values, line.low, line.high)]
    known = [value for one in series for value in one if value is not None and math.isfinite(value)]
    if not known:
        return ""
    bottom, top = min(known), max(known)
    if band is not None and math.isfinite(band):
        bottom, top = min(bottom, -band), max(top, band)
    if top - bottom <= 0:
        bottom, top = bottom - (abs(bottom) or 1) / 10, top + (abs(top) or 1) / 10
    size = max(len(line.values) for line in lines)

    def across(place: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (place / max(size - 1, 1))

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ((value - bottom) / (top - bottom))

    drawn = []
    if band is not None and math.isfinite(band):
        y = up(band)
        drawn.append(f'<rect class="unseen" x="{LEFT}" y="{y:.1f}" width="{WIDTH - LEFT - RIGHT}"')
        drawn.append(f' height="{up(-band) - y:.1f}"><title>smaller than what a window could show</title></rect>')
    for value in (bottom, (bottom + top) / 2, top):
        y = up(value)
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text class="label" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for line in lines:
        for start, piece in _pieces(line.low, line.high):
            there = " ".join(f"{across(start + i):.1f},{up(low):.1f}" for i, (low, _) in enumerate(piece))
            back = " ".join(f"{across(start + i):.1f},{up(high):.1f}" for i, (_, high) in reversed([*enumerate(piece)]))
            drawn.append(f'<polygon class="interval {line.tone}" points="{there} {back}"/>')
        for start, values in _pieces(line.values, line.values):
            points = " ".join(f"{across(start + i):.1f},{up(value):.1f}" for i, (value, _) in enumerate(values))
            drawn.append(
                f'<polyline class="{line.tone}" points="{points}"><title>{escape(line.name)}</title></polyline>'
            )
            if len(values) == 1:
                drawn.append(
                    f'<circle class="{line.tone}" cx="{across(start):.1f}" cy="{up(values[0][0]):.1f}" r="2.5"/>'
                )
    drawn += [_mark(across(mark.place), TOP, HEIGHT - BOTTOM, mark) for mark in marks]
    if columns:
        drawn.append(f'<text class="label" x="{LEFT}" y="{HEIGHT - 6}">{escape(columns[0])}</text>')
        drawn.append(
            f'<text class="label" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(columns[-1])}</text>'
        )
    return _svg(title, "".join(drawn), WIDTH, HEIGHT)


def distribution(title: str, reference: Mapping[float, float], current: Mapping[float, float]) -> str:
    """Return two cumulative distributions over each other, each given as value by level; empty without both.

    >>> distribution("temp", {0.1: 1.0, 0.9: 3.0}, {0.1: 2.0, 0.9: 4.0}).count("<polyline")
    2
    >>> distribution("temp", {}, {0.5: 1.0})
    ''
    """
    known = [value for one in (reference, current) for value in one.values() if math.isfinite(value)]
    if not reference or not current or not known:
        return ""
    low, high = min(known), max(known)
    span = (high - low) or 1.0

    def points(one: Mapping[float, float]) -> str:
        shown = [(value, level) for level, value in sorted(one.items()) if math.isfinite(value)]
        return " ".join(
            f"{LEFT + (WIDTH - LEFT - RIGHT) * ((value - low) / span):.1f},"
            f"{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * level:.1f}"
            for value, level in shown
        )

    drawn = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="label" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{level:.0%}</text>'
        for level in (0.0, 0.5, 1.0)
        for y in [HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * level]
    ]
    for place, anchor, value in ((LEFT, "start", low), (WIDTH - RIGHT, "end", high)):
        drawn.append(f'<text class="label" x="{place}" y="{HEIGHT - 6}" text-anchor="{anchor}">{value:.4g}</text>')
    for tone, one, name in (("training", reference, "training"), ("first", current, "window")):
        drawn.append(f'<polyline class="{tone}" points="{points(one)}"><title>{name}</title></polyline>')
    return _svg(title, "".join(drawn), WIDTH, HEIGHT)


def _pieces(low: Values, high: Values) -> list[tuple[int, list[tuple[float, float]]]]:
    """Runs of places at which both are known, each with the place of its first."""
    found: list[tuple[int, list[tuple[float, float]]]] = []
    end = -1
    for place, (one, other) in enumerate(zip(low, high, strict=False)):
        if one is None or other is None or not (math.isfinite(one) and math.isfinite(other)):
            continue
        if place != end:
            found.append((place, []))
        found[-1][1].append((one, other))
        end = place + 1
    return found


def _mark(x: float, top: float, bottom: float, mark: Mark) -> str:
    line = f'<line class="mark {mark.tone}" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}">'
    return f"{line}<title>{escape(mark.text)}</title></line>"


def _svg(title: str, body: str, width: float, height: float) -> str:
    head = f'<svg class="chart" role="group" aria-label="{escape(title)}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return f"{head}>{body}</svg>"
