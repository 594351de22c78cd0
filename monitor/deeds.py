"""What people do from page and messages: acknowledge, approve, dismiss; each deed has a person and is written down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import sqlalchemy as sa
from litestar import get, post
from litestar.exceptions import ClientException, HTTPException, NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Redirect, Template

from monitor import approval, confirmation, episode
from monitor.alert import Alert
from monitor.confirmation import Confirmation, Deed
from monitor.entrance import OPEN, OPERATOR, Asked, Form, person_of
from monitor.message import plain
from monitor.recommendation import RecommendationState

if TYPE_CHECKING:
    from monitor.installation import Installation

ACKNOWLEDGED_FOR = timedelta(hours=72)
NAME_LENGTH = 80
REASON_LENGTH = 300


class Verdict(StrEnum):
    """What a person may say to a recommendation."""

    APPROVE = "approve"
    DISMISS = "dismiss"

    @property
    def state(self) -> RecommendationState:
        """How the recommendation then stands."""
        return RecommendationState.APPROVED if self is Verdict.APPROVE else RecommendationState.DISMISSED


class Length(StrEnum):
    """How long a silence may be that is made with a button."""

    HOURS = "two hours"
    DAY = "a day"
    WEEK = "a week"

    @property
    def time(self) -> timedelta:
        """The same as a duration."""
        return {"two hours": timedelta(hours=2), "a day": timedelta(days=1), "a week": timedelta(days=7)}[self.value]


def found(conn: sa.Connection, key: str) -> Alert:
    """Return the alert whose key begins with ``key``; raises an error with a sentence where there is not one."""
    try:
        alert = episode.find_alert(conn, key)
    except ValueError as ambiguous:
        raise ClientException(str(ambiguous)) from ambiguous
    if alert is None:
        raise NotFoundException(f"There is no alert {key}; the open ones are on the first page.")
    return alert


def acknowledge(conn: sa.Connection, key: str, *, by: str, at: datetime) -> Alert:
    """Take on the alert whose key begins with ``key``; raises an error with a sentence where that cannot be."""
    alert = found(conn, key)
    if not episode.acknowledge(conn, alert, by=by, at=at, until=at + ACKNOWLEDGED_FOR):
        raise HTTPException(f"Alert {alert.key[:12]} is {alert.state}, so nothing can be taken on.", status_code=409)
    return alert


def silence(conn: sa.Connection, key: str, length: Length, *, by: str, reason: str, at: datetime) -> Alert:
    """Tell nobody of the alerts of this kind and model for a while; raises an error with a sentence."""
    alert = found(conn, key)
    why = plain(reason, REASON_LENGTH)
    if not why:
        raise ClientException("A silence says why, for whoever finds it; go back and fill it in.")
    matchers = {"model": [alert.model], "family": [alert.family]}
    episode.add_silence(conn, matchers=matchers, starts_at=at, ends_at=at + length.time, author=by, reason=why)
    return alert


def decide(
    conn: sa.Connection, installation: Installation, identity: UUID, verdict: Verdict, *, by: str, at: datetime
) -> approval.Decided:
    """Approve or dismiss a recommendation; raises an error with a sentence where that cannot be."""
    try:
        return approval.decide(conn, installation, identity, verdict.state, by=by, at=at)
    except approval.DecisionError as error:
        raise HTTPException(str(error), status_code=409 if error.known else 404) from error


def handlers(installation: Installation, engine: sa.Engine, clock: Callable[[], datetime]) -> list[HTTPRouteHandler]:
    """Return the handlers that change something; none where there are no tokens."""
    if installation.config.web.tokens is None:
        return []

    def look(conn: sa.Connection, token: str) -> Confirmation:
        link = confirmation.find(conn, token)
        if link is None:
            raise NotFoundException("This link is not known; the page has the same button.")
        if link.used_at is not None:
            raise HTTPException(f"This link was used already, by {link.used_by}; it works once.", status_code=410)
        if link.expires_at <= clock():
            raise HTTPException("This link is too old; the page has the same button.", status_code=410)
        return link

    def asked(link: Confirmation, token: str, *, done: str = "") -> Template:
        told = {"deed": link.deed, "subject": link.subject, "token": token, "done": done}
        return Template("confirm.html", context=told)

    def operator(request: Asked) -> str:
        person = person_of(request)
        assert person is not None, "the guard lets nobody else in"
        return person.name

    def taken_on(request: Asked, key: str, at: datetime) -> Alert:
        with engine.begin() as conn:
            return acknowledge(conn, key, by=operator(request), at=at)

    @post("/alerts/{key:str}/acknowledge", opt=OPERATOR, sync_to_thread=True, include_in_schema=False, status_code=303)
    def take_on(request: Asked, key: FromPath[str]) -> Redirect:
        alert = taken_on(request, key, clock())
        return Redirect(f"/alerts/{quote(alert.key)}", status_code=303)

    @post(
        "/api/v1/alerts/{key:str}/acknowledge",
        opt={**OPERATOR, "exclude_from_csrf": True},
        sync_to_thread=True,
        status_code=200,
        summary="Take an alert on: it is not repeated for 72 hours unless it gets worse",
        tags=["deeds"],
    )
    def take_on_by_program(request: Asked, key: FromPath[str]) -> dict[str, Any]:
        at = clock()
        alert = taken_on(request, key, at)
        by = operator(request)
        return {
            "alert_key": alert.key, "episode": alert.episode, "acknowledged_by": by, "until": at + ACKNOWLEDGED_FOR
        }  # fmt: skip

    @post("/alerts/{key:str}/silence", opt=OPERATOR, sync_to_thread=True, include_in_schema=False, status_code=303)
    def quiet(request: Asked, key: FromPath[str], data: Form) -> Redirect:
        try:
            length = Length(data.get("length", ""))
        except ValueError as error:
            raise ClientException(f"Say how long: {', '.join(Length)}.") from error
        with engine.begin() as conn:
            alert = silence(conn, key, length, by=operator(request), reason=data.get("reason", ""), at=clock())
        return Redirect(f"/alerts/{quote(alert.key)}", status_code=303)

    def decided(request: Asked, identity: UUID, verdict: Verdict) -> approval.Decided:
        with engine.begin() as conn:
            return decide(conn, installation, identity, verdict, by=operator(request), at=clock())

    def carry_out(conn: sa.Connection, link: Confirmation, *, by: str, at: datetime) -> None:
        match link.deed:
            case Deed.ACKNOWLEDGE:
                acknowledge(conn, str(link.subject["alert_key"]), by=by, at=at)
            case Deed.SILENCE:
                why = "by a link in a message"
                silence(conn, str(link.subject["alert_key"]), Length.DAY, by=by, reason=why, at=at)
            case Deed.APPROVE | Deed.DISMISS:
                identity, verdict = UUID(str(link.subject["recommendation_id"])), Verdict(link.deed.value)
                decide(conn, installation, identity, verdict, by=by, at=at)

    @post(
        "/recommendations/{identity:uuid}/{verdict:str}",
        opt=OPERATOR,
        sync_to_thread=True,
        include_in_schema=False,
        status_code=303,
    )
    def decide_on_page(request: Asked, identity: FromPath[UUID], verdict: FromPath[Verdict]) -> Redirect:
        found = decided(request, identity, verdict)
        return Redirect(f"/models/{quote(found.advice.model, safe='')}", status_code=303)

    @post(
        "/api/v1/recommendations/{identity:uuid}/{verdict:str}",
        opt={**OPERATOR, "exclude_from_csrf": True},
        sync_to_thread=True,
        status_code=200,
        summary="Approve or dismiss an open recommendation; what is approved goes to the configured webhook",
        tags=["deeds"],
    )
    def decide_by_program(request: Asked, identity: FromPath[UUID], verdict: FromPath[Verdict]) -> dict[str, Any]:
        found = decided(request, identity, verdict)
        told = {name: getattr(found.advice, name) for name in ("model", "action", "state", "decided_by", "decided_at")}
        return {"recommendation_id": identity, **told, "webhook": found.hook}

    @get("/confirm/{token:str}", opt=OPEN, sync_to_thread=True, include_in_schema=False)
    def ask(token: FromPath[str]) -> Template:
        with engine.connect() as conn:
            return asked(look(conn, token), token)

    # Litestar wraps a handler in a thread twice where GET and POST of one path both ask for it: hence the longer path.
    @post("/confirm/{token:str}/do", opt=OPEN, sync_to_thread=True, include_in_schema=False, status_code=200)
    def confirm(request: Asked, token: FromPath[str], data: Form) -> Template:
        person, at = person_of(request), clock()
        name = plain(data.get("name", ""), NAME_LENGTH)
        if person is None and not name:
            raise ClientException("Say who you are, so that others know who it was; go back and fill it in.")
        by = person.name if person is not None else f"{name} (by link)"
        with engine.begin() as conn:
            link = look(conn, token)
            if not confirmation.use(conn, token, by=by, now=at):
                raise HTTPException("This link was used at this very moment by somebody else.", status_code=410)
            carry_out(conn, link, by=by, at=at)
        return asked(link, token, done=by)

    return [take_on, take_on_by_program, quiet, decide_on_page, decide_by_program, ask, confirm]
