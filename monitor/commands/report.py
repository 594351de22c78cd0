"""``monitor report``: Evidently on one window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.check import Stage
from monitor.command import (
    AnswerOption,
    CommandError,
    ConfigOption,
    ExitCode,
    answer,
    configuration,
    console,
    now,
    say,
    span,
)
from monitor.installation import opened
from monitor.reading import wait_of
from monitor.report import ReportError
from monitor.reporting import make_report
from monitor.window import Window


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command("report")(report)


def report(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")],
    start: Annotated[str | None, typer.Option("--start", help="Begin; default the newest closed window.")] = None,
    end: Annotated[str | None, typer.Option("--end", help="End; default the end of the window of --start.")] = None,
    config: ConfigOption = None,
    as_json: AnswerOption = False,
) -> int:
    """Write Evidently's report of a window against training."""
    at = now()
    first, last = span(start, end, "--start", "--end")
    if first is None and last is not None:
        raise CommandError("--end needs --start; give both, or neither for the newest closed window.")
    with opened(configuration(config)) as installation:
        watched = installation.model(model)
        closed = watched.spec.containing(first or at - wait_of(watched, Stage.INPUTS) - watched.spec.pace)
        window = closed if first is None else Window(start=first, end=last or closed.end)
        try:
            with console(error=True).status(f"Writing the report of {watched.spec.label(window)} (about 20 s) …"):
                remarks = make_report(installation, watched, window, output, now=at)
        except ReportError as error:
            raise CommandError(f"No report: {error}", ExitCode.FAILED) from error
    for remark in remarks:
        say(remark)
    say(f"Wrote {output}.")
    written = {"file": output, "model": model, "window_start": window.start, "window_end": window.end}
    answer({**written, "remarks": remarks}, wanted=as_json)
    return ExitCode.OK
