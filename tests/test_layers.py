"""Who may import whom: `stats` ← nouns ← decisions ← checks, channels, sources ← evaluation ← worker, web, cli.

The core is pure and never asks for the time; a new noun or decision belongs on one of the two lists.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "monitor"
NOUNS = {"window", "sketch", "column", "profile", "tile", "outcome", "reference", "statistic", "duration", "registry"}
NOUNS |= {"source", "process", "memo", "panel", "divergence", "novelty", "trailing", "catalogue", "habit", "blocks"}
NOUNS |= {
    "rehearsal",
    "disclosure",
    "coverage",
    "onset",
    "drawing",
    "slicing",
    "relation",
    "embedding",
    "text",
    "baseline",
}
DECISIONS = {"check", "alert", "routing", "route", "recommendation", "decision", "circuit", "notification", "digest"}
DECISIONS |= {"comparison", "advice", "proof", "trial", "expectation", "estimate", "metric", "silence", "treatment"}
DECISIONS |= {
    "stratum",
    "error_model",
    "shortage",
    "candidate",
    "gate",
    "golden",
    "preprocessing",
    "noise",
    "foresight",
    "track",
    "conversation",
    "machine",
    "inhibition",
    "movement",
}
CORE = NOUNS | DECISIONS | {"stats", "checks"}
SQL = {"tables", "store", "ledger", "outbox", "schema", "sources", "migrations"}
SQL |= {
    "history",
    "record",
    "episode",
    "retention",
    "copying",
    "latest",
    "timeline",
    "holding",
    "roles",
    "rights",
    "confirmation",
    "breaker",
    "switchboard",
}  # parts of the store in files of their own
TOP = {
    "aftermath",
    "approval",
    "announcement",
    "intervention",
    "release",
    "pairing",
    "respondent",
    "examination",
    "questioning",
    "hindsight",
    "evaluation",
    "reading",
    "recheck",
    "compaction",
    "vitals",
    "pipeline",
    "profiling",
    "reminder",
    "review",
    "reporting",
    "worker",
    "clock",
    "daemon",
    "web",
    "page",
    "model_page",
    "alert_page",
    "service_page",
    "runbook_page",
    "entrance",
    "deeds",
    "api",
    "cli",
    "commands",
}
TOP |= {"demo", "__main__"}
ENGINES = {
    "installation",
    "dispatcher",
    "sending",
    "failure",
}  # they make an engine, hold one, or put its errors into words
LIBRARIES = {"sqlalchemy", "psycopg", "httpx", "psutil", "apscheduler", "pyarrow", "pandas", "aiosmtplib", "litestar"}
LIBRARIES |= {
    "adbc_driver_postgresql",
    "evidently",
    "sklearn",
    "matplotlib",
    "pyspark",
    "smtplib",
    "socket",
    "subprocess",
}
CLOCKS = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.monotonic",
    "time.sleep",
}

SOURCES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


def layer(module: str) -> str:
    return module.split("/")[0]


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every node of a tree but those that only the type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from statements(child)


@cache
def imports(module: str) -> set[str]:
    """The modules that `module` imports anywhere, with dots; of ours also the module that a name is taken from."""
    found: set[str] = set()
    for node in statements(ast.parse(SOURCES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; say monitor.…"
            found |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def ours(module: str) -> set[str]:
    return {path for path in SOURCES if f"monitor.{path.replace('/', '.')}" in imports(module)}


@pytest.mark.parametrize("module", [module for module in SOURCES if layer(module) in CORE])
def test_the_core_touches_no_database_no_network_no_process_and_no_clock(module: str) -> None:
    assert not {name.split(".")[0] for name in imports(module)} & LIBRARIES
    tree = ast.parse(SOURCES[module].read_text())
    attributes = {
        ".".join(ast.unparse(node).split(".")[-2:]) for node in statements(tree) if isinstance(node, ast.Attribute)
    }
    assert not attributes & CLOCKS, "`now` is an argument"
    assert not {name for name in ours(module) if layer(name) in SQL | TOP | ENGINES | {"channels", "config"}}


def test_statistics_import_nothing_of_ours() -> None:
    assert not [(m, name) for m in SOURCES if layer(m) == "stats" for name in ours(m) if layer(name) != "stats"]


def test_checks_do_not_import_each_other() -> None:
    assert not [(m, name) for m in SOURCES if layer(m) == "checks" for name in ours(m) if layer(name) == "checks"]


def test_sql_is_written_only_in_the_store_and_the_sources() -> None:
    asking = re.compile(r"\bsa\.(text|select|insert|update|delete|table|column)\(|exec_driver_sql\(|sql\.SQL\(")
    writing = {m for m, path in SOURCES.items() if layer(m) != "demo" and asking.search(path.read_text())}
    assert not {m for m in writing if layer(m) not in SQL}


def test_every_module_has_its_phrase_in_the_map() -> None:
    written = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    mapped = [m for m in SOURCES if layer(m) not in {"demo", "commands"} and not m.rpartition("/")[2].startswith("__")]
    assert not [m for m in mapped if not re.search(rf"\b{m.rpartition('/')[2]}\b", written)]


def test_nothing_imports_what_is_above_it() -> None:
    assert not [(m, name) for m in SOURCES if layer(m) not in TOP for name in ours(m) if layer(name) in TOP]
