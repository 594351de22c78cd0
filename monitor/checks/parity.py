"""Parity: whether what is deployed computes what training computed, by golden rows and by raw inputs."""

from __future__ import annotations

from collections.abc import Sequence
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
from monitor.preprocessing import UNLIKE, Unlike

SERIOUS = 0.01  # share of decisions that turned over, from which it is critical
KEPT = 5  # environments that are remembered
MOST_NAMED = 5  # packages in a message


@register("parity")
@dataclass(frozen=True, kw_only=True)
class Parity:
    """Replays golden rows of the training profile against ``serving.endpoint``, and features beside raw inputs.

    A prediction that moved is told at once, and over with the first replay in which none did. It happens every
    ``every``, and as soon as serving runs other packages, with at most ``rows`` rows. Features of which ``source.raw``
    names the raw value are compared with it in the newest ``raw_rows`` rows of each window, and told where more than
    the share ``unlike`` differs.
    """

    every: timedelta = timedelta(days=1)
    rows: int = 500
    raw_rows: int = 5000
    unlike: float = UNLIKE

    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.INPUTS})

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"parity.rows is {self.rows}; at least one row must be asked")
        if self.raw_rows < 1:
            raise ValueError(f"parity.raw_rows is {self.raw_rows}; at least one row must be compared")
        if not 0 <= self.unlike < 1:
            raise ValueError(f"parity.unlike is {self.unlike}; it is a share from 0 to below 1")

    def run(self, evidence: Evidence) -> Judgement:
        """Judge what was replayed; the memory is when, and how many predictions moved in which environment."""
        memory: dict[str, Any] = dict(evidence.memories.get("parity") or {})
        one: Replayed | None = evidence.examined.get("parity")
        unlike: Sequence[Unlike] = evidence.examined.get("preprocessing", ())
        findings = [self._of_raw(found) for found in unlike]
        if one is not None:
            seen = list(memory.get("champion", ()))
            if one.replay is not None:
                seen = [*seen, {"packages": dict(one.serving), "moved": one.replay.moved}][-KEPT:]
                memory["champion"] = seen
            findings += _findings(one, [(dict(past["packages"]), past["moved"]) for past in seen])
            memory["at"] = evidence.window.end.isoformat()
        return Judgement(findings=findings, memory=memory)

    def _of_raw(self, found: Unlike) -> Finding:
        share = found.differing / found.rows if found.rows else 0.0
        bad = share > self.unlike
        verdict = Verdict.CRITICAL if bad else Verdict.OK if found.rows else Verdict.INCONCLUSIVE
        return _finding(
            found.feature,
            verdict,
            family=f"parity:{found.feature}",
            statistic="raw value",
            reason="" if found.rows else "no raw value",
            value=share,
            threshold=self.unlike,
            threshold_source=ThresholdSource.DEFAULT,
            n_current=found.rows,
            severity=Severity.WARNING,
            latched=True,
            message=found.text if bad else "",
            details={"differing": found.differing, "lost": found.lost, "how": found.how},
        )


def _findings(one: Replayed, seen: list[tuple[dict[str, str], int]]) -> list[Finding]:
    """Judge one replay; ``seen`` are the environments of the last ones with what moved there, this one last."""
    replay = one.replay
    if replay is None:
        problem = {"message": one.problem, "reason": "endpoint"}
        return [_finding("champion", Verdict.INCONCLUSIVE, family="parity", statistic="moved predictions", **problem)]
    order = ranked(differences(one.training, one.serving) if one.serving else [], seen)
    packages = [{"name": d.name, "training": d.before, "serving": d.after, "moved": moved} for d, moved in order]
    message = ""
    if replay.moved:
        message = (
            f"{replay.moved:,} of {replay.rows:,} golden predictions moved by more than {SAME:g} "
            f"(largest difference {replay.largest:.3g}), {replay.flipped:,} {replay.what}"
        )
        if replay.swap is not None:
            message += f"; with {replay.swap[0]} and {replay.swap[1]} swapped they come out again"
        if suspected := [difference.text for difference, moved in order if moved]:
            message += f"; other than in training: {'; '.join(suspected[:MOST_NAMED])}"
    serious = replay.flipped >= SERIOUS * replay.rows
    found = [
        _finding(
            "champion",
            Verdict.CRITICAL if replay.moved else Verdict.OK,
            family="parity",
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
                "champion",
                Verdict.OK,
                statistic="package versions",
                value=float(len(order)),
                message=f"{'; '.join(said)} predictions changed",
                details={"packages": packages},
            )
        )
    return found


def _finding(subject: str, verdict: Verdict, *, statistic: str, **more: Any) -> Finding:
    return Finding(
        check="parity",
        part=Part.RELEASE,
        subject=subject,
        statistic=statistic,
        verdict=verdict,
        cause=Cause.RELEASE,
        **more,
    )
