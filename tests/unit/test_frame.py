"""Training files are read as the log is: what is a label there is one here, and what is none has a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor.outcome import Task
from monitor.sources import frame
from monitor.sources.frame import FrameError
from monitor.sources.labels import read_labels


def column(*values: Any) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values)])


@pytest.mark.parametrize(
    "values",
    [("yes", "n", None), ("t", "F", None), (1, 0, None), (1.0, 0.0, None), (True, False, None)],
    ids=lambda values: str(values[0]),
)
def test_a_label_in_training_means_what_it_means_in_the_log(values: tuple[Any, ...]) -> None:
    found = frame.labels("y", column(*values), (), None)
    np.testing.assert_array_equal(found, [1.0, 0.0, np.nan])
    logged, wrong = read_labels(pa.array(values), Task.BINARY)
    np.testing.assert_array_equal(logged, found)
    assert not wrong.any()


def test_one_class_may_be_the_positive_one_and_many_are_numbered() -> None:
    assert frame.labels("y", column("fraud", "fine"), (), "fraud").tolist() == [1.0, 0.0]
    assert frame.labels("y", column("b", "a"), ("a", "b"), None).tolist() == [1.0, 0.0]


def test_what_is_no_label_is_refused_by_name() -> None:
    with pytest.raises(FrameError, match=r"the target y holds 'maybe'.*prediction\.positive"):
        frame.labels("y", column("yes", "maybe"), (), None)
    with pytest.raises(FrameError, match=r"the target y has the class 'c'.*prediction\.scores"):
        frame.labels("y", column("a", "c"), ("a", "b"), None)
