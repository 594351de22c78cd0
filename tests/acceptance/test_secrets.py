"""Secrets of every field, a daemon that succeeds and fails in every way, and then a search for them in all it left."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from monitor.announcement import announce
from monitor.channels.webhook import sign
from monitor.cli import run
from monitor.config import Config
from monitor.deadman import Deadman
from monitor.decision import Decision
from monitor.embedded import Database
from monitor.installation import Installation, load_config
from monitor.journal import secrets_of
from tests.acceptance.test_daemon import eventually
from tests.peers import HttpPeer, MailPeer, Reply, closed_port, notification
from tests.watched import OUTCOME, installed, label_rows, log_rows, train, write_config

MARK = "CANARY"
WORDS = re.compile(rf"{MARK}[A-Za-z0-9]+")


def canary(name: str) -> str:
    """Return a secret that can be found wherever it is; long enough for a token."""
    return f"{MARK}{name}{'x' * 32}"


# Two alerts that nothing holds back, a model whose logs cannot be reached, one whose table is not there.
REST = """
alerts: {{k: 1, n: 1}}
channels:
  good: {{type: webhook, url: "{peer}/good/{a}", secret_file: secrets/signing}}
  bad: {{type: webhook, url_file: secrets/bad, secret: "{b}"}}
  gone: {{type: webhook, url: "http://127.0.0.1:{closed}/{c}"}}
  endless: {{type: webhook, url: "{peer}/endless/{d}"}}
  blocked: {{type: webhook, url: "https://user:{e}@169.254.169.254/{f}"}}
  slack: {{type: slack, webhook_url: "{peer}/slack/{g}"}}
  bot: {{type: slack, token: "${{SLACK_TOKEN}}", channel: alerts}}
  mail: {{type: email, host: 127.0.0.1, port: {mail}, security: none, username: monitor, password_file: secrets/smtp,
    sender: m@example.org, recipients: [t@example.org]}}
web_: 0
deadman: {{url: "{peer}/dead/{h}"}}
security: {{allow_private_addresses: true}}
retention: {{tiles: 40y, findings: 40y, samples: 40y, logs: 40y}}
"""
MODELS = """
  away:
    active: {{from: 2013-04-01, until: 2013-04-03}}
    max_catch_up: 40y
    source:
      url: "postgresql://reader:{i}@127.0.0.1:{closed}/logs?sslpassword={j}"
      limits: {{replica_url_file: secrets/replica}}
      table: logged
      time: at
      id: id
      prediction: {{score: p}}
    window: {{calendar: day, timezone: UTC}}
    retraining: {{webhook: "https://example.org/{k}", webhook_secret: "{l}"}}
    release: {{webhook: "https://example.org/{m}", webhook_secret_file: secrets/release}}
  lost:
    active: {{from: 2013-04-01, until: 2013-04-03}}
    max_catch_up: 40y
    source:
      url: "{own}"
      table: nowhere
      time: at
      id: id
      prediction: {{score: p}}
    window: {{calendar: day, timezone: UTC}}
