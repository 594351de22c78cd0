"""The configuration: one YAML file, read, filled in from the environment and validated before anything starts."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError

from monitor.complaint import ConfigError, complaints, sentence
from monitor.consistency import contradictions, is_loopback
from monitor.document import DocumentError, read_document
from monitor.encryption import weakness
from monitor.model import ModelSection, model_name
from monitor.section import Section, nearest
from monitor.settings import (
    AlertsSection,
    AnyChannel,
    DeadmanSection,
    RetentionSection,
    RouteSection,
    SecuritySection,
    StoreSection,
    WebSection,
)
from monitor.window import DAY

__all__ = [
    "Config",
    "ConfigError",
    "ModelSection",
    "config_hash",
    "inactive_parts",
    "json_schema",
    "load",
    "nearest",
    "remarks",
]

INACTIVE: tuple[str, ...] = ("models.*.checks.multivariate",)
"""What is understood but does nothing yet, `*` for any name and `=` for one value.

Whoever builds a part removes its line."""


class Config(Section):
    """Everything that one installation is told; also the form of monitor.yaml."""

    store: StoreSection = StoreSection()
    """The monitor's own database."""
    models: Mapping[Annotated[str, AfterValidator(model_name)], ModelSection] = Field(default_factory=dict)
    """The monitored models by name."""
    channels: Mapping[str, AnyChannel] = Field(default_factory=dict)
    """Where messages can go, by a name of your choice."""
    routes: tuple[RouteSection, ...] = ()
    """Which messages go where; without any, every message goes to every channel."""
    alerts: AlertsSection = AlertsSection()
    """When an alert fires, recovers and repeats."""
    web: WebSection = WebSection()
    """Page, API and metrics."""
    deadman: DeadmanSection = DeadmanSection()
    """An outside address that expects a sign of life."""
    retention: RetentionSection = RetentionSection()
    """How long what is kept."""
    security: SecuritySection = SecuritySection()
    """What is allowed beyond the safe default."""

    _path: Path = PrivateAttr(default=Path("monitor.yaml"))

    @property
    def path(self) -> Path:
        """The file that this was read from."""
        return self._path

    @property
    def folder(self) -> Path:
        """The folder of the file; relative paths and the embedded store are below it."""
        return self._path.parent

    def effective_routes(self) -> tuple[RouteSection, ...]:
        """Return the routes, or the one to every channel when none is written."""
        if self.routes or not self.channels:
            return self.routes
        return (RouteSection(to=tuple(self.channels)),)


