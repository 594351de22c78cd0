"""A real Postgres that speaks TLS: a source is read over verify-full, and an impostor's certificate is refused."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from monitor.logtable import SourceSection
from monitor.source import SourceError
from monitor.sources.postgres import PostgresSource
from tests.peers import certificate, closed_port

BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin/postgres"), default=Path("/none/none")).parent
PATIENCE = 60.0
NOBODY = 65534  # Postgres does not run as root


@dataclass
class Server:
    """A Postgres on the loopback that takes connections over TLS alone."""

    port: int
    trusted: Path
    """Certificate for localhost, which it shows."""
    other: Path
    """Another one, which it does not."""

    def url(self, mode: str, root: Path | None = None) -> str:
        return f"postgresql://postgres@localhost:{self.port}/postgres?sslmode={mode}" + (
            f"&sslrootcert={root}" if root else ""
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="monitor-tls-"))
    own, _ = certificate(tmp_path_factory.mktemp("own"), "localhost")
    other, _ = certificate(tmp_path_factory.mktemp("other"), "localhost")
    identity: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    shutil.copy(own, folder / "server.pem")
    (folder / "server.pem").chmod(0o600)
    if identity:
        for path in (folder, folder / "server.pem"):
            os.chown(path, NOBODY, NOBODY)
    data, port = folder / "data", closed_port()
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/", **identity}
    initdb: list[Any] = [BINARIES / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync"]
    subprocess.run(initdb, check=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}, **quiet)
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\nhostssl all all ::1/128 trust\n")
    options = {
        "port": port, "listen_addresses": "localhost", "unix_socket_directories": "", "fsync": "off", "ssl": "on",
        "ssl_cert_file": folder / "server.pem", "ssl_key_file": folder / "server.pem",
    }  # fmt: skip
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    command: list[Any] = [BINARIES / "postgres", "-D", data, *settings]
    process = subprocess.Popen(command, **quiet)
    found = Server(port, own, other)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(found.url("require")).close()
                break
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "it never answered"
                assert process.poll() is None, "it ended"
                time.sleep(0.05)
        yield found
    finally:
        process.send_signal(signal.SIGINT)  # at once, whoever is connected
        process.wait(PATIENCE)
        shutil.rmtree(folder)


def source(url: str) -> PostgresSource:
    section = {"table": "log", "time": "at", "id": "id", "prediction": {"score": "score"}}
    return PostgresSource(url=url, section=SourceSection.model_validate(section), model="m")


@pytest.mark.needs("pg_ctlcluster")
def test_a_source_is_read_over_tls_whose_certificate_is_verified(server: Server) -> None:
    with psycopg.connect(server.url("verify-full", server.trusted), autocommit=True) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS log (id text, at timestamptz, score float8)")
        conn.execute("CREATE INDEX ON log (at)")
        assert conn.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
    reader = source(server.url("verify-full", server.trusted))
    assert [problem for problem in reader.check() if "has no row" not in problem] == []
    reader.close()


@pytest.mark.needs("pg_ctlcluster")
def test_a_server_that_shows_another_certificate_is_refused_in_one_sentence(server: Server) -> None:
    for name, root in (("localhost", server.other), ("127.0.0.1", server.trusted)):  # not its signer, not its name
        url = server.url("verify-full", root).replace("localhost", name)
        told_as = r"^The source database postgres at [^ ]+ could not prove who it is \(.*\); correct the host"
        with pytest.raises(SourceError, match=told_as) as told:
            source(url)._sessions.begin()
        assert "\n" not in str(told.value)
    with pytest.raises(SourceError):
        source(server.url("disable"))._sessions.begin()
