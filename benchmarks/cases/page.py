"""The page of a case: what happened, what was said, and what hindsight says about that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from benchmarks.cases.oracle import Hindsight, hindsight
from benchmarks.cases.stage import Answered, Stage
from benchmarks.design.streams import Stream
from monitor.outcome import Task
from monitor.recommendation import Action

PERFORMANCE = (
    "SELECT window_start, metric, basis, value, reference_value FROM performance_history "
    "WHERE slice = '{}' AND metric IN ('auc', 'log_loss', 'mae', 'capped_error') ORDER BY window_start"
)
ALERTS = (
    "SELECT opened_window_start, resolved_window_start, severity, cause, title, subjects FROM alert_history "
    "WHERE opened_window_start IS NOT NULL AND severity <> 'info' ORDER BY opened_window_start, title"
)
ADVICE = "SELECT window_start, action, state, why FROM recommendation_history ORDER BY window_start, opened_at, action"
MESSAGES = "SELECT reason, count(*) AS messages FROM notification_history GROUP BY 1 ORDER BY 1"
ACTIONS = (Action.RETRAIN.value, Action.RECALIBRATE.value)
PARTS = 9  # lines of the table of performance
OPENING = ("first", "escalated", "recommendation")
HOW = """\
Everything below is written by `MONITOR_DATA=DIR python -m benchmarks.cases {name}`: it logs the rows in an embedded
Postgres of its own and calls `monitor db upgrade`, `profile`, `backfill --notify`, {dismiss}and `query`. DIR holds the
data, which are no part of this project. The champion is never replaced, so what went wrong stays wrong."""
ORACLE = """\
After every seventh window three answers are fitted on what was known by then and judged on the 28 windows that follow,
which nobody could see: the champion recalibrated on the last 60 windows, a refit on recent rows, a refit on all rows.
An answer pays if its loss is lower by more than two standard errors and 2 %; recalibrating is favoured where it brings
two thirds of the best refit. *Real loss* is where something pays and the champion's last 28 windows were surely worse
than training's honest ones (3 standard errors)."""
WITHIN = 2  # evaluations of real loss within which the advice must come


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the installation knows after the last window."""

    performance: Sequence[Mapping[str, Any]]
    alerts: Sequence[Mapping[str, Any]]
    advice: Sequence[Mapping[str, Any]]
    messages: Mapping[str, int]
    answered: Sequence[Answered]


def told(stage: Stage, answered: Sequence[Answered]) -> Told:
    """Return what the SQL views say."""
    return Told(
        performance=stage.ask(PERFORMANCE),
        alerts=stage.ask(ALERTS),
        advice=stage.ask(ADVICE),
        messages={row["reason"]: row["messages"] for row in stage.ask(MESSAGES)},
        answered=answered,
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Whether a case went as it should: the sentence, and ``failed`` where it did not."""

    sentence: str
    failed: bool


def judge(stage: Stage, found: Told, seen: Sequence[Hindsight]) -> Outcome:
    """Return whether the right advice came in time, or none where nothing pays."""
    stream = stage.stream
    given = [row for row in found.advice if row["action"] in ACTIONS]
    lossy = [one for one in seen if one.real_loss]
    if not stage.subject.pays:
        paying = sum(one.action is not None for one in seen)
        if given:
            return Outcome(sentence=f"{len(given)} pieces of advice to act were given; none was right.", failed=True)
        return Outcome(
            sentence=f"No advice to act, in {len(seen)} evaluations; in {paying} of them something would have paid.",
            failed=False,
        )
    if not lossy:
        return Outcome(sentence="There was no real loss.", failed=bool(given))
    first = lossy[0]
    after = [one.at for one in seen if one.at >= first.at]
    limit = after[min(WITHIN, len(after)) - 1]
    early = [row for row in given if _time(row["window_start"]) <= limit]
    best = [one for one in lossy if one.at <= limit][-1].action
    right = [row for row in early if row["action"] == best]
    when = f"{stream.label(first.at)} and {stream.label(limit)}"
    if not right:
        came = name_of(stream, given[0]["window_start"]) if given else "never"
        return Outcome(
            sentence=f"The first two evaluations of real loss are those of {when}; {best} was right, and came {came}.",
            failed=True,
        )
    row = right[-1]
    return Outcome(
        sentence=f"The first two evaluations of real loss are those of {when}; {row['action']}, which hindsight "
        f"favours, was advised with {name_of(stream, row['window_start'])}.",
        failed=False,
    )


def page(stage: Stage, found: Told, seen: Sequence[Hindsight], outcome: Outcome) -> Iterator[str]:
    """Yield the lines of the page."""
    subject, stream = stage.subject, stage.stream
    opening = sum(n for reason, n in found.messages.items() if reason in OPENING)
    yield f"# {subject.title}"
    yield ""
    yield subject.about
    yield ""
    yield HOW.format(name=subject.name, dismiss="`recommendations dismiss`, " if subject.known else "")
    yield ""
    yield f"* training: {stream.trained} windows, of which the model knows {stream.fitted}"
    rows = int((stream.place >= stream.trained).sum())
    yield f"* production: {len(stream.windows) - stream.trained} windows, {rows:,} rows"
    yield f"* {subject.grain}"
    yield f"* messages that open a conversation: {opening}; replies to them: {sum(found.messages.values()) - opening}"
    yield ""
    yield f"**{outcome.sentence}**"
    yield ""
    yield "## Performance, realised and estimated"
    yield ""
    yield from _performance(stream, found.performance)
    yield ""
    yield "## Alerts"
    yield ""
    yield from _alerts(stream, found.alerts)
    yield ""
    yield "## Advice"
    yield ""
    yield from _advice(stream, found, seen)
    yield ""
    yield "## What an oracle would have gained"
    yield ""
    yield ORACLE
    yield ""
    yield from _oracle(stream, found, seen)


