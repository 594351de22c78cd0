"""Small charts of a notification's series: a picture for mail and page, a line of blocks for text.

A chart is JSON: ``{"title": text, "x": [labels], "lines": {name: [values]}, "bands": {name: [[lows], [highs]]},
"threshold": number}``; lists are as long as ``x``, None is a gap, all but ``lines`` may be absent. The last point
is the window that the message is about. The picture is drawn by ``python -m monitor.charts``, because matplotlib must
not be loaded into the daemon; the line of blocks is computed in place.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Values = Sequence[float | None]
Format = Literal["png", "svg"]

BLOCKS = "▁▂▃▄▅▆▇█"
GAP = "·"
PALETTE = ("#2f6fb7", "#d9822b", "#3a9a6b", "#9461b5", "#b5475b", "#6f7b86")
INK = "#7b828c"  # readable on white and on near black: the picture has no background of its own
RED = "#cf3a3a"
MOST_LINES = 6
MOST_POINTS = 2000


class ChartError(Exception):
    """The picture could not be drawn; the message goes out without it."""


def sparkline(values: Values, *, width: int = 40, low: float | None = None, high: float | None = None) -> str:
    """Return the last ``width`` values as blocks of eight heights between ``low`` and ``high`` (default: their range).

    Gaps are dots; a flat series is a low line. Not good for more than one series: nobody can compare heights of text.

    >>> sparkline([1, 2, None, 4, 8])
    '▁▂·▄█'
    >>> sparkline([3.0, 3.0])
    '▁▁'
    """
    shown = [value if value is not None and math.isfinite(value) else None for value in values][-width:]
    known = [value for value in shown if value is not None]
    if not known:
        return GAP * len(shown)
    bottom, top = min(known) if low is None else low, max(known) if high is None else high
    # halved, because the range of two huge numbers of different sign overflows
    span = top / 2 - bottom / 2
    return "".join(GAP if value is None else BLOCKS[_height(value / 2 - bottom / 2, span)] for value in shown)


def _height(above: float, span: float) -> int:
    if span <= 0:
        return 0
    return min(max(int(above / span * len(BLOCKS)), 0), len(BLOCKS) - 1)


def main_line(chart: Mapping[str, Any]) -> tuple[str, Values]:
    """Return name and values of the line named by ``main``, else of the first: what a sparkline shows."""
    lines = chart.get("lines") or {}
    name = chart.get("main", next(iter(lines), ""))
    return str(name), lines.get(name, ())


async def picture(chart: Mapping[str, Any], format: Format = "png", *, seconds: float = 30.0) -> bytes:  # noqa: A002  # matplotlib's word
    """Return the chart as PNG (for mail, about 1200 pixels wide) or SVG (for the page), drawn by a process of its own.

    Raises ChartError where that fails or takes longer than ``seconds``.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "monitor.charts",
        format,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            drawn, errors = await process.communicate(json.dumps(chart).encode())
    except TimeoutError:
        raise ChartError(f"drawing took longer than {seconds:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise ChartError(f"drawing ended with code {process.returncode}: {last[0][:200]}")
    return drawn


def draw(chart: Mapping[str, Any], format: Format = "png") -> bytes:  # noqa: A002  # matplotlib's word
    """Return the chart as a picture, drawn here; loads matplotlib, so never call it in the daemon's process."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = {str(name): _floats(values) for name, values in list((chart.get("lines") or {}).items())[:MOST_LINES]}
    size = max((len(values) for values in lines.values()), default=0)
    if not size:
        raise ChartError("the chart has no line")
    x = [str(label) for label in chart.get("x") or range(1, size + 1)][-MOST_POINTS:]
    figure = Figure(figsize=(6.0, 2.2), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (name, values), color in zip(lines.items(), PALETTE, strict=False):
        places = range(len(x) - len(values), len(x))
        axes.plot(places, values, color=color, linewidth=1.6, label=_literal(name))
        axes.plot([places[-1]], [values[-1]], "o", color=color, markersize=5)
    for number, (name, (lows, highs)) in enumerate((chart.get("bands") or {}).items()):
        color = PALETTE[list(lines).index(name)] if name in lines else INK
        places = range(len(x) - len(lows), len(x))
        label = None if name in lines or number else _literal(str(name))
        axes.fill_between(places, _floats(lows), _floats(highs), color=color, alpha=0.18, linewidth=0, label=label)
    threshold = chart.get("threshold")
    if threshold is not None and math.isfinite(threshold):
        axes.axhline(threshold, color=RED, linewidth=1.1, linestyle=(0, (4, 3)), label="threshold")
    if title := str(chart.get("title") or ""):
        axes.set_title(_literal(title), fontsize=9, color=INK, loc="left")
    ticks = sorted({0, len(x) // 2, len(x) - 1})
    axes.set_xticks(ticks, [_literal(x[tick][:24]) for tick in ticks])
    axes.tick_params(colors=INK, labelsize=8, length=2)
    if len(ticks) == 3:
        first, _, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
    for edge, spine in axes.spines.items():
        spine.set_visible(edge in ("left", "bottom"))
        spine.set_color(INK)
    axes.grid(axis="y", color=INK, alpha=0.2, linewidth=0.6)
    if len(lines) > 1 or threshold is not None:
        axes.legend(fontsize=8, labelcolor=INK, frameon=False, ncols=4, loc="upper left", bbox_to_anchor=(0, -0.14))
    drawn = io.BytesIO()
    figure.savefig(drawn, format=format, transparent=True)
    return drawn.getvalue()


def _floats(values: Values) -> list[float]:
    """Values to plot; axes cannot show infinities, nor the range of the largest numbers that there are."""
    kept = [math.nan if value is None else float(value) for value in values[-MOST_POINTS:]]
    return [max(min(value, 1e100), -1e100) if math.isfinite(value) else math.nan for value in kept]


def _literal(text: str) -> str:
    """A text in which matplotlib sees no formula, and a label that its legend does not hide."""
    escaped = "".join(c if c.isprintable() else " " for c in text)[:80].replace("\\", "＼").replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def main() -> None:
    """Draw the chart on the standard input to the standard output."""
    import warnings

    warnings.simplefilter("ignore")  # a letter that the font lacks is a box, not a failure
    chart = json.load(sys.stdin)
    try:
        drawn = draw(chart, "svg" if sys.argv[1:] == ["svg"] else "png")
    except ChartError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(drawn)


if __name__ == "__main__":
    main()
