"""The views that are the public contract, each in a file of its own with a comment on every column."""

from __future__ import annotations

import re
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DIRECTORY = Path(__file__).resolve().parent.parent / "views" / revision

#: What follows this line in a view's file is left out of ``<view>_revisions``.
LATEST = "-- latest revision only\n"

KEY = {
    "run_id": "Run of the ledger that wrote the row.",
    "model": "Name of the model in the configuration.",
    "model_version": "Version of the model, as logged.",
    "role": "champion, shadow or canary.",
    "slice": "Part of the rows, such as {\"origin\": \"JFK\"}; {} is all of them.",
    "window_start": "Begin of the window, included.",
    "window_end": "End of the window, not included.",
    "revision": "Counts up from 1 when late or changed rows made the window be judged again.",
}  # fmt: skip

COLUMN = re.compile(r"(?P<name>\w+),?(?:  -- (?P<comment>.+))?$")


def statements(name: str, text: str, note: str = "") -> list[str]:
    """CREATE VIEW and a COMMENT for it and each of its columns, taken from the comments at the ends of the lines."""
    lines = text.splitlines()
    header = [line.removeprefix("-- ") for line in lines[: lines.index("SELECT")]]
    made = [f"CREATE VIEW monitor.{name} AS\n{text}", comment("VIEW", f"monitor.{name}", " ".join(header) + note)]
    for line in lines[lines.index("SELECT") + 1 :]:
        if line.startswith("FROM "):
            break
        found = COLUMN.search(line)
        simple = re.fullmatch(r"    \w+\.(\w+),?", line)
        if found and found["comment"]:
            made.append(comment("COLUMN", f"monitor.{name}.{found['name']}", found["comment"]))
        elif simple and simple[1] in KEY:
            made.append(comment("COLUMN", f"monitor.{name}.{simple[1]}", KEY[simple[1]]))
    return made


def comment(kind: str, name: str, text: str) -> str:
    """COMMENT ON with the text quoted."""
    quoted = text.replace("'", "''")
    return f"COMMENT ON {kind} {name} IS '{quoted}'"


def upgrade() -> None:
    for file in sorted(DIRECTORY.glob("*.sql")):
        text = file.read_text(encoding="utf-8")
        script = statements(file.stem, text)
        if LATEST in text:
            script += statements(f"{file.stem}_revisions", text.split(LATEST)[0], " Every revision of a window.")
        for statement in script:
            # Not op.execute with text: a colon in a comment would be read as a parameter.
            op.get_bind().execute(sa.text(statement.replace(":", "\\:")))


def downgrade() -> None:
    for file in sorted(DIRECTORY.glob("*.sql")):
        op.execute(f"DROP VIEW monitor.{file.stem}")
        if LATEST in file.read_text(encoding="utf-8"):
            op.execute(f"DROP VIEW monitor.{file.stem}_revisions")
