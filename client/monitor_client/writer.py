"""The thread that takes rows to the database, and to disk while the database is away. It never ends by an error."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from monitor_client.complaint import Complaints
from monitor_client.connection import Connection, reason
from monitor_client.spool import TABLES, Block, Spool, SpoolFullError

FLUSH_EVERY = 0.5  # seconds
WAKE_AT = 2_000  # rows in the queue that are not left waiting, and most rows of a block
BLOCK_BYTES = 1 << 19  # of a block, which goes to the database in one transaction
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # seconds between two tries while the database is away
ADOPT_EVERY = 30.0  # seconds between two looks for what killed processes left
TURN = 0.5  # seconds of draining after which new rows are looked at again


class Writer:
    """A bounded queue in front of the database and, when that is away, of a directory.

    Rows of one table keep their order. `put` never waits: what does not fit is dropped and counted. Whatever has
    been in `put` is in memory for at most a flush and, after that, in the database or on disk, if there is one.
    """

    def __init__(
        self, url: str, *, name: str, spool: Path | None, spool_bytes: int, queue_bytes: int, complaints: Complaints
    ) -> None:
        self.connection = Connection(url, name)
        self.queue_bytes = queue_bytes
        self.complaints = complaints
        self.sign: Callable[[], bytes | None] = lambda: None
        """Returns a heartbeat when one is due."""
        self._name, self._directory, self._spool_bytes = name, spool, spool_bytes
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()  # a signal handler may log while its thread does
        self._rows: dict[str, list[bytes]] = {table: [] for table in TABLES}
        self._count = 0
        self._bytes = 0
        self._held: deque[Block] = deque()
        self._spool: Spool | None = None
        self._wake = threading.Event()
        self._settled = threading.Condition()
        self._turn = 0
        self._thread: threading.Thread | None = None
        self._closing = self._closed = False
        self._away = False
        self._pause, self._retry_at, self._adopt_at = FIRST_PAUSE, 0.0, 0.0
        self.written = 0

    # --- called by the service ----------------------------------------------------------------------------------------

    @property
    def is_away(self) -> bool:
        """Whether the last try to reach the database failed."""
        return self._away

    @property
    def queued(self) -> int:
        """Rows that are not in the database yet: in memory and, of this process, on disk."""
        spool = self._spool
        return self._count + (spool.rows if spool is not None else 0)

    def put(self, table: str, row: bytes) -> None:
        """Take one row, or drop and count it."""
        with self._lock:
            full = self._bytes + len(row) > self.queue_bytes
            closed = self._closed
            if not full and not closed:
                self._rows[table].append(row)
                self._bytes += len(row)
                self._count += 1
                if self._thread is None:
                    self._start()
                if self._count == WAKE_AT:
                    self._wake.set()
        if closed:
            self.complaints.add("closed", "a row came after close() and is lost; close the logger last")
        elif full:
            self.complaints.add(
                "queue full",
                f"the queue of {self.queue_bytes} bytes is full and rows are lost; the database is away or too slow",
            )

    def start(self) -> None:
        """Start the thread now instead of with the first row, so that heartbeats come from an idle process too."""
        with self._lock:
            if self._thread is None and not self._closed:
                self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"monitor-client {self._name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter is ending, or the machine has no thread left
            self.complaints.add("no thread", f"no thread can be started ({error}); rows wait in the queue")
            return
        self._thread = thread

    def flush(self, timeout: float) -> bool:
        """Wait until everything that was put is in the database; False where it is not after `timeout` seconds."""
        end = time.monotonic() + timeout
        next_try = 0.0
        with self._settled:
            begun = self._turn
            while (now := time.monotonic()) < end:
                # A turn that began before this call may not have seen its last rows.
                if self._turn > begun + 1 and not self.queued:
                    return True
                if self._thread is None and not self._count:
                    return not self.queued
                if now >= next_try:
                    self._retry_at = 0.0
                    self._wake.set()
                    next_try = now + (FIRST_PAUSE if self._away else 0.01)
                self._settled.wait(min(0.05, end - now))
        return False

    def close(self, timeout: float) -> None:
        """Write what is queued, to disk where the database does not answer, and end the thread; later rows are lost."""
        with self._lock:
            if self._closed and self._thread is None:
                return
            self._closed = self._closing = True
            thread = self._thread
        self._wake.set()
        if thread is not None:
            thread.join(timeout)
            if thread.is_alive():  # the server says nothing: the rest goes to disk
                self.connection.cut()
                thread.join(timeout)
            self._thread = None
        elif self._count:
            self._finish()

    def after_fork(self) -> None:
        """Begin anew in a child process: rows, segments, connection and thread belong to the parent."""
        spool = self._spool
        if spool is not None:
            spool.close()  # closes this process's copies; the parent keeps its locks
        self.connection.abandon()
        closed = self._closed
        self._reset()
        self._closed = closed

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(FLUSH_EVERY)
            self._wake.clear()
            try:
                self._work()
            except Exception as error:  # noqa: BLE001 whatever it was, rows must go on being taken
                self.complaints.add("fault", f"a fault of the client itself: {type(error).__name__}: {reason(error)}")
            with self._settled:
                self._turn += 1
                self._settled.notify_all()
        self._finish()

    def _finish(self) -> None:
        try:
            if self._directory is None:
                self._retry_at = 0.0  # the last chance; rows on disk have others
            self._work()
        except Exception as error:  # noqa: BLE001 at the end of a process nothing may be raised
            self.complaints.add("fault", f"a fault of the client itself: {type(error).__name__}: {reason(error)}")
        if self._held:
            lost = sum(block.rows for block in self._held)
            self.complaints.add(
                "lost at exit",
                f"the process ends while the database is away, and {lost} rows have no place on disk; "
                "give spool_directory a directory with space",
                number=lost,
            )
            self._settle(len(self._held))
        if self._spool is not None:
            self._spool.close()
        self.connection.close()

    def _work(self) -> None:
        sign = self.sign()
        if sign is not None:
            with self._lock:
                self._rows["heartbeat_log"].append(sign)
                self._bytes += len(sign)
                self._count += 1
        self._take()
        self._adopt()
        # What is on disk is older than what is in memory, and memory is no place to wait in.
        if self._away or self._spool:
            self._keep_held()
        if self._spool and self._may_try():
            self._drain()
        if not self._spool:
            while self._held and self._may_try() and self._deliver(self._held[0]):
                self._settle(1)
        if self._away:
            self._keep_held()

    def _take(self) -> None:
        with self._lock:
            taken, self._rows = self._rows, {table: [] for table in TABLES}
        for table, rows in taken.items():
            part: list[bytes] = []
            size = 0
            for row in rows:
                if part and (size + len(row) > BLOCK_BYTES or len(part) == WAKE_AT):
                    self._held.append(Block(table, len(part), b"".join(part)))
                    part, size = [], 0
                part.append(row)
                size += len(row)
            if part:
                self._held.append(Block(table, len(part), b"".join(part)))

    def _settle(self, blocks: int) -> None:
        for _ in range(blocks):
            block = self._held.popleft()
            with self._lock:
                self._count -= block.rows
                self._bytes -= len(block.data)

    def _may_try(self) -> bool:
        return not self._away or time.monotonic() >= self._retry_at

    def _deliver(self, block: Block) -> bool:
        """Write a block to the database; False where that is away."""
        try:
            self.written += self.connection.copy(block, self._refuse)
        except Exception as error:  # noqa: BLE001 whatever the driver raises, the rows stay with us
            self._away = True
            self._pause = min(LONGEST_PAUSE, 2 * self._pause)
            # Processes of one service lost the database together and shall not come back together.
            self._retry_at = time.monotonic() + self._pause * random.uniform(0.5, 1.0)  # noqa: S311  # guards nothing
            where = "wait on disk" if self._directory is not None else "wait in memory"
            self.complaints.add("away", f"the database cannot be written ({reason(error)}); rows {where}")
            return False
        if self._away:
            self._away, self._pause = False, FIRST_PAUSE
            self.complaints.over("away", "the database is back")
        return True

    def _refuse(self, line: bytes, why: str) -> None:
        self.complaints.add("refused", f"the database does not take a row of {len(line)} bytes ({why}); it is lost")

    def _keep_held(self) -> None:
        while self._held and self._keep(self._held[0]):
            self._settle(1)

    def _keep(self, block: Block) -> bool:
        """Write a block to disk; False where there is no place, and then it stays in memory."""
        spool = self._opened_spool()
        if spool is None:
            return False
        try:
            spool.append(block)
        except SpoolFullError as error:
            self.complaints.add("disk", f"no more rows are kept on disk ({reason(error)}); raise spool_bytes")
            return False
        except OSError as error:
            self.complaints.add(
                "disk", f"rows cannot be kept on disk in {self._directory} ({reason(error)}); they wait in memory"
            )
            return False
        self.complaints.over("disk", "rows are kept on disk again")
        return True

    def _opened_spool(self) -> Spool | None:
        if self._spool is None and self._directory is not None:
            try:
                target = self.connection.target()
            except Exception as error:  # noqa: BLE001 without a driver, or with an address that is none
                self.complaints.add("address", f"the address of the database cannot be used ({reason(error)})")
                return None
            self._spool = Spool(self._directory, target=target, limit=self._spool_bytes)
        return self._spool

    def _adopt(self) -> None:
        now = time.monotonic()
        if now < self._adopt_at:
            return
        self._adopt_at = now + ADOPT_EVERY
        spool = self._opened_spool()
        if spool is not None:
            with contextlib.suppress(OSError):
                spool.adopt()

    def _drain(self) -> None:
        """Write segments to the database, oldest first, for a turn's time."""
        assert self._spool is not None
        end = time.monotonic() + TURN
        while time.monotonic() < end and (segment := self._spool.oldest()) is not None:
            blocks, torn = segment.read()
            for block in _merged(blocks):
                if block.table in segment.delivered:
                    continue
                if not self._deliver(block):
                    return
                segment.delivered.add(block.table)
            if torn:
                self.complaints.add("torn", f"{torn} bytes of {segment.path.name} were torn by a crash and are lost")
            self._spool.remove(segment)
        if self._spool:
            self._wake.set()


def _merged(blocks: list[Block]) -> list[Block]:
    """Return one block for each table: a segment's rows then go in one transaction each, in their order."""
    merged = []
    for table in TABLES:
        own = [block for block in blocks if block.table == table]
        if own:
            merged.append(Block(table, sum(block.rows for block in own), b"".join(block.data for block in own)))
    return merged
