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
from monitor.process import ProcessSample
from monitor.stats.level import Climb, climb, usual

SUSTAINED = 3  # samples in a row: one sample may be a garbage collection away
BLOCK = 10  # samples in a block, the unit of "usual": ten minutes at the default pace
FEWEST_BLOCKS = 3  # of normal before anything is compared
KEPT_BLOCKS = 1008  # a week of ten-minute blocks
CLIMB_BLOCKS = 36  # of the newest history in which a climb is looked for
CLIMB_Z = 4.0
MISSED = 3  # measurements in a row without a process
SOON = timedelta(hours=24)  # a limit reached within this time is critical


@register("resource")
@dataclass(frozen=True, kw_only=True)
class Resource:
    """Judge the newest sample of each serving process.

    ``ratio`` is the multiple of the usual memory that is an alert, ``leak`` the share by which the floor of memory must
    have climbed, ``restarts`` the number within ``restart_window_minutes`` that is a loop. The usual level belongs to a
    process and model version; a restart begins a new climb but keeps it.
    """

    ratio: float = 2.0
    leak: float = 0.25
    restarts: int = 3
    restart_window_minutes: float = 60.0

    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.PROCESS})

    def run(self, evidence: Evidence) -> Judgement:
        """Return findings per process; memory holds blocks of samples, never the samples' whole history."""
        memory: dict[str, Any] = dict(evidence.memories.get("resource") or {})
        findings: list[Finding] = []
        for name, sample in sorted(evidence.samples.items()):
            state = _advance(dict(memory.get(name) or {}), sample)
            findings += self._judge(name, sample, state)
            memory[name] = state
        return Judgement(findings=findings, memory=memory)

    def _judge(self, name: str, sample: ProcessSample | None, state: dict[str, Any]) -> Iterator[Finding]:
        yield self._gone(name, state)
        if sample is None:
            return
        yield from self._memory(name, sample, state)
        yield self._restarts(name, sample, state)

    def _gone(self, name: str, state: Mapping[str, Any]) -> Finding:
        missed = int(state["missed"])
        gone = missed >= MISSED
        return _finding(
            name,
            "missing",
            Verdict.CRITICAL if gone else Verdict.OK,
            f"{name}: the serving process was not found in the last {missed} measurements.",
            value=float(missed),
            threshold=float(MISSED),
            open_=gone,
        )

    def _memory(self, name: str, sample: ProcessSample, state: dict[str, Any]) -> Iterator[Finding]:
        if sample.rss_bytes is None:
            return
        blocks: Sequence[Sequence[float]] = state["blocks"]
        normal = usual(np.array([block[1] for block in blocks]))
        recent = float(np.median(state["recent"]))
        if len(blocks) < FEWEST_BLOCKS:
            text = f"{name}: usual memory is known after {FEWEST_BLOCKS * BLOCK} samples, {len(blocks) * BLOCK} so far."
            for statistic in ("rss_ratio", "leak"):
                yield _finding(name, statistic, Verdict.INCONCLUSIVE, text)
            return
        ratio = recent / normal
        was_open = bool(state.get("high"))
        # what opened at the multiple closes only well below it, or memory at the threshold would flap
        is_high = len(state["recent"]) >= SUSTAINED and ratio >= (self.ratio * 0.75 if was_open else self.ratio)
        state["high"] = is_high
        yield _finding(
            name,
            "rss_ratio",
            Verdict.CRITICAL if is_high else Verdict.OK,
            f"{name} uses {_bytes(recent)}, {ratio:.1f} times its usual {_bytes(normal)}.",
            value=recent,
            reference=normal,
            effect=ratio,
            threshold=self.ratio,
            open_=is_high,
            details={"rss_ratio": ratio, "baseline_rss_bytes": normal},
        )
        trend = _floor_trend(state)
        grown = trend.rise / normal
        was_leaking = bool(state.get("leaking"))
        begins = trend.z >= CLIMB_Z and grown >= self.leak
        is_leak = begins or (was_leaking and trend.z > 0 and grown >= self.leak / 2)
        state["leaking"] = is_leak
        limit = sample.memory_limit_bytes
        left = (
            None if limit is None or trend.slope <= 0 else timedelta(seconds=max(0.0, (limit - recent) / trend.slope))
        )
        when = (
            ""
            if left is None
            else f"; at this rate its limit of {_bytes(float(limit or 0))} is reached in {_time(left)}"
        )
        yield _finding(
            name,
            "leak",
            Verdict.CRITICAL if is_leak and left is not None and left < SOON else Verdict(("ok", "warning")[is_leak]),
            f"{name} leaks memory: its floor climbs by {_bytes(trend.slope * 3600)} an hour, {grown:+.0%} yet{when}.",
            value=trend.slope * 3600,
            effect=grown,
            threshold=self.leak,
            open_=is_leak,
            details={
                "leak_bytes_per_hour": trend.slope * 3600 if is_leak else None,
                "time_to_limit": left.total_seconds() if is_leak and left is not None else None,
            },
        )

    def _restarts(self, name: str, sample: ProcessSample, state: dict[str, Any]) -> Finding:
        since = sample.sampled_at - timedelta(minutes=self.restart_window_minutes)
        state["restarted"] = [at for at in state["restarted"] if datetime.fromisoformat(at) >= since]
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


def _advance(state: dict[str, Any], sample: ProcessSample | None) -> dict[str, Any]:
    """Return the state after one more measurement (None: there was no process)."""
    fresh = {"missed": 0, "blocks": [], "current": [], "recent": [], "restarted": [], "restarts": None, "version": None}
    state = {**fresh, **state}
    if sample is None:
        return state | {"missed": state["missed"] + 1}
    state |= {"missed": 0}
    if state["version"] != sample.model_version:  # another model version has another normal
        state |= {"version": sample.model_version, "blocks": [], "current": [], "recent": [], "floors": []}
    if state["restarts"] is not None and sample.restarts > state["restarts"]:
        new = sample.restarts - state["restarts"]
        state["restarted"] = [*state["restarted"], *[sample.sampled_at.isoformat()] * new]
        state |= {"current": [], "recent": [], "floors": [], "warm": False}
    state["restarts"] = sample.restarts
    if sample.rss_bytes is None:
        return state
    state["recent"] = [*state["recent"], float(sample.rss_bytes)][-SUSTAINED:]
    state["current"] = [*state["current"], float(sample.rss_bytes)]
    if len(state["current"]) < BLOCK:
        return state
    level, floor = float(np.median(state["current"])), float(np.min(state["current"]))
    warm = bool(state.get("warm"))  # the first block after a start is loading, not normal
    if warm:
        state["floors"] = [*state.get("floors", []), [sample.sampled_at.timestamp(), floor]][-CLIMB_BLOCKS:]
        if not state.get("high") and not state.get("leaking"):  # a fault must not become the normal it is judged by
            state["blocks"] = [*state["blocks"], [sample.sampled_at.timestamp(), level]][-KEPT_BLOCKS:]
    return state | {"current": [], "warm": True}


def _floor_trend(state: Mapping[str, Any]) -> Climb:
    floors = np.array(state.get("floors") or np.zeros((0, 2)))
    if len(floors) < 6:
        return Climb(slope=0.0, z=0.0, rise=0.0)
    whole = climb(floors[:, 0], floors[:, 1])
    late = climb(floors[len(floors) // 2 :, 0], floors[len(floors) // 2 :, 1])
    # a cache that fills up climbs and then stays: its second half is flat
    return whole if late.slope >= whole.slope / 3 else Climb(slope=late.slope, z=0.0, rise=0.0)


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
