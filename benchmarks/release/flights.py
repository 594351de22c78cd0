"""``python -m benchmarks.release.flights``: the gate on the flights of 2013, with five candidates, in two minutes.

The champion knows the winter, January to mid-February; candidates answer the same flights of May.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monitor.cli import run
from monitor.demo import champion as demo
from monitor.demo import flights

CONFIG = """
store: {url: "postgresql://nobody@127.0.0.1:1/none"}
models:
  flight-delay:
    business: {automates: rebooking, currency: USD, costs: {false_positive: 7, false_negative: 13}}
    source:
      {url: store, table: serving.predictions, time: occurred_at, id: request_id, features: auto,
       prediction: {score: p_late, threshold: 0.35}}
    window: {calendar: day, timezone: America/New_York}
"""
WINTER = (date(2013, 1, 1), date(2013, 2, 15))
SPRING = (date(2013, 3, 15), date(2013, 5, 1))
JUDGED = (date(2013, 5, 1), date(2013, 6, 1))
HERE = "benchmarks.release.flights"


@cache
def _year() -> pd.DataFrame:
    frame = demo.read_flights()
    return frame[frame["was_late"].notna()].reset_index(drop=True)


def _between(span: tuple[date, date]) -> pd.DataFrame:
    frame = _year()
    day = frame["date"].dt.date
    return frame[(day >= span[0]) & (day < span[1])].reset_index(drop=True)


@cache
def _categories() -> dict[str, list[str]]:
    return {name: sorted(_year()[name].unique()) for name in flights.CATEGORICAL}


def _encoded(rows: pd.DataFrame, more: tuple[str, ...]) -> Any:
    columns = [rows[name] if name in rows else np.full(len(rows), np.nan) for name in more]
    return np.column_stack([demo.encode(rows, _categories()), *columns])


@cache
def _fitted(span: tuple[date, date], more: tuple[str, ...]) -> Any:
    rows = _between(span)
    return demo.new_model().fit(_encoded(rows, more), rows["was_late"].astype(float))


def _said(span: tuple[date, date], frame: pd.DataFrame, more: tuple[str, ...] = ()) -> Any:
    return _fitted(span, more).predict_proba(_encoded(frame, more))[:, 1]


def winter(frame: pd.DataFrame) -> Any:
    """Return the champion's scores."""
    return _said(WINTER, frame)


def spring(frame: pd.DataFrame) -> Any:
    """Return the scores of a model trained on later months."""
    return _said(SPRING, frame)


def leaking(frame: pd.DataFrame) -> Any:
    """Return the scores of a model trained with the delay at departure, which a flight that is yet to leave lacks."""
    return _said(SPRING, frame, ("dep_delay",))


def swapped(frame: pd.DataFrame) -> Any:
    """Return the champion's scores with temperature and dew point exchanged."""
    return winter(frame.rename(columns={"temp": "dewp", "dewp": "temp"}))


def nervous(frame: pd.DataFrame) -> Any:
    """Return the champion's scores with a step that is finer than any measurement."""
    return winter(frame) + 0.1 * np.sign(np.sin(1e8 * frame["temp"].fillna(0.0)))


def main() -> int:
    """Print the gate's verdict on each candidate; returns 1 where one is not what it should be."""
    features = [*flights.FEATURES]
    home = Path.cwd()
    unexpected = 0
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        Path("monitor.yaml").write_text(CONFIG)
        _between(JUDGED)[[*features, "occurred_at", "was_late"]].astype({"was_late": bool}).to_parquet("inputs.parquet")
        for file, span, more in (
            ("winter", WINTER, []),
            ("spring", SPRING, []),
            ("leaking", SPRING, ["dep_delay"]),
        ):
            _between(span)[[*features, *more, "was_late"]].astype({"was_late": bool}).to_parquet(f"{file}.parquet")
        for file, predict in (("winter", winter), ("spring", spring), ("leaking", leaking)):
            golden = _between(WINTER).sample(500, random_state=0)[features].reset_index(drop=True)
            golden.astype({"hour": float, "distance": float}).assign(prediction=predict(golden)).to_parquet(
                f"golden-{file}.parquet"
            )
        for candidate, function, train, golden, code in (
            ("equal", "winter", "winter", "winter", 0),
            ("spring", "spring", "spring", "spring", None),
            ("with dep_delay", "leaking", "leaking", "leaking", 1),
            ("swapped columns", "swapped", "winter", "winter", 1),
            ("nervous", "nervous", "winter", "winter", 1),
        ):
            found = run(
                [
                    *("gate", "flight-delay", "--candidate", candidate, "--inputs", "inputs.parquet"),
                    *("--label", "was_late", "--champion", f"{HERE}:winter", "--predict", f"{HERE}:{function}"),
                    *("--train", f"{train}.parquet", "--golden", f"golden-{golden}.parquet"),
                ]
            )
            print(f"  exit code {found}", flush=True)
            unexpected += code is not None and found != code
        os.chdir(home)
    return int(unexpected > 0)


if __name__ == "__main__":
    sys.exit(main())
