"""Serving processes that write a log as it is really written, and readers that keep a cursor and lose rows of it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

TABLES = """
CREATE SEQUENCE logged_id CACHE 20;
CREATE TABLE logged (
    number bigint DEFAULT nextval('logged_id'), created_at timestamptz DEFAULT clock_timestamp(),
    id text, at timestamptz, x float8, p float8
);
CREATE INDEX ON logged (at);
CREATE INDEX ON logged (id);
CREATE TABLE labels (id text, y bool, known_at timestamptz);
CREATE INDEX ON labels (id);
"""
INSERT = "INSERT INTO logged (id, at, x, p) VALUES (%s, %s, %s, %s)"
LABEL = "INSERT INTO labels VALUES (%s, %s, %s)"


@dataclass(kw_only=True)
class Writers:
    """Threads that log predictions and their labels until ``stop``; what they do follows from ``seed``.

    Events lie anywhere between ``first`` and ``end``, so they come late, and later than their windows were judged.
    ``clock`` tells when labels are known.
    """

    dsn: str
    clock: Callable[[], datetime]
    first: datetime
    end: datetime
    seed: int = 0
    threads: int = 6
    open: float = 3.0
    """For how many seconds a long transaction, or a prepared one, stays open."""
    stop: threading.Event = field(default_factory=threading.Event)
    done: dict[str, int] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        with self._lock:
            self.done[what] = self.done.get(what, 0) + 1

    def work(self, number: int) -> None:
        """Write transactions of all kinds, one after the other."""
        rng = random.Random(1000 * self.seed + number)
        kinds = [self.prepared, self.long] if number == 0 else [self.ordinary]
        try:
            with psycopg.connect(self.dsn, autocommit=True) as conn:
                turn = 0
                while not self.stop.is_set():
                    kinds[turn % len(kinds)](conn, rng, f"{number}-{turn}")
                    turn += 1
        except BaseException as error:
            self.failures.append(error)
            raise

    def insert(self, conn: psycopg.Connection[Any], rng: random.Random, name: str) -> None:
        """Log one prediction, sometimes twice, and usually its label."""
        at = self.first + rng.random() * (self.end - self.first)
        x, p = rng.gauss(0, 1), rng.random()
        for _ in range(2 if rng.random() < 0.1 else 1):
            conn.execute(INSERT, [name, at, x, p])
        if rng.random() < 0.7:
            conn.execute(LABEL, [name, rng.random() < p, self.clock()])

    def ordinary(self, conn: psycopg.Connection[Any], rng: random.Random, name: str) -> None:
        """Write one to four rows, wait, and commit or not; sometimes change, remove or label what is there."""
        conn.execute("BEGIN")
        for part in range(rng.randint(1, 4)):
            if rng.random() < 0.2:
                conn.execute("SAVEPOINT s")
                self.insert(conn, rng, f"{name}-{part} undone")
                conn.execute("ROLLBACK TO SAVEPOINT s")
                self.count("savepoints")
            self.insert(conn, rng, f"{name}-{part}")
        # an exponential delay, and now and then a slow one
        self.stop.wait(rng.uniform(0.5, 1.5) if rng.random() < 0.1 else rng.expovariate(1 / 0.03))
        if rng.random() < 0.05:
            conn.execute("ROLLBACK")
            self.count("rollbacks")
            return
        conn.execute("COMMIT")
        self.count("commits")
        other = f"{name.split('-')[0]}-{rng.randrange(1 + int(name.split('-')[1]))}-0"
        draw = rng.random()
        if draw < 0.15:
            conn.execute("UPDATE logged SET x = %s WHERE id = %s", [rng.gauss(0, 1), other])
            self.count("updates")
        elif draw < 0.25:
            conn.execute("DELETE FROM logged WHERE id = %s", [other])
            self.count("deletes")
        elif draw < 0.35:
            conn.execute("UPDATE labels SET y = NOT y WHERE id = %s", [other])
            conn.execute(LABEL, [other, rng.random() < 0.5, self.clock()])
            self.count("corrections")

    def long(self, conn: psycopg.Connection[Any], rng: random.Random, name: str) -> None:
        """Hold a transaction open for longer than anybody waits."""
        conn.execute("BEGIN")
        for part in range(3):
            self.insert(conn, rng, f"{name}-{part}")
        self.stop.wait(self.open)
        conn.execute("COMMIT")
        self.count("long transactions")

    def prepared(self, conn: psycopg.Connection[Any], rng: random.Random, name: str) -> None:
        """Prepare a transaction for a commit in two phases, and commit it later."""
        conn.execute("BEGIN")
        for part in range(3):
            self.insert(conn, rng, f"{name}-{part}")
        conn.execute(f"PREPARE TRANSACTION '{name}'".encode())
        self.stop.wait(self.open / 2)
        conn.execute(f"COMMIT PREPARED '{name}'".encode())
        self.count("prepared transactions")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write in the background; at the end all transactions are over."""
        threads = [threading.Thread(target=self.work, args=(number,)) for number in range(self.threads)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()
        if self.failures:
            raise self.failures[0]


NAIVE = {
    "id watermark": ("number > {number}", "-1"),
    "time watermark": ("created_at > {created_at}", "'-infinity'"),
    # the advice of many: as D, it also waits for all transactions that are older
    "id and xmin": (
        "number > {number} AND xmin::text::bigint < pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
        "-1",
    ),
}


@dataclass(kw_only=True)
class NaiveReader:
    """A reader that remembers up to where it has read; ``seen`` are the numbers of the rows that it found."""

    dsn: str
    kind: str
    stop: threading.Event
    seen: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Read what is new, over and over, and once more when all is written."""
        condition, beginning = NAIVE[self.kind]
        last: dict[str, Any] = {}
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            while True:
                ended = self.stop.is_set()
                if last:
                    where = condition.format(number=last["number"], created_at=f"'{last['created_at']}'")
                else:
                    where = condition.format(number=beginning, created_at=beginning)
                rows = conn.execute(f"SELECT number, created_at FROM logged WHERE {where}".encode()).fetchall()
                self.seen |= {number for number, _ in rows}
                if rows:
                    last = {
                        "number": max(last.get("number", -1), *(number for number, _ in rows)),
                        "created_at": max(at for _, at in rows),
                    }
                if ended:
                    return
                time.sleep(0.05)


@contextmanager
def naive_readers(dsn: str) -> Iterator[dict[str, NaiveReader]]:
    """Run a reader of each kind; at the end each reads once more, so begin it before the writers."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(TABLES.encode())
    stop = threading.Event()
    readers = {kind: NaiveReader(dsn=dsn, kind=kind, stop=stop) for kind in NAIVE}
    threads = [threading.Thread(target=reader.run) for reader in readers.values()]
    for thread in threads:
        thread.start()
    try:
        yield readers
    finally:
        stop.set()
        for thread in threads:
            thread.join()
