"""How fast a window is read and profiled: ``python -m benchmarks.throughput [--write docs/benchmarks/throughput.md]``.

Makes log tables in an embedded Postgres without fsync and reads each in turn with psycopg's bare ``copy()`` and with
ours: facts, de-duplication, every column profiled, tiles as bytes. ``--peers FOLDER`` adds other tools on the same
table, each in an environment of its own that is made in the folder from ``requirements/`` where it is not there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.throughput.plot import draw
from benchmarks.throughput.table import LogTable
from monitor import embedded

UNSAFE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}
TABLES = [
    LogTable(rows=100_000),
    LogTable(rows=1_000_000),
    LogTable(rows=10_000_000),
    LogTable(rows=1_000_000, keyed=False),
    LogTable(rows=200_000, columns=100),
    LogTable(rows=40_000, columns=500),
]
OFTEN, SELDOM = 1_000_000, 2  # rows up to which a table is read as often as asked, and pairs of larger ones
BEGIN, END = "<!-- begin: python -m benchmarks.throughput -->", "<!-- end -->"


def run(command: Sequence[str]) -> dict[str, Any]:
    """Return the JSON that a process prints last."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def span(values: Sequence[float], form: str = ".2f") -> str:
    """Return the median with the least and the most."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def row(table: LogTable, found: dict[str, Any]) -> list[str]:
    """Return the cells of a table's line."""
    pairs = found["pairs"]
    cells = table.rows * table.columns
    work = [[pair[who]["server"] + pair[who]["client"] for pair in pairs] for who in ("copy", "ours")]
    return [
        f"{table.rows:,} × {table.columns}{'' if table.keyed else ', no unique key'}",
        f"{found['bytes'] / 1e6:,.0f}",
        span([pair["copy"]["seconds"] for pair in pairs]),
        span([pair["ours"]["seconds"] for pair in pairs]),
        span([pair["ours"]["seconds"] / pair["copy"]["seconds"] for pair in pairs]),
        span([mine / bare for bare, mine in zip(*work, strict=True)]),
        f"{statistics.median(pair['ours']['seconds'] for pair in pairs) / cells * 1e9:.0f}",
        f"{found['peak'] - found['imports']:.0f}",
    ]


HEAD = (
    "rows × columns",
    "MB",
    "COPY, s",
    "ours, s",
    "ours / COPY, time",
    "ours / COPY, processor",
    "ours, ns per cell",
    "peak above imports, MB",
)


PEER_HEAD = ("tool", "read_sql, s", "all, s", "peak above imports, MB", "time / ours", "memory / ours")
PEERS = {"evidently": "0.7.23", "whylogs": "1.6.4", "nannyml": "0.13.1"}


def python_of(tool: str, folder: Path) -> str:
    """Return the Python of a tool's environment, which is made where it is not there."""
    home = folder.resolve() / tool
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        print(f"installing {tool} into {home}", flush=True)
        venv.create(home, with_pip=True, clear=True)
        pinned = Path(__file__).with_name("requirements") / f"{tool}.txt"
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", "-r", str(pinned)], check=True)
        (home / "complete").touch()
    return str(python)


def compare(url: str, table: LogTable, folder: Path, repeat: int) -> list[list[str]]:
    """Return the lines of all tools, ours first; every round runs each once."""
    script = str(Path(__file__).with_name("peers.py"))
    commands = {"ours": [sys.executable, "-m", "benchmarks.throughput.whole", url, str(table.rows)]} | {
        tool: [python_of(tool, folder), script, tool, url, table.name, str(table.rows)] for tool in PEERS
    }
    rounds = [{tool: run(command) for tool, command in commands.items()} for _ in range(repeat)]

    def values(tool: str, field: str, form: str) -> str:
        return span([one[tool][field] for one in rounds], form)

    def ratio(tool: str, field: str) -> str:
        return span([one[tool][field] / one["ours"][field] for one in rounds], ".1f")

    found = [["ours", "–", values("ours", "seconds", ".2f"), values("ours", "megabytes", ",.0f"), "1", "1"]]
    for tool, version in PEERS.items():
        assert rounds[0][tool]["version"] == version
        found.append(
            [
                f"{tool} {version}",
                values(tool, "read", ".1f"),
                values(tool, "seconds", ".1f"),
                values(tool, "megabytes", ",.0f"),
                ratio(tool, "seconds"),
                ratio(tool, "megabytes"),
            ]
        )
    return found


def lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def main() -> int:
    """Measure, print, and write the page where one is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=10_000_000, help="leave out larger tables")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--peers", type=Path, metavar="FOLDER")
    parser.add_argument("--peer-rows", type=int, default=1_000_000)
    parser.add_argument("--peer-repeat", type=int, default=3)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    found: list[tuple[LogTable, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as folder, embedded.start(Path(folder) / "pg", settings=UNSAFE) as server:
        for table in TABLES:
            if table.rows > options.most:
                continue
            with psycopg.connect(server.dsn, autocommit=True) as conn:
                table.make(conn)
            pairs = options.repeat if table.rows <= OFTEN else min(options.repeat, SELDOM)
            arguments = [server.dsn, table.rows, table.columns, table.keyed, pairs]
            result = run([sys.executable, "-m", "benchmarks.throughput.reading", *map(str, arguments)])
            found.append((table, result))
            print(" | ".join(row(table, result)), flush=True)
        compared = LogTable(rows=options.peer_rows)
        with psycopg.connect(server.dsn, autocommit=True) as conn:
            compared.make(conn)
        others = compare(server.url, compared, options.peers, options.peer_repeat) if options.peers else []
    parts = [
        f"{os.cpu_count()} processors, load {os.getloadavg()[2]:.0f} over the last 15 minutes; "
        f"{options.repeat} pairs per table ({SELDOM} of more than {OFTEN:,} rows): median (least–most).",
        lines(HEAD, [row(table, result) for table, result in found]),
    ]
    if others:
        parts.append(
            f"On {compared.rows:,} × {compared.columns}, from rows in Postgres to findings, in {options.peer_repeat} "
            "rounds of all tools: median (least–most). Ours is a whole evaluation by the worker, findings committed."
        )
        parts.append(lines(PEER_HEAD, others))
    text = "\n\n".join(parts)
    print(text)
    if options.write:
        page = options.write.read_text(encoding="utf-8")
        head, _, rest = page.partition(BEGIN)
        picture = options.write.with_suffix(".svg")
        draw(picture, found)
        text += f"\n\n![Cost against rows, columns and the length of a window]({picture.name})"
        options.write.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
