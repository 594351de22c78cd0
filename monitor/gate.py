"""The gate: what keeps a candidate out, judged on the same rows for it and the champion, before anybody deploys it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.candidate import ALPHA, FEWEST, Answers, Judged, Loss, ReleaseVerdict, judge_pairs, likeness
from monitor.check import Costs
from monitor.foresight import REPEATED, Foreknowledge
from monitor.golden import SAME, Floats, Replay
from monitor.noise import FLIPS, Shaken
from monitor.preprocessing import UNLIKE, Unlike
from monitor.treatment import PARTS, SUMS, WORDS, Rate, estimate

FEWEST_PEOPLE = 50  # behind a rate of a group


class Outcome(StrEnum):
    """What one part of the gate says."""

    PASS = "pass"  # noqa: S105 it is no password
    FAIL = "fail"
    UNCLEAR = "could not tell"


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the gate: its outcome, a sentence, and figures in words."""

    name: str
    outcome: Outcome
    why: str
    figures: Sequence[str] = ()


def overall(sections: Sequence[Section]) -> Outcome:
    """Return fail if any part fails, pass if all pass."""
    outcomes = {section.outcome for section in sections}
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    return Outcome.PASS if outcomes == {Outcome.PASS} else Outcome.UNCLEAR


def markdown(title: str, sections: Sequence[Section]) -> str:
    """Return the report for a pull request.

    >>> print(markdown("m 8", [Section(name="parity", outcome=Outcome.PASS, why="all came out again")]))
    # m 8: pass
    <BLANKLINE>
    ## parity: pass
    <BLANKLINE>
    All came out again.
    <BLANKLINE>
    """
    lines = [f"# {_escaped(title)}: {overall(sections)}", ""]
    for section in sections:
        why = _escaped(section.why)
        lines += [f"## {section.name}: {section.outcome}", "", f"{why[:1].upper()}{why[1:].rstrip('.')}.", ""]
        lines += [f"* {_escaped(figure)}" for figure in section.figures]
        lines += [""] if section.figures else []
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Return a text in which names of columns make no Markdown and no HTML."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|&!" else " " if c in "\r\n" else c for c in text)


def regression(champion: Answers, candidate: Answers, judged: Sequence[Judged]) -> Section:
    """Return whether the candidate answers as well as the champion; without labels nothing was ``judged``."""
    like = likeness(champion, candidate)
    figures = [
        f"{like.rows:,} rows: {like.text}",
        *(f"score {low:.3f} to {high:.3f}: mean distance {apart:.4f}" for low, high, apart, _ in like.bands[:3]),
    ]
    verdicts = {one.verdict for one in judged}
    why = "; ".join(one.why for one in judged) or "no labels were given"
    if ReleaseVerdict.ROLL_BACK in verdicts:
        return Section(name="regression", outcome=Outcome.FAIL, why=why, figures=figures)
    outcome = Outcome.PASS if verdicts == {ReleaseVerdict.PROMOTE} else Outcome.UNCLEAR
    return Section(name="regression", outcome=outcome, why=why, figures=figures)


def slices(
    champion: Answers,
    candidate: Answers,
    groups: Mapping[str, NDArray[Any]],
    *,
    loss: Loss,
    costs: Costs | None,
    margin: float,
) -> Section:
    """Return whether the candidate is worse for certain in any group of rows, each slicing apart.

    ``groups`` names the group of each row by slicing. As ``judge_pairs`` in each group of 200 labelled rows and more,
    with the error rate shared out among all of them.
    """
    usable = np.isfinite(champion.label)
    found = []
    for name, owner in groups.items():
        values, counts = np.unique(owner[usable], return_counts=True)
        found += [(name, value, owner == value) for value in values[counts >= FEWEST]]
    judged = []
    for name, value, rows in found:
        one = judge_pairs(
            champion.of(rows), candidate.of(rows), loss=loss, costs=costs, margin=margin, alpha=ALPHA / len(found)
        )
        judged.append((f"{name} {value}", one))
    known = [(name, one) for name, one in judged if one.difference is not None]
    worst = sorted(known, key=lambda item: -item[1].difference.value if item[1].difference else 0.0)
    bad = [name for name, one in known if one.verdict is ReleaseVerdict.ROLL_BACK]
    if not known:
        why = f"no group has {FEWEST} labelled rows"
        return Section(name="slices", outcome=Outcome.UNCLEAR, why=why)
    return Section(
        name="slices",
        outcome=Outcome.FAIL if bad else Outcome.PASS,
        why=f"worse for certain in {', '.join(bad)}" if bad else f"worse for certain in none of {len(known)} groups",
        figures=[f"{name}: {one.why}" for name, one in worst[:3]],
    )


