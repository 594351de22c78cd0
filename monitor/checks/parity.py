"""Parity: whether what is deployed computes what training computed, by golden rows asked again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from monitor.check import (
    Cause,
    Evidence,
    Finding,
    Judgement,
    Part,
    Severity,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)
from monitor.golden import SAME, Replayed, differences, ranked

SERIOUS = 0.01  # share of decisions that turned over, from which it is critical
KEPT = 5  # environments that are remembered
MOST_NAMED = 5  # packages in a message


@register("parity")
@dataclass(frozen=True, kw_only=True)
class Parity:
    """Replays golden rows of the training profile against ``serving.endpoint``.

    A prediction that moved is told at once, and over with the first replay in which none did. It happens every
    ``every``, and as soon as serving runs other packages, with at most ``rows`` rows.
    """

    every: timedelta = timedelta(days=1)
    rows: int = 500

    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.INPUTS})

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"parity.rows is {self.rows}; at least one row must be asked")

    def run(self, evidence: Evidence) -> Judgement:
        """Judge what was replayed; the memory is when, and how many predictions moved in which environment."""
        memory: dict[str, Any] = dict(evidence.memories.get("parity") or {})
        found: list[Replayed] = evidence.examined.get("parity", [])
        findings: list[Finding] = []
        for one in found:
            seen = list(memory.get(one.endpoint, ()))
            if one.replay is not None:
                seen = [*seen, {"packages": dict(one.serving), "moved": one.replay.moved}][-KEPT:]
                memory[one.endpoint] = seen
            findings += _findings(one, [(dict(past["packages"]), past["moved"]) for past in seen])
        if found:
            memory["at"] = evidence.window.end.isoformat()
        return Judgement(findings=findings, memory=memory)


def _findings(one: Replayed, seen: list[tuple[dict[str, str], int]]) -> list[Finding]:
    """Judge one replay; ``seen`` are the environments of the last ones with what moved there, this one last."""
    family = "parity" if one.endpoint == "champion" else f"parity:{one.endpoint}"
    replay = one.replay
    if replay is None:
        return [
            _finding(
                one, family, Verdict.INCONCLUSIVE, statistic="moved predictions", message=one.problem, reason="endpoint"
            )
        ]
    order = ranked(differences(one.training, one.serving) if one.serving else [], seen)
    packages = [{"name": d.name, "training": d.before, "serving": d.after, "moved": moved} for d, moved in order]
    message = ""
    if replay.moved:
        message = (
            f"{replay.moved:,} of {replay.rows:,} golden predictions moved by more than {SAME:g} "
            f"(largest difference {replay.largest:.3g}), {replay.flipped:,} decisions turned over"
        )
        if replay.swap is not None:
            message += f"; with {replay.swap[0]} and {replay.swap[1]} swapped they come out again"
        if suspected := [difference.text for difference, moved in order if moved]:
            message += f"; other than in training: {'; '.join(suspected[:MOST_NAMED])}"
    serious = replay.flipped >= SERIOUS * replay.rows
    found = [
        _finding(
            one,
            family,
            Verdict.CRITICAL if replay.moved else Verdict.OK,
            statistic="moved predictions",
            value=replay.moved / replay.rows,
            threshold=0.0,
            threshold_source=ThresholdSource.DEFAULT,
            n_current=replay.rows,
            severity=Severity.CRITICAL if replay.moved and serious else Severity.WARNING,
            latched=True,
            message=message,
            details={"version": one.version, "flipped": replay.flipped, "packages": packages},
        )
    ]
    if order:
        said = [f"{difference.text}: {moved:,} of {replay.rows:,}" for difference, moved in order[:MOST_NAMED]]
        found.append(
            _finding(
                one,
                "",
                Verdict.OK,
                statistic="package versions",
                value=float(len(order)),
                message=f"{'; '.join(said)} predictions changed",
                details={"packages": packages},
            )
        )
    return found


def _finding(one: Replayed, family: str, verdict: Verdict, *, statistic: str, **more: Any) -> Finding:
    return Finding(
        check="parity",
        part=Part.RELEASE,
        subject=one.endpoint,
        statistic=statistic,
        verdict=verdict,
        family=family,
        cause=Cause.RELEASE,
        **more,
    )
