"""What the configuration says about the tables in which a model logs (`models.<name>.source`)."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, SecretStr, Tag, model_validator

from monitor.outcome import Task
from monitor.section import (
    DatabaseAddress,
    Duration,
    PositiveDuration,
    Section,
    SourceAddress,
    Text,
    Texts,
    refusal,
    suggestion,
)


class FeatureType(StrEnum):
    """How a feature is profiled."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    TEXT = "text"
    ARRAY = "array"


class FeatureSection(Section):
    """One input of the model and where it is logged."""

    column: Text | None = None
    """Column of the table; the feature's own name where neither column nor json is given."""
    json_path: Text | None = Field(None, alias="json", pattern=r"^[^.]+(\.[^.]+)+$")
    """`column.key` (or deeper) of a json or jsonb column, such as features.age."""
    type: FeatureType
    """numeric, categorical, boolean, timestamp, text or array."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.column is not None and self.json_path is not None:
            raise refusal("is given beside column; keep one of the two", "json", show=False)
        return self

    @property
    def place(self) -> str:
        """The column or `column.key` that is read."""
        return self.column or self.json_path or ""


class PredictionSection(Section):
    """Where the model's answer is logged: score and label, or value, or scores of many classes."""

    score: Text | None = None
    """Column with the probability of the positive class."""
    label: Text | None = None
    """Column with the decision (for many classes: the class) that was given out."""
    threshold: float | None = Field(None, gt=0, lt=1)
    """Cut-off on the score from which the decision is positive."""
    positive: Text | None = None
    """Text of the positive class in label and outcome, where they are not boolean or 0/1."""
    value: Text | None = None
    """Column with the predicted number (regression)."""
    scores: Mapping[str, Text] | None = Field(None, min_length=2)
    """Class → column with its probability (more than two classes)."""

    @model_validator(mode="after")
    def _one_task(self) -> Self:
        kinds = [name for name in ("score", "value", "scores") if getattr(self, name) is not None]
        if len(kinds) > 1:
            raise refusal(f"is given beside {kinds[0]}; a model has one of score, value, scores", kinds[1], show=False)
        if not kinds and self.label is None:
            raise refusal("names no column; give score and label, or value, or scores", show=False)
        if self.value is not None and self.label is not None:
            raise refusal("is given beside value; a regression has no label", "label", show=False)
        if self.threshold is not None and self.score is None:
            raise refusal("needs score: without a score there is nothing to cut", "threshold", show=False)
        return self

    @property
    def task(self) -> Task:
        """Binary, multiclass or regression."""
        if self.value is not None:
            return Task.REGRESSION
        return Task.MULTICLASS if self.scores is not None else Task.BINARY

    def columns(self) -> dict[str, str]:
        """Return the logged columns of the answer by their role: score, label, value, or scores.<class>."""
        named = {role: getattr(self, role) for role in ("score", "label", "value")}
        named |= {f"scores.{name}": column for name, column in (self.scores or {}).items()}
        return {role: column for role, column in named.items() if column is not None}


class OutcomeSection(Section):
    """Where the truth arrives, later."""

    table: Text | None = None
    """Table or view of the outcomes; the log table itself where it is not given."""
    id: Text | None = None
    """Column that joins an outcome to its prediction; needed with a table."""
    label: Text | None = None
    """Column with the true class."""
    value: Text | None = None
    """Column with the true number (regression)."""
    time: Text | None = None
    """Column with the time at which the outcome was known."""
    matures_after: Duration
    """How long after a window's end its outcomes are complete enough to judge."""


class LimitsSection(Section):
    """How gently the source is read."""

    max_readers: int = Field(2, ge=1, le=64)
    """Most reads of windows by one process at the same time; of models with the same address the smallest counts."""
    statement_timeout: PositiveDuration = timedelta(minutes=5)
    """Longest time for one statement."""
    replica_url: DatabaseAddress | None = None
    """A replica to read from instead; a window waits until the replica has replayed it."""
    replica_url_file: Text | None = None
    """File with replica_url."""
    sample: int | None = Field(None, ge=1000)
    """About the most rows read per window: of more, a half, a quarter … by the hash of the id; findings say so."""


