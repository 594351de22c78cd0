"""The page of traps names tests that exist, each once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "traps.md").read_text(encoding="utf-8")
NAMED = re.findall(r"^\| [^|]+ \| `([^`]+)::(test_\w+)` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_test_that_a_trap_names_is_there(file: str, name: str) -> None:
    assert re.search(rf"^def {name}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_line_of_the_page_names_one_test_and_no_test_stands_twice() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| trap |")]
    assert len(lines) == len(NAMED) == len(set(NAMED)) > 50
