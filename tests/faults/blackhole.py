"""Run a query through a network that starts to drop every packet, and print after how many seconds it fails.

A program for a network namespace of its own, which ``unshare --map-root-user --net`` makes; its arguments are the
driver, the directory of the socket and the name of the database.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from psycopg import sql

from monitor import schema
from monitor.embedded import Database
from monitor.source import SourceError
from monitor.sources.session import Sessions
from tests.faults.proxy import Proxy


def drop(port: int) -> None:
    """Drop what goes to and from a port on the loopback."""
    rules = "add table inet d; add chain inet d i { type filter hook input priority 0; }; " + "; ".join(
        f"add rule inet d i tcp {side} {port} drop" for side in ("dport", "sport")
    )
    subprocess.run(["nft", rules], check=True)


def main(driver: str, directory: str, name: str) -> None:
    """Ask for something that takes minutes, and cut the wire after a second."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    database = Database(socket_directory=Path(directory), name=name)
    with Proxy(database.socket_directory) as proxy, ExitStack() as stack:
        expected: type[Exception]
        ask: Callable[[], object]
        if driver == "psycopg":
            expected = sa.exc.OperationalError
            conn = stack.enter_context(schema.create_engine(proxy.url(database)).begin())
            ask = partial(conn.execute, sa.text("SELECT pg_sleep(300)"))
        else:
            expected = SourceError
            session = Sessions(url=proxy.url(database), statement_timeout=timedelta(minutes=5)).begin()
            ask = partial(session.rows, sql.SQL("SELECT pg_sleep(300)::text"))
        threading.Timer(1.0, drop, [proxy.port]).start()
        began = time.monotonic()
        try:
            ask()
        except expected as error:
            print(error, file=sys.stderr)
            print(time.monotonic() - began - 1.0, flush=True)
            os._exit(0)  # connections to a peer that hears nothing cannot be closed in good order
        raise AssertionError("it went through")


if __name__ == "__main__":
    main(*sys.argv[1:])
