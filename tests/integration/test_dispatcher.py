"""The dispatcher against a real Postgres and real peers: at least once, told how it went, nothing in anyone's way."""

from __future__ import annotations

import asyncio
import json
import math
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from monitor import breaker, outbox
from monitor.channels.email import EmailChannel
from monitor.channels.slack import SlackChannel
from monitor.channels.webhook import WebhookChannel
from monitor.check import Severity
from monitor.dispatcher import Dispatcher, deliver
from monitor.embedded import Database
from monitor.notification import Channel, DeliveryError, Notification, Reason, Receipt
from monitor.sending import BACKOFF_CAP, Patience, asked_pause, backoff, hopeless
from tests.peers import HOST, HttpPeer, MailPeer, Reply, dribble, notification

CUT_ALL_OTHERS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    made = sa.create_engine(database.url)
    yield made
    made.dispose()


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    with HttpPeer() as running:
        yield running


@dataclass(frozen=True, kw_only=True)
class Told:
    """A channel that does what a test tells it to: an implementation like any other."""

    raises: Exception | None = None
    engine: sa.Engine | None = None
    run_meanwhile: str = ""
    got: list[tuple[Notification, str, bytes | None]] = field(default_factory=list)

    async def send(self, notification: Notification, *, thread_reference: str, picture: bytes | None) -> Receipt:
        self.got.append((notification, thread_reference, picture))
        if self.engine is not None:
            with self.engine.begin() as conn:
                conn.execute(sa.text(self.run_meanwhile))
        if self.raises is not None:
            raise self.raises
        return Receipt(reference=f"ref-{len(self.got)}", status="200")


def put(engine: sa.Engine, *names: str, number: int = 1, **fields: Any) -> Notification:
    told = notification(id=UUID(int=number), **{"group_key": f"group {number}", **fields})
    with engine.begin() as conn:
        outbox.put(conn, told, names)
    return told


def go(engine: sa.Engine, channels: Mapping[str, Channel], **options: Any) -> dict[str, int]:
    usual: dict[str, Any] = {"now": datetime.now(UTC), "rng": random.Random(0), "patience": Patience(deadline=20.0)}
    ended = asyncio.run(deliver(engine, channels, **{**usual, **options}))
    return {outcome.value: number for outcome, number in ended.items()}


def rows(engine: sa.Engine) -> list[Any]:
    query = """SELECT n.notification_id, d.*, extract(epoch FROM d.next_at - clock_timestamp()) AS wait
        FROM monitor.delivery AS d JOIN monitor.notification AS n USING (notification_id) ORDER BY sequence"""
    with engine.connect() as conn:
        return list(conn.execute(sa.text(query)))


def change(engine: sa.Engine, values: str) -> None:
    with engine.begin() as conn:
        conn.execute(sa.text(f"UPDATE monitor.delivery SET {values}"))


def web(peer: HttpPeer) -> WebhookChannel:
    return WebhookChannel(url=SecretStr(peer.url), allow_private=True)


def test_what_is_in_the_outbox_goes_out_once(engine: sa.Engine, peer: HttpPeer) -> None:
    for number in (1, 2, 3):
        put(engine, "hook", number=number)
    assert go(engine, {"hook": web(peer)}) == {"sent": 3}
    assert go(engine, {"hook": web(peer)}) == {}
    assert [request.headers["idempotency-key"] for request in peer.requests] == [str(UUID(int=n)) for n in (1, 2, 3)]
    assert {(row.state, row.attempts, row.last_status, row.token) for row in rows(engine)} == {("sent", 1, 200, None)}


