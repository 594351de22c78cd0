"""Rules of who gets in: a token for everything that changes something, forms of our own only, links that act once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa

from monitor import confirmation, episode, web
from monitor.alert import AlertState
from monitor.announcement import announce
from monitor.check import Severity
from monitor.confirmation import Deed
from monitor.decision import Decision
from monitor.embedded import Database
from monitor.health import Health
from monitor.installation import Installation, load_config
from monitor.notification import Notification, Reason
from tests.integration.test_web import CONFIG, KEY, NOW, alert, filled

OPERATOR, VIEWER = "o" * 40, "v" * 40
PAGES = ("/", f"/alerts/{KEY}", "/api/v1/models", "/api/openapi.json", "/metrics")
OPEN = ("/healthz", "/readyz", "/page.css", "/favicon.svg", "/login")
FORM = re.compile(r'name="_csrf_token" value="([^"]+)"')


@pytest.fixture
def build(tmp_path: Path, database: Database) -> Iterator[Callable[..., Installation]]:
    """Make an installation with tokens (unless told otherwise) and one open alert."""
    made: list[Installation] = []

    def installation(settings: str = "tokens_file: tokens") -> Installation:
        (tmp_path / "tokens").write_text(f"alice operator {OPERATOR}\ngrafana viewer {VIEWER}\n")
        file = tmp_path / "monitor.yaml"
        file.write_text(CONFIG.format(url=database.url) + f"web: {{{settings}}}\n")
        made.append(Installation(config=load_config(file, {}), url=database.url))
        with made[0].engine.begin() as conn:
            if len(made) == 1:
                filled(conn)
        return made[-1]

    yield installation
    for one in made:
        one.close()


@contextmanager
def served(installation: Installation) -> Iterator[httpx.Client]:
    app = web.create_app(installation, clock=lambda: NOW, health=Health)
    serving = web.serve(app, ("127.0.0.1", 0))
    try:
        with httpx.Client(base_url=serving.url, trust_env=False, timeout=30) as client:
            yield client
    finally:
        serving.stop()


@pytest.fixture
def installation(build: Callable[..., Installation]) -> Installation:
    return build("tokens_file: tokens, base_url: 'http://127.0.0.1:8080'")


@pytest.fixture
def client(installation: Installation) -> Iterator[httpx.Client]:
    with served(installation) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def form_key(answer: httpx.Response) -> str:
    found = FORM.search(answer.text)
    assert found, answer.text
    return found[1]


def log_in(client: httpx.Client, token: str, target: str = "/") -> httpx.Response:
    key = form_key(client.get("/login", params={"next": target}))
    return client.post("/login", data={"token": token, "next": target, "_csrf_token": key})


def acknowledged(installation: Installation) -> str | None:
    with installation.engine.begin() as conn:
        found = episode.find_alert(conn, KEY)
    assert found is not None
    return found.acknowledged_by


# --- reading --------------------------------------------------------------------------------------------------------


def test_with_tokens_everything_but_signs_of_life_needs_one(client: httpx.Client) -> None:
    for path in PAGES:
        answer = client.get(path)
        if path.startswith(("/api", "/metrics")):
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "Authorization: Bearer" in answer.json()["detail"]
        else:
            assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login"), path
        assert client.get(path, headers=bearer("x" * 40)).status_code in (303, 401), path
        assert client.get(path, headers=bearer(VIEWER)).status_code == 200, path
    for path in OPEN:
        assert client.get(path).status_code == 200, path


def test_without_tokens_the_page_is_read_and_nothing_can_be_changed(build: Callable[..., Installation]) -> None:
    installation = build("listen: '127.0.0.1:8080'")
    with served(installation) as client:
        for path in PAGES:
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert "set-cookie" not in answer.headers
        assert client.post(f"/api/v1/alerts/{KEY}/acknowledge", headers=bearer(OPERATOR)).status_code == 404
        assert client.get("/login").status_code == 404
    assert acknowledged(installation) is None


# --- signing in -----------------------------------------------------------------------------------------------------


def test_a_person_signs_in_goes_on_where_they_were_going_and_signs_out(client: httpx.Client) -> None:
    answer = log_in(client, VIEWER, f"/alerts/{KEY}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/alerts/{KEY}")
    page = client.get(f"/alerts/{KEY}")
    assert page.status_code == 200
    assert "grafana</bdi>, viewer" in page.text
    assert "<button>Acknowledge" not in page.text
    assert client.post("/logout", data={"_csrf_token": form_key(page)}).status_code == 303
    assert client.get("/").status_code == 303


def test_a_wrong_token_is_refused_with_a_sentence(client: httpx.Client) -> None:
    answer = log_in(client, "x" * 40)
    assert answer.status_code == 403
    assert "Nobody has this token" in answer.text
    assert "x" * 40 not in answer.text
    assert client.get("/").status_code == 303


@pytest.mark.parametrize("target", ["https://evil.example.org", "//evil.example.org", "/\\evil", "javascript:alert(1)"])
def test_signing_in_leads_nowhere_else(client: httpx.Client, target: str) -> None:
    assert log_in(client, VIEWER, target).headers["location"] == "/"


def test_cookies_are_out_of_reach_of_scripts_and_insist_on_https_where_people_use_it(
    build: Callable[..., Installation],
) -> None:
    with served(build("tokens_file: tokens, base_url: 'https://drift.example.org'")) as client:
        host = {"Host": "drift.example.org"}
        page = client.get("/login", headers=host)
        cookies = {"Cookie": page.headers["set-cookie"].partition(";")[0], **host}
        data = {"token": VIEWER, "_csrf_token": form_key(page)}
        answer = client.post("/login", data=data, headers=cookies)
        assert answer.status_code == 303
        for cookie in (page.headers["set-cookie"], answer.headers["set-cookie"]):
            lowered = cookie.lower()
            assert cookie.startswith("__Host-monitor_")
            for flag in ("; secure", "; httponly", "; samesite=", "; path=/"):
                assert flag in lowered, cookie
            assert "domain=" not in lowered
            assert VIEWER not in cookie


# --- changing something ---------------------------------------------------------------------------------------------


def test_an_operator_acknowledges_on_the_page(installation: Installation, client: httpx.Client) -> None:
    log_in(client, OPERATOR)
    page = client.get(f"/alerts/{KEY}")
    assert "<button>Acknowledge" in page.text
    answer = client.post(f"/alerts/{KEY}/acknowledge", data={"_csrf_token": form_key(page)})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/alerts/{KEY}")
    assert acknowledged(installation) == "alice"
    events = client.get(f"/alerts/{KEY}").text
    assert "acknowledged" in events
    assert "(alice)" in events


def test_a_viewer_changes_nothing(installation: Installation, client: httpx.Client) -> None:
    log_in(client, VIEWER)
    key = form_key(client.get(f"/alerts/{KEY}"))
    answer = client.post(f"/alerts/{KEY}/acknowledge", data={"_csrf_token": key})
    assert answer.status_code == 403
    assert "grafana is a viewer; this needs an operator." in answer.text
    assert client.post(f"/api/v1/alerts/{KEY}/acknowledge", headers=bearer(VIEWER)).status_code == 403
    assert acknowledged(installation) is None


def test_a_form_of_another_site_is_refused(installation: Installation, client: httpx.Client) -> None:
    log_in(client, OPERATOR)
    for data in ({}, {"_csrf_token": "x"}, {"_csrf_token": "0" * 128}):
        answer = client.post(f"/alerts/{KEY}/acknowledge", data=data)
        assert answer.status_code == 403
        assert "This form is not one of ours" in answer.text
    stranger = httpx.get(f"{client.base_url}/login", trust_env=False)
    answer = client.post(f"/alerts/{KEY}/acknowledge", data={"_csrf_token": form_key(stranger)})
    assert answer.status_code == 403, "a key of somebody else's session"
    assert acknowledged(installation) is None


def test_the_api_takes_a_token_and_no_cookie(installation: Installation, client: httpx.Client) -> None:
    path = f"/api/v1/alerts/{KEY[:12]}/acknowledge"
    log_in(client, OPERATOR)
    assert client.post(path).status_code == 401, "a browser sends a cookie along whoever asked it to"
    answer = client.post(path, headers=bearer(OPERATOR))
    assert answer.status_code == 200
    assert answer.json()["acknowledged_by"] == "alice"
    assert acknowledged(installation) == "alice"
    assert client.post("/api/v1/alerts/zzzz/acknowledge", headers=bearer(OPERATOR)).status_code == 404


def test_an_alert_that_is_over_is_not_taken_on(installation: Installation, client: httpx.Client) -> None:
    with installation.engine.begin() as conn:
        episode.save_alerts(conn, [alert(state=AlertState.RESOLVED, resolved_at=NOW)], at=NOW)
    answer = client.post(f"/api/v1/alerts/{KEY}/acknowledge", headers=bearer(OPERATOR))
    assert answer.status_code == 409
    assert "is resolved" in answer.json()["detail"]


# --- links in messages ----------------------------------------------------------------------------------------------


def told(installation: Installation, reason: Reason = Reason.FIRST) -> str | None:
    """Return the link to acknowledge of a message that is announced."""
    message = Notification(
        id=uuid4(), model="flight-delay", reason=reason, severity=Severity.CRITICAL, title="Late more often",
        summary="", created_at=NOW, thread_key="t", group_key="g", alert_keys=(KEY,),
    )  # fmt: skip
    with installation.engine.begin() as conn:
        announce(conn, installation, Decision(judgements={}, memories={}, notifications=[message]))
        payload = conn.scalars(
            sa.text("SELECT payload->'links'->>'Acknowledge' FROM monitor.notification ORDER BY created_at DESC")
        ).first()
    link = None if payload is None else str(payload)
    return link and link.removeprefix("http://127.0.0.1:8080")


def test_a_link_in_a_message_asks_first_and_acts_once(installation: Installation, client: httpx.Client) -> None:
    link = told(installation)
    assert link is not None
    for _ in range(3):  # scanners of mail open links, with GET and HEAD
        page = client.get(link)
        assert page.status_code == 200
        client.head(link)
    assert "Acknowledge this alert?" in page.text
    assert acknowledged(installation) is None
    data = {"name": "Bob <script>", "_csrf_token": form_key(page)}
    assert client.post(f"{link}/do", data={"name": "Bob"}).status_code == 403, "not from the page"
    assert client.post(f"{link}/do", data={**data, "name": " "}).status_code == 400, "nobody"
    done = client.post(f"{link}/do", data=data)
    assert done.status_code == 200
    assert "Bob &lt;script&gt; (by link)" in done.text
    assert acknowledged(installation) == "Bob <script> (by link)"
    again = client.post(f"{link}/do", data=data)
    assert again.status_code == 410
    assert "used already, by Bob &lt;script&gt; (by link)" in again.text
    assert client.get(link).status_code == 410


def test_a_link_used_by_who_is_signed_in_carries_their_name(installation: Installation, client: httpx.Client) -> None:
    log_in(client, VIEWER)
    link = told(installation)
    assert link is not None
    client.post(f"{link}/do", data={"_csrf_token": form_key(client.get(link))})
    assert acknowledged(installation) == "grafana"


def links(installation: Installation, **fields: Any) -> dict[str, str]:
    """The links of a message that is announced, below the page's address."""
    usual: dict[str, Any] = {"reason": Reason.FIRST, "alert_keys": (KEY,)}
    message = Notification(
        id=uuid4(), model="flight-delay", severity=Severity.CRITICAL, title="Late more often", summary="",
        created_at=NOW, thread_key="t", group_key="g", **{**usual, **fields},
    )  # fmt: skip
    with installation.engine.begin() as conn:
        announce(conn, installation, Decision(judgements={}, memories={}, notifications=[message]))
        query = "SELECT payload->'links' FROM monitor.notification WHERE notification_id = :id"
        found = conn.scalar(sa.text(query), {"id": message.id}) or {}
    return {label: str(link).removeprefix("http://127.0.0.1:8080") for label, link in found.items()}


