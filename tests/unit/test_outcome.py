"""An outcome profile is a commutative monoid too, and its sums are those of the rows."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.outcome import SUMS, OutcomeLayout, OutcomeProfile, Task, outcomes_of, score_edges
from monitor.reference import freeze_outcomes
from monitor.source import Batch, take

GOLDEN = Path(__file__).parent.parent / "golden"


def rows(task: Task, n: int, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    scores = None
    if task is Task.MULTICLASS:
        scores = rng.dirichlet(np.ones(3), n)
        score, label = scores.max(axis=1) if n else np.zeros(0), rng.integers(0, 3, n).astype(float)
    elif task is Task.BINARY:
        score = rng.random(n)
        label = (rng.random(n) < score).astype(float)
    else:
        score = rng.normal(size=n)
        label = score + rng.normal(size=n)
    score[rng.random(n) < 0.1] = np.nan
    label[rng.random(n) < 0.2] = np.nan
    if scores is not None:
        scores[np.isnan(score)] = np.nan
    delay = np.where(rng.random(n) < 0.1, np.nan, rng.exponential(86_400, n))
    return Batch(
        rows=n,
        time=np.zeros(n, np.int64),
        columns={},
        score=score,
        scores=scores,
        decision=score >= 0.4 if task is Task.BINARY else None,
        label=label,
        label_delay=delay,
    )


LAYOUTS = {
    task: freeze_outcomes(
        task,
        rows(task, 2000, 0),
        threshold=0.4 if task is Task.BINARY else None,
        classes=("a", "b", "c") if task is Task.MULTICLASS else (),
    )
    for task in Task
}
BATCHES = st.tuples(st.sampled_from(list(Task)), st.integers(0, 80), st.integers(0, 10_000))


def assert_equal(one: OutcomeProfile, other: OutcomeProfile) -> None:
    assert (one.rows, one.labelled) == (other.rows, other.labelled)
    for name in ("joint", "decisions", "delays"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_allclose(one.sums, other.sums, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(BATCHES, st.integers(1, 5), st.randoms(use_true_random=False))
def test_outcomes_of_parts_merge_to_those_of_the_whole_in_any_order(
    given_rows: tuple[Task, int, int], number: int, random: object
) -> None:
    task, n, seed = given_rows
    batch, layout = rows(task, n, seed), LAYOUTS[task]
    at = np.random.default_rng(seed + 1).integers(0, number, n)
    parts = outcomes_of(layout, batch, at, number)
    for piece, part in enumerate(parts):
        assert_equal(part, OutcomeProfile.of(layout, take(batch, np.flatnonzero(at == piece))))
    whole = OutcomeProfile.of(layout, batch)
    assert_equal(OutcomeProfile.total(layout, parts), whole)
    assert_equal(OutcomeProfile.total(layout, parts[::-1]), whole)
    assert_equal(whole + OutcomeProfile.empty(layout), whole)


@settings(max_examples=40, deadline=None)
@given(BATCHES)
def test_an_outcome_profile_survives_its_bytes_exactly(given_rows: tuple[Task, int, int]) -> None:
    task, n, seed = given_rows
    one = OutcomeProfile.of(LAYOUTS[task], rows(task, n, seed))
    again = OutcomeProfile.from_bytes(LAYOUTS[task], one.to_bytes())
    assert_equal(one, again)
    assert again.to_bytes() == one.to_bytes()


@pytest.mark.parametrize("task", list(Task))
def test_a_layout_survives_json(task: Task) -> None:
    layout = LAYOUTS[task]
    again = OutcomeLayout.from_json(json.loads(json.dumps(layout.to_json())))
    assert again.digest == layout.digest
    assert again.shape == layout.shape


def test_binary_outcomes_can_be_checked_by_hand() -> None:
    batch = Batch(
        rows=4,
        time=np.zeros(4, np.int64),
        columns={},
        score=np.array([0.25, 0.75, 0.5, np.nan]),
        label=np.array([0.0, 1.0, np.nan, 1.0]),
        label_delay=np.array([3600.0, 7200.0, np.nan, 1.0]),
    )
    found = OutcomeProfile.of(LAYOUTS[Task.BINARY], batch)
    assert (found.rows, found.labelled) == (4, 2)
    assert found.mean("brier") == pytest.approx(0.0625)
    assert found.mean("loss") == pytest.approx(-np.log(0.75))
    assert found.mean("residual") == pytest.approx(0.0)
    assert found.decisions.tolist() == [[1, 0], [0, 1]]
    assert found.joint.sum() == 2
    assert found.coverage == 0.5
    assert found.delay(1.0) == pytest.approx(7200, rel=0.3)


def test_regression_sums_can_be_checked_by_hand() -> None:
    layout = LAYOUTS[Task.REGRESSION]
    batch = Batch(
        rows=2, time=np.zeros(2, np.int64), columns={}, score=np.array([1.0, 2.0]), label=np.array([2.0, 0.0])
    )
    found = OutcomeProfile.of(layout, batch)
    assert [found.sum(name) for name in ("error", "absolute_error", "under", "over", "product")] == [-1, 3, 1, 2, 2]


def test_multiclass_sums_can_be_checked_by_hand() -> None:
    layout = LAYOUTS[Task.MULTICLASS]
    scores = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    batch = Batch(
        rows=2,
        time=np.zeros(2, np.int64),
        columns={},
        score=scores.max(axis=1),
        scores=scores,
        label=np.array([0.0, 2.0]),
    )
    found = OutcomeProfile.of(layout, batch)
    assert found.joint.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert found.sum("residual") == pytest.approx((1 - 0.5) + (0 - 0.8))
    assert found.sum("loss") == pytest.approx(-np.log(0.5) - np.log(0.1))
    assert found.sum("brier") == pytest.approx(0.375 + 0.01 + 0.64 + 0.81)


def test_one_certain_mistake_does_not_make_the_loss_infinite() -> None:
    batch = Batch(rows=1, time=np.zeros(1, np.int64), columns={}, score=np.array([1.0]), label=np.array([0.0]))
    assert 5 < OutcomeProfile.of(LAYOUTS[Task.BINARY], batch).mean("loss") < 10


def test_the_cut_off_is_an_edge_of_its_own() -> None:
    edges = score_edges(np.random.default_rng(1).random(5000), 0.35)
    layout = OutcomeLayout(task=Task.BINARY, score_edges=edges, label_edges=np.zeros(0), threshold=0.35)
    below, at = np.searchsorted(edges, [np.nextafter(0.35, 0), 0.35], side="right")
    assert below < layout.first_positive_bin == at


def test_every_sum_has_a_square_where_an_error_bar_needs_one() -> None:
    for task, names in SUMS.items():
        wanted = {"residual", "loss"} | ({"brier"} if task is not Task.REGRESSION else {"error"})
        assert {f"{name}2" for name in wanted} <= set(names)


def test_many_classes_need_their_scores() -> None:
    batch = Batch(rows=1, time=np.zeros(1, np.int64), columns={}, score=np.array([1.0]), label=np.array([0.0]))
    with pytest.raises(ValueError, match=r"prediction\.scores"):
        OutcomeProfile.of(LAYOUTS[Task.MULTICLASS], batch)


def test_outcomes_of_different_training_cannot_be_merged_or_mistaken() -> None:
    one, other = (OutcomeProfile.empty(LAYOUTS[task]) for task in (Task.BINARY, Task.REGRESSION))
    with pytest.raises(ValueError, match="different training profiles"):
        one + other
    with pytest.raises(ValueError, match="another training profile"):
        OutcomeProfile.from_bytes(LAYOUTS[Task.BINARY], other.to_bytes())
    with pytest.raises(ValueError, match="no outcome profile"):
        OutcomeProfile.from_bytes(LAYOUTS[Task.BINARY], b"something else")


@pytest.mark.parametrize("task", list(Task))
def test_outcomes_written_by_format_1_load_for_ever(task: Task) -> None:
    golden = json.loads((GOLDEN / f"outcome_1_{task}.json").read_text())
    layout = OutcomeLayout.from_json(golden["layout"])
    found = OutcomeProfile.from_bytes(layout, base64.b64decode(golden["bytes"]))
    assert [found.rows, found.labelled, int(found.joint.sum())] == golden["counts"]
    assert found.joint[tuple(golden["cell"][:2])] == golden["cell"][2]
    assert {name: found.sum(name) for name in SUMS[task]} == golden["sums"]
    assert found.decisions.tolist() == golden["decisions"]
    assert found.delay(0.5) == golden["delay"]