def test_a_reply_hangs_on_the_first_message_of_its_thread_on_that_channel(engine: sa.Engine, peer: HttpPeer) -> None:
    bot = SlackChannel(token=SecretStr("xoxb"), channel="#ops", api_url=peer.url, allow_private=True)
    peer.replies.extend(Reply(200, b'{"ok": true, "ts": "1366.0%d"}' % number) for number in (1, 2, 3))
    with MailPeer() as server:
        mail = EmailChannel(host=HOST, port=server.port, security="none", sender="m@x.org", recipients=("a@x.org",))
        for number in (1, 2, 3):
            put(engine, "ops", "team", number=number, in_thread=number > 1, reason=Reason.REPEATED)
            go(engine, {"ops": bot, "team": mail})
        mails = [got for _, got in server.mails]
    assert [b'"thread_ts": "1366.01"' in request.body for request in peer.requests] == [False, True, True]
    assert [got["In-Reply-To"] for got in mails[1:]] == [mails[0]["Message-ID"]] * 2


def test_a_channel_in_trouble_keeps_nothing_from_another(engine: sa.Engine, peer: HttpPeer) -> None:
    with HttpPeer(Reply(500, b"")) as broken:
        for number in (1, 2):
            put(engine, "bad", "good", number=number)
        assert go(engine, {"bad": web(broken), "good": web(peer)}) == {"sent": 2, "retry": 1}
        assert len(broken.requests) == 1  # and it is not asked with every message


def test_a_temporary_failure_is_tried_again_later(engine: sa.Engine, peer: HttpPeer) -> None:
    peer.replies.append(Reply(503, b"busy"))
    put(engine, "hook")
    assert go(engine, {"hook": web(peer)}) == {"retry": 1}
    (row,) = rows(engine)
    assert (row.state, row.attempts, row.last_status, row.possible_duplicate) == ("pending", 1, 503, False)
    assert row.last_error == "127.0.0.1 answered 503: busy"
    change(engine, "next_at = now()")
    assert go(engine, {"hook": web(peer)}) == {"sent": 1}
    assert rows(engine)[0].attempts == 2


def test_a_peer_that_asks_to_wait_is_not_asked_before(engine: sa.Engine, peer: HttpPeer) -> None:
    peer.replies.append(Reply(429, b"", {"Retry-After": "1800"}))
    put(engine, "hook")
    go(engine, {"hook": web(peer)})
    assert 1700 < rows(engine)[0].wait <= 1800


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("1800", 1700, 1800), ("Tue, 01 Jan 2999 00:00:00 GMT", 3500, 3600), ("999999", 3500, 3600)],
)
def test_a_peer_that_asks_to_wait_pauses_its_whole_channel_and_no_other(
    engine: sa.Engine, peer: HttpPeer, header: str, least: int, most: int
) -> None:
    with HttpPeer(Reply(429, b"", {"Retry-After": header})) as busy:
        channels = {"busy": web(busy), "other": web(peer)}
        for number in (1, 2, 3):
            put(engine, "busy", "other", number=number)
        assert go(engine, channels) == {"retry": 1, "sent": 3}
        assert go(engine, channels) == {}  # although two messages were never tried
        assert len(busy.requests) == 1
    with engine.connect() as conn:
        query = "SELECT channel, extract(epoch FROM not_before - clock_timestamp()) FROM monitor.channel_state"
        [(name, wait)] = conn.execute(sa.text(query)).all()
    assert name == "busy"
    assert least < wait <= most


def test_a_peer_that_says_too_many_without_a_time_pauses_its_channel_too(engine: sa.Engine, peer: HttpPeer) -> None:
    peer.replies.append(Reply(429, b""))
    for number in (1, 2):
        put(engine, "hook", number=number)
    assert go(engine, {"hook": web(peer)}) == {"retry": 1}
    with engine.begin() as conn:
        assert conn.execute(
            sa.text("SELECT not_before > created_at FROM monitor.channel_state, monitor.delivery")
        ).all()
        conn.execute(sa.text("UPDATE monitor.channel_state SET not_before = clock_timestamp()"))
    change(engine, "next_at = clock_timestamp()")
    assert go(engine, {"hook": web(peer)}) == {"sent": 2}


def test_a_temporary_failure_without_a_wish_does_not_pause_the_channel(engine: sa.Engine, peer: HttpPeer) -> None:
    peer.replies.append(Reply(503, b""))
    for number in (1, 2):
        put(engine, "hook", number=number)
    assert go(engine, {"hook": web(peer)}) == {"retry": 1}
    assert go(engine, {"hook": web(peer)}) == {"sent": 1}