"""


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    """A peer that echoes what it was asked with, refusing it or not, as careless services do."""
    with HttpPeer() as peer:
        yield peer


def configure(folder: Path, database: Database, peer: HttpPeer, mail: MailPeer) -> Path:
    secrets = folder / "secrets"
    secrets.mkdir()
    for name, text in {
        "signing": canary("signing"),
        "bad": f"{peer.url}/bad/{canary('bad')}?token={canary('query')}",
        "smtp": canary("smtp"),
        "replica": f"postgresql://r:{canary('replica')}@127.0.0.1:1/x",
        "release": canary("release"),
        "tokens": f"alice operator {canary('operator')}\nbob viewer {canary('viewer')}",
        "store": with_password(database.url, "store"),
    }.items():
        (secrets / name).write_text(text + "\n")
    names = {letter: canary(f"field{letter}") for letter in "abcdefghijklm"}
    places = {"peer": peer.url, "closed": closed_port(), "mail": mail.port, "own": with_password(database.url, "own")}
    file = write_config(
        folder, database, outcome=OUTCOME, more="max_catch_up: 40y", rest=REST.format(**names, **places)
    )
    text = file.read_text().replace("active: {from: 2013-04-01}", "active: {from: 2013-04-01, until: 2013-04-05}")
    text = text.replace("web_: 0\n", "").replace("web: {listen", "web: {tokens_file: secrets/tokens, listen", 1)
    text = re.sub(r"store: \{.*\}", "store: {url_file: secrets/store, migrator_url: '${MIGRATOR}'}", text, count=1)
    text = text.replace("\nweb:", MODELS.format(**names, **places) + "\nweb:", 1)
    file.write_text(text)
    return file


def with_password(url: str, name: str) -> str:
    return url.replace("//postgres@", f"//postgres:{canary(name)}@")


def everything_in(database: Database) -> str:
    """Return every row of every table of ours as text, bytes as they are."""
    with psycopg.connect(database.dsn) as conn:
        conn.execute("SET bytea_output = 'escape'")
        tables = conn.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'monitor'::regnamespace"
            " AND relkind IN ('r', 'p') AND NOT relispartition"
        ).fetchall()
        return "\n".join(
            f"{table}: {row}"
            for (table,) in tables
            for (row,) in conn.execute(f"SELECT t::text FROM {table} t".encode())
        )


def tell(config: Config, database: Database) -> None:
    """Put a message for every channel into the outbox."""
    installation = Installation(config=config, url=database.url)
    message = notification(model="m", created_at=datetime.now(UTC))
    with installation.engine.begin() as conn:
        announce(conn, installation, Decision(judgements={}, memories={}, notifications=[message]))
    installation.close()


def sign_of_life(config: Config, database: Database) -> str:
    """Return why a sign of life was not taken."""
    installation = Installation(config=config, url=database.url)
    said = Deadman(installation=installation, overdue=timedelta(days=20_000)).sign(datetime.now(UTC))
    installation.close()
    assert "403" in said
    return said


def bodies(peer: HttpPeer) -> str:
    return " ".join(one.body.decode("utf-8", "replace") for one in peer.requests)


COMMANDS = """
config check
config schema
doctor --send-test
doctor --roles
status
db url
db upgrade
redeliver --list --json
alerts --all --json
query "select * from notification_history" --format json
query "select 1/0"
check away
check lost
backfill away --since 2013-04-01 --until 2013-04-02
profile away --query "select 1"
report lost --start 2013-04-01 -o r.html
"""


def test_no_secret_is_in_anything_that_the_daemon_leaves(
    tmp_path: Path,
    database: Database,
    peer: HttpPeer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environ = {
        **os.environ,
        "SLACK_TOKEN": canary("bot"),
        "MIGRATOR": with_password(database.url, "migrator"),
    }
    plain = write_config(tmp_path, database, outcome=OUTCOME)
    with installed(plain) as installation:
        log_rows(installation, days=4, per_day=48)
        label_rows(installation)
        train(installation, mean=4.0, labelled=True)  # so that the first window is bad enough to tell of
    left: dict[str, str] = {}
    with MailPeer(auth_require_tls=False) as mail:
        file = configure(tmp_path, database, peer, mail)
        echo = f"no such hook {file.read_text()} {canary('signing')}".encode()
        peer.usual = Reply(403, echo)  # whatever fails says all it knows
        log = tmp_path / "daemon.log"
        command = [sys.executable, "-W", "ignore", "-m", "monitor", "run", "--config", str(file)]
        with log.open("w") as output:
            child = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
        try:
            base = re.search(r'listen: "([^"]+)"', file.read_text())
            assert base is not None
            page = httpx.Client(base_url=f"http://{base[1]}", trust_env=False, timeout=30)
            people = {"Authorization": f"Bearer {canary('operator')}"}

            tell(load_config(file, environ), database)
            seen = ""

            def tried() -> bool:
                nonlocal seen
                with psycopg.connect(database.dsn) as conn:
                    query = "SELECT channel FROM monitor.delivery WHERE last_error IS NOT NULL OR state = 'sent'"
                    channels = {name for (name,) in conn.execute(query)}
                    away = conn.execute("SELECT count(*) FROM monitor.run WHERE model <> 'm' AND reason IS NOT NULL")
                    failed = away.fetchone()
                seen = f"{channels} {failed}"
                return len(channels) == 8 and failed is not None and failed[0] >= 2

            try:
                eventually(lambda: tried() or child.poll() is not None)
            except AssertionError:
                pytest.fail(f"{seen}\n{log.read_text()}")
            assert child.poll() is None, log.read_text()
            left["sign of life"] = sign_of_life(load_config(file, environ), database)
            family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
            left["command lines"] = " ".join(" ".join(process.cmdline()) for process in family)
            left["environment of children"] = " ".join(str(process.environ()) for process in family[1:])
            shown = ("models", "runs?limit=1000", "alerts", "findings?limit=1000", "recommendations")
            for path in ("/metrics", "/", "/api/openapi.json", *(f"/api/v1/{view}" for view in shown)):
                answer = page.get(path, headers=people)
                assert answer.status_code == 200, path
                left[path] = answer.text + str(answer.headers)
            wrong = page.get("/", headers={"Authorization": f"Bearer {canary('wrong')}"})
            left["a wrong token"] = wrong.text + str(wrong.headers)
            page.close()

            # a file of a secret is read again: the next message is signed with the new key
            (tmp_path / "secrets" / "signing").write_text(canary("rotated"))
            peer.usual = Reply()
            left["refused messages"] = bodies(peer)
            peer.requests.clear()
            child.send_signal(signal.SIGHUP)
            eventually(lambda: log.read_text().count("Watching ") == 2)
            redeliver = [sys.executable, "-m", "monitor", "redeliver", "--config", str(file)]
            subprocess.run(redeliver, env=environ, check=True, capture_output=True)
            eventually(lambda: [one for one in peer.requests if one.path.startswith("/good/")])
            signed = next(one for one in peer.requests if one.path.startswith("/good/"))
            at = int(signed.headers["x-monitor-signature"].partition(",")[0].removeprefix("t="))
            assert signed.headers["x-monitor-signature"] == sign(signed.body, canary("rotated"), at=at)

            file.write_text(file.read_text().replace("alerts:", f"alerts_{canary('key')[:20]}:"))  # refused, and told
            child.send_signal(signal.SIGHUP)
            eventually(lambda: "The old configuration goes on." in log.read_text())
            file.write_text(file.read_text().replace(f"alerts_{canary('key')[:20]}:", "alerts:"))
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)
        left["log"] = log.read_text().replace(canary("key")[:20], "")
        left["messages"] = bodies(peer)
        left["mails"] = " ".join(mail_.as_string() for _, mail_ in mail.mails)
        monkeypatch.chdir(tmp_path)
        for name in ("SLACK_TOKEN", "MIGRATOR"):
            monkeypatch.setenv(name, environ[name])
        for command_line in COMMANDS.strip().splitlines():
            run([*shlex.split(command_line), "--config", str(file)])
            left[f"monitor {command_line}"] = "".join(capsys.readouterr())
    left["store"] = everything_in(database)
    assert len(left["store"]) > 10_000
    for place, text in left.items():
        assert not WORDS.findall(text), f"{place} has {set(WORDS.findall(text))}: {context(text)}"


def context(text: str) -> str:
    found = WORDS.search(text)
    assert found
    return text[max(0, found.start() - 300) : found.end() + 50]


def test_every_field_of_the_configuration_that_sounds_secret_is_one() -> None:
    plain = {
        f"{name}.{field}"
        for name, definition in Config.model_json_schema()["$defs"].items()
        for field, schema in definition.get("properties", {}).items()
        if re.search(r"password|secret$|token$|webhook|url$", field) and not field.endswith("_file")
        if "password" not in json.dumps(schema)
    }
    # where people and probes go is no secret
    assert plain == {"WebSection.base_url", "EndpointSection.url"}


def test_every_secret_has_a_file_of_its_own() -> None:
    for name, definition in Config.model_json_schema()["$defs"].items():
        for field, schema in definition.get("properties", {}).items():
            if '"format": "password"' in json.dumps(schema):
                assert f"{field}_file" in definition["properties"], f"{name}.{field}"
    assert list(secrets_of(Config()))  # store.url at least
