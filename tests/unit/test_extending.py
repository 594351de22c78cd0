"""The check, the channel and the source of docs/extending.md work as they stand on the page."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from monitor import check, notification
from monitor.check import Evidence, Stage, Verdict, run_checks
from monitor.column import Layout
from monitor.outcome import Task
from monitor.reference import freeze_layout, freeze_outcomes
from monitor.registry import Registry
from monitor.source import Source, SourceError
from monitor.tile import Tile, TileKey, TilePart, build_inputs, build_outcomes, known_tiles, merge_inputs
from monitor.window import CalendarUnit, Window, WindowSpec
from tests.contract import test_channels as contract

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
START = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = [Window(start=START + timedelta(hours=i), end=START + timedelta(hours=i + 1)) for i in range(3)]
DAY = Window(start=START, end=START + timedelta(days=1))
KEY = TileKey(model="m", part=TilePart.INPUTS, reference_id="r")
NOW = START + timedelta(days=1)


@pytest.fixture(scope="module", autouse=True)
def added(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """Write the files of the page into folders that belong to our packages, as if somebody had added them."""
    root, found = tmp_path_factory.mktemp("added"), {}
    registries: tuple[Registry[Any], ...] = (check.checks, notification.channels)
    before = [dict(registry._classes) for registry in registries]
    with pytest.MonkeyPatch.context() as patch:
        for path, code in FILES.items():
            if not path.startswith("monitor/"):
                continue
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(code, encoding="utf-8")
            package = importlib.import_module(path.rpartition("/")[0].replace("/", "."))
            patch.setattr(package, "__path__", [*package.__path__, str(file.parent)])
        for path in FILES:
            if path.startswith("monitor/"):
                name = path.removesuffix(".py").replace("/", ".")
                if path.startswith("monitor/sources/"):
                    found[name] = importlib.import_module(name)
        yield found
    for registry, classes in zip(registries, before, strict=True):
        registry._classes.clear()
        registry._classes.update(classes)
    for path in FILES:
        sys.modules.pop(path.removesuffix(".py").replace("/", "."), None)


def test_the_page_has_one_of_each() -> None:
    assert {path.split("/")[1] for path in FILES if path.startswith("monitor/")} == {"checks", "channels", "sources"}


# --- the check --------------------------------------------------------------------------------------------------------


def evidence(**more: Any) -> Evidence:
    spec = WindowSpec(calendar=CalendarUnit.DAY)
    return Evidence(model="m", stage=Stage.INPUTS, window=DAY, spec=spec, **more)


def test_the_check_is_found_by_its_name_and_takes_its_options() -> None:
    assert "rows" in check.checks.load()
    assert check.checks.build("rows", {"least": 7}) == check.checks.load()["rows"](least=7)  # type: ignore[call-arg]  # its own option
    for wrong in ({"least": 0}, {"no_such_option": 1}):
        with pytest.raises(ValidationError):
            check.checks.build("rows", wrong)


def test_the_check_judges_what_the_source_reads_and_is_inconclusive_without(log: Path, source: Source) -> None:
    layout = layout_of(source)
    with source.read_inputs(DAY, HOURS, layout, now=NOW) as read:
        _, profile = build_inputs(read, layout, KEY)
    for least, verdict in ((30, Verdict.OK), (31, Verdict.WARNING)):
        active = {"rows": check.checks.build("rows", {"least": least})}
        [(name, judgement)] = run_checks(active, evidence(maybe_current=profile))
        [finding] = judgement.findings
        assert (name, finding.verdict, finding.value) == ("rows", verdict, 30)
        [(_, blind)] = run_checks(active, evidence())
        assert [one.verdict for one in blind.findings] == [Verdict.INCONCLUSIVE]


# --- the channel ------------------------------------------------------------------------------------------------------

RULES = [rule for name, rule in vars(contract).items() if name.startswith("test_")]


def cases_of(rule: Any) -> list[dict[str, Any]]:
    """Return the arguments that the marks of a rule ask for, without the channel's name."""
    cases: list[dict[str, Any]] = [{}]
    for mark in rule.pytestmark:
        names, values = mark.args
        names = [names] if isinstance(names, str) else list(names)
        if names != ["name"]:
            rows = [value if len(names) > 1 else (value,) for value in values]
            cases = [{**case, **dict(zip(names, row, strict=True))} for case in cases for row in rows]
    return cases


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_channel_keeps_every_rule_for_channels(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "PEERS", dict(contract.PEERS))
    monkeypatch.setattr(contract, "_teams", None, raising=False)  # and takes it away again
    exec(FILES["tests/contract/test_channels.py"], vars(contract))  # what the page tells to add
    notification.channels.load()
    for case in cases_of(rule):
        with ExitStack() as stack:
            has_stack = "stack" in inspect.signature(rule).parameters
            rule(name="teams", **case, **({"stack": stack} if has_stack else {}))


