"""Estimated against realised performance: ``python -m benchmarks.estimation [DIR]``.

DIR is the folder ``nannyml/datasets/data`` of an unpacked wheel of NannyML 0.13.1 (``pip download --no-deps
nannyml==0.13.1``; default ``$NANNYML_DATA``). Its car-loan stream, ten pieces of 5,000 rows of which the last five have
shifted, is estimated here and compared with the labels and with what NannyML itself prints for it. Then a made-up
stream whose inputs shift and whose P(y | x) does not.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from monitor.estimate import Estimator, estimator_of, realised_figures
from monitor.outcome import OutcomeProfile, Task
from monitor.reference import build_reference
from monitor.source import Batch, Floats
from monitor.stats.recalibration import expit
from monitor.window import CalendarUnit, WindowSpec

FIRST = datetime(2018, 1, 1, tzinfo=UTC)
PIECE = 5000
NANNYML = {  # 0.13.1, CBPE on the same ten pieces, printed by its own command
    "auc": (0.9707, 0.9710, 0.9714, 0.9711, 0.9711, 0.9611, 0.9618, 0.9611, 0.9625, 0.9613),
    "f1": (0.9430, 0.9413, 0.9436, 0.9432, 0.9442, 0.9118, 0.9118, 0.9117, 0.9138, 0.9148),
    "accuracy": (0.9418, 0.9433, 0.9455, 0.9448, 0.9446, 0.9107, 0.9111, 0.9112, 0.9144, 0.9117),
}


def rows_of(score: Floats, label: Floats, days: float) -> Batch:
    """Return rows spread evenly over so many days."""
    time = round(FIRST.timestamp()) * 1_000_000 + np.linspace(0, days * 86_400e6, len(score), False).astype(np.int64)
    return Batch(rows=len(score), time=time, columns={}, score=score, label=label)


def trained(score: Floats, label: Floats, days: int, threshold: float = 0.5) -> Estimator:
    """Return the estimator of honest scores and labels cut into days."""
    reference = build_reference(
        rows_of(score, label, days),
        model="m",
        version="1",
        task=Task.BINARY,
        spec=WindowSpec(calendar=CalendarUnit.DAY),
        created_at=FIRST + timedelta(days=days),
        threshold=threshold,
    )
    estimator = estimator_of(reference)
    assert estimator is not None
    return estimator


def compare(estimator: Estimator, pieces: list[tuple[Floats, Floats]], theirs: dict[str, tuple[float, ...]]) -> None:
    """Print estimated and realised figures per piece, and the mean distances."""
    for name in ("auc", "f1", "accuracy"):
        estimated, realised, inside = [], [], 0
        for score, label in pieces:
            outcome = OutcomeProfile.of(estimator.layout, rows_of(score, label, 1))
            metric = estimator.estimate(outcome.joint.sum(axis=1))[name]
            estimated.append(metric.value)
            realised.append(realised_figures(outcome)[name])
            inside += metric.low <= realised[-1] <= metric.high
        off = np.abs(np.subtract(estimated, realised))
        print(f"{name:9} estimated {np.round(estimated, 4)}")
        print(f"{'':9} realised  {np.round(realised, 4)}")
        print(f"{'':9} |estimated - realised| mean {off.mean():.4f}, most {off.max():.4f}; in the interval {inside} of")
        print(f"{'':9} {len(pieces)}", end="")
        if name in theirs:
            gap = np.abs(np.subtract(estimated, theirs[name]))
            other = np.abs(np.subtract(theirs[name], realised))
            print(f"; NannyML's own mean {other.mean():.4f}; ours - NannyML's at most {gap.max():.4f}", end="")
        print()


def car_loan(folder: Path) -> None:
    """Compare on NannyML's stream."""
    known = pd.read_csv(folder / "synthetic_car_loan_reference.csv")
    fresh = pd.read_csv(folder / "synthetic_car_loan_analysis.csv")
    labels = pd.read_csv(folder / "synthetic_car_loan_analysis_target.csv").set_index("id")["repaid"]
    truth = labels.loc[fresh["id"]].to_numpy(np.float64)
    cut = float(known.loc[known["y_pred"] == 1, "y_pred_proba"].min())
    honest = known["y_pred_proba"].to_numpy(np.float64), known["repaid"].to_numpy(np.float64)
    estimator = trained(*honest, 100, threshold=cut)
    score = fresh["y_pred_proba"].to_numpy(np.float64)
    pieces = [(score[i : i + PIECE], truth[i : i + PIECE]) for i in range(0, len(score), PIECE)]
    print(f"car loan, {len(known):,} reference rows, {len(pieces)} pieces of {PIECE:,}")
    compare(estimator, pieces, NANNYML)


def shifted() -> None:
    """Compare on a stream in which only the inputs move, each piece a quarter of a sd further than the one before."""
    rng = np.random.default_rng(20)

    def draw(rows: int, shift: float) -> tuple[Floats, Floats]:
        x = rng.normal(shift, 1.2, rows) - 1
        return expit(1.4 * x), (rng.random(rows) < expit(x)).astype(np.float64)  # overconfident, as models are

    estimator = trained(*draw(60_000, 0.0), 60)
    pieces = [draw(200_000, 0.3 * step) for step in range(6)]
    print("covariate shift only, 60,000 reference rows, 6 pieces of 200,000, the last 1.25 sd away")
    compare(estimator, pieces, {})


def main(arguments: list[str]) -> int:
    """Run both; the first needs its data."""
    folder = arguments[0] if arguments else os.environ.get("NANNYML_DATA")
    if folder:
        car_loan(Path(folder))
    else:
        print("car loan: left out, give the folder nannyml/datasets/data of an unpacked wheel of NannyML 0.13.1")
    shifted()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
