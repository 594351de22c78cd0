"""Rows on disk while the database is away: append-only segments, fsynced, bounded, safe against ``kill -9``.

A directory belongs to one service and may be shared by all its processes. Each process appends to segments of its own
and holds them locked; the kernel gives the lock of a killed process back, and the next one that looks takes its
segments over. A record is one block of rows with its length and checksum, so that a torn end is seen and what comes
before it is kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SUFFIX = ".spool"
SEGMENT_BYTES = 1 << 20
"""A segment goes to the database in one piece; at this size that takes a fraction of a second."""
TABLES = ("prediction_log", "outcome_log", "heartbeat_log")

_MAGIC = b"\xff\xfed1"  # no UTF-8 text contains it, so the next record can be found behind a damaged one
_HEADER = struct.Struct(">4sBIII")  # magic, table, rows, bytes, checksum


class Block(NamedTuple):
    """Some rows of one table, as lines for COPY."""

    table: str
    rows: int
    data: bytes


class SpoolFullError(OSError):
    """The directory holds as much as it may."""


class Segment:
    """One file of records that this process holds locked."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path, self.fd = path, fd
        self.rows = 0
        self.size = os.fstat(fd).st_size
        self.delivered: set[str] = set()
        """Tables whose rows are in the database already; nothing more is appended then."""

    def append(self, block: Block) -> None:
        """Write a block so that it survives a crash of the machine, or leave the file as it was and raise OSError."""
        table = TABLES.index(block.table)
        check = zlib.crc32(block.data, table)
        record = _HEADER.pack(_MAGIC, table, block.rows, len(block.data), check) + block.data
        try:
            written = 0
            while written < len(record):
                written += os.write(self.fd, record[written:])
            os.fsync(self.fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, self.size)
            raise
        self.size += len(record)
        self.rows += block.rows

    def read(self) -> tuple[list[Block], int]:
        """Return the blocks in the order in which they were written, and how many bytes were torn or damaged."""
        data = os.pread(self.fd, self.size, 0)
        blocks, good = [], 0
        for block in _records(data):
            blocks.append(block)
            good += _HEADER.size + len(block.data)
        return blocks, len(data) - good

    def close(self) -> None:
        """Give the segment up; the file stays for whoever comes next."""
        with contextlib.suppress(OSError):
            os.close(self.fd)


def _records(data: bytes) -> Iterator[Block]:
    position = data.find(_MAGIC)
    while position >= 0:
        block = _record(data, position)
        if block is None:
            position = data.find(_MAGIC, position + 1)
            continue
        yield block
        position = data.find(_MAGIC, position + _HEADER.size + len(block.data))


def _record(data: bytes, position: int) -> Block | None:
    if position + _HEADER.size > len(data):
        return None
    _, table, rows, length, check = _HEADER.unpack_from(data, position)
    begin = position + _HEADER.size
    payload = data[begin : begin + length]
    if table >= len(TABLES) or len(payload) < length or zlib.crc32(payload, table) != check:
        return None
    return Block(TABLES[table], rows, payload)


class Spool:
    """The segments of this process in a directory; used by one thread.

    `target` tells databases apart that share a directory; `limit` is the number of bytes that all segments of the
    directory may take together.
    """

    def __init__(self, directory: Path, *, target: str, limit: int) -> None:
        self.directory, self.target, self.limit = directory, target, limit
        self._segments: dict[str, Segment] = {}
        self._open: Segment | None = None
        self._serial = 0

    @property
    def rows(self) -> int:
        """Rows that wait in the segments of this process."""
        return sum(segment.rows for segment in list(self._segments.values()))

    def __bool__(self) -> bool:
        return bool(self._segments)

    def append(self, block: Block) -> None:
        """Keep a block on disk; raises OSError where that is not possible, and then nothing of it is kept."""
        if self._open is None or self._open.delivered or self._open.size + len(block.data) > SEGMENT_BYTES:
            self._open = self._create(len(block.data))
        self._open.append(block)

    def _create(self, size: int) -> Segment:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = sum(size for _, size in self._files())
        if used + max(size, SEGMENT_BYTES) > self.limit:
            raise SpoolFullError(f"{self.directory} holds {used} of {self.limit} bytes")
        self._serial += 1
        # The time comes first, so that names sort by age; the clock may jump, the serial number does not.
        name = f"{self.target}-{time.time_ns():020d}-{os.getpid()}-{self._serial:06d}{SUFFIX}"
        fd = os.open(self.directory / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        segment = self._segments[name] = Segment(self.directory / name, fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sync(self.directory)
        return segment

    def oldest(self) -> Segment | None:
        """Return the segment to write to the database next, None when nothing waits."""
        return self._segments[min(self._segments)] if self._segments else None

    def remove(self, segment: Segment) -> None:
        """Forget a segment whose rows are in the database."""
        with contextlib.suppress(FileNotFoundError):
            segment.path.unlink()
        self._segments.pop(segment.path.name, None)
        segment.close()
        if segment is self._open:
            self._open = None

    def adopt(self) -> int:
        """Take over the segments of processes that are gone; returns how many."""
        adopted = 0
        for path, _ in self._files():
            if path.name in self._segments or not path.name.startswith(f"{self.target}-"):
                continue
            with contextlib.suppress(OSError):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                segment = Segment(path, fd)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: its process lives
                    if os.fstat(fd).st_nlink == 0:  # another process has just finished it
                        raise FileNotFoundError(path)
                    segment.size = os.fstat(fd).st_size
                    segment.rows = sum(block.rows for block in segment.read()[0])
                except OSError:
                    segment.close()
                    raise
                self._segments[path.name] = segment
                adopted += 1
        return adopted

    def _files(self) -> list[tuple[Path, int]]:
        try:
            with os.scandir(self.directory) as entries:
                found = []
                for entry in entries:
                    if entry.name.endswith(SUFFIX):
                        with contextlib.suppress(FileNotFoundError):
                            found.append((Path(entry.path), entry.stat().st_size))
                return sorted(found)
        except FileNotFoundError:
            return []

    def close(self) -> None:
        """Give all segments up; what is in them waits for the next process of this service."""
        for segment in self._segments.values():
            segment.close()
        self._segments.clear()
        self._open = None


def _sync(directory: Path) -> None:
    """Make a new name in a directory survive a crash of the machine."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
