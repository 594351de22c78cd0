"""What the configuration says about how a model runs and is replaced: serving, circuit, retraining, release."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from monitor.section import LocalPath, PositiveDuration, SecretWebAddress, Section, Text, Texts, WebAddress, refusal


class ProcessSection(Section):
    """How the serving process is found: exactly one of the four."""

    pid_file: LocalPath | None = None
    """File with the process id, relative to this configuration."""
    command: Text | None = None
    """Regular expression that the command line must match."""
    port: int | None = Field(None, ge=1, le=65535)
    """Port on which the process listens."""
    prometheus: WebAddress | None = None
    """Its Prometheus endpoint, when it runs on another machine."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        names = ("pid_file", "command", "port", "prometheus")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"has {' and '.join(given)}" if given else "is empty"
            raise refusal(f"{found}; give exactly one of {', '.join(names)}", show=False)
        return self


class EndpointSection(Section):
    """Where the model can be asked directly, for parity and stability."""

    url: WebAddress
    """Address that takes one request."""
    protocol: Literal["v2", "mlflow", "json"]
    """Open Inference Protocol v2, MLflow /invocations, or plain JSON."""
    request: Any = Field(default_factory=lambda: {"instances": "$rows"})
    """Body of a JSON request: `$rows` stands for all rows as a list, `$row` for one row, `$row.temp` for its value."""
    answer: Text | None = None
    """Where the score is: an output (v2), a key of each prediction (mlflow), a path as predictions.score (json)."""
    token: SecretStr | None = None
    """Sent as a bearer token."""
    token_file: Text | None = None
    """File with token."""
    rows: int = Field(50, ge=1, le=10_000)
    """Most rows of one request."""
    per_second: float = Field(5.0, gt=0, le=1000)
    """Most requests in a second."""
    timeout: PositiveDuration = timedelta(seconds=10)
    """Longest time for one request."""
    production: bool = True
    """Whether it serves production; it is then asked with noise only where `stability: {on_production: true}`."""

    @model_validator(mode="after")
    def _has_rows(self) -> Self:
        if self.protocol == "json" and "$row" not in str(self.request):
            raise refusal("mentions neither $rows nor $row, so no row would be sent", "request", show=False)
        return self


class ServingSection(Section):
    """The process that answers."""

    process: ProcessSection | None = None
    """How the serving process is found."""
    every: PositiveDuration = timedelta(seconds=60)
    """Time between two samples of its memory, CPU, threads and files."""
    endpoint: EndpointSection | None = None
    """Where the model can be asked directly."""


class CircuitSection(Section):
    """When the model is taken out of service, and what is answered then."""

    automatic: bool = False
    """Open without a person when one of open_on is seen."""
    open_on: Texts = ()
    """Causes, as check.severity, such as quality.critical."""
    fallback: Mapping[str, Any] = Field(default_factory=dict)
    """Answer while the circuit is open: prediction column → value."""

    @field_validator("open_on")
    @classmethod
    def _causes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, cause in enumerate(value):
            check, _, severity = cause.partition(".")
            if not check or severity not in ("info", "warning", "critical"):
                raise refusal("must be a check and a severity such as quality.critical", position)
        return value

    @model_validator(mode="after")
    def _reason_to_open(self) -> Self:
        if self.automatic and not self.open_on:
            raise refusal("needs open_on; name the causes that may open the circuit", "automatic", show=False)
        return self


class RetrainingSection(Section):
    """What retraining costs, and whom to tell when it is approved."""

    cost: float | None = Field(None, ge=0)
    """What one retraining costs, all in all, in the model's currency."""
    max_age: PositiveDuration | None = None
    """Age of the newest training row from which retraining is advised anyway."""
    training_rows: LocalPath | None = None
    """File with the rows that a version was trained on, with `{version}` in its name; the daemon stores its training
    profile once the version answers."""
    approval: Literal["human"] = "human"
    """Who approves; a person always does."""
    webhook: SecretWebAddress | None = None
    """Address that is called, signed, once retraining is approved."""
    webhook_file: Text | None = None
    """File with webhook."""
    webhook_secret: SecretStr | None = None
    """Key with which the call is signed."""
    webhook_secret_file: Text | None = None
    """File with webhook_secret."""

    @field_validator("training_rows")
    @classmethod
    def _names_the_version(cls, value: str | None) -> str | None:
        if value is not None and "{version}" not in str(value):
            raise refusal("names the file of one version only; write {version} where the version stands")
        return value


class ReleaseSection(Section):
    """How a candidate takes over, and whom to tell when that is approved."""

    approval: Literal["human"] = "human"
    """Who approves; a person always does."""
    endpoint: EndpointSection | None = None
    """Where the candidate can be asked, for the gate and for stability beside the champion."""
    steps: tuple[float, ...] = ()
    """Shares of the requests that a canary answers, one after the other, before it takes over."""
    webhook: SecretWebAddress | None = None
    """Address that is called, signed, once a release is approved."""
    webhook_file: Text | None = None
    """File with webhook."""
    webhook_secret: SecretStr | None = None
    """Key with which the call is signed."""
    webhook_secret_file: Text | None = None
    """File with webhook_secret."""

    @field_validator("steps")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        for position, share in enumerate(value):
            if not 0 < share < 1:
                raise refusal("must be a share above 0 and below 1, such as 0.05", position)
            if position and share <= value[position - 1]:
                raise refusal("must be larger than the share before it", position)
        return value
