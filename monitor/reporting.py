"""Reports for people: Evidently on the training sample and a window's rows, made beside the daemon, one at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from monitor import history, schema, store
from monitor.evaluation import CHAMPION, current_reference
from monitor.installation import Installation, Monitored
from monitor.report import ReportError, ReportStoppedError, run_report
from monitor.source import SourceError
from monitor.window import Window

log = logging.getLogger(__name__)

ROWS = 10_000  # of each side: Evidently holds and copies frames
RETRY = 300.0  # seconds after the store was away


def make_report(
    installation: Installation,
    watched: Monitored,
    window: Window,
    target: Path,
    *,
    now: datetime,
    stopping: threading.Event | None = None,
) -> list[str]:
    """Write the HTML report of a window and return remarks: columns that were left out and why.

    Raises ReportError or SourceError with one sentence.
    """
    with installation.engine.begin() as conn:
        reference = current_reference(conn, installation, watched, at=window.start)
        if reference is None:
            raise ReportError(f"{watched.name} has no training profile; run `monitor profile {watched.name}`.")
        sample, _ = store.load_sample(conn, reference.id)
    if not sample:
        raise ReportError(f"the training profile of {watched.name} keeps no rows; store it again from a file.")
    labelled = watched.section.source.outcome is not None
    current = installation.source(watched.name).sample([window], ROWS, labelled, now=now, layout=reference.layout)
    if not current.rows:
        raise ReportError(f"there are no rows of {watched.name} in {watched.spec.label(window)}.")
    section, title = watched.section.source, _title(watched, window)
    return run_report(reference, sample, current, section, target, title=title, stopping=stopping)


def _title(watched: Monitored, window: Window) -> str:
    return f"{watched.name}: {watched.spec.label(window)} against training"


@dataclass(kw_only=True)
class Reporter:
    """Makes a report for every opened episode about rows, in a thread of its own; the work is in a subprocess."""

    installation: Installation
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _awake: threading.Event = field(default_factory=threading.Event, repr=False)
    _stopping: threading.Event = field(default_factory=threading.Event, repr=False)

    def run(self) -> None:
        """Make reports until ``stop``."""
        while not self._stopping.is_set():
            try:
                while not self._stopping.is_set() and self.make_next():
                    pass
                pause = None
            except Exception as error:
                # whatever it is, a thread that ended would make no report ever again
                if schema.is_outage(error):
                    log.warning("the store cannot be reached; reports wait")
                else:
                    log.exception("no report could be made; trying again")
                pause = RETRY
            self._awake.wait(pause)
            self._awake.clear()

    def wake(self) -> None:
        """Look for episodes now: something was committed."""
        self._awake.set()

    def stop(self) -> None:
        """Give up the report under way; ``run`` returns at once."""
        self._stopping.set()
        self._awake.set()

    def make_next(self) -> bool:
        """Make the report of the newest episode without one; False when there is none.

        What cannot be reported is noted with its reason, so it is tried once.
        """
        models = list(self.installation.models)
        with self.installation.pulse.begin() as conn:
            found = history.unreported(conn, models)
        if not found:
            return False
        wanted = found[0]
        watched = self.installation.model(wanted.model)
        window = Window(start=wanted.window_start, end=wanted.window_end)
        body, note = None, None
        with TemporaryDirectory(prefix="monitor-report-") as folder:
            target = Path(folder) / "report.html"
            try:
                now = window.end + _settled(watched)
                remarks = make_report(self.installation, watched, window, target, now=now, stopping=self._stopping)
                body, note = target.read_bytes(), " ".join(remarks) or None
            except ReportStoppedError:
                return False  # the next process makes it
            except (ReportError, SourceError) as error:
                note = str(error)
                log.warning("no report: %s", error, extra={"model": wanted.model})
            except Exception as error:
                if schema.is_outage(error):
                    raise  # the store is away, not the report impossible
                note = f"The report failed with {type(error).__name__}; the log of the monitor says where."
                log.exception("a report failed", extra={"model": wanted.model})
        with self.installation.pulse.begin() as conn:
            history.save_report(
                conn,
                model=wanted.model,
                role=CHAMPION,
                window_start=window.start,
                window_end=window.end,
                created_at=self.clock(),
                body=body,
                alert_key=wanted.alert_key,
                episode=wanted.episode,
                note=note,
            )
        return True


def _settled(watched: Monitored) -> timedelta:
    outcome = watched.section.source.outcome
    return watched.section.lag if outcome is None else outcome.matures_after + watched.section.lag
