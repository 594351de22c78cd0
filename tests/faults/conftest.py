"""What fault tests share: where they write down what they measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.measurement import Measurement, append

# Imported where replicas are forked and nowhere else: it lets its process import no heavy package any more.
collect_ignore = ["nursery.py"]


@pytest.fixture
def measured(pytestconfig: pytest.Config) -> Callable[..., None]:
    """A function that writes a measurement down, given the fields of ``Measurement``.

    It goes to the file named by ``--measured``; without the option it is checked and forgotten. Call it last, after
    the assertions, with what they found:
    ``measured(scenario=3, name="…", injected=30, lost=0, recovery=1.2, note="…")``.
    """
    given: str | None = pytestconfig.getoption("measured")

    def write(**fields: Any) -> None:
        measurement = Measurement(**fields)
        if given is not None:
            append(Path(given), measurement)

    return write
