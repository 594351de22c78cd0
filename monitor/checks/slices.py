"""Performance by slice: how right the predictions are for each group of rows that is watched apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from monitor.check import Costs, Evidence, Judgement, Performance, Stage, Verdict, register
from monitor.memo import per_reference
from monitor.metric import Metric, metrics_of
from monitor.outcome import Group, Task
from monitor.reference import Reference
from monitor.stats.classification import ratio, wilson
from monitor.treatment import Rate, estimate, sums_of

FEWEST = 30  # labels of a group, below which its figures are called inconclusive
SHARES = {"selection_rate": Rate.SELECTION, "false_positive_rate": Rate.FPR, "false_negative_rate": Rate.FNR}


@register("slices")
@dataclass(frozen=True, kw_only=True)
class Slices:
    """Stores the performance of each group of ``source.slices`` with intervals, beside the group's own in training.

    It alerts nobody; a difference between groups is what ``fairness`` judges. Figures of a group with fewer than
    ``fewest`` labels are marked inconclusive.
    """

    fewest: int = FEWEST

    def __post_init__(self) -> None:
        if self.fewest < 1:
            raise ValueError(f"slices.fewest is {self.fewest}; it is a number of rows, at least 1")

    @property
    def stages(self) -> frozenset[Stage]:
        return frozenset({Stage.OUTCOMES})

    def run(self, evidence: Evidence) -> Judgement:
        layout = evidence.reference.outcome_layout
        if layout is None or not layout.slicings:
            return Judgement()
        trained = _trained(evidence.reference)
        rows: list[Performance] = []
        for (number, place), group in sorted(evidence.outcome.groups.items()):
            slice_ = layout.slicings[number].slice_of(place)
            usual = trained.get((number, place), {})
            rows += self._rows(group, slice_, usual, evidence.costs)
        return Judgement(performance=rows)

    def _rows(
        self, group: Group, slice_: Mapping[str, str], usual: Mapping[str, Metric], costs: Costs | None
    ) -> Iterator[Performance]:
        targets = {} if costs is None else costs.good_enough
        for metric in figures_of(group, costs).values():
            target = targets.get(metric.name)
            verdict = Verdict.OK
            if group.outcome.labelled < self.fewest or math.isnan(metric.value):
                verdict = Verdict.INCONCLUSIVE
            elif target is not None and costs is not None:
                kept = metric.value <= target if costs.at_most else metric.value >= target
                verdict = Verdict.OK if kept else Verdict.WARNING
            yield Performance(
                metric=metric.name,
                value=_none(metric.value),
                interval_low=_none(metric.low),
                interval_high=_none(metric.high),
                reference_value=_none(usual[metric.name].value) if metric.name in usual else None,
                target=target,
                verdict=verdict,
                slice=slice_,
            )


def figures_of(group: Group, costs: Costs | None = None) -> dict[str, Metric]:
    """Return the figures of one group by name: those of all rows, and of a binary classifier the rates of decisions."""
    found = metrics_of(group.outcome, costs)
    if group.outcome.layout.task is Task.BINARY:
        sums = sums_of(group)
        for name, rate in SHARES.items():
            got = estimate(rate, sums)
            low, high = wilson(0.0 if math.isnan(got.value) else got.value * got.n, got.n)
            found[name] = Metric(name=name, value=got.value, low=low, high=high)
    covered = group.outcome
    low, high = wilson(covered.labelled, covered.rows)
    found["label_coverage"] = Metric(
        name="label_coverage", value=ratio(covered.labelled, covered.rows), low=low, high=high
    )
    return found


@per_reference
def _trained(reference: Reference) -> dict[tuple[int, int], dict[str, Metric]]:
    groups = {} if reference.grouped is None else reference.grouped.groups
    return {place: figures_of(group) for place, group in groups.items()}


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value
