"""One installation: the configuration turned into running parts. The only place that builds things."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from pydantic import ValidationError

import monitor
from monitor import check, embedded, notification, schema, store
from monitor.check import Budget, Check, Costs
from monitor.config import Config, ConfigError, ModelSection, config_hash, nearest
from monitor.consistency import typed_options
from monitor.embedded import EmbeddedPostgres
from monitor.notification import Channel, hook_name
from monitor.reference import Reference
from monitor.window import WindowSpec

if TYPE_CHECKING:
    from monitor.sources.postgres import PostgresSource
    from monitor.sources.session import Pool

EMBEDDED = "embedded"
CODE_VERSION = monitor.__version__
REFERENCES = 1024  # training profiles in memory, without what belongs to single windows: some hundred kilobytes each


class UnknownModelError(Exception):
    """A command names a model that the configuration does not have."""


@dataclass(frozen=True, kw_only=True)
class Monitored:
    """One monitored model, ready to be evaluated."""

    name: str
    section: ModelSection
    spec: WindowSpec
    checks: Mapping[str, Check]
    budget: Budget
    costs: Costs | None
    config_hash: str

    @property
    def currency(self) -> str | None:
        """Currency of every amount of this model."""
        return None if self.costs is None else self.costs.currency


@dataclass(kw_only=True)
class Installation:
    """Engine, models and channels of one configuration; close it to stop an embedded store that nobody else uses."""

    config: Config
    url: str
    """The store's address for SQLAlchemy; libpq's form is ``dsn``."""
    postgres: EmbeddedPostgres | None = None
    sources: dict[str, PostgresSource] = field(default_factory=dict)
    references: OrderedDict[str, Reference] = field(default_factory=OrderedDict)
    """Training profiles by id, those used last; they never change, so a copy never goes stale."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _pools: dict[str, Pool] = field(default_factory=dict, repr=False)

    @cached_property
    def engine(self) -> sa.Engine:
        """Connections for evaluations, pages and commands."""
        return schema.create_engine(self.url)

    @cached_property
    def pulse(self) -> sa.Engine:
        """Connections of their own for heartbeats and the dispatcher, so that a busy evaluation cannot starve them."""
        return schema.create_engine(self.url, application_name="drift-monitor pulse", pool_size=3, max_overflow=1)

    @property
    def dsn(self) -> str:
        """The store's address for libpq."""
        from monitor.sources.session import libpq_url

        return libpq_url(self.url)

    @cached_property
    def models(self) -> dict[str, Monitored]:
        """All configured models by name."""
        return {name: monitored(name, section) for name, section in self.config.models.items()}

    @cached_property
    def channels(self) -> dict[str, Channel]:
        """All configured channels by name."""
        known = notification.channels.load()
        private = self.config.security.allow_private_addresses
        built: dict[str, Channel] = {}
        for name, section in self.config.channels.items():
            if section.type not in known:
                continue  # understood but not active: the daemon says so when it starts
            accepted = set(notification.channels.options(section.type))
            options = {key: value for key, value in section.options().items() if value is not None}
            if "allow_private" in accepted:
                options["allow_private"] = private
            try:
                built[name] = notification.channels.build(section.type, options)
            except ValidationError as error:
                problem = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
                raise ConfigError(f"{self.config.path}: channels.{name}: {problem}.") from None
        return built

    @cached_property
    def hooks(self) -> dict[str, Channel]:
        """The webhooks that carry out what people approve, by their names in the outbox."""
        notification.channels.load()
        private = self.config.security.allow_private_addresses
        return {
            hook_name(name, what): notification.channels.build(
                "webhook", {"url": section.webhook, "secret": section.webhook_secret, "allow_private": private}
            )
            for name, model in self.config.models.items()
            for what, section in (("retraining", model.retraining), ("release", model.release))
            if section.webhook is not None
        }

    @property
    def carriers(self) -> dict[str, Channel]:
        """Whatever the outbox is delivered by: channels to people, and hooks."""
        return {**self.channels, **self.hooks}

    def model(self, name: str) -> Monitored:
        """Return a model; raises UnknownModelError with the nearest name."""
        if name in self.models:
            return self.models[name]
        near = nearest(name, self.models)
        known = f"did you mean {near}?" if near else f"known are {', '.join(self.models) or 'none'}."
        raise UnknownModelError(f"{name} is no model in {self.config.path}; {known}")

    def source(self, name: str) -> PostgresSource:
        """Return where a model's logged rows come from; it keeps its connections until the installation is closed."""
        from monitor.sources.postgres import source_for

        with self._lock:  # two evaluators may want the first read of a model at once
            if name not in self.sources:
                self.sources[name] = source_for(self.model(name).section, self.dsn, name=name, pool=self._pool)
            return self.sources[name]

    def _pool(self, url: str) -> Pool:
        """Return the connections to an address of logs, as few as the most careful of its models allows."""
        from monitor.sources.session import Pool

        if url not in self._pools:
            sections = [model.source for model in self.config.models.values()]
            most = min(one.limits.max_readers for one in sections if one.address(self.dsn) == url)
            self._pools[url] = Pool(most=most)
        return self._pools[url]

    def reference(self, identity: str, conn: sa.Connection | None = None) -> Reference:
        """Return a training profile that was ever in force by its id; one of those used last is in memory."""
        with self._lock:
            if identity in self.references:
                self.references.move_to_end(identity)
                return self.references[identity]
        with self.engine.begin() if conn is None else contextlib.nullcontext(conn) as using:
            body, created_at = store.load_reference_body(using, identity)

        def again() -> bytes:
            with self.engine.begin() as fresh:
                return store.load_reference_body(fresh, identity)[0]

        loaded = Reference.from_bytes(body, created_at=created_at, again=again)
        with self._lock:
            found = self.references.setdefault(identity, loaded)
            while len(self.references) > REFERENCES:
                self.references.popitem(last=False)
        return found

    def source_dsn(self, section: ModelSection) -> str:
        """Return the address at which a model's logs are read, for libpq; ``store`` means our own database."""
        from monitor.sources.session import libpq_url

        return libpq_url(section.source.address(self.dsn))

    def primary_dsn(self, section: ModelSection) -> str:
        """Return the address of the database that a model's logs are written to, for libpq."""
        from monitor.sources.session import libpq_url

        url = section.source.url.get_secret_value()
        return self.dsn if url == "store" else libpq_url(url)

    def close(self) -> None:
        """Give connections back, and stop the embedded store if this process was its last user."""
        for source in self.sources.values():
            source.close()
        for name in ("engine", "pulse"):
            engine = self.__dict__.get(name)
            if engine is not None:
                engine.dispose()
        if self.postgres is not None:
            self.postgres.stop()


