"""The command ``monitor``: one sentence for every error, the same exit codes everywhere."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys
from functools import cache
from typing import Annotated

import typer

import monitor
from monitor.allocator import share_heaps
from monitor.command import CommandError, ExitCode, say

app = typer.Typer(
    name="monitor",
    help="Watch a model in production: say rarely and rightly what changed, what it costs, whether to retrain.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


HELP = "See `monitor --help`."


def _version(wanted: bool) -> None:
    if wanted:
        print(monitor.__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Watch a model in production."""


@cache
def _load_commands() -> None:
    package = importlib.import_module("monitor.commands")
    for module in pkgutil.iter_modules(package.__path__):
        commands = importlib.import_module(f"monitor.commands.{module.name}")
        commands.add_to(app)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    share_heaps()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; every expected error is one sentence on standard error."""
    from monitor.failure import exit_code

    _load_commands()
    # Commands say in a sentence what happened; only the daemon, which sets up its journal, writes a log.
    logging.getLogger("monitor").addHandler(logging.NullHandler())
    try:
        result = app(arguments, prog_name="monitor", standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        message = message.replace("Value error, ", "")  # pydantic's word before the reason
        say(message if "\n" in message else f"{message.rstrip('.?')}{'?' if message.endswith('?') else '.'} {HELP}")
        return ExitCode.USAGE
    except typer.Abort:
        say("Stopped.")
        return ExitCode.FAILED
    except CommandError as error:
        say(str(error))
        return error.code
    except KeyboardInterrupt:
        say("Stopped.")
        return ExitCode.FAILED
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        say(str(error) if not code.text else code.text)
        return code.code
    return int(result) if isinstance(result, int) else ExitCode.OK


if __name__ == "__main__":
    main()
