"""Sessions of the bulk reader: connections that stay open, one read-only snapshot each, errors in one sentence."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from threading import BoundedSemaphore, Lock
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg
import pyarrow as pa
from psycopg import sql

from monitor.source import SlowReadError, SourceError
from monitor.sources.binary import Field, decode, in_order
from monitor.sources.stream import copy_rows

BATCH = 16 << 20  # bytes of a batch: bounds what a read holds whatever the rows are like
CONNECT_TIMEOUT = 15  # seconds
#: A server that fell silent in the middle of an answer is noticed within half a minute, and not after two hours.
PATIENCE = {
    "connect_timeout": CONNECT_TIMEOUT,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
Connection = psycopg.Connection[tuple[Any, ...]]

UNREACHABLE = (
    "could not translate host name|failed to resolve host|Connection refused|timeout expired|No such file"
    "|Failed to connect"
)


def libpq_url(url: str) -> str:
    """Return the address for libpq of an address for SQLAlchemy.

    SQLAlchemy writes a space in a parameter as ``+``, which libpq takes for a plus, and in a name as a space, which
    libpq refuses.

    >>> libpq_url("postgresql+psycopg://me@/db?host=/run/my+pg")
    'postgresql://me@/db?host=/run/my%20pg'
    """
    head, mark, parameters = url.partition("?")
    head = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", head).replace(" ", "%20")
    return head + mark + parameters.replace("+", "%20")


def patient(url: str) -> str:
    """Return an address for libpq with limits on the patience for a silent server, where it has none of its own.

    >>> patient("postgresql://me@db/logs?connect_timeout=3").count("connect_timeout")
    1
    """
    given = parse_qs(urlsplit(url).query)
    added = "&".join(f"{name}={value}" for name, value in PATIENCE.items() if name not in given)
    return f"{url}{'&' if given else '?'}{added}" if added else url


def connect(url: str, *, autocommit: bool = False, encoding: str | None = "utf8") -> Connection:
    """Open a connection that may pass a pooler: nothing is prepared, and no startup parameter that poolers refuse.

    ``url`` is for SQLAlchemy or for libpq. Raises psycopg.Error.
    """
    # What is prepared in one session is missing, or somebody else's, in the next that a pooler gives.
    return psycopg.connect(
        patient(libpq_url(url)), autocommit=autocommit, prepare_threshold=None, client_encoding=encoding
    )


def address(url: str) -> str:
    """Return an address without its password, as people recognise it.

    >>> address("postgresql://me:secret@db.example.org:5433/logs?sslmode=require")
    'logs at db.example.org:5433'
    """
    parts = urlsplit(libpq_url(url))
    host = parts.hostname or parse_qs(parts.query).get("host", ["this machine"])[0]
    port = f":{parts.port}" if parts.port else ""
    return f"{unquote(parts.path.lstrip('/')) or 'the default database'} at {unquote(host)}{port}"


@dataclass(kw_only=True)
class Pool:
    """Connections to one address for however many models: so many reads at once, and no more connections than that."""

    most: int = 64
    _idle: list[Connection] = field(default_factory=list, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)
    _free: BoundedSemaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._free = BoundedSemaphore(self.most)

    def enter(self, patience: timedelta) -> bool:
        """Wait until there is room for one more read; returns whether there was in time."""
        return self._free.acquire(timeout=patience.total_seconds())

    def leave(self) -> None:
        """Make room for the next read."""
        self._free.release()

    def idle(self) -> Connection | None:
        """Return a connection that was given back, if there is one."""
        with self._lock:
            return self._idle.pop() if self._idle else None

    def give_back(self, conn: Connection) -> None:
        """Keep a connection for the next read."""
        with self._lock:
            self._idle.append(conn)

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for conn in idle:
            with contextlib.suppress(Exception):
                conn.close()


@dataclass(kw_only=True)
class Sessions:
    """Reads of one database; each takes a connection of the pool and gives it back, so they are opened once."""

    url: str
    statement_timeout: timedelta
    pool: Pool = field(default_factory=Pool)
    key: str = "source.url"
    """Where the address stands in the configuration."""

    def begin(self) -> Session:
        """Return a session in a new read-only snapshot; an idle connection that died is replaced.

        Raises SourceError, also when as many reads as are allowed at once leave no room for as long as a statement may
        take.
        """
        if not self.pool.enter(self.statement_timeout):
            raise SourceError(
                f"{self.pool.most} reads of {address(self.url)} at once, as limits.max_readers allows, left no room for"
                " another in time; raise it, or see which of them is so slow."
            )
        try:
            return self._begin()
        except BaseException:
            self.pool.leave()
            raise

    def _begin(self) -> Session:
        while True:
            conn = self.pool.idle()
            fresh = conn is None
            session = Session(owner=self, conn=self._connect() if conn is None else conn, left=True)
            try:
                session.run(sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
                milliseconds = max(1, round(self.statement_timeout.total_seconds() * 1000))
                session.run(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(milliseconds)))
                session.run(sql.SQL("SET LOCAL TimeZone = 'UTC'"))
                session.run(sql.SQL("SET LOCAL synchronize_seqscans = off"))  # the first of equal rows stays the first
                session.run(sql.SQL("SET LOCAL jit = off"))  # its compiling costs more than these statements
                session.run(sql.SQL("SET LOCAL extra_float_digits = 1"))
            except SourceError:
                session.discard()
                if fresh:
                    raise
            else:
                session.left = False
                return session

    def _connect(self) -> Connection:
        try:
            conn = connect(self.url, autocommit=True, encoding=None)
            # A database without an encoding holds any bytes, and converting them to one would fail.
            if conn.info.parameter_status("server_encoding") != "SQL_ASCII":
                conn.execute("SET client_encoding = 'UTF8'")
        except psycopg.Error as error:
            raise explained(error, self.url, self.key) from None
        return conn

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.pool.close()


@dataclass(kw_only=True)
class Session:
    """One connection within one snapshot."""

    owner: Sessions
    conn: Connection
    ended: bool = False
    left: bool = False
    """Whether its place among the reads at once is free again."""

    def run(self, statement: sql.Composable) -> None:
        """Execute a statement without a result."""
        with self._explaining():
            self.conn.execute(statement.as_bytes(self.conn))

    def rows(self, statement: sql.Composable) -> list[tuple[Any, ...]]:
        """Return the rows of a small result as Python values."""
        with self._explaining():
            return [
                tuple(_readable(value) for value in row) for row in self.conn.execute(statement.as_bytes(self.conn))
            ]

    def batches(self, statement: sql.Composable, most: int) -> Generator[pa.RecordBatch]:
        """Yield the result as Arrow batches of at most ``most`` rows, texts as dictionaries.

        An iterator that is not taken to its end costs the connection.
        """
        with self._explaining():
            fields = self._fields(statement)
            wanted = sql.SQL(", ").join(
                sql.SQL("{}::text" if field.as_text else "{}").format(sql.Identifier(field.name)) for field in fields
            )
            ordered = sql.SQL("SELECT {} FROM ({}) AS s").format(wanted, statement)
            chunks = copy_rows(
                self.conn, ordered.as_bytes(self.conn), most, lambda chunk: decode(chunk.data, chunk.starts, fields)
            )
            try:
                yield from _gathered(chunks, most)
            finally:
                chunks.close()
                self.ended = self.ended or self.conn.closed

    def _fields(self, statement: sql.Composable) -> list[Field]:
        """Return the columns of a statement in the order in which they are asked for."""
        found = self.conn.execute(sql.SQL("SELECT * FROM ({}) AS s LIMIT 0").format(statement)).description or ()
        return in_order([Field.of(column.name, column.type_code) for column in found])

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, pa.ArrowException, ValueError, OSError) as error:
            self.discard()
            raise explained(error, self.owner.url, self.owner.key) from error

    def end(self) -> None:
        """End the snapshot and give the connection back; ending twice is harmless."""
        if self.ended:
            self._leave()
            return
        try:
            self.run(sql.SQL("ROLLBACK"))
        except SourceError:
            return  # the connection is gone and so is its snapshot
        self.ended = True
        self.owner.pool.give_back(self.conn)
        self._leave()

    def discard(self) -> None:
        """Throw the connection away."""
        self.ended = True
        with contextlib.suppress(Exception):
            self.conn.close()
        self._leave()

    def _leave(self) -> None:
        if not self.left:
            self.left = True
            self.owner.pool.leave()


def _gathered(batches: Iterable[pa.RecordBatch], most: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of small batches in larger ones, of at most ``most`` rows and about `BATCH` bytes."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if waiting and (rows + batch.num_rows > most or size + batch.nbytes > BATCH):
            yield _joined(waiting)
            waiting, rows, size = [], 0, 0
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]


def _readable(value: Any) -> Any:
    """Return a value; text of a database without an encoding comes as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def explained(error: Exception, url: str, key: str = "source.url") -> SourceError:
    """Return what a driver's error means for the person who runs the monitor, without any secret."""
    text = str(error)
    state = getattr(error, "sqlstate", None) or next(iter(re.findall(r"SQLSTATE: (\w{5})", text)), "")
    found = re.search(r"(?:ERROR|FATAL):\s+(.*)", text)
    said = (found.group(1) if found else text.splitlines()[0] if text else type(error).__name__).strip()
    where = address(url)
    if re.search(
        "password authentication failed|no password supplied|authentication failed|no pg_hba.conf", said + text
    ):
        return SourceError(
            f"The source database {where} refused the login ({said}); correct user and password in {key}."
        )
    if re.search("certificate", text):
        return SourceError(
            f"The source database {where} could not prove who it is ({said.rpartition('failed: ')[2]}); "
            f"correct the host, or sslrootcert, in {key}."
        )
    if state == "57014":
        return SlowReadError(
            f"A statement on {where} took longer than limits.statement_timeout; add an index on the time column "
            "(`monitor doctor` prints the statement) or raise the limit."
        )
    if state == "42501":
        return SourceError(f"The source database {where} says: {said}; GRANT SELECT on it to the role of {key}.")
    if re.search(r'database ".*" does not exist', said):
        return SourceError(f"The source database {where} does not exist; correct the name in {key}.")
    if re.search(UNREACHABLE, text):
        reason = re.search(r"failed: (.*)", text)
        return SourceError(
            f"The source database {where} cannot be reached ({(reason.group(1) if reason else said).strip()}); "
            f"start it or correct {key}."
        )
    if (not state and "server closed the connection" in text) or state in ("57P01", "57P02", "57P03", "08006", "08003"):
        return SourceError(f"The connection to the source database {where} was lost ({said}); it is tried again.")
    return SourceError(f"The source database {where} could not answer ({said}); see `monitor doctor`.")
