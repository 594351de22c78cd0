"""``monitor config`` and ``monitor init``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from monitor.command import (
    AnswerOption,
    CommandError,
    ConfigOption,
    ExitCode,
    answer,
    config_path,
    configuration,
    console,
    say,
)
from monitor.config import inactive_parts, json_schema, remarks
from monitor.terminal import visible

settings = typer.Typer(help="The configuration.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.add_typer(settings, name="config")
    app.command("init")(init)


@settings.command()
def check(config: ConfigOption = None, as_json: AnswerOption = False) -> None:
    """Validate the configuration and say what is understood but not active."""
    loaded = configuration(config)
    said = [*remarks(loaded), *inactive_parts(loaded)]
    for remark in said:
        say(remark)
    models = len(loaded.models)
    say(f"{loaded.path} is valid: {models} model{'s' * (models != 1)}, {len(loaded.channels)} channels.")
    answer({"file": loaded.path, "models": models, "channels": len(loaded.channels), "remarks": said}, wanted=as_json)


@settings.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for editors."""
    print(json.dumps(json_schema(), indent=2))


def init(
    url: Annotated[str, typer.Argument(help="Address of the database with the logs.")],
    table: Annotated[str, typer.Option("--table", "-t", help="Table or view with inputs and predictions.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write; default as --config.")] = None,
    config: ConfigOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: AnswerOption = False,
) -> int:
    """Look at a table and write a configuration with every column typed; says what was guessed."""
    from monitor.initial import propose

    if not url.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        raise CommandError(
            f"{url!r} is no address of a database; give one such as postgresql://user@host:5432/database."
        )
    target = output or config_path(config)
    if target.exists() and not force:
        raise CommandError(f"{target} exists; name another file with --output or replace it with --force.")
    with console(error=True).status(f"Looking at {visible(table)} …"):
        proposal = propose(url, table)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(proposal.text, encoding="utf-8")
    for remark in (*proposal.guesses, *proposal.open_questions):
        say(remark)
    say(f"Wrote {target}. Next: `monitor config check`, then `monitor profile {proposal.model} --from FILE`.")
    asked = {"guesses": proposal.guesses, "open_questions": proposal.open_questions}
    answer({"file": target, "model": proposal.model, **asked}, wanted=as_json)
    return ExitCode.OK
