"""The daemon's web server: page, JSON, metrics, liveness and readiness. What changes something is in `deeds`."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
import uvicorn
from litestar import Litestar, MediaType, Request, Response, get
from litestar.datastructures import MutableScopeHeaders
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotAuthorizedException,
    NotFoundException,
    PermissionDeniedException,
)
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Redirect, Template
from litestar.template import TemplateConfig
from litestar.types import Message, Scope

from monitor import alert_page, api, deeds, entrance, model_page, page, runbook_page, schema, service_page
from monitor.entrance import OPEN
from monitor.failure import exit_code, reason
from monitor.health import Health
from monitor.installation import CODE_VERSION, Installation, UnknownModelError
from monitor.metrics import CONTENT_TYPE, Metrics

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "templates"
STATEMENT_TIMEOUT = timedelta(seconds=15)  # a page that takes longer is no page
STOP = 3  # seconds for answers under way; the daemon has ten in all
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MACHINE_PATHS = ("/api", "/healthz", "/readyz", "/metrics")

Asked = Request[Any, Any, Any]


def create_app(
    installation: Installation,
    *,
    clock: Callable[[], datetime],
    health: Callable[[], Health],
    metrics: Metrics | None = None,
) -> Litestar:
    """Return the application; it has connections of its own, so that neither starves the other.

    ``health`` tells whether the process is alive, ``metrics`` is what the daemon counts its runs with (without it only
    what is in the store is shown). Templates escape everything.
    """
    engine = schema.create_engine(
        installation.url,
        application_name="drift-monitor page",
        pool_size=2,
        max_overflow=2,
        statement_timeout=STATEMENT_TIMEOUT,
    )
    shown = metrics or Metrics(engine, clock=clock, version=CODE_VERSION)
    settings = installation.config.web

    @get("/healthz", opt=OPEN, sync_to_thread=False, summary="Whether the process is alive", tags=["operation"])
    def healthz() -> Response[dict[str, Any]]:
        found = health()
        ages = {part: round(age, 1) for part, age in found.ages.items()}
        return _state(found.is_alive, list(found.reasons), seconds_since_sign_of_life=ages)

    @get("/readyz", opt=OPEN, sync_to_thread=True, summary="Whether the store can be used", tags=["operation"])
    def readyz() -> Response[dict[str, Any]]:
        trouble = unready(installation.url)
        return _state(trouble is None, [] if trouble is None else [trouble])

    @get("/metrics", sync_to_thread=True, summary="Metrics for Prometheus", tags=["operation"])
    def scrape() -> Response[bytes]:
        return Response(shown.text(), media_type=CONTENT_TYPE)

    @get("/page.css", opt=OPEN, sync_to_thread=False, include_in_schema=False)
    def style() -> Response[bytes]:
        return _file("page.css", "text/css; charset=utf-8")

    @get(["/favicon.svg", "/favicon.ico"], opt=OPEN, sync_to_thread=False, include_in_schema=False)
    def favicon() -> Response[bytes]:
        return _file("favicon.svg", "image/svg+xml")

    return Litestar(
        route_handlers=[
            *page.handlers(installation, engine, clock),
            *model_page.handlers(installation, engine),
            *alert_page.handlers(installation, engine, clock),
            *service_page.handlers(installation, engine, clock),
            *runbook_page.handlers(installation),
            *entrance.handlers(settings, clock),
            *deeds.handlers(installation, engine, clock),
            api.router(installation, engine),
            *(healthz, readyz, scrape, style, favicon),
        ],
        template_config=TemplateConfig(instance=_templates()),
        openapi_config=OpenAPIConfig(
            title="drift-monitor",
            version=CODE_VERSION,
            description="What the monitor knows. The rows are those of the SQL views.",
            path="/api",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        exception_handlers={Exception: failed},
        before_send=[protect],
        before_request=entrance.meant_host(settings),
        guards=[entrance.guard(settings, clock)],
        csrf_config=entrance.forms(settings),
        request_max_body_size=entrance.LONGEST_BODY,
        on_shutdown=[engine.dispose],
        logging_config=None,
    )


async def protect(message: Message, scope: Scope) -> None:  # noqa: ARG001  # both are handed in
    """Put the headers that browsers need on every answer; a report brings a policy of its own."""
    if message["type"] == "http.response.start":
        headers = MutableScopeHeaders.from_message(message)
        for name, value in HEADERS.items():
            headers.setdefault(name, value)


def unready(url: str) -> str | None:
    """Return why the store cannot be used, in one sentence; None when it can."""
    try:
        return schema.mismatch(url)
    except sa.exc.SQLAlchemyError as error:
        return f"The store cannot be reached: {reason(error)}."


def failed(request: Asked, error: Exception) -> Response[Any]:
    """Return the answer to a request that could not be answered: a plain sentence, as a page or as JSON."""
    status, text = _sentence(request, error)
    if request.url.path.startswith(MACHINE_PATHS):
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        body = {"status": status, "detail": text}
        return Response(body, status_code=status, media_type=MediaType.JSON, headers=headers)
    if isinstance(error, NotAuthorizedException) and request.method == "GET":
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return Redirect("/login", query_params={"next": target}, status_code=303)
    return cast(Response[Any], Template("error.html", context={"status": status, "text": text}, status_code=status))


def _sentence(request: Asked, error: Exception) -> tuple[int, str]:
    match error:
        case UnknownModelError():
            return 404, str(error)
        case MethodNotAllowedException():
            return 405, f"{request.url.path} can only be read; ask with GET."
        case PermissionDeniedException() if error.detail.startswith("CSRF"):
            return 403, "This form is not one of ours or is too old; load the page again and send it from there."
        case NotFoundException() if error.detail in ("", "Not Found"):
            return 404, f"There is nothing at {request.url.path}; begin at /."
        case HTTPException():
            return error.status_code, _refusal(error)
        case sa.exc.TimeoutError():
            return 503, "All connections to the store are in use; try again in a moment."
        case sa.exc.OperationalError() | sa.exc.ProgrammingError() if found := exit_code(error):
            log.warning("a page could not be shown", extra={"path": request.url.path, "reason": reason(error)})
            return 503, found.text
        case sa.exc.DBAPIError() if error.connection_invalidated:
            return 503, f"The connection to the store was lost: {reason(error)}."
        case _:
            log.error("a page could not be shown", extra={"path": request.url.path}, exc_info=error)
            return 500, f"This went wrong on our side ({type(error).__name__}); the monitor's log has the details."


def _refusal(error: HTTPException) -> str:
    told = [item for item in error.extra if isinstance(item, dict)] if isinstance(error.extra, list) else []
    if not told:
        return error.detail
    return " ".join(f"{item.get('key', 'The request')}: {item.get('message', 'is not valid')}." for item in told)


def _state(good: bool, reasons: list[str], **more: Any) -> Response[dict[str, Any]]:
    body = {"status": "ok" if good else "unavailable", "reasons": reasons, **more}
    return Response(body, status_code=200 if good else 503, media_type=MediaType.JSON)


def _file(name: str, media_type: str) -> Response[bytes]:
    return Response(
        (TEMPLATES / name).read_bytes(), media_type=media_type, headers={"Cache-Control": "public, max-age=3600"}
    )


def _templates() -> JinjaTemplateEngine:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(page.FILTERS)
    return JinjaTemplateEngine.from_environment(environment)


# --- the server ---


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A server that runs in a thread of this process."""

    url: str
    server: uvicorn.Server
    thread: threading.Thread

    @property
    def is_alive(self) -> bool:
        """Whether it still answers."""
        return self.thread.is_alive()

    def stop(self) -> None:
        """Answer what is under way, for three seconds at most, then close the port."""
        self.server.should_exit = True
        self.thread.join(STOP + 2)


def serve(app: Litestar, address: tuple[str, int]) -> Serving:
    """Listen on host and port (0 takes any free one) and answer in a thread; returns once it does.

    Raises OSError with one sentence when the port cannot be had.
    """
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise OSError(f"The page cannot listen on {host}:{port} ({why}); change web.listen.") from error
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is who connects: single sign-on depends on it
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=STOP,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="web", daemon=True)
    thread.start()
    server.settled.wait()
    if not server.started:
        thread.join()
        listener.close()
        raise OSError("The page could not be started; the monitor's log has the details.")
    shown = f"[{host}]" if ":" in host else host
    return Serving(url=f"http://{shown}:{listener.getsockname()[1]}", server=server, thread=thread)


class _Server(uvicorn.Server):
    """Uvicorn's server that says when it has started, or failed to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.settled.set()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
        finally:
            self.settled.set()
