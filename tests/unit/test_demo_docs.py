"""What docs/demo.md says is what the code says."""

from __future__ import annotations

from pathlib import Path

from monitor.demo.causes import markdown

PAGE = Path(__file__).parents[2] / "docs" / "demo.md"


def test_the_page_has_every_cause_with_its_query_as_it_is_run() -> None:
    assert PAGE.read_text(encoding="utf-8").endswith(markdown())
