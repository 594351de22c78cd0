"""What the process has imported that replicas are forked from; only that process imports this module."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from monitor import checks, commands, stats
from monitor.heavy import refuse_heavy

refuse_heavy()  # before pyarrow looks for pandas
for package in (commands, checks, stats):
    for module in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")
for name in ("adbc_driver_postgresql.dbapi", "monitor.daemon", "monitor.sources.postgres", "tests.faults.replica"):
    import_module(name)
