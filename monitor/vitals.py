"""Vital signs of a serving process: measured, judged against its own recent normal, stored in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from monitor import episode, record, store
from monitor.announcement import announce
from monitor.check import Evidence, Finding, Stage, Verdict
from monitor.decision import Decision, State, decide
from monitor.evaluation import CHAMPION, current_reference, rules_of
from monitor.installation import CODE_VERSION, Installation, Monitored
from monitor.intervention import intervene
from monitor.ledger import Run
from monitor.process import ProcessGoneError, ProcessSample
from monitor.resources import Sampler
from monitor.silence import silence_of
from monitor.window import QUARTER_HOUR, Window, WindowSpec

KEPT_MEMORIES = 3  # one would do; the others are for a look at what went on
SPEC = WindowSpec(width=QUARTER_HOUR)  # threads of a process live for hours, not for weeks


@dataclass(kw_only=True)
class Vitals:
    """Measures one model's serving process again and again."""

    installation: Installation
    watched: Monitored
    sampler: Sampler

    @property
    def every(self) -> timedelta:
        """Time between two measurements."""
        serving = self.watched.section.serving
        assert serving is not None
        return serving.every

    def observe(self, now: datetime) -> Decision:
        """Take one measurement and store what follows from it; a process that is gone is a measurement too."""
        with self.installation.engine.begin() as conn:
            reference = current_reference(conn, self.installation, self.watched, at=now)
        version = None if reference is None else reference.version
        # outside of any transaction: a process on another machine may take its time to answer
        sample = self._sample(now, version)
        with self.installation.engine.begin() as conn:
            episode.hold(conn, self.watched.name, CHAMPION)
            run = self._run(now, version)
            evidence = Evidence(
                model=self.watched.name,
                stage=Stage.PROCESS,
                window=run.window,
                spec=SPEC,
                budget=self.watched.budget,
                memories=store.load_memories(
                    conn, model=self.watched.name, role=CHAMPION, part=Stage.PROCESS.value, before=now
                ),
                samples={self.sampler.name: sample},
            )
            state = State(
                alerts=tuple(episode.load_alerts(conn, self.watched.name, CHAMPION).values()),
                silences=tuple(silence_of(row) for row in episode.active_silences(conn, at=now)),
            )
            decision = decide(
                evidence,
                self.watched.checks,
                state,
                rules_of(self.installation, self.watched),
                now=now,
                new_id=uuid.uuid4,
                model_version=version or "",
            )
            self._save(conn, run, sample, decision, now=now)
            intervene(conn, self.installation, self.watched, before=state.alerts, changed=decision.alerts, now=now)
        return decision

    def _sample(self, now: datetime, version: str | None) -> ProcessSample | None:
        try:
            sample = self.sampler.sample(now)
        except ProcessGoneError:
            return None
        return ProcessSample(**{**asdict(sample), "model_version": version})

    def _run(self, now: datetime, version: str | None) -> Run:
        return Run(
            run_id=uuid.uuid4(),
            model=self.watched.name,
            role=CHAMPION,
            part=Stage.PROCESS.value,
            window=Window(start=now, end=now + self.every),
            revision=0,
            kind="scheduled",
            state="done",
            attempts=1,
            due_at=now,
            model_version=version,
            config_hash=self.watched.config_hash,
            code_version=CODE_VERSION,
        )

    def _save(
        self, conn: sa.Connection, run: Run, sample: ProcessSample | None, decision: Decision, *, now: datetime
    ) -> None:
        findings = decision.findings
        if sample is not None:
            store.save_resource_samples(conn, [self._row(sample, findings)])
        # a sample a second that says "ok" is in resource_history; findings are kept where they say something else
        telling = [one for one in findings if one.verdict in (Verdict.WARNING, Verdict.CRITICAL)]
        if decision.transitions:
            record.save_findings(conn, run, telling, evaluated_at=now)
        store.save_memories(conn, run, decision.memories, keep=KEPT_MEMORIES)
        episode.save_alerts(conn, decision.alerts, at=now)
        episode.add_alert_events(conn, decision.transitions, at=now, window_start=run.window.start)
        announce(conn, self.installation, decision)

    def _row(self, sample: ProcessSample, findings: list[Finding]) -> Mapping[str, Any]:
        figures: dict[str, Any] = {}
        for finding in findings:
            figures |= {name: value for name, value in finding.details.items() if name in FIGURES}
        left = figures.get("time_to_limit")
        baseline = figures.get("baseline_rss_bytes")
        return {
            **asdict(sample),
            "model": self.watched.name,
            "rss_ratio": figures.get("rss_ratio"),
            "leak_bytes_per_hour": figures.get("leak_bytes_per_hour"),
            "baseline_rss_bytes": None if baseline is None else round(baseline),
            "time_to_limit": None if left is None else timedelta(seconds=left),
        }


FIGURES = frozenset({"rss_ratio", "baseline_rss_bytes", "leak_bytes_per_hour", "time_to_limit"})


def vitals_of(installation: Installation) -> list[Vitals]:
    """Return one for every model whose serving process is configured."""
    found = []
    for watched in installation.models.values():
        serving = watched.section.serving
        if serving is not None and serving.process is not None and "resource" in watched.checks:
            sampler = Sampler(name=watched.name, where=serving.process)
            found.append(Vitals(installation=installation, watched=watched, sampler=sampler))
    return found
