"""What every command shares: the configuration option, exit codes, tables for people and for programs."""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from monitor.config import Config
from monitor.installation import load_config
from monitor.terminal import no_formula, visible


class ExitCode(IntEnum):
    """Exit codes, the same in every command."""

    OK = 0
    WARNING = 1
    UNCLEAR = 2
    USAGE = 3
    FAILED = 4


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class CommandError(Exception):
    """A command cannot do what it was asked; one sentence and an exit code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.code = code


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="The configuration; default $MONITOR_CONFIG, then ./monitor.yaml.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
AnswerOption = Annotated[bool, typer.Option("--json", help="Print what was done as JSON, too.")]


def config_path(given: Path | None) -> Path:
    """Return the configuration's path: as given, else ``$MONITOR_CONFIG``, else ``./monitor.yaml``."""
    return given or Path(os.environ.get("MONITOR_CONFIG", "monitor.yaml"))


def configuration(given: Path | None) -> Config:
    """Return the validated configuration of a command."""
    return load_config(config_path(given), os.environ)


def moment(text: str | None, option: str) -> datetime | None:
    """Return an aware time from a date or ISO time (UTC where no zone is given); raises CommandError."""
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(
            f"{option} {text!r} is no time; give a date or an ISO 8601 time such as 2013-03-01T00:00:00-05:00."
        ) from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def span(since: str | None, until: str | None, *options: str) -> tuple[datetime | None, datetime | None]:
    """Return a span of time from two options, whose names are given; raises CommandError where it is none."""
    first, last = moment(since, options[0]), moment(until, options[1])
    if first is not None and last is not None and last <= first:
        raise CommandError(f"{options[1]} {until} is not after {options[0]} {since}; give a later one.")
    return first, last


def console(*, error: bool = False) -> Console:
    """Return a console; wide where the output goes to a file, so that tables are not cut."""
    terminal = sys.stderr if error else sys.stdout
    return Console(file=terminal, width=None if terminal.isatty() else 200, highlight=False, soft_wrap=False)


def say(text: str) -> None:
    """Print a line to standard error: what a person should know beside the result."""
    console(error=True).print(visible(text), markup=False, soft_wrap=True)  # one sentence is one line, also in a log


def show(
    rows: Sequence[Mapping[str, Any]], *, title: str = "", form: Format = Format.TABLE, empty: str = "nothing"
) -> None:
    """Print rows as a table, CSV or JSON; all rows have the keys of the first."""
    if form is Format.JSON:
        # a program gets every character as it is, a terminal none that it would obey
        escaped = sys.stdout.isatty()
        print(json.dumps([dict(row) for row in rows], default=plain, indent=2, ensure_ascii=escaped))
        return
    if not rows:
        if form is Format.TABLE:
            say(f"{title}: {empty}." if title else f"{empty}.")
        return
    names = list(rows[0])
    if form is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_csv(row[name]) for name in names] for row in rows)
        return
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in names:
        numeric = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        table.add_column(visible(name.replace("_", " ")), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(visible(_cell(row[name])) for name in names))
    console().print(table, markup=False)


def answer(document: Mapping[str, Any], *, wanted: bool) -> None:
    """Print what a command did as one JSON object to standard output, if that is wanted; people read what it says."""
    if wanted:
        print(json.dumps(dict(document), default=plain, indent=2, ensure_ascii=sys.stdout.isatty()))


def progress(unit: str) -> Progress:
    """Return a bar on standard error with the rate in units and the time left; nothing where that is no terminal."""
    terminal = console(error=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        Rate(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=terminal,
        transient=True,
        disable=not terminal.is_terminal,
    )


class Rate(ProgressColumn):
    """How fast a task goes on, in units of its own."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Return the rate, such as ``3.2 runs/s``; a share of the whole is in percent."""
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        return Text(f"{100 * speed:.3g} %/s" if self.unit == "%" else f"{speed:.3g} {self.unit}/s")


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case datetime():
            return value.isoformat(timespec="minutes")
        case dict() | list():
            return json.dumps(value, default=plain, ensure_ascii=False)
        case _:
            return str(value)


def _csv(value: Any) -> str:
    text = _cell(value)
    if isinstance(value, int | float | Decimal):
        return text
    return no_formula(visible(text) if sys.stdout.isatty() else text)


def plain(value: Any) -> Any:
    """Return what JSON can say for a value that it does not know: times as ISO texts, spans in seconds."""
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def await_signal(handled: threading.Event) -> None:
    """Return when the handler of a signal has set an event; for the main thread.

    A signal that comes just before a wait begins is handled only when that wait ends, so no wait lasts long.
    """
    while not handled.wait(1.0):
        pass


def now() -> datetime:
    """Return the time; commands hand it on, nothing below asks for it."""
    return datetime.now(UTC)
