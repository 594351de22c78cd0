"""Precision and recall of RETRAIN and RECALIBRATE: ``python -m benchmarks.advice synthetic|NAME …``.

``synthetic`` are 24 made-up streams; NAME is one of the real ones (electricity, bank, taxi, bike, occupancy), which
need ``$MONITOR_DATA``. An oracle says after every seventh window what would have gained more than its cost in the next
28: 2 % of the loss and two standard errors (``benchmarks.cases.oracle``). Advice is right where its own action did.
A *spell* are three or more such evaluations in a row at which the champion also was surely worse than in training; it
is found if advice stands in it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.advice import drifts
from benchmarks.cases.oracle import Hindsight, hindsight
from benchmarks.cases.subject import SUBJECTS
from benchmarks.design.replay import Replayer
from benchmarks.design.streams import Stream, bike, reference_of
from monitor.advice import EVERY
from monitor.decision import Decision
from monitor.recommendation import Action, Recommendation, RecommendationState

ACTIONS = (Action.RETRAIN, Action.RECALIBRATE)
REAL: Mapping[str, Callable[[], Stream]] = {**{name: one.stream for name, one in SUBJECTS.items()}, "bike": bike}
LASTS = 3  # evaluations
PRECISE, COMPLETE = 0.9, 0.8


@dataclass(frozen=True, kw_only=True)
class Score:
    """Of one stream: pieces of advice and how many of them were right, spells and how many of them were found."""

    given: int = 0
    right: int = 0
    spells: int = 0
    found: int = 0
    delays: tuple[int, ...] = ()
    """Evaluations from the begin of a spell to advice, 0 for the first of them."""

    def __add__(self, other: Score) -> Score:
        return Score(
            given=self.given + other.given,
            right=self.right + other.right,
            spells=self.spells + other.spells,
            found=self.found + other.found,
            delays=self.delays + other.delays,
        )


def spells_of(seen: Sequence[Hindsight]) -> Iterator[tuple[int, int]]:
    """Yield first and last place of each spell."""
    first: int | None = None
    for place, one in enumerate([*seen, None]):
        if one is not None and one.real_loss:
            first = place if first is None else first
            continue
        if first is not None and place - first >= LASTS:
            yield first, place - 1
        first = None


def score(stream: Stream) -> tuple[Score, list[str]]:
    """Return how a stream's advice did, and a line for each piece of it."""
    replayer = Watched(stream=stream, reference=reference_of(stream))
    replayer.run()
    seen = list(hindsight(stream))
    places = {one.number: place for place, one in enumerate(seen)}
    lines = []
    given = right = 0
    stood: set[int] = set()
    numbers = {window.start: number for number, window in enumerate(replayer.windows)}
    for advice in sorted(replayer.advised.values(), key=lambda r: r.window_start):
        begun = numbers[advice.window_start]
        over = replayer.closed.get(advice.id)
        ended = len(replayer.windows) if over is None else numbers[over]
        stood |= {place for number, place in places.items() if begun <= number < ended}
        place = places.get(begun)
        if place is None:  # too near the end to know
            continue
        given += 1
        paid = seen[place].paid(advice.action)
        right += paid
        best = seen[place].action or "nothing pays"
        lines.append(
            f"    {stream.label(advice.window_start)} {advice.action}: {'right' if paid else 'WRONG'} (best: {best})"
        )
    spells = list(spells_of(seen))
    delays = []
    for first, last in spells:
        inside = [place for place in range(first, last + 1) if place in stood]
        if inside:
            delays.append(inside[0] - first)
        else:
            lines.append(f"    MISSED from {stream.label(seen[first].at)} to {stream.label(seen[last].at)}")
    return (
        Score(given=given, right=right, spells=len(spells), found=len(delays), delays=tuple(delays)),
        lines,
    )


class Watched(Replayer):
    """A replay that keeps what was advised when, and when it was over."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.keep_findings = False
        self.advised: dict[object, Recommendation] = {}
        self.closed: dict[object, object] = {}

    def _keep(self, replay, decision: Decision, stage, window) -> None:  # type: ignore[no-untyped-def]  # as inherited
        super()._keep(replay, decision, stage, window)
        for one in decision.recommendations:
            if one.action not in ACTIONS or one.cause_key != "model":
                continue
            if one.state is RecommendationState.OPEN:
                self.advised[one.id] = one
            else:
                self.closed[one.id] = window.start


def show(name: str, found: Score, seconds: float) -> None:
    """Print one stream's line."""
    print(
        f"{name:28} advice {found.right} right of {found.given}, spells {found.found} found of {found.spells}"
        + (f", after {', '.join(map(str, found.delays))} evaluations" if found.delays else "")
        + f" ({seconds:.0f} s)",
        flush=True,
    )


def main(names: Sequence[str]) -> int:
    """Score streams one by one and all together; returns 1 where precision or recall fall short."""
    unknown = [name for name in names if name != "synthetic" and name not in REAL]
    if not names or unknown:
        print(f"Say which streams: synthetic, or some of {', '.join(REAL)}.", file=sys.stderr)
        return 3
    total = Score()
    for name in names:
        for stream in drifts.streams() if name == "synthetic" else [REAL[name]()]:
            began = time.perf_counter()
            found, lines = score(stream)
            show(stream.name, found, time.perf_counter() - began)
            for line in lines:
                print(line, flush=True)
            total += found
    precision = total.right / total.given if total.given else float("nan")
    recall = total.found / total.spells if total.spells else float("nan")
    early = sum(delay < 2 for delay in total.delays)
    print(
        f"precision {precision:.2f} ({total.right} of {total.given}), "
        f"recall {recall:.2f} ({total.found} of {total.spells})"
    )
    print(
        f"{early} of {len(total.delays)} spells within their first two evaluations; one evaluation is {EVERY} windows"
    )
    return int(precision < PRECISE or recall < COMPLETE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
