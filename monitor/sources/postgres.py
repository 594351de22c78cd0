"""Log tables in Postgres, read as Arrow in one snapshot.

A naive ``timestamp`` is taken as UTC. Booleans are the categories ``true`` and ``false``; dates and times are ages in
days at the row's own time, intervals seconds; arrays give ``name.length`` and, of numbers, ``name.norm``; a text gives
``name.length`` where training found too many values of it. Rows are one per (id, role, version) and tile.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from threading import Lock
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from monitor.column import Layout
from monitor.logtable import OutcomeSection, SourceSection
from monitor.model import ModelSection
from monitor.source import (
    NOTHING_KNOWN,
    SHARE,
    Batch,
    ColumnFault,
    KnownTile,
    Read,
    Reading,
    SourceError,
    TileFacts,
    concatenate,
    to_look_at,
    to_transfer,
)
from monitor.sources import selection
from monitor.sources.arrow import Decoding, Vocabulary
from monitor.sources.catalog import (
    ColumnDescription,
    Family,
    TableDescription,
    UnknownTableError,
    describe_table,
    json_keys,
    quote,
)
from monitor.sources.logged import CHAMPION, FUTURE, Log, joined_windows
from monitor.sources.plan import whole_reads
from monitor.sources.rows import ATTRIBUTE, batch_of, drawn, drawn_recipe, id_field, recipe_of, select_rows
from monitor.sources.selection import Field, Place, find, missing_column
from monitor.sources.session import Pool, Session, Sessions, address, connect, explained
from monitor.sources.symptoms import as_timestamptz, symptoms
from monitor.sources.truth import Truth, joined, label_counts, label_facts, same_id, truth_fields
from monitor.window import Window

ROWS = 65_536  # of a batch: its columns then fit the processor's cache
LARGE = 100_000  # rows from which on a table should not be read whole for an hour
ALWAYS = datetime(9999, 1, 1, tzinfo=UTC)
LONG_AGO = Window(start=datetime(2000, 1, 1, tzinfo=UTC), end=datetime(2000, 1, 2, tzinfo=UTC))
BUILTIN_OTHER = ("id", "trace_id", "model", "latency_ms", "score", "scores", "prediction", "value")


REPLAYED = """
    SELECT
        CASE
            WHEN NOT pg_is_in_recovery() THEN true
            WHEN pg_last_xact_replay_timestamp() >= {until} THEN true
            ELSE pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn()
                AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL)
        END,
        pg_last_xact_replay_timestamp()
"""
"""Whether a replica knows all that was committed before a time. Of a quiet primary it has replayed all it received."""

Counted = list[tuple[Any, ...]]
"""Rows of ``Log.facts``."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a read has decided before it transfers rows."""

    tiles: Sequence[Window]
    wanted: Sequence[Window]
    facts: Sequence[TileFacts]
    recipe: str
    began: float


def source_for(
    model: ModelSection, store_url: str, *, name: str = "", pool: Callable[[str], Pool] = lambda _: Pool()
) -> PostgresSource:
    """Return the source of a configured model; ``store_url`` is read where the configuration says ``store``.

    ``name`` is the model's; the built-in log tables hold the rows of all models and cannot be read without it.
    ``pool`` has the connections to an address; models that share one share the limit of reads at once.
    """
    if model.source.builtin and not name:
        raise ValueError("the built-in log tables are shared by all models; give the model's name")
    url, zone = model.source.address(store_url), model.window_spec().timezone
    return PostgresSource(url=url, section=model.source, model=name, lateness=model.lateness, zone=zone, pool=pool(url))


