"""A watched model in trouble, as rows: a unit that changed, later outcomes that got worse, advice, a window unseen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from monitor import episode, ledger, record, store, switchboard
from monitor.alert import Alert, AlertState
from monitor.check import Cause, ColumnStatistics, Finding, Part, ReferenceKind, Severity, Verdict
from monitor.embedded import Database
from monitor.installation import Installation, load_config
from monitor.outcome import Task
from monitor.recommendation import Action, Recommendation
from monitor.reference import build_reference
from monitor.source import Batch, NumericValues
from monitor.window import Window

MODEL, QUIET = "flight-delay", "fares"
OPERATOR, VIEWER = "o" * 40, "v" * 40
DAY = timedelta(days=1)
DAYS = 14
FIRST = datetime(2013, 10, 8, 4, tzinfo=UTC)  # midnight in New York
NOW = FIRST + DAYS * DAY + timedelta(hours=3)
COLUMNS = ("temp", "dewp", "visib", "wind")
BROKEN = ("temp", "dewp")  # from the eleventh day on in °C
KEY, OUTCOME = "ab" * 32, "cd" * 32
ADVICE = UUID(int=7)

CONFIG = """
store: {{url: "{url}"}}
models:
  flight-delay:
    source: &source
      url: store
      table: logged
      time: occurred_at
      id: request_id
      features: {{temp: numeric, dewp: numeric, visib: numeric, wind: numeric}}
      prediction: {{score: p_late}}
    window: &window {{calendar: day, timezone: America/New_York}}
  fares: {{source: *source, window: *window}}
web: {{tokens_file: tokens{more}}}
"""


@contextmanager
def installed(folder: Path, database: Database, *, more: str = "") -> Iterator[Installation]:
    """Yield an installation with two models: one in trouble, one that could not be judged last night."""
    (folder / "tokens").write_text(f"alice operator {OPERATOR}\ngrafana viewer {VIEWER}\n")
    file = folder / "monitor.yaml"
    file.write_text(CONFIG.format(url=database.url, more=more))
    made = Installation(config=load_config(file, {}), url=database.url)
    with made.engine.begin() as conn:
        log(conn)
        for model in (MODEL, QUIET):
            store.register_model(
                conn, model, config={}, config_hash="", code_version="", currency="USD", period=DAY, lag=timedelta(0)
            )
            reference = trained(made, model)
            store.save_reference(conn, model=model, body=reference, active_from=FIRST, rows=2400)
            for day in range(DAYS):
                judge(conn, model, day)
        store.save_resource_samples(conn, [sample(day) for day in range(DAYS)])
        episode.save_alerts(conn, [broken_input(), worse_outcome()], at=window(11).end)
        episode.save_recommendation(conn, advice())
        circuit = switchboard.hold_circuit(conn, MODEL)
        opened = circuit.opened(reason="°C instead of °F", actor="bob", now=NOW - DAY, fallback={"label": "on time"})
        switchboard.save_circuit(conn, opened)
        switchboard.save_circuit(conn, opened.closed(reason="the feed is mended", actor="bob"))
    yield made
    made.close()


def window(day: int) -> Window:
    """The window of a day, counted from 0."""
    return Window(start=FIRST + day * DAY, end=FIRST + (day + 1) * DAY)


def sample(day: int) -> dict[str, Any]:
    """A sample of the serving process at the noon of a day, which takes a little more each."""
    at = window(day).start + DAY / 2
    return {"model": MODEL, "process": "serve", "sampled_at": at, "rss_bytes": 400_000_000 + day * 9_000_000}


def log(conn: sa.Connection) -> None:
    """Log a few requests; one of them a person may look for."""
    conn.execute(
        sa.text(
            "CREATE TABLE logged (request_id text PRIMARY KEY, occurred_at timestamptz, p_late float8,"
            " temp float8, dewp float8, visib float8, wind float8)"
        )
    )
    conn.execute(
        sa.text(
            "INSERT INTO logged SELECT 'r-' || i, CAST(:at AS timestamptz) + i * interval '1 hour', 0.31, 12.5, 8,"
            " 10, 9 FROM generate_series(0, 9) i"
        ),
        {"at": window(11).start},
    )


def trained(installation: Installation, model: str) -> bytes:
    """A training profile of a hundred days."""
    rng, rows = np.random.default_rng(0), 2400
    values = {name: rng.normal(55, 15, rows) for name in COLUMNS}
    batch = Batch(
        rows=rows,
        time=round((FIRST - 100 * DAY).timestamp()) * 1_000_000 + np.arange(rows) * 3_600_000_000,
        columns={name: NumericValues(values=one, missing=np.zeros(rows, bool)) for name, one in values.items()},
        score=np.full(rows, 0.2),
    )
    spec = installation.model(model).spec
    made = build_reference(
        batch, model=model, version="1", task=Task.BINARY, spec=spec, created_at=FIRST, rows=rows, source="a test"
    )
    return made.to_bytes()


def judge(conn: sa.Connection, model: str, day: int) -> None:
    """Put one window into the ledger with what was found in it; the quiet model's last two could not be judged."""
    ledger.materialise(conn, model, "champion", "inputs", [window(day)])
    run = ledger.claim(conn, "tester", now=window(day).end, lease=DAY)
    assert run is not None
    assert run.token is not None
    blind = model == QUIET and day >= DAYS - 2
    found, statistics = [], []
    for place, name in enumerate(COLUMNS):
        bad = model == MODEL and name in BROKEN and day >= 10
        effect = -2.9 if bad else 0.02 * ((day + place) % 5) - 0.04
        verdict = Verdict.INCONCLUSIVE if blind else Verdict.CRITICAL if bad else Verdict.OK
        one = Finding(
            check="drift",
            part=Part.INPUT,
            subject=name,
            statistic="location",
            verdict=verdict,
            severity=Severity.CRITICAL if bad else Severity.INFO,
            effect=None if blind else effect,
            message=f"{name} looks like °F → °C" if bad else "",
            reason="no row was logged" if blind else "",
        )
        found.append(one)
        statistics.append(
            ColumnStatistics(
                column=name,
                data_type="numeric",
                part=Part.INPUT,
                reference_kind=ReferenceKind.TRAINING,
                n_current=0 if blind else 900,
                n_reference=2400,
                effect=None if blind else effect,
                minimum_detectable=None if blind else 0.12,
                verdict=verdict,
                severity=one.severity,
            )
        )
    record.save_findings(conn, run, found, evaluated_at=window(day).end)
    record.save_column_statistics(conn, run, statistics)
    rows = 0 if blind else 900 + 7 * day
    ledger.finish(conn, run.run_id, run.token, rows_read=rows, seconds=0.25)


