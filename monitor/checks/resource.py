"""Resources of the serving process against its own recent normal: twice the memory, a leak, a restart loop, gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

import numpy as np

from monitor.check import (
    Cause,
    Evidence,
    Finding,
    Judgement,
    Part,
    ReferenceKind,
    Severity,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)
from monitor.process import ProcessSample, Start, same_start
from monitor.stats.level import Climb, climb, thin, usual

SUSTAINED = 3  # samples in a row: one or two may be a garbage collection
BLOCK = 10  # samples in a block, the unit of what is learned: ten minutes at the default pace
FEWEST_BLOCKS = 3  # of normal before anything is compared
LEVELS = 96  # entries in which the recent normal is remembered
RECENT = timedelta(days=7)  # how far back "recent" reaches, and how long an alert keeps what it was opened against
BOUTS = 3  # times that memory was high and came down again by itself, after which such a height is ordinary
ABOVE_BOUTS = 1.25  # what must be exceeded then
SCALES, FANOUT, POINTS = 4, 4, 36  # floors of 1, 4, 16 and 64 blocks, the newest 36 of each
CLOSES = 0.75  # of what opened an alert; below it is over
CLIMB_Z = 4.0
STEADY = 0.8  # a cache that fills up climbs less and less
NOTICEABLE = 0.1  # climb, as a share of the usual, from which nothing is learned any more
STEEP = 0.05  # rise from one block to the next
ABSENT = 3  # measurements in a row without a process
SOON = timedelta(hours=24)  # a limit reached within this time is critical

State = dict[str, Any]


@register("resource")
@dataclass(frozen=True, kw_only=True)
class Resource:
    """Judge the newest sample of each serving process against its own recent normal.

    ``ratio`` is the multiple of the usual memory that is an alert; ``leak`` the share of the usual by which the floor
    of memory must have climbed when its limit would be reached within a day, twice that otherwise; ``restarts`` the
    number within ``restart_window_minutes`` that is a loop; ``gone_after_seconds`` how long a process may be away.

    The usual is the median of the last seven days, for a process and model version. What is measured while an alert is
    open or memory climbs is not learned, so a fault never becomes the normal it is judged by; a week of it does.
    Heights that have come and gone by themselves three times in a week, such as busy hours, are ordinary. The first
    ten samples after a start are loading and say nothing. Not good for a series that is mostly zero, nor for single
    spikes.
    """

    ratio: float = 2.0
    leak: float = 0.25
    restarts: int = 3
    restart_window_minutes: float = 60.0
    gone_after_seconds: float = 60.0

    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.PROCESS})

    def run(self, evidence: Evidence) -> Judgement:
        """Return findings per process; the memory is some kilobytes, however long the history."""
        memory: dict[str, Any] = dict(evidence.memories.get("resource") or {})
        findings: list[Finding] = []
        for name, sample in sorted(evidence.samples.items()):
            state = _advance(dict(memory.get(name) or {}), sample, evidence.window.start)
            findings += self._judge(name, sample, state, evidence.window.start)
            memory[name] = state
        return Judgement(findings=findings, memory=memory)

    def _judge(self, name: str, sample: ProcessSample | None, state: State, now: datetime) -> Iterator[Finding]:
        yield self._gone(name, state, now)
        if sample is None:
            return
        if sample.rss_bytes is not None:
            yield from self._memory(name, sample, state)
        yield self._restarts(name, state, now)

    def _gone(self, name: str, state: State, now: datetime) -> Finding:
        away = 0.0 if state["absent_since"] is None else now.timestamp() - state["absent_since"]
        gone = state["missed"] >= ABSENT and away >= self.gone_after_seconds
        return _finding(
            name,
            "missing",
            Verdict.CRITICAL if gone else Verdict.OK,
            f"{name} is gone: no serving process could be measured for {_time(timedelta(seconds=away))}.",
            value=away,
            threshold=self.gone_after_seconds,
            open_=gone,
        )

    def _memory(self, name: str, sample: ProcessSample, state: State) -> Iterator[Finding]:
        known = sum(weight for _, _, weight in state["levels"])
        normal = _usual(state)
        if known < FEWEST_BLOCKS or not normal > 0:
            need = (FEWEST_BLOCKS + 1) * BLOCK
            text = (
                f"{name}: the usual memory is known {need} samples after the start, {int(known) * BLOCK} tell so far."
            )
            state["high_since"], state["leaking"] = None, False
            for statistic in ("rss_ratio", "leak"):
                yield _finding(name, statistic, Verdict.INCONCLUSIVE, text)
            return
        yield self._high(name, sample, state, normal)
        yield self._leak(name, sample, state, normal)

    def _high(self, name: str, sample: ProcessSample, state: State, normal: float) -> Finding:
        recent: Sequence[float] = state["recent"]
        at, since = sample.sampled_at.timestamp(), state["high_since"]
        bouts = sorted(peak for _, peak in state["bouts"])
        limit = max(self.ratio * normal, ABOVE_BOUTS * bouts[-BOUTS] if len(bouts) >= BOUTS else 0.0)
        level = float(np.median(recent))
        if since is None:
            is_high = len(recent) >= SUSTAINED and min(recent) >= limit
        else:  # what opened at the limit closes only well below it, or memory at the threshold would flap
            is_high = max(recent) >= CLOSES * state["opened_limit"]
        if is_high:
            peak = max(state["peak"] or 0.0, min(recent))
            state |= {
                "high_since": since or at,
                "peak": peak,
                "opened_limit": state["opened_limit"] if since else limit,
            }
        elif since is not None:
            # no peak: it came down by a restart, which makes nothing ordinary
            ended = [] if state["peak"] is None else [[at, state["peak"]]]
            state |= {"high_since": None, "peak": None, "bouts": [*state["bouts"], *ended]}
        return _finding(
            name,
            "rss_ratio",
            Verdict.CRITICAL if is_high else Verdict.OK,
            f"{name} uses {_bytes(level)}, {level / normal:.1f} times its usual {_bytes(normal)}.",
            value=level / normal,
            reference=1.0,
            effect=level / normal,
            threshold=limit / normal,
            open_=is_high,
            details={"rss_ratio": level / normal, "baseline_rss_bytes": normal},
        )

    def _leak(self, name: str, sample: ProcessSample, state: State, normal: float) -> Finding:
        trend, level = _steepest(state), float(np.median(state["recent"]))
        pace = trend.slope * trend.steadiness  # of the later half: the earlier one may reach back into health
        grown, limit = trend.rise / normal, sample.memory_limit_bytes
        left = None
        if limit is not None and pace > 0:
            left = timedelta(seconds=min(max(0.0, (limit - level) / pace), 10 * 365 * 86400))
        soon = left is not None and left < SOON
        # below what is usual it only fills up again what it had before its last start
        begins = grown >= self.leak * (1 if soon else 2) and level >= normal * (1 + NOTICEABLE)
        is_leak = begins or (state["leaking"] and grown >= self.leak / 2)
        state["leaking"] = is_leak
        when = f"; at this rate its limit of {_bytes(float(limit or 0))} is reached in {_time(left)}" if left else ""
        return _finding(
            name,
            "leak",
            Verdict.CRITICAL if is_leak and soon else Verdict.WARNING if is_leak else Verdict.OK,
            f"{name} leaks memory: its floor climbs by {_bytes(pace * 3600)} an hour, {grown:+.0%} yet{when}.",
            value=pace * 3600,
            reference=normal,
            effect=grown,
            threshold=self.leak * (1 if soon else 2),
            open_=is_leak,
            details={
                "leak_bytes_per_hour": pace * 3600 if is_leak else None,
                "time_to_limit": left.total_seconds() if is_leak and left is not None else None,
            },
        )

    def _restarts(self, name: str, state: State, now: datetime) -> Finding:
        since = now.timestamp() - self.restart_window_minutes * 60
        state["restarted"] = [at for at in state["restarted"] if at >= since][-100:]
        count = len(state["restarted"])
        looping = count >= self.restarts
        return _finding(
            name,
            "restarts",
            Verdict.CRITICAL if looping else Verdict.OK,
            f"{name} restarted {count} times within {self.restart_window_minutes:.0f} minutes.",
            value=float(count),
            threshold=float(self.restarts),
            open_=looping,
        )


#: What a start of the process makes anew.
START: Mapping[str, Any] = {
    "recent": [],
    "current": [],
    "floors": [[] for _ in range(SCALES)],
    "blocks": 0,
    "last": 0.0,
    "climb": None,
    "leaking": False,
    "peak": None,
}
FRESH: Mapping[str, Any] = {
    **START,
    "missed": 0,
    "absent_since": None,
    "born": None,
    "version": None,
    "restarted": [],
    "high_since": None,
    "opened_limit": 0.0,
    "levels": [],
    "bouts": [],
}


def _advance(state: State, sample: ProcessSample | None, now: datetime) -> State:
    """Return the state after one more measurement (None: there was no process). Times are seconds since 1970."""
    state = {**FRESH, **state}
    if sample is None:
        return state | {"missed": state["missed"] + 1, "absent_since": state["absent_since"] or now.timestamp()}
    state |= {"missed": 0, "absent_since": None}
    if state["version"] != sample.model_version:  # another model version has another normal
        state |= {**START, "version": sample.model_version, "levels": [], "bouts": [], "high_since": None}
    is_new = state["born"] is None or not same_start(sample.start, _start(state["born"]))
    if is_new and state["born"] is not None:
        state |= {**START, "restarted": [*state["restarted"], sample.sampled_at.timestamp()]}
    if is_new:
        state["born"] = [sample.pid, None if sample.started_at is None else sample.started_at.isoformat()]
    if sample.rss_bytes is None:
        return state
    state["recent"] = [*state["recent"], sample.rss_bytes][-SUSTAINED:]
    state["current"] = [*state["current"], sample.rss_bytes]
    return state if len(state["current"]) < BLOCK else _learn(state, sample.sampled_at.timestamp())


def _learn(state: State, at: float) -> State:
    """Return the state with the current block added to the floors, and to the normal unless something is wrong."""
    level, floor, before = float(np.median(state["current"])), min(state["current"]), state["last"]
    state = state | {"current": [], "blocks": state["blocks"] + 1, "last": level}
    if state["blocks"] == 1:  # the first block after a start is loading, not normal
        return state
    floors = [list(scale) for scale in state["floors"]]
    step = 1
    for number, scale in enumerate(floors):
        if (state["blocks"] - 1) % step:
            break
        below = floors[number - 1][-FANOUT:] if number else []
        floors[number] = [*scale, [at, min((value for _, value in below), default=floor)]][-POINTS:]
        step *= FANOUT
    # what was found to leak is let go only once it has clearly levelled off
    steady = STEADY / 2 if state["leaking"] else STEADY
    found = max((_trend(scale, steady) for scale in floors), key=lambda one: one.rise)
    state |= {"floors": floors, "climb": [found.slope, found.z, found.rise, found.steadiness]}
    recent = [one for one in state["levels"] if one[0] >= at - RECENT.total_seconds()]
    since = state["high_since"]
    if since is not None and at - since > RECENT.total_seconds():
        return state | {"levels": [], "high_since": None, "peak": None}  # a week of it is the new normal
    if len(recent) >= FEWEST_BLOCKS:
        normal = _usual(state)
        # a climb is seen after eleven blocks; a steep one would spoil the normal by then, so it is left out at once
        is_steep = level > normal * (1 + NOTICEABLE) and level > before * (1 + STEEP)
        if since is not None or state["leaking"] or is_steep or found.rise >= normal * NOTICEABLE:
            return state
    bouts = [one for one in state["bouts"] if one[0] >= at - RECENT.total_seconds()][-20:]
    return state | {"levels": thin([*recent, [at, level, 1]], LEVELS), "bouts": bouts}


def _trend(points: Sequence[Sequence[float]], steady: float) -> Climb:
    """Return the climb of floors where it is beyond doubt and goes on, else none."""
    times, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
    found = climb(times, values)
    return found if found.z >= CLIMB_Z and found.steadiness >= steady else Climb()


def _steepest(state: State) -> Climb:
    if state["climb"] is None:
        return Climb()
    slope, z, rise, steadiness = state["climb"]
    return Climb(slope=slope, z=z, rise=rise, steadiness=steadiness)


def _start(kept: Sequence[Any]) -> Start:
    pid, began = kept
    return pid, None if began is None else datetime.fromisoformat(began)


def _usual(state: State) -> float:
    return usual([level for _, level, _ in state["levels"]], [weight for *_, weight in state["levels"]])


def _finding(
    name: str,
    statistic: str,
    verdict: Verdict,
    message: str,
    *,
    value: float | None = None,
    reference: float | None = None,
    effect: float | None = None,
    threshold: float | None = None,
    open_: bool = False,
    details: Mapping[str, Any] | None = None,
) -> Finding:
    severity = {Verdict.CRITICAL: Severity.CRITICAL, Verdict.WARNING: Severity.WARNING}.get(verdict, Severity.INFO)
    return Finding(
        check="resource",
        part=Part.PROCESS,
        subject=f"{name} {statistic}",
        statistic=statistic,
        verdict=verdict,
        severity=severity,
        message=message if open_ or verdict is Verdict.INCONCLUSIVE else "",
        family=f"resource:{name}",
        reference_kind=ReferenceKind.TRAILING,
        value=value,
        reference_value=reference,
        effect=effect,
        threshold=threshold,
        threshold_source=ThresholdSource.DEFAULT,
        cause=Cause.RESOURCE,
        latched=verdict is not Verdict.INCONCLUSIVE,
        direction=1 if open_ else 0,
        details=dict(details or {}),
    )


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def _time(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
