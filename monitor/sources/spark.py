"""Logs that outgrew one machine, profiled by Spark where they lie: Parquet, catalog tables, JDBC. Extra ``spark``.

Rows stay on the executors: each partition is profiled there with the code that profiles batches from Postgres, and only
profiles travel. The executors need this package. A naive time is UTC. Spark keeps no snapshot of files to which others
write at the same time; a read in which a second pass finds other rows than the first fails and is to be repeated.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from psycopg import sql

from monitor.column import Layout, NumericColumn
from monitor.logtable import PredictionSection, SourceSection
from monitor.section import suggestion
from monitor.source import Batch, ColumnFault, Kind, Read, Reading, SourceError, T, TileFacts
from monitor.sources.arrow import DERIVED, FIGURES, LENGTH, NORM, TEXT, Decoding, Vocabulary
from monitor.sources.logged import CHAMPION, FUTURE, joined_windows
from monitor.sources.rows import batch_of, recipe_of
from monitor.sources.selection import Field
from monitor.text import LONGEST, UNKNOWN
from monitor.tile import Parts
from monitor.window import Window

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

ROWS = 65_536  # of a batch
NUMBERS = ("byte", "short", "integer", "long", "float", "double", "decimal")
TIMES = ("timestamp", "timestamp_ntz", "date")
PROFILES = "rows long, body binary"


def open_table(session: SparkSession, place: str, *, options: Mapping[str, str] | None = None) -> DataFrame:
    """Return the rows at a place: ``jdbc:…`` with its ``options``, a path of Parquet files, or a table of the catalog.

    Raises SourceError when there is nothing that Spark can read.
    """
    from pyspark.errors import PySparkException

    try:
        if place.startswith("jdbc:"):
            frame = session.read.format("jdbc").options(url=place, **(options or {})).load()
        elif "/" in place:
            frame = session.read.options(**(options or {})).parquet(place)
        else:
            frame = session.table(place)
        frame.schema  # noqa: B018  # Spark looks for it only now
    except (PySparkException, _java_error()) as error:
        shown = place.partition("?")[0]  # parameters of JDBC may hold a password
        raise SourceError(
            f"Spark cannot read {shown} ({_first_line(error)}); give a path of Parquet files, a table of the "
            "catalog, or jdbc:… with the options dbtable and driver."
        ) from None
    return frame


@dataclass(kw_only=True)
class SparkSource:
    """The inputs and predictions of one model in a table that Spark reads; names of columns as in ``section``."""

    frame: DataFrame
    section: SourceSection
    lateness: timedelta = timedelta(hours=48)
    role: str = CHAMPION

    def read_inputs(self, tiles: Sequence[Window], layout: Layout, *, now: datetime) -> Read:
        """Return the rows of ``tiles``, ready for ``build_inputs``; raises SourceError when they cannot be read.

        What was counted is known at once; a repeated key counts once per tile, the first logged stays.
        """
        from pyspark.sql import functions as sf

        section, frame = self.section, self.frame
        if section.limits.sample is not None:
            raise SourceError("Spark profiles every row; remove source.limits.sample.")
        self._require(section.time, "source.time", TIMES)
        self._require(section.id, "source.id")
        chosen, faults = self._select(layout)
        answers, answer_faults = self._answers()
        fields = {**chosen, **answers}
        rows = frame.where(self._within(tiles, now + FUTURE)).withColumn("monitor tile", self._tile(tiles))
        version = (
            sf.lit("")
            if section.version is None
            else sf.coalesce(self._column(section.version).cast("string"), sf.lit(""))
        )
        rows = rows.withColumn("monitor version", version)
        with _explaining():
            facts = self._facts(rows, tiles, [column for column, _ in fields.values()])
        wanted = [sf.col("`monitor version`")] if section.version is not None else []
        named = [
            column.alias(name if name.startswith("monitor ") else f"f {name}") for name, (column, _) in fields.items()
        ]
        once = self._once(rows) if any(fact.duplicates for fact in facts) else rows
        once = once.select(self._column(section.time).cast(self._time_type()).alias("monitor time"), *wanted, *named)
        names = once.columns
        features = [_frozen(name, decoding, layout) for name, (_, decoding) in chosen.items()]
        counted = {
            name: sum(getattr(fact, name) for fact in facts) for name in ("rows", "duplicates", "late", "clock_skewed")
        }
        return SparkRead(
            # Where Spark hands rows to Python, a dot in a name would be taken for the field of a struct.
            frame=once.toDF(*(f"c{i}" for i in range(len(names)))),
            decode=_Decoder(names=names, prediction=section.prediction, features=features),
            tiles=tiles,
            facts=facts,
            reading=Reading(**counted, faults=(*faults, *answer_faults)),
            recipe=recipe_of([*features, *(_field(n, d) for n, (_, d) in answers.items())], section.prediction),
        )

    # --- columns ------------------------------------------------------------------------------------------------------

    def _type(self, written: str) -> str | None:
        """Return the kind of type of a column or of a field of a struct; None where there is none."""
        found: Any = self.frame.schema
        for part in [written] if written in self.frame.columns else written.split("."):
            if getattr(found, "fieldNames", None) is None or part not in found.fieldNames():
                return None
            found = found[part].dataType
        name: str = found.typeName()
        return f"array of {found.elementType.typeName()}" if name == "array" else name.partition("(")[0]

    def _column(self, written: str) -> Column:
        quoted = [written] if written in self.frame.columns else written.split(".")
        return self.frame[".".join(f"`{part}`" for part in quoted)]

    def _require(self, written: str, role: str, types: Sequence[str] = ()) -> None:
        kind = self._type(written)
        if kind is None:
            hint = suggestion(written, self.frame.columns)
            raise SourceError(f'{role} names the column "{written}", which Spark\'s table does not have; {hint}')
        if types and kind not in types:
            raise SourceError(f'{role} is "{written}", which is {kind} in Spark\'s table; name a column with a time.')

    def _time_type(self) -> str:
        kind = self._type(self.section.time)
        return "timestamp_ntz" if kind == "date" else str(kind)

    def _select(self, layout: Layout) -> tuple[dict[str, tuple[Column, Decoding]], list[ColumnFault]]:
        """Return expression and decoding of what training froze; what vanished or changed its type is a fault."""
        sections = self.section.features
        found: dict[str, tuple[Column, Decoding]] = {}
        faults: list[ColumnFault] = []
        for column in layout.columns:
            if column.part != "input":
                continue
            name, suffix = column.name, ""
            places = {} if isinstance(sections, str) else {key: section.place for key, section in sections.items()}
            if name not in places and self._type(name) is None:
                suffix = next((end for end in DERIVED if name.endswith(end)), "")
            base = name.removesuffix(suffix)
            written = places.get(base, base)
            kind = self._type(written)
            if kind is None:
                text = f"{name} was in training and is no column of Spark's table; log it again or train without it."
                faults.append(ColumnFault(column=name, problem="vanished", message=text))
                continue
            field = self._field(base, written, kind, suffix, column.kind)
            if field is None:
                text = (
                    f"{name} was {column.kind} in training and is {kind} in Spark's table; restore its type or train."
                )
                faults.append(ColumnFault(column=name, problem="type", message=text))
            else:
                found[field[0]] = field[1:]
        return found, faults

    def _field(
        self, name: str, written: str, kind: str, suffix: str, wanted: Kind
    ) -> tuple[str, Column, Decoding] | None:
        from pyspark.sql import functions as sf

        column = self._column(written)
        numeric_list = kind.removeprefix("array of ") in NUMBERS and kind.startswith("array")
        if suffix == NORM or (suffix == LENGTH and numeric_list):
            return (name, column.cast("array<double>"), Decoding.LIST) if numeric_list else None
        if suffix in FIGURES:
            return (name + TEXT, column.substr(1, LONGEST), Decoding.TEXT) if kind == "string" else None
        if suffix == LENGTH:
            sizes = {"string": sf.char_length, "binary": sf.octet_length}
            size = sf.size if kind.startswith(("array", "map")) else sizes.get(kind)
            return None if size is None else (name + LENGTH, sf.when(column.isNotNull(), size(column)), Decoding.NUMBER)
        if wanted is Kind.CATEGORICAL:
            if kind in ("boolean", *NUMBERS) and kind != "decimal":
                return name, column, Decoding.CATEGORY
            scalar = kind in ("string", "decimal", *TIMES)
            return (name, column.cast("string"), Decoding.CATEGORY) if scalar else None
        if kind in TIMES:
            return name, column, Decoding.AGE
        if kind in NUMBERS:
            return name, column.cast("double") if kind == "decimal" else column, Decoding.NUMBER
        declared = not isinstance(self.section.features, str) and name in self.section.features
        # Only who said that a text holds numbers gets them parsed; otherwise the type has changed.
        return (name, column, Decoding.NUMBER_TEXT) if kind == "string" and declared else None

    def _answers(self) -> tuple[dict[str, tuple[Column, Decoding]], list[ColumnFault]]:
        found: dict[str, tuple[Column, Decoding]] = {}
        faults: list[ColumnFault] = []
        for role, written in self.section.prediction.columns().items():
            kind = self._type(written)
            if kind is None:
                text = f"source.prediction.{role} names {written}, which Spark's table does not have; correct the name."
                faults.append(ColumnFault(column=written, problem="vanished", message=text))
            elif role == "label":
                found[f"prediction {role}"] = (self._column(written).cast("string"), Decoding.CATEGORY)
            elif kind == "string":
                found[f"prediction {role}"] = (self._column(written), Decoding.NUMBER_TEXT)
            else:
                found[f"prediction {role}"] = (self._column(written).cast("double"), Decoding.NUMBER)
        return found, faults

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _moment(self, at: datetime) -> Column:
        """Return a time to compare the time column with, so that files and partitions without it are left out."""
        from pyspark.sql import functions as sf

        kind = self._type(self.section.time)
        if kind == "timestamp":
            return sf.lit(at)
        return sf.expr(f"TIMESTAMP_NTZ '{at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')}'")

    def _within(self, tiles: Sequence[Window], until: datetime) -> Column:
        from pyspark.sql import functions as sf

        time, condition = self._column(self.section.time), sf.lit(False)
        for window in joined_windows(tiles):
            if window.start < until:
                end = self._moment(min(window.end, until))
                condition = condition | ((time >= self._moment(window.start)) & (time < end))
        if self.section.role is None:
            return condition
        role = self._column(self.section.role).cast("string")
        same = role == sf.lit(self.role)
        return condition & ((role.isNull() | same) if self.role == CHAMPION else same)

    def _tile(self, tiles: Sequence[Window]) -> Column:
        """Return the number of a row's tile: by division where all are of one length, else by counting beginnings."""
        from pyspark.sql import functions as sf

        starts = [round(tile.start.timestamp() * 1_000_000) for tile in tiles]
        time = self._column(self.section.time)
        if self._type(self.section.time) != "timestamp":
            time = sf.convert_timezone(sf.lit("UTC"), sf.current_timezone(), time.cast("timestamp_ntz")).cast(
                "timestamp"
            )
        at = sf.unix_micros(time)
        length = starts[1] - starts[0] if len(starts) > 1 else 1
        if len(starts) == 1:
            return sf.lit(0)
        if starts == list(range(starts[0], starts[-1] + 1, length)):
            return sf.floor((at - sf.lit(starts[0])) / sf.lit(length)).cast("int")
        begun = sf.filter(sf.array(*map(sf.lit, starts)), lambda start: start <= at)
        return sf.size(begun) - 1

    def _facts(self, rows: DataFrame, tiles: Sequence[Window], used: Sequence[Column]) -> list[TileFacts]:
        from pyspark.sql import functions as sf

        key, time = self._column(self.section.id), self._column(self.section.time)
        late = skewed = sf.lit(0).cast("long")
        if self.section.logged_at is not None and self._type(self.section.logged_at) in TIMES:
            logged = self._column(self.section.logged_at)
            late = sf.count_if(logged > time + sf.lit(self.lateness))
            skewed = sf.count_if(time > logged + sf.lit(FUTURE))
        print_of = sf.sum(sf.xxhash64(key, time, *used).cast("decimal(38,0)"))
        counted = rows.groupBy("`monitor tile`", "`monitor version`").agg(
            sf.count(sf.lit(1)), sf.count(key), sf.count_distinct(key), late, skewed, print_of
        )
        found = [
            TileFacts.counted(
                tiles[tile],
                version,
                count=count,
                duplicates=ids - distinct,
                late=over,
                skewed=before,
                total=int(total),
            )
            for tile, version, count, ids, distinct, over, before, total in map(tuple, counted.collect())
        ]
        return sorted(found, key=lambda fact: (fact.window, fact.version))

    def _once(self, rows: DataFrame) -> DataFrame:
        """Return the rows with each key once per tile: the first logged, then that of the smallest hash."""
        from pyspark.sql import Window as Over
        from pyspark.sql import functions as sf

        key = self._column(self.section.id)
        order = [sf.xxhash64(*(self.frame[f"`{name}`"] for name in self.frame.columns))]
        if self.section.logged_at is not None and self._type(self.section.logged_at) in TIMES:
            order.insert(0, self._column(self.section.logged_at).asc_nulls_last())
        over = Over.partitionBy("`monitor tile`", "`monitor version`", key).orderBy(*order)
        return rows.withColumn("monitor repetition", sf.row_number().over(over)).where(
            key.isNull() | (sf.col("`monitor repetition`") == 1)
        )


