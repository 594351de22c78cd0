"""Guesses at what the columns of a log table mean, from their names, types and a small sample; each with its reason."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from monitor.logtable import FeatureType
from monitor.sources.catalog import ColumnDescription, Family, TableDescription

ENOUGH_ROWS = 50  # in which two columns agree by more than chance
Sample = Mapping[str, Sequence[str | None]]

TIME = r"(occurred|predicted|requested|scored|served|event|prediction|request|inference)_?(at|time|ts|timestamp)?"
TIME_PLAIN = r"timestamp|time|ts|datetime|at|date|created_at|created"
LOGGED = r"(logged|inserted|ingested|written|loaded|stored|created|recorded)_?(at|time|ts|on)?"
ID = r"(request|prediction|event|inference|scoring|trace|call)_?(id|uuid)|uuid|id|guid"
VERSION = r"(model_?)?(version|ver|revision)|model_v"
ROLE = r"(deployment_?)?(role|stage|variant|slot)|deployment"
SCORE = r"(y_)?(score|prob|proba|probability|p|p_hat)|(score|prob|proba|p)_.+|.+_(score|prob|proba|probability)"
LABEL = r"(predicted|prediction|pred|said|decided|decision)(_.+)?|y_pred|y_hat|.+_(decision|pred|predicted)"
VALUE = (
    r"(predicted|prediction|pred|estimate|estimated|forecast)(_.+)?|y_pred|y_hat|.+_(pred|predicted|estimate|forecast)"
)
TRUTH = (
    r"(label|outcome|target|actual|truth|y_true|y|ground_truth)(_.+)?|(was|is|did|has)_.+"
    r"|.+_(label|outcome|actual|true)"
)
KNOWN = r"(observed|labell?ed|known|resolved|settled|landed|closed|finished|created|recorded|updated)_?(at|time|ts|on)?"
OWN_KNOWN = (  # in the log itself, where created_at and the like are times of the prediction
    r"(observed|labell?ed|known|resolved|settled|landed|closed|sold|paid|repaid|defaulted|delivered|returned|churned)"
    r"_?(at|time|ts|on)?"
)
ASIDE = (
    r"(trace|span|parent|user|customer|account|session)_?(id|uuid)?|latency.*|duration_ms|.*_(id|uuid)|host(name)?|pod"
)
ROLES = {"champion", "shadow", "canary", "challenger"}

_NUMERIC = (Family.INTEGER, Family.DECIMAL)
_TIMES = (Family.TIMESTAMP, Family.DATE)


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A column with the reason why it was taken."""

    column: str
    why: str


@dataclass(frozen=True, kw_only=True)
class FeatureGuess:
    """A feature with its place in the table; `type` is None where it is left out, and `why` says why."""

    name: str
    type: FeatureType | None
    why: str
    json: str | None = None


def numbers(values: Sequence[str | None]) -> list[float]:
    """Return the finite numbers among sampled values."""
    found = []
    for value in values:
        try:
            number = float(value) if value is not None else math.nan
        except ValueError:
            continue
        if math.isfinite(number):
            found.append(number)
    return found


def share_distinct(values: Sequence[str | None]) -> float:
    """Return distinct values per value, 1 when none repeats; 0 without values."""
    present = [value for value in values if value is not None]
    return len(set(present)) / len(present) if present else 0.0


def named(
    columns: Sequence[ColumnDescription], pattern: str, fits: Callable[[ColumnDescription], bool]
) -> ColumnDescription | None:
    """Return the first column that fits and whose whole name matches; earlier alternatives go first."""
    for alternative in _alternatives(pattern):
        for column in columns:
            if re.fullmatch(alternative, column.name, re.IGNORECASE) and fits(column):
                return column
    return None


def _alternatives(pattern: str) -> list[str]:
    """Split a pattern at the `|` that stand outside of brackets."""
    parts, depth = [""], 0
    for letter in pattern:
        depth += (letter == "(") - (letter == ")")
        if letter == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def guess_time(table: TableDescription, columns: Sequence[ColumnDescription]) -> Guess | None:
    """Return the time of the prediction: a timestamp by its name, else the only one, else an indexed one."""
    times = [column for column in columns if column.family in _TIMES]
    for pattern in (TIME, TIME_PLAIN):
        column = named(times, pattern, lambda _: True)
        if column:
            return Guess(column=column.name, why=f"its name, and it is a {column.type}")
    rest = [column for column in times if not re.fullmatch(LOGGED, column.name, re.IGNORECASE)] or times
    indexed = [column for column in rest if table.has_range_index(column.name)]
    if len(rest) == 1:
        return Guess(column=rest[0].name, why=f"the only {rest[0].type} left")
    if indexed:
        return Guess(column=indexed[0].name, why=f"a {indexed[0].type} with an index")
    return Guess(column=rest[0].name, why=f"the first {rest[0].type} of several, look again") if rest else None


