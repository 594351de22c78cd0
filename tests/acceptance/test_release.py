"""A demo service over HTTP with champion, shadow, canary and labels: all eight parts are provoked, and seen."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet
import pytest

from monitor import store
from monitor.cli import run as command
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.outcome import Task
from monitor.reference import build_reference
from monitor.source import Batch, NumericValues
from tests.acceptance.test_daemon import daemon
from tests.client.conftest import PATIENCE, Outage, eventually, outage, second_server
from tests.peers import HttpPeer
from tests.scoring import score
from tests.watched import ask, free_port, installed, run

__all__ = ["outage", "second_server"]

HOUR = timedelta(hours=1)
WINDOWS, EACH = 12, 70
CONFIG = """
store: {{url: "{store}"}}
models:
  late:
    active: {{from: "{since}"}}
    business: {{automates: x, currency: EUR, costs: {{false_positive: 7, false_negative: 13}}, fallback_cost: 3}}
    source:
      builtin: true
      features: {{x: numeric, z: numeric, late_code: numeric}}
      prediction: {{score: score, threshold: 0.5}}
      outcome: {{label: label, matures_after: 1m}}
    window: 1h
    lag: 1m
    max_catch_up: 2d
    checks:
      comparison: {{margin: 0.2, slow: 0.95}}  # answers of microseconds: threads decide who is slow
      stability: {{rows: 60}}
      drift: false
      relations: false
      sudden: false
      quality: false
    serving: {{endpoint: {{url: "{service}/v2/models/late/infer", protocol: v2, per_second: 500}}}}
    circuit: {{fallback: {{score: 0.2}}}}
    release:
      webhook: "{peer}/deploy"
      steps: [0.3, 0.6]
      endpoint: {{url: "{service}/v2/models/candidate/infer", protocol: v2, per_second: 500, production: false}}
channels: {{ops: {{type: webhook, url: "{peer}/ops"}}}}
alerts: {{k: 1, n: 1}}
security: {{allow_private_addresses: true}}
web: {{listen: "127.0.0.1:{port}"}}
"""


@contextmanager
def serving(dsn: str, spool: Path) -> Iterator[httpx.Client]:
    """Run the service with uvicorn in a process of its own."""
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "uvicorn",
            "--factory",
            "tests.acceptance.service:create",
            "--port",
            str(port),
            "--log-level",
            "error",
        ],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "MONITOR_URL": dsn, "SPOOL": str(spool)},
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:

            def answers() -> bool:
                try:
                    return client.post("/flush").status_code == 200
                except httpx.TransportError:
                    return False

            eventually(answers)
            yield client
    finally:
        process.terminate()
        process.wait(PATIENCE)


def train(installation: Installation, since: datetime) -> None:
    """Store a training profile of sixty hours, in which ``late_code`` knows the label and scores are the champion's."""
    rng = np.random.default_rng(0)
    n = 60 * 40
    x, z = rng.normal(size=(2, n))
    said = np.array([score({"x": a, "z": b}) for a, b in zip(x, z, strict=True)])
    label = (rng.random(n) < said).astype(float)
    columns = {"x": x, "z": z, "late_code": label + 0.5 * rng.normal(size=n)}
    batch = Batch(
        rows=n,
        time=round((since - 60 * HOUR).timestamp()) * 1_000_000 + np.arange(n) * 90_000_000,
        columns={name: NumericValues(values=values, missing=np.zeros(n, bool)) for name, values in columns.items()},
        score=said,
        label=label,
    )
    spec = installation.model("late").spec
    reference = build_reference(
        batch, model="late", version="7", task=Task.BINARY, spec=spec, created_at=since, rows=n, source="a test"
    )
    table = pa.table({**columns, "score": said, "label": label == 1})
    kept = [io.BytesIO(), io.BytesIO()]
    for target, rows in zip(kept, (table, table.slice(0, 100)), strict=True):
        pyarrow.parquet.write_table(rows, target)
    sample, golden = (target.getvalue() for target in kept)
    with installation.engine.begin() as conn:
        store.save_reference(
            conn,
            model="late",
            body=reference.to_bytes(),
            active_from=since - HOUR,
            rows=n,
            sample=sample,
            golden=golden,
        )