# --- the source -------------------------------------------------------------------------------------------------------


def rows(hour: int, *, label: float | None = 1.0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(hour)
    return [
        {
            "request_id": f"{hour}-{i}",
            "occurred_at": START + timedelta(hours=hour, minutes=i),
            "score": float(rng.random()),
            "label": label,
            "temp": float(rng.normal()),
            "colour": str(rng.choice(["red", "green"])),
        }
        for i in range(10)
    ]


def write(path: Path, *hours: list[dict[str, Any]]) -> None:
    pyarrow.parquet.write_table(pa.Table.from_pylist([row for hour in hours for row in hour]), path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    write(tmp_path / "log.parquet", rows(0), rows(1), rows(2))
    return tmp_path / "log.parquet"


@pytest.fixture
def source(log: Path, added: dict[str, ModuleType]) -> Source:
    made: Source = added["monitor.sources.parquet"].ParquetSource(path=log)
    return made


def layout_of(source: Source) -> Layout:
    return freeze_layout(source.sample([DAY], 1000, now=NOW), "UTC", has_time=True)


def stored(source: Source, layout: Layout) -> list[Tile]:
    with source.read_inputs(DAY, HOURS, layout, now=NOW) as read:
        tiles, whole = build_inputs(read, layout, KEY)
    assert merge_inputs(layout, tiles).rows == whole.rows
    return [replace(tile, next_check_at=NOW) for tile in tiles]


def test_the_source_gives_every_row_once_with_its_columns_and_its_label(source: Source) -> None:
    tiles = stored(source, layout_of(source))
    assert [tile.rows for tile in tiles] == [10, 10, 10]
    batch = source.sample([DAY], 1000, True, now=NOW)
    assert batch.rows == 30
    assert set(batch.columns) == {"temp", "colour"}
    outcomes = freeze_outcomes(Task.BINARY, batch, threshold=0.5)
    with source.read_outcomes(DAY, HOURS, now=NOW) as read:
        _, outcome = build_outcomes(read, outcomes, replace(KEY, part=TilePart.OUTCOMES))
    assert (outcome.rows, outcome.labelled) == (30, 30)


def test_the_source_transfers_only_the_tile_that_a_late_row_or_label_changed(log: Path, source: Source) -> None:
    layout = layout_of(source)
    known = known_tiles(stored(source, layout))
    with source.read_inputs(DAY, HOURS, layout, now=NOW, known=known) as read:
        assert read.tiles == ()
        assert list(read.unchanged) == HOURS
    write(log, rows(0), rows(1, label=0.0), rows(2))
    with source.read_inputs(DAY, HOURS, layout, now=NOW, known=known) as read:
        assert list(read.tiles) == [HOURS[1]]
    fresh = source.fingerprints(HOURS, layout, now=NOW)
    assert [fact.fingerprint for fact in read.facts] == [fresh[1].fingerprint]


def test_a_sample_is_the_same_when_it_is_drawn_again_and_no_larger_than_asked(source: Source) -> None:
    one, other = (source.sample([DAY], 7, now=NOW) for _ in range(2))
    assert one.rows == 7
    np.testing.assert_array_equal(one.time, other.time)


def test_what_is_wrong_with_the_file_is_one_sentence_and_a_lost_column_is_a_fault(log: Path, source: Source) -> None:
    layout = layout_of(source)
    assert source.check() == []
    write(log, [{k: v for k, v in row.items() if k != "temp"} for row in rows(0)])
    with source.read_inputs(DAY, HOURS, layout, now=NOW) as read:
        assert [fault.column for fault in read.reading.faults] == ["temp"]
    write(log, rows(0), rows(0))
    assert ["repeats 10 request ids" in problem for problem in source.check()] == [True]
    log.write_text("no parquet")
    assert len(source.check()) == 1
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        source.fingerprints(HOURS, None, now=NOW)
