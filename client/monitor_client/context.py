"""Which request is being answered: its id and its trace, known to everything that runs for it."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar, Token
from typing import NamedTuple

REQUEST_ID_HEADER = "x-request-id"
TRACE_HEADER = "traceparent"
LONGEST_ID = 200
"""Characters of a request id that are accepted; the database's index takes no more than a few hundred."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_PLAIN = re.compile(rf"[\x21-\x7e]{{1,{LONGEST_ID}}}")


class Request(NamedTuple):
    """One request: its own id, and the trace (W3C Trace Context) that it belongs to."""

    request_id: str
    trace_id: str
    flags: str = "00"
    """The two digits with which the caller said whether this trace is recorded."""

    def outgoing_headers(self) -> dict[str, str]:
        """Return the headers that make the services asked for this request log the same ids."""
        return {
            REQUEST_ID_HEADER: self.request_id,
            TRACE_HEADER: f"00-{self.trace_id}-{os.urandom(8).hex()}-{self.flags}",
        }


_current: ContextVar[Request | None] = ContextVar("monitor_request", default=None)


def new_id() -> str:
    """Return a new random id of 32 hexadecimal digits, which a trace id may be as well."""
    return os.urandom(16).hex()


def current() -> Request | None:
    """Return the request that is being answered, None outside of one."""
    return _current.get()


def arrived(request_id: str | None, traceparent: str | None) -> Request:
    """Return the request that two headers describe; what is missing or malformed is replaced by something new.

    >>> arrived("r-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    Request(request_id='r-1', trace_id='0af7651916cd43dd8448eb211c80319c', flags='01')
    """
    found = _TRACEPARENT.fullmatch(traceparent.strip().lower()) if traceparent else None
    # Version ff and ids of zeros are invalid by the recommendation; a later version is read like the first.
    if found and (found[1] == "ff" or not found[2].strip("0") or not found[3].strip("0")):
        found = None
    wanted = request_id.strip() if request_id else ""
    return Request(
        wanted if _PLAIN.fullmatch(wanted) else new_id(),
        found[2] if found else new_id(),
        found[4] if found else "00",
    )


def enter(request: Request) -> Token[Request | None]:
    """Make `request` the current one of this thread or task; hand the token to `leave`."""
    return _current.set(request)


def leave(token: Token[Request | None]) -> None:
    """End what `enter` began."""
    _current.reset(token)
