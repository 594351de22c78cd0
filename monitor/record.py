"""The record of a window: findings, distances, profiles and performance as rows of the history.

Rows are only ever appended. A window that is judged again gets rows of a higher revision, and the views show the
newest.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from monitor import tables
from monitor.check import (
    Cause,
    ColumnStatistics,
    Finding,
    Part,
    Performance,
    ReferenceKind,
    Severity,
    ThresholdSource,
    Verdict,
)
from monitor.column import CategoricalColumn
from monitor.copying import copy_rows
from monitor.disclosure import Disclosure
from monitor.ledger import Run
from monitor.profile import ColumnProfile, Profile
from monitor.window import Window

Slice = Mapping[str, Any]
EVERYTHING: Slice = {}

#: What is kept of a column's distribution: enough for a chart, not enough to read off a single row.
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
FREQUENT = 20


def stamp(run: Run, slice_: Slice) -> dict[str, Any]:
    """The key columns of a row that a run writes."""
    return {
        "run_id": run.run_id,
        "model": run.model,
        "model_version": run.model_version,
        "role": run.role,
        "slice": slice_,
        "window_start": run.window.start,
        "window_end": run.window.end,
        "revision": run.revision,
        "run_part": run.part,
    }


def save_findings(conn: sa.Connection, run: Run, findings: Iterable[Finding], *, evaluated_at: datetime) -> int:
    """Append findings; returns how many. Two of one check with the same subject, statistic and reference are an error.

    Reference, configuration and code are told by the run. What has no column of its own is in ``extras``.
    """
    key = stamp(run, EVERYTHING)
    return copy_rows(
        conn,
        tables.finding,
        [
            {
                **key,
                **{name: getattr(finding, name) for name in FINDING_COLUMNS},
                "check_name": finding.check,
                "threshold_source": finding.threshold_source or None,
                "extras": extras_of(finding),
                "evaluated_at": evaluated_at,
            }
            for finding in findings
        ],
    )


def extras_of(finding: Finding) -> dict[str, Any]:
    """What a finding says beside its columns; what is as usual is left out, because most findings are."""
    said = {name: getattr(finding, name) for name in FINDING_EXTRAS}
    return {name: value for name, value in said.items() if value != USUAL[name]}


FINDING_EXTRAS = ("family", "cause", "direction", "latched", "details")
#: Fields of a finding that are columns of the same name.
FINDING_COLUMNS = tuple(
    field.name for field in dataclasses.fields(Finding) if field.name not in {*FINDING_EXTRAS, "check"}
)


USUAL: dict[str, Any] = {"family": "", "cause": None, "direction": 0, "latched": False, "details": {}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recorded:
    """The newest record of a finished window: its training profile and its findings that belong to alerts."""

    window: Window
    reference_id: str | None
    findings: list[Finding]


def findings_after(conn: sa.Connection, run: Run, *, most: int) -> list[Recorded] | None:
    """The finished windows of a run's model and part that begin after its own, oldest first; None if more than most."""
    runs, kept = tables.run, tables.finding
    newest = (
        sa.select(runs)
        .ext(postgresql.distinct_on(runs.c.window_start, runs.c.window_end))
        .where(
            runs.c.model == run.model,
            runs.c.role == run.role,
            runs.c.part == run.part,
            runs.c.state == "done",
            runs.c.window_start > run.window.start,
        )
        .order_by(runs.c.window_start, runs.c.window_end, runs.c.revision.desc())
        .limit(most + 1)
    )
    found = {
        row.run_id: Recorded(
            window=Window(start=row.window_start, end=row.window_end), reference_id=row.reference_id, findings=[]
        )
        for row in conn.execute(newest)
    }
    if len(found) > most:
        return None
    if found:
        rows = conn.execute(
            sa.select(kept).where(
                kept.c.model == run.model,
                kept.c.window_start > run.window.start,
                kept.c.run_id.in_(list(found)),
                kept.c.extras["family"].astext != "",
            )
        )
        for row in rows.mappings():
            found[row["run_id"]].findings.append(finding_of(row))
    return list(found.values())


