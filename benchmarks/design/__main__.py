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
from monitor.notification import Notification, Reason


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
            f"   {stream.label(r.window_start)} {r.action} {r.state} {r.cause_key} "
            f"benefit {r.expected_benefit} {r.why[:200]}"
        )
    flagged: Counter[str] = Counter()
    windows = {"inputs": set(), "outcomes": set()}
    for stage, window, finding in found.findings:
        if finding.verdict in (Verdict.WARNING, Verdict.CRITICAL):
            flagged[f"{finding.family}"] += 1
            windows[stage.value].add(window)
    total = len(stream.windows) - stream.trained
    print(
        f"  digest: windows with any input flag {len(windows[Stage.INPUTS.value]) / total:.0%}; "
        f"flags {dict(flagged.most_common(14))}"
    )
    broken = Counter(f.message[:150] for _, _, f in found.findings if f.reason == "check failed")
    if broken:
        print(f"  BROKEN CHECKS {broken.most_common(5)}")
    inconclusive = Counter(f"{f.check}: {f.reason}" for _, _, f in found.findings if f.verdict is Verdict.INCONCLUSIVE)
    print(f"  inconclusive {dict(inconclusive.most_common(6))}", flush=True)


PROTOTYPE = {
    "flights": 11,
    "electricity": 7,
    "bank": 7,
    "bike": 5,
    "occupancy": 3,
    "taxi": 4,
}  # messages, statistics §7.1


def row(found: Replay) -> str:
    """Return a line of the table: messages, replies, and what each message was about."""
    stream = found.stream
    notes = len(registration_notes(found.reference))
    about = ", ".join(f"{stream.label(n.window_start)} {_kind(n)}" for n in found.loud if n.window_start is not None)
    replies = len([n for n in found.replies if n.reason.value != "repeated"])
    number = f"{len(found.loud)}" + (f" + {notes}" if notes else "")
    return f"| {stream.name} | {PROTOTYPE[stream.name]} | {number} | {replies} | {about} |"


def _kind(n: Notification) -> str:
    if n.reason is Reason.RECOMMENDATION:
        return n.title.partition(":")[0]
    return n.group_key.split(":")[2] + (" (grown)" if n.reason is Reason.ESCALATED else "")


def main() -> None:
    """Replay what the arguments name, and print the table at the end."""
    names = list(STREAMS) if sys.argv[1:] == ["all"] else sys.argv[1:]
    if not names or set(names) - set(STREAMS):
        raise SystemExit(f"Say which streams: all, or some of {', '.join(STREAMS)}.")
    lines = []
    for name in names:
        found = replay(STREAMS[name]())
        show(found)
        lines.append(row(found))
    print("| stream | prototype | messages | replies | what they are about |")
    print("|---|---|---|---|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
