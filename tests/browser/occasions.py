"""Every reason for which people are told, brought about on a database by the code that tells it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from monitor import approval, episode, ledger, record, store, switchboard
from monitor.alert import Alert, AlertRules, Identity
from monitor.announcement import announce
from monitor.check import Cause, Evidence, Finding, Part, Severity, Stage, Verdict
from monitor.commands.doctor import trial_message
from monitor.decision import Decision
from monitor.installation import Installation, load_config
from monitor.intervention import change_circuit
from monitor.movement import move
from monitor.notification import Notification, Reason, from_json
from monitor.recommendation import Action, Recommendation, RecommendationState
from monitor.reminder import remind
from monitor.review import review
from monitor.routing import Scene, notifications_for
from monitor.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.embedded import Database

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MODEL = "flight-delay"
FIRST = datetime(2013, 10, 14, 4, tzinfo=UTC)  # a Monday, midnight in New York
TOKEN = "o" * 40
RULES = AlertRules(k=1, n=1, recover=1, repeat={Severity.WARNING: DAY, Severity.CRITICAL: DAY})

CONFIG = """
store: {{url: "{url}"}}
models:
  flight-delay:
    source:
      url: store
      table: logged
      time: at
      id: id
      features: {{temp: numeric}}
      prediction: {{score: p}}
    window: {{calendar: day, timezone: America/New_York}}
    annotations: [{{from: 2013-10-14, until: 2013-10-15, text: "a new station reports the weather"}}]
    retraining: {{webhook: "https://ci.example.org/train", webhook_secret_file: tokens}}
channels:
  team: {{type: webhook, url: "https://hooks.example.org/team"}}
  ops: {{type: webhook, url: "https://hooks.example.org/ops"}}
