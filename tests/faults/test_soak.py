"""Two replicas on one store for a long while: each window has one owner whoever dies, and nothing grows."""

from __future__ import annotations

import gc
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import sqlalchemy as sa

from monitor.embedded import Database
from monitor.failpoint import Failpoint
from monitor.installation import Installation
from monitor.worker import Worker
from tests.faults.fleet import EPISODES, FINDINGS, PER_WINDOW, RUNS, fleet
from tests.faults.replica import Options, forked, spawned
from tests.faults.slope import slope
from tests.peers import HttpPeer
from tests.watched import FIRST, ask, run

HOURS = 24  # of the log's time
QUARTER = timedelta(minutes=15)
WINDOWS = HOURS * 4  # of each model
MODELS = 4
SECONDS = 240.0  # of ours that a day takes
LEASE = 10.0
HELD = "SELECT run_id, token::text FROM monitor.run WHERE state = 'running'"
HOLDING = (Failpoint.CLAIMED, Failpoint.READ, Failpoint.COMPUTED, Failpoint.SAVING)  # a run is the process's own there
DONE = "SELECT count(*) FROM monitor.run WHERE state = 'done'"
WARM_UP, LASTING = 900.0, 1200.0  # seconds; pools fill and what is remembered once is there after the first
CROWDED = 8.0  # seconds; a lease is longer
MINUTE = 60.0  # samples of one are averaged: a process that has grown stays so, and seconds are no draws of their own
DAYS = 150  # of windows: 64 in the warm-up, so tiles are settled, widened and looked at for the last time in it


@dataclass
class Mortal:
    """A replica that dies holding a run, again and again; whoever comes after it has another owner's id."""

    file: Path
    options: Options
    rng: random.Random
    kills: int = 0
    _stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Start the next one; it dies at one of its first runs."""
        self._stack.close()
        point = f"{self.rng.choice(HOLDING)}=kill@{self.rng.randint(4, 12)}"
        self.replica = self._stack.enter_context(forked(self.file, self.options, failpoints=point))

    def is_dead(self) -> bool:
        """Return whether it has been killed; fails when it ended otherwise."""
        code = self.replica.code()
        assert code in (None, -signal.SIGKILL), self.replica.said()
        return code is not None

    def end(self) -> None:
        """End it without a kill that counts."""
        self._stack.close()


def unveil(installation: Installation, options: Options) -> None:
    """Let each row of the log appear when it happens by the replicas' clock, as production does."""
    run(
        installation,
        "ALTER TABLE logged RENAME TO everything",
        "CREATE VIEW logged AS SELECT * FROM everything WHERE at <= timestamptz"
        f" '{options.start}' + {options.speed} * (now() - to_timestamp({options.origin}))",
    )


