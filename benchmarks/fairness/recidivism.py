"""COMPAS: the error rates that ProPublica published for the two largest groups, and the breach that is told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.fairness.stream import SPEC, cut, watch
from monitor.checks.fairness import Fairness
from monitor.outcome import Task
from monitor.reference import Reference, build_reference
from monitor.source import Batch
from monitor.sources.arrow import categories
from monitor.treatment import CRITERIA, Rate

FILE = "compas_two_years.csv.gz"
MODEL = "compas"
# Larson, Mattu, Kirchner, Angwin: How we analyzed the COMPAS recidivism algorithm (2016), in percent
PUBLISHED = {
    ("African-American", "fpr"): 44.85,
    ("African-American", "fnr"): 27.99,
    ("Caucasian", "fpr"): 23.45,
    ("Caucasian", "fnr"): 47.72,
}


def rows_of(table: pd.DataFrame) -> Batch:
    """Return the people in order of their screening: decile as score, medium or high as the positive decision."""
    import pyarrow as pa

    table = table.sort_values("compas_screening_date", kind="stable")
    time = pd.to_datetime(table["compas_screening_date"], utc=True).to_numpy("datetime64[us]").astype(np.int64)
    return Batch(
        rows=len(table),
        time=time,
        columns={},
        score=table["decile_score"].to_numpy(np.float64) / 10,
        decision=(table["score_text"] != "Low").to_numpy(),
        label=table["two_year_recid"].to_numpy(np.float64),
        attributes={name: categories(pa.array(table[name].astype(str))) for name in ("race", "sex")},
    )


def trained(rows: Batch) -> Reference:
    """Return a training profile that only says which groups there are: nobody outside knows COMPAS's training rows."""
    return build_reference(
        rows,
        model=MODEL,
        version="1",
        task=Task.BINARY,
        spec=SPEC,
        created_at=datetime(2015, 1, 1, tzinfo=UTC),
        threshold=0.5,
        slices=[["race"], ["race", "sex"]],
    )


def show(file: Path) -> int:
    """Print rates, criteria and messages; returns 1 where a published rate is missed by half a thousandth or more."""
    rows = rows_of(pd.read_csv(file))
    reference = trained(rows)
    check = Fairness(slices=["race"], metrics=["equalised_odds"], reference={"race": "Caucasian"})
    seen = watch(check, reference, cut(reference, rows))
    print(f"{rows.rows:,} people, {seen.windows} months added up; a breach in {seen.flagged} of them")
    print(
        f"{'race':17} {'rate':14} {'people':>6} {'value':>6} {'published':>9}  against Caucasian (95 %)   ratio (95 %)"
    )
    worst = 0.0
    assert reference.outcome_layout is not None
    for (race,) in reference.outcome_layout.slicings[0].groups:
        if race == "Caucasian":
            continue
        for rate in Rate:
            found = seen.of(rate.value, {"race": race})
            if found is None or found.value is None:
                continue
            said = PUBLISHED.get((race, rate.value))
            line = f"{race:17} {rate.value:14} {found.n_current:6,} {found.value:6.3f} "
            line += f"{said / 100:9.4f}" if said else f"{'':9}"
            if said:
                worst = max(worst, abs(found.value - said / 100))
                white = PUBLISHED["Caucasian", rate.value] / 100
                worst = max(worst, abs((found.reference_value or 0.0) - white))
            line += f"  {found.effect:+.3f} ({found.interval_low:+.3f} to {found.interval_high:+.3f})"
            if found.details.get("ratio") is not None:
                d = found.details
                line += f"  {d['ratio']:.2f} ({d['ratio_low']:.2f} to {d['ratio_high']:.2f})"
            line += "  too few" if found.verdict == "inconclusive" else "  breach" if found.verdict == "warning" else ""
            print(line)
    for rate in ("fpr", "fnr"):
        found = seen.of(rate, {"race": "African-American"})
        assert found is not None
        said = PUBLISHED["Caucasian", rate] / 100
        print(f"{'Caucasian':17} {rate:14} {found.n_reference:6,} {found.reference_value:6.3f} {said:9.4f}")
    print(f"largest distance from a published rate: {worst:.5f}")
    for criterion in CRITERIA:
        finding = next((f for f in seen.findings if f.statistic == criterion), None)
        if finding is not None:
            print(f"{criterion}: {finding.message or 'holds within the tolerance, as far as can be told'}")
    for message in seen.messages:
        print(f"\n{message.window_label} [{message.severity}] {message.title}\n{message.summary}")
        for fact in message.facts:
            print(f"  {fact.subject}: {fact.text}")
        print(message.next_step)
    return int(worst >= 0.0005)
