"""Examination: what single checks need to know beside the rows of a window, found out for the newest window alone.

It takes place outside of any transaction. A window of long ago says nothing about a candidate or an endpoint of today.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg

from monitor import switchboard
from monitor.candidate import Compared, next_step
from monitor.check import Evidence, Stage
from monitor.installation import Installation, Monitored
from monitor.outcome import Task
from monitor.pairing import CANARY, compare, read_logs
from monitor.release import limits_of
from monitor.source import SourceError
from monitor.sources.answers import candidates_within
from monitor.sources.session import connect

log = logging.getLogger(__name__)


def examine(installation: Installation, watched: Monitored, evidence: Evidence, *, now: datetime) -> Mapping[str, Any]:
    """Return what was found out, by check; a check that nothing was found out for is not among them.

    Raises SourceError where the logs cannot be read, as reading the window does.
    """
    if evidence.spec.following(evidence.spec.following(evidence.window)).end <= now:
        return {}  # there is a newer window, or there will be soon
    found: dict[str, Any] = {}
    if evidence.stage is Stage.INPUTS and "comparison" in watched.checks:
        compared = _compare(installation, watched, evidence, now=now)
        if compared is not None:
            found["comparison"] = compared
    return found


def _compare(
    installation: Installation, watched: Monitored, evidence: Evidence, *, now: datetime
) -> list[Compared] | None:
    """Return every candidate of the window beside the champion, with all its answers since it is compared."""
    source = watched.section.source
    if source.role is None or source.prediction.task is Task.MULTICLASS:
        return None
    dsn = installation.source_dsn(watched.section)
    try:
        with connect(dsn, autocommit=True) as conn:
            present = candidates_within(conn, source, evidence.window, model=watched.name)
    except psycopg.OperationalError as error:
        raise SourceError(f"The logs of {watched.name} cannot be read: {str(error).splitlines()[0]}.") from error
    with installation.engine.begin() as conn:
        share, changed = (
            switchboard.load_circuit(conn, watched.name).share,
            switchboard.share_since(conn, watched.name),
        )
    since = (evidence.memories.get("comparison") or {}).get("since", {})
    found = []
    for role, version in present:
        begun = datetime.fromisoformat(since.get(f"{role} {version}", evidence.window.start.isoformat()))
        if role == CANARY and changed is not None:
            begun = max(begun, changed)  # each step is judged by its own requests
        until = evidence.window.end
        logs = read_logs(dsn, watched, role=role, version=version, since=begun, until=until, now=now)
        if not logs.candidate:
            continue
        one = compare(logs, watched, role=role, version=version, limits=limits_of(watched))
        if role == CANARY:
            one = replace(one, share=share, next_share=next_step(share, watched.section.release.steps))
        found.append(one)
    return found
