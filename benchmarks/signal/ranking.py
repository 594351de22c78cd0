"""Ours beside other tools: false flags at their defaults, then delays where all may flag as many clean windows.

Seeds are fixed: calibration begins at 500, clean and drifting streams at 1000. Only the columns that a drift touches
are given to the tools in drifting streams, which saves their time and costs them nothing: they judge column by column.
Scores are kept in the folder, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.signal import contest, exchange, interval
from benchmarks.signal.measure import flags_of
from benchmarks.signal.watch import decide_all, watch
from benchmarks.signal.worlds import DRIFTS, WEIGHTS, Drift, World, drifting, null
from monitor.reference import SCORE

SHARE = 0.5 / 30  # of clean windows: our budget per model-month, spent on daily windows
CALIBRATED, TESTED = 500, 1000
WITHIN = 30
CELLS: tuple[Drift, ...] = tuple(
    drift
    for drift in DRIFTS
    if drift.kind in ("mean", "ramp", "scale", "new category", "missing", "unit") and drift.size != 0.1
)


@dataclass(frozen=True, kw_only=True)
class Form:
    """How much is measured: streams and their windows, drifting streams per cell, rows per window, kinds of windows."""

    calibration: int
    clean: int
    windows: int
    seeds: int
    rows: tuple[int, ...]
    worlds: tuple[str, ...]


FORMS = {
    "quick": Form(calibration=1, clean=1, windows=120, seeds=2, rows=(200,), worlds=("autocorrelated",)),
    "half": Form(calibration=3, clean=4, windows=150, seeds=8, rows=(200, 1000), worlds=("autocorrelated",)),
    "full": Form(
        calibration=4, clean=10, windows=150, seeds=20, rows=(200, 1000, 10_000), worlds=("autocorrelated", "iid")
    ),
}


@dataclass(frozen=True, kw_only=True)
class Group:
    """The streams of one kind of windows and one number of rows."""

    world: str
    n: int
    form: Form

    def calibration(self) -> list[World]:
        return [null(self.world, self.n, CALIBRATED + i, self.form.windows) for i in range(self.form.calibration)]

    def clean(self) -> list[World]:
        return [null(self.world, self.n, TESTED + i, self.form.windows) for i in range(self.form.clean)]

    def drifts(self, drift: Drift) -> list[World]:
        varying = self.world != "iid"
        return [
            drifting(drift, self.n, TESTED + i, varying=varying, production=drift.at + WITHIN + 1)
            for i in range(self.form.seeds)
        ]


def folder_of(home: Path, world: World) -> Path:
    """Return a stream's folder; its windows are written where they are not there."""
    drift = world.drift
    wrong = "null" if drift is None else f"{drift.kind}-{drift.size:g}"
    name = f"{world.name}-{world.n}-{world.production}-{wrong}-{world.seed}".replace(" ", "_")
    folder = home / "streams" / name
    path = folder / "windows.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subjects = None
        if drift is not None:
            subjects = {drift.feature} | ({"prediction"} if drift.feature in WEIGHTS else set())
        exchange.write_windows(world, path.with_suffix(".part"), subjects)
        path.with_suffix(".part").rename(path)
    return folder


def ours(home: Path, world: World) -> list[exchange.Flag]:
    """Return our own flags on a stream, of features and the score; kept like those of others."""
    path = folder_of(home, world) / "ours.csv"
    if not path.exists():
        watched = watch(world)
        known = set(watched.reference.layout.index)
        found = [(w, s) for w, s in flags_of(decide_all(watched)) if s in known]
        exchange.write_flags(((w, "prediction" if s == SCORE else s) for w, s in found), path)
    return exchange.read_flags(path, world.production)


def tables(name: str, home: Path, tools: Sequence[str]) -> Iterator[str]:
    """Yield the page line by line, group after group."""
    form = FORMS[name]
    false, late = [], []
    for world in form.worlds:
        for n in form.rows:
            group = Group(world=world, n=n, form=form)
            found = _group(group, home, tools)
            false += found[0]
            late += found[1]
    drifts = len({line.split("|")[3] for line in late})
    yield "## Clean windows with a flag on any column"
    yield ""
    yield f"Tuned: at most {SHARE:.1%} of calibration windows. Ours is as it comes, at the default budget."
    yield ""
    yield "| windows | rows | tool | clean windows | at defaults | tuned | 95 % interval |"
    yield "|---|---|---|---|---|---|---|"
    yield from false
    yield ""
    yield f"## Median delay in windows to a flag on the right column ({drifts} drifts, {form.seeds} streams each)"
    yield ""
    yield "In brackets: streams flagged within 30 windows. *–*: fewer than half. Others are tuned."
    yield ""
    yield f"| windows | rows | drift | ours | {' | '.join(tools)} | ours ≤ best + 1 |"
    yield "|---|---|---|---|" + "---|" * len(tools) + "---|"
    yield from late
    yield ""


