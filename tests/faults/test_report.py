"""Rules of the measured table: the page shows what the tests measured, the latest of each fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import report
from tests.faults.measurement import Measurement, append

PAGE = f"# Title\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n"

pytestmark = pytest.mark.short


def test_the_latest_measurement_of_each_fault_is_in_the_page(tmp_path: Path) -> None:
    file, page = tmp_path / "measured.jsonl", tmp_path / "page.md"
    page.write_text(PAGE)
    for lost in (7, 0):
        append(file, Measurement(scenario=4, name="restart", injected=1, lost=lost, recovery=2.0))
    append(file, Measurement(scenario=3, name="sessions ended", injected=1200, note="the store"))
    assert report.main([str(file), str(page)]) == 0
    text = page.read_text()
    assert text.startswith("# Title\n")
    assert text.endswith("After.\n")
    rows = [line for line in text.splitlines() if line.startswith(("| 3", "| 4"))]
    assert rows == ["| 3 | sessions ended | 1,200 | 0 | 0 | – | the store |", "| 4 | restart | 1 | 0 | 0 | 2.0 s |  |"]
    assert len(file.read_text().splitlines()) == 2


def test_a_page_without_the_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        report.insert("# Title", "table")


def test_without_measurements_nothing_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert report.main([str(tmp_path / "none"), str(page)]) == 2
    assert page.read_text() == PAGE


def test_what_was_never_injected_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="at least once"):
        Measurement(scenario=3, name="nothing", injected=0)
