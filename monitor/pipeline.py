"""The pipeline itself: that windows cannot be evaluated is told once, like everything else that is wrong.

Nobody may take silence for health. The state is an alert like any other, stepped by attempts instead of windows.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import sqlalchemy as sa

from monitor import episode
from monitor.alert import Alert, AlertRules, AlertState, Identity
from monitor.announcement import announce
from monitor.check import Finding, Part, Severity, Verdict
from monitor.decision import Decision
from monitor.evaluation import CHAMPION
from monitor.installation import Installation, Monitored
from monitor.ledger import Run
from monitor.machine import step
from monitor.notification import Notification, Reason
from monitor.routing import Scene, notifications_for
from monitor.silence import silence_of

FAMILY = "pipeline:evaluation"
ATTEMPTS = 5  # in a row that fail, a minute apart, before people hear of it
ASKED_FOR = ("manual", "backfill")  # kinds of runs whose failure the person sees who asked


def is_troubled(alerts: Sequence[Alert]) -> bool:
    """Return whether attempts at a model's windows failed of late."""
    return any(a.family == FAMILY and (a.is_open or a.state is AlertState.PENDING) for a in alerts)


def observe(
    conn: sa.Connection,
    installation: Installation,
    watched: Monitored,
    run: Run,
    *,
    problem: str | None,
    dead: bool = False,
    now: datetime,
) -> bool:
    """Step the alert of a model's evaluation after one attempt, in the caller's transaction; returns whether it tells.

    ``problem`` says why the run failed, None that it was done; a ``dead`` run is never tried again by itself, so it
    is told at once.
    """
    if run.kind in ASKED_FOR:
        return False
    identity = Identity(model=watched.name, family=FAMILY, role=CHAMPION)
    episode.hold(conn, watched.name, CHAMPION)
    before = episode.newest_alert(conn, identity.key)
    finding = finding_of(run, problem, dead=dead)
    alerts = installation.config.alerts
    done = step(
        before,
        [finding],
        AlertRules(k=ATTEMPTS, n=ATTEMPTS, recover=1, repeat=dict(alerts.repeat)),
        identity=identity,
        window=run.window,
        pace=watched.spec.pace,
        now=now,
        silences=[silence_of(row) for row in episode.active_silences(conn, at=now)],
    )
    if done.alert is None or done.alert == before:
        return False
    scene = Scene(
        model=watched.name, window=run.window, label=watched.spec.label(run.window), now=now, new_id=uuid.uuid4
    )
    told = [_worded(one, dead) for one in notifications_for(done.transitions, {FAMILY: [finding]}, [], [], scene)]
    stale = stale_alerts(conn, watched, run) if done.alert.is_open and problem is not None else []
    decision = Decision(
        judgements={}, memories={}, alerts=[done.alert, *stale], transitions=done.transitions, notifications=told
    )
    episode.save_alerts(conn, decision.alerts, at=now)
    episode.add_alert_events(conn, decision.transitions, at=now, window_start=run.window.start, revision=run.revision)
    return announce(conn, installation, decision, revision=run.revision) > 0


def stale_alerts(conn: sa.Connection, watched: Monitored, run: Run) -> list[Alert]:
    """Return the open alerts that a run would have moved, marked as stale: they stay what they are until it is done."""
    return [
        replace(alert, stale_since=run.window.start)
        for alert in episode.load_alerts(conn, watched.name, CHAMPION).values()
        if alert.is_open and alert.stale_since is None and alert.memory.get("judged", {}).get("stage") == run.part
    ]


def finding_of(run: Run, problem: str | None, *, dead: bool) -> Finding:
    """Return what one attempt at a run says about the pipeline."""
    head = Finding(
        check="pipeline",
        part=Part.PIPELINE,
        subject=run.part,
        statistic="evaluation",
        verdict=Verdict.OK,
        severity=Severity.WARNING,
        family=FAMILY,
    )
    if problem is None:
        return head
    what = "a window was given up after several attempts" if dead else "windows wait, because they cannot be evaluated"
    return replace(head, verdict=Verdict.CRITICAL if dead else Verdict.WARNING, message=f"{what}: {problem}")


def _worded(told: Notification, dead: bool) -> Notification:
    if told.reason is Reason.RESOLVED:
        return replace(told, summary="Windows are evaluated again, those that waited in their order.", facts=())
    again = "No window is lost: they are evaluated as soon as this works. `monitor doctor` looks for what is wrong."
    if dead and told.window_start is not None:
        start = f"{told.window_start.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
        again = f"Once the cause is gone, `monitor check {told.model} --start {start}` evaluates it."
    return replace(told, facts=(), next_step=again)
