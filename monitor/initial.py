"""The initial configuration: `monitor init` looks at a log table and writes monitor.yaml with every guess explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg

from monitor.guess import (
    LABEL,
    LOGGED,
    OWN_KNOWN,
    SCORE,
    VALUE,
    VERSION,
    FeatureGuess,
    Guess,
    Sample,
    guess_classes,
    guess_decision,
    guess_feature,
    guess_id,
    guess_json_feature,
    guess_known,
    guess_role,
    guess_threshold,
    guess_time,
    guess_truth,
    guess_upstreams,
    is_class,
    is_probability,
    named,
)
from monitor.sources.catalog import (
    ColumnDescription,
    Family,
    TableDescription,
    describe_table,
    json_keys,
    list_tables,
    quote,
    sample_columns,
)
from monitor.sources.session import connect, explained, libpq_url

MISSING = "CHANGE_ME"
"""Stands for what could not be guessed; the configuration is refused by the database until a person replaces it."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A configuration as text, what was guessed in it, and what a person must still fill in."""

    text: str
    model: str
    guesses: tuple[str, ...]
    open_questions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    table: str | None
    truth: Guess
    time: str | None


def propose(
    source: psycopg.Connection[Any] | str, table: str, *, model: str | None = None, url: str | None = None
) -> Proposal:
    """Return a configuration for one log table, with every column typed and every guess said.

    `source` is a connection or an address; `url` is what the configuration names as `source.url`, by default the
    address without its password. Reads the catalog and at most 1000 rows a table. Raises UnknownTableError, and
    SourceError where the database cannot be read.
    """
    shown = url or "store"
    told: list[str] = []
    if url is None and isinstance(source, str):
        shown = _without_password(source)
        if shown != source:
            told.append(
                "The password was not written down; export MONITOR_SOURCE_URL with the whole address, or PGPASSWORD, "
                "before every command."
            )
    with _connection(source) as conn:
        description = describe_table(conn, table)
        plain = [column.name for column in description.columns if column.family is not Family.JSON]
        sample = sample_columns(conn, description, plain)
        draft = _Draft(description, sample)
        for column in description.columns:
            if column.family is Family.JSON:
                draft.add_json(column.name, json_keys(conn, description, column.name))
        draft.outcome = draft.own_outcome() or _outcome_table(conn, draft)
        draft.finish()
    name = model or re.sub(r"[^A-Za-z0-9._-]+", "-", description.name).strip("-._") or "model"
    return Proposal(
        text=draft.render(name, shown),
        model=name,
        guesses=(*draft.guesses, *told),
        open_questions=tuple(draft.open_questions),
    )


