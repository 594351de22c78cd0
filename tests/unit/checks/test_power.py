"""Power: what one window cannot show is judged over several, and a light that could not have turned is not green."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from monitor.check import Evidence, Finding, Stage, Verdict, checks
from monitor.checks.power import Power
from monitor.reference import SCORE
from tests.unit.checks.stream import SPEC, bad, profile_of, reference, run, shifted, window_of

FEW = 20


def found(check: Power, days: range, change: Any = None, **more: Any) -> Iterator[tuple[int, dict[str, Finding]]]:
    for day, judgement in run(check, "power", days, change, **more):
        yield day, {finding.subject: finding for finding in judgement.findings}


def test_few_rows_are_merged_until_a_shift_that_matters_would_be_seen() -> None:
    trained = reference(rows=FEW)
    days = dict(found(Power(tolerance=0.4), range(56, 84), trained=trained, rows=FEW))
    assert days[56]["plain"].verdict is Verdict.INCONCLUSIVE
    assert "has to be visible" in days[56]["plain"].message
    last = days[83]["plain"]
    assert last.verdict is Verdict.OK
    assert last.details["windows"] > 1
    assert last.reason.startswith(f"judged over the last {last.details['windows']} windows (since ")
    assert last.n_current == FEW * last.details["windows"]
    assert last.minimum_detectable is not None
    assert last.minimum_detectable <= 0.4


def test_a_shift_that_no_single_window_shows_is_found_in_merged_ones() -> None:
    trained = reference(rows=FEW)
    days = dict(found(Power(), range(56, 84), shifted("plain", 6.0), trained=trained, rows=FEW))  # .4 sd
    assert days[83]["plain"].verdict is Verdict.WARNING
    assert "windows (since" in days[83]["plain"].message
    assert days[56]["plain"].verdict is Verdict.INCONCLUSIVE


def test_ordinary_windows_are_ordinary_however_many_are_merged() -> None:
    trained = reference(rows=FEW)
    flagged = [
        (day, finding.subject)
        for seed in (3, 4, 5)
        for day, j in run(Power(), "power", range(56, 84), trained=trained, rows=FEW, seed=seed)
        for finding in bad(j)
    ]
    assert len({subject for _, subject in flagged}) <= 1, flagged


def test_windows_with_rows_enough_are_not_merged_and_not_remembered() -> None:
    for _, judgement in run(Power(tolerance=2.0, score=1.0), "power", range(56, 58)):
        assert not judgement.findings
        assert set(judgement.memory["series"]) <= {SCORE}


def test_a_score_whose_shift_nobody_could_see_is_inconclusive() -> None:
    trained = reference(rows=FEW)
    days = dict(found(Power(score=0.01), range(56, 60), trained=trained, rows=FEW))
    assert days[59][SCORE].verdict is Verdict.INCONCLUSIVE
    assert days[59][SCORE].details["windows"] == 4


def test_outcomes_are_merged_too() -> None:
    trained = reference(rows=FEW)
    days = dict(found(Power(outcome=0.2), range(56, 70), trained=trained, rows=FEW, stage=Stage.OUTCOMES))
    assert days[69]["outcome"].details["windows"] > 1


def test_windows_of_a_suspect_source_are_not_merged_with_ordinary_ones() -> None:
    trained = reference(rows=FEW)
    suspect: dict[str, Any] = {"sudden": {"sources": {"meter": {}}}}
    evidence = Evidence(
        model="shop",
        stage=Stage.INPUTS,
        window=window_of(56),
        spec=SPEC,
        maybe_reference=trained,
        maybe_current=profile_of(trained, 56, rows=FEW),
        memories=suspect,
    )
    assert "temp" not in {finding.subject for finding in Power().run(evidence).findings}


def test_of_very_many_columns_the_most_important_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.checks.power.MOST", 2)
    trained = replace(reference(rows=FEW), importance={"wet": 0.2, "dew": -0.7})
    _, judgement = next(run(Power(), "power", range(56, 57), trained=trained, rows=FEW))
    assert {finding.subject for finding in judgement.findings} - {SCORE} == {"wet", "dew"}


@pytest.mark.parametrize("option", ["tolerance", "score", "outcome"])
def test_a_tolerance_is_above_zero(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} is 0.0; it must be above 0"):
        checks.build("power", {option: 0})
