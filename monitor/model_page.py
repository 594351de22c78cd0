"""A model's pages: its last windows at a glance, one feature in detail, the ledger without gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Template

from monitor import history, latest, store, timeline
from monitor.column import CategoricalColumn
from monitor.disclosure import Disclosure
from monitor.drawing import Cell, Line, Mark, distribution, heat_map, line_chart
from monitor.page import LIGHT_WORDS, UTC_ZONE, figure, label_of, not_yet, shown
from monitor.profile import ColumnProfile
from monitor.reference import Reference
from monitor.timeline import Row

if TYPE_CHECKING:
    import sqlalchemy as sa

    from monitor.installation import Installation

WINDOWS = 90
MOST_FEATURES = 200
MOST_METRICS = 6
RUNS = 200
LARGEST_REFERENCE = 16_000_000  # bytes; a larger training profile is not unpacked to draw one feature
SHADES = (0.25, 0.5, 1.0)  # of what the smallest visible shift is
CATEGORIES = 20
PROCESSES = 100


def handlers(installation: Installation, engine: sa.Engine) -> list[HTTPRouteHandler]:
    """Return the handlers of a model's pages."""
    label = partial(label_of, installation)

    def standing(conn: sa.Connection, model: str) -> dict[str, Any]:
        row = next(iter(history.rows_of(conn, "model_status", model=model)), None)
        if row is None and model not in installation.models:
            raise NotFoundException(f"There is no model {model}; the first page lists those that there are.")
        return row or not_yet(model)

    def last_windows(conn: sa.Connection, model: str) -> list[Row]:
        return list(reversed(timeline.runs(conn, model, most=WINDOWS)))

    @get("/models/{model:str}", sync_to_thread=True, include_in_schema=False)
    def overview(model: FromPath[str]) -> Template:
        with engine.connect() as conn:
            status = standing(conn, model)
            runs = last_windows(conn, model)
            processes = [row for row in latest.processes(conn) if row["model"] == model]
            names = [label(model, run["window_start"], run["window_end"]) for run in runs]
            found = pictures(conn, model, runs, names, [row["process"] for row in processes])
            still: dict[str, Any] = {"model": model, "state": ["firing", "recovering"], "limit": 50}
            alerts = history.rows_of(conn, "alert_history", **still)
            advice = history.rows_of(conn, "recommendation_history", model=model, limit=5)
        asked = {
            "status": history.sql_of("model_status", model=model),
            "alerts": history.sql_of("alert_history", **still),
            "advice": history.sql_of("recommendation_history", model=model, limit=5),
            "processes": history.sql_of("resource_history", model=model, limit=PROCESSES),
        }
        return shown(
            installation, "model.html", model=model, status=status, words=LIGHT_WORDS, runs=runs, alerts=alerts,
            advice=advice, processes=processes, asked=asked, **found,
        )  # fmt: skip

    @get("/models/{model:str}/features/{name:path}", sync_to_thread=True, include_in_schema=False)
    def feature(model: FromPath[str], name: FromPath[Path]) -> Template:
        feature = str(name).removeprefix("/")  # a name may hold slashes
        with engine.connect() as conn:
            standing(conn, model)
            runs = last_windows(conn, model)
            since = runs[0]["window_start"] if runs else datetime.max.replace(tzinfo=UTC_ZONE)
            by_window = grouped(timeline.effects(conn, model, since=since, column=feature)).get(feature, {})
            profile = timeline.last_profile(conn, model, feature, since=since)
            if not by_window and profile is None:
                raise NotFoundException(f"Column {feature} is in none of the last {WINDOWS} windows of {model}.")
            reference = training(conn, model, at=profile["window_start"]) if profile else None
            here: dict[str, Any] = {"model": model, "column_name": feature, "limit": 3}
            metrics = history.rows_of(conn, "drift_metrics", **here)
            bad: dict[str, Any] = {
                "model": model,
                "subject": feature,
                "since": since,
                "verdict": ["warning", "critical"],
                "limit": 20,
            }
            findings = history.rows_of(conn, "finding_history", **bad)
            marks = marks_at(timeline.marks(conn, model, since=since), runs)
        names = [label(model, run["window_start"], run["window_end"]) for run in runs]
        cells = [by_window.get(run["window_start"]) for run in runs]
        smallest = next((c["minimum_detectable"] for c in reversed(cells) if c and c["minimum_detectable"]), None)
        line = Line(name="effect", values=[None if one is None else one["effect"] for one in cells])
        trained = None if reference is None else reference.total.columns.get(feature)
        listed = installation.models[model].section.source.listed_values if model in installation.models else {}
        disclosure = Disclosure(reference=reference, listed=listed)
        return shown(
            installation,
            "feature.html",
            model=model,
            feature=feature,
            effects=line_chart(f"Shift of {feature} against training", [line], names, marks=marks, band=smallest),
            smallest=smallest,
            distribution=overlay(feature, trained, profile),
            categories=shares(feature, trained, profile, disclosure),
            profile=profile,
            metrics=metrics,
            findings=findings,
            asked={
                "effects": timeline.sql_of("effects", model=model, since=since, column=feature),
                "profile": timeline.sql_of("profile", model=model, column=feature, since=since),
                "metrics": history.sql_of("drift_metrics", **here),
                "findings": history.sql_of("finding_history", **bad),
            },
        )

    @get("/models/{model:str}/runs", sync_to_thread=True, include_in_schema=False)
    def runs(model: FromPath[str], before: FromQuery[datetime | None] = None) -> Template:
        with engine.connect() as conn:
            standing(conn, model)
            rows = timeline.runs(conn, model, most=RUNS, until=before)
        older = rows[-1]["window_start"] if len(rows) == RUNS else None
        asked = timeline.sql_of("runs", model=model, most=RUNS, until=before)
        return shown(installation, "runs.html", model=model, runs=rows, older=older, asked=asked)

    return cast(list[HTTPRouteHandler], [overview, feature, runs])


