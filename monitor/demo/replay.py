"""The demo from beginning to end: prepare, start everything, live through the year, tell what came of it.

Nothing here judges or sends: the worker and the dispatcher of ``monitor run`` do, on an ordinary configuration. Only
the time is told to them.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path

import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from monitor import notification, schema
from monitor.demo import flights, leak, scenario, serving, summary
from monitor.demo.catcher import Catcher, Caught
from monitor.demo.fault import LEAK_SENTENCE
from monitor.demo.flights import Flights
from monitor.demo.production import Progressed, live
from monitor.dispatcher import Dispatcher
from monitor.installation import Installation, load_config, opened
from monitor.notification import Channel
from monitor.worker import Worker

CONFIGURATION = "monitor.yaml"
LEAK_PATIENCE = timedelta(seconds=150)  # since the leaking process started, for its alert to come


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


@contextmanager
def background(installation: Installation) -> Iterator[Callable[[], None]]:
    """Run what of the daemon runs beside the evaluation; yields what wakes the dispatcher."""
    dispatcher = Dispatcher(installation.pulse, channels_of(installation))
    thread = threading.Thread(target=dispatcher.run, name="dispatcher")
    thread.start()
    try:
        yield dispatcher.wake
    finally:
        dispatcher.stop()
        thread.join()


def channels_of(installation: Installation) -> dict[str, Channel]:
    """Return the configured channels by name."""
    known = notification.channels.load()
    built: dict[str, Channel] = {}
    for name, section in installation.config.channels.items():
        options = section.options()
        if "allow_private" in {field.name for field in fields(known[section.type])}:  # type: ignore[arg-type]  # register() refuses anything but dataclasses
            options["allow_private"] = installation.config.security.allow_private_addresses
        built[name] = notification.channels.build(section.type, options)
    return built


def replay(
    data_dir: Path, *, until: date = flights.PRODUCTION_UNTIL, serve: bool = True, console: Console
) -> Progressed:
    """Run the demo in ``data_dir``; with ``serve`` it goes on until Ctrl-C. Raises DemoError with what to do."""
    if not flights.PRODUCTION_FROM < until <= flights.PRODUCTION_UNTIL:
        raise DemoError(f"--until {until} is not in the replay: give a date from 2013-03-02 to 2014-01-01.")
    folder = data_dir.absolute()
    began = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(alone(folder))
        with console.status("Preparing the flights of 2013: fitting a model on January to 14 February (15 s, once) …"):
            prepared = flights.load(folder / "flights")
        catcher = stack.enter_context(Catcher(folder=folder / "messages"))
        path = write_configuration(folder, prepared, catcher, until)
        config = load_config(path, os.environ)
        with console.status("Starting Postgres …"):
            installation = stack.enter_context(opened(config))
            start_anew(installation)
        stack.enter_context(leak.leaking(prepared.champion_file, folder / scenario.PID_FILE))
        console.print(f"A model server runs, sampled every second. {LEAK_SENTENCE}.", style="yellow")
        wake = stack.enter_context(background(installation))
        with console.status("Storing the training profile with `monitor profile` …"):
            said = store_profile(path, prepared)
        console.print(said, highlight=False)
        with progress_on(console) as progress:
            catcher.seen = announcer(progress.console)
            done = live(prepared, Worker(installation=installation), until=until, progress=progress, told=wake)
        console.print()
        summary.show(summary.summarise(installation), console)
        tell(console, done, catcher, path, config.web.listen, time.perf_counter() - began)
        if serve:
            console.print("Page and daemon go on; Ctrl-C ends them.")
            wait_for_interrupt()
    return done


def progress_on(console: Console) -> Progress:
    """Return the progress bar of the replay."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=console, refresh_per_second=5)


def announcer(console: Console) -> Callable[[Caught], None]:
    """Return what prints a message when it arrives; those of Slack are the same ones, so only mails are shown."""

    def announce(caught: Caught) -> None:
        if caught.kind == "mail":
            console.print(f"  ✉ {caught.subject}", markup=False, highlight=False)

    return announce


def tell(console: Console, done: Progressed, catcher: Catcher, path: Path, listen: str, seconds: float) -> None:
    """Say how long it took and where to look next."""
    parts = ", ".join(f"{name} {part:.1f} s" for name, part in done.seconds.items())
    console.print(
        f"{done.predictions:,} predictions and {done.outcomes:,} outcomes of {done.days} days: {parts}; "
        f"{seconds:.0f} s in all.",
        highlight=False,
    )
    console.print(f"Messages as they were sent: {catcher.folder} ({len(catcher.messages)} files)", highlight=False)
    console.print(f"Configuration: {path}", highlight=False)
    console.print(f'Ask: monitor query --config "{path}" "SELECT * FROM alert_history"', markup=False, highlight=False)
    console.print(f"Page: http://{listen}", highlight=False)


def wait_for_interrupt() -> None:
    """Return at Ctrl-C or SIGTERM."""
    import signal

    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    stopping.wait()
