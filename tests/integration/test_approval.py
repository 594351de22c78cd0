"""Rules of approvals: a person decides once, what was approved is called once however often it must be tried."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa

from monitor import approval, episode, web
from monitor.approval import DecisionError
from monitor.channels.webhook import sign
from monitor.dispatcher import deliver
from monitor.embedded import Database
from monitor.health import Health
from monitor.installation import Installation, load_config
from monitor.recommendation import RecommendationState
from tests.integration.test_entrance import OPERATOR, VIEWER, bearer, form_key, log_in
from tests.integration.test_web import CONFIG, NOW, filled
from tests.peers import HttpPeer, Reply


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    with HttpPeer() as running:
        yield running


@pytest.fixture
def installation(tmp_path: Path, database: Database, peer: HttpPeer) -> Iterator[Installation]:
    (tmp_path / "tokens").write_text(f"alice operator {OPERATOR}\ngrafana viewer {VIEWER}\n")
    (tmp_path / "secret").write_text("key of the hook\n")
    file = tmp_path / "monitor.yaml"
    hook = f"    retraining: {{webhook: '{peer.url}', webhook_secret_file: secret}}\n"
    rest = "web: {tokens_file: tokens}\nsecurity: {allow_private_addresses: true}\n"
    file.write_text(CONFIG.format(url=database.url) + hook + rest)
    made = Installation(config=load_config(file, {}), url=database.url)
    with made.engine.begin() as conn:
        filled(conn)
    yield made
    made.close()


@pytest.fixture
def client(installation: Installation) -> Iterator[httpx.Client]:
    serving = web.serve(web.create_app(installation, clock=lambda: NOW, health=Health), ("127.0.0.1", 0))
    try:
        with httpx.Client(base_url=serving.url, trust_env=False, timeout=30) as client:
            yield client
    finally:
        serving.stop()


@pytest.fixture
def advice(installation: Installation) -> UUID:
    with installation.engine.begin() as conn:
        (found,) = conn.execute(sa.text("SELECT recommendation_id FROM monitor.recommendation")).scalars()
    assert isinstance(found, UUID)
    return found


def pass_on(installation: Installation) -> dict[str, int]:
    """Deliver what is due, as the daemon does."""
    with installation.engine.begin() as conn:
        conn.execute(sa.text("UPDATE monitor.delivery SET next_at = clock_timestamp()"))
    outcomes = asyncio.run(deliver(installation.engine, installation.carriers, now=NOW, rng=random.Random(1)))
    return {str(outcome): count for outcome, count in outcomes.items()}


def let_pass(installation: Installation) -> timedelta:
    """Let the pause until the next try pass: all that is written down becomes older by it. Returns the pause."""
    with installation.engine.begin() as conn:
        pause = conn.scalars(
            sa.text(
                "SELECT greatest(d.next_at, c.not_before) - clock_timestamp()"
                " FROM monitor.delivery d LEFT JOIN monitor.channel_state c USING (channel)"
            )
        ).one()
        assert isinstance(pause, timedelta)
        for older in (
            "delivery SET next_at = next_at - :pause, created_at = created_at - :pause",
            "notification SET created_at = created_at - :pause",
            "channel_state SET not_before = not_before - :pause, opened_at = opened_at - :pause",
        ):
            conn.execute(sa.text(f"UPDATE monitor.{older}"), {"pause": pause})
    return pause


def test_an_approval_from_two_places_at_once_calls_once_also_where_the_hook_is_down_for_a_while(
    installation: Installation, client: httpx.Client, advice: UUID, peer: HttpPeer
) -> None:
    def by_program(_: int) -> int:
        path = f"/api/v1/recommendations/{advice}/approve"
        return httpx.post(str(client.base_url.join(path)), headers=bearer(OPERATOR), trust_env=False).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(by_program, range(4))) == [200, 409, 409, 409]
    peer.replies.extend([Reply(503, b""), Reply(500, b"")])
    assert pass_on(installation) == {"retry": 1}
    assert pass_on(installation) == {"retry": 1}
    assert pass_on(installation) == {"sent": 1}
    assert pass_on(installation) == {}
    assert len({request.headers["idempotency-key"] for request in peer.requests}) == 1
    body = peer.requests[-1].body
    stamp = peer.requests[-1].headers["x-monitor-signature"]
    assert stamp == sign(body, "key of the hook", at=int(stamp[2 : stamp.index(",")]))
    told = json.loads(body)["notification"]
    assert (told["reason"], told["model"]) == ("approved", "flight-delay")
    assert told["details"]["recommendation_id"] == str(advice)
    assert told["details"]["action"] == "RECALIBRATE"
    assert told["details"]["approved_by"] == "alice"


def test_a_hook_that_is_down_for_an_hour_is_called_once_it_is_back_with_the_same_key(
    installation: Installation, advice: UUID, peer: HttpPeer
) -> None:
    with installation.engine.begin() as conn:
        approval.decide(conn, installation, advice, RecommendationState.APPROVED, by="bob", at=NOW)
    waited = timedelta(0)
    while waited < timedelta(hours=1):
        peer.replies.append(Reply(503, b""))
        assert "sent" not in pass_on(installation)
        waited += let_pass(installation)
    asked = len(peer.requests)
    assert asked > 3
    assert pass_on(installation) == {"sent": 1}
    assert len(peer.requests) == asked + 1
    assert len({request.headers["idempotency-key"] for request in peer.requests}) == 1
    assert pass_on(installation) == {}


def test_the_page_offers_the_decision_to_operators_alone_and_says_who_took_it(
    installation: Installation, client: httpx.Client, advice: UUID
) -> None:
    action = f"/recommendations/{advice}/dismiss"
    log_in(client, VIEWER)
    assert action not in client.get("/models/flight-delay").text
    log_in(client, OPERATOR)
    page = client.get("/models/flight-delay")
    assert action in page.text
    assert action in client.get("/").text
    refused = client.post(action)
    assert refused.status_code == 403, "a form of another site"
    answer = client.post(action, data={"_csrf_token": form_key(page)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/models/flight-delay")
    assert "dismissed by <bdi>alice</bdi>" in client.get("/models/flight-delay").text
    assert pass_on(installation) == {}, "what was dismissed calls nobody"


def test_who_may_not_decide_or_comes_too_late_is_told_so(client: httpx.Client, advice: UUID) -> None:
    path = f"/api/v1/recommendations/{advice}"
    assert client.post(f"{path}/approve").status_code == 401
    assert client.post(f"{path}/approve", headers=bearer(VIEWER)).status_code == 403
    assert client.post(f"{path}/maybe", headers=bearer(OPERATOR)).status_code in (400, 404)
    none = client.post(f"/api/v1/recommendations/{uuid4()}/approve", headers=bearer(OPERATOR))
    assert (none.status_code, "There is no recommendation" in none.text) == (404, True)
    assert client.post(f"{path}/approve", headers=bearer(OPERATOR)).json()["webhook"] == "flight-delay:retraining"
    late = client.post(f"{path}/dismiss", headers=bearer(OPERATOR))
    assert late.status_code == 409
    assert "is approved already by alice" in late.json()["detail"]


def test_an_approval_that_is_rolled_back_calls_nobody(installation: Installation, advice: UUID) -> None:
    with installation.engine.connect() as conn:
        approval.decide(conn, installation, advice, RecommendationState.APPROVED, by="bob", at=NOW)
        conn.rollback()
    assert pass_on(installation) == {}
    with installation.engine.begin() as conn:
        found = episode.load_recommendation(conn, advice)
        assert found is not None
        assert found.state is RecommendationState.OPEN
        with pytest.raises(DecisionError, match="There is no recommendation"):
            approval.decide(conn, installation, uuid4(), RecommendationState.APPROVED, by="bob", at=NOW)
