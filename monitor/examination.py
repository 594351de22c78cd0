"""Examination: what single checks need to know beside the rows of a window, found out for the newest window alone.

It takes place outside of any transaction. A window of long ago says nothing about a candidate or an endpoint of today.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg

from monitor import switchboard
from monitor.candidate import Compared, next_step
from monitor.check import Evidence, Stage
from monitor.checks.parity import Parity
from monitor.hindsight import foresee
from monitor.installation import Installation, Monitored
from monitor.pairing import CANARY, compare, read_logs
from monitor.preprocessing import Unlike
from monitor.preprocessing import compare as compare_raw
from monitor.questioning import golden_rows, replay_golden, shake_golden
from monitor.reading import wait_of
from monitor.release import limits_of
from monitor.source import SourceError
from monitor.sources.answers import candidates_within, read_raw
from monitor.sources.session import connect


def examine(installation: Installation, watched: Monitored, evidence: Evidence, *, now: datetime) -> Mapping[str, Any]:
    """Return what was found out, by check; a check that nothing was found out for is not among them.

    Raises SourceError where the logs cannot be read, as reading the window does.
    """
    found: dict[str, Any] = {}
    comparable = "comparison" in watched.checks and watched.section.source.role is not None
    if evidence.stage is Stage.INPUTS and comparable:
        found["candidates"] = _candidates(installation, watched, evidence)
    if evidence.spec.following(evidence.window).end + wait_of(watched, evidence.stage) <= now:
        return found  # there is a newer window
    if "candidates" in found:
        found["comparison"] = _compare(installation, watched, evidence, found["candidates"], now=now)
    golden = golden_rows(installation, watched, evidence)
    answers = {
        "parity": replay_golden(installation, watched, evidence, golden),
        "preprocessing": _preprocessed(installation, watched, evidence),
        "leakage": foresee(installation, watched, evidence, now=now),
        "stability": shake_golden(watched, evidence, golden),
    }
    return found | {name: facts for name, facts in answers.items() if facts}


def _candidates(installation: Installation, watched: Monitored, evidence: Evidence) -> list[tuple[str, str]]:
    """Return role and version of everybody but the champion who answered in the window."""
    try:
        with connect(installation.source_dsn(watched.section), autocommit=True) as conn:
            return candidates_within(conn, watched.section.source, evidence.window, model=watched.name)
    except psycopg.OperationalError as error:
        raise SourceError(f"The logs of {watched.name} cannot be read: {str(error).splitlines()[0]}.") from error


def _compare(
    installation: Installation,
    watched: Monitored,
    evidence: Evidence,
    present: Sequence[tuple[str, str]],
    *,
    now: datetime,
) -> list[Compared]:
    """Return every candidate of the window beside the champion, with all its answers since it was first seen."""
    dsn = installation.source_dsn(watched.section)
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


def _preprocessed(installation: Installation, watched: Monitored, evidence: Evidence) -> list[Unlike]:
    """Return each feature of the window beside its raw value; empty where none is configured."""
    check, source = watched.checks.get("parity"), watched.section.source
    if not isinstance(check, Parity) or not source.raw or evidence.stage is not Stage.INPUTS:
        return []
    try:
        with connect(installation.source_dsn(watched.section), autocommit=True) as conn:
            found = read_raw(conn, source, evidence.window, model=watched.name, most=check.raw_rows)
    except psycopg.OperationalError as error:
        raise SourceError(f"The logs of {watched.name} cannot be read: {str(error).splitlines()[0]}.") from error
    return [compare_raw(name, raw, logged) for name, (raw, logged) in found.items()]
