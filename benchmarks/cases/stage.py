"""A stage for one stream: files, tables and configuration as a team would have them, and the public commands run on it.

The store is an embedded Postgres of its own. What is said of data is answered where a person would: the windows are
evaluated up to the advice, the advice is dismissed by command, and then the rest is evaluated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
from psycopg import sql

from benchmarks.cases.subject import Subject
from benchmarks.design.streams import Stream
from monitor.advice import EVERY
from monitor.installation import load_config, opened
from monitor.outcome import Task
from monitor.source import CategoryValues

CONFIGURATION = """\
store: {{url: embedded}}
models:
  {name}:
    source:
      url: store
      table: serving.predictions
      time: occurred_at
      id: request_id
      version: model_version
      features:
{features}
      prediction: {prediction}
      outcome: {{table: serving.outcomes, id: request_id, {target}: truth, time: observed_at, matures_after: 1h}}
      upstreams:
{upstreams}
    window: {window}
    lag: 15m
channels:
  team: {{type: webhook, url: "http://127.0.0.1:9/"}}      # what would be sent stays in the outbox, to be counted
security: {{allow_private_addresses: true}}
retention: {{tiles: 100y, findings: 100y, ok_findings: 100y, samples: 100y, logs: 100y, reports: 100y}}
"""
VERSION = "1"


class StageError(Exception):
    """A command failed; the message is what it said."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A folder with everything, and the commands on it."""

    subject: Subject
    stream: Stream
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "monitor.yaml"

    def command(self, *words: str) -> str:
        """Return what one public command prints; raises StageError where it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "monitor", *words, "--config", str(self.file)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StageError(f"monitor {words[0]}: {done.stderr.strip() or f'code {done.returncode}'}")
        return done.stdout

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of ``monitor query``."""
        return list(json.loads(self.command("query", query, "--format", "json")))

    @property
    def production(self) -> tuple[datetime, datetime]:
        """First and last moment of what is evaluated."""
        return self.stream.windows[self.stream.trained].start, self.stream.windows[-1].end


@contextmanager
def staged(subject: Subject, stream: Stream, folder: Path) -> Iterator[Stage]:
    """Write files and tables, store the training profile, and give the stage; its Postgres ends with it."""
    stage = Stage(subject=subject, stream=stream, folder=folder)
    frame = _frame(stream)
    _configure(stage)
    feature_names = list(stream.batch.columns)
    answer = _answer(stream)
    place = stream.place
    training = frame[[*feature_names, "occurred_at", answer, "truth"]]
    training[place < stream.fitted].to_parquet(folder / "training.parquet")
    training[(place >= stream.fitted) & (place < stream.trained)].to_parquet(folder / "holdout.parquet")
    with opened(load_config(stage.file, os.environ)) as installation:  # one user keeps the embedded Postgres up
        stage.command("db", "upgrade")
        with psycopg.connect(installation.dsn) as conn:
            _log(conn, stream, frame)  # the rows of training were logged as well, before there was a monitor
        yield stage


def _answer(stream: Stream) -> str:
    return "answer" if stream.task is Task.REGRESSION else "score"


def _frame(stream: Stream) -> pd.DataFrame:
    batch = stream.batch
    columns: dict[str, Any] = {}
    for name, values in batch.columns.items():
        if isinstance(values, CategoryValues):
            texts = np.array([*values.categories, None], object)
            columns[name] = texts[values.codes]
        else:
            columns[name] = values.values
    assert batch.label is not None
    frame = pd.DataFrame(columns)
    frame["occurred_at"] = pd.to_datetime(batch.time, unit="us", utc=True)
    frame[_answer(stream)] = batch.score
    frame["truth"] = batch.label if stream.task is Task.REGRESSION else batch.label.astype(bool)
    return frame


def _configure(stage: Stage) -> None:
    stream = stage.stream
    regression = stream.task is Task.REGRESSION
    kinds = {
        name: "categorical" if isinstance(values, CategoryValues) else "numeric"
        for name, values in stream.batch.columns.items()
    }
    text = CONFIGURATION.format(
        name=stream.name,
        features="\n".join(f"        {name}: {kind}" for name, kind in kinds.items()),
        prediction="{value: answer}" if regression else "{score: score, threshold: 0.5}",
        target="value" if regression else "label",
        upstreams="\n".join(f"        {name}: [{', '.join(of)}]" for name, of in stream.upstreams.items()),
        window=stage.subject.window,
    )
    stage.file.write_text(text, encoding="utf-8")


