"""The history as JSON: ``/api/v1/…``, one address for each view that people ask for. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, Router, get
from litestar.exceptions import ValidationException
from litestar.params import QueryParameter

from monitor import history

if TYPE_CHECKING:
    import sqlalchemy as sa

    from monitor.installation import Installation

MOST_ROWS = 1000

Limit = Annotated[int, QueryParameter(ge=1, le=MOST_ROWS, description="Most rows; the newest come first.")]
Model = Annotated[str | None, QueryParameter(description="Only of this model.")]
Since = Annotated[datetime | None, QueryParameter(description="Windows that begin at this time or later; with a zone.")]
Until = Annotated[datetime | None, QueryParameter(description="Windows that begin before this time; with a zone.")]
State = Annotated[str | None, QueryParameter(name="state", description="Only in this state.")]
Name = Annotated[str | None, QueryParameter(description="Only of this name.")]

Rows = list[dict[str, Any]]


def router(installation: Installation, engine: sa.Engine) -> Router:
    """Return the routes below ``/api/v1``; rows are those of the SQL views, times in ISO 8601, durations too."""

    def ask(request: Request[Any, Any, Any], view: str, *, model: str | None, **chosen: Any) -> Rows:
        known = sorted(_query_names(request.route_handler.parsed_fn_signature.parameters))
        unknown = sorted(set(request.query_params) - set(known))
        if unknown:
            takes = ", ".join(known)
            raise ValidationException(f"{request.url.path} has no parameter {unknown[0]}; it takes {takes}.")
        for name in ("since", "until"):
            if chosen.get(name) is not None and chosen[name].tzinfo is None:
                raise ValidationException(f"{name} needs a time zone, such as {chosen[name].isoformat()}Z.")
        if model is not None:
            chosen["model"] = installation.model(model).name
        equal = {name: value for name, value in chosen.items() if value is not None}
        with engine.connect() as conn:
            return history.rows_of(conn, view, **equal)

    @get("/models", sync_to_thread=True, summary="Where each model stands: view model_status")
    def models(request: Request[Any, Any, Any], model: Model = None, limit: Limit = 100) -> Rows:
        return ask(request, "model_status", model=model, limit=limit)

    @get("/alerts", sync_to_thread=True, summary="Episodes of alerts: view alert_history")
    def alerts(
        request: Request[Any, Any, Any], model: Model = None, in_state: State = None, limit: Limit = 100
    ) -> Rows:
        return ask(request, "alert_history", model=model, state=in_state, limit=limit)

    @get("/recommendations", sync_to_thread=True, summary="What was advised: view recommendation_history")
    def recommendations(
        request: Request[Any, Any, Any], model: Model = None, in_state: State = None, limit: Limit = 100
    ) -> Rows:
        return ask(request, "recommendation_history", model=model, state=in_state, limit=limit)

    @get("/runs", sync_to_thread=True, summary="The ledger, no window absent: view run_history")
    def runs(
        request: Request[Any, Any, Any],
        model: Model = None,
        in_state: State = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = 100,
    ) -> Rows:
        return ask(request, "run_history", model=model, state=in_state, since=since, until=until, limit=limit)

    @get("/findings", sync_to_thread=True, summary="Judgements: view finding_history")
    def findings(
        request: Request[Any, Any, Any],
        model: Model = None,
        check_name: Name = None,
        verdict: Name = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = 100,
    ) -> Rows:
        chosen = {"check_name": check_name, "verdict": verdict, "since": since, "until": until, "limit": limit}
        return ask(request, "finding_history", model=model, **chosen)

    @get("/performance", sync_to_thread=True, summary="How good the predictions were: view performance_history")
    def performance(
        request: Request[Any, Any, Any],
        model: Model = None,
        metric: Name = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = 100,
    ) -> Rows:
        return ask(request, "performance_history", model=model, metric=metric, since=since, until=until, limit=limit)

    handlers = [models, alerts, recommendations, runs, findings, performance]
    return Router("/api/v1", route_handlers=handlers, tags=["history"])


def _query_names(arguments: Iterable[str]) -> set[str]:
    # Litestar keeps the name "state" for itself.
    return {"state" if name == "in_state" else name for name in arguments if name != "request"}
