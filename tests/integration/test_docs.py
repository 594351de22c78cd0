"""What the pages tell people to type works: commands are parsed by the program itself, SQL runs, links lead somewhere.

So do the commands that the program names in its own messages.
"""

from __future__ import annotations

import re
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer
import typer.main

from monitor import cli, history

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "client" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [*(ROOT / "monitor").rglob("*.py"), *(ROOT / "deploy").rglob("*.y*ml")]
}

#: What is not tried here, and why: pages and modules, and what an SQL statement contains.
EXCEPTIONS = {
    "docs/security.md": "its SQL is an excerpt of `monitor doctor --roles`; tests/integration/test_roles.py runs that",
    "docs/sql.md": "its queries are those of docs/queries.sql, which tests/integration/test_sql_reference.py runs",
    "monitor/sources/spark.py": "what stands in backticks there are columns in the SQL of Spark",
    "FROM serving.predictions": "it asks the log of the demo; test_demo_causes.py runs the same query there",
}

#: What stands for a value of one's own, where the program asks for a certain kind.
PLACES = {"ID": str(uuid.UUID(int=7)), "DIR": ".", "FILE": "rows.parquet"}
#: How the program says that something is left out, which in a sentence it may be: "`monitor check` evaluates a window".
LEFT_OUT = {"MissingParameter", "NoArgsIsHelpError"}


def mentions(text: str) -> Iterator[str]:
    """Yield the commands within sentences, which may leave arguments out."""
    for found in re.findall(r"(?<!`)`(monitor\s[^`]+)`(?!`)", text):
        yield " ".join(found.split())


def lines(text: str) -> Iterator[str]:
    """Yield the command lines that stand by themselves, to be typed as they are."""
    for found in re.findall(r"^(?: {4}|\$ )?(monitor [a-z](?:.*\\\n)*.*)$", text, re.MULTILINE):
        yield found.replace("\\\n", " ")


def words_of(command: str) -> list[str]:
    """Return the arguments of a command line; what is optional is written in brackets, "{…}" is filled in."""
    filled = re.sub(r"\{[^{}]*\}", "X", command)
    return [PLACES.get(word, word) for word in shlex.split(re.sub(r"[\[\]]", "", filled), comments=True)[1:]]


def parse(words: list[str]) -> Any:
    """Let the program's own parser take a command line, without running it; returns the context of the command."""
    cli._load_commands()
    group: Any = typer.main.get_command(cli.app)
    context = group.make_context("monitor", list(words))
    while hasattr(context.command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        if not rest:
            return context
        name, command, rest = context.command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return context


def problem_of(command: str, *, whole: bool) -> str:
    """Return what the program has against a command line; "" where nothing."""
    words = words_of(command)
    try:
        parse(words)
    except typer.Exit:
        return ""  # --help and --version are enough by themselves
    except typer.TyperException as error:
        missing = type(error).__name__ in LEFT_OUT or f"{words[-1]}' requires an argument" in str(error)
        return "" if missing and not whole else str(error)
    return ""


@pytest.mark.parametrize(
    ("command", "whole", "said"),
    [
        ("monitor check credit --start 2026-03-01", True, ""),
        ("monitor check", False, ""),
        ("monitor check", True, "model"),
        ("monitor chekc credit", False, "chekc"),
        ("monitor check credit --begin 2026-03-01", False, "--begin"),
        ("monitor alerts acknowledge KEY", False, "acknowledge"),
        ("monitor status credit", True, "credit"),
        ("monitor profile --query", False, ""),
        ("monitor alerts --limit many", True, "valid integer"),
    ],
)
def test_a_command_line_is_judged_by_the_program_itself(command: str, whole: bool, said: str) -> None:
    found = problem_of(command, whole=whole)
    assert said in found
    assert bool(found) == bool(said)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_one_that_the_program_takes(page: str) -> None:
    wrong = {command: problem_of(command, whole=False) for command in mentions(PAGES[page])}
    wrong |= {command: problem_of(command, whole=True) for command in lines(PAGES[page])}
    assert not {command: problem for command, problem in wrong.items() if problem}


def test_every_command_that_the_program_or_its_deployment_names_is_one_that_it_takes() -> None:
    named = {(file, c) for file, text in SOURCES.items() if file not in EXCEPTIONS for c in mentions(text)}
    assert len(named) > 40
    wrong = {(file, command): problem_of(command, whole=False) for file, command in named}
    assert not {where: problem for where, problem in wrong.items() if problem}


# --- SQL --------------------------------------------------------------------------------------------------------------


def statements(text: str) -> Iterator[str]:
    """Yield the SQL of a page: its blocks, and what it hands to `monitor query`."""
    for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL):
        for statement in re.sub(r"--.*", "", block).split(";"):
            if statement.strip():
                yield statement.strip()
    for command in [*lines(text), *mentions(text)]:
        words = words_of(command)
        if words[:1] == ["query"] and len(words) > 1 and "…" not in words[-1]:
            yield words[-1]


SQL = [
    (page, statement)
    for page, text in PAGES.items()
    if page not in EXCEPTIONS
    for statement in statements(text)
    if not any(part in statement for part in EXCEPTIONS)
]


ASKING = [(page, one) for page, one in SQL if one.startswith(("SELECT", "WITH"))]


@pytest.mark.parametrize(("page", "query"), ASKING)
def test_every_query_of_a_page_runs_on_an_empty_store(page: str, query: str, conn: sa.Connection) -> None:
    history.select_readonly(conn, query)


def test_all_other_sql_of_the_pages_runs_in_its_order(conn: sa.Connection) -> None:
    others = [one for one in SQL if one not in ASKING]
    assert others
    with conn.begin() as attempt:
        for _page, statement in others:
            conn.exec_driver_sql(statement)
        attempt.rollback()  # the roles that a page makes belong to the whole server


# --- links ------------------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Return what a link may point at within a page: its headings as GitHub names them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = next(i for i in range(99) if (f"{plain}-{i}" if i else plain) not in found)
        found.add(f"{plain}-{number}" if number else plain)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: str) -> None:
    lost = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", PAGES[page]):
        path, _, heading = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        known = anchors(target.read_text(encoding="utf-8")) if heading and target.suffix == ".md" else {heading}
        if not target.exists() or heading not in known:
            lost.append(link)
    assert not lost
