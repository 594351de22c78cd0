"""Examination: what single checks need to know beside the rows of a window, found out for the newest window alone.

It takes place outside of any transaction. A window of long ago says nothing about a candidate or an endpoint of today.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet

from monitor import store, switchboard
from monitor.candidate import Compared, next_step
from monitor.check import Evidence, Stage
from monitor.checks.leakage import SPAN, Leakage
from monitor.checks.parity import Parity
from monitor.checks.stability import Stability
from monitor.deployment import EndpointSection
from monitor.endpoint import Endpoint, EndpointError
from monitor.foresight import FEWEST, Foreknowledge, find
from monitor.golden import Columns, Floats, Replayed, replay
from monitor.installation import Installation, Monitored
from monitor.logtable import SourceSection
from monitor.noise import Steadied, shake
from monitor.outcome import Task
from monitor.pairing import CANARY, compare, read_logs
from monitor.preprocessing import Unlike
from monitor.preprocessing import compare as compare_raw
from monitor.reading import wait_of
from monitor.release import limits_of
from monitor.source import SourceError, plain_values
from monitor.sources.answers import candidates_within, read_packages, read_raw
from monitor.sources.arrow import Decoding
from monitor.sources.frame import batch_of, chosen, columns_of, labels, numbers_of
from monitor.sources.logged import CHAMPION
from monitor.sources.session import connect
from monitor.window import Window

log = logging.getLogger(__name__)

SEED = 0  # of noise: the same model gets the same verdict


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
    golden = _golden(installation, watched, evidence)
    known = _foresee(installation, watched, evidence, now=now)
    answers = {
        "parity": _replay(installation, watched, evidence, golden),
        "preprocessing": _preprocessed(installation, watched, evidence),
        "stability": _steady(watched, evidence, golden),
    }
    found |= {name: facts for name, facts in answers.items() if facts}
    return found if known is None else {**found, "leakage": known}


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


# --- endpoints and training rows


def _replay(
    installation: Installation, watched: Monitored, evidence: Evidence, golden: _Golden | None
) -> Replayed | None:
    """Return what the serving endpoint makes of the golden rows; None where it is not due or not configured."""
    check = watched.checks.get("parity")
    if not isinstance(check, Parity) or golden is None:
        return None
    serving = _environment(installation, watched)
    memory = evidence.memories.get("parity") or {}
    known = memory.get("champion") or [{}]
    if not _is_due(evidence, "parity", check.every) and known[-1].get("packages", serving) == serving:
        return None
    serving_section = watched.section.serving
    if serving_section is None or serving_section.endpoint is None:
        return None  # a candidate has a training of its own, which the gate asks about
    endpoint = Endpoint(section=serving_section.endpoint, classes=golden.classes)
    some = {column: values[: check.rows] for column, values in golden.columns.items()}
    replayed, problem = None, ""
    try:
        replayed = replay(some, golden.said[: check.rows], endpoint, threshold=golden.threshold)
    except EndpointError as error:
        problem = str(error)
        log.warning("the endpoint was not replayed: %s", problem, extra={"model": watched.name})
    return Replayed(
        version=endpoint.version, replay=replayed, problem=problem, training=golden.packages, serving=serving
    )


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


def _steady(watched: Monitored, evidence: Evidence, golden: _Golden | None) -> list[Steadied]:
    """Return how steady each endpoint's decisions are that may be asked with noise; empty where none is due."""
    check = watched.checks.get("stability")
    if not isinstance(check, Stability) or golden is None:
        return []
    asked = {n: s for n, s in _endpoints(watched).items() if check.on_production or not s.production}
    if not asked or not _is_due(evidence, "stability", check.every):
        return []
    found = []
    for name, section in asked.items():
        try:
            shaken = shake(
                golden.columns,
                Endpoint(section=section, classes=golden.classes),
                threshold=golden.threshold,
                rng=np.random.default_rng(SEED),
                most=check.rows,
            )
            problem = "" if shaken is not None else "there is no column of numbers to put noise on"
        except EndpointError as error:
            shaken, problem = None, str(error)
            log.warning("an endpoint was not shaken: %s", problem, extra={"model": watched.name, "endpoint": name})
        found.append(Steadied(endpoint=name, shaken=shaken, problem=problem))
    return found


