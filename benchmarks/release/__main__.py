"""``python -m benchmarks.release [RUNS]``: verdicts on simulated candidates under repeated looking, in minutes."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from monitor.candidate import MARGIN, Answers, Judged, Loss, ReleaseVerdict, judge_apart, judge_pairs
from monitor.check import Costs

LOOKS = np.unique(np.geomspace(200, 20_000, 40).astype(int))
COSTS = Costs(false_positive=7.0, false_negative=13.0)
THRESHOLD = 0.35
RATE = 0.25
SEPARATION = 1.2
ALIKE = 0.1  # noise of each of two models that are as good as each other, and not the same


def scores(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    return SEPARATION * label + rng.normal(size=len(label))


def calibrated(evidence: np.ndarray) -> np.ndarray:
    """Return P(label | evidence) of the world above."""
    odds = np.log(RATE / (1 - RATE)) + SEPARATION * evidence - SEPARATION**2 / 2
    return 1 / (1 + np.exp(-odds))


def answers(evidence: np.ndarray, label: np.ndarray) -> Answers:
    score = calibrated(evidence)
    return Answers(
        score=score,
        decision=(score >= THRESHOLD).astype(float),
        label=label,
        window=np.arange(len(label)) // 500,
    )


def cost(evidence: np.ndarray, label: np.ndarray) -> float:
    said = calibrated(evidence) >= THRESHOLD
    return float(np.where(said, 7.0 * (label == 0), 13.0 * (label == 1)).mean())


def noise_of(worse: float) -> float:
    """Return how much noise makes a model's cost worse by a share, found once on two million rows."""
    rng = np.random.default_rng(0)
    label = (rng.random(2_000_000) < RATE).astype(float)
    evidence, more = scores(rng, label), rng.normal(size=len(label))
    base = cost(evidence, label)
    low, high = 0.0, 2.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(evidence + middle * more, label) < (1 + worse) * base else (low, middle)
    return high


def watch(champion: Answers, candidate: Answers, judge: Callable[..., Judged]) -> tuple[ReleaseVerdict, int]:
    """Return the first verdict that is not hold, and when it came; hold where all looks say so."""
    for look in LOOKS:
        first = np.arange(len(champion.label)) < look
        verdict = judge(champion.of(first), candidate.of(first), loss=Loss.COST, costs=COSTS).verdict
        if verdict is not ReleaseVerdict.HOLD:
            return verdict, int(look)
    return ReleaseVerdict.HOLD, int(LOOKS[-1])


def main(runs: int) -> int:
    """Print the share of each verdict per world; returns 1 where wrong promotions exceed five in a hundred."""
    failed = False
    worlds = (
        ("worse by the margin", MARGIN),
        ("worse by 10 %", 0.1),
        ("worse by 20 %", 0.2),
        ("as good", 0.0),
    )
    for name, worse in worlds:
        noise = noise_of(worse) if worse else 0.0
        for how, judge in (("shadow", judge_pairs), ("canary", judge_apart)):
            counts = dict.fromkeys(ReleaseVerdict, 0)
            rows = []
            for run in range(runs):
                rng = np.random.default_rng([run, round(1000 * worse)])
                label = (rng.random(LOOKS[-1]) < RATE).astype(float)
                evidence = scores(rng, label)
                # The canary answers other requests.
                other = (rng.random(LOOKS[-1]) < RATE).astype(float) if how == "canary" else label
                seen = evidence if how == "shadow" else scores(rng, other)
                own = noise if worse else ALIKE
                candidate = answers(seen + own * rng.normal(size=len(seen)), other)
                if not worse:
                    evidence = evidence + ALIKE * rng.normal(size=len(evidence))
                verdict, at = watch(answers(evidence, label), candidate, judge)
                counts[verdict] += 1
                if verdict is not ReleaseVerdict.HOLD:
                    rows.append(at)
            wrong = counts[ReleaseVerdict.PROMOTE] / runs if worse else counts[ReleaseVerdict.ROLL_BACK] / runs
            failed |= wrong > 0.05
            shares = ", ".join(f"{verdict.value} {counts[verdict] / runs:.1%}" for verdict in ReleaseVerdict)
            median = f"{np.median(rows):,.0f}" if rows else "-"
            print(
                f"{how}, {name}: {runs:,} runs, {len(LOOKS)} looks at 200 to {LOOKS[-1]:,} labels: {shares}; "
                f"decided after {median} (median)",
                flush=True,
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
