"""The four roles: their SQL is enough for the whole product where nobody else has any right, and too much is told."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import sql

from monitor.cli import run
from monitor.embedded import EmbeddedPostgres
from monitor.roles import MIGRATOR, READER, ROLES, VIEWER, WRITER

DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
NAME = 'bare "house"'

LOGS = f"""
CREATE SCHEMA "Serving";
CREATE TABLE "Serving"."Log ""x"" y" (id text PRIMARY KEY, at timestamptz, temp float8, p float8, y bool,
    seen timestamptz);
CREATE INDEX ON "Serving"."Log ""x"" y" (at);
INSERT INTO "Serving"."Log ""x"" y" SELECT i, '{TODAY - 6 * DAY}'::timestamptz + i * interval '20 minutes',
    sin(i * 1.7),
    0.5 + 0.4 * sin(i * 1.7), sin(i) > 0, '{TODAY - 6 * DAY}'::timestamptz + i * interval '20 minutes'
    FROM generate_series(0, 431) i;
"""


@dataclass
class House:
    """A database in which PUBLIC has no right at all, with a log table that an administrator made."""

    server: EmbeddedPostgres
    name: str

    def dsn(self, role: str = "postgres") -> str:
        return self.server.database(self.name).dsn.replace("//postgres@", f"//{role}@")

    def connect(self, role: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.dsn(role), autocommit=True)


@pytest.fixture
def house(server: EmbeddedPostgres) -> Iterator[House]:
    admin = psycopg.connect(server.dsn, autocommit=True)
    name = sql.Identifier(NAME)
    admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
    admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    house = House(server, NAME)
    with house.connect() as conn:
        conn.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        conn.execute(LOGS.encode())
    yield house
    admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    for role in ROLES:
        admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))
    admin.close()


Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)

    def typed(*arguments: str) -> tuple[int, str, str]:
        return (run(list(arguments)), *capsys.readouterr())

    return typed


CONFIG = """
store: {{url: "{store}", migrator_url: "{migrator}"}}
models:
  m:
    source:
      url: "{source}"
      table: 'Serving."Log ""x"" y"'
      time: at
      id: id
      features: {{temp: numeric}}
      prediction: {{score: p, threshold: 0.5}}
      outcome: {{label: y, time: seen, matures_after: 0h}}
    window: {{calendar: day, timezone: UTC}}
