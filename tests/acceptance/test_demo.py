"""`monitor demo` as a user runs it, up to the end of April: the storm of March and the week of the furlough."""

from __future__ import annotations

import email
import email.policy
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from monitor.demo import flights
from monitor.demo.causes import explanations

UNTIL = date(2013, 4, 30)
DAYS = (UNTIL - flights.PRODUCTION_FROM).days
# Runs the command in a process of its own and says which heavy modules that process has in the end.
PROGRAM = """
import sys
from monitor.cli import run
code = run(sys.argv[1:])
heavy = {"pandas", "evidently", "sklearn", "matplotlib"} & set(sys.modules)
print("heavy:", *sorted(heavy), file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A finished demo: its folder, what it printed, and SQL on what it left."""

    folder: Path
    printed: str
    said: str

    @cache  # noqa: B019  # one object for the whole module
    def ask(self, statement: str) -> list[dict[str, Any]]:
        """Return the rows of a SELECT through `monitor query`, as a user asks."""
        command = [sys.executable, "-m", "monitor", "query", "--format", "json"]
        command += ["--config", str(self.folder / "monitor.yaml"), statement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))


@pytest.fixture(scope="module")
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    prepared = flights.load(Path(request.config.cache.mkdir("demo-flights")))
    (folder / "flights").symlink_to(prepared.directory)
    command = [sys.executable, "-c", PROGRAM, "demo", "--no-serve", "--data-dir", str(folder), "--until", f"{UNTIL}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return Demo(folder=folder, printed=done.stdout, said=done.stderr)


def openings(demo: Demo) -> Sequence[dict[str, Any]]:
    return demo.ask(
        "SELECT family, severity, cause, state, "
        "(opened_window_start AT TIME ZONE 'America/New_York')::date::text AS opened, "
        "(resolved_window_start AT TIME ZONE 'America/New_York')::date::text AS resolved "
        "FROM monitor.alert WHERE opened_window_start IS NOT NULL AND severity <> 'info' ORDER BY opened_window_start"
    )


def test_no_closed_window_is_absent(demo: Demo) -> None:
    (row,) = demo.ask(
        "SELECT count(DISTINCT window_start) AS windows, count(*) FILTER (WHERE state <> 'done') AS undone, "
        "sum(rows_read)::int AS rows_read FROM run_history"
    )
    (logged,) = demo.ask("SELECT count(*) AS rows FROM serving.predictions")
    assert row == {"windows": DAYS, "undone": 0, "rows_read": logged["rows"]}


def test_flights_under_way_at_the_end_still_land_and_no_other_outcome_is_there(demo: Demo) -> None:
    (row,) = demo.ask(
        "SELECT count(*) FILTER (WHERE p.request_id IS NULL) AS strangers, "
        f"count(*) FILTER (WHERE o.observed_at >= '{flights.local_midnight(UNTIL).isoformat()}') AS landed_later "
        "FROM serving.outcomes o LEFT JOIN serving.predictions p USING (request_id)"
    )
    assert row["strangers"] == 0
    assert row["landed_later"] > 0


def test_the_march_storm_is_the_only_message_before_20_march(demo: Demo) -> None:
    early = [opening for opening in openings(demo) if opening["opened"] < "2013-03-20"]
    assert [(opening["family"], opening["opened"]) for opening in early] == [("outcome", "2013-03-08")]


def test_the_furlough_is_found_as_concept_drift_by_its_second_day(demo: Demo) -> None:
    found = [opening for opening in openings(demo) if opening["family"] == "outcome" and opening["opened"] > "2013-04"]
    assert found[0]["opened"] in ("2013-04-22", "2013-04-23")
    assert found[0]["cause"] == "concept"


def test_nobody_is_told_to_retrain(demo: Demo) -> None:
    assert not demo.ask("SELECT * FROM recommendation_history WHERE action = 'RETRAIN'")


def test_every_opening_has_a_dated_cause_in_the_data(demo: Demo) -> None:
    for opening in openings(demo):
        assert explanations(opening["family"], date.fromisoformat(opening["opened"])), opening


def test_what_was_sent_arrived_and_can_be_read(demo: Demo) -> None:
    sent = {
        row["channel"]: row["messages"]
        for row in demo.ask(
            "SELECT channel, count(*) AS messages FROM notification_history WHERE state = 'sent' GROUP BY 1"
        )
    }
    mails = sorted((demo.folder / "messages").glob("*.eml"))
    posts = sorted((demo.folder / "messages").glob("*.json"))
    assert {"team": len(mails), "ops": len(posts)} == sent
    subjects = [email.message_from_bytes(m.read_bytes(), policy=email.policy.default)["Subject"] for m in mails]
    assert any("08 Mar 2013" in subject for subject in subjects)
    assert not demo.ask("SELECT * FROM notification_history WHERE state <> 'sent'")


def test_the_serving_process_was_sampled_every_second(demo: Demo) -> None:
    (row,) = demo.ask(
        "SELECT count(*) AS samples, extract(epoch FROM max(sampled_at) - min(sampled_at))::int AS seconds, "
        "min(rss_bytes) AS lowest FROM resource_history"
    )
    assert row["samples"] >= 0.5 * row["seconds"] > 0
    assert row["lowest"] > 10_000_000


def test_the_replaying_process_never_imports_what_belongs_into_others(demo: Demo) -> None:
    assert demo.said.splitlines()[-1].split() == ["heavy:"]


def test_injected_faults_are_called_injected(demo: Demo) -> None:
    assert "INJECTED by the demo" in demo.printed
    assert "INJECTED" in (demo.folder / "monitor.yaml").read_text()


def test_nothing_is_left_running(demo: Demo) -> None:
    assert not list((demo.folder / "run").glob("*.pid"))
    assert not (demo.folder / ".monitor" / "postgres" / "postmaster.pid").exists()
