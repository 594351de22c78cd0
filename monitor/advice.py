"""Advice: when a model's outcomes call for recalibration or retraining, and when they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from monitor.alert import Alert
from monitor.check import Evidence
from monitor.memo import per_reference
from monitor.outcome import OutcomeProfile, Task
from monitor.proof import Adjustment, History, Proof, ProofRequest, Prove, adjust, skill_sums
from monitor.rationale import LEVEL, WINDOWS, Evaluation, Rationale, choose
from monitor.recommendation import Action, Occasion, Recommendation, RecommendationState
from monitor.reference import Reference
from monitor.source import Floats
from monitor.stats.calibration import Calibration
from monitor.stats.classification import auc
from monitor.stats.resampling import mean_shift, skill, skill_bound
from monitor.window import Window

EVERY = 7
LEAST = 14  # windows left after broken and shocked ones are dropped
FAILURES = 2  # evaluations in a row
FIT = 60  # windows before the judged ones that a recalibration is fitted on
TOLERANCE = {Task.BINARY: 0.15, Task.MULTICLASS: 0.15, Task.REGRESSION: 0.375}  # five times materiality
MODEL, LABELS, POWER, AGE = "model", "labels", "power", "age"  # cause keys
SILENT = 7  # windows in a row without enough labels


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What an outcome window led to: changed recommendations, those of them that people hear of, and the memory."""

    recommendations: Sequence[Recommendation] = ()
    told: Sequence[Recommendation] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)


@per_reference
def _training(reference: Reference) -> tuple[Floats, Floats, float]:
    """Return rank (AUC) and loss of training windows and the skill over all of them."""
    windows = [outcome for outcome in reference.outcomes if outcome is not None and outcome.labelled]
    binary = reference.task is Task.BINARY
    ranks = np.array([auc(w.joint) if binary else np.nan for w in windows])
    losses = np.array([w.mean("loss") for w in windows])
    return ranks, losses, skill(*skill_sums(windows))


def registration_notes(reference: Reference) -> list[str]:
    """Return what a person should know before relying on a training profile.

    One note: when the 5 % bound of the skill on honest predictions is not above 0, no skill on unseen time is proven.
    """
    windows = [outcome for outcome in reference.outcomes if outcome is not None and outcome.labelled]
    if not windows:
        return ["no honest predictions with labels: outcomes cannot be compared with training"]
    bound = skill_bound(*skill_sums(windows), 0.05, np.random.default_rng(0))
    if bound > 0:
        return []
    return [
        f"no proven skill on unseen time: compared with a constant answer the skill is at least {bound:.3f} (5 % bound)"
    ]


def advise(
    evidence: Evidence,
    series: Sequence[Mapping[str, Any]],
    calibration: Calibration | None,
    alerts: Sequence[Alert],
    recommendations: Sequence[Recommendation],
    occasion: Occasion,
    *,
    retraining_cost: float | None = None,
    history: History | None = None,
    prove: Prove | None = None,
) -> Advice:
    """Return the advice after one more outcome window.

    ``series`` is what the performance check remembers, this window last. Every 7 windows the last 28 are evaluated
    without those of data incidents and shocks (as long as 14 remain; if shocks leave fewer, they are the state, if
    incidents do, there is no advice); who dismisses INVESTIGATE_DATA says that the data are right, and its windows
    count. Two failures in a row are looked into: recalibration is tried on stored profiles (``history``), refits by
    ``prove``; what beats the champion on windows it was not fitted on is advised.
    """
    adviser = _Adviser(
        evidence=evidence,
        series=series,
        alerts=alerts,
        open_={r.cause_key: r for r in recommendations if r.state is RecommendationState.OPEN},
        occasion=occasion,
        retraining_cost=retraining_cost,
        history=history,
        prove=prove,
        pending=any(
            r.cause_key == MODEL
            and r.state is RecommendationState.APPROVED
            and r.model_version == occasion.model_version
            for r in recommendations
        ),
        accepted=_accepted(recommendations),
    )
    return adviser.advise(calibration)


