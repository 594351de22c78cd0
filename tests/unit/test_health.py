"""Rules of liveness: a part that is silent for too long is named, whatever the wall clock says."""

from __future__ import annotations

import pytest

from monitor.health import Heartbeats


def test_a_part_that_never_gave_a_sign_counts_from_the_start() -> None:
    times = iter([100.0, 159.0, 161.0])
    beats = Heartbeats(limits={"dispatcher": 60}, clock=lambda: next(times))
    assert beats.health().is_alive
    assert beats.health().reasons == ("The dispatcher has given no sign of life for 61 seconds, 60 are allowed.",)


def test_a_sign_of_an_unknown_part_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="known are dispatcher"):
        Heartbeats(limits={"dispatcher": 60}).beat("dispatchr")
