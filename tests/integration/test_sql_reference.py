"""What docs/sql.md says is what the database says, and every query in it runs."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import sqlalchemy as sa

from monitor import history, ledger, record
from monitor.check import ColumnStatistics, Finding, Part, Verdict
from monitor.window import Window

DOCS = Path(__file__).parent.parent.parent / "docs"


def sql_reference() -> ModuleType:
    """docs/sql_reference.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("sql_reference", DOCS / "sql_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = sql_reference()


def test_the_page_is_what_the_comments_in_the_database_say(conn: sa.Connection) -> None:
    written = (DOCS / "sql.md").read_text(encoding="utf-8")
    assert REFERENCE.document(conn) == written, "run `python docs/sql_reference.py URL > docs/sql.md`"


def test_every_worked_query_runs_as_it_stands(conn: sa.Connection) -> None:
    queries = REFERENCE.worked_queries()
    assert len(queries) > 10
    for statement in queries.values():
        history.select_readonly(conn, statement)


def test_the_queries_about_drift_and_gaps_answer_what_they_promise(conn: sa.Connection) -> None:
    now = datetime(2013, 4, 2, tzinfo=UTC)
    with conn.begin():
        for number in (1, 2, 4):
            start = datetime(2013, 3, number, tzinfo=UTC)
            window = Window(start=start, end=start + timedelta(days=1))
            ledger.materialise(conn, "m", "champion", "inputs", [window])
            run = ledger.claim(conn, "tester", now=now, lease=timedelta(hours=1))
            assert run is not None
            assert run.token is not None
            finding = Finding(check="drift", part=Part.INPUT, subject="temp", statistic="location", verdict=Verdict.OK)
            record.save_findings(conn, run, [finding], evaluated_at=now)
            statistics = ColumnStatistics(
                column="temp",
                data_type="numeric",
                part=Part.INPUT,
                n_current=9,
                n_reference=9,
                population_stability_index=number / 10,
                effect=-float(number),
            )
            record.save_column_statistics(conn, run, [statistics])
            ledger.finish(conn, run.run_id, run.token)

    def rows(question: str) -> list[dict[str, object]]:
        [statement] = [text for asked, text in REFERENCE.worked_queries().items() if asked.startswith(question)]
        return history.select_readonly(conn, statement).records()

    [gap] = rows("Does one window follow the other?")
    assert (gap["gap_begins"], gap["gap_ends"]) == (datetime(2013, 3, 3, tzinfo=UTC), datetime(2013, 3, 4, tzinfo=UTC))
    assert rows("Is any window missing") == []
    [drifted] = rows("Which columns have drifted most")
    assert (drifted["column_name"], drifted["windows"], drifted["largest_psi"]) == ("temp", 3, 0.4)
    assert [row["value"] for row in rows("One statistic of one column over time")] == [0.1, 0.2, 0.4]
