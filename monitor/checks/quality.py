"""Data quality: missing and new values, types, volume, freshness, duplicates, features that must follow the clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

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
from monitor.column import CategoricalColumn, Column
from monitor.habit import empty_holidays, usual_shares
from monitor.novelty import can_be_new, is_constant, records
from monitor.profile import ColumnProfile
from monitor.reference import Reference
from monitor.statistic import null_model, slot_of

MISSING_POINTS = 0.15  # share of rows above the training mean
MISSING_AT_ONCE = 0.5
NEW_SHARE = 0.15  # of rows with values nobody has been told of
TOLD_VALUES = 1000  # per column; beyond it a column is told of by its share alone
NAMED_VALUES = 5
CLOCK_SHARE = 0.2
CLOCK_AT_ONCE = 0.5
DETERMINISTIC = 0.99  # agreement with the clock from which a departure is a fault, not a habit
LOG_MATERIALITY = 0.1
COLLAPSE = 4.0  # times fewer (or more) rows than usual, and half (twice) of what training ever saw: a warning
EMPTY_HABIT = 0.05  # of a slot's training windows without rows: an empty window is then ordinary
TRAILING = 28
ENOUGH = 10
LATE_PART = 0.25  # of a window without rows at its end
ROWS_INFO, ROWS_WARNING = 0.01, 0.05  # share of rows that are duplicates, skewed or without time


@register("quality")
@dataclass(frozen=True, kw_only=True)
class Quality:
    """Watches what makes data unusable, whatever its distribution.

    ``missing`` is how many points a column's share of unusable rows may rise above training before it is a warning;
    half of all rows is critical at once.
    """

    missing: float = MISSING_POINTS

    stages = frozenset({Stage.INPUTS})

    def __post_init__(self) -> None:
        if not 0 < self.missing < 1:
            raise ValueError(f"quality.missing is {self.missing}; it is a share of rows between 0 and 1")

    def run(self, evidence: Evidence) -> Judgement:
        """Judge the rows of one window."""
        reference = evidence.reference
        memory = dict(evidence.memories.get("quality") or {})
        if memory.get("reference") != reference.id:
            memory = {"reference": reference.id, "told": {}, "gaps": []}
        findings: list[Finding] = []
        for column in reference.layout.columns:
            view = evidence.current.columns[column.name]
            if not view.rows:
                continue
            findings.append(self._missing(reference, column, view))
            findings += _unreadable(reference, column, view)
            findings += _clock(reference, column, view)
        new, told = _new_values(evidence, memory["told"])
        late, gaps = _freshness(evidence, memory["gaps"])
        findings += [*new, *late, _schema(evidence), _volume(evidence), *_log(evidence)]
        return Judgement(findings=findings, memory={"reference": reference.id, "told": told, "gaps": gaps})

    def _missing(self, reference: Reference, column: Column, view: ColumnProfile) -> Finding:
        """Return the finding on a column's share of unusable rows: NULL, not a number, not readable."""
        usual = usual_shares(reference).missing[column.name]
        share = 1 - view.count / view.rows
        limit = max(usual.highest, usual.mean + self.missing)
        # where training itself lost half its rows on some day, the next record is no event: far more, or all, is
        beyond = min(usual.largest + MISSING_POINTS, (1 + usual.largest) / 2)
        at_once = share >= MISSING_AT_ONCE and share > max(beyond, usual.mean + MISSING_POINTS)
        verdict = Verdict.CRITICAL if at_once else Verdict.WARNING if share > limit else Verdict.OK
        kinds = {
            "NULL": view.missing,
            "not finite": view.non_finite,
            "unreadable": view.unparseable,
        }
        what = ", ".join(f"{count} {name}" for name, count in kinds.items() if count)
        return replace(
            _head(reference, column, view),
            statistic="missing",
            verdict=verdict,
            value=share,
            reference_value=usual.mean,
            effect=share - usual.mean,
            threshold=limit,
            threshold_source=ThresholdSource.DEFAULT,
            direction=int(np.sign(share - usual.mean)),
            message=f"{column.name}: {share:.0%} of {view.rows} rows are missing ({what}); "
            f"training had {usual.mean:.1%}, flagged above {limit:.0%}"
            if verdict is not Verdict.OK
            else "",
            details={"rows": kinds} if what else {},
        )


