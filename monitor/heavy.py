"""Packages that do not belong into the daemon's process, and the refusal to import them there.

pyarrow and the ADBC driver import pandas whenever it is installed, although nothing of ours in this process needs it:
40 MB and a second. Where it cannot be imported they do without.
"""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

HEAVY = frozenset({"pandas", "evidently", "sklearn", "matplotlib"})


class Refusal(importlib.abc.MetaPathFinder):
    """Finds nothing, and lets nobody after it find a heavy package."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(
                f"{fullname} is not for the daemon's process; use it in a process of its own.", name=fullname
            )
        return None


def refuse_heavy() -> None:
    """Let this process import no heavy package from now on; asking twice is harmless, what is imported stays."""
    if not any(isinstance(finder, Refusal) for finder in sys.meta_path):
        sys.meta_path.insert(0, Refusal())
