"""Signal quality of our own decisions on worlds with a known truth; writes docs/benchmarks/signal.md.

python -m benchmarks.signal [quick|half|full] [DIR]      tables; from minutes on one core to a day
python -m benchmarks.signal peers quick|half|full FOLDER  ours beside other tools, installed into the folder
python -m benchmarks.signal real FOLDER SEEDS NAME…   ours on real streams with shuffled rows: employment, or one of
                                                    benchmarks.design's with $MONITOR_DATA
python -m benchmarks.signal cell WHAT N SEEDS NAME…  one line of the tables with seeds of one's choice: of the worlds
                                                    (WHAT is fast, quiet or stated) or the kinds of drift (drift)
python -m benchmarks.signal export KIND N SEED DIR  a null world's windows for another tool, and our flags on them
python -m benchmarks.signal figures KIND N SEED FLAGS   another tool's figures from its flags
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.design.streams import STREAMS
from benchmarks.signal import exchange, interval, ranking, real
from benchmarks.signal.measure import Q, fast_rates, flags_of, honesty, quiet, seen
from benchmarks.signal.notebook import Notebook
from benchmarks.signal.watch import decide_all, watch
from benchmarks.signal.worlds import DRIFTS, NULLS, Drift, null

PAGE = Path("docs/benchmarks/signal.md")
BUDGET = 0.5
Cells = dict[int, tuple[int, int, int, int]]
NOTES = Path("build/signal")
SEEDS: dict[str, Cells] = {  # seeds per cell: (fast path, whole monitor, drifts, stated shifts), by rows per window
    "quick": {200: (10, 1, 0, 4), 1000: (5, 0, 1, 2), 10_000: (1, 0, 0, 0)},
    "half": {200: (40, 6, 6, 6), 1000: (20, 2, 6, 3), 10_000: (6, 0, 0, 0)},
    "full": {200: (60, 20, 20, 20), 1000: (40, 20, 20, 20), 10_000: (20, 20, 20, 5)},
}
FIRST = 1000  # seeds begin here; the method was tried on others


def tables(form: str, notebook: Notebook) -> Iterator[str]:
    """Yield the page line by line."""
    cells = SEEDS[form]
    yield from _fast(cells, notebook)
    yield from _quiet(cells, notebook)
    yield from _drifts(cells, notebook)
    yield from _honest(cells, notebook)


def _fast(cells: Cells, notebook: Notebook) -> Iterator[str]:
    yield f"## Flags of the fast path where nothing is wrong, against q = {Q:.0%} per window, materiality 0"
    yield ""
    yield "| world | rows | windows | observed / nominal | 95 % interval | said by training / nominal |"
    yield "|---|---|---|---|---|---|"
    for n, (seeds, *_) in cells.items():
        for name in NULLS:
            yield notebook.line(f"fast {name} {n}", partial(_fast_line, name, n, seeds))
    yield ""


def _fast_line(name: str, n: int, seeds: int) -> str:
    found = fast_rates(name, n, range(FIRST, FIRST + seeds))
    low, high = interval.share(found.flagged, found.windows)
    return (
        f"| {name} | {n} | {found.windows} | {found.flagged / found.windows / Q:.2f} | "
        f"{low / Q:.2f}–{high / Q:.2f} | {found.achieved / Q:.2f} |"
    )


def _quiet(cells: Cells, notebook: Notebook) -> Iterator[str]:
    yield f"## Messages where nothing is wrong, against a budget of {BUDGET} per model-month"
    yield ""
    yield "| world | rows | months | messages | per month | 95 % interval | feature windows flagged | about |"
    yield "|---|---|---|---|---|---|---|---|"
    for n, (_, seeds, *_) in cells.items():
        for name in NULLS if seeds else ():
            yield notebook.line(f"quiet {name} {n}", partial(_quiet_line, name, n, seeds))
    yield ""


def _quiet_line(name: str, n: int, seeds: int) -> str:
    found = quiet(name, n, range(FIRST, FIRST + seeds), 300)
    low, high = interval.rate(found.messages, found.months)
    return (
        f"| {name} | {n} | {found.months:.1f} | {found.messages} | {found.messages / found.months:.2f} | "
        f"{low:.2f}–{high:.2f} | {found.flagged / found.windows:.1%} | {', '.join(found.about) or '–'} |"
    )


def _drifts(cells: Cells, notebook: Notebook) -> Iterator[str]:
    yield "## Delay in windows, from the first wrong window to a flag in the right place, and to a message"
    yield ""
    yield "| drift | windows | rows | flagged within 30 | median delay | 90 % | told | median delay to message |"
    yield "|---|---|---|---|---|---|---|---|"
    for varying in (True, False):
        for n, (_, _, seeds, _) in cells.items():
            for drift in DRIFTS if seeds else ():
                key = f"drift {drift.kind} {drift.size} {varying} {n}"
                yield notebook.line(key, partial(_drift_line, drift, n, seeds, varying=varying))
    yield ""


def _drift_line(drift: Drift, n: int, seeds: int, *, varying: bool) -> str:
    runs = [seen(drift, n, seed, varying=varying) for seed in range(FIRST, FIRST + seeds)]
    delays = [run.flag for run in runs if run.flag is not None and run.flag <= 30]
    told = [run.message for run in runs if run.message is not None]
    size = f" {drift.size:g}" if drift.size else ""
    return (
        f"| {drift.kind}{size} | {'varying' if varying else 'iid'} | {n} | {len(delays)} of {len(runs)} | "
        f"{_quantile(delays, 0.5)} | {_quantile(delays, 0.9)} | {len(told)} of {len(runs)} | "
        f"{_quantile(told, 0.5)} |"
    )


def _quantile(delays: list[int], q: float) -> str:
    return f"{np.quantile(delays, q):.0f}" if delays else "–"


def _honest(cells: Cells, notebook: Notebook) -> Iterator[str]:
    yield "## Shifts of the stated minimum detectable size that were flagged in their window"
    yield ""
    yield "| world | rows | found | share | 95 % interval |"
    yield "|---|---|---|---|---|"
    for n, (*_, seeds) in cells.items():
        for name in ("iid", "autocorrelated", "heavy tails") if seeds else ():
            yield notebook.line(f"stated {name} {n}", partial(_stated_line, name, n, seeds))
    yield ""


def _stated_line(name: str, n: int, seeds: int) -> str:
    found, trials = honesty(name, n, range(FIRST, FIRST + seeds))
    low, high = interval.share(found, trials)
    return f"| {name} | {n} | {found} of {trials} | {found / trials:.0%} | {low:.0%}–{high:.0%} |"


def cell(what: str, n: int, seeds: int, name: str) -> Iterator[str]:
    """Yield the lines of one world or one kind of drift, of windows that vary."""
    lines = {"fast": _fast_line, "quiet": _quiet_line, "stated": _stated_line}
    if what in lines and name in NULLS:
        yield lines[what](name, n, seeds)
    elif what == "drift" and name in {drift.kind for drift in DRIFTS}:
        for drift in DRIFTS:
            if drift.kind == name:
                yield _drift_line(drift, n, seeds, varying=True)
    else:
        kinds = ", ".join(dict.fromkeys(drift.kind for drift in DRIFTS))
        raise SystemExit(f"fast, quiet and stated are of {', '.join(NULLS)}; drift is of {kinds}.")


HEAD = """# Signal quality on worlds with a known truth