def _head(reference: Reference, column: Column, view: ColumnProfile) -> Finding:
    return Finding(
        check="quality",
        part=Part(column.part),
        subject=column.name,
        statistic="",
        verdict=Verdict.OK,
        family=f"quality:{reference.source_of(column.name)}",
        severity=Severity.WARNING,
        cause=Cause.DATA,
        n_current=view.rows,
        n_reference=reference.total.rows,
    )


def _unreadable(reference: Reference, column: Column, view: ColumnProfile) -> Iterator[Finding]:
    """Yield findings on texts where numbers should be and on infinities, where training had fewer: for the digest."""
    usual = usual_shares(reference)
    for statistic, count, before, words in (
        ("unparseable", view.unparseable, usual.unparseable, "hold text that is no number"),
        ("non-finite", view.non_finite, usual.non_finite, "are NaN or infinite"),
    ):
        share, limit = count / view.rows, before[column.name].highest
        if count and share > limit + ROWS_INFO:
            yield replace(
                _head(reference, column, view),
                statistic=statistic,
                verdict=Verdict.WARNING,
                severity=Severity.INFO,
                value=share,
                reference_value=before[column.name].mean,
                threshold=limit + ROWS_INFO,
                threshold_source=ThresholdSource.DEFAULT,
                message=f"{column.name}: {count} of {view.rows} rows {words}",
            )


def _clock(reference: Reference, column: Column, view: ColumnProfile) -> Iterator[Finding]:
    """Yield the finding on a feature that follows the clock: the share of rows off the value of their slot."""
    if column.clock is None or not view.clock_known:
        return
    usual = usual_shares(reference).off_clock[column.name]
    share = view.off_clock / view.clock_known
    limit = max(CLOCK_SHARE, usual.largest + 0.05)
    at_once = share > max(CLOCK_AT_ONCE, usual.largest + MISSING_POINTS)
    bad = share > limit
    severe = column.clock.agreement >= DETERMINISTIC
    yield replace(
        _head(reference, column, view),
        statistic="off the clock",
        verdict=Verdict.CRITICAL if at_once and severe else Verdict.WARNING if bad else Verdict.OK,
        severity=Severity.WARNING if severe else Severity.INFO,
        value=share,
        reference_value=usual.mean,
        effect=share - usual.mean,
        threshold=limit,
        threshold_source=ThresholdSource.DEFAULT,
        message=f"{column.name}: {share:.0%} of {view.clock_known} rows do not have the value of their "
        f"{column.clock.clock.value} ({column.clock.timezone}), training had {usual.mean:.1%}: the feature is stuck, "
        "shifted, or built in another time zone"
        if bad
        else "",
    )


def _new_values(
    evidence: Evidence, told: Mapping[str, Sequence[str]]
) -> tuple[list[Finding], dict[str, Sequence[str]]]:
    """Return findings on category values that nobody was told of yet, and which have been told by now.

    Each value is told once, for the digest; many rows at once of them are a warning, where new values are a sign at
    all. Columns that brought new values all through training (ids, names) are left alone.
    """
    reference = evidence.reference
    known: dict[str, Sequence[str]] = dict(told)
    findings: list[Finding] = []
    for column in reference.layout.columns:
        if not isinstance(column, CategoricalColumn):
            continue
        view = evidence.current.columns[column.name]
        before = known.get(column.name, ())
        seen = set(before)
        fresh = {str(value): count for value, count in view.novelties.items() if value not in seen}
        if not fresh or not view.count:
            continue
        rows = sum(fresh.values())
        share = rows / view.count
        shares = records(reference, column.name)
        limit = NEW_SHARE + (float(np.quantile(shares, 0.99)) if len(shares) else 0.0)
        habit = len(shares) > 0 and float(shares.mean()) > ROWS_WARNING
        first = not (is_constant(column) and before)
        many = share > limit and first and can_be_new(reference, column.name)
        if len(before) < TOLD_VALUES:
            known[column.name] = [*before, *fresh][:TOLD_VALUES]
        if habit and not many:
            continue
        common = sorted(fresh, key=lambda value: -fresh[value])
        shown = evidence.disclosure.counts(column.name, {value: fresh[value] for value in common[:50]})
        sample = ", ".join(_quoted(value) for value in list(shown)[:NAMED_VALUES])
        more = f" and {len(common) - NAMED_VALUES} more" if len(common) > NAMED_VALUES else ""
        values = "value" if len(common) == 1 else "values"
        findings.append(
            replace(
                _head(reference, column, view),
                statistic="new values",
                verdict=Verdict.CRITICAL if many else Verdict.WARNING,
                severity=Severity.WARNING if many else Severity.INFO,
                value=share,
                reference_value=0.0,
                threshold=limit,
                threshold_source=ThresholdSource.DEFAULT,
                message=f"{column.name}: {len(common)} {values} never seen before in {rows} of {view.count} rows: "
                f"{sample}{more}",
                details={"values": shown},
            )
        )
    return findings, known


