"""The demo from beginning to end: prepare, start everything, live through the year, tell what came of it.

Nothing here judges or sends: the daemon that ``monitor run`` runs does, on an ordinary configuration. Only its worker
is told the time.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from pathlib import Path

import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from monitor import schema
from monitor.command import await_signal
from monitor.daemon import Daemon
from monitor.demo import flights, leak, scenario, serving, summary
from monitor.demo.catcher import Catcher, Caught
from monitor.demo.fault import LEAK_SENTENCE
from monitor.demo.flights import Flights
from monitor.demo.production import Progressed, live
from monitor.installation import Installation, load_config, opened

CONFIGURATION = "monitor.yaml"
LEAK_PATIENCE = timedelta(seconds=150)  # since the leaking process started, for its alert to come
DELIVERY_PATIENCE = timedelta(seconds=30)
LEAK_ALERT = "SELECT 1 FROM monitor.alert WHERE family LIKE 'resource:%' AND opened_at IS NOT NULL LIMIT 1"
UNSENT = "SELECT 1 FROM monitor.notification_history WHERE state IN ('pending', 'sending') LIMIT 1"


class DemoError(Exception):
    """The demo cannot run; one sentence that says what to do."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder for one demo; raises DemoError where another one runs in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(
                f"Another demo runs in {folder}: stop it with Ctrl-C, or give another --data-dir."
            ) from error
        yield


def write_configuration(folder: Path, prepared: Flights, catcher: Catcher, until: date) -> Path:
    """Write ``monitor.yaml`` for what runs now and return its path."""
    never_saying_late = flights.MISSED * prepared.figures["quality"]["held_out"]["late"]
    setting = scenario.Scenario(
        until=until,
        webhook_url=catcher.webhook_url,
        mail_port=catcher.mail_port,
        page_port=scenario.free_port(),
        fallback_cost=never_saying_late,
    )
    path = folder / CONFIGURATION
    path.write_text(setting.configuration(), encoding="utf-8")
    return path


def start_anew(installation: Installation) -> None:
    """Drop what an earlier replay left in the store, and make schema and log tables."""
    if schema.current(installation.url) is not None:
        schema.downgrade(installation.url)
    schema.upgrade(installation.url)
    with psycopg.connect(installation.dsn) as conn:
        serving.create_tables(conn)


def store_profile(configuration: Path, prepared: Flights) -> str:
    """Store the training profile as a user does, with ``monitor profile``, and return what that said."""
    command = [sys.executable, "-m", "monitor", "profile", flights.MODEL, "--config", str(configuration)]
    command += ["--from", str(prepared.training_file), "--holdout", str(prepared.holdout_file)]
    done = subprocess.run([*command, "--version", flights.VERSION], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"`monitor profile` failed: {done.stderr.strip() or f'code {done.returncode}'}")
    return done.stderr.strip()


def replay(
    data_dir: Path, *, until: date = flights.PRODUCTION_UNTIL, serve: bool = True, console: Console
) -> Progressed:
    """Run the demo in ``data_dir``; with ``serve`` it goes on until Ctrl-C. Raises DemoError with what to do."""
    if not flights.PRODUCTION_FROM < until <= flights.PRODUCTION_UNTIL:
        raise DemoError(f"--until {until} is not in the replay: give a date from 2013-03-02 to 2014-01-01.")
    folder, began = data_dir.absolute(), time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(alone(folder))
        with console.status("Preparing the flights of 2013: fitting a model on January to 14 February (15 s, once) …"):
            prepared = flights.load(folder / "flights")
        catcher = stack.enter_context(Catcher(folder=fresh(folder / "messages")))
        path = write_configuration(folder, prepared, catcher, until)
        with console.status("Starting Postgres …"):
            installation = stack.enter_context(opened(load_config(path, os.environ)))
            start_anew(installation)
        with console.status("Storing the training profile with `monitor profile` …"):
            console.print(store_profile(path, prepared), highlight=False)
        stack.enter_context(leak.leaking(prepared.champion_file, folder / scenario.PID_FILE))
        leaking_since = time.monotonic()
        console.print(f"A model server runs, sampled every second. {LEAK_SENTENCE}.", style="yellow")
        daemon = Daemon(installation=installation, evaluating=False)
        daemon.start()
        stack.callback(daemon.stop)
        with progress_on(console) as progress:
            catcher.seen = announcer(progress.console)
            done = live(prepared, daemon.worker, until=until, progress=progress)
            if until == flights.PRODUCTION_UNTIL:
                await_leak(installation, progress, deadline=leaking_since + LEAK_PATIENCE.total_seconds())
            await_delivery(installation)
        console.print()
        summary.show(summary.summarise(installation), console)
        tell(console, done, catcher, path, time.perf_counter() - began)
        if serve:
            daemon.evaluate()
            assert daemon.serving is not None
            console.print(f"Page: {daemon.serving.url}   Page and daemon go on; Ctrl-C ends them.", highlight=False)
            wait_for_interrupt()
    return done


def fresh(folder: Path) -> Path:
    """Remove the messages of an earlier replay, and return their folder."""
    for message in folder.glob("[0-9]*-*.*"):
        message.unlink()
    return folder


def await_leak(installation: Installation, progress: Progress, *, deadline: float) -> None:
    """Return when the injected leak has opened its alert, or at the deadline (of the monotonic clock)."""
    task = progress.add_task("", total=None)
    while time.monotonic() < deadline and not summary.ask(installation, LEAK_ALERT):
        progress.update(task, description="the year is over; the leak goes on until it is noticed (injected)")
        time.sleep(0.5)
    progress.remove_task(task)


def await_delivery(installation: Installation) -> None:
    """Return when every message has been sent or given up, at the latest after `DELIVERY_PATIENCE`."""
    deadline = time.monotonic() + DELIVERY_PATIENCE.total_seconds()
    while time.monotonic() < deadline and summary.ask(installation, UNSENT):
        time.sleep(0.2)


def progress_on(console: Console) -> Progress:
    """Return the progress bar of the replay."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=console, refresh_per_second=5)


def announcer(console: Console) -> Callable[[Caught], None]:
    """Return what prints a message when it arrives; Slack gets the same ones, and digests are for reading later."""

    def announce(caught: Caught) -> None:
        if caught.kind == "mail" and not caught.subject.startswith("Digest"):
            console.print(f"  ✉ {caught.subject}", markup=False, highlight=False)

    return announce


def tell(console: Console, done: Progressed, catcher: Catcher, path: Path, seconds: float) -> None:
    """Say how long it took and where to look next."""
    parts = ", ".join(f"{name} {part:.1f} s" for name, part in done.seconds.items())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    query = f'monitor query --config "{path}" "SELECT * FROM alert_history"'  # noqa: S608  # words for people
    for line in (
        f"{done.predictions:,} predictions and {done.outcomes:,} outcomes of {done.days} days: {parts}; "
        f"{seconds:.0f} s in all, {peak:,.0f} MiB of memory at most.",
        f"Messages as they were sent: {catcher.folder} ({len(catcher.messages)} files)",
        f"Configuration: {path}",
        f"Ask: {query}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def wait_for_interrupt() -> None:
    """Return at Ctrl-C or SIGTERM."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    await_signal(stopping)
