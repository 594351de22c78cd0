"""Sentences about what is wrong in a configuration: file, line, key, value, remedy. Never a secret."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from monitor.document import Document, Place, show_place
from monitor.section import Section, nearest, suggestion

_EXPECTED = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text; put it in quotes",
    "dict_type": "must be a mapping, with lines such as `key: value`",
    "mapping_type": "must be a mapping, with lines such as `key: value`",
    "model_type": "must be a mapping, with lines such as `key: value`",
    "model_attributes_type": "must be a mapping, with lines such as `key: value`",
    "list_type": "must be a list such as [a, b]",
    "tuple_type": "must be a list such as [a, b]",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} entries",
    "path_type": "must be the path of a file",
}
_PATTERNS = {
    "currency": "must be an ISO 4217 code of three capital letters such as USD",
    "sender": "must be an address such as monitor@example.org",
    "json": "must be a column and a key such as features.age",
}


class ConfigError(Exception):
    """What is wrong with a configuration: one sentence a line, each with file, key, value and remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def complaints(
    error: ValidationError, document: Document, path: Path, sections: Mapping[int, type[Section]]
) -> list[str]:
    """Return one sentence for every problem of a validation, in the order of the file.

    `sections` tells, by the id of a mapping of the document, which section it was read as.
    """
    found = [_complaint(detail, document, sections) for detail in error.errors(include_url=False)]
    found.sort(key=lambda problem: _line(document, problem[0]) or 0)
    return list(dict.fromkeys(sentence(path, document, place, text) for place, text in found))


def sentence(path: Path, document: Document, place: Place, text: str) -> str:
    """Return a sentence about the value at a place; `text` goes on after the key."""
    line = _line(document, place)
    where = f"{path}, line {line}" if line else str(path)
    return f"{where}: {show_place(place)} {text}{'' if text.endswith('?') else '.'}"


def shown(document: Document, place: Place, sections: Mapping[int, type[Section]]) -> str | None:
    """Return how the value at a place may be shown, or None when it may be secret."""
    trail = list(_trail(document.value, place))
    for value, key in zip(trail, place, strict=False):
        section = sections.get(id(value))
        if section is not None and key in section.secrets():
            return None
    if place in document.templates:
        return f'"{document.templates[place]}" (from the environment)'
    value = trail[-1] if len(trail) > len(place) else None
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None:
        return "empty"
    if isinstance(value, str):
        if re.search(r"://[^/]*@", value):
            return None
        return json.dumps(value if len(value) <= 60 else f"{value[:57]}...", ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _complaint(detail: ErrorDetails, document: Document, sections: Mapping[int, type[Section]]) -> tuple[Place, str]:
    kind, context = detail["type"], detail.get("ctx", {})
    is_key = detail["loc"][-1:] == ("[key]",)
    place = _place(document.value, detail["loc"], missing=kind == "missing")
    if kind == "refusal":
        place = (*place, *context["keys"])
        return place, _about(document, place, sections, context["message"], show=context["show"])
    parent = list(_trail(document.value, place[:-1]))[-1]
    section = sections.get(id(parent))
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        valid = section.keys() if section else []
        return place, f"is not a known key; {suggestion(str(place[-1]), valid)}"
    if kind == "missing":
        return place, f"is missing; {_need(section, str(place[-1]))}"
    if kind in ("literal_error", "enum"):
        names = re.findall(r"'([^']*)'", str(context["expected"]))
        if is_key:
            return place, f"is not a known key; {suggestion(str(place[-1]), names)}"
        message = f"must be {' or '.join(names)}"
        value = list(_trail(document.value, place))[-1]
        close = nearest(value, names) if isinstance(value, str) else None
        message += f'; did you mean "{close}"?' if close else ""
    elif kind == "string_pattern_mismatch":
        message = _PATTERNS.get(str(place[-1]), f"must match {context['pattern']}")
    elif kind in _EXPECTED:
        message = _EXPECTED[kind].format(**context)
    else:
        message = f"is refused: {detail['msg'].removeprefix('Value error, ').rstrip('.')}"
        return place, message
    return place, _about(document, place, sections, message, show=True)


def _about(document: Document, place: Place, sections: Mapping[int, type[Section]], message: str, *, show: bool) -> str:
    value = shown(document, place, sections) if show else None
    if value is None:
        return message
    return f"is {value} but {message}" if message.startswith(("must", "needs")) else f"is {value}, which {message}"


def _need(section: type[Section] | None, key: str) -> str:
    if section is None:
        return "add it"
    field = next((item for name, item in section.model_fields.items() if key in (name, item.alias)), None)
    also = f" (or {key}_file)" if f"{key}_file" in section.model_fields else ""
    meaning = (field.description or "").rstrip(".") if field else ""
    return f"add it{also}: {meaning[:1].lower()}{meaning[1:]}" if meaning else f"add it{also}"


def _place(value: Any, loc: tuple[str | int, ...], *, missing: bool) -> Place:
    """Return the place in the file, without the names that pydantic adds for the member of a union."""
    place: list[str | int] = []
    for number, part in enumerate(loc):
        below = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
        if part in below:
            value = below[part]
        elif not (missing and number == len(loc) - 1):
            continue
        place.append(part)
    return tuple(place)


def _trail(value: Any, place: Place) -> Iterator[Any]:
    """Yield the value at the top and at every step down to a place, as far as the steps exist."""
    yield value
    for part in place:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return
        yield value


def _line(document: Document, place: Place) -> int | None:
    for length in range(len(place), 0, -1):
        if place[:length] in document.lines:
            return document.lines[place[:length]]
    return None
