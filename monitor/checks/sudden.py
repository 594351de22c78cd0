"""Sudden change of one source: a unit, an encoding, a sign that changed overnight, named where it can be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from monitor.catalogue import CAUSES, best_hit, hits, misfits, text_cause
from monitor.check import (
    Cause,
    Evidence,
    Finding,
    Judgement,
    Part,
    ReferenceKind,
    Severity,
    Stage,
    ThresholdSource,
    Verdict,
    register,
)
from monitor.column import CategoricalColumn, NumericColumn
from monitor.novelty import can_be_new, is_constant, moves_in_blocks
from monitor.profile import ColumnProfile
from monitor.reference import Reference
from monitor.source import Floats
from monitor.trailing import FEWEST_ROWS, TRAILING, median, release, remember, short, trailing_of_training

ENOUGH = 10  # of them before anything is judged
CLEAN = 3  # windows that end an episode
UNSEEN_SHARE = 0.5
EXACT_SHARE = 0.9


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What is odd about one column in one window: up to three signs, and what names the cause."""

    jump: bool = False
    unseen: float | None = None
    """Share of rows with values found neither in training nor in the trailing windows, where that is a sign."""
    restored: bool = False
    """Whether a usual cause would restore the trailing median."""
    misfits: Mapping[str, float] = field(default_factory=dict)
    hits: Mapping[str, float] = field(default_factory=dict)
    text_cause: str = ""
    before: float | None = None
    after: float | None = None

    @property
    def count(self) -> int:
        """How many signs there are."""
        return self.jump + (self.unseen is not None) + (self.restored or bool(self.text_cause))

    @property
    def exact(self) -> bool:
        """Whether a usual cause maps nearly all new values on known ones: no weather does that."""
        return self.unseen is not None and best_hit(self.hits)[1] >= EXACT_SHARE

    @property
    def hard(self) -> bool:
        """Whether this is a sign by itself: unseen values, or a jump that a usual cause explains."""
        return self.unseen is not None or (self.jump and self.restored)


@register("sudden")
@dataclass(frozen=True, kw_only=True)
class Sudden:
    """Compares each source's columns with the trailing 28 windows, and names the usual cause that would explain them.

    ``together`` is how many columns of a source must change in the same window; a column with all three signs at
    once (or whose new values a usual cause explains exactly), and a source of one column with two, need no company.
    """

    together: int = 2

    stages = frozenset({Stage.INPUTS})

    def run(self, evidence: Evidence) -> Judgement:
        """Judge one window; the trailing windows live in the memory, frozen while their source is suspect."""
        reference, current = evidence.reference, evidence.current
        memory = evidence.memories.get("sudden") or {}
        if memory.get("reference") != reference.id:
            memory = {"number": 0, "columns": trailing_of_training(reference), "sources": {}}
        number = memory["number"] + 1
        columns: dict[str, dict[str, Any]] = dict(memory["columns"])
        sources: dict[str, dict[str, Any]] = dict(memory["sources"])
        findings: list[Finding] = []
        for source, members in _sources(reference).items():
            state = sources.get(source, {})
            signs = {name: _signs(reference, current.columns[name], columns[name], number) for name in members}
            shown = {name: s for name, s in signs.items() if s.count}
            suspect = bool(state)
            decisive = self._decisive(shown, alone=len(members) == 1, suspect=suspect)
            if decisive:
                known: dict[str, Any] = state.get("columns", {})
                cause = _cause(shown)
                news = {n: _describe(n, s, cause) for n, s in shown.items()}
                state = {
                    "since": state.get("since", evidence.window.start.isoformat()),
                    "opened": state.get("opened", number),
                    "clean": 0,
                    "cause": state.get("cause") or cause,
                    "columns": {**news, **known},
                }
            elif suspect and current.rows >= FEWEST_ROWS:
                state = {**state, "clean": state["clean"] + 1}
            lasting = bool(state) and number - state["opened"] >= TRAILING
            closing = bool(state) and (lasting or (not decisive and state["clean"] >= CLEAN))
            for name in members:
                view = current.columns[name]
                if view.count >= FEWEST_ROWS:
                    columns[name] = remember(columns[name], view, number, held=decisive)
                if closing:
                    columns[name] = release(columns[name], accept=lasting)
            findings += _findings(evidence, source, members, state, shown, closing=closing)
            if closing:
                sources.pop(source, None)
            elif state:
                sources[source] = state
        return Judgement(
            findings=findings,
            memory={"reference": reference.id, "number": number, "columns": columns, "sources": sources},
        )

    def _decisive(self, shown: Mapping[str, Signs], *, alone: bool, suspect: bool) -> bool:
        """Return whether these signs make (or keep) the source suspect.

        Two columns of one source on the same day are decisive; a jump or a catalogue match alone is no sign. One
        column is enough with all three signs, with new values that a usual cause maps on known ones, or when it is
        categorical and most of its rows are unseen: texts have no natural trend.
        """
        if suspect:
            return bool(shown)
        texts = any(s.unseen is not None and s.after is None for s in shown.values())
        whole = any(s.exact or s.count >= (2 if alone else 3) for s in shown.values())
        return texts or whole or sum(s.hard for s in shown.values()) >= self.together