def monitored(name: str, section: ModelSection) -> Monitored:
    """Return a model's checks, budget and costs as its configuration says."""
    spec = section.window_spec()
    known = check.checks.load()
    active = {
        n: check.checks.build(n, typed_options(cls, section.options(n)))
        for n, cls in known.items()
        if section.is_enabled(n)
    }
    costs = section.business.money() if section.business.costs or section.business.fallback_cost is not None else None
    return Monitored(
        name=name,
        section=section,
        spec=spec,
        checks=active,
        budget=section.budget(),
        costs=costs,
        config_hash=config_hash(section),
    )


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Return the validated configuration with the options of every registered check and channel known."""
    from monitor.config import load

    return load(path, environ, check_options=check.checks.load(), channel_options=notification.channels.load())


def register(conn: sa.Connection, watched: Monitored) -> None:
    """Write a model down with the configuration in force, so that status and page know it."""
    start, until = watched.section.active_bounds()
    store.register_model(
        conn,
        watched.name,
        config=watched.section.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        config_hash=watched.config_hash,
        code_version=CODE_VERSION,
        currency=watched.currency,
        period=watched.spec.pace,
        lag=watched.section.lag,
        active_from=start,
        active_until=until,
    )


@contextlib.contextmanager
def opened(config: Config, *, upgrade: bool = True) -> Iterator[Installation]:
    """Yield the installation of a configuration; an embedded store is started, and migrated when it is ours alone.

    A store of somebody's own is never migrated here: ``monitor db upgrade`` does that with the migrator's rights.
    """
    address = config.store.url.get_secret_value()
    postgres: EmbeddedPostgres | None = None
    if address == EMBEDDED:
        postgres = embedded.start(config.folder / ".monitor")
        address = postgres.url
    installation = Installation(
        config=config, url=schema.database_url(address).render_as_string(False), postgres=postgres
    )
    try:
        if postgres is not None and upgrade and schema.current(installation.url) != schema.head():
            schema.upgrade(installation.url)
        yield installation
    finally:
        installation.close()