@dataclass(kw_only=True)
class PostgresSource:
    """One model's log table (and label table) in Postgres. Safe to use from several threads at once."""

    url: str
    section: SourceSection
    model: str = ""
    lateness: timedelta = timedelta(hours=48)
    role: str = CHAMPION
    zone: str = "UTC"
    """The time zone of the windows, in which calendar columns should be as well."""
    pool: Pool = field(default_factory=Pool, repr=False)
    _sessions: Sessions = field(init=False, repr=False)
    _known: dict[str, tuple[str, TableDescription]] = field(init=False, default_factory=dict, repr=False)
    _keys: dict[str, Mapping[str, Mapping[str, str]]] = field(init=False, default_factory=dict, repr=False)
    _lock: Lock = field(init=False, default_factory=Lock, repr=False)

    def __post_init__(self) -> None:
        limits = self.section.limits
        key = "source.url" if limits.replica_url is None else "source.limits.replica_url"
        self._sessions = Sessions(url=self.url, statement_timeout=limits.statement_timeout, pool=self.pool, key=key)

    # --- reading ------------------------------------------------------------------------------------------------------

    def read_inputs(
        self,
        window: Window,
        tiles: Sequence[Window],
        layout: Layout | None,
        *,
        now: datetime,
        known: Mapping[Window, KnownTile] = NOTHING_KNOWN,
    ) -> Read:
        """Return the inputs and predictions of the rows in ``tiles``; see ``Source.read_inputs``."""
        began = clock.monotonic()
        session = self._sessions.begin()
        try:
            self._ensure_replayed(session, tiles)
            log = self._inputs_log(session)
            chosen = self._select(log, layout)
            answers, answer_faults = self._answers(log)
            fields = [*chosen.fields, *answers]
            recipe = recipe_of(fields, self.section.prediction)
            used = [*chosen.columns, *_used(log.table, self.section.prediction.columns().values())]
            sampled = self.section.limits.sample is not None
            # how much is drawn depends on the rows of all tiles, settled or not
            asked = list(tiles) if sampled else to_look_at(tiles, known, recipe)
            counted = self._count(session, log, asked, used, now)
            halvings = self._halvings(counted)
            recipe = drawn_recipe(recipe, halvings)
            looked_at = _facts(counted, asked)
            wanted = to_transfer(asked, known, recipe, looked_at)
            facts, repeats = self._once(session, log, wanted, _of(counted, asked, wanted), used, now)
            reading = Reading(
                **_sums(facts),
                repeats=repeats,
                last_row_at=_last(counted),
                faults=(*self._missing_log_columns(log.table), *chosen.faults, *answer_faults),
                details={
                    "types": dict(chosen.types),
                    "null_ids": _null_ids(counted),
                    # among which null_ids were counted; those of settled tiles are not looked at again
                    "rows_counted": sum(fact.rows for fact in looked_at),
                    SHARE: 0.5**halvings,
                },
            )
            reading = self._with_strays(session, log, reading, window, now)
        except BaseException:
            session.end()
            raise
        condition = log.within("p", wanted, now + FUTURE, self.role)
        relation, rows = log.relation("p", condition, wanted, repeated=reading.duplicates > 0)
        statement = select_rows(log, relation, drawn(log, rows, halvings), fields)
        plan = _Plan(tiles=tiles, wanted=wanted, facts=facts, recipe=recipe, began=began)
        return self._read(session, statement, chosen.fields, plan, reading)

    def read_outcomes(
        self,
        window: Window,
        tiles: Sequence[Window],
        *,
        now: datetime,
        known: Mapping[Window, KnownTile] = NOTHING_KNOWN,
    ) -> Read:
        """Return the predictions of ``tiles`` with the labels known at ``now``; see ``Source.read_outcomes``."""
        began = clock.monotonic()
        session = self._sessions.begin()
        try:
            self._ensure_replayed(session, tiles)
            log = self._log(session)
            truth = self._truth(session, log)
            answers, faults = self._answers(log)
            attributes, unknown = self._attributes(log)
            answers, faults = [*answers, *attributes], [*faults, *unknown]
            used = self._used_outcomes(log, truth)
            # Where a label counts as known is an argument of each read and no part of how rows become values.
            recipe = recipe_of([*answers, *truth_fields(log, truth, ALWAYS)], self.section.prediction)
            sampled = self.section.limits.sample is not None
            asked = list(tiles) if sampled else to_look_at(tiles, known, recipe)
            seen = self._labelled(session, log, truth, asked, used, now)
            # as many as of the inputs, so that both are of the same requests
            halvings = self._halvings(self._count(session, log, asked, used, now)) if sampled else 0
            recipe = drawn_recipe(recipe, halvings)
            wanted = to_transfer(asked, known, recipe, seen)
            counted = self._count(session, log, wanted, used, now)
            facts, repeats = self._once(session, log, wanted, counted, used, now)
            condition = log.within("p", wanted, now + FUTURE, self.role)
            relation, rows = log.relation("p", condition, wanted, repeated=any(f.duplicates for f in facts))
            pairs = joined(relation, truth, log, now)
            prints = {(fact.window, fact.version): fact.fingerprint for fact in seen}
            # As many pairs as rows, and no prediction has two labels.
            corrected = any(prints[f.window, f.version].count > f.fingerprint.count for f in facts)
            facts = [replace(fact, fingerprint=prints[fact.window, fact.version]) for fact in facts]
            reading = Reading(
                **_sums(facts),
                repeats=repeats,
                labels_without_prediction=self._orphans(session, log, truth, window),
                last_row_at=_last(counted),
                faults=tuple(faults),
                details={"null_ids": _null_ids(counted), "corrected_labels": corrected, SHARE: 0.5**halvings},
            )
        except BaseException:
            session.end()
            raise
        fields = [*answers, *truth_fields(log, truth, now)]
        rows = drawn(log, rows, halvings)
        statement = select_rows(log, pairs, rows, fields, latest=truth if corrected else None)
        plan = _Plan(tiles=tiles, wanted=wanted, facts=facts, recipe=recipe, began=began)
        return self._read(session, statement, (), plan, reading)

    def fingerprints(
        self, tiles: Sequence[Window], layout: Layout | None, *, now: datetime, labels: bool = False
    ) -> list[TileFacts]:
        """Return what the rows of tiles look like, without transferring one; see ``Source.fingerprints``."""
        session = self._sessions.begin()
        try:
            self._ensure_replayed(session, tiles)
            if labels:
                log = self._log(session)
                truth = self._truth(session, log)
                return self._labelled(session, log, truth, tiles, self._used_outcomes(log, truth), now)
            log = self._inputs_log(session)
            used = [*self._select(log, layout).columns, *_used(log.table, self.section.prediction.columns().values())]
            return _facts(self._count(session, log, tiles, used, now), tiles)
        finally:
            session.end()

    def _read(
        self, session: Session, statement: sql.Composable, features: Sequence[Field], plan: _Plan, reading: Reading
    ) -> Read:
        def batches(details: dict[str, Any]) -> Iterator[Batch]:
            vocabularies: dict[str, Vocabulary] = {}
            if reading.rows:
                for arrow in session.batches(statement, ROWS):
                    yield batch_of(arrow, self.section.prediction, features, details, vocabularies)

        wanted = set(plan.wanted)
        return Read(
            tiles=plan.wanted,
            facts=plan.facts,
            reading=reading,
            batches=batches,
            close=session.end,
            elapsed=lambda: clock.monotonic() - plan.began,
            unchanged=[tile for tile in plan.tiles if tile not in wanted],
            recipe=plan.recipe,
        )

    def sample(
        self,
        windows: Sequence[Window],
        limit: int,
        with_labels: bool = False,
        *,
        now: datetime,
        layout: Layout | None = None,
    ) -> Batch:
        """Return at most ``limit`` rows of the windows with their ids: those of the smallest hash of the id."""
        windows = joined_windows(windows)
        session = self._sessions.begin()
        try:
            log = self._log(session)
            chosen = self._select(log, layout)
            answers, _ = self._answers(log)
            condition = log.within("p", windows, now + FUTURE, self.role)
            relation, rows = log.relation("p", condition, windows, repeated=not log.unique)
            fields = [*chosen.fields, *answers, id_field(log)]
            latest = None
            if with_labels:
                truth = self._truth(session, log)
                relation, latest = joined(relation, truth, log, now), truth
                fields += truth_fields(log, truth, now)
            statement = select_rows(log, relation, rows, fields, latest=latest, limit=limit)
            details: dict[str, Any] = {}
            found = [
                batch_of(arrow, self.section.prediction, chosen.fields, details)
                for arrow in session.batches(statement, ROWS)
            ]
        finally:
            session.end()
        return concatenate(found)

    def features(self) -> dict[str, Decoding]:
        """Return the logged features and how each is decoded; a text gives its category and its length.

        Raises SourceError, also for a configured feature that the table lacks.
        """
        session = self._sessions.begin()
        try:
            chosen = self._select(self._log(session), None)
        finally:
            session.end()
        if chosen.faults:
            raise SourceError(chosen.faults[0].message)
        return {feature.name: feature.decoding for feature in chosen.fields}

    def close(self) -> None:
        """Close the idle connections."""
        self._sessions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- what doctor asks ---------------------------------------------------------------------------------------------

    def check(self) -> list[str]:
        """Return one sentence for every problem: what is missing, slow or read in a way that may surprise."""
        try:
            session = self._sessions.begin()
        except SourceError as error:
            return [str(error)]
        try:
            log = self._log(session)
            problems = [fault.message for fault in self._missing_log_columns(log.table)]
            chosen = self._select(log, None)
            faults = (*chosen.faults, *self._answers(log)[1], *self._attributes(log)[1])
            problems += [fault.message for fault in faults]
            session.rows(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(log.table.identifier))
            name = log.table.qualified
            if not log.indexed and selection.has_row_versions(log.table):
                problems.append(_index_advice(log.table, log.time.name, "every window reads the whole table"))
            elif self._reads_whole(session, log):
                statement = f"CREATE INDEX CONCURRENTLY ON {name} ({quote(log.time.name)});"
                problems.append(
                    f"Postgres reads all of {name} for one hour, though {log.time.name} is indexed: its statistics are "
                    "out of date, or the rows of a BRIN index lie in no order of time; run ANALYZE "
                    f"{name}; and where that does not help, make an index with: {statement}"
                )
            if log.logged_at is not None and log.beyond(LONG_AGO, self.lateness, self.role) is None:
                problems.append(_index_advice(log.table, log.logged_at.name, "rows that come too late go uncounted"))
            if log.time.base != "timestamptz":
                local = self.zone if self.zone != "UTC" else "Europe/Berlin"
                problems.append(
                    f"{name}.{log.time.name} is {log.time.type}: its values are taken as UTC. If they are local times, "
                    f"say so: {as_timestamptz(log, local)}"
                )
            truth = None
            if self.section.outcome is not None:
                truth = self._truth(session, log)
                if truth.table is not None and truth.id is not None:
                    session.rows(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(truth.table.identifier))
                    if not truth.table.has_range_index(truth.id.name) and selection.has_row_versions(truth.table):
                        problems.append(
                            _index_advice(truth.table, truth.id.name, "joining labels reads the whole table")
                        )
                    if log.id.base != truth.id.base:
                        problems.append(
                            f"{name}.{log.id.name} is {log.id.type} and {truth.table.qualified}.{truth.id.name} is "
                            f"{truth.id.type}: they are compared as text, which is slower; give both the same type."
                        )
            if log.indexed or (log.table.approximate_rows or 0) < LARGE:
                matures = timedelta(0) if self.section.outcome is None else self.section.outcome.matures_after
                problems += symptoms(session, log, truth, chosen.places, zone=self.zone, matures_after=matures)
            return problems
        except SourceError as error:
            return [str(error)]
        finally:
            session.end()

    def _ensure_replayed(self, session: Session, tiles: Sequence[Window]) -> None:
        """Raise SourceError where a replica has not yet got as far as the end of these tiles."""
        if self.section.limits.replica_url is None or not tiles:
            return
        until = max(tile.end for tile in tiles)
        ((replayed, reached),) = session.rows(sql.SQL(REPLAYED).format(until=sql.Literal(until)))
        if not replayed:
            where = "nothing yet" if reached is None else f"what was written until {_moment(reached):%Y-%m-%d %H:%M:%S}"
            raise SourceError(
                f"The replica {address(self.url)} has replayed {where}, and this window ends at "
                f"{until:%Y-%m-%d %H:%M}; it is read once the replica has caught up, or remove limits.replica_url."
            )

    def _reads_whole(self, session: Session, log: Log) -> bool:
        """Return whether the plan for the last hour reads a large table from beginning to end."""
        if (log.table.approximate_rows or 0) < LARGE or not selection.has_row_versions(log.table):
            return False
        ((now,),) = session.rows(sql.SQL("SELECT now()"))
        condition = log.within("p", [Window(start=now - timedelta(hours=1), end=now)], now, self.role)
        statement = sql.SQL("EXPLAIN (FORMAT JSON) SELECT count(*) FROM {} AS p WHERE {}")
        ((found,),) = session.rows(statement.format(log.table.identifier, condition))
        return any(True for _ in whole_reads(found[0]["Plan"]))

    # --- resolving names ----------------------------------------------------------------------------------------------

    def _inputs_log(self, session: Session) -> Log:
        """Return the log as inputs are read from it: a label that is written into a row does not change its inputs."""
        outcome = self.section.outcome
        return replace(self._log(session), by_value=outcome is not None and self._own(outcome))

    def _own(self, outcome: OutcomeSection) -> bool:
        """Whether outcomes are columns of the log itself."""
        return outcome.table is None or (outcome.table == self.section.table and outcome.id == self.section.id)

    def _log(self, session: Session) -> Log:
        table = self._describe(session, self.section.table, "source.table")
        section = self.section
        time = self._column(table, section.time, "source.time")
        if time.family not in (Family.TIMESTAMP, Family.DATE):
            raise SourceError(
                f'source.time is "{time.name}", which is {time.type} in {table.qualified}; name a column with a time.'
            )
        logged_at = find(table, section.logged_at) if section.logged_at else None
        return Log(
            table=table,
            time=time,
            id=self._column(table, section.id, "source.id"),
            version=self._column(table, section.version, "source.version") if section.version else None,
            role=self._column(table, section.role, "source.role") if section.role else None,
            logged_at=logged_at.column if logged_at and logged_at.column.family is Family.TIMESTAMP else None,
            model=self.model if section.builtin else None,
        )

    def _missing_log_columns(self, table: TableDescription) -> list[ColumnFault]:
        name = self.section.logged_at
        if name is None:
            return []
        place = find(table, name)
        if place is not None and place.column.family is Family.TIMESTAMP:
            return []
        problem = "vanished" if place is None else "type"
        message = (
            f'source.logged_at is "{name}", which {table.qualified} does not have as a time; late rows go uncounted.'
        )
        return [ColumnFault(column=name, problem=problem, message=message)]

    def _column(self, table: TableDescription, written: str, role: str) -> ColumnDescription:
        place = find(table, written)
        if place is None or place.path:
            raise SourceError(missing_column(table, written, role))
        return place.column

    def _truth(self, session: Session, log: Log) -> Truth:
        outcome = self.section.outcome
        if outcome is None:
            raise SourceError(
                f"{self.model or 'This model'} has no source.outcome; name the table and column of labels."
            )
        written = outcome.label or outcome.value or ""
        own = self._own(outcome)
        table = log.table if own else self._describe(session, outcome.table or "", "source.outcome.table")
        label = find(table, written)
        if label is None:
            raise SourceError(missing_column(table, written, "source.outcome"))
        time = self._column(table, outcome.time, "source.outcome.time") if outcome.time else None
        if own:
            return Truth(label=label, time=time)
        key = self._column(table, outcome.id or self.section.id, "source.outcome.id")
        return Truth(label=label, time=time, table=table, id=key)

    def _select(self, log: Log, layout: Layout | None) -> selection.Selection:
        features = None if isinstance(self.section.features, str) else self.section.features
        keys = self._json_keys(log.table, layout) if features is None else {}
        if layout is not None:
            return selection.select_layout(log.table, layout, features, keys, "p")
        section, outcome = self.section, self.section.outcome
        named = [section.time, section.id, section.logged_at, section.version, section.role, section.latency]
        named += [*section.prediction.columns().values(), *section.raw.values()]
        if outcome is not None and outcome.table in (None, section.table):
            named += [outcome.label, outcome.value, outcome.time, outcome.id]
        if section.builtin:
            named += BUILTIN_OTHER
        used = selection.used_columns(log.table, [name for name in named if name is not None])
        return selection.select_all(log.table, used, features, keys, "p")

    def _json_keys(self, table: TableDescription, layout: Layout | None) -> Mapping[str, Mapping[str, str]]:
        """Return keys and their usual type for each JSON column whose objects become features.

        A single JSON column needs no look when training has named the keys.
        """
        documents = [column.name for column in table.columns if column.family is Family.JSON]
        scores = [name.split(".")[0] for name in self.section.prediction.columns().values()]
        documents = [name for name in documents if name not in scores]
        if not documents or (layout is not None and len(documents) == 1):
            return {name: {} for name in documents}
        with self._lock:
            known = self._keys.get(table.qualified)
        if known is None or layout is None:
            with self._catalog() as conn:
                found = {name: json_keys(conn, table, name) for name in documents}
            known = {name: {key: _usual(kinds) for key, kinds in keys.items()} for name, keys in found.items() if keys}
            with self._lock:
                self._keys[table.qualified] = known
        return known

    def _answers(self, log: Log) -> tuple[list[Field], list[ColumnFault]]:
        prediction = self.section.prediction
        fields: list[Field] = []
        faults: list[ColumnFault] = []
        for role, written in prediction.columns().items():
            place = find(log.table, written)
            if place is None:
                faults.append(
                    ColumnFault(
                        column=written,
                        problem="vanished",
                        message=missing_column(log.table, written, f"source.prediction.{role}"),
                    )
                )
                continue
            name = f"prediction {role}"
            if role == "label":
                found = selection.category(name, place, "p")
            else:
                found = selection.number(name, place, "p") or selection.parsed(name, place, "p")
            if found is not None:
                fields.append(found)
        return fields, faults

    def _place_of(self, log: Log, attribute: str) -> Place | None:
        """Return where the values are that rows are watched apart by: a feature's place, a column, or a key."""
        features = {} if isinstance(self.section.features, str) else self.section.features
        if attribute in features:
            return find(log.table, features[attribute].place)
        place = find(log.table, attribute)
        return find(log.table, f"features.{attribute}") if place is None and self.section.builtin else place

    def _attributes(self, log: Log) -> tuple[list[Field], list[ColumnFault]]:
        fields: list[Field] = []
        faults: list[ColumnFault] = []
        for name in self.section.attributes:
            place = self._place_of(log, name)
            chosen = None if place is None else selection.category(ATTRIBUTE + name, place, "p")
            if chosen is not None:
                fields.append(chosen)
                continue
            if place is None:
                message = missing_column(log.table, name, "source.slices")
            else:
                message = f'source.slices names "{name}", which is {place.column.type}; name a column of single values.'
            problem = "vanished" if place is None else "type"
            faults.append(ColumnFault(column=name, problem=problem, message=message))
        return fields, faults

    def _describe(self, session: Session, name: str, role: str) -> TableDescription:
        """Return the table's description; it is read again only when the catalog says that something changed."""
        with self._lock:
            known = self._known.get(name)
        if known is not None and _stamp(session, known[1]) == known[0]:
            return known[1]
        with self._catalog() as conn:
            try:
                table = describe_table(conn, name)
            except UnknownTableError as error:
                raise SourceError(f"{role}: {error}") from None
        with self._lock:
            self._known[name] = (_stamp(session, table), table)
            self._keys.pop(table.qualified, None)
        return table

    def _catalog(self) -> psycopg.Connection[Any]:
        try:
            return connect(self.url, autocommit=True)
        except psycopg.Error as error:
            raise explained(error, self.url, self._sessions.key) from None

    # --- counting and decoding ----------------------------------------------------------------------------------------

    def _halvings(self, counted: Counted) -> int:
        """Return how often the rows are halved until about no more are left than the configuration allows."""
        most = self.section.limits.sample
        rows, halvings = sum(row[2] for row in counted), 0
        while most is not None and rows > most << halvings:
            halvings += 1
        return halvings

    def _count(
        self,
        session: Session,
        log: Log,
        tiles: Sequence[Window],
        used: Sequence[ColumnDescription],
        now: datetime,
        *,
        repeated: bool = False,
    ) -> Counted:
        """Count rows per tile and version; see ``Log.facts``."""
        if not tiles:
            return []
        condition = log.within("p", tiles, now + FUTURE, self.role)
        return session.rows(log.facts(condition, tiles, used, self.lateness, repeated=repeated))

    def _once(
        self,
        session: Session,
        log: Log,
        tiles: Sequence[Window],
        counted: Counted,
        used: Sequence[ColumnDescription],
        now: datetime,
    ) -> tuple[list[TileFacts], int]:
        """Return the facts of tiles with what repeats within them, and how many keys occur in another tile as well.

        The time before the first tile is looked at as well where an index makes that cheap, so that a repeat across
        its beginning is found.
        """
        ids = sum(row[2] - row[5] for row in counted)
        if not ids or log.unique:
            return _facts(counted, tiles), 0
        around = list(tiles)
        if log.indexed and selection.has_row_versions(log.table):
            around.insert(0, Window(start=tiles[0].start - tiles[0].length, end=tiles[0].start))
        condition = log.within("p", around, now + FUTURE, self.role)
        ((rows, distinct),) = session.rows(log.keys(condition))
        if rows == distinct:
            return _facts(counted, tiles), 0
        ((repeats,),) = session.rows(log.repeats(condition, around))
        return _facts(self._count(session, log, tiles, used, now, repeated=True), tiles), int(repeats)

    def _used_outcomes(self, log: Log, truth: Truth) -> list[ColumnDescription]:
        used = _used(log.table, self.section.prediction.columns().values())
        used += [place.column for name in self.section.attributes if (place := self._place_of(log, name)) is not None]
        if truth.table is None:
            used += _used(log.table, [truth.label.written, *([truth.time.name] if truth.time else [])])
        return used

    def _labelled(
        self,
        session: Session,
        log: Log,
        truth: Truth,
        tiles: Sequence[Window],
        used: Sequence[ColumnDescription],
        now: datetime,
    ) -> list[TileFacts]:
        """Return the fingerprints of predictions with their labels, repeats included."""
        if not tiles:
            return []
        condition = log.within("p", tiles, now + FUTURE, self.role)
        named = sql.SQL("{} AS p").format(log.table.identifier)
        pairs = joined(named, truth, log, now)
        return label_facts(session.rows(label_counts(log, truth, pairs, condition, tiles, now, used)), tiles)

    def _with_strays(self, session: Session, log: Log, reading: Reading, window: Window, now: datetime) -> Reading:
        """Return the reading with the rows that no window will hold, where counting them is affordable."""
        details = dict(reading.details)
        null_times = future = beyond = 0
        if log.countable:
            ((null_times, future),) = session.rows(log.strays(window, now, self.role))
        else:
            details["strays"] = "not counted: no index"
        statement = log.beyond(window, self.lateness, self.role)
        if statement is not None:
            ((beyond,),) = session.rows(statement)
        elif log.logged_at is not None:
            details["beyond_horizon"] = f"not counted: no index on {log.logged_at.name}"
        return replace(
            reading,
            null_times=null_times,
            clock_skewed=reading.clock_skewed + future,
            beyond_horizon=beyond,
            details=details,
        )

    def _orphans(self, session: Session, log: Log, truth: Truth, window: Window) -> int:
        """Count labels known in this window whose prediction nobody logged; only where an index makes it cheap."""
        if truth.table is None or truth.time is None or not log.table.has_range_index(log.id.name):
            return 0
        times = Log(table=truth.table, time=truth.time, id=truth.id or log.id, model=log.model)
        statement = sql.SQL(
            "SELECT count(*) FROM {o} AS o WHERE {condition} AND NOT EXISTS (SELECT 1 FROM {p} AS p WHERE {same})"
        ).format(
            o=truth.table.identifier,
            p=log.table.identifier,
            condition=times.within("o", [window], window.end, None),
            same=same_id(log, truth),
        )
        return int(session.rows(statement)[0][0])