def pictures(
    conn: sa.Connection, model: str, runs: Sequence[Row], names: Sequence[str], processes: Sequence[str]
) -> dict[str, Any]:
    """Return what the page of a model draws of its windows, which are named by ``names``, the newest last.

    ``processes`` are the names of those that serve it.
    """
    if not runs:
        return {"charts": [], "map": "", "worst": [], "left_out": 0, "map_asked": ""}
    since = runs[0]["window_start"]
    marks = marks_at(timeline.marks(conn, model, since=since), runs)
    by_column = grouped(timeline.effects(conn, model, since=since))
    ranked = sorted(by_column, key=lambda name: (-urgency(by_column[name], runs), name))
    address = f"/models/{quote(model, safe='')}/features/"
    rows = [
        (name, address + quote(name), [cell(by_column[name].get(run["window_start"])) for run in runs])
        for name in ranked[:MOST_FEATURES]
    ]
    volume = Line(name="rows", values=[run["rows_read"] for run in runs])
    used = {row["window_start"]: row["memory_mb"] for row in timeline.memory(conn, model, processes, since=since)}
    memory = Line(name="memory", values=[used.get(run["window_start"]) for run in runs])
    most = "Memory of the serving process at the end of each window (MB)"
    return {
        "map": heat_map(f"Shifts of {len(rows)} columns in {len(runs)} windows", rows, names, marks) if rows else "",
        "worst": [(name, place, newest(by_column[name])) for name, place, _ in rows[:10]],
        "left_out": max(len(ranked) - MOST_FEATURES, 0),
        "map_asked": timeline.sql_of("effects", model=model, since=since, column=None),
        "charts": [
            *(
                (title, drawn, timeline.sql_of("performance", model=model, since=since))
                for title, drawn in metric_charts(timeline.performance(conn, model, since=since), runs, names, marks)
            ),
            (
                "Rows of each window",
                line_chart("Rows of each window", [volume], names, marks=marks),
                timeline.sql_of("runs", model=model, most=WINDOWS, until=None),
            ),
            (
                most,
                line_chart(most, [memory], names, marks=marks) if used else "",
                timeline.sql_of("memory", model=model, processes=list(processes), since=since),
            ),
        ],
    }


def training(conn: sa.Connection, model: str, *, at: datetime) -> Reference | None:
    """Return the training profile in force at a time; None where there is none, or it is too large to draw from."""
    found = store.load_reference(conn, model, at=at)
    if found is None:
        return None
    body, created_at = store.load_reference_body(conn, found.reference_id)
    return None if len(body) > LARGEST_REFERENCE else Reference.from_bytes(body, created_at=created_at)


def grouped(rows: Sequence[Row]) -> dict[str, dict[datetime, Row]]:
    """Return rows by column and start of the window."""
    found: dict[str, dict[datetime, Row]] = {}
    for row in rows:
        found.setdefault(row["column_name"], {})[row["window_start"]] = row
    return found


