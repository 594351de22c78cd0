"""The oracle of the case studies: what was best to do, and which losses count as real."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from benchmarks.advice.__main__ import spells_of
from benchmarks.advice.drifts import KINDS, stream_of
from benchmarks.cases.oracle import Gained, Hindsight
from monitor.recommendation import Action

GOOD, BETTER = Gained(mean=0.1, error=0.01), Gained(mean=0.2, error=0.01)
UNSURE, SMALL = Gained(mean=0.2, error=0.15), Gained(mean=0.005, error=0.001)


def seen(worse: float = 5.0, **gains: Gained) -> Hindsight:
    return Hindsight(number=27, at=datetime(2024, 1, 1, tzinfo=UTC), before=0.5, champion=0.5, worse=worse, gains=gains)


@pytest.mark.parametrize(
    ("recalibrated", "expanding", "action"),
    [
        (GOOD, GOOD, Action.RECALIBRATE),
        (GOOD, BETTER, Action.RETRAIN),  # less than two thirds of it
        (UNSURE, GOOD, Action.RETRAIN),
        (GOOD, UNSURE, Action.RECALIBRATE),
        (UNSURE, UNSURE, None),
        (SMALL, SMALL, None),
    ],
)
def test_what_is_favoured_pays_and_is_the_cheapest_that_does(
    recalibrated: Gained, expanding: Gained, action: Action | None
) -> None:
    one = seen(recalibrated=recalibrated, expanding=expanding)
    assert one.action is action
    assert one.paid(Action.RECALIBRATE) is recalibrated.pays(0.5)
    assert one.paid(Action.RETRAIN) is expanding.pays(0.5)


def test_a_loss_is_real_where_labels_show_it_and_something_pays() -> None:
    assert seen(recalibrated=GOOD).real_loss
    assert not seen(worse=2.5, recalibrated=GOOD).real_loss
    assert not seen(recalibrated=UNSURE).real_loss


def test_a_spell_is_three_real_losses_in_a_row_or_more() -> None:
    bad, fine = seen(recalibrated=GOOD), seen(recalibrated=UNSURE)
    assert list(spells_of([bad, bad, fine, bad, bad, bad, bad, fine])) == [(3, 6)]
    assert list(spells_of([bad] * 3)) == [(0, 2)]


def test_made_up_streams_differ_in_nothing_before_the_drift() -> None:
    calm, drifted = stream_of(None, 11), stream_of(KINDS[-1], 11)
    before = calm.place < calm.trained
    assert calm.batch.label is not None
    assert drifted.batch.label is not None
    assert (calm.batch.label[before] == drifted.batch.label[before]).all()
    assert not (calm.batch.label[~before] == drifted.batch.label[~before]).all()
