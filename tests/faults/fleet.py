"""Several watched models whose inputs go bad and mend again and again, so that there is always something to tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from monitor import store
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.outcome import Task
from monitor.reference import build_reference
from monitor.source import Batch, NumericValues
from tests.watched import FIRST, ask, installed, run

PER_WINDOW = 8
MODEL = """
  {name}:
    active: {{from: {start}, until: {until}}}
    source:
      url: store
      table: logged
      time: at
      id: id
      features: {{x: numeric}}
      prediction: {{score: p, threshold: 0.5}}
    window: {width}m
    lag: 0s
    max_catch_up: 40y
    checks: {{drift: {{enabled: false}}, sudden: {{enabled: false}}, estimated_performance: {{enabled: false}}}}
"""
FINDINGS = """SELECT window_start, run_part, check_name, nullif(subject, model) AS subject, statistic, verdict, value,
    count(*) FROM monitor.finding WHERE model = '{}' GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7"""
EVENTS = """SELECT e.window_start, e.from_state, e.to_state, e.reason FROM monitor.alert_event AS e
    JOIN monitor.alert AS a USING (alert_key, episode) WHERE a.model = '{}' ORDER BY 1, 2, 3, 4"""
EPISODES = """SELECT family, episode, state, severity, opened_window_start, resolved_window_start
    FROM monitor.alert WHERE model = '{}' ORDER BY 1, 2"""
MESSAGES = "SELECT window_start, reason FROM monitor.notification WHERE model = '{}' ORDER BY 1, 2"
RUNS = "SELECT window_start, part, state, rows_read, revision FROM monitor.run WHERE model = '{}' ORDER BY 1, 2"


def end(windows: int, width: timedelta, start: datetime = FIRST) -> datetime:
    """Return when the last of so many windows is over."""
    return start + windows * width


@contextmanager
def fleet(
    folder: Path,
    database: Database,
    *,
    models: int,
    windows: int,
    width: timedelta,
    channels: str,
    rest: str = "",
    start: datetime = FIRST,
) -> Iterator[Installation]:
    """Yield an installation of so many models that have so many windows each; ``channels`` is YAML.

    In six of twelve windows half of the values of ``x`` are missing, which the only check that is on sees.
    """
    names = [f"model-{number:02d}" for number in range(models)]
    until = end(windows, width, start).isoformat()
    text = "".join(
        MODEL.format(name=name, start=start.isoformat(), until=until, width=round(width.total_seconds() / 60))
        for name in names
    )
    file = folder / "monitor.yaml"
    file.write_text(
        f'store: {{url: "{database.url}"}}\nmodels:{text}\nweb: {{listen: "127.0.0.1:0"}}\n'
        "security: {allow_private_addresses: true}\n"
        "retention: {tiles: 40y, findings: 40y, samples: 40y, logs: 40y}\n"
        f"channels: {channels}\n{rest}\n",
        encoding="utf-8",
    )
    with installed(file) as installation:
        run(
            installation,
            "CREATE TABLE logged (id int PRIMARY KEY, at timestamptz, x float8, p float8)",
            """INSERT INTO logged
            SELECT i, CAST(:first AS timestamptz) + (i + 0.5) * :step,
                CASE WHEN i / :per % 12 < 6 OR i % 2 = 0 THEN sin(i * 1.7) * 1.4 END, 0.5 + 0.4 * sin(i * 1.7)
            FROM generate_series(0, CAST(:rows AS int) - 1) AS i""",
            "CREATE INDEX ON logged (at)",
            first=start,
            step=width / PER_WINDOW,
            per=PER_WINDOW,
            rows=windows * PER_WINDOW,
        )
        with installation.engine.begin() as conn:
            body = reference(installation, width, start)
            for name in names:
                store.save_reference(conn, model=name, body=body(name), active_from=start, rows=1)
        yield installation


def history(installation: Installation, model: str) -> list[Any]:
    """Return what a model's history comes to, without what differs by nature: its runs, findings, events, messages."""
    return [ask(installation, query.format(model)) for query in (RUNS, FINDINGS, EVENTS, MESSAGES)]


def reference(installation: Installation, width: timedelta, before: datetime) -> Callable[[str], bytes]:
    """Return a function that makes the training profile of a model from sixty days before a time."""
    rng = np.random.default_rng(0)
    n = 60 * 24 * PER_WINDOW
    x = rng.normal(0, 1, n)
    step = width / PER_WINDOW
    start = before - n * step
    batch = Batch(
        rows=n,
        time=round(start.timestamp()) * 1_000_000 + np.arange(n) * round(step.total_seconds() * 1e6),
        columns={"x": NumericValues(values=x, missing=np.zeros(n, bool))},
        score=np.clip(0.5 + 0.28 * x, 0.01, 0.99),
    )

    def body(model: str) -> bytes:
        return build_reference(
            batch,
            model=model,
            version="1",
            task=Task.BINARY,
            spec=installation.model(model).spec,
            created_at=before,
            rows=n,
            source="a test",
        ).to_bytes()

    return body
