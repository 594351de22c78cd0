"""``monitor run``, ``check`` and ``backfill``: evaluate windows, for ever or now."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor import failpoint, history, journal, ledger, schema
from monitor.check import Stage
from monitor.command import (
    AnswerOption,
    CommandError,
    ConfigOption,
    ExitCode,
    Format,
    JsonOption,
    answer,
    await_signal,
    config_path,
    configuration,
    now,
    progress,
    say,
    show,
    span,
)
from monitor.config import Config, ConfigError, inactive_parts, remarks
from monitor.duration import format_duration
from monitor.evaluation import current_reference, fits
from monitor.failpoint import FailpointError
from monitor.heavy import refuse_heavy
from monitor.installation import Installation, Monitored, load_config, opened, register
from monitor.reading import wait_of
from monitor.window import Window
from monitor.worker import Worker, plan_anew

if TYPE_CHECKING:
    from monitor.daemon import Daemon

LOOK = 0.5  # seconds between looks at what a running daemon evaluates
VERDICT_CODES = {"ok": ExitCode.OK, "warning": ExitCode.WARNING, "critical": ExitCode.WARNING}


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command("run")(run)
    app.command("check")(check)
    app.command("backfill")(backfill)


def run(config: ConfigOption = None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; SIGHUP reads the configuration again."""
    keep_running(config)


def keep_running(given: Path | None, **daemon: Any) -> None:
    """Run the daemon until it is told to stop; ``daemon`` are fields of it, which tests set."""
    from monitor.failure import exit_code

    refuse_heavy()
    path, loaded = config_path(given), configuration(given)
    try:
        armed = failpoint.arm(os.environ)
    except FailpointError as error:
        raise CommandError(str(error)) from None
    if armed:
        say(f"{failpoint.VARIABLE} is set: this process breaks on purpose at {armed}.")
    stopping, changed = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        stopping.set()
        changed.set()

    def reloaded(running: Daemon) -> Config | None:
        """Wait; return the new configuration after SIGHUP, None when it is time to stop."""
        while True:
            await_signal(changed)
            changed.clear()
            if stopping.is_set():
                return None
            try:
                fresh = load_config(path, os.environ)
            except ConfigError as error:
                running.configured(False)
                say(f"{error} The old configuration goes on.")
            else:
                say(f"Read {path} again.")
                return fresh

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    signal.signal(signal.SIGHUP, lambda *_: changed.set())
    proven: Config | None = None
    wanted: Config | None = loaded
    good = True
    while wanted is not None:
        try:
            with _running(wanted, **daemon) as running:
                proven = wanted
                running.configured(good)
                good = True
                wanted = reloaded(running)
        except Exception as error:
            problem = error if isinstance(error, CommandError) else exit_code(error)
            if proven in (None, wanted) or problem is None:
                raise
            say(f"{getattr(problem, 'text', '') or error} The old configuration goes on.")
            wanted, good = proven, False


@contextlib.contextmanager
def _running(config: Config, **fields: Any) -> Iterator[Daemon]:
    """Run a daemon and yield it; it is drained at the end. Raises what keeps it from starting."""
    from monitor.clock import StoreClock
    from monitor.daemon import Daemon

    # secrets may have changed with the configuration; what is blanked changes with them
    journal.begin(secrets=[*journal.secrets_of(config), *(config.web.tokens.secrets() if config.web.tokens else ())])
    for sentence in [*remarks(config), *inactive_parts(config)]:
        say(sentence)
    with opened(config) as installation:
        if trouble := schema.mismatch(installation.url):
            raise CommandError(trouble, ExitCode.FAILED)
        daemon = Daemon(installation=installation, **{"clock": StoreClock(installation.pulse), **fields})
        try:
            daemon.start()
            assert daemon.serving is not None
            say(f"Watching {', '.join(installation.models) or 'nothing yet'}; page on {daemon.serving.url}.")
            for sentence in stale_references(installation, at=now()):
                say(sentence)
            yield daemon
        except OSError as error:
            raise CommandError(str(error), ExitCode.FAILED) from error
        finally:
            daemon.stop()