def _features(value: Any) -> Any:
    if value == "auto":
        return value
    if not isinstance(value, dict):
        raise refusal("must be auto, or a mapping such as {temp: numeric}")
    # `temp: numeric` is short for `temp: {column: temp, type: numeric}`
    return {name: {"type": feature} if isinstance(feature, str) else feature for name, feature in value.items()}


def _slices(value: Any) -> Any:
    return [[item] if isinstance(item, str) else item for item in value] if isinstance(value, list) else value


Features = Annotated[
    Annotated[Literal["auto"], Tag("(auto)")] | Annotated[Mapping[str, FeatureSection], Tag("(mapping)")],
    Discriminator(lambda value: "(mapping)" if isinstance(value, Mapping) else "(auto)"),
    BeforeValidator(_features, json_schema_input_type=Literal["auto"] | dict[str, FeatureType | FeatureSection]),
]


def _shown(value: Any) -> Any:
    values = [value] if isinstance(value, str | int | float | bool) else value
    return [str(item).lower() if isinstance(item, bool) else str(item) for item in values] if values else values


ShownValues = Annotated[tuple[str, ...], BeforeValidator(_shown, json_schema_input_type=str | list[str])]
ALL_VALUES = ("all",)

BUILTIN = {
    "table": "monitor.prediction_log",
    "time": "occurred_at",
    "logged_at": "logged_at",
    "id": "request_id",
    "version": "model_version",
    "role": "role",
}
BUILTIN_OUTCOME = {"table": "monitor.outcome_log", "id": "request_id", "time": "observed_at"}


