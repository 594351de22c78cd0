"""Reading a log as people really keep it: every type, odd names, odd rows, and tables that are not what they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from monitor.column import CategoricalColumn, Layout
from monitor.embedded import Database
from monitor.logtable import SourceSection
from monitor.outcome import Task
from monitor.profile import Profile
from monitor.reference import freeze_layout, freeze_outcomes
from monitor.source import Batch, CategoryValues, Kind, NumericValues, Read, SourceError, concatenate
from monitor.sources.arrow import Decoding
from monitor.sources.postgres import PostgresSource
from monitor.text import vocabulary
from monitor.tile import TileKey, TilePart, build_inputs, build_outcomes, changed, merge_inputs, merge_outcomes
from monitor.window import CalendarUnit, Window, WindowSpec

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
DAY = Window(start=datetime(2024, 5, 6, tzinfo=UTC), end=datetime(2024, 5, 7, tzinfo=UTC))
NOW = datetime(2024, 5, 10, tzinfo=UTC)
TILES = WindowSpec(calendar=CalendarUnit.DAY).tiles(DAY)
INPUTS = TileKey(model="m", part=TilePart.INPUTS, reference_id="r")
OUTCOMES = TileKey(model="m", part=TilePart.OUTCOMES, reference_id="r")


@pytest.fixture
def conn(empty_database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(empty_database.dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def make(empty_database: Database) -> Iterator[Any]:
    """Make a source on this test's database; options override those of an ordinary log."""
    made: list[PostgresSource] = []

    def source(**options: Any) -> PostgresSource:
        given = {"table": "log", "time": "at", "id": "id", "prediction": {"score": "score"}} | options
        model = given.pop("model", "m")
        url = given.pop("dsn", empty_database.url)
        zone = given.pop("zone", "UTC")
        found = PostgresSource(url=url, section=SourceSection.model_validate(given), model=model, zone=zone)
        made.append(found)
        return found

    yield source
    for one in made:
        one.close()


def log(conn: psycopg.Connection[Any], *columns: str, name: str = "log") -> None:
    conn.execute(
        sql.SQL("CREATE TABLE {} (id text, at timestamptz, score float8{})").format(
            sql.Identifier(name),
            sql.SQL("".join(f", {column}" for column in columns)),
        )
    )


def everything(read: Read) -> Batch:
    return concatenate(list(read))


def rows(source: PostgresSource, layout: Layout | None = None, **options: Any) -> tuple[Batch, Read]:
    read = source.read_inputs(DAY, TILES, layout, **({"now": NOW} | options))
    return everything(read), read


def numbers(batch: Batch, name: str) -> list[float]:
    values = batch.columns[name]
    assert isinstance(values, NumericValues)
    return [round(float(x), 9) for x in values.values]


def texts(batch: Batch, name: str) -> list[str | None]:
    values = batch.columns[name]
    assert isinstance(values, CategoryValues)
    return [None if code < 0 else values.categories[code] for code in values.codes]


def missing(batch: Batch, name: str) -> list[bool]:
    values = batch.columns[name]
    assert isinstance(values, NumericValues)
    return list(values.missing.tolist())


# --- types ----------------------------------------------------------------------------------------------------------

ZOO: Mapping[str, tuple[str, str, str | None, Kind, Any]] = {
    # name: type, value of the first row, value of the second (the third is NULL), kind, what the first two become
    "a_small": ("smallint", "1", "-3", Kind.NUMERIC, [1, -3]),
    "a_int": ("integer", "7", "2147483647", Kind.NUMERIC, [7, 2147483647]),
    "a_big": ("bigint", "9007199254740993", "-9223372036854775808", Kind.NUMERIC, [9007199254740992, -(2.0**63)]),
    "a_real": ("real", "0.5", "'NaN'", Kind.NUMERIC, [0.5, np.nan]),
    "a_double": ("double precision", "'Infinity'", "'-Infinity'", Kind.NUMERIC, [np.inf, -np.inf]),
    "a_numeric": ("numeric", "1e400", "'NaN'", Kind.NUMERIC, [np.inf, np.nan]),
    "a_price": ("numeric(10,2)", "12.34", "-0.01", Kind.NUMERIC, [12.34, -0.01]),
    "a_money": ("money", "12.5", "-1", Kind.NUMERIC, [12.5, -1]),
    "a_bool": ("boolean", "true", "false", Kind.CATEGORICAL, ["true", "false"]),
    "a_text": ("text", "'héllo'", "''", Kind.CATEGORICAL, ["héllo", ""]),
    "a_varchar": ("varchar(20)", "'x'", "'y'", Kind.CATEGORICAL, ["x", "y"]),
    "a_char": ("char(5)", "'ab'", "'abcde'", Kind.CATEGORICAL, ["ab", "abcde"]),
    "a_enum": ("mood", "'happy'", "'sad'", Kind.CATEGORICAL, ["happy", "sad"]),
    "a_uuid": (
        "uuid",
        "'00000000-0000-0000-0000-000000000001'",
        "'00000000-0000-0000-0000-000000000002'",
        Kind.CATEGORICAL,
        ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"],
    ),
    "a_inet": ("inet", "'10.0.0.1'", "'10.0.0.0/8'", Kind.CATEGORICAL, ["10.0.0.1/32", "10.0.0.0/8"]),
    "a_domain": ("percent", "50", "99", Kind.NUMERIC, [50, 99]),
    "a_date": ("date", "'2024-05-05'", "'infinity'", Kind.NUMERIC, [1.5, -np.inf]),
    "a_timestamp": ("timestamp", "'2024-05-06 00:00'", "'-infinity'", Kind.NUMERIC, [0.5, np.inf]),
    "a_timestamptz": ("timestamptz", "'2024-05-07 14:00+02'", "'infinity'", Kind.NUMERIC, [-1.0, -np.inf]),
    "a_interval": ("interval", "'1 day 1 second'", "'-1 hour'", Kind.NUMERIC, [86401, -3600]),
    "a_time": ("time", "'10:00'", "'11:30'", Kind.CATEGORICAL, ["10:00:00", "11:30:00"]),
    "a_bits": ("bit(3)", "B'101'", "B'111'", Kind.CATEGORICAL, ["101", "111"]),
}


