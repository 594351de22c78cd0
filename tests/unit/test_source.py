"""Batches: taking rows and bringing batches together lose and invent nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.source import Batch, CategoryValues, NumericValues, concatenate, take


def rows(n: int, words: tuple[str, ...] = ("a", "b", "c"), *, scored: bool = True) -> Batch:
    rng = np.random.default_rng(n)
    return Batch(
        rows=n,
        time=np.arange(n, dtype=np.int64),
        columns={
            "x": NumericValues(values=rng.normal(size=n), missing=np.zeros(n, bool)),
            "word": CategoryValues(codes=rng.integers(-1, len(words), n).astype(np.int32), categories=words),
        },
        score=rng.random(n) if scored else None,
        ids=[str(i) for i in range(n)],
    )


def texts(batch: Batch) -> list[str | None]:
    word = batch.columns["word"]
    assert isinstance(word, CategoryValues)
    return [None if code < 0 else word.categories[code] for code in word.codes.tolist()]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 50), st.integers(0, 50))
def test_the_parts_of_a_batch_make_the_batch(n: int, cut: int) -> None:
    whole = rows(n)
    parts = [take(whole, np.arange(0, min(cut, n))), take(whole, np.arange(min(cut, n), n))]
    joined = concatenate(parts)
    assert joined.ids == whole.ids
    np.testing.assert_array_equal(joined.time, whole.time)
    np.testing.assert_array_equal(joined.score, whole.score)
    assert texts(joined) == texts(whole)


def test_categories_of_batches_that_number_them_differently_keep_their_words() -> None:
    one, other = rows(40), rows(30, ("c", "d", "a"))
    assert texts(concatenate([one, other])) == texts(one) + texts(other)


def test_rows_without_a_score_have_none_beside_rows_with_one() -> None:
    score = concatenate([rows(3, scored=False), rows(2)]).score
    assert score is not None
    assert np.isnan(score).tolist() == [True, True, True, False, False]


def test_no_batches_are_no_rows() -> None:
    assert concatenate([]).rows == len(concatenate([]).time) == 0
