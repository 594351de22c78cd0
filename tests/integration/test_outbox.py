"""Rules of the outbox: nothing put in it is lost, and what belongs together keeps its order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from monitor import breaker, outbox, schema
from monitor.check import Severity
from monitor.embedded import Database
from monitor.ledger import LeaseLost
from monitor.notification import Fact, Notification, Reason
from monitor.outbox import Claimed

LEASE = timedelta(minutes=2)
NONE = timedelta(0)


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    engine = schema.create_engine(database.url, pool_size=8)
    yield engine
    engine.dispose()


def message(group: str = "g", **changes: object) -> Notification:
    values: dict[str, object] = {
        "id": uuid4(),
        "model": "flight-delay",
        "reason": Reason.FIRST,
        "severity": Severity.WARNING,
        "title": "late flights",
        "summary": "More of them.",
        "created_at": datetime(2013, 4, 23, 10, tzinfo=UTC),
        "thread_key": f"thread of {group}",
        "group_key": group,
        "window_start": datetime(2013, 4, 22, tzinfo=UTC),
        "facts": (Fact(subject="temp", text="7 °C colder", value=1.5),),
        "chart": {"lines": {"auc": [0.5, 0.75]}},
    }
    return Notification(**{**values, **changes})  # type: ignore[arg-type]  # the tests change what they need


def put(engine: sa.Engine, notification: Notification, *channels: str, **options: datetime) -> int:
    with engine.begin() as conn:
        return outbox.put(conn, notification, channels or ("ops",), **options)  # type: ignore[arg-type]  # not_before only


def claim(engine: sa.Engine, *, limit: int = 10, lease: timedelta = LEASE) -> list[Claimed]:
    with engine.begin() as conn:
        return outbox.claim(conn, limit=limit, lease=lease)


def sent(engine: sa.Engine, claimed: Claimed, provider_ref: str = "") -> None:
    with engine.begin() as conn:
        outbox.mark_sent(conn, claimed.delivery_id, claimed.token, provider_ref=provider_ref, status=200)


def counts(engine: sa.Engine) -> dict[str, int]:
    with engine.connect() as conn:
        return outbox.counts(conn)


def test_a_message_comes_out_as_it_was_put_in(engine: sa.Engine) -> None:
    notification = message()
    put(engine, notification)
    [claimed] = claim(engine)
    assert claimed.notification == notification
    assert (claimed.attempts, claimed.possible_duplicate, claimed.thread_reference) == (1, False, "")


def test_a_message_goes_to_each_channel_once_however_often_it_is_decided(engine: sa.Engine) -> None:
    notification = message()
    assert put(engine, notification, "ops", "team", "ops") == 2
    assert put(engine, notification, "ops", "team") == 0
    assert {claimed.channel for claimed in claim(engine)} == {"ops", "team"}
    assert claim(engine) == []


def test_a_message_of_a_transaction_that_fails_is_never_sent(engine: sa.Engine) -> None:
    with engine.connect() as conn:
        outbox.put(conn, message(), ["ops"])
        conn.rollback()
    assert claim(engine) == []


def test_one_group_keeps_its_order_and_others_do_not_wait(engine: sa.Engine) -> None:
    firing, resolved = message("a"), message("a", reason=Reason.RESOLVED, in_thread=True)
    put(engine, firing)
    put(engine, resolved)
    put(engine, message("b"))
    first, other = claim(engine)
    assert (first.notification, other.notification.group_key) == (firing, "b")
    assert claim(engine) == []
    sent(engine, first)
    [second] = claim(engine)
    assert second.notification == resolved


def test_a_message_that_waits_for_another_try_holds_back_its_group(engine: sa.Engine) -> None:
    put(engine, message("a"))
    put(engine, message("a", reason=Reason.RESOLVED))
    [first] = claim(engine)
    with engine.begin() as conn:
        outbox.reschedule(conn, first.delivery_id, first.token, error="503", delay=timedelta(hours=1))
    assert claim(engine) == []


def test_channels_do_not_wait_for_each_other(engine: sa.Engine) -> None:
    put(engine, message("a"), "ops", "team")
    put(engine, message("a", reason=Reason.RESOLVED), "ops", "team")
    by_channel = {claimed.channel: claimed for claimed in claim(engine)}
    sent(engine, by_channel["team"])
    assert [claimed.channel for claimed in claim(engine)] == ["team"]


def test_what_a_dead_sender_held_is_sent_again_and_marked_as_a_possible_duplicate(engine: sa.Engine) -> None:
    put(engine, message())
    [dead] = claim(engine, lease=NONE)
    [alive] = claim(engine)
    assert alive.delivery_id == dead.delivery_id
    assert alive.possible_duplicate
    assert alive.attempts == 2
    assert alive.notification.id == dead.notification.id
    with pytest.raises(LeaseLost):
        sent(engine, dead)
    sent(engine, alive)
    assert counts(engine) == {"sent": 1}


def test_a_message_under_a_live_lease_is_not_given_out_again(engine: sa.Engine) -> None:
    put(engine, message())
    assert len(claim(engine)) == 1
    assert claim(engine) == []


def test_two_dispatchers_never_hold_the_same_message(engine: sa.Engine) -> None:
    for number in range(6):
        put(engine, message(f"group {number}"))
    with engine.begin() as one, engine.begin() as two:
        mine = outbox.claim(one, limit=3, lease=LEASE)
        yours = outbox.claim(two, limit=10, lease=LEASE)
    assert len(mine) == len(yours) == 3
    assert len({claimed.delivery_id for claimed in mine + yours}) == 6


def test_a_try_with_an_unknown_end_is_repeated_as_a_possible_duplicate(engine: sa.Engine) -> None:
    put(engine, message())
    [first] = claim(engine)
    with engine.begin() as conn:
        outbox.reschedule(
            conn, first.delivery_id, first.token, error="timeout after sending", delay=NONE, ambiguous=True
        )
    [second] = claim(engine)
    assert second.possible_duplicate


def test_a_try_that_was_interrupted_does_not_count(engine: sa.Engine) -> None:
    put(engine, message())
    [first] = claim(engine)
    with engine.begin() as conn:
        outbox.reschedule(conn, first.delivery_id, first.token, error="shutting down", delay=NONE, counts=False)
    assert [claimed.attempts for claimed in claim(engine)] == [1]


def test_a_dead_letter_is_listed_and_can_be_redelivered(engine: sa.Engine) -> None:
    put(engine, message())
    [claimed] = claim(engine)
    with engine.begin() as conn:
        outbox.give_up(conn, claimed.delivery_id, claimed.token, error="channel is archived", status=404)
    assert claim(engine) == []
    with engine.begin() as conn:
        [letter] = outbox.dead_letters(conn)
        assert (letter.channel, letter.subject_line, letter.last_error) == (
            "ops",
            "late flights",
            "channel is archived",
        )
        assert outbox.redeliver(conn, [uuid4()]) == 0
        assert outbox.redeliver(conn) == 1
    assert [again.attempts for again in claim(engine)] == [1]


def test_a_dead_letter_does_not_hold_back_its_group(engine: sa.Engine) -> None:
    put(engine, message("a"))
    put(engine, message("a", title="second"))
    [first] = claim(engine)
    with engine.begin() as conn:
        outbox.give_up(conn, first.delivery_id, first.token, error="refused")
    assert [claimed.notification.title for claimed in claim(engine)] == ["second"]


def test_a_message_is_held_until_its_time(engine: sa.Engine) -> None:
    put(engine, message(), not_before=datetime.now(UTC) + timedelta(hours=8))
    assert claim(engine) == []
    with engine.connect() as conn:
        assert outbox.oldest_pending_age(conn) is None


def test_a_channel_that_asked_to_wait_is_left_alone(engine: sa.Engine) -> None:
    put(engine, message(), "ops", "team")
    with engine.begin() as conn:
        breaker.pause(conn, "ops", timedelta(hours=99))
        breaker.pause(conn, "ops", timedelta(minutes=1))  # the longer one stays
        query = "SELECT not_before - clock_timestamp() FROM monitor.channel_state"
        left = conn.execute(sa.text(query)).scalar_one()
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert [claimed.channel for claimed in claim(engine)] == ["team"]


def test_a_reply_knows_what_the_channel_called_the_first_message_of_its_thread(engine: sa.Engine) -> None:
    put(engine, message("a"), "ops", "team")
    for claimed in claim(engine):
        sent(engine, claimed, provider_ref=f"{claimed.channel} 17")
    put(engine, message("a", in_thread=True), "ops")
    [reply] = claim(engine)
    assert reply.thread_reference == "ops 17"
    sent(engine, reply, provider_ref="ops 18")
    put(engine, message("a", in_thread=True), "ops")
    assert [claimed.thread_reference for claimed in claim(engine)] == ["ops 17"]


def test_the_age_of_the_outbox_is_that_of_the_oldest_message_that_is_due(engine: sa.Engine) -> None:
    with engine.connect() as conn:
        assert outbox.oldest_pending_age(conn) is None
    put(engine, message(), not_before=datetime.now(UTC) - timedelta(minutes=5))
    with engine.connect() as conn:
        age = outbox.oldest_pending_age(conn)
    assert age is not None
    assert timedelta(minutes=5) <= age < timedelta(minutes=10)


def test_delivered_messages_are_counted_at_the_episode_they_are_about(engine: sa.Engine) -> None:
    with engine.begin() as conn:
        for episode, state in ((1, "resolved"), (2, "firing")):
            conn.execute(
                sa.text(
                    "INSERT INTO monitor.alert (alert_key, episode, model, role, family, severity, state)"
                    " VALUES ('k', :episode, 'flight-delay', 'champion', 'score', 'warning', :state)"
                ),
                {"episode": episode, "state": state},
            )
    put(engine, message(alert_keys=("k",)), "ops", "team")
    for claimed in claim(engine):
        if claimed.channel == "ops":
            sent(engine, claimed)
    with engine.connect() as conn:
        told = conn.execute(
            sa.text("SELECT episode, notifications_sent FROM monitor.alert_history ORDER BY episode")
        ).all()
        states = conn.execute(
            sa.text("SELECT channel, state, attempts FROM monitor.notification_history ORDER BY channel")
        ).all()
    assert told == [(1, 0), (2, 1)]
    assert states == [("ops", "sent", 1), ("team", "sending", 1)]


def test_a_stranger_cannot_say_how_a_delivery_went(engine: sa.Engine) -> None:
    put(engine, message())
    [claimed] = claim(engine)
    stranger = UUID(int=7)
    with engine.connect() as conn:
        with pytest.raises(LeaseLost):
            outbox.mark_sent(conn, claimed.delivery_id, stranger)
        with pytest.raises(LeaseLost):
            outbox.reschedule(conn, claimed.delivery_id, stranger, error="", delay=NONE)
        with pytest.raises(LeaseLost):
            outbox.give_up(conn, claimed.delivery_id, stranger, error="")
