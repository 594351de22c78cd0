"""What is measured: flags and messages where nothing is wrong, delays where something is, honesty of stated shifts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.design.replay import Replay
from benchmarks.signal.exchange import Flag
from benchmarks.signal.watch import Watched, decide_all, judge_all, watch
from benchmarks.signal.worlds import NORMAL, SKEWED, Drift, drifting, null
from monitor.check import Budget, Verdict
from monitor.profile import Profile
from monitor.reference import SCORE, with_score
from monitor.rehearsal import achieved_rate, level_of
from monitor.source import NumericValues
from monitor.statistic import null_model, slot_of

Q = 0.01  # per window, for the fast path alone: hourly windows' own q is too small to be seen in 300 windows
PROBED = (*NORMAL[:2], SKEWED[0], SKEWED[1])
EVERY = 15  # windows; one in so many is moved by what it states


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The fast path where nothing is wrong: windows with a flag, and what cross-validation in training had said."""

    windows: int
    flagged: int
    achieved: float


@dataclass(frozen=True, kw_only=True)
class Quiet:
    """A whole monitor where nothing is wrong: messages in how many months, windows with a feature flag."""

    months: float
    messages: int
    windows: int
    flagged: int
    about: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One drift: windows until the right subject was flagged and until people were told; None: never."""

    flag: int | None
    message: int | None
    flagged_before: int
    told_before: int


def fast_rates(name: str, n: int, seeds: Iterable[int]) -> Rate:
    """Return the fast path's rate with materiality 0 over several worlds of a kind."""
    windows = flagged = 0
    achieved = []
    for seed in seeds:
        watched = watch(null(name, n, seed))
        _, verdicts = judge_all(watched, Q, 0.0)
        windows += len(verdicts)
        flagged += sum(bool(v.flagged.any()) for v in verdicts)
        budget = Budget(per_month=2 * Q * 30, decisions_per_month=30)
        dates = watched.world.dates
        achieved.append(achieved_rate(watched.reference, budget, materiality=0.0, holidays=dates))
    return Rate(windows=windows, flagged=flagged, achieved=float(np.nanmean(achieved)))


def flags_of(replay: Replay) -> list[Flag]:
    """Return our flags as every tool writes them: findings of features, the score, the outcome, by window."""
    stream = replay.stream
    at = {window.start: i - stream.trained for i, window in enumerate(stream.windows)}
    bad = (Verdict.WARNING, Verdict.CRITICAL)
    names = {"outcome": "label", "score": SCORE}
    return sorted(
        {
            (at[window.start], names.get(finding.family, finding.subject))
            for _, window, finding in replay.findings
            if finding.verdict in bad
        }
    )


def quiet(name: str, n: int, seeds: Iterable[int], production: int) -> Quiet:
    """Return what a monitor says where nothing is wrong."""
    months, messages, windows, flagged, about = 0.0, 0, 0, 0, []
    for seed in seeds:
        watched = watch(null(name, n, seed, production))
        replay = decide_all(watched)
        months += watched.world.months
        messages += len(replay.loud)
        about += [n.group_key.split(":")[2] for n in replay.loud]
        windows += production
        flagged += len({w for w, subject in flags_of(replay) if subject in watched.reference.layout.index})
    return Quiet(months=months, messages=messages, windows=windows, flagged=flagged, about=tuple(sorted(set(about))))


def seen(drift: Drift, n: int, seed: int, *, varying: bool) -> Seen:
    """Return how one drift is seen."""
    watched = watch(drifting(drift, n, seed, varying=varying))
    replay = decide_all(watched)
    right = {"label", SCORE} if drift.kind == "concept" else {drift.feature}
    flags = flags_of(replay)
    at = {w.start: i - watched.world.trained for i, w in enumerate(watched.world.windows)}
    told = sorted(at[n.window_start] for n in replay.loud if n.window_start is not None)
    return Seen(
        flag=_first((w for w, subject in flags if subject in right), drift.at),
        message=_first(told, drift.at),
        flagged_before=len({w for w, _ in flags if w < drift.at}),
        told_before=sum(w < drift.at for w in told),
    )


def _first(windows: Iterable[int], at: int) -> int | None:
    return next((w - at for w in sorted(windows) if w >= at), None)


def honesty(name: str, n: int, seeds: Sequence[int]) -> tuple[int, int]:
    """Return how often a shift of the stated minimum size was flagged in its window, and the number of trials.

    In one window of fifteen a numeric feature's rows are moved by what that very feature stated for that window.
    """
    found = trials = 0
    for seed in seeds:
        watched = watch(null(name, n, seed, 60))
        found_here, trials_here = _probe(watched)
        found, trials = found + found_here, trials + trials_here
    return found, trials


def _probe(watched: Watched) -> tuple[int, int]:
    world, reference = watched.world, watched.reference
    null_, found, trials = null_model(reference), 0, 0
    panel, verdicts = judge_all(watched, Q, 0.05)
    level = level_of(reference, Q, holidays=world.dates)
    pieces = world.parts(most=1)
    next(pieces)
    for first, _, batch, _ in pieces:
        t = first - world.trained
        if t % EVERY:
            continue
        for name in PROBED:
            j = list(panel.names).index(name)
            column = reference.layout.columns[reference.layout.index[name]]
            size = float(verdicts[t].detectable[panel.main(j)])
            moved = with_score(batch)
            values = moved.columns[name]
            assert isinstance(values, NumericValues)
            scale = float(getattr(column, "scale", 1.0))
            shifted = NumericValues(values=values.values + size * scale, missing=values.missing)
            profile = Profile.of(reference.layout, replace(moved, columns={**moved.columns, name: shifted}))
            theta, rows = null_.statistics.values(profile)
            verdict = panel.judge(null_.season, theta, rows, slot_of(reference, world.windows[first]), level)
            found += bool(verdict.flagged[j])
            trials += 1
    return found, trials
