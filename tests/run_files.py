"""Run files as a stranger might leave them: cells taken out as documents, edited, and put back whatever they are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from verify.sweep.columns import CELL, HEAD, REST, Column, document_of, kept, plain_values, values_of
from verify.sweep.rows import CELLS, HEADS, RESTS, listed

Document = dict[str, Any]
Edit = Callable[[Document], Document | None]


def documents(path: Path) -> dict[str, Document]:
    """Return every record as a document, by key."""
    with closing(sqlite3.connect(path)) as file:
        return {key: _document(file, cell) for cell, key in file.execute("SELECT id, key FROM cell ORDER BY key")}


def rewrite(path: Path, edit: Edit, *, keys: Sequence[str] | None = None) -> None:
    """Put other documents in the place of cells, of those with some keys: what edit returns, or has changed."""
    with closing(sqlite3.connect(path)) as file, file:
        for cell, key in file.execute("SELECT id, key FROM cell ORDER BY key").fetchall():
            if keys is None or key in keys:
                document = _document(file, cell)
                changed = edit(document)
                _put(file, cell, document if changed is None else changed)


def changed(path: Path, statement: str, *values: Any) -> None:
    """Have a statement change a run file."""
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(statement, values)


def _document(file: sqlite3.Connection, cell: int) -> Document:
    special, *own = file.execute(f"SELECT special, {listed(CELL)} FROM cell WHERE id = ?", (cell,)).fetchone()
    rest = file.execute(f"SELECT {listed(REST)} FROM rest WHERE cell = ?", (cell,)).fetchone()
    heads = file.execute(f"SELECT special, {listed(HEAD)} FROM head WHERE cell = ? ORDER BY place", (cell,)).fetchall()
    values = _plain(CELLS, own, special) | _plain(RESTS, rest, None)
    document = document_of(values, [_plain(HEADS, values, special) for special, *values in heads])
    return json.loads(json.dumps(document).replace("Infinity", '"inf"'))  # type: ignore[no-any-return]


def _plain(columns: dict[str, Column], values: Sequence[Any], special: str | None) -> dict[str, Any]:
    return plain_values(columns, dict(zip(columns, values, strict=True)), special)


def _put(file: sqlite3.Connection, cell: int, document: Document) -> None:
    own, special = kept(CELL, values_of(CELL, document))
    names = ["special", *CELLS]
    file.execute(f"UPDATE cell SET {_set(names)} WHERE id = ?", (special, *own, cell))
    file.execute(f"UPDATE rest SET {_set(RESTS)} WHERE cell = ?", (*kept(REST, values_of(REST, document))[0], cell))
    file.execute("DELETE FROM head WHERE cell = ?", (cell,))
    for place, head in enumerate(document.get("per_head") or []):
        values, special = kept(HEAD, values_of(HEAD, head))
        marks = ", ".join("?" * (3 + len(HEAD)))
        file.execute(
            f"INSERT INTO head (cell, place, special, {listed(HEAD)}) VALUES ({marks})", (cell, place, special, *values)
        )


def _set(names: Any) -> str:
    return ", ".join(f'"{name}" = ?' for name in names)
