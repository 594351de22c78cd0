"""Drift of inputs, of the score and of the labels against training, by how much training itself varied."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from monitor.baseline import JUMP, Baseline
from monitor.check import (
    Cause,
    ColumnStatistics,
    Evidence,
    Finding,
    Judgement,
    Part,
    Severity,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)
from monitor.comparison import Comparison
from monitor.divergence import divergence, first_order_shift
from monitor.onset import Onset, Trail, continued
from monitor.outcome import Task
from monitor.panel import MATERIALITY, Panel, Verdicts, outside_range
from monitor.reference import ENOUGH_WINDOWS, SCORE, Reference
from monitor.rehearsal import level_of
from monitor.source import Floats
from monitor.statistic import (
    NullModel,
    Statistic,
    StatisticKind,
    label_null,
    label_theta,
    null_model,
    on_holidays,
    slot_of,
)
from monitor.stats.calibration import FEWEST
from monitor.stats.eprocess import OVER, Detector, advance, dead_zone
from monitor.trial import has_latched_alert, try_alone

PROBABILITY_MATERIALITY = 0.02
VALUE_MATERIALITY = 0.15  # of a regression's score, in standard deviations of the score
LABEL_MATERIALITY = 0.03  # of a share; a regression's mean label: five times that, in standard deviations
SIGNED = frozenset({"location", "rank", "rest"})  # statistics of a column whose sign means more or less
UNKNOWN_SLOT = "unknown slot, not compared"
TOO_FEW = "training has too few windows to know how it varies"

DISTANCES: Mapping[str, str] = {
    "psi": "population_stability_index",
    "population_stability_index": "population_stability_index",
    "psi_raw": "psi_raw",
    "js": "js_distance",
    "jensen_shannon": "js_distance",
    "js_distance": "js_distance",
    "ks": "ks_statistic",
    "ks_statistic": "ks_statistic",
    "ks_p_value": "ks_p_value",
    "wasserstein": "wasserstein_distance",
    "wasserstein_distance": "wasserstein_distance",
    "chi_squared": "chi_squared_statistic",
    "chi_squared_statistic": "chi_squared_statistic",
    "chi_squared_p_value": "chi_squared_p_value",
    "tvd": "tv_distance",
    "tv_distance": "tv_distance",
    "hellinger": "hellinger_distance",
    "hellinger_distance": "hellinger_distance",
    "l_infinity": "l_infinity_distance",
    "l_infinity_distance": "l_infinity_distance",
    "mean_delta": "mean_delta",
    "null_share_delta": "null_share_delta",
    "new_category_share": "new_category_share",
    "effect": "effect",
}


@register("drift")
@dataclass(frozen=True, kw_only=True)
class Drift:
    """Compares a window's distributions with training.

    ``materiality`` is the smallest shift of a feature that matters, in training standard deviations. ``notify:
    message`` makes feature drift a message instead of a line of the digest. ``thresholds`` are plain limits on a
    distance (``{"psi": 0.25}``) or on one feature's (``{"temp": {"wasserstein": 0.3}}``): crossing one is a message.
    """

    materiality: float = MATERIALITY
    notify: Literal["digest", "message"] = "digest"
    thresholds: Mapping[str, float | Mapping[str, float]] = field(default_factory=dict)

    stages = frozenset({Stage.INPUTS, Stage.OUTCOMES})

    def __post_init__(self) -> None:
        if not self.materiality > 0:
            raise ValueError(f"drift.materiality is {self.materiality}; it must be above 0")
        for name, limit in self.thresholds.items():
            for statistic in limit if isinstance(limit, Mapping) else [name]:
                if statistic not in DISTANCES:
                    known = ", ".join(sorted(set(DISTANCES)))
                    raise ValueError(f"drift.thresholds has no distance {statistic!r}; choose among {known}")

    def run(self, evidence: Evidence) -> Judgement:
        """Judge inputs and score when a window closes, labels when they have matured."""
        if evidence.stage is Stage.OUTCOMES:
            return _labels(evidence)
        memory = _memory(evidence)
        baseline = _baseline(evidence, memory)
        score, score_memory, moved = _score(evidence, memory.get("score", {}), baseline)
        features, columns, feature_memory = self._features(
            evidence, memory.get("features", {}), baseline, score_moved=moved
        )
        findings = [*score, *features]
        kept = {"reference": evidence.reference.id, "score": score_memory, "features": feature_memory}
        if baseline is not None:
            bad = any(one.verdict is Verdict.WARNING and not one.latched for one in findings)
            if baseline.complete:
                baseline = baseline.counting(flagged=bad)
            elif not bad and not _suspect(evidence):  # what is broken at the beginning must not become usual
                baseline = baseline.absorbing(*null_model(evidence.reference).statistics.values(evidence.current))
            kept["baseline"] = baseline.to_json()
        return Judgement(findings=findings, columns=columns, memory=kept)

    def _features(
        self, evidence: Evidence, memory: Mapping[str, Any], baseline: Baseline | None, *, score_moved: bool
    ) -> tuple[list[Finding], list[ColumnStatistics], dict[str, Any]]:
        """Return findings and distances of all columns, and the memory of their slow path."""
        reference, current = evidence.reference, evidence.current
        null = _null(evidence, baseline)
        names = [column.name for column in reference.layout.columns if column.clock is None]
        place = {name: j for j, name in enumerate(names)}
        panel = Panel.of(null, names, self.materiality)
        theta, n = null.statistics.values(current)
        outside = outside_range([current], names, reference.total.lows, reference.total.highs)[0]
        slot = slot_of(reference, evidence.window)
        level = evidence.budget.q
        if baseline is None:
            level = level_of(reference, level, materiality=self.materiality, holidays=evidence.holidays)
        verdicts = panel.judge(null.season, theta, n, slot, level, outside)
        slow = advance(
            Detector.from_json(memory.get("detector"), len(panel.lasting), len(names)),
            z=verdicts.normal[panel.lasting],
            deviation=verdicts.deviation[panel.lasting],
            autocorrelation=null.season.autocorrelation[panel.places][panel.lasting],
            inflation=null.season.inflation(n)[panel.places][panel.lasting],
            natural=null.season.share(n)[panel.places][panel.lasting],
            dead=dead_zone(len(panel.lasting), evidence.budget.q),
            over=OVER,
            threshold=max(verdicts.tested, 1) / evidence.budget.q,
            materiality=panel.materiality[panel.lasting],
            group=panel.owner[panel.lasting],
        )
        trails: dict[str, Trail] = {**memory.get("trails", {})}
        compared = _comparisons(null, panel, verdicts, theta, n, trails)
        since: dict[str, Onset] = {}
        for j in np.flatnonzero(slow.detector.open).tolist():
            name = names[j]
            if name in memory.get("since", {}):
                since[name] = Onset.from_json(memory["since"][name])
            elif name in compared and int(panel.lasting[slow.detector.lead[j]]) == panel.main(j):
                since[name] = compared[name].onset(evidence)
            else:
                since[name] = Onset.of(evidence.window)
        loud = self.notify == "message" or (score_moved and not evidence.has_outcomes)
        findings: list[Finding] = []
        columns: list[ColumnStatistics] = []
        for column in reference.layout.columns:
            view, trained = current.columns[column.name], reference.total.columns[column.name]
            impact = first_order_shift(reference, view) if column.name != SCORE else None
            distances = replace(divergence(trained, view), impact=impact)
            if column.clock is None:
                j = place[column.name]
                head = Finding(
                    check="drift",
                    part=Part(column.part),
                    subject=column.name,
                    statistic="location",
                    verdict=Verdict.OK,
                    family=f"feature:{column.name}",
                    severity=Severity.WARNING if loud else Severity.INFO,
                    cause=Cause.DRIFT,
                    impact=impact,
                    n_current=view.count,
                    n_reference=trained.count,
                    details=_details(evidence),
                )
                finding = _fast(head, panel, j, verdicts, theta[panel.places], evidence, baseline)
                if baseline is not None and not baseline.complete and finding.verdict is Verdict.INCONCLUSIVE:
                    off = null_model(reference).flat.deviation(theta)[panel.places]
                    finding = _jump(finding, panel, j, off)
                if column.name in compared:
                    finding, *others = compared[column.name].findings(finding, evidence, since.get(column.name))
                    findings += [finding, *others]
                else:
                    findings.append(finding)
                closed = bool(slow.closed[j])
                findings += _slow(head, panel, j, slow.detector, since.get(column.name), evidence, closed=closed)
                lasting = bool(slow.detector.open[j]) and finding.verdict is not Verdict.INCONCLUSIVE
                distances = replace(
                    distances,
                    effect=finding.effect,
                    minimum_detectable=finding.minimum_detectable,
                    verdict=Verdict.WARNING if lasting else finding.verdict,
                    severity=head.severity,
                )
            columns.append(distances)
            findings += self._configured(distances, clock=column.clock is not None)
        findings += self._unknown(reference)
        suspect = _suspect(evidence)
        for name, comparison in compared.items():
            if reference.source_of(name) not in suspect:
                trails[name] = continued(trails.get(name, []), comparison.z)
        return (
            findings,
            columns,
            {
                "detector": slow.detector.to_json(),
                "since": {name: began.to_json() for name, began in since.items()},
                "trails": trails,
            },
        )

    def _configured(self, distances: ColumnStatistics, *, clock: bool) -> Iterator[Finding]:
        """Yield a finding for every plain limit on this column.

        A general limit leaves out features that follow the clock: a window of one day has one weekday.
        """
        own = self.thresholds.get(distances.column)
        limits: dict[str, float] = {}
        if not clock:
            limits |= {name: limit for name, limit in self.thresholds.items() if not isinstance(limit, Mapping)}
        if isinstance(own, Mapping):
            limits |= own
        for name, limit in limits.items():
            value = getattr(distances, DISTANCES[name])
            if value is None:
                continue
            is_p = name.endswith("p_value")
            crossed = value < limit if is_p else abs(value) > limit
            sign = "below" if is_p else "above"
            yield Finding(
                check="drift",
                part=distances.part,
                subject=distances.column,
                statistic=DISTANCES[name],
                verdict=Verdict.WARNING if crossed else Verdict.OK,
                severity=Severity.WARNING,
                message=f"{distances.column}: {DISTANCES[name]} is {value:.3g}, {sign} the configured {limit:g} "
                f"({distances.n_current} rows)"
                if crossed
                else "",
                family=f"feature:{distances.column}",
                value=value,
                effect=distances.effect,
                threshold=limit,
                threshold_source=ThresholdSource.CONFIGURED,
                minimum_detectable=distances.minimum_detectable,
                impact=distances.impact,
                cause=Cause.DRIFT,
                n_current=distances.n_current,
                n_reference=distances.n_reference,
            )

    def _unknown(self, reference: Reference) -> Iterator[Finding]:
        """Yield an inconclusive finding for every configured feature that training does not have."""
        for name, limit in self.thresholds.items():
            if isinstance(limit, Mapping) and name not in reference.layout.index:
                yield Finding(
                    check="drift",
                    part=Part.INPUT,
                    subject=name,
                    statistic="evidence",
                    verdict=Verdict.INCONCLUSIVE,
                    reason="unknown feature",
                    message=f"drift.thresholds names {name}, which the training profile does not have; "
                    "correct the name or profile the model again",
                    family=f"feature:{name}",
                )


def _fast(
    head: Finding,
    panel: Panel,
    j: int,
    verdicts: Verdicts,
    theta: Floats,
    evidence: Evidence,
    baseline: Baseline | None,
) -> Finding:
    """Return the finding of one column in this window alone."""
    name, main, at = head.subject, panel.main(j), int(verdicts.chosen[j])
    if verdicts.outside[j]:
        head = _outside(head, evidence)
    if not math.isfinite(verdicts.p[j]):
        if not head.n_current:
            reason, why = "no usable rows", "no row of the window has a usable value"
        elif main < 0:
            reason, why = "no statistics", "training has too few usable rows of it in a window"
        else:
            reason, why = _unknown_slot(evidence, baseline)
        if verdicts.outside[j]:
            return head
        return replace(head, verdict=Verdict.INCONCLUSIVE, reason=reason, message=f"{name} cannot be judged: {why}")
    if at < 0:  # nothing material: the main statistic is reported, or whichever could be computed
        finite = [i for i in panel.positions(j).tolist() if math.isfinite(verdicts.z[i])]
        at = main if main in finite else finite[0]
    if main >= 0 and abs(verdicts.deviation[main]) >= verdicts.limit[main]:
        at = main  # whatever else is odd, people understand the location first
    statistic, effect = panel.statistics[at], float(verdicts.deviation[at])
    flagged, limit = bool(verdicts.flagged[j]), float(verdicts.limit[at])
    detectable = float(verdicts.detectable[main])
    unit = f"{limit:.0%}" if statistic.kind is StatisticKind.SHARE else f"{limit:.2g} sd"
    return replace(
        head,
        statistic=statistic.name,
        verdict=Verdict.WARNING if flagged else Verdict.OK,
        message=f"{name}: {_what(statistic)} {_size(statistic, effect)} training (flagged from {unit}; "
        f"{head.n_current} rows){_calibrating(evidence)}"
        if flagged and not verdicts.outside[j]
        else head.message,
        value=float(theta[at]),
        reference_value=float(theta[at] - effect),
        effect=effect,
        materiality=float(panel.materiality[at]),
        threshold=limit,
        threshold_source=ThresholdSource.BUDGET,
        p_value=float(verdicts.p[j]),
        p_adjusted=float(verdicts.p_adjusted[j]),
        minimum_detectable=detectable if math.isfinite(detectable) else None,
        direction=int(np.sign(effect)) if statistic.name in SIGNED else 0,
    )


def _comparisons(
    null: NullModel,
    panel: Panel,
    verdicts: Verdicts,
    theta: Floats,
    n: Floats,
    trails: Mapping[str, Trail],
) -> dict[str, Comparison]:
    """Return the comparison of every column whose main statistic has a score in this window."""
    scale, spread, overall = null.season.scale(n), null.flat.scale(n), null.flat.deviation(theta)
    found = {}
    for j, name in enumerate(panel.names):
        main = panel.main(j)
        if main < 0 or not math.isfinite(verdicts.normal[main]):
            continue
        at = int(panel.places[main])
        found[name] = Comparison(
            statistic=panel.statistics[main].name,
            value=float(theta[at]),
            effect=float(verdicts.deviation[main]),
            overall=float(overall[at]),
            scale=float(scale[at]),
            autocorrelation=float((null.season.share(n) * null.season.autocorrelation)[at]),
            trail=trails.get(name, []),
            has_season=bool(np.ptp(null.season.mean[:, at])),
            spread=float(spread[at]),
        )
    return found


def _suspect(evidence: Evidence) -> frozenset[str]:
    """Return the sources that were suspect after the window before: what they log is not to become usual."""
    return frozenset((evidence.memories.get("sudden") or {}).get("sources", {}))


def _outside(head: Finding, evidence: Evidence) -> Finding:
    """Return the finding of a column whose rows all lie beyond training's range: flagged, whatever else is known."""
    trained = evidence.reference.total.columns[head.subject]
    return replace(
        head,
        verdict=Verdict.WARNING,
        message=f"{head.subject}: each of its {head.n_current} values lies outside the range of training, "
        f"{trained.minimum:.3g} to {trained.maximum:.3g}{_calibrating(evidence)}",
    )


