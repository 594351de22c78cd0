"""Channels against real servers: what arrives, how each failure is classified, and what an error never says."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from pydantic import SecretStr

from monitor.channels.email import EmailChannel
from monitor.channels.slack import SlackChannel
from monitor.channels.webhook import WebhookChannel
from monitor.notification import Channel, DeliveryError, Reason, from_json
from tests.peers import HOST, HttpPeer, MailPeer, Reply, certificate, closed_port, dribble, notification, send

HOOK = "/services/T0000/B0000/canary-of-the-hook"
PICTURE = b"\x89PNG\r\n\x1a\n and so on"


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    with HttpPeer() as running:
        yield running


def refused(channel: Channel, told: Any = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        send(channel, told or notification())
    return caught.value


def hook(peer: HttpPeer) -> SlackChannel:
    return SlackChannel(webhook_url=SecretStr(peer.url + HOOK), allow_private=True)


def bot(peer: HttpPeer) -> SlackChannel:
    return SlackChannel(token=SecretStr("xoxb-canary"), channel="#ops", api_url=f"{peer.url}/api", allow_private=True)


def webhook(peer: HttpPeer, **options: Any) -> WebhookChannel:
    return WebhookChannel(url=SecretStr(peer.url + "/in?key=canary-of-url"), allow_private=True, **options)


def mail(peer: MailPeer, **options: Any) -> EmailChannel:
    usual = {"security": "none", "sender": "monitor@example.org", "recipients": ("a@example.org", "b@example.org")}
    return EmailChannel(**{"host": HOST, "port": peer.port, **usual, **options})


# --- Slack ---


def test_a_slack_webhook_gets_blocks_and_a_fallback_text(peer: HttpPeer) -> None:
    assert send(hook(peer), notification()).status == "200"
    (request,) = peer.requests
    body = json.loads(request.body)
    assert request.path == HOOK
    assert body["blocks"][0]["text"]["text"] == "🔴 Critical: Late more often than predicted"
    assert body["text"].startswith("Critical · flight-delay · 23 April 2013 · New: Late more often")


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"OK", b"ok\n", b"", b"ok" * 70_000])
def test_a_slack_webhook_has_the_message_only_if_it_says_exactly_ok(peer: HttpPeer, body: bytes) -> None:
    peer.usual = Reply(200, body)
    error = refused(hook(peer))
    assert not error.permanent
    assert "not as Slack does" in str(error)


def test_a_slack_bot_answers_in_the_thread(peer: HttpPeer) -> None:
    peer.usual = Reply(200, b'{"ok": true, "ts": "1366.01"}')
    assert send(bot(peer), notification()).reference == "1366.01"
    send(bot(peer), notification(in_thread=True, reason=Reason.RESOLVED), thread="1366.01")
    first, second = (json.loads(request.body) for request in peer.requests)
    assert peer.requests[0].path == "/api/chat.postMessage"
    assert peer.requests[0].headers["authorization"] == "Bearer xoxb-canary"
    assert first["channel"] == "#ops"
    assert "thread_ts" not in first
    assert second["thread_ts"] == "1366.01"
    assert len(second["blocks"]) < len(first["blocks"])


@pytest.mark.parametrize(
    ("error", "permanent"), [("invalid_auth", True), ("channel_not_found", True), ("internal_error", False)]
)
def test_what_slack_says_in_a_200_is_an_error_all_the_same(peer: HttpPeer, error: str, permanent: bool) -> None:
    peer.usual = Reply(200, json.dumps({"ok": False, "error": error}).encode())
    caught = refused(bot(peer))
    assert caught.permanent is permanent
    assert error in str(caught)


def test_slack_may_ask_to_wait_in_its_answer_too(peer: HttpPeer) -> None:
    peer.usual = Reply(429, json.dumps({"ok": False, "error": "rate_limited", "retry_after": 7}).encode())
    assert refused(hook(peer)).retry_after == 7.0
    peer.usual = Reply(200, peer.usual.body, {"RETRY-AFTER": "9"})
    error = refused(bot(peer))
    assert (error.status, error.retry_after, error.permanent) == (429, 9.0, False)
    peer.usual = Reply(429, json.dumps({"retry_after": "soon"}).encode())
    assert refused(hook(peer)).retry_after is None


# --- every HTTP channel ---


@pytest.mark.parametrize("make", [hook, bot, webhook])
@pytest.mark.parametrize(
    ("status", "permanent"),
    [(500, False), (503, False), (429, False), (408, False), (302, False)]
    + [(status, True) for status in (400, 401, 403, 404, 410)],
)
def test_5xx_and_429_are_tried_again_and_other_4xx_are_not(
    peer: HttpPeer, make: Any, status: int, permanent: bool
) -> None:
    peer.usual = Reply(status, b"no")
    error = refused(make(peer))
    assert error.permanent is permanent
    assert error.status == status


@pytest.mark.parametrize("make", [hook, bot, webhook])
def test_redirects_are_not_followed(peer: HttpPeer, make: Any) -> None:
    peer.usual = Reply(302, b"", {"Location": f"{peer.url}/internal-metadata"})
    refused(make(peer))
    assert [request.path for request in peer.requests if "internal" in request.path] == []
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"), [("30", 30.0), ("999999", 3600.0), ("-1", 0.0), ("Fri, 01 Jan 2100 00:00:00 GMT", 3600.0)]
)
def test_the_time_to_wait_that_a_peer_asks_for_is_kept_up_to_an_hour(
    peer: HttpPeer, header: str, seconds: float
) -> None:
    peer.usual = Reply(429, b"slow down", {"Retry-After": header})
    assert refused(hook(peer)).retry_after == seconds


@pytest.mark.parametrize("make", [hook, bot, webhook])
def test_a_peer_that_hangs_up_after_the_request_may_have_got_it(peer: HttpPeer, make: Any) -> None:
    peer.usual = Reply(hang_up=True)
    error = refused(make(peer))
    assert error.ambiguous
    assert not error.permanent


def test_a_peer_that_is_not_there_has_nothing_for_sure() -> None:
    url = f"http://{HOST}:{closed_port()}/x"
    error = refused(WebhookChannel(url=SecretStr(url), allow_private=True))
    assert not error.ambiguous
    assert not error.permanent


@pytest.mark.parametrize("make", [hook, bot, webhook])
def test_private_addresses_are_refused_before_anything_is_sent(peer: HttpPeer, make: Any) -> None:
    error = refused(replace(make(peer), allow_private=False))
    assert error.permanent
    assert "private address" in str(error)
    assert peer.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "https://localhost/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[64:ff9b::7f00:1]/x",
        "https://169.254.169.254/latest",
        "https://10.0.0.1/x",
        "https://0.0.0.0/x",
        "https://2130706433/x",
        "https://192.168.0.1/x",
        "https://100.64.0.1/x",
        "https://[fd12::1]/x",
        "https://[fe80::1]/x",
        "https://[2002:7f00:1::]/x",
        "https://[::127.0.0.1]/x",
        "https://[64:ff9b:1::7f00:1]/x",
    ],
)
def test_no_spelling_of_an_inner_address_is_called(url: str) -> None:
    error = refused(WebhookChannel(url=SecretStr(url)))
    assert error.permanent
    assert "nothing was sent" in str(error)


def test_the_address_that_was_judged_is_the_one_that_is_called(peer: HttpPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve, addresses = socket.getaddrinfo, iter([HOST])
    asked: list[str] = []

    def rebinding(host: str, *rest: Any, **options: Any) -> Any:
        asked.append(host)
        return resolve(next(addresses, "127.0.0.2") if host == "rebinding.example" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    url = peer.url.replace(HOST, "rebinding.example")
    send(WebhookChannel(url=SecretStr(url), allow_private=True), notification())
    assert peer.requests[0].headers["host"].startswith("rebinding.example")
    assert asked.count("rebinding.example") == 1, "a second look-up could answer otherwise"


def test_of_several_addresses_only_those_that_are_allowed_are_called(
    peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def mixed(host: str, *rest: Any, **options: Any) -> Any:
        names = ["169.254.169.254", HOST] if host == "mixed.example" else [host]
        return [entry for name in names for entry in resolve(name, *rest, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", mixed)
    url = peer.url.replace(HOST, "mixed.example")
    send(WebhookChannel(url=SecretStr(url), allow_private=True), notification())
    assert len(peer.requests) == 1
    error = refused(WebhookChannel(url=SecretStr(url), allow_private=False))
    assert "nothing was sent" in str(error)
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[fd00:ec2::254]",
        "100.100.100.200",
    ],
)
def test_the_metadata_service_is_never_called(host: str) -> None:
    channel = WebhookChannel(url=SecretStr(f"http://{host}/latest"), allow_private=True)
    assert "link-local or special" in str(refused(channel))


def test_an_address_outside_needs_https() -> None:
    assert "use https" in str(refused(WebhookChannel(url=SecretStr("http://8.8.8.8/x"))))


@pytest.mark.parametrize(
    "url", ["", "file:///etc/passwd", "https://", "ftp://example.org/x", "https://[::1", "https://0177.0.0.1"]
)
def test_what_is_no_web_address_is_refused_in_a_sentence(url: str) -> None:
    error = refused(WebhookChannel(url=SecretStr(url)))
    assert error.permanent
    assert "address" in str(error)


def test_a_certificate_that_nobody_trusts_is_refused(tmp_path: Path) -> None:
    file, context = certificate(tmp_path)
    with HttpPeer(context=context) as peer:
        error = refused(webhook(peer))
        assert not error.permanent
        assert "CERTIFICATE_VERIFY_FAILED" in str(error)
        assert peer.requests == []
        send(webhook(peer, ca_file=file), notification())
        assert len(peer.requests) == 1


def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    file, context = certificate(tmp_path, "elsewhere.example")
    with HttpPeer(context=context) as peer:
        refused(webhook(peer, ca_file=file))
        assert peer.requests == []


def test_the_name_in_the_address_is_the_host_that_is_asked_for(peer: HttpPeer) -> None:
    url = peer.url.replace(HOST, "localhost")
    send(WebhookChannel(url=SecretStr(url), allow_private=True), notification())
    assert peer.requests[0].headers["host"] == url.removeprefix("http://")


@pytest.mark.parametrize("make", [hook, bot, webhook])
@pytest.mark.parametrize("drop", [b"X-A: b\r\n", b""])
def test_a_dribbling_peer_is_cut_by_the_deadline_of_the_caller(make: Any, drop: bytes) -> None:
    async def hurry(channel: Channel) -> None:
        async with asyncio.timeout(0.5):
            await channel.send(notification(), thread_reference="", picture=None)

    with dribble(b"HTTP/1.1 200 OK\r\n", drop) as port, HttpPeer() as unused:
        channel = make(unused)
        for name in ("webhook_url", "url"):
            if secret := getattr(channel, name, None):
                moved = secret.get_secret_value().replace(unused.url, f"http://{HOST}:{port}")
                channel = replace(channel, **{name: SecretStr(moved)})
        if isinstance(channel, SlackChannel):
            channel = replace(channel, api_url=f"http://{HOST}:{port}")
        with pytest.raises(TimeoutError):
            asyncio.run(hurry(channel))


SECRETS = {
    hook: f"the address {HOOK}, /canary-of-the-hook",
    bot: "Bearer xoxb-canary",
    webhook: "/in?key=canary-of-url canary-of-signing",
}


@pytest.mark.parametrize("make", [hook, bot, webhook])
@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_no_secret_is_in_an_error_or_a_log(
    peer: HttpPeer, make: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    channel = make(peer)
    if isinstance(channel, WebhookChannel):
        channel = replace(channel, secret=SecretStr("canary-of-signing"))
    peer.usual = Reply(status, SECRETS[make].encode(), {"Location": "/x"})
    if isinstance(channel, WebhookChannel) and status == 200:
        send(channel, notification())
    else:
        error = refused(channel)
        assert "canary" not in str(error)
        assert "***" in str(error)  # the peer did say it
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None
    assert "canary" not in repr(channel)
    assert "canary" not in caplog.text


# --- webhook ---


def test_a_webhook_is_signed_over_time_and_body(peer: HttpPeer) -> None:
    told = notification()
    send(webhook(peer, secret=SecretStr("key")), told)
    (request,) = peer.requests
    parts = dict(part.split("=", 1) for part in request.headers["x-monitor-signature"].split(","))
    expected = hmac.new(b"key", parts["t"].encode() + b"." + request.body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], expected)
    assert request.headers["idempotency-key"] == str(told.id)
    body = json.loads(request.body)
    assert body["schema"] == "monitor.notification/1"
    assert from_json(body["notification"]) == told
    assert "Late more often than predicted" in body["text"]


def test_a_webhook_without_a_secret_is_not_signed(peer: HttpPeer) -> None:
    send(webhook(peer), notification())
    assert "x-monitor-signature" not in peer.requests[0].headers


# --- e-mail ---


def test_a_mail_has_text_and_html_with_the_picture_inside() -> None:
    with MailPeer() as peer:
        receipt = send(mail(peer), notification(), picture=PICTURE)
        ((recipients, got),) = peer.mails
    assert recipients == ["a@example.org", "b@example.org"]
    assert got["Message-ID"] == receipt.reference == "<6b1f0c3e-8a57-4a5e-9d0e-3f1f6f2f7a10@example.org>"
    assert got["Subject"] == "Critical · flight-delay · 23 April 2013 · New: Late more often than predicted"
    text, html = got.get_body(("plain",)), got.get_body(("html",))
    assert "45 % were late" in cast(EmailMessage, text).get_content()
    pictures = [part for part in got.walk() if part.get_content_type() == "image/png"]
    assert len(pictures) == 1
    assert pictures[0].get_content() == PICTURE
    assert f"cid:{pictures[0]['Content-ID'].strip('<>')}" in cast(EmailMessage, html).get_content()


def test_mails_of_an_episode_are_one_thread() -> None:
    later = notification(id=UUID(int=2), in_thread=True, reason=Reason.RESOLVED)
    other = notification(id=UUID(int=3), thread_key="another")
    with MailPeer() as peer:
        first = send(mail(peer), notification()).reference
        send(mail(peer), later, thread=first)
        send(mail(peer), other)
        mails = [got for _, got in peer.mails]
    assert mails[1]["In-Reply-To"] == first
    assert first in mails[1]["References"]
    assert mails[0]["References"] in mails[1]["References"]
    assert mails[0]["References"] != mails[2]["References"]


def test_line_breaks_in_a_title_make_no_header() -> None:
    told = notification(title="x\r\nBcc: evil@example.org\r\n\r\nbody", model="m\nn")
    with MailPeer() as peer:
        send(mail(peer), told)
        ((recipients, got),) = peer.mails
    assert got["Bcc"] is None
    assert recipients == ["a@example.org", "b@example.org"]


def test_only_who_was_put_off_is_asked_for_again() -> None:
    with MailPeer() as peer:
        peer.refuse = {"b@example.org": "450 greylisted, come back"}
        error = refused(mail(peer))
        assert not error.permanent
        assert not error.ambiguous
        assert error.status == 450
        assert error.recipients == {"a@example.org": ""}
        peer.refuse = {}
        receipt = send(mail(peer), notification(recipients=error.recipients))
    assert [recipients for recipients, _ in peer.mails] == [["a@example.org"], ["b@example.org"]]
    assert receipt.recipients == {"b@example.org": ""}
    assert [mail["To"] for _, mail in peer.mails] == ["a@example.org, b@example.org"] * 2


def test_one_wrong_recipient_does_not_keep_the_message_from_the_others() -> None:
    with MailPeer() as peer:
        peer.refuse = {"b@example.org": "550 nobody here"}
        receipt = send(mail(peer), notification())
        assert [recipients for recipients, _ in peer.mails] == [["a@example.org"]]
        assert receipt.recipients == {"a@example.org": "", "b@example.org": "550 nobody here"}


def test_a_refusal_for_good_is_no_failure_when_another_recipient_has_the_mail() -> None:
    with MailPeer() as peer:
        peer.refuse = {"b@example.org": "550 nobody here"}
        receipt = send(mail(peer), notification(recipients={"a@example.org": ""}))
        assert (receipt.recipients, peer.mails) == ({"b@example.org": "550 nobody here"}, [])
        error = refused(mail(peer), notification(recipients={"a@example.org": "550 moved"}))
        assert error.permanent  # nobody has it
        assert send(mail(peer), notification(recipients={"a@example.org": "", "b@example.org": ""})).recipients == {}


@pytest.mark.parametrize(("code", "permanent"), [("450", False), ("550", True)])
def test_a_mail_that_nobody_may_get_is_refused_as_the_server_says(code: str, permanent: bool) -> None:
    with MailPeer() as peer:
        peer.refuse = dict.fromkeys(("a@example.org", "b@example.org"), f"{code} no")
        error = refused(mail(peer))
    assert error.permanent is permanent
    assert error.status == int(code)
    assert not error.ambiguous


@pytest.mark.parametrize(("code", "permanent"), [("451", False), ("554", True)])
def test_a_mail_refused_after_its_text_is_refused_as_the_server_says(code: str, permanent: bool) -> None:
    with MailPeer() as peer:
        peer.data_reply = f"{code} no"
        error = refused(mail(peer))
    assert error.permanent is permanent


def test_a_mail_server_without_starttls_gets_nothing() -> None:
    with MailPeer() as peer:
        error = refused(mail(peer, security="starttls"))
        assert "STARTTLS" in str(error)
        assert not error.permanent
        assert peer.mails == []


def test_a_mail_server_is_let_in_only_with_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    file, context = certificate(tmp_path)
    with MailPeer(tls_context=context, require_starttls=True) as peer:
        login = {"username": "monitor", "password": SecretStr("right")}
        refused(mail(peer, security="starttls", **login))
        assert (peer.mails, peer.logins) == ([], [])
        send(mail(peer, security="starttls", ca_file=file, **login), notification())
        assert len(peer.mails) == 1
        assert peer.logins == [(b"monitor", b"right")]
        error = refused(mail(peer, security="starttls", ca_file=file, username="m", password=SecretStr("canary-word")))
        assert "535" in str(error)
        assert "canary" not in str(error)


@pytest.mark.parametrize(("name", "days", "said"), [(HOST, -1, "expired"), ("mail.example.org", 1, "not valid for")])
def test_a_mail_server_whose_certificate_expired_or_names_another_gets_nothing(
    tmp_path: Path, name: str, days: int, said: str
) -> None:
    file, context = certificate(tmp_path, name, days=days)
    with MailPeer(tls_context=context) as peer:
        error = refused(mail(peer, security="starttls", ca_file=file, username="m", password=SecretStr("right")))
        assert said in str(error)
        assert not error.permanent
        assert (peer.mails, peer.logins) == ([], [])


def test_tls_from_the_first_byte_works_and_is_verified(tmp_path: Path) -> None:
    file, context = certificate(tmp_path)
    with MailPeer(ssl_context=trusting(context, file)) as peer:
        refused(mail(peer, security="tls"))
        send(mail(peer, security="tls", ca_file=file), notification())
        assert len(peer.mails) == 1


def trusting(context: ssl.SSLContext, file: Path) -> ssl.SSLContext:
    # aiosmtpd uses one context for its listener and for the connection with which it starts it
    context.load_verify_locations(file)
    return context


def test_security_none_is_for_a_server_on_this_machine() -> None:
    channel = EmailChannel(host=HOST, port=closed_port(), security="none", sender="m@x.org", recipients=("a@x.org",))
    error = refused(channel)
    assert not error.permanent
    assert "no connection" in str(error)


@pytest.mark.parametrize("opening", [b"220-", b"220 ready\r\n250-"])
def test_a_mail_tarpit_is_cut_by_the_deadline_of_the_caller(opening: bytes) -> None:
    async def hurry(port: int) -> None:
        channel = EmailChannel(host=HOST, port=port, security="none", sender="m@x.org", recipients=("a@x.org",))
        async with asyncio.timeout(0.5):
            await channel.send(notification(), thread_reference="", picture=None)

    with dribble(opening, b"x") as port, pytest.raises(TimeoutError):
        asyncio.run(hurry(port))
