"""Challengers: models fitted on newer rows, to prove that retraining would pay before anybody is told to do it.

They stand in for the champion's own training, which the monitor does not know: gradient boosting with default care.
What they prove is that newer rows hold something the champion lacks. ``python -m monitor.challenger FILE`` does the
fitting in a process of its own, since scikit-learn never enters the daemon's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.check import Costs
from monitor.column import Layout
from monitor.inheritance import inherited
from monitor.outcome import FLOOR, Task
from monitor.proof import Gain, Proof, ProofRequest
from monitor.reference import Reference, cut_timeline
from monitor.source import Batch, Bools, CategoryValues, Floats, Ints, NumericValues, RowSource
from monitor.stats.resampling import mean_with_error
from monitor.window import Window

Matrix = NDArray[np.float32]

FIT_ROWS = 60_000  # logged rows that a refit sees at most
JUDGED_ROWS = 20_000
FEWEST_FIT_ROWS = 500
FURTHEST = timedelta(days=400)  # back from the judged windows
DEADLINE = 600.0  # seconds
FOLDS = 9


def matrix_of(batches: Sequence[Batch]) -> list[Matrix]:
    """Return one matrix rows × columns per batch, columns in the first batch's order.

    Categories become their rank among the first batch's; missing values and categories it does not have are NaN.
    """
    columns: list[list[Matrix]] = [[] for _ in batches]
    for name, first in batches[0].columns.items():
        known: dict[str, float] = {}
        if isinstance(first, CategoryValues):
            present = np.unique(first.codes[first.codes >= 0])
            known = {text: float(i) for i, text in enumerate(sorted(first.categories[code] for code in present))}
        for found, batch in zip(columns, batches, strict=True):
            values = batch.columns[name]
            if isinstance(values, NumericValues):
                x = np.where(np.isfinite(values.values), values.values, np.nan)
            else:
                ranks = np.array([known.get(text, np.nan) for text in values.categories] + [np.nan])
                x = ranks[values.codes]  # code -1 is the NaN at the end
            with np.errstate(over="ignore"):
                found.append(x.astype(np.float32))
    return [
        np.column_stack(found) if found else np.zeros((b.rows, 0), np.float32)
        for found, b in zip(columns, batches, strict=True)
    ]


def fit_predict(task: Task, fit: Matrix, label: Floats, wanted: Matrix) -> Floats:
    """Return predictions for ``wanted`` by a gradient boosting model of ``fit`` and ``label``; imports scikit-learn.

    Binary: probabilities within [1e-4, 1 − 1e-4]; one label only gives its share everywhere. Regression: fitted to the
    absolute error, by which it is judged, so that a few labels that cannot be right do not carry it away.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

    if task is Task.MULTICLASS:
        raise ValueError("challengers of multiclass models cannot be fitted yet; give held-out scores instead")
    with np.errstate(over="ignore"):
        fit, wanted = (np.where(np.isinf(x), np.nan, x) for x in (fit, wanted))
    usable = np.isfinite(fit).any(axis=0)  # a column without any value tells nothing
    fit, wanted = np.where(usable, fit, np.float32(0)), np.where(usable, wanted, np.float32(0))
    if task is Task.BINARY and len(np.unique(label)) < 2:
        return np.full(len(wanted), float(np.clip(label.mean(), FLOOR, 1 - FLOOR)))
    # Threads that wait for each other by spinning take minutes on a busy machine for what one does in seconds.
    with threadpool_limits(1):
        if task is Task.REGRESSION:
            model = HistGradientBoostingRegressor(
                loss="absolute_error", max_iter=100, learning_rate=0.06, random_state=0
            )
            return np.asarray(model.fit(fit, label).predict(wanted), np.float64)
        classifier = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.06, random_state=0)
        scores = classifier.fit(fit, label).predict_proba(wanted)[:, 1]
    return np.asarray(np.clip(scores, FLOOR, 1 - FLOOR), np.float64)