class SourceSection(Section):
    """Where inputs, predictions and outcomes are logged."""

    url: SourceAddress = SecretStr("store")
    """Address of the database with the logs; `store` is the monitor's own."""
    url_file: Text | None = None
    """File with url."""
    builtin: bool = False
    """Read the log tables that the client writes; then table, time, id and so on are known and must not be given."""
    table: Text
    """Table or view with inputs and predictions, with its schema."""
    time: Text
    """Column with the time of the prediction; it decides the window."""
    logged_at: Text | None = None
    """Column with the time at which the row was written; needed to count rows that come too late."""
    id: Text
    """Column with the request id; with role and version it is the key of a row."""
    version: Text | None = None
    """Column with the version of the model that answered."""
    role: Text | None = None
    """Column with champion, shadow or canary."""
    latency: Text | None = None
    """Column with the milliseconds that the answer took; the built-in log has one."""
    features: Features = "auto"
    """`auto`, or feature → {column or json, type}; `name: numeric` is short for a column of that name."""
    raw: Mapping[str, Text] = Field(default_factory=dict)
    """Feature → column, or `column.key` of a JSON column, with its value before preprocessing, or as a view computes it
    from raw inputs; `parity` compares the two."""
    prediction: PredictionSection
    """Where the model's answer is logged."""
    outcome: OutcomeSection | None = None
    """Where the truth arrives."""
    shown_values: Mapping[str, ShownValues] = Field(default_factory=dict)
    """Category feature → values that may be shown however rare they are, or `all`; others need 20 rows to be shown."""
    upstreams: Mapping[str, Texts] = Field(default_factory=dict)
    """Source system → features that come from it and break together."""
    slices: Annotated[
        tuple[tuple[Text, ...], ...],
        BeforeValidator(_slices, json_schema_input_type=list[str | list[str]]),
        Field(max_length=8),
    ] = ()
    """Columns or features, or pairs of them, by whose values outcomes are watched apart; at most eight."""
    limits: LimitsSection = LimitsSection()
    """How gently the source is read."""

    @classmethod
    def prepare(cls, given: dict[str, Any], _context: Mapping[str, Any]) -> None:
        """Fill in what follows from other keys: built-in tables, columns named like features, labels in the log."""
        builtin = given.get("builtin") is True
        if builtin:
            for key in BUILTIN:
                if given.get(key) not in (None, BUILTIN[key]):
                    raise refusal("is given beside builtin, whose tables are known; remove it", key, show=False)
            given.update(BUILTIN)
        features = given.get("features")
        if isinstance(features, dict):
            features = given["features"] = _features(features)
        for name, feature in features.items() if isinstance(features, dict) else ():
            if isinstance(feature, dict) and feature.get("column") is None and feature.get("json") is None:
                feature.update({"json": f"features.{name}"} if builtin else {"column": name})
        outcome = given.get("outcome")
        if isinstance(outcome, dict) and outcome.get("table") is None:
            # One statement then serves labels in a table of their own and labels in the log itself.
            implied = BUILTIN_OUTCOME if builtin else {key: given.get(key) for key in ("table", "id")}
            outcome.update({key: place for key, place in implied.items() if outcome.get(key) is None})

    def address(self, store_url: str) -> str:
        """Return where rows are read: the replica's address where there is one, ``store_url`` for `store`."""
        chosen = (self.limits.replica_url or self.url).get_secret_value()
        return store_url if chosen == "store" else chosen

    @property
    def latency_column(self) -> str | None:
        """The column with the milliseconds of an answer."""
        return "latency_ms" if self.builtin and self.latency is None else self.latency

    @property
    def attributes(self) -> tuple[str, ...]:
        """What rows are watched apart by, each once."""
        return tuple(dict.fromkeys(name for names in self.slices for name in names))

    @property
    def listed_values(self) -> dict[str, frozenset[str] | None]:
        """Feature to values that may be shown however rare they are; None is all."""
        return {name: None if v == ALL_VALUES else frozenset(v) for name, v in self.shown_values.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.outcome is not None:
            self._check_outcome(self.outcome)
        if not isinstance(self.features, str):
            self._check_features(self.features)
        self._check_groups()
        return self

    def _check_outcome(self, outcome: OutcomeSection) -> None:
        if outcome.id is None:
            raise refusal(
                "is missing; name the column that joins an outcome to its prediction", "outcome", "id", show=False
            )
        right, wrong = ("value", "label") if self.prediction.task is Task.REGRESSION else ("label", "value")
        if getattr(outcome, wrong) is not None:
            raise refusal(f"does not fit a {self.prediction.task} model; write {right}", "outcome", wrong, show=False)
        if getattr(outcome, right) is None:
            raise refusal("is missing; name the column with the truth", "outcome", right, show=False)

    def _check_features(self, features: Mapping[str, FeatureSection]) -> None:
        if not features:
            raise refusal("is empty; name the features or write auto", "features", show=False)
        seen: dict[str, str] = {}
        answers = {column: role for role, column in self.prediction.columns().items()}
        for name, feature in features.items():
            place = feature.place
            if place in seen:
                message = f"reads {place} like the feature {seen[place]}; a feature may be named once"
                raise refusal(message, "features", name, show=False)
            if place in answers:
                message = f"reads {place}, which is prediction.{answers[place]}; an answer is no input, remove it"
                raise refusal(message, "features", name, show=False)
            seen[place] = name

    def _check_groups(self) -> None:
        for name, raw in self.raw.items():
            features = {} if isinstance(self.features, str) else self.features
            if features and name not in features:
                raise refusal(f"is no feature of this model; {suggestion(name, features)}", "raw", name, show=False)
            if raw == (features[name].place if features else name):
                raise refusal(f"is {raw}, which is the feature itself; name its raw value", "raw", name, show=False)
        for name in self.shown_values if not isinstance(self.features, str) else ():
            if name not in self.features:
                message = f"is no feature of this model; {suggestion(name, self.features)}"
                raise refusal(message, "shown_values", name, show=False)
        owner: dict[str, str] = {}
        for upstream, names in self.upstreams.items():
            for position, name in enumerate(names):
                place = ("upstreams", upstream, position)
                if name in owner:
                    raise refusal(f"is named twice, first under {owner[name]}; keep one", *place)
                owner[name] = upstream
                if not isinstance(self.features, str) and name not in self.features:
                    raise refusal(f"is no feature of this model; {suggestion(name, self.features)}", *place)
        for position, names in enumerate(self.slices):
            if len(names) not in (1, 2) or len(set(names)) < len(names):
                raise refusal("must be one column or a pair of two", "slices", position, show=False)
            if {*names} in [{*others} for others in self.slices[:position]]:
                raise refusal("is named twice; keep one", "slices", position, show=False)
