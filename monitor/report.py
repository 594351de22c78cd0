"""Evidently's report on a training sample and a window's rows, made in a process of its own."""

from __future__ import annotations

from pathlib import Path

from monitor.logtable import SourceSection
from monitor.reference import Reference
from monitor.source import Batch


class ReportError(Exception):
    """No report can be made; one sentence: what, which, what to do."""


def run_report(
    reference: Reference, sample: bytes, current: Batch, section: SourceSection, target: Path, *, title: str
) -> list[str]:
    """Write the HTML report to ``target``; returns remarks on what was left out and why.

    ``sample`` is Parquet: training rows with features, answers and label under the names of the log.
    """
    raise ReportError(f"reports are not built yet ({title}, {target.name}, {len(sample)} bytes, {reference.id[:8]}, {current.rows}, {section.table}).")
