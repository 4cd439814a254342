"""Records as rows of a run file: put in, and taken out one by one."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from verify.families.costs import FeatureCost
from verify.files.documents import decoded, plain, restored
from verify.sweep.columns import CELL, HEAD, REST, Column, document_of, kept, plain_values, values_of
from verify.sweep.record import Record

# Rows that are asked for together
BATCH = 500

CELLS = {column.name: column for column in CELL}
RESTS = {column.name: column for column in REST}
COUNTS = {column.name: column for column in CELL if column.path[0] == "counts"}
HEADS = {column.name: column for column in HEAD}


def listed(columns: Sequence[Column]) -> str:
    """Return the names of columns for a query."""
    return ", ".join(f'"{column.name}"' for column in columns)


def insert(connection: sqlite3.Connection, key: str, session: int, record: Record, seconds: float | None) -> None:
    """Put a record into all tables, in the place of one of that key: to be called within a transaction."""
    document = plain(record)
    own, special = kept(CELL, values_of(CELL, document))
    connection.execute("DELETE FROM cell WHERE key = ?", (key,))
    cell = connection.execute(
        f"INSERT INTO cell (key, session, seconds, special, {listed(CELL)}) VALUES ({_places(4 + len(CELL))})",
        (key, session, seconds, special, *own),
    ).lastrowid
    rest, _ = kept(REST, values_of(REST, document))
    connection.execute(f"INSERT INTO rest (cell, {listed(REST)}) VALUES ({_places(1 + len(REST))})", (cell, *rest))
    heads = [kept(HEAD, values_of(HEAD, head)) for head in document["per_head"]]
    connection.executemany(
        f"INSERT INTO head (cell, place, special, {listed(HEAD)}) VALUES ({_places(3 + len(HEAD))})",
        [(cell, place, special, *values) for place, (values, special) in enumerate(heads)],
    )


def _places(count: int) -> str:
    return ", ".join("?" * count)


Taken = tuple[int, int, Any, Record]


def records_at(connection: sqlite3.Connection, ids: Sequence[int]) -> Iterator[Taken]:
    """Yield (id, session, seconds, record) of the cells with these ids, in their order, without those not there.

    Raises ValueError for rows that no record was put into.
    """
    for first in range(0, len(ids), BATCH):
        found = _records(connection, ids[first : first + BATCH])
        yield from (found[cell] for cell in ids[first : first + BATCH] if cell in found)


def _records(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Taken]:
    among = f"IN ({_places(len(ids))})"
    query = f"SELECT cell, special, {listed(HEAD)} FROM head WHERE cell {among} ORDER BY cell, place"
    heads: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for cell, special, *values in connection.execute(query, ids):
        heads[cell].append(plain_values(HEADS, dict(zip(HEADS, values, strict=True)), special))
    query = f"SELECT id, session, seconds, special, {listed(CELL)} FROM cell WHERE id {among}"
    rests = rests_at(connection, ids)
    found = {}
    for cell, session, seconds, special, *values in connection.execute(query, ids):
        if cell not in rests:
            raise ValueError("a cell without its rest")
        own = plain_values(CELLS, dict(zip(CELLS, values, strict=True)), special)
        rest = plain_values(RESTS, rests[cell], None)
        found[cell] = cell, session, seconds, Record.from_document(document_of(own | rest, heads[cell]))
    return found


def rests_at(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return what of some cells stands in JSON, by id and column, as it is held: at most BATCH of them."""
    query = f"SELECT cell, {listed(REST)} FROM rest WHERE cell IN ({_places(len(ids))})"
    return {cell: dict(zip(RESTS, values, strict=True)) for cell, *values in connection.execute(query, ids)}


def checked_rest(row: dict[str, str | None]) -> dict[str, str | None]:
    """Return what `rests_at` found of a cell; ValueError unless it is what `insert` writes."""
    for name, column in RESTS.items():
        text = row[name]
        if text is None:
            continue
        if not (isinstance(text, str) and text.isascii() and text.isprintable()):
            raise ValueError(f"{name} that is no JSON of ours")
        restored(column.kind, decoded(text))
    return row


def feature_costs(connection: sqlite3.Connection) -> list[FeatureCost]:
    """Return what features cost in any cell, each once; ValueError for rows that no record was put into."""
    query = f"""SELECT DISTINCT {listed([*COUNTS.values()])},
        CASE WHEN special LIKE '%"{next(iter(COUNTS)).partition("_")[0]}\\_%' ESCAPE '\\' THEN special END
        FROM cell WHERE {" OR ".join(f'"{name}" IS NOT NULL' for name in COUNTS)}"""
    found: dict[FeatureCost, None] = {}
    for *row, special in connection.execute(query):
        values = plain_values(COUNTS, dict(zip(COUNTS, row, strict=True)), special)
        document = {column.path[-1]: values[name] for name, column in COUNTS.items()}
        found[restored(FeatureCost, document)] = None
    return [*found]
