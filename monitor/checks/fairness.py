"""Fairness: whether a model treats groups of people alike, by rates with intervals and criteria by name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from monitor.check import (
    Evidence,
    Finding,
    Judgement,
    MissingEvidenceError,
    Part,
    ReferenceKind,
    Severity,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)
from monitor.outcome import OutcomeLayout, OutcomeProfile, Task
from monitor.reference import Reference
from monitor.slicing import FEWEST_ROWS, Slicing, name_slice
from monitor.source import Floats
from monitor.stats.classification import Z95
from monitor.stats.contrast import Comparison, Estimate, compare, overdispersion
from monitor.stats.multiplicity import adjusted
from monitor.treatment import (
    CRITERIA,
    MEANS,
    SUMS,
    WORDS,
    Rate,
    base_rate,
    estimate,
    estimates,
    rates_expected,
    rates_had,
    rates_of,
    sums_of,
)

TOLERANCE = 0.1
FEWEST_OF_WINDOW = 10  # people in a window, for it to say how much windows differ
FAMILY = "fairness"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One rate of one group beside that of the group it is compared with."""

    slicing: Slicing
    place: int
    rate: Rate
    kind: ReferenceKind
    group: Estimate
    other: Estimate
    of: Comparison
    bases: tuple[float, float] = (math.nan, math.nan)
    p_adjusted: float = math.nan


