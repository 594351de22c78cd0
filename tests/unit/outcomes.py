"""A made-up classifier's outcomes, day by day, and the running of decisions over them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np

from monitor.alert import Alert
from monitor.check import Check, Costs, Evidence, Judgement, Stage, checks
from monitor.decision import Decision, Rules, State, decide
from monitor.notification import Notification
from monitor.outcome import OutcomeProfile, Task, outcomes_of
from monitor.proof import Proof, ProofRequest
from monitor.recommendation import Recommendation
from monitor.reference import Reference, build_reference
from monitor.silence import Silence
from monitor.source import Batch, Floats, NumericValues
from monitor.window import CalendarUnit, Window, WindowSpec

SPEC = WindowSpec(calendar=CalendarUnit.DAY)
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
COSTS = Costs(currency="USD", false_positive=7, false_negative=13, fallback=3.0)
TRAINED = 56  # days
Change = Callable[[Floats, Floats, np.random.Generator], tuple[Floats, Floats]]


def window(day: int) -> Window:
    return Window(start=FIRST + timedelta(days=day), end=FIRST + timedelta(days=day + 1))


def day_rows(day: int, rows: int = 300, task: Task = Task.BINARY) -> tuple[Floats, Floats]:
    """Return honest scores and labels of a day; days differ a little, as days do."""
    rng = np.random.default_rng([7, day])
    if task is Task.REGRESSION:
        score = rng.normal(50, 10, rows)
        return score, score + rng.normal(0, 4, rows) + rng.normal(0, 0.5)
    logit = rng.normal(-1, 1.2, rows)
    score = 1 / (1 + np.exp(-logit))
    true = 1 / (1 + np.exp(-(logit + rng.normal(0, 0.1))))
    return score, (rng.random(rows) < true).astype(float)


def batch(days: Sequence[int], scores: Sequence[Floats], labels: Sequence[Floats]) -> Batch:
    time = np.concatenate(
        [
            int(window(day).start.timestamp()) * 1_000_000 + np.arange(len(score)) * 60_000_000
            for day, score in zip(days, scores, strict=True)
        ]
    )
    x = np.concatenate(list(scores))
    return Batch(
        rows=len(time),
        time=time,
        columns={"x": NumericValues(values=x, missing=np.zeros(len(x), np.bool_))},
        score=x,
        label=np.concatenate(list(labels)),
    )


@cache
def reference(task: Task = Task.BINARY) -> Reference:
    days = list(range(TRAINED))
    drawn = [day_rows(day, task=task) for day in days]
    return build_reference(
        batch(days, [s for s, _ in drawn], [y for _, y in drawn]),
        model="flights",
        version="1",
        task=task,
        spec=SPEC,
        created_at=window(TRAINED).start,
        held_out_from=window(20).start,
        threshold=0.35 if task is Task.BINARY else None,
    )


def outcome(day: int, change: Change | None = None, rows: int = 300, task: Task = Task.BINARY) -> OutcomeProfile:
    """Return a production day's matured outcomes, changed or not."""
    score, label = day_rows(day, rows, task)
    if change is not None:
        score, label = change(score, label, np.random.default_rng([8, day]))
    layout = reference(task).outcome_layout
    assert layout is not None
    return outcomes_of(layout, batch([day], [score], [label]), np.zeros(len(score), np.int64), 1)[0]


def evidence(day: int, found: OutcomeProfile | None, memories: Mapping[str, Any], **changes: Any) -> Evidence:
    facts: dict[str, Any] = {
        "model": "flights",
        "stage": Stage.OUTCOMES,
        "window": window(day),
        "spec": SPEC,
        "costs": COSTS,
        "maybe_reference": reference(),
        "maybe_outcome": found,
        "memories": memories,
        "has_outcomes": True,
    }
    return Evidence(**(facts | changes))


def judge(changes: Sequence[Change | None], task: Task = Task.BINARY, **facts: Any) -> list[Judgement]:
    """Return the performance check's judgements of successive days after training."""
    check: Check = checks.build("performance", {})
    memory: dict[str, Any] = {}
    found = []
    for i, change in enumerate(changes):
        day = TRAINED + i
        costs = COSTS if task is Task.BINARY else Costs(under=2, over=1)
        known = evidence(
            day, outcome(day, change, task=task), memory, maybe_reference=reference(task), costs=costs, **facts
        )
        judgement = check.run(known)
        memory = {"performance": judgement.memory}
        found.append(judgement)
    return found


def late(share: float) -> Change:
    """Return a change that switches on a share of the negative labels: more comes true than was said."""

    def change(score: Floats, label: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        return score, np.where(rng.random(len(label)) < share, 1.0, label)

    return change


def unlabelled(score: Floats, label: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Take nearly all labels away."""
    return score, np.where(np.arange(len(label)) < 5, label, np.nan)


def shuffled(score: Floats, label: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Make scores tell nothing about labels, of which there are as many as before."""
    return score, rng.permutation(label)


@dataclass(kw_only=True)
class Daemon:
    """Decides day after day and keeps what a store would keep."""

    active: Mapping[str, Check]
    rules: Rules = field(default_factory=Rules)
    prove: Callable[[ProofRequest], Proof] | None = None
    alerts: dict[str, Alert] = field(default_factory=dict)
    recommendations: dict[uuid.UUID, Recommendation] = field(default_factory=dict)
    notifications: list[Notification] = field(default_factory=list)
    memories: dict[Stage, dict[str, Any]] = field(default_factory=dict)
    outcomes: list[tuple[Window, OutcomeProfile]] = field(default_factory=list)
    silences: tuple[Silence, ...] = ()
    forgets: bool = False
    """Whether outcomes older than what is evaluated are gone."""
    day: int = TRAINED
    ids: int = 0

    def new_id(self) -> uuid.UUID:
        self.ids += 1
        return uuid.UUID(int=self.ids)

    def history(self, since: datetime, until: datetime) -> list[tuple[Window, OutcomeProfile]]:
        first = window(self.day - 28).start if self.forgets else FIRST
        return [(w, o) for w, o in self.outcomes if max(since, first) <= w.start < until]

    def outcome_day(self, change: Change | None = None) -> Decision:
        """Decide on a day's matured outcomes, and go on to the next day."""
        found = outcome(self.day, change)
        self.outcomes.append((window(self.day), found))
        decision = self.decide(Stage.OUTCOMES, found)
        self.day += 1
        return decision

    def decide(self, stage: Stage, found: OutcomeProfile | None = None) -> Decision:
        known = evidence(self.day, found, self.memories.get(stage, {}), stage=stage)
        decision = decide(
            known,
            self.active,
            State(
                alerts=tuple(self.alerts.values()),
                recommendations=tuple(self.recommendations.values()),
                silences=self.silences,
            ),
            self.rules,
            now=window(self.day).end + timedelta(hours=1),
            new_id=self.new_id,
            history=self.history,
            prove=self.prove,
        )
        self.memories[stage] = dict(decision.memories)
        self.alerts |= {a.key: a for a in sorted(decision.alerts, key=lambda a: a.episode)}
        self.recommendations |= {r.id: r for r in decision.recommendations}
        self.notifications.extend(decision.notifications)
        return decision
