"""The rows of a statement as COPY sends them, received by a thread while the rows before are worked on.

Postgres, which sends, and the profiles, which are built, then each keep a processor busy. The server is held back when
nobody takes what was received: one chunk waits, and the next is begun when it was taken.
"""

from __future__ import annotations

import queue
import select
import threading
from array import array
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from monitor.source import Ints
from monitor.sources.binary import HEADER, PADDING, SIGNATURE, Bytes

CHUNK = 2 << 20  # bytes of a chunk: what the cache of a processor holds is decoded in half the time
WIDE = 4096  # rows of a chunk when rows are so long that it would hold few
LARGEST = 16 << 20  # bytes of a chunk all the same, unless one row has more
T = TypeVar("T")
TICK = 200  # milliseconds after which a waiting thread looks whether it is still wanted


@dataclass(frozen=True)
class Chunk:
    """Some rows: their bytes with `PADDING` more, and where each begins."""

    data: Bytes
    starts: Ints


def copy_rows(conn: psycopg.Connection[Any], statement: bytes, most: int, decode: Callable[[Chunk], T]) -> Generator[T]:
    """Yield the rows of a SELECT in chunks of at most ``most``, as ``decode`` makes them from their bytes.

    Bytes are decoded by the thread that received them, in whose cache they are. Raises psycopg.Error and what
    ``decode`` raises. Nobody else may use the connection until the iterator has ended; closing it early closes both.
    """
    found: queue.SimpleQueue[T | BaseException | None] = queue.SimpleQueue()
    taken, stopped = threading.Semaphore(0), threading.Event()

    def give(item: T | BaseException | None) -> None:
        found.put(item)
        del item
        taken.acquire()

    def receive() -> None:
        try:
            for chunk in _receive(conn.pgconn, statement, most, stopped):
                give(decode(chunk))
                if stopped.is_set():
                    return
            give(None)
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that reads
            give(error)

    thread = threading.Thread(target=receive, name="copy", daemon=True)
    thread.start()
    ended = False
    try:
        while True:
            item = found.get()
            taken.release()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                ended = True
                return
            yield item
            del item  # while the next one is awaited
    finally:
        stopped.set()
        taken.release()
        thread.join()
        if not ended:
            conn.close()


def _receive(server: PGconn, statement: bytes, most: int, stopped: threading.Event) -> Iterator[Chunk]:
    """Receive rows with as few steps each as Python allows: there may be many millions."""
    ready = select.poll()
    ready.register(server.socket, select.POLLIN)

    def wait() -> None:
        while not ready.poll(TICK):
            if stopped.is_set():
                raise psycopg.OperationalError("the read was given up")
        server.consume_input()

    server.send_query(b"COPY (" + statement + b") TO STDOUT (FORMAT BINARY)")
    while server.flush():
        wait()
    while server.is_busy():
        wait()
    began = server.get_result()
    if began is None or began.status != ExecStatus.COPY_OUT:
        _finish(server)
        raise _error(began)
    receive, rows = server.get_copy_data, _Rows(0)
    buffer, ends, at, limit = rows.buffer, rows.ends, 0, 0
    header = HEADER
    while True:
        size, data = receive(1)
        if size > 0:
            if header:  # it comes with the first row
                if bytes(data[: len(SIGNATURE)]) != SIGNATURE:
                    raise psycopg.DataError("the server did not send rows in the format of COPY")
                data, size, header = data[header:], size - header, 0
                if not size:
                    continue
            end = at + size
            if end > limit or len(ends) == most:
                if ends:
                    yield rows.chunk()
                rows = _Rows(size)
                buffer, ends, limit, end = rows.buffer, rows.ends, rows.limit, size
                at = 0
            buffer[at:end] = data
            ends.append(end)
            at = end
        elif size == 0:
            wait()
        else:
            break
    if error := _finish(server):
        raise error
    del ends[-1]  # the mark of the end is no row
    if ends:
        yield rows.chunk()


class _Rows:
    """A chunk that is being filled, with room for rows like one of ``size`` bytes."""

    def __init__(self, size: int) -> None:
        self.limit = max(size, min(LARGEST, max(CHUNK, WIDE * size))) if size else 0
        self.data = np.empty(self.limit + PADDING, np.uint8)
        self.buffer = self.data.data
        self.ends = array("q")

    def chunk(self) -> Chunk:
        """Return what has been filled in."""
        ends = np.frombuffer(self.ends, np.int64)
        used = self.data[: int(ends[-1]) + PADDING]
        used[-PADDING:] = 0
        return Chunk(used, np.concatenate([np.zeros(1, np.int64), ends[:-1]]))


def _finish(server: PGconn) -> psycopg.Error | None:
    """Take the results that are left; return the error among them."""
    error = None
    while (result := server.get_result()) is not None:
        if result.status == ExecStatus.FATAL_ERROR:
            error = _error(result)
    return error


def _error(result: Any) -> psycopg.Error:
    if result is None:
        return psycopg.OperationalError("the connection was lost")
    return psycopg.errors.error_from_result(result)
