"""Outcome profiles: predictions with their labels, as counts and sums that merge like any profile."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from monitor.column import CLIP
from monitor.slicing import Slicing
from monitor.source import Batch, Floats, Ints, take

FORMAT = 2  # 1 has no groups, and is what a layout without slicings still writes
MAGIC = b"DMOC"
FLOOR = 1e-4  # probabilities are clipped to [FLOOR, 1 - FLOOR] in the log loss, so one certain mistake stays finite
SCORE_BINS = 200
GROUPED = 1024  # groups of pieces of time that are profiled at once, which bounds what is in memory
DELAY_EDGES = np.geomspace(60.0, 90 * 86_400.0, 63)  # label delay from a minute to 90 days


class Task(StrEnum):
    """What a model predicts."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


SUMS: Mapping[Task, tuple[str, ...]] = {
    Task.BINARY: ("score", "score_labelled", "residual", "residual2", "loss", "loss2", "brier", "brier2"),
    Task.MULTICLASS: ("loss", "loss2", "brier", "brier2", "residual", "residual2", "score", "score_labelled"),
    Task.REGRESSION: (
        "score",
        "score_labelled",
        "residual",  # clip((y - p) / residual_scale, ±8), as in "residual2", its square
        "residual2",
        "loss",  # min(|y - p|, loss_cap)
        "loss2",
        "error",
        "error2",
        "absolute_error",
        "under",  # Σ max(y - p, 0): predicted too little
        "over",
        "label",
        "label2",
        "score2",
        "product",
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class OutcomeLayout:
    """Frozen edges of an outcome profile.

    Binary: ``score_edges`` cut [0, 1], the cut-off ``threshold`` among them. Regression: ``score_edges`` and
    ``label_edges`` are training quantiles, ``residual_scale`` the robust sd of out-of-fold residuals and ``loss_cap``
    the 99 % quantile of their size. Multiclass: ``classes`` name the labels, ``score_edges`` cut the top probability.
    ``slicings`` say which groups of rows are profiled apart as well.
    """

    task: Task
    score_edges: Floats
    label_edges: Floats
    threshold: float | None = None
    residual_scale: float = 1.0
    loss_cap: float = math.inf
    classes: tuple[str, ...] = ()
    slicings: tuple[Slicing, ...] = ()

    @cached_property
    def plain(self) -> OutcomeLayout:
        """The layout of one group: without slicings."""
        return replace(self, slicings=())

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the joint counts: score bins × labels (multiclass: predicted × actual class)."""
        if self.task is Task.MULTICLASS:
            return len(self.classes), len(self.classes)
        return len(self.score_edges) + 1, 2 if self.task is Task.BINARY else len(self.label_edges) + 1

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the layout."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).digest()

    @property
    def first_positive_bin(self) -> int:
        """The first score bin at or above the cut-off."""
        return int(np.searchsorted(self.score_edges, 0.5 if self.threshold is None else self.threshold, "right"))

    @property
    def bin_scores(self) -> Floats:
        """A representative score per bin: the middle, at the ends the edge."""
        edges = self.score_edges
        if self.task is Task.REGRESSION:
            return np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
        full = np.concatenate([[0.0], edges, [1.0]])
        return np.asarray((full[1:] + full[:-1]) / 2, np.float64)

    def to_json(self) -> dict[str, Any]:
        """Return the layout as JSON values."""
        slicings = {"slicings": [one.to_json() for one in self.slicings]} if self.slicings else {}
        return slicings | {
            "task": self.task.value,
            "score_edges": self.score_edges.tolist(),
            "label_edges": self.label_edges.tolist(),
            "threshold": self.threshold,
            "residual_scale": self.residual_scale,
            "loss_cap": None if math.isinf(self.loss_cap) else self.loss_cap,
            "classes": list(self.classes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OutcomeLayout:
        """Return the layout written by ``to_json``."""
        return cls(
            task=Task(data["task"]),
            score_edges=np.array(data["score_edges"], np.float64),
            label_edges=np.array(data["label_edges"], np.float64),
            threshold=data["threshold"],
            residual_scale=data["residual_scale"],
            loss_cap=math.inf if data["loss_cap"] is None else data["loss_cap"],
            classes=tuple(data["classes"]),
            slicings=tuple(Slicing.from_json(one) for one in data.get("slicings", ())),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class OutcomeProfile:
    """Predictions of a piece of time with the labels known by then; ``+`` merges.

    ``joint`` counts labelled rows by score bin and label; ``decisions`` counts logged decision × label (binary);
    ``delays`` counts labels by delay on ``DELAY_EDGES``; ``groups`` are those with rows, by slicing and place.
    """

    layout: OutcomeLayout
    rows: int
    labelled: int
    joint: Ints
    decisions: Ints
    delays: Ints
    sums: Floats
    groups: Mapping[tuple[int, int], Group] = field(default_factory=dict)

    @classmethod
    def empty(cls, layout: OutcomeLayout) -> OutcomeProfile:
        """Return the profile of no rows."""
        return cls(
            layout=layout,
            rows=0,
            labelled=0,
            joint=np.zeros(layout.shape, np.int64),
            decisions=np.zeros((2, 2), np.int64),
            delays=np.zeros(len(DELAY_EDGES) + 1, np.int64),
            sums=np.zeros(len(SUMS[layout.task])),
        )

    @classmethod
    def of(cls, layout: OutcomeLayout, batch: Batch) -> OutcomeProfile:
        """Return the profile of one batch; rows without a score count as rows only."""
        return outcomes_of(layout, batch, np.zeros(batch.rows, np.int64), 1)[0]

    @classmethod
    def total(cls, layout: OutcomeLayout, parts: Iterable[OutcomeProfile]) -> OutcomeProfile:
        """Return the merge of many."""
        parts = list(parts)
        if not parts:
            return cls.empty(layout)
        if any(part.layout.digest != layout.digest for part in parts):
            raise ValueError("outcome profiles on different training profiles cannot be merged; rebuild the older one")
        grouped: dict[tuple[int, int], list[Group]] = {}
        for part in parts:
            for place, group in part.groups.items():
                grouped.setdefault(place, []).append(group)
        return cls(
            layout=layout,
            groups={place: Group.total(layout.plain, grouped[place]) for place in sorted(grouped)},
            rows=sum(part.rows for part in parts),
            labelled=sum(part.labelled for part in parts),
            joint=np.sum([part.joint for part in parts], axis=0, dtype=np.int64),
            decisions=np.sum([part.decisions for part in parts], axis=0, dtype=np.int64),
            delays=np.sum([part.delays for part in parts], axis=0, dtype=np.int64),
            sums=np.array([math.fsum(c) for c in zip(*(part.sums.tolist() for part in parts), strict=True)]),
        )

    def __add__(self, other: OutcomeProfile) -> OutcomeProfile:
        return OutcomeProfile.total(self.layout, [self, other])

    def sum(self, name: str) -> float:
        """Return a sum by name (see ``SUMS``)."""
        return float(self.sums[SUMS[self.layout.task].index(name)])

    def mean(self, name: str) -> float:
        """Return the mean of a summed quantity over labelled rows (``score``: over all rows), NaN without any."""
        n = self.rows if name == "score" else self.labelled
        return self.sum(name) / n if n else math.nan

    @property
    def coverage(self) -> float:
        """Share of predictions that have their label."""
        return self.labelled / self.rows if self.rows else math.nan

    def delay(self, q: float) -> float:
        """Return a quantile of the label delay in seconds (upper edge of its bucket), NaN when unknown."""
        n = int(self.delays.sum())
        if not n:
            return math.nan
        place = int(np.searchsorted(np.cumsum(self.delays), q * (n - 1), side="right"))
        return float(DELAY_EDGES[min(place, len(DELAY_EDGES) - 1)])

    def group(self, slice_: Mapping[str, str]) -> Group | None:
        """Return the group of some values, ``(other)`` among them; None where it has no rows or no profile."""
        for number, slicing in enumerate(self.layout.slicings):
            if tuple(slice_) == slicing.attributes:
                place = slicing.place_of(slice_)
                return None if place is None else self.groups.get((number, place))
        return None

    def to_bytes(self) -> bytes:
        """Return versioned bytes."""
        parts, version = [self._body()], 1
        if self.layout.slicings:
            version = FORMAT
            parts.append(struct.pack("<I", len(self.groups)))
            for (slicing, place), group in self.groups.items():
                body = group.outcome._body()
                parts += [struct.pack("<HHqqI", slicing, place, group.decided, group.selected, len(body)), body]
        return MAGIC + struct.pack("<H", version) + self.layout.digest[:8] + zlib.compress(b"".join(parts), 1)

    def _body(self) -> bytes:
        where = np.flatnonzero(self.joint.ravel())
        return b"".join(
            [
                struct.pack("<qqI", self.rows, self.labelled, len(where)),
                where.astype("<u4").tobytes(),
                self.joint.ravel()[where].astype("<i8").tobytes(),
                self.decisions.astype("<i8").tobytes(),
                self.delays.astype("<i8").tobytes(),
                self.sums.astype("<f8").tobytes(),
            ]
        )

    @classmethod
    def from_bytes(cls, layout: OutcomeLayout, data: bytes) -> OutcomeProfile:
        """Return the profile in ``data``; raises ValueError when it is none or belongs to another layout."""
        if data[:4] != MAGIC:
            raise ValueError("these bytes are no outcome profile; the stored tile is damaged and must be rebuilt")
        (version,) = struct.unpack_from("<H", data, 4)
        if version > FORMAT:
            raise ValueError(f"outcome profile format {version} is newer than {FORMAT}; run the newer program")
        if data[6:14] != layout.digest[:8]:
            raise ValueError("this outcome profile was built on another training profile; load that one's layout")
        raw = zlib.decompress(data[14:])
        whole, at = cls._from_body(layout, raw, 0)
        if version == 1:
            return whole
        (number,) = struct.unpack_from("<I", raw, at)
        at += 4
        groups: dict[tuple[int, int], Group] = {}
        for _ in range(number):
            slicing, place, decided, selected, length = struct.unpack_from("<HHqqI", raw, at)
            at += struct.calcsize("<HHqqI")
            outcome, _ = cls._from_body(layout.plain, raw, at)
            at += length
            groups[slicing, place] = Group(decided=decided, selected=selected, outcome=outcome)
        return replace(whole, groups=groups)

    @classmethod
    def _from_body(cls, layout: OutcomeLayout, raw: bytes, at: int) -> tuple[OutcomeProfile, int]:
        rows, labelled, filled = struct.unpack_from("<qqI", raw, at)
        at += 20
        sizes = (("<u4", filled), ("<i8", filled), ("<i8", 4), ("<i8", len(DELAY_EDGES) + 1))
        arrays = []
        for dtype, size in sizes:
            arrays.append(np.frombuffer(raw, dtype, size, at))
            at += size * int(dtype[-1])
        joint = np.zeros(layout.shape, np.int64)
        joint.ravel()[arrays[0].astype(np.int64)] = arrays[1]
        width = len(SUMS[layout.task])
        found = cls(
            layout=layout,
            rows=rows,
            labelled=labelled,
            joint=joint,
            decisions=arrays[2].reshape(2, 2).astype(np.int64),
            delays=arrays[3].astype(np.int64),
            sums=np.frombuffer(raw, "<f8", width, at).copy(),
        )
        return found, at + 8 * width


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """The rows of one group: how many got a decision and how many a positive one, labelled or not, and outcomes."""

    decided: int
    selected: int
    outcome: OutcomeProfile

    @classmethod
    def total(cls, layout: OutcomeLayout, parts: Iterable[Group]) -> Group:
        """Return the merge of many."""
        parts = list(parts)
        return cls(
            decided=sum(part.decided for part in parts),
            selected=sum(part.selected for part in parts),
            outcome=OutcomeProfile.total(layout, [part.outcome for part in parts]),
        )


def outcomes_of(layout: OutcomeLayout, batch: Batch, pieces: Ints, number: int) -> list[OutcomeProfile]:
    """Return one outcome profile for each of ``number`` pieces; ``pieces`` says to which piece a row belongs."""
    label = batch.label if batch.label is not None else np.full(batch.rows, np.nan)
    score = batch.score if batch.score is not None else np.full(batch.rows, np.nan)
    probabilities = batch.scores
    if layout.task is Task.MULTICLASS:
        if probabilities is None:
            raise ValueError("a multiclass model needs a score column per class; configure prediction.scores")
        score = probabilities.max(axis=1)
    ok = np.isfinite(score) & np.isfinite(label)
    at, s, y = pieces[ok], score[ok], label[ok]
    terms, first, second = _terms(layout, s, y, None if probabilities is None else probabilities[ok])
    scored = np.isfinite(score)
    total = np.bincount(pieces[scored], weights=score[scored], minlength=number)
    height, width = layout.shape
    joint = np.bincount(at * height * width + first * width + second, minlength=number * height * width)
    sums = np.stack(
        [
            total if name == "score" else np.bincount(at, weights=terms[name], minlength=number)
            for name in SUMS[layout.task]
        ],
        axis=1,
    )
    decisions = np.zeros((number, 2, 2), np.int64)
    if layout.task is Task.BINARY:
        said = batch.decision[ok] if batch.decision is not None else first >= layout.first_positive_bin
        cell = at * 4 + said.astype(np.int64) * 2 + second
        decisions = np.bincount(cell, minlength=number * 4).reshape(number, 2, 2)
    delays = np.zeros((number, len(DELAY_EDGES) + 1), np.int64)
    if batch.label_delay is not None:
        known = ok & np.isfinite(batch.label_delay)
        place = np.searchsorted(DELAY_EDGES, batch.label_delay[known], side="left")
        flat = np.bincount(pieces[known] * delays.shape[1] + place, minlength=delays.size)
        delays = flat.reshape(delays.shape)
    rows = np.bincount(pieces, minlength=number)
    labelled = np.bincount(at, minlength=number)
    groups = _groups_of(layout, batch, pieces)
    return [
        OutcomeProfile(
            layout=layout,
            rows=int(rows[i]),
            labelled=int(labelled[i]),
            joint=joint.reshape(number, height, width)[i].astype(np.int64),
            decisions=decisions[i].astype(np.int64),
            delays=delays[i],
            sums=sums[i],
            groups=groups.get(i, {}),
        )
        for i in range(number)
    ]


def _groups_of(layout: OutcomeLayout, batch: Batch, pieces: Ints) -> dict[int, dict[tuple[int, int], Group]]:
    """Return the groups with rows of each piece."""
    found: dict[int, dict[tuple[int, int], Group]] = {}
    for number, slicing in enumerate(layout.slicings):
        width = slicing.other + 1
        used, at = np.unique(pieces * width + slicing.places(batch.attributes, batch.rows), return_inverse=True)
        for first in range(0, len(used), GROUPED):
            some = used[first : first + GROUPED]
            inside = np.flatnonzero((at >= first) & (at < first + len(some)))
            part, place = take(batch, inside), at[inside] - first
            profiles = outcomes_of(layout.plain, part, place, len(some))
            decided, selected = _selected(layout, part, place, len(some))
            for key, profile, d, s in zip(some.tolist(), profiles, decided.tolist(), selected.tolist(), strict=True):
                group = Group(decided=d, selected=s, outcome=profile)
                found.setdefault(key // width, {})[number, key % width] = group
    return found


def _selected(layout: OutcomeLayout, batch: Batch, pieces: Ints, number: int) -> tuple[Ints, Ints]:
    """Return how many rows of each piece got a decision, and how many a positive one; binary models only."""
    if layout.task is not Task.BINARY or batch.score is None:
        return np.zeros(number, np.int64), np.zeros(number, np.int64)
    scored = np.isfinite(batch.score)
    place = np.searchsorted(layout.score_edges, batch.score, side="right")
    said = scored & (batch.decision if batch.decision is not None else place >= layout.first_positive_bin)
    return np.bincount(pieces[scored], minlength=number), np.bincount(pieces[said], minlength=number)


def _terms(
    layout: OutcomeLayout, s: Floats, y: Floats, probabilities: Floats | None
) -> tuple[dict[str, Floats], Ints, Ints]:
    """Return the summands per row, and each row's two places in the joint counts."""
    terms: dict[str, Floats]
    first = np.searchsorted(layout.score_edges, s, side="right").astype(np.int64)
    match layout.task:
        case Task.BINARY:
            p = np.clip(s, FLOOR, 1 - FLOOR)
            loss = -(y * np.log(p) + (1 - y) * np.log1p(-p))
            terms = {"residual": y - s, "loss": loss, "brier": (y - s) ** 2}
            second = y.astype(np.int64)
        case Task.MULTICLASS:
            assert probabilities is not None
            second = y.astype(np.int64)
            first = probabilities.argmax(axis=1).astype(np.int64) if len(s) else first
            own = np.clip(probabilities[np.arange(len(y)), second], FLOOR, 1 - FLOOR)
            one_hot = np.eye(len(layout.classes))[second]
            terms = {
                "residual": (first == second) - s,
                "loss": -np.log(own),
                "brier": ((probabilities - one_hot) ** 2).sum(axis=1),
            }
        case Task.REGRESSION:
            error = y - s
            terms = {
                "residual": np.clip(error / layout.residual_scale, -CLIP, CLIP),
                "loss": np.minimum(np.abs(error), layout.loss_cap),
                "error": error,
                "error2": error**2,
                "absolute_error": np.abs(error),
                "under": np.maximum(error, 0),
                "over": np.maximum(-error, 0),
                "label": y,
                "label2": y**2,
                "score2": s**2,
                "product": s * y,
            }
            second = np.searchsorted(layout.label_edges, y, side="right").astype(np.int64)
    for name in ("residual", "loss", "brier"):
        if name in terms:
            terms[f"{name}2"] = terms[name] ** 2
    return terms | {"score_labelled": s}, first, second


def score_edges(scores: Floats, threshold: float | None) -> Floats:
    """Return edges of a probability: an even grid of 0.01, the quantiles of training scores, and the cut-off."""
    finite = scores[np.isfinite(scores)]
    grid = np.arange(1, 100) / 100
    quantiles = np.quantile(finite, np.linspace(0, 1, SCORE_BINS + 1)[1:-1]) if len(finite) else np.zeros(0)
    cut = [] if threshold is None else [threshold]
    edges = np.unique(np.concatenate([grid, quantiles, cut]))
    return edges[(edges > 0) & (edges < 1)]