def _slow(
    head: Finding,
    panel: Panel,
    j: int,
    detector: Detector,
    began: Onset | None,
    evidence: Evidence,
    *,
    closed: bool,
) -> Iterator[Finding]:
    """Yield the latched finding of one column: bad while its episode is open, ok when it ends."""
    if detector.open[j] and began is not None:
        lead = int(detector.lead[j])
        at = int(panel.lasting[lead])
        statistic, effect = panel.statistics[at], float(detector.smoothed[lead])
        shift = f"{_what(statistic)} has stayed {_size(statistic, effect)} training since "
        shift += began.sentence(evidence.spec)
        yield replace(
            head,
            statistic=f"{statistic.name} (lasting)",
            verdict=Verdict.WARNING,
            latched=True,
            value=effect,
            reference_value=0.0,
            effect=effect,
            materiality=float(panel.materiality[at]),
            threshold=float(panel.materiality[at]),
            threshold_source=ThresholdSource.BUDGET,
            direction=int(np.sign(effect)) if statistic.name in SIGNED else 0,
            began_at=began.began,
            details={**head.details, "began": began.to_json()},
            message=f"{head.subject}: {shift}{_calibrating(evidence)}",
        )
    elif closed or has_latched_alert(evidence, head.family):
        yield replace(head, statistic="lasting shift", verdict=Verdict.OK, latched=True, reason="the shift is over")


