"""Middleware for ASGI and WSGI: every request has an id and a trace, and the answer carries the id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextvars import copy_context
from typing import Any

from monitor_client.context import REQUEST_ID_HEADER, TRACE_HEADER, arrived, enter, leave
from monitor_client.logger import flush_all

Message = MutableMapping[str, Any]
AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_REQUEST_ID = REQUEST_ID_HEADER.encode("ascii")
_TRACE = TRACE_HEADER.encode("ascii")


class AsgiMiddleware:
    """Around an ASGI application (FastAPI, Starlette, Litestar, Django): reads or makes the ids of each request.

    When the application has shut down, what its loggers have queued is written.
    """

    def __init__(self, app: AsgiApp) -> None:
        self.app = app

    # Every framework has types of its own for these three, none of which fits another.
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one connection; what is no request passes untouched."""
        if scope["type"] == "lifespan":

            async def ended(message: Message) -> None:
                # Servers that got SIGTERM end by it once the application has shut down: nothing at exit runs then.
                if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                    flush_all()
                await send(message)

            await self.app(scope, receive, ended)
            return
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        given: dict[bytes, bytes] = {}
        for name, value in scope.get("headers", ()):
            given.setdefault(name, value)
        request = arrived(_text(given.get(_REQUEST_ID)), _text(given.get(_TRACE)))

        async def reply(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != _REQUEST_ID]
                message["headers"] = [*headers, (_REQUEST_ID, request.request_id.encode("latin-1"))]
            await send(message)

        token = enter(request)
        try:
            await self.app(scope, receive, reply)
        finally:
            leave(token)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


class WsgiMiddleware:
    """Around a WSGI application (Flask, Django): reads or makes the ids of each request."""

    def __init__(self, app: WsgiApp) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request; the ids are known until its last byte is sent."""
        request = arrived(environ.get("HTTP_X_REQUEST_ID"), environ.get("HTTP_TRACEPARENT"))

        def reply(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            kept = [pair for pair in headers if pair[0].lower() != REQUEST_ID_HEADER]
            return start_response(status, [*kept, (REQUEST_ID_HEADER, request.request_id)], exc_info)

        # A server may draw the pieces of several answers in turn from one thread, so the ids live in a context of the
        # answer's own and never leak into what the thread does next.
        context = copy_context()
        context.run(enter, request)
        pieces = context.run(self.app, environ, reply)
        # A list is finished, and servers take its length for the length of the answer.
        return pieces if isinstance(pieces, list | tuple) else _Pieces(context.run, pieces)


class _Pieces:
    """The pieces of an answer, each made in the context of its request."""

    def __init__(self, run: Callable[..., Any], pieces: Iterable[bytes]) -> None:
        self._run, self._pieces = run, pieces
        self._iterator: Iterator[bytes] = run(iter, pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece: bytes = self._run(next, self._iterator)
        return piece

    def close(self) -> None:
        """Close the application's own answer, as servers expect."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            self._run(close)
