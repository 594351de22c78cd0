from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from monitor.challenger import matrix_of, out_of_fold, prove_challengers
from monitor.column import Layout
from monitor.outcome import Task
from monitor.proof import ProofRequest
from monitor.source import Batch, CategoryValues, NumericValues
from monitor.window import Window
from tests.unit.outcomes import COSTS, batch, day_rows, reference, window


class Rows:
    """Logged rows of some days whose scores tell nothing while the feature tells everything."""

    def __init__(self, days: Sequence[int], rows: int = 120) -> None:
        self.rows = rows
        self.days = days
        self.asked: list[list[Window]] = []

    def sample(
        self,
        windows: Sequence[Window],
        limit: int,
        with_labels: bool = False,
        *,
        now: datetime,
        layout: Layout | None = None,
    ) -> Batch:
        self.asked.append(list(windows))
        days = [day for day in self.days if any(w.start <= window(day).start < w.end for w in windows)]
        drawn = [day_rows(day, self.rows) for day in days]
        whole = batch(days, [s for s, _ in drawn], [y for _, y in drawn])
        return replace(whole, score=np.full(whole.rows, 0.3), decision=np.zeros(whole.rows, np.bool_))


REQUEST = ProofRequest(
    model="flights",
    model_version="1",
    role="champion",
    windows=tuple(window(day) for day in range(90, 104)),
    fit_until=window(90).start,
    recent_since=window(76).start,
    excluded=(window(80),),
    costs=COSTS,
)
NOW = window(104).start


def test_refits_on_logged_rows_prove_what_the_champion_lacks() -> None:
    source = Rows(range(60, 104))
    proof = prove_challengers(REQUEST, source, reference(), now=NOW)
    assert proof.reason == ""
    assert set(proof.gains) == {"recent", "expanding"}
    for gain in proof.gains.values():
        assert gain.proven
        assert gain.windows == 14
        assert gain.per_prediction is not None
        assert gain.per_prediction > 0


def test_rows_of_excluded_windows_and_of_later_ones_are_not_learned_from() -> None:
    source = Rows(range(60, 104))
    prove_challengers(REQUEST, source, reference(), now=NOW)
    learned = source.asked[0]
    assert not any(w.start <= window(80).start < w.end for w in learned)
    assert max(w.end for w in learned) == window(90).start


def test_with_too_few_rows_the_proof_says_so() -> None:
    proof = prove_challengers(REQUEST, Rows([88, 89, *range(90, 104)]), reference(), now=NOW)
    assert proof.gains == {}
    assert "240 earlier rows have labels" in proof.reason


def test_out_of_fold_scores_never_saw_their_block() -> None:
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(18), 40)
    luck = rng.random(18) < 0.5  # each day has one label: only a model that saw the day could know it
    matrix = day[:, None].astype(np.float32)
    score = out_of_fold(Task.BINARY, matrix, luck[day].astype(float), day, folds=3)
    seen = out_of_fold(Task.BINARY, matrix, luck[day].astype(float), rng.permutation(day), folds=3)
    truth = luck[day]
    assert ((seen > 0.5) == truth).mean() > 0.95
    assert ((score > 0.5) == truth).mean() < 0.8


def test_a_category_has_the_same_number_in_every_batch_and_unknown_ones_none() -> None:
    def one(codes: list[int], categories: list[str]) -> Batch:
        values = CategoryValues(codes=np.array(codes, np.int32), categories=categories)
        numbers = NumericValues(values=np.array([1.0] * len(codes)), missing=np.zeros(len(codes), np.bool_))
        return Batch(rows=len(codes), time=np.zeros(len(codes), np.int64), columns={"c": values, "x": numbers})

    first, second = matrix_of([one([0, 1, -1], ["b", "a"]), one([0, 1], ["a", "z"])])
    assert first[:, 0] == pytest.approx([1, 0, np.nan], nan_ok=True)
    assert second[:, 0] == pytest.approx([0, np.nan], nan_ok=True)
