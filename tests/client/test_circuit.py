"""A circuit is known everywhere at once, lets the same requests through in each, and answers without a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from monitor import schema, switchboard
from monitor.circuit import Circuit as Change
from monitor.embedded import Database
from monitor_client import Circuit
from monitor_client import circuit as module
from monitor_client.context import Request, enter, leave
from tests.client.conftest import Outage, Service, eventually

REQUESTS = [f"r-{number}" for number in range(4000)]
Changing = Callable[[Callable[[Change], Change]], None]


@contextmanager
def changing(url: str) -> Iterator[Changing]:
    engine = schema.create_engine(url)

    def change(how: Callable[[Change], Change]) -> None:
        with engine.begin() as conn:
            switchboard.save_circuit(conn, how(switchboard.hold_circuit(conn, "late")))

    yield change
    engine.dispose()


@pytest.fixture
def change(database: Database) -> Iterator[Changing]:
    with changing(database.url) as made:
        yield made


def opened(held: Change) -> Change:
    return held.opened(reason="broken", actor="ada", now=datetime.now(UTC), fallback={"score": 0.2})


def test_an_untouched_circuit_lets_everything_through(database: Database) -> None:
    with Circuit(database.dsn, model="late") as circuit:
        assert circuit.is_known
        assert not circuit.is_stale
        assert circuit.admits("r")
        assert not circuit.in_canary("r")
        answer = circuit.answer(lambda: 0.9)
        assert (answer.value, answer.is_fallback) == (0.9, False)


def test_an_opened_circuit_answers_with_the_fallback_until_it_is_closed(database: Database, change: Changing) -> None:
    with Circuit(database.dsn, model="late") as circuit, Circuit(database.dsn, model="other") as other:
        change(opened)
        eventually(lambda: not circuit.admits("r"))
        answer = circuit.answer(lambda: 1 / 0)
        assert (answer.value, answer.is_fallback) == ({"score": 0.2}, True)
        assert (answer.state.reason, answer.state.actor) == ("broken", "ada")
        assert other.admits("r")
        change(lambda held: held.closed(reason="repaired", actor="bob"))
        eventually(lambda: circuit.admits("r"))
        with pytest.raises(ZeroDivisionError):
            circuit.answer(lambda: 1 / 0)


def test_a_circuit_is_known_before_the_first_request(database: Database, change: Changing) -> None:
    change(opened)
    with Circuit(database.dsn, model="late") as circuit:
        assert not circuit.admits("r")


def test_a_lost_notification_only_costs_the_time_to_the_next_look(database: Database, change: Changing) -> None:
    with psycopg.connect(database.dsn) as conn:
        conn.execute("ALTER TABLE monitor.circuit_event DISABLE TRIGGER notify_circuit")
    with Circuit(database.dsn, model="late") as circuit:
        change(opened)
        eventually(lambda: not circuit.admits("r"))


def test_a_notification_is_heard_long_before_the_next_look(
    database: Database, change: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_EVERY", 3600.0)
    with Circuit(database.dsn, model="late") as circuit:
        change(opened)
        eventually(lambda: not circuit.admits("r"))
        change(lambda held: held.shared(0.5, reason=None, actor="ada"))
        eventually(lambda: circuit.state.share == 0.5)


def test_a_half_open_circuit_lets_the_same_share_through_in_every_process(database: Database, change: Changing) -> None:
    change(opened)
    change(lambda held: held.probed(0.2, reason="try", actor="ada"))
    with Circuit(database.dsn, model="late") as one, Circuit(database.dsn, model="late") as two:
        admitted = {request for request in REQUESTS if one.admits(request)}
        assert admitted == {request for request in REQUESTS if two.admits(request)}
        assert abs(len(admitted) / len(REQUESTS) - 0.2) < 0.03
        probe = next(iter(admitted))
        refused = next(request for request in REQUESTS if request not in admitted)
        assert one.answer(lambda: 0.9, request_id=probe).value == 0.9
        assert one.answer(lambda: 0.9, request_id=refused).value == {"score": 0.2}
        failed = one.answer(lambda: 1 / 0, request_id=probe)
        assert (failed.value, failed.is_fallback) == ({"score": 0.2}, True)


def test_an_open_circuit_is_tried_when_its_time_is_over(database: Database, change: Changing) -> None:
    now = datetime(2013, 4, 1, tzinfo=UTC)
    change(lambda held: held.opened(reason="broken", actor="ada", now=now, until=now + timedelta(hours=1)))
    times = [now]
    with Circuit(database.dsn, model="late", fallback={"score": 0.1}, clock=lambda: times[0].timestamp()) as circuit:
        assert (circuit.state.state, sum(map(circuit.admits, REQUESTS))) == ("open", 0)
        assert circuit.answer(lambda: 0.9).value == {"score": 0.1}
        times[0] = now + timedelta(hours=1)
        assert circuit.state.state == "half_open"
        assert abs(sum(map(circuit.admits, REQUESTS)) / len(REQUESTS) - 0.05) < 0.02


def test_a_larger_canary_keeps_the_requests_that_it_had(database: Database, change: Changing) -> None:
    seen: list[set[str]] = []
    with Circuit(database.dsn, model="late") as circuit:
        for share in (0.1, 0.3, 1.0, 0.0):
            change(partial(Change.shared, share=share, reason=None, actor="ada"))
            eventually(lambda share=share: circuit.state.share == share)  # type: ignore[misc]
            seen.append({request for request in REQUESTS if circuit.in_canary(request)})
        token = enter(Request(next(iter(seen[0])), "t"))
        assert not circuit.in_canary()
        leave(token)
    tenth, third, everything, nothing = seen
    assert tenth < third < everything
    assert abs(len(tenth) / len(REQUESTS) - 0.1) < 0.03
    assert (len(everything), len(nothing)) == (len(REQUESTS), 0)


def test_canary_and_probes_are_drawn_apart() -> None:
    canary = {request for request in REQUESTS if module.fraction("canary late", request) < 0.5}
    probes = {request for request in REQUESTS if module.fraction("probe late", request) < 0.5}
    assert abs(len(canary & probes) / len(REQUESTS) - 0.25) < 0.04


def test_without_the_database_the_last_known_state_stays_and_is_said(
    outage: Outage, tmp_path: Path, caplog: pytest.LogCaptureFixture, service: Callable[..., Service]
) -> None:
    assert outage.server is not None
    with changing(outage.server.url) as change:
        change(opened)
    with Circuit(outage.dsn, model="late", cache_directory=tmp_path, time_to_live=0.5) as circuit:
        assert not circuit.admits("r")
        outage.stop()
        eventually(lambda: circuit.is_stale)
        assert not circuit.admits("r")
        eventually(lambda: "the last known state stays: open" in caplog.text)
        started = service(
            "import sys; from monitor_client import Circuit\n"
            "c = Circuit(sys.argv[1], model='late', cache_directory=sys.argv[2], wait=0.1)\n"
            "print(c.admits('r'), c.is_known, c.is_stale, c.state.fallback, flush=True)",
            outage.dsn,
            tmp_path,
        )
        assert started.line() == "False True True {'score': 0.2}"
        outage.start()
        assert outage.server is not None
        eventually(lambda: not circuit.is_stale)
        with changing(outage.server.url) as change:
            change(lambda held: held.closed(reason="repaired", actor="bob"))
        eventually(lambda: circuit.admits("r"))


def test_a_server_that_says_nothing_holds_up_no_request(outage: Outage) -> None:
    with Circuit(outage.dsn, model="late", time_to_live=0.5) as circuit:
        outage.freeze()
        eventually(lambda: circuit.is_stale)
        assert circuit.admits("r")
        outage.thaw()
        eventually(lambda: not circuit.is_stale)


def test_a_service_that_never_reached_the_database_answers_with_its_model(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with Circuit(
        "postgresql://x@127.0.0.1:1/x?connect_timeout=1", model="late", cache_directory=tmp_path / "cache", wait=0.1
    ) as circuit:
        assert circuit.admits("r")
        assert not circuit.is_known
        assert circuit.is_stale


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": 1, "unknown": 2}'])
def test_a_damaged_cache_is_ignored(tmp_path: Path, text: str) -> None:
    address = "postgresql://x@127.0.0.1:1/x?connect_timeout=1"
    with Circuit(address, model="late", cache_directory=tmp_path, wait=0) as circuit:
        assert circuit._cache is not None
        circuit._cache.write_text(text)
    with Circuit(address, model="late", cache_directory=tmp_path, wait=0) as circuit:
        assert circuit.admits("r")
        assert not circuit.is_known


def test_every_request_id_has_its_place_in_the_unit_interval() -> None:
    places: list[Any] = [module.fraction("x", request) for request in [*REQUESTS, "", "\ud800", "東"]]
    assert 0 <= min(places) < 0.01
    assert 0.99 < max(places) < 1