def fairness(
    champion: Answers,
    candidate: Answers,
    groups: Mapping[str, NDArray[Any]],
    *,
    rates: Collection[Rate],
    tolerance: float,
) -> Section:
    """Return whether the candidate treats groups more differently than the champion does, and than is tolerated.

    Each group is compared with the largest of its slicing. It fails where the difference of a rate surely exceeds the
    tolerance and is larger than the champion's by more than two standard errors.
    """
    faults, figures, compared = [], [], 0
    for name, owner in groups.items():
        values, counts = np.unique(owner, return_counts=True)
        base = values[counts.argmax()]
        for value in values[values != base]:
            for rate in sorted(set(rates) & set(PARTS)):
                gaps = [_gap(answers, owner == value, owner == base, rate) for answers in (champion, candidate)]
                (before, _, _), (after, error, people) = gaps
                if people < FEWEST_PEOPLE or not np.isfinite([before, after]).all():
                    continue
                compared += 1
                text = f"{name} {value}: {WORDS[rate][0]} {after:+.3f} beside {base} (the champion's {before:+.3f})"
                figures.append((abs(after) - abs(before), text))
                surely = abs(after) - 2 * error > tolerance
                if surely and abs(after) - abs(before) > 2 * error:
                    faults.append(text)
    if not compared:
        why = f"no group of which rates can be compared has {FEWEST_PEOPLE} rows"
        return Section(name="fairness", outcome=Outcome.UNCLEAR, why=why)
    return Section(
        name="fairness",
        outcome=Outcome.FAIL if faults else Outcome.PASS,
        why="; ".join(faults) or f"none of {compared} differences exceeds {tolerance:g} and the champion's",
        figures=[text for _, text in sorted(figures, reverse=True)[:3]],
    )


def _gap(answers: Answers, group: NDArray[np.bool_], base: NDArray[np.bool_], rate: Rate) -> tuple[float, float, float]:
    """Return the difference of a rate between two groups, its standard error, and the people of the smaller one."""
    one, other = (estimate(rate, _sums(answers.of(rows))) for rows in (group, base))
    return one.value - other.value, float(np.hypot(one.error, other.error)), min(one.n, other.n)


def _sums(answers: Answers) -> Floats:
    """Return the counts of a group in the order that ``treatment`` has them; what needs scores is left out."""
    said, truth = answers.decision, answers.label
    known = np.isfinite(said) & np.isfinite(truth)
    yes, true = said[known] == 1, truth[known] == 1
    counts = {
        "rows": len(said),
        "decided": np.isfinite(said).sum(),
        "selected": (said == 1).sum(),
        "labelled": known.sum(),
        "true_negative": (~yes & ~true).sum(),
        "false_negative": (~yes & true).sum(),
        "false_positive": (yes & ~true).sum(),
        "true_positive": (yes & true).sum(),
    }
    return np.array([float(counts.get(name, 0.0)) for name in SUMS])


def leakage(found: Foreknowledge, repeats: tuple[float, float] | None = None) -> Section:
    """Return whether training knows what nobody knows at the time of a prediction; fails by name.

    ``repeats`` are the shares of test rows that are in training, and of training rows that repeat within it.
    """
    faults = [one.message for one in found.suspicions]
    figures = [f"{name}: AUC alone {found.areas[name]:.3f}" for name in _largest(found.areas)[:3]]
    if repeats is not None:
        share, usual = repeats
        figures.append(f"{share:.1%} of the given inputs are rows of training; {usual:.1%} repeat within training")
        if share >= REPEATED and share > 2 * usual:
            faults.append(f"{share:.1%} of the given inputs are rows of training, so regression flatters the candidate")
    return Section(
        name="leakage",
        outcome=Outcome.FAIL if faults else Outcome.PASS,
        why="; ".join(faults) or f"none of {found.columns} columns knows the label or is missing in production",
        figures=figures,
    )


def _largest(areas: Mapping[str, float]) -> list[str]:
    return sorted((name for name in areas if math.isfinite(areas[name])), key=lambda name: -areas[name])


def parity(replay: Replay) -> Section:
    """Return whether predictions made in training came out again; a swap of two columns that explains it is named."""
    if not replay.moved:
        why = f"{replay.rows:,} of {replay.rows:,} golden predictions came out again"
        return Section(name="parity", outcome=Outcome.PASS, why=why)
    figures = [f"largest difference {replay.largest:.4g}, mean {replay.mean:.4g}"]
    if replay.swap is not None:
        one, other = replay.swap
        figures.append(f"with {one} and {other} swapped they come out again: preprocessing exchanges the two")
    why = f"{replay.moved:,} of {replay.rows:,} golden predictions moved by more than {SAME:g}"
    return Section(name="parity", outcome=Outcome.FAIL, why=why, figures=figures)


def preprocessing(compared: Sequence[Unlike]) -> Section:
    """Return whether logged features are what the candidate's own preprocessing makes of their raw inputs."""
    faults = [one.text for one in compared if one.differing > UNLIKE * one.rows]
    return Section(
        name="preprocessing",
        outcome=Outcome.FAIL if faults else Outcome.PASS,
        why="; ".join(faults) or f"{len(compared)} features are what preprocessing makes of their raw inputs",
    )


def stability(candidate: Shaken | None, champion: Shaken | None = None) -> Section:
    """Return whether noise that nobody could measure turns decisions over, beside the champion where it was asked."""
    if candidate is None:
        return Section(name="stability", outcome=Outcome.UNCLEAR, why="there is no column of numbers to put noise on")
    beside = "" if champion is None else f" ({champion.flips:.2%} of the champion's)"
    return Section(
        name="stability",
        outcome=Outcome.FAIL if candidate.flips > FLIPS else Outcome.PASS,
        why=candidate.text + beside,
        figures=candidate.figures,
    )