routes: [{{match: {{}}, to: [team]}}]
alerts: {{escalate: {{after: 4h, to: [ops]}}, digest: {{every: week, to: [team]}}}}
web: {{tokens_file: tokens, base_url: "https://monitor.example.org"}}
"""


#: Names and words as an attacker would write them.
HOSTILE = {
    "mention": "<!channel> <@U024BE7LH> @everyone",
    "script": "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">",
    "right to left": "\u202eevil\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "long": "x" * 10_000,
}


@dataclass(kw_only=True)
class Story:
    """Two weeks of a model in trouble; ``names`` are the columns that are broken, ``said`` is what people write."""

    installation: Installation
    names: Sequence[str]
    said: str
    alerts: dict[str, Alert] = field(default_factory=dict)
    day: int = -1
    reference: str = "first profile"

    @property
    def now(self) -> datetime:
        """When the window of the day has closed."""
        return FIRST + (self.day + 1) * DAY

    @property
    def window(self) -> Window:
        """The window of the day."""
        return Window(start=self.now - DAY, end=self.now)

    def tell(self) -> None:
        """Bring about every reason, each at least once."""
        self.judge(Verdict.WARNING)
        self.judge(Verdict.WARNING)  # repeated
        self.judge(Verdict.CRITICAL)  # escalated
        remind(self.installation, now=self.now + 5 * HOUR)  # nobody has taken it on
        self.silence()
        self.judge(Verdict.OK)  # resolved
        self.judge(Verdict.WARNING)  # opened again
        self.change_profile()
        for _ in range(6):
            self.judge(Verdict.OK)
            self.judge(Verdict.WARNING)  # until it flaps
        self.advise()
        self.intervene()
        review(self.installation, self.installation.model(MODEL), now=FIRST + 21 * DAY + 3 * HOUR)

    def finding(self, name: str, verdict: Verdict) -> Finding:
        """What is found in one column."""
        return Finding(
            check="sudden",
            part=Part.INPUT,
            subject=name,
            statistic="location",
            verdict=verdict,
            severity=Severity.CRITICAL if verdict is Verdict.CRITICAL else Severity.WARNING,
            family="quality:weather",
            value=15.4,
            reference_value=65.4,
            threshold=0.31,
            effect=-2.9,
            n_current=977,
            cause=Cause.DATA,
            message=f"{name} changed at once, as by °F → °C: median 65.4 → 15.4",
            details={
                "cost": "≈ USD 64 a day above the training level",
                "chart": {
                    "title": f"median of {name}",
                    "x": [f"{at} Oct" for at in range(1, 15)],
                    "lines": {
                        name: [65.4, 66.1, 63.9, 64.8, 65.2, 67.0, 66.2, 64.1, 63.7, 65.9, 66.4, 65.0, 64.4, 15.4]
                    },
                    "threshold": 55.0,
                },
            },
        )

    def judge(self, verdict: Verdict) -> None:
        """Close the next window and announce what comes of it, in one transaction."""
        self.day += 1
        watched = self.installation.model(MODEL)
        found = {"quality:weather": [self.finding(name, verdict) for name in self.names]}
        evidence = Evidence(model=MODEL, stage=Stage.INPUTS, window=self.window, spec=watched.spec)
        identity = Identity(model=MODEL, family="", judged={"stage": "inputs", "reference": self.reference})
        moved = move(found, self.alerts, identity, evidence, RULES, [], self.now)
        self.alerts = dict(moved.alerts)
        scene = Scene(
            model=MODEL, window=self.window, label=watched.spec.label(self.window), now=self.now, new_id=uuid.uuid4
        )
        told = notifications_for(moved.transitions, found, [], [], scene)
        decision = Decision(
            judgements={},
            memories={},
            alerts=list(moved.alerts.values()),
            transitions=moved.transitions,
            notifications=told,
        )
        with self.installation.engine.begin() as conn:
            ledger.materialise(conn, MODEL, "champion", "inputs", [self.window])
            run = ledger.claim(conn, "tester", now=self.now, lease=DAY)
            assert run is not None
            assert run.token is not None
            quiet = [
                Finding(
                    check="drift",
                    part=Part.INPUT,
                    subject="wind_speed",
                    statistic="location",
                    verdict=Verdict.WARNING,
                    severity=Severity.INFO,
                    effect=0.4,
                    message="wind_speed: calmer than in training",
                    minimum_detectable=0.12,
                )
            ]
            record.save_findings(conn, run, quiet, evaluated_at=self.now)
            ledger.finish(conn, run.run_id, run.token, rows_read=977, seconds=0.3)
            episode.save_alerts(conn, [*moved.alerts.values(), *moved.ended], at=self.now)
            announce(conn, self.installation, decision)

    def change_profile(self) -> None:
        """Put another training profile in force, with which the next window is judged."""
        self.reference = "second profile"
        self.judge(Verdict.WARNING)

    def silence(self) -> None:
        """Silence the model until soon, and be there when that ends."""
        until = self.now + 6 * HOUR
        with self.installation.engine.begin() as conn:
            matchers = {"model": [MODEL]}
            episode.add_silence(
                conn, matchers=matchers, starts_at=self.now, ends_at=until, author=self.said, reason=self.said
            )
        remind(self.installation, now=until - HOUR / 2)

    def advise(self) -> None:
        """Advise to retrain, tell it, and let somebody approve."""
        advice = Recommendation(
            id=uuid.uuid4(),
            model=MODEL,
            action=Action.RETRAIN,
            cause_key="outcome",
            why=f"Two evaluations failed; a model refitted on all rows would have lowered the loss. {self.said}",
            why_not=self.said,
            evidence=[{"windows": 28, "skill": -0.277, "skill_upper": -0.103, "skill_training": 0.0547}],
            opened_at=self.now,
            window_start=self.window.start,
            window_end=self.window.end,
            expected_benefit=24562.0,
            expected_cost=300.0,
            currency="USD",
        )
        scene = Scene(model=MODEL, window=self.window, label="", now=self.now, new_id=uuid.uuid4)
        told = notifications_for([], {}, [advice], [advice], scene)
        decision = Decision(judgements={}, memories={}, alerts=[], transitions=[], notifications=told)
        with self.installation.engine.begin() as conn:
            episode.save_recommendation(conn, advice)
            announce(conn, self.installation, decision)
            approval.decide(conn, self.installation, advice.id, RecommendationState.APPROVED, by="alice", at=self.now)

    def intervene(self) -> None:
        """Take the model out of service."""
        with self.installation.engine.begin() as conn:
            circuit = switchboard.hold_circuit(conn, MODEL)
            opened = circuit.opened(reason=self.said, actor="alice", now=self.now, fallback={"label": self.said})
            change_circuit(conn, self.installation, self.installation.model(MODEL), opened, now=self.now)

    def heard(self) -> dict[Reason, Notification]:
        """Return the first message of each reason, as the dispatcher reads it, and the one that doctor sends."""
        found = {Reason.TEST: trial_message(self.now)}
        with self.installation.engine.connect() as conn:
            for payload in conn.scalars(sa.text("SELECT payload FROM monitor.notification ORDER BY created_at DESC")):
                told = from_json(payload)
                found[told.reason] = told
        return found


def features(number: int) -> list[str]:
    """Names of that many columns."""
    usual = ["temp", "dewp", "humid", "pressure", "visib", "wind_gust", "precip"]
    return [*usual, *(f"sensor_{place}" for place in range(len(usual), number))][:number]


@contextmanager
def told(folder: Path, database: Database, names: Sequence[str], said: str) -> Iterator[Mapping[Reason, Notification]]:
    """Yield the messages of a story by their reasons."""
    (folder / "tokens").write_text(f"alice operator {TOKEN}\n")
    file = folder / "monitor.yaml"
    file.write_text(CONFIG.format(url=database.url))
    made = Installation(config=load_config(file, {}), url=database.url)
    facts: dict[str, Any] = {"config": {}, "config_hash": "", "code_version": "", "currency": "USD", "period": DAY}
    with made.engine.begin() as conn:
        store.register_model(conn, MODEL, lag=timedelta(0), **facts)
    story = Story(installation=made, names=names, said=said)
    story.tell()
    yield story.heard()
    made.close()