def _accepted(recommendations: Sequence[Recommendation]) -> frozenset[str]:
    """Return the families of data incidents whose newest INVESTIGATE_DATA a person dismissed."""
    newest: dict[str, Recommendation] = {}
    for r in sorted(recommendations, key=lambda r: (r.window_start, r.opened_at)):
        if r.action is Action.INVESTIGATE_DATA:
            newest[r.cause_key.removeprefix("data:")] = r
    return frozenset(family for family, r in newest.items() if r.state is RecommendationState.DISMISSED)


def advise_by_age(
    evidence: Evidence,
    standing: Sequence[Recommendation],
    occasion: Occasion,
    max_age: timedelta | None,
) -> list[Recommendation]:
    """Return RETRAIN once for training rows older than ``max_age`` at the end of the window, and its withdrawal.

    Age counts from the newest training row, without times from when the profile was made. What a person decided
    about a version is not advised again within 28 windows.
    """
    reference = evidence.maybe_reference
    if reference is None:
        return []
    newest = reference.windows[-1].end if reference.timeline else reference.created_at
    age = evidence.window.end - newest
    about = [r for r in standing if r.cause_key == AGE]
    old = max_age is not None and age > max_age
    gone = [r for r in about if r.state is RecommendationState.OPEN]
    if old:
        gone = [r for r in gone if r.model_version != occasion.model_version]
    closed = [occasion.closed(r, "the training rows are not too old any more") for r in gone]
    decided = (RecommendationState.OPEN, RecommendationState.APPROVED, RecommendationState.DISMISSED)
    known = any(r.model_version == occasion.model_version and r.state in decided for r in about)
    if not old or known or max_age is None:
        return closed
    return [
        *closed,
        occasion.opened(
            AGE,
            Action.RETRAIN,
            why=f"The newest training row is of {newest:%d %b %Y}, {age.days} days before the end of this window; "
            f"retraining.max_age is {max_age.days} days.",
            why_not="Nothing says that the model errs more than before: this is advised because of its age alone.",
            evidence=({"age_days": age.days, "max_age_days": max_age.days},),
        ),
    ]


