"""Whatever the code may open an alert about has a section in the runbook, and nothing else has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.check import Cause
from monitor.inhibition import CROWD
from monitor.recommendation import Action
from monitor.routing import HEADLINES

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `([^`]+)`\n(.*?)(?=^## )", RUNBOOK, re.DOTALL | re.MULTILINE))
PARTS = ("Means", "Look first", "Do", "Ignore when")


def families_of(source: str) -> Iterator[str]:
    """Yield the families that a module gives its findings; what comes after a prefix is written as "…"."""
    tree = ast.parse(source)
    known: dict[str, object] = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="family", value=value):
                yield from _named(value, known)
            case ast.Assign(targets=[ast.Name(id="family")], value=value):
                yield from _named(value, known)
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "family":
                        yield from _named(value, known)


def _named(value: ast.expr, known: dict[str, object]) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Name(id=name) if name in known:
            yield str(known[name])
        case ast.Name() | ast.Attribute() | ast.List() | ast.Subscript():
            pass  # handed on from a place that is read as well
        case ast.IfExp(body=body, orelse=other):
            yield from _named(body, known)
            yield from _named(other, known)
        case ast.JoinedStr(values=[first, *_]):
            head = first.value if isinstance(first, ast.FormattedValue) else first
            yield from (f"{name.partition(':')[0]}:…" for name in _named(head, known))
        case _:
            raise AssertionError(f"family is {ast.unparse(value)}, of which nobody can see what it begins with")


def families() -> set[str]:
    """Return all families that the code may open an alert of; "" opens none."""
    files = [*sorted((ROOT / "monitor" / "checks").glob("*.py"))]
    files += [ROOT / "monitor" / f"{name}.py" for name in ("decision", "pipeline")]
    found = {family for file in files for family in families_of(file.read_text(encoding="utf-8"))}
    return (found | {CROWD}) - {""}  # monitor.movement opens that one


def test_every_family_of_the_code_has_its_section_and_no_section_is_of_another() -> None:
    assert set(SECTIONS) == families()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("Finding(family='schema')", ["schema"]),
        ("Finding(family=f'quality:{source}')", ["quality:…"]),
        ("F = 'fairness'\nFinding(family=f'{F}:{name}' if told else '')", ["fairness:…", ""]),
        ("family = 'parity' if one else f'parity:{one}'", ["parity", "parity:…"]),
        ("{'family': 'outcome'}", ["outcome"]),
    ],
)
def test_families_are_found_however_they_are_written(source: str, found: list[str]) -> None:
    assert list(families_of(source)) == found


def test_a_family_of_which_nobody_can_see_the_beginning_is_refused() -> None:
    with pytest.raises(AssertionError, match="nobody can see"):
        list(families_of("Finding(family=name_of(column))"))


@pytest.mark.parametrize("family", SECTIONS)
def test_a_section_says_what_it_means_where_to_look_what_to_do_and_when_to_ignore_it(family: str) -> None:
    assert re.findall(r"^\*\*([^*]+)\.\*\*", SECTIONS[family], re.MULTILINE) == list(PARTS)


@pytest.mark.parametrize("headline", HEADLINES.values())
def test_the_first_line_of_every_message_leads_to_a_section(headline: str) -> None:
    [sections] = re.findall(rf"^\| {re.escape(headline)} \|(.*)\|$", RUNBOOK, re.MULTILINE)
    assert {name for name, _ in re.findall(r"\[`([^`]+)`\]\(#([^)]*)\)", sections)} <= set(SECTIONS)
    assert sections.strip()


def test_every_rule_for_prometheus_has_its_line_and_no_line_is_of_another() -> None:
    rules = (ROOT / "deploy" / "prometheus" / "rules.yaml").read_text(encoding="utf-8")
    told = re.findall(r"^\| ((?:DriftMonitor|Model|Serving)\w+) \|", RUNBOOK, re.MULTILINE)
    assert told == re.findall(r"- alert: (\w+)", rules)


@pytest.mark.parametrize("word", [*Cause, *(action.name for action in Action)])
def test_every_cause_and_every_advice_is_explained(word: str) -> None:
    assert re.search(rf"^\|[^|]*\b{word}\b[^|]*\|", RUNBOOK, re.MULTILINE)
