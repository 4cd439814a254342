"""The columns of a run file, derived from what a record is made of: nothing here lists a number by hand.

A member that is one value has a column of its name; those of a member that is a dataclass stand beside it, under their
own names or behind the name of that member.  What is no single value has a column of JSON, in a table of its own; the
dataclasses in a tuple have a table of theirs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import groupby
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from verify.arguments import Value
from verify.files.documents import decoded
from verify.measure.summary import HeadSummary
from verify.sweep.record import BOUNDS, ERRORS, Record

# Members whose own members stand under their own names; those of any other begin with its name.
_BARE = ("hazards", "weights", "output_rows")
# Members that hold a dataclass under each of some names, and how the columns of each begin.
_NAMED = {"errors": {name: f"{name}_" for name in ERRORS}, "bounds": {name: f"{name}_bound_" for name in BOUNDS}}

_SQL = {int: "INTEGER", bool: "INTEGER", float: "REAL", str: "TEXT"}
_HELD = {"INTEGER": int, "REAL": float, "TEXT": str}
_FLAT = dict[str, Value]


@dataclass(frozen=True)
class Column:
    """A value of a record, or of one of its heads, as a column.

    path: the members that lead to it.  kind: its type, None left out.  owner: the dataclass that declares it.
    optional: whether it may be missing where the rest of that dataclass is not.  type: in SQL.  json: whether the
    column holds JSON.
    """

    name: str
    path: tuple[str, ...]
    kind: Any
    owner: type
    optional: bool
    type: str
    json: bool

    @property
    def number(self) -> bool:
        """Whether the value is a number; truth values are none."""
        return self.kind in (int, float)


def _columns(kind: Any, path: tuple[str, ...] = (), start: str = "") -> Iterator[Column]:
    hints = get_type_hints(kind)
    for field in fields(kind):
        given = get_args(hints[field.name])
        kinds = [one for one in given if one is not NoneType] if NoneType in given else [hints[field.name]]
        inner = kinds[0] if len(kinds) == 1 else hints[field.name]
        here = (*path, field.name)
        if is_dataclass(inner):
            yield from _columns(inner, here, start if field.name in _BARE else f"{start}{field.name}_")
        elif not path and field.name in _NAMED:
            for name, begin in _NAMED[field.name].items():
                yield from _columns(get_args(inner)[1], (*here, name), begin)
        elif not (get_origin(inner) is tuple and is_dataclass(get_args(inner)[0])):
            plain = [name for one, name in _SQL.items() if isinstance(inner, type) and issubclass(inner, one)]
            name = f"{start}{field.name}"
            yield Column(name, here, inner, kind, NoneType in given, plain[0] if plain else "TEXT", json=not plain)


_ALL = tuple(_columns(Record))
# Of a cell: single values, with labels and options, which have few; and all else.
CELL = tuple(column for column in _ALL if not column.json or column.kind == _FLAT)
REST = tuple(column for column in _ALL if column not in CELL)
HEAD = tuple(_columns(HeadSummary))

_EVERY = {column.name for column in (*CELL, *HEAD)}

Group = tuple[tuple[str, ...], tuple[Column, ...]]
# What of a record is there or not as a whole, by the members that lead to it; the record itself comes first.
GROUPS: tuple[Group, ...] = tuple(
    (path, tuple(own))
    for path, own in groupby(sorted(_ALL, key=lambda c: len(c.path) > 1), key=lambda column: column.path[:-1])
)


def values_of(columns: Sequence[Column], document: Any) -> list[Any]:
    """Return what a record, or a head, as plain JSON values has in some columns; None where it has nothing."""
    found = []
    for column in columns:
        value = document
        for name in column.path:
            value = value.get(name) if isinstance(value, dict) else None
        found.append(value)
    return found


def document_of(values: Mapping[str, Any], heads: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the record, as plain JSON values, that has these in its columns."""
    document: dict[str, Any] = {name: {} for name in _NAMED}
    for path, columns in GROUPS:
        own = {column.path[-1]: values[column.name] for column in columns}
        if not path:
            document |= own
        elif any(value is not None for value in own.values()):
            _within(document, path)[path[-1]] = own
        elif path[0] not in _NAMED:
            _within(document, path)[path[-1]] = None
    return document | {"per_head": list(heads)}


def _within(document: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    for name in path[:-1]:
        document = document[name]
    return document


def held(column: Column, value: Any) -> Any:
    """Return what SQLite holds of a plain value: the same in all but a few cases, which `kept` tells apart.

    NULL for NaN and for integers beyond 64 bits, 0.0 for -0.0, and escapes for text that is no Unicode.
    """
    if column.json:
        return None if value is None else json.dumps(value, separators=(",", ":"), allow_nan=False)
    if column.kind is float and value in ("inf", "-inf", "nan"):
        value = float(value)
    if isinstance(value, float):
        return None if math.isnan(value) else value + 0.0
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else None
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def kept(columns: Sequence[Column], values: Sequence[Any]) -> tuple[list[Any], str | None]:
    """Return what columns hold of plain values, and JSON of those values that they do not hold, by column."""
    rows = [held(column, value) for column, value in zip(columns, values, strict=True)]
    special = {
        column.name: value
        for column, value, row in zip(columns, values, rows, strict=True)
        if value is not None and not column.json and _special(value, row)
    }
    return rows, json.dumps(special, separators=(",", ":"), allow_nan=False) if special else None


def _special(value: Any, row: Any) -> bool:
    if row is None:
        return True
    return value != row if isinstance(value, str) and isinstance(row, str) else _negative_zero(value)


def _negative_zero(value: Any) -> bool:
    return isinstance(value, float) and value == 0.0 and math.copysign(1.0, value) < 0


def checked(column: Column, values: Collection[Any]) -> None:
    """Raise ValueError unless a column holds nothing but what its type says."""
    wrong = {*map(type, values)} - {_HELD[column.type], NoneType}
    if wrong or (column.kind is bool and not {*values} <= {0, 1, None}):
        raise ValueError(f"{column.name} that is not of type {column.type}")


def specials(columns: Mapping[str, Column], row: Mapping[str, Any], text: str | None) -> dict[str, Any]:
    """Return the values that a row does not hold itself, of some columns; ValueError unless they fit what it holds."""
    if text is None:
        return {}
    found = decoded(text) if isinstance(text, str) else None
    if not isinstance(found, dict) or not (found.keys() <= _EVERY):
        raise ValueError("not the special values of such a row")
    found = {name: value for name, value in found.items() if name in columns}
    for name, value in found.items():
        column = columns[name]
        if column.json or held(column, value) != row[name] or not _special(value, row[name]):
            raise ValueError(f"{value!r} as {name}, which does not fit its column")
    return found


def plain_values(columns: Mapping[str, Column], row: Mapping[str, Any], text: str | None) -> dict[str, Any]:
    """Return the plain values of a row that `kept` made; ValueError for any other."""
    found = dict(row)
    for name, column in columns.items():
        value = row[name]
        if value is not None:
            if type(value) is not _HELD[column.type] or column.kind is bool:
                checked(column, (value,))
            found[name] = decoded(value) if column.json else bool(value) if column.kind is bool else value
    return found | specials(columns, row, text)
