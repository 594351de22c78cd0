"""Replays real streams and prints every message with its cause.

python -m benchmarks.design flights|electricity|bank|bike|occupancy|taxi|all
"""

from __future__ import annotations

import sys
from collections import Counter

from benchmarks.design.replay import Replay, replay
from benchmarks.design.streams import STREAMS
from monitor.advice import registration_notes
from monitor.check import Severity, Stage, Verdict


def show(found: Replay) -> None:
    """Print what a replay said."""
    stream = found.stream
    print(
        f"=== {stream.name}: {stream.trained} training windows ({stream.fitted} fitted), "
        f"{len(stream.windows) - stream.trained} in production, {stream.months:.1f} months, "
        f"{found.seconds:.1f} s for {found.runs} runs"
    )
    for note in registration_notes(found.reference):
        print(f"  REGISTRATION {note}")
    print(
        f"  {len(found.loud)} messages = {len(found.loud) / stream.months:.2f} per model-month; "
        f"replies {dict(Counter(n.reason.value for n in found.replies))}"
    )
    for n in found.loud:
        assert n.window_start is not None
        print(f"   {stream.label(n.window_start)} [{n.reason}] {n.title}")
        print(f"        {n.summary[:330]}")
        for fact in n.facts[:4]:
            print(f"        · {fact.subject} {fact.statistic}: {fact.text[:140]}")
        if n.cost:
            print(f"        cost: {n.cost}")
        if n.next_step:
            print(f"        next: {n.next_step[:260]}")
    print("  episodes:")
    for alert in sorted(found.episodes.values(), key=lambda a: a.opened_window_start or stream.windows[0].start):
        if alert.opened_window_start is None or alert.severity is Severity.INFO:
            continue
        until = "open" if alert.resolved_window_start is None else stream.label(alert.resolved_window_start)
        print(
            f"   {stream.label(alert.opened_window_start)} → {until} {alert.family} {alert.direction:+d} "
            f"{alert.severity} {alert.cause} {alert.state} thread {alert.thread_key[-6:]}"
        )
    print("  recommendations:")
    for r in found.recommendations.values():
        print(
            f"   {stream.label(r.window_start)} {r.action} {r.state} {r.cause_key} benefit {r.expected_benefit} {r.why[:200]}"
        )
    flagged: Counter[str] = Counter()
    windows = {"inputs": set(), "outcomes": set()}
    for stage, window, finding in found.findings:
        if finding.verdict in (Verdict.WARNING, Verdict.CRITICAL):
            flagged[f"{finding.family}"] += 1
            windows[stage.value].add(window)
    total = len(stream.windows) - stream.trained
    print(
        f"  digest: windows with any input flag {len(windows[Stage.INPUTS.value]) / total:.0%}; flags {dict(flagged.most_common(14))}"
    )
    broken = Counter(f.message[:150] for _, _, f in found.findings if f.reason == "check failed")
    if broken:
        print(f"  BROKEN CHECKS {broken.most_common(5)}")
    inconclusive = Counter(f"{f.check}: {f.reason}" for _, _, f in found.findings if f.verdict is Verdict.INCONCLUSIVE)
    print(f"  inconclusive {dict(inconclusive.most_common(6))}", flush=True)


def main() -> None:
    """Replay what the arguments name."""
    names = list(STREAMS) if sys.argv[1:] == ["all"] else sys.argv[1:]
    if not names or set(names) - set(STREAMS):
        raise SystemExit(f"Say which streams: all, or some of {', '.join(STREAMS)}.")
    for name in names:
        show(replay(STREAMS[name]()))


if __name__ == "__main__":
    main()