def guess_id(table: TableDescription, columns: Sequence[ColumnDescription], sample: Sample) -> Guess | None:
    """Return the request id: by its name, else what the database keeps unique, else a column that never repeats."""
    kinds = (Family.TEXT, Family.UUID, Family.INTEGER)
    candidates = [column for column in columns if column.family in kinds]
    column = named(candidates, ID, lambda c: share_distinct(sample.get(c.name, ())) > 0.5 or not sample.get(c.name))
    if column:
        unique = "; unique in the database" if table.is_unique(column.name) else ""
        return Guess(column=column.name, why=f"its name{unique}")
    for column in candidates:
        if table.is_unique(column.name):
            return Guess(column=column.name, why="the database keeps it unique")
    for column in candidates:
        named_id = re.fullmatch(r".*_?(id|uuid|key|no|number)", column.name, re.IGNORECASE)
        if named_id and share_distinct(sample.get(column.name, ())) == 1:
            return Guess(column=column.name, why="its name, and it never repeats in the sample")
    return None


def guess_role(columns: Sequence[ColumnDescription], sample: Sample) -> Guess | None:
    """Return the column whose values are champion, shadow or canary."""
    for column in columns:
        values = {value for value in sample.get(column.name, ()) if value is not None}
        if values and values <= ROLES and column.family in (Family.TEXT, Family.ENUM):
            return Guess(column=column.name, why=f"its values are {', '.join(sorted(values))}")
    empty = [column for column in columns if not any(sample.get(column.name, ()))]
    by_name = named(empty, ROLE, lambda c: c.family in (Family.TEXT, Family.ENUM))
    return Guess(column=by_name.name, why="its name") if by_name else None


def is_probability(column: ColumnDescription, sample: Sample) -> bool:
    """Return whether a column is a number that stays within 0 and 1 and is no mere flag."""
    values = numbers(sample.get(column.name, ()))
    if column.family is not Family.DECIMAL:
        return False
    return all(0 <= value <= 1 for value in values) and (not values or len(set(values)) > 2 or len(values) < 3)


def is_class(column: ColumnDescription, sample: Sample) -> bool:
    """Return whether a column can hold a decision or a class."""
    few = len({value for value in sample.get(column.name, ()) if value is not None}) <= 50
    return column.family in (Family.BOOLEAN, Family.ENUM) or (column.family in (Family.TEXT, Family.INTEGER) and few)


def guess_classes(columns: Sequence[ColumnDescription], sample: Sample) -> dict[str, str]:
    """Return class → column where three or more probabilities share a prefix and add up to 1 in each sampled row."""
    probable = [column.name for column in columns if is_probability(column, sample)]
    for prefix in dict.fromkeys(re.match(r"[A-Za-z]*_?", name)[0] for name in probable):  # type: ignore[index]  # the pattern matches everything
        group = [name for name in probable if prefix and name.startswith(prefix) and len(name) > len(prefix)]
        rows = [[float(value) for value in row if value] for row in zip(*(sample[name] for name in group), strict=True)]
        if len(group) > 2 and rows and all(abs(sum(row) - 1) < 0.02 for row in rows if len(row) == len(group)):
            return {name.removeprefix(prefix): name for name in group}
    return {}


def guess_decision(score: str, columns: Sequence[ColumnDescription], sample: Sample) -> ColumnDescription | None:
    """Return the one flag that a cut-off on the score explains in every sampled row, or None.

    >>> from monitor.sources.catalog import ColumnDescription, Family
    >>> flag = ColumnDescription(name="declined", type="boolean", base="bool", family=Family.BOOLEAN, nullable=True)
    >>> rows = {"p": [str(i / 50) for i in range(50)], "declined": ["t" if i >= 20 else "f" for i in range(50)]}
    >>> guess_decision("p", [flag], rows).name
    'declined'
    """
    flags = [c for c in columns if c.family is Family.BOOLEAN and len(sample.get(c.name, ())) >= ENOUGH_ROWS]
    found = [flag for flag in flags if guess_threshold(score, flag, sample) is not None]
    return found[0] if len(found) == 1 else None


def guess_threshold(score: str, label: ColumnDescription, sample: Sample) -> float | None:
    """Return the roundest number that separates the scores of negative and positive decisions, or None."""
    if label.family not in (Family.BOOLEAN, Family.INTEGER):
        return None
    both = zip(sample[score], sample[label.name], strict=True)
    pairs = [(float(number), text in ("true", "t", "1")) for number, text in both if number and text]
    yes, no = [s for s, positive in pairs if positive], [s for s, positive in pairs if not positive]
    if not yes or not no or max(no) >= min(yes):
        return None
    low, high = max(no), min(yes)
    for digits in range(1, 6):  # the roundest number between the two is the likeliest cut-off
        scale = 10.0**digits
        candidate = math.ceil(round(low * scale, 6)) / scale
        if low < candidate <= high and 0 < candidate < 1:
            return candidate
    return high if 0 < high < 1 else None


