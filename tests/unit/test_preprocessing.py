"""Features beside their raw values: equal numbers are equal however they are written, and one cause is named."""

from __future__ import annotations

import pytest

from monitor.preprocessing import compare


@pytest.mark.parametrize(
    ("raw", "logged"), [("1", "1.0"), ("0.30000000000000004", "0.3"), ("LGA", "LGA"), ("NaN", "NaN"), (None, "17")]
)
def test_the_same_value_written_otherwise_does_not_differ(raw: str | None, logged: str) -> None:
    assert compare("f", [raw], [logged]).differing == 0


def test_a_feature_that_was_lost_differs_and_is_counted_as_lost() -> None:
    found = compare("f", ["1", "2", "3"], ["1", None, ""])
    assert (found.rows, found.differing, found.lost) == (3, 2, 2)


@pytest.mark.parametrize(
    ("logged", "how"),
    [
        (["5", "6", "7"], "always more by 4"),
        (["-3", "-2", "-1"], "always less by 4"),
        (["1.609", "3.218", "4.827"], "always 1.609 times as much"),
        (["2", "7", "1"], ""),
        (["x", "y", "z"], ""),
    ],
)
def test_one_shift_or_factor_that_explains_the_rows_is_named_and_nothing_else_is(logged: list[str], how: str) -> None:
    found = compare("f", ["1", "2", "3"], logged)
    assert (found.differing, found.how) == (3, how)