@pytest.mark.parametrize(("asked", "seconds"), [(math.inf, 3600.0), (-5.0, 0.0), (math.nan, None), (None, None)])
def test_no_wish_of_a_peer_is_taken_beyond_an_hour(asked: float | None, seconds: float | None) -> None:
    pause = asked_pause(DeliveryError("busy", retry_after=asked), timedelta(seconds=4))
    assert (None if pause is None else pause.total_seconds()) == seconds


def fail_until_open(engine: sa.Engine, channel: str, broken: Channel, *, messages: int = 5) -> None:
    for number in range(1, messages + 1):
        put(engine, channel, number=number)
    for _ in range(5):
        assert go(engine, {channel: broken}) == {"retry": 1}


def probe_now(engine: sa.Engine) -> None:
    with engine.begin() as conn:
        conn.execute(sa.text("UPDATE monitor.channel_state SET not_before = clock_timestamp()"))
    change(engine, "next_at = least(next_at, clock_timestamp())")


def circuit(engine: sa.Engine) -> breaker.ChannelState:
    with engine.connect() as conn:
        (state,) = breaker.channel_states(conn)
    return state


def test_a_channel_that_failed_five_times_in_a_row_is_left_alone_and_costs_no_attempt(
    engine: sa.Engine, peer: HttpPeer
) -> None:
    with HttpPeer(Reply(503, b"")) as broken:
        fail_until_open(engine, "hook", web(broken), messages=7)
        change(engine, "next_at = clock_timestamp()")
        assert go(engine, {"hook": web(broken)}) == {}
        assert len(broken.requests) == 5
    state = circuit(engine)
    assert (state.circuit, state.failures, state.waiting) == ("open", 5, 7)
    assert state.opened_at is not None
    assert sorted(row.attempts for row in rows(engine)) == [0, 0, 1, 1, 1, 1, 1]
    put(engine, "other", number=99)
    assert go(engine, {"other": web(peer)}) == {"sent": 1}


def test_an_open_channel_is_probed_with_one_message_and_closed_by_its_success(
    engine: sa.Engine, peer: HttpPeer
) -> None:
    with HttpPeer(Reply(503, b"")) as broken:
        fail_until_open(engine, "hook", web(broken))
        probe_now(engine)
        assert go(engine, {"hook": web(broken)}) == {"retry": 1}
        assert go(engine, {"hook": web(broken)}) == {}
        assert len(broken.requests) == 6
    assert [row.attempts for row in rows(engine)] == [1] * 5  # a probe that fails is no attempt of its message
    assert (circuit(engine).circuit, circuit(engine).failures) == ("open", 6)
    probe_now(engine)
    assert go(engine, {"hook": web(peer)}) == {"sent": 5}
    state = circuit(engine)
    assert (state.circuit, state.failures, state.opened_at, state.not_before) == ("closed", 0, None, None)