def name_of(stream: Stream, start: str) -> str:
    """Return what people call the window that starts then, one without rows too."""
    at = _time(start)
    return stream.label(at) if any(window.start == at for window in stream.windows) else f"{at:%Y-%m-%d %H:%M}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _performance(stream: Stream, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    regression = stream.task is Task.REGRESSION
    names = ("mae", "capped_error") if regression else ("auc", "log_loss")
    starts = sorted({row["window_start"] for row in rows})
    usual = {row["metric"]: row["reference_value"] for row in rows if row["basis"] == "realised"}
    yield "| windows | " + " | ".join(f"{n} realised | {n} estimated" for n in names) + " |"
    yield "|---|" + "---|---|" * len(names)
    yield "| *training, honest* | " + " | ".join(f"{_number(usual.get(n))} | " for n in names) + " |"
    for part in np.array_split(np.array(starts), min(PARTS, len(starts))):
        inside = set(part.tolist())
        cells = []
        for name in names:
            for basis in ("realised", "estimated"):
                values = [
                    row["value"]
                    for row in rows
                    if row["metric"] == name
                    and row["basis"] == basis
                    and row["window_start"] in inside
                    and row["value"] is not None
                ]
                cells.append(_number(float(np.mean(values))) if values else "")
        first, last = (name_of(stream, x) for x in (part[0], part[-1]))
        yield f"| {first} to {last} | {' | '.join(cells)} |"


def _alerts(stream: Stream, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| opened | over | | cause | about |"
    yield "|---|---|---|---|---|"
    for row in rows:
        over = row["resolved_window_start"]
        until = "open" if over is None else name_of(stream, over)
        about = ", ".join(sorted({str(fact["subject"]) for fact in row["subjects"]})[:6])
        opened = name_of(stream, row["opened_window_start"])
        yield f"| {opened} | {until} | {row['severity']} | {row['cause'] or ''} | {row['title']} ({about}) |"
    if not rows:
        yield "| none | | | | |"


def _advice(stream: Stream, found: Told, seen: Sequence[Hindsight]) -> Iterator[str]:
    yield "| with | advice | state in the end | hindsight | why |"
    yield "|---|---|---|---|---|"
    for row in found.advice:
        at = _time(row["window_start"])
        one = next((one for one in reversed(seen) if one.at <= at), None)
        said = ""
        if one is not None and row["action"] in ACTIONS:
            paid = "this paid" if one.paid(Action(row["action"])) else "this did not pay"
            said = f"{one.action or 'nothing pays'}, {paid}"
        when = name_of(stream, row["window_start"])
        yield f"| {when} | {row['action']} | {row['state']} | {said} | {_short(row['why'])} |"
    if not found.advice:
        yield "| none | | | | |"
    for answer in found.answered:
        yield ""
        yield f"INVESTIGATE_DATA of {stream.label(answer.at)} was dismissed, because {answer.found}."


def _short(text: str) -> str:
    return text.split(". ")[0].replace("|", "/")[:260]


def _oracle(stream: Stream, found: Told, seen: Sequence[Hindsight]) -> Iterator[str]:
    given = {_time(row["window_start"]): row["action"] for row in found.advice if row["action"] in ACTIONS}
    yield "| evaluation | loss before | after | recalibrated | recent rows | all rows | best | advised |"
    yield "|---|---|---|---|---|---|---|---|"
    every = max(1, -(-len(seen) // 30))
    for number, one in enumerate(seen):
        if number % every and one.at not in given:
            continue
        cells = [
            f"{one.gains[name].mean:+.3f} ± {one.gains[name].error:.3f}" if name in one.gains else ""
            for name in ("recalibrated", "recent", "expanding")
        ]
        loss = "" if not one.real_loss else " (real loss)"
        yield (
            f"| {stream.label(one.at)} | {one.before:.3f} | {one.champion:.3f} | {' | '.join(cells)} | "
            f"{(one.action or 'nothing') + loss} | {given.get(one.at, '')} |"
        )
    yield ""
    best = [max((gain.mean for gain in one.gains.values()), default=0.0) for one in seen if one.action is not None]
    mean = float(np.mean(best)) if best else 0.0
    shown = f"; shown are one in {every} and those with advice" if every > 1 else ""
    yield f"{len(seen)} evaluations; something paid in {len(best)}, by {mean:.3f} of the loss on average{shown}."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def study(stage: Stage, answered: Sequence[Answered]) -> tuple[str, Outcome]:
    """Return the text of the page and whether all went as it should."""
    found, seen = told(stage, answered), list(hindsight(stage.stream))
    outcome = judge(stage, found, seen)
    return "\n".join(page(stage, found, seen, outcome)) + "\n", outcome
