"""An endpoint in a process of its own is asked in its protocol, with pauses; what is no answer is one sentence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from monitor.deployment import EndpointSection
from monitor.endpoint import Endpoint, EndpointError
from tests.peers import HttpPeer, Reply, closed_port
from tests.scoring import score, scoring

ROWS = {"x": np.array([0.5, np.nan, 1.5]), "z": np.array([0.0, 1.0, -1.0]), "name": np.array(["a", None, "c"], object)}
EXPECTED = [score({"x": x, "z": z}) for x, z in ((0.5, 0.0), (0.0, 1.0), (1.5, -1.0))]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with scoring() as url:
        yield url


def endpoint(url: str, protocol: str = "json", **options: Any) -> Endpoint:
    return Endpoint(section=EndpointSection(url=url, protocol=protocol, per_second=1000, **options))


@pytest.mark.parametrize(
    ("path", "protocol", "options"),
    [
        ("/v2/models/m/infer", "v2", {}),
        ("/v2/models/m/infer", "v2", {"answer": "probabilities", "rows": 2}),
        ("/invocations", "mlflow", {}),
        ("/score", "json", {"answer": "predictions.score"}),
        ("/one", "json", {"request": {"features": "$row"}, "answer": "result"}),
        ("/one", "json", {"request": {"features": {"x": "$row.x", "z": "$row.z"}}, "answer": "result"}),
    ],
)
def test_each_protocol_gives_one_score_for_each_row(
    address: str, path: str, protocol: str, options: dict[str, Any]
) -> None:
    asked = endpoint(address + path, protocol, **options)
    np.testing.assert_allclose(asked(ROWS), EXPECTED)
    assert asked.version == ("7" if protocol == "v2" else "")


def test_requests_are_as_far_apart_as_configured(address: str) -> None:
    section = EndpointSection(url=f"{address}/invocations", protocol="mlflow", rows=1, per_second=20)
    asked = Endpoint(section=section)
    before, began = httpx.get(f"{address}/asked").json()["asked"], time.monotonic()
    asked(ROWS)
    asked(ROWS)
    assert httpx.get(f"{address}/asked").json()["asked"] - before == 6
    assert time.monotonic() - began >= 5 / 20


@pytest.mark.parametrize(
    ("reply", "protocol", "options", "sentence"),
    [
        (Reply(status=503, body=b"warming up"), "json", {}, "answered 503: warming up"),
        (Reply(body=b"<html>"), "json", {}, "answered no JSON: <html>"),
        (Reply(body=b'{"predictions": [1, 2]}'), "json", {}, "gave 2 predictions for 3 rows"),
        (Reply(body=b'{"predictions": ["a", "b", "c"]}'), "mlflow", {}, 'predicted "a", which is no number'),
        (Reply(body=b'{"error": "x"}'), "mlflow", {}, 'answered without predictions: {"error": "x"}'),
        (
            Reply(body=b'{"outputs": [{"name": "a"}, {"name": "b"}]}'),
            "v2",
            {},
            "has the outputs a, b; name one in answer",
        ),
        (Reply(body=b'{"outputs": [{"name": "a"}]}'), "v2", {"answer": "p"}, "has no output p; it has a"),
        (Reply(hang_up=True), "v2", {}, "does not answer"),
    ],
)
def test_an_answer_that_is_none_is_said_in_one_sentence(
    reply: Reply, protocol: str, options: dict[str, Any], sentence: str
) -> None:
    with HttpPeer(reply) as peer, pytest.raises(EndpointError) as error:
        endpoint(peer.url, protocol, **options)(ROWS)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_an_endpoint_that_is_not_there_is_said() -> None:
    with pytest.raises(EndpointError, match="does not answer"):
        endpoint(f"http://127.0.0.1:{closed_port()}/")(ROWS)


def test_the_token_is_sent_and_missing_values_are_null() -> None:
    with HttpPeer(Reply(body=b'{"predictions": [0, 0, 0]}')) as peer:
        endpoint(peer.url, token="s3cret")(ROWS)
    (request,) = peer.requests
    assert request.headers["authorization"] == "Bearer s3cret"
    assert b'{"x": null, "z": 1.0, "name": null}' in request.body
