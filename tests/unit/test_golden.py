"""Golden rows that moved are counted and explained; so are nervous decisions, and columns that know the future."""

from __future__ import annotations

import numpy as np
import pytest

from monitor import noise
from monitor.foresight import find, id_auc, repeated
from monitor.golden import Columns, Floats, differences, replay

RNG = np.random.default_rng(0)
ROWS: Columns = {"a": RNG.normal(size=400), "b": RNG.normal(size=400), "c": RNG.choice(["x", "y"], 400).astype(object)}


def model(rows: Columns) -> Floats:
    odds = rows["a"] - 0.5 * rows["b"] + 0.3 * (rows["c"] == "x")
    return np.asarray(1 / (1 + np.exp(-np.nan_to_num(odds))), np.float64)


def test_what_comes_out_again_has_not_moved() -> None:
    assert replay(ROWS, model(ROWS) + 1e-8, model).moved == 0


def test_moved_predictions_and_turned_decisions_are_counted() -> None:
    said = model(ROWS)
    found = replay(ROWS, said, lambda rows: model(rows) + np.where(rows["a"] < 0, 0.01, 0.0), threshold=0.5)
    assert (found.rows, found.moved) == (400, int((ROWS["a"] < 0).sum()))
    assert 0 < found.flipped < 20
    assert found.largest == pytest.approx(0.01)
    assert found.swap is None


def test_a_prediction_that_became_nan_has_moved() -> None:
    assert replay(ROWS, model(ROWS), lambda rows: np.nan * rows["a"]).moved == 400


def test_a_swap_of_two_columns_is_named() -> None:
    found = replay(ROWS, model(ROWS), lambda rows: model({**rows, "a": rows["b"], "b": rows["a"]}))
    assert found.swap == ("a", "b")


def test_versions_that_differ_begin_with_the_largest_step_and_a_package_that_is_gone() -> None:
    before = {"numpy": "2.1.0", "scikit-learn": "1.8.0", "python": "3.11.2", "xgboost": "2.0"}
    after = {"numpy": "2.1.1", "scikit-learn": "1.9.0", "python": "3.11.2", "flask": "3"}
    assert [one.text for one in differences(before, after)] == [
        "xgboost 2.0 → missing",
        "scikit-learn 1.8.0 → 1.9.0",
        "numpy 2.1.0 → 2.1.1",
    ]


def test_a_steady_model_keeps_its_decisions_and_a_nervous_one_does_not() -> None:
    steady = noise.shake(ROWS, model, threshold=0.5, rng=np.random.default_rng(0))
    assert steady is not None
    assert steady.flips <= noise.FLIPS
    assert steady.curve[1e-2] >= steady.flips
    assert steady.alone["a"] > 0 or steady.curve[1e-2] > 0
    assert set(steady.swapped) == {"c"}
    assert set(steady.missing) == {"a", "b", "c"}
    assert steady.missing["a"] > 0.1, "without the column that counts, decisions are others"

    def nervous(rows: Columns) -> Floats:
        return model(rows) + 0.4 * np.sign(np.sin(1e8 * rows["a"]))

    shaken = noise.shake(ROWS, nervous, threshold=0.5, rng=np.random.default_rng(0))
    assert shaken is not None
    assert shaken.flips > 0.05
    assert shaken.alone["a"] > shaken.alone["b"]


def test_noise_within_the_precision_of_the_data_is_measured_apart() -> None:
    rounded = {**ROWS, "a": np.round(ROWS["a"], 1)}
    shaken = noise.shake(rounded, model, threshold=0.5, rng=np.random.default_rng(0))
    assert shaken is not None
    assert shaken.rounding is not None
    assert shaken.rounding > shaken.flips
    assert noise.precision(ROWS["a"]) is None


def test_rows_without_numbers_cannot_be_shaken() -> None:
    assert noise.shake({"c": ROWS["c"]}, model, threshold=0.5, rng=np.random.default_rng(0)) is None


LABEL = (RNG.random(400) < model(ROWS)).astype(float)
KINDS = {
    "delay": "knows the label",
    "gone": "empty",
    "fixed": "constant",
    "absent": "absent",
    "seen": "fallen",
    "key": "id",
    "closed_at": "later",
}


def test_each_kind_of_foreknowledge_is_found_by_name() -> None:
    training = {
        **ROWS,
        "delay": LABEL * 10 + RNG.normal(size=400),
        "gone": RNG.normal(size=400),
        "fixed": RNG.normal(size=400),
        "absent": RNG.normal(size=400),
        "seen": LABEL + 0.6 * RNG.normal(size=400),
    }
    production = {**training, "gone": np.full(400, np.nan), "fixed": np.ones(400), "seen": RNG.normal(size=400)}
    del production["absent"]
    found = find(
        training,
        LABEL,
        production,
        production_label=LABEL,
        ids={"key": np.array([f"{'p' if y else 'n'}{i}" for i, y in enumerate(LABEL)])},
        late={"closed_at": 0.4, "opened_at": 0.001},
    )
    assert {one.column: one.kind for one in found.suspicions} == KINDS
    assert found.areas["delay"] > 0.95


def test_an_ordinary_training_is_not_suspected() -> None:
    other = {name: values[::-1] for name, values in ROWS.items()}
    found = find(ROWS, LABEL, other, production_label=LABEL[::-1], ids={"id": np.arange(400).astype(str)})
    assert found.suspicions == ()


def test_a_weak_difference_of_few_labels_is_no_suspicion() -> None:
    few = {"seen": LABEL[:80] + RNG.normal(size=80)}
    assert find(few, LABEL[:80], {"seen": RNG.normal(size=80)}, production_label=LABEL[:80]).suspicions == ()


def test_ids_that_count_up_know_nothing() -> None:
    assert id_auc(np.arange(1000).astype(str), (RNG.random(1000) < 0.3).astype(float)) < 0.6


def test_rows_of_a_test_that_training_has_are_counted() -> None:
    test = {
        name: np.concatenate([values[:50], values[:50] if name == "c" else values[:50] + 1])
        for name, values in ROWS.items()
    }
    share, usual = repeated(ROWS, test)
    assert (share, usual) == (0.5, 0.0)


def test_a_column_that_is_constant_at_what_most_training_rows_say_is_a_dry_week_and_no_leak() -> None:
    rain = np.where(RNG.random(400) < 0.9, 0.0, 1.5)
    assert find({"rain": rain}, None, {"rain": np.zeros(400)}).suspicions == ()
    (one,) = find({"rain": rain}, None, {"rain": np.full(400, 1.5)}).suspicions
    assert one.kind == "constant"
