"""``monitor demo``: watch a real model go stale on the flights of 2013."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from monitor.command import CommandError, ExitCode, console
from monitor.heavy import refuse_heavy


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command("demo")(demo)


def demo(
    data_dir: Annotated[Path, typer.Option("--data-dir", help="Folder for everything that the demo writes.")] = Path(
        ".demo"
    ),
    until: Annotated[str, typer.Option("--until", help="First day of 2013 that is not replayed.")] = "2014-01-01",
    serve: Annotated[bool, typer.Option(help="Go on with page and daemon until Ctrl-C.")] = True,
    figures: Annotated[bool, typer.Option("--figures", help="Only print what is in the data.")] = False,
) -> int:
    """Replay ten months of flights as production: what the monitor finds, says and advises."""
    try:
        last = date.fromisoformat(until)
    except ValueError as error:
        raise CommandError(f"--until {until!r} is no date; give one such as 2013-05-01.") from error
    refuse_heavy()
    try:
        from monitor.demo import flights, replay
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("monitor"):
            raise
        raise CommandError(
            f"The demo needs {error.name}; run pip install 'drift-monitor[demo]'.", ExitCode.FAILED
        ) from error
    try:
        if figures:
            prepared = flights.load(data_dir / "flights")
            command = [sys.executable, "-m", "monitor.demo.figures", str(prepared.directory)]
            return subprocess.run(command, check=False).returncode
        replay.replay(data_dir, until=last, serve=serve, console=console())
    except replay.DemoError as error:
        raise CommandError(str(error), ExitCode.FAILED) from error
    return ExitCode.OK