@dataclass(kw_only=True)
class _Adviser:
    """Holds what the steps of one advice share; lives for one call."""

    evidence: Evidence
    series: Sequence[Mapping[str, Any]]
    alerts: Sequence[Alert]
    open_: Mapping[str, Recommendation]
    occasion: Occasion
    retraining_cost: float | None
    history: History | None
    prove: Prove | None
    pending: bool = False
    """Whether a person approved advice on this very version, which is being carried out."""
    accepted: frozenset[str] = frozenset()
    """Families of data incidents of which a person said that the data are right, by dismissing INVESTIGATE_DATA."""
    changed: list[Recommendation] = field(default_factory=list)
    told: list[Recommendation] = field(default_factory=list)

    def advise(self, calibration: Calibration | None) -> Advice:
        kept: Mapping[str, Any] = self.evidence.memories.get("recommendation") or {}
        if kept.get("reference") != self.evidence.reference.id:
            kept = {}  # a new model is advised on by its own windows
        start = self.evidence.window.start
        count = int(kept.get("count", 0)) + 1
        mark = {
            "start": start.isoformat(),
            "end": self.evidence.window.end.isoformat(),
            "shock": self._shocked(),
            "data": self._incidents(start),
        }
        marks = [*kept.get("marks", ()), mark][-WINDOWS:]
        memory: dict[str, Any] = {
            "reference": self.evidence.reference.id,
            "count": count,
            "marks": marks,
            "failures": int(kept.get("failures", 0)),
            "passed": bool(kept.get("passed", True)),
            "last": dict(kept.get("last", {})),
        }
        held = self.open_.get(MODEL)
        if held is not None and held.action.value in memory["last"]:
            memory["last"][held.action.value]["count"] = count
        self._labels()
        if calibration is not None:
            self._power(calibration)
        if count >= WINDOWS and (count - WINDOWS) % EVERY == 0:
            self._evaluate(memory, marks)
        return Advice(recommendations=self.changed, told=self.told, memory=memory)

    # --- which windows count

    def _shocked(self) -> bool:
        """Whether an outcome alert is open that came at once; a slow one is the state, not a shock."""
        return any(a.family == "outcome" and a.is_open and a.open_tracks(latched=False) for a in self.alerts)

    def _incidents(self, start: datetime) -> list[str]:
        """Return the data incidents that cover the window, each within 28 windows of its opening."""
        reach = WINDOWS * self.evidence.spec.pace
        return [
            alert.family
            for alert in self.alerts
            if alert.is_data_incident
            and alert.covers(start)
            and alert.opened_window_start is not None
            and start < alert.opened_window_start + reach
        ]

    def _broken(self, mark: Mapping[str, Any]) -> bool:
        """Whether a window lies in a data incident, as far as nobody said that its data are right."""
        found = {*mark["data"], *self._incidents(datetime.fromisoformat(mark["start"]))}
        return bool(found - self.accepted)

    def _evaluate(self, memory: dict[str, Any], marks: Sequence[Mapping[str, Any]]) -> None:
        whole = [mark for mark in marks if not self._broken(mark)]
        calm = [m for m in whole if not m["shock"]]
        used = calm if len(calm) >= LEAST else whole if len(whole) >= LEAST else list(marks)
        windows = tuple(_window(mark) for mark in used)
        evaluation = self._judge(windows)
        memory["failures"] = memory["failures"] + 1 if evaluation.failed else 0
        held = self.open_.get(MODEL)
        if evaluation.failed and memory["failures"] >= FAILURES and len(whole) >= LEAST:
            if not self.pending and (held is None or held.action is Action.WATCH):
                excluded = tuple(_window(mark) for mark in marks if mark not in used)
                self._recommend(evaluation, excluded, memory, held)
        elif not evaluation.failed and memory["passed"] and held is not None:
            self._close(held, "two evaluations in a row were good")
        memory["passed"] = not evaluation.failed

    def _judge(self, windows: tuple[Window, ...]) -> Evaluation:
        reference = self.evidence.reference
        ranks, losses, reference_skill = _training(reference)
        wanted = {window.start.isoformat() for window in windows}
        points = [p for p in self.series if p["at"] in wanted and p["n"]]
        rank = np.array([np.nan if p["auc"] is None else p["auc"] for p in points])
        loss = np.array([np.nan if p["loss"] is None else p["loss"] for p in points])
        evaluation = Evaluation(windows=windows, rank_z=mean_shift(rank, ranks), loss_z=mean_shift(loss, losses))
        if not (evaluation.rank_z < -LEVEL or evaluation.loss_z > LEVEL) or self.history is None:
            return evaluation
        sums = skill_sums(self._profiles(windows))
        return replace(
            evaluation,
            skill=skill(*sums),
            upper=skill_bound(*sums, 0.95, np.random.default_rng(0)),
            reference_skill=reference_skill,
        )

    def _profiles(self, windows: Sequence[Window]) -> list[OutcomeProfile]:
        if self.history is None or not windows:
            return []
        wanted = {window.start for window in windows}
        found = self.history(windows[0].start, windows[-1].end)
        return [outcome for window, outcome in found if window.start in wanted]

    # --- what to advise

    def _recommend(
        self,
        evaluation: Evaluation,
        excluded: tuple[Window, ...],
        memory: dict[str, Any],
        held: Recommendation | None,
    ) -> None:
        windows = evaluation.windows
        pace, first = self.evidence.spec.pace, windows[0].start
        adjustment = self._adjustment(windows)
        recent_since = first - max(len(self.evidence.reference.windows), WINDOWS) * pace
        proof = Proof(reason="no challenger can be fitted here")
        if self.prove is not None:
            request = ProofRequest(
                windows=windows,
                fit_until=first,
                recent_since=recent_since,
                excluded=excluded,
                costs=self.evidence.costs,
                **self.occasion.subject,
            )
            proof = self.prove(request)
        choice = choose(adjustment, proof)
        draft = Rationale(
            evaluation=evaluation,
            adjustment=adjustment,
            proof=proof,
            choice=choice,
            excluded=excluded,
            recent_since=recent_since,
            evidence=self.evidence,
            series=self.series,
            retraining_cost=self.retraining_cost,
        )
        advice = draft.write(self.occasion.opened(MODEL, choice.action))
        if held is not None:
            if advice.action is held.action:  # still only to be watched: said once
                return
            self._close(held, f"replaced by {advice.action}")
        last = memory["last"].get(advice.action.value)
        known = last is not None and memory["count"] - last["count"] <= WINDOWS
        if known:  # the same advice again, soon after it was withdrawn: a reply to the first
            advice = replace(advice, extras={**advice.extras, "thread": last["thread"]})
        self.changed.append(advice)
        if advice.action is Action.WATCH:
            return
        self.told.append(advice)
        thread = last["thread"] if known else f"recommendation-{advice.id}"
        memory["last"][advice.action.value] = {"count": memory["count"], "thread": thread}

    def _adjustment(self, windows: Sequence[Window]) -> Adjustment:
        """Fit on up to 60 windows before the judged ones, in the beginning on training's honest predictions too."""
        if self.history is None:
            return Adjustment()
        reference = self.evidence.reference
        assert reference.outcome_layout is not None
        first = windows[0].start
        earlier = [outcome for _, outcome in self.history(first - FIT * self.evidence.spec.pace, first)]
        if len(earlier) < FIT:
            earlier = [o for o in reference.outcomes if o is not None] + earlier
        fit = OutcomeProfile.total(reference.outcome_layout, earlier)
        return adjust(fit, self._profiles(windows), self.evidence.costs)

    # --- where green would lie

    def _labels(self) -> None:
        recent = list(self.series[-SILENT:])
        held = self.open_.get(LABELS)
        if held is None and len(recent) == SILENT and all(point["unlabelled"] for point in recent):
            got, rows = sum(point["n"] for point in recent), sum(point["rows"] for point in recent)
            advice = self.occasion.opened(
                LABELS,
                Action.INSUFFICIENT_DATA,
                why=f"{got:,} of {rows:,} predictions of the last {SILENT} windows have a label: nobody can say "
                "whether the model is still right. Check the outcome feed.",
                evidence=({"labels": got, "predictions": rows, "windows": SILENT},),
            )
            self.changed.append(advice)
            self.told.append(advice)
        elif held is not None and len(recent) >= 3 and not any(point["unlabelled"] for point in recent[-3:]):
            self._close(held, "labels arrive again")

    def _power(self, calibration: Calibration) -> None:
        """Say once that even four weeks together could not show a shift that matters."""
        rows = np.median([point["n"] for point in self.series])
        task = self.evidence.reference.task
        sees = float(calibration.minimum_detectable([rows, rows], self.evidence.budget.q / 4, WINDOWS)[0])
        held = self.open_.get(POWER)
        unit = "residual standard deviations" if task is Task.REGRESSION else "probability"
        if held is None and len(self.series) >= WINDOWS and sees > TOLERANCE[task]:
            advice = self.occasion.opened(
                POWER,
                Action.INSUFFICIENT_DATA,
                why=f"even {WINDOWS} windows of about {rows:.0f} labels would only show a shift of {sees:.2f} {unit} "
                f"(tolerance {TOLERANCE[task]}): a green light means little. Use longer windows or more labels.",
                evidence=({"minimum_detectable": sees, "windows": WINDOWS, "labels": float(rows)},),
            )
            self.changed.append(advice)
        elif held is not None and sees <= 0.9 * TOLERANCE[task]:
            self._close(held, "there are enough labels now")

    def _close(self, held: Recommendation, reason: str) -> None:
        self.changed.append(self.occasion.closed(held, reason))


def _window(mark: Mapping[str, Any]) -> Window:
    return Window(start=datetime.fromisoformat(mark["start"]), end=datetime.fromisoformat(mark["end"]))
