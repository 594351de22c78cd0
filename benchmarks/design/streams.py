"""Six real streams as plain arrays: windows, features, labels, and what a champion of the first weeks said.

Files are found through $MONITOR_DATA; the flights come from the demo's own preparation. Scores of training rows are
out-of-fold in contiguous blocks of time, those of all later rows the champion's, which is never replaced.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from monitor.challenger import FOLDS, fit_predict, matrix_of
from monitor.check import Costs
from monitor.outcome import Task
from monitor.reference import Reference, build_reference, cut_timeline
from monitor.source import Batch, Bools, CategoryValues, Floats, Ints, NumericValues, Values
from monitor.window import CalendarUnit, Window, WindowSpec

CACHE = Path("build/design-replay")
TRAINED = 45 / 59  # share of the training windows that the champion learns from; the rest is held out
EPOCH = datetime(2001, 1, 1, tzinfo=UTC)  # a Monday: pseudo weeks of streams without a clock start there


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Rows in order of time with their window; ``trained`` windows are training, the first ``fitted`` of them seen."""

    name: str
    task: Task
    spec: WindowSpec
    batch: Batch
    windows: tuple[Window, ...]
    place: Ints
    trained: int
    fitted: int
    per_month: float
    upstreams: Mapping[str, tuple[str, ...]]
    costs: Costs | None = None
    retraining_cost: float | None = None
    threshold: float | None = None
    labels: tuple[str, ...] | None = None
    """How windows are called, where the clock is none."""
    label_lag: int = 0
    holidays: frozenset[str] = frozenset()
    """Windows until labels are known."""

    def label(self, start: datetime) -> str:
        """Return how people name the window that starts then."""
        place = next(i for i, window in enumerate(self.windows) if window.start == start)
        if self.labels is not None:
            return self.labels[place]
        local = start.astimezone(self.spec.zone)
        return f"{local:%Y-%m-%d}" if self.spec.calendar is CalendarUnit.DAY else f"{local:%Y-%m-%d %H:%M}"

    @property
    def months(self) -> float:
        """Length of production in months of 30 days."""
        return (len(self.windows) - self.trained) / self.per_month


def take(batch: Batch, rows: Ints | Bools) -> Batch:
    """Return some rows of a batch."""
    columns: dict[str, Values] = {}
    for name, values in batch.columns.items():
        if isinstance(values, NumericValues):
            columns[name] = NumericValues(values=values.values[rows], missing=values.missing[rows])
        else:
            columns[name] = CategoryValues(codes=values.codes[rows], categories=values.categories)
    time = batch.time[rows]

    def some(x: Floats | None) -> Floats | None:
        return None if x is None else x[rows]

    return Batch(
        rows=len(time),
        time=time,
        columns=columns,
        score=some(batch.score),
        label=some(batch.label),
        label_delay=some(batch.label_delay),
    )


def reference_of(stream: Stream, rows: Bools | None = None) -> Reference:
    """Return the training profile of a stream."""
    training = take(stream.batch, stream.place < stream.trained if rows is None else rows)
    return build_reference(
        training,
        model=stream.name,
        version="1",
        task=stream.task,
        spec=stream.spec,
        created_at=stream.windows[stream.trained].start,
        held_out_from=stream.windows[stream.fitted].start,
        threshold=stream.threshold,
        rows=training.rows,
        upstreams=stream.upstreams,
    )


def _columns(frame: pd.DataFrame, numeric: list[str], categorical: list[str]) -> dict[str, Values]:
    columns: dict[str, Values] = {}
    for name in numeric:
        x = frame[name].to_numpy(np.float64)
        columns[name] = NumericValues(values=x, missing=np.isnan(x))
    for name in categorical:
        codes, categories = pd.factorize(frame[name])
        columns[name] = CategoryValues(codes=codes.astype(np.int32), categories=[str(c) for c in categories])
    return columns


def _micros(times: pd.Series) -> Ints:
    return times.to_numpy("datetime64[us]").astype(np.int64)


