"""ACS employment in Massachusetts by sex and race: rates with intervals, and what groups drawn by lot come to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.fairness.stream import BUDGET, SPEC, cut, watch
from monitor.checks.fairness import Fairness
from monitor.outcome import Task
from monitor.reference import Reference, build_reference
from monitor.source import Batch, CategoryValues
from monitor.sources.arrow import categories
from monitor.treatment import Rate

FILE = "acs_employment_ma.parquet"
SLICES = ("sex", "race", ("sex", "race"))
SEX = {"1": "male", "2": "female"}
RACE = {
    "1": "White",
    "2": "Black",
    "3": "American Indian",
    "4": "Alaska Native",
    "5": "tribes specified",
    "6": "Asian",
    "7": "Pacific Islander",
    "8": "some other race",
    "9": "two or more races",
}


def rows_of(table: pd.DataFrame) -> Batch:
    """Return the persons of some years, spread evenly over each of them in the order of the file."""
    import pyarrow as pa

    times = []
    for year, count in table.groupby("year", sort=True).size().items():
        start, end = (datetime(y, 1, 1, tzinfo=UTC).timestamp() * 1e6 for y in (int(str(year)), int(str(year)) + 1))
        times.append(np.linspace(start, end, count, endpoint=False).astype(np.int64))

    def words(column: str, names: dict[str, str]) -> CategoryValues:
        codes = table[column].astype(str).str.removesuffix(".0")
        return categories(pa.array(codes.map(names).fillna("unknown")))

    return Batch(
        rows=len(table),
        time=np.concatenate(times),
        columns={},
        score=table["predicted_probability"].to_numpy(np.float64),
        decision=table["prediction"].to_numpy() == 1,
        label=table["employed"].to_numpy(np.float64),
        attributes={"sex": words("sex", SEX), "race": words("rac1_p", RACE)},
    )


def trained(rows: Batch) -> Reference:
    """Return the training profile of 2015."""
    return build_reference(
        rows,
        model="employment",
        version="1",
        task=Task.BINARY,
        spec=SPEC,
        created_at=datetime(2016, 1, 1, tzinfo=UTC),
        threshold=0.5,
        slices=[[one] if isinstance(one, str) else list(one) for one in SLICES],
    )


def drawn(rows: Batch, rng: np.random.Generator) -> Batch:
    """Return the rows with the groups of other rows, drawn by lot: whatever differs between groups is noise."""
    order = rng.permutation(rows.rows)
    shuffled = {name: replace(values, codes=values.codes[order]) for name, values in rows.attributes.items()}
    return replace(rows, attributes=shuffled)


def show(file: Path, permutations: int) -> int:
    """Print rates and breaches, then how often groups drawn by lot breach; returns 1 above the budget."""
    table = pd.read_parquet(file).sort_values("year", kind="stable")
    training, rows = (rows_of(part) for part in (table[table["year"] == 2015], table[table["year"] > 2015]))
    reference = trained(training)
    assert reference.outcome_layout is not None
    check = Fairness(slices=SLICES, metrics=["equalised_odds", "demographic_parity"])
    seen = watch(check, reference, cut(reference, rows))
    print(f"{rows.rows:,} persons of 2016 to 2018 in {seen.windows} months, 28 added up; breaches in {seen.flagged}")
    for slicing in reference.outcome_layout.slicings[:2]:
        print(f"{slicing.name}: {len(slicing.groups)} groups, {slicing.folded} folded; against {slicing.groups[0][0]}")
        for group in slicing.groups[1:]:
            for rate in (Rate.SELECTION, Rate.TPR, Rate.FPR, Rate.PRECISION, Rate.AUC, Rate.CALIBRATION):
                found = seen.of(rate.value, dict(zip(slicing.attributes, group, strict=True)))
                if found is None or found.value is None or found.effect is None:
                    continue
                end = {"inconclusive": "  too few", "warning": "  breach"}.get(found.verdict, "")
                print(
                    f"  {group[0]:18} {rate.value:14} {found.n_current:7,} {found.value:6.3f} against "
                    f"{found.reference_value:6.3f}: {found.effect:+.3f} ({found.interval_low:+.3f} to "
                    f"{found.interval_high:+.3f}){end}"
                )
    for message in seen.messages:
        print(f"{message.window_label} [{message.severity}] {message.title}\n  {message.summary}")
    return lots(check, reference, rows, permutations)


def lots(check: Fairness, reference: Reference, rows: Batch, permutations: int) -> int:
    """Print how often groups drawn by lot breach; returns 1 above the budget.

    The groups that training froze are those of the real rows: how many rows have which value does not change. What is
    beyond a tolerance is beyond none, so the usual one is tried only where there is a breach without.
    """
    rng = np.random.default_rng(6)
    sharp = replace(check, tolerance=0.0)
    flagged = decisions = draws = told = usual = 0
    for _ in range(permutations):
        months = cut(reference, drawn(rows, rng))
        noise = watch(sharp, reference, months)
        flagged, decisions, told = flagged + noise.flagged, decisions + noise.windows, told + len(noise.messages)
        if noise.flagged:
            draws += 1
            usual += len(watch(check, reference, months).messages)
    q = BUDGET.q
    share = flagged / max(decisions, 1)
    print(f"groups drawn by lot {permutations} times, {decisions:,} decisions:")
    print(f"  tolerance 0:   a breach in {flagged} ({share:.2%}, budget {q:.0%}), in {draws} draws; {told} messages")
    print(f"  tolerance {check.tolerance:g}: {usual} messages")
    return int(share > q or usual > 0)
