"""Traceability: rows without an id, and labels without a prediction, against what is usual."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from monitor.check import Evidence, Finding, Judgement, Severity, Stage, Verdict
from monitor.checks.traceability import Traceability
from monitor.outcome import OutcomeLayout, OutcomeProfile, Task
from monitor.source import Reading
from monitor.window import Window, WindowSpec
from tests.unit.checks.stream import reference

DAY = timedelta(days=1)
OUTCOME = OutcomeProfile.empty(
    OutcomeLayout(task=Task.BINARY, score_edges=np.linspace(0, 1, 11), label_edges=np.array([0.5]))
)
TRAINED = reference(days=2, rows=50)
WINDOW = Window(start=datetime(2024, 4, 1, tzinfo=UTC), end=datetime(2024, 4, 2, tzinfo=UTC))


def judge(stage: Stage, memory: Any = None, *, outcome: bool = True, **reading: Any) -> Judgement:
    evidence = Evidence(
        model="m",
        stage=stage,
        window=WINDOW,
        spec=WindowSpec(width=DAY),
        maybe_reference=TRAINED,
        reading=Reading(**reading),
        maybe_outcome=OUTCOME if outcome else None,
        memories={} if memory is None else {"traceability": memory},
    )
    return Traceability().run(evidence)


def ids(missing: int, rows: int = 1000) -> Finding:
    (finding,) = judge(Stage.INPUTS, rows=rows, details={"null_ids": missing}).findings
    return finding


def labels(shares: Sequence[float]) -> list[Finding]:
    """Return the findings of windows of a hundred labels of which these shares belong to no prediction."""
    memory: Any = None
    found: list[Finding] = []
    for share in shares:
        orphans = round(100 * share)
        judgement = judge(Stage.OUTCOMES, memory, labels=100 - orphans, labels_without_prediction=orphans)
        memory = judgement.memory
        found += judgement.findings
    return found


@pytest.mark.parametrize(
    ("missing", "verdict", "severity"),
    [
        (0, Verdict.OK, Severity.INFO),
        (9, Verdict.OK, Severity.INFO),
        (10, Verdict.WARNING, Severity.INFO),
        (30, Verdict.WARNING, Severity.WARNING),
        (1000, Verdict.WARNING, Severity.WARNING),
    ],
)
def test_rows_without_an_id_are_flagged_by_their_share(missing: int, verdict: Verdict, severity: Severity) -> None:
    finding = ids(missing)
    assert (finding.verdict, finding.severity, finding.value) == (verdict, severity, missing / 1000)
    assert finding.message == (
        f"{missing} of 1000 rows have no id ({missing / 1000:.1%}); no label can be joined to them"
        if missing >= 10
        else ""
    )


def test_a_window_without_rows_says_nothing_about_ids() -> None:
    assert judge(Stage.INPUTS).findings == []


def test_labels_without_prediction_are_judged_against_the_last_windows_only() -> None:
    assert {finding.verdict for finding in labels([0.4] * 10)} == {Verdict.INCONCLUSIVE}
    assert labels([0.4] * 10 + [0.4])[-1].verdict is Verdict.OK
    usual = labels([0.4] * 10 + [0.46])[-1]
    assert (usual.verdict, usual.severity) == (Verdict.WARNING, Severity.INFO)
    lost = labels([0.0] * 10 + [1.0])[-1]
    assert (lost.verdict, lost.severity) == (Verdict.WARNING, Severity.WARNING)
    assert lost.message.startswith("100 of 100 labels belong to no logged prediction (100%, at most 0%")


def test_windows_without_labels_neither_judge_nor_forget() -> None:
    memory = {"orphans": [0.0] * 10}
    judgement = judge(Stage.OUTCOMES, memory)
    assert (judgement.findings, judgement.memory) == ((), memory)
    assert judge(Stage.INPUTS, memory, rows=10).memory == memory


def test_labels_that_nobody_joined_are_no_evidence() -> None:
    """A training profile without labels leaves nothing to join."""
    assert judge(Stage.OUTCOMES, labels_without_prediction=3, outcome=False).findings == ()


def test_only_the_rows_that_were_looked_at_are_judged() -> None:
    (finding,) = judge(Stage.INPUTS, rows=1000, details={"null_ids": 5, "rows_counted": 50}).findings
    assert (finding.value, finding.n_current) == (0.1, 50)
    assert judge(Stage.INPUTS, rows=1000, details={"null_ids": 0, "rows_counted": 0}).findings == []


def test_the_memory_is_bounded() -> None:
    memory: Any = None
    for _ in range(100):
        memory = judge(Stage.OUTCOMES, memory, labels=5).memory
    assert len(memory["orphans"]) == 28


def test_shares_are_shares() -> None:
    for wrong in ({"missing_ids": 0}, {"orphans": 1.5}):
        with pytest.raises(ValueError, match="it is a share between 0 and 1"):
            Traceability(**wrong)
