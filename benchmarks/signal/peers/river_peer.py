"""River: ADWIN, row after row, on numbers and codes of categories; its score is the strictest delta that fires."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from windows import Line, features, run

DELTAS = (2e-3, 1e-5, 1e-10, 1e-20, 1e-45)  # the first is the default


def score(old: Any, new: Any) -> Iterator[Line]:
    import numpy as np
    import pandas as pd
    from river.drift import ADWIN

    for name, numeric in features(old):
        both = pd.concat([old, new])
        window = both["window"].to_numpy()
        if numeric:
            values = both[name].to_numpy(np.float64)
        else:
            kinds = {kind: code for code, kind in enumerate(old[name].value_counts().index)}
            values = both[name].map(kinds).fillna(len(kinds)).to_numpy(np.float64)
        usable = np.isfinite(values)
        values, window = values[usable], window[usable]
        best = {int(w): 0.0 for w in np.unique(window) if w >= 0}
        for delta in DELTAS:
            detector = ADWIN(delta=delta)
            for at, value in zip(window.tolist(), values.tolist(), strict=True):
                detector.update(value)
                if detector.drift_detected and at >= 0:
                    best[at] = max(best[at], -np.log10(delta))
        for at, found in best.items():
            yield "river", "adwin", name, at, found, found > 0


if __name__ == "__main__":
    run("river", score)
