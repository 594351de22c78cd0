"""Checks and what they say: evidence in, findings out."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from monitor.disclosure import Disclosure, Listed
from monitor.outcome import OutcomeProfile
from monitor.profile import Profile
from monitor.reference import Reference
from monitor.registry import Registry
from monitor.source import Reading
from monitor.window import Window, WindowSpec

MISSING = "missing evidence"
FAILED = "check failed"
"""Reasons of findings that a check could not reach."""


class Verdict(StrEnum):
    """A check's judgement; without evidence it is inconclusive, never ok."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    INCONCLUSIVE = "inconclusive"


class Severity(StrEnum):
    """Harm: only warning and critical are messages, info reaches the digest."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Part(StrEnum):
    """Which part of the system a finding is about."""

    INPUT = "input"
    PREDICTION = "prediction"
    OUTCOME = "outcome"
    PROCESS = "process"
    RELEASE = "release"
    PIPELINE = "pipeline"


class Stage(StrEnum):
    """Which evidence a run brings: inputs close with the window, outcomes when labels have matured."""

    INPUTS = "inputs"
    OUTCOMES = "outcomes"
    PROCESS = "process"


class ReferenceKind(StrEnum):
    """What the current window was compared with."""

    TRAINING = "training"
    SEASON = "season"
    TRAILING = "trailing"
    PREVIOUS = "previous"
    CHAMPION = "champion"
    GROUP = "group"
    ABSOLUTE = "absolute"


class ThresholdSource(StrEnum):
    """Where a threshold comes from."""

    BUDGET = "budget"
    CONFIGURED = "configured"
    DEFAULT = "default"


class Cause(StrEnum):
    """What lies behind an alert."""

    DATA = "data"
    CONCEPT = "concept"
    DRIFT = "drift"
    RESOURCE = "resource"
    RELEASE = "release"
    PIPELINE = "pipeline"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check's judgement of one subject in one window.

    ``family`` is the subject of an alert ("outcome", "score", "quality:weather", "feature:temp"): findings of one
    family are one alert. ``direction`` is the sign of the change, 0 where it has none. ``latched`` findings carry
    their own opening and closing (the slow path): the alert follows them at once instead of counting windows.
    ``details`` are JSON values for the message (formatted figures, named causes, charts' series).
    """

    check: str
    part: Part
    subject: str
    statistic: str
    verdict: Verdict
    message: str = ""
    family: str = ""
    reference_kind: ReferenceKind = ReferenceKind.TRAINING
    value: float | None = None
    reference_value: float | None = None
    effect: float | None = None
    materiality: float | None = None
    threshold: float | None = None
    threshold_source: ThresholdSource | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    interval_low: float | None = None
    interval_high: float | None = None
    minimum_detectable: float | None = None
    severity: Severity = Severity.INFO
    impact: float | None = None
    impact_cost: float | None = None
    currency: str | None = None
    began_at: datetime | None = None
    reason: str = ""
    cause: Cause | None = None
    n_current: int | None = None
    n_reference: int | None = None
    direction: int = 0
    latched: bool = False
    slice: Mapping[str, str] = field(default_factory=dict)
    """The group of rows that it is about, attribute to value; nothing is all rows."""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ColumnStatistics:
    """The distances of one column in one window, stored wide; ``None`` where a distance does not apply."""

    column: str
    data_type: str
    part: Part
    reference_kind: ReferenceKind = ReferenceKind.TRAINING
    n_current: int
    n_reference: int
    population_stability_index: float | None = None
    psi_raw: float | None = None
    js_distance: float | None = None
    ks_statistic: float | None = None
    ks_p_value: float | None = None
    wasserstein_distance: float | None = None
    chi_squared_statistic: float | None = None
    chi_squared_p_value: float | None = None
    tv_distance: float | None = None
    l_infinity_distance: float | None = None
    hellinger_distance: float | None = None
    mean_delta: float | None = None
    null_share_delta: float | None = None
    new_category_share: float | None = None
    effect: float | None = None
    minimum_detectable: float | None = None
    verdict: Verdict = Verdict.OK
    severity: Severity = Severity.INFO
    impact: float | None = None