def _group(group: Group, home: Path, tools: Sequence[str]) -> tuple[list[str], list[str]]:
    calibration = [folder_of(home, world) for world in group.calibration()]
    clean = [folder_of(home, world) for world in group.clean()]
    cells = {drift: [folder_of(home, world) for world in group.drifts(drift)] for drift in CELLS}
    everything = [*calibration, *clean, *(folder for folders in cells.values() for folder in folders)]
    head = f"| {'varying' if group.world != 'iid' else 'iid'} | {group.n} |"
    false, delays = [], {drift: {} for drift in CELLS}
    flags = [ours(home, world) for world in group.clean()]
    hits, total = contest.flagged_share(flags, group.form.windows)
    false.append(f"{head} ours | {total} | {hits / total:.1%} | | {_span(hits, total)} |")
    for drift in CELLS:
        delays[drift]["ours"] = [
            contest.delay(ours(home, world), drift.feature, drift.at, WITHIN) for world in group.drifts(drift)
        ]
    for tool in tools:
        contest.score(tool, home, everything)
        tuned = contest.tune([contest.read_scores(tool, folder) for folder in calibration], SHARE)
        scores = [contest.read_scores(tool, folder) for folder in clean]
        plain, total = contest.flagged_share([contest.defaults(found) for found in scores], group.form.windows)
        hits, _ = contest.flagged_share([tuned.flags(found) for found in scores], group.form.windows)
        false.append(f"{head} {tool} | {total} | {plain / total:.1%} | {hits / total:.1%} | {_span(hits, total)} |")
        for drift, folders in cells.items():
            delays[drift][tool] = [
                contest.delay(tuned.flags(contest.read_scores(tool, folder)), drift.feature, drift.at, WITHIN)
                for folder in folders
            ]
    late = []
    for drift, by_tool in delays.items():
        median = {tool: float(np.median(found)) for tool, found in by_tool.items()}
        best = min((median[tool] for tool in tools), default=np.inf)
        shown = " | ".join(_delay(by_tool[tool]) for tool in ("ours", *tools))
        verdict = "yes" if median["ours"] <= best + 1 else "no"
        late.append(f"{head} {drift.kind} {drift.size:g} | {shown} | {verdict} |")
    return false, late


def _span(hits: int, total: int) -> str:
    low, high = interval.share(hits, total)
    return f"{low:.1%}–{high:.1%}"


def _delay(delays: Sequence[float]) -> str:
    median, seen = float(np.median(delays)), sum(np.isfinite(delays))
    return f"{median:g} ({seen})" if np.isfinite(median) else f"– ({seen})"


HEAD = """# Signal quality beside other tools

Written by `python -m benchmarks.signal peers {form} FOLDER`; worlds as in [signal.md](signal.md). Tools: {tools}.
Evidently with the test that its default picks for each column, NannyML with univariate drift, missing and unseen values
against training's chunks, Frouros with Kolmogorov–Smirnov and chi-square at p < .05, River with ADWIN row by row (five
values of delta, the default first). Tuned limits come from streams of their own: scores are standardised per column,
and one limit is set for all columns of a tool.

{few}"""
FEW = """{seeds} streams per cell and {clean} clean windows are **few to rank anybody**; `full` has twenty and 1,500.
Ours is not tuned: where its share below is above another's, the delays are not at an equal rate, to our advantage.

"""


def write(name: str, home: Path, path: Path, tools: Sequence[str] = tuple(contest.PEERS)) -> None:
    """Measure and write the page; prints its lines at the end."""
    form = FORMS[name]
    lines = list(tables(name, home, tools))
    few = FEW.format(seeds=form.seeds, clean=form.clean * form.windows) if form.seeds < 20 else ""
    named = ", ".join(f"{tool} {contest.PEERS[tool]}" for tool in tools)
    path.write_text(HEAD.format(form=name, tools=named, few=few) + "\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print("\n".join(lines), flush=True)