def taken_over(installation: Installation, held: set[tuple[Any, Any]]) -> bool:
    """Return whether each run is another owner's by now, or done."""
    now = dict(
        ask(
            installation,
            "SELECT run_id, CASE WHEN state <> 'planned' THEN coalesce(token::text, 'nobody') END FROM monitor.run",
        )
    )
    return all(now[run_id] not in (None, token) for run_id, token in held)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_two_replicas_that_die_in_turn_share_a_day_of_windows_without_loss(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    rng, recoveries = random.Random(22), []
    with (
        HttpPeer() as peer,
        fleet(
            tmp_path,
            database,
            models=MODELS,
            windows=WINDOWS,
            width=QUARTER,
            channels=f"{{hook: {{type: webhook, url: '{peer.url}/'}}}}",
        ) as installation,
    ):
        options = Options(start=FIRST, speed=HOURS * 3600 / SECONDS, lease=LEASE)
        unveil(installation, options)
        replicas = [Mortal(file=installation.config.path, options=options, rng=rng) for _ in range(2)]
        for one in replicas:
            one.start()
        try:
            waiting: list[tuple[float, set[tuple[Any, Any]]]] = []
            until = time.monotonic() + 4 * SECONDS
            while ask(installation, DONE) != [MODELS * WINDOWS]:
                assert time.monotonic() < until, ask(installation, "SELECT state, count(*) FROM monitor.run GROUP BY 1")
                for one in replicas:
                    if one.is_dead():
                        one.kills += 1
                        waiting.append((time.monotonic(), set(ask(installation, HELD))))
                        one.start()
                over = [each for each in waiting if taken_over(installation, each[1])]
                recoveries += [time.monotonic() - killed for killed, _ in over]
                waiting = [each for each in waiting if each not in over]
                time.sleep(0.05)
        finally:
            for one in replicas:
                one.end()
        # What is behind is made up for after what is current, so episodes are compared and not how they came about.
        outcomes = {
            what: [ask(installation, query.format(name)) for name in sorted(installation.models)]
            for what, query in (("runs", RUNS), ("findings", FINDINGS), ("episodes", EPISODES))
        }
        committed = ask(
            installation, "SELECT count(*) FROM monitor.run WHERE state = 'done' GROUP BY model, window_start"
        )
    kills = sum(one.kills for one in replicas)
    print(f"{kills} kills; taken over after {np.median(recoveries):.1f} s (median), {max(recoveries):.1f} s at most")
    assert committed == [1] * (MODELS * WINDOWS)
    assert [row[3] for row in outcomes["runs"][0]] == [PER_WINDOW] * WINDOWS
    assert outcomes["episodes"][0], "a day without an alert proves nothing"
    # How much lies in the future depends on the second at which one looks, when an hour passes in ten.
    outcomes["findings"] = [[row for row in rows if "clock skew" not in row] for rows in outcomes["findings"]]
    for what, (first, *others) in outcomes.items():
        for other in others:
            assert [row for row in other if row not in first] + [row for row in first if row not in other] == [], what
    assert kills >= 20
    assert max(recoveries) <= 2 * LEASE
    measured(
        scenario=22,
        name="two replicas that die in turn, holding a run",
        injected=kills,
        lost=committed.count(0),
        duplicated=0,
        recovery=max(recoveries),
        note=f"{MODELS} models × {WINDOWS} windows of 15 min, a day in {SECONDS:.0f} s; a lease is {LEASE:.0f} s, half"
        f" of the runs were taken over within {np.median(recoveries):.1f} s",
    )


@dataclass
class Samples:
    """What processes used, sampled over time."""

    hours: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    connections: list[float] = field(default_factory=list)


@pytest.mark.short
def test_evaluated_windows_leave_nothing_in_memory(tmp_path: Path, database: Database) -> None:
    """Two days of windows in one process: after the first few hundred not an object more for each that follows."""
    first, last = WINDOWS, 3 * WINDOWS
    with fleet(tmp_path, database, models=1, windows=last, width=QUARTER, channels="{}") as installation:
        worker = Worker(installation=installation)
        blocks = {}
        for number in range(1, last + 1):
            assert worker.advance(FIRST + number * QUARTER) == 1
            if number in (first, last):
                gc.collect()
                blocks[number] = sys.getallocatedblocks()
    assert blocks[last] - blocks[first] < last - first


def crowd(installation: Installation) -> None:
    """Let every thread of the replicas need a connection at once: pools open them on demand and keep them."""
    with installation.engine.begin() as conn:
        conn.execute(sa.text("LOCK TABLE monitor.run, monitor.tile, monitor.delivery IN ACCESS EXCLUSIVE MODE"))
        time.sleep(CROWDED)


def by_the_minute(values: list[float], unit: float) -> list[float]:
    """Return the means of samples over each minute."""
    parts = np.array_split(np.array(values) / unit, int(LASTING // MINUTE))
    return [float(part.mean()) for part in parts]


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_memory_descriptors_and_connections_of_replicas_stay_flat(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    samples = Samples()
    seconds = WARM_UP + LASTING
    windows = DAYS * WINDOWS
    channels = "{}"
    with (
        fleet(tmp_path, database, models=1, windows=windows, width=QUARTER, channels=channels) as installation,
        ExitStack() as stack,
    ):
        options = Options(start=FIRST, speed=DAYS * 86_400 / seconds, lease=LEASE)
        unveil(installation, options)
        # programs of their own: pages of libraries that a fork shares come to it one by one
        replicas = [stack.enter_context(spawned(installation.config.path, options)) for _ in range(2)]
        for replica in replicas:
            replica.awaits("Watching model-00")
        processes = [psutil.Process(replica.pid) for replica in replicas]
        sessions = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'drift-monitor%'"
        )
        began = time.monotonic()
        crowd(installation)
        while (now := time.monotonic() - began) < seconds:
            if now >= WARM_UP:
                samples.hours.append(now / 3600)
                samples.rss.append(sum(one.memory_info().rss for one in processes))
                samples.descriptors.append(sum(one.num_fds() for one in processes))
                samples.connections.append(ask(installation, sessions)[0])
            time.sleep(1)
        (done,) = ask(installation, DONE)
    units = {"rss": ("MB ", 1e6), "descriptors": ("", 1.0), "connections": ("", 1.0)}
    minutes = {name: by_the_minute(getattr(samples, name), unit) for name, (_, unit) in units.items()}
    hours = by_the_minute(samples.hours, 1.0)
    lines = {name: slope(hours, values) for name, values in minutes.items()}
    shown = [
        f"{name} {line.estimate:+.2f} [{line.low:+.2f}, {line.high:+.2f}] {units[name][0]}per hour"
        for name, line in lines.items()
    ]
    print(f"MB by the minute: {' '.join(f'{each:.1f}' for each in minutes['rss'])}")
    print(f"connections: {Counter(samples.connections)}, descriptors: {Counter(samples.descriptors)}")
    print(f"{len(samples.hours)} samples, {done} windows:", *shown, sep="\n")
    assert all(line.is_flat for line in lines.values()), shown
    note = (
        f"{LASTING / 60:.0f} min after {WARM_UP / 60:.0f} of warm-up; slopes with 95 % intervals: {'; '.join(shown)};"
        f" {done} windows evaluated"
    )
    measured(scenario=22, name=f"two replicas for {DAYS} days of windows", injected=1, note=note)
