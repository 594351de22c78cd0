"""A YAML document whose every value knows its line, with `${VAR}` filled in from the environment.

Read by the rules of YAML 1.2: `NO` is a country and not false, `20:00` is a time and not 1200, `1e-3` is a number. Keys
are always text, so `{0: p0, 1: p1}` names the classes "0" and "1".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Place = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top."""

_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")
_MERGE = "tag:yaml.org,2002:merge"


class DocumentError(Exception):
    """What is wrong with the text of a document, one sentence for each problem; `lines` are 1-based or None."""

    def __init__(self, problems: list[tuple[int | None, str]]) -> None:
        super().__init__("\n".join(sentence for _, sentence in problems))
        self.problems = problems


@dataclass(frozen=True, kw_only=True)
class Document:
    """The plain value (dicts, lists, scalars) of a document, and the line of every place."""

    value: Any
    lines: Mapping[Place, int]
    templates: Mapping[Place, str] = field(default_factory=dict)
    """Text before substitution of the places that named a variable: what may be shown instead of a possible secret."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalar rules of YAML 1.2 (core schema) plus dates."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own protocol)


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$",
        list("-+.0123456789"),
    ),
    ("timestamp", r"^\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[-+]\d\d:\d\d)?)?$", list("0123456789")),
    ("merge", r"^<<$", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def read_document(text: str, environ: Mapping[str, str]) -> Document:
    """Return `text` as a document with every variable of `environ` filled in.

    `"${VAR}"` is replaced anywhere inside a string value, `"${VAR:-default}"` takes the default where VAR is unset or
    empty, `$${` stands for `${`. A value that ends up empty by this is null. Raises DocumentError for broken YAML, a
    key given twice, a recursive alias, and a variable that is not set.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Document(value=None, lines={})
        reader = _Reader(loader, environ)
        value = reader.read(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        raise DocumentError(
            [(line, f"the text is no valid YAML here ({_one_line(error.problem)}); mend it")]
        ) from error
    except yaml.YAMLError as error:
        raise DocumentError([(None, f"the text is no valid YAML ({_one_line(str(error))}); mend it")]) from error
    finally:
        loader.dispose()
    if reader.problems:
        raise DocumentError(reader.problems)
    return Document(value=value, lines=reader.lines, templates=reader.templates)


class _Reader:
    """Turns nodes into values and notes lines, templates and problems on the way."""

    def __init__(self, loader: _Loader, environ: Mapping[str, str]) -> None:
        self.loader = loader
        self.environ = environ
        self.lines: dict[Place, int] = {}
        self.templates: dict[Place, str] = {}
        self.problems: list[tuple[int | None, str]] = []
        self._open: set[int] = set()

    def read(self, node: yaml.Node, place: Place) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        if id(node) in self._open:
            self._problem(node, f"{show_place(place)} refers to itself by an alias; write the value out")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.read(child, (*place, number)) for number, child in enumerate(node.value)]
            assert isinstance(node, yaml.MappingNode)
            return self._mapping(node, place)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, child in self._pairs(node, place):
            inner = (*place, key.value)
            if key.value in result:
                first = self.lines[inner]
                self._problem(key, f"{show_place(inner)} is given twice, first in line {first}; keep one of them")
                continue
            self.lines[inner] = key.start_mark.line + 1
            result[key.value] = self.read(child, inner)
        for key, child in self._merged(node):
            inner = (*place, key.value)
            if key.value not in result:
                result[key.value] = self.read(child, inner)
        return result

    def _pairs(self, node: yaml.MappingNode, place: Place) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, f"{show_place(place)} has a key that is no plain text; write `key: value`")
            elif key.tag != _MERGE:
                yield key, child

    def _merged(self, node: yaml.MappingNode) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """Yield the pairs that come by `<<: *anchor`; keys written out beside it go first."""
        for key, child in node.value:
            if key.tag != _MERGE:
                continue
            for source in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                if isinstance(source, yaml.MappingNode) and source is not node:
                    yield from self._pairs(source, ())
                else:
                    self._problem(key, "`<<` needs a mapping to merge; give an alias of one")

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        try:
            value = self.loader.construct_object(node, deep=True)
        except ValueError:  # a date like 2013-02-31
            self._problem(node, f'{show_place(place)} is "{node.value}" but there is no such date; correct it')
            return None
        if not isinstance(value, str) or "${" not in value:
            return value
        self.templates[place] = value
        filled = _VARIABLE.sub(lambda match: self._fill(match, node, place), value)
        return filled or None

    def _fill(self, match: re.Match[str], node: yaml.Node, place: Place) -> str:
        escaped, name, default = match.groups()
        if escaped:
            return "${"
        if name is None:
            remedy = 'write "${NAME}", or "$${" for the characters themselves'
            self._problem(node, f'{show_place(place)} holds "${{" without the name of a variable; {remedy}')
            return ""
        content = self.environ.get(name)
        if content is None and default is None:
            remedy = f'set it or write "${{{name}:-default}}"'
            problem = f"{show_place(place)} needs the environment variable {name}, which is not set; {remedy}"
            self._problem(node, problem)
            return ""
        return content or default or ""

    def _problem(self, node: yaml.Node, sentence: str) -> None:
        self.problems.append((node.start_mark.line + 1, sentence))


def show_place(place: Place) -> str:
    """Return a place as people write it.

    >>> show_place(("routes", 0, "to"))
    'routes[0].to'
    """
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the document"


def _one_line(text: str | None) -> str:
    return " ".join((text or "unreadable").split())