def _sources(reference: Reference) -> dict[str, list[str]]:
    """Return the columns of each source; columns that follow the clock have a check of their own."""
    found: dict[str, list[str]] = {}
    for column in reference.layout.columns:
        if column.clock is None and column.part == "input":
            found.setdefault(reference.source_of(column.name), []).append(column.name)
    return found


def _signs(reference: Reference, view: ColumnProfile, state: Mapping[str, Any], number: int) -> Signs:
    """Return what is odd about a column in this window."""
    column = view.column
    if view.count < FEWEST_ROWS or moves_in_blocks(reference, column.name):
        return Signs()
    unseen = _unseen_share(view, state, number) if can_be_new(reference, column.name) else 0.0
    found = unseen if unseen > UNSEEN_SHARE else None
    if is_constant(column) and state["values"]:
        found = None  # a column constant in training is unseen at its first departure only
    if isinstance(column, CategoricalColumn):
        others = [c for c in reference.layout.columns if isinstance(c, CategoricalColumn)]
        return Signs(unseen=found, text_cause="" if found is None else text_cause(view.novelties, column, others))
    middle = median(view)
    if len(state["means"]) < ENOUGH:
        return Signs(unseen=found, after=short(middle))
    usual = float(np.median(state["medians"]))
    if column.off_atom or column.scale <= 0:  # mostly one value: a mean or median says nothing
        return Signs(unseen=found, before=usual, after=middle)
    steps = np.diff(state["means"])
    step = abs(view.mean - state["means"][-1])
    jump = step > 0 and step > 1.25 * np.abs(steps).max() and step > 4 * steps.std()
    spread = float(np.std(state["medians"])) + 1e-9
    fits = misfits(middle, usual, spread)
    far = abs(middle - usual) / spread > 4 and abs(usual) > 1e-9
    return Signs(
        jump=bool(jump),
        unseen=found,
        restored=far and min(fits.values(), default=math.inf) < 1.5,
        misfits=fits,
        hits={} if found is None else hits(view.novelties, _known_values(column, state)),
        before=usual,
        after=middle,
    )


def _known_values(column: NumericColumn, state: Mapping[str, Any]) -> Floats:
    """Return the values of training and of the trailing windows, ascending."""
    trained = np.zeros(0) if column.lattice is None else column.lattice
    return np.unique(np.concatenate([trained, np.array([value for value, _ in state["values"]], np.float64)]))


def _unseen_share(view: ColumnProfile, state: Mapping[str, Any], number: int) -> float:
    """Return the share of rows whose value is neither in training nor in the trailing windows.

    Of more than 256 new values a profile keeps a sample; the share of the sample is taken for all.
    """
    sampled = sum(view.novelties.values())
    if not view.unseen or not sampled:
        return 0.0
    recent = {value for value, last in state["values"] if number - last <= TRAILING}
    fresh = sum(count for value, count in view.novelties.items() if value not in recent)
    return fresh / sampled * view.unseen / view.count


