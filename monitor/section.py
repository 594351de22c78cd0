"""What a section of the configuration is: frozen, strict about its keys, with secrets that may come from a file."""

import difflib
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from monitor.duration import PATTERN, format_duration, parse_duration


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the member of `valid` that `name` was probably meant to be, or None when none is close.

    >>> nearest("lateness_", ["lag", "lateness"])
    'lateness'
    """
    names = list(valid)
    folded = {re.sub(r"[\W_]", "", other.lower()): other for other in names}
    same = folded.get(re.sub(r"[\W_]", "", name.lower()))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return same or (close[0] if close else None)


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Return the end of a sentence that helps with an unknown name: the nearest valid one, else all of them."""
    names = sorted(valid)
    close = nearest(name, names)
    if close:
        return f'did you mean "{close}"?'
    return f"known are {', '.join(names)}" if names else "none is defined"


def refusal(message: str, *keys: str | int, show: bool = True) -> PydanticCustomError:
    """Return the error by which a validator refuses its value, or the value at `keys` below it.

    `message` goes on from "<key> is <value> but" and names the remedy; with `show=False` it goes on from "<key>" alone.
    """
    context = {"message": message, "keys": keys, "show": show}
    return PydanticCustomError("refusal", "{message}", context)


class Section(BaseModel):
    """A mapping in the configuration file: unknown keys are refused, `X_file` may stand for every secret `X`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    @classmethod
    def keys(cls) -> list[str]:
        """Return the names that this section knows in the file."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def secrets(cls) -> list[str]:
        """Return the names of the fields that hold a secret."""
        return [name for name, field in cls.model_fields.items() if SecretStr in _flat(field.annotation)]

    @classmethod
    def prepare(cls, given: dict[str, Any], _context: Mapping[str, Any]) -> None:
        """Fill in what follows from other keys, in place, before anything is validated."""

    @model_validator(mode="before")
    @classmethod
    def _read_secrets(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, dict):
            return value
        context = info.context or {}
        # The translator of errors looks here to know which keys would have been valid.
        context.setdefault("sections", {})[id(value)] = cls
        given = dict(value)
        cls.prepare(given, context)
        for name in cls.secrets():
            file = given.get(f"{name}_file")
            if file is None:
                continue
            if given.get(name) is not None:
                raise refusal(f"is given beside {name}; keep one of the two", f"{name}_file", show=False)
            if not isinstance(file, str):
                raise refusal("must be the name of a file", f"{name}_file")
            given[name] = _read_secret(context.get("folder", Path()) / file, f"{name}_file")
        return given


def _read_secret(path: Path, key: str) -> str:
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise refusal(f"cannot be read from {path} ({reason}); correct the path or its permissions", key) from error
    if not secret:
        raise refusal(f"leads to the empty file {path}; write the secret into it", key)
    return secret


def _flat(annotation: Any) -> set[Any]:
    """Return a type and all types it is made of."""
    return {annotation}.union(*(_flat(part) for part in get_args(annotation)))


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise refusal("must be a duration such as 15m or 2d (numbers with the units y, w, d, h, m, s)")
    try:
        return parse_duration(value)
    except ValueError as error:
        raise refusal(str(error)) from error


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise refusal("must be longer than nothing, such as 15m")
    return value


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        cities = {zone.rsplit("/", 1)[-1]: zone for zone in available_timezones() if "/" in zone}
        close = nearest(value, available_timezones()) or cities.get(nearest(value, cities) or "")
        hint = f'did you mean "{close}"?' if close else 'write it like "Europe/Berlin" or "UTC"'
        raise refusal(f"is no known time zone; {hint}") from error
    return value


def _clock_time(value: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise refusal('must be a time of day such as "20:00"')
    return value


def _near_config(value: Path, info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("folder", Path()), value)


def _database(value: SecretStr, words: tuple[str, ...]) -> SecretStr:
    url = value.get_secret_value()
    if url in words:
        return value
    if urlsplit(url).scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise refusal(f"must be {' or '.join(words)} or a URL such as postgresql://user@host:5432/database", show=False)
    return value


def _http(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid or re.search(r"\s", url):
        raise refusal("must be a URL that begins with https:// and names a host", show=False)


def _web_address(value: str) -> str:
    _http(value)
    return value


def _secret_web_address(value: SecretStr) -> SecretStr:
    _http(value.get_secret_value())
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _nonempty(value: str) -> str:
    if not value.strip():
        raise refusal("must not be empty")
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
        raise refusal("has a character that no text in Postgres can have; remove it", show=False)
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["15m", "48h", "2d"]}),
]
"""A duration with its units; `0s` is allowed."""
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
Text = Annotated[str, AfterValidator(_nonempty)]
Listed = BeforeValidator(_listed, json_schema_input_type=str | list[str])
Texts = Annotated[tuple[Text, ...], Listed]
"""A list of texts; a single one may be written without the brackets."""
Timezone = Annotated[str, AfterValidator(_timezone)]
ClockTime = Annotated[str, AfterValidator(_clock_time)]
LocalPath = Annotated[Path, AfterValidator(_near_config)]
"""A path, taken relative to the folder of the configuration file."""
StoreAddress = Annotated[SecretStr, AfterValidator(lambda value: _database(value, ("embedded",)))]
SourceAddress = Annotated[SecretStr, AfterValidator(lambda value: _database(value, ("store",)))]
DatabaseAddress = Annotated[SecretStr, AfterValidator(lambda value: _database(value, ()))]
WebAddress = Annotated[str, AfterValidator(_web_address)]
SecretWebAddress = Annotated[SecretStr, AfterValidator(_secret_web_address)]
