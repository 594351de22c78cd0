"""Drift of inputs, of the score and of the labels against training, by how much training itself varied."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np

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
from monitor.divergence import divergence, first_order_shift
from monitor.outcome import Task
from monitor.reference import ENOUGH_WINDOWS, SCORE, Reference
from monitor.source import Floats, Ints
from monitor.statistic import LASTING, NullModel, Statistic, StatisticKind, label_null, label_theta, null_model, slot_of
from monitor.stats.calibration import Calibration
from monitor.stats.eprocess import Detector, advance
from monitor.stats.multiplicity import adjusted, smallest_p

SHARE_MATERIALITY = 0.02  # of rows
PROBABILITY_MATERIALITY = 0.02
VALUE_MATERIALITY = 0.15  # of a regression's score, in standard deviations of the score
LABEL_MATERIALITY = 0.03  # of a share; of a regression's label: in standard deviations / 2
FEATURE_SMOOTHING, SCORE_SMOOTHING = 0.2, 0.1
SIGNED = frozenset({"location", "rank", "rest", "mean", "positive share"})  # statistics whose sign means more or less

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

    materiality: float = 0.05
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
        score, score_memory, moved = _score(evidence, memory.get("score"))
        features, columns, feature_memory = self._features(evidence, memory.get("features"), score_moved=moved)
        return Judgement(
            findings=[*score, *features],
            columns=columns,
            memory={"reference": evidence.reference.id, "score": score_memory, "features": feature_memory},
        )

    def _features(
        self, evidence: Evidence, memory: Mapping[str, Any] | None, *, score_moved: bool
    ) -> tuple[list[Finding], list[ColumnStatistics], dict[str, Any]]:
        reference, current = evidence.reference, evidence.current
        null = null_model(reference)
        names = [column.name for column in reference.layout.columns if column.clock is None]
        family = _Family.of(null, names, self.materiality)
        theta, n = null.statistics.values(current)
        slot = slot_of(reference, evidence.window)
        places = family.places
        calibration = null.season
        z, deviation = calibration.z(theta, n, slot)[places], calibration.deviation(theta, slot)[places]
        p = calibration.p_of(_scatter(z, places, calibration.channels))[places]
        combined, channel = smallest_p(
            p, family.owner, len(names), gate=np.abs(np.nan_to_num(deviation)) >= family.materiality
        )
        p_adjusted = adjusted(combined)
        q = evidence.budget.q
        flagged = np.nan_to_num(p_adjusted, nan=1.0) <= q
        tested = int(np.isfinite(combined).sum())
        alpha = q / max(tested, 1) / np.maximum(family.sizes, 1)  # Bonferroni: what any one statistic surely needs
        spread = calibration.scale(n)[places]
        levels = _scatter(alpha[family.owner], places, calibration.channels, fill=1.0)
        detectable = np.maximum(calibration.minimum_detectable(n, levels)[places], family.materiality)
        cut = _scatter((alpha * max(int(flagged.sum()), 1))[family.owner], places, calibration.channels, fill=1.0)
        limits = np.maximum(calibration.critical(np.minimum(cut, 1.0))[places] * spread, family.materiality)

        memory = memory or {}
        slow = advance(
            Detector.from_json(memory.get("detector"), len(family.lasting), len(names)),
            z=z[family.lasting],
            deviation=deviation[family.lasting],
            autocorrelation=calibration.autocorrelation[places][family.lasting],
            inflation=calibration.inflation[places][family.lasting],
            threshold=max(tested, 1) / q,
            materiality=family.materiality[family.lasting],
            smoothing=FEATURE_SMOOTHING,
            group=family.owner[family.lasting],
        )
        since = _since(memory.get("since", {}), names, slow.detector, evidence)
        loud = self.notify == "message" or (score_moved and not evidence.has_outcomes)
        severity = Severity.WARNING if loud else Severity.INFO

        findings: list[Finding] = []
        columns: list[ColumnStatistics] = []
        for column in reference.layout.columns:
            view, trained = current.columns[column.name], reference.total.columns[column.name]
            distances = divergence(trained, view)
            impact = first_order_shift(reference, view) if column.name != SCORE else None
            if column.clock is None:
                j = names.index(column.name)
                head = Finding(
                    check="drift",
                    part=Part(column.part),
                    subject=column.name,
                    statistic="location",
                    verdict=Verdict.OK,
                    family=f"feature:{column.name}",
                    severity=severity,
                    cause=Cause.DRIFT,
                    impact=impact,
                    n_current=view.count,
                    n_reference=trained.count,
                    details={"calibrating": True} if reference.calibrating else {},
                )
                item = _Judged(
                    head=head,
                    statistics=family.items(j),
                    positions=family.positions(j),
                    usable=bool(np.isfinite(combined[j])),
                    flagged=bool(flagged[j]),
                    chosen=int(channel[j]),
                    p_value=float(combined[j]),
                    p_adjusted=float(p_adjusted[j]),
                )
                finding = _fast(item, deviation, limits, detectable, family, theta[places], reference)
                findings.append(finding)
                findings += _slow(head, slow.detector, j, family, since, evidence, closed=bool(slow.closed[j]))
                distances = replace(
                    distances,
                    effect=finding.effect,
                    minimum_detectable=finding.minimum_detectable,
                    verdict=Verdict.WARNING if slow.detector.open[j] else finding.verdict,
                    severity=severity,
                )
            distances = replace(distances, impact=impact)
            columns.append(distances)
            findings += self._configured(distances, clock=column.clock is not None)
        findings += self._unknown(reference)
        return findings, columns, {"detector": slow.detector.to_json(), "since": since}

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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Family:
    """The statistics of all columns side by side: ``places`` in the null model, ``owner`` the column of each."""

    names: Sequence[str]
    statistics: Sequence[Statistic]
    places: Ints
    owner: Ints
    sizes: Floats
    materiality: Floats
    lasting: Ints
    """Positions (within the family) of the statistics that the slow path follows."""

    @classmethod
    def of(cls, null: NullModel, names: Sequence[str], materiality: float) -> _Family:
        items = null.statistics.items
        found = [
            (place, j)
            for j, name in enumerate(names)
            for place in null.statistics.of(name).tolist()
            if items[place].kind is not StatisticKind.MEAN
        ]
        places = np.array([place for place, _ in found], np.int64)
        owner = np.array([j for _, j in found], np.int64)
        statistics = [items[place] for place, _ in found]
        return cls(
            names=names,
            statistics=statistics,
            places=places,
            owner=owner,
            sizes=np.bincount(owner, minlength=len(names)).astype(np.float64),
            materiality=np.array(
                [SHARE_MATERIALITY if s.kind is StatisticKind.SHARE else materiality for s in statistics], np.float64
            ),
            lasting=np.array([i for i, s in enumerate(statistics) if s.kind in LASTING], np.int64),
        )

    def positions(self, j: int) -> Ints:
        start = int(np.searchsorted(self.owner, j))
        return np.arange(start, start + int(self.sizes[j]))

    def items(self, j: int) -> list[Statistic]:
        return [self.statistics[i] for i in self.positions(j).tolist()]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Judged:
    """What the fast path found about one column."""

    head: Finding
    statistics: Sequence[Statistic]
    positions: Ints
    usable: bool
    flagged: bool
    chosen: int
    p_value: float
    p_adjusted: float


def _fast(
    item: _Judged,
    deviation: Floats,
    limits: Floats,
    detectable: Floats,
    family: _Family,
    theta: Floats,
    reference: Reference,
) -> Finding:
    """Return the finding of one column in this window alone."""
    head = item.head
    name = head.subject
    if not item.usable:
        if not head.n_current:
            reason, why = "no usable rows", "no row of the window has a usable value"
        elif not len(item.positions):
            reason, why = "no statistics", "training has too few usable rows of it"
        else:
            reason, why = "not calibrated", "training has too few windows to know how it varies"
        return replace(head, verdict=Verdict.INCONCLUSIVE, reason=reason, message=f"{name} cannot be judged: {why}")
    main = int(item.positions[_main(item.statistics)])
    at = item.chosen
    if at < 0:  # nothing material: report the main statistic
        at = main if np.isfinite(deviation[main]) else int(item.positions[np.isfinite(deviation[item.positions])][0])
    statistic, effect = family.statistics[at], float(deviation[at])
    return replace(
        head,
        statistic=statistic.name,
        verdict=Verdict.WARNING if item.flagged else Verdict.OK,
        message=_sentence(name, statistic, effect, float(limits[at]), head.n_current or 0, reference)
        if item.flagged
        else "",
        value=float(theta[at]),
        reference_value=float(theta[at] - effect),
        effect=effect,
        materiality=float(family.materiality[at]),
        threshold=float(limits[at]),
        threshold_source=ThresholdSource.BUDGET,
        p_value=item.p_value,
        p_adjusted=item.p_adjusted,
        minimum_detectable=_finite(float(detectable[main])),
        direction=int(np.sign(effect)) if statistic.name in SIGNED else 0,
    )


def _slow(
    head: Finding,
    detector: Detector,
    j: int,
    family: _Family,
    since: Mapping[str, str],
    evidence: Evidence,
    *,
    closed: bool,
) -> Iterator[Finding]:
    """Yield the latched finding of one column: bad while its episode is open, ok when it closes.

    It is ok as well while the alert is open but the detector, being new, knows nothing of it.
    """
    if detector.open[j]:
        lead = int(family.lasting[detector.lead[j]])
        statistic, effect = family.statistics[lead], float(detector.smoothed[detector.lead[j]])
        began = datetime.fromisoformat(since[head.subject])
        yield replace(
            head,
            statistic=f"{statistic.name} (lasting)",
            verdict=Verdict.WARNING,
            latched=True,
            effect=effect,
            value=effect,
            reference_value=0.0,
            materiality=float(family.materiality[lead]),
            threshold=float(family.materiality[lead]),
            threshold_source=ThresholdSource.BUDGET,
            direction=int(np.sign(effect)) if statistic.name in SIGNED else 0,
            began_at=began,
            message=f"{head.subject}: {_what(statistic)} has stayed {_size(statistic, effect)} training "
            f"since {_day(began, evidence)}",
        )
    elif closed or _has_latched_alert(evidence, head.family):
        yield replace(head, statistic="lasting shift", verdict=Verdict.OK, latched=True, reason="the shift is over")


def _score(evidence: Evidence, memory: Mapping[str, Any] | None) -> tuple[list[Finding], dict[str, Any], bool]:
    """Return the findings on the mean score, their memory, and whether the score has moved materially."""
    reference, current = evidence.reference, evidence.current
    memory = memory or {}
    if SCORE not in reference.layout.index:
        return [], {}, False
    null = null_model(reference)
    place = next((i for i in null.statistics.of(SCORE).tolist() if _is_mean(null.statistics.items[i])), None)
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
        details={"calibrating": True} if reference.calibrating else {},
    )
    if place is None or not view.count:
        why = "no row of the window has a score" if place is not None else "training has no scores to compare with"
        finding = replace(
            head, verdict=Verdict.INCONCLUSIVE, reason="no scores", message=f"the score cannot be judged: {why}"
        )
        return [finding], dict(memory), False
    spread = math.sqrt(trained.variance)
    materiality = PROBABILITY_MATERIALITY if reference.task is not Task.REGRESSION else VALUE_MATERIALITY * spread
    theta, n = null.statistics.values(current)
    judged = _single(null.flat, place, theta, n, materiality, evidence, memory, SCORE_SMOOTHING)
    if judged is None:
        why = "training has too few windows to know how it varies"
        finding = replace(
            head, verdict=Verdict.INCONCLUSIVE, reason="not calibrated", message=f"the score cannot be judged: {why}"
        )
        return [finding], dict(memory), False
    effect = judged.deviation
    impact = abs(effect) / spread if spread > 0 else None
    usual = float(theta[place]) - effect
    head = replace(
        head,
        value=float(theta[place]),
        reference_value=usual,
        effect=effect,
        materiality=materiality,
        impact=impact,
        direction=int(np.sign(effect)),
    )
    word = "above" if effect > 0 else "below"
    fast = replace(
        head,
        verdict=Verdict.WARNING if judged.flagged else Verdict.OK,
        threshold=judged.threshold,
        threshold_source=ThresholdSource.BUDGET,
        p_value=judged.p_value,
        p_adjusted=judged.p_value,
        minimum_detectable=judged.minimum_detectable,
        message=f"the mean score is {float(theta[place]):.3g}, {abs(effect):.2g} {word} training's {usual:.3g} "
        f"(flagged from {judged.threshold:.2g}; {view.count} rows){_calibrating(reference)}"
        if judged.flagged
        else "",
    )
    findings = [fast]
    smoothed = float(judged.detector.smoothed[0])
    if judged.detector.open[0]:
        began = datetime.fromisoformat(judged.memory["since"])
        side = "above" if smoothed > 0 else "below"
        findings.append(
            replace(
                head,
                statistic="mean (lasting)",
                verdict=Verdict.WARNING,
                latched=True,
                effect=smoothed,
                threshold=materiality,
                threshold_source=ThresholdSource.BUDGET,
                impact=abs(smoothed) / spread if spread > 0 else None,
                direction=int(np.sign(smoothed)),
                began_at=began,
                message=f"the mean score has stayed {abs(smoothed):.2g} {side} training's {usual:.3g} "
                f"since {_day(began, evidence)}",
            )
        )
    elif judged.closed or _has_latched_alert(evidence, "score"):
        findings.append(
            replace(head, statistic="mean (lasting)", verdict=Verdict.OK, latched=True, reason="the shift is over")
        )
    return findings, judged.memory, abs(smoothed) >= materiality


def _labels(evidence: Evidence) -> Judgement:
    """Judge the labels themselves: a base rate that moves is information, not an alarm."""
    reference, outcome = evidence.reference, evidence.outcome
    null = label_null(reference)
    if null is None:
        return Judgement(memory=None)
    assert reference.outcome_layout is not None
    memory = _memory(evidence)
    theta = label_theta(reference.outcome_layout, outcome)
    n = np.full(len(theta), float(outcome.labelled))
    findings: list[Finding] = []
    kept: dict[str, Any] = {"reference": reference.id}
    trained = reference.outcome_total
    for i, name in enumerate(null.names):
        materiality = LABEL_MATERIALITY if reference.task is not Task.REGRESSION else LABEL_MATERIALITY * 5
        materiality *= 1.0 if reference.task is not Task.REGRESSION else float(null.spread[i])
        head = Finding(
            check="drift",
            part=Part.OUTCOME,
            subject="label" if len(null.names) == 1 else f"label {name}",
            statistic=name,
            verdict=Verdict.OK,
            family="label",
            cause=Cause.DRIFT,
            n_current=outcome.labelled,
            n_reference=0 if trained is None else trained.labelled,
        )
        judged = _single(
            null.calibration, i, theta, n, materiality, evidence, memory.get(name, {}), SCORE_SMOOTHING, len(null.names)
        )
        if judged is None:
            kept[name] = memory.get(name, {})
            why = "no label has matured" if not outcome.labelled else "training has too few labelled windows"
            findings.append(
                replace(head, verdict=Verdict.INCONCLUSIVE, reason=why, message=f"the labels cannot be judged: {why}")
            )
            continue
        kept[name] = judged.memory
        effect, usual = judged.deviation, float(theta[i]) - judged.deviation
        head = replace(
            head,
            value=float(theta[i]),
            reference_value=usual,
            effect=effect,
            materiality=materiality,
            direction=int(np.sign(effect)),
        )
        word = "above" if effect > 0 else "below"
        findings.append(
            replace(
                head,
                verdict=Verdict.WARNING if judged.flagged else Verdict.OK,
                threshold=judged.threshold,
                threshold_source=ThresholdSource.BUDGET,
                p_value=judged.p_value,
                p_adjusted=judged.p_value,
                minimum_detectable=judged.minimum_detectable,
                message=f"labels: {name} is {float(theta[i]):.3g}, {abs(effect):.2g} {word} training's {usual:.3g} "
                f"({outcome.labelled} labels)"
                if judged.flagged
                else "",
            )
        )
        if judged.detector.open[0]:
            began = datetime.fromisoformat(judged.memory["since"])
            smoothed = float(judged.detector.smoothed[0])
            findings.append(
                replace(
                    head,
                    statistic=f"{name} (lasting)",
                    verdict=Verdict.WARNING,
                    latched=True,
                    effect=smoothed,
                    direction=int(np.sign(smoothed)),
                    began_at=began,
                    message=f"labels: {name} has stayed {abs(smoothed):.2g} "
                    f"{'above' if smoothed > 0 else 'below'} training's {usual:.3g} since {_day(began, evidence)}",
                )
            )
        elif judged.closed or _has_latched_alert(evidence, "label"):
            findings.append(replace(head, statistic=f"{name} (lasting)", latched=True, reason="the shift is over"))
    return Judgement(findings=findings, memory=kept)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Single:
    """One statistic judged alone, by the fast and the slow path."""

    deviation: float
    p_value: float
    threshold: float
    minimum_detectable: float | None
    flagged: bool
    detector: Detector
    closed: bool
    memory: dict[str, Any]


def _single(
    calibration: Calibration,
    place: int,
    theta: Floats,
    n: Floats,
    materiality: float,
    evidence: Evidence,
    memory: Mapping[str, Any],
    smoothing: float,
    tests: int = 1,
) -> _Single | None:
    """Return one statistic's judgement at level q, or None where it has no z; the memory then stays as it was."""
    z, deviation = calibration.z(theta, n)[place], calibration.deviation(theta)[place]
    if not math.isfinite(z):
        return None
    q = evidence.budget.q
    alpha = q / tests
    p_value = float(calibration.p_of(calibration.z(theta, n))[place])
    detector = Detector.from_json(memory.get("detector"), 1)
    step = advance(
        detector,
        z=[z],
        deviation=[deviation],
        autocorrelation=[calibration.autocorrelation[place]],
        inflation=[calibration.inflation[place]],
        threshold=2 * tests / q,  # half the budget of the slow path: the other half is the features'
        materiality=[materiality],
        smoothing=smoothing,
    )
    since = memory.get("since") if step.detector.open[0] and not step.opened[0] else None
    if step.detector.open[0] and since is None:
        since = evidence.window.start.isoformat()
    scale = float(calibration.scale(n)[place])
    return _Single(
        deviation=float(deviation),
        p_value=p_value,
        threshold=max(float(calibration.critical(alpha)[place]) * scale, materiality),
        minimum_detectable=_finite(max(float(calibration.minimum_detectable(n, alpha)[place]), materiality)),
        flagged=p_value <= alpha and abs(deviation) >= materiality,
        detector=step.detector,
        closed=bool(step.closed[0]),
        memory={"detector": step.detector.to_json(), "since": since},
    )


