"""What an older version stored is read by every later one.

A new format adds a file to `tests/golden`; none is ever written again.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from monitor import outcome, profile, reference
from monitor.outcome import Task
from monitor.reference import Reference

GOLDEN = Path(__file__).parent.parent / "golden"


def test_training_profiles_written_by_format_1_load_for_ever() -> None:
    golden = json.loads((GOLDEN / "reference_1.json").read_text())
    found = Reference.from_bytes(base64.b64decode(golden["bytes"]))
    assert (found.model, found.version, found.task, found.spec.timezone) == (
        "golden",
        "1",
        Task.BINARY,
        "Europe/Berlin",
    )
    assert len(found.windows) == golden["windows"]
    assert found.windows[0].start.isoformat() == golden["first"]
    assert found.total.rows == golden["rows"] == found.rows
    assert found.total.column("x").mean == pytest.approx(golden["mean"], rel=1e-12)
    assert found.outcome_total is not None
    assert found.outcome_total.labelled == golden["labelled"]
    assert found.layout.digest.hex() == golden["layout"]
    assert (found.importance, found.upstreams, found.packages) == ({"x": 0.5}, {"weather": ("x",)}, {"numpy": "2"})
    assert found.notes == ("a note",)


def test_training_profiles_written_by_format_2_keep_their_relations() -> None:
    golden = json.loads((GOLDEN / "reference_2.json").read_text())
    found = Reference.from_bytes(base64.b64decode(golden["bytes"]))
    assert (found.version, found.rows, len(found.windows)) == ("2", golden["rows"], golden["windows"])
    assert found.layout.digest.hex() == golden["layout"]
    (pair,) = found.layout.relations
    assert (pair.name, pair.slope) == (golden["pair"], golden["slope"])
    assert found.total.sums[found.layout.moments_at :].tolist() == pytest.approx(golden["moments"], rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "version"),
    [("profile", profile.FORMAT), ("outcome", outcome.FORMAT), ("reference", reference.FORMAT)],
)
def test_every_format_that_was_ever_written_has_its_golden_file(kind: str, version: int) -> None:
    for number in range(1, version + 1):
        assert list(GOLDEN.glob(f"{kind}_{number}*.json")), f"write tests/golden/{kind}_{number}.json with this format"