def _champion(stream: Stream) -> Floats:
    """Return honest scores for training rows and the champion's for all later ones; cached."""
    matrix = matrix_of([stream.batch])[0]
    label = stream.batch.label
    assert label is not None
    state = hashlib.sha256(matrix.tobytes() + label.tobytes() + stream.place.tobytes() + bytes([FOLDS])).hexdigest()
    path = CACHE / f"{stream.name}-{state[:16]}.npy"
    if path.exists():
        return np.asarray(np.load(path), np.float64)
    known = np.isfinite(label)
    fit = known & (stream.place < stream.fitted)
    later = stream.place >= stream.fitted
    score = np.full(len(label), np.nan)
    score[later] = fit_predict(stream.task, matrix[fit], label[fit], matrix[later])
    seen = np.unique(stream.place[stream.place < stream.fitted])
    size = max(1, -(-len(seen) // FOLDS))
    for first in range(0, len(seen), size):
        inside = np.isin(stream.place, seen[first : first + size])
        use = fit & ~inside
        score[inside] = fit_predict(stream.task, matrix[use], label[use], matrix[inside])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, score)
    return score


def _stream(
    name: str,
    task: Task,
    frame: pd.DataFrame,
    *,
    label: str,
    numeric: list[str],
    categorical: list[str],
    spec: WindowSpec,
    trained_until: datetime,
    per_month: float,
    upstreams: Mapping[str, tuple[str, ...]],
    labels: tuple[str, ...] | None = None,
) -> Stream:
    batch = Batch(
        rows=len(frame),
        time=_micros(frame["ts"]),
        columns=_columns(frame, numeric, categorical),
        label=frame[label].to_numpy(np.float64),
    )
    windows, place = cut_timeline(batch.time, spec)
    trained = sum(window.start < trained_until for window in windows)
    stream = Stream(
        name=name,
        task=task,
        spec=spec,
        batch=batch,
        windows=windows,
        place=place,
        trained=trained,
        fitted=round(trained * TRAINED),
        per_month=per_month,
        upstreams=upstreams,
        labels=labels,
    )
    scored = Batch(rows=batch.rows, time=batch.time, columns=batch.columns, label=batch.label, score=_champion(stream))
    return replace(stream, batch=scored)


def _csv(name: str, time: str | None) -> pd.DataFrame:
    folder = os.environ.get("MONITOR_DATA")
    if not folder:
        raise SystemExit("MONITOR_DATA is not set; set it to the folder with the evaluation data.")
    frame = pd.read_csv(Path(folder) / f"{name}.csv.gz", low_memory=False)
    if time is None:
        return frame
    frame["ts"] = pd.to_datetime(frame[time])
    return frame.sort_values("ts", kind="stable").reset_index(drop=True)


def _at(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


DAILY = WindowSpec(calendar=CalendarUnit.DAY)


def electricity() -> Stream:
    """New South Wales half-hourly: does the price go up? n = 48."""
    frame = _csv("electricity_nsw", "timestamp")
    frame["up"] = (frame.price_change == "UP").astype(float)
    frame["day_of_week"] = frame.day_of_week.astype(str)
    return _stream(
        "electricity", Task.BINARY, frame, label="up",
        numeric=["period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"], categorical=["day_of_week"],
        spec=DAILY, trained_until=_at(1996, 9, 26), per_month=30,
        upstreams={"NSW": ("nswprice", "nswdemand"), "VIC": ("vicprice", "vicdemand", "transfer")},
    )  # fmt: skip


def bank() -> Stream:
    """Portuguese tele-marketing: does the customer subscribe? No clock: windows of 220 rows, called weeks."""
    frame = _csv("bank_marketing", None)
    frame["subscribed"] = (frame.y == "yes").astype(float)
    size = 6178 // 28
    number = np.arange(len(frame)) // size
    inside = np.arange(len(frame)) % size
    frame["ts"] = (
        np.datetime64(EPOCH.replace(tzinfo=None), "s")
        + number * np.timedelta64(7, "D")
        + inside * np.timedelta64(45, "m")
    )
    labels = tuple(f"{p}#{i}" for i, p in enumerate(frame.groupby(number).period.first()))
    return _stream(
        "bank", Task.BINARY, frame, label="subscribed",
        numeric=["age", "campaign", "pdays", "previous", "emp_var_rate", "cons_price_idx", "cons_conf_idx", "euribor3m",
                 "nr_employed"],
        categorical=["job", "marital", "education", "default", "housing", "loan", "contact", "month", "day_of_week",
                     "poutcome"],
        spec=WindowSpec(calendar=CalendarUnit.WEEK), trained_until=EPOCH + timedelta(weeks=28), per_month=28,
        upstreams={
            "macro": ("emp_var_rate", "cons_price_idx", "cons_conf_idx", "euribor3m", "nr_employed"),
            "campaign": ("campaign", "pdays", "previous", "poutcome", "contact", "month", "day_of_week"),
            "client": ("age", "job", "marital", "education", "default", "housing", "loan"),
        },
        labels=labels,
    )  # fmt: skip


def bike() -> Stream:
    """Washington bike rentals per hour; training January to 19 April 2011, n = 24."""
    frame = _csv("bike_sharing_hourly", "timestamp").astype({"season": str, "weathersit": str})
    return _stream(
        "bike", Task.REGRESSION, frame, label="cnt",
        numeric=["yr", "mnth", "hr", "holiday", "weekday", "workingday", "temp", "atemp", "hum", "windspeed"],
        categorical=["season", "weathersit"],
        spec=DAILY, trained_until=_at(2011, 4, 20), per_month=30,
        upstreams={
            "weather": ("temp", "atemp", "hum", "windspeed", "weathersit"),
            "calendar": ("yr", "mnth", "hr", "holiday", "weekday", "workingday", "season"),
        },
    )  # fmt: skip


def occupancy() -> Stream:
    """Room sensors by the minute: is somebody there? Hourly windows, n = 60."""
    return _stream(
        "occupancy", Task.BINARY, _csv("occupancy_detection", "timestamp"), label="occupancy",
        numeric=["temperature", "humidity", "light", "co2", "humidity_ratio"], categorical=[],
        spec=WindowSpec(calendar=CalendarUnit.HOUR), trained_until=_at(2015, 2, 6), per_month=720,
        upstreams={"sensors": ("temperature", "humidity", "light", "co2", "humidity_ratio")},
    )  # fmt: skip


def taxi() -> Stream:
    """New York green taxi trips of 2020: how many minutes? Training 1 to 10 March."""
    frame = _csv("nyc_green_taxi_2020_sample", "pickup_datetime")
    frame["hour"] = frame.ts.dt.hour.astype(float)
    frame["weekday"] = frame.ts.dt.dayofweek.astype(str)
    for name in ("vendor_id", "ratecode_id", "payment_type", "trip_type", "pu_location_id", "do_location_id"):
        frame[name] = frame[name].where(frame[name].isna(), frame[name].astype(str))
    return _stream(
        "taxi", Task.REGRESSION, frame, label="duration_min",
        numeric=["trip_distance", "passenger_count", "congestion_surcharge", "hour"],
        categorical=["vendor_id", "ratecode_id", "payment_type", "trip_type", "pu_location_id", "do_location_id",
                     "weekday"],
        spec=DAILY, trained_until=_at(2020, 3, 11), per_month=30,
        upstreams={
            "meter": ("passenger_count", "congestion_surcharge", "vendor_id", "ratecode_id", "payment_type",
                      "trip_type"),
            "trip": ("trip_distance", "pu_location_id", "do_location_id", "hour", "weekday"),
        },
    )  # fmt: skip


def flights() -> Stream:
    """The demo's flights of 2013 with its two injected faults; the champion is the demo's."""
    import pyarrow as pa

    from monitor.demo import flights as demo

    data = demo.load(CACHE / "flights")
    labelled = data.labelled_production()
    parts = [data.training_rows(), data.holdout_rows(), labelled.select(data.training_rows().column_names)]
    frame = pa.concat_tables(parts).to_pandas()
    frame["ts"] = frame["occurred_at"].dt.tz_convert("UTC").dt.tz_localize(None)
    frame = frame.sort_values("ts", kind="stable").reset_index(drop=True)
    batch = Batch(
        rows=len(frame),
        time=_micros(frame["ts"]),
        columns=_columns(frame, list(demo.NUMERIC), list(demo.CATEGORICAL)),
        label=frame["was_late"].map({True: 1.0, False: 0.0}).to_numpy(np.float64),
        score=frame["p_late"].to_numpy(np.float64),
    )
    spec = WindowSpec(calendar=CalendarUnit.DAY, timezone="America/New_York")
    windows, place = cut_timeline(batch.time, spec)
    return Stream(
        name="flights",
        task=Task.BINARY,
        spec=spec,
        batch=batch,
        windows=windows,
        place=place,
        trained=sum(w.start < demo.local_midnight(demo.PRODUCTION_FROM) for w in windows),
        fitted=sum(w.start < demo.local_midnight(demo.TRAINED_UNTIL) for w in windows),
        per_month=30,
        upstreams={name: tuple(members) for name, members in demo.UPSTREAMS.items()},
        costs=Costs(currency="USD", false_positive=demo.FALSE_ALARM, false_negative=demo.MISSED, fallback=3.01),
        retraining_cost=300,
        threshold=demo.CUT_OFF,
        label_lag=2,
    )


STREAMS: Mapping[str, Callable[[], Stream]] = {
    "flights": flights,
    "electricity": electricity,
    "bank": bank,
    "bike": bike,
    "occupancy": occupancy,
    "taxi": taxi,
}
