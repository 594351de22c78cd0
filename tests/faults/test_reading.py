"""The proof that no row is lost or counted twice, whatever writers do and however often the daemon is killed.

Rows of all windows come while these are judged and looked at again, in a time that runs 120 times as fast; then the
time is put to the end of the lateness, and what is stored by then must be what the logs hold. Readers that keep a
cursor read the same log and must lose rows, or the test would prove nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

from monitor import store
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.outcome import OutcomeProfile, Task
from monitor.profile import Profile
from monitor.reading import load, tile_of
from monitor.recheck import GATHERED
from monitor.reference import Reference, build_reference
from monitor.source import Batch, NumericValues, TileFacts
from monitor.tile import Tile, TileKey, TilePart, build_inputs, build_outcomes, changed
from monitor.window import HOUR, Window
from monitor.worker import plan_anew
from tests.faults.replica import Options, Replica, forked
from tests.faults.writers import NAIVE, Writers, naive_readers
from tests.watched import FIRST, MODEL, ask, installed, write_config

SPEED = 120.0
LAG = MATURE = HOUR
LATENESS = 48 * HOUR
PATIENCE = 200.0  # seconds for what takes ten

CONFIG = """window: 1h
    lag: 1h
    lateness: 48h
    max_catch_up: 30d"""
OUTCOME = "outcome: {table: labels, id: id, label: y, time: known_at, matures_after: 1h}"
JUDGED = "SELECT count(DISTINCT (part, window_start)) FROM monitor.run WHERE state = 'done'"
LATE = "SELECT count(*) FROM monitor.run WHERE kind = 'late' AND state = 'done'"
OPEN = "SELECT count(*) FROM monitor.run WHERE state IN ('planned', 'running')"
MEAN = """
    SELECT avg(x) FROM (
        SELECT DISTINCT id, date_bin('15 minutes', at, '2013-04-01+00'), x FROM logged
    ) AS once
