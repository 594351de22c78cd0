"""The review of a period: what the digest says, gathered from the history and put into the outbox once."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from monitor import episode, history, outbox
from monitor.announcement import complete
from monitor.check import Finding, Part, Severity, Verdict
from monitor.digest import Flagged, digest
from monitor.installation import Installation, Monitored
from monitor.reference import ENOUGH_WINDOWS
from monitor.routing import Scene
from monitor.silence import silence_of
from monitor.window import CalendarUnit, Window, WindowSpec

NAMESPACE = uuid.UUID("5d1f6a52-59f4-4b0e-9b8a-1f6f0d0f4c11")  # of digest ids: the same period gives the same id
DETECTABLE = 5  # subjects whose smallest visible shift is named


def last_period(every: CalendarUnit, timezone: str, now: datetime) -> Window:
    """Return the newest complete day, week or month before ``now`` in a time zone."""
    spec = WindowSpec(calendar=every, timezone=timezone)
    return spec.containing(spec.containing(now).start - timedelta(seconds=1))


def review(installation: Installation, watched: Monitored, *, now: datetime) -> bool:
    """Put the digest of the last complete period into the outbox; returns whether it was new.

    A period without a single evaluated window has no digest, and none is told before all its windows are evaluated.
    Any replica may ask at any time: a period is told once.
    """
    wanted = installation.config.alerts.digest
    if wanted is None:
        return False
    period = last_period(CalendarUnit(wanted.every), watched.spec.timezone, now)
    if now < period.end + watched.section.lag:
        return False
    identity = uuid.uuid5(NAMESPACE, f"{watched.name} {period.start.isoformat()} {wanted.every}")
    with installation.engine.begin() as conn:
        if outbox.knows(conn, identity):
            return False
        runs = history.rows_of(conn, "run_history", model=watched.name, since=period.start, until=period.end)
        done = [run for run in runs if run["state"] == "done"]
        if not done or any(run["state"] in ("planned", "running") for run in runs):
            return False
        findings = history.rows_of(conn, "finding_history", model=watched.name, since=period.start, until=period.end)
        flagged = [
            Flagged(window_label=watched.spec.label(_window(row)), finding=finding_of(row))
            for row in findings
            if row["verdict"] in ("warning", "critical") and row["severity"] == "info" and row["part"] == "input"
        ]
        silences = [silence_of(row) for row in episode.active_silences(conn, at=now)]
        told = digest(
            scene=Scene(
                model=watched.name,
                window=period,
                label=_label(period, watched),
                now=now,
                new_id=lambda: identity,
            ),
            windows=len(done),
            flagged=flagged,
            alerts=episode.load_episodes(conn, watched.name, since=period.start),
            recommendations=episode.open_recommendations(conn, watched.name),
            detectable=detectable(findings),
            silences=[one.sentence for one in silences if one.concerns(watched.name)],
            notes=notes(conn, watched, runs),
        )
        return outbox.put(conn, complete(installation, told), list(wanted.to)) > 0


def detectable(rows: list[dict[str, Any]]) -> Mapping[str, str]:
    """Return the smallest shift that a window would have shown, for the subjects that see least."""
    seen: dict[str, float] = {}
    for row in rows:
        smallest = row["minimum_detectable"]
        if smallest is not None and row["part"] in ("outcome", "prediction", "input"):
            seen[row["subject"]] = max(seen.get(row["subject"], 0.0), float(smallest))
    worst = sorted(seen.items(), key=lambda item: -item[1])[:DETECTABLE]
    return {subject: f"{size:.2g}" for subject, size in worst}


def notes(conn: sa.Connection, watched: Monitored, runs: list[dict[str, Any]]) -> list[str]:
    """Return what a reader must know to believe the digest: windows that could not be judged, thin training."""
    said = []
    missing = [run for run in runs if run["state"] in ("dead", "skipped")]
    if missing:
        said.append(f"{len(missing)} windows were not evaluated; `monitor history {watched.name}` says why.")
    references = history.rows_of(conn, "reference_history", model=watched.name, limit=1)
    if references and references[0]["calibrating"]:
        said.append(f"Training has fewer than {ENOUGH_WINDOWS} windows, so thresholds are provisional.")
    elif references and references[0]["time_from"] is not None:
        span = references[0]["time_to"] - references[0]["time_from"]
        if span < timedelta(days=360):
            said.append(f"Training covers {span.days / 30.4:.1f} of 12 months, so seasons it has not seen look new.")
    return said


def finding_of(row: Mapping[str, Any]) -> Finding:
    """Return what the digest needs of a stored finding."""
    return Finding(
        check=row["check_name"],
        part=Part(row["part"]),
        subject=row["subject"],
        statistic=row["statistic"],
        verdict=Verdict(row["verdict"]),
        severity=Severity(row["severity"]),
        message=row["message"] or "",
        value=row["value"],
        effect=row["effect"],
        materiality=row["materiality"],
        threshold=row["threshold"],
        impact=row["impact"],
        n_current=row["n_current"],
        minimum_detectable=row["minimum_detectable"],
    )


def _window(row: Mapping[str, Any]) -> Window:
    return Window(start=row["window_start"], end=row["window_end"])


def _label(period: Window, watched: Monitored) -> str:
    zone = watched.spec.zone
    first, last = period.start.astimezone(zone), (period.end - timedelta(seconds=1)).astimezone(zone)
    return f"{first:%d %b}" + ("" if first.date() == last.date() else f" to {last:%d %b %Y}")
