"""Which expression reads which column of a model from Postgres, and what is wrong with the table: pure decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from psycopg import sql

from monitor import text as text_figures
from monitor.column import Layout, NumericColumn
from monitor.logtable import FeatureSection, FeatureType
from monitor.section import suggestion
from monitor.source import ColumnFault, Kind
from monitor.sources.arrow import DERIVED, FIGURES, KEPT, LENGTH, LONGEST, NORM, TEXT, Decoding
from monitor.sources.catalog import ColumnDescription, Family, TableDescription, TableKind

NUMBERS = (Family.INTEGER, Family.DECIMAL, Family.BOOLEAN, Family.INTERVAL, Family.TIMESTAMP, Family.DATE)
PLAIN_NUMBERS = ("int2", "int4", "int8", "float4", "float8", "numeric", "bool")
NUMERIC_ARRAYS = ("_int2", "_int4", "_int8", "_float4", "_float8", "_numeric")
# Half a pair of UTF-16 or NUL is text that json keeps and refuses to hand out.
_SUSPECT = r"\\u(0000|[dD][89a-fA-F])"
_BROKEN_ESCAPE = r"\\u0000|\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F].."


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a value is logged: a column, or a path of keys in one of JSON type."""

    column: ColumnDescription
    path: tuple[str, ...] = ()

    @property
    def written(self) -> str:
        """The place as the configuration writes it."""
        return ".".join((self.column.name, *self.path))

    @property
    def is_json(self) -> bool:
        """Whether the value is a JSON value."""
        return self.column.family is Family.JSON


