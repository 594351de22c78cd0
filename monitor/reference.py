"""The training profile ("reference"): what production is compared with. Immutable, addressed by its content."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache, partial
from typing import Any, TypeVar, cast, overload

import numpy as np

from monitor.column import (
    CategoricalColumn,
    Clock,
    Column,
    Layout,
    NumericColumn,
    TimeFunction,
    clock_slots,
    freeze_categorical,
    freeze_numeric,
    score_of,
)
from monitor.embedding import freeze
from monitor.outcome import OutcomeLayout, OutcomeProfile, Task, outcomes_of, score_edges
from monitor.profile import Profile, profiles_of
from monitor.relation import SAMPLE, learn
from monitor.slicing import freeze_slicing
from monitor.source import Batch, CategoryValues, Floats, Ints, NumericValues, Values, take
from monitor.window import CalendarUnit, Window, WindowSpec

T = TypeVar("T")

FORMAT = 3  # 1 had no relations, 2 neither embeddings nor words
PLAIN = 2  # what a profile without them is written as
SCORE = "prediction"  # the score's name among the columns; a feature may not be called so
ENOUGH_WINDOWS = 28  # fewer windows of variance: "calibrating"
VALUE_EDGES = 64
CLOCK_SLOTS = {Clock.WEEKDAY: 7, Clock.HOUR: 24, Clock.HALF_HOUR: 48, Clock.MONTH: 12}


class Packed(Sequence[T]):
    """What belongs to the windows of training as it is stored, unpacked when somebody looks at it.

    What is computed from it is kept (``memo``), so it is looked at once, and needs no room ever after: with ``again``,
    which brings what is stored once more, it is given up once unpacked.
    """

    def __init__(
        self,
        stored: Sequence[str | None],
        unpack: Callable[[bytes], T],
        again: Callable[[], Sequence[str | None]] | None = None,
    ) -> None:
        self.stored: Sequence[str | None] | None = stored
        self._size, self._unpack, self._again = len(stored), unpack, again

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        return self._whole()[place]

    def __iter__(self) -> Iterator[T]:
        return iter(self._whole())

    def _whole(self) -> tuple[T, ...]:
        found: tuple[T, ...] = _unpacked(self)
        return found

    def unpacked(self) -> tuple[T, ...]:
        """Return all of it, unpacked anew."""
        stored = self.stored  # another thread may give it up now
        if stored is None:
            assert self._again is not None
            stored = self._again()
        # a window without outcomes has none to unpack, and says so
        found = tuple(None if one is None else self._unpack(base64.b64decode(one)) for one in stored)
        if self._again is not None:
            self.stored = None
        return cast("tuple[T, ...]", found)


@lru_cache(maxsize=4)  # profiles and outcomes of references whose memos are being made
def _unpacked(packed: Packed[Any]) -> tuple[Any, ...]:
    return packed.unpacked()


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Profiles of the training rows, cut along their own time line.

    ``windows`` and ``profiles`` run in parallel; ``outcomes`` too, from out-of-fold and held-out predictions only
    (None without any). ``held_out`` marks windows that training never saw. Without a time column the rows are cut by
    their order and ``timeline`` is false: variance between windows is then unproven.
    """

    model: str
    version: str
    task: Task
    created_at: datetime
    spec: WindowSpec
    timeline: bool
    windows: tuple[Window, ...]
    profiles: Sequence[Profile]
    outcome_layout: OutcomeLayout | None = None
    outcomes: Sequence[OutcomeProfile | None] = ()
    held_out: tuple[bool, ...] = ()
    grouped: OutcomeProfile | None = None
    """All outcomes with their groups, which single windows do not have; None where no slices are configured."""
    rows: int = 0
    holdout_rows: int = 0
    importance: Mapping[str, float] = field(default_factory=dict)
    mean_prediction: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Mean prediction per bin of a column (NaN where empty), for ranking suspects."""
    upstreams: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    python_version: str = ""
    business: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    notes: tuple[str, ...] = ()

    @cached_property
    def layout(self) -> Layout:
        """The frozen columns."""
        return self.profiles[0].layout

    @cached_property
    def total(self) -> Profile:
        """Profile of all training rows."""
        return Profile.total(self.layout, self.profiles)

    @cached_property
    def outcome_total(self) -> OutcomeProfile | None:
        """Outcome profile of all out-of-fold and held-out rows."""
        if self.outcome_layout is None:
            return None
        return OutcomeProfile.total(self.outcome_layout, [o for o in self.outcomes if o is not None])

    @property
    def calibrating(self) -> bool:
        """Whether there are too few windows of variance to trust thresholds."""
        return not self.timeline or len(self.windows) < ENOUGH_WINDOWS

    @property
    def features(self) -> list[str]:
        """Names of the input columns."""
        return [column.name for column in self.layout.columns if column.part == "input"]

    def source_of(self, feature: str) -> str:
        """Return the upstream a feature belongs to; a feature of none is its own source."""
        return next((name for name, members in self.upstreams.items() if feature in members), feature)

    def to_bytes(self) -> bytes:
        """Return versioned bytes; the reference id is their hash, so the moment of creation is not among them."""

        def b64(data: bytes) -> str:
            return base64.b64encode(data).decode()

        head = {
            "format": FORMAT if self.layout.is_rich else PLAIN,
            "model": self.model,
            "version": self.version,
            "task": self.task.value,
            "spec": _spec_to_json(self.spec),
            "timeline": self.timeline,
            "windows": [[w.start.isoformat(), w.end.isoformat()] for w in self.windows],
            "layout": self.layout.to_json(),
            "profiles": [b64(p.to_bytes()) for p in self.profiles],
            "outcome_layout": None if self.outcome_layout is None else self.outcome_layout.to_json(),
            "outcomes": [None if o is None else b64(o.to_bytes()) for o in self.outcomes],
            "held_out": list(self.held_out),
            "rows": self.rows,
            "holdout_rows": self.holdout_rows,
            "importance": dict(self.importance),
            "mean_prediction": {k: [None if np.isnan(x) else x for x in v] for k, v in self.mean_prediction.items()},
            "upstreams": {k: list(v) for k, v in self.upstreams.items()},
            **({} if self.grouped is None else {"grouped": b64(self.grouped.to_bytes())}),
            "packages": dict(self.packages),
            "python_version": self.python_version,
            "business": dict(self.business),
            "source": self.source,
            "notes": list(self.notes),
        }
        return zlib.compress(json.dumps(head, sort_keys=True, separators=(",", ":")).encode(), 6)

    @cached_property
    def id(self) -> str:
        """SHA-256 of the content in hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        *,
        created_at: datetime = datetime(1970, 1, 1, tzinfo=UTC),
        again: Callable[[], bytes] | None = None,
    ) -> Reference:
        """Return the reference in ``data``; raises ValueError for a newer format.

        With ``again``, which returns the same bytes, what belongs to single windows is not kept in memory.
        """
        head = _head(data)
        if head["format"] > FORMAT:
            raise ValueError(f"training profile format {head['format']} is newer than {FORMAT}; run the newer program")
        layout = Layout.from_json(head["layout"])
        outcome_layout = head["outcome_layout"] and OutcomeLayout.from_json(head["outcome_layout"])

        def packed(name: str, unpack: Callable[[bytes], T]) -> Packed[T]:
            return Packed(head[name], unpack, again and (lambda: _head(again())[name]))

        found = cls(
            model=head["model"],
            version=head["version"],
            task=Task(head["task"]),
            created_at=created_at,
            spec=_spec_from_json(head["spec"]),
            timeline=head["timeline"],
            windows=tuple(
                Window(start=datetime.fromisoformat(a), end=datetime.fromisoformat(b)) for a, b in head["windows"]
            ),
            profiles=packed("profiles", partial(Profile.from_bytes, layout)),
            outcome_layout=outcome_layout,
            outcomes=packed("outcomes", partial(OutcomeProfile.from_bytes, outcome_layout)),
            held_out=tuple(head["held_out"]),
            grouped=OutcomeProfile.from_bytes(outcome_layout, base64.b64decode(head["grouped"]))
            if "grouped" in head
            else None,
            rows=head["rows"],
            holdout_rows=head["holdout_rows"],
            importance=head["importance"],
            mean_prediction={
                k: tuple(float("nan") if x is None else x for x in v) for k, v in head["mean_prediction"].items()
            },
            upstreams={k: tuple(v) for k, v in head["upstreams"].items()},
            packages=head["packages"],
            python_version=head["python_version"],
            business=head["business"],
            source=head["source"],
            notes=tuple(head["notes"]),
        )
        # what it was stored as; packing thousands of windows again would take seconds
        found.__dict__["id"] = hashlib.sha256(data).hexdigest()
        found.__dict__["layout"] = layout
        return found


