"""Questioning: golden rows of a training profile, asked of deployed endpoints as they are and with noise."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet

from monitor import store
from monitor.check import Evidence, Stage
from monitor.checks.parity import Parity
from monitor.checks.stability import Stability
from monitor.deployment import EndpointSection
from monitor.endpoint import Endpoint, EndpointError
from monitor.golden import Columns, Floats, Replayed, replay
from monitor.installation import Installation, Monitored
from monitor.noise import Steadied, shake
from monitor.sources.answers import read_packages
from monitor.sources.frame import columns_of, numbers_of
from monitor.sources.logged import CHAMPION
from monitor.sources.session import connect

log = logging.getLogger(__name__)

SEED = 0  # of noise: the same model gets the same verdict


@dataclass(frozen=True, kw_only=True)
class Golden:
    """The golden rows of the training profile in force: inputs, what was predicted, in which environment."""

    columns: Columns
    said: Floats
    classes: int
    threshold: float | None
    packages: Mapping[str, str]


def golden_rows(installation: Installation, watched: Monitored, evidence: Evidence) -> Golden | None:
    """Return the golden rows that are kept; None where there are none, or no endpoint to ask."""
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
    return Golden(
        columns={name: values[known] for name, values in columns_of(table, answers).items()},
        said=said[known],
        classes=len(prediction.scores or ()),
        threshold=section.prediction.threshold,
        packages={**reference.packages, **({"python": reference.python_version} if reference.python_version else {})},
    )


def replay_golden(
    installation: Installation, watched: Monitored, evidence: Evidence, golden: Golden | None
) -> Replayed | None:
    """Return what the serving endpoint makes of the golden rows; None where it is not due or not configured."""
    check = watched.checks.get("parity")
    if not isinstance(check, Parity) or golden is None:
        return None
    serving = _environment(installation, watched)
    memory = evidence.memories.get("parity") or {}
    known = memory.get("champion") or [{}]
    if not evidence.is_due("parity", check.every) and known[-1].get("packages", serving) == serving:
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


def shake_golden(watched: Monitored, evidence: Evidence, golden: Golden | None) -> list[Steadied]:
    """Return how steady each endpoint's decisions are that may be asked with noise; empty where none is due."""
    check = watched.checks.get("stability")
    if not isinstance(check, Stability) or golden is None:
        return []
    asked = {n: s for n, s in _endpoints(watched).items() if check.on_production or not s.production}
    if not asked or not evidence.is_due("stability", check.every):
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