def _quoted(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "…")


def _schema(evidence: Evidence) -> Finding:
    """Return the finding on columns that vanished or changed type."""
    faults = evidence.reading.faults
    return Finding(
        check="quality",
        part=Part.INPUT,
        subject="schema",
        statistic="schema",
        verdict=Verdict.CRITICAL if faults else Verdict.OK,
        severity=Severity.CRITICAL,
        family="schema",
        cause=Cause.DATA,
        value=float(len(faults)),
        threshold=0.0,
        threshold_source=ThresholdSource.DEFAULT,
        n_current=evidence.current.rows,
        message=" · ".join(fault.message for fault in faults),
        details={"columns": {fault.column: fault.problem for fault in faults}} if faults else {},
    )


def _volume(evidence: Evidence) -> Finding:
    """Return the finding on the number of rows: none at all is critical unless such windows are ordinary."""
    reference, rows = evidence.reference, max(evidence.reading.rows, evidence.current.rows)
    null = null_model(reference, evidence.holidays, on_holiday=evidence.is_holiday)
    slot = slot_of(reference, evidence.window)
    place = null.statistics.volume
    usual = float(np.exp(null.season.mean[slot, place]))
    head = Finding(
        check="quality",
        part=Part.INPUT,
        subject="volume",
        statistic="rows",
        verdict=Verdict.OK,
        severity=Severity.INFO,
        family="volume",
        cause=Cause.DATA,
        value=float(rows),
        reference_value=usual if np.isfinite(usual) else None,
        n_current=rows,
        n_reference=reference.total.rows,
    )
    if not rows:
        empty = usual_shares(reference).empty[slot]
        if evidence.is_holiday:
            empty = empty_holidays(reference, evidence.holidays)
            if np.isnan(empty):
                message = "not one row, and training has no holiday to compare this one with"
                return replace(head, verdict=Verdict.INCONCLUSIVE, reason="unknown slot, not compared", message=message)
        if empty >= EMPTY_HABIT:
            return replace(head, reason="empty as often in training", message="")
        expected = f"about {usual:.0f} were expected" if np.isfinite(usual) else "training had some in every window"
        return replace(
            head,
            verdict=Verdict.CRITICAL,
            severity=Severity.CRITICAL,
            direction=-1,
            threshold=1.0,
            threshold_source=ThresholdSource.DEFAULT,
            message=f"no data: not one row in {evidence.spec.label(evidence.window)}, {expected}",
        )
    theta, n = null.statistics.values(evidence.current)
    z = null.season.z(theta, n, slot)
    if not np.isfinite(z[place]):
        return replace(
            head,
            verdict=Verdict.INCONCLUSIVE,
            reason="unknown slot, not compared" if evidence.is_holiday else "not calibrated",
            message="the number of rows cannot be judged: training has too few "
            f"{'holidays' if evidence.is_holiday else 'windows'} to know how it varies",
        )
    q = evidence.budget.q
    p_value, effect = float(null.season.p_of(z, n)[place]), float(null.season.deviation(theta, slot)[place])
    sizes = null.n[:, place]
    collapsed = rows < usual / COLLAPSE and rows < sizes.min() / 2
    bad = p_value <= q and abs(effect) >= LOG_MATERIALITY
    alpha = np.full(null.season.channels, q)
    limit = max(float(null.season.critical(alpha, n)[place] * null.season.scale(n)[place]), LOG_MATERIALITY)
    detectable = max(float(null.season.minimum_detectable(n, alpha)[place]), LOG_MATERIALITY)
    return replace(
        head,
        verdict=Verdict.WARNING if bad else Verdict.OK,
        # more rows than in training is no news by itself: training files are often samples of the traffic
        severity=Severity.WARNING if collapsed else Severity.INFO,
        effect=effect,
        materiality=LOG_MATERIALITY,
        threshold=limit,
        threshold_source=ThresholdSource.BUDGET,
        p_value=p_value,
        p_adjusted=p_value,
        minimum_detectable=detectable,
        direction=int(np.sign(effect)),
        message=f"{rows} rows, about {usual:.0f} are usual ({np.expm1(effect):+.0%}; flagged from "
        f"{np.expm1(limit):.0%} more or {-np.expm1(-limit):.0%} fewer)"
        if bad
        else "",
    )


