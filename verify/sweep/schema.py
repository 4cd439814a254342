"""What a run file is as a database: tables, views with a column per number, and a description of all columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from verify.sweep.columns import CELL, HEAD, REST, Column
from verify.sweep.meanings import meaning

APPLICATION_ID = 0x61747470  # "attp"
USER_VERSION = 5

# What a cell is about: columns that stand beside the numbers of each of its heads.
ABOUT = ("input", "digest", "mechanism", "member", "labels", "form", "options", "arithmetic")

# What is said of the tables and views themselves, and of the columns that are no member of a record.
TOLD = {
    (
        "cells",
        "",
    ): "a view: every finished cell, with a column for every number of it. NULL is what a cell does not have, "
    "or what SQLite cannot hold: see special",
    ("cells", "seconds"): "how long computing the output took, once; no part of the record; NULL where only a "
    "sample's rows were computed",
    ("cells", "session"): "which session measured the cell",
    ("cells", "started"): "when that session started, in ISO 8601",
    ("cells", "key"): "SHA-256 of input, mechanism, form, options, arithmetic and the code that runs: when that "
    "changes, it is another cell",
    ("cells", "id"): "which rows of rest and heads are of this cell",
    ("cells", "special"): 'JSON: by column, values that it does not hold: "nan" (NULL there), -0.0 (0.0 there), '
    "integers beyond 64 bits (NULL there), text that is no Unicode (escapes there). Infinity is REAL: 9e999",
    ("heads", ""): "a view: every head of every measured cell, and what the cell is about",
    ("heads", "cell"): "id of the cell",
    ("heads", "place"): "which of its cell's heads it is, from 0",
    ("heads", "special"): "as in cells",
    ("rest", ""): "a table: what of a cell is no single number, in JSON; numbers that are not finite are text",
    ("rest", "cell"): "id of the cell",
    ("cell", ""): "the table behind cells",
    ("head", ""): "the table behind heads",
    ("session", ""): "a table: invocations that wrote to the file",
    ("session", "id"): "its number",
    ("session", "started"): "when, in ISO 8601",
    ("session", "provenance"): "JSON with command, spec (inputs, cells, arithmetics), limits (memory, "
    "seconds: under others what was refused is tried again) and machine (code digest, versions, processor, linear "
    "algebra)",
    ("mechanism", ""): "a table: what a report has to know of the mechanisms that a session measured",
    ("mechanism", "session"): "which session",
    ("mechanism", "name"): "whose mechanism",
    ("mechanism", "descriptor"): "JSON with its name, description, source, parameters, axis, proposed, formula_error "
    "and forms",
    ("mechanism", "portraits"): "JSON: of each member its name member, its weights at logits from -8 to 8 in steps of "
    "a quarter, over that at 0, and costs at head sizes 8 to 64",
    ("interim", ""): "a table: what was found out on blocks of inputs whose cells are not finished; it goes with them",
    ("interim", "key"): "SHA-256 of everything that determines it",
    ("interim", "subject"): "SHA-256 of the input, its rows and blocks",
    ("interim", "content"): "numbers as numpy stores them (.npz)",
    ("about", ""): "a table: this description",
    ("about", "relation"): "a table or view",
    ("about", "name"): "a column of it; NULL where all of it is described",
    ("about", "type"): "what the column holds: INTEGER (truth values are 0 and 1), REAL, TEXT, or JSON as text",
    ("about", "meaning"): "what it means",
}

_KEPT = {"id": "INTEGER PRIMARY KEY", "key": "TEXT NOT NULL UNIQUE", "session": "INTEGER NOT NULL REFERENCES session"}
_KEPT |= {"seconds": "REAL", "special": "TEXT"}


def _declared(columns: Sequence[Column]) -> str:
    return ", ".join(f'"{column.name}" {column.type}' for column in columns)


def _listed(columns: Sequence[Column], table: str) -> str:
    return ", ".join(f'{table}."{column.name}"' for column in columns)


def statements() -> list[str]:
    """Return the SQL that makes a new run file, but for its description."""
    own = ", ".join(f"{name} {kind}" for name, kind in _KEPT.items())
    about = [column for column in CELL if column.name in ABOUT]
    return [
        f"PRAGMA application_id = {APPLICATION_ID}",
        f"PRAGMA user_version = {USER_VERSION}",
        "CREATE TABLE session (id INTEGER PRIMARY KEY, started TEXT NOT NULL, provenance TEXT NOT NULL)",
        "CREATE TABLE mechanism (session INTEGER NOT NULL REFERENCES session, name TEXT NOT NULL, "
        "descriptor TEXT NOT NULL, portraits TEXT NOT NULL, PRIMARY KEY (session, name)) WITHOUT ROWID",
        f"CREATE TABLE cell ({own}, {_declared(CELL)})",
        f"CREATE TABLE rest (cell INTEGER PRIMARY KEY REFERENCES cell, {_declared(REST)})",
        "CREATE TABLE head (cell INTEGER NOT NULL REFERENCES cell, place INTEGER NOT NULL, special TEXT, "
        f"{_declared(HEAD)}, PRIMARY KEY (cell, place)) WITHOUT ROWID",
        "CREATE TRIGGER cell_deleted AFTER DELETE ON cell BEGIN "
        "DELETE FROM rest WHERE cell = old.id; DELETE FROM head WHERE cell = old.id; END",
        f"CREATE VIEW cells AS SELECT {_listed(CELL, 'cell')}, cell.seconds, cell.session, session.started, cell.key, "
        "cell.id, cell.special FROM cell LEFT JOIN session ON session.id = cell.session",
        f"CREATE VIEW heads AS SELECT head.cell, head.place, {_listed(about, 'cell')}, {_listed(HEAD, 'head')}, "
        "head.special FROM head JOIN cell ON cell.id = head.cell",
        "CREATE TABLE interim (key TEXT PRIMARY KEY, subject TEXT NOT NULL, content BLOB NOT NULL)",
        "CREATE INDEX interim_subject ON interim (subject)",
        "CREATE TABLE about (relation TEXT NOT NULL, name TEXT, type TEXT, meaning TEXT NOT NULL)",
    ]


def description() -> Iterator[tuple[str, str | None, str | None, str]]:
    """Yield what the table about says: relation, column, type and meaning; None of what is no column."""
    measured = {"cells": CELL, "heads": tuple(chain((c for c in CELL if c.name in ABOUT), HEAD)), "rest": REST}
    for (relation, name), text in TOLD.items():
        if name:
            yield relation, name, _TYPES.get(name, "TEXT"), text
        else:
            yield relation, None, None, text
            for column in measured.get(relation, ()):
                yield relation, column.name, "JSON" if column.json else column.type, meaning(column)


_TYPES = dict.fromkeys(("id", "cell", "session", "place"), "INTEGER") | {"seconds": "REAL", "content": "BLOB"}
_TYPES |= dict.fromkeys(("special", "provenance", "descriptor", "portraits"), "JSON")
