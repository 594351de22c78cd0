"""A row reaches Postgres as it was meant, whatever is in it, or is refused in one sentence."""

from __future__ import annotations

import decimal
import enum
import json
import math
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.embedded import Database
from monitor_client import row
from monitor_client.connection import Connection
from monitor_client.spool import Block

LIMIT = 1 << 18


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        yield connection


def written(value: Any) -> Any:
    """Return what JSON document a mapping becomes, as Postgres will read it from COPY."""
    return json.loads(row.document(value, "features", LIMIT).replace("\\\\", "\\"))


texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(features=st.dictionaries(texts, values, max_size=5), prediction=texts, score=st.floats() | st.none())
def test_any_features_and_texts_are_taken_by_postgres_as_one_row(
    conn: psycopg.Connection[Any], database: Database, features: dict[str, Any], prediction: str, score: float | None
) -> None:
    line = row.line(
        f"m\t{row.NULL}\tchampion",
        row.request("r-1"),
        row.NULL,
        row.moment(0.0),
        row.document(features, "features", LIMIT),
        row.number(score),
        row.NULL,
        row.text(prediction),
        row.NULL,
        row.NULL,
    )
    assert line.count(b"\n") == 1
    refused: list[str] = []
    connection = Connection(database.dsn, "test")
    assert connection.copy(Block("prediction_log", 1, line), lambda _, why: refused.append(why)) == 1, refused
    connection.close()
    row_ = conn.execute("DELETE FROM monitor.prediction_log RETURNING prediction, score, features").fetchone()
    assert row_ is not None
    assert row_[0] == prediction.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    assert row_[1] == score or (math.isnan(row_[1]) and score is not None and math.isnan(score))
    assert len(row_[2]) <= len(features)


def test_texts_keep_every_character_that_postgres_has() -> None:
    for text in ("", "a\tb\nc\rd\\e", "\\N", "\\.", "Zürich 東京 🚲", 'q"uote', "\\u0000", "\\\\u0000"):
        assert written({"x": text}) == {"x": text}
    assert written({"x": "a\0b"}) == {"x": "a\ufffdb"}
    assert written({"x": "\\\0"}) == {"x": "\\\ufffd"}


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (np.float64("nan"), None),
        (np.float32(0.5), 0.5),
        (np.float32("inf"), "Infinity"),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array([1.0, np.nan]), [1.0, None]),
        (np.str_("x"), "x"),
        (pd.Timestamp("2013-04-01", tz="UTC"), "2013-04-01T00:00:00+00:00"),
        (pd.NaT, None),
        (pd.NA, None),
        (datetime(2013, 4, 1, tzinfo=UTC), "2013-04-01T00:00:00+00:00"),
        (date(2013, 4, 1), "2013-04-01"),
        (timedelta(minutes=1), 60.0),
        (decimal.Decimal("1.5"), 1.5),
        (decimal.Decimal("nan"), None),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        ({"b", "a"}, ["a", "b"]),
    ],
)
def test_values_of_frames_and_numpy_become_what_they_mean(value: Any, expected: Any) -> None:
    assert written({"x": value}) == {"x": expected}
    assert written({"x": value, "y": math.nan}) == {"x": expected, "y": None}


def test_a_series_is_a_mapping() -> None:
    assert written(pd.Series({"a": 1.0, "b": math.nan})) == {"a": 1.0, "b": None}


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        ({"x": object()}, "a object has no JSON form"),
        ({"x": b"bytes"}, "a bytes has no JSON form"),
        ([1, 2], "features are a list; give a mapping from name to value"),
        ({"x": "a" * (LIMIT + 1)}, f"features.x is larger than {LIMIT} bytes"),
        (dict.fromkeys(range(LIMIT + 1)), f"features have {LIMIT + 1} values"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_sentence(features: Any, sentence: str) -> None:
    with pytest.raises(row.RowError, match=sentence.replace(".", r"\.")):
        row.document(features, "features", LIMIT)


def test_what_contains_itself_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    with pytest.raises((row.RowError, ValueError)):
        row.document(circle, "features", LIMIT)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, "true"), (np.bool_(False), "false"), (1, "1"), (np.int32(3), "3"), ("a", "a"), (None, "\\N")],
)
def test_labels_and_decisions_are_the_same_text_from_python_and_numpy(value: Any, expected: str) -> None:
    assert row.text(value) == expected


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(row.RowError, match="has no time zone; give an aware datetime"):
        row.moment(datetime(2013, 4, 1))  # noqa: DTZ001 that is what is refused
