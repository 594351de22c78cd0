"""``monitor run``, ``check`` and ``backfill``: evaluate windows, for ever or now."""

from __future__ import annotations

import os
import signal
import threading
from datetime import timedelta
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from monitor import history, journal
from monitor.check import Stage
from monitor.command import (
    CommandError,
    ConfigOption,
    ExitCode,
    Format,
    JsonOption,
    config_path,
    configuration,
    console,
    moment,
    now,
    say,
    show,
)
from monitor.config import ConfigError, inactive_parts, remarks
from monitor.installation import Installation, Monitored, load_config, opened
from monitor.window import Window
from monitor.worker import Worker, plan_anew, stages, wait_of

VERDICT_CODES = {"ok": ExitCode.OK, "warning": ExitCode.WARNING, "critical": ExitCode.WARNING}


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command("run")(run)
    app.command("check")(check)
    app.command("backfill")(backfill)


def run(config: ConfigOption = None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; SIGHUP reads the configuration again."""
    from monitor.daemon import Daemon

    path, loaded = config_path(config), configuration(config)
    journal.begin(secrets=journal.secrets_of(loaded))
    stopping, changed = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        stopping.set()
        changed.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    signal.signal(signal.SIGHUP, lambda *_: changed.set())
    while not stopping.is_set():
        for sentence in [*remarks(loaded), *inactive_parts(loaded)]:
            say(sentence)
        with opened(loaded) as installation:
            daemon = Daemon(installation=installation)
            try:
                daemon.start()
            except OSError as error:
                daemon.stop()
                raise CommandError(str(error), ExitCode.FAILED) from error
            assert daemon.serving is not None
            say(f"Watching {', '.join(installation.models) or 'nothing yet'}; page on {daemon.serving.url}.")
            while True:
                changed.wait()
                changed.clear()
                if stopping.is_set():
                    break
                try:
                    loaded = load_config(path, os.environ)
                    say(f"Read {path} again.")
                    break
                except ConfigError as error:
                    say(f"{error} The old configuration goes on.")
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
        first = moment(start, "--start")
        last = moment(end, "--end")
        if first is None:
            closed = watched.spec.containing(at - wait_of(watched, Stage.INPUTS))
            windows = [watched.spec.containing(closed.start - timedelta(microseconds=1))]
        else:
            until = last or watched.spec.starting(first).end
            windows = list(watched.spec.between(first, until))
        if not windows:
            raise CommandError(
                f"There is no window of {model} from {start} to {end}; its windows follow {_spec(watched)}."
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
    return f"the calendar {spec.calendar} in {spec.timezone}" if spec.calendar else f"steps of {spec.pace}"


def backfill(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    since: Annotated[str, typer.Option("--since", help="First window, a date or time.")],
    until: Annotated[str, typer.Option("--until", help="Windows up to this date or time.")],
    notify: Annotated[bool, typer.Option("--notify", help="Send messages about old windows too.")] = False,
    config: ConfigOption = None,
) -> int:
    """Evaluate past windows; without --notify nobody is told, the history is all the same complete."""
    with opened(configuration(config)) as installation:
        watched = installation.model(model)
        first, last = moment(since, "--since"), moment(until, "--until")
        assert first is not None
        assert last is not None
        windows = list(watched.spec.between(first, min(last, now())))
        if not windows:
            raise CommandError(f"There is no closed window of {model} from {since} to {until}.")
        done = evaluate_windows(installation, watched, windows, kind="manual" if notify else "backfill")
    say(f"Evaluated {done} runs of {len(windows)} windows.")
    return ExitCode.OK


def evaluate_windows(installation: Installation, watched: Monitored, windows: list[Window], *, kind: str) -> int:
    """Plan the windows in all stages that are due, evaluate them in order, return how many runs were done."""
    at = now()
    worker = Worker(installation=installation)
    with installation.engine.begin() as conn:
        plan_anew(conn, watched, windows, kind=kind, now=at)
    total = sum(len(stages(watched)) for _ in windows)
    done = 0
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console(error=True),
        transient=True,
    ) as bar:
        task = bar.add_task("evaluating", total=total)
        while worker.work(at, models=[watched.name]):
            done += 1
            bar.advance(task)
    return done
