"""What the configuration says about the purpose of a model and the price of its errors (`models.<name>.business`)."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from monitor import check
from monitor.outcome import Task
from monitor.section import Section, Text, refusal, suggestion

METRICS: Mapping[str, tuple[bool, frozenset[Task]]] = {
    name: (higher_is_better, frozenset(Task(task) for task in tasks.split()))
    for name, higher_is_better, tasks in (
        ("auc", True, "binary multiclass"),
        ("average_precision", True, "binary"),
        ("log_loss", False, "binary multiclass"),
        ("brier", False, "binary multiclass"),
        ("accuracy", True, "binary multiclass"),
        ("precision", True, "binary multiclass"),
        ("recall", True, "binary multiclass"),
        ("specificity", True, "binary"),
        ("f1", True, "binary multiclass"),
        ("calibration_error", False, "binary multiclass"),
        ("mae", False, "regression"),
        ("rmse", False, "regression"),
        ("r2", True, "regression"),
        ("cost_per_prediction", False, "binary multiclass regression"),
        ("regret_per_prediction", False, "binary multiclass regression"),
    )
}
"""Metrics that `good_enough` may name: whether higher is better, and the tasks that have them."""


class GoodEnough(Section):
    """The business's own line: what the model must keep to be worth using."""

    metric: Text
    """Name of the metric, such as cost_per_prediction, auc or mae."""
    at_most: float | None = None
    """Highest value that is still good enough (for costs and errors)."""
    at_least: float | None = None
    """Lowest value that is still good enough (for rates and ranks)."""

    @model_validator(mode="after")
    def _direction(self) -> Self:
        if self.metric not in METRICS:
            raise refusal(f"is no metric; {suggestion(self.metric, METRICS)}", "metric")
        right, wrong = ("at_least", "at_most") if METRICS[self.metric][0] else ("at_most", "at_least")
        if getattr(self, wrong) is not None:
            better = "higher" if right == "at_least" else "lower"
            raise refusal(f"makes no sense, since a {better} {self.metric} is better; write {right}", wrong, show=False)
        if getattr(self, right) is None:
            raise refusal(f"is missing; write the worst {self.metric} that is still good enough", right, show=False)
        return self

    @property
    def limit(self) -> float:
        """The worst value that is still good enough."""
        limit = self.at_most if self.at_least is None else self.at_least
        assert limit is not None  # _direction has seen to it
        return limit


class Costs(Section):
    """What one wrong answer costs: by kind for a classifier, per unit of error for a regression."""

    false_positive: float | None = Field(None, ge=0)
    """Cost of one false alarm."""
    false_negative: float | None = Field(None, ge=0)
    """Cost of one miss."""
    under: float | None = Field(None, ge=0)
    """Regression: cost of predicting one unit too little."""
    over: float | None = Field(None, ge=0)
    """Regression: cost of predicting one unit too much."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        given = {
            name for name in ("false_positive", "false_negative", "under", "over") if getattr(self, name) is not None
        }
        if given not in ({"false_positive", "false_negative"}, {"under", "over"}):
            raise refusal(
                "needs false_positive and false_negative, or under and over; give exactly one pair", show=False
            )
        if not any(getattr(self, name) for name in given):
            raise refusal("has only zeros, so nothing would ever cost anything; give one cost above 0", show=False)
        return self


class BusinessSection(Section):
    """What the model is for and what its errors cost; shown wherever a decision is taken."""

    automates: Text | None = None
    """What the model does for the business, in words."""
    manual_process: Text | None = None
    """How the same was or would be done by hand, in words."""
    good_enough: GoodEnough | None = None
    """The line below which the model is not worth using."""
    currency: str | None = Field(None, pattern=r"^[A-Z]{3}$")
    """ISO 4217 code of every amount of money of this model, such as USD."""
    costs: Costs | None = None
    """What one wrong answer costs."""
    fallback_cost: float | None = Field(None, ge=0)
    """What the manual process, or a constant answer, costs per case."""
    consequences: Text | None = None
    """What happens when the model is wrong, in words."""

    def money(self) -> check.Costs:
        """Return the numbers of this section as the checks take them."""
        limit = self.good_enough
        costs = self.costs or Costs.model_construct()
        return check.Costs(
            currency=self.currency or "",
            false_positive=costs.false_positive,
            false_negative=costs.false_negative,
            under=costs.under,
            over=costs.over,
            fallback=self.fallback_cost,
            good_enough={limit.metric: limit.limit} if limit else {},
            at_most=limit is None or limit.at_most is not None,
        )
