"""Labels joined to their predictions: what is known at a moment, the latest correction first. Composes SQL only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from monitor.source import Fingerprint, TileFacts
from monitor.sources import selection
from monitor.sources.arrow import Decoding
from monitor.sources.catalog import ColumnDescription, Family, TableDescription
from monitor.sources.logged import Log
from monitor.sources.selection import Field, Place
from monitor.window import Window


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Where labels are: in the log itself, or in ``table``, joined by ``id``."""

    label: Place
    time: ColumnDescription | None
    table: TableDescription | None = None
    id: ColumnDescription | None = None

    @property
    def alias(self) -> str:
        """The table's name in a statement."""
        return "p" if self.table is None else "o"


def same_id(log: Log, truth: Truth) -> sql.Composable:
    """Return the condition that joins a label to its prediction, also where their ids differ in type."""
    assert truth.id is not None
    left, right = sql.Identifier("p", log.id.name), sql.Identifier("o", truth.id.name)
    if log.id.base == truth.id.base:
        return sql.SQL("{} = {}").format(right, left)
    integers = Family.INTEGER
    if log.id.family is integers and truth.id.family is integers:
        return sql.SQL("{} = {}").format(right, left)
    # Only the side that is no text is cast, so that an index on the other still serves.
    sides = [
        side if column.family is Family.TEXT else sql.SQL("{}::text").format(side)
        for side, column in ((right, truth.id), (left, log.id))
    ]
    return sql.SQL("{} = {}").format(*sides)


def is_known(log: Log, truth: Truth, now: datetime) -> sql.Composable:
    """Return the condition that a label was known at ``now``; one without a time of its own always was."""
    if truth.time is None:
        return sql.SQL("true")
    at = Log(table=log.table, time=truth.time, id=log.id)
    column = sql.Identifier(truth.alias, truth.time.name)
    return sql.SQL("({c} IS NULL OR {c} <= {now})").format(c=column, now=at.moment(now))


def joined(relation: sql.Composable, truth: Truth, log: Log, now: datetime) -> sql.Composable:
    """Return the FROM item of predictions with their labels, if any."""
    if truth.table is None:
        return relation
    conditions = [same_id(log, truth), is_known(log, truth, now)]
    if log.model is not None:
        conditions.append(sql.SQL("o.model = {}").format(sql.Literal(log.model)))
    return sql.SQL("{} LEFT JOIN {} AS o ON {}").format(
        relation, truth.table.identifier, sql.SQL(" AND ").join(conditions)
    )


def truth_fields(log: Log, truth: Truth, now: datetime) -> list[Field]:
    """Return the fields of the label and of the time at which it was known."""
    place = truth.label
    plain = not place.path and place.column.family in (Family.BOOLEAN, Family.INTEGER, Family.DECIMAL)
    label = selection.value(place, truth.alias) if plain else selection.text(place, truth.alias)
    known = is_known(log, truth, now)
    fields = [
        Field(
            name="monitor label",
            expression=sql.SQL("CASE WHEN {} THEN {} END").format(known, label),
            decoding=Decoding.CATEGORY,
        )
    ]
    if truth.time is not None:
        fields.append(
            Field(
                name="monitor known at",
                expression=sql.Identifier(truth.alias, truth.time.name),
                decoding=Decoding.AGE,
            )
        )
    return fields


def label_counts(
    log: Log,
    truth: Truth,
    joined: sql.Composable,
    condition: sql.Composable,
    tiles: Sequence[Window],
    now: datetime,
    used: Sequence[ColumnDescription],
) -> sql.Composable:
    """Return the statement that counts joined rows and hashes them with their labels, per tile and version."""
    also: list[sql.Composable] = []
    if truth.table is not None:
        labels = Log(table=truth.table, time=truth.time or log.time, id=truth.id or log.id)
        also.append(
            sql.SQL("CASE WHEN {} IS NOT NULL THEN {} END").format(
                sql.Identifier("o", labels.id.name), labels.row_hash("o", [truth.label.column])
            )
            if truth.time is not None or selection.has_row_versions(truth.table)
            else sql.SQL("hashtextextended({}::text, 0)").format(selection.value(truth.label, "o"))
        )
    elif truth.time is not None:
        also.append(sql.SQL("({})::int::int8").format(is_known(log, truth, now)))
    return sql.SQL(
        "SELECT {tile}, {version}, count(*), coalesce(sum({hash}), 0)::text FROM {joined} "
        "WHERE {condition} GROUP BY 1, 2"
    ).format(
        tile=log.tile("p", tiles),
        version=log.version_of("p"),
        hash=log.row_hash("p", used, also),
        joined=joined,
        condition=condition,
    )


def label_facts(rows: Sequence[tuple[Any, ...]], tiles: Sequence[Window]) -> list[TileFacts]:
    """Return the fingerprints of predictions with their labels, from the rows of ``label_counts``."""
    return [
        TileFacts(window=tiles[tile], version=version, fingerprint=Fingerprint(count=count, total=int(total)))
        for tile, version, count, total in rows
    ]