def test_a_link_silences_alerts_of_its_kind_for_a_day(installation: Installation, client: httpx.Client) -> None:
    link = links(installation)["Silence a day"]
    page = client.get(link)
    assert "Silence alerts of this kind for a day?" in page.text
    done = client.post(f"{link}/do", data={"name": "Bob", "_csrf_token": form_key(page)})
    assert "has silenced for a day" in done.text
    with installation.engine.begin() as conn:
        (silence,) = episode.active_silences(conn, at=NOW + timedelta(hours=23))
        assert episode.active_silences(conn, at=NOW + timedelta(hours=24)) == []
    assert silence["author"] == "Bob (by link)"
    assert silence["matchers"] == {"model": ["flight-delay"], "family": ["outcome"]}
    assert client.get(link).status_code == 410


def test_a_link_approves_a_recommendation_once_and_says_who(installation: Installation, client: httpx.Client) -> None:
    with installation.engine.begin() as conn:
        identity = conn.scalar(sa.text("SELECT recommendation_id FROM monitor.recommendation"))
    details = {"recommendation_id": str(identity), "action": "RECALIBRATE"}
    offered = links(installation, reason=Reason.RECOMMENDATION, alert_keys=(), details=details)
    assert offered["Open"] == f"/recommendations/{identity}"
    page = client.get(offered["Approve"])
    assert "Approve this recommendation?" in page.text
    done = client.post(f"{offered['Approve']}/do", data={"name": "Bob", "_csrf_token": form_key(page)})
    assert "has approved" in done.text
    with installation.engine.begin() as conn:
        found = episode.load_recommendation(conn, identity)
    assert found is not None
    assert (found.state, found.decided_by) == ("approved", "Bob (by link)")
    assert client.get(offered["Approve"]).status_code == 410
    waiting = {"recommendation_id": str(identity), "action": "WATCH"}
    assert "Approve" not in links(installation, reason=Reason.RECOMMENDATION, alert_keys=(), details=waiting)


