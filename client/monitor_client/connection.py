"""One connection to the monitor's database in which nothing can hang, and what its errors mean."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from monitor_client.row import COLUMNS
from monitor_client.spool import Block

if TYPE_CHECKING:
    import psycopg

CONNECT_TIMEOUT = 3  # seconds
DEADLINE = 5.0  # seconds for one statement; a server that says nothing for so long is taken to be away
#: SQLSTATE classes of what is wrong with a row and stays wrong: data, integrity, limits.
OF_THE_ROW = ("22", "23", "54")

_inherited: list[object] = []  # connections of the parent process, never to be closed by a child


class Connection:
    """A connection that is made when it is needed and forgotten when it failed. Used by one thread, cut by any."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url.replace("postgresql+psycopg://", "postgresql://", 1), name
        self._driver: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()
        # Loading the driver takes longer than a request may wait; a service must start even where it cannot be loaded.
        with contextlib.suppress(ImportError):
            import psycopg  # noqa: F401

    def target(self) -> str:
        """Return eight characters that stand for the database, whoever logs in with whichever password."""
        import hashlib

        from psycopg.conninfo import conninfo_to_dict

        parts = conninfo_to_dict(self.url)
        where = "\0".join(str(parts.get(key, "")) for key in ("host", "hostaddr", "port", "dbname"))
        return hashlib.sha256(where.encode()).hexdigest()[:8]

    @contextlib.contextmanager
    def within(self, seconds: float = DEADLINE) -> Iterator[psycopg.Connection[Any]]:
        """Yield the driver's connection and cut it after `seconds`; after any error it is forgotten."""
        import psycopg

        driver = self._driver
        if driver is None or driver.closed:
            driver = psycopg.connect(
                self.url,
                autocommit=True,
                prepare_threshold=None,  # a pooler may stand between
                connect_timeout=CONNECT_TIMEOUT,
                application_name=f"drift-monitor-client {self.name}"[:63],
                client_encoding="utf8",
            )
            with self._lock:
                self._driver = driver
        timer = threading.Timer(seconds, self.cut)
        timer.daemon = True
        timer.start()
        try:
            yield driver
        except BaseException as error:
            # An error about a row leaves the connection usable.
            if not (isinstance(error, psycopg.Error) and _of_the_row(error)):
                self.close()
            raise
        finally:
            timer.cancel()

    def cut(self) -> None:
        """Make whatever waits for the server fail at once, from any thread."""
        with self._lock:
            driver = self._driver
            if driver is None or driver.closed:
                return
            with contextlib.suppress(OSError):
                peer = socket.socket(fileno=os.dup(driver.pgconn.socket))
                try:
                    peer.shutdown(socket.SHUT_RDWR)
                finally:
                    peer.close()

    def close(self) -> None:
        """Close the connection; the next use makes another."""
        with self._lock:
            driver, self._driver = self._driver, None
            if driver is not None:
                with contextlib.suppress(Exception):
                    driver.close()

    def abandon(self) -> None:
        """Forget the parent's connection in a child process without a word to the server."""
        self._lock = threading.Lock()
        driver, self._driver = self._driver, None
        if driver is not None:
            _inherited.append(driver)  # its destructor would say goodbye in the parent's name
            with contextlib.suppress(Exception):
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, driver.pgconn.socket)
                os.close(null)

    def copy(self, block: Block, refuse: Callable[[bytes, str], None]) -> int:
        """Write a block; returns its rows that were written. `refuse` gets each line that the database does not take.

        Raises what the driver raises where the database is away, cannot be written or lacks the table: everything
        that is no fault of a row.
        """
        import psycopg

        try:
            with self.within() as driver, driver.cursor() as cursor:
                statement = f"COPY monitor.{block.table} ({COLUMNS[block.table]}) FROM STDIN"
                with cursor.copy(statement.encode()) as copy:
                    copy.write(block.data)
            return block.rows
        except psycopg.Error as error:
            if not _of_the_row(error):
                raise
            lines = block.data.splitlines(keepends=True)
            if len(lines) == 1:
                refuse(lines[0], error.diag.message_primary or str(error))
                return 0
        middle = len(lines) // 2
        halves = (lines[:middle], lines[middle:])
        return sum(self.copy(Block(block.table, len(half), b"".join(half)), refuse) for half in halves)


def _of_the_row(error: psycopg.Error) -> bool:
    return (error.sqlstate or "")[:2] in OF_THE_ROW


def reason(error: BaseException) -> str:
    """Return the first line of what went wrong; an error that has no words is called by its type."""
    try:
        lines = [part.strip() for part in str(error).splitlines() if part.strip()]
    except Exception:  # noqa: BLE001 it comes from whatever the service handed over
        lines = []
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:200]
