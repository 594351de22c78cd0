"""The pages on which people decide: an alert with its cause, plots and history, and a recommendation with its proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import quote
from uuid import UUID

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect, Template

from monitor import deeds, episode, history, timeline
from monitor.alert import is_reported
from monitor.drawing import Line, line_chart
from monitor.model_page import grouped, marks_at, metric_charts
from monitor.page import label_of, members, shown
from monitor.runbook import section_of
from monitor.silence import silence_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from monitor.installation import Installation

EVENTS = 200
WINDOWS = 60
MOST_PLOTS = 3


def handlers(installation: Installation, engine: sa.Engine, clock: Callable[[], datetime]) -> list[HTTPRouteHandler]:
    """Return the handlers of these pages."""

    @get("/alerts/{key:str}", sync_to_thread=True, include_in_schema=False)
    def alert(
        key: FromPath[str], chosen: Annotated[int | None, QueryParameter(name="episode", ge=1)] = None
    ) -> Template:
        with engine.connect() as conn:
            found = deeds.found(conn, key)
            episodes = history.rows_of(conn, "alert_history", alert_key=found.key, limit=EVENTS)
            episodes.sort(key=lambda one: -one["episode"])
            one = next((each for each in episodes if chosen in (None, each["episode"])), None)
            if one is None:
                raise NotFoundException(f"Alert {key} has no episode {chosen}.")
            same: dict[str, Any] = {"alert_key": found.key, "episode": one["episode"]}
            reports = history.reports_of(conn, found.key, one["episode"])
            silences = [one for one in map(silence_of, episode.active_silences(conn, at=clock())) if one.covers(found)]
            return shown(
                installation,
                "alert.html",
                alert=one,
                events=history.rows_of(conn, "alert_events", limit=EVENTS, **same),
                explained=history.rows_of(conn, "alert_history", inhibited_by=found.key, limit=EVENTS),
                silences=silences,
                lengths=list(deeds.Length),
                reports=reports,
                episodes=episodes,
                section=section_of(found.family),
                asked={
                    "alert": history.sql_of("alert_history", **same),
                    "events": history.sql_of("alert_events", limit=EVENTS, **same),
                    "explained": history.sql_of("alert_history", inhibited_by=found.key, limit=EVENTS),
                },
                **plots(conn, installation, one),
            )

    @get("/alerts/{key:str}/report", sync_to_thread=True, include_in_schema=False)
    def report(
        key: FromPath[str], chosen: Annotated[int | None, QueryParameter(name="episode", ge=1)] = None
    ) -> Redirect:
        with engine.connect() as conn:
            found = deeds.found(conn, key)
            reports = history.reports_of(conn, found.key, chosen or found.episode)
        made = next((one for one in reports if one["is_made"]), None)
        if made is not None:
            return Redirect(f"/reports/{made['report_id']}", status_code=303)
        if not is_reported(found.family):
            raise NotFoundException("Alerts of this kind have no report: rows of the log say nothing about them.")
        if reports:
            raise NotFoundException(f"There is no report of this episode: {reports[0]['note'] or 'nobody knows why'}")
        raise NotFoundException("The report is not made yet; it follows within minutes of the alert, so ask again.")

    @get("/recommendations/{identity:uuid}", sync_to_thread=True, include_in_schema=False)
    def recommendation(identity: FromPath[UUID]) -> Template:
        asked = history.sql_of("recommendation_history", recommendation_id=identity)
        with engine.connect() as conn:
            found = next(iter(history.rows_of(conn, "recommendation_history", recommendation_id=identity)), None)
        if found is None:
            raise NotFoundException(f"There is no recommendation {identity}; a model's page lists what was advised.")
        return shown(
            installation, "recommendation.html", one=found, facts=columns(found["evidence"] or ()), asked=asked
        )

    return cast(list[HTTPRouteHandler], [alert, report, recommendation])


def plots(conn: sa.Connection, installation: Installation, alert: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an alert's page draws: its first columns' shifts, or performance where no column is concerned.

    ``addresses`` are the pages of those of its subjects that are columns.
    """
    model = alert["model"]
    runs = list(reversed(timeline.runs(conn, model, most=WINDOWS, until=ended_by(alert))))
    if not runs:
        return {"addresses": {}, "charts": []}
    since = min(runs[0]["window_start"], alert["opened_window_start"] or runs[0]["window_start"])
    names = [str(one["subject"]) for one in members(alert) if one.get("subject")]
    known = timeline.watched(conn, model, names, since=since)
    addresses = {
        name: f"/models/{quote(model, safe='')}/features/{quote(name)}"
        for name in dict.fromkeys(names)
        if name in known
    }
    labels = [label_of(installation, model, run["window_start"], run["window_end"]) for run in runs]
    marks = marks_at(timeline.marks(conn, model, since=since), runs)
    charts = []
    for name in list(addresses)[:MOST_PLOTS]:
        cells = grouped(timeline.effects(conn, model, since=since, column=name)).get(name, {})
        row = [cells.get(run["window_start"]) for run in runs]
        band = next((each["minimum_detectable"] for each in reversed(row) if each and each["minimum_detectable"]), None)
        line = Line(name="effect", values=[None if each is None else each["effect"] for each in row])
        title = f"Shift of {name} against training, in its standard deviations"
        asked = timeline.sql_of("effects", model=model, since=since, column=name)
        charts.append((title, line_chart(title, [line], labels, marks=marks, band=band), asked))
    if not charts:
        drawn = metric_charts(timeline.performance(conn, model, since=since), runs, labels, marks)[:MOST_PLOTS]
        asked = timeline.sql_of("performance", model=model, since=since)
        charts = [(title, chart, asked) for title, chart in drawn]
    return {"addresses": addresses, "charts": [one for one in charts if one[1]]}


def ended_by(alert: Mapping[str, Any]) -> datetime | None:
    """Return until when an ended alert is of interest: ten times as long as it stood; None while it stands.

    >>> from datetime import UTC
    >>> one = {"resolved_at": datetime(2013, 1, 3, tzinfo=UTC), "opened_at": datetime(2013, 1, 2, tzinfo=UTC)}
    >>> ended_by(one).day, ended_by({**one, "resolved_at": None})
    (13, None)
    """
    if alert["resolved_at"] is None or alert["opened_at"] is None:
        return None
    end: datetime = alert["resolved_at"] + 10 * (alert["resolved_at"] - alert["opened_at"])
    return end


def columns(evidence: Sequence[Any]) -> tuple[list[str], list[list[Any]]]:
    """Return pieces of evidence as a table: names of columns, and a row for each piece.

    >>> columns([{"metric": "auc", "value": 0.6}, {"metric": "brier"}])
    (['metric', 'value'], [['auc', 0.6], ['brier', None]])
    """
    facts = [one for one in evidence if isinstance(one, Mapping)]
    names = list(dict.fromkeys(str(name) for fact in facts for name in fact))
    return names, [[fact.get(name) for name in names] for fact in facts]