def out_of_fold(task: Task, matrix: Matrix, label: Floats, window: Ints, folds: int = FOLDS) -> Floats:
    """Return predictions of rows by models that never saw their block of contiguous windows.

    ``window`` is each row's window, from 0; the windows that occur are cut into ``folds`` blocks in order of time.
    Folds of random rows would flatter the model: rows of one day share its weather.
    """
    known = np.isfinite(label)
    windows = np.unique(window)
    size = max(1, -(-len(windows) // folds))
    scores = np.full(len(label), np.nan)
    for first in range(0, len(windows), size):
        inside = np.isin(window, windows[first : first + size])
        use = known & ~inside
        scores[inside] = fit_predict(task, matrix[use], label[use], matrix[inside])
    return scores


def losses(task: Task, label: Floats, score: Floats, cap: float) -> Floats:
    """Return the loss per row: log loss, or the absolute error capped at ``cap``."""
    if task is Task.REGRESSION:
        return np.minimum(np.abs(label - score), cap)
    p = np.clip(score, FLOOR, 1 - FLOOR)
    return np.asarray(-(label * np.log(p) + (1 - label) * np.log1p(-p)), np.float64)


def compare(
    task: Task,
    *,
    fit: Matrix,
    fit_label: Floats,
    recent: Bools,
    judged: Matrix,
    label: Floats,
    champion: Floats,
    place: Ints,
    cap: float,
    decision: Bools | None = None,
    costs: Costs | None = None,
) -> dict[str, Gain]:
    """Return what refits on the recent rows and on all rows would have gained over the champion, window by window.

    ``place`` is the window of each judged row. ``decision`` and ``costs`` add the gain in money per prediction, refits
    deciding at their cost-optimal cut-off.
    """
    before = losses(task, label, champion, cap)
    found: dict[str, Gain] = {}
    for name, use in (("expanding", np.ones(len(fit_label), np.bool_)), ("recent", recent)):
        if use.sum() < FEWEST_FIT_ROWS:
            continue
        score = fit_predict(task, fit[use], fit_label[use], judged)
        gain = before - losses(task, label, score, cap)
        mean, error = mean_with_error(window_means(gain, place))
        found[name] = Gain(
            mean=mean,
            error=error,
            champion_loss=float(before.mean()),
            windows=len(np.unique(place)),
            rows=len(label),
            per_prediction=_saved(task, label, champion, decision, score, costs, place),
        )
    return found


def window_means(values: Floats, place: Ints) -> Floats:
    """Return the mean of each window that has values; ``place`` is the window of each."""
    count = np.bincount(place)
    return np.asarray(np.bincount(place, weights=values)[count > 0] / count[count > 0], np.float64)


def _saved(
    task: Task, label: Floats, champion: Floats, decision: Bools | None, score: Floats, costs: Costs | None, place: Ints
) -> float | None:
    if costs is None:
        return None
    if task is Task.REGRESSION:
        if costs.under is None or costs.over is None:
            return None
        under, over = costs.under, costs.over

        def spent(p: Floats) -> Floats:
            return np.asarray(under * np.maximum(label - p, 0) + over * np.maximum(p - label, 0), np.float64)

        return float(window_means(spent(champion) - spent(score), place).mean())
    if decision is None or costs.false_positive is None or costs.false_negative is None:
        return None
    alarm, miss = costs.false_positive, costs.false_negative
    if not alarm + miss:
        return None

    def paid(said: Bools) -> Floats:
        return np.asarray(np.where(said, alarm * (label == 0), miss * (label == 1)), np.float64)

    return float(window_means(paid(decision) - paid(score >= alarm / (alarm + miss)), place).mean())


def prove_challengers(request: ProofRequest, source: RowSource, reference: Reference, *, now: datetime) -> Proof:
    """Return what refits on logged rows with labels would have gained on the request's windows.

    Reads bounded samples of rows, and fits in a subprocess. Where it cannot be done the proof says why.
    """
    if reference.task is Task.MULTICLASS:
        return Proof(reason="challengers of multiclass models cannot be fitted yet")
    layout, outcome = reference.layout, reference.outcome_layout
    if outcome is None:
        return Proof(reason="the training profile has no outcomes")
    features = Layout(tuple(column for column in layout.columns if column.part == "input"))
    earlier = [Window(start=request.fit_until - FURTHEST, end=request.fit_until)]
    broken = [w for w in request.excluded if w.start < request.fit_until]
    fit = source.sample(_without(earlier, broken), FIT_ROWS, with_labels=True, now=now, layout=features)
    judged = source.sample(request.windows, JUDGED_ROWS, with_labels=True, now=now, layout=features)
    if fit.label is None or judged.label is None or judged.score is None:
        return Proof(reason="the logged rows have no labels or no scores")
    known, ok = np.isfinite(fit.label), np.isfinite(judged.label) & np.isfinite(judged.score)
    if known.sum() < FEWEST_FIT_ROWS or ok.sum() < FEWEST_FIT_ROWS // 5:
        return Proof(reason=f"only {int(known.sum())} earlier rows have labels, {FEWEST_FIT_ROWS} are needed")
    first, second = matrix_of([fit, judged])
    _, place = cut_timeline(judged.time, reference.spec)
    threshold = 0.5 if outcome.threshold is None else outcome.threshold
    decision = judged.score >= threshold if judged.decision is None else judged.decision
    arrays: dict[str, NDArray[Any]] = {
        "fit": first[known],
        "fit_label": fit.label[known],
        "recent": fit.time[known] >= round(request.recent_since.timestamp() * 1e6),
        "judged": second[ok],
        "label": judged.label[ok],
        "champion": judged.score[ok],
        "place": place[ok],
        "decision": decision[ok],
    }
    costs = (
        None
        if request.costs is None
        else {name: getattr(request.costs, name) for name in ("false_positive", "false_negative", "under", "over")}
    )
    cap = outcome.loss_cap if np.isfinite(outcome.loss_cap) else None
    return _in_subprocess(arrays, {"task": reference.task.value, "cap": cap, "costs": costs})


def _without(windows: Sequence[Window], broken: Sequence[Window]) -> list[Window]:
    """Return the windows with the broken ones cut out."""
    left = list(windows)
    for bad in broken:
        left = [
            Window(start=a, end=b)
            for w in left
            for a, b in ((w.start, min(w.end, bad.start)), (max(w.start, bad.end), w.end))
            if a < b
        ]
    return left


def _in_subprocess(arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Proof:
    with tempfile.TemporaryDirectory(prefix="monitor-challenger-") as folder:
        path = Path(folder) / "rows.npz"
        content: dict[str, Any] = {"facts": np.array(json.dumps(facts)), **arrays}
        np.savez(path, **content)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "monitor.challenger", str(path)],
                capture_output=True,
                text=True,
                check=False,
                timeout=DEADLINE,
                env=inherited(os.environ),
            )
        except subprocess.TimeoutExpired:
            return Proof(reason=f"fitting challengers took longer than {DEADLINE:.0f} seconds")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        return Proof(reason=f"challengers could not be fitted ({last[:200]})")
    gains = {name: Gain(**figures) for name, figures in json.loads(done.stdout).items()}
    return Proof(gains=gains, reason="" if gains else "there are too few recent rows with labels")


def main(path: Path) -> None:
    """Fit the challengers of one file of rows and print their gains as JSON."""
    with np.load(path) as rows:
        facts = json.loads(str(rows["facts"]))
        arrays = {name: rows[name] for name in rows.files if name != "facts"}
    costs = None if facts["costs"] is None else Costs(**facts["costs"])
    cap = np.inf if facts["cap"] is None else facts["cap"]
    gains = compare(Task(facts["task"]), cap=cap, costs=costs, **arrays)
    # an error that cannot be told (one window) is infinite, which JSON has no word for but Python's has
    print(json.dumps({name: asdict(gain) for name, gain in gains.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
