"""Runs what the daemon decides with over a world's windows, and the fast path alone where only its rate is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.design.replay import Replay, Replayer
from benchmarks.design.streams import Stream
from benchmarks.signal.worlds import UPSTREAMS, World
from monitor.check import FAILED
from monitor.outcome import OutcomeProfile, Task, outcomes_of
from monitor.panel import Panel, Verdicts
from monitor.profile import Profile, profiles_of
from monitor.reference import Reference, build_reference, with_score
from monitor.rehearsal import level_of
from monitor.source import Batch
from monitor.statistic import null_model


@dataclass(kw_only=True)
class Watched:
    """A world's training profile, and the profiles of its production windows."""

    world: World
    reference: Reference
    inputs: list[Profile]
    outcomes: list[OutcomeProfile]

    def stream(self) -> Stream:
        """Return the world as replays take it, without its rows."""
        world = self.world
        windows = tuple(world.windows)
        nothing = np.zeros(0)
        return Stream(
            name="world",
            task=Task.BINARY,
            spec=world.spec,
            batch=Batch(rows=0, time=np.zeros(0, np.int64), columns={}, score=nothing, label=nothing),
            windows=windows,
            place=np.zeros(0, np.int64),
            trained=world.trained,
            fitted=world.trained * 3 // 4,
            per_month=world.per_month,
            upstreams=UPSTREAMS,
            threshold=0.5,
            holidays=world.dates,
        )


def watch(world: World) -> Watched:
    """Return the profiles of a world; rows exist one piece at a time."""
    pieces = world.parts()
    _, _, training, _ = next(pieces)
    windows = world.windows
    reference = build_reference(
        training,
        model="world",
        version="1",
        task=Task.BINARY,
        spec=world.spec,
        created_at=windows[world.trained].start,
        held_out_from=windows[world.trained * 3 // 4].start,
        threshold=0.5,
        rows=training.rows,
        upstreams=UPSTREAMS,
    )
    layout = reference.outcome_layout
    assert layout is not None
    inputs: list[Profile] = []
    outcomes: list[OutcomeProfile] = []
    for _, number, batch, place in pieces:
        inputs += profiles_of(reference.layout, with_score(batch), place, number)
        outcomes += outcomes_of(layout, batch, place, number)
    return Watched(world=world, reference=reference, inputs=inputs, outcomes=outcomes)


def decide_all(watched: Watched) -> Replay:
    """Return the replay of all windows through ``decide``, challengers left out; a check that breaks ends it."""
    replay = Replayer(
        stream=watched.stream(),
        reference=watched.reference,
        with_challengers=False,
        inputs=watched.inputs,
        outcomes=watched.outcomes,
    ).run()
    broken = next((f for _, _, f in replay.findings if f.reason == FAILED), None)
    if broken is not None:
        raise RuntimeError(f"the check {broken.check} breaks: {broken.message}")
    return replay


def judge_all(watched: Watched, q: float, materiality: float) -> tuple[Panel, list[Verdicts]]:
    """Return the fast path's verdicts on all windows at nominal rate q; materiality 0 turns the floor off."""
    dates = watched.world.dates
    nulls = [null_model(watched.reference, dates, on_holiday=on) for on in (False, True)]
    names = [column.name for column in watched.reference.layout.columns if column.clock is None]
    panel = Panel.of(nulls[0], names, materiality)
    if materiality == 0:
        panel = replace(panel, materiality=np.zeros(len(panel.materiality)))
    level = level_of(watched.reference, q, materiality=materiality, holidays=dates)
    spec, windows = watched.world.spec, watched.world.windows[watched.world.trained :]
    verdicts = []
    for window, profile in zip(windows, watched.inputs, strict=True):
        null = nulls[spec.is_holiday(window, dates)]
        theta, n = null.statistics.values(profile)
        verdicts.append(panel.judge(null.season, theta, n, spec.slot(window), level))
    return panel, verdicts