"""


def configure(
    folder: Path, house: House, *, store: str = WRITER, source: str = READER, migrator: str = MIGRATOR
) -> None:
    text = CONFIG.format(store=house.dsn(store), migrator=house.dsn(migrator), source=house.dsn(source))
    (folder / "monitor.yaml").write_text(text)


def make_roles(monitor: Shell, house: House) -> str:
    code, script, said = monitor("doctor", "--roles")
    assert code == 0, said
    with house.connect() as admin:
        admin.execute(script.encode())
    return script


def test_the_whole_product_works_under_the_four_roles(monitor: Shell, house: House, tmp_path: Path) -> None:
    configure(tmp_path, house, store="postgres", source="postgres", migrator="postgres")
    make_roles(monitor, house)
    make_roles(monitor, house)  # again is harmless
    configure(tmp_path, house)
    assert monitor("db", "upgrade")[0] == 0
    assert monitor("db", "current")[0] == 0

    code, _, said = monitor("init", house.dsn(READER), "--table", 'Serving."Log ""x"" y"', "--output", "other.yaml")
    assert code == 0, said
    rng = np.random.default_rng(1)
    with (tmp_path / "train.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["at", "temp", "y"])
        for i in range(3000):
            at = TODAY - 66 * DAY + i * timedelta(minutes=28)
            writer.writerow([at.isoformat(), float(np.sin(i * 1.7)), bool(rng.random() < 0.5)])
    code, _, said = monitor("profile", "m", "--from", "train.csv")
    assert code == 0, said
    code, _, said = monitor("backfill", "m", "--since", f"{TODAY - 4 * DAY:%Y-%m-%d}", "--until", f"{TODAY:%Y-%m-%d}")
    assert (code, said.strip()) == (0, "Evaluated 8 runs of 4 windows.")
    code, _, said = monitor("check", "m", "--json")
    assert code in (0, 1, 2), said
    _, out, _ = monitor("query", "select sum(rows_read) n from run_history where state = 'done'", "-f", "json")
    assert json.loads(out) == [{"n": 288}]
    for command in (["status"], ["history", "m"], ["alerts", "--all"], ["recommendations"], ["redeliver", "--list"]):
        assert monitor(*command)[0] in (0, 1, 2), command
    code, out, said = monitor("doctor")
    assert "logs in as" not in out, out
    assert "may read" not in out, out
    assert code == 0, out + said


def refused(conn: psycopg.Connection[tuple[object, ...]], statement: str) -> None:
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)):
        conn.execute(statement.encode())


def test_no_role_can_do_what_is_not_its_own(monitor: Shell, house: House, tmp_path: Path) -> None:
    configure(tmp_path, house, store="postgres", source="postgres", migrator="postgres")
    make_roles(monitor, house)
    configure(tmp_path, house)
    monitor("db", "upgrade")
    log = '"Serving"."Log ""x"" y"'
    with house.connect(WRITER) as writer:
        writer.execute("SELECT monitor.ensure_partitions('month', now(), now())")
        writer.execute("SELECT count(*) FROM monitor.prediction_log")
        for statement in (
            f"SELECT * FROM {log}",
            f"INSERT INTO {log} (id) VALUES ('x')",
            "INSERT INTO monitor.prediction_log (request_id, model) VALUES ('x', 'm')",
            "DELETE FROM monitor.outcome_log",
            "DELETE FROM monitor.prediction_log_default",
            "UPDATE monitor.alembic_version SET version_num = '0001'",
            "CREATE TABLE monitor.x ()",
            "CREATE TABLE public.x ()",
            "DROP VIEW monitor.model_status",
            "TRUNCATE monitor.run",
        ):
            refused(writer, statement)
    with house.connect(READER) as reader:
        reader.execute(f"SELECT * FROM {log} LIMIT 1".encode())
        for statement in (f"INSERT INTO {log} (id) VALUES ('x')", "SELECT * FROM monitor.model_status"):
            refused(reader, statement)
        reader.execute("SET default_transaction_read_only = off")  # it is the right that is missing, not the setting
        refused(reader, f"INSERT INTO {log} (id) VALUES ('x')")
        refused(reader, f"UPDATE {log} SET id = 'x'")
    with house.connect(VIEWER) as viewer:
        viewer.execute("SELECT * FROM monitor.model_status")
        viewer.execute("SELECT * FROM monitor.request_trace WHERE request_id = 'x'")
        viewer.execute("SET default_transaction_read_only = off")
        for statement in (
            "SELECT * FROM monitor.alert",
            f"SELECT * FROM {log}",
            "SELECT monitor.forget('finding', now())",
            "SELECT monitor.ensure_partitions('month', now(), now())",
        ):
            refused(viewer, statement)
    with house.connect(MIGRATOR) as migrator:
        refused(migrator, f"SELECT * FROM {log}")
        refused(migrator, "CREATE SCHEMA another")


def test_functions_with_the_owners_rights_are_closed_to_everybody(monitor: Shell, house: House, tmp_path: Path) -> None:
    configure(tmp_path, house, store="postgres", source="postgres", migrator="postgres")
    monitor("db", "upgrade")
    with house.connect() as admin:
        admin.execute("CREATE ROLE monitor_viewer LOGIN")
        admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO monitor_viewer").format(sql.Identifier(NAME)))
        admin.execute("GRANT USAGE ON SCHEMA monitor TO monitor_viewer")
    with house.connect(VIEWER) as viewer:
        refused(viewer, "SELECT monitor.forget('finding', now())")


def test_what_another_user_made_becomes_the_migrators(monitor: Shell, house: House, tmp_path: Path) -> None:
    configure(tmp_path, house, store="postgres", source="postgres", migrator="postgres")
    monitor("db", "upgrade")
    make_roles(monitor, house)
    owned = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'monitor'::regnamespace"
    with house.connect() as admin:
        assert admin.execute(owned).fetchall() == [(MIGRATOR,)]
        admin.execute("DROP VIEW monitor.silence_history")
        admin.execute("UPDATE monitor.alembic_version SET version_num = version_num")
    configure(tmp_path, house)
    assert monitor("status")[0] == 2  # as the writer, with all its rights


def test_doctor_says_which_role_may_too_much_or_too_little(monitor: Shell, house: House, tmp_path: Path) -> None:
    configure(tmp_path, house, store="postgres", source="postgres", migrator="postgres")
    monitor("db", "upgrade")
    code, out, _ = monitor("doctor")
    assert code == 1
    for key in ("store.url", "store.migrator_url", "models.m.source.url"):
        assert f"{key} logs in as postgres, a SUPERUSER" in out, key
    make_roles(monitor, house)
    configure(tmp_path, house)
    with house.connect() as admin:
        log = '"Serving"."Log ""x"" y"'
        admin.execute(f"GRANT INSERT (id), DELETE ON {log} TO monitor_reader".encode())
        admin.execute("ALTER ROLE monitor_reader RESET default_transaction_read_only")
        admin.execute("ALTER ROLE monitor_reader CREATEDB")
        admin.execute("GRANT USAGE, CREATE ON SCHEMA public TO PUBLIC")
        admin.execute("ALTER ROLE monitor_reader RESET search_path")
        admin.execute("GRANT CREATE ON SCHEMA monitor TO monitor_writer")
        admin.execute("REVOKE ALL ON FUNCTION monitor.forget FROM monitor_writer")
        admin.execute("GRANT INSERT ON monitor.prediction_log TO monitor_writer")
        admin.execute("GRANT SELECT ON monitor.alert TO monitor_viewer")
        admin.execute("REVOKE CREATE ON SCHEMA monitor FROM monitor_migrator")
    _, out, _ = monitor("doctor")
    for sentence in (
        f"models.m.source.url logs in as monitor_reader, which may INSERT, DELETE on {log}",
        "models.m.source.url logs in as monitor_reader, whose transactions may write by default",
        "models.m.source.url logs in as monitor_reader, which has CREATEDB",
        "models.m.source.url logs in as monitor_reader, whose search_path has public",
        "store.url logs in as monitor_writer, which may change the schema itself",
        "store.url logs in as monitor_writer, which lacks rights on monitor.forget(",
        "store.url logs in as monitor_writer, which may INSERT on monitor.prediction_log",
        "monitor_viewer may read monitor.alert and not only the views",
        "store.migrator_url logs in as monitor_migrator, which may not create in schema monitor",
    ):
        assert sentence in out, out


def test_the_sql_quotes_whatever_a_configuration_names(monitor: Shell, house: House, tmp_path: Path) -> None:
    configure(tmp_path, house, store="postgres", source="postgres", migrator="postgres")
    text = (tmp_path / "monitor.yaml").read_text()
    evil = "x; DROP SCHEMA public CASCADE --"
    (tmp_path / "monitor.yaml").write_text(re.sub("table: .*", f"table: '{evil}'", text))
    _, script, _ = monitor("doctor", "--roles")
    assert f'GRANT SELECT ON "public"."{evil}"' in script
