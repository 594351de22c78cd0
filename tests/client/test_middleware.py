"""Every request has an id and a trace, in what is logged and in the answer, under real servers."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import psycopg
import pytest
import uvicorn
from litestar import Litestar, get, post
from litestar import Request as HttpRequest
from litestar.middleware import DefineMiddleware
from psycopg.rows import dict_row

from monitor.embedded import Database
from monitor_client import AsgiMiddleware, PredictionLogger, Request, WsgiMiddleware, current
from monitor_client.context import arrived
from tests.client.conftest import PATIENCE, eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def logger(database: Database) -> Iterator[PredictionLogger]:
    with PredictionLogger(database.dsn, model="late", heartbeat_every=None) as made:
        yield made


def logged(database: Database, logger: PredictionLogger) -> list[dict[str, Any]]:
    assert logger.flush(PATIENCE)
    with psycopg.connect(database.dsn, row_factory=dict_row) as conn:
        return conn.execute("SELECT * FROM monitor.prediction_log ORDER BY id").fetchall()


@contextmanager
def served(app: Any) -> Iterator[httpx.Client]:
    """Serve an ASGI application with uvicorn and yield a client of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            eventually(lambda: server.started)
            port = listener.getsockname()[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


def litestar(logger: PredictionLogger, *, inside: bool) -> Any:
    @post("/predict")
    async def predict(request: HttpRequest[Any, Any, Any]) -> dict[str, float]:
        logger.log(await request.json(), score=0.5)
        return {"score": 0.5}

    @get("/sync", sync_to_thread=True)
    def sync() -> dict[str, str]:
        logger.log({}, score=0.5)
        return {"x-request-id": (current() or arrived(None, None)).request_id}

    if inside:
        return Litestar([predict, sync], middleware=[DefineMiddleware(AsgiMiddleware)])
    return AsgiMiddleware(Litestar([predict, sync]))


@pytest.mark.parametrize("inside", [False, True])
def test_an_asgi_service_logs_the_ids_of_the_request(
    database: Database, logger: PredictionLogger, inside: bool
) -> None:
    with served(litestar(logger, inside=inside)) as client:
        answer = client.post("/predict", json={"a": 1.0}, headers={"x-request-id": "r-1", "traceparent": PARENT})
        assert (answer.status_code, answer.headers.get_list("x-request-id")) == (201, ["r-1"])
        second = client.post("/predict", json={"a": 1.0})
        third = client.get("/sync")
        if not inside:  # a router refuses before its own middleware runs
            assert client.get("/nowhere").headers["x-request-id"]
    made = second.headers["x-request-id"]
    assert len(made) == 32
    assert third.json() == {"x-request-id": third.headers["x-request-id"]}
    rows = logged(database, logger)
    assert [row["request_id"] for row in rows] == ["r-1", made, third.headers["x-request-id"]]
    assert rows[0]["trace_id"] == TRACE
    assert len(rows[1]["trace_id"]) == 32
    assert current() is None


def test_requests_at_the_same_time_keep_their_own_ids(database: Database, logger: PredictionLogger) -> None:
    wrong: list[str] = []

    def ask(client: httpx.Client, name: str) -> None:
        for number in range(20):
            wanted = f"{name}-{number}"
            answer = client.get("/sync", headers={"x-request-id": wanted})
            if answer.json()["x-request-id"] != wanted:
                wrong.append(wanted)

    with served(litestar(logger, inside=False)) as client:
        threads = [threading.Thread(target=ask, args=(client, str(i))) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len({row["request_id"] for row in logged(database, logger)}) == 80


class Threaded(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the name that the base class has
        pass


@contextmanager
def wsgi(app: Any) -> Iterator[httpx.Client]:
    with make_server("127.0.0.1", 0, app, Threaded, Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}", trust_env=False) as client:
                yield client
        finally:
            server.shutdown()
            thread.join()


def test_a_wsgi_service_logs_the_ids_of_the_request(database: Database, logger: PredictionLogger) -> None:
    closed: list[str] = []

    class Pieces:
        """An answer that is made while it is sent."""

        def __iter__(self) -> Iterator[bytes]:
            logger.log({"late": True}, score=0.5)
            yield b"streamed"

        def close(self) -> None:
            closed.append((current() or arrived(None, None)).request_id)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [("content-type", "text/plain"), ("X-Request-Id", "the application's own")])
        if environ["PATH_INFO"] == "/stream":
            return Pieces()
        logger.log({}, score=0.5)
        return [b"whole"]

    with wsgi(WsgiMiddleware(app)) as client:
        answer = client.get("/", headers={"x-request-id": "r-1", "traceparent": PARENT})
        assert (answer.text, answer.headers.get_list("x-request-id")) == ("whole", ["r-1"])
        assert answer.headers["content-length"] == "5"
        streamed = client.get("/stream", headers={"x-request-id": "r-2"})
        assert (streamed.text, streamed.headers["x-request-id"]) == ("streamed", "r-2")
        assert client.get("/").headers["x-request-id"] not in ("r-1", "r-2")
    rows = logged(database, logger)
    assert [row["request_id"] for row in rows][:2] == ["r-1", "r-2"]
    assert rows[0]["trace_id"] == TRACE
    assert closed == ["r-2"]


def test_an_application_that_fails_leaves_no_id_behind() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        WsgiMiddleware(app)({}, lambda *_: None)
    assert current() is None


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{TRACE[:-1]}g-b7ad6b7169203331-01",
    ],
)
def test_a_malformed_trace_is_replaced_by_a_new_one(traceparent: str) -> None:
    request = arrived("r", traceparent)
    assert request.trace_id not in (TRACE, "0" * 32)
    assert len(request.trace_id) == 32


@pytest.mark.parametrize("request_id", ["", " ", "a b", "x" * 201, "a\nb", "é"])
def test_an_id_that_no_log_should_hold_is_replaced_by_a_new_one(request_id: str) -> None:
    assert len(arrived(request_id, None).request_id) == 32


def test_a_service_hands_its_ids_on() -> None:
    request = arrived("r-1", PARENT)
    headers = request.outgoing_headers()
    assert arrived(headers["x-request-id"], headers["traceparent"]) == request == Request("r-1", TRACE, "01")
    assert headers["traceparent"] != PARENT, "this service is the parent now"