class _Draft:
    """The configuration while it is being guessed: who takes a column first has it."""

    def __init__(self, table: TableDescription, sample: Sample) -> None:
        self.table = table
        self.sample = sample
        self.free = [column for column in table.columns if column.family is not Family.JSON]
        self.guesses: list[str] = []
        self.open_questions: list[str] = []
        self.features: list[FeatureGuess] = []
        self.outcome: _Outcome | None = None
        self.time = self._need("time", guess_time(table, self.free), "name a timestamp")
        self.logged_at = self._take("logged_at", self._by_name(LOGGED, Family.TIMESTAMP))
        self.id = self._need("id", guess_id(table, self.free, sample), "name the column with the request id")
        self.version = self._take("version", self._by_name(VERSION, Family.TEXT, Family.INTEGER, Family.ENUM))
        self.role = self._take("role", guess_role(self.free, sample))
        self.prediction = self._prediction()

    @property
    def is_regression(self) -> bool:
        return "value" in self.prediction

    def add_json(self, column: str, keys: Any) -> None:
        taken = {feature.name for feature in self.features} | {item.name for item in self.free}
        for key, kinds in keys.items():
            feature = guess_json_feature(column, key, kinds, taken)
            taken.add(feature.name)
            self.features.append(feature)
        if not keys:
            self.open_questions.append(f"The JSON column {column} has no keys in the sample; name its features.")

    def own_outcome(self) -> _Outcome | None:
        free = {column.name for column in self.free}
        # A truth in the log itself has to have another column than the features, so only plain names count.
        columns = tuple(column for column in self.free if re.fullmatch(_OWN_TRUTH, column.name, re.IGNORECASE))
        own = TableDescription(
            schema=self.table.schema,
            name=self.table.name,
            kind=self.table.kind,
            columns=columns,
            indexes=(),
            approximate_rows=None,
        )
        found = guess_truth(own, self.sample, self.id, regression=self.is_regression)
        if found is None or found[0].column not in free:
            return None
        self._take("outcome", found[0])
        known = self._by_name(OWN_KNOWN, Family.TIMESTAMP) or guess_known(self.free, found[0].column, self.sample)
        return _Outcome(table=None, truth=found[0], time=self._take("outcome.time", known))

    def finish(self) -> None:
        self.features = [*(guess_feature(column, self.sample) for column in self.free), *self.features]
        if not self.prediction:
            message = "No column looks like a prediction; name prediction.score, prediction.value or prediction.scores."
            self.open_questions.append(message)
        if self.outcome is None:
            self.guesses.append("No table of outcomes was found; without one, performance cannot be measured.")
        if self.id != MISSING and not self.table.has_range_index(self.time) and self.time != MISSING:
            name = f"{self.table.qualified} ({quote(self.time)})"
            self.guesses.append(f"No index helps to find a range of {self.time}: CREATE INDEX CONCURRENTLY ON {name};")

    def _by_name(self, pattern: str, *families: Family) -> Guess | None:
        column = named(self.free, pattern, lambda c: c.family in families)
        return Guess(column=column.name, why=f"its name, and it is {column.type}") if column else None

    def _take(self, what: str, guess: Guess | None) -> str | None:
        if guess is None:
            return None
        self.free = [column for column in self.free if column.name != guess.column]
        self.guesses.append(f"{what}: {guess.column} ({guess.why})")
        return guess.column

    def _need(self, what: str, guess: Guess | None, remedy: str) -> str:
        column = self._take(what, guess)
        if column is None:
            self.open_questions.append(f"No column looks like {what}; {remedy} in place of {MISSING}.")
        return column or MISSING

    def _prediction(self) -> dict[str, Any]:
        classes = guess_classes(self.free, self.sample)
        if classes:
            for name, column in classes.items():
                self._take(f"prediction.scores.{name}", Guess(column=column, why="these add up to 1 in every row"))
            label = self._class()
            return {"scores": classes} | ({"label": label.name} if label else {})
        score = named(self.free, SCORE, lambda c: is_probability(c, self.sample))
        if score:
            self._take("prediction.score", Guess(column=score.name, why="its name, and it stays within 0 and 1"))
            label = self._class() or self._decision(score.name)
            threshold = guess_threshold(score.name, label, self.sample) if label else None
            if threshold is not None and label:
                self.guesses.append(f"prediction.threshold: {threshold} (it separates {label.name} in the sample)")
            found: dict[str, Any] = {"score": score.name} | ({"label": label.name} if label else {})
            return found | ({"threshold": threshold} if threshold is not None else {})
        value = named(self.free, VALUE, lambda c: c.family is Family.DECIMAL)
        if value:
            self._take("prediction.value", Guess(column=value.name, why=f"its name, and it is {value.type}"))
            return {"value": value.name}
        label = self._class()
        return {"label": label.name} if label else {}

    def _decision(self, score: str) -> ColumnDescription | None:
        label = guess_decision(score, self.free, self.sample)
        if label:
            self._take(
                "prediction.label", Guess(column=label.name, why=f"it follows from {score} in every sampled row")
            )
        return label

    def _class(self) -> ColumnDescription | None:
        label = named(self.free, LABEL, lambda c: is_class(c, self.sample))
        if label:
            self._take("prediction.label", Guess(column=label.name, why=f"its name, and it is {label.type}"))
        return label

    def render(self, model: str, url: str) -> str:
        """Return monitor.yaml."""
        return "\n".join([*_head(self.table), *self._source(model, url), *_tail()])

    def _source(self, model: str, url: str) -> Iterator[str]:
        yield from ("models:", f"  {_yaml(model, key=True)}:", "    source:", f"      url: {_address(url)}")
        yield f"      table: {_yaml(self.table.qualified)}"
        yield f"      time: {_yaml(self.time)}"
        for key, column, meaning in (
            ("logged_at", self.logged_at, "when the row was written; needed to count rows that come too late"),
            ("version", self.version, "version of the model"),
            ("role", self.role, "champion, shadow or canary"),
        ):
            if key == "version":
                yield f"      id: {_yaml(self.id)}"
            yield f"      {key}: {_yaml(column)}" if column else f"      # {key}: no column found ({meaning})"
        yield "      features:"
        for feature in self.features:
            place = f"json: {_yaml(feature.json)}" if feature.json else f"column: {_yaml(feature.name)}"
            if feature.type is None:
                yield f"        # left out: {_comment(feature.name)} ({_comment(feature.why)})"
            else:
                item = f"{_yaml(feature.name, key=True)}: {{{place}, type: {feature.type}}}"
                yield f"        {item}  # {_comment(feature.why)}"
        if not any(feature.type for feature in self.features):
            yield f"        {MISSING}: numeric  # no feature was found"
        yield from self._answer()
        upstreams = guess_upstreams([feature.name for feature in self.features if feature.type])
        if upstreams:
            yield "      upstreams:  # guessed by the first word of the names: which features break together?"
            for word, names in upstreams.items():
                yield f"        {_yaml(word, key=True)}: [{', '.join(map(_yaml, names))}]"

    def _answer(self) -> Iterator[str]:
        answer = self.prediction or {"score": MISSING}
        if "scores" in answer:
            classes = ", ".join(
                f"{_yaml(name, key=True)}: {_yaml(column)}" for name, column in answer["scores"].items()
            )
            answer = {**answer, "scores": f"{{{classes}}}"}
        items = ", ".join(
            f"{key}: {value if key in ('scores', 'threshold') else _yaml(value)}" for key, value in answer.items()
        )
        yield f"      prediction: {{{items}}}"
        if "score" in answer and "threshold" not in answer:
            yield "      # threshold: the cut-off on the score; the sample does not show it"
        if self.outcome is None:
            key = "value" if self.is_regression else "label"
            yield f"      # outcome: {{table: …, id: …, {key}: …, time: …, matures_after: 2d}}  # no table found"
            return
        key = "value" if self.is_regression else "label"
        parts = [f"table: {_yaml(self.outcome.table)}", f"id: {_yaml(self.id)}"] if self.outcome.table else []
        parts += [f"{key}: {_yaml(self.outcome.truth.column)}"]
        parts += [f"time: {_yaml(self.outcome.time)}"] if self.outcome.time else []
        yield f"      outcome: {{{', '.join(parts)}, matures_after: 2d}}  # 2d is a guess: when are outcomes complete?"


