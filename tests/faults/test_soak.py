"""Two to five replicas on one store for a long while, some of them killed: each window has one owner, nothing grows."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from monitor.embedded import Database
from monitor.installation import Installation
from tests.faults.replica import Options, Replica, eventually, forked
from tests.faults.slope import slope
from tests.watched import FIRST, ask, installed, log_rows, run, train, write_config

KEPT = "retention: {tiles: 40y, findings: 40y, samples: 40y, logs: 40y}"
HOURS = 24  # of the log's time
QUARTERS = HOURS * 4
SECONDS = 120.0  # of ours that they take
SPEED = HOURS * 3600 / SECONDS
LEASE = 5.0
KILLS = 12


@contextmanager
def quarter_hours(folder: Path, database: Database) -> Iterator[tuple[Installation, list[Path]]]:
    """Yield an installation that has a window every quarter of an hour, and the configurations of five replicas."""
    files = []
    for number in range(5):
        (folder / str(number)).mkdir()
        file = write_config(folder / str(number), database, more="max_catch_up: 90d", rest=KEPT)
        text = file.read_text().replace("{from: 2013-04-01}", "{from: 2013-04-01, until: 2013-04-02}")
        text = text.replace("{calendar: day, timezone: UTC}", "15m\n    lag: 0s")
        file.write_text(text)
        files.append(file)
    with installed(files[0]) as installation:
        log_rows(installation, days=2, per_day=96 * 10)
        yield installation, files


def is_watched(replicas: list[Replica]) -> bool:
    """Return whether one of the replicas has started."""
    return any("Watching m" in one.said() for one in replicas)


def is_other(now: Callable[[], list[str]], before: list[str]) -> bool:
    """Return whether an answer has changed."""
    return now() != before


def owners(installation: Installation) -> list[int]:
    """Return for every window how many results it has; a result is a finished run."""
    query = (
        "SELECT count(r.run_id) FROM generate_series(CAST('{first}' AS timestamptz), '{last}', interval '15 minutes') w"
        " LEFT JOIN monitor.run r ON r.window_start = w AND r.state = 'done' AND r.rows_read = 10 GROUP BY w"
    )
    last = FIRST + timedelta(hours=HOURS, minutes=-15)
    return [int(n) for n in ask(installation, query.format(first=FIRST, last=last))]


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_replicas_that_are_killed_share_a_day_of_windows_without_loss(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    rng = random.Random(22)
    recoveries: list[float] = []
    with quarter_hours(tmp_path, database) as (installation, files), ExitStack() as stack:
        run(installation, "CREATE TABLE pace (slow float8)", "INSERT INTO pace VALUES (0.3)")
        run(  # reading takes a while, so that whoever is killed is in the middle of it
            installation,
            "ALTER TABLE logged RENAME TO quick",
            "CREATE VIEW logged AS SELECT id, at, p, x + (SELECT 0 FROM pg_sleep((SELECT slow FROM pace) / 10)) AS x"
            " FROM quick",
        )
        options = Options(start=FIRST, speed=SPEED, lease=LEASE)
        replicas: list[Replica] = [stack.enter_context(forked(file, options)) for file in files[:2]]
        # two at first, up to five, and every few seconds one is killed and replaced
        kills = 0
        while kills < KILLS:
            time.sleep(rng.uniform(1, 4))
            if len(replicas) < 5 and rng.random() < 0.3:
                replicas.append(stack.enter_context(forked(files[len(replicas)], options)))
                continue
            number = rng.randrange(len(replicas))
            others = [one for one in replicas if one is not replicas[number]]
            eventually(partial(is_watched, others), SECONDS)  # a store that nobody works on recovers when somebody does
            held = ask(installation, "SELECT run_id FROM monitor.run WHERE state = 'running' AND part = 'inputs'")
            token = "SELECT token FROM monitor.run WHERE run_id = '{}' AND state = 'running'"
            tokens = {one: ask(installation, token.format(one)) for one in held}
            replicas[number].send(signal.SIGKILL)
            killed = time.monotonic()
            replicas[number].ended(20)
            kills += 1
            for one, before in tokens.items():
                if not before:
                    continue  # it had just ended
                eventually(partial(is_other, partial(ask, installation, token.format(one)), before))
                recoveries.append(time.monotonic() - killed)
            replicas[number] = stack.enter_context(forked(files[number], options))
        eventually(lambda: 0 not in owners(installation), 3 * SECONDS)
        found = owners(installation)
        each = "(window_start, run_part, check_name, subject, statistic)"
        (twice,) = ask(installation, f"SELECT count(*) - count(DISTINCT {each}) FROM monitor.finding")
    assert found == [1] * QUARTERS
    assert twice == 0
    assert max(recoveries) <= 2 * LEASE
    note = f"2–5 replicas on {QUARTERS} windows of 15 min; a lease is {LEASE:.0f} s"
    measured(
        scenario=22,
        name="replicas killed",
        injected=kills,
        lost=found.count(0),
        duplicated=sum(n > 1 for n in found) + twice,
        recovery=max(recoveries),
        note=note,
    )


@dataclass
class Samples:
    """What processes used, sampled over time."""

    hours: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    connections: list[float] = field(default_factory=list)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_memory_descriptors_and_connections_of_replicas_stay_flat(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    warm_up, lasting, every = 120.0, 360.0, 1.0
    samples = Samples()
    speed = HOURS * 3600 / (warm_up + lasting)
    with quarter_hours(tmp_path, database) as (installation, files), ExitStack() as stack:
        train(installation)
        options = Options(start=FIRST, speed=speed, lease=LEASE)
        replicas = [stack.enter_context(forked(file, options)) for file in files[:2]]
        for replica in replicas:
            replica.awaits("Watching m")
        processes = [psutil.Process(replica.pid) for replica in replicas]
        sessions = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'drift-monitor%'"
        )
        began = time.monotonic()
        while (now := time.monotonic() - began) < warm_up + lasting:
            if now >= warm_up:
                samples.hours.append(now / 3600)
                samples.rss.append(sum(one.memory_info().rss for one in processes))
                samples.descriptors.append(sum(one.num_fds() for one in processes))
                samples.connections.append(ask(installation, sessions)[0])
            time.sleep(every)
        found = owners(installation)
    units = {"rss": ("MB ", 1e6), "descriptors": ("", 1.0), "connections": ("", 1.0)}
    lines = {name: slope(samples.hours, list(np.array(getattr(samples, name)) / units[name][1])) for name in units}
    shown = [
        f"{name} {line.estimate:+.2f} [{line.low:+.2f}, {line.high:+.2f}] {units[name][0]}per hour"
        for name, line in lines.items()
    ]
    print(f"{len(samples.hours)} samples:", *shown, sep="\n")
    assert all(line.low <= 0.0 for line in lines.values()), shown
    note = f"slopes with 95 % intervals: {'; '.join(shown)}; {sum(found)} windows evaluated"
    measured(scenario=22, name="two replicas for a day of windows", injected=1, note=note)