def check(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    start: Annotated[str | None, typer.Option("--start", help="Window that starts here; default the newest.")] = None,
    end: Annotated[str | None, typer.Option("--end", help="And windows up to here.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Evaluate a window now; 0 ok, 1 warning or critical, 2 could not tell."""
    at = now()
    with opened(configuration(config)) as installation:
        watched = installation.model(model)
        first, last = span(start, end, "--start", "--end")
        if first is None and last is not None:
            raise CommandError("--end needs --start; give both, or neither for the newest closed window.")
        if first is None:
            closed = watched.spec.containing(at - wait_of(watched, Stage.INPUTS))
            windows = [watched.spec.containing(closed.start - timedelta(microseconds=1))]
        elif last is None:
            windows = [watched.spec.containing(first)]
        else:
            windows = list(watched.spec.between(first, last))
        windows = [window for window in windows if window.end <= at]
        if not windows:
            raise CommandError(
                f"There is no closed window of {model} from {start} to {end or 'now'}; it has {_spec(watched)}."
            )
        evaluated = evaluate_windows(installation, watched, windows, kind="manual")
        with installation.engine.begin() as conn:
            rows = history.rows_of(
                conn,
                "finding_history",
                model=model,
                since=windows[0].start,
                until=windows[-1].start + timedelta(microseconds=1),
            )
    names = (
        "window_start",
        "check_name",
        "subject",
        "statistic",
        "value",
        "threshold",
        "verdict",
        "severity",
        "message",
    )
    telling = [row for row in rows if row["verdict"] != "ok"] if not as_json else rows
    shown = [{name: row[name] for name in names} for row in telling]
    show(
        shown, form=Format.JSON if as_json else Format.TABLE, title=f"{model}: {evaluated} runs", empty="nothing but ok"
    )
    if not rows:
        return ExitCode.UNCLEAR
    worst = {VERDICT_CODES.get(row["verdict"], ExitCode.UNCLEAR) for row in rows if row["severity"] != "info"}
    if ExitCode.WARNING in worst:
        return ExitCode.WARNING
    judged = [row for row in rows if row["verdict"] != "inconclusive"]
    return ExitCode.OK if judged else ExitCode.UNCLEAR


def _spec(watched: Monitored) -> str:
    spec = watched.spec
    return (
        f"calendar {spec.calendar}s in {spec.timezone}" if spec.calendar else f"windows of {format_duration(spec.pace)}"
    )


def backfill(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    since: Annotated[str, typer.Option("--since", help="First window, a date or time.")],
    until: Annotated[str, typer.Option("--until", help="Windows up to this date or time.")],
    notify: Annotated[bool, typer.Option("--notify", help="Send messages about old windows too.")] = False,
    config: ConfigOption = None,
    as_json: AnswerOption = False,
) -> int:
    """Evaluate past windows; without --notify nobody is told, the history is all the same complete."""
    with opened(configuration(config)) as installation:
        watched = installation.model(model)
        first, last = span(since, until, "--since", "--until")
        assert first is not None
        assert last is not None
        windows = list(watched.spec.between(first, min(last, now())))
        if not windows:
            raise CommandError(f"There is no closed window of {model} from {since} to {until}.")
        done = evaluate_windows(installation, watched, windows, kind="manual" if notify else "backfill")
    say(f"Evaluated {done} runs of {len(windows)} windows.")
    answer({"model": model, "runs": done, "windows": len(windows)}, wanted=as_json)
    return ExitCode.OK


def evaluate_windows(installation: Installation, watched: Monitored, windows: list[Window], *, kind: str) -> int:
    """Plan the windows in all stages that are due, evaluate them in order, return how many runs were done.

    A running daemon may evaluate some of them. Raises CommandError when one of them cannot be evaluated.
    """
    at = now()
    worker = Worker(installation=installation)
    for sentence in stale_references(installation, [watched.name], at=windows[-1].start):
        say(sentence)
    with installation.engine.begin() as conn:
        register(conn, watched)
        plan_anew(conn, watched, windows, kind=kind, now=at)
        ledger.retry_now(conn, watched.name)
        asked = len(ledger.unfinished(conn, watched.name, windows, now=at))
    with progress("runs") as bar:
        task = bar.add_task("evaluating", total=asked)
        while True:
            worked = worker.work(at, models=[watched.name])
            with installation.engine.begin() as conn:
                left = ledger.unfinished(conn, watched.name, windows, now=at)
            bar.update(task, completed=asked - len(left))
            if not left:
                return asked
            if not worked and not any(run.state == "running" for run in left):
                break
            if not worked:
                worker.awake.wait(LOOK)  # a daemon is at it
    first = left[0]
    begins = first.window.start.astimezone(watched.spec.zone)
    raise CommandError(
        f"{len(left)} of {asked} runs of {watched.name} could not be evaluated, the first of {begins:%Y-%m-%d %H:%M}: "
        f"{first.reason or 'an earlier window waits for its next attempt'}",
        ExitCode.FAILED,
    )


def stale_references(
    installation: Installation, models: Collection[str] | None = None, *, at: datetime
) -> Iterator[str]:
    """Yield a sentence for every model whose training profile was cut into other windows than are configured."""
    for name in installation.models if models is None else models:
        watched = installation.model(name)
        with installation.engine.begin() as conn:
            reference = current_reference(conn, installation, watched, at=at)
        if reference is not None and not fits(reference, watched):
            yield (
                f"{name}: its training profile was made for other windows than are configured ({_spec(watched)}), "
                f"so nothing is judged; run `monitor profile {name}` again."
            )
