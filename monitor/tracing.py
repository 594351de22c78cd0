"""One request: the rows that were logged under its id, its labels, and what was made of the windows they fell into."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import psycopg

from monitor import history
from monitor.installation import Installation, Monitored
from monitor.source import SourceError
from monitor.sources.logged import CHAMPION
from monitor.sources.lookup import LoggedRequest, find_outcomes, find_request
from monitor.sources.session import connect


def traced(installation: Installation, watched: Monitored, request_id: str) -> dict[str, Any] | None:
    """Return predictions with their windows, findings, alerts and advice, and outcomes; None where nobody logged it.

    Raises SourceError where the logs cannot be read.
    """
    source = watched.section.source
    try:
        with connect(installation.source_dsn(watched.section), autocommit=True) as conn:
            requests = find_request(conn, source, request_id, model=watched.name)
            outcomes = find_outcomes(conn, source, request_id, model=watched.name)
    except psycopg.OperationalError as error:
        raise SourceError(f"The logs of {watched.name} cannot be read: {_first_line(error)}.") from error
    if not requests and not outcomes:
        return None
    with installation.engine.begin() as conn:
        predictions = [
            {**asdict(request), **_judged(conn, watched.name, request)}
            for request in sorted(requests, key=lambda request: request.role != CHAMPION)
        ]
    return {
        "model": watched.name,
        "request_id": request_id,
        "predictions": predictions,
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def _judged(conn: Any, model: str, request: LoggedRequest) -> dict[str, Any]:
    if request.occurred_at is None:
        return {"windows": [], "findings": [], "alerts": [], "recommendations": []}
    return history.judged(conn, model=model, role=request.role, at=request.occurred_at)


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
