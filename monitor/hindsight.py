"""Hindsight: what the training rows that were kept know and production's rows do not, once these are there."""

from __future__ import annotations

import io
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from monitor import store
from monitor.check import Evidence, Stage
from monitor.checks.leakage import SPAN, Leakage
from monitor.foresight import FEWEST, Foreknowledge, find
from monitor.golden import Floats
from monitor.installation import Installation, Monitored
from monitor.logtable import SourceSection
from monitor.outcome import Task
from monitor.source import plain_values
from monitor.sources.arrow import Decoding
from monitor.sources.frame import base_of, batch_of, chosen, labels, numbers_of
from monitor.window import Window


def foresee(
    installation: Installation, watched: Monitored, evidence: Evidence, *, now: datetime
) -> Foreknowledge | None:
    """Return what the kept training rows know that this window's rows do not; None where it is not due."""
    check, reference = watched.checks.get("leakage"), evidence.maybe_reference
    last = Stage.OUTCOMES if evidence.has_outcomes else Stage.INPUTS
    if not isinstance(check, Leakage) or reference is None or evidence.stage is not last:
        return None
    seen = (evidence.memories.get("leakage") or {}).get("seen", 0)
    if seen + 1 < SPAN or not evidence.is_due("leakage", check.every):
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
    features = source.features()
    times = [name for name, decoding in features.items() if decoding is Decoding.AGE]
    known = {name for name in features if base_of(name, table.column_names)}  # a feature may be younger than training
    decodings = {name: features[name] for name in features if name in known and name not in times}
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
