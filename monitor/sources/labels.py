"""Labels and decisions as people log them: words, numbers, booleans or class names, read strictly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from monitor.outcome import Task
from monitor.source import Bools, Floats
from monitor.sources.arrow import categories, numbers, parsed_numbers

MEANINGS = dict.fromkeys(("true", "t", "yes", "y", "1"), 1.0) | dict.fromkeys(("false", "f", "no", "n", "0"), 0.0)


def read_labels(
    column: pa.Array, task: Task, classes: Sequence[str] = (), positive: str | None = None
) -> tuple[Floats, Bools]:
    """Return labels as floats (0 or 1, the class index, or the number; NaN where there is none) and what is no label.

    With ``positive``, that text is 1 and any other 0; otherwise only true/t/yes/y/1 and false/f/no/n/0 are labels. Of
    many classes the name must be exact.
    """
    if isinstance(column, pa.ExtensionArray):  # a numeric, which comes as text such as 1.00
        found = parsed_numbers(column.storage)
        column = pa.array(found.values, mask=found.missing)
    if task is Task.REGRESSION:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        found = parsed_numbers(column) if text else numbers(column)
        wrong = found.unparseable if found.unparseable is not None else np.zeros(len(column), np.bool_)
        return found.values, wrong
    coded = categories(column)
    table = np.array([*(meaning(text, task, classes, positive) for text in coded.categories), np.nan])
    labels = table[coded.codes]
    return labels, np.isnan(labels) & (coded.codes >= 0)


def meaning(text: str, task: Task, classes: Sequence[str], positive: str | None) -> float:
    """Return what one text means as a label, NaN for nothing.

    >>> meaning(" Yes", Task.BINARY, (), None), meaning("fraud", Task.BINARY, (), "fraud")
    (1.0, 1.0)
    """
    if task is Task.MULTICLASS:
        return float(classes.index(text)) if text in classes else float("nan")
    if positive is not None:
        return float(text == positive) if text else float("nan")
    return MEANINGS.get(text.strip().lower(), float("nan"))
