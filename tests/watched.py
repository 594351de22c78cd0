"""A small watched model on a real database: its configuration, its log table, its training profile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from monitor import schema, store
from monitor.embedded import Database
from monitor.installation import Installation, load_config
from monitor.outcome import Task
from monitor.reference import build_reference
from monitor.source import Batch, NumericValues

DAY = timedelta(days=1)
FIRST = datetime(2013, 4, 1, tzinfo=UTC)
NOW = FIRST + 4 * DAY + timedelta(hours=1)
MODEL = "m"

CONFIG = """
store: {{url: "{url}"}}
models:
  m:
    active: {{from: 2013-04-01}}
    source:
      url: store
      table: logged
      time: at
      id: id
      features: {{x: numeric}}
      prediction: {{score: p, threshold: 0.5}}
      {outcome}
    window: {{calendar: day, timezone: UTC}}
    {more}
web: {{listen: "127.0.0.1:{port}"}}
{rest}
"""
OUTCOME = "outcome: {table: labels, id: id, label: y, time: known_at, matures_after: 1d}"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def write_config(
    folder: Path, database: Database, *, outcome: str = "", more: str = "", rest: str = "", port: int | None = None
) -> Path:
    """Write monitor.yaml with one model and return its path; port 0 lets each process take its own."""
    file = folder / "monitor.yaml"
    file.write_text(
        CONFIG.format(
            url=database.url, port=free_port() if port is None else port, outcome=outcome, more=more, rest=rest
        ),
        encoding="utf-8",
    )
    return file


@contextmanager
def installed(file: Path) -> Iterator[Installation]:
    """Yield the installation of a configuration whose store is a database of the test."""
    config = load_config(file, {})
    url = schema.database_url(config.store.url.get_secret_value()).render_as_string(False)
    installation = Installation(config=config, url=url)
    yield installation
    installation.close()


def log_rows(installation: Installation, *, days: int = 4, per_day: int = 24) -> None:
    """Log ordinary predictions evenly over some days from FIRST on."""
    run(
        installation,
        "CREATE TABLE logged (id text PRIMARY KEY, at timestamptz, x float8, p float8)",
        "INSERT INTO logged SELECT i, CAST(:first AS timestamptz) + i * (interval '1 day' / :per_day),"
        " sin(i * 1.7) * 1.4, 0.5 + 0.4 * sin(i * 1.7) FROM generate_series(0, CAST(:rows AS int) - 1) i",
        first=FIRST,
        per_day=per_day,
        rows=days * per_day,
    )


def label_rows(installation: Installation) -> None:
    """Give every logged prediction its label, known an hour later."""
    run(
        installation,
        "CREATE TABLE labels (id text, y bool, known_at timestamptz)",
        "INSERT INTO labels SELECT id, p > 0.5, at + interval '1 hour' FROM logged",
    )


def train(installation: Installation, *, mean: float = 0.0, labelled: bool = False) -> None:
    """Store a training profile of sixty days before FIRST."""
    rng = np.random.default_rng(0)
    n = 60 * 24
    x = rng.normal(mean, 1, n)
    batch = Batch(
        rows=n,
        time=round((FIRST - 60 * DAY).timestamp()) * 1_000_000 + np.arange(n) * 3_600_000_000,
        columns={"x": NumericValues(values=x, missing=np.zeros(n, bool))},
        score=np.clip(0.5 + 0.28 * (x - mean), 0.01, 0.99),
        label=(rng.random(n) < np.clip(0.5 + 0.28 * (x - mean), 0.01, 0.99)).astype(float) if labelled else None,
    )
    spec = installation.model(MODEL).spec
    reference = build_reference(
        batch, model=MODEL, version="1", task=Task.BINARY, spec=spec, created_at=FIRST, rows=n, source="a test"
    )
    with installation.engine.begin() as conn:
        store.save_reference(conn, model=MODEL, body=reference.to_bytes(), active_from=FIRST, rows=n)


def run(installation: Installation, *statements: str, **values: Any) -> None:
    """Execute statements, each with those values that it names."""
    with installation.engine.begin() as conn:
        for statement in statements:
            conn.execute(sa.text(statement), {k: v for k, v in values.items() if f":{k}" in statement})


def ask(installation: Installation, query: str) -> list[Any]:
    """Return the rows of a query, as tuples, or as plain values where they have one column."""
    with installation.engine.begin() as conn:
        rows = conn.execute(sa.text(query)).all()
    return [row[0] if len(row) == 1 else tuple(row) for row in rows]