def _score(
    evidence: Evidence, memory: Mapping[str, Any], baseline: Baseline | None
) -> tuple[list[Finding], Mapping[str, Any], bool]:
    """Return the findings on the mean score, their memory, and whether the score has moved materially."""
    reference, current = evidence.reference, evidence.current
    if SCORE not in reference.layout.index:
        return [], {}, False
    null = _null(evidence, baseline)
    place = null.statistics.score
    trained, view = reference.total.columns[SCORE], current.columns[SCORE]
    head = Finding(
        check="drift",
        part=Part.PREDICTION,
        subject=SCORE,
        statistic="mean",
        verdict=Verdict.OK,
        family="score",
        severity=Severity.WARNING,
        cause=Cause.DRIFT,
        n_current=view.count,
        n_reference=trained.count,
        details=_details(evidence),
    )
    trial, why = None, "no row of the window has a score"
    spread = math.sqrt(trained.variance) if trained.count else 0.0
    if place is None:
        why = "training has too few scores to compare with"
    elif view.count:
        materiality = PROBABILITY_MATERIALITY if reference.task is not Task.REGRESSION else VALUE_MATERIALITY * spread
        theta, n = null.statistics.values(current)
        trial, why = (
            try_alone(null.flat, place, theta, n, materiality=materiality, evidence=evidence, memory=memory),
            _unknown_slot(evidence, baseline)[1],
        )
        off = float(theta[place]) - trained.mean
        if trial is None and baseline is not None and abs(off) >= JUMP * spread > 0:
            side = "above" if off > 0 else "below"
            message = f"the mean score is {theta[place]:.3g}, {abs(off):.2g} {side} training's{_calibrating(evidence)}"
            jumped = replace(head, verdict=Verdict.WARNING, message=message, value=float(theta[place]), effect=off)
            return [replace(jumped, reference_value=trained.mean, threshold=JUMP * spread)], memory, True
    if trial is None:
        message = f"the score cannot be judged: {why}"
        return [replace(head, verdict=Verdict.INCONCLUSIVE, reason=why, message=message)], memory, False
    rows = f"{view.count} rows{_calibrating(evidence)}"
    findings = list(trial.findings(head, evidence, name="the mean score", rows=rows, spread=spread))
    return findings, trial.memory, abs(trial.smoothed) >= trial.materiality


