"""A service as somebody would run it: champion, shadow, canary, labels and an endpoint, with the client inside.

``uvicorn --factory tests.acceptance.service:create`` with MONITOR_URL and SPOOL; ``create_bare`` is the same without
the client, ``create_alone`` without the shadow. Its header ``server-timing`` says how long an answer took. The champion
knows x and z; the shadow answers the same, the canary the opposite. Its endpoint exchanges x and z, as a wrong
preprocessing would, and the candidate's has steps finer than any noise.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitor_client import AsgiMiddleware, Circuit, PredictionLogger, current
from tests.scoring import score

Send = Callable[[dict[str, Any]], Awaitable[None]]


def infer(body: dict[str, Any], behaviour: str) -> dict[str, Any]:
    """Answer in the Open Inference Protocol."""
    columns = {one["name"]: one["data"] for one in body["inputs"]}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    said = [score(row, behaviour) for row in rows]
    return {
        "model_version": "7",
        "outputs": [{"name": "score", "shape": [len(said)], "datatype": "FP64", "data": said}],
    }


@dataclass(kw_only=True)
class Service:
    """What it answers, by path."""

    logger: PredictionLogger
    circuit: Circuit
    shadows: bool = True

    def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer one request, by the canary if it is one of its requests; the shadow answers aside."""
        features, at = body["features"], body.get("at")
        began = time.perf_counter()
        request = current()
        assert request is not None, "the middleware made one"
        is_canary = self.circuit.in_canary(request.request_id)
        answer = self.circuit.answer(lambda: {"score": 1 - score(features) if is_canary else score(features)})
        said = dict(answer.value or {})
        if not answer.is_fallback:
            told: dict[str, Any] = {} if at is None else {"occurred_at": datetime.fromisoformat(at)}
            took = 1000 * (time.perf_counter() - began)
            whose: dict[str, Any] = {"role": "canary", "version": "9"} if is_canary else {}
            self.logger.log(features, score=said["score"], latency_ms=took, **whose, **told)
            if self.shadows:
                self.logger.shadow(lambda _: {"score": score(features), **told}, features, version="8")
        return {**said, "fallback": answer.is_fallback, "canary": is_canary}

    def outcome(self, body: dict[str, Any]) -> dict[str, Any]:
        """Take a label."""
        self.logger.outcome(body["id"], label=body["label"], observed_at=datetime.fromisoformat(body["at"]))
        return {"raised": dict(self.logger.troubles), "dropped": self.logger.dropped}

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        match path:
            case "/predict":
                return self.predict(body)
            case "/outcome":
                return self.outcome(body)
            case "/flush":
                return {"flushed": self.logger.flush(30), "dropped": self.logger.dropped}
            case "/v2/models/late/infer":
                return infer(body, "swapped")
            case "/v2/models/candidate/infer":
                return infer(body, "nervous")
        raise KeyError(path)

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send
    ) -> None:
        """Answer a request; the server says when it starts and ends."""
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        said = json.dumps(self.answer(scope["path"], json.loads(body or b"{}"))).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": said})


class Bare(Service):
    """The same service before the client was added."""

    def __init__(self) -> None:
        """Return it; it needs nothing."""

    def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        return {"score": score(body["features"]), "fallback": False, "canary": False}


@dataclass(kw_only=True)
class Timed:
    """An application with the milliseconds of each answer in a header, all that is around it included."""

    app: Callable[..., Awaitable[None]]

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send
    ) -> None:
        """Answer a request."""
        began = time.perf_counter()

        async def told(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                took = f"app;dur={1000 * (time.perf_counter() - began):.4f}".encode()
                message = {**message, "headers": [*message["headers"], (b"server-timing", took)]}
            await send(message)

        await self.app(scope, receive, told)


def create_bare() -> Timed:
    """Return the service without the client."""
    return Timed(app=Bare())


def create(*, shadows: bool = True) -> Timed:
    """Return the service as the server wants it."""
    url, spool = os.environ["MONITOR_URL"], os.environ["SPOOL"]
    logger = PredictionLogger(
        url, model="late", version="7", spool_directory=spool, heartbeat_every=1, shadow_queue=5000
    )
    circuit = Circuit(url, model="late", fallback={"score": 0.2}, cache_directory=spool)
    return Timed(app=AsgiMiddleware(Service(logger=logger, circuit=circuit, shadows=shadows)))


def create_alone() -> Timed:
    """Return the service with the client and without a shadow, which is another model and takes what that takes."""
    return create(shadows=False)