@register("fairness")
@dataclass(frozen=True, kw_only=True)
class Fairness:
    """Compares the groups of ``slices`` (some of ``source.slices``) by what a model decides about them and how it errs.

    Selection rate, TPR, FPR, TNR, FNR, precision, AUC and calibration of each group are stored beside those of the
    reference group and beside its own in training, as differences and ratios with intervals. Of many classes accuracy
    and calibration, and the rates of decisions where ``favourable`` names the class that is good for people; of
    regressions absolute error and calibration, in residual standard deviations of training. ``metrics`` names what
    alerts: rates, or the criteria demographic_parity, equal_opportunity, equalised_odds, predictive_parity; by default
    equalised_odds, else accuracy, else absolute_error. An alert
    needs a difference that is surely more than ``tolerance``, after correction for all groups and rates. The newest
    ``windows`` windows are added up. ``reference`` is attribute → value of the group that others are compared with; by
    default the largest of training. A rate of fewer than ``fewest`` people is not judged.
    """

    slices: Sequence[str | Sequence[str]] = ()
    metrics: Sequence[str] = ()
    tolerance: float = TOLERANCE
    reference: Mapping[str, str] = field(default_factory=dict)
    fewest: int = 50
    windows: int = 28
    favourable: str = ""

    def __post_init__(self) -> None:
        for name in self.metrics:
            try:
                rates_of(name)
            except ValueError:
                known = ", ".join([*CRITERIA, *Rate])
                raise ValueError(f'fairness.metrics names "{name}"; known are {known}') from None
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"fairness.tolerance is {self.tolerance}; it is a difference of rates, from 0 to below 1")
        if self.fewest < 10:
            raise ValueError(f"fairness.fewest is {self.fewest}; of fewer than 10 people a rate says nothing")
        if not 1 <= self.windows <= 366:
            raise ValueError(f"fairness.windows is {self.windows}; it is a number of windows from 1 to 366")

    @property
    def stages(self) -> frozenset[Stage]:
        return frozenset({Stage.OUTCOMES})

    @property
    def judged(self) -> frozenset[Rate]:
        """The rates that alert."""
        return frozenset(rate for name in self.metrics for rate in rates_of(name))

    def run(self, evidence: Evidence) -> Judgement:
        if not self.slices:
            return Judgement()
        reference, layout = evidence.reference, evidence.reference.outcome_layout
        if layout is None or reference.grouped is None:
            raise MissingEvidenceError(
                f"the training profile knows no slices; run `monitor profile {evidence.model}` again, with labels"
            )
        return self._fitted(reference.task, layout)._judge(evidence, reference, layout, reference.grouped)

    def _fitted(self, task: Task, layout: OutcomeLayout) -> Fairness:
        """Return the check with the metrics that alert for this task; raises MissingEvidenceError where one is none."""
        if self.favourable and self.favourable not in layout.classes:
            known = (
                f"the classes are {', '.join(layout.classes)}" if layout.classes else f"a {task} model has no classes"
            )
            raise MissingEvidenceError(f'fairness.favourable is "{self.favourable}", but {known}')
        had = rates_had(task, self.favourable)
        for name in self.metrics:
            if not set(rates_of(name)) <= set(had):
                hint = "; name the favourable class" if task is Task.MULTICLASS and not self.favourable else ""
                raise MissingEvidenceError(
                    f"fairness.metrics names {name}, which a {task} model does not have; it has {', '.join(had)}{hint}"
                )
        return replace(self, metrics=tuple(self.metrics) or rates_expected(task, self.favourable))

    def _judge(
        self, evidence: Evidence, reference: Reference, layout: OutcomeLayout, grouped: OutcomeProfile
    ) -> Judgement:
        memory: Mapping[str, Any] = evidence.memories.get("fairness") or {}
        kept = memory.get("reference") == reference.id and memory.get("sums") == [*SUMS, self.favourable]
        series = list(memory.get("windows", ())) if kept else []
        start = evidence.window.start
        series = [one for one in series if datetime.fromisoformat(one["end"]) <= start]  # sliding ones overlap
        numbers = {slicing.attributes: number for number, slicing in enumerate(layout.slicings)}
        wanted = [(name,) if isinstance(name, str) else tuple(name) for name in self.slices]
        known = [numbers[attributes] for attributes in wanted if attributes in numbers]
        series = [*series, _remembered(evidence, known, self.favourable)][-self.windows :]
        findings: list[Finding] = []
        compared: list[Compared] = []
        faults = {fault.column: fault.message for fault in evidence.reading.faults}
        for attributes in wanted:
            broken = next((faults[name] for name in attributes if name in faults), None)
            if attributes not in numbers or broken is not None:
                unknown = (
                    f"the training profile has no slices by {' × '.join(attributes)}; "
                    f"run `monitor profile {evidence.model}` again"
                )
                findings.append(_unknown(" × ".join(attributes), broken or unknown))
                continue
            number = numbers[attributes]
            slicing = layout.slicings[number]
            if self._base(slicing) is None:
                missing = f"no group by {slicing.name} with {FEWEST_ROWS} training rows fits fairness.reference"
                findings.append(_unknown(slicing.name, f"{missing}; name one of training's groups there"))
            compared += self._compare(slicing, number, series, grouped)
        findings += self._findings(compared, evidence.budget.q)
        return Judgement(
            findings=findings, memory={"reference": reference.id, "sums": [*SUMS, self.favourable], "windows": series}
        )

    def _compare(
        self, slicing: Slicing, number: int, series: Sequence[Mapping[str, Any]], trained: OutcomeProfile
    ) -> Iterator[Compared]:
        """Yield every rate of every group beside the reference group's, and beside its own in training."""
        parts = {place: np.array([_part(one, number, place) for one in series]) for place in range(slicing.other + 1)}
        sums = {place: windows.sum(axis=0) for place, windows in parts.items()}
        base = self._base(slicing)
        for place in range(slicing.other + 1):
            if not sums[place][0]:
                continue
            group = trained.groups.get((number, place))
            for rate in rates_had(trained.layout.task, self.favourable):
                own = estimate(rate, sums[place])
                if place != base and base is not None:
                    other = estimate(rate, sums[base])
                    spread = _spread(rate, parts[place], parts[base])
                    yield Compared(
                        slicing=slicing,
                        place=place,
                        rate=rate,
                        kind=ReferenceKind.GROUP,
                        group=own,
                        other=other,
                        of=compare(own, other, allowed=self.tolerance, inflation=spread),
                        bases=(base_rate(sums[place]), base_rate(sums[base])),
                    )
                if group is not None and rate in self.judged:
                    before = estimate(rate, sums_of(group, self.favourable))
                    yield Compared(
                        slicing=slicing,
                        place=place,
                        rate=rate,
                        kind=ReferenceKind.TRAINING,
                        group=own,
                        other=before,
                        of=compare(own, before, allowed=self.tolerance),
                    )

    def _base(self, slicing: Slicing) -> int | None:
        """Return the place of the reference group: the one that is named, or the largest of training."""
        named = {name: self.reference[name] for name in slicing.attributes if name in self.reference}
        fitting = [
            place
            for place, group in enumerate(slicing.groups)
            if all(dict(zip(slicing.attributes, group, strict=True))[name] == value for name, value in named.items())
        ]
        return fitting[0] if fitting else None

    def _findings(self, compared: Sequence[Compared], q: float) -> Iterator[Finding]:
        """Yield what is known of every comparison, corrected for how many there are of its kind."""
        enough = [c for c in compared if self._is_enough(c)]
        between = [c for c in enough if c.kind is ReferenceKind.GROUP]
        families = (
            [c for c in between if self._alerts(c)],
            [c for c in between if not self._alerts(c)],
            [c for c in enough if c.kind is ReferenceKind.TRAINING],
        )
        judged: list[Compared] = []
        for family in families:
            p = adjusted([c.of.p_value for c in family])
            judged += [replace(c, p_adjusted=float(value)) for c, value in zip(family, p, strict=True)]
        between = [c for c in judged if c.kind is ReferenceKind.GROUP]
        for c in judged:
            broken = {d.rate for d in between if d.p_adjusted <= q and (d.slicing, d.place) == (c.slicing, c.place)}
            yield self._finding(c, q, broken)
        for c in compared:
            if not self._is_enough(c):
                yield self._too_few(c)
        for slicing in dict.fromkeys(c.slicing for c in between):
            yield from self._criteria(slicing, [c for c in between if c.slicing == slicing], q)

    def _alerts(self, c: Compared) -> bool:
        """Whether a comparison may alert: a rate that is named, of a group that is one."""
        return c.kind is ReferenceKind.GROUP and c.rate in self.judged and c.place != c.slicing.other

    def _is_enough(self, c: Compared) -> bool:
        return min(c.group.n, c.other.n) >= self.fewest and math.isfinite(c.of.p_value)

    def _finding(self, c: Compared, q: float, broken: set[Rate]) -> Finding:
        beyond = c.p_adjusted <= q
        alerts = self._alerts(c)
        criteria = [name for name, rates in CRITERIA.items() if c.rate in rates] if c.rate in broken else []
        return replace(
            self._head(c),
            verdict=Verdict.WARNING if beyond else Verdict.OK,
            severity=Severity.WARNING if beyond and alerts else Severity.INFO,
            family=f"{FAMILY}:{c.slicing.name}" if alerts else "",
            p_value=c.of.p_value,
            p_adjusted=c.p_adjusted,
            minimum_detectable=self.tolerance + (Z95 + 0.84) * c.of.error,
            message=self._sentence(c, criteria) if beyond else "",
            details={
                "ratio": _none(c.of.ratio),
                "ratio_low": _none(c.of.ratio_low),
                "ratio_high": _none(c.of.ratio_high),
                "reference_group": self._reference_name(c),
                "people": _people(c),
                "criteria": criteria,
            },
        )

    def _head(self, c: Compared) -> Finding:
        slice_ = c.slicing.slice_of(c.place)
        return Finding(
            check="fairness",
            part=Part.OUTCOME,
            subject=name_slice(slice_),
            statistic=c.rate.value,
            verdict=Verdict.OK,
            reference_kind=c.kind,
            value=_none(c.group.value),
            reference_value=_none(c.other.value),
            effect=_none(c.of.difference),
            materiality=self.tolerance,
            threshold=self.tolerance,
            threshold_source=ThresholdSource.DEFAULT if self.tolerance == TOLERANCE else ThresholdSource.CONFIGURED,
            interval_low=_none(c.of.low),
            interval_high=_none(c.of.high),
            n_current=c.group.n,
            n_reference=c.other.n,
            direction=int(np.sign(c.of.difference)) if math.isfinite(c.of.difference) else 0,
            slice=slice_,
        )

    def _too_few(self, c: Compared) -> Finding:
        fewer = min(c.group.n, c.other.n)
        return replace(
            self._head(c),
            verdict=Verdict.INCONCLUSIVE,
            reason="too few people",
            message=f"{name_slice(c.slicing.slice_of(c.place))}: {WORDS[c.rate][0]} of {fewer} people; "
            f"fairness needs {self.fewest}",
        )

    def _reference_name(self, c: Compared) -> str:
        if c.kind is ReferenceKind.TRAINING:
            return "training"
        base = self._base(c.slicing)
        return "" if base is None else name_slice(c.slicing.slice_of(base))

    def _sentence(self, c: Compared, criteria: Sequence[str]) -> str:
        words, of_whom, done = WORDS[c.rate]
        other = self._reference_name(c)
        share = c.rate not in MEANS
        unit = 100 if share else 1
        ending = " %" if share else ""
        form = ".1f" if share else ".3f"
        sentence = (
            f"{name_slice(c.slicing.slice_of(c.place))}: {words} {unit * c.group.value:{form}}{ending} of "
            f"{c.group.n:,} people{of_whom} against {unit * c.other.value:{form}}{ending} of {c.other.n:,} in {other}, "
            f"{unit * abs(c.of.difference):{form}}{' points' if share else ''} apart (95 % "
            f"{unit * c.of.low:{form}} to {unit * c.of.high:{form}}; allowed {unit * self.tolerance:g})"
        )
        people = _people(c)
        if people and done:
            sentence += f", {abs(people):,} people {'more' if people > 0 else 'fewer'} {done} than at that rate"
        if criteria:
            said = " and ".join(name.replace("_", " ") for name in criteria)
            sentence += f"; {said} {'does' if len(criteria) == 1 else 'do'} not hold"
        if criteria and all(math.isfinite(base) for base in c.bases):
            sentence += f"; base rates are {100 * c.bases[0]:.0f} % and {100 * c.bases[1]:.0f} %"
        return sentence

    def _criteria(self, slicing: Slicing, between: Sequence[Compared], q: float) -> Iterator[Finding]:
        """Yield one finding on each criterion for the record: the largest difference that it is about."""
        for name, rates in CRITERIA.items():
            about = [c for c in between if c.rate in rates and c.place != slicing.other]
            if not about:
                continue
            worst = max(about, key=lambda c: (c.p_adjusted <= q, abs(c.of.difference)))
            breached = worst.p_adjusted <= q
            said = name_slice(slicing.slice_of(worst.place))
            points = 100 * abs(worst.of.difference)
            yield replace(
                self._head(worst),
                subject=slicing.name,
                statistic=name,
                slice={},
                verdict=Verdict.WARNING if breached else Verdict.OK,
                p_adjusted=worst.p_adjusted,
                message=f"{name.replace('_', ' ')} does not hold for {slicing.name}: {WORDS[worst.rate][0]} of {said} "
                f"is {points:.1f} points from {self._reference_name(worst)}"
                if breached
                else "",
                details={"group": said, "rate": worst.rate.value},
            )


