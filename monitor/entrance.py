"""Who gets in: tokens and cookies asked for, the host a browser meant, and the forms that log in and out."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

from litestar import Request, Response, get, post
from litestar.config.csrf import CSRFConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.enums import RequestEncodingType
from litestar.exceptions import ClientException, NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import Body, QueryParameter
from litestar.response import Redirect, Template
from litestar.types import Guard

from monitor.access import NAME, Person, Role, Tokens
from monitor.consistency import is_loopback
from monitor.settings import WebSection

log = logging.getLogger(__name__)

STAYS = timedelta(hours=12)  # a session
OPEN: dict[str, Any] = {"role": None}
"""`opt` of a handler that needs no token."""
OPERATOR: dict[str, Any] = {"role": Role.OPERATOR}
LONGEST_BODY = 64 * 1024  # bytes of a request

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
Asked = Request[Any, Any, Any]


def guard(web: WebSection, clock: Callable[[], datetime]) -> Guard:
    """Return the guard of every handler: who asks, and whether they may; a handler says by `opt["role"]` what it needs.

    Without tokens whoever reaches the page may read, and nobody may change anything. What changes something through
    the API needs the token itself: a browser sends a cookie along whoever asked it to.
    """

    def admit(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        needed = handler.opt.get("role", Role.VIEWER)
        tokens = web.tokens
        if tokens is None:
            if needed is Role.OPERATOR:
                raise PermissionDeniedException("Nothing can be changed here without web.tokens_file.")
            return
        person = _person(connection, tokens, clock(), only_token=bool(handler.opt.get("exclude_from_csrf")))
        if person is None and web.proxy_header is not None and not handler.opt.get("exclude_from_csrf"):
            person = _signed_on(connection, web)
            connection.state.by_proxy = person is not None
        connection.state.person = person
        if needed is None:
            return
        if person is None:
            raise NotAuthorizedException("This needs a token; send it as `Authorization: Bearer TOKEN`.")
        if not person.may(needed):
            raise PermissionDeniedException(f"{person.name} is a {person.role}; this needs an {needed}.")

    return admit


def _person(
    connection: ASGIConnection[Any, Any, Any, Any], tokens: Tokens, now: datetime, *, only_token: bool
) -> Person | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return tokens.person(token.strip())
    cookie = connection.cookies.get("__Host-monitor_session") or connection.cookies.get("monitor_session")
    return tokens.resume(cookie, now=now) if cookie and not only_token else None


def _signed_on(connection: ASGIConnection[Any, Any, Any, Any], web: WebSection) -> Person | None:
    """Return whom the proxy for single sign-on names; its header is believed from its own addresses alone.

    A header that comes from elsewhere, comes twice, or names nobody is refused: it is a mistake or an attack.
    """
    named = connection.headers.getall(web.proxy_header or "", [])
    if not named:
        return None
    host = connection.client.host if connection.client else ""
    if not any(_is_in(host, network) for network in web.proxy_addresses):
        log.warning("a name for single sign-on was refused", extra={"client": host})
        raise PermissionDeniedException(f"{web.proxy_header} came from {host}, which is none of web.proxy_addresses.")
    name = named[0].strip()
    if len(named) > 1 or not NAME.fullmatch(name):
        raise PermissionDeniedException(f"{web.proxy_header} must name one person, in letters, digits and . @ + - _")
    return Person(name=name, role=Role.OPERATOR if name in web.proxy_operators else Role.VIEWER)


def _is_in(host: str, network: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address in ipaddress.ip_network(network)


def person_of(request: Asked) -> Person | None:
    """Return who asks, None where nobody said or nobody has to say."""
    found: Person | None = request.state.get("person")
    return found


def meant_host(web: WebSection) -> Callable[[Asked], None]:
    """Return what refuses a browser that was led here by a name that is not ours (DNS rebinding).

    Only a page on the loopback is safe because nobody else reaches it, so there the Host header must be an address,
    localhost, or the host of web.base_url. Elsewhere names are as many as people give.
    """
    ours = {"localhost", (urlsplit(web.base_url).hostname or "") if web.base_url else ""}
    here = is_loopback(web.address[0])

    def check(request: Asked) -> None:
        try:
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        except ValueError:
            host = ""
        if here and host not in ours and not _is_address(host):
            raise ClientException("This page was asked for under a name that is not its own; set web.base_url.")

    return check


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_encrypted(web: WebSection) -> bool:
    """Return whether people reach the page over https, so that cookies may insist on it."""
    return bool(web.base_url) and urlsplit(web.base_url or "").scheme == "https"


def forms(web: WebSection) -> CSRFConfig | None:
    """Return how forms prove that they are ours; None where there are none."""
    if web.tokens is None:
        return None
    secure = is_encrypted(web)
    return CSRFConfig(
        secret=web.tokens.form_key(),
        cookie_name="__Host-monitor_form" if secure else "monitor_form",
        cookie_secure=secure,
        cookie_httponly=True,
        cookie_samesite="strict",
        exclude=["^/api", "^/metrics$", "^/healthz$", "^/readyz$", r"^/page\.css$", r"^/favicon\."],
    )


def handlers(web: WebSection, clock: Callable[[], datetime]) -> list[HTTPRouteHandler]:
    """Return the pages that log in and out; none where there are no tokens."""
    tokens = web.tokens
    if tokens is None:
        return []
    secure = is_encrypted(web)
    name = "__Host-monitor_session" if secure else "monitor_session"

    def session(value: str, seconds: int) -> Cookie:
        return Cookie(key=name, value=value, max_age=seconds, httponly=True, secure=secure, samesite="lax", path="/")

    @get("/login", opt=OPEN, sync_to_thread=False, include_in_schema=False)
    def ask(target: Annotated[str, QueryParameter(name="next")] = "/") -> Template:
        return Template("login.html", context={"target": within(target), "trouble": ""})

    @post("/login", opt=OPEN, sync_to_thread=False, include_in_schema=False, status_code=303)
    def enter(request: Asked, data: Form) -> Response[Any]:
        person = tokens.person(data.get("token", "").strip())
        target = within(data.get("next", "/"))
        if person is None:
            log.warning("a token was refused", extra={"client": request.client.host if request.client else ""})
            told = {"target": target, "trouble": "Nobody has this token; look whether all of it was copied."}
            return Template("login.html", context=told, status_code=403)
        value = tokens.begin(person, until=clock() + STAYS)
        return Redirect(target, status_code=303, cookies=[session(value, int(STAYS.total_seconds()))])

    @post("/logout", opt=OPEN, sync_to_thread=False, include_in_schema=False, status_code=303)
    def leave() -> Redirect:
        return Redirect("/login", status_code=303, cookies=[session("", 0)])

    return [ask, enter, leave]


def within(target: str) -> str:
    r"""Return a path of this page to go on to, `/` for everything else.

    >>> within("/alerts/ab?episode=1"), within("//evil.example.org"), within("/\\evil"), within("https://evil")
    ('/alerts/ab?episode=1', '/', '/', '/')
    """
    plain = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if plain and "\\" not in target else "/"
