"""``monitor compare``: whether a shadow or canary is as good as the champion, and how sure that is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import psycopg
import typer

from monitor import candidate as candidates
from monitor.candidate import Answers, Judged, Likeness, Loss, ReleaseVerdict
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
from monitor.installation import Monitored, opened
from monitor.outcome import Task
from monitor.release import Candidate, recommend
from monitor.source import SourceError
from monitor.sources.answers import LoggedAnswer, read_answers, read_outcomes, versions_of
from monitor.sources.logged import CHAMPION
from monitor.sources.session import connect

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
        float, typer.Option("--margin", help="Share of the champion's loss that the candidate may be worse.")
    ] = candidates.MARGIN,
    loss: Annotated[Loss | None, typer.Option("--loss", help="Judge by this loss alone.")] = None,
    advise: Annotated[bool, typer.Option("--recommend", help="Keep the verdict as a recommendation.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compare a shadow or canary with the champion: 0 promote, 1 roll back, 2 hold."""
    first, last = span(since, until, "--since", "--until")
    if not 0 < margin < 1:
        raise CommandError(f"--margin {margin:g} is no share of a loss; give one above 0 and below 1, such as 0.05.")
    with opened(configuration(config)) as installation:
        watched = installation.model(model)
        if watched.section.source.prediction.task is Task.MULTICLASS:
            raise CommandError(f"{model} has many classes; only models with a score or a number can be compared.")
        wanted = [loss] if loss is not None else losses_of(watched)
        both, truth = _read(installation.source_dsn(watched.section), watched, role, version, first, last)
        champion, other = both
        if not other:
            whose = f"version {version} as {role.value}" if version else f"the role {role.value}"
            raise CommandError(f"No answer of {whose} is in the logs of {model}; log one first.", ExitCode.UNCLEAR)
        version = version or versions_of(other)[0]
        other = {key: answer for key, answer in other.items() if answer.version == version}
        try:
            like, judged = _judge(role, champion, other, truth, watched.spec.pace, wanted, watched.costs, margin)
        except ValueError as error:
            raise CommandError(f"{error}.") from error
        found = Candidate(
            version=version,
            role=role.value,
            verdict=overall(judged),
            judged=judged,
            start=min(answer.at for answer in other.values()),
            end=max(answer.at for answer in other.values()),
        )
        if advise:
            with installation.engine.begin() as conn:
                recommend(conn, installation, watched, found, now=now())
    _print(model, found, like, _still(found, other, truth), as_json=as_json)
    return CODES[found.verdict]


def losses_of(watched: Monitored) -> list[Loss]:
    """Return what a candidate is judged by: cost where it is configured, and the metric that is to be good enough.

    A metric that is no mean over requests (AUC, F1 …) is replaced by the log loss.
    """
    business = watched.section.business
    metric = None if business.good_enough is None else business.good_enough.metric
    regression = watched.section.source.prediction.task is Task.REGRESSION
    named = {"brier": Loss.BRIER, "accuracy": Loss.ERROR, "mae": Loss.ABSOLUTE, "rmse": Loss.SQUARED}
    priced = watched.costs is not None and (watched.costs.false_positive is None) != (watched.costs.under is None)
    found = [Loss.COST] if priced else []
    if metric is not None and not metric.endswith("_per_prediction"):
        found.append(named.get(metric, Loss.SQUARED if regression else Loss.LOG_LOSS))
    return found or [Loss.ABSOLUTE if regression else Loss.LOG_LOSS]


def overall(judged: Sequence[Judged]) -> ReleaseVerdict:
    """Return the verdict of several losses: roll back if any says so, promote only if all do."""
    verdicts = {one.verdict for one in judged}
    if ReleaseVerdict.ROLL_BACK in verdicts:
        return ReleaseVerdict.ROLL_BACK
    return ReleaseVerdict.PROMOTE if verdicts == {ReleaseVerdict.PROMOTE} else ReleaseVerdict.HOLD


