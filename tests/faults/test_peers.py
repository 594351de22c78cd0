"""Peers that misbehave: whatever they do, a message arrives at least once, and one channel does not hold up another."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from monitor import outbox, schema
from monitor.channels.email import EmailChannel
from monitor.channels.slack import SlackChannel
from monitor.channels.webhook import WebhookChannel
from monitor.dispatcher import Dispatcher, deliver
from monitor.embedded import Database
from monitor.notification import Channel, Notification, Receipt
from monitor.sending import Patience
from tests.faults.replica import eventually
from tests.peers import HOST, HttpPeer, MailPeer, Reply, dribble, notification

DEADLINE = 2.0
SHORT = Patience(deadline=DEADLINE, lease=timedelta(seconds=6))
LONG = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    made = schema.create_engine(database.url)
    yield made
    made.dispose()


def put(engine: sa.Engine, *channels: str, number: int = 1) -> list[UUID]:
    ids = [uuid4() for _ in range(number)]
    with engine.begin() as conn:
        for one in ids:
            outbox.put(conn, notification(id=one, group_key=str(one), chart=None), channels)
    return ids


def go(engine: sa.Engine, channels: Mapping[str, Channel]) -> dict[str, int]:
    async def told() -> dict[str, int]:
        ended = await deliver(engine, channels, now=datetime.now(UTC), rng=random.Random(0), patience=SHORT)
        # httpcore leaves a handshake that is cut to the garbage collector, which would warn
        for transport in list(asyncio.get_running_loop()._transports.values()):  # type: ignore[attr-defined]
            transport.abort()
        await asyncio.sleep(0)
        return {outcome.value: number for outcome, number in ended.items()}

    return asyncio.run(told())


def hurry(engine: sa.Engine) -> None:
    """Let all waiting be over, as if time had passed."""
    with engine.begin() as conn:
        conn.execute(sa.text("UPDATE monitor.channel_state SET not_before = clock_timestamp(), ready_at = NULL"))
        conn.execute(sa.text("UPDATE monitor.delivery SET next_at = clock_timestamp() WHERE state = 'pending'"))


def deliveries(engine: sa.Engine) -> dict[str, Any]:
    query = "SELECT channel, state, last_error, last_status, possible_duplicate FROM monitor.delivery ORDER BY sequence"
    with engine.connect() as conn:
        return {row.channel: row for row in conn.execute(sa.text(query))}


def unsent(engine: sa.Engine) -> int:
    with engine.connect() as conn:
        return sum(number for state, number in outbox.counts(conn).items() if state != "sent")


def hook(url: str) -> WebhookChannel:
    return WebhookChannel(url=SecretStr(url), allow_private=True)


def mail(port: int, **options: Any) -> EmailChannel:
    usual: dict[str, Any] = {"security": "none", "recipients": ("a@example.org", "b@example.org", "c@example.org")}
    return EmailChannel(host=HOST, port=port, sender="monitor@example.org", **{**usual, **options})


@pytest.mark.parametrize("number", [pytest.param(60, marks=pytest.mark.short), pytest.param(1000, marks=LONG)])
def test_a_quarter_of_errors_loses_no_message(
    number: int, engine: sa.Engine, database: Database, measured: Callable[..., None]
) -> None:
    rng = random.Random(2)
    faults = [Reply(500), Reply(503), Reply(hang_up=True), Reply(429, headers={"Retry-After": "1"}), Reply(429)]
    with HttpPeer() as peer:
        replies = [faults[i % len(faults)] if i < number / 4 else Reply() for i in range(number)]
        peer.replies.extend(rng.sample(replies, number))
        ids = set(map(str, put(engine, "hook", number=number)))
        engines = [schema.create_engine(database.url) for _ in range(2)]
        dispatchers = [Dispatcher(one, {"hook": hook(peer.url)}, patience=SHORT, every=0.05) for one in engines]
        threads = [threading.Thread(target=dispatcher.run) for dispatcher in dispatchers]
        for thread in threads:
            thread.start()

        def over() -> bool:
            hurry(engine)
            time.sleep(0.1)
            return unsent(engine) == 0

        try:
            eventually(over, 600)
        finally:
            for dispatcher in dispatchers:
                dispatcher.stop()
            for thread in threads:
                thread.join()
            for one in engines:
                one.dispose()
        told: dict[str, list[tuple[bool, Reply]]] = defaultdict(list)
        for request, reply in peer.exchanges:
            said = json.loads(request.body)["notification"]
            told[said["id"]].append((said["possible_duplicate"], reply))
    taken = Counter(
        one for one, tries in told.items() for _, reply in tries if reply.status == 200 and not reply.hang_up
    )
    assert taken == dict.fromkeys(ids, 1)
    for tries in told.values():
        unclear = False
        for marked, reply in tries:
            assert marked == unclear  # said to be a repeat where an earlier one may have arrived, and only there
            unclear = unclear or reply.hang_up
    failed = sum(reply.status != 200 or reply.hang_up for tries in told.values() for _, reply in tries)
    assert failed == number / 4
    measured(
        scenario=11,
        name="500, 503, 429 and lost answers, a quarter of all, two dispatchers",
        injected=failed,
        lost=len(ids - set(taken)),
        duplicated=sum(reply.hang_up for tries in told.values() for _, reply in tries),
        note=f"{number} messages; the duplicates are the lost answers, each with the same id and marked as a repeat",
    )


@pytest.mark.short
def test_a_peer_that_asks_to_wait_is_left_alone_for_so_long_and_no_other_channel_is(
    engine: sa.Engine, measured: Callable[..., None]
) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=10)
    asked = {
        "30": (29, 30),
        f"{soon:%a, %d %b %Y %H:%M:%S} GMT": (540, 600),
        "999999": (3595, 3600),
        "-1": (-5, 0),
        "": (-5, 4),  # as long as the message waits by itself
    }
    with ExitStack() as stack:
        healthy = stack.enter_context(HttpPeer())
        channels: dict[str, Channel] = {"healthy": hook(healthy.url)}
        peers = {}
        for header in asked:
            peer = peers[f"asks {header}"] = stack.enter_context(HttpPeer())
            peer.replies.append(Reply(429, b"busy", {"rEtRy-AfTeR": header} if header else {}))
            channels[f"asks {header}"] = SlackChannel(webhook_url=SecretStr(peer.url), allow_private=True)
        put(engine, *channels, number=3)
        assert go(engine, channels) == {"sent": 3, "retry": len(asked)}
        with engine.connect() as conn:
            left = "SELECT channel, extract(epoch FROM not_before - clock_timestamp()) FROM monitor.channel_state"
            waits = {row[0]: float(row[1]) for row in conn.execute(sa.text(left)) if row[1] is not None}
        for header, (least, most) in asked.items():
            assert least <= waits[f"asks {header}"] <= most, header
        assert all(len(peer.requests) == 1 for peer in peers.values())

        def over() -> bool:
            hurry(engine)
            go(engine, channels)
            return unsent(engine) == 0

        eventually(over)
        assert [len(peer.requests) for peer in peers.values()] == [4] * len(asked)
    measured(
        scenario=10,
        name="429 with Retry-After in seconds, as a date, none, 999999 and -1",
        injected=len(asked),
        note="waits as asked, at most an hour; a healthy channel sends meanwhile",
    )


@pytest.mark.short
def test_an_answer_that_is_none_is_no_delivery_and_a_refusal_is_told_elsewhere(
    engine: sa.Engine, measured: Callable[..., None]
) -> None:
    answers = {
        "500": Reply(500),
        "html": Reply(200, b"<html>Log in to this network</html>"),
        "redirect": Reply(302, b"", {"Location": "http://169.254.169.254/latest/meta-data/"}),
        "403": Reply(403, b"invalid_token"),
        "404": Reply(404, b"no_service"),
        "410": Reply(410, b"channel_is_archived"),
    }
    with ExitStack() as stack:
        healthy = stack.enter_context(HttpPeer())
        peers = {name: stack.enter_context(HttpPeer(reply)) for name, reply in answers.items()}
        channels: dict[str, Channel] = {
            name: SlackChannel(webhook_url=SecretStr(peer.url), allow_private=True) for name, peer in peers.items()
        }
        (ours,) = put(engine, *channels)
        go(engine, channels | {"healthy": hook(healthy.url)})
        query = sa.text("SELECT channel, state FROM monitor.delivery WHERE notification_id = :ours")
        with engine.connect() as conn:
            states = {row.channel: row.state for row in conn.execute(query, {"ours": ours})}
        assert states == {name: "dead" if name.startswith("4") else "pending" for name in answers}
        assert [len(peers[name].requests) for name in ("500", "html", "redirect")] == [1] * 3
        go(engine, {"healthy": hook(healthy.url)})
        told = [json.loads(request.body)["notification"]["title"] for request in healthy.requests]
        assert sorted(told) == [f"Channel {name} does not deliver" for name in ("403", "404", "410")]
        for peer in peers.values():
            peer.usual = Reply()
        with engine.begin() as conn:
            assert outbox.redeliver(conn) >= 3

        def over() -> bool:
            hurry(engine)
            go(engine, channels)
            return unsent(engine) == 0

        eventually(over)
    measured(
        scenario=11,
        name="500, a login page, a redirect to the metadata service, 403, 404, 410",
        injected=len(answers),
        note="tried again, or dead, told on another channel and redelivered; the redirect is not followed",
    )


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A channel, and how long its sends took."""

    inner: Channel
    name: str
    took: dict[str, float]

    async def send(self, told: Notification, *, thread_reference: str, picture: bytes | None) -> Receipt:
        began = time.monotonic()
        try:
            return await self.inner.send(told, thread_reference=thread_reference, picture=picture)
        finally:
            self.took[self.name] = time.monotonic() - began