def _labels(evidence: Evidence) -> Judgement:
    """Judge the labels themselves: a base rate that moves is information, not an alarm."""
    reference, outcome = evidence.reference, evidence.outcome
    null, layout, total = (
        label_null(reference, evidence.holidays, on_holiday=evidence.is_holiday),
        reference.outcome_layout,
        reference.outcome_total,
    )
    if null is None or layout is None or total is None:
        return Judgement()
    memory = _memory(evidence)
    theta = label_theta(layout, outcome)
    n = np.full(len(theta), float(outcome.labelled))
    findings: list[Finding] = []
    kept: dict[str, Any] = {"reference": reference.id}
    for i, name in enumerate(null.names):
        head = Finding(
            check="drift",
            part=Part.OUTCOME,
            subject="label" if len(null.names) == 1 else f"label, {name}",
            statistic=name,
            verdict=Verdict.OK,
            family="label",
            cause=Cause.DRIFT,
            n_current=outcome.labelled,
            n_reference=total.labelled,
            details=_details(evidence),
        )
        regression = reference.task is Task.REGRESSION
        spread = float(null.spread[i])
        trial = try_alone(
            null.calibration,
            i,
            theta,
            n,
            materiality=5 * LABEL_MATERIALITY * spread if regression else LABEL_MATERIALITY,
            evidence=evidence,
            memory=memory.get(name, {}),
            tests=len(null.names),
        )
        if trial is None:
            kept[name] = memory.get(name, {})
            why = _unknown_slot(evidence, None)[1] if outcome.labelled else "no label has matured"
            message = f"the labels cannot be judged: {why}"
            findings.append(replace(head, verdict=Verdict.INCONCLUSIVE, reason=why, message=message))
            continue
        kept[name] = trial.memory
        words = "the mean label" if regression else f"the labels' {name}"
        rows = f"{outcome.labelled} labels{_calibrating(evidence)}"
        findings += trial.findings(head, evidence, name=words, rows=rows, spread=spread)
    return Judgement(findings=findings, memory=kept)


