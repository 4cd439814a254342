"""The numbers of a run file column by column: a hundred thousand cells in seconds, and checked as each record is."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.files.documents import decoded, restored
from verify.sweep.columns import GROUPS, HEAD, Column, checked, specials
from verify.sweep.record import ERRORS, MEASURED, Shape, Status
from verify.sweep.rows import BATCH, CELLS, HEADS, listed

# Rows that are held as such at once
ROWS = 500

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """Some cells.

    ids, keys, sessions: of each.  reals: columns of real numbers, by name, NaN where there is nothing; seconds is one.
    others: all other columns, None where there is nothing; labels and options are JSON.  special: by place in the
    batch and column, values that the file's columns do not hold; they stand in reals and others.
    """

    ids: Integers
    keys: Sequence[str]
    sessions: Sequence[int]
    reals: Mapping[str, Reals]
    others: Mapping[str, list[Any]]
    special: Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Heads:
    """The heads of all cells, cell by cell.  cells: ids; names: their leading dimensions; columns: all else, by name.

    Whole numbers are 64-bit integers.
    """

    cells: Integers
    names: Sequence[tuple[int, ...]]
    columns: Mapping[str, NDArray[Any]]

    def require_of(self, cells: Sequence[Batch]) -> None:
        """Raise ValueError unless cells have heads, and no more than they say, if they were measured."""
        ids = np.concatenate([np.empty(0, dtype=np.int64), *(batch.ids for batch in cells)])
        status, counts = ([one for batch in cells for one in batch.others[name]] for name in ("status", "heads"))
        own = self.cells[np.isin(self.cells, ids)]  # others are of newer cells
        there = np.bincount(np.searchsorted(ids, own), minlength=len(ids))
        if ((there > 0) != np.array([one == Status.OK for one in status], dtype=bool)).any():
            raise ValueError("not the heads of such a record")
        if any(found > most for found, most in zip(there.tolist(), counts, strict=True)):
            raise ValueError("not its heads")


def batches(
    connection: sqlite3.Connection,
    formula_errors: Mapping[tuple[int, str], str | None],
    columns: Sequence[Column],
    ids: Sequence[int] | None = None,
) -> Iterator[Batch]:
    """Yield some columns of all cells, as they were written one after the other, or of those with some ids.

    Raises ValueError for numbers that no record has.
    formula_errors: what mechanisms are described with, by session and name.  columns: what a cell is about is always
    among them, and of what only measured cells have one number of each group.
    """
    query = f"SELECT id, key, session, seconds, special, {listed(columns)} FROM cell"
    if ids is None:
        rows = connection.execute(f"{query} ORDER BY id")
        while found := rows.fetchmany(ROWS):
            yield _batch(found, formula_errors, columns)
    for first in range(0, len(ids or ()), BATCH):
        among = (ids or ())[first : first + BATCH]
        found = connection.execute(f"{query} WHERE id IN ({', '.join('?' * len(among))})", among).fetchall()
        places = {cell: place for place, cell in enumerate(among)}
        found.sort(key=lambda row: places[row[0]])
        if found:
            yield _batch(found, formula_errors, columns)


def _batch(
    rows: Sequence[Sequence[Any]], formula_errors: Mapping[tuple[int, str], str | None], columns: Sequence[Column]
) -> Batch:
    ids, keys, sessions, seconds, texts, *found = zip(*rows, strict=True)
    values = {column.name: own for column, own in zip(columns, found, strict=True)}
    special = _special({column.name: column for column in columns}, values, texts)
    reals = {"seconds": _seconds(seconds)}
    others: dict[str, list[Any]] = {}
    for column in columns:
        if column.type == "REAL":
            reals[column.name] = _reals(column, values[column.name])
        else:
            checked(column, values[column.name])
            others[column.name] = [*values[column.name]]
            if column.kind is bool:
                others[column.name] = [None if value is None else bool(value) for value in others[column.name]]
    _put(special, reals | others)
    batch = Batch(np.array(ids, dtype=np.int64), keys, sessions, reals, others, special)
    _require_sense(batch, formula_errors)
    return batch


def heads(connection: sqlite3.Connection) -> Heads:
    """Return the heads of all cells; ValueError for numbers that no record has, or a head twice."""
    parts: dict[str, list[NDArray[Any]]] = {column.name: [] for column in HEAD}
    cells: list[Integers] = [np.empty(0, dtype=np.int64)]
    places: list[int] = []
    names: dict[tuple[int, ...], int] = {}
    read: dict[str, int] = {}
    rows = connection.execute(f"SELECT cell, special, {listed(HEAD)} FROM head ORDER BY cell, place")
    first = HEAD[0].name
    while found := rows.fetchmany(ROWS):
        own_ids, texts, *values = zip(*found, strict=True)
        columns = dict(zip(HEADS, values, strict=True))
        special = _special(HEADS, columns, texts)
        cells.append(np.array(own_ids, dtype=np.int64))
        checked(HEAD[0], columns[first])
        for text in {*columns[first]} - read.keys():
            name = restored(HEAD[0].kind, decoded(text or ""))
            read[text] = names.setdefault(name, len(names))
        places += [read[text] for text in columns[first]]
        made = {
            column.name: (_integers if column.kind is int else _reals)(column, columns[column.name])
            for column in HEAD[1:]
        }
        _put(special, made)
        for column in HEAD[1:]:
            own = made[column.name]
            missing = np.flatnonzero(np.isnan(own))
            if not column.optional and any(column.name not in special.get(row, {}) for row in missing.tolist()):
                raise ValueError(f"a head without {column.name}")
            if column.name in ERRORS and (own < 0).any():
                raise ValueError("an error below zero")
            parts[column.name].append(own)
    kinds = {column.name: np.int64 if column.kind is int else np.float64 for column in HEAD[1:]}
    joined = {name: np.concatenate([np.empty(0, dtype=kind), *parts[name]]) for name, kind in kinds.items()}
    ids = np.concatenate(cells)
    if len(np.unique(ids * len(names) + np.array(places, dtype=np.int64))) < len(ids):
        raise ValueError("not its heads")
    named = [*names]
    return Heads(ids, [named[place] for place in places], joined)


def _special(
    columns: Mapping[str, Column], values: Mapping[str, Sequence[Any]], texts: Sequence[str | None]
) -> dict[int, dict[str, Any]]:
    """Return the values that columns do not hold, by row."""
    return {
        place: specials(columns, {name: values[name][place] for name in columns}, text)
        for place, text in enumerate(texts)
        if text is not None
    }


def _put(special: Mapping[int, Mapping[str, Any]], columns: Mapping[str, Any]) -> None:
    """Put values into columns that these do not hold."""
    for place, found in special.items():
        for name, value in found.items():
            columns[name][place] = value  # float() reads "nan" for an array


def _reals(column: Column, values: Sequence[Any]) -> Reals:
    """Return a column of real numbers, NaN where there is none; most have one in every row, or in none."""
    try:
        return np.frombuffer(array("d", values))  # which takes nothing but numbers
    except TypeError:
        if values[0] is None and values.count(None) == len(values):
            return np.full(len(values), np.nan)
    try:
        return np.frombuffer(array("d", [_NAN if value is None else value for value in values]))
    except TypeError:
        checked(column, values)
        raise


_NAN = float("nan")


def _integers(column: Column, values: Sequence[Any]) -> Integers:
    """Return a column of whole numbers, none of which is missing."""
    try:
        return np.frombuffer(array("q", values), dtype=np.int64)
    except TypeError:
        raise ValueError(f"{column.name} that is not of type {column.type}") from None


def _seconds(values: Sequence[Any]) -> Reals:
    found = np.array([_NAN if value is None else value for value in values])
    if found.dtype != float or (found < 0.0).any() or np.isinf(found).any():
        raise ValueError("seconds that are no time")
    return found


def _require_sense(batch: Batch, formula_errors: Mapping[tuple[int, str], str | None]) -> None:
    """Raise ValueError for what `Record.from_document` does not take, once for all cells that have the same numbers."""
    every = np.full(len(batch.ids), True)
    there = {name: ~np.isnan(values) for name, values in batch.reals.items()}
    for column in (CELLS[name] for name in batch.others):
        if not column.optional or column.name in MEASURED or len(column.path) > 1:
            values = batch.others[column.name]
            there[column.name] = np.array([value is not None for value in values]) if None in values else every
    for place, found in batch.special.items():
        for name in there.keys() & found.keys():
            there[name] = there[name].copy()
            there[name][place] = True
    groups: dict[tuple[str, ...], Mask] = {}
    for path, columns in GROUPS:
        own = [column for column in columns if column.name in there]
        needed = [there[column.name] for column in own if not column.optional]
        if not needed:
            continue
        groups[path] = needed[0]
        if any((mask != needed[0]).any() for mask in needed[1:]) or not (path or needed[0].all()):
            raise ValueError(f"a part of {'.'.join(path) or 'a record'}")
        if path and any((there[column.name] & ~needed[0]).any() for column in own):
            raise ValueError(f"a part of {'.'.join(path)}")
        for column in own:
            if path[:1] == ("errors",) and _least(batch, column) < 0:
                raise ValueError("an error below zero")
    for name in ("labels", "options"):
        for text in {*batch.others[name]}:
            restored(CELLS[name].kind, decoded(text))
    alone = {(name,): there[name] for name in MEASURED if (name,) not in groups}
    masks = {path: mask for path, mask in groups.items() if path} | alone
    bits = sum(mask.astype(np.int64) << place for place, mask in enumerate(masks.values()))
    about = (batch.others[name] for name in ("status", "mechanism", "member"))
    for status, mechanism, member, session, has in {*zip(*about, batch.sessions, np.atleast_1d(bits), strict=True)}:
        paths = [path for place, path in enumerate(masks) if has >> place & 1]
        shape = Shape(
            Status(status),
            mechanism,
            member,
            errors=tuple(path[1] for path in paths if path[0] == "errors"),
            bounds=tuple(path[1] for path in paths if path[0] == "bounds"),
            measured=tuple((name,) in paths for name in MEASURED),
            heads=status == Status.OK,  # which are counted when all are there
        )
        shape.require_sense()
        if (session, mechanism) in formula_errors:
            shape.require_described(formula_errors[session, mechanism])


def _least(batch: Batch, column: Column) -> float:
    if column.name in batch.reals:
        return float(np.fmin.reduce(batch.reals[column.name], initial=0.0))
    return min((value for value in batch.others[column.name] if value is not None), default=0)
