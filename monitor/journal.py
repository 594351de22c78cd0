"""The daemon's own log: one event a line, for machines as JSON and for people as text, never with a secret in it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

from monitor.terminal import visible

#: Loggers that name every request, connection or tick, and addresses with secrets in them.
TALKATIVE = ("httpx", "httpcore", "apscheduler", "uvicorn.access", "uvicorn.error", "alembic", "aiosmtplib", "asyncio")
#: Values of secret fields that are names of ours, not secrets.
NAMES = frozenset({"embedded", "store"})
#: Shorter ones are words of any text: to blank them would tell more than it hides.
SHORTEST_SECRET = 4
HIDDEN = "[secret]"

#: What a record has of its own; everything else came with ``extra``.
OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
RENAMED = {"time", "level", "logger", "message", "error"}


class Form(StrEnum):
    """How a line looks."""

    JSON = "json"
    TEXT = "text"


class Redaction:
    """Blanks secrets in texts; the longest first, so that no half of one is left."""

    def __init__(self, secrets: Iterable[str | SecretStr] = ()) -> None:
        plain = (s.get_secret_value() if isinstance(s, SecretStr) else s for s in secrets)
        parts = {part for secret in plain for part in _telling_parts(secret)}
        self._secrets = sorted(parts, key=lambda part: (-len(part), part))

    def text(self, text: str) -> str:
        """Return the text with every secret blanked.

        >>> Redaction(["postgresql://me:hunter22@db/x"]).text('password "hunter22" refused')
        'password "[secret]" refused'
        """
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return text

    def value(self, value: Any) -> Any:
        """Return a value as JSON has it, with secrets blanked wherever a text is."""
        match value:
            case None | bool() | int() | float():
                return value
            case SecretStr():
                return HIDDEN
            case Mapping():
                return {self.text(str(key)): self.value(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self.value(item) for item in value]
            case datetime() | date():
                return value.isoformat()
            case timedelta():
                return value.total_seconds()
            case Enum():
                return self.value(value.value)
            case _:
                return self.text(str(value))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, error where there is one, then what came with ``extra``."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an ``extra`` named like one of our keys gets an underscore."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {f"{name}_" if name in RENAMED else name: value for name, value in extras(record).items()}
        if trouble := _trouble(self, record):
            line["error"] = trouble
        return json.dumps(self._redaction.value(line), ensure_ascii=False, allow_nan=True)


class TextFormatter(logging.Formatter):
    """Time, level and message for a person at a terminal, what came with ``extra`` behind, tracebacks below."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with a traceback on lines of its own."""
        at = datetime.fromtimestamp(record.created).astimezone()
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        known = " ".join(f"{name}={self._redaction.value(value)}" for name, value in extras(record).items())
        line = f"{at:%H:%M:%S} {level}{record.getMessage()}{'  ' + known if known else ''}".replace("\n", " ")
        trouble = _trouble(self, record)
        return visible(self._redaction.text(f"{line}\n{trouble}" if trouble else line))


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record carries beside its message, such as model, window, part, run_id."""
    return {name: value for name, value in vars(record).items() if name not in OWN}


def secrets_of(section: Any) -> Iterator[SecretStr]:
    """Yield every secret value in a configuration, however deep."""
    if isinstance(section, SecretStr):
        yield section
    elif isinstance(section, BaseModel):
        for name in type(section).model_fields:
            yield from secrets_of(getattr(section, name))
    elif isinstance(section, Mapping):
        for item in section.values():
            yield from secrets_of(item)
    elif isinstance(section, list | tuple):
        for item in section:
            yield from secrets_of(item)


def begin(
    *,
    secrets: Iterable[str | SecretStr] = (),
    level: str = "INFO",
    stream: TextIO | None = None,
    form: Form | None = None,
) -> logging.Handler:
    """Send every log of this process to ``stream`` (by default stderr) and return the handler.

    Called again, as after a reload of the configuration, it takes the place of what it set up before. Without ``form``
    a terminal gets text and everything else JSON. Warnings of Python's go the same way.
    """
    target = sys.stderr if stream is None else stream
    chosen = form or (Form.TEXT if target.isatty() else Form.JSON)
    redaction = Redaction(secrets)
    handler = logging.StreamHandler(target)
    handler.setFormatter(JsonFormatter(redaction) if chosen is Form.JSON else TextFormatter(redaction))
    handler.set_name("journal")
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == "journal"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    return handler


def _trouble(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    # Not kept in record.exc_text: another handler would print what was meant for this one's eyes.
    parts = [formatter.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def _telling_parts(secret: str) -> Iterator[str]:
    """Yield the secret, and of an address what is secret in it: its password, its path with what follows."""
    if len(secret) < SHORTEST_SECRET or secret in NAMES:
        return
    yield secret
    if "://" not in secret:
        return
    try:
        address = urlsplit(secret)
        password = address.password
    except ValueError:
        return
    if password is not None and len(password) >= SHORTEST_SECRET:
        yield from {password, unquote(password)}
    if address.scheme in ("http", "https") and len(address.path) > SHORTEST_SECRET:
        yield address.path + (f"?{address.query}" if address.query else "")
        yield address.path
