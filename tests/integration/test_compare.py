"""`monitor compare` on real logs: promote, hold, roll back, what is still needed, and the advice that is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.cli import run as command
from monitor.embedded import Database
from monitor.installation import Installation
from tests.watched import ask, installed, run

CONFIG = """
store: {{url: "{url}"}}
models:
  late:
    business: {{automates: x, currency: EUR, costs: {{false_positive: 7, false_negative: 13}}}}
    source:
      builtin: true
      features: {{age: numeric}}
      prediction: {{score: score, threshold: 0.5}}
      outcome: {{label: label, matures_after: 1h}}
    window: {{calendar: day, timezone: UTC}}
channels: {{ops: {{type: webhook, url: "https://hooks.example.org/x"}}}}
"""
LOG = """
INSERT INTO monitor.prediction_log (request_id, model, model_version, role, occurred_at, score)
SELECT i::text, 'late', CAST(:version AS text), CAST(:role AS text),
    now() - interval '20 days' + i * interval '20 days' / 6000, {score}
FROM generate_series(1, 6000) i WHERE i % :every = :rest
"""
TRUE_SCORE = "0.5 + 0.45 * sin(i * 1.7)"
Monitor = Callable[..., tuple[int, str, str]]


@pytest.fixture
def file(tmp_path: Path, database: Database) -> Path:
    path = tmp_path / "monitor.yaml"
    path.write_text(CONFIG.format(url=database.url))
    return path


@pytest.fixture
def installation(file: Path) -> Iterator[Installation]:
    with installed(file) as made:
        yield made


@pytest.fixture
def monitor(file: Path, capsys: pytest.CaptureFixture[str]) -> Monitor:
    def typed(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = command([*arguments, "--config", str(file)])
        return code, *capsys.readouterr()

    return typed


def log(
    installation: Installation, role: str, score: str = TRUE_SCORE, *, version: str, every: int = 1, rest: int = 0
) -> None:
    run(installation, LOG.format(score=score), version=version, role=role, every=every, rest=rest)


def label(installation: Installation, rows: int = 6000) -> None:
    """Give requests their label: what a score says, and in one of five the opposite."""
    run(
        installation,
        "INSERT INTO monitor.outcome_log (request_id, model, label)"
        f" SELECT i::text, 'late', (({TRUE_SCORE} > 0.5) <> (i % 5 = 0))::text"
        f" FROM generate_series(1, {rows}) i",
    )


def verdict(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out)
    return found


def test_an_equal_shadow_is_promoted_and_the_advice_is_told_once(installation: Installation, monitor: Monitor) -> None:
    log(installation, "champion", version="7")
    log(installation, "shadow", version="8")
    label(installation)
    code, out, _ = monitor("compare", "late", "--json", "--recommend")
    found = verdict(out)
    assert (code, found["verdict"], found["version"]) == (0, "promote", "8")
    assert found["likeness"]["agreement"] == 1.0
    assert [one["loss"] for one in found["judged"]] == ["cost"]
    assert monitor("compare", "late", "--recommend")[0] == 0
    assert ask(installation, "SELECT action, state FROM monitor.recommendation") == [("PROMOTE", "open")]
    assert ask(installation, "SELECT payload->>'title' FROM monitor.notification") == ["promote the shadow 8"]


def test_a_worse_shadow_is_rolled_back_and_supersedes_what_was_advised(
    installation: Installation, monitor: Monitor
) -> None:
    log(installation, "champion", version="7")
    log(installation, "shadow", version="8")
    label(installation)
    assert monitor("compare", "late", "--recommend")[0] == 0
    run(installation, "UPDATE monitor.prediction_log SET score = 1 - score WHERE role = 'shadow' AND random() < 0.5")
    code, out, _ = monitor("compare", "late", "--recommend")
    assert code == 1
    assert out.startswith("late: roll back the shadow 8")
    assert "where they differ most" in out
    assert ask(installation, "SELECT action, state FROM monitor.recommendation ORDER BY opened_at") == [
        ("PROMOTE", "superseded"),
        ("ROLL_BACK", "open"),
    ]


def test_few_labels_hold_and_say_what_is_still_needed(installation: Installation, monitor: Monitor) -> None:
    log(installation, "champion", version="7")
    log(installation, "shadow", "0.5 + 0.45 * sin(i * 1.7 + 0.2)", version="8")
    label(installation, 400)
    code, out, _ = monitor("compare", "late", "--json", "--recommend")
    found = verdict(out)
    assert (code, found["verdict"]) == (2, "hold")
    assert found["still"].startswith("400 labels so far; about ")
    assert " days at 20 labels a day" in found["still"]
    assert ask(installation, "SELECT count(*) FROM monitor.recommendation") == [0]


def test_a_canary_is_judged_on_its_own_requests(installation: Installation, monitor: Monitor) -> None:
    log(installation, "champion", version="7", every=2, rest=0)
    log(installation, "canary", "1 - (0.5 + 0.45 * sin(i * 1.7))", version="8", every=2, rest=1)
    label(installation)
    code, out, said = monitor("compare", "late", "--role", "canary")
    assert code == 1, out
    assert out.startswith("late: roll back the canary 8")
    assert "A canary answers other requests" in said


def test_only_the_named_version_and_time_are_compared(installation: Installation, monitor: Monitor) -> None:
    log(installation, "champion", version="7")
    log(installation, "shadow", "1 - (0.5 + 0.45 * sin(i * 1.7))", version="8", every=2, rest=1)
    log(installation, "shadow", version="9", every=2, rest=0)
    label(installation)
    assert verdict(monitor("compare", "late", "--candidate", "8", "--json")[1])["verdict"] == "roll back"
    assert verdict(monitor("compare", "late", "--json")[1])["version"] == "9"
    assert monitor("compare", "late", "--candidate", "9", "--margin", "0.2")[0] == 0
    assert monitor("compare", "late", "--until", "2000-01-01")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("lat",), "did you mean late?"),
        (("late", "--margin", "2"), "--margin 2 is no share of a loss"),
        (("late", "--role", "champion"), "Invalid value for '--role'"),
        (("late",), "No answer of the role shadow is in the logs of late; log one first"),
        (("late", "--candidate", "8"), "No answer of version 8 as shadow"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_sentence(
    installation: Installation, monitor: Monitor, arguments: tuple[str, ...], sentence: str
) -> None:
    code, out, said = monitor("compare", *arguments)
    assert code in (2, 3)
    assert out == ""
    assert sentence in said
    assert said.count("\n") == 1


def test_many_classes_are_compared_by_their_probabilities(
    file: Path, installation: Installation, monitor: Monitor
) -> None:
    text = CONFIG.replace(
        "{{score: score, threshold: 0.5}}", "{{scores: {{sun: scores.sun, rain: scores.rain, fog: scores.fog}}}}"
    )
    file.write_text(text.format(url=installation.config.store.url.get_secret_value()))
    statement = """
        INSERT INTO monitor.prediction_log (request_id, model, model_version, role, occurred_at, scores)
        SELECT i::text, 'late', CAST(:version AS text), CAST(:role AS text),
            now() - interval '20 days' + i * interval '20 days' / 6000,
            jsonb_build_object('sun', CASE WHEN i % 3 = :first THEN .8 ELSE .1 END,
                'rain', CASE WHEN i % 3 = :second THEN .8 ELSE .1 END, 'fog', CASE WHEN i % 3 = 2 THEN .8 ELSE .1 END)
        FROM generate_series(1, 6000) i"""
    for role, version, first, second in (("champion", "7", 0, 1), ("shadow", "8", 0, 1), ("shadow", "9", 1, 0)):
        run(installation, statement, role=role, version=version, first=first, second=second)
    run(
        installation,
        "INSERT INTO monitor.outcome_log (request_id, model, label) SELECT i::text, 'late',"
        " (ARRAY['sun', 'rain', 'fog'])[i % 3 + 1] FROM generate_series(1, 6000) i WHERE i % 7 > 0",
    )
    code, out, _ = monitor("compare", "late", "--candidate", "8", "--json")
    found = verdict(out)
    assert (code, found["verdict"], found["likeness"]["agreement"]) == (0, "promote", 1.0)
    assert [one["loss"] for one in found["judged"]] == ["log_loss"]
    code, out, _ = monitor("compare", "late", "--candidate", "9")
    assert code == 1
    assert out.startswith("late: roll back the shadow 9")
    assert "agreement 33.3%" in out
    code, _, said = monitor("compare", "late", "--candidate", "9", "--loss", "cost")
    assert code == 3
    assert said == "many classes have no cost; choose error, log_loss or brier.\n"