_OWN_TRUTH = r"label|outcome|target|actual|truth|y_true|ground_truth|(actual|true|observed)_.+|was_.+"


def _outcome_table(conn: psycopg.Connection[Any], draft: _Draft) -> _Outcome | None:
    """Return the first other table of the schema that has the id and something like a truth."""
    key = draft.table.column(draft.id)
    for name in list_tables(conn) if key else ():
        table = describe_table(conn, name)
        other = table.column(draft.id)
        if table.schema != draft.table.schema or table.name == draft.table.name or other is None or key is None:
            continue
        if other.family is not key.family:
            continue
        plain = [column.name for column in table.columns if column.family is not Family.JSON]
        found = guess_truth(table, sample_columns(conn, table, plain), draft.id, regression=draft.is_regression)
        if found:
            truth, time = found
            draft.guesses.append(
                f"outcome: {table.qualified}.{truth.column} (the table has {draft.id} too; {truth.why})"
            )
            return _Outcome(table=table.qualified, truth=truth, time=time)
    return None


@contextmanager
def _connection(source: psycopg.Connection[Any] | str) -> Iterator[psycopg.Connection[Any]]:
    if not isinstance(source, str):
        yield source
        return
    address = libpq_url(source)
    try:
        with connect(address) as conn:
            conn.read_only = True
            conn.execute("SET LOCAL statement_timeout = '30s'")
            yield conn
    except psycopg.Error as error:
        raise explained(error, address) from None


def _without_password(url: str) -> str:
    """Return an address that may be written down, or "" where it is none in the form of a URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        return ""
    user, at, host = parts.netloc.rpartition("@")
    query = "&".join(item for item in parts.query.split("&") if not item.startswith("password="))
    # urlunsplit would write postgresql:/d for an address without a host
    return f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}{'?' if query else ''}{query}"


def _address(url: str) -> str:
    # The default has no password: it comes from the variable, from PGPASSWORD or from ~/.pgpass.
    return (
        "store" if url == "store" else json.dumps(f"${{MONITOR_SOURCE_URL:-{url}}}" if url else "${MONITOR_SOURCE_URL}")
    )


def _yaml(text: str | None, *, key: bool = False) -> str:
    """Return a text as YAML reads it back, quoted where in doubt; `${` is special in values, not in keys."""
    plain = text or ""
    reserved = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*([.-][A-Za-z_][A-Za-z0-9_]*)*", plain) and plain.lower() not in reserved:
        return plain
    return json.dumps(plain if key else plain.replace("${", "$${"), ensure_ascii=False)


def _comment(text: str) -> str:
    return " ".join(json.dumps(text, ensure_ascii=False)[1:-1].split())


def _head(table: TableDescription) -> Sequence[str]:
    rows = "an unknown number of" if table.approximate_rows is None else f"about {table.approximate_rows:,}"
    return (
        f"# Written by `monitor init` from {_comment(table.qualified)} ({table.kind}, {rows} rows).",
        "# Every name below was guessed from the catalog and a sample: read it once, then run `monitor config check`.",
        "store:",
        '  url: "${MONITOR_STORE_URL:-embedded}"  # embedded: a Postgres of its own under ./.monitor',
    )


def _tail() -> Sequence[str]:
    return (
        "    window: {calendar: day, timezone: UTC}  # where your days begin; or a duration such as 1h",
        "    # business: what the model is for and what its errors cost, see docs/configuration.md",
        "    # serving: {process: {pid_file: …}}  # to watch the memory of the process that answers",
        "# channels:",
        '#   ops: {type: slack, webhook_url: "${SLACK_WEBHOOK_URL}"}',
        "# routes:",
        "#   - {match: {}, to: [ops]}",
        "",
    )
