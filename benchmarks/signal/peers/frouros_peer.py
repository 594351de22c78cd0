"""Frouros: Kolmogorov–Smirnov for numbers, chi-square for categories, at p < .05 as in its examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from windows import Line, features, run


def score(old: Any, new: Any) -> Iterator[Line]:
    import numpy as np
    from frouros.detectors.data_drift import ChiSquareTest, KSTest

    for name, numeric in features(old):
        detector = KSTest() if numeric else ChiSquareTest()
        detector.fit(X=np.asarray(old[name].dropna()))
        for window, rows in new.groupby("window")[name]:
            current = np.asarray(rows.dropna())
            if not len(current):
                continue
            p = float(detector.compare(X=current)[0].p_value)
            yield "frouros", "p", name, window, -np.log10(max(p, 1e-300)), p < 0.05


if __name__ == "__main__":
    run("frouros", score)