def cell(row: Mapping[str, Any] | None) -> Cell | None:
    """Return the square of a judgement: flagged ones say what was found, quiet ones are shaded by their shift.

    >>> cell({"verdict": "ok", "effect": 0.1, "minimum_detectable": 0.2, "severity": "info"}).tone
    'shade-2'
    >>> cell({"verdict": "warning", "effect": 1.5, "minimum_detectable": 0.2, "severity": "info"})
    Cell(tone='info', text='1.5 sd')
    """
    if row is None:
        return None
    if row["verdict"] == "inconclusive" or row["effect"] is None:
        return Cell(tone="unseen")
    if row["verdict"] in ("warning", "critical"):
        return Cell(tone=row["severity"], text=f"{figure(row['effect'])} sd")
    share = abs(row["effect"]) / (row["minimum_detectable"] or abs(row["effect"]) or 1.0)
    return Cell(tone=f"shade-{sum(share >= bound for bound in SHADES)}")


def urgency(cells: Mapping[datetime, Row], runs: Sequence[Row]) -> float:
    """Return how high up a column belongs: flagged windows count the more the newer they are, shifts break ties."""
    total = 0.0
    for place, run in enumerate(runs, start=1):
        row = cells.get(run["window_start"])
        if row is not None and row["effect"] is not None:
            flagged = {"critical": 100.0, "warning": 10.0}.get(row["verdict"], 0.0)
            total += (flagged + min(abs(row["effect"]), 1.0)) * place / len(runs)
    return total


def newest(cells: Mapping[datetime, Row]) -> Row:
    """Return the judgement of the newest window."""
    return cells[max(cells)]


def marks_at(rows: Sequence[Row], runs: Sequence[Row]) -> list[Mark]:
    """Return marks at the window in which each moment fell; those of before the first window are left out."""
    found = []
    for row in rows:
        places = [place for place, run in enumerate(runs) if run["window_start"] <= row["at"]]
        if places:
            tone = "alert" if row["kind"] == "alert" else "training"
            found.append(Mark(place=places[-1], text=f"{row['kind']}: {row['what']}", tone=tone))
    return found


def metric_charts(
    rows: Sequence[Row], runs: Sequence[Row], names: Sequence[str], marks: Sequence[Mark]
) -> list[tuple[str, str]]:
    """Return a title and a chart for each metric: realised and estimated over each other, training's level beside."""
    series: dict[str, dict[str, dict[datetime, Row]]] = {}
    for row in rows:
        series.setdefault(row["metric"], {}).setdefault(row["basis"], {})[row["window_start"]] = row
    starts = [run["window_start"] for run in runs]

    def values(cells: Mapping[datetime, Row], part: str) -> list[float | None]:
        return [cells[start][part] if start in cells else None for start in starts]

    found = []
    for metric, bases in list(series.items())[:MOST_METRICS]:
        lines = [
            Line(
                name=f"{metric}, {basis}",
                values=values(bases[basis], "value"),
                low=values(bases[basis], "interval_low"),
                high=values(bases[basis], "interval_high"),
                tone=tone,
            )
            for basis, tone in (("realised", "first"), ("estimated", "second"))
            if basis in bases
        ]
        either = {start: row for cells in bases.values() for start, row in cells.items()}
        lines.append(Line(name="training", values=values(either, "reference_value"), tone="training"))
        if drawn := line_chart(metric, lines, names, marks=marks):
            found.append((metric.replace("_", " "), drawn))
    return found


def overlay(name: str, trained: ColumnProfile | None, profile: Mapping[str, Any] | None) -> str:
    """Return both distributions of a numeric column over each other; empty where there is none."""
    if trained is None or profile is None or not profile["quantiles"] or not trained.count:
        return ""
    current = {float(level): float(value) for level, value in profile["quantiles"].items() if value is not None}
    reference = {level: trained.quantile(level) for level in sorted(current)}
    return distribution(f"{name}: cumulative distribution in training and in the last window", reference, current)


def shares(
    name: str, trained: ColumnProfile | None, profile: Mapping[str, Any] | None, disclosure: Disclosure
) -> list[tuple[str, float | None, float]]:
    """Return the most frequent categories of the window: value as it may be shown, share of training, of the window."""
    if profile is None or not profile["frequent_items"] or not profile["row_count"]:
        return []
    before: Mapping[str, int] = {}
    if trained is not None and trained.rows and isinstance(trained.column, CategoricalColumn):
        before = disclosure.counts(name, trained.frequencies)
    items = sorted(profile["frequent_items"].items(), key=lambda item: -item[1])[:CATEGORIES]
    return [
        (
            value,
            before.get(value, 0) / trained.rows if trained is not None and before else None,
            rows / profile["row_count"],
        )
        for value, rows in items
    ]