def guess_feature(column: ColumnDescription, sample: Sample) -> FeatureGuess:
    """Return how a column is profiled, or why it is left out."""
    values = sample.get(column.name, ())
    if re.fullmatch(ASIDE, column.name, re.IGNORECASE):
        return FeatureGuess(name=column.name, type=None, why="by its name an id or a fact about the request, no input")
    match column.family:
        case Family.INTEGER | Family.DECIMAL | Family.INTERVAL:
            return FeatureGuess(name=column.name, type=FeatureType.NUMERIC, why=column.type)
        case Family.BOOLEAN:
            return FeatureGuess(name=column.name, type=FeatureType.BOOLEAN, why=column.type)
        case Family.TIMESTAMP | Family.DATE:
            return FeatureGuess(name=column.name, type=FeatureType.TIMESTAMP, why=column.type)
        case Family.ARRAY:
            return FeatureGuess(name=column.name, type=FeatureType.ARRAY, why=column.type)
        case Family.TEXT if share_distinct(values) > 0.5 and len(values) >= 50:
            long = sum(len(value or "") for value in values) / len(values) > 20
            kind = FeatureType.TEXT if long else None
            why = f"{column.type}, hardly a value repeats" if long else "hardly a value repeats, as in an id"
            return FeatureGuess(name=column.name, type=kind, why=why)
        case Family.UUID:
            return FeatureGuess(name=column.name, type=None, why="a uuid is an id, no input")
    if column.base == "bytea":
        return FeatureGuess(name=column.name, type=None, why="bytes have no statistics")
    return FeatureGuess(name=column.name, type=FeatureType.CATEGORICAL, why=column.type)


def guess_json_feature(column: str, key: str, kinds: Mapping[str, int], taken: set[str]) -> FeatureGuess:
    """Return how a key of a JSON column is profiled; a name that is taken gets the column's name in front."""
    types = {
        "number": FeatureType.NUMERIC,
        "string": FeatureType.CATEGORICAL,
        "boolean": FeatureType.BOOLEAN,
        "array": FeatureType.ARRAY,
    }
    name = f"{column}_{key}" if key in taken else key
    seen = {kind: count for kind, count in kinds.items() if kind != "null"}
    place = f"{column}.{key}"
    if "." in key or "." in column or not key:
        return FeatureGuess(name=name, type=None, why="a dot in a key cannot be told from a step down", json=place)
    if not seen:
        return FeatureGuess(name=name, type=None, why="always null in the sample", json=place)
    most = max(seen, key=lambda kind: seen[kind])
    mixed = f"; also {', '.join(kind for kind in seen if kind != most)}" if len(seen) > 1 else ""
    kind = types.get(most)
    why = f"JSON {most}{mixed}" if kind else f"JSON {most}{mixed}: name what is inside one by one"
    return FeatureGuess(name=name, type=kind, why=why, json=place)


_NO_SYSTEM = frozenset({"is", "has", "num", "log", "avg", "mean", "max", "min", "sum", "total", "count"})


def guess_upstreams(names: Sequence[str]) -> dict[str, list[str]]:
    """Return groups of two or more features with the same first word: they may come from the same system.

    >>> guess_upstreams(["weather_temp", "weather_wind", "age"])
    {'weather': ['weather_temp', 'weather_wind']}
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        word, _, rest = name.partition("_")
        if rest and len(word) > 1 and word.lower() not in _NO_SYSTEM:
            groups.setdefault(word, []).append(name)
    return {word: members for word, members in groups.items() if len(members) > 1 and len(members) < len(names)}


def guess_known(columns: Sequence[ColumnDescription], truth: str, sample: Sample) -> Guess | None:
    """Return the time at which a truth in the log itself was known: it is empty in exactly the same rows, or None."""
    absent = [value is None for value in sample.get(truth, ())]
    if not any(absent) or all(absent):
        return None
    times = [column for column in columns if column.family in _TIMES]
    same = [c for c in times if [value is None for value in sample.get(c.name, ())] == absent]
    return Guess(column=same[0].name, why=f"it is empty where {truth} is") if len(same) == 1 else None


def guess_truth(
    table: TableDescription, sample: Sample, id_column: str, *, regression: bool
) -> tuple[Guess, str | None] | None:
    """Return the column with the truth and the one with the time it was known, in a table that has the id."""
    rest = [column for column in table.columns if column.name != id_column]

    def fits(column: ColumnDescription) -> bool:
        return column.family in _NUMERIC if regression else is_class(column, sample)

    truth = named(rest, TRUTH, fits)
    if truth is None and regression:
        truth = named(rest, "value|amount|price", fits)
    why = "its name"
    times = [column for column in rest if column.family in _TIMES]
    yes_or_no = [column for column in rest if column.family is Family.BOOLEAN]
    if truth is None and not regression and times and len(yes_or_no) == 1:
        truth, why = yes_or_no[0], f"nothing else there says yes or no of a {id_column} at a time"
    if truth is None:
        return None
    known = named(times, KNOWN, lambda _: True) or (times[0] if len(times) == 1 else None)
    return Guess(column=truth.name, why=f"{why}, and it is {truth.type}"), known.name if known else None