def test_only_one_of_several_dispatchers_probes(engine: sa.Engine) -> None:
    fail_until_open(engine, "x", Told(raises=DeliveryError("no")))
    probe_now(engine)
    broken = Told(raises=DeliveryError("no"))
    threads = [threading.Thread(target=lambda: go(engine, {"x": broken})) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(broken.got) == 1


def test_failures_open_a_channel_only_if_no_success_is_between_them(engine: sa.Engine) -> None:
    for number in range(1, 7):
        put(engine, "x", number=number)
    broken = Told(raises=DeliveryError("no"))
    for _ in range(4):
        go(engine, {"x": broken})
    assert go(engine, {"x": Told()}, limit=1) == {"sent": 1}
    go(engine, {"x": broken})
    assert (circuit(engine).circuit, circuit(engine).failures) == ("closed", 1)


def test_a_probe_that_is_refused_for_good_leaves_the_channel_open(engine: sa.Engine) -> None:
    fail_until_open(engine, "x", Told(raises=DeliveryError("no")))
    probe_now(engine)
    assert go(engine, {"x": Told(raises=DeliveryError("invalid_payload", permanent=True))}) == {"dead": 1}
    assert circuit(engine).circuit == "open"


def test_no_message_is_given_up_because_of_an_outage(engine: sa.Engine) -> None:
    broken = Told(raises=DeliveryError("no"))
    fail_until_open(engine, "x", broken, messages=5)
    change(engine, "attempts = 11, created_at = now() - interval '25 hours'")
    probe_now(engine)
    assert go(engine, {"x": broken}) == {"retry": 1}
    assert {(row.state, row.attempts) for row in rows(engine)} == {("pending", 11)}


def test_a_probe_whose_sender_died_is_followed_by_another(engine: sa.Engine) -> None:
    fail_until_open(engine, "x", Told(raises=DeliveryError("no")))
    probe_now(engine)
    with engine.begin() as conn:
        (dead,) = outbox.claim(conn, limit=9, lease=timedelta(hours=1))
        assert dead.probe
        assert outbox.claim(conn, limit=9, lease=timedelta(hours=1)) == []
    assert circuit(engine).circuit == "half_open"
    with engine.begin() as conn:
        conn.execute(sa.text("UPDATE monitor.delivery SET lease_until = now() WHERE state = 'sending'"))
        conn.execute(sa.text("UPDATE monitor.channel_state SET not_before = now()"))
    assert go(engine, {"x": Told()}) == {"sent": 5}


def outage(engine: sa.Engine, channel: str) -> None:
    """Let a channel fail until it is open, with a message of which nothing stays."""
    put(engine, channel, number=10_000, group_key="before", thread_key="before", alert_keys=("before",))
    for _ in range(5):
        go(engine, {channel: Told(raises=DeliveryError("no"))})
        change(engine, "next_at = clock_timestamp()")
    assert circuit(engine).circuit == "open"
    change(engine, "state = 'sent'")


def test_after_an_outage_each_group_is_told_once_how_things_are_now(engine: sa.Engine, peer: HttpPeer) -> None:
    outage(engine, "hook")
    for number in range(1, 41):
        group, round_ = f"group {number % 4}", number // 4
        reason = Reason.FIRST if round_ == 0 else Reason.REPEATED
        put(engine, "hook", number=number, group_key=group, alert_keys=(group,), reason=reason, title=f"no. {number}")
    assert go(engine, {"hook": web(peer)}) == {}
    probe_now(engine)
    assert go(engine, {"hook": web(peer)}) == {"sent": 4}
    keys = [request.headers["idempotency-key"] for request in peer.requests]
    assert sorted(keys) == [str(UUID(int=number)) for number in (37, 38, 39, 40)]
    assert all(b"Kept back until now" not in request.body for request in peer.requests)
    with engine.connect() as conn:
        assert outbox.counts(conn) == {"sent": 5, "superseded": 36}


def test_an_episode_that_began_and_ended_in_an_outage_is_one_message(engine: sa.Engine) -> None:
    outage(engine, "x")
    put(engine, "x", number=1, group_key="g", alert_keys=("k",))
    put(engine, "x", number=2, group_key="g", alert_keys=("k",), reason=Reason.RESOLVED, in_thread=True)
    probe_now(engine)
    channel = Told()
    assert go(engine, {"x": channel}) == {"sent": 1}
    assert [(told.id, told.reason) for told, _, _ in channel.got] == [(UUID(int=2), Reason.RESOLVED)]


def test_an_open_alert_is_told_although_the_newest_message_of_its_group_is_about_another(
    engine: sa.Engine, peer: HttpPeer
) -> None:
    outage(engine, "hook")
    put(engine, "hook", number=1, group_key="g", alert_keys=("open",), title="Late flights")
    put(
        engine,
        "hook",
        number=2,
        group_key="g",
        alert_keys=("over",),
        reason=Reason.RESOLVED,
        severity=Severity.INFO,
        in_thread=True,
        title="Cold weather",
    )
    probe_now(engine)
    peer.replies.append(Reply(503, b""))
    assert go(engine, {"hook": web(peer)}) == {"retry": 1}
    probe_now(engine)
    assert go(engine, {"hook": web(peer)}) == {"sent": 1}
    for request in peer.requests:  # the second try says all that the first did
        assert request.headers["idempotency-key"] == str(UUID(int=2))
        said = json.loads(request.body)
        assert "Late flights" in json.dumps(said)
        assert "Resolved: Cold weather" in json.dumps(said)
    # told once: the next message of the group is only itself
    put(engine, "hook", number=3, group_key="g", alert_keys=("other",), title="Third")
    assert go(engine, {"hook": web(peer)}) == {"sent": 1}
    assert b"Late flights" not in peer.requests[-1].body


def test_what_quiet_hours_hold_back_is_neither_collapsed_nor_in_the_way(engine: sa.Engine) -> None:
    outage(engine, "x")
    put(engine, "x", number=1, group_key="g", alert_keys=("k",))
    held = notification(id=UUID(int=2), group_key="g", alert_keys=("k",), reason=Reason.REPEATED)
    with engine.begin() as conn:
        outbox.put(conn, held, ["x"], not_before=datetime.now(UTC) + timedelta(hours=8))
        conn.execute(sa.text("UPDATE monitor.channel_state SET not_before = clock_timestamp()"))
    assert go(engine, {"x": Told()}) == {"sent": 1}
    assert [row.state for row in rows(engine)] == ["sent", "sent", "held"]


def test_without_an_outage_every_message_of_a_group_goes_out(engine: sa.Engine) -> None:
    for number in (1, 2, 3):
        put(engine, "x", number=number, group_key="g", alert_keys=("k",))
    assert go(engine, {"x": Told(raises=DeliveryError("no"))}) == {"retry": 1}
    change(engine, "next_at = clock_timestamp()")
    assert go(engine, {"x": Told()}) == {"sent": 3}


def test_a_permanent_failure_is_a_dead_letter_that_can_be_redelivered(engine: sa.Engine, peer: HttpPeer) -> None:
    peer.replies.append(Reply(404, b"no_service"))
    put(engine, "hook")
    assert go(engine, {"hook": web(peer)}) == {"dead": 1}
    with engine.begin() as conn:
        (letter,) = outbox.dead_letters(conn)
        assert letter.last_error == "127.0.0.1 answered 404: no_service"
        outbox.redeliver(conn)
    assert go(engine, {"hook": web(peer)}) == {"sent": 1}


@pytest.mark.parametrize(
    ("attempts", "age", "outcome"), [(11, "25 hours", "dead"), (11, "23 hours", "retry"), (3, "25 hours", "retry")]
)
def test_a_message_is_given_up_after_twelve_attempts_and_a_day(
    engine: sa.Engine, attempts: int, age: str, outcome: str
) -> None:
    put(engine, "x")
    change(engine, f"attempts = {attempts}, created_at = now() - interval '{age}'")
    assert go(engine, {"x": Told(raises=DeliveryError("no"))}) == {outcome: 1}


def test_a_message_that_kills_who_sends_it_is_given_up_unsent(engine: sa.Engine) -> None:
    channel = Told()
    put(engine, "x")
    change(
        engine,
        "attempts = 12, created_at = now() - interval '25 hours', state = 'sending', token = gen_random_uuid(),"
        " lease_until = now() - interval '1 second'",
    )
    assert go(engine, {"x": channel}) == {"dead": 1}
    assert channel.got == []


def test_a_peer_that_dribbles_is_cut_and_the_next_try_says_that_it_may_be_a_repeat(
    engine: sa.Engine, peer: HttpPeer
) -> None:
    put(engine, "hook")
    with dribble(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n") as port:
        slow = WebhookChannel(url=SecretStr(f"http://{HOST}:{port}"), allow_private=True)
        assert go(engine, {"hook": slow}, patience=Patience(deadline=0.5)) == {"retry": 1}
    (row,) = rows(engine)
    assert (row.state, row.possible_duplicate, row.last_error) == ("pending", True, "not done within 0.5 s")
    change(engine, "next_at = now()")
    go(engine, {"hook": web(peer)})
    assert b"may be a repeat" in peer.requests[0].body


def test_what_a_broken_channel_says_is_not_written_down(engine: sa.Engine) -> None:
    put(engine, "x")
    assert go(engine, {"x": Told(raises=RuntimeError("canary"))}) == {"retry": 1}
    assert rows(engine)[0].last_error == "the channel failed with RuntimeError"


def test_a_dispatcher_that_was_away_too_long_changes_nothing(engine: sa.Engine) -> None:
    put(engine, "x")
    taken_over = "UPDATE monitor.delivery SET token = gen_random_uuid()"
    channel = Told(engine=engine, run_meanwhile=taken_over)
    assert go(engine, {"x": channel}) == {"lost": 1}
    assert rows(engine)[0].state == "sending"
    change(engine, "lease_until = now() - interval '1 second'")
    assert go(engine, {"x": Told()}) == {"sent": 1}


def test_an_outage_of_the_database_after_a_send_is_waited_out(engine: sa.Engine, database: Database) -> None:
    put(engine, "x")
    other = sa.create_engine(database.url, poolclass=sa.NullPool)
    assert go(engine, {"x": Told(engine=other, run_meanwhile=CUT_ALL_OTHERS)}) == {"sent": 1}
    assert rows(engine)[0].state == "sent"


def test_several_dispatchers_share_the_work(engine: sa.Engine, peer: HttpPeer) -> None:
    for number in range(1, 41):
        put(engine, "hook", number=number)
    channels = {"hook": web(peer)}
    ended: list[dict[str, int]] = []
    threads = [threading.Thread(target=lambda: ended.append(go(engine, channels))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.get("sent", 0) for one in ended) == 40
    keys = [request.headers["idempotency-key"] for request in peer.requests]
    assert sorted(keys) == sorted(str(UUID(int=number)) for number in range(1, 41))


def test_only_who_shows_pictures_gets_one_and_a_bad_chart_stops_no_message(engine: sa.Engine) -> None:
    put(engine, "plain", "team", number=1)
    put(engine, "team", number=2, chart={"lines": {"x": ["not a number"]}})
    with MailPeer() as server:
        mail = EmailChannel(host=HOST, port=server.port, security="none", sender="m@x.org", recipients=("a@x.org",))
        channel = Told()
        assert go(engine, {"plain": channel, "team": mail}) == {"sent": 3}
        pictures = [[part for part in got.walk() if part.get_content_type() == "image/png"] for _, got in server.mails]
    assert [len(found) for found in pictures] == [1, 0]
    assert pictures[0][0].get_content().startswith(b"\x89PNG")
    assert channel.got[0][2] is None


def test_the_loop_sends_when_it_is_woken_and_ends_when_it_is_stopped(engine: sa.Engine, peer: HttpPeer) -> None:
    dispatcher = Dispatcher(engine, {"hook": web(peer)}, every=3600.0)
    with running(dispatcher):
        for number in (1, 2, 3):
            put(engine, "hook", number=number)
            dispatcher.wake()
            assert peer.arrived.wait(20)
            peer.arrived.clear()
    assert [row.state for row in rows(engine)] == ["sent"] * 3


def test_new_channels_are_used_without_a_restart(engine: sa.Engine, peer: HttpPeer) -> None:
    dispatcher = Dispatcher(engine, {}, every=3600.0)
    with running(dispatcher):
        put(engine, "hook")
        dispatcher.replace({"hook": web(peer)})
        assert peer.arrived.wait(20)
    assert [row.state for row in rows(engine)] == ["sent"]


def test_a_send_under_way_at_the_end_of_the_grace_is_cut_and_tried_again(engine: sa.Engine) -> None:
    put(engine, "hook")
    with dribble(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n") as port:
        slow = WebhookChannel(url=SecretStr(f"http://{HOST}:{port}"), allow_private=True)
        begun = threading.Event()
        dispatcher = Dispatcher(engine, {"hook": Announcing(slow, begun)}, grace=0.1)
        with running(dispatcher):
            assert begun.wait(20)
    (row,) = rows(engine)
    assert (row.state, row.attempts, row.possible_duplicate) == ("pending", 0, True)


def test_the_loop_outlives_the_loss_of_its_connections(engine: sa.Engine, peer: HttpPeer, database: Database) -> None:
    dispatcher = Dispatcher(engine, {"hook": web(peer)}, every=0.05)
    other = sa.create_engine(database.url, poolclass=sa.NullPool)
    with running(dispatcher):
        for number in (1, 2, 3):
            put(other, "hook", number=number)
            assert peer.arrived.wait(20)
            peer.arrived.clear()
            with other.begin() as conn:
                conn.execute(sa.text(CUT_ALL_OTHERS))
    assert [row.state for row in rows(other)] == ["sent"] * 3


@dataclass(frozen=True)
class Announcing:
    """A channel that says when it begins."""

    channel: Channel
    begun: threading.Event

    async def send(self, notification: Notification, *, thread_reference: str, picture: bytes | None) -> Receipt:
        self.begun.set()
        return await self.channel.send(notification, thread_reference=thread_reference, picture=picture)


class running:  # noqa: N801  # reads as a word
    """The dispatcher in a thread of its own, stopped and waited for at the end."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.thread = threading.Thread(target=dispatcher.run)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.dispatcher.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()


def test_only_recipients_who_do_not_have_it_are_asked_again_by_any_process(engine: sa.Engine) -> None:
    put(engine, "mail")
    with MailPeer() as peer:
        peer.refuse = {"b@example.org": "450 greylisted", "c@example.org": "550 nobody here"}
        assert go(engine, {"mail": mail(peer)}) == {"retry": 1}
        change(engine, "next_at = clock_timestamp()")
        peer.refuse = {"c@example.org": "550 nobody here"}
        assert go(engine, {"mail": mail(peer)}) == {"sent": 1}  # a new object, as in another process
    assert [recipients for recipients, _ in peer.mails] == [["a@example.org"], ["b@example.org"]]
    assert len({got["Message-ID"] for _, got in peer.mails}) == 1
    assert "may be a repeat" not in peer.mails[1][1].as_string()
    (row,) = rows(engine)
    assert (row.state, row.last_error) == ("sent", "refused for good: c@example.org: 550 nobody here")
    with engine.connect() as conn:
        long_ago = datetime(2000, 1, 1, tzinfo=UTC)
        assert outbox.refusals(conn, since=long_ago) == [("mail", row.last_error)]


def test_a_redelivered_mail_goes_to_those_who_do_not_have_it(engine: sa.Engine) -> None:
    put(engine, "mail")
    with MailPeer() as peer:
        peer.refuse = {"b@example.org": "450 greylisted", "c@example.org": "550 nobody here"}
        go(engine, {"mail": mail(peer)})
        change(engine, "state = 'dead'")
        peer.refuse = {}
        with engine.begin() as conn:
            outbox.redeliver(conn)
        assert go(engine, {"mail": mail(peer)}) == {"sent": 1}
    assert [recipients for recipients, _ in peer.mails] == [["a@example.org"], ["b@example.org", "c@example.org"]]


def mail(peer: MailPeer) -> EmailChannel:
    recipients = tuple(f"{name}@example.org" for name in "abc")
    return EmailChannel(host=HOST, port=peer.port, security="none", sender="m@example.org", recipients=recipients)


@dataclass(frozen=True, kw_only=True)
class Spaced(Told):
    spacing: timedelta = timedelta(seconds=0.2)
    times: list[float] = field(default_factory=list)

    async def send(self, notification: Notification, *, thread_reference: str, picture: bytes | None) -> Receipt:
        self.times.append(time.monotonic())
        return await super().send(notification, thread_reference=thread_reference, picture=picture)


def test_dispatchers_share_what_a_channel_takes_in_a_time(engine: sa.Engine) -> None:
    for number in range(1, 7):
        put(engine, "slow", "quick", number=number)
    spaced, quick = Spaced(), Told()
    threads = [threading.Thread(target=lambda: go(engine, {"slow": spaced, "quick": quick})) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(quick.got) == 6
    while len(spaced.got) < 6:
        go(engine, {"slow": spaced})
    assert len({told.id for told, _, _ in spaced.got}) == 6
    assert spaced.times[-1] - spaced.times[0] >= 5 * 0.2 - 0.1  # from claim to claim


def test_slack_gets_a_message_a_second(peer: HttpPeer) -> None:
    channel = SlackChannel(webhook_url=SecretStr(peer.url), allow_private=True)
    assert channel.spacing == timedelta(seconds=1)


def told_on(engine: sa.Engine, channel: str) -> list[Any]:
    query = """SELECT n.payload ->> 'title' AS title, n.payload ->> 'summary' AS summary
        FROM monitor.delivery AS d JOIN monitor.notification AS n USING (notification_id)
        WHERE d.channel = :channel AND n.group_key = 'channel x' ORDER BY d.sequence"""
    with engine.connect() as conn:
        return list(conn.execute(sa.text(query), {"channel": channel}))


def test_that_a_message_was_given_up_is_told_on_another_channel_once_a_day(engine: sa.Engine) -> None:
    refuses = Told(raises=DeliveryError("no_service", permanent=True, status=404))
    for number in (1, 2):
        put(engine, "x", number=number)
        go(engine, {"x": refuses, "y": Told()})
    ((title, summary),) = told_on(engine, "y")
    assert title == "Channel x does not deliver"
    assert summary == "1 message was given up. What it said last: no_service."
    assert told_on(engine, "x") == []
    with engine.begin() as conn:
        conn.execute(sa.text("UPDATE monitor.channel_state SET told_at = told_at - interval '25 hours'"))
    put(engine, "x", number=3)
    go(engine, {"x": refuses, "y": Told()})
    assert [row.summary[:23] for row in told_on(engine, "y")][1:] == ["3 messages were given u"]


def test_an_outage_of_half_an_hour_is_told_on_a_channel_that_works(engine: sa.Engine) -> None:
    broken = Told(raises=DeliveryError("answered 503"))
    fail_until_open(engine, "x", broken)
    probe_now(engine)
    go(engine, {"x": broken, "y": Told()})
    assert told_on(engine, "y") == []
    for others, told in (({}, 0), ({"z": Told()}, 0), ({"y": Told()}, 1)):
        with engine.begin() as conn:
            conn.execute(sa.text("UPDATE monitor.channel_state SET opened_at = opened_at - interval '30 minutes'"))
            conn.execute(sa.text("INSERT INTO monitor.channel_state VALUES ('z', 'open') ON CONFLICT DO NOTHING"))
        probe_now(engine)
        go(engine, {"x": broken, **others})
        assert len(told_on(engine, "y")) == told
    assert told_on(engine, "z") == []
    (told,) = told_on(engine, "y")
    assert "Nothing has gone out on it since" in told.summary
    assert "5 messages wait; each group is told once when it works again." in told.summary


@settings(max_examples=50, deadline=None)
@given(attempts=st.integers(min_value=1, max_value=10_000), seed=st.integers(min_value=0, max_value=99))
def test_the_wait_grows_to_a_quarter_of_an_hour_and_is_spread_evenly(attempts: int, seed: int) -> None:
    assert 0 <= backoff(attempts, random.Random(seed)) <= min(2.0 * 2.0 ** min(attempts, 20), BACKOFF_CAP)


def test_giving_up_needs_both_attempts_and_age() -> None:
    assert hopeless(12, timedelta(hours=24))
    assert not hopeless(11, timedelta(hours=99))
    assert not hopeless(99, timedelta(hours=23))
