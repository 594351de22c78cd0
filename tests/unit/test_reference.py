"""A training profile as it is stored, for ever, and in memory: packed until somebody looks, no longer than needed."""

from __future__ import annotations

import base64
import gc
import json
import weakref
from pathlib import Path

import pytest

from monitor import outcome, profile, reference
from monitor.column import NumericColumn
from monitor.memo import per_reference
from monitor.outcome import Task
from monitor.reference import Reference

GOLDEN = Path(__file__).parent.parent / "golden"
STORED = json.loads((GOLDEN / "reference_2.json").read_text())


def loaded() -> Reference:
    return Reference.from_bytes(base64.b64decode(STORED["bytes"]))


def test_profiles_of_training_windows_are_unpacked_when_somebody_looks_and_are_what_was_stored() -> None:
    found = loaded()
    assert isinstance(found.profiles, reference.Packed)
    assert all(isinstance(one, str) for one in found.profiles.stored or [None])
    assert len(found.profiles) == len(found.windows)
    assert found.profiles[1:3][0] is found.profiles[1]
    assert sum(one.rows for one in found.profiles) == found.total.rows == STORED["rows"]
    assert found.to_bytes() == loaded().to_bytes()


def test_what_belongs_to_single_windows_is_given_up_once_unpacked_where_it_can_be_had_again() -> None:
    asked, body = [], base64.b64decode(STORED["bytes"])

    def again() -> bytes:
        asked.append(len(body))
        return body

    found = Reference.from_bytes(body, again=again)
    assert isinstance(found.profiles, reference.Packed)
    assert isinstance(found.outcomes, reference.Packed)
    assert found.profiles.stored is not None
    first = list(found.profiles)
    assert found.profiles.stored is None
    assert found.total.rows == STORED["rows"]
    assert not asked
    assert [one.to_bytes() for one in found.profiles.unpacked()] == [one.to_bytes() for one in first]
    assert found.to_bytes() == loaded().to_bytes()
    assert len(asked) == 1


def test_what_is_kept_of_a_training_profile_does_not_keep_it_in_memory() -> None:
    asked = []

    @per_reference
    def rows(one: Reference) -> int:
        asked.append(one.id)
        return one.rows

    found = loaded()
    assert rows(found) == STORED["rows"]
    seen = weakref.ref(found)
    del found
    gc.collect()
    assert seen() is None
    assert rows(loaded()) == STORED["rows"]
    assert len(asked) == 1


# --- formats ---


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


def test_training_profiles_written_by_format_3_keep_their_embeddings_and_words() -> None:
    golden = json.loads((GOLDEN / "reference_3.json").read_text())
    found = Reference.from_bytes(base64.b64decode(golden["bytes"]))
    assert (found.version, found.rows, len(found.windows)) == ("3", golden["rows"], golden["windows"])
    assert found.layout.digest.hex() == golden["layout"]
    (embedding,) = found.layout.embeddings
    assert (embedding.name, embedding.center.tolist()) == ("vector", golden["center"])
    assert found.total.sums[found.layout.embedded_at :].tolist() == pytest.approx(golden["moments"], rel=1e-12)
    (column,) = found.layout.columns
    assert isinstance(column, NumericColumn)
    assert column.words == tuple(golden["words"])


@pytest.mark.parametrize(
    ("kind", "version"),
    [("profile", profile.FORMAT), ("outcome", outcome.FORMAT), ("reference", reference.FORMAT)],
)
def test_every_format_that_was_ever_written_has_its_golden_file(kind: str, version: int) -> None:
    for number in range(1, version + 1):
        assert list(GOLDEN.glob(f"{kind}_{number}*.json")), f"write tests/golden/{kind}_{number}.json with this format"
