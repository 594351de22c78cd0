"""What the configuration says about one monitored model (`models.<name>`)."""

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Tag,
    field_validator,
    model_validator,
)

from monitor.business import METRICS, BusinessSection
from monitor.check import Budget
from monitor.deployment import CircuitSection, ReleaseSection, RetrainingSection, ServingSection
from monitor.holiday import dates_of, fault
from monitor.logtable import SourceSection
from monitor.outcome import Task
from monitor.section import Duration, PositiveDuration, Section, Text, Timezone, refusal, suggestion
from monitor.window import CalendarUnit, WindowSpec

OFF: Mapping[str, Any] = {"enabled": False}
"""How a check that is switched off by `name: false` is kept."""


class CatchUp(StrEnum):
    """Which windows are evaluated after a downtime."""

    ALL = "all"
    LATEST = "latest"
    NONE = "none"


def _day_or_moment(value: Any) -> date:
    if isinstance(value, date):  # a datetime is a date as well
        return value
    try:
        return datetime.fromisoformat(value) if len(value) > 10 else date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise refusal("must be a date such as 2013-03-01") from error


DayOrMoment = Annotated[
    date,
    PlainValidator(_day_or_moment, json_schema_input_type=str),
    PlainSerializer(lambda day: day.isoformat(), return_type=str, when_used="json"),
]


class ActiveSection(Section):
    """When the model is watched at all; dates are midnights in the time zone of the window."""

    start: DayOrMoment | None = Field(None, alias="from")
    """First day (or moment) that is watched."""
    until: DayOrMoment | None = None
    """First day (or moment) that is not watched any more."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        zone = ZoneInfo("UTC")
        if self.start and self.until and _moment(self.start, zone) >= _moment(self.until, zone):
            raise refusal("must be later than from", "until")
        return self


class AnnotationSection(Section):
    """Something that people should know about a time: a deployment, a migration, an injected fault."""

    start: DayOrMoment = Field(alias="from")
    """First day (or moment) that it is about."""
    until: DayOrMoment
    """First day (or moment) that it is not about any more."""
    text: Text
    """What stands in every message about that time."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if _moment(self.start, ZoneInfo("UTC")) >= _moment(self.until, ZoneInfo("UTC")):
            raise refusal("must be later than from", "until")
        return self


class CalendarSection(Section):
    """Windows that follow the calendar of one time zone."""

    calendar: CalendarUnit
    """hour, day, week or month."""
    timezone: Timezone = "UTC"
    """Time zone of the calendar, such as America/New_York."""


WindowSection = Annotated[
    Annotated[CalendarSection, Tag("(calendar)")] | Annotated[PositiveDuration, Tag("(width)")],
    Discriminator(lambda value: "(calendar)" if isinstance(value, Mapping | CalendarSection) else "(width)"),
]


def _options(value: Any) -> Any:
    """Let `name:` mean all defaults and `name: false` switch the check off."""
    if value is None or value is True:
        return {}
    return OFF if value is False else value


CheckOptions = Annotated[
    Mapping[str, Any], BeforeValidator(_options, json_schema_input_type=dict[str, Any] | bool | None)
]


