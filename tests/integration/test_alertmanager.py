"""Alerts in a real Alertmanager: they fire until they are resolved, in one severity at a time."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from monitor.channels.alertmanager import AlertmanagerChannel
from monitor.check import Severity
from monitor.notification import DeliveryError, Notification, Reason
from tests.peers import HOST, HttpPeer, Reply, closed_port, notification, send

PATIENCE = 60.0
NOW = datetime.now(UTC) - timedelta(minutes=1)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an Alertmanager of our own."""
    folder = tmp_path_factory.mktemp("alertmanager")
    (folder / "config.yaml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    program = shutil.which("prometheus-alertmanager")
    assert program is not None
    listen = f"{HOST}:{closed_port()}"
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'config.yaml'}",
            f"--storage.path={folder}",
            f"--web.listen-address={listen}",
            "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                httpx.get(f"http://{listen}/-/ready", trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, "it never answered"
                assert process.poll() is None, "it ended"
                time.sleep(0.05)
        yield f"http://{listen}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def firing(address: str, thread: str) -> list[dict[str, Any]]:
    found = httpx.get(f"{address}/api/v2/alerts", params={"filter": f'thread="{thread}"'}, trust_env=False)
    alerts: list[dict[str, Any]] = found.raise_for_status().json()
    return alerts


def severities(address: str, thread: str) -> list[str]:
    return [one["labels"]["severity"] for one in firing(address, thread)]


def told(thread: str, **changes: Any) -> Notification:
    return replace(notification(), id=uuid4(), thread_key=thread, created_at=NOW, **changes)


@pytest.mark.needs("prometheus-alertmanager")
def test_an_episode_fires_in_one_severity_until_it_is_resolved(address: str) -> None:
    channel = AlertmanagerChannel(url=SecretStr(address + "/"), allow_private=True)
    send(channel, told("episode", severity=Severity.WARNING, title="Late flights"))
    (alert,) = firing(address, "episode")
    assert alert["labels"]["model"] == "flight-delay"
    assert alert["annotations"]["summary"] == "Late flights"
    assert datetime.fromisoformat(alert["endsAt"]) > NOW + timedelta(days=27)
    send(channel, told("episode", severity=Severity.CRITICAL, reason=Reason.ESCALATED))
    assert severities(address, "episode") == ["critical"]
    send(channel, told("episode", severity=Severity.CRITICAL, reason=Reason.REPEATED))
    assert severities(address, "episode") == ["critical"]
    send(channel, told("other", severity=Severity.INFO))
    send(channel, told("episode", severity=Severity.INFO, reason=Reason.RESOLVED))
    assert severities(address, "episode") == []
    assert severities(address, "other") == ["info"]


@pytest.mark.needs("prometheus-alertmanager")
def test_a_hostile_title_and_a_digest_are_taken(address: str) -> None:
    channel = AlertmanagerChannel(url=SecretStr(address), allow_private=True)
    send(channel, told("hostile", title='"}]\u202e<script>\n' + "x" * 10_000))
    assert len(firing(address, "hostile")) == 1
    send(channel, told("digest", reason=Reason.DIGEST, model=""))
    assert [one["labels"]["reason"] for one in firing(address, "digest")] == ["digest"]


def test_an_alertmanager_that_refuses_or_is_away_is_an_error() -> None:
    with HttpPeer(Reply(400, b"bad")) as peer:
        channel = AlertmanagerChannel(url=SecretStr(peer.url), allow_private=True)
        with pytest.raises(DeliveryError, match="answered 400") as refused:
            send(channel, told("t"))
        assert refused.value.permanent
        assert peer.requests[0].path == "/api/v2/alerts"
    with pytest.raises(DeliveryError, match="no connection") as away:
        send(AlertmanagerChannel(url=SecretStr(f"http://{HOST}:{closed_port()}"), allow_private=True), told("t"))
    assert not away.value.permanent
