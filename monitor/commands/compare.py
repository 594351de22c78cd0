"""``monitor compare``: whether a shadow or canary is as good as the champion, and how sure that is."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from enum import StrEnum
from typing import Annotated, Any

import typer

from monitor.candidate import Compared, Loss, ReleaseVerdict
from monitor.command import (
    CommandError,
    ConfigOption,
    ExitCode,
    JsonOption,
    configuration,
    console,
    now,
    plain,
    say,
    span,
)
from monitor.command import show as show_rows
from monitor.installation import opened
from monitor.pairing import compare as paired
from monitor.pairing import read_logs
from monitor.release import limits_of, recommend, stepped
from monitor.sources.answers import versions_of

CODES = {
    ReleaseVerdict.PROMOTE: ExitCode.OK,
    ReleaseVerdict.ROLL_BACK: ExitCode.WARNING,
    ReleaseVerdict.HOLD: ExitCode.UNCLEAR,
}


class Role(StrEnum):
    """How the candidate runs."""

    SHADOW = "shadow"
    CANARY = "canary"


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command("compare")(compare)


def compare(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    role: Annotated[Role, typer.Option("--role", help="The candidate's role.")] = Role.SHADOW,
    version: Annotated[str | None, typer.Option("--candidate", help="Its version; default the newest.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Requests from this date or time on.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Requests before this date or time.")] = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", help="Share of the champion's loss that the candidate may be worse; default 0.05."),
    ] = None,
    loss: Annotated[Loss | None, typer.Option("--loss", help="Judge by this loss alone.")] = None,
    advise: Annotated[bool, typer.Option("--recommend", help="Keep the verdict as a recommendation.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compare a shadow or canary with the champion: 0 promote, 1 roll back, 2 hold."""
    first, last = span(since, until, "--since", "--until")
    if margin is not None and not 0 < margin < 1:
        raise CommandError(f"--margin {margin:g} is no share of a loss; give one above 0 and below 1, such as 0.05.")
    with opened(configuration(config)) as installation:
        watched = installation.model(model)
        at = now()
        dsn = installation.source_dsn(watched.section)
        logs = read_logs(dsn, watched, role=role.value, version=version, since=first, until=last, now=at)
        if not logs.candidate:
            whose = f"version {version} as {role.value}" if version else f"the role {role.value}"
            raise CommandError(f"No answer of {whose} is in the logs of {model}; log one first.", ExitCode.UNCLEAR)
        version = version or versions_of(logs.candidate)[0]
        own = {key: answer for key, answer in logs.candidate.items() if answer.version == version}
        try:
            found = paired(
                replace(logs, candidate=own),
                watched,
                role=role.value,
                version=version,
                limits=replace(limits_of(watched), **({} if margin is None else {"margin": margin})),
                losses=None if loss is None else [loss],
            )
        except ValueError as error:
            raise CommandError(f"{error}.") from error
        if advise:
            with installation.engine.begin() as conn:
                recommend(conn, installation, watched, stepped(conn, watched, found), now=at)
    _print(model, found, as_json=as_json)
    return CODES[found.verdict]


def _print(model: str, found: Compared, *, as_json: bool) -> None:
    like, still = found.likeness, found.still
    if as_json:
        document = {**asdict(found), "model": model, "verdict": found.verdict.value, "still": still}
        print(json.dumps(_finite(document), default=plain, indent=2, ensure_ascii=False))
        return
    console().print(f"{model}: {found.verdict.value} the {found.role} {found.version}".rstrip(), markup=False)
    said = [(one.verdict, one.why) for one in found.judged] + [(one.verdict, one.why) for one in found.guards]
    for verdict, why in said:
        console().print(f"  {verdict.value}: {why}", markup=False)
    if still:
        console().print(f"  {still}", markup=False)
    if like is not None:
        console().print(f"  {like.rows:,} requests answered by both: {like.text}", markup=False)
        rows = [
            {"champion's score": f"{low:.3f} to {high:.3f}", "mean distance": round(apart, 4), "requests": count}
            for low, high, apart, count in like.bands[:3]
        ]
        show_rows(rows, title="where they differ most")
    elif found.role == Role.CANARY:
        say("A canary answers other requests than the champion, so answers are compared with labels alone.")


def _finite(value: Any) -> Any:
    """Return JSON values: what is not finite is null."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