def _freshness(evidence: Evidence, gaps: Sequence[float]) -> tuple[list[Finding], list[float]]:
    """Return the finding on rows that stop before the window does, and the trailing windows' gaps.

    A gap is the part of the window after its last row. What is usual is learned from the last windows of production:
    training profiles do not keep it.
    """
    last = evidence.reading.last_row_at
    if last is None or not evidence.current.rows:
        return [], list(gaps)
    window = evidence.window
    gap = max(0.0, (window.end - last) / window.length)
    bad = len(gaps) >= ENOUGH and gap > LATE_PART and gap > 2 * max(gaps)
    finding = Finding(
        check="quality",
        part=Part.INPUT,
        subject="freshness",
        statistic="share of the window after its last row",
        verdict=Verdict.WARNING if bad else Verdict.OK,
        reference_kind=ReferenceKind.TRAILING,
        severity=Severity.WARNING,
        family="freshness",
        cause=Cause.DATA,
        value=gap,
        reference_value=float(np.median(gaps)) if gaps else None,
        threshold=max(LATE_PART, 2 * max(gaps)) if len(gaps) >= ENOUGH else None,
        threshold_source=ThresholdSource.DEFAULT,
        n_current=evidence.current.rows,
        message=f"rows stop at {last.astimezone(evidence.spec.zone):%-d %b %H:%M}, {gap:.0%} of the window before its "
        f"end; the last {len(gaps)} windows never missed more than {max(gaps):.0%}"
        if bad
        else "",
    )
    return [finding], list(gaps) if bad else [*gaps, float(f"{gap:.4g}")][-TRAILING:]


def _log(evidence: Evidence) -> list[Finding]:
    """Return findings on rows of the log as such: duplicates, impossible times, rows that came too late."""
    reading = evidence.reading
    rows = max(reading.rows, evidence.current.rows)
    if not rows and not reading.beyond_horizon:
        return []
    findings = []
    for subject, count, words in (
        ("duplicates", reading.duplicates, "rows repeat an id of the same window and were left out"),
        ("clock skew", reading.clock_skewed, "rows were logged before they happened or lie in the future"),
        ("times", reading.null_times, "rows have no time and belong to no window"),
        ("repeated ids", reading.repeats, "ids occur in another tile as well and are counted in each"),
        ("late rows", reading.beyond_horizon, "rows came later than the configured lateness and belong to no window"),
    ):
        lost = subject == "late rows"  # that even one row is nowhere is to be seen; a message takes more
        share = count / max(1, rows + (count if lost or subject in ("duplicates", "times") else 0))
        bad = share >= ROWS_INFO or (lost and count > 0)
        findings.append(
            Finding(
                check="quality",
                part=Part.INPUT,
                subject=subject,
                statistic="share of rows",
                verdict=Verdict.WARNING if bad else Verdict.OK,
                severity=Severity.WARNING if share >= ROWS_WARNING else Severity.INFO,
                reference_kind=ReferenceKind.ABSOLUTE,
                family="quality:log",
                cause=Cause.DATA,
                value=share,
                threshold=0.0 if lost else ROWS_INFO,
                threshold_source=ThresholdSource.DEFAULT,
                n_current=rows,
                message=f"{count} {words} ({share:.1%})" if bad else "",
            )
        )
    return findings
