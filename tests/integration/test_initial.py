"""`monitor init` on real tables: what is guessed, what is said, and that the result is a valid configuration."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from monitor.config import Config, load
from monitor.embedded import Database
from monitor.initial import MISSING, Proposal, _without_password, propose
from monitor.sources.catalog import Family, TableKind, UnknownTableError, describe_table, json_keys, list_tables

Connection = psycopg.Connection[tuple[object, ...]]

WIDE = """
CREATE SCHEMA serving;
CREATE TYPE serving.carrier AS ENUM ('AA', 'UA');
CREATE TABLE serving.predictions (
  request_id text PRIMARY KEY, occurred_at timestamptz NOT NULL, logged_at timestamptz DEFAULT now(),
  model_version text, deployment_role text, weather_temp double precision, weather_wind real, distance integer,
  carrier serving.carrier, is_weekend boolean, note text, trace_id uuid, latency_ms real, tags text[],
  booked_on date, p_late double precision, said_late boolean);
CREATE INDEX ON serving.predictions USING brin (occurred_at);
INSERT INTO serving.predictions
SELECT 'r' || i, now() - i * interval '1 minute', now(), 'v1', CASE i % 5 WHEN 0 THEN 'shadow' ELSE 'champion' END,
       i / 10.0, i, i, 'AA', i % 2 = 0, 'a rather long and free text, number ' || i, gen_random_uuid(), 3.5, ARRAY['x'],
       '2024-01-01', (i % 100) / 100.0, (i % 100) / 100.0 >= 0.35
FROM generate_series(1, 300) i;
CREATE TABLE serving.outcomes (request_id text, was_late boolean, observed_at timestamptz);
INSERT INTO serving.outcomes SELECT request_id, random() < 0.2, now() FROM serving.predictions;
CREATE TABLE serving.unrelated (id int, label text);
"""

JSON = """
CREATE TABLE answers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamp, inputs jsonb, "Mixed Case" int,
  "odd: ${x} #'" real,
  prediction double precision, actual_price double precision);
INSERT INTO answers (at, inputs, "Mixed Case", prediction)
SELECT now(), jsonb_build_object('age', i, 'city', 'c' || i % 3, 'vip', i % 2 = 0, 'id', i, 'nested', '{"a": 1}'::jsonb,
  'a.b', 1, 'sometimes',
  CASE WHEN i % 10 = 0 THEN to_jsonb('?'::text) ELSE to_jsonb(i) END, 'nothing', NULL), i, i * 1.5
FROM generate_series(1, 60) i;
"""

MANY = """
CREATE TABLE calls (call_id uuid DEFAULT gen_random_uuid(), ts timestamptz DEFAULT now(), x numeric,
  prob_cat real, prob_dog real, prob_bird real, predicted_class text);
