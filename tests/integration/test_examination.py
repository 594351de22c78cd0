"""On schedule the daemon replays golden rows, shakes them, and looks for columns of training that know the future."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from monitor import store
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.outcome import Task
from monitor.reference import build_reference
from monitor.source import Batch, NumericValues
from monitor.worker import Worker
from tests.scoring import score, scoring
from tests.watched import DAY, ask, installed, run

CONFIG = """
store: {{url: "{url}"}}
models:
  m:
    active: {{from: 2026-03-01}}
    source:
      builtin: true
      features: {{x: numeric, z: numeric, late_code: numeric{more}}}
      raw: {raw}
      prediction: {prediction}
      outcome: {{label: label, matures_after: 1h}}
    window: {{calendar: day, timezone: UTC}}
    checks: {checks}
    serving:
      endpoint:
        {{url: "{endpoint}/v2/models/m/infer", protocol: v2, per_second: 1000, production: {production}}}
    release: {release}
channels: {{ops: {{type: webhook, url: "https://hooks.example.org/x"}}}}
"""
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
N = 1440
ALONE = "{parity: false, stability: false, drift: false, relations: false, sudden: false, quality: false}"
CLASSES = "{scores: {'false': scores.no, 'true': scores.yes}}"  # as many classes as the endpoint knows
Made = Callable[..., Installation]


@pytest.fixture
def made(tmp_path: Path, database: Database) -> Iterator[Made]:
    with ExitStack() as stack:

        def make(
            behaviour: str = "equal",
            *,
            production: bool = False,
            checks: str = "{}",
            candidate: str | None = None,
            leaks: bool = False,
            again: bool = False,
            raw: str = "{}",
            classes: bool = False,
            more: str = "",
        ) -> Installation:
            file = tmp_path / "monitor.yaml"
            url = stack.enter_context(scoring(behaviour))
            other = "{}"
            if candidate is not None:
                asked = stack.enter_context(scoring(candidate))
                told = f"url: '{asked}/invocations', protocol: mlflow, per_second: 1000, production: false"
                other = f"{{endpoint: {{{told}}}}}"
            file.write_text(
                CONFIG.format(
                    url=database.url,
                    endpoint=url,
                    production=str(production).lower(),
                    checks=checks,
                    release=other,
                    raw=raw,
                    more=more,
                    prediction=CLASSES if classes else "{score: score, threshold: 0.5}",
                )
            )
            installation = stack.enter_context(installed(file))
            if not again:
                train(installation, classes=classes)
                log(installation, leaks=leaks)
            return installation

        yield make


def train(installation: Installation, *, classes: bool = False) -> None:
    """Store a training profile of sixty days with its sample and golden rows; ``late_code`` knows the label there."""
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, N))
    said = np.array([score({"x": a, "z": b}) for a, b in zip(x, z, strict=True)])
    label = (rng.random(N) < said).astype(float)
    code = label + 0.5 * rng.normal(size=N)
    columns = {"x": x, "z": z, "late_code": code}
    batch = Batch(
        rows=N,
        time=round((FIRST - timedelta(days=60)).timestamp()) * 1_000_000 + np.arange(N) * 3_600_000_000,
        columns={name: NumericValues(values=values, missing=np.zeros(N, bool)) for name, values in columns.items()},
        score=np.maximum(said, 1 - said) if classes else said,
        scores=np.column_stack([1 - said, said]) if classes else None,
        label=label,
    )
    spec = installation.model("m").spec
    reference = build_reference(
        batch,
        model="m",
        version="7",
        task=Task.MULTICLASS if classes else Task.BINARY,
        classes=("false", "true") if classes else (),
        spec=spec,
        created_at=FIRST,
        rows=N,
        source="a test",
        packages={"scikit-learn": "1.8.0", "numpy": "2.3.0"},
        python_version="3.11.2",
    )
    answers = {"scores.no": 1 - said, "scores.yes": said} if classes else {"score": said}
    table = pa.table({**columns, **answers, "label": pa.array(["true" if one else "false" for one in label])})
    with installation.engine.begin() as conn:
        store.save_reference(
            conn,
            model="m",
            body=reference.to_bytes(),
            active_from=FIRST,
            rows=N,
            sample=parquet(table),
            golden=parquet(table.slice(0, 200)),
        )


def parquet(table: pa.Table) -> bytes:
    target = io.BytesIO()
    pyarrow.parquet.write_table(table, target)
    return target.getvalue()


def log(installation: Installation, *, leaks: bool) -> None:
    """Log eight days; where training leaks, ``late_code`` is noise in production, else it is what it was."""
    code = "0.5 * y + 0.4 * e" if leaks else "y + 0.5 * e"
    run(
        installation,
        "CREATE TABLE made AS SELECT i, x, z, 1 / (1 + exp(-(x - .5 * z))) AS p, e FROM (SELECT i,"
        " sqrt(-2 * ln(random() * .999 + .0005)) * cos(6.2831853 * random()) AS x,"
        " sqrt(-2 * ln(random() * .999 + .0005)) * cos(6.2831853 * random()) AS z,"
        " sqrt(-2 * ln(random() * .999 + .0005)) * cos(6.2831853 * random()) AS e"
        " FROM generate_series(0, 7999) i) d",
        "ALTER TABLE made ADD y int",
        "UPDATE made SET y = (random() < p)::int",
        "INSERT INTO monitor.prediction_log (request_id, model, model_version, role, occurred_at, score, scores,"
        " features) SELECT i::text, 'm', '7', 'champion', CAST(:first AS timestamptz) + i * interval '8 days' / 8000,"
        " p, jsonb_build_object('no', 1 - p, 'yes', p),"
        f" jsonb_build_object('x', x, 'z', z, 'late_code', {'e' if leaks else code}) FROM made",
        "INSERT INTO monitor.outcome_log (request_id, model, label, observed_at) SELECT i::text, 'm', (y = 1)::text,"
        " CAST(:first AS timestamptz) + i * interval '8 days' / 8000 FROM made",
        first=FIRST,
    )


def day(installation: Installation, number: int) -> None:
    Worker(installation=installation).advance(FIRST + timedelta(days=number, hours=3))


def findings(installation: Installation, check: str) -> list[tuple[Any, ...]]:
    return ask(
        installation,
        "SELECT subject, statistic, verdict, coalesce(message, '') FROM monitor.finding"
        f" WHERE check_name = '{check}' ORDER BY window_start, subject, statistic",
    )


def titles(installation: Installation) -> list[str]:
    return ask(
        installation,
        "SELECT payload->>'title' FROM monitor.notification"
        " WHERE payload->>'group_key' ~ 'parity|stability|leakage' ORDER BY created_at",
    )


def heartbeat(installation: Installation, packages: str, *, at: datetime) -> None:
    run(
        installation,
        "INSERT INTO monitor.heartbeat_log (process, model, model_version, at, packages)"
        " VALUES ('p', 'm', '7', :at, CAST(:packages AS jsonb))",
        at=at,
        packages=packages,
    )


def test_an_equal_endpoint_passes_and_other_versions_are_said_with_what_they_changed(made: Made) -> None:
    installation = made()
    heartbeat(installation, '{"scikit-learn": "1.9.0", "numpy": "2.3.0", "python": "3.11.2"}', at=FIRST)
    day(installation, 1)
    assert findings(installation, "parity") == [
        ("champion", "moved predictions", "ok", ""),
        ("champion", "package versions", "ok", "scikit-learn 1.8.0 → 1.9.0: 0 of 200 predictions changed"),
    ]
    assert [row[2] for row in findings(installation, "stability")] == ["ok"]
    assert titles(installation) == []


def test_predictions_that_moved_are_one_message_with_the_package_that_came_then_and_are_over_when_they_return(
    made: Made,
) -> None:
    quiet = "{stability: false, leakage: false}"
    before = made(checks=quiet)
    heartbeat(before, '{"scikit-learn": "1.8.0", "numpy": "2.2.0", "python": "3.11.2"}', at=FIRST)
    day(before, 1)
    installation = made("moved", checks=quiet, again=True)
    heartbeat(installation, '{"scikit-learn": "1.9.0", "numpy": "2.2.0", "python": "3.11.2"}', at=FIRST + DAY)
    day(installation, 2)
    *_, moved, versions = findings(installation, "parity")
    assert moved[2] == "critical"
    assert "golden predictions moved by more than 1e-06" in moved[3]
    assert moved[3].endswith("; other than in training: scikit-learn 1.8.0 → 1.9.0"), "numpy 2.2 moved none before"
    count = moved[3].split()[0]
    assert int(count) > 0
    assert versions[3] == (
        f"scikit-learn 1.8.0 → 1.9.0: {count} of 200; numpy 2.3.0 → 2.2.0: 0 of 200 predictions changed"
    )
    assert titles(installation) == ["The model no longer computes what it did in training"]
    day(made(checks=quiet, again=True), 3)
    assert ask(installation, "SELECT state FROM monitor.alert WHERE family = 'parity'") == ["resolved"]


def test_two_columns_that_serving_swaps_are_named(made: Made) -> None:
    installation = made("swapped", checks="{stability: false}")
    day(installation, 1)
    ((_, _, verdict, message),) = findings(installation, "parity")
    assert verdict == "critical"
    assert "with x and z swapped they come out again" in message


def test_an_endpoint_that_fails_is_inconclusive_and_alarms_nobody(made: Made) -> None:
    installation = made("broken")
    day(installation, 1)
    assert [(row[2], "answered 500" in row[3]) for row in findings(installation, "parity")] == [("inconclusive", True)]
    assert titles(installation) == []


def test_a_production_endpoint_is_replayed_but_gets_no_noise_unless_allowed(made: Made) -> None:
    installation = made("nervous", production=True)
    day(installation, 1)
    assert findings(installation, "stability") == []
    assert len(findings(installation, "parity")) == 1


def test_a_nervous_candidate_is_told_beside_the_steady_champion(made: Made) -> None:
    installation = made("equal", candidate="nervous")
    day(installation, 1)
    found = {row[0]: (row[2], row[3]) for row in findings(installation, "stability")}
    assert found["champion"] == ("ok", "")
    assert found["candidate"][0] == "critical"
    assert "(0.00% of the champion's)" in found["candidate"][1]
    assert titles(installation) == ["Noise that nobody could measure turns decisions over"]


def test_golden_rows_are_asked_once_a_day_and_not_for_windows_that_are_caught_up(made: Made) -> None:
    installation = made("equal", checks="{stability: false}")
    url = installation.model("m").section.serving
    assert url is not None
    assert url.endpoint is not None
    address = url.endpoint.url.partition("/v2/")[0]
    day(installation, 3)  # three windows at once
    assert httpx.get(f"{address}/asked").json()["asked"] == 4, "200 rows, 50 in a request, one window"


def test_a_column_that_told_the_label_in_training_alone_is_named(made: Made) -> None:
    installation = made(leaks=True, checks=ALONE)
    day(installation, 8)  # the newest of eight windows is looked at, once seven were seen
    ((subject, _, verdict, message),) = findings(installation, "leakage")
    assert (subject, verdict) == ("late_code: fallen", "critical")
    assert message.startswith("late_code alone tells the label with an AUC of 0.9")
    assert titles(installation) == ["Training knew what production cannot know"]


def test_a_column_that_tells_as_much_in_production_is_not_suspected(made: Made) -> None:
    installation = made(checks=ALONE)
    day(installation, 8)  # the newest of eight windows is looked at, once seven were seen
    ((subject, _, verdict, message),) = findings(installation, "leakage")
    assert (subject, verdict) == ("columns", "ok")
    assert message == "none of 3 columns knows the label or is missing in production"


def test_a_feature_that_is_not_what_its_raw_value_says_is_told_with_what_explains_it_and_is_over_once_it_is(
    made: Made,
) -> None:
    installation = made("equal", checks="{stability: false}", raw="{x: features.miles, z: features.told}")
    run(
        installation,
        "UPDATE monitor.prediction_log SET features = features || jsonb_build_object('told', features->'z', 'miles',"
        " to_jsonb((features->>'x')::float8 / CASE WHEN occurred_at < CAST(:second AS timestamptz) THEN 1.609"
        " ELSE 1 END))",
        second=FIRST + DAY,
    )
    day(installation, 1)
    assert [row for row in findings(installation, "parity") if row[1] == "raw value"] == [
        (
            "x",
            "raw value",
            "critical",
            "x is not what its raw value says in 1,000 of 1,000 rows: always 1.609 times as much",
        ),
        ("z", "raw value", "ok", ""),
    ]
    assert titles(installation) == ["The model no longer computes what it did in training"]
    day(installation, 2)
    assert ask(installation, "SELECT family, state FROM monitor.alert WHERE family LIKE 'parity%'") == [
        ("parity:x", "resolved")
    ]


def test_a_raw_column_that_the_log_lacks_keeps_the_window_waiting_with_a_sentence(made: Made) -> None:
    installation = made("equal", raw="{x: nowhere}")
    day(installation, 1)
    assert findings(installation, "parity") == []
    (said,) = ask(installation, "SELECT DISTINCT reason FROM monitor.run WHERE reason IS NOT NULL")
    assert 'source.raw.x names the column "nowhere"' in said


@pytest.mark.parametrize(
    ("behaviour", "parity", "stability"),
    [("equal", "ok", "ok"), ("swapped", "critical", "ok"), ("nervous", "critical", "critical")],
)
def test_models_of_many_classes_are_replayed_and_shaken_too(
    made: Made, behaviour: str, parity: str, stability: str
) -> None:
    installation = made(behaviour, classes=True)
    day(installation, 1)
    assert [row[2] for row in findings(installation, "parity")] == [parity]
    assert [row[2] for row in findings(installation, "stability")] == [stability]


def test_a_column_that_told_the_class_in_training_alone_is_named(made: Made) -> None:
    installation = made(leaks=True, checks=ALONE, classes=True)
    day(installation, 8)
    ((subject, _, verdict, _),) = findings(installation, "leakage")
    assert (subject, verdict) == ("late_code: fallen", "critical")


def test_a_time_that_lies_after_the_prediction_and_a_column_that_is_empty_are_named(made: Made) -> None:
    installation = made(checks=ALONE, more=", closed_at: {column: logged_at, type: timestamp}, new: numeric")
    run(
        installation,
        "UPDATE monitor.prediction_log SET features = features || jsonb_build_object('z', NULL), logged_at ="
        " occurred_at + CASE WHEN CAST(request_id AS int) % 4 = 0 THEN 1 ELSE -1 END * interval '1 hour'",
    )
    day(installation, 8)
    found = {row[0]: row[3] for row in findings(installation, "leakage")}
    assert found["closed_at: later"].startswith("closed_at lies after the prediction in 2")
    assert found["z: empty"] == "z is empty in production and not in training"