def _head(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(zlib.decompress(data))
    return found


def _spec_to_json(spec: WindowSpec) -> dict[str, Any]:
    return {
        "calendar": spec.calendar,
        "timezone": spec.timezone,
        "width": None if spec.width is None else spec.width.total_seconds(),
        "step": None if spec.step is None else spec.step.total_seconds(),
    }


def _spec_from_json(data: Mapping[str, Any]) -> WindowSpec:
    return WindowSpec(
        calendar=None if data["calendar"] is None else CalendarUnit(data["calendar"]),
        timezone=data["timezone"],
        width=None if data["width"] is None else timedelta(seconds=data["width"]),
        step=None if data["step"] is None else timedelta(seconds=data["step"]),
    )


def cut_timeline(time: Ints, spec: WindowSpec) -> tuple[tuple[Window, ...], Ints]:
    """Return the windows that training rows fall in, in order, and each row's window.

    Empty windows are left out. Sliding windows are cut into consecutive ones: overlapping windows are no independent
    sample of the variance between windows.
    """
    plain = WindowSpec(calendar=spec.calendar, timezone=spec.timezone, width=spec.width)
    place = np.empty(len(time), np.int64)
    windows: list[Window] = []
    order = np.argsort(time, kind="stable")
    ordered = time[order]
    at = 0
    while at < len(ordered):
        window = plain.containing(datetime.fromtimestamp(int(ordered[at]) / 1e6, UTC))
        until = int(np.searchsorted(ordered, round(window.end.timestamp() * 1e6), side="left"))
        place[order[at:until]] = len(windows)
        windows.append(window)
        at = until
    return tuple(windows), place


def cut_rows(rows: int, parts: int = ENOUGH_WINDOWS) -> tuple[tuple[Window, ...], Ints]:
    """Return pseudo windows of equal row numbers for training rows without a time, and each row's window."""
    parts = max(1, min(parts, rows // 50))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    windows = tuple(Window(start=epoch + timedelta(days=i), end=epoch + timedelta(days=i + 1)) for i in range(parts))
    return windows, np.minimum(np.arange(rows) * parts // max(rows, 1), parts - 1).astype(np.int64)


def recognise_time_function(values: Values, time: Ints, timezone: str, part: str = "input") -> TimeFunction | None:
    """Return the clock a column follows, or None.

    A column follows a clock when at least 80 % of rows have the usual value of their slot and that is 70 % better than
    always guessing the most frequent value. A clock counts only if its slots recur in training (weekday: two weeks,
    hours: seven days, month: three years); a calendar date never does.
    """
    if part != "input" or not len(time):
        return None
    if isinstance(values, NumericValues):
        ok = np.isfinite(values.values)
        distinct, coded = np.unique(values.values[ok], return_inverse=True)
        meanings = distinct
    else:
        ok = values.codes >= 0
        used, coded = np.unique(values.codes[ok], return_inverse=True)
        meanings = used.astype(np.float64)  # replaced by places once the column is frozen
    if not 2 <= len(meanings) <= 60:
        return None
    usable = time[ok]
    base = float(np.bincount(coded).max() / len(coded))
    days = (int(time.max()) - int(time.min())) / 86_400e6
    recurs = {Clock.WEEKDAY: days >= 14, Clock.HOUR: days >= 7, Clock.HALF_HOUR: days >= 7, Clock.MONTH: days >= 1095}
    for clock, slots in CLOCK_SLOTS.items():
        if not recurs[clock]:
            continue
        slot = clock_slots(clock, usable, timezone)
        table = np.bincount(slot * len(meanings) + coded, minlength=slots * len(meanings)).reshape(slots, -1)
        seen = np.flatnonzero(table.sum(axis=1))
        if len(seen) < 2 or len(meanings) > 1.5 * len(seen):
            continue
        agreement = float(table.max(axis=1).sum() / len(coded))
        if agreement >= 0.8 and (agreement - base) / (1 - base) >= 0.7:
            usual = {int(s): float(meanings[table[s].argmax()]) for s in seen}
            return TimeFunction(clock=clock, timezone=timezone, usual=usual, agreement=agreement)
    return None


def freeze_layout(batch: Batch, timezone: str, *, has_time: bool = True) -> Layout:
    """Return the layout of training rows: every column of the batch, then the score where there is one."""
    columns: list[Column] = []
    for name, values in batch.columns.items():
        if name == SCORE:
            raise ValueError(f"a feature may not be called {SCORE}; rename it under source.features")
        clock = recognise_time_function(values, batch.time, timezone) if has_time else None
        if isinstance(values, NumericValues):
            columns.append(freeze_numeric(name, values, clock=clock))
            continue
        column = freeze_categorical(name, values)
        if clock is not None:
            places = column.places(values.categories)
            usual = {slot: float(places[int(code)]) for slot, code in clock.usual.items()}
            clock = TimeFunction(clock=clock.clock, timezone=timezone, usual=usual, agreement=clock.agreement)
            column = CategoricalColumn(name=name, values=column.values, rare=column.rare, clock=clock)
        columns.append(column)
    if batch.score is not None and np.isfinite(batch.score).any():
        score = NumericValues(values=batch.score, missing=np.isnan(batch.score))
        columns.append(freeze_numeric(SCORE, score, part="prediction"))
    some = take(batch, np.arange(0, batch.rows, max(1, batch.rows // SAMPLE)))
    scores = {
        column.name: scored
        for column in columns
        if isinstance(column, NumericColumn)
        and column.part == "input"
        and column.clock is None
        and column.scale > 0
        and not column.off_atom
        and (scored := score_of(column, some.columns[column.name])) is not None
    }
    embeddings = [freeze(name, vectors) for name, vectors in batch.vectors.items()]
    return Layout(tuple(columns), learn(scores), tuple(one for one in embeddings if one is not None))


def freeze_outcomes(
    task: Task,
    batch: Batch,
    *,
    threshold: float | None,
    classes: Sequence[str] = (),
    slices: Sequence[Sequence[str]] = (),
) -> OutcomeLayout:
    """Return the edges and scales of outcomes from rows with honest (out-of-fold or held-out) predictions."""
    score = batch.score if batch.score is not None else np.full(batch.rows, np.nan)
    label = batch.label if batch.label is not None else np.full(batch.rows, np.nan)
    slicings = tuple(freeze_slicing(names, batch.attributes, batch.rows) for names in slices)
    if task is not Task.REGRESSION:
        edges = score_edges(score, threshold)
        return OutcomeLayout(
            task=task,
            score_edges=edges,
            label_edges=np.zeros(0),
            threshold=threshold,
            classes=tuple(classes),
            slicings=slicings,
        )
    ok = np.isfinite(score) & np.isfinite(label)
    error = label[ok] - score[ok]
    q1, q3 = np.quantile(error, [0.25, 0.75])
    grid = np.linspace(0, 1, VALUE_EDGES + 1)
    return OutcomeLayout(
        task=task,
        score_edges=np.unique(np.quantile(score[ok], grid)),
        label_edges=np.unique(np.quantile(label[ok], grid)),
        residual_scale=float(max((q3 - q1) / 1.349, 1e-12)),
        loss_cap=float(np.quantile(np.abs(error), 0.99)),
        slicings=slicings,
    )


def mean_predictions(layout: Layout, batch: Batch, score: Floats) -> dict[str, tuple[float, ...]]:
    """Return the mean prediction per bin of every column (NaN for empty bins)."""
    found: dict[str, tuple[float, ...]] = {}
    known = np.isfinite(score)
    for column in layout.columns:
        values = batch.columns.get(column.name)
        if isinstance(column, CategoricalColumn) and isinstance(values, CategoryValues):
            place = np.where(values.codes >= 0, column.places(values.categories)[values.codes], -1)
        elif isinstance(values, NumericValues) and not isinstance(column, CategoricalColumn):
            place = np.where(np.isfinite(values.values), column.bin(values.values), -1)
        else:
            continue
        ok = known & (place >= 0)
        count = np.bincount(place[ok], minlength=column.bins)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.bincount(place[ok], weights=score[ok], minlength=column.bins) / count
        found[column.name] = tuple(means.tolist())
    return found


def with_score(batch: Batch) -> Batch:
    """Return the batch with its score among the columns, as profiles of inputs carry it."""
    if batch.score is None:
        return batch
    score = NumericValues(values=batch.score, missing=np.isnan(batch.score))
    return replace(batch, columns={**batch.columns, SCORE: score})


def build_reference(
    batch: Batch,
    *,
    model: str,
    version: str,
    task: Task,
    spec: WindowSpec,
    created_at: datetime,
    held_out_from: datetime | None = None,
    threshold: float | None = None,
    classes: Sequence[str] = (),
    has_time: bool = True,
    slices: Sequence[Sequence[str]] = (),
    **facts: Any,
) -> Reference:
    """Return the reference of training (and held-out) rows.

    ``slices`` are the attributes of ``batch``, one or two each, by which outcomes are watched apart.

    ``batch.score`` must hold honest predictions only: out-of-fold for training rows, the champion's for held-out rows,
    NaN where there is none. ``facts`` are further fields of Reference (importance, packages, business, …).
    """
    windows, place = cut_timeline(batch.time, spec) if has_time else cut_rows(batch.rows)
    layout = freeze_layout(batch, spec.timezone, has_time=has_time)
    full = with_score(batch)
    profiles = tuple(profiles_of(layout, full, place, len(windows)))
    outcome_layout: OutcomeLayout | None = None
    outcomes: tuple[OutcomeProfile | None, ...] = ()
    grouped: OutcomeProfile | None = None
    if batch.label is not None and batch.score is not None:
        outcome_layout = freeze_outcomes(task, batch, threshold=threshold, classes=classes, slices=slices)
        built = outcomes_of(outcome_layout.plain, batch, place, len(windows))
        outcomes = tuple(replace(o, layout=outcome_layout) if o.labelled else None for o in built)
        grouped = OutcomeProfile.of(outcome_layout, batch) if slices else None
    means = {} if batch.score is None else mean_predictions(layout, batch, batch.score)
    return Reference(
        model=model,
        version=version,
        task=task,
        created_at=created_at,
        spec=spec,
        timeline=has_time,
        windows=windows,
        profiles=profiles,
        outcome_layout=outcome_layout,
        outcomes=outcomes,
        grouped=grouped,
        held_out=tuple(held_out_from is not None and w.start >= held_out_from for w in windows),
        mean_prediction=means,
        **facts,
    )
