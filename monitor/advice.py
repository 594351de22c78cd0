"""Advice: when a model's outcomes call for recalibration or retraining, and when they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import numpy as np

from monitor.alert import Alert
from monitor.check import Evidence
from monitor.outcome import OutcomeProfile, Task
from monitor.proof import Adjustment, Gain, History, Proof, ProofRequest, Prove, adjust, skill_sums
from monitor.recommendation import Action, Recommendation, RecommendationState
from monitor.reference import Reference
from monitor.source import Floats
from monitor.stats.calibration import Calibration
from monitor.stats.classification import auc
from monitor.stats.resampling import mean_shift, skill, skill_bound
from monitor.window import DAY, Window

WINDOWS = 28  # of one evaluation
EVERY = 7
LEAST = 14  # windows left after broken and shocked ones are dropped
FAILURES = 2  # evaluations in a row
LEVEL = 3.0  # standard errors of the reference
MOST_OF = 0.67  # of the best refit's gain: then recalibrating is enough
FIT = 60  # windows before the judged ones that a recalibration is fitted on
TOLERANCE = {Task.BINARY: 0.15, Task.MULTICLASS: 0.15, Task.REGRESSION: 0.375}  # five times materiality
MODEL, LABELS, POWER = "model", "labels", "power"  # cause keys
SILENT = 7  # windows in a row without enough labels


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What an outcome window led to: changed recommendations, those of them that people hear of, and the memory."""

    recommendations: Sequence[Recommendation] = ()
    told: Sequence[Recommendation] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Four weeks of outcomes against training: z of the rank and of the loss, the skill and its upper bound."""

    windows: tuple[Window, ...]
    rank_z: float
    loss_z: float
    skill: float = float("nan")
    upper: float = float("nan")
    reference_skill: float = float("nan")

    @property
    def failed(self) -> bool:
        """Whether rank or loss are far off and the skill is below training's for certain."""
        beyond = self.rank_z < -LEVEL or self.loss_z > LEVEL
        return bool(beyond and self.upper < self.reference_skill)


@lru_cache(maxsize=32)
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
    *,
    now: datetime,
    new_id: Callable[[], UUID],
    model_version: str = "",
    role: str = "champion",
    slice_: Mapping[str, Any] | None = None,
    retraining_cost: float | None = None,
    history: History | None = None,
    prove: Prove | None = None,
) -> Advice:
    """Return the advice after one more outcome window.

    ``series`` is what the performance check remembers, this window last. Every 7 windows the last 28 are evaluated
    without those of data incidents and shocks (as long as 14 remain; if shocks leave fewer, they are the state, if
    incidents do, there is no advice). Two failures in a row are looked into: recalibration is tried on stored profiles
    (``history``), refits by ``prove``; what beats the champion on windows it was not fitted on is advised.
    """
    adviser = _Adviser(
        evidence=evidence,
        series=series,
        alerts=alerts,
        open_={r.cause_key: r for r in recommendations if r.state is RecommendationState.OPEN},
        now=now,
        new_id=new_id,
        identity={"model": evidence.model, "model_version": model_version, "role": role, "slice": dict(slice_ or {})},
        retraining_cost=retraining_cost,
        history=history,
        prove=prove,
    )
    return adviser.advise(calibration)


