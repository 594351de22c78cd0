"""Pairing: what a candidate and the champion answered in the logs, brought together and judged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import psycopg

from monitor import candidate as candidates
from monitor.candidate import Answers, Compared, Guard, Likeness, Loss, Usage
from monitor.checks.comparison import Comparison
from monitor.installation import Monitored
from monitor.outcome import Task
from monitor.source import SourceError
from monitor.sources.answers import LoggedAnswer, read_answers, read_outcomes, read_usage, versions_of
from monitor.sources.logged import CHAMPION
from monitor.sources.session import connect

CANARY = "canary"


@dataclass(frozen=True, kw_only=True)
class Logs:
    """What both answered by request id, what came true of what has matured, and what their processes took."""

    champion: Mapping[str, LoggedAnswer]
    candidate: Mapping[str, LoggedAnswer]
    truth: Mapping[str, float]
    usage: Mapping[str, Usage]


def compare(
    logs: Logs,
    watched: Monitored,
    *,
    role: str,
    version: str,
    limits: Comparison,
    losses: Sequence[Loss] | None = None,
    share: float | None = None,
    next_share: float | None = None,
) -> Compared:
    """Return what is to be done with a candidate; raises ValueError where a loss cannot be computed.

    A shadow is compared request by request, a canary with what the champion answered to others.
    """
    wanted = losses_of(watched) if losses is None else losses
    pace, costs, margin = watched.spec.pace, watched.costs, limits.margin
    like: Likeness | None = None
    if role == CANARY:
        a = _answers(logs.champion, list(logs.champion), logs.truth, pace)
        b = _answers(logs.candidate, list(logs.candidate), logs.truth, pace)
        judged = [candidates.judge_apart(a, b, loss=one, costs=costs, margin=margin) for one in wanted]
    else:
        shared = [key for key in logs.candidate if key in logs.champion]
        a, b = (_answers(logged, shared, logs.truth, pace) for logged in (logs.champion, logs.candidate))
        judged = [candidates.judge_pairs(a, b, loss=one, costs=costs, margin=margin) for one in wanted]
        like = candidates.likeness(a, b)
    times = [answer.at for answer in logs.candidate.values()]
    return Compared(
        version=version,
        role=role,
        start=min(times),
        end=max(times),
        judged=judged,
        guards=_guards(logs, version, pace, limits),
        likeness=like,
        labelled=sum(key in logs.truth for key in logs.candidate),
        share=share,
        next_share=next_share,
    )


def read_logs(
    dsn: str,
    watched: Monitored,
    *,
    role: str,
    version: str | None,
    since: datetime | None,
    until: datetime | None,
    now: datetime,
) -> Logs:
    """Return the newest answers of a candidate, and the champion's of the same time; raises SourceError.

    Labels of requests that have not matured are left out: those that come early are not like the others.
    """
    source, name = watched.section.source, watched.name
    try:
        with connect(dsn, autocommit=True) as conn:
            other = read_answers(conn, source, model=name, role=role, since=since, until=until, version=version)
            begin = min((answer.at for answer in other.values()), default=since)
            champion = read_answers(conn, source, model=name, role=CHAMPION, since=begin, until=until)
            truth = read_outcomes(conn, source, model=name)
            usage = read_usage(conn, model=name, since=begin, until=until) if source.builtin else {}
    except psycopg.OperationalError as error:
        raise SourceError(f"The logs of {name} cannot be read: {str(error).strip().splitlines()[0]}.") from error
    ripe = now - (source.outcome.matures_after if source.outcome is not None else timedelta(0))
    mature = {
        key: value
        for key, value in truth.items()
        if (answer := other.get(key) or champion.get(key)) is not None and answer.at <= ripe
    }
    counts: dict[str, int] = {}
    for answer in (*champion.values(), *other.values()):
        counts[answer.version] = counts.get(answer.version, 0) + 1
    return Logs(
        champion=champion,
        candidate=other,
        truth=mature,
        usage={
            of: Usage(memory=memory, cpu=cpu / counts[of] if counts.get(of) else math.nan)
            for of, (memory, cpu) in usage.items()
        },
    )


def losses_of(watched: Monitored) -> list[Loss]:
    """Return what a candidate is judged by: cost where it is configured, and the metric that is to be good enough.

    A metric that is no mean over requests (AUC, F1 …) is replaced by the log loss.
    """
    business = watched.section.business
    metric = None if business.good_enough is None else business.good_enough.metric
    task = watched.section.source.prediction.task
    regression = task is Task.REGRESSION
    named = {"brier": Loss.BRIER, "accuracy": Loss.ERROR, "mae": Loss.ABSOLUTE, "rmse": Loss.SQUARED}
    priced = watched.costs is not None and (watched.costs.false_positive is None) != (watched.costs.under is None)
    found = [Loss.COST] if priced and task is not Task.MULTICLASS else []
    if metric is not None and not metric.endswith("_per_prediction"):
        found.append(named.get(metric, Loss.SQUARED if regression else Loss.LOG_LOSS))
    return found or [Loss.ABSOLUTE if regression else Loss.LOG_LOSS]


def _answers(
    logged: Mapping[str, LoggedAnswer], keys: Sequence[str], truth: Mapping[str, float], pace: timedelta
) -> Answers:
    return Answers(
        score=np.array([logged[key].score for key in keys], np.float64),
        decision=np.array([logged[key].decision for key in keys], np.float64),
        label=np.array([truth.get(key, math.nan) for key in keys], np.float64),
        window=np.array([logged[key].at.timestamp() // pace.total_seconds() for key in keys], np.int64),
    )


def _guards(logs: Logs, version: str, pace: timedelta, limits: Comparison) -> list[Guard]:
    mine, other = (
        np.array([answer.latency for answer in logged.values()], np.float64)
        for logged in (logs.champion, logs.candidate)
    )
    window = np.array([a.at.timestamp() // pace.total_seconds() for a in logs.candidate.values()], np.int64)
    standing = versions_of(logs.champion)[:1]
    # Of one version that is both, as when a canary tries other hardware, no heartbeat says whose it is.
    apart = bool(standing) and standing[0] != version
    found = [
        candidates.guard_latency(mine, other, clusters=window, limit=limits.slow),
        candidates.guard_memory(logs.usage.get(standing[0]), logs.usage.get(version), limit=limits.memory)
        if apart
        else None,
    ]
    return [guard for guard in found if guard is not None]