def broken_input() -> Alert:
    """The root cause: two columns in another unit."""
    subjects = tuple(
        {
            "subject": name,
            "check": "drift",
            "statistic": "location",
            "value": 12.5,
            "reference_value": 55.2,
            "effect": -2.9,
            "threshold": 0.31,
            "n_current": 977,
            "message": f"{name} looks like °F → °C",
        }
        for name in BROKEN
    )
    return Alert(
        key=KEY,
        episode=1,
        model=MODEL,
        family="quality:weather",
        title="temp and dewp changed at once: °F → °C",
        severity=Severity.CRITICAL,
        state=AlertState.FIRING,
        cause=Cause.DATA,
        opened_at=window(11).end,
        opened_window_start=window(11).start,
        opened_window_end=window(11).end,
        subjects=subjects,
        impact_cost=1240.0,
        currency="USD",
    )


def worse_outcome() -> Alert:
    """What the root cause explains."""
    share = {"subject": "late share", "check": "performance", "statistic": "slope", "value": 0.45, "message": "45 %"}
    return replace(
        broken_input(),
        key=OUTCOME,
        family="outcome",
        title="Late more often than predicted",
        subjects=(share,),
        inhibited_by=KEY,
        impact_cost=None,
    )


def advice() -> Recommendation:
    """What to do, and what not."""
    facts: list[dict[str, Any]] = [{"metric": "roc_auc", "value": 0.61, "reference": 0.74, "windows": 4}]
    return Recommendation(
        id=ADVICE,
        model=MODEL,
        action=Action.INVESTIGATE_DATA,
        cause_key="outcome",
        why="temp and dewp look like °F → °C since 18 October.",
        why_not="Do not retrain on rows since then: the model would learn the fault.",
        evidence=facts,
        opened_at=window(11).end,
        window_start=window(11).start,
        window_end=window(11).end,
        expected_cost=310.0,
        currency="USD",
    )
