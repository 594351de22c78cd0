"""Rules of the way to a database: what stays on this machine is fine, what leaves it is safe with verify-full only."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config import load, remarks
from monitor.encryption import WEAK, weakness

REMOTE = "postgresql://me:pw@db.example.org:5433/logs"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me@localhost/x",
        "postgresql+psycopg://me@127.0.0.1:5432/x",
        "postgresql://me@[::1]/x?sslmode=disable",
        "postgresql:///x",
        "postgresql://me@/x?host=/run/postgresql",
        "postgresql://me@%2Frun%2Fpostgresql/x",
        f"{REMOTE}?sslmode=verify-full",
    ],
)
def test_what_stays_here_or_is_verified_in_full_is_fine(url: str) -> None:
    assert weakness(url) is None


@pytest.mark.parametrize("mode", WEAK)
def test_every_mode_below_verify_full_is_named_for_a_remote_server(mode: str) -> None:
    said = weakness(f"{REMOTE}?sslmode={mode}")
    assert said is not None
    assert said.startswith(f"goes to db.example.org with sslmode={mode}, which ")
    assert "pw" not in said


@pytest.mark.parametrize(
    "url",
    [
        REMOTE,
        "postgresql://me@10.0.0.5/x",
        "postgresql://me@[2001:db8::1]:5432/x",
        "postgresql://me@/x?host=db.example.org",
        "postgresql://me@localhost/x?host=db.example.org",
        "postgresql://me@localhost,db.example.org/x",
        "postgresql://me@localhost.example.org/x",
        "postgresql://me@localhost/x?hostaddr=10.0.0.5",
    ],
)
def test_without_a_mode_libpq_prefers_and_does_not_insist(url: str) -> None:
    said = weakness(url)
    assert said is not None
    assert "sslmode=prefer" in said


def test_the_environment_counts_where_the_address_says_nothing() -> None:
    assert weakness(REMOTE, {"PGSSLMODE": "verify-full"}) is None
    assert weakness(f"{REMOTE}?sslmode=require", {"PGSSLMODE": "verify-full"}) is not None
    assert weakness("postgresql:///x", {"PGHOST": "db.example.org"}) is not None


def test_every_database_of_a_configuration_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "monitor.yaml"
    file.write_text(
        'store: {url: "postgresql://w@db.example.org/h", migrator_url: "postgresql://m@db.example.org/h"}\n'
        "models:\n  m:\n    source:\n      url: postgresql://r@logs.example.org/l\n"
        "      limits: {replica_url: postgresql://r@replica.example.org/l}\n"
        "      table: t\n      time: at\n      id: id\n      prediction: {score: p}\n    window: 1h\n"
    )
    config = load(file, {})
    said = " ".join(remarks(config, {}))
    for key in ("store.url", "store.migrator_url", "models.m.source.url", "models.m.source.limits.replica_url"):
        assert f"{key} goes to" in said
    assert "sslmode" not in " ".join(remarks(config, {"PGSSLMODE": "verify-full"}))
