"""The status page: where each model stands, its last windows, its open alerts; reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Template

from monitor import history, latest, timeline
from monitor.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from monitor.installation import Installation

UTC_ZONE = ZoneInfo("UTC")
WINDOWS = 10
ALERTS = 50
LIGHT_ORDER = {"red": 0, "yellow": 1, "grey": 2, "green": 3}
LIGHT_WORDS = {
    "red": "act now",
    "yellow": "needs attention",
    "grey": "could not tell",
    "green": "nothing found",
}
#: Whether to retrain, by the action that is advised; what forbids it comes first.
RETRAINING = {
    "INVESTIGATE_DATA": "not yet: look into the data first",
    "ROLL_BACK": "not yet: roll back first",
    "GET_LABELS": "not yet: too few labels to tell",
    "INSUFFICIENT_DATA": "not yet: too little data to tell",
    "RETRAIN": "yes, it is advised",
    "RECALIBRATE": "no need: recalibrating is enough",
}
#: A report's scripts may draw it and nothing more: they run without an origin and without a network.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline';"
    " img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def handlers(installation: Installation, engine: sa.Engine, clock: Callable[[], datetime]) -> list[HTTPRouteHandler]:
    """Return the handlers of the pages."""

    @get("/", sync_to_thread=True, include_in_schema=False)
    def index() -> Template:
        with engine.connect() as conn:
            standing = {row["model"]: row for row in history.status(conn)}
            rows = [standing.get(name) or not_yet(name) for name in sorted({*installation.models, *standing})]
            rows.sort(key=lambda row: (LIGHT_ORDER[row["light"]], row["model"]))
            still: dict[str, Any] = {"state": ["firing", "recovering"], "limit": ALERTS}
            alerts = history.rows_of(conn, "alert_history", **still)
            advice = history.rows_of(conn, "recommendation_history", state="open", limit=ALERTS)
            models = [
                {
                    **row,
                    "windows": latest.windows(conn, row["model"], most=WINDOWS),
                    "alerts": [alert for alert in alerts if alert["model"] == row["model"]],
                    "advice": [one for one in advice if one["model"] == row["model"]],
                }
                for row in rows
            ]
            for one in models:
                one["unseen"] = [each for each in one["windows"] if not (each["state"] == "done" and each["judged"])]
                one["retraining"] = retraining(one["advice"])
                one["asked"] = {
                    "status": history.sql_of("model_status", model=one["model"]),
                    "advice": history.sql_of("recommendation_history", model=one["model"], state="open", limit=ALERTS),
                    "alerts": history.sql_of("alert_history", model=one["model"], **still),
                    "windows": timeline.sql_of("windows", model=one["model"], most=WINDOWS),
                }
        return shown(installation, "index.html", models=models, words=LIGHT_WORDS, now=clock())

    @get("/reports/{report_id:uuid}", sync_to_thread=True, include_in_schema=False)
    def report(report_id: FromPath[UUID]) -> Response[bytes]:
        with engine.connect() as conn:
            row = history.load_report(conn, report_id)
        if row is None:
            raise NotFoundException(f"There is no report {report_id}; reports are kept as long as retention says.")
        body = row["body"] if row["body"] is not None else file_of(row["path"], installation.config.folder)
        if body is None:
            raise NotFoundException(f"The file of report {report_id} is gone; `monitor report` makes it again.")
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return Response(bytes(body), media_type="text/html; charset=utf-8", headers=headers)

    return cast(list[HTTPRouteHandler], [index, report])


def shown(installation: Installation, name: str, **values: Any) -> Template:
    """Return a page; its template may name windows and zones as each model's configuration does."""

    def zone(model: str) -> tzinfo:
        watched = installation.models.get(model)
        return UTC_ZONE if watched is None else watched.spec.zone

    label = partial(label_of, installation)
    return Template(name, context={"label": label, "zone": zone, **values})


def label_of(installation: Installation, model: str, start: datetime, end: datetime) -> str:
    """Return a window as people name it, in its model's time zone."""
    watched = installation.models.get(model)
    return local(start, UTC_ZONE) if watched is None else watched.spec.label(Window(start=start, end=end))


def not_yet(model: str) -> dict[str, Any]:
    """Return the row of a configured model that the store does not know."""
    columns = ("since", "worst_subject", "worst_effect", "cost_per_day_above_training", "currency", "last_window_end")
    empty = dict.fromkeys((*columns, "next_due_at", "open_recommendation", "reference_id", "reference_age"))
    return {"model": model, "light": "grey", "open_alerts": 0, **empty}


def retraining(advice: Sequence[Mapping[str, Any]]) -> str:
    """Return in a few words whether open advice speaks for retraining, the most cautious piece first.

    >>> retraining([]), retraining([{"action": "RETRAIN"}, {"action": "INVESTIGATE_DATA"}])
    ('nothing speaks for it', 'not yet: look into the data first')
    """
    actions = {str(one["action"]) for one in advice}
    return next((words for action, words in RETRAINING.items() if action in actions), "nothing speaks for it")


def file_of(path: str | None, folder: Path) -> bytes | None:
    """Return a report's file; None when it is gone, or no HTML below the folder of the configuration."""
    if path is None:
        return None
    place = (folder / path).resolve()
    if not place.is_relative_to(folder.resolve()) or place.suffix != ".html" or not place.is_file():
        return None
    return place.read_bytes()


# --- how values look ---


def local(at: datetime | None, zone: tzinfo) -> str:
    """Return a time as people write it, with its zone.

    >>> from datetime import UTC
    >>> local(datetime(2013, 4, 23, 12, tzinfo=UTC), ZoneInfo("America/New_York"))
    '23 Apr 2013 08:00 EDT'
    """
    return "–" if at is None else f"{at.astimezone(zone):%d %b %Y %H:%M %Z}"


def ago(at: datetime | None, now: datetime) -> str:
    """Return how long ago, or in how long.

    >>> from datetime import UTC, timedelta
    >>> noon = datetime(2013, 4, 23, 12, tzinfo=UTC)
    >>> ago(noon - timedelta(hours=3), noon), ago(noon + timedelta(minutes=5), noon)
    ('3 hours ago', 'in 5 minutes')
    """
    if at is None:
        return "–"
    seconds = (now - at).total_seconds()
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if abs(seconds) >= 2 * size or (unit == "minute" and abs(seconds) >= size):
            count = int(abs(seconds) // size)
            words = f"{count} {unit}{'' if count == 1 else 's'}"
            return f"{words} ago" if seconds > 0 else f"in {words}"
    return "just now"


def figure(value: Any) -> str:
    """Return a number with four digits that count; a dash for none.

    >>> figure(0.123456), figure(1234567.0), figure(None), figure(12)
    ('0.1235', '1,234,567', '–', '12')
    """
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float | Decimal):
        number = float(value)
        return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"
    return str(value)


def money(amount: Any, currency: str | None) -> str:
    """Return an amount with its sign and currency.

    >>> money(-12.3, "USD"), money(None, "USD")
    ('−USD 12', '–')
    """
    if amount is None:
        return "–"
    sign = "−" if float(amount) < 0 else "+"
    size = abs(float(amount))
    return f"{sign}{currency or ''} {size:,.0f}" if size >= 10 else f"{sign}{currency or ''} {size:,.2f}"


def members(alert: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return an alert's subjects as the page lists them, whatever an older version stored."""
    return [one for one in alert["subjects"] or () if isinstance(one, Mapping)]


FILTERS: Mapping[str, Any] = {"local": local, "ago": ago, "figure": figure, "money": money, "members": members}
