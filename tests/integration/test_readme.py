"""What the README tells people to type works: its queries run, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from monitor.cli import run
from monitor.embedded import Database

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
QUERIES = [
    statement.strip()
    for block in re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    for statement in block.split(";")
    if statement.strip()
]
COMMANDS = sorted(set(re.findall(r"`monitor ([a-z]+)", README)))


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_readme_runs(query: str, database: Database) -> None:
    with psycopg.connect(database.dsn) as conn:
        assert conn.execute(query.encode()).description


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert f"monitor {command}" in capsys.readouterr().out


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!http)[^)]+)\)", README))
def test_a_link_of_the_readme_leads_to_a_file(link: str) -> None:
    assert (Path(__file__).parents[2] / link).exists()
