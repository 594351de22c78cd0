"""A TCP proxy before a Postgres that listens on a Unix socket: it can delay, fall silent, or cut connections."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from pathlib import Path

from monitor.embedded import PORT, Database

CHUNK = 1 << 16


class Proxy:
    """Forwards what comes to ``port`` on the loopback; the faults may be set and ended from any thread."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self.delay = 0.0
        """Seconds by which every piece is late."""
        self.refuses = False
        """Whether new connections are cut at once."""
        self.carried = 0
        """Bytes forwarded so far."""

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, database: Database) -> str:
        """The address of a database behind this proxy, for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database.name}"

    def fall_silent(self) -> None:
        """Forward nothing more, in either direction, and keep every connection open."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def speak_again(self) -> None:
        """Forward what has been held back, and all that follows."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def lead_to(self, target: Path) -> None:
        """Let new connections lead to another server; open ones stay where they are."""
        self._target = target

    def cut(self) -> int:
        """Reset every open connection; returns how many there were."""

        async def reset() -> int:
            cut = list(self._open)
            for writer in cut:
                sock = writer.get_extra_info("socket")
                if sock is not None and sock.family == socket.AF_INET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            return len(cut) // 2

        return asyncio.run_coroutine_threadsafe(reset(), self._loop).result(10)

    async def _listen(self) -> asyncio.Server:
        self._flowing.set()
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _end(self) -> None:
        self._server.close()
        self._flowing.set()
        for writer in list(self._open):
            writer.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=5)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        try:
            there = await asyncio.open_unix_connection(str(self._target / f".s.PGSQL.{PORT}"))
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, there[1]}
        try:
            await asyncio.gather(self._carry(reader, there[1]), self._carry(there[0], writer))
        finally:
            self._open -= {writer, there[1]}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(CHUNK):
                await self._flowing.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(piece)
                await writer.drain()
                self.carried += len(piece)
        except OSError:
            pass
        finally:
            writer.close()