@dataclass(frozen=True, kw_only=True)
class Performance:
    """One performance metric of one window of matured labels."""

    metric: str
    value: float | None
    basis: str = "realised"
    interval_low: float | None = None
    interval_high: float | None = None
    reference_value: float | None = None
    target: float | None = None
    verdict: Verdict = Verdict.OK
    slice: Mapping[str, str] = field(default_factory=dict)
    """The group of rows that it is of, attribute to value; nothing is all rows."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The business block in numbers: what mistakes cost; currency units per case (regression: per unit of error)."""

    currency: str = "USD"
    false_positive: float | None = None
    false_negative: float | None = None
    under: float | None = None
    over: float | None = None
    fallback: float | None = None
    good_enough: Mapping[str, float] = field(default_factory=dict)
    """``{"metric": name, "at_most": x}`` flattened by the configuration: metric name to limit, see ``at_most``."""
    at_most: bool = True


@dataclass(frozen=True, kw_only=True)
class Budget:
    """False alerts allowed per model and month, and what that means per decision."""

    per_month: float = 0.5
    decisions_per_month: float = 30.0

    @property
    def q(self) -> float:
        """False-alarm probability per decision for each of the fast and the slow path, at most 1 %.

        >>> round(Budget(per_month=0.5, decisions_per_month=30).q, 5)
        0.00833
        """
        return min(self.per_month / 2 / self.decisions_per_month, 0.01)


@dataclass(frozen=True, kw_only=True)
class Episode:
    """What a check may know of past alerts: when a family was open, in windows."""

    family: str
    cause: Cause | None
    severity: Severity
    opened: datetime
    """Start of the window that opened it."""
    resolved: datetime | None
    """Start of the window that resolved it; None while open."""
    latched: bool = False


