from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from monitor.alert import Alert, AlertState
from monitor.check import Finding, Part, Severity, Stage, Verdict
from monitor.recommendation import Action, Occasion, Recommendation, RecommendationState
from monitor.shortage import Shortage, advise_on_labels
from tests.unit.outcomes import TRAINED, evidence, window

LONG = timedelta(days=30)
SCORE = Alert(
    key="s", episode=1, model="flights", family="score", severity=Severity.WARNING, state=AlertState.FIRING
)  # fmt: skip


def estimate(value: float = 0.6, low: float | None = 0.55) -> Finding:
    return Finding(
        check="estimated_performance", part=Part.PREDICTION, subject="prediction", statistic="estimated_log_loss",
        verdict=Verdict.OK, value=value, reference_value=0.5, interval_low=low, reason="assumes this and that",
    )  # fmt: skip


def window_of(
    day: int,
    memories: Mapping[str, Any],
    found: Finding,
    standing: tuple[Recommendation, ...] = (),
    matures_after: timedelta | None = LONG,
    alerts: tuple[Alert, ...] = (SCORE,),
) -> Shortage:
    ids = itertools.count(day)
    return advise_on_labels(
        evidence(TRAINED + day, None, memories, stage=Stage.INPUTS),
        [found],
        alerts,
        standing,
        Occasion(
            model="flights",
            model_version="1",
            window=window(TRAINED + day),
            now=window(TRAINED + day).end,
            new_id=lambda: UUID(int=next(ids)),
        ),
        matures_after,
    )


def days(number: int, found: Finding, **facts: Any) -> tuple[list[Recommendation], Mapping[str, Any]]:
    memories: Mapping[str, Any] = {}
    said: list[Recommendation] = []
    for day in range(number):
        got = window_of(day, memories, found, **facts)
        memories = {"shortage": got.memory}
        said += got.recommendations
        if said:
            facts = {**facts, "standing": (said[-1],)}
    return said, memories


def test_labels_are_asked_for_once_when_the_estimate_is_worse_and_they_stay_away() -> None:
    assert days(2, estimate())[0] == []
    (advice,) = days(10, estimate())[0]
    assert (advice.action, advice.state) == (Action.GET_LABELS, RecommendationState.OPEN)
    assert advice.window_start == window(TRAINED + 2).start
    assert "log loss of 0.6 is estimated (at least 0.55; 0.5 in training), while labels take 30 days" in advice.why
    assert "assumes this and that" in advice.why_not
    (unlabelled,) = days(3, estimate(), matures_after=None)[0]
    assert "there are no labels" in unlabelled.why


@pytest.mark.parametrize(
    ("found", "facts"),
    [
        (estimate(), {"matures_after": timedelta(days=2)}),  # realised figures come soon enough
        (estimate(low=0.45), {}),  # it may be what it was
        (estimate(0.51, 0.505), {}),  # it does not matter
        (estimate(), {"alerts": ()}),  # the score is where it was
        (estimate(), {"alerts": (replace(SCORE, state=AlertState.RESOLVED),)}),
    ],
)
def test_without_need_nobody_is_asked_for_labels(found: Finding, facts: dict[str, Any]) -> None:
    assert days(10, found, **facts)[0] == []


def test_the_advice_ends_with_the_estimate_and_what_was_dismissed_is_not_said_again() -> None:
    (advice,), memories = days(4, estimate())
    for day in range(4, 7):
        got = window_of(day, memories, estimate(0.5, 0.45), standing=(advice,))
        memories = {"shortage": got.memory}
    (over,) = got.recommendations
    assert over.state is RecommendationState.SUPERSEDED
    assert "again" in over.extras["closed"]
    dismissed = replace(advice, state=RecommendationState.DISMISSED)
    assert days(10, estimate(), standing=(dismissed,))[0] == []
