"""The dead-man's switch: a sign leaves only when the store proves that work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.deadman import Deadman
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.worker import Worker
from tests.peers import HttpPeer, Reply
from tests.watched import DAY, MODEL, NOW, installed, log_rows, train, write_config


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    """The address outside."""
    with HttpPeer() as outside:
        yield outside


@pytest.fixture
def installation(tmp_path: Path, database: Database, peer: HttpPeer) -> Iterator[Installation]:
    """A watched model whose signs of life go to the peer."""
    rest = f'deadman: {{url: "{peer.url}/sign"}}\nsecurity: {{allow_private_addresses: true}}'
    with installed(write_config(tmp_path, database, rest=rest)) as found:
        log_rows(found)
        train(found)
        yield found


def test_a_sign_leaves_when_all_that_is_due_was_done(installation: Installation, peer: HttpPeer) -> None:
    Worker(installation=installation).advance(NOW)
    assert Deadman(installation=installation).sign(NOW) == ""
    assert [request.path for request in peer.requests] == ["/sign"]


def test_no_sign_leaves_while_a_run_is_overdue(installation: Installation, peer: HttpPeer) -> None:
    Worker(installation=installation).plan(NOW)
    assert "runs have been due for more than 15 minutes" in Deadman(installation=installation).sign(NOW)
    assert peer.requests == []


def test_a_run_that_has_just_become_due_is_no_standstill(installation: Installation) -> None:
    worker = Worker(installation=installation)
    worker.advance(NOW)
    due = NOW + DAY - timedelta(hours=1) + installation.model(MODEL).section.lag
    worker.plan(due)
    assert Deadman(installation=installation).standstill(due) == ""
    assert Deadman(installation=installation).standstill(due + timedelta(minutes=16)) != ""


def test_an_address_that_refuses_is_said_without_its_secret(installation: Installation, peer: HttpPeer) -> None:
    Worker(installation=installation).advance(NOW)
    peer.usual = Reply(status=500)
    said = Deadman(installation=installation).sign(NOW)
    assert "answered 500" in said
    assert "/sign" not in said


def test_a_store_that_is_away_sends_no_sign(tmp_path: Path, database: Database, peer: HttpPeer) -> None:
    rest = f'deadman: {{url: "{peer.url}/sign"}}\nsecurity: {{allow_private_addresses: true}}'
    with installed(write_config(tmp_path, database, rest=rest)) as found:
        away = Installation(config=found.config, url=found.url.replace("/test_", "/gone_"))
        assert "the store cannot be reached" in Deadman(installation=away).sign(NOW)
        away.close()
    assert peer.requests == []