def live(client: httpx.Client, since: datetime) -> list[str]:
    """Live through twelve hours of requests with their labels; in the last hour labels come of requests unheard of."""
    rng = np.random.default_rng(1)
    requests = []
    for number in range(WINDOWS * EACH):
        at = since + number * WINDOWS * HOUR / (WINDOWS * EACH)
        x, z, noise = (float(value) for value in rng.normal(size=3))
        body = {"features": {"x": x, "z": z, "late_code": noise}, "at": at.isoformat()}
        answer = client.post("/predict", json=body)
        assert answer.status_code == 200
        requests.append(answer.headers["x-request-id"])
        known = {"at": (at + timedelta(seconds=20)).isoformat()}
        label = bool(rng.random() < score({"x": x, "z": z}))
        client.post("/outcome", json={"id": requests[-1], "label": label, **known})
        if number >= (WINDOWS - 1) * EACH and number % 2:
            client.post("/outcome", json={"id": f"unknown-{number}", "label": label, **known})
    assert client.post("/flush").json() == {"flushed": True, "dropped": 0}
    return requests


def test_all_eight_parts_are_provoked_and_seen_in_sql_and_message(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    since = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - WINDOWS * HOUR
    file = tmp_path / "monitor.yaml"
    monitor: Callable[..., int] = lambda *arguments: command([*arguments, "--config", str(file)])  # noqa: E731
    with HttpPeer() as peer, serving(database.dsn, tmp_path / "spool") as client:
        told = {"store": database.url, "since": since.isoformat(), "service": str(client.base_url).rstrip("/")}
        file.write_text(CONFIG.format(**told, peer=peer.url, port=free_port()))
        with installed(file) as installation:
            train(installation, since)
            run(
                installation,
                "INSERT INTO monitor.circuit_event (model, state, share, actor, at)"
                " VALUES ('late', 'closed', 0.3, 'ann', :since)",
                since=since,
            )
            eventually(
                lambda: client.post(
                    "/predict", json={"features": {"x": 0, "z": 0}}, headers={"x-request-id": "c"}
                ).json()
            )
            eventually(
                lambda: any(client.post("/predict", json={"features": {"x": 1}}).json()["canary"] for _ in range(20))
            )
            requests = live(client, since)

            def told_of(title: str) -> bool:
                return any(title in one.body.decode() for one in peer.requests if one.path == "/ops")

            with daemon(file):
                for title in (
                    "promote the shadow 8",
                    "roll back the canary 9",
                    "The model no longer computes what it did in training",
                    "Noise that nobody could measure turns decisions over",
                    "Training knew what production cannot know",
                    "labels belong to no logged prediction",
                ):
                    eventually(partial(told_of, title), title)

                # 1, the client: signs of life with resources and versions
                beat = "SELECT count(*) > 0 FROM monitor.heartbeat_log WHERE rss_bytes > 0 AND packages ? 'psycopg'"
                assert ask(installation, beat) == [True]
                # 2, traceability: one request from inputs to label
                capsys.readouterr()
                assert monitor("trace", requests[300]) == 0
                out = capsys.readouterr().out
                assert "shadow" in out
                assert "outcome" in out
                # 3, shadow and canary; 5, stability; 6, parity; 7, leakage: figures in SQL
                found = ask(
                    installation,
                    "SELECT DISTINCT check_name || ' ' || subject || ' ' || statistic FROM monitor.finding_history"
                    " WHERE verdict IN ('warning', 'critical') AND part = 'release'",
                )
                assert {
                    "comparison canary 9 cost",
                    "parity champion moved predictions",
                    "stability candidate flipped decisions",
                    "leakage late_code: fallen foreknowledge",
                } <= set(found)
                (named,) = ask(installation, "SELECT message FROM monitor.finding WHERE check_name = 'parity' LIMIT 1")
                assert "with x and z swapped they come out again" in named

                # a click rolls the canary back: the webhook is called once, and serving gives it no more requests
                (bad,) = ask(
                    installation,
                    "SELECT recommendation_id::text FROM monitor.recommendation"
                    " WHERE action = 'ROLL_BACK' AND state = 'open'",
                )
                assert monitor("recommendations", "approve", bad, "--by", "ann") == 0
                eventually(lambda: [one for one in peer.requests if one.path == "/deploy"], "the release webhook")
                eventually(
                    lambda: (
                        not any(
                            client.post("/predict", json={"features": {"x": 1}}).json()["canary"] for _ in range(20)
                        )
                    )
                )

                # another promotes the shadow: the webhook is told which version takes over
                (good,) = ask(
                    installation,
                    "SELECT recommendation_id::text FROM monitor.recommendation"
                    " WHERE action = 'PROMOTE' AND state = 'open'",
                )
                assert monitor("recommendations", "approve", good, "--by", "ann") == 0

                def promoted() -> bool:
                    calls = [
                        json.loads(one.body)["notification"]["details"]
                        for one in peer.requests
                        if one.path == "/deploy"
                    ]
                    return [(one["action"], one["candidate"]) for one in calls] == [
                        ("ROLL_BACK", "9"),
                        ("PROMOTE", "8"),
                    ]

                eventually(promoted, "the release webhook, called once for each approval")

                # 4, the gate: the answers of the logs, and the candidate's endpoint, which flips
                rows = pa.table(
                    {"x": [0.1, 0.2, 0.3] * 20, "z": [0.0, 0.5, 1.0] * 20, "late_code": [0.0, 1.0, 2.0] * 20}
                )
                pyarrow.parquet.write_table(rows, tmp_path / "inputs.parquet")
                report = tmp_path / "gate.html"
                gate = ("gate", "late", "--candidate", "8", "--inputs", str(tmp_path / "inputs.parquet"))
                assert monitor(*gate, "--predict", "endpoint", "--report", str(report)) == 1
                assert "decisions flip at noise" in report.read_text()

                # 8, the circuit: within a second the fallback answers, and everybody hears of it
                assert monitor("circuit", "open", "late", "--reason", "inputs are exchanged") == 0
                eventually(lambda: client.post("/predict", json={"features": {"x": 1}}).json()["fallback"])
                eventually(partial(told_of, "out of service"), "the circuit's message")
                assert monitor("circuit", "close", "late", "--reason", "repaired") == 0
                eventually(lambda: not client.post("/predict", json={"features": {"x": 1}}).json()["fallback"])
            states = "SELECT string_agg(state, ' ' ORDER BY at) FROM monitor.circuit_event WHERE reason IS NOT NULL"
            (history,) = ask(installation, states)
            assert history.endswith("open closed")


@pytest.mark.parametrize("away", [pytest.param(2.0), pytest.param(60.0, marks=pytest.mark.soak)])
def test_a_database_killed_under_500_predictions_a_second_loses_none_and_no_answer_fails(
    outage: Outage, tmp_path: Path, away: float
) -> None:
    with serving(outage.dsn, tmp_path / "spool") as client:
        answered: list[str] = []
        over = threading.Event()

        def ask_on(number: int) -> None:
            """Ask steadily, a quarter of 500 times a second, and never catch up in a burst."""
            with httpx.Client(base_url=client.base_url, timeout=PATIENCE, trust_env=False) as own:
                due = time.monotonic()
                count = 0
                while not over.is_set():
                    due = max(due + 4 / 500, time.monotonic())
                    time.sleep(max(0.0, due - time.monotonic()))
                    key = f"{number}-{count}"
                    answer = own.post("/predict", json={"features": {"x": 1.0}}, headers={"x-request-id": key})
                    answered.append(key if answer.status_code == 200 else f"failed {answer.status_code}")
                    count += 1

        threads = [threading.Thread(target=ask_on, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(answered) > 200)
        outage.stop()
        away_from = len(answered)
        time.sleep(away)  # an outage is a span of time
        assert len(answered) > away_from + 50, "it answered meanwhile"
        outage.start()
        over.set()
        for thread in threads:
            thread.join()
        assert client.post("/flush").json() == {"flushed": True, "dropped": 0}
        troubles = client.post("/outcome", json={"id": "x", "label": True, "at": "2026-01-01T00:00:00+00:00"}).json()
        assert troubles["dropped"] == 0
    assert not [key for key in answered if key.startswith("failed")]
    with psycopg.connect(outage.dsn) as conn:
        rows = conn.execute("SELECT request_id FROM monitor.prediction_log WHERE role = 'champion'").fetchall()
    assert {key for (key,) in rows} == set(answered)