def _cause(shown: Mapping[str, Signs]) -> str:
    """Return the one cause that explains the odd columns of a source best, or "".

    A change of a source is one change, so a cause is judged by all columns it may have hit together: one of them alone
    is often explained as well by another factor. Values that its inverse maps on known ones say more than a median.
    """
    numeric = [signs for signs in shown.values() if signs.hard and signs.misfits]
    if not numeric:
        return next((signs.text_cause for signs in shown.values() if signs.text_cause), "")
    exact, _ = best_hit({name: float(np.mean([s.hits.get(name, 0.0) for s in numeric])) for name in CAUSES})
    if exact:
        return exact
    total = {name: float(np.mean([min(s.misfits.get(name, 9.0), 9.0) for s in numeric])) for name in CAUSES}
    best = min(total, key=lambda name: total[name])
    return best if total[best] < 1.5 and any(s.restored for s in numeric) else ""


def _describe(name: str, signs: Signs, cause: str) -> dict[str, Any]:
    """Return what the memory and the message keep of a column: its figures on the day it became suspect."""
    own = cause or signs.text_cause
    if cause and signs.misfits and signs.hits.get(cause, 0.0) < 0.5 and signs.misfits.get(cause, 9.0) > 2.5:
        own = ""  # the source's cause does not explain this column
    parts = []
    if signs.before is not None and signs.after is not None:
        parts.append(f"median {signs.before:.3g} → {signs.after:.3g}")
    if signs.unseen is not None:
        parts.append(f"{signs.unseen:.0%} of values never seen before")
    if signs.jump and signs.unseen is None:
        parts.append("the largest jump in weeks")
    return {
        "cause": own,
        "text": f"{name} ({', '.join(parts)})",
        "before": signs.before,
        "after": signs.after,
        "unseen": signs.unseen,
    }


def _findings(
    evidence: Evidence,
    source: str,
    members: Sequence[str],
    state: Mapping[str, Any],
    shown: Mapping[str, Signs],
    *,
    closing: bool,
) -> list[Finding]:
    """Return one latched finding per suspect column, or one plain finding for a source that is well."""
    head = Finding(
        check="sudden",
        part=Part.INPUT,
        subject=source,
        statistic="sudden change",
        verdict=Verdict.OK,
        family=f"quality:{source}",
        reference_kind=ReferenceKind.TRAILING,
        severity=Severity.WARNING,
        cause=Cause.DATA,
        n_current=evidence.current.rows,
    )
    if not state:
        stale = [e for e in evidence.episodes if e.family == head.family and e.resolved is None and e.latched]
        if stale:  # the memory is new, the alert is not: end it
            return [replace(head, subject=name, latched=True, reason="the change is over") for name in members]
        usable = any(evidence.current.columns[name].count >= FEWEST_ROWS for name in members)
        lone = {name: _describe(name, signs, "")["text"] for name, signs in shown.items()}
        return [
            replace(
                head,
                verdict=Verdict.OK if usable else Verdict.INCONCLUSIVE,
                reason="" if usable else "no usable rows",
                severity=Severity.INFO,
                details={"single signs": lone} if lone else {},
            )
        ]
    if closing:
        return [replace(head, subject=name, latched=True, reason="the change is over") for name in state["columns"]]
    names = list(state["columns"])
    cause = state["cause"]
    columns = ", ".join(column["text"] for column in state["columns"].values())
    verb = f"changed at once, as by {cause}" if cause else "changed at once"
    message = f"{source}: {_join(names)} {verb}: {columns}; new regime or fault"
    return [
        replace(
            head,
            subject=name,
            verdict=Verdict.CRITICAL,
            latched=True,
            message=message,
            value=column["after"],
            reference_value=column["before"],
            effect=column["unseen"],
            threshold=UNSEEN_SHARE if column["unseen"] is not None else None,
            threshold_source=ThresholdSource.DEFAULT,
            reason="new regime or fault",
            details={
                "source": source,
                "columns": names,
                "named cause": column["cause"] or cause,
                "since": state["since"],
            },
        )
        for name, column in state["columns"].items()
    ]


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