def _foresee(
    installation: Installation, watched: Monitored, evidence: Evidence, *, now: datetime
) -> Foreknowledge | None:
    """Return what the kept training rows know that this window's rows do not; None where it is not due."""
    check, reference = watched.checks.get("leakage"), evidence.maybe_reference
    last = Stage.OUTCOMES if evidence.has_outcomes else Stage.INPUTS
    if not isinstance(check, Leakage) or reference is None or evidence.stage is not last:
        return None
    seen = (evidence.memories.get("leakage") or {}).get("seen", 0)
    if seen + 1 < SPAN or not _is_due(evidence, "leakage", check.every):
        return None
    with installation.engine.begin() as conn:
        sample, _ = store.load_sample(conn, reference.id)
    if not sample:
        return None
    table = pyarrow.parquet.read_table(io.BytesIO(sample))
    source, section = installation.source(watched.name), watched.section.source
    # A weekday is constant for a day, and dry weather for two: one window is no evidence of what production never has.
    recent = Window(start=evidence.window.end - SPAN * evidence.spec.pace, end=evidence.window.end)
    rows = source.sample([recent], check.rows, evidence.has_outcomes, now=now)
    if rows.rows < FEWEST:
        return None
    times = [name for name, decoding in source.features().items() if decoding is Decoding.AGE]
    decodings = {name: one for name, one in source.features().items() if one is not Decoding.AGE}
    training = batch_of(table, chosen(table, decodings), time=np.zeros(table.num_rows, np.int64))
    label = _label(table, section)
    production = {name: plain_values(values) for name, values in rows.columns.items()}
    ages = {name: production[name] for name in times if name in production}
    return find(
        {name: plain_values(values) for name, values in training.columns.items()},
        label,
        production,
        task=reference.task,
        production_label=rows.label if evidence.has_outcomes else None,
        late={name: float((x[~np.isnan(x)] < 0).mean()) for name, x in ages.items() if not np.isnan(x).all()},
    )


def _label(table: pa.Table, section: SourceSection) -> Floats | None:
    """Return the truth of kept rows as it is read from the log; None where they have none."""
    outcome, prediction = section.outcome, section.prediction
    target = None if outcome is None else outcome.label or outcome.value
    if target is None or target not in table.column_names:
        return None
    if prediction.task is Task.REGRESSION:
        return numbers_of(table[target], target)
    return labels(target, table[target], tuple(prediction.scores or ()), prediction.positive)


@dataclass(frozen=True, kw_only=True)
class _Golden:
    """The golden rows of the training profile in force: inputs, what was predicted, in which environment."""

    columns: Columns
    said: Floats
    classes: int
    threshold: float | None
    packages: Mapping[str, str]


def _golden(installation: Installation, watched: Monitored, evidence: Evidence) -> _Golden | None:
    reference, section = evidence.maybe_reference, watched.section.source
    if reference is None or not _endpoints(watched) or evidence.stage is not Stage.INPUTS:
        return None
    with installation.engine.begin() as conn:
        _, kept = store.load_sample(conn, reference.id)
    prediction = section.prediction
    names = list((prediction.scores or {}).values()) or [name for name in (prediction.score, prediction.value) if name]
    if not kept or not names:
        return None
    table = pyarrow.parquet.read_table(io.BytesIO(kept))
    if not set(names) <= set(table.column_names):
        return None
    outcome = section.outcome
    answers = {*section.prediction.columns().values()}
    answers |= set() if outcome is None else {name for name in (outcome.label, outcome.value) if name}
    scores = np.column_stack([numbers_of(table[name], name) for name in names])
    known = np.isfinite(scores).all(axis=1)
    said = scores if prediction.scores else scores[:, 0]
    return _Golden(
        columns={name: values[known] for name, values in columns_of(table, answers).items()},
        said=said[known],
        classes=len(prediction.scores or ()),
        threshold=section.prediction.threshold,
        packages={**reference.packages, **({"python": reference.python_version} if reference.python_version else {})},
    )


def _endpoints(watched: Monitored) -> dict[str, EndpointSection]:
    serving, candidate = watched.section.serving, watched.section.release.endpoint
    found = {} if serving is None or serving.endpoint is None else {CHAMPION: serving.endpoint}
    return found if candidate is None else {**found, "candidate": candidate}


def _environment(installation: Installation, watched: Monitored) -> dict[str, str]:
    """Return the versions of what serving runs, from its heartbeats; empty where no client sends any."""
    if not watched.section.source.builtin:
        return {}
    with connect(installation.source_dsn(watched.section), autocommit=True) as conn:
        return read_packages(conn, model=watched.name)


def _is_due(evidence: Evidence, check: str, every: timedelta) -> bool:
    last = (evidence.memories.get(check) or {}).get("at")
    return last is None or evidence.window.end >= datetime.fromisoformat(last) + every