Written by `python -m benchmarks.signal {form}` in {minutes:.0f} minutes.{unfinished} Other tools on the same worlds:
`python -m benchmarks.signal peers`; yet others take part through `python -m benchmarks.signal export` and `figures` (a
file of windows in, a file of flags out).

Ten features from latent normal values (four normal, two log-normal, one mostly zero, three categorical with 2, 5 and 20
values), a score and labels. Training has 56 daily windows (hours: 336), production 300 (drifts: 100, it begins in the
41st). *Varying* windows have a weekend (.15 sd in half of the features) and AR(1) effects (sd .04, ρ = .6). Sizes
are in standard deviations of single rows. Messages go through `monitor.decision.decide` with the checks drift, sudden,
quality and performance, labels known at once; *holidays* are told to the monitor in the line that
says so, as a configuration would. A delay of *–* means that it was never seen. Benign drift is to be
flagged, never told; correlation alone is what the method cannot see.

The quick form has one to ten seeds in a cell, the half one two to forty; intervals say how little that proves.
Real streams: `python -m benchmarks.signal real`.

"""


def write(form: str, path: Path) -> None:
    """Measure, print as it goes, and write the page after each line; what was measured before is not measured again."""
    notebook, lines = Notebook(NOTES, form), []
    path.parent.mkdir(parents=True, exist_ok=True)

    def keep(unfinished: str) -> None:
        head = HEAD.format(form=form, minutes=notebook.seconds / 60, unfinished=unfinished)
        path.write_text(head + "\n".join(lines).rstrip() + "\n", encoding="utf-8")

    for line in tables(form, notebook):
        print(line, flush=True)
        lines.append(line)
        keep(" **Unfinished**: tables end where the run was stopped; the same command goes on from there.")
    keep("")
    print(f"{notebook.seconds / 60:.1f} minutes; wrote {path}")


def export(kind: str, n: str, seed: str, folder: str) -> None:
    """Write a null world's windows and our flags on them."""
    world, target = null(kind, int(n), int(seed)), Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    exchange.write_windows(world, target / "windows.parquet")
    exchange.write_flags(flags_of(decide_all(watch(world))), target / "ours.csv")
    figures(kind, n, seed, str(target / "ours.csv"))


def figures(kind: str, n: str, seed: str, flags: str) -> None:
    """Print a tool's figures on a null world."""
    world = null(kind, int(n), int(seed))
    try:
        found = exchange.read_flags(Path(flags), world.production)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    for name, value in exchange.figures(found, world).items():
        print(f"{name}: {'–' if value is None else f'{value:.4g}'}")


def main(arguments: list[str]) -> None:
    """Do what the module's docstring says."""
    commands: dict[str, Callable[[str, str, str, str], None]] = {"export": export, "figures": figures}
    match arguments:
        case ["export" | "figures", kind, n, seed, _] if kind not in NULLS or not (n.isdigit() and seed.isdigit()):
            raise SystemExit(f"KIND is one of {', '.join(NULLS)}; N and SEED are numbers.")
        case ["cell", what, n, seeds, *names] if names and n.isdigit() and seeds.isdigit() and int(seeds):
            for name in names:
                for line in cell(what, int(n), int(seeds), name):
                    print(line, flush=True)
        case [("export" | "figures") as command, kind, n, seed, path]:
            commands[command](kind, n, seed, path)
        case ["peers", "quick" | "half" | "full" as form, folder]:
            ranking.write(form, Path(folder), PAGE.with_name("peers.md"))
        case ["real", folder, seeds, *names] if names and seeds.isdigit() and int(seeds):
            known = [real.EMPLOYMENT, *STREAMS]
            if set(names) - set(known):
                raise SystemExit(f"Say which streams: some of {', '.join(known)}.")
            for line in real.table(Path(folder), names, range(FIRST, FIRST + int(seeds))):
                print(line, flush=True)
        case [] | ["quick" | "half" | "full"] | ["quick" | "half" | "full", _]:
            form = arguments[0] if arguments else "quick"
            write(form, Path(arguments[1]) / PAGE.name if len(arguments) > 1 else PAGE)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