def test_a_link_dismisses_a_recommendation_and_the_link_that_approves_it_then_comes_too_late(
    installation: Installation, client: httpx.Client
) -> None:
    with installation.engine.begin() as conn:
        identity = conn.scalar(sa.text("SELECT recommendation_id FROM monitor.recommendation"))
    details = {"recommendation_id": str(identity), "action": "RECALIBRATE"}
    offered = links(installation, reason=Reason.RECOMMENDATION, alert_keys=(), details=details)
    page, other = client.get(offered["Dismiss"]), client.get(offered["Approve"])
    assert "Dismiss this recommendation?" in page.text
    done = client.post(f"{offered['Dismiss']}/do", data={"name": "Bob", "_csrf_token": form_key(page)})
    assert "has dismissed" in done.text
    late = client.post(f"{offered['Approve']}/do", data={"name": "Eve", "_csrf_token": form_key(other)})
    assert late.status_code == 409
    assert "dismissed already by Bob (by link)" in late.text
    with installation.engine.begin() as conn:
        found = episode.load_recommendation(conn, identity)
        calls = conn.scalar(sa.text("SELECT count(*) FROM monitor.notification WHERE reason = 'approved'"))
    assert found is not None
    assert (found.state, found.decided_by, calls) == ("dismissed", "Bob (by link)", 0)
    assert client.get(offered["Dismiss"]).status_code == 410