def zoo(conn: psycopg.Connection[Any]) -> None:
    conn.execute("CREATE TYPE mood AS ENUM ('happy', 'sad')")
    conn.execute("CREATE DOMAIN percent AS integer CHECK (VALUE BETWEEN 0 AND 100)")
    log(conn, *(f"{name} {kind}" for name, (kind, *_) in ZOO.items()))
    for number, position in enumerate((1, 2)):
        values = ", ".join(f"CAST({animal[position]} AS {animal[0]})" for animal in ZOO.values())
        conn.execute(f"INSERT INTO log VALUES ('{number}', '{NOON}', 0.5, {values})".encode())
    conn.execute("INSERT INTO log (id, at) VALUES ('null', %s)", [NOON])


def test_every_type_is_read_as_what_it_is(conn: psycopg.Connection[Any], make: Any) -> None:
    zoo(conn)
    source = make()
    found = {name for name, decoding in source.features().items() if decoding is Decoding.CATEGORY}
    assert found == {name for name, (*_, kind, _) in ZOO.items() if kind is Kind.CATEGORICAL}
    batch, read = rows(source)
    assert read.reading.faults == ()
    for name, (*_, kind, wanted) in ZOO.items():
        if kind is Kind.CATEGORICAL:
            assert texts(batch, name) == [*wanted, None], name
        else:
            np.testing.assert_allclose(numbers(batch, name), [*wanted, np.nan], err_msg=name)
            assert missing(batch, name) == [False, False, True], name


def test_every_type_survives_into_a_profile(conn: psycopg.Connection[Any], make: Any) -> None:
    zoo(conn)
    source = make()
    batch, _ = rows(source)
    layout = freeze_layout(batch, "UTC")
    tiles, profile = build_inputs(source.read_inputs(DAY, TILES, layout, now=NOW), layout, INPUTS)
    assert profile.rows == 3
    assert len(tiles) == 1
    for name in ZOO:
        column = profile.column(name)
        assert column.count + column.missing + column.non_finite == 3, name
        assert column.missing == 1, name
    assert profile.column("a_double").non_finite == 2
    assert profile.column("a_date").non_finite == 1
    assert profile.column("prediction").count == 2


def test_arrays_become_lengths_and_norms(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "vector float4[]", "grid integer[]", "words text[]", "raw bytea")
    conn.execute(
        "INSERT INTO log VALUES ('1', %s, 1, '{3,4}', '{{1,1},{1,1}}', '{a,b,c}', '\\x0102'), "
        "('2', %s, 1, '{}', '{2,NULL}', NULL, NULL)",
        [NOON, NOON],
    )
    source = make()
    batch, _ = rows(source)
    assert numbers(batch, "vector.length") == [2, 0]
    assert numbers(batch, "vector.norm") == [5, 0]
    assert numbers(batch, "grid.length") == [4, 2]
    assert numbers(batch, "grid.norm") == [2, 2]
    assert numbers(batch, "words.length")[0] == 3
    assert missing(batch, "words.length") == [False, True]
    assert numbers(batch, "raw.length")[0] == 2
    layout = freeze_layout(batch, "UTC")
    again, read = rows(source, layout)
    assert read.reading.faults == ()
    assert numbers(again, "grid.norm") == [2, 2]


def test_lists_of_one_length_are_embeddings_in_arrays_of_either_precision_and_in_json(
    conn: psycopg.Connection[Any], make: Any
) -> None:
    log(conn, "single real[]", "double_ float8[]", "doc jsonb")
    conn.execute(
        "INSERT INTO log SELECT i::text, %s, 1, ARRAY[i, 2 * i]::real[], ARRAY[i, NULL, 0],"
        " jsonb_build_object('v', jsonb_build_array(i, 0.5)) FROM generate_series(1, 120) i",
        [NOON],
    )
    conn.execute("INSERT INTO log VALUES ('x', %s, 1, '{1,2,3}', NULL, '{\"v\": [1, \"two\"]}')", [NOON])
    source = make()
    batch, _ = rows(source)
    assert sorted(batch.vectors) == ["double_", "single", "v"]
    assert batch.vectors["single"].shape == (121, 2)
    assert np.isnan(batch.vectors["single"]).any(axis=1).sum() == 1
    assert np.isnan(batch.vectors["double_"]).any(axis=1).all()  # a NULL is no number
    assert np.isnan(batch.vectors["v"]).any(axis=1).sum() == 1
    assert max(numbers(batch, "v.length")) == 2
    layout = freeze_layout(batch, "UTC")
    assert [embedding.name for embedding in layout.embeddings] == ["single", "v"]
    profile = build_inputs(source.read_inputs(DAY, TILES, layout, now=NOW), layout, INPUTS)[1]
    assert profile.sums[layout.embedded_at] == 120
    again, read = rows(source, layout)
    assert read.reading.faults == ()
    np.testing.assert_array_equal(again.vectors["single"], batch.vectors["single"])


def test_a_text_is_read_as_what_its_characters_and_words_are(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "note text", "doc json")
    conn.execute(
        "INSERT INTO log VALUES ('1', %s, 1, 'Gate 12', '{\"say\": \"é1\"}'), ('2', %s, 1, NULL, '{}'),"
        " ('3', %s, 1, '', '{\"say\": \"\"}')",
        [NOON, NOON, NOON],
    )
    source = make(features={"note": {"type": "text"}, "say": {"json": "doc.say", "type": "text"}})
    batch, _ = rows(source)
    assert numbers(batch, "note.length")[0] == 7
    assert numbers(batch, "note.letters")[0] == pytest.approx(4 / 7)
    assert numbers(batch, "note.digits")[0] == pytest.approx(2 / 7)
    assert missing(batch, "note.digits") == [False, True, True]
    assert numbers(batch, "say.others")[0] == pytest.approx(0.5)
    assert "note.unknown" not in batch.columns  # which words are known is learned from a training file
    words = vocabulary(["gate"], [9])
    share = NumericValues(values=np.zeros(3), missing=np.zeros(3, bool), words=words)
    layout = freeze_layout(replace(batch, columns={**batch.columns, "note.unknown": share}), "UTC")
    again, read = rows(source, layout)
    assert read.reading.faults == ()
    assert numbers(again, "note.unknown")[0] == pytest.approx(0.5)
    assert numbers(again, "note.letters")[0] == pytest.approx(4 / 7)