@contextmanager
def silent() -> Iterator[int]:
    """Listen, take what comes and never answer, not even in a handshake; yields the port."""
    with socket.create_server((HOST, 0)) as listener:
        yield int(listener.getsockname()[1])


@pytest.mark.short
def test_a_send_ends_at_its_deadline_whatever_the_peer_does(
    engine: sa.Engine, measured: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled, resolve = threading.Event(), socket.getaddrinfo

    def slow_resolver(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "stalled.example.org":
            stalled.wait(30)
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow_resolver)
    with silent() as port, dribble(b"HTTP/1.1 200 OK\r\n", b"x") as slow, dribble(b"220-", b"x") as tarpit:
        channels: dict[str, Channel] = {
            "accepts and hangs": hook(f"http://{HOST}:{port}/"),
            "never ends its answer": hook(f"http://{HOST}:{slow}/"),
            "stalls in the TLS handshake": hook(f"https://{HOST}:{port}/"),
            "has a name that nobody resolves": hook("https://stalled.example.org/"),
            "is a mail tarpit": mail(tarpit),
        }
        put(engine, *channels)

        took: dict[str, float] = {}

        def send(name: str) -> None:
            timed = Timed(inner=channels[name], name=name, took=took)
            assert go(engine, {name: timed}) == {"retry": 1}

        threads = [threading.Thread(target=send, args=(name,)) for name in channels if "resolves" not in name]
        for thread in threads:
            thread.start()
        eventually(
            lambda: {row.state for name, row in deliveries(engine).items() if "resolves" not in name} == {"sending"}
        )
        assert go(engine, {name: channels[name] for name in channels if "resolves" not in name}) == {}  # under a lease
        for thread in threads:
            thread.join()
        stalled.clear()
        thread = threading.Thread(target=send, args=("has a name that nobody resolves",))
        thread.start()
        eventually(lambda: deliveries(engine)["has a name that nobody resolves"].last_error)
        stalled.set()
        thread.join()
    assert set(took) == set(channels)
    assert max(abs(seconds - DEADLINE) for seconds in took.values()) <= 1
    assert {row.state for row in deliveries(engine).values()} == {"pending"}
    measured(
        scenario=12,
        name="accepts and hangs, dribbles, stalls in TLS or in DNS",
        injected=len(channels),
        recovery=max(took.values()) - DEADLINE,
        note=f"deadline {DEADLINE:g} s; recovery is by how much the slowest send was over it",
    )


@pytest.mark.short
def test_a_dispatcher_ends_although_a_name_is_still_being_resolved(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def slow_resolver(*_: Any, **__: Any) -> Any:
        asked.set()
        answered.wait(60)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", slow_resolver)
    (one,) = put(engine, "hook")
    dispatcher = Dispatcher(engine, {"hook": hook("https://stalled.example.org/")}, grace=0.1)
    thread = threading.Thread(target=dispatcher.run)
    thread.start()
    assert asked.wait(20)
    dispatcher.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert not answered.is_set()
    answered.set()
    assert deliveries(engine)["hook"].state == "pending", one


@pytest.mark.short
def test_mail_goes_in_the_clear_to_nobody_who_was_to_encrypt_and_to_each_recipient_once(
    engine: sa.Engine, measured: Callable[..., None]
) -> None:
    with ExitStack() as stack:
        greylisting = stack.enter_context(MailPeer())
        greylisting.refuse = {"b@example.org": "450 come back later", "c@example.org": "550 nobody here"}
        stripped = stack.enter_context(MailPeer())
        channels: dict[str, Channel] = {
            "partial": mail(greylisting.port),
            "stripped": mail(stripped.port, security="starttls", username="m", password=SecretStr("right")),
        }
        put(engine, *channels)
        assert go(engine, channels) == {"retry": 2}
        assert (stripped.mails, stripped.logins) == ([], [])
        greylisting.refuse.pop("b@example.org")
        hurry(engine)
        assert go(engine, {"partial": channels["partial"]}) == {"sent": 1}
        assert [to for to, _ in greylisting.mails] == [["a@example.org"], ["b@example.org"]]
    said = {name: row.last_error for name, row in deliveries(engine).items()}
    assert said["partial"] == "refused for good: c@example.org: 550 nobody here"
    assert "STARTTLS" in said["stripped"]
    measured(
        scenario=13,
        name="450 and 550 for single recipients; STARTTLS stripped",
        injected=len(channels) + 1,
        note="only who has no mail is asked again; nothing is said or sent in the clear",
    )
