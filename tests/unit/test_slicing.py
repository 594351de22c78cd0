from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from monitor.outcome import OutcomeLayout, OutcomeProfile, Task, outcomes_of
from monitor.slicing import MISSING, MOST_GROUPS, OTHER, Slicing, freeze_slicing
from monitor.source import Batch, CategoryValues, Floats

CITIES = ("Rome", "Oslo", "Bern", "Nuuk")


def values(codes: list[int], categories: tuple[str, ...] = CITIES) -> CategoryValues:
    return CategoryValues(codes=np.array(codes, np.int32), categories=categories)


def rows(seed: int, n: int = 600) -> Batch:
    rng = np.random.default_rng(seed)
    score: Floats = np.where(rng.random(n) < 0.02, np.nan, rng.random(n))
    label = np.where(rng.random(n) < 0.3, np.nan, (rng.random(n) < np.nan_to_num(score)).astype(float))
    return Batch(
        rows=n,
        time=np.zeros(n, np.int64),
        columns={},
        score=score,
        label=label,
        attributes={
            "city": values(rng.integers(-1, 4, n).tolist()),
            "sex": values(rng.integers(0, 2, n).tolist(), ("m", "f")),
        },
    )


def layout(*slicings: Slicing) -> OutcomeLayout:
    edges = np.linspace(0.05, 0.95, 19)
    return OutcomeLayout(
        task=Task.BINARY, score_edges=edges, label_edges=np.zeros(0), threshold=0.5, slicings=tuple(slicings)
    )


SLICED = layout(
    Slicing(("city",), (("Oslo",), ("Rome",), (MISSING,))), Slicing(("sex", "city"), (("m", "Oslo"), ("f", "Oslo")))
)


def test_rare_groups_are_folded_into_one_and_a_missing_value_is_a_group() -> None:
    cities = values([0] * 60 + [1] * 200 + [2] * 49 + [-1] * 50)
    found = freeze_slicing(["city"], {"city": cities}, 359)
    assert found.groups == (("Oslo",), ("Rome",), (MISSING,))
    assert found.folded == 1
    assert found.slice_of(found.other) == {"city": OTHER}
    many = values(list(range(1000)) * 60, tuple(str(i) for i in range(1000)))
    assert len(freeze_slicing(["city"], {"city": many}, 60_000).groups) == MOST_GROUPS


def test_a_group_has_the_profile_of_its_own_rows_and_all_groups_that_of_the_whole() -> None:
    batch = rows(1)
    found = OutcomeProfile.of(SLICED, batch)
    cities = [MISSING if code < 0 else CITIES[code] for code in batch.attributes["city"].codes]
    assert batch.score is not None
    assert batch.label is not None
    for city in ("Oslo", "Rome", MISSING):
        own = np.array([name == city for name in cities])
        group = found.group({"city": city})
        assert group is not None
        assert group.outcome.rows == own.sum()
        assert group.decided == np.isfinite(batch.score[own]).sum()
        assert group.selected == (batch.score[own] >= 0.5).sum(), "with and without a label"
        labelled = own & np.isfinite(batch.score) & np.isfinite(batch.label)
        assert group.outcome.labelled == labelled.sum()
        assert group.outcome.mean("residual") == pytest.approx((batch.label - batch.score)[labelled].mean())
    for number in range(2):
        of_slicing = [group for (at, _), group in found.groups.items() if at == number]
        assert sum(group.outcome.rows for group in of_slicing) == found.rows
        assert np.array_equal(sum(group.outcome.joint for group in of_slicing), found.joint)
    assert found.group({"city": "Atlantis"}) is None


def test_groups_merge_in_any_order_and_survive_bytes() -> None:
    parts = [OutcomeProfile.of(SLICED, rows(seed)) for seed in range(4)]
    one = OutcomeProfile.total(SLICED, parts)
    other = parts[3] + (parts[1] + (parts[0] + parts[2]))
    again = OutcomeProfile.from_bytes(SLICED, one.to_bytes())
    for profile in (other, again):
        assert profile.groups.keys() == one.groups.keys()
        for place, group in one.groups.items():
            assert (profile.groups[place].decided, profile.groups[place].selected) == (group.decided, group.selected)
            assert np.array_equal(profile.groups[place].outcome.joint, group.outcome.joint)
            assert profile.groups[place].outcome.sums == pytest.approx(group.outcome.sums, rel=1e-12)
    assert again.to_bytes() == one.to_bytes()


def test_pieces_of_time_have_the_groups_of_their_own_rows() -> None:
    batch = rows(2, 3000)
    pieces = np.random.default_rng(3).integers(0, 500, batch.rows)  # more groups than are profiled at once
    found = outcomes_of(SLICED, batch, pieces, 500)
    whole = OutcomeProfile.of(SLICED, batch)
    merged = OutcomeProfile.total(SLICED, found)
    assert {place: group.outcome.rows for place, group in merged.groups.items()} == {
        place: group.outcome.rows for place, group in whole.groups.items()
    }


def test_groups_written_by_format_2_load_for_ever() -> None:
    golden = json.loads((Path(__file__).parent.parent / "golden" / "outcome_2_groups.json").read_text())
    known = OutcomeLayout.from_json(golden["layout"])
    assert known.digest.hex() == golden["digest"]
    found = OutcomeProfile.from_bytes(known, base64.b64decode(golden["bytes"]))
    assert found.rows == golden["rows"]
    assert golden["groups"] == {
        f"{slicing}:{place}": [group.decided, group.selected, group.outcome.rows, group.outcome.labelled]
        for (slicing, place), group in found.groups.items()
    }


def test_without_slices_bytes_are_what_they_were() -> None:
    plain = OutcomeProfile.of(layout(), rows(1))
    assert plain.to_bytes()[4:6] == b"\x01\x00", "profiles of earlier versions stay readable, and their ids the same"
    assert not plain.groups
    assert "slicings" not in layout().to_json()