def test_a_text_of_ten_megabytes_is_cut_and_still_told_apart(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "note text")
    for number, tail in enumerate("aab"):
        conn.execute("INSERT INTO log VALUES (%s, %s, 1, repeat('é', 5000000) || %s)", [str(number), NOON, tail])
    batch, _ = rows(make())
    found = texts(batch, "note")
    assert found[0] == found[1] != found[2]
    assert max(len(text or "") for text in found) < 200
    assert numbers(batch, "note.length") == [5000001] * 3


def test_a_text_that_training_found_too_diverse_is_read_by_its_length(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "note text")
    conn.execute("INSERT INTO log SELECT i::text, %s, 1, md5(i::text) FROM generate_series(1, 50) i", [NOON])
    source = make()
    batch, _ = rows(source)
    kept = replace(batch, columns={"note.length": batch.columns["note.length"]})
    again, read = rows(source, freeze_layout(kept, "UTC"))
    assert list(again.columns) == ["note.length"]
    assert numbers(again, "note.length") == [32] * 50
    assert read.reading.faults == ()


# --- JSON -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["json", "jsonb"])
def test_json_fields_are_features_and_text_in_a_number_is_counted(
    conn: psycopg.Connection[Any], make: Any, kind: str
) -> None:
    log(conn, f"features {kind}")
    for number, document in enumerate(
        [
            '{"age": 41, "plan": "free", "deep": {"x": 1}, "tags": [1, 2]}',
            '{"age": "unknown", "plan": null}',
            '{"age": "NaN", "plan": "pro"}',
            '{"plan": "pro"}',
            '{"age": 1e400, "plan": 7}',
            '{"age": {"years": 3}}',
        ]
    ):
        conn.execute("INSERT INTO log VALUES (%s, %s, 1, %s)", [str(number), NOON, document])
    source = make(
        features={
            "age": {"json": "features.age", "type": "numeric"},
            "plan": {"json": "features.plan", "type": "categorical"},
            "x": {"json": "features.deep.x", "type": "numeric"},
            "tags": {"json": "features.tags", "type": "array"},
        }
    )
    batch, _ = rows(source)
    age = batch.columns["age"]
    assert isinstance(age, NumericValues)
    assert age.unparseable is not None
    assert age.unparseable.tolist() == [False, True, False, False, False, True]
    assert missing(batch, "age") == [False, False, False, True, False, False]
    assert numbers(batch, "age")[0] == 41
    assert np.isinf(numbers(batch, "age")[4])
    assert texts(batch, "plan") == ["free", None, "pro", "pro", "7", None]
    assert numbers(batch, "x")[0] == 1
    assert numbers(batch, "tags.length")[0] == 2
    layout = freeze_layout(batch, "UTC")
    profile = Profile.of(layout, rows(source, layout)[0])
    assert (profile.column("age").unparseable, profile.column("age").missing) == (2, 1)


def test_json_objects_expand_to_their_keys_by_themselves(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "features jsonb", "plan text")
    conn.execute(
        "INSERT INTO log SELECT i::text, %s, 1, jsonb_build_object('age', i, 'plan', 'free', 'vip', i > 1), 'x' "
        "FROM generate_series(1, 3) i",
        [NOON],
    )
    source = make()
    batch, _ = rows(source)
    assert numbers(batch, "age") == [1, 2, 3]
    assert texts(batch, "features.plan") == ["free"] * 3
    assert texts(batch, "plan") == ["x"] * 3
    assert texts(batch, "vip") == ["false", "true", "true"]
    kept = {k: v for k, v in batch.columns.items() if not k.endswith(".length")}
    again, read = rows(source, freeze_layout(replace(batch, columns=kept), "UTC"))
    assert read.reading.faults == ()
    assert numbers(again, "age") == [1, 2, 3]
    assert texts(again, "features.plan") == ["free"] * 3


def test_json_with_broken_escapes_is_seen_and_kills_nothing(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "features json")
    for number, document in enumerate([r'{"k": "a\u0000b"}', r'{"k": "\ud800"}', r'{"k": "\ud83d\ude00"}']):
        conn.execute("INSERT INTO log VALUES (%s, %s, 1, %s)", [str(number), NOON, document])
    batch, _ = rows(make(features={"k": {"json": "features.k", "type": "categorical"}}))
    assert texts(batch, "k") == ["a\ufffdb", "\ufffd", "😀"]


# --- names ----------------------------------------------------------------------------------------------------------


def test_odd_names_are_quoted_and_matched(conn: psycopg.Connection[Any], make: Any) -> None:
    conn.execute('CREATE SCHEMA "My Schema"')
    conn.execute(
        'CREATE TABLE "My Schema"."Log.Table" ("Request Id" text, "AT" timestamptz, "p""x; DROP TABLE log; --" float8, '
        '"100%s {} %%" float8, "größe" float8)'
    )
    conn.execute('INSERT INTO "My Schema"."Log.Table" VALUES (%s, %s, 0.5, 2, 3)', ["1", NOON])
    source = make(
        table='"My Schema"."Log.Table"',
        time="AT",
        id="Request Id",
        prediction={"score": 'p"x; DROP TABLE log; --'},
    )
    batch, read = rows(source)
    assert list(batch.columns) == ["100%s {} %%", "größe"]
    assert batch.score is not None
    assert batch.score.tolist() == [0.5]
    assert read.reading.rows == 1


