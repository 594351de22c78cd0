"""NannyML: univariate drift (Jensen–Shannon, mean + 3 sd of training's chunks), missing and unseen values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from windows import Line, features, run

EPOCH = "2001-01-01"


def score(old: Any, new: Any) -> Iterator[Line]:
    import nannyml
    import pandas as pd

    columns = features(old)
    names = [name for name, _ in columns]
    shift = -int(old["window"].min())

    def timed(frame: Any) -> Any:
        days = pd.to_timedelta(frame["window"].to_numpy() + shift, unit="D")
        return frame.assign(at=pd.Timestamp(EPOCH) + days).drop(columns=["window"])

    windows = sorted(new["window"].unique())
    common = {"timestamp_column_name": "at", "chunk_period": "D"}
    categorical = [name for name, numeric in columns if not numeric]
    calculators = {"distance": nannyml.UnivariateDriftCalculator(column_names=names, **common)}
    calculators["missing"] = nannyml.MissingValuesCalculator(column_names=names, **common)
    if categorical:
        calculators["unseen"] = nannyml.UnseenValuesCalculator(column_names=categorical, **common)
    for what, calculator in calculators.items():
        calculator.fit(timed(old))
        found = calculator.calculate(timed(new)).filter(period="analysis").to_df()
        assert len(found) == len(windows)
        for name in names if what != "unseen" else categorical:
            part = found[name]["jensen_shannon"] if what == "distance" else found[name]
            for window, value, alert in zip(windows, part["value"], part["alert"], strict=True):
                yield "nannyml", what, name, window, value, alert


if __name__ == "__main__":
    run("nannyml", score)