def _memory(evidence: Evidence) -> Mapping[str, Any]:
    """Return the check's memory; that of another training profile does not fit and is dropped."""
    memory = evidence.memories.get("drift") or {}
    return memory if memory.get("reference") == evidence.reference.id else {}


def _baseline(evidence: Evidence, memory: Mapping[str, Any]) -> Baseline | None:
    """Return what the first windows of production were like; None where training has a time line of its own."""
    if evidence.reference.timeline:
        return None
    channels = len(null_model(evidence.reference).statistics.items)
    return Baseline.from_json(memory.get("baseline"), channels)


def _null(evidence: Evidence, baseline: Baseline | None) -> NullModel:
    """Return what is usual: by training's own time line, else by the first windows of production."""
    null = null_model(evidence.reference, evidence.holidays, on_holiday=evidence.is_holiday)
    return null if baseline is None else baseline.null_model(null)


def _jump(finding: Finding, panel: Panel, j: int, deviation: Floats) -> Finding:
    """Return a finding on what is far from training before anybody knows what is usual, or the given one."""
    main = panel.main(j)
    if main < 0 or not math.isfinite(deviation[main]):
        return finding
    statistic, off = panel.statistics[main], float(deviation[main])
    limit = JUMP / 2 if statistic.kind is StatisticKind.SHARE else JUMP
    if statistic.kind is StatisticKind.CATEGORY or abs(off) < limit:
        return finding
    return replace(
        finding,
        statistic=statistic.name,
        verdict=Verdict.WARNING,
        reason="",
        message=f"{finding.subject}: {_what(statistic)} {_size(statistic, off)} training, a jump while calibrating",
        effect=off,
        threshold=limit,
        threshold_source=ThresholdSource.DEFAULT,
        direction=int(np.sign(off)),
    )