def test_a_partitioned_table_is_read_like_any_other(conn: psycopg.Connection[Any], make: Any) -> None:
    conn.execute("CREATE TABLE log (id text, at timestamptz, score float8, x int) PARTITION BY RANGE (at)")
    conn.execute("CREATE TABLE log_a PARTITION OF log FOR VALUES FROM ('2024-05-06') TO ('2024-05-06 12:00+00')")
    conn.execute("CREATE TABLE log_b PARTITION OF log FOR VALUES FROM ('2024-05-06 12:00+00') TO ('2024-05-08')")
    insert = "INSERT INTO log SELECT i::text, timestamptz '2024-05-06 00:00+00' + i * interval '1 h', 1, i "
    conn.execute(insert.encode() + b"FROM generate_series(1, 20) i")
    conn.execute("INSERT INTO log SELECT id, at, score, x + 100 FROM log")
    batch, read = rows(make())
    assert sorted(numbers(batch, "x")) == list(range(1, 21))
    assert (read.reading.rows, read.reading.duplicates) == (20, 20)


def test_a_view_has_fingerprints_of_its_columns(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "x int", "unused int", name="base")
    conn.execute("CREATE VIEW log AS SELECT * FROM base")
    insert = "INSERT INTO base SELECT i::text, %s, 1, i, 0 FROM generate_series(1, 10) i"
    conn.execute(insert, [NOON])
    conn.execute("INSERT INTO base VALUES ('3', %s, 1, 33, 0), (NULL, %s, 1, 0, 0), (NULL, %s, 1, 0, 0)", [NOON] * 3)
    source = make(features={"x": "numeric"})
    batch, read = rows(source)
    assert (read.reading.rows, read.reading.duplicates) == (12, 1)
    assert batch.rows == 12
    before = read.facts
    conn.execute("UPDATE base SET unused = 1")
    assert rows(source)[1].facts == before
    conn.execute("UPDATE base SET x = 11 WHERE id = '10'")
    assert rows(source)[1].facts != before


# --- rows -----------------------------------------------------------------------------------------------------------


def test_repeated_requests_count_once_and_the_first_logged_stays(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "logged timestamptz", "v text", "role text", "x int")
    late = NOON + timedelta(minutes=1)
    conn.cursor().executemany(
        "INSERT INTO log VALUES (%s, %s, 1, %s, %s, %s, %s)",
        [
            ("a", NOON, late, "1", "champion", 99),
            ("a", NOON, NOON, "1", None, 1),
            ("a", NOON, late, "2", "champion", 2),
            ("a", NOON, NOON, "1", "shadow", 50),
            ("b", NOON, NOON, "1", "champion", 3),
            ("b", NOON + timedelta(hours=1), NOON, "1", "champion", 4),
            (None, NOON, NOON, "1", "champion", 5),
            (None, NOON, NOON, "1", "champion", 6),
        ],
    )
    source = make(logged_at="logged", version="v", role="role")
    batch, read = rows(source)
    assert sorted(numbers(batch, "x")) == [1, 2, 3, 4, 5, 6]
    assert read.reading.duplicates == 1
    assert read.reading.details["null_ids"] == 2
    assert [(f.window.start.hour, f.version, f.rows, f.duplicates) for f in read.facts] == [
        (12, "1", 4, 1),
        (12, "2", 1, 0),
        (13, "1", 1, 0),
    ]


