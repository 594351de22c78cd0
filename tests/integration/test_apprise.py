"""Rules of the channel apprise, against a real HTTP peer that Apprise posts to."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from monitor.channels.apprise import LONGEST, AppriseChannel
from monitor.check import Severity
from monitor.config import ConfigError
from monitor.installation import Installation, load_config
from monitor.notification import DeliveryError, Reason
from tests.peers import HttpPeer, Reply, notification, send

CANARY = "canary-91c2"


def channel(peer: HttpPeer) -> AppriseChannel:
    return AppriseChannel(url=SecretStr(f"json{peer.url.removeprefix('http')}/{CANARY}"))


def test_the_message_arrives_as_text_with_its_severity() -> None:
    with HttpPeer() as peer:
        send(channel(peer), notification())
        send(channel(peer), notification(severity=Severity.WARNING))
        send(channel(peer), notification(reason=Reason.RESOLVED))
        bodies = [json.loads(request.body) for request in peer.requests]
    assert [body["type"] for body in bodies] == ["failure", "warning", "success"]
    assert bodies[0]["title"] == "Critical · flight-delay · 23 April 2013 · New: Late more often than predicted"
    for part in (
        "45 %, expected 19 %",
        "USD 1,240 on this day",
        "http://127.0.0.1:8080/alerts/1",
        "monitor notification",
    ):
        assert part in bodies[0]["message"], part


def test_a_name_calls_nobody_and_a_long_text_is_cut() -> None:
    with HttpPeer() as peer:
        send(channel(peer), notification(title="@everyone <!channel> <@U1>", summary="x" * 10_000))
        (request,) = peer.requests
    body = json.loads(request.body)
    for called in ("@everyone", "<!channel>", "<@"):
        assert called not in body["title"] + body["message"]
    assert len(body["message"]) <= LONGEST


def test_a_redirect_is_not_followed() -> None:
    with HttpPeer() as other, HttpPeer(Reply(302, b"", {"Location": other.url})) as peer:
        with pytest.raises(DeliveryError) as caught:
            send(channel(peer), notification())
        assert other.requests == []
    assert not caught.value.permanent


def test_no_log_has_the_address_in_it() -> None:
    written = io.StringIO()
    handler, root = logging.StreamHandler(written), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with HttpPeer(Reply(500, CANARY.encode())) as peer, pytest.raises(DeliveryError):
            send(channel(peer), notification())
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert CANARY not in written.getvalue()


def test_an_address_that_apprise_does_not_know_is_refused_without_showing_it(tmp_path: Path) -> None:
    file = tmp_path / "monitor.yaml"
    file.write_text(f"channels: {{pager: {{type: apprise, url: 'nonsense://{CANARY}'}}}}\n")
    with pytest.raises(ConfigError, match=r"channels\.pager: url is no address of a service") as caught:
        _ = Installation(config=load_config(file, {}), url="postgresql://127.0.0.1/x").channels
    assert CANARY not in str(caught.value)