def _unknown_slot(evidence: Evidence, baseline: Baseline | None) -> tuple[str, str]:
    """Return reason and words for a statistic with which nothing can be compared."""
    if baseline is not None and not baseline.complete:
        so_far = f"{baseline.windows} of {ENOUGH_WINDOWS} windows of production have been seen"
        return "calibrating", f"training has no time line, and {so_far} that tell what is usual"
    if not evidence.is_holiday or baseline is not None:
        return "not calibrated", TOO_FEW
    found = int(on_holidays(evidence.reference, evidence.holidays).sum())
    had = f"{found} windows on one" if found > 1 else "one window on one" if found else "none"
    return UNKNOWN_SLOT, f"the window lies on a holiday and training had {had}, fewer than {FEWEST}"


def _details(evidence: Evidence) -> dict[str, Any]:
    counted = (evidence.memories.get("drift") or {}).get("baseline") or {}
    rate = {name: counted[name] for name in ("judged", "flagged")} if counted.get("judged") else {}
    return (
        rate
        | ({"calibrating": True} if evidence.reference.calibrating else {})
        | ({"slot": "holiday"} if evidence.is_holiday else {})
    )


def _calibrating(evidence: Evidence) -> str:
    reference = evidence.reference
    holiday = "; a holiday, compared with those of training" if evidence.is_holiday else ""
    if not reference.calibrating:
        return holiday
    if not reference.timeline:
        counted = (evidence.memories.get("drift") or {}).get("baseline") or {}
        achieved = f"; flagged so far: {counted['flagged']} of {counted['judged']}" if counted.get("judged") else ""
        return f"; calibrating: training has no time line{achieved}"
    return f"{holiday}; calibrating: training has {len(reference.windows)} of {ENOUGH_WINDOWS} windows"


def _what(statistic: Statistic) -> str:
    match statistic.kind:
        case StatisticKind.CATEGORY:
            return f"share of {statistic.name.removeprefix('= ')}"
        case StatisticKind.SHARE:
            return "share of its usual value" if statistic.name == "atom" else "share of other values"
        case _:
            return "level beside its usual value" if statistic.name == "rest" else statistic.name


def _size(statistic: Statistic, effect: float) -> str:
    word = "above" if effect > 0 else "below"
    if statistic.kind is StatisticKind.SHARE:
        return f"{abs(effect):.0%} of rows {word}"
    return f"{abs(effect):.2g} sd {word}"