def load(
    path: Path,
    environ: Mapping[str, str],
    *,
    check_options: Mapping[str, type] | None = None,
    channel_options: Mapping[str, type] | None = None,
) -> Config:
    """Return the validated configuration in `path`.

    `check_options` and `channel_options` are the registered classes by name; where they are given, names of checks must
    be among them (or be announced in `INACTIVE`) and their options must fit the fields of the class. Raises ConfigError
    with one sentence for every problem.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        remedy = "write one with `monitor init URL --table T`, or name it with --config FILE"
        raise ConfigError(f"{path} does not exist; {remedy}.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); correct the path or its permissions.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    try:
        document = read_document(text, environ)
    except DocumentError as error:
        raise ConfigError(
            *(f"{path}, line {line}: {problem}." if line else f"{path}: {problem}." for line, problem in error.problems)
        ) from error
    if not isinstance(document.value, dict):
        raise ConfigError(f"{path} holds no configuration; it must begin with keys such as `models:`.")
    sections: dict[int, type[Section]] = {}
    context = {"folder": path.parent, "sections": sections, "channel_options": channel_options}
    try:
        config = Config.model_validate(document.value, context=context)
    except ValidationError as error:
        problems = complaints(error, document, path, sections)
        # The cause would print the values that the sentences leave out.
        raise ConfigError(*problems) from None
    config._path = path
    announced = {pattern.rpartition(".")[2] for pattern in INACTIVE if pattern.startswith("models.*.checks.")}
    found = list(contradictions(config, check_options, channel_options, announced))
    if found:
        raise ConfigError(*(sentence(path, document, place, problem) for place, problem in found))
    return config


def inactive_parts(config: Config) -> list[str]:
    """Return a sentence for every configured part whose feature this version does not have yet."""
    plain = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    places = sorted(place for pattern in INACTIVE for place in _matching(plain, pattern.split("."), ""))
    return [f"{place} is understood but not active yet in this version." for place in places]


def _matching(value: Any, pattern: list[str], place: str) -> list[str]:
    if not pattern:
        return [place] if value not in (None, {}, []) else []
    head, rest = pattern[0], pattern[1:]
    if "=" in head:
        key, _, wanted = head.partition("=")
        return [f"{place} (type {wanted})"] if isinstance(value, dict) and value.get(key) == wanted else []
    if isinstance(value, list) and head == "*":
        return [found for number, item in enumerate(value) for found in _matching(item, rest, f"{place}[{number}]")]
    if not isinstance(value, dict):
        return []
    names = list(value) if head == "*" else [head] if head in value else []
    return [found for name in names for found in _matching(value[name], rest, f"{place}.{name}" if place else name)]


def remarks(config: Config, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return a sentence for everything that is allowed but probably not meant.

    libpq takes PGSSLMODE and PGHOST from the environment where an address says nothing.
    """
    ways = ((key, weakness(url, environ)) for key, url in _databases(config))
    found = [f"{key} {why}; add sslmode=verify-full and sslrootcert=FILE." for key, why in ways if why]
    routes = config.effective_routes()
    used = {name for route in routes for name in route.to}
    for part in (config.alerts.escalate, config.alerts.digest):
        used |= set(part.to) if part else set()
    found += [
        f"channels.{name} is used by no route, so nothing is ever sent to it."
        for name in config.channels
        if name not in used
    ]
    found += [
        f"models.{name}.holidays does nothing for windows longer than a day, which hold other days as well."
        for name, model in config.models.items()
        if model.holidays and (model.window_spec().width or model.window_spec().pace) > DAY
    ]
    if not config.channels:
        found.append("No channel is configured, so alerts are only seen on the page and in SQL.")
    elif not any(not route.match.model_dump(exclude_none=True) for route in routes):
        found.append("No route matches everything, so some messages may go nowhere; end routes with `match: {}`.")
    if config.web.tokens is None and not is_loopback(config.web.address[0]):
        found.append(
            f"web.listen is {config.web.listen}, so everybody who reaches this machine reads the page, the metrics and "
            "the API; give web.tokens_file, or listen on 127.0.0.1."
        )
    if not config.models:
        found.append("No model is configured, so nothing is watched.")
    return found


def _databases(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the key and the address of every database, but not the words that stand for one."""
    stores = (("url", config.store.url), ("migrator_url", config.store.migrator_url))
    found = [(f"store.{key}", address) for key, address in stores]
    for name, model in config.models.items():
        found.append((f"models.{name}.source.url", model.source.url))
        found.append((f"models.{name}.source.limits.replica_url", model.source.limits.replica_url))
    yield from ((key, url) for key, secret in found if secret and "://" in (url := secret.get_secret_value()))


def config_hash(model: ModelSection) -> str:
    """Return the SHA-256, in hex, of what a model is told, without its secrets.

    Two files that mean the same give the same hash: order, spelling of durations and defaults that are written out do
    not matter. A default that changes with a version of the monitor does not change the hash; the version of the code
    is stored beside it.
    """
    plain = _without_secrets(model)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Section):
        hidden = {name for secret in value.secrets() for name in (secret, f"{secret}_file")}
        plain = value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        fields = type(value).model_fields.items()
        names = {name: field.alias or name for name, field in fields if name not in hidden}
        return {
            alias: _without_secrets(getattr(value, name)) if _has_section(getattr(value, name)) else plain[alias]
            for name, alias in names.items()
            if alias in plain
        }
    if isinstance(value, Mapping):
        return {str(key): _without_secrets(item) for key, item in value.items()}
    return value


def _has_section(value: Any) -> bool:
    return isinstance(value, Section) or (
        isinstance(value, Mapping) and any(isinstance(item, Section) for item in value.values())
    )


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the configuration file (draft 2020-12), for editors."""
    schema = Config.model_json_schema(by_alias=True)
    for definition in (schema, *schema["$defs"].values()):
        properties = definition.get("properties", {})
        required = [name for name in definition.get("required", []) if f"{name}_file" not in properties]
        by_file = [name for name in definition.get("required", []) if name not in required]
        if "builtin" in properties:
            given = [name for name in required if name in ("table", "time", "id")]
            required = [name for name in required if name not in given]
            definition["anyOf"] = [{"required": given}, {"required": ["builtin"]}]
        if by_file:
            definition["allOf"] = [
                {"anyOf": [{"required": [name]}, {"required": [f"{name}_file"]}]} for name in by_file
            ]
        if "required" in definition:
            definition["required"] = required
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "monitor.yaml",
    }
