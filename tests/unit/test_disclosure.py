"""Rules of what people are shown of categories: what is listed or common as it is, the rest as a hash that stays."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.disclosure import ENOUGH, Disclosure, pseudonym
from monitor.outcome import Task
from monitor.reference import Reference, build_reference
from monitor.source import Batch, CategoryValues
from monitor.window import CalendarUnit, WindowSpec

HOUR = 3_600_000_000
START = round(datetime(2013, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
COMMON, JUST, RARE = "London", "Leeds", "Little Snoring"


def trained() -> Reference:
    """A training profile with one city that is common, one that just is, and one that one row less has."""
    cities = [COMMON] * 500 + [JUST] * ENOUGH + [RARE] * (ENOUGH - 1)
    words = tuple(dict.fromkeys(cities))
    batch = Batch(
        rows=len(cities),
        time=START + np.arange(len(cities)) * HOUR,
        columns={"city": CategoryValues(codes=np.array([words.index(c) for c in cities], np.int32), categories=words)},
        score=np.linspace(0.1, 0.9, len(cities)),
    )
    spec = WindowSpec(calendar=CalendarUnit.DAY)
    now = datetime(2013, 3, 1, tzinfo=UTC)
    return build_reference(
        batch, model="m", version="1", task=Task.BINARY, spec=spec, created_at=now, rows=len(cities), source="a test"
    )


REFERENCE = trained()


def test_what_twenty_training_rows_had_is_shown_and_nineteen_not() -> None:
    disclosure = Disclosure(reference=REFERENCE)
    assert [disclosure.value("city", city) for city in (COMMON, JUST)] == [COMMON, JUST]
    assert disclosure.value("city", RARE) == pseudonym("city", RARE)


def test_a_new_value_is_shown_once_twenty_rows_of_a_window_have_it() -> None:
    disclosure = Disclosure(reference=REFERENCE)
    assert disclosure.value("city", "Gotham", ENOUGH - 1) == pseudonym("city", "Gotham")
    assert disclosure.value("city", "Gotham", ENOUGH) == "Gotham"


def test_what_is_listed_is_shown_however_rare_it_is() -> None:
    assert Disclosure(reference=REFERENCE, listed={"city": [RARE]}).value("city", RARE) == RARE
    everything = Disclosure(reference=REFERENCE, listed={"city": None})
    assert everything.value("city", "Gotham") == "Gotham"
    assert everything.open("city") is None
    assert everything.value("street", "Elm") != "Elm"


def test_values_of_one_hash_are_added_up_and_no_row_is_lost() -> None:
    counts = {f"person {i}": 1 for i in range(5000)}  # of 65,536 hashes some meet
    shown = Disclosure(reference=REFERENCE).counts("city", counts)
    assert sum(shown.values()) == 5000
    assert len(shown) < 5000
    assert not set(shown) & set(counts)


def test_the_open_values_of_a_column_are_those_that_value_shows() -> None:
    disclosure = Disclosure(reference=REFERENCE, listed={"city": ["York"]})
    assert disclosure.open("city", [("Gotham", 25), ("Rome", 1)]) == {COMMON, JUST, "York", "Gotham"}


@given(st.text(), st.text())
def test_a_hash_is_short_stays_and_says_nothing_across_columns(name: str, value: str) -> None:
    word = pseudonym(name, value)
    assert word == pseudonym(name, value)
    assert len(word) == len("cat#a1b2")
    assert Disclosure(reference=REFERENCE).value(name, value, 1) in (word, value)
