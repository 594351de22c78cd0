"""Two questions to the method: whether it hangs on the weeks that training had, and sees what it says it would see.

python -m benchmarks.design.robustness weeks [N] | shifts
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta

import numpy as np

from benchmarks.design.replay import Replayer
from benchmarks.design.streams import Stream, flights, reference_of, take
from monitor.check import Severity, Stage, Verdict, checks
from monitor.proof import Proof
from monitor.reference import SCORE, Reference, build_reference
from monitor.source import Batch, CategoryValues, Ints, NumericValues, Values

WEEK = 7


def redrawn(stream: Stream, rng: np.random.Generator) -> Batch:
    """Return training rows whose weeks are drawn again with replacement, one after the other in time."""
    weeks = range(0, stream.trained, WEEK)
    whole = [w for w in weeks if w + WEEK <= stream.trained]
    rows: list[Ints] = []
    times: list[Ints] = []
    for at in weeks:
        length = min(WEEK, stream.trained - at)
        drawn = int(rng.choice(whole))
        chosen = np.flatnonzero((stream.place >= drawn) & (stream.place < drawn + length))
        rows.append(chosen)
        times.append(stream.batch.time[chosen] + round(timedelta(days=at - drawn).total_seconds() * 1e6))
    batch = take(stream.batch, np.concatenate(rows))
    time = np.concatenate(times)
    return Batch(rows=batch.rows, time=time, columns=batch.columns, score=batch.score, label=batch.label)


def reference_from(stream: Stream, batch: Batch) -> Reference:
    """Return the training profile of other training rows of the stream."""
    return build_reference(
        batch,
        model=stream.name,
        version="1",
        task=stream.task,
        spec=stream.spec,
        created_at=stream.windows[stream.trained].start,
        held_out_from=stream.windows[stream.fitted].start,
        threshold=stream.threshold,
        rows=batch.rows,
        upstreams=stream.upstreams,
    )


def weeks(number: int) -> None:
    """Replay the flights against training profiles of redrawn weeks."""
    stream = flights()
    proofs: dict[object, Proof] = {}
    found, few, early = 0, 0, 0
    for seed in range(number):
        batch = redrawn(stream, np.random.default_rng(seed))
        replayer = Replayer(stream=stream, reference=reference_from(stream, batch), proofs=proofs, keep_findings=False)
        replay = replayer.run()
        dates = [
            f"{stream.label(n.window_start)}{n.group_key.split(':')[2][:2]}" for n in replay.loud if n.window_start
        ]
        day = next(w.start for w in stream.windows if stream.label(w.start) == "2013-04-23")
        april = [a for a in replay.episodes.values() if a.family == "outcome" and a.covers(day)]
        until = [stream.label(a.resolved_window_start) if a.resolved_window_start else "open" for a in april]
        before = sum(date < "2013-03-20" for date in dates)
        found += bool(april)
        few += len(dates) <= 12
        early += before <= 1
        causes = [str(a.cause) for a in april]
        print(
            f"  weeks {seed}: {len(dates)} messages, {before} before 20 March, "
            f"April {bool(april)} {causes} until {until}: "
            f"{' '.join(d[5:] for d in dates)}",
            flush=True,
        )
    print(
        f"April found by the 23rd {found}/{number}, at most 12 messages {few}/{number}, "
        f"at most one before 20 March {early}/{number}"
    )


def calm(stream: Stream, days: int, rng: np.random.Generator) -> Batch:
    """Return training rows in order, and after them ``days`` days drawn from training days of the same weekday."""
    rows: list[Ints] = []
    times: list[Ints] = []
    for day in range(days):
        at = stream.trained + day
        same = [w for w in range(stream.trained) if (at - w) % WEEK == 0]
        drawn = int(rng.choice(same))
        chosen = np.flatnonzero(stream.place == drawn)
        rows.append(chosen)
        times.append(stream.batch.time[chosen] + round(timedelta(days=at - drawn).total_seconds() * 1e6))
    batch = take(stream.batch, np.concatenate(rows))
    time = np.concatenate(times)
    return Batch(rows=batch.rows, time=time, columns=batch.columns, score=batch.score, label=batch.label)


def _with(batch: Batch, **changes: object) -> Batch:
    return replace(batch, **changes)  # type: ignore[arg-type]  # names and types are the fields'


def _shifted(batch: Batch, name: str, size: float, scale: float, after: Ints, rng: np.random.Generator) -> Batch:
    """Return the batch with one feature, the score or the labels moved on the rows ``after``.

    Numeric features move by ``size`` training standard deviations; of a categorical one a share of rows takes the most
    frequent value; the score moves up, labels are switched on.
    """
    hit = np.zeros(batch.rows, np.bool_)
    hit[after] = True
    if name == SCORE:
        assert batch.score is not None
        return _with(batch, score=np.where(hit, np.clip(batch.score + size, 0.001, 0.999), batch.score))
    if name == "label":
        assert batch.label is not None
        share = size / max(1 - float(np.nanmean(batch.label)), 1e-9)
        switched = hit & (rng.random(batch.rows) < share)
        return _with(batch, label=np.where(switched & np.isfinite(batch.label), 1.0, batch.label))
    columns: dict[str, Values] = dict(batch.columns)
    values = columns[name]
    if isinstance(values, NumericValues):
        columns[name] = NumericValues(
            values=np.where(hit, values.values + size * scale, values.values), missing=values.missing
        )
    else:
        common = int(np.bincount(values.codes[values.codes >= 0]).argmax())
        taken = hit & (rng.random(batch.rows) < size)
        columns[name] = CategoryValues(
            codes=np.where(taken, common, values.codes).astype(np.int32), categories=values.categories
        )
    return _with(batch, columns=columns)


def shifts() -> None:
    """Move one subject at a time by what the monitor says it would see, in days like those of training."""
    stream = flights()
    reference = reference_of(stream)
    before, days = 14, 42
    rng = np.random.default_rng(1)
    base = calm(stream, days, rng)
    names = [c.name for c in reference.layout.columns if c.part == "input" and c.clock is None] + [SCORE, "label"]
    stated = _stated(stream, reference, base)
    print(
        f"{'subject':<12} {'stated':>8} {'moved':>8} {'days to a flag':>15} {'days to a message':>18}"
        "   calm days flagged"
    )
    missed = []
    for name in names:
        column = reference.layout.columns[reference.layout.index[name]] if name in reference.layout.index else None
        scale = float(getattr(column, "scale", 1.0) or 1.0)
        sizes = stated.get(name, [])
        if not sizes:
            print(f"{name:<12} nothing stated: cannot be judged")
            continue
        size = float(np.median(sizes))
        start = np.unique(base.time // 86_400_000_000)[before] * 86_400_000_000
        moved = _shifted(base, name, size, scale, np.flatnonzero(base.time >= start), rng)
        flags, told = _flags(stream, reference, moved, name)
        quiet, _ = _flags(stream, reference, base, name)
        first = next((d - before for d in flags if d >= before), None)
        message = next((d - before for d in told if d >= before), None)
        if first is None:
            missed.append(name)
        calm_share = len(quiet) / days
        print(
            f"{name:<12} {size:>8.3f} {size * (scale if column is not None and name != SCORE else 1):>8.3f} "
            f"{'-' if first is None else first:>15} {'-' if message is None else message:>18}   {calm_share:.0%}",
            flush=True,
        )
    print("missed: " + (", ".join(missed) or "none"))


FAMILIES = {SCORE: "score", "label": "outcome"}


def _replayed(stream: Stream, reference: Reference, batch: Batch):
    from monitor.reference import cut_timeline

    windows, place = cut_timeline(batch.time, stream.spec)
    later = replace(
        stream, batch=batch, windows=(*stream.windows[: stream.trained], *windows), place=place + stream.trained
    )
    active = {name: checks.build(name, {}) for name in ("drift", "performance")}
    return later, Replayer(stream=later, reference=reference, with_challengers=False).run(active)


def _stated(stream: Stream, reference: Reference, batch: Batch) -> dict[str, list[float]]:
    """Return what each subject says it would have seen, window by window."""
    found: dict[str, list[float]] = {}
    _, replay = _replayed(stream, reference, batch)
    for _, _, finding in replay.findings:
        if finding.minimum_detectable is None or finding.latched:
            continue
        if finding.family.startswith("feature:") and finding.subject != SCORE:
            found.setdefault(finding.subject, []).append(finding.minimum_detectable)
        elif finding.family == "score":
            found.setdefault(SCORE, []).append(finding.minimum_detectable)
        elif finding.family == "outcome" and finding.statistic == "residual":
            found.setdefault("label", []).append(finding.minimum_detectable)
    return found


def _flags(stream: Stream, reference: Reference, batch: Batch, name: str) -> tuple[list[int], list[int]]:
    """Return the days on which the subject is flagged, and those on which people hear of it."""
    later, replay = _replayed(stream, reference, batch)
    family = FAMILIES.get(name, f"feature:{name}")
    place = {window.start: i - stream.trained for i, window in enumerate(later.windows)}
    days = sorted(
        {
            place[window.start]
            for stage, window, finding in replay.findings
            if finding.family == family
            and finding.verdict in (Verdict.WARNING, Verdict.CRITICAL)
            and stage in (Stage.INPUTS, Stage.OUTCOMES)
        }
    )
    keys = {a.key for a in replay.episodes.values() if a.family == family and a.severity is not Severity.INFO}
    told = sorted(place[n.window_start] for n in replay.loud if n.window_start is not None and keys & set(n.alert_keys))
    return days, told


def main() -> None:
    """Answer one of the two questions."""
    if sys.argv[1:2] == ["weeks"]:
        weeks(int(sys.argv[2]) if len(sys.argv) > 2 else 20)
    elif sys.argv[1:] == ["shifts"]:
        shifts()
    else:
        raise SystemExit("Say weeks [N] or shifts.")


if __name__ == "__main__":
    main()