"""
PENDING = "SELECT count(*) FROM monitor.tile WHERE next_check_at IS NOT NULL"


def configured(folder: Path, database: Database, hours: int) -> Path:
    folder.mkdir()
    file = write_config(folder, database, outcome=OUTCOME)
    text = file.read_text().replace("window: {calendar: day, timezone: UTC}", CONFIG)
    until = FIRST + hours * HOUR
    file.write_text(text.replace("{from: 2013-04-01}", f'{{from: 2013-04-01, until: "{until.isoformat()}"}}'))
    return file


def train_hourly(installation: Installation) -> Reference:
    rng = np.random.default_rng(0)
    n = 30 * 24 * 3
    p = rng.random(n)
    batch = Batch(
        rows=n,
        time=round((FIRST - 30 * 24 * HOUR).timestamp()) * 1_000_000 + np.arange(n) * 1_200_000_000,
        columns={"x": NumericValues(values=rng.normal(size=n), missing=np.zeros(n, bool))},
        score=p,
        label=(rng.random(n) < p).astype(float),
    )
    spec = installation.model(MODEL).spec
    reference = build_reference(
        batch, model=MODEL, version="1", task=Task.BINARY, spec=spec, created_at=FIRST, rows=n, source="a test"
    )
    with installation.engine.begin() as conn:
        store.save_reference(conn, model=MODEL, body=reference.to_bytes(), active_from=FIRST, rows=n)
    return reference


def storm(files: list[Path], options: Options, rng: random.Random, kills: int) -> None:
    """Run a replica of each file and kill one of them 0.3 to 0.9 s after it was at work, so many times."""
    with ExitStack() as all_:

        def begin(file: Path) -> tuple[ExitStack, Replica]:
            stack = all_.enter_context(ExitStack())
            return stack, stack.enter_context(forked(file, options))

        slots = [begin(file) for file in files]
        for _ in range(kills):
            place = rng.randrange(len(slots))
            slots[place][1].awaits(f"Watching {MODEL}")  # who is killed was at work
            time.sleep(rng.uniform(0.3, 0.9))
            slots[place][0].close()
            slots[place] = begin(files[place])


def calm(files: list[Path], options: Options, over: Callable[[], bool]) -> None:
    """Let two replicas do what is due until it is over."""
    with ExitStack() as stack:
        replicas = [stack.enter_context(forked(file, options)) for file in files]
        deadline = time.monotonic() + PATIENCE
        while not over():
            assert {replica.code() for replica in replicas} == {None}, [replica.said()[-2000:] for replica in replicas]
            assert time.monotonic() < deadline, [replica.said()[-2000:] for replica in replicas]
            time.sleep(0.2)


def ask_again(installation: Installation, *, now: datetime) -> None:
    """Plan windows that were given up, as a person does: whoever is killed five times at the same one gives it up."""
    with installation.engine.begin() as conn:
        dead = conn.execute(sa.text("SELECT window_start, window_end FROM monitor.run WHERE state = 'dead'")).all()
        given_up = [Window(start=start, end=end) for start, end in dead]
        plan_anew(conn, installation.model(MODEL), given_up, kind="manual", now=now)


def facts_of(tiles: list[Tile]) -> set[tuple[Window, str, int, int]]:
    return {
        (tile.window, tile.version, tile.fingerprint.count, tile.fingerprint.total)
        for tile in tiles
        if tile.fingerprint.count
    }


def fresh_facts(facts: list[TileFacts]) -> set[tuple[Window, str, int, int]]:
    return {(fact.window, fact.version, fact.fingerprint.count, fact.fingerprint.total) for fact in facts}


def check_tiles(installation: Installation, reference: Reference, pieces: list[Window], *, now: datetime) -> int:
    """Compare what is stored with what the logs hold now; returns how many tiles are not what they should be."""
    source, layout, outcomes = installation.source(MODEL), reference.layout, reference.outcome_layout
    assert outcomes is not None
    everything = Window(start=pieces[0].start, end=pieces[-1].end)
    wrong = 0
    for part in TilePart:
        key = TileKey(model=MODEL, part=part, reference_id=reference.id)
        stored = load(installation, key, everything)
        fresh = source.fingerprints(pieces, layout, now=now, labels=part is TilePart.OUTCOMES)
        wrong += len(changed(stored, fresh))
        assert facts_of(stored) == fresh_facts(fresh), part
        bodies = [tile.body for tile in stored if tile.rows]
        if part is TilePart.INPUTS:
            kept = Profile.total(layout, [Profile.from_bytes(layout, body) for body in bodies])
            _, afresh = build_inputs(source.read_inputs(everything, pieces, layout, now=now), layout, key)
            assert np.array_equal(kept.counts, afresh.counts)
            np.testing.assert_allclose(kept.sums, afresh.sums, rtol=1e-12, atol=1e-9)
            # A row more, or one less, would move the mean of what the database itself counts once in each tile.
            np.testing.assert_allclose(kept.column("x").mean, float(ask(installation, MEAN)[0]), rtol=1e-9, atol=1e-12)
        else:
            known = OutcomeProfile.total(outcomes, [OutcomeProfile.from_bytes(outcomes, body) for body in bodies])
            _, labelled = build_outcomes(source.read_outcomes(everything, pieces, now=now), outcomes, key)
            assert (known.rows, known.labelled) == (labelled.rows, labelled.labelled)
            assert np.array_equal(known.joint, labelled.joint)
            np.testing.assert_allclose(known.sums, labelled.sums, rtol=1e-12, atol=1e-9)
    return wrong


def prove(
    tmp_path: Path,
    database: Database,
    measured: Callable[..., None],
    *,
    kills: int,
    seed: int,
    held_open: float = 3.0,
) -> None:
    """Write, kill meanwhile, wait until all is settled, and compare with the truth."""
    hours = 6
    files = [configured(tmp_path / name, database, hours) for name in ("one", "two")]
    rng = random.Random(seed)
    with installed(files[0]) as installation:
        reference = train_hourly(installation)
        with forked(files[0], Options(start=FIRST - LATENESS)) as first:
            first.awaits(f"Watching {MODEL}")  # from now on a replica is there in a moment
        end = FIRST + hours * HOUR
        options = Options(start=end + LAG + MATURE, speed=SPEED, lease=1.0)
        writers = Writers(dsn=database.dsn, clock=options.clock, first=FIRST, end=end, seed=seed, open=held_open)

        def counts(*queries: str) -> list[int]:
            return [ask(installation, query)[0] for query in queries]

        with naive_readers(database.dsn) as naive, writers.writing():
            storm(files, options, rng, kills)
            calm(files, options, lambda: counts(LATE) > [0])  # windows are judged again while their rows still come
        assert options.clock() < FIRST + LATENESS, "the machine was too slow: rows came after the lateness"
        over = Options(start=end + LAG + MATURE + LATENESS + GATHERED + HOUR, speed=SPEED, lease=1.0)
        ask_again(installation, now=over.clock())
        calm(files, over, lambda: counts(JUDGED, OPEN, PENDING) == [2 * hours, 0, 0])

        # No closed window is absent.
        states = "SELECT DISTINCT state FROM monitor.run_history"
        assert ask(installation, f"SELECT count(*), ({states}) FROM monitor.run_history") == [(hours, "done")]
        pieces = [
            piece
            for window in installation.model(MODEL).spec.between(FIRST, end)
            for piece in installation.model(MODEL).spec.tiles(window)
        ]
        wrong = check_tiles(installation, reference, pieces, now=over.clock())
        assert wrong == 0

        # The last revision of each window counts each row once.
        truth = """
            SELECT r.window_start, r.rows_read, r.labels_joined, (
                SELECT count(DISTINCT (id, date_bin('15 minutes', at, '2013-04-01+00'))) FROM logged
                WHERE at >= r.window_start AND at < r.window_end
            ) AS rows, (
                SELECT count(DISTINCT (id, date_bin('15 minutes', at, '2013-04-01+00'))) FROM logged
                WHERE at >= r.window_start AND at < r.window_end AND id IN (SELECT id FROM labels)
            ) AS labels
            FROM monitor.run_history AS r ORDER BY 1
        """
        for start, rows, labels, rows_truly, labels_truly in ask(installation, truth):
            assert (start, rows, labels) == (start, rows_truly, labels_truly)
        revised = ask(installation, LATE)[0]
        for kind in ("savepoints", "rollbacks", "updates", "deletes", "corrections", "prepared transactions"):
            assert writers.done.get(kind, 0) > 0, kind

        # The negative control: rows that are there at the end, and that a reader with a cursor never saw.
        with psycopg.connect(database.dsn) as conn:
            there = {number for (number,) in conn.execute("SELECT number FROM logged")}
        lost = {kind: len(there - reader.seen) for kind, reader in naive.items()}
        assert set(lost) == set(NAIVE)
        assert min(lost.values()) > 0, lost
        note = (
            f"killed every 0.3–0.9 s, transactions of {held_open:.0f} s, {len(there)} rows, {revised} revisions; "
            f"readers with a cursor lost {', '.join(f'{n} ({kind})' for kind, n in lost.items())}"
        )
        measured(
            scenario=1, name="killed while the logs are written and changed", injected=kills, lost=wrong, note=note
        )


@pytest.mark.short
def test_no_row_is_lost_or_counted_twice_whatever_writers_do_and_whoever_dies(
    tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    prove(tmp_path, database, measured, kills=8, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [2, 3])
def test_no_row_is_lost_in_a_long_run(
    seed: int, tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    prove(tmp_path, database, measured, kills=200, seed=seed, held_open=10.0)


def test_stored_tiles_are_told_apart_from_what_the_logs_hold() -> None:
    """The oracle itself: a tile that misses one row is found."""
    window = Window(start=FIRST, end=FIRST + timedelta(minutes=15))
    stored = store.StoredTile(
        model=MODEL,
        part="inputs",
        reference_id="r",
        start=window.start,
        end=window.end,
        body=b"",
        fingerprint_count=1,
        fingerprint_sum=7,
    )
    tile = tile_of(stored)
    assert facts_of([tile]) == {(window, "", 1, 7)}
    fact = TileFacts(window=window, fingerprint=tile.fingerprint)
    assert changed([tile], [fact]) == []
    assert changed([tile], []) == [window]
