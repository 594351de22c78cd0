"""The daemon's process refuses what is too heavy for it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from monitor.heavy import refuse_heavy
refuse_heavy()
refuse_heavy()
import adbc_driver_postgresql.dbapi
import pyarrow
assert pyarrow.array([1, None]).null_count == 1
assert "pandas" not in sys.modules
try:
    import pandas
except ModuleNotFoundError as error:
    print(error)
"""


def test_arrow_and_the_driver_do_without_pandas_where_it_is_refused() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "pandas is not for the daemon's process; use it in a process of its own.\n"
