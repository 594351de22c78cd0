"""``monitor db`` and ``monitor query``."""

from __future__ import annotations

from typing import Annotated

import sqlalchemy as sa
import typer

from monitor import schema
from monitor.command import (
    AnswerOption,
    CommandError,
    ConfigOption,
    ExitCode,
    Format,
    JsonOption,
    answer,
    configuration,
    say,
    show,
)
from monitor.installation import opened

database = typer.Typer(help="The monitor's own database.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.add_typer(database, name="db")
    app.command("query")(query)


@database.command()
def upgrade(config: ConfigOption = None, as_json: AnswerOption = False) -> None:
    """Bring the schema to this version, with store.migrator_url where it is given."""
    settings = configuration(config)
    with opened(settings, upgrade=False) as installation:
        url = installation.url
        if settings.store.migrator_url is not None:
            url = settings.store.migrator_url.get_secret_value()
        before = schema.current(url)
        schema.upgrade(url)
        after = schema.current(url)
    say(f"The schema was at {before or 'nothing'} and is at {after}.")
    answer({"before": before, "after": after}, wanted=as_json)


@database.command()
def current(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Print the schema's revision; 1 where it is not the newest."""
    with opened(configuration(config), upgrade=False) as installation:
        revision = schema.current(installation.url)
    if not as_json:
        print(revision or "none")
    answer({"revision": revision, "newest": schema.head()}, wanted=as_json)
    if revision != schema.head():
        say(f"This version knows {schema.head()}; run `monitor db upgrade`.")
        return ExitCode.WARNING
    return ExitCode.OK


@database.command()
def url(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print the address of the store, its password hidden."""
    with opened(configuration(config), upgrade=False) as installation:
        shown = sa.make_url(installation.url).render_as_string(hide_password=True)
    if not as_json:
        print(shown)
    answer({"url": shown}, wanted=as_json)


def query(
    statement: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT; the views are in schema monitor.")],
    form: Annotated[Format, typer.Option("--format", "-f", help="table, csv or json.")] = Format.TABLE,
    config: ConfigOption = None,
) -> None:
    """Run read-only SQL on the history, also with the embedded database."""
    from monitor.history import QueryError, select_readonly

    with opened(configuration(config)) as installation, installation.engine.connect() as conn:
        try:
            answer = select_readonly(conn, statement)
        except QueryError as error:
            raise CommandError(str(error)) from error
    show(answer.records(), form=form, empty="no rows")
