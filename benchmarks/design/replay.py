"""Replay of a stream through exactly what the daemon decides with: one window after the other, state in memory."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from benchmarks.design.streams import Stream, reference_of, take
from monitor.alert import Alert, AlertState
from monitor.challenger import compare, matrix_of
from monitor.check import Budget, Check, Evidence, Finding, Stage, checks
from monitor.decision import Decision, Rules, State, decide
from monitor.notification import Notification
from monitor.outcome import OutcomeProfile, Task, outcomes_of
from monitor.profile import Profile, profiles_of
from monitor.proof import Proof, ProofRequest
from monitor.recommendation import Recommendation
from monitor.reference import Reference, with_score
from monitor.source import Reading
from monitor.window import Window

CHECKS = ("drift", "relations", "sudden", "quality", "performance")


@dataclass(kw_only=True)
class Replay:
    """What a replay left behind."""

    stream: Stream
    reference: Reference
    alerts: dict[str, Alert] = field(default_factory=dict)
    episodes: dict[tuple[str, int], Alert] = field(default_factory=dict)
    recommendations: dict[uuid.UUID, Recommendation] = field(default_factory=dict)
    notifications: list[Notification] = field(default_factory=list)
    findings: list[tuple[Stage, Window, Finding]] = field(default_factory=list)
    proofs: list[tuple[datetime, Proof]] = field(default_factory=list)
    seconds: float = 0.0
    runs: int = 0

    @property
    def loud(self) -> list[Notification]:
        """Messages that are no reply in a thread."""
        return [n for n in self.notifications if not n.in_thread]

    @property
    def replies(self) -> list[Notification]:
        """Replies: resolved, opened again, repeated."""
        return [n for n in self.notifications if n.in_thread]


@dataclass(kw_only=True)
class Replayer:
    """Runs one stream, or only some of its windows, against one reference."""

    stream: Stream
    reference: Reference
    with_challengers: bool = True
    keep_findings: bool = True
    proofs: dict[object, Proof] = field(default_factory=dict)
    """What was proven already: replays of one stream against other references ask the same."""
    inputs: list[Profile] = field(default_factory=list)
    outcomes: list[OutcomeProfile] = field(default_factory=list)
    """Profiles of the production windows, where they are not to be made from the stream's rows."""

    def __post_init__(self) -> None:
        stream, batch = self.stream, self.stream.batch
        production = np.arange(stream.trained, len(stream.windows))
        self.windows: Sequence[Window] = [stream.windows[i] for i in production]
        self.matrix = None
        if self.inputs:
            return
        later = stream.place >= stream.trained
        rows = take(batch, later)
        place = stream.place[later] - stream.trained
        self.inputs = profiles_of(self.reference.layout, with_score(rows), place, len(production))
        assert self.reference.outcome_layout is not None
        self.outcomes = outcomes_of(self.reference.outcome_layout, rows, place, len(production))

    def run(self, active: Mapping[str, Check] | None = None) -> Replay:
        """Return what came of the whole production."""
        stream = self.stream
        replay = Replay(stream=stream, reference=self.reference)
        active = (
            active if active is not None else {name: checks.build(name, {}) for name in CHECKS if name in checks.load()}
        )
        memories: dict[Stage, dict[str, object]] = {Stage.INPUTS: {}, Stage.OUTCOMES: {}}
        numbers = np.random.default_rng(0)
        began = time.perf_counter()

        def new_id() -> uuid.UUID:
            return uuid.UUID(bytes=numbers.bytes(16), version=4)

        jobs: list[tuple[int, Stage]] = []
        for i in range(len(self.windows) + stream.label_lag):
            if i < len(self.windows):
                jobs.append((i, Stage.INPUTS))
            if 0 <= i - stream.label_lag < len(self.windows):
                jobs.append((i - stream.label_lag, Stage.OUTCOMES))
        for i, stage in jobs:
            window = self.windows[i]
            lag = stream.label_lag * stream.spec.pace if stage is Stage.OUTCOMES else timedelta(0)
            evidence = Evidence(
                model=stream.name,
                stage=stage,
                window=window,
                spec=stream.spec,
                budget=Budget(decisions_per_month=stream.per_month),
                costs=stream.costs,
                upstreams=stream.upstreams,
                holidays=stream.holidays,
                maybe_reference=self.reference,
                maybe_current=self.inputs[i] if stage is Stage.INPUTS else None,
                maybe_outcome=self.outcomes[i] if stage is Stage.OUTCOMES else None,
                reading=Reading(rows=self.inputs[i].rows, labels=self.outcomes[i].labelled),
                memories=memories[stage],
                episodes=[e for alert in replay.episodes.values() if (e := alert.as_episode()) is not None],
                has_outcomes=True,
            )
            decision = decide(
                evidence,
                active,
                State(alerts=list(replay.alerts.values()), recommendations=list(replay.recommendations.values())),
                Rules(retraining_cost=stream.retraining_cost),
                now=window.end + timedelta(minutes=15) + lag,
                new_id=new_id,
                model_version="1",
                history=lambda since, until, i=i: [
                    (w, o)
                    for w, o in zip(self.windows[: i + 1], self.outcomes, strict=False)
                    if since <= w.start < until
                ],
                prove=lambda request: (
                    self._prove(request, replay) if self.with_challengers else Proof(reason="not tried")
                ),
            )
            memories[stage] = {**memories[stage], **decision.memories}
            self._keep(replay, decision, stage, window)
        replay.seconds = time.perf_counter() - began
        replay.runs = len(jobs)
        return replay

    def _keep(self, replay: Replay, decision: Decision, stage: Stage, window: Window) -> None:
        for alert in decision.alerts:
            if alert.state is not AlertState.SUPERSEDED:
                replay.alerts[alert.key] = alert
            replay.episodes[alert.key, alert.episode] = alert
        for recommendation in decision.recommendations:
            replay.recommendations[recommendation.id] = recommendation
        replay.notifications.extend(decision.notifications)
        if self.keep_findings:
            replay.findings.extend((stage, window, finding) for finding in decision.findings)

    def _prove(self, request: ProofRequest, replay: Replay) -> Proof:
        stream, batch = self.stream, self.stream.batch
        assert batch.label is not None
        assert batch.score is not None
        asked = (request.fit_until, request.windows, request.excluded)
        if asked in self.proofs:
            return self.proofs[asked]
        if self.matrix is None:
            self.matrix = matrix_of([batch])[0]
        known = np.isfinite(batch.label)

        def micros(moment: datetime) -> int:
            return round(moment.timestamp() * 1e6)

        broken = np.zeros(batch.rows, np.bool_)
        for window in request.excluded:
            broken |= (batch.time >= micros(window.start)) & (batch.time < micros(window.end))
        fit = known & (batch.time < micros(request.fit_until)) & ~broken
        wanted = np.zeros(batch.rows, np.bool_)
        for window in request.windows:
            wanted |= (batch.time >= micros(window.start)) & (batch.time < micros(window.end))
        wanted &= known
        outcome = self.reference.outcome_layout
        assert outcome is not None
        threshold = 0.5 if outcome.threshold is None else outcome.threshold
        gains = compare(
            stream.task,
            fit=self.matrix[fit],
            fit_label=batch.label[fit],
            recent=batch.time[fit] >= micros(request.recent_since),
            judged=self.matrix[wanted],
            label=batch.label[wanted],
            champion=batch.score[wanted],
            place=stream.place[wanted],
            cap=outcome.loss_cap,
            decision=batch.score[wanted] >= threshold if stream.task is Task.BINARY else None,
            costs=request.costs,
        )
        proof = self.proofs[asked] = Proof(gains=gains)
        replay.proofs.append((request.fit_until, proof))
        return proof


def replay(stream: Stream, **options: bool) -> Replay:
    """Return the replay of a stream against its own training profile."""
    return Replayer(stream=stream, reference=reference_of(stream), **options).run()
