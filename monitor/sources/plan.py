"""What Postgres intends to do for a window: whether it would read a whole table for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def whole_reads(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables that a plan (of ``EXPLAIN (FORMAT JSON)``) reads from beginning to end.

    >>> list(whole_reads({"Node Type": "Limit", "Plans": [{"Node Type": "Seq Scan", "Relation Name": "log"}]}))
    ['log']
    """
    if plan["Node Type"] == "Seq Scan":
        yield str(plan["Relation Name"])
    for child in plan.get("Plans", ()):
        yield from whole_reads(child)