def _remembered(evidence: Evidence, numbers: Sequence[int], favourable: str) -> dict[str, Any]:
    """Return this window's sums of the groups that are compared, as JSON values."""
    groups = {
        f"{number}:{place}": [round(value, 9) for value in sums_of(group, favourable).tolist()]
        for (number, place), group in sorted(evidence.outcome.groups.items())
        if number in numbers
    }
    return {"end": evidence.window.end.isoformat(), "groups": groups}


def _part(window: Mapping[str, Any], number: int, place: int) -> Floats:
    return np.array(window["groups"].get(f"{number}:{place}", np.zeros(len(SUMS))), np.float64)


def _spread(rate: Rate, group: Floats, other: Floats) -> float:
    """Return by how much the difference varies more between windows than between rows."""
    value, error, n = estimates(rate, group)
    beside, its_error, m = estimates(rate, other)
    enough = np.minimum(n, m) >= FEWEST_OF_WINDOW
    return overdispersion((value - beside)[enough], np.hypot(error, its_error)[enough])


def _people(c: Compared) -> int:
    """Return how many people more are counted in the rate than if it were that of the other group."""
    if c.rate in MEANS or not math.isfinite(c.of.difference):
        return 0
    return round(c.of.difference * c.group.n)


def _unknown(subject: str, message: str) -> Finding:
    return Finding(
        check="fairness",
        part=Part.OUTCOME,
        subject=subject,
        statistic="groups",
        verdict=Verdict.INCONCLUSIVE,
        message=message,
        reason="unknown slices",
    )


def _none(value: float) -> float | None:
    return value if math.isfinite(value) else None
