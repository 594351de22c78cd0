"""The service of the client's README does what the README says."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import psycopg
import pytest
import yaml

from monitor.cli import run
from monitor.embedded import Database
from monitor.logtable import SourceSection
from tests.client.conftest import PATIENCE, eventually
from tests.watched import free_port

CLIENT = Path(__file__).parents[2] / "client"
README = (CLIENT / "README.md").read_text(encoding="utf-8")
(SERVICE,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
(YAML,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)

# FastAPI is no dependency of ours; this is as much of it as the README uses.
FASTAPI = """
import asyncio
import json


class FastAPI:
    def __init__(self):
        self.routes = {}

    def post(self, path):
        def enter(function):
            self.routes[path] = function
            return function

        return enter

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        answer = await asyncio.to_thread(self.routes[scope["path"]], json.loads(body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
"""


@contextmanager
def serving(folder: Path, dsn: str) -> Iterator[httpx.Client]:
    """Run the README's service as a user would, with uvicorn in a process of its own."""
    (folder / "service.py").write_text(SERVICE)
    (folder / "fastapi.py").write_text(FASTAPI)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--log-level", "error"],
        cwd=folder,
        env={**os.environ, "MONITOR_URL": dsn},
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:

            def answers() -> bool:
                try:
                    return client.post("/predict", json={"delay": 6}).status_code == 200
                except httpx.TransportError:
                    return False

            eventually(answers)
            yield client
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_the_service_of_the_readme_is_logged_judged_and_taken_out_of_service(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "monitor.yaml"
    file.write_text(f'store: {{url: "{database.url}"}}\n{YAML}')
    monitor: Callable[..., int] = lambda *arguments: run([*arguments, "--config", str(file)])  # noqa: E731
    with serving(tmp_path, database.dsn) as client:
        answer = client.post("/predict", json={"delay": 30}, headers={"x-request-id": "r-1"})
        assert (answer.json(), answer.headers["x-request-id"]) == ({"score": 0.5}, "r-1")
        assert monitor("circuit", "open", "late", "--reason", "weather is in °C") == 0
        eventually(lambda: client.post("/predict", json={"delay": 30}).json() == {"score": 0.2})
        assert monitor("circuit", "close", "late", "--reason", "repaired") == 0
        eventually(lambda: client.post("/predict", json={"delay": 30}).json() == {"score": 0.5})
        client.post("/predict", json={"delay": 30}, headers={"x-request-id": "last"})
    # Ended by a signal right after its last answer, the service has written everything.
    with psycopg.connect(database.dsn) as conn:
        found = conn.execute(
            "SELECT request_id, features, score, role FROM monitor.prediction_log WHERE request_id IN ('r-1', 'last')"
            " ORDER BY id"
        )
        assert found.fetchall() == [(name, {"delay": 30}, 0.5, "champion") for name in ("r-1", "last")]
        assert conn.execute("SELECT count(*) FROM monitor.prediction_log WHERE score = 0.2").fetchone() == (0,)


def test_what_the_client_writes_is_what_the_monitor_evaluates(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from monitor_client import PredictionLogger

    file = tmp_path / "monitor.yaml"
    file.write_text(f'store: {{url: "{database.url}"}}\n{YAML}')
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    # Labels mature after a day, so the window is the day before yesterday.
    day = today - timedelta(days=2)
    rng = np.random.default_rng(1)
    with (tmp_path / "train.csv").open("w", encoding="utf-8") as train:
        train.write("occurred_at,delay,label\n")
        for number in range(3000):
            at = today - timedelta(days=60) + number * timedelta(days=50) / 3000
            train.write(f"{at.isoformat()},{rng.normal(30, 5)},{rng.random() < 0.5}\n")
    with PredictionLogger(database.dsn, model="late", version="7", heartbeat_every=None) as logger:
        for number in range(288):
            at = day + timedelta(minutes=5 * number)
            # delay is far from what training had; every tenth is missing
            delay = np.float64("nan") if number % 10 == 0 else np.float64(rng.normal(60, 5))
            logger.log({"delay": delay}, score=0.5, request_id=f"r-{number}", occurred_at=at)
            logger.log({"delay": delay}, score=0.5, request_id=f"r-{number}", occurred_at=at, role="shadow")
            logger.outcome(f"r-{number}", label=np.bool_(number % 2), observed_at=at + timedelta(hours=1))
        logger.log({"delay": 1.0}, score=0.5, request_id="r-1", occurred_at=day + timedelta(minutes=5))  # once more
        assert logger.flush(PATIENCE)
        assert logger.dropped == 0
    arguments = ["--config", str(file)]
    assert run(["profile", "late", "--from", str(tmp_path / "train.csv"), *arguments]) == 0
    capsys.readouterr()
    code = run(["check", "late", "--start", f"{day:%Y-%m-%d}", "--json", *arguments])
    out, err = capsys.readouterr()
    assert code in (0, 1), err
    findings = json.loads(out)
    assert any(row["subject"] == "delay" and row["verdict"] in ("warning", "critical") for row in findings)
    query = "SELECT rows_read, rows_duplicate, labels_joined FROM run_history ORDER BY labels_joined"
    assert run(["query", query, "-f", "json", *arguments]) == 0
    runs = json.loads(capsys.readouterr().out)
    assert {row["rows_read"] for row in runs} == {288}
    assert max(row["labels_joined"] or 0 for row in runs) == 288
    assert max(row["rows_duplicate"] or 0 for row in runs) == 1


def test_the_configuration_of_the_readme_is_valid() -> None:
    source = yaml.safe_load(YAML)["models"]["late"]["source"]
    assert SourceSection.model_validate(source).table == "monitor.prediction_log"


def test_the_client_imports_nothing_but_the_standard_library_psycopg_and_psutil() -> None:
    allowed = {*sys.stdlib_module_names, "psycopg", "psutil", "monitor_client"}
    for path in (CLIENT / "monitor_client").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= allowed, path