def _read(
    dsn: str, watched: Monitored, role: Role, version: str | None, since: datetime | None, until: datetime | None
) -> tuple[list[dict[str, LoggedAnswer]], dict[str, float]]:
    source, name = watched.section.source, watched.name
    try:
        with connect(dsn, autocommit=True) as conn:
            other = read_answers(conn, source, model=name, role=role.value, since=since, until=until, version=version)
            # A candidate is compared with what the champion said in the same time.
            begin = min((answer.at for answer in other.values()), default=since)
            champion = read_answers(conn, source, model=name, role=CHAMPION, since=begin, until=until)
            return [champion, other], read_outcomes(conn, source, model=name)
    except psycopg.OperationalError as error:
        raise SourceError(f"The logs of {name} cannot be read: {str(error).strip().splitlines()[0]}.") from error


def _judge(
    role: Role,
    champion: Mapping[str, LoggedAnswer],
    other: Mapping[str, LoggedAnswer],
    truth: Mapping[str, float],
    pace: timedelta,
    wanted: Sequence[Loss],
    costs: Any,
    margin: float,
) -> tuple[Likeness | None, list[Judged]]:
    if role is Role.CANARY:
        a, b = _answers(champion, list(champion), truth, pace), _answers(other, list(other), truth, pace)
        return None, [candidates.judge_apart(a, b, loss=one, costs=costs, margin=margin) for one in wanted]
    shared = [key for key in other if key in champion]
    a, b = _answers(champion, shared, truth, pace), _answers(other, shared, truth, pace)
    judged = [candidates.judge_pairs(a, b, loss=one, costs=costs, margin=margin) for one in wanted]
    return candidates.likeness(a, b), judged


def _answers(
    logged: Mapping[str, LoggedAnswer], keys: Sequence[str], truth: Mapping[str, float], pace: timedelta
) -> Answers:
    return Answers(
        score=np.array([logged[key].score for key in keys], np.float64),
        decision=np.array([logged[key].decision for key in keys], np.float64),
        label=np.array([truth.get(key, math.nan) for key in keys], np.float64),
        window=np.array([logged[key].at.timestamp() // pace.total_seconds() for key in keys], np.int64),
    )


def _still(found: Candidate, other: Mapping[str, LoggedAnswer], truth: Mapping[str, float]) -> str:
    """Return how many labels, and how much time at the pace until now, are still needed."""
    if found.verdict is not ReleaseVerdict.HOLD:
        return ""
    waiting = [one for one in found.judged if one.verdict is ReleaseVerdict.HOLD]
    needed = max(one.rows_needed for one in waiting)
    have = sum(key in truth for key in other)
    if not math.isfinite(needed):
        return "No number of labels will decide it while the difference lies on the margin."
    days = max((found.end - found.start) / timedelta(days=1), 1 / 24)
    more = max(needed - have, 0)
    pace = have / days
    when = f", about {more / pace:,.1f} days at {pace:,.0f} labels a day" if pace else ", and none comes yet"
    return f"{have:,} labels so far; about {more:,.0f} more are needed{when}, if nothing changes."


def _print(model: str, found: Candidate, like: Likeness | None, still: str, *, as_json: bool) -> None:
    if as_json:
        document = {**asdict(found), "model": model, "likeness": None if like is None else asdict(like), "still": still}
        print(json.dumps(_finite(document), default=plain, indent=2, ensure_ascii=False))
        return
    console().print(f"{model}: {found.verdict.value} the {found.role} {found.version}".rstrip(), markup=False)
    for one in found.judged:
        console().print(f"  {one.verdict.value}: {one.why}", markup=False)
    if still:
        console().print(f"  {still}", markup=False)
    if like is not None:
        console().print(
            f"  {like.rows:,} requests answered by both: agreement {like.agreement:.1%}, "
            f"rank correlation {like.rank_correlation:.3f}, mean distance of scores {like.score_distance:.4f}",
            markup=False,
        )
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