INSERT INTO calls (x, prob_cat, prob_dog, prob_bird, predicted_class)
SELECT i, a / (a + b + 1), b / (a + b + 1), 1 / (a + b + 1), 'cat'
FROM (SELECT i, random() AS a, random() AS b FROM generate_series(1, 50) i) r;
"""


@pytest.fixture
def conn(empty_database: Database) -> Connection:
    return psycopg.connect(empty_database.dsn, autocommit=True)


def proposed(conn: Connection, statements: str, table: str, folder: Path) -> tuple[Proposal, Config]:
    with conn:
        conn.execute(statements)
        proposal = propose(conn, table)
    file = folder / "monitor.yaml"
    file.write_text(proposal.text)
    return proposal, load(file, {})


def test_a_wide_table_gives_a_configuration_that_runs_unchanged(conn: Connection, tmp_path: Path) -> None:
    proposal, config = proposed(conn, WIDE, "serving.predictions", tmp_path)
    source = config.models["predictions"].source
    assert (source.table, source.time, source.id) == ("serving.predictions", "occurred_at", "request_id")
    assert (source.logged_at, source.version, source.role) == ("logged_at", "model_version", "deployment_role")
    assert source.prediction.columns() == {"score": "p_late", "label": "said_late"}
    assert source.prediction.threshold == 0.35
    assert source.outcome is not None
    assert (source.outcome.table, source.outcome.label) == ("serving.outcomes", "was_late")
    assert source.outcome.time == "observed_at"
    assert not isinstance(source.features, str)
    assert {name: str(feature.type) for name, feature in source.features.items()} == {
        "weather_temp": "numeric",
        "weather_wind": "numeric",
        "distance": "numeric",
        "carrier": "categorical",
        "is_weekend": "boolean",
        "note": "text",
        "tags": "array",
        "booked_on": "timestamp",
    }
    assert source.upstreams == {"weather": ("weather_temp", "weather_wind")}
    assert "# left out: trace_id" in proposal.text
    assert "# left out: latency_ms" in proposal.text
    assert proposal.open_questions == ()
    assert any(guess.startswith("outcome: serving.outcomes.was_late") for guess in proposal.guesses)
    assert not any("CREATE INDEX" in guess for guess in proposal.guesses)


def test_json_features_and_odd_names_become_a_valid_configuration(conn: Connection, tmp_path: Path) -> None:
    proposal, config = proposed(conn, JSON, "answers", tmp_path)
    source = config.models["answers"].source
    assert (source.table, source.time, source.id, source.prediction.value) == (
        "public.answers",
        "at",
        "id",
        "prediction",
    )
    assert not isinstance(source.features, str)
    assert {name: (feature.place, str(feature.type)) for name, feature in source.features.items()} == {
        "Mixed Case": ("Mixed Case", "numeric"),
        "odd: ${x} #'": ("odd: ${x} #'", "numeric"),
        "age": ("inputs.age", "numeric"),
        "city": ("inputs.city", "categorical"),
        "vip": ("inputs.vip", "boolean"),
        "id": ("inputs.id", "numeric"),
        "sometimes": ("inputs.sometimes", "numeric"),
    }
    assert "JSON number; also string" in proposal.text
    for left_out in ("nested", "a.b", "nothing"):
        assert f"# left out: {left_out} " in proposal.text
    assert source.outcome is not None
    assert (source.outcome.table, source.outcome.value) == ("public.answers", "actual_price")
    assert any("CREATE INDEX CONCURRENTLY ON public.answers (at);" in guess for guess in proposal.guesses)


def test_probabilities_that_add_up_to_one_are_the_classes(conn: Connection, tmp_path: Path) -> None:
    _, config = proposed(conn, MANY, "calls", tmp_path)
    prediction = config.models["calls"].source.prediction
    assert prediction.scores == {"cat": "prob_cat", "dog": "prob_dog", "bird": "prob_bird"}
    assert prediction.label == "predicted_class"


def test_what_cannot_be_guessed_is_asked_and_never_invented(conn: Connection, tmp_path: Path) -> None:
    proposal, config = proposed(conn, "CREATE TABLE bare (a int, b text)", "bare", tmp_path)
    source = config.models["bare"].source
    assert (source.time, source.id, source.prediction.score) == (MISSING, MISSING, MISSING)
    assert len(proposal.open_questions) == 3


def test_an_address_is_written_without_its_password(empty_database: Database, tmp_path: Path) -> None:
    with psycopg.connect(empty_database.dsn) as conn:
        conn.execute("CREATE TABLE t (id int, at timestamptz, score real)")
    # The embedded server lets every local user in, so it accepts a password that it never asks for.
    with_password = empty_database.dsn + "&password=canary-secret"
    text = propose(with_password, "t").text
    assert "canary-secret" not in text
    assert "${MONITOR_SOURCE_URL" in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:canary-secret@h:5/d?x=y", "postgresql://u@h:5/d?x=y"),
        ("postgresql://u@h/d?password=canary-secret&x=y", "postgresql://u@h/d?x=y"),
        ("postgresql:///d?host=/tmp/x", "postgresql:///d?host=/tmp/x"),
        ("host=h password=canary-secret", ""),
    ],
)
def test_no_form_of_an_address_keeps_its_password(url: str, shown: str) -> None:
    assert _without_password(url) == shown


def test_the_catalog_is_described_as_it_is(conn: Connection) -> None:
    with conn:
        conn.execute(WIDE)
        conn.execute("CREATE VIEW serving.recent AS SELECT * FROM serving.predictions")
        conn.execute("CREATE TABLE parts (at timestamptz, x numeric(5, 2), d int) PARTITION BY RANGE (at)")
        conn.execute("CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')")
        conn.execute("CREATE INDEX ON parts (at, d)")
        conn.execute("CREATE INDEX ON parts (d, (x + 1)) WHERE d > 0")
        conn.execute("INSERT INTO parts VALUES ('2024-02-01', 1, 1), ('2024-02-02', 1, 1)")
        conn.execute("ANALYZE parts")
        table = describe_table(conn, "serving.predictions")
        assert (table.kind, table.approximate_rows) == (TableKind.TABLE, None)
        assert table.has_range_index("occurred_at")
        assert not table.has_range_index("p_late")
        assert (table.is_unique("request_id"), table.is_unique("occurred_at")) == (True, False)
        carrier = table.column("carrier")
        assert carrier is not None
        assert (carrier.type, carrier.family, carrier.nullable) == ("serving.carrier", Family.ENUM, True)
        assert describe_table(conn, "serving.recent").kind is TableKind.VIEW
        parts = describe_table(conn, "PARTS")
        assert (parts.kind, parts.approximate_rows) == (TableKind.PARTITIONED, 2)
        assert [column.type for column in parts.columns] == ["timestamp with time zone", "numeric(5,2)", "integer"]
        assert (parts.has_range_index("at"), parts.has_range_index("d")) == (True, False)
        assert {index.columns for index in parts.indexes} == {("at", "d"), ("d", None)}
        assert list_tables(conn) == [
            "public.parts",
            "serving.outcomes",
            "serving.predictions",
            "serving.recent",
            "serving.unrelated",
        ]
        conn.execute("CREATE TABLE odd (doc json)")
        conn.execute("""INSERT INTO odd VALUES ('[1]'), ('{"a": 1}'), (NULL), ('{"a": "x"}'), ('3')""")
        assert json_keys(conn, describe_table(conn, "odd"), "doc") == {"a": {"number": 1, "string": 1}}


@pytest.mark.parametrize("name", ["serving.predictoins", "predictions", 'x"; DROP TABLE t', "", ".", "a.b.c"])
def test_an_unknown_table_is_refused_with_the_nearest_name(conn: Connection, name: str) -> None:
    with conn:
        conn.execute("CREATE SCHEMA serving; CREATE TABLE serving.predictions (a int)")
        with pytest.raises(UnknownTableError, match="There is no table or view") as caught:
            describe_table(conn, name)
    if "pred" in name:
        assert 'did you mean "serving.predictions"?' in str(caught.value)


def test_the_only_yes_or_no_about_an_id_is_proposed_as_its_outcome(conn: Connection, tmp_path: Path) -> None:
    statements = """
        CREATE TABLE loans (request_id bigint PRIMARY KEY, at timestamptz, income float8, p_default float8);
        INSERT INTO loans SELECT i, now() - i * interval '1 hour', i, 0.3 FROM generate_series(1, 100) i;
        CREATE TABLE repayments (request_id bigint, defaulted boolean, decided_at timestamptz);
        INSERT INTO repayments SELECT request_id, request_id % 3 = 0, at FROM loans
    """
    proposal, config = proposed(conn, statements, "loans", tmp_path)
    outcome = config.models["loans"].source.outcome
    assert outcome is not None
    assert (outcome.table, outcome.label, outcome.time) == ("public.repayments", "defaulted", "decided_at")
    assert any("nothing else there says yes or no of a request_id" in guess for guess in proposal.guesses)
