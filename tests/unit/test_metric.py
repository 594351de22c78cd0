from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from monitor.check import checks
from monitor.metric import curve_of, metrics_of
from monitor.outcome import OutcomeLayout, OutcomeProfile, Task
from monitor.source import Batch
from tests.unit.outcomes import TRAINED, evidence, outcome, reference

rng = np.random.default_rng(3)
CLASSES = ("calm", "rain", "storm")


def test_figures_of_single_classes_are_scikit_learns() -> None:
    layout = OutcomeLayout(task=Task.MULTICLASS, score_edges=np.zeros(0), label_edges=np.zeros(0), classes=CLASSES)
    scores = rng.dirichlet([1.0, 1.0, 0.3], 500)
    label = np.array([rng.choice(3, p=one) for one in scores])
    rows = Batch(rows=500, time=np.arange(500), columns={}, scores=scores, label=label.astype(float))
    found = metrics_of(OutcomeProfile.of(layout, rows))
    precision, recall, f1, size = sk.precision_recall_fscore_support(label, scores.argmax(axis=1))
    for i, name in enumerate(CLASSES):
        assert found[f"precision:{name}"].value == pytest.approx(precision[i])
        assert found[f"recall:{name}"].value == pytest.approx(recall[i])
        assert found[f"f1:{name}"].value == pytest.approx(f1[i])
        assert found[f"base_rate:{name}"].value == pytest.approx(size[i] / 500)
        assert found[f"recall:{name}"].low < recall[i] < found[f"recall:{name}"].high


def test_a_class_that_never_comes_has_no_recall() -> None:
    layout = OutcomeLayout(task=Task.MULTICLASS, score_edges=np.zeros(0), label_edges=np.zeros(0), classes=CLASSES)
    scores = np.tile([0.6, 0.3, 0.1], (20, 1))
    rows = Batch(rows=20, time=np.arange(20), columns={}, scores=scores, label=np.zeros(20))
    found = metrics_of(OutcomeProfile.of(layout, rows))
    assert np.isnan(found["recall:storm"].value)
    assert found["precision:calm"].value == 1.0


def test_quantiles_of_the_error_are_numpys_to_the_width_of_a_bin() -> None:
    day = outcome(TRAINED, rows=20_000, task=Task.REGRESSION)
    found = metrics_of(day)
    error = np.abs(np.random.default_rng(1).normal(0, 4, 200_000))  # of the made-up days, see day_rows
    for percent, tolerance in ((50, 0.4), (90, 0.5)):
        metric = found[f"absolute_error_p{percent}"]
        assert metric.value == pytest.approx(np.quantile(error, percent / 100), abs=tolerance)
        assert metric.low <= metric.value <= metric.high


def test_the_calibration_curve_is_what_came_true_of_what_was_said() -> None:
    day = outcome(TRAINED, rows=50_000)
    curve = {metric.name: metric for metric in curve_of(day)}
    assert list(curve) == [f"observed_rate:{i / 10:.1f}-{(i + 1) / 10:.1f}" for i in range(10)]
    for i, metric in enumerate(curve.values()):
        assert i / 10 - 0.05 < metric.value < (i + 1) / 10 + 0.05
        assert metric.low < metric.value < metric.high
    assert not list(curve_of(OutcomeProfile.empty(day.layout)))
    assert not list(curve_of(outcome(TRAINED, task=Task.REGRESSION)))


def test_the_curve_is_stored_beside_trainings() -> None:
    rows = checks.build("performance", {}).run(evidence(TRAINED, outcome(TRAINED), {})).performance
    stored = {row.metric: row for row in rows if row.metric.startswith("observed_rate")}
    trained = {metric.name: metric for metric in curve_of(reference().outcome_total)}  # type: ignore[arg-type]
    assert stored
    assert all(row.reference_value == trained[name].value for name, row in stored.items() if name in trained)
