"""One alert that is shown windows day by day, of which some are judged again later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.alert import Alert, AlertRules, Identity, Transition
from monitor.check import Cause, Finding, Part, Severity, Verdict
from monitor.machine import replay, step
from monitor.notification import Reason
from monitor.silence import Silence
from monitor.track import Judged, Tracks
from monitor.window import DAY, Window

FIRST = datetime(2013, 3, 1, tzinfo=UTC)
MARKS = {".": Verdict.OK, "w": Verdict.WARNING, "c": Verdict.CRITICAL, "?": Verdict.INCONCLUSIVE}
EVERYTHING = Silence(matchers={"model": ("flights",)}, ends_at=FIRST, author="ada", reason="the source moves")


def window(day: int) -> Window:
    return Window(start=FIRST + day * DAY, end=FIRST + (day + 1) * DAY)


def finding(verdict: Verdict, **changes: Any) -> Finding:
    facts: dict[str, Any] = {
        "check": "performance",
        "part": Part.OUTCOME,
        "subject": "outcome",
        "statistic": "residual",
        "verdict": verdict,
        "family": "outcome",
        "severity": Severity.WARNING,
        "effect": 0.2,
        "materiality": 0.03,
        "direction": 1,
        "message": "54 % came true, 23 % were expected",
        "cause": Cause.CONCEPT,
    }
    return Finding(**(facts | changes))


class Machine:
    """One alert, what is remembered after each of its windows, and what people heard."""

    def __init__(self, family: str = "outcome", rules: AlertRules | None = None, **judged: str) -> None:
        self.identity = Identity(model="flights", family=family, judged=judged)
        self.rules = rules or AlertRules(repeat={})
        self.alert: Alert | None = None
        self.history: list[tuple[int, Transition]] = []
        self.ended: list[Alert] = []
        self.windows: list[list[Finding]] = []
        self.memories: list[Tracks] = []
        self.silenced = False
        self.pace = DAY

    @property
    def day(self) -> int:
        return len(self.windows)

    @property
    def now(self) -> datetime:
        return window(self.day).end

    def see(self, *findings: Finding, inhibited_by: str | None = None) -> list[Transition]:
        """Show the next window."""
        done = step(
            self.alert,
            findings,
            self.rules,
            identity=self.identity,
            window=window(self.day),
            pace=self.pace,
            now=self.now,
            inhibited_by=inhibited_by,
            silences=[EVERYTHING] if self.silenced else [],
        )
        self._keep(done.alert, done.ended, done.transitions)
        self.windows.append(list(findings))
        self.memories.append({} if self.alert is None else {n: dict(t) for n, t in self.alert.tracks.items()})
        return list(done.transitions)

    def see_all(self, marks: str, **changes: Any) -> None:
        for mark in marks:
            self.see(finding(MARKS[mark], **changes))

    def revise(self, day: int, *findings: Finding, inhibited_by: str | None = None) -> list[Transition]:
        """Judge an earlier window again."""
        self.windows[day] = list(findings)
        done, walk = replay(
            self.alert,
            self.memories[day - 1] if day else {},
            [Judged(window=window(i), findings=self.windows[i]) for i in range(day, self.day)],
            self.rules,
            identity=self.identity,
            pace=self.pace,
            now=window(self.day - 1).end + timedelta(hours=6),
            inhibited_by=inhibited_by,
            silences=[EVERYTHING] if self.silenced else [],
        )
        self.memories[day:] = walk.after
        self._keep(done.alert, done.ended, done.transitions)
        return list(done.transitions)

    def revise_to(self, marks: str, **changes: Any) -> list[Transition]:
        """Judge the windows again, one after the other, whose mark differs from what they are."""
        changed: list[Transition] = []
        for day, mark in enumerate(marks):
            if [one.verdict for one in self.windows[day]] != [MARKS[mark]]:
                changed += self.revise(day, finding(MARKS[mark], **changes))
        return changed

    def acknowledge(self, days: float = 3.0) -> None:
        """Take the alert on, as a person does."""
        from dataclasses import replace

        assert self.alert is not None
        until = self.now + timedelta(days=days)
        self.alert = replace(self.alert, acknowledged_by="ada", acknowledged_at=self.now, acknowledged_until=until)

    def _keep(self, alert: Alert | None, ended: Alert | None, transitions: Any) -> None:
        self.alert = alert
        if ended is not None:
            self.ended.append(ended)
        self.history += [(self.day, transition) for transition in transitions]

    @property
    def state(self) -> str | None:
        return None if self.alert is None else self.alert.state.value

    @property
    def told(self) -> list[tuple[int, Reason, bool]]:
        return [(day, t.tell, t.in_thread) for day, t in self.history if t.tell is not None]

    @property
    def reasons(self) -> list[Reason]:
        return [reason for _, reason, _ in self.told]

    @property
    def messages(self) -> list[int]:
        return [day for day, _, in_thread in self.told if not in_thread]
