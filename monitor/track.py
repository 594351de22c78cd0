"""Tracks: what each subject of an alert has gone through, window by window, as JSON values.

An alert is open while any of its tracks is. A track is a function of the findings alone, in the order of their windows:
whoever is told of it, and when, changes nothing. So a window that is judged again can be walked through anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from monitor.alert import HARM, RANK, AlertRules
from monitor.check import Finding, Severity, ThresholdSource, Verdict
from monitor.window import Window

RESOLVES_AT = 0.9
"""Share of a plain threshold below which an open track counts a window as good: nothing swings around one value."""
VERDICTS = 20
"""Windows over which flapping is judged, as Nagios does."""
FLAPS, CALM = 0.5, 0.25
"""Weighted shares of changed verdicts above which an alert flaps, and below which it is calm again."""
BAD, GOOD = "b", "g"

Tracks = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One window that was judged: its findings of one family, and the training profile that it was judged with."""

    window: Window
    findings: Sequence[Finding]
    reference: str = ""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Where tracks stand after some windows.

    ``opened`` names those that opened on the way and are open; ``spans`` are the starts of the windows between which
    the alert was open on the way and is not any more; ``after`` are the tracks after each window; ``bad`` is the newest
    window with something bad in it.
    """

    tracks: Tracks
    opened: tuple[str, ...] = ()
    spans: tuple[tuple[datetime, datetime], ...] = ()
    after: tuple[Tracks, ...] = ()
    bad: Judged | None = None


def move(
    tracks: Mapping[str, Mapping[str, Any]], findings: Sequence[Finding], rules: AlertRules, window: Window
) -> tuple[Tracks, list[str]]:
    """Return the tracks after this window without the clean ones, and the names of those that opened.

    Findings of one check and subject are a track. An ordinary one opens by k bad windows of the last n conclusive ones,
    or one critical window, and closes after ``recover`` good ones in a row; a latched one does what its findings say.
    An inconclusive finding moves nothing.
    """
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.verdict is not Verdict.INCONCLUSIVE:
            name = f"{finding.check}:{finding.subject}" + (":slow" if finding.latched else "")
            groups.setdefault(name, []).append(finding)
    moved = {name: dict(track) for name, track in tracks.items()}
    opened: list[str] = []
    for name, group in sorted(groups.items()):
        worst = max(group, key=lambda f: (HARM[f.verdict], RANK[f.severity], abs(f.effect or 0.0), f.statistic))
        bad = HARM[worst.verdict] > 0
        track = moved.setdefault(
            name,
            {"open": None, "latched": worst.latched, "history": [], "clean": 0, "severity": "info", "direction": 0},
        )
        track["history"] = [*track["history"], int(bad)][-rules.n :]
        if track["open"]:
            track["clean"] = 0 if bad or any(map(lingers, group)) else track["clean"] + 1
            if track["clean"] >= (1 if track["latched"] else rules.recover):
                track |= {"open": None, "history": [], "clean": 0}
        elif bad and (track["latched"] or worst.verdict is Verdict.CRITICAL or sum(track["history"]) >= rules.k):
            track |= {"open": window.start.isoformat(), "clean": 0, "severity": "info", "direction": worst.direction}
            opened.append(name)
        if bad and RANK[worst.severity] > RANK[Severity(track["severity"])]:
            track["severity"] = worst.severity.value
        if not track["open"] and not any(track["history"]):
            del moved[name]
    return moved, opened


def lingers(finding: Finding) -> bool:
    """Return whether a good finding is too close to its plain threshold to count towards recovery.

    A value on the good side is within a tenth of the threshold, whichever side that is. Thresholds from the budget are
    left out: they move with the window, and what recovers there is the slow path's own.
    """
    value, threshold = finding.value, finding.threshold
    plain = finding.threshold_source in (ThresholdSource.CONFIGURED, ThresholdSource.DEFAULT)
    if finding.verdict is not Verdict.OK or finding.latched or not plain or value is None or threshold is None:
        return False
    size, limit = abs(value), abs(threshold)
    return RESOLVES_AT * limit < size <= limit or limit < size < limit / RESOLVES_AT


def walk(
    tracks: Mapping[str, Mapping[str, Any]],
    windows: Sequence[Judged],
    rules: AlertRules,
    *,
    reference: str = "",
    standing: Mapping[str, Mapping[str, Any]] | None = None,
) -> Walk:
    """Return where tracks stand after windows, in order, beginning from what they were before the first of them.

    ``standing`` are the tracks as they are stored now. What stands open is opened in the walk no later than in its own
    window: a revision resolves nothing by itself, good windows do, and the first of them may be the one that opened it.
    Under another training profile than that of the window before, ``reference`` at first, everything begins anew.
    """
    now: Tracks = {name: dict(track) for name, track in tracks.items()}
    owed = {name: track for name, track in (standing or {}).items() if track["open"]}
    opened: set[str] = set()
    spans: list[tuple[datetime, datetime]] = []
    after: list[Tracks] = []
    bad: Judged | None = None
    since: datetime | None = None
    for judged in windows:
        start = judged.window.start
        if judged.reference and reference and judged.reference != reference:
            now, since = {}, None
        reference = judged.reference or reference
        for name in [name for name, track in owed.items() if datetime.fromisoformat(track["open"]) <= start]:
            track = owed.pop(name)
            if not now.get(name, {}).get("open"):
                now[name] = {**track, "history": now.get(name, {}).get("history", []), "clean": 0}
        now, fresh = move(now, judged.findings, rules, judged.window)
        opened.update(fresh)
        if any(HARM[finding.verdict] > 0 for finding in judged.findings):
            bad = judged
        is_open = any(track["open"] for track in now.values())
        if is_open and since is None:
            since = min(datetime.fromisoformat(track["open"]) for track in now.values() if track["open"])
        elif not is_open and since is not None:
            spans.append((since, start))
            since = None
        after.append(now)
    return Walk(
        tracks=now,
        opened=tuple(sorted(name for name in opened if now.get(name, {}).get("open"))),
        spans=tuple(spans),
        after=tuple(after),
        bad=bad,
    )


def opened_at(tracks: Mapping[str, Mapping[str, Any]]) -> datetime | None:
    """Return the start of the window in which the first of the open tracks opened; None while none is open."""
    return min((datetime.fromisoformat(t["open"]) for t in tracks.values() if t["open"]), default=None)


def turbulence(verdicts: str) -> float:
    """Return the share of changes among the last 20 verdicts; the newest weighs half as much again as the oldest.

    ``verdicts`` are ``b`` and ``g``, the newest last; what is missing counts as no change.

    >>> turbulence("g" * 20), turbulence("bg" * 10), round(turbulence("bgbgbgbgbg"), 2)
    (0.0, 1.0, 0.53)
    """
    recent = verdicts[-VERDICTS:]
    weights = [2 * (VERDICTS - 2) + i for i in range(VERDICTS - 1)]  # 36 … 54 for twenty, as .8 … 1.2
    changed = [one != other for one, other in pairwise(recent)]
    return sum(w for w, c in zip(reversed(weights), reversed(changed), strict=False) if c) / sum(weights)


def flaps(verdicts: str, before: bool) -> bool:
    """Return whether an alert flaps: it begins above one half and ends below a quarter."""
    ratio = turbulence(verdicts)
    return ratio > FLAPS or (before and ratio >= CALM)
