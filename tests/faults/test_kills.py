"""Kill -9 at every failpoint: no window, no alert and no message is lost, none is counted twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from monitor import ledger, outbox
from monitor.dispatcher import deliver
from monitor.embedded import Database
from monitor.failpoint import Failpoint
from monitor.installation import Installation
from monitor.worker import Worker
from tests.faults.fleet import PER_WINDOW, end, fleet, history
from tests.faults.replica import eventually
from tests.faults.victims import DELIVERIES, LEASE, Plan, Survivor, dying
from tests.peers import HttpPeer, notification
from tests.watched import ask, run

HOUR = timedelta(hours=1)
JITTER = HOUR / 20  # of many models not all are due at once
SETTLED = timedelta(days=2)  # the default lateness
EVALUATIONS = (
    Failpoint.CLAIMING,
    Failpoint.CLAIMED,
    Failpoint.READ,
    Failpoint.COMPUTED,
    Failpoint.SAVING,
    Failpoint.COMMITTED,
)
#: Killed there, a process cannot have said that the channel has the message.
UNKNOWN = (Failpoint.SENT, Failpoint.MARKING)
KILLS = int(os.environ.get("MONITOR_SOAK_KILLS", "200"))
LONG = [pytest.mark.soak, pytest.mark.timeout(1800)]
FORMS = [pytest.param(2, marks=pytest.mark.short), pytest.param(KILLS, marks=LONG)]

LEASED = "SELECT count(*) FROM monitor.run WHERE state = 'running'"


def received(peer: HttpPeer) -> Counter[str]:
    return Counter(json.loads(request.body)["notification"]["id"] for request in peer.requests)


def all_sent(installation: Installation) -> bool:
    send_all(installation)
    return ask(installation, "SELECT count(*) FROM monitor.delivery WHERE state <> 'sent'") == [0]


def send_all(installation: Installation) -> None:
    told = deliver(installation.pulse, installation.channels, now=datetime.now(UTC), rng=random.Random(0), limit=10_000)
    asyncio.run(told)


@pytest.mark.parametrize("kills", FORMS)
def test_an_evaluation_that_is_killed_anywhere_loses_and_doubles_nothing(
    kills: int, tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    models, windows = (5, 9) if kills < 10 else (24, 50)
    at = end(windows, HOUR) + JITTER
    with (
        HttpPeer() as peer,
        fleet(
            tmp_path, database, models=models, windows=windows, width=HOUR, channels=channels(peer, "hook")
        ) as installation,
    ):
        worker = Worker(installation=installation)
        worker.plan(at)
        names = sorted(installation.models)
        while worker.work(at, models=names[:1]):
            pass  # one that nobody is killed at, to compare with
        plans = [Plan(file=installation.config.path, at=at, point=point, kills=kills) for point in EVALUATIONS]
        with Survivor(installation=installation, at=at) as survivor, dying(*plans) as killed:
            assert killed() == [kills] * len(plans)
            eventually(lambda: ask(installation, LEASED) == [0])
        worker.advance(at)
        send_all(installation)
        clean = history(installation, names[0])
        assert [row[3] for row in clean[0]] == [PER_WINDOW] * windows
        assert clean[3], "a history without a message proves nothing"
        lost = sum(history(installation, name) != clean for name in names[1:])
        assert {name: history(installation, name) for name in names[1:]} == dict.fromkeys(names[1:], clean)
        (again,) = ask(installation, "SELECT sum(attempts) - count(*) FROM monitor.run")
        assert survivor.slowest <= 2 * LEASE.total_seconds()
        assert again >= 4 * kills  # killed before the claim or after the commit a process costs no attempt
        got = received(peer)
        assert set(got) == {str(one) for one in ask(installation, "SELECT notification_id FROM monitor.notification")}
        assert set(got.values()) == {1}
    for point in EVALUATIONS:
        measured(
            scenario=1,
            name=f"kill -9 at {point}",
            injected=kills,
            lost=lost,
            recovery=survivor.slowest,
            note=f"{models} models × {windows} windows; runs, findings, alerts, messages as of an unharmed one",
        )


@pytest.mark.parametrize("kills", FORMS)
def test_a_window_that_is_read_in_parts_loses_and_doubles_nothing_whoever_is_killed_between_them(
    kills: int, tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    models, windows = (3, 4) if kills < 10 else (8, 50)
    at = end(windows, HOUR) + SETTLED - 2 * HOUR  # some windows are of so long ago that nobody looks at them again
    with fleet(tmp_path, database, models=models, windows=windows, width=HOUR, channels="{}") as installation:
        worker = Worker(installation=installation)
        worker.plan(at)
        names = sorted(installation.models)
        while worker.work(at, models=names[:1]):
            pass
        taken = "UPDATE monitor.run SET attempts = :tried, reason = :reason WHERE state = 'planned'"
        run(installation, taken, tried=ledger.PATIENCE, reason=ledger.RESCUED)
        plan = Plan(
            file=installation.config.path,
            at=at,
            point=Failpoint.TILE_STORED,
            kills=kills,
            nth=2,
            tried=ledger.PATIENCE,
        )
        with Survivor(installation=installation, at=at, tried=ledger.PATIENCE) as survivor, dying(plan) as killed:
            assert killed() == [kills]
            eventually(lambda: ask(installation, LEASED) == [0])
        worker.advance(at)
        clean = history(installation, names[0])
        lost = sum(history(installation, name) != clean for name in names[1:])
        assert {name: history(installation, name) for name in names[1:]} == dict.fromkeys(names[1:], clean)
        bodies = "SELECT count(DISTINCT (start, body)), count(*), count(DISTINCT start) FROM monitor.tile"
        ((different, tiles, starts),) = ask(installation, bodies)
        assert (different, tiles) == (starts, models * starts)
    measured(
        scenario=1,
        name=f"kill -9 at {Failpoint.TILE_STORED}",
        injected=kills,
        lost=lost,
        recovery=survivor.slowest,
        note=f"{models} models × {windows} windows read in parts; the same tiles as of one that was read at once",
    )


@pytest.mark.parametrize("kills", FORMS)
def test_windows_are_planned_once_by_whoever_is_killed_after_it(
    kills: int, tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    windows = kills + 3
    start, at = end(1, HOUR), end(windows, HOUR)
    with fleet(tmp_path, database, models=1, windows=windows, width=HOUR, channels="{}") as installation:
        plan = Plan(file=installation.config.path, at=start, pace=HOUR, point=Failpoint.MATERIALISED, kills=kills)
        with dying(plan) as killed:
            assert killed() == [kills]
        assert Worker(installation=installation).advance(at) == windows
        starts = ask(installation, "SELECT window_start FROM monitor.run WHERE state = 'done' ORDER BY 1")
        assert starts == [end(number, HOUR) for number in range(windows)]
    measured(scenario=1, name=f"kill -9 at {Failpoint.MATERIALISED}", injected=kills, note="each window is there once")


@pytest.mark.parametrize("kills", FORMS)
def test_a_message_is_sent_at_least_once_and_again_only_after_a_kill_with_the_same_id(
    kills: int, tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    with (
        HttpPeer() as peer,
        fleet(
            tmp_path, database, models=1, windows=1, width=HOUR, channels=channels(peer, *DELIVERIES)
        ) as installation,
    ):
        ids = {point: [uuid4() for _ in range(3 * kills)] for point in DELIVERIES}
        with installation.engine.begin() as conn:
            for point, ours in ids.items():
                for one in ours:
                    outbox.put(conn, notification(id=one, group_key=str(one)), [point])
        file, at = installation.config.path, end(1, HOUR)
        with dying(*[Plan(file=file, at=at, point=point, kills=kills, nth=2) for point in DELIVERIES]) as killed:
            assert killed() == [kills] * len(DELIVERIES)
        eventually(lambda: all_sent(installation))
        got = received(peer)
        assert set(got) == {str(one) for ours in ids.values() for one in ours}
        said = "SELECT notification_id FROM monitor.delivery WHERE possible_duplicate"
        known = {str(one) for one in ask(installation, said)}
        for point, ours in ids.items():
            repeats = [str(one) for one in ours if got[str(one)] > 1]
            # whoever is killed at a repeat leaves a second one
            duplicated = sum(got[str(one)] - 1 for one in ours)
            assert duplicated == (kills if point in UNKNOWN else 0)
            assert set(repeats) <= known
            measured(
                scenario=1,
                name=f"kill -9 at {point}",
                injected=kills,
                lost=len(ours) - sum(str(one) in got for one in ours),
                duplicated=duplicated,
                note=f"of {len(ours)} messages; a duplicate has the id of its first and says that it may be a repeat",
            )


def channels(peer: HttpPeer, *names: str) -> str:
    return "{" + ", ".join(f"{name}: {{type: webhook, url: '{peer.url}/'}}" for name in names) + "}"
