"""Windows of decided and labelled rows, judged in order by the real check and the real decision."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from monitor.alert import Alert
from monitor.check import Budget, Evidence, Finding, ReferenceKind, Stage
from monitor.checks.fairness import Fairness
from monitor.decision import Rules, State, decide
from monitor.notification import Notification
from monitor.outcome import OutcomeProfile, outcomes_of
from monitor.reference import Reference, cut_timeline
from monitor.source import Batch
from monitor.window import CalendarUnit, Window, WindowSpec

SPEC = WindowSpec(calendar=CalendarUnit.MONTH)
BUDGET = Budget(per_month=0.5, decisions_per_month=1)


@dataclass(kw_only=True)
class Watched:
    """What came of all windows: messages, findings of the last window, and how many windows had a breach."""

    windows: int = 0
    flagged: int = 0
    messages: list[Notification] = field(default_factory=list)
    findings: Sequence[Finding] = ()

    def of(self, statistic: str, slice_: Mapping[str, str]) -> Finding | None:
        """Return the last comparison of a group with the reference group."""
        kind = ReferenceKind.GROUP
        found = [f for f in self.findings if f.statistic == statistic and dict(f.slice) == slice_]
        return next((f for f in found if f.reference_kind is kind), None)


def cut(reference: Reference, rows: Batch) -> list[tuple[Window, OutcomeProfile]]:
    """Return the outcomes of each month with rows."""
    assert reference.outcome_layout is not None
    windows, place = cut_timeline(rows.time, SPEC)
    return list(zip(windows, outcomes_of(reference.outcome_layout, rows, place, len(windows)), strict=True))


def watch(check: Fairness, reference: Reference, months: Sequence[tuple[Window, OutcomeProfile]]) -> Watched:
    """Judge every month with what was remembered after the one before."""
    seen = Watched(windows=len(months))
    memories: Mapping[str, Any] = {}
    alerts: dict[str, Alert] = {}
    for window, outcome in months:
        evidence = Evidence(
            model=reference.model,
            stage=Stage.OUTCOMES,
            window=window,
            spec=SPEC,
            budget=BUDGET,
            maybe_reference=reference,
            maybe_outcome=outcome,
            memories=memories,
        )
        state = State(alerts=tuple(alerts.values()))
        decision = decide(evidence, {"fairness": check}, state, Rules(), now=window.end, new_id=uuid.uuid4)
        memories = decision.memories
        alerts |= {alert.key: alert for alert in decision.alerts}
        seen.findings = decision.findings
        seen.flagged += any(f.family and f.verdict == "warning" for f in seen.findings)
        seen.messages += decision.notifications
    return seen
