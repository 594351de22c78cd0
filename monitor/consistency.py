"""Contradictions between parts of a configuration that are each valid on their own."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import typing
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ConfigDict, SecretStr, TypeAdapter, ValidationError

from monitor.document import Place
from monitor.duration import parse_duration
from monitor.section import suggestion
from monitor.settings import AddedChannel, AlertmanagerChannel, EmailChannel, SlackChannel, WebhookChannel

if TYPE_CHECKING:
    from monitor.config import Config
    from monitor.model import ModelSection

Contradiction = tuple[Place, str]

SLACK_HOSTS = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})


def contradictions(
    config: Config,
    check_options: Mapping[str, type] | None,
    channel_options: Mapping[str, type] | None,
    announced: set[str],
) -> Iterator[Contradiction]:
    """Yield the place and the end of a sentence for everything that does not fit together."""
    yield from _unknown_channels(config)
    yield from _unknown_models(config)
    yield from _addresses(config)
    for name, channel in config.channels.items():
        if isinstance(channel, AddedChannel):
            cls = (channel_options or {})[channel.type]
            yield from _misfits(cls, channel.options(), ("channels", name))
    for name, model in config.models.items():
        yield from _checks(model, ("models", name), check_options, announced)


def typed_options(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the durations of a dataclass as timedelta where they are written like `2d`.

    Raises ValueError for a text that is no duration.
    """
    hints = typing.get_type_hints(cls)
    typed = dict(options)
    for field in dataclasses.fields(cls):
        kinds = {hints[field.name], *typing.get_args(hints[field.name])}
        if timedelta in kinds and isinstance(typed.get(field.name), str):
            try:
                typed[field.name] = parse_duration(typed[field.name])
            except ValueError as error:
                raise ValueError(f"{field.name} {error}") from error
    return typed


def _unknown_channels(config: Config) -> Iterator[Contradiction]:
    named: list[tuple[Place, tuple[str, ...]]] = [(("routes", n, "to"), r.to) for n, r in enumerate(config.routes)]
    if config.alerts.escalate:
        named.append((("alerts", "escalate", "to"), config.alerts.escalate.to))
    if config.alerts.digest:
        named.append((("alerts", "digest", "to"), config.alerts.digest.to))
    for place, names in named:
        for name in names:
            if name not in config.channels:
                yield place, f'names "{name}", which is no channel; {suggestion(name, config.channels)}'


def _unknown_models(config: Config) -> Iterator[Contradiction]:
    for number, route in enumerate(config.routes):
        for name in route.match.model or ():
            if name not in config.models:
                place = ("routes", number, "match", "model")
                yield place, f'names "{name}", which is no model; {suggestion(name, config.models)}'


def _addresses(config: Config) -> Iterator[Contradiction]:
    private = config.security.allow_private_addresses
    addresses: list[tuple[Place, SecretStr | None]] = [(("deadman", "url"), config.deadman.url)]
    for name, channel in config.channels.items():
        if isinstance(channel, SlackChannel) and channel.webhook_url is not None:
            addresses.append((("channels", name, "webhook_url"), channel.webhook_url))
            host = urlsplit(channel.webhook_url.get_secret_value()).hostname or ""
            if host not in SLACK_HOSTS and not (private and is_loopback(host)):
                remedy = "copy the address from Slack, or use a channel of type webhook for other services"
                yield ("channels", name, "webhook_url"), f"leads to no host of Slack; {remedy}"
        elif isinstance(channel, WebhookChannel):
            addresses.append((("channels", name, "url"), channel.url))
        elif isinstance(channel, AlertmanagerChannel):
            if urlsplit(channel.url.get_secret_value()).scheme == "http" and not private:
                remedy = "use https, or set security.allow_private_addresses for one in the same network"
                yield ("channels", name, "url"), f"is not encrypted (http); {remedy}"
        elif isinstance(channel, EmailChannel) and channel.security == "none" and not is_loopback(channel.host):
            yield (
                ("channels", name, "security"),
                "is none for another machine, so mail could be read on its way; write starttls or tls",
            )
    for name, model in config.models.items():
        addresses.append((("models", name, "retraining", "webhook"), model.retraining.webhook))
        addresses.append((("models", name, "release", "webhook"), model.release.webhook))
    for place, secret in addresses:
        url = urlsplit(secret.get_secret_value()) if secret else None
        if url and url.scheme == "http" and not (private and is_loopback(url.hostname or "")):
            remedy = "use https; http is for this machine alone, with security.allow_private_addresses: true"
            yield place, f"is not encrypted (http); {remedy}"


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine by its spelling alone; nothing is looked up.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("localhost.example.org")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _checks(
    model: ModelSection, place: Place, check_options: Mapping[str, type] | None, announced: set[str]
) -> Iterator[Contradiction]:
    for name in model.checks:
        inner = (*place, "checks", name)
        options = model.options(name)
        cls = (check_options or {}).get(name)
        if cls is not None:
            yield from _misfits(cls, options, inner)
        elif check_options is not None and name not in announced:
            yield inner, f"is no check; {suggestion(name, {*check_options, *announced})}"
        yield from _thresholds(model, options.get("thresholds"), (*inner, "thresholds"))
    for cause in model.circuit.open_on if model.circuit else ():
        check = cause.partition(".")[0]
        if check_options is not None and check not in {*check_options, *announced}:
            yield (
                (*place, "circuit", "open_on"),
                f'names "{check}", which is no check; {suggestion(check, check_options)}',
            )


def _thresholds(model: ModelSection, thresholds: Any, place: Place) -> Iterator[Contradiction]:
    """Thresholds are statistic: number for every feature, or feature: {statistic: number} for one."""
    if not isinstance(thresholds, Mapping):
        return
    features = model.source.features
    subjects = {*features, *model.source.prediction.columns().values()} if not isinstance(features, str) else None
    for name, value in thresholds.items():
        if isinstance(value, Mapping) and subjects is not None and name not in subjects:
            yield (*place, name), f"is no feature or prediction of this model; {suggestion(name, subjects)}"
        for key, limit in value.items() if isinstance(value, Mapping) else [(None, value)]:
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit < float("inf"):
                inner = (*place, name) if key is None else (*place, name, key)
                yield inner, f"is {json.dumps(limit, default=str)} but must be a number, 0 or more"


def _misfits(cls: type, options: Mapping[str, Any], place: Place) -> Iterator[Contradiction]:
    """Yield what is wrong with the options of a registered dataclass; its fields are what it understands."""
    # pydantic drops unknown keys of a plain dataclass in silence, nested ones too, unless the class says otherwise
    strict = type(
        cls.__name__, (cls,), {"__pydantic_config__": ConfigDict(extra="forbid", arbitrary_types_allowed=True)}
    )
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    try:
        TypeAdapter(strict).validate_python(typed_options(cls, options))
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            inner = (
                *place,
                *(part for part in detail["loc"] if part in options or part in fields or isinstance(part, int)),
            )
            if detail["type"] == "unexpected_keyword_argument":
                name = str(detail["loc"][-1])
                valid = fields if len(detail["loc"]) == 1 else []
                inner = inner if valid else (*inner, name)
                yield (
                    inner,
                    f"is not a known key; {suggestion(name, valid)}" if valid else "is not a known key; remove it",
                )
            else:
                yield inner, f"is refused: {detail['msg'].removeprefix('Value error, ').rstrip('.')}"
    except ValueError as error:
        yield place, f"is refused: {error}"