def _usual(kinds: Mapping[str, int]) -> str:
    real = {kind: count for kind, count in kinds.items() if kind != "null"}
    return max(real, key=lambda kind: real[kind]) if real else "string"


def _used(table: TableDescription, written: Sequence[str] | Any) -> list[ColumnDescription]:
    places = [find(table, name) for name in written]
    return [place.column for place in places if place is not None]


def _stamp(session: Session, table: TableDescription) -> str:
    """Return what changes whenever a column, its type or an index does."""
    statement = sql.SQL(
        "SELECT concat(c.oid, c.relkind, ' ', "
        "(SELECT string_agg(concat(a.attname, ':', a.atttypid, ':', a.atttypmod, ':', a.attnotnull), ',' "
        "ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), "
        "' ', "
        "(SELECT string_agg(concat(i.indexrelid, ':', i.indisvalid), ',' ORDER BY i.indexrelid) "
        "FROM pg_index i WHERE i.indrelid = c.oid)) "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {}"
    ).format(sql.Literal(table.schema), sql.Literal(table.name))
    rows = session.rows(statement)
    return str(rows[0][0]) if rows else ""


def _facts(rows: Counted, tiles: Sequence[Window]) -> list[TileFacts]:
    """Return facts per tile and version, in order."""
    found = [
        TileFacts.counted(
            tiles[tile],
            version,
            count=count,
            duplicates=count - null_ids - distinct,
            late=late,
            skewed=skewed,
            total=int(total),
        )
        for tile, version, count, total, distinct, null_ids, late, skewed, _ in rows
    ]
    return sorted(found, key=lambda f: (f.window, f.version))


def _of(rows: Counted, asked: Sequence[Window], wanted: Sequence[Window]) -> Counted:
    """Return what was counted of some of the tiles, by their places among these."""
    place = {tile: i for i, tile in enumerate(wanted)}
    return [(place[asked[row[0]]], *row[1:]) for row in rows if asked[row[0]] in place]


def _sums(facts: Sequence[TileFacts]) -> dict[str, int]:
    names = ("rows", "duplicates", "late", "clock_skewed")
    return {name: sum(getattr(fact, name) for fact in facts) for name in names}


def _null_ids(rows: Counted) -> int:
    return sum(row[5] for row in rows)


def _last(rows: Counted) -> datetime | None:
    return max((_moment(row[8]) for row in rows if row[8] is not None), default=None)


def _moment(value: date) -> datetime:
    """Return a time, or the beginning of a date, as an aware time; without a zone it is UTC."""
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _index_advice(table: TableDescription, column: str, why: str) -> str:
    return (
        f"{table.qualified} has no index on {column}, so {why}; make one with: "
        f"CREATE INDEX CONCURRENTLY ON {table.qualified} ({quote(column)});"
    )