def test_a_unique_key_spares_the_search_for_repetitions(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    conn.execute("CREATE UNIQUE INDEX ON log (id)")
    conn.execute("INSERT INTO log VALUES ('a', %s, 1), (NULL, %s, 1), (NULL, %s, 1)", [NOON, NOON, NOON])
    _, read = rows(make())
    assert (read.reading.rows, read.reading.duplicates) == (3, 0)


def test_rows_of_wrong_clocks_without_time_and_late_are_counted(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "logged timestamptz")
    now = datetime(2024, 5, 6, 18, tzinfo=UTC)
    conn.cursor().executemany(
        "INSERT INTO log VALUES (%s, %s, 1, %s)",
        [
            ("fine", NOON, NOON),
            ("fast clock", NOON, NOON - timedelta(minutes=6)),
            ("late", NOON, NOON + timedelta(hours=49)),
            ("future", now + timedelta(minutes=6), NOON),
            ("no time", None, NOON),
            ("no time, logged another day", None, NOON - timedelta(days=3)),
        ],
    )
    conn.execute("INSERT INTO log VALUES ('for ever', 'infinity', 1, %s), ('never', '-infinity', 1, %s)", [NOON, NOON])
    batch, read = rows(make(logged_at="logged"), now=now)
    assert batch.rows == read.reading.rows == 3
    assert read.reading.late == 1
    assert read.reading.null_times == 2
    assert read.reading.clock_skewed == 3
    assert read.reading.last_row_at == NOON


def test_an_empty_window_is_no_error(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    source = make()
    batch, read = rows(source)
    assert (batch.rows, read.facts, read.reading.last_row_at) == (0, (), None)
    layout = freeze_layout(batch, "UTC")
    tiles, profile = build_inputs(source.read_inputs(DAY, TILES, layout, now=NOW), layout, INPUTS)
    assert (tiles, profile.rows) == ([], 0)


def test_naive_times_and_dates_are_utc(conn: psycopg.Connection[Any], make: Any) -> None:
    conn.execute("CREATE TABLE log (id text, at timestamp, score float8)")
    conn.execute("CREATE TABLE daily (id text, at date, score float8)")
    conn.execute("INSERT INTO log VALUES ('a', '2024-05-06 23:59', 1), ('b', '2024-05-07 00:00', 1)")
    conn.execute("INSERT INTO daily VALUES ('a', '2024-05-06', 1), ('b', '2024-05-07', 1)")
    batch, _ = rows(make())
    assert batch.time.tolist() == [round((DAY.end - timedelta(minutes=1)).timestamp() * 1e6)]
    batch, read = rows(make(table="daily"))
    assert batch.time.tolist() == [round(DAY.start.timestamp() * 1e6)]
    assert [f.window for f in read.facts] == TILES[:1]


def test_rows_and_fingerprints_come_from_one_snapshot(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    conn.execute("INSERT INTO log VALUES ('a', %s, 1)", [NOON])
    read = make().read_inputs(DAY, TILES, None, now=NOW)
    conn.execute("INSERT INTO log VALUES ('b', %s, 1)", [NOON])
    assert everything(read).rows == read.reading.rows == 1


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO log VALUES ('new', '2024-05-06 12:30+00', 1)",
        "DELETE FROM log WHERE id = '7'",
        "UPDATE log SET score = score WHERE id = '7'",
        "UPDATE log SET id = 'other' WHERE id = '7'",
    ],
)
def test_a_change_of_a_row_changes_the_fingerprint_of_its_tile_alone(
    conn: psycopg.Connection[Any], make: Any, change: str
) -> None:
    log(conn)
    statement = "INSERT INTO log SELECT i::text, %s + i * interval '10 min', 0.5 FROM generate_series(0, 20) i"
    conn.execute(statement, [NOON - timedelta(hours=1)])
    source = make()
    layout = freeze_layout(rows(source)[0], "UTC")
    tiles, _ = build_inputs(source.read_inputs(DAY, TILES, layout, now=NOW), layout, INPUTS)
    assert changed(tiles, rows(source)[1].facts) == []
    conn.execute(change.encode())
    hit = changed(tiles, rows(source)[1].facts)
    assert [window.start.hour for window in hit] == [12]


# --- tables that are not what they were -----------------------------------------------------------------------------


def trained(conn: psycopg.Connection[Any], source: PostgresSource) -> Layout:
    log(conn, "x float8", "y text")
    conn.execute("INSERT INTO log SELECT i::text, %s, 0.5, i, 'a' FROM generate_series(1, 5) i", [NOON])
    batch, _ = rows(source)
    kept = {k: v for k, v in batch.columns.items() if not k.endswith(".length")}
    return freeze_layout(replace(batch, columns=kept), "UTC")


def test_a_column_that_vanished_is_a_fault_and_its_values_are_missing(conn: psycopg.Connection[Any], make: Any) -> None:
    source = make()
    layout = trained(conn, source)
    conn.execute("ALTER TABLE log DROP COLUMN x")
    read = source.read_inputs(DAY, TILES, layout, now=NOW)
    _, profile = build_inputs(read, layout, INPUTS)
    assert [(f.column, f.problem) for f in read.reading.faults] == [("x", "vanished")]
    assert profile.column("x").missing == 5
    assert profile.column("y").count == 5
    conn.execute("ALTER TABLE log ADD COLUMN x float8")
    assert rows(source, layout)[1].reading.faults == ()


@pytest.mark.parametrize("now_type", ["text USING x::text", "float8[] USING ARRAY[x]", "jsonb USING to_jsonb(x)"])
def test_a_column_of_another_type_is_a_fault_and_its_values_are_missing(
    conn: psycopg.Connection[Any], make: Any, now_type: str
) -> None:
    source = make()
    layout = trained(conn, source)
    conn.execute(f"ALTER TABLE log ALTER COLUMN x TYPE {now_type}".encode())
    batch, read = rows(source, layout)
    assert [(f.column, f.problem) for f in read.reading.faults] == [("x", "type")]
    assert "x" not in batch.columns
    assert Profile.of(layout, batch).column("x").missing == 5


def test_an_integer_that_training_took_for_a_category_stays_one(conn: psycopg.Connection[Any], make: Any) -> None:
    source = make()
    layout = trained(conn, source)
    columns = tuple(
        CategoricalColumn(name="x", values=("1", "2")) if column.name == "x" else column for column in layout.columns
    )
    batch, read = rows(source, Layout(columns))
    assert read.reading.faults == ()
    assert texts(batch, "x") == ["1", "2", "3", "4", "5"]


def test_a_score_that_vanished_is_a_fault(conn: psycopg.Connection[Any], make: Any) -> None:
    source = make()
    layout = trained(conn, source)
    conn.execute("ALTER TABLE log RENAME COLUMN score TO points")
    batch, read = rows(source, layout)
    assert [f.column for f in read.reading.faults] == ["score"]
    assert batch.score is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"table": "logg"}, 'did you mean "public.log"'),
        ({"table": "nowhere.at_all"}, "no table or view"),
        ({"time": "att"}, 'did you mean "at"'),
        ({"id": "request"}, 'source.id names the column "request"'),
        ({"time": "score"}, "name a column with a time"),
        ({"role": "rolle"}, "source.role names"),
        ({"dsn": "postgresql://nobody:secret@127.0.0.1:1/db"}, "cannot be reached"),
        ({"dsn": "postgresql+psycopg://nobody@/db?host=/nowhere"}, "cannot be reached"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(
    conn: psycopg.Connection[Any], make: Any, options: dict[str, Any], said: str
) -> None:
    log(conn)
    with pytest.raises(SourceError, match=said.replace(".", r"\.")) as caught:
        rows(make(**options))
    message = str(caught.value)
    assert "secret" not in message
    assert "\n" not in message
    assert make(**options).check() == [message]


def test_an_unknown_database_is_said_in_one_sentence(empty_database: Database, make: Any) -> None:
    dsn = empty_database.dsn.replace(empty_database.name, "no_such_database")
    with pytest.raises(SourceError, match="does not exist; correct the name"):
        rows(make(dsn=dsn))


def test_a_role_without_rights_is_told_what_to_grant(
    conn: psycopg.Connection[Any], empty_database: Database, make: Any
) -> None:
    log(conn)
    conn.execute("DROP ROLE IF EXISTS blind")
    conn.execute("CREATE ROLE blind LOGIN")
    try:
        source = make(dsn=empty_database.dsn.replace("postgres@", "blind@"))
        with pytest.raises(SourceError, match=r"permission denied.*GRANT SELECT"):
            rows(source)
    finally:
        conn.execute("DROP ROLE blind")


def test_a_statement_that_takes_too_long_is_stopped(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "x int")
    conn.execute("INSERT INTO log SELECT i::text, %s, 1, i FROM generate_series(1, 3) i", [NOON])
    conn.execute(
        "CREATE VIEW slow AS SELECT id, at, score, CASE WHEN pg_sleep(10) IS NOT NULL THEN x END AS x FROM log"
    )
    with pytest.raises(SourceError, match="statement_timeout"):
        rows(make(table="slow", limits={"statement_timeout": "1s"}))


def test_a_lost_connection_is_opened_again(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    conn.execute("INSERT INTO log VALUES ('a', %s, 1)", [NOON])
    source = make()
    rows(source)
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
        "current_database()"
    )
    assert rows(source)[0].rows == 1


def test_a_read_that_is_left_early_gives_its_connection_back(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    conn.execute("INSERT INTO log SELECT i::text, %s, 1 FROM generate_series(1, 200000) i", [NOON])
    source = make()
    with source.read_inputs(DAY, TILES, None, now=NOW) as read:
        for _ in read:
            break
    busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE '%in transaction%'"
    assert conn.execute(busy.encode()).fetchone() == (0,)
    assert rows(source)[0].rows == 200_000


def test_several_threads_read_at_once(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    conn.execute("INSERT INTO log SELECT i::text, %s, 1 FROM generate_series(1, 1000) i", [NOON])
    source = make()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(rows(source)[0].rows)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1000] * 4


# --- outcomes -------------------------------------------------------------------------------------------------------

TRUTH = {"table": "truth", "id": "id", "label": "was", "time": "seen", "matures_after": "2d"}


def truth(conn: psycopg.Connection[Any], kind: str = "boolean", key: str = "text") -> None:
    conn.execute(f"CREATE TABLE truth (id {key}, was {kind}, seen timestamptz)".encode())


def outcomes(source: PostgresSource, now: datetime = NOW) -> tuple[Batch, Read]:
    read = source.read_outcomes(DAY, TILES, now=now)
    return everything(read), read


def by_score(batch: Batch) -> dict[float, float]:
    assert batch.score is not None
    assert batch.label is not None
    return dict(sorted(zip(batch.score.tolist(), batch.label.tolist(), strict=True)))


def test_the_latest_label_known_by_now_wins(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    truth(conn)
    conn.cursor().executemany("INSERT INTO log VALUES (%s, %s, %s)", [(str(i), NOON, i / 10) for i in range(5)])
    conn.execute("INSERT INTO log VALUES ('0', %s, 0.9)", [NOON])
    hour = timedelta(hours=1)
    conn.cursor().executemany(
        "INSERT INTO truth VALUES (%s, %s, %s)",
        [
            ("0", True, NOON + hour),
            ("1", True, NOON + hour),
            ("1", False, NOON + 2 * hour),
            ("1", True, NOW + hour),
            ("2", True, NOW + hour),
            ("3", None, NOON + hour),
            ("nobody", True, NOON + hour),
        ],
    )
    conn.execute("CREATE INDEX ON log (id)")
    batch, read = outcomes(make(outcome=TRUTH))
    np.testing.assert_equal(by_score(batch), {0.0: 1.0, 0.1: 0.0, 0.2: np.nan, 0.3: np.nan, 0.4: np.nan})
    assert read.reading.rows == 5
    assert read.reading.duplicates == 1
    assert read.reading.labels == 2
    assert read.reading.labels_without_prediction == 1
    assert read.reading.details["corrected_labels"] is True
    assert batch.label_delay is not None
    assert np.nansum(batch.label_delay) == pytest.approx(3600 + 7200 + 3600)


def test_a_later_label_changes_the_fingerprint_of_its_tile_alone(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    truth(conn)
    statement = "INSERT INTO log SELECT i::text, %s + i * interval '1 h', i / 10.0 FROM generate_series(0, 5) i"
    conn.execute(statement, [NOON])
    conn.execute("INSERT INTO truth SELECT i::text, i > 2, %s FROM generate_series(0, 4) i", [NOON])
    source = make(outcome=TRUTH)
    batch, _ = outcomes(source)
    layout = freeze_outcomes(Task.BINARY, batch, threshold=None)
    tiles, profile = build_outcomes(source.read_outcomes(DAY, TILES, now=NOW), layout, OUTCOMES)
    assert (profile.rows, profile.labelled) == (6, 5)
    assert merge_outcomes(layout, tiles).to_bytes() == profile.to_bytes()
    assert changed(tiles, outcomes(source)[1].facts) == []
    conn.execute("INSERT INTO truth VALUES ('5', true, %s)", [NOON])
    conn.execute("UPDATE truth SET was = NOT was WHERE id = '1'")
    assert [w.start.hour for w in changed(tiles, outcomes(source)[1].facts)] == [13, 17]


def test_labels_may_lie_in_the_log_itself(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "was text", "seen timestamptz")
    conn.cursor().executemany(
        "INSERT INTO log VALUES (%s, %s, %s, %s, %s)",
        [
            ("a", NOON, 0.1, "yes", NOON),
            ("b", NOON, 0.2, "No ", NOON),
            ("c", NOON, 0.3, "perhaps", NOON),
            ("d", NOON, 0.4, "yes", NOW + timedelta(hours=1)),
            ("e", NOON, 0.5, None, None),
        ],
    )
    source = make(outcome={"label": "was", "time": "seen", "matures_after": "2d"})
    batch, read = outcomes(source)
    np.testing.assert_equal(by_score(batch), {0.1: 1.0, 0.2: 0.0, 0.3: np.nan, 0.4: np.nan, 0.5: np.nan})
    assert read.reading.labels == 2
    assert read.reading.details["unparseable_labels"] == 1
    assert list(rows(source)[0].columns) == []


@pytest.mark.parametrize(
    ("kind", "values", "options", "wanted"),
    [
        ("text", ["true", "T", "1", "0", "2", ""], {}, [1, 1, 1, 0, np.nan, np.nan]),
        ("integer", ["1", "0", "2"], {}, [1, 0, np.nan]),
        ("float8", ["1", "0", "0.5"], {}, [1, 0, np.nan]),
        ("numeric", ["1.0", "0", "0.5"], {}, [1, 0, np.nan]),
        ("text", ["fraud", "fine", ""], {"positive": "fraud"}, [1, 0, np.nan]),
    ],
)
def test_labels_are_parsed_strictly(
    conn: psycopg.Connection[Any], make: Any, kind: str, values: list[str], options: dict[str, str], wanted: list[float]
) -> None:
    log(conn)
    truth(conn, kind)
    for number, text in enumerate(values):
        conn.execute("INSERT INTO log VALUES (%s, %s, %s)", [str(number), NOON, number / 10])
        conn.execute("INSERT INTO truth VALUES (%s, %s, %s)", [str(number), text, NOON])
    batch, read = outcomes(make(outcome=TRUTH, prediction={"score": "score", **options}))
    np.testing.assert_equal(list(by_score(batch).values()), wanted)
    assert read.reading.details["unparseable_labels"] == int(np.isnan(wanted).sum())


def test_many_classes_are_read_by_name(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "a float8", "b numeric", "c float8")
    truth(conn, "text")
    conn.execute("INSERT INTO log VALUES ('1', %s, NULL, .7, .2, .1), ('2', %s, NULL, .1, .1, .8)", [NOON, NOON])
    conn.execute("INSERT INTO truth VALUES ('1', 'yes', %s), ('2', 'else', %s)", [NOON, NOON])
    prediction = {"scores": {"no": "a", "yes": "b", "perhaps": "c"}}
    batch, read = outcomes(make(outcome=TRUTH, prediction=prediction, features={"score": "numeric"}))
    assert batch.scores is not None
    assert batch.scores.tolist() == [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]
    np.testing.assert_equal(batch.label, [1.0, np.nan])
    assert read.reading.details["unparseable_labels"] == 1


def test_a_regression_reads_numbers(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    truth(conn, "numeric")
    conn.execute("INSERT INTO log VALUES ('1', %s, 3), ('2', %s, 'NaN')", [NOON, NOON])
    conn.execute("INSERT INTO truth VALUES ('1', 2.5, %s), ('2', 1, %s)", [NOON, NOON])
    outcome = TRUTH | {"value": "was"}
    del outcome["label"]
    batch, _ = outcomes(make(outcome=outcome, prediction={"value": "score"}))
    np.testing.assert_equal(batch.score, [3.0, np.nan])
    np.testing.assert_equal(batch.label, [2.5, 1.0])


@pytest.mark.parametrize(("left", "right"), [("uuid", "text"), ("text", "uuid"), ("bigint", "integer")])
def test_ids_of_different_types_still_join(conn: psycopg.Connection[Any], make: Any, left: str, right: str) -> None:
    conn.execute(f"CREATE TABLE log (id {left}, at timestamptz, score float8)".encode())
    truth(conn, key=right)
    key = "12" if "int" in left else "00000000-0000-0000-0000-000000000001"
    conn.execute("INSERT INTO log VALUES (%s, %s, 1)", [key, NOON])
    conn.execute("INSERT INTO truth VALUES (%s, true, %s)", [key, NOON])
    source = make(outcome=TRUTH)
    batch, _ = outcomes(source)
    assert by_score(batch) == {1.0: 1.0}
    assert any("same type" in problem for problem in source.check())


def test_a_decision_that_was_logged_is_the_decision(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "said text")
    conn.execute("INSERT INTO log VALUES ('1', %s, .4, 'yes'), ('2', %s, .4, NULL), ('3', %s, .2, NULL)", [NOON] * 3)
    batch, _ = rows(make(prediction={"score": "score", "label": "said", "threshold": 0.3}))
    assert batch.decision is not None
    assert batch.decision.tolist() == [True, True, False]


def test_a_label_table_that_does_not_exist_is_said_in_one_sentence(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    with pytest.raises(SourceError, match=r"source\.outcome\.table: There is no table or view \"truth\""):
        outcomes(make(outcome=TRUTH))


def test_the_built_in_log_keeps_models_apart(database: Database) -> None:
    section = SourceSection.model_validate(
        {
            "builtin": True,
            "prediction": {"scores": {"a": "scores.a", "b": "scores.b"}},
            "outcome": {"label": "label", "matures_after": "1d"},
        }
    )
    with psycopg.connect(database.dsn, autocommit=True) as conn:
        for every in ("day", "month"):
            conn.execute("SELECT monitor.ensure_partitions(%s, %s, %s)", [every, DAY.start, DAY.end])
        for model in ("m", "other"):
            conn.execute(
                "INSERT INTO monitor.prediction_log (request_id, model, model_version, occurred_at, features, scores) "
                "VALUES (%s, %s, '1', %s, %s, %s)",
                ["r", model, NOON, '{"age": 3}' if model == "m" else '{"size": 4}', '{"a": 0.25, "b": 0.75}'],
            )
            conn.execute(
                "INSERT INTO monitor.outcome_log (request_id, model, label, observed_at) VALUES ('r', %s, %s, %s)",
                [model, "b" if model == "m" else "a", NOON],
            )
    with PostgresSource(url=database.url, section=section, model="m") as source:
        batch, read = rows(source)
        assert numbers(batch, "age") == [3]
        assert batch.scores is not None
        assert batch.scores.tolist() == [[0.25, 0.75]]
        assert read.reading.rows == 1
        batch, _ = outcomes(source)
        assert batch.label is not None
        assert batch.label.tolist() == [1.0]
        assert source.check() == []


# --- samples and doctor ---------------------------------------------------------------------------------------------


def test_a_sample_is_uniform_bounded_and_the_same_again(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "x int")
    truth(conn)
    statement = "INSERT INTO log SELECT i::text, %s + i * interval '1 s', 0.5, i FROM generate_series(0, 9999) i"
    conn.execute(statement, [NOON])
    conn.execute("INSERT INTO truth SELECT id, x %% 2 = 0, %s FROM log", [NOON])
    conn.execute("INSERT INTO truth SELECT id, x %% 2 = 1, %s FROM log WHERE x < 100", [NOON + timedelta(hours=1)])
    source = make(outcome=TRUTH)
    halves = [Window(start=DAY.start, end=NOON), Window(start=NOON, end=DAY.end)]
    batch = source.sample(halves, 1000, True, now=NOW)
    assert batch.rows == 1000
    assert batch.ids is not None
    assert len(set(batch.ids)) == 1000
    x = np.array(numbers(batch, "x"))
    assert abs(x.mean() - 5000) < 4 * 10_000 / np.sqrt(12 * 1000)
    np.testing.assert_array_equal(batch.label, (x % 2 == 0) != (x < 100))
    assert source.sample(halves, 1000, now=NOW).ids == batch.ids


def test_doctor_names_a_missing_index_with_its_statement(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    truth(conn)
    source = make(outcome=TRUTH)
    first, second, empty = source.check()
    assert "public.log has no row of this model" in empty
    assert "CREATE INDEX CONCURRENTLY ON public.log (at);" in first
    assert "CREATE INDEX CONCURRENTLY ON public.truth (id);" in second
    conn.execute("CREATE INDEX ON log USING brin (at)")
    conn.execute("CREATE INDEX ON truth (id)")
    assert source.check() == [empty]


def test_doctor_names_an_index_that_the_plan_of_a_window_does_not_use(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    statement = "INSERT INTO log SELECT i::text, %s + i * interval '1 s', 0.5 FROM generate_series(0, 199999) i"
    conn.execute(statement + " ORDER BY random()", [NOON])
    conn.execute("CREATE INDEX ON log USING brin (at)")
    conn.execute("ANALYZE log")
    (said,) = make().check()
    assert "reads all of public.log for one hour, though at is indexed" in said
    assert "CREATE INDEX CONCURRENTLY ON public.log (at);" in said
    conn.execute("CREATE INDEX ON log (at)")
    assert make().check() == []


def said(source: Any) -> list[str]:
    """What doctor says of the rows of a source, of whose indexes it always says something too."""
    return [problem for problem in source.check() if "CREATE INDEX" not in problem]


def filled(conn: psycopg.Connection[Any], value: str, columns: str = "dow text", rows: int = 400) -> None:
    """Log rows of the last days, an hour apart, with one more value."""
    log(conn, columns)
    statement = f"INSERT INTO log SELECT 'r' || i, at, 0.5, {value} FROM generate_series(1, %s) i,"
    conn.execute((statement + " LATERAL (SELECT now() - i * interval '1 hour' AS at) t").encode(), [rows])


def test_doctor_names_a_weekday_that_is_taken_from_utc(conn: psycopg.Connection[Any], make: Any) -> None:
    filled(conn, "extract(isodow FROM at AT TIME ZONE 'UTC')::text")
    (problem,) = said(make(zone="America/New_York"))
    assert problem.startswith("dow is the weekday (Monday 1) in UTC, but windows are cut in America/New_York, where")
    assert problem.endswith("or set window.timezone: UTC.")
    assert said(make(zone="UTC")) == []
    conn.execute("UPDATE log SET dow = extract(isodow FROM at AT TIME ZONE 'America/New_York')::text")
    assert said(make(zone="America/New_York")) == []


def test_doctor_names_rows_from_the_future_and_how_local_times_become_times(
    conn: psycopg.Connection[Any], make: Any
) -> None:
    filled(conn, "''", rows=60)
    assert said(make()) == []
    conn.execute("UPDATE log SET at = at + interval '9 hours'")
    (problem,) = said(make())
    assert "8 of the newest 60 rows of public.log lie in the future, by up to 8h" in problem
    assert problem.endswith("set the clock of the service that writes them.")
    conn.execute("ALTER TABLE log ALTER COLUMN at TYPE timestamp USING at AT TIME ZONE 'UTC'")
    naive, ahead = said(make(zone="Asia/Tokyo"))
    remedy = "ALTER TABLE public.log ALTER COLUMN at TYPE timestamptz USING at AT TIME ZONE 'Asia/Tokyo';"
    assert "its values are taken as UTC" in naive
    assert remedy in naive
    assert remedy in ahead
    conn.execute(remedy.encode())
    assert said(make(zone="Asia/Tokyo")) == [], "what it says mends it"


def test_doctor_names_an_id_that_is_no_request_s(conn: psycopg.Connection[Any], make: Any) -> None:
    filled(conn, "mod(i, 7)", "customer int", rows=200)
    assert said(make()) == []
    (problem,) = said(make(id="customer"))
    assert "public.log.customer has 7 values in the newest 200 rows, so it names no single request" in problem


def test_doctor_names_labels_that_nobody_writes_and_ids_that_join_nothing(
    conn: psycopg.Connection[Any], make: Any
) -> None:
    filled(conn, "NULL", "y bool", rows=200)
    truth(conn)
    (empty,) = said(make(outcome=TRUTH))
    assert empty.startswith("None of the newest 15")
    assert "public.truth has no row" in empty
    conn.execute("INSERT INTO truth (id) SELECT 'R-' || i FROM generate_series(1, 200) i")
    (foreign,) = said(make(outcome=TRUTH))
    assert "an id there is 'R-1', in the log 'r1" in foreign
    assert foreign.endswith("name in source.id and outcome.id the columns that hold the same id.")
    conn.execute("UPDATE truth SET id = replace(id, 'R-', 'r')")
    assert said(make(outcome=TRUTH)) == []
    (unfilled,) = said(make(outcome={"label": "y", "matures_after": "1h"}))
    assert "public.log.y is empty" in unfilled


def test_doctor_says_that_a_log_is_empty(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn)
    (problem,) = said(make())
    assert problem.startswith("public.log has no row of this model;")


def test_tiles_merge_to_the_profile_of_the_window(conn: psycopg.Connection[Any], make: Any) -> None:
    log(conn, "x float8", "y text", "v text")
    conn.execute(
        "INSERT INTO log SELECT i::text, %s + i * interval '1 min', random(), random(), (i %% 7)::text, (i %% 2)::text "
        "FROM generate_series(0, 999) i",
        [DAY.start],
    )
    source = make(version="v")
    batch, _ = rows(source)
    kept = {k: v for k, v in batch.columns.items() if not k.endswith(".length")}
    layout = freeze_layout(replace(batch, columns=kept), "UTC")
    tiles, profile = build_inputs(source.read_inputs(DAY, TILES, layout, now=NOW), layout, INPUTS)
    assert len(tiles) == 34
    assert sum(tile.rows for tile in tiles) == 1000
    assert merge_inputs(layout, tiles).to_bytes() == profile.to_bytes()
    whole, _ = build_inputs(source.read_inputs(DAY, [DAY], layout, now=NOW), layout, INPUTS)
    np.testing.assert_array_equal(merge_inputs(layout, whole).counts, profile.counts)
