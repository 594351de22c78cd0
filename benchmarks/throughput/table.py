"""Log tables made inside Postgres: half doubles, a quarter integers, a quarter texts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from monitor.logtable import PredictionSection, SourceSection
from monitor.window import Window

START = datetime(2026, 3, 1, tzinfo=UTC)
LEVELS = (5, 10, 50, 100, 500)  # distinct values of the texts, in turn
CHUNK = 1_000_000


@dataclass(frozen=True, kw_only=True)
class LogTable:
    """A log of one hour; its rows lie in the order of their time."""

    rows: int
    columns: int = 20
    keyed: bool = True
    """Whether the database itself refuses a second row of an id."""
    diverse: int = 0
    """Distinct values of the first text column, where it is not the usual 5."""

    @property
    def name(self) -> str:
        """The table's name."""
        return (
            f"log_{self.rows}_{self.columns}{'' if self.keyed else '_unkeyed'}{f'_{self.diverse}' * (self.diverse > 0)}"
        )

    @property
    def window(self) -> Window:
        """The hour of all rows."""
        return Window(start=START, end=START + timedelta(hours=1))

    @property
    def tiles(self) -> list[Window]:
        """The quarter hours."""
        step = timedelta(minutes=15)
        return [Window(start=START + i * step, end=START + (i + 1) * step) for i in range(4)]

    @property
    def section(self) -> SourceSection:
        """The configuration of the log."""
        return SourceSection(
            table=f"public.{self.name}",
            time="occurred_at",
            id="request_id",
            prediction=PredictionSection(score="score", threshold=0.5),
        )

    def features(self) -> dict[str, str]:
        """Return the expression of each feature; ``i`` numbers the rows."""
        found: dict[str, str] = {}
        for at in range(self.columns):
            kind, number = ("x", at // 4 * 2 + at % 4) if at % 4 < 2 else ("n" if at % 4 == 2 else "t", at // 4)
            levels = self.diverse if self.diverse and number == 0 else LEVELS[number % len(LEVELS)]
            found[f"{kind}{number}"] = {
                "x": "random_normal()",
                "n": "floor(random() * 1000)::int",
                "t": f"'value ' || floor(random() * {levels})::int",
            }[kind]
        return found

    def make(self, conn: psycopg.Connection) -> None:
        """Create and fill the table unless it is there; the rows are the same each time on the same server version."""
        if conn.execute("SELECT to_regclass(%s)", [f"public.{self.name}"]).fetchone() != (None,):
            return
        types = {"x": "double precision", "n": "int", "t": "text"}
        definitions = [f"{name} {types[name[0]]}" for name in self.features()]
        key = "PRIMARY KEY" if self.keyed else "NOT NULL"
        with conn.transaction():
            conn.execute(
                sql.SQL(
                    f"CREATE UNLOGGED TABLE {self.name} (request_id uuid {key}, occurred_at timestamptz NOT NULL, "
                    f"score double precision, {', '.join(definitions)})"
                )
            )
            conn.execute("SELECT setseed(0.5)")
            for first in range(0, self.rows, CHUNK):
                conn.execute(
                    sql.SQL(
                        f"INSERT INTO {self.name} SELECT md5(i::text)::uuid, timestamptz '{START.isoformat()}' + "
                        f"i * interval '1 hour' / {self.rows}, random(), {', '.join(self.features().values())} "
                        f"FROM generate_series({first}, {min(first + CHUNK, self.rows) - 1}) AS i"
                    )
                )
        conn.execute(f"CREATE INDEX ON {self.name} USING brin (occurred_at)")
        conn.execute(f"VACUUM (ANALYZE, FREEZE) {self.name}")
