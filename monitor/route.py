"""Routes: which channels hear of a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol


class Match(Protocol):
    """What a route is for, as the configuration says it."""

    def model_dump(self, *, exclude_none: bool) -> dict[str, Sequence[str]]:
        """Return the given keys with the values they allow."""
        ...


class Route(Protocol):
    """One route of the configuration."""

    @property
    def match(self) -> Match:
        """What it is for."""
        ...

    @property
    def to(self) -> Sequence[str]:
        """Names of channels."""
        ...

    @property
    def proceed(self) -> bool:
        """Whether the routes after it are looked at too."""
        ...


def channels_of(routes: Iterable[Route], traits: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the channels of the first route that matches, and of further ones while each says to continue.

    ``traits`` are what the message is about, by the keys of a match (severity, model, cause, role, check); a route
    matches when each of its keys names at least one of them.
    """
    chosen: list[str] = []
    for route in routes:
        wanted = route.match.model_dump(exclude_none=True)
        if all({str(value) for value in values} & set(traits.get(key, ())) for key, values in wanted.items()):
            chosen += [name for name in route.to if name not in chosen]
            if not route.proceed:
                break
    return chosen