@dataclass(frozen=True, kw_only=True)
class _Decoder:
    """What an executor needs to make batches of Arrow."""

    names: Sequence[str]
    prediction: PredictionSection
    features: Sequence[Field]
    vocabularies: dict[str, Vocabulary] = field(default_factory=dict)

    def __call__(self, arrow: pa.RecordBatch) -> Batch:
        return batch_of(arrow.rename_columns(self.names), self.prediction, self.features, {}, self.vocabularies)


class SparkRead(Read):
    """A read whose rows stay where they are: `mapped` works on the executors; iterating brings all rows here."""

    def __init__(self, *, frame: DataFrame, decode: _Decoder, **known: Any) -> None:
        def here(_details: dict[str, Any]) -> Iterator[Batch]:
            return map(decode, _batches(frame.toArrow().to_batches()))

        super().__init__(batches=here, **known)
        self._frame, self._decode = frame, decode

    def mapped(self, work: Callable[[Batch], list[tuple[int, T]]]) -> Iterator[list[tuple[int, T]]]:
        """Yield the profiles of each partition by place; raises SourceError when rows came or went in between."""
        decode = self._decode

        def profiled(arrow: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            parts: Parts[Any] = Parts()
            rows = 0
            for batch in map(decode, _batches(arrow)):
                parts.add(work(batch))
                rows += batch.rows
            body = pickle.dumps(list(parts.merged().items()))
            yield pa.RecordBatch.from_arrays(
                [pa.array([rows], pa.int64()), pa.array([body], pa.binary())], ["rows", "body"]
            )

        total = 0
        with _explaining():
            for row in self._frame.mapInArrow(profiled, PROFILES).toLocalIterator():
                total += row["rows"]
                yield pickle.loads(row["body"])  # noqa: S301  # what our own executors wrote
        if total != self.reading.rows:
            raise SourceError(
                f"Spark counted {self.reading.rows} rows and then read {total}, because the table was written to "
                "meanwhile; read it again."
            )


def _batches(arrow: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in batches of at least `ROWS` but for the last: Spark's own are small."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in arrow:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= ROWS:
            yield pa.concat_batches(waiting)
            waiting, rows = [], 0
    if rows:
        yield pa.concat_batches(waiting)


def _field(name: str, decoding: Decoding) -> Field:
    return Field(name=name, expression=sql.Identifier(name), decoding=decoding)


def _frozen(name: str, decoding: Decoding, layout: Layout) -> Field:
    """Return the field with the words that training knew of a text, and the length of an embedding."""
    known = {column.name: column for column in layout.columns}
    column = known.get(f"{name.removesuffix(TEXT)}.{UNKNOWN}")
    dimensions = {embedding.name: embedding.dimensions for embedding in layout.embeddings}
    return replace(
        _field(name, decoding),
        words=column.words if decoding is Decoding.TEXT and isinstance(column, NumericColumn) else None,
        dimensions=dimensions.get(name, 0),
    )


@contextlib.contextmanager
def _explaining() -> Iterator[None]:
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, _java_error()) as error:
        raise SourceError(f"Spark failed ({_first_line(error)}); its own log of the job says more.") from None


def _java_error() -> type[Exception]:
    from py4j.protocol import Py4JJavaError

    found: type[Exception] = Py4JJavaError
    return found


def _first_line(error: Exception) -> str:
    """Return what went wrong at the bottom: Java wraps causes in causes, and Python's errors on executors are last."""
    cause = getattr(error, "java_exception", None)
    while cause is not None and cause.getCause() is not None:
        cause = cause.getCause()
    text = str(error if cause is None else cause.toString()).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    if "Traceback (most recent call last)" in text:
        lines = [line for line in lines if not line.startswith("SQLSTATE")][-1:]
    return lines[0]
