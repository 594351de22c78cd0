"""Running checks: one that breaks or lacks evidence is told apart, and never stops another."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from monitor.check import Evidence, Finding, Judgement, Part, Stage, Verdict, run_checks
from monitor.window import CalendarUnit, Window, WindowSpec

START = datetime(2024, 5, 6, tzinfo=UTC)
EVIDENCE = Evidence(
    model="m",
    stage=Stage.INPUTS,
    window=Window(start=START, end=START + timedelta(days=1)),
    spec=WindowSpec(calendar=CalendarUnit.DAY),
    memories={"broken": [1, 2], "blind": [3]},
)


@dataclass(frozen=True, kw_only=True)
class Fine:
    stages = frozenset({Stage.INPUTS})

    def run(self, evidence: Evidence) -> Judgement:
        ok = Finding(check="fine", part=Part.INPUT, subject="m", statistic="rows", verdict=Verdict.OK)
        return Judgement(findings=(ok,), memory=[4])


class Broken(Fine):
    def run(self, evidence: Evidence) -> Judgement:
        raise ZeroDivisionError("division by zero")


class Blind(Fine):
    def run(self, evidence: Evidence) -> Judgement:
        evidence.current  # noqa: B018  # asking is what fails
        return Judgement()


class Elsewhere(Fine):
    stages = frozenset({Stage.OUTCOMES})


def test_a_broken_check_is_inconclusive_keeps_its_memory_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        found = dict(run_checks({"broken": Broken(), "fine": Fine()}, EVIDENCE))
    assert [f.verdict for f in found["broken"].findings] == [Verdict.INCONCLUSIVE]
    assert (found["broken"].memory, found["fine"].memory) == ([1, 2], [4])
    assert [(r.message, r.exc_info is not None) for r in caplog.records] == [("a check failed", True)]


def test_missing_evidence_is_inconclusive_and_no_fault() -> None:
    (finding,) = dict(run_checks({"blind": Blind()}, EVIDENCE))["blind"].findings
    assert (finding.verdict, finding.reason, finding.family) == (Verdict.INCONCLUSIVE, "missing evidence", "")


def test_a_check_runs_in_its_own_stages_only() -> None:
    assert not dict(run_checks({"elsewhere": Elsewhere()}, EVIDENCE))
