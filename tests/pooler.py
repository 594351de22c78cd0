"""A real pgbouncer in transaction mode before a database, as mean as its configuration allows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from monitor.embedded import Database
from tests.conftest import SEARCH_PATH
from tests.faults.proxy import Proxy
from tests.watched import free_port

PATIENCE = 30.0
NOBODY = 65534  # pgbouncer does not run as root
# Transactions of one client go to one server after the other, so that no session is the one before.
CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={target} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
server_round_robin = 1
{more}
"""


@contextmanager
def pgbouncer(socket_directory: Path, database: Database, *, size: int) -> Iterator[str]:
    """Yield the address of a database behind a pgbouncer that has so many connections to the server."""
    program = shutil.which("pgbouncer", path=SEARCH_PATH)
    assert program is not None
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    version = [int(part) for part in re.findall(r"\d+", said)[:2]]
    # Newer ones can carry prepared statements over; who relies on that would fail behind the older ones.
    more = "max_prepared_statements = 0" if version >= [1, 21] else ""
    folder = Path(tempfile.mkdtemp(prefix="monitor-pooler-"))
    identity: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        with Proxy(socket_directory) as proxy:
            file, log, port = folder / "pgbouncer.ini", folder / "log", free_port()
            file.write_text(CONFIGURATION.format(target=proxy.port, port=port, size=size, more=more))
            folder.chmod(0o755)
            url = f"postgresql://postgres@127.0.0.1:{port}/{database.name}"
            with log.open("wb") as out:
                process = subprocess.Popen([program, file], stdout=out, stderr=out, cwd="/", **identity)
            try:
                deadline = time.monotonic() + PATIENCE
                while not _answers(url):
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.05)
                yield url
            finally:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