class MissingEvidenceError(Exception):
    """A check asked for evidence this run does not have; it is recorded as inconclusive with this message."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything one run knows about one window of one model; checks read it and nothing else.

    ``memories`` are the states the checks returned after the previous window (JSON values), by check name.
    Properties raise MissingEvidenceError where there is nothing, so a check never mistakes absence for health.
    """

    model: str
    stage: Stage
    window: Window
    spec: WindowSpec
    budget: Budget = field(default_factory=Budget)
    costs: Costs | None = None
    upstreams: Mapping[str, Sequence[str]] = field(default_factory=dict)
    maybe_reference: Reference | None = None
    maybe_current: Profile | None = None
    maybe_outcome: OutcomeProfile | None = None
    reading: Reading = field(default_factory=Reading)
    memories: Mapping[str, Any] = field(default_factory=dict)
    episodes: Sequence[Episode] = ()
    holidays: frozenset[str] = frozenset()
    """Local dates (ISO) that are compared with training's holidays, not with its other days."""
    samples: Mapping[str, Any] = field(default_factory=dict)
    """Process samples by process name, for the resource check."""
    examined: Mapping[str, Any] = field(default_factory=dict)
    """What was found out for single checks beside the window's rows, by check name; see ``examination``."""
    has_outcomes: bool = False
    """Whether an outcome feed is configured at all."""
    listed_values: Listed = field(default_factory=dict)
    """Values of categories that may be shown however rare they are."""

    def is_due(self, check: str, every: timedelta) -> bool:
        """Return whether a check that remembers when it last looked (``at``) is to look again."""
        last = (self.memories.get(check) or {}).get("at")
        return last is None or self.window.end >= datetime.fromisoformat(last) + every

    @property
    def reference(self) -> Reference:
        """The training profile."""
        if self.maybe_reference is None:
            raise MissingEvidenceError(f"no training profile for {self.model}; run `monitor profile {self.model}`")
        return self.maybe_reference

    @property
    def is_holiday(self) -> bool:
        """Whether the window lies on a holiday."""
        return self.spec.is_holiday(self.window, self.holidays)

    @property
    def disclosure(self) -> Disclosure:
        """Which values of categories people may be shown."""
        return Disclosure(reference=self.maybe_reference, listed=self.listed_values)

    @property
    def current(self) -> Profile:
        """The inputs of the window."""
        if self.maybe_current is None:
            raise MissingEvidenceError("no inputs were read for this window")
        return self.maybe_current

    @property
    def outcome(self) -> OutcomeProfile:
        """The matured outcomes of the window."""
        if self.maybe_outcome is None:
            raise MissingEvidenceError("no matured outcomes for this window")
        return self.maybe_outcome


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a check returns: findings, figures to store, and its memory for the next window (JSON values)."""

    findings: Sequence[Finding] = ()
    columns: Sequence[ColumnStatistics] = ()
    performance: Sequence[Performance] = ()
    memory: Any = None


class Check(Protocol):
    """One way to judge a window: a pure function of the evidence. Fields of the dataclass are its options."""

    @property
    def stages(self) -> frozenset[Stage]:
        """The stages in which this check runs."""
        ...

    def run(self, evidence: Evidence) -> Judgement:
        """Judge one window; may raise MissingEvidenceError."""
        ...


log = logging.getLogger(__name__)
checks: Registry[Check] = Registry("monitor.checks")
register = checks.register


def run_checks(active: Mapping[str, Check], evidence: Evidence) -> Iterable[tuple[str, Judgement]]:
    """Yield each check's judgement; missing evidence becomes an inconclusive finding, memory is then kept as it was.

    A check that breaks is an inconclusive finding too: one broken check never stops the others.
    """
    for name, check in active.items():
        if evidence.stage not in check.stages:
            continue
        try:
            judgement = check.run(evidence)
        except MissingEvidenceError as missing:
            judgement = _inconclusive(name, evidence, str(missing), MISSING)
        except Exception as error:  # any fault of one check must leave the others running
            where = {"model": evidence.model, "check": name, "window": evidence.window.start.isoformat()}
            log.exception("a check failed", extra=where)
            judgement = _inconclusive(name, evidence, f"{type(error).__name__}: {error}", FAILED)
        yield name, _with_sampling_error(judgement, evidence)


def _with_sampling_error(judgement: Judgement, evidence: Evidence) -> Judgement:
    """Return the judgement with what it means for its findings that only some of the rows were read.

    ``error`` is the standard error of a mean over the rows that were read as an estimate of that over all, in standard
    deviations of one row: √((1 − share) / n). Findings on how many rows there were are of all of them.
    """
    share = evidence.reading.share
    if share >= 1:
        return judgement
    profile = evidence.maybe_current if evidence.stage is Stage.INPUTS else evidence.maybe_outcome
    read = 0 if profile is None else profile.rows

    def told(finding: Finding) -> Finding:
        n = finding.n_current
        if not n or n > read:
            return finding
        sampled = {"share": share, "rows": evidence.reading.rows, "error": float(f"{math.sqrt((1 - share) / n):.4g}")}
        return replace(finding, details={**finding.details, "sampled": sampled})

    return replace(judgement, findings=[told(finding) for finding in judgement.findings])


def _inconclusive(name: str, evidence: Evidence, message: str, reason: str) -> Judgement:
    part = {Stage.INPUTS: Part.INPUT, Stage.OUTCOMES: Part.OUTCOME, Stage.PROCESS: Part.PROCESS}[evidence.stage]
    finding = Finding(
        check=name,
        part=part,
        subject=evidence.model,
        statistic="evidence",
        verdict=Verdict.INCONCLUSIVE,
        message=message,
        reason=reason,
    )
    return Judgement(findings=(finding,), memory=evidence.memories.get(name))