@dataclass(frozen=True, kw_only=True)
class Field:
    """One expression of a statement and how its values are decoded; ``name`` is the feature's."""

    name: str
    expression: sql.Composable
    decoding: Decoding
    words: tuple[int, ...] | None = None
    """Hashes of known words, of a text."""
    dimensions: int | None = None
    """Length of an embedding; 0 where a list is none, None where that is not known yet."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The features to read, and the columns that cannot be."""

    fields: tuple[Field, ...] = ()
    faults: tuple[ColumnFault, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where each feature is."""

    @property
    def types(self) -> dict[str, str]:
        """Postgres type by feature, so that a change of the schema can be told."""
        return {name: place.column.type for name, place in self.places.items()}

    @property
    def columns(self) -> list[ColumnDescription]:
        """The table's columns that are read."""
        return list({place.column.name: place.column for place in self.places.values()}.values())


def find(table: TableDescription, written: str) -> Place | None:
    """Return where ``column`` or ``column.key.key`` is, or None: exactly as written, in lower case, then as JSON."""
    for name in (written, written.lower()):
        column = table.column(name)
        if column is not None:
            return Place(column=column)
    head, *path = written.split(".")
    for name in (head, head.lower()):
        column = table.column(name)
        if path and column is not None and column.family is Family.JSON:
            return Place(column=column, path=tuple(path))
    return None


def missing_column(table: TableDescription, written: str, role: str) -> str:
    """Return the sentence for a column that the configuration names and the table lacks."""
    hint = suggestion(written, [column.name for column in table.columns])
    return f'{role} names the column "{written}", which {table.qualified} does not have; {hint}'


def value(place: Place, alias: str) -> sql.Composable:
    """Return the raw value: the column, or the JSON value at its path as text (NULL where a key is missing)."""
    column = sql.Identifier(alias, place.column.name)
    if not place.path:
        return column
    document: sql.Composable = column
    if place.column.base == "json":
        document = sql.SQL(
            "(CASE WHEN {c}::text ~ {s} THEN regexp_replace({c}::text, {p}, {r}, 'g')::json ELSE {c} END)"
        ).format(c=column, s=sql.Literal(_SUSPECT), p=sql.Literal(_BROKEN_ESCAPE), r=sql.Literal(r"\ufffd"))
    steps = [sql.Literal(key) for key in place.path]
    for step in steps[:-1]:
        document = sql.SQL("{} -> {}").format(document, step)
    return sql.SQL("({} ->> {})").format(document, steps[-1])


def text(place: Place, alias: str) -> sql.Composable:
    """Return a value as text of bounded size, cut like ``arrow.shorten`` does."""
    raw = value(place, alias)
    if not place.path and place.column.family in (Family.ENUM, Family.UUID):
        return sql.SQL("{}::text").format(raw)
    if (not place.path and place.column.family is not Family.TEXT) or place.column.base == "bpchar":
        raw = sql.SQL("{}::text").format(raw)
    return sql.SQL("CASE WHEN octet_length({r}) > {n} THEN left({r}, {k}) || '…' || md5({r}) ELSE {r} END").format(
        r=raw, n=sql.Literal(LONGEST), k=sql.Literal(KEPT)
    )


def number(name: str, place: Place, alias: str) -> Field | None:
    """Return the field of a number, a time's age or an interval's seconds; None for another type."""
    column, raw = place.column, value(place, alias)
    if place.path:
        return Field(name=name, expression=_bounded(raw), decoding=Decoding.NUMBER_TEXT)
    if column.family is Family.INTERVAL:
        return Field(name=name, expression=_seconds(raw), decoding=Decoding.NUMBER)
    if column.family in (Family.TIMESTAMP, Family.DATE):
        return Field(name=name, expression=raw, decoding=Decoding.AGE)
    if column.base == "numeric":
        # A cast to float8 fails on 1e400 and is slower than reading what Postgres sends.
        return Field(name=name, expression=raw, decoding=Decoding.NUMBER_TEXT)
    if column.family in NUMBERS:
        plain = column.base in PLAIN_NUMBERS
        cast = "::bigint" if column.base == "oid" else "::numeric::float8"
        return Field(name=name, expression=raw if plain else sql.SQL("{}" + cast).format(raw), decoding=Decoding.NUMBER)
    return None


def _seconds(raw: sql.Composable) -> sql.Composable:
    return sql.SQL("extract(epoch FROM {})::float8").format(raw)


def _bounded(raw: sql.Composable) -> sql.Composable:
    return sql.SQL("left({}, {})").format(raw, sql.Literal(400))


def parsed(name: str, place: Place, alias: str) -> Field:
    """Return the field of a number that is written in text."""
    return Field(name=name, expression=_bounded(value(place, alias)), decoding=Decoding.NUMBER_TEXT)


def category(name: str, place: Place, alias: str) -> Field | None:
    """Return the field of a category; None where the values are no scalars."""
    if not place.path and (place.column.family is Family.ARRAY or place.column.base == "bytea"):
        return None
    plain = not place.path and place.column.base in PLAIN_NUMBERS and place.column.base != "numeric"
    # Numbers become texts in the dictionary, once per distinct value instead of once per row.
    expression = value(place, alias) if plain else text(place, alias)
    return Field(name=name, expression=expression, decoding=Decoding.CATEGORY)


def length(name: str, place: Place, alias: str) -> Field | None:
    """Return the field ``name.length`` of a text, an array, bytes or JSON; None for another type."""
    raw = value(place, alias)
    column = place.column
    if place.path:
        document = sql.SQL("{} #> {}").format(
            sql.SQL("{}::jsonb").format(sql.Identifier(alias, column.name)), sql.Literal(list(place.path))
        )
        count = sql.SQL(
            "CASE WHEN jsonb_typeof({d}) = 'array' THEN jsonb_array_length({d}) ELSE char_length({r}) END"
        ).format(d=document, r=raw)
    elif column.family is Family.ARRAY:
        count = sql.SQL("cardinality({})").format(raw)
    elif column.base == "bytea":
        count = sql.SQL("octet_length({})").format(raw)
    elif column.family in (Family.TEXT, Family.JSON):
        count = sql.SQL("char_length({}::text)").format(raw)
    else:
        return None
    return Field(name=name + LENGTH, expression=count, decoding=Decoding.NUMBER)


def norm(name: str, place: Place, alias: str) -> Field | None:
    """Return the field that gives ``name.length`` and ``name.norm`` of a list of numbers; None for another type.

    Of a JSON list, what is no number is a NaN.
    """
    if place.is_json:
        return Field(name=name, expression=_json_list(place, alias), decoding=Decoding.LIST)
    if place.path or place.column.base not in NUMERIC_ARRAYS:
        return None
    # One dimension and no NULL is what is quick to decode; to the norm a NULL is what a NaN is.
    flat = sql.SQL(
        "array_replace(CASE WHEN array_ndims({r}) > 1 THEN ARRAY(SELECT unnest({r})::float8) ELSE {r}::float8[] END, "
        "NULL, 'NaN')"
    )
    return Field(name=name, expression=flat.format(r=value(place, alias)), decoding=Decoding.LIST)


def _json_list(place: Place, alias: str) -> sql.Composable:
    document = sql.SQL("{}::jsonb #> {}").format(
        sql.Identifier(alias, place.column.name), sql.Literal(list(place.path))
    )
    element = sql.SQL(
        "CASE WHEN jsonb_typeof(e) = 'number' AND abs((e #>> '{{}}')::numeric) < 1e308"
        " THEN (e #>> '{{}}')::float8 ELSE 'NaN' END"
    ).format()
    return sql.SQL(
        "CASE WHEN jsonb_typeof({d}) = 'array' THEN ARRAY(SELECT {x} FROM jsonb_array_elements({d}) WITH ORDINALITY"
        " AS t (e, i) ORDER BY i) END"
    ).format(d=document, x=element)


def figures(name: str, place: Place, alias: str, words: tuple[int, ...] | None = None) -> Field | None:
    """Return the field that gives what a text is made of (``name.digits`` …); None for another type."""
    if not (place.path or place.column.family is Family.TEXT):
        return None
    raw = value(place, alias)
    if place.column.base == "bpchar":
        raw = sql.SQL("{}::text").format(raw)
    cut = sql.SQL("left({}, {})").format(raw, sql.Literal(text_figures.LONGEST))
    return Field(name=name + TEXT, expression=cut, decoding=Decoding.TEXT, words=words)


def select_all(
    table: TableDescription,
    used: Iterable[str],
    features: Mapping[str, FeatureSection] | None,
    keys: Mapping[str, Mapping[str, str]],
    alias: str,
) -> Selection:
    """Return every feature by the table's own types, as training by query reads them.

    A text gives both its category and its length: training keeps one. ``keys`` are the keys found in each JSON column
    with their usual JSON type; they become features, under their own name unless a column has it.
    """
    selected: dict[str, tuple[Place, FeatureType | None]] = {}
    faults: list[ColumnFault] = []
    for name, section in (features or {}).items():
        place = find(table, section.place)
        if place is None:
            faults.append(_vanished(table, name, section.place))
        else:
            selected[name] = (place, section.type)
    if features is None:
        taken = set(used)
        for column in table.columns:
            if column.name in taken:
                continue
            if column.family is Family.JSON and column.name in keys:
                for key, kind in keys[column.name].items():
                    name = key if table.column(key) is None and key not in selected else f"{column.name}.{key}"
                    place = Place(column=column, path=tuple(key.split(".")))
                    selected[name] = (place, _JSON_TYPES.get(kind, FeatureType.CATEGORICAL))
            else:
                selected[column.name] = (Place(column=column), None)
    fields: list[Field] = []
    for name, (place, wanted) in selected.items():
        found = list(_by_type(name, place, wanted, alias))
        if not found:
            faults.append(_mistyped(name, place, wanted or FeatureType.CATEGORICAL))
        fields += found
    places = {name: place for name, (place, _) in selected.items()}
    return Selection(fields=tuple(fields), faults=tuple(faults), places=places)


_JSON_TYPES = {
    "number": FeatureType.NUMERIC,
    "boolean": FeatureType.BOOLEAN,
    "array": FeatureType.ARRAY,
    "object": FeatureType.TEXT,
}


def _by_type(name: str, place: Place, wanted: FeatureType | None, alias: str) -> Iterable[Field]:
    candidates: Sequence[Field | None]
    family = place.column.family
    match wanted:
        case FeatureType.NUMERIC | FeatureType.TIMESTAMP:
            candidates = [number(name, place, alias) or (parsed(name, place, alias) if family is Family.TEXT else None)]
        case FeatureType.CATEGORICAL | FeatureType.BOOLEAN:
            candidates = [category(name, place, alias)]
        case FeatureType.TEXT:
            candidates = [length(name, place, alias), figures(name, place, alias)]
        case FeatureType.ARRAY:
            candidates = [norm(name, place, alias) or length(name, place, alias)]
        case None:
            if family is Family.ARRAY or family is Family.JSON or place.column.base == "bytea":
                candidates = [norm(name, place, alias) or length(name, place, alias)]
            elif family in NUMBERS and family is not Family.BOOLEAN:
                candidates = [number(name, place, alias)]
            elif family is Family.TEXT:
                candidates = [
                    category(name, place, alias),
                    length(name, place, alias),
                    figures(name, place, alias),
                ]
            else:
                candidates = [category(name, place, alias)]
    return [candidate for candidate in candidates if candidate is not None]


def select_layout(
    table: TableDescription,
    layout: Layout,
    features: Mapping[str, FeatureSection] | None,
    keys: Mapping[str, Mapping[str, str]],
    alias: str,
) -> Selection:
    """Return the features that training froze, in its kinds; what vanished or changed its type is a fault."""
    fields: dict[str, Field] = {}
    faults: list[ColumnFault] = []
    places: dict[str, Place] = {}
    dimensions = {embedding.name: embedding.dimensions for embedding in layout.embeddings}
    for column in layout.columns:
        if column.part != "input":
            continue
        section, place, suffix = _frozen_place(table, column.name, features, keys)
        if place is None:
            faults.append(_vanished(table, column.name, section.place if section else column.name))
            continue
        places[column.name] = place
        base = column.name.removesuffix(suffix)
        found: Field | None
        if suffix == NORM:
            found = norm(base, place, alias)
            if found is not None:
                found = replace(found, dimensions=dimensions.get(base, 0))
        elif suffix in FIGURES:
            words = column.words if isinstance(column, NumericColumn) else None
            known = fields.get(base + TEXT)
            found = figures(base, place, alias, words or (known.words if known else None))
        elif suffix == LENGTH:
            found = length(base, place, alias)
        elif column.kind is Kind.NUMERIC:
            found = number(column.name, place, alias)
            # Only who said that a text holds numbers gets them parsed; otherwise the type has changed.
            if found is None and section is not None and place.column.family is Family.TEXT:
                found = parsed(column.name, place, alias)
        else:
            found = category(column.name, place, alias)
        if found is None:
            faults.append(_mistyped(column.name, place, column.kind))
        else:
            fields[found.name] = found
    return Selection(fields=tuple(fields.values()), faults=tuple(faults), places=places)


def _frozen_place(
    table: TableDescription,
    name: str,
    features: Mapping[str, FeatureSection] | None,
    keys: Mapping[str, Mapping[str, str]],
) -> tuple[FeatureSection | None, Place | None, str]:
    """Return what the configuration says, the place, and the suffix of a derived feature."""
    suffixes = [""] + [suffix for suffix in DERIVED if name.endswith(suffix)]
    for suffix in suffixes:
        base = name.removesuffix(suffix)
        if features is not None and base in features:
            return features[base], find(table, features[base].place), suffix
    if features is not None:
        return None, None, ""
    documents = [column for column in table.columns if column.name in keys]
    for suffix in suffixes:
        if place := find(table, name.removesuffix(suffix)):
            return None, place, suffix
    for suffix in suffixes:
        base = name.removesuffix(suffix)
        for column in documents:
            if base in keys[column.name]:
                return None, Place(column=column, path=tuple(base.split("."))), suffix
    # A key that the rows looked at lack is NULL in a single JSON column; with several nobody knows whose it is.
    return None, Place(column=documents[0], path=tuple(name.split("."))) if len(documents) == 1 else None, ""


def _vanished(table: TableDescription, name: str, written: str) -> ColumnFault:
    return ColumnFault(
        column=name,
        problem="vanished",
        message=f'{table.qualified} has no column "{written}" any more; its values count as missing until it is back.',
    )


def _mistyped(name: str, place: Place, wanted: str) -> ColumnFault:
    return ColumnFault(
        column=name,
        problem="type",
        message=f'"{place.written}" is {place.column.type} now but {wanted} in training; its values count as missing '
        "until the type is back or the model is profiled anew.",
    )


def used_columns(table: TableDescription, written: Iterable[str]) -> set[str]:
    """Return the columns that are no features: those named for another purpose, and numbers that only count rows."""
    places = [find(table, name) for name in written]
    counters = {
        index.columns[0]
        for index in table.indexes
        if index.unique and not index.partial and len(index.columns) == 1 and index.name.endswith("_pkey")
    }
    return {place.column.name for place in places if place is not None and not place.path} | {
        name for name in counters if name is not None
    }


def has_row_versions(table: TableDescription) -> bool:
    """Return whether rows carry ``xmin`` and ``ctid`` that mean something."""
    return table.kind in (TableKind.TABLE, TableKind.PARTITIONED)