def finding_of(row: Mapping[Any, Any]) -> Finding:
    """A stored finding as it was; figures that were not finite are None."""
    values = {name: row[name] for name in FINDING_COLUMNS} | USUAL | dict(row["extras"])
    cost, cause, source = values["impact_cost"], values["cause"], values["threshold_source"]
    return Finding(
        **{
            **values,
            "check": row["check_name"],
            "part": Part(values["part"]),
            "verdict": Verdict(values["verdict"]),
            "severity": Severity(values["severity"]),
            "reference_kind": ReferenceKind(values["reference_kind"]),
            "threshold_source": source and ThresholdSource(source),
            "cause": cause and Cause(cause),
            "impact_cost": None if cost is None else float(cost),
            "message": values["message"] or "",
            "reason": values["reason"] or "",
        }
    )


def save_column_statistics(
    conn: sa.Connection,
    run: Run,
    statistics: Iterable[ColumnStatistics],
    *,
    slice_: Slice = EVERYTHING,
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
) -> int:
    """Append the distances of each column; ``thresholds`` are those configured, by column and then by statistic."""
    key = stamp(run, slice_)
    names = [field.name for field in dataclasses.fields(ColumnStatistics) if field.name != "column"]
    return copy_rows(
        conn,
        tables.column_statistic,
        [
            {
                **key,
                **{name: getattr(one, name) for name in names},
                "column_name": one.column,
                "thresholds": (thresholds or {}).get(one.column, {}),
            }
            for one in statistics
        ],
    )


def save_column_profiles(
    conn: sa.Connection, run: Run, profile: Profile, disclosure: Disclosure, *, slice_: Slice = EVERYTHING
) -> int:
    """Append what each column of a profile looked like; rare values of categories by their hash."""
    key = stamp(run, slice_)
    return copy_rows(
        conn,
        tables.column_profile,
        [{**key, **column_profile(name, column, disclosure)} for name, column in profile.columns.items()],
    )


def column_profile(name: str, column: ColumnProfile, disclosure: Disclosure) -> dict[str, Any]:
    """The figures of one column; NULL where there is nothing to take a figure of."""
    rows = column.rows
    categorical = isinstance(column.column, CategoricalColumn)
    figures: dict[str, Any] = {
        "column_name": name,
        "data_type": column.column.kind.value,
        "row_count": rows,
        "num_nulls": column.missing,
        "num_non_finite": 0 if categorical else column.non_finite,
        "percent_null": 100 * column.missing / rows if rows else None,
        "percent_zeros": None,
        "distinct_count": column.distinct,
        **dict.fromkeys(("avg", "stddev", "min", "max", "quantiles", "frequent_items", "other_count", "new_count")),
    }
    if categorical:
        frequent = disclosure.counts(name, dict(list(column.frequencies.items())[:FREQUENT]))
        return figures | {"frequent_items": frequent, "other_count": column.other, "new_count": column.new}
    if not column.count:
        return figures
    return figures | {
        "percent_zeros": 100 * column.zeros / rows,
        "avg": column.mean,
        "stddev": math.sqrt(column.variance),
        "min": column.minimum,
        "max": column.maximum,
        "quantiles": {str(level): float(f"{column.quantile(level):.6g}") for level in QUANTILES},
    }


def save_performance(
    conn: sa.Connection,
    run: Run,
    performances: Iterable[Performance],
    *,
    label_coverage: float | None = None,
    label_delay_p50: timedelta | None = None,
    matured: int | None = None,
    cost_per_prediction: float | None = None,
    fallback_cost_per_prediction: float | None = None,
    currency: str | None = None,
) -> int:
    """Append performance metrics; the figures given beside them are those of their rows and stand in each row."""
    key = stamp(run, EVERYTHING) | {
        "label_coverage": label_coverage,
        "label_delay_p50": label_delay_p50,
        "matured": matured,
        "cost_per_prediction": cost_per_prediction,
        "fallback_cost_per_prediction": fallback_cost_per_prediction,
        "currency": currency,
    }
    names = [field.name for field in dataclasses.fields(Performance)]
    return copy_rows(
        conn, tables.performance, [{**key, **{name: getattr(one, name) for name in names}} for one in performances]
    )
