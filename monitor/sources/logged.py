"""Statements on a log table: who is in a window, once, and what a tile of it looked like. Pure composition of SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg import sql

from monitor.sources.catalog import ColumnDescription, Family, TableDescription
from monitor.sources.selection import has_row_versions
from monitor.window import Window

CHAMPION = "champion"
FUTURE = timedelta(minutes=5)  # a row later than this from now was written by a wrong clock
COUNTED = 100_000  # rows outside of any window are counted up to here
SMALL = 1_000_000  # rows up to which a table may be read for such a count without an index


@dataclass(frozen=True, kw_only=True)
class Log:
    """A log table with its columns found in the catalog. ``model`` filters the tables that all models share.

    ``by_value`` tells rows apart by what they hold, as in a view, and not by their version: where labels are written
    into the log itself, each label makes a new version of a row whose inputs stay what they were.
    """

    table: TableDescription
    time: ColumnDescription
    id: ColumnDescription
    version: ColumnDescription | None = None
    role: ColumnDescription | None = None
    logged_at: ColumnDescription | None = None
    model: str | None = None
    by_value: bool = False

    @property
    def unique(self) -> bool:
        """Whether the database itself refuses a second row of the same key, so that nobody has to look for one."""
        key = {column.name for column in (self.id, self.version, self.role) if column is not None}
        return any(
            index.unique and not index.partial and None not in index.columns and {*index.columns} <= key
            for index in self.table.indexes
        )

    @property
    def indexed(self) -> bool:
        """Whether the rows of a window are found without reading all; the built-in log is cut by time and indexed."""
        return self.model is not None or self.table.has_range_index(self.time.name)

    @property
    def countable(self) -> bool:
        """Whether rows outside of a window are found without reading a large table."""
        rows = self.table.approximate_rows
        return self.indexed or rows is None or rows < SMALL

    def moment(self, at: datetime) -> sql.Composable:
        """Return a literal to compare the time column with, of its type so that an index serves; naive means UTC."""
        if self.time.base == "timestamptz":
            return sql.SQL("{}::timestamptz").format(sql.Literal(at.astimezone(UTC).isoformat()))
        return sql.SQL("{}::timestamp").format(sql.Literal(at.astimezone(UTC).replace(tzinfo=None).isoformat()))

    def moment_of(self, alias: str) -> sql.Composable:
        """Return the time column as a time."""
        column = sql.Identifier(alias, self.time.name)
        return sql.SQL("{}::timestamp").format(column) if self.time.family is Family.DATE else column

    def tile(self, alias: str, tiles: Sequence[Window]) -> sql.Composable:
        """Return the expression of a row's tile, counted from 0."""
        if len(tiles) == 1:
            return sql.SQL("0")
        starts = sql.SQL(", ").join(self.moment(tile.start) for tile in tiles)
        return sql.SQL("width_bucket({}, ARRAY[{}]) - 1").format(self.moment_of(alias), starts)

    def version_of(self, alias: str) -> sql.Composable:
        """Return the expression of a row's version, empty where there is none."""
        if self.version is None:
            return sql.SQL("''::text")
        return sql.SQL("coalesce({}::text, '')").format(sql.Identifier(alias, self.version.name))

    def mine(self, alias: str, role: str | None = CHAMPION) -> list[sql.Composable]:
        """Return the conditions that a row is of this model and role; an unnamed role is the champion's."""
        found: list[sql.Composable] = []
        if self.model is not None:
            found.append(sql.SQL("{} = {}").format(sql.Identifier(alias, "model"), sql.Literal(self.model)))
        if self.role is not None and role is not None:
            column = sql.Identifier(alias, self.role.name)
            same = sql.SQL("{}::text = {}").format(column, sql.Literal(role))
            found.append(sql.SQL("({} IS NULL OR {})").format(column, same) if role == CHAMPION else same)
        return found

    def within(self, alias: str, windows: Iterable[Window], until: datetime, role: str | None) -> sql.Composable:
        """Return the condition that a row lies in one of the windows and before ``until``."""
        column = sql.Identifier(alias, self.time.name)
        ranges = [
            sql.SQL("({c} >= {a} AND {c} < {b})").format(
                c=column, a=self.moment(window.start), b=self.moment(min(window.end, until))
            )
            for window in joined_windows(windows)
            if window.start < until
        ]
        if not ranges:
            return sql.SQL("false")
        return sql.SQL(" AND ").join([sql.SQL("({})").format(sql.SQL(" OR ").join(ranges)), *self.mine(alias, role)])

    def row_hash(
        self, alias: str, used: Iterable[ColumnDescription], also: Iterable[sql.Composable] = ()
    ) -> sql.Composable:
        """Return a 64-bit hash of a row's key and version; without versions, of the columns that are used.

        ``also`` are further 64-bit numbers to hash with it, NULL as 0.
        """
        hashed = (
            self._version_hash(alias)
            if has_row_versions(self.table) and not self.by_value
            else self._value_hash(alias, used)
        )
        for number in also:
            hashed = sql.SQL("hashint8extended(coalesce({}, 0), {})").format(number, hashed)
        return hashed

    def _version_hash(self, alias: str) -> sql.Composable:
        """Hash id and ``xmin``; role and version of the model cannot change without a new ``xmin``.

        There is no cast from xid to a number but through text, which takes twice as long as all else. The distance
        from the first transaction to that of the row, modulo 2³², is the same number and stays it.
        """
        xid = sql.SQL("((age({})::int8 - age('3'::xid)) & 4294967295)").format(sql.Identifier(alias, "xmin"))
        key = sql.Identifier(alias, self.id.name)
        match self.id.base:
            case "uuid":
                hashed = sql.SQL("uuid_hash_extended({}, {})")
            case "int2" | "int4" | "int8":
                hashed = sql.SQL("hashint8extended({}, {})")
            case _:
                hashed = sql.SQL("hashtextextended({}::text, {})")
        return sql.SQL("coalesce({}, {})").format(hashed.format(key, xid), xid)

    def _value_hash(self, alias: str, used: Iterable[ColumnDescription]) -> sql.Composable:
        columns = {c.name: c for c in (self.id, self.role, self.version, self.time, *used) if c is not None}
        parts: list[sql.Composable] = []
        for column in columns.values():
            name = sql.Identifier(alias, column.name)
            hashable = column.family is not Family.OTHER and column.base != "json"
            parts.append(name if hashable else sql.SQL("{}::text").format(name))
        return sql.SQL("hash_record_extended(ROW({}), 0)").format(sql.SQL(", ").join(parts))

    def relation(
        self, alias: str, condition: sql.Composable, tiles: Sequence[Window], *, repeated: bool
    ) -> tuple[sql.Composable, sql.Composable]:
        """Return FROM item and condition for rows, each key once per tile where some are ``repeated``.

        The first by the time of logging stays, then the first in the table.
        """
        table = self.table.identifier
        named = sql.SQL("{} AS {}").format(table, sql.Identifier(alias))
        if not repeated:
            return named, condition
        first: list[sql.Composable] = []
        if self.logged_at is not None:
            first.append(sql.SQL("{} NULLS LAST").format(sql.Identifier(alias, self.logged_at.name)))
        whole = sql.Identifier(alias)
        first.append(
            sql.SQL("{a}.tableoid, {a}.ctid").format(a=whole)
            if has_row_versions(self.table)
            else sql.SQL("hashtextextended({}::text, 0)").format(whole)
        )
        number = sql.SQL("row_number() OVER (PARTITION BY {}, {}, {} ORDER BY {})").format(
            self.tile(alias, tiles),
            sql.Identifier(alias, self.id.name),
            self.version_of(alias),
            sql.SQL(", ").join(first),
        )
        if has_row_versions(self.table):
            again = sql.SQL(
                "SELECT x.tableoid, x.ctid FROM (SELECT {a}.tableoid, {a}.ctid, {number} AS n FROM {named} "
                "WHERE {condition} AND {id} IS NOT NULL) AS x WHERE x.n > 1"
            ).format(a=whole, number=number, named=named, condition=condition, id=sql.Identifier(alias, self.id.name))
            return named, sql.SQL("{} AND ({a}.tableoid, {a}.ctid) NOT IN ({})").format(condition, again, a=whole)
        numbered = sql.SQL(
            "(SELECT {a}.*, {number} AS monitor_repetition FROM {named} WHERE {condition}) AS {a}"
        ).format(a=whole, number=number, named=named, condition=condition)
        once = sql.SQL("({a}.monitor_repetition = 1 OR {id} IS NULL)").format(
            a=whole, id=sql.Identifier(alias, self.id.name)
        )
        return numbered, once

    def facts(
        self,
        condition: sql.Composable,
        tiles: Sequence[Window],
        used: Iterable[ColumnDescription],
        lateness: timedelta,
        *,
        repeated: bool,
    ) -> sql.Composable:
        """Return the statement that counts a window per tile and version.

        Columns: tile, version, rows, sum of hashes, distinct keys, rows without id, late rows, rows logged before their
        time, last time. Distinct keys are only looked for where some are ``repeated``: it costs more than all else.
        """
        alias = "p"
        key = sql.Identifier(alias, self.id.name)
        distinct = sql.SQL("count(DISTINCT hashtextextended({}::text, 0))" if repeated else "count({})")
        late: sql.Composable = sql.SQL("0::bigint")
        skewed: sql.Composable = late
        if self.logged_at is not None:
            times = {"t": self.moment_of(alias), "l": sql.Identifier(alias, self.logged_at.name)}
            counted = sql.SQL("count(*) FILTER (WHERE {a} > {b} + {span}::interval)")
            late = counted.format(a=times["l"], b=times["t"], span=_span(lateness))
            skewed = counted.format(a=times["t"], b=times["l"], span=_span(FUTURE))
        return sql.SQL(
            "SELECT {tile} AS tile, {version} AS version, count(*), coalesce(sum({hash}), 0)::text, {distinct}, "
            "count(*) - count({key}), {late}, {skewed}, max({time}) FROM {table} AS {p} WHERE {condition} GROUP BY 1, 2"
        ).format(
            tile=self.tile(alias, tiles),
            version=self.version_of(alias),
            hash=self.row_hash(alias, used),
            distinct=distinct.format(key),
            key=key,
            late=late,
            skewed=skewed,
            time=self.moment_of(alias),
            table=self.table.identifier,
            p=sql.Identifier(alias),
            condition=condition,
        )

    def keys(self, condition: sql.Composable) -> sql.Composable:
        """Return the statement that counts ids and distinct keys: as many, and no key is repeated."""
        return sql.SQL("SELECT count({id}), count(DISTINCT {key}) FROM {table} AS p WHERE {condition}").format(
            id=sql.Identifier("p", self.id.name), key=self._key("p"), table=self.table.identifier, condition=condition
        )

    def repeats(self, condition: sql.Composable, tiles: Sequence[Window]) -> sql.Composable:
        """Return the statement that counts how often a key occurs in one more tile than its first."""
        return sql.SQL(
            "SELECT coalesce(sum(n - 1), 0)::bigint FROM (SELECT count(DISTINCT {tile}) AS n FROM {table} AS p "
            "WHERE {condition} AND {id} IS NOT NULL GROUP BY {key}) AS x"
        ).format(
            tile=self.tile("p", tiles),
            table=self.table.identifier,
            condition=condition,
            id=sql.Identifier("p", self.id.name),
            key=self._key("p"),
        )

    def _key(self, alias: str) -> sql.Composable:
        """Return the hash of a row's key among the rows of one role, NULL without an id."""
        key = sql.SQL("hashtextextended({}::text, 0)").format(sql.Identifier(alias, self.id.name))
        if self.version is None:
            return key
        return sql.SQL("hashtextextended({}, {})").format(self.version_of(alias), key)

    def strays(self, window: Window, now: datetime, role: str | None) -> sql.Composable:
        """Return the statement that counts rows that no window will hold: without a time, and from the future.

        Where the time of logging is known, only those logged in this window, so that each is counted once.
        """
        alias = "p"
        time = sql.Identifier(alias, self.time.name)
        also = self.mine(alias, role)
        if self.logged_at is not None:
            logged = sql.Identifier(alias, self.logged_at.name)
            also.append(
                sql.SQL("{c} >= {a}::timestamptz AND {c} < {b}::timestamptz").format(
                    c=logged,
                    a=sql.Literal(window.start.astimezone(UTC).isoformat()),
                    b=sql.Literal(window.end.astimezone(UTC).isoformat()),
                )
            )
        conditions = [
            sql.SQL("({t} IS NULL OR {t} = '-infinity')").format(t=time),
            sql.SQL("{} > {}").format(time, self.moment(now + FUTURE)),
        ]
        counts = [
            sql.SQL("(SELECT count(*) FROM (SELECT 1 FROM {} AS {} WHERE {} LIMIT {}) AS x)").format(
                self.table.identifier,
                sql.Identifier(alias),
                sql.SQL(" AND ").join([condition, *also]),
                sql.Literal(COUNTED),
            )
            for condition in conditions
        ]
        return sql.SQL("SELECT {}").format(sql.SQL(", ").join(counts))

    def beyond(self, window: Window, lateness: timedelta, role: str | None) -> sql.Composable | None:
        """Return the statement that counts rows logged in a window for a time more than ``lateness`` before.

        None where nothing says when rows were logged, or where finding them would read a large table.
        """
        rows = self.table.approximate_rows
        if self.logged_at is None or not (
            self.table.has_range_index(self.logged_at.name) or rows is None or rows < SMALL
        ):
            return None
        logged = sql.Identifier("p", self.logged_at.name)
        conditions = [
            sql.SQL("{c} >= {a}::timestamptz AND {c} < {b}::timestamptz").format(
                c=logged,
                a=sql.Literal(window.start.astimezone(UTC).isoformat()),
                b=sql.Literal(window.end.astimezone(UTC).isoformat()),
            ),
            sql.SQL("{t} < {until} AND {t} > '-infinity' AND {l} > {t} + {span}::interval").format(
                t=sql.Identifier("p", self.time.name),
                until=self.moment(window.end - lateness),
                l=logged,
                span=_span(lateness),
            ),
            *self.mine("p", role),
        ]
        return sql.SQL("SELECT count(*) FROM (SELECT 1 FROM {} AS p WHERE {} LIMIT {}) AS x").format(
            self.table.identifier, sql.SQL(" AND ").join(conditions), sql.Literal(COUNTED)
        )


def joined_windows(windows: Iterable[Window]) -> list[Window]:
    """Return the same time in as few windows as possible, in order."""
    found: list[Window] = []
    for window in sorted(windows):
        if found and window.start <= found[-1].end:
            found[-1] = Window(start=found[-1].start, end=max(window.end, found[-1].end))
        else:
            found.append(window)
    return found


def _span(length: timedelta) -> sql.Literal:
    return sql.Literal(f"{length.total_seconds()} seconds")