def test_a_link_expires_and_an_unknown_one_does_nothing(installation: Installation, client: httpx.Client) -> None:
    with installation.engine.begin() as conn:
        token = confirmation.offer(
            conn, Deed.ACKNOWLEDGE, {"alert_key": KEY}, now=NOW - timedelta(days=3), until=NOW
        )  # fmt: skip
        assert not confirmation.use(conn, token, by="x", now=NOW)
        hashes = conn.scalars(sa.text("SELECT token_hash FROM monitor.confirmation")).all()
    assert token not in hashes
    assert client.get(f"/confirm/{token}").status_code == 410
    assert client.get("/confirm/unknown").status_code == 404
    assert client.get(f"/confirm/{hashes[0]}").status_code == 404, "what is stored opens nothing"


def test_a_deed_that_cannot_be_done_leaves_its_link(installation: Installation, client: httpx.Client) -> None:
    link = told(installation)
    assert link is not None
    page = client.get(link)
    with installation.engine.begin() as conn:
        episode.save_alerts(conn, [alert(state=AlertState.RESOLVED, resolved_at=NOW)], at=NOW)
    assert client.post(f"{link}/do", data={"name": "Bob", "_csrf_token": form_key(page)}).status_code == 409
    assert client.get(link).status_code == 200


def test_messages_offer_a_link_only_where_it_can_work(build: Callable[..., Installation]) -> None:
    assert told(build("tokens_file: tokens, base_url: 'http://127.0.0.1:8080'"), Reason.RESOLVED) is None
    assert told(build("tokens_file: tokens")) is None
    assert told(build("base_url: 'http://127.0.0.1:8080'")) is None


# --- browsers that were led here ------------------------------------------------------------------------------------


def test_a_name_that_is_not_ours_is_refused_on_the_loopback(build: Callable[..., Installation]) -> None:
    with served(build("listen: '127.0.0.1:8080', base_url: 'https://drift.example.org'")) as client:
        for host in ("127.0.0.1:8080", "localhost:8080", "[::1]:8080", "drift.example.org"):
            assert client.get("/", headers={"Host": host}).status_code == 200, host
        for host in ("evil.example.org", "127.0.0.1.evil.example.org:8080", "localhost.evil.example.org", ""):
            answer = client.get("/", headers={"Host": host})
            assert answer.status_code == 400, host
            assert "under a name that is not its own" in answer.text
    with served(build("listen: '0.0.0.0:8080'")) as client:
        assert client.get("/", headers={"Host": "monitor:8080"}).status_code == 200


def test_a_body_that_is_too_large_is_refused(client: httpx.Client) -> None:
    key = form_key(client.get("/login"))
    answer = client.post("/login", data={"token": "x" * 100_000, "_csrf_token": key})
    assert answer.status_code == 413
