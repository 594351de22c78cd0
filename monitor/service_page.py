"""The pages about answering: who answers for a model (its circuit), and one request from its inputs to the advice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import quote

from litestar import get, post
from litestar.exceptions import ClientException, HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect, Template

from monitor import history, switchboard
from monitor.entrance import OPERATOR, Asked, Form, person_of
from monitor.intervention import change_circuit, fallback_cost
from monitor.message import plain
from monitor.page import shown
from monitor.source import SourceError
from monitor.tracing import traced

if TYPE_CHECKING:
    import sqlalchemy as sa

    from monitor.installation import Installation

REASON_LENGTH = 300
LONGEST_ID = 1000


class Turn(StrEnum):
    """What a person may do to a circuit on the page."""

    OPEN = "open"
    CLOSE = "close"


def handlers(installation: Installation, engine: sa.Engine, clock: Callable[[], datetime]) -> list[HTTPRouteHandler]:
    """Return the handlers of these pages; requests and switches are for operators, so they need tokens."""

    @get("/models/{model:str}/circuit", sync_to_thread=True, include_in_schema=False)
    def circuit(model: FromPath[str]) -> Template:
        watched = installation.model(model)
        with engine.connect() as conn:
            now_is = switchboard.load_circuit(conn, model)
            changes = history.rows_of(conn, "circuit_history", model=model, limit=100)
        cost = fallback_cost(watched)
        asked = history.sql_of("circuit_history", model=model, limit=100)
        return shown(installation, "circuit.html", model=model, circuit=now_is, changes=changes, cost=cost, asked=asked)

    @get("/models/{model:str}/trace", opt=OPERATOR, sync_to_thread=True, include_in_schema=False)
    def trace(
        model: FromPath[str], identity: Annotated[str, QueryParameter(name="id", max_length=LONGEST_ID)] = ""
    ) -> Template:
        watched = installation.model(model)
        wanted = identity.strip()
        try:
            found = traced(installation, watched, wanted) if wanted else None
        except SourceError as error:
            raise HTTPException(str(error), status_code=503) from error
        return shown(installation, "trace.html", model=model, identity=wanted, found=found)

    @post("/models/{model:str}/circuit/{turn:str}", opt=OPERATOR, sync_to_thread=True, include_in_schema=False)
    def switch(request: Asked, model: FromPath[str], turn: FromPath[Turn], data: Form) -> Redirect:
        watched = installation.model(model)
        person = person_of(request)
        assert person is not None, "the guard lets nobody else in"
        reason, at = plain(data.get("reason", ""), REASON_LENGTH), clock()
        if not reason:
            raise ClientException("Say why, for whoever reads the history; go back and fill it in.")
        section = watched.section.circuit
        fallback = {} if section is None else section.fallback
        with engine.begin() as conn:
            held = switchboard.hold_circuit(conn, model)
            try:
                if turn is Turn.OPEN:
                    changed = held.opened(reason=reason, actor=person.name, now=at, fallback=fallback)
                else:
                    changed = held.closed(reason=reason, actor=person.name)
            except ValueError as error:
                raise HTTPException(str(error), status_code=409) from error
            change_circuit(conn, installation, watched, changed, now=at)
        return Redirect(f"/models/{quote(model, safe='')}/circuit", status_code=303)

    offered: list[Any] = [circuit]
    return cast(list[HTTPRouteHandler], [*offered, trace, switch] if installation.config.web.tokens else offered)
