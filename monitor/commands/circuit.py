"""``monitor circuit`` and ``monitor canary``: who answers, changed by a person, with a reason that stays."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer

from monitor import switchboard
from monitor.circuit import Circuit, CircuitState
from monitor.command import (
    AnswerOption,
    CommandError,
    ConfigOption,
    ExitCode,
    Format,
    JsonOption,
    answer,
    configuration,
    now,
    say,
    show,
)
from monitor.duration import parse_duration
from monitor.installation import Monitored, opened
from monitor.intervention import change_circuit, fallback_cost

circuit = typer.Typer(help="The circuit of a model: take it out of service, try it, let it answer again.")

ModelArgument = Annotated[str, typer.Argument(help="Name of the model.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why; it stays in the history.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who; default the current user.")]
COLUMNS = ("model", "state", "at", "share", "probe_share", "fallback", "until", "actor", "reason")
Change = Callable[[Circuit, Mapping[str, Any], str], Circuit]


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.add_typer(circuit, name="circuit")
    app.command("canary")(canary)


@circuit.command()
def status(
    model: Annotated[str | None, typer.Argument(help="Name of the model; all where none is given.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show who answers; 0 where every model does, 1 where a circuit is open or half open."""
    with opened(configuration(config)) as installation, installation.engine.begin() as conn:
        names = [installation.model(model).name] if model is not None else list(installation.models)
        circuits = [switchboard.load_circuit(conn, name) for name in names]
        costs = [None if (known := installation.model(name).costs) is None else known.fallback for name in names]
    rows = [
        {name: getattr(each, name) for name in COLUMNS} | {"fallback_cost": cost}
        for each, cost in zip(circuits, costs, strict=True)
    ]
    show(rows, form=Format.JSON if as_json else Format.TABLE, empty="no model is configured")
    closed = all(each.state is CircuitState.CLOSED for each in circuits)
    return ExitCode.OK if closed else ExitCode.WARNING


@circuit.command("open")
def open_(
    model: ModelArgument,
    reason: ReasonOption,
    for_: Annotated[
        str | None, typer.Option("--for", help="After this time, such as 2h, a few requests try the model again.")
    ] = None,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: AnswerOption = False,
) -> None:
    """Take a model out of service: within a second the fallback answers everywhere."""
    at = now()
    until = None if for_ is None else at + _duration(for_)

    def change(held: Circuit, fallback: Mapping[str, Any], actor: str) -> Circuit:
        return held.opened(reason=reason, actor=actor, now=at, until=until, fallback=fallback)

    _told(_change(model, change, by=by, config=config), as_json)


@circuit.command()
def probe(
    model: ModelArgument,
    share: Annotated[float, typer.Option("--share", "-s", help="Share of requests that the model answers.")],
    reason: ReasonOption,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: AnswerOption = False,
) -> None:
    """Let a model that is out of service answer a share of the requests."""
    changed = _change(
        model, lambda held, _, actor: held.probed(share, reason=reason, actor=actor), by=by, config=config
    )
    _told(changed, as_json)


@circuit.command()
def close(
    model: ModelArgument,
    reason: ReasonOption,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: AnswerOption = False,
) -> None:
    """Let a model answer again."""
    changed = _change(model, lambda held, _, actor: held.closed(reason=reason, actor=actor), by=by, config=config)
    _told(changed, as_json)


def canary(
    model: ModelArgument,
    share: Annotated[float, typer.Option("--share", "-s", help="Share of requests that the canary answers, 0 to 1.")],
    reason: Annotated[str | None, typer.Option("--reason", "-r", help="Why; it stays in the history.")] = None,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: AnswerOption = False,
) -> None:
    """Set the share of requests that the canary answers."""
    changed = _change(
        model, lambda held, _, actor: held.shared(share, reason=reason, actor=actor), by=by, config=config, quiet=True
    )
    say(f"The canary of {changed.model} answers {changed.share or 0:.3g} of the requests.")
    _told(changed, as_json)


def _told(changed: Circuit, as_json: bool) -> None:
    answer({name: getattr(changed, name) for name in COLUMNS}, wanted=as_json)


def _change(model: str, change: Change, *, by: str | None, config: Any, quiet: bool = False) -> Circuit:
    """Change a circuit; a quiet change is of the canary's share alone, of which nobody need hear."""
    actor = by or getpass.getuser()
    with opened(configuration(config)) as installation:
        watched = installation.model(model)
        with installation.engine.begin() as conn:
            try:
                changed = change(switchboard.hold_circuit(conn, model), _fallback(watched), actor)
            except ValueError as error:
                raise CommandError(str(error)) from error
            if quiet:
                switchboard.save_circuit(conn, changed)
            else:
                change_circuit(conn, installation, watched, changed, now=now())
    if not quiet:
        cost = "" if changed.state is CircuitState.CLOSED else fallback_cost(watched)
        say(f"{changed.sentence} {cost and f'It costs {cost}.'}".rstrip())
    return changed


def _fallback(watched: Monitored) -> Mapping[str, Any]:
    section = watched.section.circuit
    return {} if section is None else section.fallback


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CommandError(f"--for {text!r} {error}.") from error