def _memory(evidence: Evidence) -> Mapping[str, Any]:
    """Return the check's memory; that of another training profile does not fit and is dropped."""
    memory = evidence.memories.get("drift") or {}
    return memory if memory.get("reference") == evidence.reference.id else {}


def _since(before: Mapping[str, str], names: Sequence[str], detector: Detector, evidence: Evidence) -> dict[str, str]:
    """Return since when each open episode has been, by column."""
    now = evidence.window.start.isoformat()
    return {name: before.get(name, now) for name, is_open in zip(names, detector.open.tolist(), strict=True) if is_open}


def _has_latched_alert(evidence: Evidence, family: str) -> bool:
    return any(e.family == family and e.resolved is None and e.latched for e in evidence.episodes)


def _main(statistics: Sequence[Statistic]) -> int:
    """Return which statistic speaks for a column: its location, else its first."""
    return next((i for i, s in enumerate(statistics) if s.kind is StatisticKind.LOCATION and s.name == "location"), 0)


def _is_mean(statistic: Statistic) -> bool:
    return statistic.kind is StatisticKind.MEAN


def _scatter(values: Floats, places: Ints, size: int, fill: float = math.nan) -> Floats:
    full = np.full(size, fill)
    full[places] = values
    return full


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _what(statistic: Statistic) -> str:
    match statistic.kind:
        case StatisticKind.CATEGORY:
            return f"the share of {statistic.name.removeprefix('= ')}"
        case StatisticKind.SHARE:
            return "the share of its usual value" if statistic.name == "atom" else "the share of other values"
        case _:
            return {"rest": "the level of its unusual values"}.get(statistic.name, f"its {statistic.name}")


def _size(statistic: Statistic, effect: float) -> str:
    word = "above" if effect > 0 else "below"
    if statistic.kind is StatisticKind.SHARE:
        return f"{abs(effect):.0%} of rows {word}"
    return f"{abs(effect):.2g} sd {word}"


def _sentence(name: str, statistic: Statistic, effect: float, limit: float, rows: int, reference: Reference) -> str:
    share = statistic.kind is StatisticKind.SHARE
    flagged = f"{limit:.0%}" if share else f"{limit:.2g} sd"
    return (
        f"{name}: {_what(statistic)} is {_size(statistic, effect)} training "
        f"(flagged from {flagged}; {rows} rows){_calibrating(reference)}"
    )


def _calibrating(reference: Reference) -> str:
    if not reference.calibrating:
        return ""
    if not reference.timeline:
        return "; calibrating: training has no time line"
    return f"; calibrating: training has {len(reference.windows)} of {ENOUGH_WINDOWS} windows"


def _day(moment: datetime, evidence: Evidence) -> str:
    return moment.astimezone(evidence.spec.zone).strftime("%-d %b %Y")