class ModelSection(Section):
    """One monitored model."""

    active: ActiveSection = ActiveSection()
    """When the model is watched at all."""
    business: BusinessSection = BusinessSection()
    """What the model is for and what its errors cost."""
    source: SourceSection
    """Where inputs, predictions and outcomes are logged."""
    window: WindowSection
    """How time is cut: `{calendar: day, timezone: America/New_York}`, or a duration from 15m to 30d, aligned to UTC."""
    every: PositiveDuration | None = None
    """Step between windows, when smaller than the window (sliding); decisions and the budget count steps."""
    lag: Duration = timedelta(minutes=15)
    """Wait after a window's end for rows that are still being written."""
    lateness: Duration = timedelta(hours=48)
    """How long after its time a late or changed row is still looked for."""
    catch_up: CatchUp = CatchUp.ALL
    """Which windows are evaluated after a downtime: all, latest or none."""
    max_catch_up: PositiveDuration = timedelta(days=7)
    """Oldest window that is still caught up."""
    annotations: tuple[AnnotationSection, ...] = ()
    """What people should know about certain times; it stands in the messages about them."""
    holidays: tuple[str, ...] = ()
    """Countries (US, DE-BY) and dates (2013-12-24) whose windows are compared with training's holidays alone."""
    false_alerts_per_month: float = Field(0.5, gt=0, le=30)
    """Budget of messages without a cause, per model and month."""
    checks: Mapping[str, CheckOptions] = Field(default_factory=dict)
    """Check → its options; `name: false` switches a check off."""
    serving: ServingSection | None = None
    """The process that answers."""
    circuit: CircuitSection | None = None
    """When the model is taken out of service, and what is answered then."""
    retraining: RetrainingSection = RetrainingSection()
    """What retraining costs, and whom to tell when it is approved."""
    release: ReleaseSection = ReleaseSection()
    """Whom to tell when a release is approved."""

    @field_validator("holidays", mode="before")
    @classmethod
    def _dates_as_text(cls, value: Any) -> Any:
        return [str(item) if isinstance(item, date) else item for item in value] if isinstance(value, list) else value

    @field_validator("holidays")
    @classmethod
    def _known_holidays(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, item in enumerate(value):
            if re.fullmatch(r"[A-Z]{2}(-[A-Z0-9]{1,3})?", item):
                if problem := fault(item):
                    raise refusal(problem, position)
                continue
            try:
                if date.fromisoformat(item).isoformat() != item:
                    raise ValueError(item)
            except ValueError as error:
                raise refusal("must be a country such as US or a date such as 2013-12-24", position) from error
        return value

    @classmethod
    def prepare(cls, given: dict[str, Any], _context: Mapping[str, Any]) -> None:
        """Watch apart what fairness compares."""
        source, checks = given.get("source"), given.get("checks")
        fairness = checks.get("fairness") if isinstance(checks, dict) else None
        compared = fairness.get("slices") if isinstance(fairness, dict) else None
        if not isinstance(source, dict) or not isinstance(compared, list):
            return
        slices = source.get("slices") or []
        if isinstance(slices, list):
            listed = [[one] if isinstance(one, str) else one for one in slices]
            more = [one for one in compared if ([one] if isinstance(one, str) else one) not in listed]
            if more:
                source["slices"] = [*slices, *more]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_window()
        if self.every is not None and self.source.limits.sample is not None:
            message = "does not go with every, whose windows share what was read of each row once; remove one of them"
            raise refusal(message, "source", "limits", "sample", show=False)
        good_enough = self.business.good_enough
        task = self.source.prediction.task
        if good_enough is not None and task not in METRICS[good_enough.metric][1]:
            fitting = [name for name, (_, tasks) in METRICS.items() if task in tasks]
            message = f"is no metric of a {task} model; known are {', '.join(fitting)}"
            raise refusal(message, "business", "good_enough", "metric")
        costs = self.business.costs
        if costs is not None and (costs.under is not None) != (task is Task.REGRESSION):
            right = "under and over" if task is Task.REGRESSION else "false_positive and false_negative"
            raise refusal(f"does not fit a {task} model; give {right}", "business", "costs", show=False)
        if (
            good_enough is not None
            and good_enough.metric in ("cost_per_prediction", "regret_per_prediction")
            and not costs
        ):
            message = "needs business.costs, from which it is computed; give them"
            raise refusal(message, "business", "good_enough", "metric")
        for column in self.circuit.fallback if self.circuit else ():
            answers = set(self.source.prediction.columns().values())
            if column not in answers:
                raise refusal(
                    f"is no column of the prediction; {suggestion(column, answers)}",
                    "circuit",
                    "fallback",
                    column,
                    show=False,
                )
        return self

    def _check_window(self) -> None:
        window, every = self.window, self.every
        if isinstance(window, timedelta) and not timedelta(minutes=15) <= window <= timedelta(days=30):
            raise refusal("must be from 15m to 30d", "window")
        for key, width in (("window", window), ("every", every)):
            if isinstance(width, timedelta) and width % timedelta(minutes=15):
                raise refusal("must be a multiple of 15m", key)
        if every is not None and isinstance(window, CalendarSection):
            raise refusal(
                "does not go with a calendar window; write window as a duration, or remove it", "every", show=False
            )
        if every is not None and isinstance(window, timedelta) and every > window:
            raise refusal("must not be longer than window, or rows between windows would never be read", "every")

    def window_spec(self) -> WindowSpec:
        """Return how this model's time is cut."""
        if isinstance(self.window, CalendarSection):
            return WindowSpec(calendar=self.window.calendar, timezone=self.window.timezone)
        return WindowSpec(width=self.window, step=self.every)

    def holiday_dates(self, since: datetime, until: datetime) -> frozenset[str]:
        """Return the local dates (ISO) of the holidays in all years that a span of time touches."""
        zone = self.window_spec().zone
        return dates_of(self.holidays, since.astimezone(zone).year, until.astimezone(zone).year)

    def budget(self) -> Budget:
        """Return how many false alerts this model may send, per month and decision."""
        per_month = self.window_spec().per_month
        return Budget(per_month=self.false_alerts_per_month, decisions_per_month=per_month)

    def active_bounds(self) -> tuple[datetime | None, datetime | None]:
        """Return the first moment that is watched and the first that is not any more; None where there is no bound."""
        zone = self.window_spec().zone
        start, until = self.active.start, self.active.until
        return (
            None if start is None else _moment(start, zone),
            None if until is None else _moment(until, zone),
        )

    def notes_on(self, start: datetime, end: datetime) -> list[str]:
        """Return the annotations that a span of time touches."""
        zone = self.window_spec().zone
        return [a.text for a in self.annotations if _moment(a.start, zone) < end and start < _moment(a.until, zone)]

    def is_enabled(self, check: str) -> bool:
        """Return whether a check runs; every check does unless it is switched off."""
        return self.checks.get(check, {}).get("enabled") is not False

    def options(self, check: str) -> dict[str, Any]:
        """Return the options that are configured for a check, as written."""
        return {name: option for name, option in self.checks.get(check, {}).items() if name != "enabled"}


def _moment(day: date, zone: ZoneInfo) -> datetime:
    moment = day if isinstance(day, datetime) else datetime.combine(day, time())
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def model_name(name: str) -> str:
    """Return the name of a model if it can stand in URLs, metrics and file names; raises a refusal otherwise."""
    if not _MODEL_NAME.fullmatch(name):
        raise refusal("is no name for a model; use letters, digits, dots, dashes and underscores", show=False)
    return name
