"""The reasons of a recommendation: which alternative is proven, what it brings, and why not another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from monitor.check import Evidence
from monitor.proof import Adjustment, Gain, Proof
from monitor.recommendation import Action, Recommendation
from monitor.window import DAY, Window

WINDOWS = 28  # of one evaluation, and the horizon of a benefit
LEVEL = 3.0  # standard errors of the reference
MOST_OF = 0.67  # of the best refit's gain: then recalibrating is enough


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
        """Whether rank or loss are far off, and the skill is below training's, or that of a constant, for certain."""
        beyond = self.rank_z < -LEVEL or self.loss_z > LEVEL
        return bool(beyond and self.upper < max(self.reference_skill, 0.0))


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
class Rationale:
    """The figures of one evaluation, and the words for them."""

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
        """Return the recommendation with reasons, benefit and cost; a refit that does not pay is only watched."""
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
            expected_benefit=None if benefit is None else round(benefit, 2),
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
