"""Traceability: rows that nobody can name, and labels whose prediction nobody logged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from monitor.check import (
    Cause,
    Evidence,
    Finding,
    Judgement,
    Part,
    ReferenceKind,
    Severity,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)

TRAILING, ENOUGH = 28, 10  # windows that are remembered, and how many are needed before anything is compared
SERIOUS = 3.0  # times what is flagged, from which it is a message


@register("traceability")
@dataclass(frozen=True, kw_only=True)
class Traceability:
    """Watches whether a request can be followed from its inputs to its label.

    ``missing_ids`` is the share of rows without an id that is flagged: none of them can ever get its label.
    ``orphans`` is how many points the share of labels without a prediction may rise above the highest of the last 28
    windows. It has no absolute limit, because a table of outcomes may well know more than the model was asked. Three
    times as much is a message. Ids that repeat are the business of ``quality``.
    """

    missing_ids: float = 0.01
    orphans: float = 0.05

    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.INPUTS, Stage.OUTCOMES})

    def __post_init__(self) -> None:
        for name in ("missing_ids", "orphans"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"traceability.{name} is {value}; it is a share between 0 and 1")

    def run(self, evidence: Evidence) -> Judgement:
        """Judge the ids of one window, or its labels; the memory is 28 shares."""
        _ = evidence.reference  # without one nothing is judged: a model's first hours are for setting it up
        memory = evidence.memories.get("traceability") or {}
        shares: list[float] = list(memory.get("orphans", ()))
        if evidence.stage is Stage.INPUTS:
            return Judgement(findings=self._ids(evidence), memory=memory)
        reading = evidence.reading
        labels = reading.labels + reading.labels_without_prediction
        if not labels or evidence.maybe_outcome is None:
            return Judgement(memory=memory)  # no label, or none that anybody joined, is no evidence
        share = reading.labels_without_prediction / labels
        finding = self._orphans(share, reading.labels_without_prediction, labels, shares)
        return Judgement(findings=[finding], memory={"orphans": [*shares, share][-TRAILING:]})

    def _ids(self, evidence: Evidence) -> list[Finding]:
        details = evidence.reading.details
        rows = int(details.get("rows_counted", evidence.reading.rows))
        if not rows:
            return []
        count = int(details.get("null_ids", 0))
        share = count / rows
        return [
            _finding(
                subject="request ids",
                statistic="share without id",
                share=share,
                limit=self.missing_ids,
                serious=SERIOUS * self.missing_ids,
                rows=rows,
                message=f"{count} of {rows} rows have no id ({share:.1%}); no label can be joined to them",
            )
        ]

    def _orphans(self, share: float, count: int, labels: int, shares: Sequence[float]) -> Finding:
        if len(shares) < ENOUGH:
            return Finding(
                check="traceability",
                part=Part.OUTCOME,
                subject="labels",
                statistic="share without prediction",
                verdict=Verdict.INCONCLUSIVE,
                value=share,
                family="traceability:labels",
                n_current=labels,
                reason=f"{len(shares)} of {ENOUGH} windows to compare with",
            )
        usual = max(shares)
        return _finding(
            part=Part.OUTCOME,
            subject="labels",
            statistic="share without prediction",
            share=share,
            limit=usual + self.orphans,
            serious=usual + SERIOUS * self.orphans,
            rows=labels,
            reference=usual,
            kind=ReferenceKind.TRAILING,
            message=f"{count} of {labels} labels belong to no logged prediction ({share:.0%}, "
            f"at most {usual:.0%} in the last {len(shares)} windows); predictions are lost, or ids have changed",
        )


def _finding(
    *,
    subject: str,
    statistic: str,
    share: float,
    limit: float,
    serious: float,
    rows: int,
    message: str,
    part: Part = Part.INPUT,
    reference: float | None = None,
    kind: ReferenceKind = ReferenceKind.ABSOLUTE,
) -> Finding:
    bad = share >= limit
    more: dict[str, Any] = {} if reference is None else {"reference_value": reference}
    return Finding(
        check="traceability",
        part=part,
        subject=subject,
        statistic=statistic,
        verdict=Verdict.WARNING if bad else Verdict.OK,
        severity=Severity.WARNING if share >= serious else Severity.INFO,
        reference_kind=kind,
        family="traceability:labels" if part is Part.OUTCOME else "traceability:ids",
        cause=Cause.DATA,
        value=share,
        threshold=limit,
        threshold_source=ThresholdSource.DEFAULT,
        n_current=rows,
        message=message if bad else "",
        **more,
    )