def _log(conn: psycopg.Connection, stream: Stream, frame: pd.DataFrame) -> None:
    """Log predictions and, a moment later, what was true."""
    kinds = {
        name: "text" if isinstance(values, CategoryValues) else "double precision"
        for name, values in stream.batch.columns.items()
    }
    answer, truth = _answer(stream), "double precision" if stream.task is Task.REGRESSION else "boolean"
    features = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(k)) for n, k in kinds.items())
    conn.execute("CREATE SCHEMA serving")
    conn.execute(
        sql.SQL(
            "CREATE TABLE serving.predictions (request_id text PRIMARY KEY, occurred_at timestamptz NOT NULL, "
            "model_version text NOT NULL, {answer} double precision, {features})"
        ).format(answer=sql.Identifier(answer), features=features)
    )
    conn.execute("CREATE INDEX ON serving.predictions (occurred_at)")
    conn.execute(
        sql.SQL(
            "CREATE TABLE serving.outcomes (request_id text PRIMARY KEY, truth {} NOT NULL, "
            "observed_at timestamptz NOT NULL)"
        ).format(sql.SQL(truth))
    )
    ids = [f"{stream.name}-{i}" for i in range(len(frame))]
    names = list(kinds)
    into = sql.SQL("COPY serving.predictions (request_id, occurred_at, model_version, {}, {}) FROM STDIN").format(
        sql.Identifier(answer), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    rows = (
        frame[["occurred_at", answer, *names]]
        .astype(object)
        .where(frame[["occurred_at", answer, *names]].notna(), None)
    )
    with conn.cursor().copy(into) as copy:
        for identity, (at, said, *values) in zip(ids, rows.itertuples(index=False), strict=True):
            copy.write_row((identity, at.to_pydatetime(), VERSION, said, *values))
    with conn.cursor().copy("COPY serving.outcomes (request_id, truth, observed_at) FROM STDIN") as copy:
        for identity, at, true in zip(ids, frame["occurred_at"], frame["truth"], strict=True):
            copy.write_row((identity, true, at.to_pydatetime() + timedelta(minutes=30)))
    conn.execute("ANALYZE serving.predictions, serving.outcomes")
    conn.commit()


INVESTIGATE = (
    "SELECT recommendation_id, window_start, why, evidence FROM recommendation_history "
    "WHERE action = 'INVESTIGATE_DATA' AND state = 'open' ORDER BY window_start"
)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An advice on data that a person dismissed: when it came and what was found."""

    at: datetime
    why: str
    found: str


def play(stage: Stage) -> list[Answered]:
    """Store the training profile and evaluate all of production in order; return what was dismissed on the way.

    Somebody looks into what is said of data every seven windows and dismisses what ``Subject.known`` knows to be right.
    """
    files = ("--from", str(stage.folder / "training.parquet"), "--holdout", str(stage.folder / "holdout.parquet"))
    stage.command("profile", stage.stream.name, *files, "--version", VERSION)
    first, last = stage.production
    answered: list[Answered] = []
    step = EVERY * stage.stream.spec.pace if stage.subject.known else last - first
    at = first
    while at < last:
        until = min(at + step, last)
        stage.command(
            "backfill", stage.stream.name, "--notify", "--since", at.isoformat(), "--until", until.isoformat()
        )
        for advice in stage.ask(INVESTIGATE) if stage.subject.known else []:
            about = {fact["subject"] for fact in advice["evidence"]}
            found = next((words for name, words in stage.subject.known.items() if name in about), None)
            if found is None:
                continue
            stage.command("recommendations", "dismiss", advice["recommendation_id"])
            answered.append(
                Answered(
                    at=datetime.fromisoformat(advice["window_start"]),
                    why=advice["why"],
                    found=found,
                )
            )
        at = until
    return answered