@dataclass(kw_only=True)
class _Adviser:
    """Holds what the steps of one advice share; lives for one call."""

    evidence: Evidence
    series: Sequence[Mapping[str, Any]]
    alerts: Sequence[Alert]
    open_: Mapping[str, Recommendation]
    now: datetime
    new_id: Callable[[], UUID]
    identity: Mapping[str, Any]
    retraining_cost: float | None
    history: History | None
    prove: Prove | None
    changed: list[Recommendation] = field(default_factory=list)
    told: list[Recommendation] = field(default_factory=list)

    def advise(self, calibration: Calibration | None) -> Advice:
        kept: Mapping[str, Any] = self.evidence.memories.get("recommendation") or {}
        start = self.evidence.window.start
        count = int(kept.get("count", 0)) + 1
        mark = {
            "start": start.isoformat(),
            "end": self.evidence.window.end.isoformat(),
            "shock": self._shocked(),
            "data": self._broken(start),
        }
        marks = [*kept.get("marks", ()), mark][-WINDOWS:]
        memory: dict[str, Any] = {
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

    def _broken(self, start: datetime) -> bool:
        """Whether a data incident covers the window, within 28 windows of its opening."""
        reach = WINDOWS * self.evidence.spec.pace
        return any(
            alert.is_data_incident
            and alert.covers(start)
            and alert.opened_window_start is not None
            and start < alert.opened_window_start + reach
            for alert in self.alerts
        )

    def _evaluate(self, memory: dict[str, Any], marks: Sequence[Mapping[str, Any]]) -> None:
        whole = [m for m in marks if not m["data"] and not self._broken(datetime.fromisoformat(m["start"]))]
        calm = [m for m in whole if not m["shock"]]
        used = calm if len(calm) >= LEAST else whole if len(whole) >= LEAST else list(marks)
        windows = tuple(_window(mark) for mark in used)
        evaluation = self._judge(windows)
        memory["failures"] = memory["failures"] + 1 if evaluation.failed else 0
        held = self.open_.get(MODEL)
        if evaluation.failed and memory["failures"] >= FAILURES and len(whole) >= LEAST:
            if held is None or held.action is Action.WATCH:
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
                **self.identity,
            )
            proof = self.prove(request)
        choice = choose(adjustment, proof)
        draft = _Draft(
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
        advice = draft.write(self._new(MODEL, choice.action))
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
            advice = replace(
                self._new(LABELS, Action.INSUFFICIENT_DATA),
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
            advice = replace(
                self._new(POWER, Action.INSUFFICIENT_DATA),
                why=f"even {WINDOWS} windows of about {rows:.0f} labels would only show a shift of {sees:.2f} {unit} "
                f"(tolerance {TOLERANCE[task]}): a green light means little. Use longer windows or more labels.",
                evidence=({"minimum_detectable": sees, "windows": WINDOWS, "labels": float(rows)},),
            )
            self.changed.append(advice)
        elif held is not None and sees <= 0.9 * TOLERANCE[task]:
            self._close(held, "there are enough labels now")

    def _new(self, cause_key: str, action: Action) -> Recommendation:
        return Recommendation(
            id=self.new_id(),
            cause_key=cause_key,
            action=action,
            opened_at=self.now,
            window_start=self.evidence.window.start,
            window_end=self.evidence.window.end,
            **self.identity,
        )

    def _close(self, held: Recommendation, reason: str) -> None:
        self.changed.append(
            replace(
                held,
                state=RecommendationState.SUPERSEDED,
                decided_by="monitor",
                decided_at=self.now,
                extras={**held.extras, "closed": reason},
            )
        )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to do, and whose gain says so; ``proven`` is false where refits could not be tried."""

    action: Action
    best: str = ""
    proven: bool = True


def choose(adjustment: Adjustment, proof: Proof) -> Choice:
    """Return the action that its gain proves: the cheaper one when it brings most of the best refit's gain."""
    recalibrated, moved = adjustment.recalibrated, adjustment.moved
    best = max(proof.gains, key=lambda name: proof.gains[name].mean, default="")
    refit = proof.gains.get(best)
    ceiling = 0.0 if refit is None else refit.mean
    if recalibrated is not None and recalibrated.proven and recalibrated.mean >= MOST_OF * ceiling:
        return Choice(action=Action.RECALIBRATE, best="recalibrated")
    if refit is not None and refit.proven:
        return Choice(action=Action.RETRAIN, best=best)
    if moved is not None and moved.proven:
        return Choice(action=Action.RECALIBRATE, best="moved")
    if refit is None:
        return Choice(action=Action.RETRAIN, proven=False)
    return Choice(action=Action.WATCH)


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """Puts figures into words."""

    evaluation: Evaluation
    adjustment: Adjustment
    proof: Proof
    choice: Choice
    excluded: tuple[Window, ...]
    recent_since: datetime
    evidence: Evidence
    series: Sequence[Mapping[str, Any]]
    retraining_cost: float | None

    def write(self, advice: Recommendation) -> Recommendation:
        gains = {name: gain for name, gain in self._gains() if gain is not None}
        chosen = gains.get(self.choice.best)
        benefit = self._benefit(chosen)
        cost = self.retraining_cost if self.choice.action is Action.RETRAIN else None
        action, why_not = self.choice.action, self._why_not(gains)
        if action is Action.RETRAIN and benefit is not None and cost is not None and benefit <= cost:
            action = Action.WATCH
            why_not = (
                f"a refit would bring {self._currency} {benefit:,.0f} in 28 windows, and costs {cost:,.0f}. {why_not}"
            )
        extras: dict[str, Any] = {"gains": {name: _figures(gain) for name, gain in gains.items()}}
        if action is Action.RECALIBRATE:
            extras |= {"map": self.adjustment.map, "cutoff": self.adjustment.cutoff}
        return replace(
            advice,
            action=action,
            why=self._why(action, gains),
            why_not=why_not,
            evidence=(self._facts(),),
            expected_benefit=benefit,
            expected_cost=cost,
            currency=None if benefit is None and cost is None else self._currency,
            train_since=self.recent_since if self.choice.best == "recent" else None,
            extras=extras,
        )

    @property
    def _currency(self) -> str:
        return "USD" if self.evidence.costs is None else self.evidence.costs.currency

    def _gains(self) -> list[tuple[str, Gain | None]]:
        return [
            ("recalibrated", self.adjustment.recalibrated),
            ("moved", self.adjustment.moved),
            *self.proof.gains.items(),
        ]

    def _facts(self) -> dict[str, Any]:
        evaluation, windows = self.evaluation, self.evaluation.windows
        return {
            "from": windows[0].start.isoformat(),
            "until": windows[-1].end.isoformat(),
            "windows": len(windows),
            "excluded": [window.start.isoformat() for window in self.excluded],
            "rank_z": _number(evaluation.rank_z),
            "loss_z": _number(evaluation.loss_z),
            "skill": _number(evaluation.skill),
            "skill_upper": _number(evaluation.upper),
            "skill_training": _number(evaluation.reference_skill),
        }

    def _why(self, action: Action, gains: Mapping[str, Gain]) -> str:
        evaluation, spec = self.evaluation, self.evidence.spec
        first, last = spec.label(evaluation.windows[0]), spec.label(evaluation.windows[-1])
        failing = (
            f"Two evaluations in a row failed: over {len(evaluation.windows)} windows from {first} to {last} the skill "
            f"against a constant answer was {evaluation.skill:.3f} (95 % bound {evaluation.upper:.3f}, training "
            f"{evaluation.reference_skill:.3f})."
        )
        chosen = gains.get(self.choice.best)
        if not self.choice.proven:
            return f"{failing} Retraining may pay, not proven: {self.proof.reason}."
        if chosen is None or action is Action.WATCH:
            return f"{failing} No alternative beat the champion beyond doubt."
        size = f"{chosen.mean:.3g} of {chosen.champion_loss:.3g} (at least {chosen.lower:.3g})"
        if self.choice.best == "moved":
            return (
                f"{failing} Moving the cut-off to {self.adjustment.cutoff:.2f}, chosen on earlier windows, would have "
                f"saved {self._currency} {size} per prediction."
            )
        if self.choice.best == "recalibrated":
            moved = (
                "" if self.adjustment.cutoff is None else f" The cut-off would move to {self.adjustment.cutoff:.2f}."
            )
            return f"{failing} Recalibrating on earlier windows would have lowered the loss by {size}.{moved}"
        what = "all rows so far" if self.choice.best == "expanding" else "recent rows"
        more = ""
        recent, expanding = gains.get("recent"), gains.get("expanding")
        if recent is not None and expanding is not None and expanding.mean > recent.mean + expanding.error:
            more = " The larger training set wins over the recent one: the gain is more data rather than drift."
        return f"{failing} A model refitted on {what} would have lowered the loss by {size}.{more}"

    def _why_not(self, gains: Mapping[str, Gain]) -> str:
        names = {
            "recalibrated": "recalibrating",
            "moved": "moving the cut-off",
            "recent": "refitting on recent rows",
            "expanding": "refitting on all rows",
        }
        others = [
            f"{names.get(name, name)}: {gain.mean:+.3g} ± {gain.error:.2g}"
            for name, gain in gains.items()
            if name != self.choice.best
        ]
        parts = [f"Others gained less or are unproven ({'; '.join(others)})."] if others else []
        if self.excluded:
            parts.append(f"{len(self.excluded)} windows with broken data or a shock are left out.")
        if self.proof.reason and self.choice.proven:
            parts.append(f"Refits were not tried: {self.proof.reason}.")
        return " ".join(parts)

    def _benefit(self, gain: Gain | None) -> float | None:
        """Return the expected benefit in money over the next 28 windows, None without costs."""
        if gain is None:
            return None
        each = gain.mean if self.choice.best == "moved" else gain.per_prediction
        if each is None:
            return None
        rows = float(np.mean([point["rows"] for point in self.series[-WINDOWS:]]))
        return each * rows * WINDOWS * (self.evidence.spec.pace / DAY) / max(self.evidence.window.length / DAY, 1e-9)


def _figures(gain: Gain) -> dict[str, float | int | None]:
    return {
        "mean": gain.mean,
        "error": gain.error if np.isfinite(gain.error) else None,
        "champion_loss": gain.champion_loss,
        "windows": gain.windows,
        "rows": gain.rows,
        "per_prediction": gain.per_prediction,
    }


def _number(x: float) -> float | None:
    return float(f"{x:.5g}") if np.isfinite(x) else None


def _window(mark: Mapping[str, Any]) -> Window:
    return Window(start=datetime.fromisoformat(mark["start"]), end=datetime.fromisoformat(mark["end"]))
