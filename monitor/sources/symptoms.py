"""What doctor sees in the newest rows of a log: wrong clocks, ids that are none, labels that join nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from psycopg import sql

from monitor.duration import format_duration
from monitor.sources.catalog import quote
from monitor.sources.logged import FUTURE, Log
from monitor.sources.selection import Place, text
from monitor.sources.session import Session
from monitor.sources.truth import Truth, same_id

NEWEST = 1000  # rows that are looked at
FEWEST = 50  # rows that say something
CALENDAR = re.compile(r"(^|[_.])(dow|wday|weekday|day_?of_?week|hour|hr|hour_?of_?day)($|[_.])", re.IGNORECASE)

Encoding = Callable[[datetime], str]
ENCODINGS: Mapping[str, Encoding] = {
    "weekday (Monday 1)": lambda at: str(at.isoweekday()),
    "weekday (Monday 0)": lambda at: str(at.weekday()),
    "weekday (Sunday 0)": lambda at: str(at.isoweekday() % 7),
    "weekday (by name)": lambda at: f"{at:%A}".lower(),
    "weekday (by short name)": lambda at: f"{at:%a}".lower(),
    "hour": lambda at: str(at.hour),
}


def symptoms(
    session: Session,
    log: Log,
    truth: Truth | None,
    places: Mapping[str, Place],
    *,
    zone: str,
    matures_after: timedelta,
) -> Iterator[str]:
    """Yield one sentence with its remedy for everything that is wrong with the newest rows; reads a thousand of them.

    ``places`` are those of the features, ``zone`` is that of the windows.
    """
    name = log.table.qualified
    ((there,),) = session.rows(sql.SQL("SELECT clock_timestamp()"))
    rows = session.rows(_newest(log))
    if not rows:
        yield f"{name} has no row of this model; look at source.table, source.role and the service that logs."
        return
    yield from clock_faults(log, [at for at, _ in rows if at is not None], there, zone)
    if len(rows) >= FEWEST and 2 * len({identity for _, identity in rows}) < len(rows):
        distinct = len({identity for _, identity in rows})
        yield (
            f"{name}.{log.id.name} has {distinct} values in the newest {len(rows):,} rows, so it names no single "
            "request and all but the first row of each are left out; set source.id to one that is unique for each."
        )
    if truth is not None:
        yield from label_faults(session, log, truth, matures_after, there)
    calendar = {feature: place for feature, place in places.items() if CALENDAR.search(feature)}
    for feature, place in calendar.items() if zone != "UTC" else ():
        values = session.rows(_newest(log, text(place, "p")))
        if found := taken_from_utc([(_aware(at), str(said)) for at, said in values if at and said is not None], zone):
            what, share = found
            yield (
                f"{feature} is the {what} in UTC, but windows are cut in {zone}, where {share:.0%} of the newest rows "
                f"have another one; compute it in {zone}, in the service and in training, or set window.timezone: UTC."
            )


def _newest(log: Log, chosen: sql.Composable | None = None) -> sql.Composable:
    mine = log.mine("p") or [sql.SQL("true")]
    statement = sql.SQL("SELECT {t}, {chosen} FROM {table} AS p WHERE {mine} ORDER BY {time} DESC NULLS LAST LIMIT {n}")
    return statement.format(
        t=log.moment_of("p"),
        chosen=chosen or sql.SQL("{}::text").format(sql.Identifier("p", log.id.name)),
        table=log.table.identifier,
        mine=sql.SQL(" AND ").join(mine),
        time=sql.Identifier("p", log.time.name),
        n=sql.Literal(NEWEST),
    )


def clock_faults(log: Log, times: Sequence[datetime], there: datetime, zone: str) -> Iterator[str]:
    """Yield what the clock of whoever writes does: rows from the future are of no window that has closed."""
    ahead = [at - there for at in map(_aware, times) if at > there + FUTURE]
    if not ahead:
        return
    name = f"{log.table.qualified}.{log.time.name}"
    naive = log.time.base != "timestamptz"
    remedy = "set the clock of the service that writes them"
    if naive:
        local = zone if zone != "UTC" else "Europe/Berlin"
        remedy = f"if they are local times: {as_timestamptz(log, local)} else {remedy}"
    yield (
        f"{len(ahead)} of the newest {len(times):,} rows of {log.table.qualified} lie in the future, by up to "
        f"{_length(max(ahead))} ({name}), and are left out of every window; {remedy}."
    )


def as_timestamptz(log: Log, zone: str) -> str:
    """Return the statement by which naive local times become times."""
    column = quote(log.time.name)
    return (
        f"ALTER TABLE {log.table.qualified} ALTER COLUMN {column} TYPE timestamptz "
        f"USING {column} AT TIME ZONE '{zone}';"
    )


def label_faults(session: Session, log: Log, truth: Truth, matures_after: timedelta, there: datetime) -> Iterator[str]:
    """Yield why old predictions have no label: nobody writes any, or their ids are other ones."""
    label, old = truth.label.written, log.moment(there - matures_after)
    if truth.table is None:
        has = sql.SQL("{} IS NOT NULL").format(text(truth.label, "p"))
    else:
        has = sql.SQL("EXISTS (SELECT FROM {} AS o WHERE {})").format(truth.table.identifier, same_id(log, truth))
    conditions = [*log.mine("p"), sql.SQL("{} < {}").format(sql.Identifier("p", log.time.name), old)]
    statement = sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE has), min(id) FROM (SELECT {has} AS has, {id}::text AS id"
        " FROM {table} AS p WHERE {where} ORDER BY {time} DESC LIMIT {n}) AS p"
    ).format(
        has=has,
        id=sql.Identifier("p", log.id.name),
        table=log.table.identifier,
        where=sql.SQL(" AND ").join(conditions),
        time=sql.Identifier("p", log.time.name),
        n=sql.Literal(NEWEST),
    )
    ((rows, labelled, example),) = session.rows(statement)
    if rows < FEWEST or labelled:
        return
    what = f"None of the newest {rows:,} predictions that are older than outcome.matures_after has a label"
    if truth.table is None:
        yield f"{what}: {log.table.qualified}.{label} is empty; look at whoever fills it, or name another column."
        return
    assert truth.id is not None
    there_is = session.rows(
        sql.SQL("SELECT {}::text FROM {} LIMIT 1").format(sql.Identifier(truth.id.name), truth.table.identifier)
    )
    if not there_is:
        yield f"{what}: {truth.table.qualified} has no row; look at whoever writes it, or take source.outcome out."
        return
    yield (
        f"{what}, though {truth.table.qualified} has rows: an id there is {there_is[0][0]!r}, in the log {example!r}; "
        "name in source.id and outcome.id the columns that hold the same id."
    )


def taken_from_utc(values: Sequence[tuple[datetime, str]], zone: str) -> tuple[str, float] | None:
    """Return which part of the calendar values are in UTC, and the share of rows that differ from it in ``zone``.

    None where they are no such part, or where both come to the same.

    >>> hours = [datetime(2026, 3, 2, hour, tzinfo=UTC) for hour in range(24)] * 3
    >>> taken_from_utc([(at, f"{at.isoweekday()}.0") for at in hours], "America/New_York")
    ('weekday (Monday 1)', 0.20833333333333334)
    >>> there = ZoneInfo("America/New_York")
    >>> taken_from_utc([(at, str(at.astimezone(there).isoweekday())) for at in hours], "America/New_York")
    """
    if len(values) < FEWEST:
        return None
    said = [re.sub(r"\.0+$", "", value.strip().lower()) for _, value in values]
    for what, encode in ENCODINGS.items():
        if all(encode(at.astimezone(UTC)) == one for (at, _), one in zip(values, said, strict=True)):
            there = [encode(at.astimezone(ZoneInfo(zone))) for at, _ in values]
            differs = sum(a != b for a, b in zip(there, said, strict=True))
            return (what, differs / len(values)) if differs else None
    return None


def _aware(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _length(span: timedelta) -> str:
    return format_duration(timedelta(seconds=round(span.total_seconds())))
