"""Name to class: how checks, channels and sources are found without being listed anywhere."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(Generic[T]):
    """Classes of one kind by name; their dataclass fields are their options.

    A new implementation is one new file in ``package`` whose class carries ``@registry.register("name")``.
    """

    def __init__(self, package: str) -> None:
        self.package = package
        self._classes: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """Return a decorator that enters a frozen dataclass under ``name``; unknown options are refused."""

        def enter(cls: C) -> C:
            if not is_dataclass(cls):
                raise TypeError(f"{cls.__name__} must be a dataclass: its fields are its options")
            if name in self._classes:
                raise ValueError(f"{name} is registered twice in {self.package}")
            # pydantic silently drops unknown options of a plain dataclass unless it is told to refuse them
            cls.__pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=True)  # type: ignore[attr-defined]  # read by pydantic
            self._classes[name] = cls  # type: ignore[assignment]  # the Protocol is checked where the class is used
            return cls

        return enter

    def load(self) -> Mapping[str, type[T]]:
        """Import every module of the package and return the classes by name, sorted."""
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        return dict(sorted(self._classes.items()))

    def build(self, name: str, options: Mapping[str, Any]) -> T:
        """Return the named class built from validated options; raises KeyError or pydantic's ValidationError."""
        return TypeAdapter(self.load()[name]).validate_python(dict(options))

    def options(self, name: str) -> Iterator[str]:
        """Yield the names of the options of one class."""
        yield from (field.name for field in fields(self.load()[name]) if field.init)  # type: ignore[arg-type]  # register() refuses anything but dataclasses
