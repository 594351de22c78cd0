"""Free text: characters and words are counted the same wherever a text comes from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.text import CLASSES, LONGEST, UNKNOWN, figures, vocabulary, words_in


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("abcD", (1, 0, 0, 0)),
        ("1234", (0, 1, 0, 0)),
        ("a 1\t", (0.25, 0.25, 0.5, 0)),
        ("ü€", (0, 0, 0, 1)),
        ("é1a ", (0.25, 0.25, 0.25, 0.25)),
        ("Ã¼ber", (0.6, 0, 0, 0.4)),  # what a wrong encoding does
    ],
)
def test_characters_are_counted_by_class(text: str, shares: tuple[float, ...]) -> None:
    assert tuple(values[0] for values in figures([text]).values()) == pytest.approx(shares)


@given(st.lists(st.text(max_size=40), max_size=5))
def test_every_text_has_shares_that_add_up_or_none_at_all(texts: list[str]) -> None:
    found = figures(texts, frozenset())
    total = np.sum([found[name] for name in CLASSES], axis=0) if texts else np.zeros(0)
    for text, one in zip(texts, total.tolist(), strict=True):
        assert math.isnan(one) if not text else one == pytest.approx(1.0)


def test_words_of_which_training_had_few_are_unknown() -> None:
    known = vocabulary(["late again", "Late, gate!", "once"], [4, 1, 4])
    shares = figures(["LATE", "late gate", "gate once", "", "?!"], frozenset(known))[UNKNOWN]
    assert shares.tolist()[:3] == [0.0, 0.5, 1.0]
    assert np.isnan(shares[3:]).all()


def test_what_is_kept_of_training_names_no_word() -> None:
    assert all(isinstance(one, int) for one in vocabulary(["secret"] * 9, [1] * 9))


def test_a_very_long_text_costs_no_more_than_its_beginning() -> None:
    assert len(words_in("a " * 10**6)) == LONGEST // 2
    assert figures(["a" * LONGEST + "1" * 10**6])["digits"].tolist() == [0.0]


def test_words_hold_together_beyond_ascii() -> None:
    assert words_in("Müller-Lüdenscheidt, straße 3") == ["müller", "lüdenscheidt", "straße", "3"]
