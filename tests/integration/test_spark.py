"""Spark comes to the same profiles as one process that reads the same rows from Postgres."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import pytest

from monitor.column import Column, Layout, freeze_categorical, freeze_numeric
from monitor.embedded import Database
from monitor.logtable import PredictionSection, SourceSection
from monitor.profile import Profile
from monitor.reference import SCORE, with_score
from monitor.source import NumericValues, SourceError
from monitor.sources.postgres import PostgresSource
from monitor.sources.spark import SparkSource, open_table
from monitor.tile import Tile, TileKey, TilePart, build_inputs
from monitor.window import Window

pytestmark = [
    pytest.mark.needs("java", "pyspark"),
    # Said wherever Arrow is used; no pandas takes part.
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
]

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TILES = [Window(start=START + i * HOUR, end=START + (i + 1) * HOUR) for i in range(3)]
WHOLE = Window(start=START, end=START + 3 * HOUR)
NOW = START + timedelta(days=1)
ROWS = 6_000
KEY = TileKey(model="m", part=TilePart.INPUTS, reference_id="r")
SECTION = SourceSection(
    table="public.log",
    time="occurred_at",
    logged_at="logged_at",
    id="request_id",
    version="version",
    role="role",
    prediction=PredictionSection(score="score", threshold=0.5),
)


def logged(seed: int = 0) -> pa.Table:
    """Rows with everything that goes wrong: repeats, NULL, NaN, late rows, other roles, rows outside of the tiles."""
    rng = np.random.default_rng(seed)
    second = rng.integers(-600, 3 * 3600 + 600, ROWS)
    times = [START + timedelta(seconds=int(s), microseconds=int(rng.integers(1_000_000))) for s in second]
    ids = [None if rng.random() < 0.01 else f"id {number}" for number in range(ROWS)]

    def often(values: Any, share: float) -> list[Any]:
        return [None if rng.random() < share else value for value in values.tolist()]

    numbers = rng.normal(size=ROWS) * 10.0 ** rng.integers(-3, 9, ROWS)
    numbers[rng.random(ROWS) < 0.02] = np.nan
    numbers[rng.random(ROWS) < 0.02] = np.inf
    table = pa.table(
        {
            "request_id": pa.array(ids, pa.string()),
            "occurred_at": pa.array(times, pa.timestamp("us", "UTC")),
            "logged_at": pa.array(
                [time + timedelta(seconds=float(rng.exponential(40_000))) for time in times], pa.timestamp("us", "UTC")
            ),
            "version": pa.array(often(rng.choice(["1", "2"], ROWS), 0.1), pa.string()),
            "role": pa.array(often(rng.choice(["champion", "shadow"], ROWS, p=[0.8, 0.2]), 0.1), pa.string()),
            "score": pa.array(often(rng.random(ROWS), 0.01), pa.float64()),
            "number": pa.array(often(numbers, 0.05), pa.float64()),
            "whole": pa.array(often(rng.integers(-5, 5, ROWS), 0.05), pa.int32()),
            "word": pa.array(often(rng.choice(["red", "green", "ünïcödé", "", "x" * 300], ROWS), 0.05), pa.string()),
            "flag": pa.array(often(rng.random(ROWS) < 0.5, 0.05), pa.bool_()),
            "since": pa.array(
                [time - timedelta(days=float(rng.exponential(100))) for time in times], pa.timestamp("us", "UTC")
            ),
            "vector": pa.array(
                [list(rng.normal(size=3)) if i % 9 else None for i in range(ROWS)], pa.list_(pa.float64())
            ),
        }
    )
    again = table.take(rng.integers(0, ROWS, 300))
    later = pa.compute.add(again["logged_at"], pa.scalar(timedelta(hours=1)))
    again = again.set_column(2, "logged_at", later).set_column(5, "score", pa.array(np.full(300, 0.25)))
    return pa.concat_tables([table, again])


TYPES = {
    "request_id": "text",
    "occurred_at": "timestamptz",
    "logged_at": "timestamptz",
    "version": "text",
    "role": "text",
    "score": "float8",
    "number": "float8",
    "whole": "int",
    "word": "text",
    "flag": "bool",
    "since": "timestamptz",
    "vector": "float8[]",
}
TABLE = logged()


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    home = tmp_path_factory.mktemp("spark")
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.session.timeZone": "America/New_York",  # a naive time is UTC all the same
        "spark.sql.warehouse.dir": str(home / "warehouse"),
        "spark.local.dir": str(home / "local"),
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={home}",
    }
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)  # executors need what this package needs
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()
    monkeypatch.undo()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    for part in range(3):
        pa.parquet.write_table(TABLE.slice(part * 2_100, 2_100), folder / f"{part}.parquet")
    return folder


@pytest.fixture
def log(empty_database: Database) -> Iterator[PostgresSource]:
    with psycopg.connect(empty_database.dsn, autocommit=True) as conn:
        columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
        conn.execute(f"CREATE TABLE log ({columns})".encode())
        with conn.cursor().copy("COPY log FROM STDIN") as copy:
            for row in TABLE.to_pylist():
                copy.write_row(list(row.values()))
    with PostgresSource(url=empty_database.dsn, section=SECTION) as source:
        yield source


def frozen(source: PostgresSource) -> Layout:
    batch = with_score(source.sample([WHOLE], 2_000, now=NOW))
    columns: list[Column] = []
    for name, values in batch.columns.items():
        part = "prediction" if name == SCORE else "input"
        if isinstance(values, NumericValues):
            columns.append(freeze_numeric(name, values, part=part))
        else:
            columns.append(freeze_categorical(name, values))
    return Layout(tuple(columns))


def by_spark(frame: Any, layout: Layout, section: SourceSection = SECTION) -> tuple[list[Tile], Profile]:
    with SparkSource(frame=frame, section=section).read_inputs(TILES, layout, now=NOW) as read:
        assert not read.reading.faults
        return build_inputs(read, layout, KEY)


def assert_same(one: Profile, other: Profile) -> None:
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_allclose(one.sums, other.sums, rtol=1e-12)
    np.testing.assert_array_equal(one.lows, other.lows)
    np.testing.assert_array_equal(one.highs, other.highs)
    np.testing.assert_array_equal(one.registers, other.registers)
    assert one.novelties == other.novelties
    assert one.buckets.keys() == other.buckets.keys()
    for name, buckets in one.buckets.items():
        np.testing.assert_array_equal(buckets.keys, other.buckets[name].keys)
        np.testing.assert_array_equal(buckets.counts, other.buckets[name].counts)


def test_spark_and_one_process_come_to_the_same_tiles(spark: Any, files: Path, log: PostgresSource) -> None:
    layout = frozen(log)
    assert {"number", "word", "word.length", "flag", "since", "vector.length", "vector.norm", SCORE} <= set(
        layout.index
    )
    with log.read_inputs(WHOLE, TILES, layout, now=NOW) as read:
        expected, whole = build_inputs(read, layout, KEY)
    found, total = by_spark(open_table(spark, str(files)), layout)
    facts = [
        [(tile.window, tile.version, tile.rows, tile.duplicates, tile.late, tile.clock_skewed) for tile in tiles]
        for tiles in (expected, found)
    ]
    assert facts[0] == facts[1]
    assert sum(tile.duplicates for tile in found) > 100
    assert len(found) == 9  # hours × versions, of which one is empty
    for one, other in zip(expected, found, strict=True):
        assert_same(Profile.from_bytes(layout, one.body), Profile.from_bytes(layout, other.body))
    assert_same(whole, total)


def test_a_table_of_the_catalog_and_one_behind_jdbc_give_what_files_give(
    spark: Any, files: Path, tmp_path: Path, log: PostgresSource
) -> None:
    layout = frozen(log)
    frame = open_table(spark, str(files))
    _, expected = by_spark(frame, layout)
    frame.write.saveAsTable("logged")
    try:
        _, found = by_spark(open_table(spark, "logged"), layout)
    finally:
        spark.sql("DROP TABLE logged")
    assert_same(expected, found)

    # Derby, which comes with Spark, has no lists, and its table is named in capitals.
    plain = Layout(tuple(column for column in layout.columns if not column.name.startswith("vector")))
    _, expected = by_spark(frame, plain)
    driver = "org.apache.derby.iapi.jdbc.AutoloadedDriver"
    # Its texts are CLOBs, which it cannot compare itself.
    options = {"dbtable": "LOGGED", "driver": driver, "pushDownPredicate": "false"}
    url = f"jdbc:derby:{tmp_path / 'derby'};create=true"
    frame.drop("vector").withColumn("number", _finite(frame["number"])).write.format("jdbc").options(
        url=url, **options
    ).save()
    _, found = by_spark(open_table(spark, url, options=options), plain)
    assert found.rows == expected.rows
    for name in ("whole", "word", "word.length", "since", SCORE):
        np.testing.assert_array_equal(found.column(name).bins, expected.column(name).bins)

    # A database goes on while it is read: what is counted and what is read must be the same rows.
    source = SparkSource(frame=open_table(spark, url, options=options), section=SECTION)
    with source.read_inputs(TILES, plain, now=NOW) as read:
        before = open_table(spark, url, options=options)
        fresh = before.limit(500).withColumn("request_id", _new(before["request_id"])).toLocalIterator()
        more = spark.createDataFrame(list(fresh), before.schema)
        more.write.format("jdbc").options(url=url, **options).mode("append").save()
        with pytest.raises(SourceError, match="written to meanwhile"):
            build_inputs(read, plain, KEY)


def _finite(column: Any) -> Any:
    from pyspark.sql import functions as sf

    return sf.when(sf.abs(column) < 1e300, column)


def _new(column: Any) -> Any:
    from pyspark.sql import functions as sf

    return sf.concat(sf.lit("new "), column)


def test_days_without_a_zone_are_utc_and_tiles_of_unequal_length_are_told_apart(
    spark: Any, tmp_path: Path, log: PostgresSource
) -> None:
    layout = frozen(log)
    times = TABLE["occurred_at"]
    pa.parquet.write_table(
        TABLE.set_column(1, "occurred_at", times.cast(pa.timestamp("us"))), tmp_path / "naive.parquet"
    )
    pa.parquet.write_table(TABLE, tmp_path / "aware.parquet")
    uneven = [TILES[0], Window(start=TILES[1].start, end=TILES[2].end)]
    uneven.append(Window(start=TILES[2].end, end=TILES[2].end + timedelta(minutes=5)))
    profiles = []
    for name in ("naive", "aware"):
        source = SparkSource(frame=open_table(spark, str(tmp_path / f"{name}.parquet")), section=SECTION)
        with source.read_inputs(uneven, layout, now=NOW) as read:
            profiles.append(build_inputs(read, layout, KEY))
    (one, whole), (other, total) = profiles
    assert [(tile.window, tile.rows) for tile in one] == [(tile.window, tile.rows) for tile in other]
    assert {tile.window for tile in one} == set(uneven)
    assert_same(whole, total)


def test_what_cannot_be_read_is_said_in_one_sentence(spark: Any, files: Path, log: PostgresSource) -> None:
    layout = frozen(log)
    with pytest.raises(SourceError, match=r"cannot read /nowhere/at/all .* give a path of Parquet files"):
        open_table(spark, "/nowhere/at/all")
    with pytest.raises(SourceError, match="cannot read no_such_table"):
        open_table(spark, "no_such_table")
    with pytest.raises(SourceError, match="cannot read jdbc:none://host/db ") as told:
        open_table(spark, "jdbc:none://host/db?password=secret", options={"dbtable": "x"})
    assert "secret" not in str(told.value)
    frame = open_table(spark, str(files))
    wrong = SECTION.model_copy(update={"time": "ocurred_at"})
    with pytest.raises(SourceError, match=r"ocurred_at.*occurred_at"):
        SparkSource(frame=frame, section=wrong).read_inputs(TILES, layout, now=NOW)
    with pytest.raises(SourceError, match="which is string"):
        SparkSource(frame=frame, section=SECTION.model_copy(update={"time": "word"})).read_inputs(
            TILES, layout, now=NOW
        )


def test_a_column_that_vanished_or_changed_its_type_is_a_fault_and_the_others_are_read(
    spark: Any, files: Path, log: PostgresSource
) -> None:
    layout = frozen(log)
    frame = open_table(spark, str(files)).drop("flag").withColumnRenamed("number", "old")
    frame = frame.withColumnRenamed("word", "number")
    with SparkSource(frame=frame, section=SECTION).read_inputs(TILES[:1], layout, now=NOW) as read:
        made = {f"word.{end}" for end in ("length", "letters", "digits", "spaces", "others")}
        assert {(fault.column, fault.problem) for fault in read.reading.faults} == {
            ("flag", "vanished"),
            ("number", "type"),
            *((name, "vanished") for name in ("word", *made)),
        }
        _, profile = build_inputs(read, layout, KEY)
    assert profile.column("whole").count > 0
    assert profile.column("flag").missing == profile.rows


def test_files_that_vanish_while_they_are_read_fail_the_read(spark: Any, tmp_path: Path, log: PostgresSource) -> None:
    layout = frozen(log)
    pa.parquet.write_table(TABLE, tmp_path / "first.parquet")
    source = SparkSource(frame=open_table(spark, str(tmp_path)), section=SECTION)
    with source.read_inputs(TILES, layout, now=NOW) as read:
        (tmp_path / "first.parquet").unlink()
        with pytest.raises(SourceError, match=r"Spark failed .*first\.parquet"):
            build_inputs(read, layout, KEY)
